"""A first layer from CSR rows works from the non-zeros and gives what dense rows give."""

import numpy as np
import pytest
import scipy.sparse as sp
from conftest import TOLERANCE, random_csr, relative_error

import fastbp
from fastbp import _core
from fastbp._input.arrays import core_rows

WIDTHS = [1, 3, 15, 16, 17, 100, 129]


def random_rows(n_rows, n_features, density, dtype, seed=0):
    rng = np.random.default_rng(seed)
    X = random_csr((n_rows, n_features), density, rng, dtype)
    X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    return X


def gradient(X, y, sizes, dtype, *, sparse, n_threads=1, batch=50, max_memory=0, weight=None):
    acts = ("tanh",) * (len(sizes) - 2)
    trainer = _core.Trainer(
        sizes, acts, "squared_error", dtype, batch, "none", n_threads, max_memory, sparse
    )
    params = np.random.default_rng(1).uniform(-0.5, 0.5, trainer.n_params).astype(dtype)
    grad = np.empty_like(params)
    loss = trainer.value_and_grad(params, _core.Data(X, y, weight), grad, alpha=0.1)
    return loss, grad


@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", WIDTHS)
def test_gradient_from_non_zeros_equals_dense(width, dtype, dense, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    X = random_rows(120, 300, 0.05, np.float64)
    y = np.random.default_rng(2).standard_normal((120, 2))
    sizes = (300, width, 2)
    loss, grad = gradient(X.toarray(), y, sizes, dtype, sparse=False)
    sparse_loss, sparse_grad = gradient(X, y, sizes, dtype, sparse=True)
    assert sparse_loss == pytest.approx(loss, rel=TOLERANCE["twin", dtype])
    assert relative_error(sparse_grad, grad) <= TOLERANCE["twin", dtype]


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("values", [np.float32, np.float64])
def test_every_kind_of_csr(index, values):
    # Rows without entries, with more than a chunk of them, unsorted, and with duplicates.
    rng = np.random.default_rng(3)
    lengths = [0, 700, 1, 256, 257, 0, 5]
    columns = np.concatenate([rng.integers(0, 900, k) for k in lengths])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    entries = (rng.integers(-4, 5, len(columns)).astype(values), columns, indptr)
    X = sp.csr_array(entries, shape=(len(lengths), 900))
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    y = rng.standard_normal((len(lengths), 1))
    loss, grad = gradient(X.toarray(), y, (900, 20, 1), "float64", sparse=False)
    sparse_loss, sparse_grad = gradient(X, y, (900, 20, 1), "float64", sparse=True)
    assert sparse_loss == pytest.approx(loss, rel=1e-12)
    assert relative_error(sparse_grad, grad) <= 1e-12


def test_no_hidden_layer_and_micro_batches():
    X = random_rows(200, 5000, 0.01, np.float64)
    y = np.random.default_rng(4).standard_normal((200, 3))
    weight = np.random.default_rng(5).uniform(0, 2, 200)
    for sizes in ((5000, 3), (5000, 30, 3)):
        _, whole = gradient(X, y, sizes, "float64", sparse=True, batch=200, weight=weight)
        _, parts = gradient(
            X, y, sizes, "float64", sparse=True, batch=200, max_memory=60_000, weight=weight
        )
        assert relative_error(parts, whole) <= 1e-12


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_for_any_number_of_threads(dtype):
    X = random_rows(400, 8000, 0.01, np.float32)
    y = np.random.default_rng(6).integers(0, 5, 400).astype(np.int32)
    results = []
    for n_threads in (1, 2, 3, 8):
        trainer = _core.Trainer(
            (8000, 60, 5), ("relu",), "log_loss", dtype, 100, "adam", n_threads, 0, True
        )
        assert trainer.n_threads == n_threads
        params = np.random.default_rng(7).uniform(-0.1, 0.1, trainer.n_params).astype(dtype)
        state = (np.zeros_like(params), np.zeros_like(params))
        data, order = _core.Data(X, y), np.arange(400)
        trainer.train_epoch(params, state, data, order, 100, alpha=1e-4, learning_rate=1e-3)
        results.append(params.tobytes())
    assert all(result == results[0] for result in results)


def test_arena_holds_no_dense_row():
    plan = {}
    for sparse in (False, True):
        plan[sparse] = _core.plan(
            (20_000, 100, 20), ("relu",), "log_loss", "float32", 200, "adam", 1, 0, sparse
        )
    assert plan[False]["arena_bytes"] - plan[True]["arena_bytes"] >= 200 * 20_000 * 4
    assert "x" not in [row[0] for row in plan[True]["rows"]]


def test_estimator_learns_the_same_from_sparse_and_dense():
    X = random_rows(300, 400, 0.03, np.float64)
    y = (np.asarray(X.sum(axis=1)).ravel() > 6).astype(int)
    settings = {"random_state": 0, "max_iter": 300, "dtype": "float64", "tol": 0.1}
    a = fastbp.MLPClassifier((20,), **settings).fit(X, y)
    b = fastbp.MLPClassifier((20,), **settings).fit(X.toarray(), y)
    np.testing.assert_allclose(a.loss_curve_, b.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(a.predict_proba(X), b.predict_proba(X.toarray()), rtol=1e-7)
    assert "x" not in [row.name for row in a.memory_plan_.rows]


@pytest.mark.parametrize(
    ("part", "position", "number"),
    [("indices", 0, 400), ("indices", 3, -1), ("indptr", 5, 10**6), ("indptr", 0, 1)],
)
def test_broken_csr_is_refused(part, position, number):
    X, y = random_rows(50, 400, 0.05, np.float64), np.zeros(50)
    net = fastbp.Network((400, 1))
    est = fastbp.MLPRegressor(hidden_layer_sizes=(3,), solver="lbfgs").fit(X, y)
    getattr(X, part)[position] = number
    doors = {
        "core_rows": lambda: core_rows(X),
        "forward": lambda: net.forward(net.init_params(0), X),
        "loss": lambda: net.loss(net.init_params(0), X, y),
        "fit": lambda: est.fit(X, y),
        "predict": lambda: est.predict(X),
    }
    for call in doors.values():
        with pytest.raises(ValueError, match=f"X.{part}"):
            call()


def test_gathered_rows_of_a_short_last_pass():
    """A thread whose rows are beyond the end of the last pass has nothing to gather."""
    X = random_rows(300, 400, 0.5, np.float64)
    outputs = []
    for rows in (X, X.toarray()):
        trainer = _core.Trainer(
            (400, 60, 5), ("relu",), "log_loss", "float64", 256, n_threads=3, forward_only=True
        )
        assert trainer.n_threads == 3
        params = np.random.default_rng(7).uniform(-0.1, 0.1, trainer.n_params)
        outputs.append(np.empty((300, 5)))
        trainer.forward(params, _core.Data(rows), outputs[-1])
    np.testing.assert_array_equal(*outputs)


def test_gathered_rows_of_many_entries():
    """Entries are read some hundred at a time."""
    X = random_rows(20, 900, 0.9, np.float64)
    y = np.random.default_rng(4).standard_normal((20, 3))
    loss, grad = gradient(X.toarray(), y, (900, 20, 3), "float64", sparse=False)
    gathered_loss, gathered_grad = gradient(X, y, (900, 20, 3), "float64", sparse=False)
    assert gathered_loss == loss
    np.testing.assert_array_equal(gathered_grad, grad)
