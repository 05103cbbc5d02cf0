"""Trainers that stay from one call to the next: they save work, hold nothing, and stay few."""

import copy
import os
import pickle
import signal

import numpy as np
import pytest
from ahead import Process, waits_for
from estimator_problems import assert_near, output_in_float64
from thread_problems import digest, run_at_once

from fastbp import MLPClassifier, Network, _core, _trainers

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
linux = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="looks into /proc")
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(400, 20))
Y = RNG.integers(0, 3, 400)
# Rows that are computed directly in float64, directly, and packed.
ROWS = (1, 8, 50, 64, 400)


def classifier(hidden=(64, 64), seed=0, **params):
    return MLPClassifier(hidden_layer_sizes=hidden, max_iter=2, random_state=seed, **params)


@pytest.fixture(autouse=True)
def nothing_kept():
    _trainers.forget()
    yield
    _trainers.forget()


@pytest.fixture
def made(monkeypatch):
    """The arguments of every trainer made from now on."""
    arguments, make = [], _core.Trainer

    def trainer(*args, **kwargs):
        arguments.append(args)
        return make(*args, **kwargs)

    monkeypatch.setattr(_core, "Trainer", trainer)
    return arguments


def kept():
    return [t for trainers in _trainers._kept.values() for t in trainers]


# ---- they are used again, and know nothing of before ----


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
@pytest.mark.parametrize("n", ROWS)
def test_the_next_call_of_a_shape_makes_none(n, method, made):
    est = classifier().fit(X, Y)
    getattr(est, method)(X[:n])
    made.clear()
    for _ in range(3):
        getattr(est, method)(X[:n])
        est.hidden_activations(X[:n])
    assert not made


def change_in_place(est):
    est.coefs_[0][...] *= -1.5
    est.intercepts_[-1][0] += 1


def change_one_number(est):
    est.intercepts_[-1][0] += 3


def assign(est):
    est.coefs_ = [W + 0.25 for W in est.coefs_]


def assign_one(est):
    est.coefs_[1] = -est.coefs_[1]
    est.intercepts_[0] = est.intercepts_[0] + 1


def assign_float64(est):
    est.coefs_ = [W.astype(np.float64) * 1.1 for W in est.coefs_]


CHANGES = {
    "in place": change_in_place,
    "one number": change_one_number,
    "assigned": assign,
    "one assigned": assign_one,
    "assigned in float64": assign_float64,
    "fitted again": lambda est: est.fit(X[::-1], Y),
    "trained on": lambda est: est.partial_fit(X[:32], Y[:32]),
    "unpickled attributes": lambda est: vars(est).update(
        pickle.loads(pickle.dumps(vars(classifier(seed=5).fit(X, Y))))
    ),
}


@pytest.mark.parametrize("n", ROWS)
@pytest.mark.parametrize("change", CHANGES)
def test_predictions_are_those_of_the_present_weights(change, n, made):
    est = classifier().fit(X, Y)
    before = est.predict_proba(X[:n])
    for again in (False, True):
        CHANGES[change](est)
        made.clear()
        after = est.predict_proba(X[:n])
        assert_near(after, output_in_float64(est, X[:n]), 1e-5)
        assert again or np.abs(after - before).max() > 1e-3
        if again or change in ("in place", "one number", "assigned"):
            assert not made


def test_two_estimators_of_one_shape_share_them_and_nothing_else(made):
    a, b = classifier(seed=0).fit(X, Y), classifier(seed=1).fit(X, Y)
    for n in ROWS:
        expected = [output_in_float64(est, X[:n]) for est in (a, b)]
        a.predict_proba(X[:n])
        made.clear()
        for est, proba in 2 * list(zip((a, b), expected, strict=True)):
            assert_near(est.predict_proba(X[:n]), proba, 1e-5)
        assert not made


def test_a_network_uses_its_own(made):
    net = Network((20, 64, 3), loss="log_loss", n_threads=1)
    params = net.init_params(0)
    made.clear()
    for n in (10, 300):
        for _ in range(2):
            net.forward(params, X[:n])
            net.loss(params, X[:n], Y[:n])
            net.value_and_grad(params, X[:n], Y[:n])
    assert not made and not kept()


# ---- nobody else carries them ----

COPIES = {
    "pickle": lambda est: pickle.loads(pickle.dumps(est)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
    "attributes": lambda est: pickle.loads(pickle.dumps(vars(est))),
}


def trainers_within(thing, seen=None):
    """Trainers that this object leads to, by attributes and containers."""
    seen = set() if seen is None else seen
    if id(thing) in seen or isinstance(thing, (type, str, bytes, np.ndarray)):
        return []
    seen.add(id(thing))
    parts = []
    if isinstance(thing, dict):
        parts = list(thing.values())
    elif isinstance(thing, (list, tuple)):
        parts = list(thing)
    parts += list(getattr(thing, "__dict__", {}).values())
    found = [thing] if isinstance(thing, _core.Trainer) else []
    return found + [t for part in parts for t in trainers_within(part, seen)]


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("how", COPIES)
def test_copies_carry_no_trainer(how, large, monkeypatch):
    assert trainers_within([{"a": _core.Trainer((2, 1), (), "squared_error", "float32", 1)}])
    if large:  # an estimator that learns online holds its own
        monkeypatch.setattr(_trainers, "MOST_BYTES_OF_ONE", 0)
    est = classifier().fit(X, Y)
    for _ in range(3):
        est.partial_fit(X[:32], Y[:32])
    for n in ROWS:
        est.predict(X[:n])
    assert len(trainers_within(est)) == large and bool(kept()) != large
    twin = COPIES[how](est)
    if how == "copy":  # it shares all that the estimator has
        assert trainers_within(twin) == trainers_within(est)
    else:
        assert not trainers_within(twin)
    if how != "attributes":
        _trainers.forget()
        np.testing.assert_array_equal(twin.predict_proba(X), est.predict_proba(X))


def test_a_pickle_is_no_larger_after_predictions():
    est = classifier().fit(X, Y)
    before = len(pickle.dumps(est))
    for n in ROWS:
        est.predict(X[:n])
    assert len(pickle.dumps(est)) == before


FORK = """
import os, signal, sys, threading, time, traceback, warnings
import numpy as np
from fastbp import MLPClassifier, _trainers
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(2000, 20)), rng.integers(0, 3, 2000)
est = MLPClassifier(hidden_layer_sizes=(64, 64), max_iter=2, random_state=0, n_threads=2).fit(X, y)
rows = (1, 8, 50, 64, 2000)
expected = [est.predict_proba(X[:n]) for n in rows]
assert sum(map(len, _trainers._kept.values())) > 1
stop = False

def predict_on_and_on(n):
    while not stop:
        est.predict_proba(X[:n])

threads = [threading.Thread(target=predict_on_and_on, args=(n,)) for n in (8, 2000)]
for thread in threads:
    thread.start()
for i in range(8):
    time.sleep(0.003 * (i % 4))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        code = 1
        try:
            assert not _trainers._kept, "the parent's are here"
            for n, proba in zip(rows, expected):
                for _ in range(3):
                    assert (est.predict_proba(X[:n]) == proba).all(), n
            est.fit(X, y)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0, i
stop = True
for thread in threads:
    thread.join()
for n, proba in zip(rows, expected):
    assert (est.predict_proba(X[:n]) == proba).all()
"""


@forks
@waits_for(lambda: Process(FORK))
def test_a_child_forked_during_predictions_makes_its_own(ahead):
    ahead.printed()


# ---- they stay few ----


def test_many_shapes_leave_few():
    est = classifier().fit(X, Y)
    for i in range(30):
        other = classifier(hidden=(10 + i, 5)).fit(X, Y)
        other.predict(X)
        other.predict(X[:5])
        est.predict(X[: 10 * i + 1])
        assert len(kept()) <= _trainers.MOST_TRAINERS
        assert sum(t.n_bytes for t in kept()) <= _trainers.MOST_BYTES
    assert kept()


# ---- what they were made for is looked at in each call ----


def test_instructions_switched_off_between_calls_are_not_used(monkeypatch):
    est = classifier().fit(X, Y)
    for n in ROWS:
        monkeypatch.delenv("FASTBP_DISABLE_CPU", raising=False)
        usual = est.predict_proba(X[:n])
        monkeypatch.setenv("FASTBP_DISABLE_CPU", "avx512,avx2")
        _trainers.forget()
        plain = est.predict_proba(X[:n])  # by a trainer made for it
        monkeypatch.delenv("FASTBP_DISABLE_CPU")
        np.testing.assert_array_equal(est.predict_proba(X[:n]), usual)
        monkeypatch.setenv("FASTBP_DISABLE_CPU", "avx512,avx2")
        np.testing.assert_array_equal(est.predict_proba(X[:n]), plain)
    if len(_core.cpu_levels()) > 1:
        assert (usual != plain).any()


@pytest.mark.parametrize("large", [False, True])
def test_products_switched_to_blas_between_calls_are_by_blas(large, monkeypatch):
    if large:  # of an estimator's own
        monkeypatch.setattr(_trainers, "MOST_BYTES_OF_ONE", 0)
    est = classifier().fit(X, Y)
    for _ in range(3):
        est.partial_fit(X[:200], Y[:200])
    for dense in ("packed", "blas", "packed"):
        monkeypatch.setenv("FASTBP_DENSE", dense)
        _trainers.forget()
        est.predict(X)
        assert large or [t.uses_blas for t in kept()] == [dense == "blas"]
        for _ in range(2):
            est.partial_fit(X[:200], Y[:200])
            assert set(est.memory_plan_.dense) == {dense}


# ---- several at once ----


def test_many_python_threads_get_the_bits_of_one():
    est = classifier(n_threads=2).fit(X, Y)
    expected = {n: digest(est.predict_proba(X[:n])) for n in ROWS}

    def predict(seed):
        rng = np.random.default_rng(seed)
        return all(
            digest(est.predict_proba(X[:n])) == expected[n] for n in rng.choice(ROWS, 60).tolist()
        )

    assert run_at_once([lambda i=i: predict(i) for i in range(8)]) == [True] * 8
    assert len(kept()) <= _trainers.MOST_TRAINERS


HANDLER = """
import signal, sys, time, warnings
import numpy as np
from fastbp import MLPClassifier, Network
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 20)), rng.integers(0, 3, 400)
est = MLPClassifier(hidden_layer_sizes=(32, 32), max_iter=3, random_state=0).fit(X, y)
other = MLPClassifier(hidden_layer_sizes=(16,), max_iter=3, random_state=0)
net = Network((20, 64, 3), loss="log_loss")
params = net.init_params(0)
loss, grad = net.value_and_grad(params, X, y)
rows = (5, 100, 400)
expected = {n: est.predict_proba(X[:n]) for n in rows}
weights = [W.copy() for W in MLPClassifier(max_iter=3, random_state=0).fit(X, y).coefs_]
interrupted = set()
wrong = []
doing = None

def handler(*_):
    interrupted.add(doing)
    for n in rows:
        if not (est.predict_proba(X[:n]) == expected[n]).all():
            wrong.append(("predict", doing, n))
    if net.loss(params, X, y) != loss or not (net.value_and_grad(params, X, y)[1] == grad).all():
        wrong.append(("network", doing))
    if doing == "refit":
        other.fit(X[:50], y[:50])
    again()

def again():
    # From the end of this handler on, or it would interrupt itself only.
    signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, 2e-3))

def predict():
    for n in rows:
        assert (est.predict_proba(X[:n]) == expected[n]).all()

def fit():
    fitted = MLPClassifier(max_iter=3, random_state=0).fit(X, y)
    assert all((a == b).all() for a, b in zip(fitted.coefs_, weights))

def value_and_grad():
    found = net.value_and_grad(params, X, y)
    assert found[0] == loss and (found[1] == grad).all()

def refit():
    other.fit(X, y)
    other.partial_fit(X[:32], y[:32])

signal.signal(signal.SIGALRM, handler)
again()
for f in (predict, fit, value_and_grad, refit):
    doing = f.__name__
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        f()
signal.setitimer(signal.ITIMER_REAL, 0)
assert not wrong, wrong[:5]
assert interrupted == {"predict", "fit", "value_and_grad", "refit"}, interrupted
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers")
@pytest.mark.parametrize("dense", ["packed", "blas"])
@waits_for(lambda dense: Process(HANDLER, FASTBP_DENSE=dense))
def test_a_signal_handler_may_use_what_it_interrupts(dense, ahead):
    ahead.printed()


# ---- memory ----

CALLS = 10_000  # of sizes that change
MOST_GROWTH = 4 << 20


FLAT = """
import gc, os, sys, warnings
import numpy as np
from fastbp import MLPClassifier
from thread_problems import threads, threads_left
warnings.simplefilter("ignore")
calls, most = map(int, sys.argv[1:])
rng = np.random.default_rng(0)
X, y = rng.normal(size=(400, 8)), rng.integers(0, 3, 400)
est = MLPClassifier(hidden_layer_sizes=(32, 32), max_iter=2, random_state=0).fit(X, y)

def state():
    gc.collect()
    pages = int(open("/proc/self/statm").read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir("/proc/self/fd"))

def run(what, calls):
    for n in rng.integers(1, 401 if what == "predict" else 65, calls).tolist():
        if what == "predict":
            est.predict(X[:n])
        else:
            est.partial_fit(X[:n], y[:n])

for what in ("predict", "partial_fit"):
    run(what, calls // 5)
    before, threads_before = state(), threads()
    run(what, calls)
    after = state()
    assert after[0] - before[0] < most, (what, before, after)
    assert after[1] == before[1], (what, before, after)
    assert not threads_left(threads_before), what
"""


@linux
@waits_for(lambda: Process(FLAT, CALLS, MOST_GROWTH, timeout=120))
def test_memory_is_flat_over_calls_of_changing_sizes(ahead):
    ahead.printed()
