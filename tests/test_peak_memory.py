"""A fit takes the memory that its plan says, and no more with time; each in its own process."""

import gc
import importlib.util
import itertools
import json
import os
import sys
import weakref

import numpy as np
import pytest
from ahead import Process, waits_for

import fastbp
from fastbp import _fit

pytestmark = pytest.mark.skipif(
    not os.path.exists("/proc/self/status"), reason="resident memory is read from /proc"
)

MIB = 2**20

MEASURE = """
import ctypes, gc, json, sys, threading, time, warnings
import numpy as np
from scipy import sparse

import fastbp
from fastbp import _core

warnings.simplefilter("ignore")
MIB = 2**20


def resident(line="VmRSS"):
    with open("/proc/self/status") as status:
        for text in status:
            if text.startswith(line + ":"):
                return int(text.split()[1]) * 1024
    raise SystemExit(f"no {line}")


def settle():
    # Free memory goes back to the system, so that the start of a fit is as low as it can be.
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:
        pass


def growth(work):
    '''The most resident memory while `work` runs, over that at its start.'''
    settle()
    try:
        with open("/proc/self/clear_refs", "w") as clear:
            clear.write("5")  # the high-water mark starts anew
    except OSError:
        return sampled_growth(work)
    start = resident()
    assert resident("VmHWM") - start < MIB // 2
    work()
    return resident("VmHWM") - start


def sampled_growth(work):
    most, stop = [resident()], threading.Event()

    def sample():
        while not stop.wait(0.0005):
            most[0] = max(most[0], resident())

    thread = threading.Thread(target=sample)
    thread.start()
    start = resident()
    work()
    stop.set()
    thread.join()
    return most[0] - start


def warm_up():
    # Imports, and the work space that BLAS keeps from its first large product on.
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(256, 600)), rng.integers(0, 3, 256)
    for dtype in ("float32", "float64"):
        for n_threads in (1, 2):
            est = fastbp.MLPClassifier(
                (700, 600), batch_size=256, max_iter=1, dtype=dtype, n_threads=n_threads
            )
            est.fit(X, y).predict_proba(X)
    fastbp.MLPClassifier((8,), max_iter=1).fit(sparse.csr_matrix(X * (X > 2)), y)
"""

# Layer sizes, rows of a mini-batch, rows; as in the benchmarks, with a short last mini-batch.
CASES = {
    "mnist512": ((784, 512, 512, 10), 256, 600),
    "wide": ((1024, 2048, 2048, 2048, 10), 1024, 1100),
}

SETTINGS = {
    "one thread": ("mnist512", {"n_threads": 1}),
    "float64": ("mnist512", {"n_threads": 2, "dtype": "float64"}),
    "sgd": ("mnist512", {"n_threads": 2, "solver": "sgd"}),
    "wide": ("wide", {"n_threads": 2}),
}
DENSE = ("packed", "blas")

# Each fit in a child of its own, which has nothing of the fits before and does not start anew.
FITS = (
    MEASURE
    + """
import os


def grown_and_planned(sizes, batch, n, settings, x_dtype, dense):
    os.environ["FASTBP_DENSE"] = dense
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, sizes[0]), x_dtype)
    y = np.arange(n) % sizes[-1]
    est = fastbp.MLPClassifier(
        sizes[1:-1], batch_size=batch, max_iter=1, random_state=0, **settings
    )
    warm_up()
    grown = growth(lambda: est.fit(X, y))
    return [grown, est.memory_plan_.total_bytes]


found = []
for fit in json.loads(sys.argv[1]):
    r, w = os.pipe()
    if os.fork() == 0:
        os.write(w, json.dumps(grown_and_planned(*fit)).encode())
        os._exit(0)
    os.close(w)
    with open(r) as pipe:
        found.append(json.loads(pipe.read()))
    os.wait()
print(json.dumps(found))
"""
)


LARGE_ROWS = "float64 rows, 60 MiB of them, for a float32 network"
EACH = {
    (settings, dense): (*CASES[case], more, "float32", dense)
    for (settings, (case, more)), dense in itertools.product(SETTINGS.items(), DENSE)
}
EACH[LARGE_ROWS] = ((784, 100, 10), 200, 10_000, {"n_threads": 2}, "float64", "packed")


def runs(script):
    """A mark for tests that wait for a script."""
    return waits_for(lambda: Process(script, timeout=200))


def each_fit():
    return Process(FITS, json.dumps([*EACH.values()]), timeout=200)


@pytest.fixture
def measured(ahead):
    """What the script has measured: how memory grew, and what was planned or done."""
    return json.loads(ahead.printed())


@pytest.fixture
def fits(measured):
    """What was measured in each fit."""
    return dict(zip(EACH, measured, strict=True))


@pytest.mark.parametrize("dense", DENSE)
@pytest.mark.parametrize("settings", SETTINGS)
@waits_for(each_fit)
def test_a_fit_stays_within_its_plan(fits, settings, dense):
    grown, planned = fits[settings, dense]
    assert planned > 4 * MIB
    assert grown <= planned + 4 * MIB, f"{grown / MIB:.1f} MiB, planned {planned / MIB:.1f}"
    # The measure sees the fit: most of what was planned is used in it.
    assert grown >= 0.6 * planned


@waits_for(each_fit)
def test_rows_are_not_converted_as_a_whole(fits):
    grown, planned = fits[LARGE_ROWS]
    assert grown <= planned + 4 * MIB


SPARSE_FIT = (
    MEASURE
    + """
rng = np.random.default_rng(0)
indices, indptr = rng.integers(0, 20_000, 400_000), np.arange(0, 400_001, 100)
X = sparse.csr_matrix((np.ones(400_000, "float32"), indices, indptr), (4000, 20_000))
X.sum_duplicates()
y = np.arange(4000) % 20
warm_up()
est = fastbp.MLPClassifier((100,), batch_size=200, max_iter=1, n_threads=2)
grown = growth(lambda: est.fit(X, y))
print(json.dumps([grown, est.memory_plan_.total_bytes]))
"""
)


@runs(SPARSE_FIT)
def test_sparse_rows_are_not_made_dense(measured):
    """As dense rows they would take 305 MiB, a mini-batch of them 15 MiB."""
    grown, planned = measured
    assert planned < 40 * MIB
    assert grown <= planned + 4 * MIB, f"{grown / MIB:.1f} MiB, planned {planned / MIB:.1f}"


PREDICT = (
    MEASURE
    + """
rng = np.random.default_rng(0)
X = rng.standard_normal((10_000, 784))
warm_up()
est = fastbp.MLPClassifier((512, 512), max_iter=1, n_threads=2)
est.fit(X[:500], np.arange(500) % 10)
grown = growth(lambda: est.predict_proba(X))
params = sum(a.nbytes for a in est.coefs_ + est.intercepts_)
print(json.dumps([grown, params]))
"""
)


@runs(PREDICT)
def test_predictions_work_in_blocks(measured):
    """The output, 400 kB, packed weights, and an arena for some rows; X has 60 MiB."""
    grown, params = measured
    assert grown <= params + 6 * MIB, f"{grown / MIB:.1f} MiB"


TABLE = (
    MEASURE
    + """
import pandas as pd
rng = np.random.default_rng(0)
n = 100_000
columns = {f"n{i}": rng.normal(size=n) for i in range(12)}
for i in range(6):
    codes = rng.integers(0, 20, n)
    columns[f"c{i}"] = pd.Categorical.from_codes(codes, [f"value {k}" for k in range(20)])
X, y = pd.DataFrame(columns), rng.integers(0, 2, n)
settings = {"hidden_layer_sizes": (64, 64), "max_iter": 1, "n_threads": 2, "n_estimators": 2}
est = fastbp.TabularClassifier(**settings)
est.fit(X[:2000], y[:2000]).predict_proba(X[:2000])
grown = growth(lambda: est.fit(X, y))
print(json.dumps([grown, est.memory_plan_.total_bytes]))
"""
)


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
@runs(TABLE)
def test_a_fit_on_a_table_stays_within_its_plan(measured):
    """As dense rows they would take 90 MiB at 8 bins a column."""
    grown, planned = measured
    assert grown <= planned + 4 * MIB, f"{grown / MIB:.1f} MiB, planned {planned / MIB:.1f}"
    assert grown >= 0.6 * planned


STEPS = (
    MEASURE
    + """
rng = np.random.default_rng(0)
X = rng.standard_normal((3000, 10), "float32")
y = np.arange(3000) % 3
data = _core.Data(X, y.astype(np.int32))
trainer = _core.Trainer((10, 16, 3), ("relu",), "log_loss", "float32", 64, "adam")
params = rng.standard_normal(trainer.n_params, "float32")
state = (np.zeros_like(params), np.zeros_like(params))
est = fastbp.MLPClassifier((16,), batch_size=50, random_state=0)


def some_steps(n_steps):
    '''Epochs of mini-batches of every size, the last one short; and partial_fit of any rows.'''
    t = 0
    while t < n_steps:
        batch, n = int(rng.integers(1, 65)), int(rng.integers(1, 3000))
        _, steps, finite = trainer.train_epoch(
            params, state, data, rng.permutation(n), batch, alpha=0.1, learning_rate=1e-4, t=t
        )
        assert finite
        t += steps
        rows = int(rng.integers(3, 300))
        est.partial_fit(X[:rows], y[:rows], classes=[0, 1, 2])
        for curve in (est.loss_curve_, est._history):
            curve.clear()  # which grow by what they tell
    return t


warm_up()
some_steps(105_000)  # until the allocators of C and Python have found their size
settle()
before = resident()
done = [some_steps(25_000) for _ in range(4)]
settle()
print(json.dumps([resident() - before, sum(done)]))
"""
)


@runs(STEPS)
def test_memory_is_flat_over_many_steps(measured):
    """The engine, and between its epochs partial_fit."""
    grown, steps = measured
    assert steps >= 100_000
    assert grown <= MIB // 8, f"{grown} bytes"


# ---- what a fit does not need while it trains ----


def found_in_training(monkeypatch, module, look):
    """What `look` finds when training begins."""
    found, train = [], module.train

    def looking(*arguments):
        gc.collect()
        found.append(look())
        return train(*arguments)

    monkeypatch.setattr(module, "train", looking)
    return found


def test_the_parameters_of_before_end_before_training(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    model = fastbp.MLPClassifier((4,), max_iter=2).fit(X, y)
    before = weakref.ref(model._params.flat)
    found = found_in_training(monkeypatch, _fit, before)
    model.fit(X, y)
    assert found == [None]


def test_the_columns_of_a_table_end_before_training(monkeypatch):
    X, y = np.random.default_rng(0).normal(size=(50, 3)), np.arange(50) % 2
    of_tables = sys.modules["fastbp.tabular._fit"]
    kinds = of_tables.Given, of_tables.Rows
    alive = found_in_training(
        monkeypatch, of_tables, lambda: [o for o in gc.get_objects() if type(o) in kinds]
    )
    fastbp.TabularClassifier(n_estimators=1, max_iter=1).fit(X, y)
    assert alive == [[]]
