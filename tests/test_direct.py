"""Predictions of few rows and of odd shapes: whatever X lies like, whatever the net is like."""

import numpy as np
import pytest
import sklearn.neural_network
from conftest import AWKWARD
from estimator_problems import assert_near, is_in_float64, output_in_float64, output_of
from scipy import sparse

from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
ROWS = (1, 2, 3, 5, 7, 8, 9, 16, 63, 64, 65, 256, 257)
# features, hidden layers, outputs
NETS = {
    "one of each": (1, (1,), 1),
    "one feature": (1, (33,), 3),
    "one output": (37, (64, 32), 1),
    "no hidden layer": (37, (), 1),
    "no hidden layer, many outputs": (37, (), 90),
    "many outputs": (5, (17,), 200),
    "wide": (500, (300,), 3),
    "uneven": (13, (31, 1, 67), 2),
}


def regressor(net, dtype="float32", **params):
    """A net of this shape with weights of some size, fitted on as good as nothing."""
    n_features, hidden, n_outputs = NETS[net]
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(70, n_features)), rng.normal(size=(70, n_outputs))
    est = MLPRegressor(hidden_layer_sizes=hidden, max_iter=1, random_state=0, dtype=dtype, **params)
    est.fit(X, y if n_outputs > 1 else y[:, 0])
    for p in est.coefs_ + est.intercepts_:
        p[...] = rng.normal(size=p.shape) / np.sqrt(p.shape[0])
    return est


def tolerance(est, n):
    return 1e-12 if is_in_float64(est, n) else 1e-5


# ---- nets of any shape ----


@pytest.mark.parametrize("density", [0.02, 0.5, None], ids=["few non-zeros", "many", "dense"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("net", NETS)
def test_nets_of_any_shape(net, dtype, density):
    est = regressor(net, dtype)
    X = RNG.normal(size=(max(ROWS), NETS[net][0]))
    if density is not None:
        X = sparse.csr_array(np.where(RNG.random(X.shape) < density, X, 0))
    expected = output_in_float64(est, X)
    for n in ROWS:
        assert_near(output_of(est, X[:n]), expected[:n], tolerance(est, n))


@pytest.mark.parametrize(
    "kind", [sparse.csr_matrix, sparse.csr_array, sparse.csc_array, sparse.coo_array]
)
@pytest.mark.parametrize("index", [np.int32, np.int64])
def test_sparse_rows_with_nothing_in_them(kind, index):
    est = regressor("one output")
    for n in (1, 8, 300):
        X = kind((n, 37), dtype=np.float64)
        for name in ("indices", "indptr"):
            if hasattr(X, name):
                setattr(X, name, getattr(X, name).astype(index))
        assert_near(output_of(est, X), output_in_float64(est, X), tolerance(est, n))


def test_sparse_entries_in_any_order_and_twice_in_few_rows():
    est = regressor("one output")
    columns = np.array([5, 2, 5, 36, 0, 5])
    X = sparse.csr_array((np.arange(1.0, 7), columns, [0, 3, 3, 6]), shape=(3, 37))
    assert_near(output_of(est, X), output_in_float64(est, X), 1e-12)


@pytest.mark.parametrize("n", ROWS)
def test_rows_do_not_depend_on_their_neighbours(n):
    for net in NETS:
        est = regressor(net)
        X = RNG.normal(size=(n, NETS[net][0]))
        together = output_of(est, X)
        assert_near(np.vstack([output_of(est, row[None]) for row in X]), together, 1e-5)


# ---- arrays that lie in any way ----


def broadcast(a, _):
    return np.broadcast_to(a[:1], a.shape)


def constant_columns(a, _):
    return np.broadcast_to(a[:, :1], a.shape)


def from_a_row_of_a_cube(a, _):
    return np.stack([a, -a], axis=1)[:, 0]


def columns_backwards(a, _):
    return np.ascontiguousarray(a[:, ::-1])[:, ::-1]


def rows_backwards(a, _):
    return np.ascontiguousarray(a[::-1])[::-1]


class Mine(np.ndarray):
    """A subclass of ndarray with a sum of its own."""

    def sum(self, *args, **kwargs):
        raise AssertionError("a result is no instance of the caller's class")


LAYOUTS = {
    **AWKWARD,
    "every row the same": broadcast,
    "every column the same": constant_columns,
    "part of a cube": from_a_row_of_a_cube,
    "columns backwards": columns_backwards,
    "rows backwards": rows_backwards,
    "a subclass": lambda a, _: a.view(Mine),
    "a memory map itself": lambda a, folder: np.memmap(
        folder / "raw", dtype=a.dtype, mode="w+", shape=a.shape
    ).__iadd__(a),
    "masked, with nothing masked": lambda a, _: np.ma.masked_array(a),
}


@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_rows_that_lie_in_any_way(layout, x_dtype, tmp_path):
    for net in ("one output", "no hidden layer", "one feature"):
        est = regressor(net)
        for n in ROWS:
            plain = RNG.normal(size=(n, NETS[net][0])).astype(x_dtype)
            X = LAYOUTS[layout](plain, tmp_path)
            before = np.array(X)
            actual = output_of(est, X)
            assert type(actual) is np.ndarray
            assert_near(actual, output_in_float64(est, before), tolerance(est, n))
            np.testing.assert_array_equal(np.asarray(X), before)
            for a, b in zip(est.hidden_activations(X), est.hidden_activations(before), strict=True):
                assert_near(a, b, 1e-6)


@pytest.mark.parametrize("n", [1, 8, 300])
def test_results_are_the_callers_own(n):
    est = regressor("one output")
    X = RNG.normal(size=(n, 37))
    first = est.predict(X)
    kept = first.copy()
    second = est.predict(X + 1)
    assert not np.shares_memory(first, second)
    np.testing.assert_array_equal(first, kept)
    first[...] = 0  # is writeable, and nobody else's
    np.testing.assert_array_equal(est.predict(X), kept)


# ---- what is refused ----

REFUSED = {
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "one dimension": lambda X: X[0],
    "no dimension": lambda X: X[0, 0],
    "three dimensions": lambda X: X[None],
    "too few columns": lambda X: X[:, :-1],
    "too many columns": lambda X: np.c_[X, X[:, 0]],
    "CSR, no rows": lambda X: sparse.csr_array(X[:0]),
    "CSR, too few columns": lambda X: sparse.csr_array(X[:, :-1]),
    "complex": lambda X: X + 1j,
    "NaN": lambda X: np.where(np.arange(X.size).reshape(X.shape) == 5, np.nan, X),
    "infinity": lambda X: np.where(np.arange(X.size).reshape(X.shape) == 5, -np.inf, X),
    "a matrix": lambda X: X.view(np.matrix),
    "objects that are no numbers": lambda X: np.where(X == X[1, 1], "a", X.astype(object)),
}


@pytest.mark.parametrize("n", [3, 300])
@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("cls", ["MLPClassifier", "MLPRegressor"])
def test_what_scikit_learn_refuses_is_refused_in_its_words(cls, name, n):
    X = RNG.normal(size=(300, 37))
    y = (X[:, 0] > 0).astype(int)
    bad = REFUSED[name](X[:n])
    errors = []
    for kind in (
        {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[cls],
        getattr(sklearn.neural_network, cls),
    ):
        est = kind(hidden_layer_sizes=(100,), max_iter=1, random_state=0).fit(X, y)
        for method in ("predict", "predict_proba", "predict_log_proba"):
            if hasattr(est, method):
                with pytest.raises((ValueError, TypeError)) as error:
                    getattr(est, method)(bad)
                errors.append((type(error.value), str(error.value)))
    half = len(errors) // 2
    assert errors[:half] == errors[half:]
