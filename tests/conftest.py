"""Shared by the tests: one tolerance table, problems to solve, and awkward arrays."""

import itertools

import numpy as np
import pytest
import reference
import scipy.sparse as sp
from ahead import Queue

import fastbp
from fastbp import _core, _params

# Sizes around the widths of vectors and register blocks.
SIZES = (1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33)

# Largest difference allowed, relative to the largest entry of the array compared.
TOLERANCE = {
    "finite differences": 1e-7,
    ("twin", "float64"): 1e-12,
    ("twin", "float32"): 2e-5,
    # After several epochs of updates.
    ("training", "float64"): 1e-10,
    ("training", "float32"): 1e-3,
    # Predictions of another library from the same weights.
    ("export", "float64"): 1e-12,
    ("export", "float32"): 1e-5,
}

NET_SIZES = (12, 9, 5, 3)

# Losses that take any numbers as y.
OF_NUMBERS = (
    "squared_error",
    "absolute_error",
    "huber",
    "log_cosh",
    "quantile",
    "gaussian_nll",
)


def covering(every, **factors):
    """Parametrize by all combinations of the factors' values; the default run has a part of them.

    Those are kept whose indices sum to a multiple of ``every``, and the others are marked for
    ``make test-combinations``. Any two values of any two factors meet in what is kept, if each pair
    of factors leaves one that has ``every`` values at least.
    """
    cases = []
    for indexed in itertools.product(*map(enumerate, factors.values())):
        indices, values = zip(*indexed, strict=True)
        marks = [pytest.mark.every_combination] if sum(indices) % every else []
        names = ["-".join(v) if isinstance(v, tuple) else str(v) for v in values]
        cases.append(pytest.param(*values, marks=marks, id="-".join(names)))
    return pytest.mark.parametrize(tuple(factors), cases)


@pytest.fixture
def net():
    """A small network in float64 whose passes take 16 rows."""
    return fastbp.Network(NET_SIZES, "tanh", dtype="float64", batch_size=16, n_threads=1)


@pytest.fixture
def data():
    """X, y and sample weights for `net`: two full passes and a short one."""
    rng = np.random.default_rng(3)
    return rng.normal(size=(40, 12)), rng.normal(size=(40, 3)), rng.uniform(0.2, 2, 40)


def relative_error(actual, expected):
    """Largest difference over the largest expected entry."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape
    difference = np.abs(actual - expected).max(initial=0.0)
    return difference / max(np.abs(expected).max(initial=0.0), np.finfo(np.float64).tiny)


def random_csr(shape, density, rng, dtype=np.float64):
    """A CSR array that holds about a share `density` of its numbers, which are in [0, 1)."""
    numbers = rng.random(shape, dtype=np.float64).astype(dtype)
    return sp.csr_array(np.where(rng.random(shape) < density, numbers, dtype(0)))


def core_name(loss, n_outputs):
    """The loss as the core and the twin call it."""
    return "binary_log_loss" if (loss, n_outputs) == ("log_loss", 1) else loss


def n_outputs_of(loss, n_columns):
    """Outputs of a net for so many columns of y (classes, for class indices)."""
    return reference.LOSSES[loss].outputs * n_columns


def make_targets(loss, n, n_columns, rng):
    """Targets of every kind that the loss takes, and some on its edges (0, 1)."""
    if loss == "gamma":
        return rng.gamma(2.0, 0.7, size=(n, n_columns)) + 0.05
    if loss in OF_NUMBERS:
        return rng.normal(size=(n, n_columns))
    if loss == "poisson":
        return rng.poisson(1.5, size=(n, n_columns)).astype(float)
    if loss == "log_loss" and n_columns > 1:
        return rng.integers(0, n_columns, size=n)
    return rng.integers(0, 2, size=(n, n_columns)).astype(float)


def make_params(layer_sizes, rng, dtype="float64"):
    """Parameters that keep every layer in its interesting range."""
    params = np.empty(_params.count(_core.parameters(layer_sizes)))
    for W, b in zip(*reference.views(params, layer_sizes), strict=True):
        bound = np.sqrt(3.0 / W.shape[0])
        W[:] = rng.uniform(-bound, bound, W.shape)
        b[:] = rng.uniform(-0.3, 0.3, b.shape)
    return params.astype(dtype)


def make_inputs(params, layer_sizes, activations, n, rng, margin=1e-3):
    """Rows that keep every hidden z further than margin from the kink of relu."""
    kept = []
    while len(kept) < n:
        X = rng.normal(size=(2 * n, layer_sizes[0]))
        zs, _ = reference._forward_tape(params.astype(float), layer_sizes, activations, X)
        clear = [np.abs(z).min(axis=1) > margin for z in zs[:-1]]
        kept.extend(X[np.all(clear, axis=0)] if clear else X)
    return np.array(kept[:n])


# ---- awkward arrays: equal values, uncomfortable memory ----


def _strided(a, _):
    big = np.full([2 * s + 1 for s in a.shape], np.nan, a.dtype)
    view = big[tuple(slice(1, None, 2) for _ in a.shape)]
    view[...] = a
    return view


def _reversed(a, _):
    flip = (slice(None, None, -1),) * a.ndim
    return np.ascontiguousarray(a[flip])[flip]


def _read_only(a, _):
    a = a.copy()
    a.flags.writeable = False
    return a


def _shifted(a, _, offset=None):
    """Starts ``offset`` bytes after a cache line; one element by default."""
    offset = a.itemsize if offset is None else offset
    raw = np.empty(a.nbytes + 64 + offset, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    view = raw[start : start + a.nbytes].view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def _memory_mapped(a, folder):
    path = folder / "array.npy"
    np.save(path, a)
    return np.load(path, mmap_mode="r")


AWKWARD = {
    "fortran": lambda a, _: np.asfortranarray(a),
    "strided": _strided,
    "reversed": _reversed,
    "read-only": _read_only,
    "one element off a cache line": _shifted,
    "one byte off": lambda a, _: _shifted(a, None, 1),
    "big-endian": lambda a, _: a.astype(a.dtype.newbyteorder(">")),
    "memory-mapped": _memory_mapped,
}


# ---- files ----


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.fastbp"


@pytest.fixture
def again(path):
    """What comes back of an object that is saved."""

    def save_and_load(made, **replacements):
        fastbp.save(made, path)
        return fastbp.load(path, **replacements)

    return save_and_load


# ---- processes that run beside the tests ----

QUEUE = Queue()


def pytest_configure(config):
    config.addinivalue_line("markers", "ahead(described): waits for a process, see tests/ahead.py")
    config.addinivalue_line("markers", "alone: no such process runs beside it")


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        for test in session.items:
            QUEUE.add(test)


def pytest_runtest_setup(item):
    if item.get_closest_marker("alone"):
        QUEUE.rest()
    else:
        QUEUE.go_on(1)


def pytest_sessionfinish():
    QUEUE.end()


@pytest.fixture
def ahead(request):
    """The process that the test is marked with, at its end."""
    return QUEUE.ended(request.node)
