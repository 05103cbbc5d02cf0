"""No allocation in a step: calls for memory are counted in the whole process, all its threads."""

import json
import platform
import sys

import pytest
from ahead import Process, waits_for
from c_programs import preloaded

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or sys.maxsize < 2**32,
    reason="the counter stands in for the functions of glibc on a machine of 64 bits",
)

COUNT = """
import ctypes, gc, json, operator, os, sys, warnings
import numpy as np
from scipy import sparse

import fastbp
from fastbp import _core
from fastbp._threads import single_threaded_blas

warnings.simplefilter("ignore")
library = ctypes.CDLL(None)
library.count_alloc_stop.restype = ctypes.c_long
gc.disable()
SIZES, BATCH, STEPS = (32, 128, 128, 5), 64, (250, 500, 250, 500)
rng = np.random.default_rng(0)
X, y = rng.normal(size=(32_000, 32)).astype("float32"), rng.integers(0, 5, 32_000)
KNOTS = tuple(np.linspace(-1, 1, 17))
COLUMNS = [(18, KNOTS)] * 30 + [(1000, None)] * 2
X_encoded = rng.uniform(0, 17, X.shape).astype("float32")
X_csr = sparse.csr_matrix(np.where(rng.random(X.shape) < 0.1, X, 0))


def calls(work):
    library.count_alloc_start()
    work()
    return library.count_alloc_stop()


def epochs(n_threads, X, n_steps, everything=False, ranks=False):
    sparse_rows, more, sizes = sparse.issparse(X), {}, SIZES
    activations, optimizer = ("relu", "tanh"), "adam"
    if everything:
        activations, optimizer = ("gelu", "mish"), "adamw"
        more = dict(dropout=(0.1, 0.2, 0.3), keep_grad=True, label_smoothing=0.1)
    if ranks:
        more = dict(reduces=True)
    if X is X_encoded:
        more = dict(encoding=_core.Encoding(COLUMNS), input_scale=True)
        sizes = (more["encoding"].n_inputs, *SIZES[1:])
    trainer = _core.Trainer(
        sizes, activations, "log_loss", "float32", BATCH, optimizer, n_threads,
        sparse=sparse_rows, **more,
    )
    assert trainer.n_threads == n_threads
    data = _core.Data(X, y.astype(np.int32))
    params = rng.normal(0, 0.1, trainer.n_params).astype("float32")
    state = (np.zeros_like(params), np.zeros_like(params))

    def epoch(steps):
        order, made = rng.integers(0, len(y), steps * BATCH - 7), []
        settings = {}
        if everything:
            settings = dict(
                weight_decay=0.1, max_grad_norm=0.1, ema=params.copy(), ema_decay=0.9, seed=3,
                rates=np.full(steps, 1e-3),
            )
        if ranks:
            ends = np.minimum(np.arange(1, steps + 1) * BATCH, len(order))
            rows = np.full(steps, 2 * BATCH)
            settings = dict(reduction=_core.Reduction(
                ends, rows, rows.astype(float), operator.is_, None, counts_penalty=True
            ))
        count = calls(lambda: made.append(trainer.train_epoch(
            params, state, data, order, BATCH, alpha=1e-4, learning_rate=1e-3, **settings
        )))
        assert made[0][1] == steps and made[0][2]
        return count

    with single_threaded_blas():
        epoch(10)
        return [epoch(steps) for steps in n_steps]


def fits(n_threads, X, n_steps):
    def fit(steps):
        est = fastbp.MLPClassifier(
            SIZES[1:-1], batch_size=len(y) // steps, max_iter=1, n_threads=n_threads, random_state=0
        )
        count = calls(lambda: est.fit(X, y))
        assert est._optimizer.t == steps and est.memory_plan_.n_threads == n_threads
        return count

    fit(n_steps[0])
    return [fit(steps) for steps in n_steps]


assert calls(lambda: bytearray(1 << 20)) >= 1, "nothing is counted"
found = {}
for dense in ("packed", "blas"):
    os.environ["FASTBP_DENSE"] = dense
    for n_threads in (1, 2):
        found[f"{dense} {n_threads} rows"] = epochs(n_threads, X, STEPS)
        few = [steps * 2 // 5 for steps in STEPS]
        found[f"{dense} {n_threads} encoded"] = epochs(n_threads, X_encoded, few)
        found[f"{dense} {n_threads} csr"] = epochs(n_threads, X_csr, STEPS)
        found[f"{dense} {n_threads} everything"] = epochs(n_threads, X, few, True)
        found[f"{dense} {n_threads} ranks"] = epochs(n_threads, X, few, ranks=True)
        found[f"{dense} {n_threads} fit"] = fits(n_threads, X, STEPS)
print(json.dumps(found))
"""


def counting():
    return Process(COUNT, timeout=200, LD_PRELOAD=preloaded("count_alloc"))


@pytest.fixture
def counts(ahead):
    """Calls during 250, 500, 250 and 500 steps, for everything that is counted."""
    return json.loads(ahead.printed())


@pytest.mark.parametrize("X", ["rows", "csr", "encoded", "everything", "ranks"])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dense", ["packed", "blas"])
@waits_for(counting)
def test_more_steps_allocate_no_more(counts, dense, n_threads, X):
    found = counts[f"{dense} {n_threads} {X}"]
    assert len(set(found)) == 1 and found[0] < 20


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dense", ["packed", "blas"])
@waits_for(counting)
def test_a_fit_of_more_steps_allocates_no_more(counts, dense, n_threads):
    found = counts[f"{dense} {n_threads} fit"]
    assert max(found) - min(found) <= 5, "beyond what Python itself does now and then"
