"""Threads: fits side by side, forks, Ctrl-C, and how many threads a fit starts."""

import os

import joblib
import numpy as np
import pytest
from ahead import Process, waits_for
from thread_problems import (
    classification,
    classifier,
    digest,
    fit_digest,
    most_new_threads,
    new_threads,
    run_at_once,
    threads,
    threads_left,
)

from fastbp import MLPClassifier, Network, _threads, _trainers
from fastbp._threads import resolve_n_threads

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="counts by /proc")


# ---- several fits at once ----


@pytest.mark.parametrize("dense", ["packed", "blas"])
def test_fits_in_two_python_threads_do_not_disturb_each_other(dense, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    alone = [fit_digest(2, seed) for seed in range(2)]
    for _ in range(5):
        assert run_at_once([lambda s=seed: fit_digest(2, s) for seed in range(2)]) == alone


def test_one_estimator_predicts_in_many_python_threads():
    X, y = classification()
    est = classifier(2).fit(X, y)
    expected = [digest(est.predict_proba(X[: 5 + 100 * i])) for i in range(6)]
    tasks = [
        lambda i=i: [digest(est.predict_proba(X[: 5 + 100 * i])) for _ in range(20)]
        for i in range(6)
    ]
    assert run_at_once(tasks) == [[bits] * 20 for bits in expected]


JOBLIB = """
from joblib import Parallel, delayed, cpu_count
from thread_problems import fit_report

alone = [fit_report(seed, 2)[0] for seed in range(4)]
with Parallel(n_jobs=2, backend="loky") as parallel:
    twos = parallel(delayed(fit_report)(seed, 2) for seed in range(4))
    frees = parallel(delayed(fit_report)(seed, None) for seed in range(4))
assert [bits for bits, *_ in twos] == alone
assert [bits for bits, *_ in frees] == alone
assert len({process for *_, process in twos}) > 1
for _, planned, most, left, _ in twos:
    assert planned == 2 and most <= 1 and left == 0, (planned, most, left)
assert max(most for _, _, most, _, _ in twos) == 1  # a short fit may end between two looks, not all
for _, planned, most, left, _ in frees:
    # joblib divides the cores among its workers and says so by OMP_NUM_THREADS.
    assert planned <= max(1, cpu_count() // 2) and most <= planned - 1 and left == 0
"""


@linux
@waits_for(lambda: Process(JOBLIB, timeout=150))
def test_fits_in_two_processes_of_joblib(ahead):
    ahead.printed()


FORK = """
import multiprocessing, os, sys, threading, time, traceback, warnings
from fastbp import _trainers
from thread_problems import (
    blas_threads, classification, classifier, fit_digest, most_new_threads
)

warnings.simplefilter("ignore")  # of fits that have not converged, of forks with threads
blas_before = blas_threads()
alone = fit_digest(2)
X, y = classification()
est = classifier(2).fit(X, y)
few, many = est.predict_proba(X[:5]), est.predict_proba(X)


def works_in_a_child():
    found = [fit_digest(2)]  # BLAS, too, may start its threads anew
    for _ in range(50):  # a short fit may end between two looks
        most, left = most_new_threads(lambda: found.append(fit_digest(2)))
        if most or left:
            break
    same = (est.predict_proba(X[:5]) == few).all() and (est.predict_proba(X) == many).all()
    assert set(found) == {alone} and most == 1 and left == 0 and same, (found, most, left, same)
    assert blas_threads() == blas_before, blas_threads()


def fork_and_wait():
    child = os.fork()
    if child == 0:
        ok = False
        try:
            works_in_a_child()
            ok = True
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(0 if ok else 1)
    deadline = time.monotonic() + 20
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(child, 9)
            os.waitpid(child, 0)
            return "hangs"
        time.sleep(0.01)


assert fork_and_wait() == 0, "after a fit"
with multiprocessing.get_context("fork").Pool(2) as pool:
    assert pool.map_async(fit_digest, [2, 2, 2, 2]).get(60) == [alone] * 4
assert fit_digest(2) == alone, "in the parent after the children"


# Other Python threads of the parent are in the middle of a fit, or about to begin one.
stop = False


def fit_on_and_on(max_iter):
    while not stop:
        classifier(2, max_iter=max_iter, batch_size=200).fit(X[:200], y[:200])


threads = [threading.Thread(target=fit_on_and_on, args=(n,)) for n in (200, 1)]
for thread in threads:
    thread.start()
result = forks = 0
while result == 0 and forks < 10:
    result = fork_and_wait()
    forks += 1
stop = True
for thread in threads:
    thread.join()
assert result == 0, (result, forks)
"""


NETWORK_FORK = """
import gc, os, signal, time, warnings
import numpy as np
import fastbp
warnings.simplefilter("ignore")  # of forks with threads
X, y = np.random.default_rng(0).normal(size=(512, 300)), np.arange(512) % 10
net = fastbp.Network((300, 300, 10), loss="log_loss", n_threads=2)
assert net.memory_plan.n_threads == 2
params = net.init_params(random_state=0)
loss, grad = net.value_and_grad(params, X, y)
time.sleep(0.05)  # the team falls asleep
for use in (True, False):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        if use:
            for _ in range(3):
                again, grad_again = net.value_and_grad(params, X, y)
                assert again == loss and (grad_again == grad).all()
        del net
        gc.collect()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
again, grad_again = net.value_and_grad(params, X, y)
assert again == loss and (grad_again == grad).all()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@waits_for(lambda: Process(NETWORK_FORK))
def test_a_network_with_a_team_works_on_in_a_forked_child(ahead):
    ahead.printed()


@linux
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("dense", ["packed", "blas"])
@waits_for(lambda dense: Process(FORK, timeout=150, FASTBP_DENSE=dense))
def test_a_forked_child_fits_like_its_parent(ahead, dense):
    ahead.printed()


# ---- threads that come and go ----


@linux
@pytest.mark.parametrize("n_threads", [1, 2, 3, 8])
def test_a_fit_starts_its_team_and_no_more(n_threads):
    X, y = classification()
    est = classifier(n_threads, max_iter=100)
    _trainers.forget()  # the teams that stayed after other tests
    assert most_new_threads(lambda: est.fit(X, y)) == (n_threads - 1, 0)
    assert est.memory_plan_.n_threads == n_threads
    before = threads()
    est.predict_proba(X)
    team = new_threads(before)  # the trainer stays, for the next prediction
    assert len(team) == min(n_threads, 2) - 1 or 0 < len(team) < n_threads
    for _ in range(5):
        est.predict_proba(X)
        assert new_threads(before) == team
    _trainers.forget()
    assert not threads_left(before)


@linux
def test_a_small_net_stays_on_one_thread():
    X, y = classification()
    est = classifier(8, hidden_layer_sizes=(8,), batch_size=20)
    assert most_new_threads(lambda: est.fit(X[:, :10], y)) == (0, 0)
    assert est.memory_plan_.n_threads == 1


@linux
def test_a_fit_that_fails_leaves_no_thread():
    X, y = classification()
    est = classifier(4, solver="sgd", learning_rate_init=1e30)

    def fail():
        try:
            est.fit(X, y)
        except ValueError:
            return
        raise AssertionError("the fit should not have worked")

    assert most_new_threads(fail)[1] == 0


@linux
def test_teams_of_several_trainers_are_their_own():
    """Two threads each for two fits at once: two started, whatever the fits of other threads do."""
    X, y = classification()

    def fit():
        classifier(2, max_iter=100).fit(X, y)

    # The two Python threads that run the fits, and one worker each.
    most, left = most_new_threads(lambda: run_at_once([fit, fit]))
    assert most <= 4 and left == 0


# ---- how many threads ----


@linux
@pytest.mark.parametrize(
    "asked, environment, expected",
    [
        (None, {}, 6),
        (None, {"FASTBP_NUM_THREADS": "3"}, 3),
        (None, {"OMP_NUM_THREADS": "2"}, 2),
        (None, {"OMP_NUM_THREADS": "4,1", "FASTBP_NUM_THREADS": "5"}, 4),
        (None, {"FASTBP_NUM_THREADS": "100"}, 6),
        (4, {"FASTBP_NUM_THREADS": "2", "OMP_NUM_THREADS": "1"}, 4),
    ],
    ids=str,
)
def test_a_fit_uses_as_many_threads_as_it_may(asked, environment, expected, monkeypatch):
    monkeypatch.setattr(joblib, "cpu_count", lambda: 6)
    for name in ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    X, y = classification()
    est = classifier(asked, max_iter=80)
    assert most_new_threads(lambda: est.fit(X, y)) == (expected - 1, 0)
    assert est.memory_plan_.n_threads == expected


def test_a_limit_of_the_caller_holds():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        assert resolve_n_threads(None) == 1
        assert resolve_n_threads(3) == 3
    if os.environ.get("OMP_NUM_THREADS", os.environ.get("FASTBP_NUM_THREADS")) is None:
        assert resolve_n_threads(None) == joblib.cpu_count()


@pytest.fixture
def no_variables(monkeypatch):
    """No number of threads in the environment, and two cores at least."""
    if _threads._cores() < 2:
        pytest.skip("one core")
    for name in ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name):
            pytest.skip(f"libraries were started with {name}")


def threads_of_each_call():
    """Threads of a fit, a step, a prediction and a network, each left to choose."""
    X, y = classification()
    est = classifier(None, max_iter=1).fit(X, y)
    found = {"fit": est.memory_plan_.n_threads}
    _trainers.forget()
    est.predict(X)
    ((trainer,),) = _trainers._kept.values()
    found["predict"] = trainer.n_threads
    found["partial_fit"] = est.partial_fit(X, y).memory_plan_.n_threads
    lbfgs = classifier(None, solver="lbfgs", max_iter=1).fit(X, y)
    found["L-BFGS"] = lbfgs.memory_plan_.n_threads
    network = Network((100, 128, 128, 10), batch_size=256)
    found["network"] = network.memory_plan.n_threads
    return found


@pytest.mark.parametrize("user_api", [None, "blas", "openmp"])
def test_a_limit_of_any_library_holds_for_every_call(user_api, no_variables):
    from threadpoolctl import threadpool_limits

    free = threads_of_each_call()
    assert min(free.values()) >= 2
    with threadpool_limits(1, user_api=user_api):
        assert set(threads_of_each_call().values()) == {1}
    with threadpool_limits(_threads._cores(), user_api=user_api):
        assert threads_of_each_call() == free
    assert threads_of_each_call() == free


def test_blas_held_by_our_own_calls_is_no_limit(no_variables):
    free = threads_of_each_call()
    with _threads.single_threaded_blas():
        assert threads_of_each_call() == free


STARTED_WITH = """
import joblib
from threadpoolctl import threadpool_limits
from fastbp._threads import resolve_n_threads

found = [resolve_n_threads(None)]
with threadpool_limits(1):
    found.append(resolve_n_threads(None))
found.append(resolve_n_threads(None))
assert found == [EXPECTED, 1, EXPECTED], found
"""


@pytest.mark.parametrize(
    "variable, expected",
    [("OPENBLAS_NUM_THREADS", "joblib.cpu_count()"), ("OMP_NUM_THREADS", "1")],
)
@waits_for(
    lambda variable, expected: Process(
        STARTED_WITH.replace("EXPECTED", expected), **{variable: "1"}
    )
)
def test_what_libraries_were_started_with(variable, expected, no_variables, ahead):
    """A setting of BLAS alone is its own; that of OpenMP is for everybody."""
    ahead.printed()


def test_cores_are_not_counted_in_each_call(monkeypatch):
    calls = []

    def cpu_count():
        calls.append(1)
        return 2

    monkeypatch.setattr(joblib, "cpu_count", cpu_count)
    X, y = classification(n=400)
    est = MLPClassifier(hidden_layer_sizes=(128, 128), max_iter=1).fit(X, y)
    for n in (1, 32, 400):
        for _ in range(10):
            est.predict(X[:n])
            est.partial_fit(X[:n], y[:n])
    est.fit(X, y)
    assert len(calls) == 1


@pytest.mark.parametrize("value", ["none", "0", "-2", "1.5"])
def test_a_senseless_number_of_threads_is_named_by_every_call(value, monkeypatch):
    X, y = classification()
    est = classifier(None, max_iter=1).fit(X, y)
    weights = est.coefs_[0].copy()
    monkeypatch.setenv("FASTBP_NUM_THREADS", value)
    calls = (
        lambda: est.fit(X, y),
        lambda: est.fit(X[:20], y[:20]),
        lambda: est.partial_fit(X, y),
        lambda: est.partial_fit(X[:32], y[:32]),
        lambda: est.predict(X),
        lambda: Network((2, 1)),
    )
    message = f"FASTBP_NUM_THREADS must hold an integer from 1 to 999999999, got '{value}'"
    for call in calls:
        with pytest.raises(ValueError, match=message):
            call()
    np.testing.assert_array_equal(est.coefs_[0], weights)


AFFINITY = """
import os
import joblib
from fastbp._threads import resolve_n_threads
from thread_problems import classification, classifier, most_new_threads

X, y = classification()
cores, two, counted = os.sched_getaffinity(0), min(2, joblib.cpu_count()), []
for allowed in ({min(cores)}, set(sorted(cores)[:2]), {max(cores)}):
    os.sched_setaffinity(0, allowed)
    counted.append(resolve_n_threads(None))
    est = classifier(None)
    most, left = most_new_threads(lambda: est.fit(X, y))
    assert est.memory_plan_.n_threads <= len(allowed), (est.memory_plan_.n_threads, allowed)
    assert most <= len(allowed) - 1 and left == 0, (most, allowed)
assert est.memory_plan_.n_threads == 1
assert counted == [1, two, 1], counted
os.sched_setaffinity(0, cores)
assert resolve_n_threads(None) == joblib.cpu_count()
child = os.fork()
if child == 0:
    os.sched_setaffinity(0, {min(cores)})
    est = classifier(None).fit(X, y)
    most, left = most_new_threads(lambda: est.predict(X))
    os._exit(0 if est.memory_plan_.n_threads == 1 and most == 0 else 1)
assert os.waitpid(child, 0)[1] == 0, "a child counts the cores of its parent"
assert resolve_n_threads(None) == joblib.cpu_count()
"""


@linux
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity")
@waits_for(lambda: Process(AFFINITY, **dict.fromkeys(("FASTBP_NUM_THREADS", "OMP_NUM_THREADS"))))
def test_cores_that_the_process_may_not_use_are_not_counted(ahead):
    ahead.printed()


# ---- Ctrl-C ----

INTERRUPTED = """
import os, signal, sys, time, warnings
from fastbp import _loops
from thread_problems import classification, classifier, most_new_threads

signal.signal(signal.SIGINT, signal.default_int_handler)
n_threads, max_iter, rows = map(int, sys.argv[1:])
X, y = classification(n=rows)
classifier(n_threads).fit(X[:500], y[:500])
est = classifier(n_threads, max_iter=max_iter)
parent, begun, (told, tell) = os.getpid(), [], os.pipe()
if os.fork() == 0:
    os.close(tell)
    if os.read(told, 1):
        time.sleep(PAUSE)
        os.kill(parent, signal.SIGINT)
    os._exit(0)

begin_iteration = _loops.begin_iteration

def begin(job):  # the first tells that the checks are over
    if not begun:
        begun.append(time.monotonic())
        os.write(tell, b"x")
    begin_iteration(job)

_loops.begin_iteration = begin
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    most, left = most_new_threads(lambda: est.fit(X, y))
late = time.monotonic() - begun[0] - PAUSE
assert any("interrupted by user" in str(w.message) for w in caught), caught
assert late < 2, late
assert left == 0 and most == n_threads - 1
assert est.n_iter_ < max_iter and est.predict(X[:3]).shape == (3,)
""".replace("PAUSE", "0.3")


@linux
@pytest.mark.parametrize(
    "n_threads, max_iter, rows",
    [(1, 10**6, 1000), (2, 10**6, 1000), (2, 200, 300_000)],
    ids=["1-many", "2-many", "2-long"],
)
@waits_for(lambda n_threads, max_iter, rows: Process(INTERRUPTED, n_threads, max_iter, rows))
def test_ctrl_c_ends_a_fit_with_a_warning(n_threads, max_iter, rows, ahead):
    """Many short epochs, and few long ones."""
    ahead.printed()
