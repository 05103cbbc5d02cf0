"""BLAS has one thread while a fit uses it, and is left as it was found."""

import os
import threading
import time

import pytest
from ahead import Process, waits_for
from thread_problems import (
    Watch,
    blas_threads,
    classification,
    classifier,
    run_at_once,
)

from fastbp import Network, _threads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def two_blas_threads(monkeypatch):
    """BLAS, used for the products, as on a machine with two cores; it is put back afterwards."""
    from threadpoolctl import threadpool_limits

    monkeypatch.setenv("FASTBP_DENSE", "blas")
    with threadpool_limits(2, user_api="blas"):
        if 2 not in blas_threads().values():
            pytest.skip("BLAS has one thread")
        yield blas_threads()


def test_blas_has_one_thread_during_a_fit(two_blas_threads):
    X, y = classification()
    with Watch(blas_threads) as watch:
        classifier(2, max_iter=100).fit(X, y)
    assert {name: 1 for name in two_blas_threads} in watch.seen
    assert blas_threads() == two_blas_threads


def test_blas_has_one_thread_during_a_fit_in_any_python_thread(two_blas_threads):
    X, y = classification()
    classifier(2).fit(X, y)
    for _ in range(2):
        with Watch(blas_threads) as watch:
            run_at_once([lambda: classifier(2, max_iter=100).fit(X, y)])
        assert {name: 1 for name in two_blas_threads} in watch.seen
        assert blas_threads() == two_blas_threads


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_blas_is_restored_after_a_fit(two_blas_threads, solver):
    X, y = classification()
    est = classifier(2, solver=solver).fit(X, y)
    assert blas_threads() == two_blas_threads
    est.predict_proba(X)
    assert blas_threads() == two_blas_threads


def test_blas_is_restored_after_a_fit_that_fails(two_blas_threads):
    X, y = classification()
    with pytest.raises(ValueError, match="non-finite"):
        classifier(2, solver="sgd", learning_rate_init=1e30).fit(X, y)
    assert blas_threads() == two_blas_threads


def test_blas_is_restored_when_the_last_of_several_fits_ends(two_blas_threads):
    X, y = classification()
    after_the_short_one = []
    long_fit = threading.Thread(target=classifier(1, max_iter=400).fit, args=(X, y))
    long_fit.start()
    while set(blas_threads().values()) != {1} and long_fit.is_alive():
        time.sleep(0.001)
    classifier(2).fit(X, y)
    after_the_short_one = blas_threads()
    assert long_fit.is_alive(), "the long fit was too short"
    assert set(after_the_short_one.values()) == {1}
    long_fit.join()
    assert blas_threads() == two_blas_threads


def test_blas_keeps_what_the_user_sets_between_fits(two_blas_threads):
    from threadpoolctl import threadpool_limits

    X, y = classification()
    classifier(2).fit(X, y)
    with threadpool_limits(1, user_api="blas"):
        classifier(2).fit(X, y)
        assert set(blas_threads().values()) == {1}
    classifier(2).fit(X, y)
    assert blas_threads() == two_blas_threads


def test_any_python_thread_may_limit_blas_and_then_another(two_blas_threads):
    """threadpoolctl by itself listens to one thread, the first, as long as that is alive."""
    from threadpoolctl import threadpool_limits

    limited, ended, seen = threading.Event(), threading.Event(), []

    def limit():
        with _threads.single_threaded_blas():
            seen.append(blas_threads())
        limited.set()
        ended.wait(60)

    thread = threading.Thread(target=limit)
    thread.start()
    try:
        assert limited.wait(60) and set(seen[0].values()) == {1}
        assert blas_threads() == two_blas_threads
        with threadpool_limits(1, user_api="blas"):
            assert set(blas_threads().values()) == {1}
        assert blas_threads() == two_blas_threads
    finally:
        ended.set()
        thread.join()


def test_a_handler_does_not_wait_for_what_it_interrupts():
    done = []
    thread = threading.Thread(
        target=_threads._alone, args=[lambda: _threads._alone(lambda: done.append(1))], daemon=True
    )
    thread.start()
    thread.join(5)
    assert done, "waits for itself"


# ---- calls that do not use it ----


@pytest.fixture
def settings_of_blas(monkeypatch):
    """Numbers of threads that somebody sets for BLAS from now on."""
    libraries = [library for library in _threads._libraries() if library.user_api == "blas"]
    numbers = []
    for cls in {type(library) for library in libraries}:
        set_num_threads = cls.set_num_threads

        def count(library, n, set_num_threads=set_num_threads):
            numbers.append(n)
            return set_num_threads(library, n)

        monkeypatch.setattr(cls, "set_num_threads", count)
    return numbers


def calls_of_every_kind(solver):
    X, y = classification()
    est = classifier(2, solver=solver, max_iter=1).fit(X, y)
    if solver != "lbfgs":
        for n in (1, 32, 1000):
            est.partial_fit(X[:n], y[:n])
    for n in (1, 33, 1000):
        est.predict(X[:n])
        est.hidden_activations(X[:n])
    net = Network((100, 600, 600, 10), "relu", "log_loss", batch_size=1000, n_threads=2)
    net.value_and_grad(net.init_params(0), X, y)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_packed_products_leave_blas_alone(solver, settings_of_blas, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", "packed")
    calls_of_every_kind(solver)
    assert not settings_of_blas


def test_lbfgs_and_products_of_blas_hold_it(settings_of_blas, two_blas_threads, monkeypatch):
    settings_of_blas.clear()
    calls_of_every_kind("adam")
    assert set(settings_of_blas) == {1, 2}
    monkeypatch.setenv("FASTBP_DENSE", "packed")
    settings_of_blas.clear()
    X, y = classification()
    classifier(2, solver="lbfgs", max_iter=1).fit(X, y)  # SciPy's own products
    assert set(settings_of_blas) == {1, 2}


# ---- calls that are cut short ----

INTERRUPTED_ANYWHERE = """
import faulthandler, sys, warnings
import numpy as np
from fastbp import MLPClassifier, _threads
from thread_problems import blas_threads

warnings.simplefilter("ignore")
faulthandler.dump_traceback_later(50, exit=True)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(100, 5)), rng.integers(0, 3, 100)
est = MLPClassifier(hidden_layer_sizes=(200, 60), max_iter=1, random_state=0).fit(X, y)
calls = {
    "fit": lambda: MLPClassifier((4,), max_iter=1, random_state=0).fit(X, y),
    "L-BFGS": lambda: MLPClassifier((4,), max_iter=1, solver="lbfgs").fit(X, y),
    "partial_fit": lambda: est.partial_fit(X, y),
    "predict": lambda: est.predict(X),
}
count = target = 0

def trace(frame, event, argument):
    global count
    if not frame.f_code.co_filename.endswith(("_threads.py", "threadpoolctl.py")):
        return None
    if event == "call":  # where Python looks at signals, too
        count += 1
        if count == target:
            raise KeyboardInterrupt
    return trace

for call in calls.values():
    call()
before = blas_threads()
assert set(before.values()) == {2}, before
lost = []
for name, call in calls.items():
    target = 0
    while True:
        target, count = target + 1, 0
        sys.settrace(trace)
        try:
            call()
        except KeyboardInterrupt:
            pass
        finally:
            sys.settrace(None)
        if count < target:
            break
        assert not _threads._blas_lock.locked(), (name, target)
        calls["fit"]()
        if blas_threads() != before or _threads._blas_users:
            lost.append((name, target, blas_threads(), len(_threads._blas_users)))
    print(name, target - 1)
    assert target > 5 or not HELD, (name, target)
assert not lost, lost[:5]
"""


@pytest.mark.parametrize("dense", ["packed", "blas"])
@waits_for(
    lambda dense: Process(
        INTERRUPTED_ANYWHERE.replace("HELD", str(dense == "blas")),
        FASTBP_DENSE=dense,
        OPENBLAS_NUM_THREADS="2",
    )
)
def test_an_interruption_anywhere_leaves_blas_as_it_was(dense, ahead):
    ahead.printed()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_blas_is_held_lets_it_go(two_blas_threads):
    X, y = classification()
    classifier(1, max_iter=1).fit(X, y)
    with _threads.single_threaded_blas():
        child = os.fork()
        if child == 0:
            ok = False
            try:
                held = set(blas_threads().values())
                classifier(1, max_iter=1).fit(X, y)
                ok = held == {1} and blas_threads() == two_blas_threads
            finally:
                os._exit(0 if ok else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert set(blas_threads().values()) == {1}
    assert blas_threads() == two_blas_threads
