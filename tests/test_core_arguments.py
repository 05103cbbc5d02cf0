"""The interface of the core trusts what the Python layer has checked, but not its bounds."""

import numpy as np
import pytest
from conftest import make_params
from scipy import sparse

from fastbp import _core

SIZES, N = (6, 9, 3), 20
RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(N, 6)), RNG.normal(size=(N, 3))
PARAMS = make_params(SIZES, RNG)


def trainer(optimizer="none", **more):
    return _core.Trainer(SIZES, ("tanh",), "squared_error", "float64", 8, optimizer, **more)


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def epoch(params=PARAMS, state=None, data=None, batch=8, order=None, optimizer="sgd"):
    state = (np.zeros_like(PARAMS),) if state is None else state
    data = _core.Data(X, Y) if data is None else data
    return trainer(optimizer).train_epoch(
        params.copy() if params is PARAMS else params,
        state, data, order, batch, alpha=0.0, learning_rate=0.1,
    )  # fmt: skip


def short_csr():
    X_csr = sparse.csr_matrix(X)
    X_csr.indptr = X_csr.indptr[:-1]
    return _core.Data(X_csr)


def mixed_csr():
    X_csr = sparse.csr_matrix(X)
    X_csr.indptr = X_csr.indptr.astype(np.int64)
    return _core.Data(X_csr)


REFUSED = {
    "read-only params": (lambda: epoch(params=read_only(PARAMS)), "params must be writeable"),
    "read-only state": (lambda: epoch(state=(read_only(PARAMS),)), "state must be writeable"),
    "short params": (lambda: epoch(params=PARAMS[:-1].copy()), "params must be a contiguous"),
    "narrow params": (
        lambda: epoch(params=PARAMS.astype("float32")),
        "params must be a contiguous",
    ),
    "state of another optimizer": (lambda: epoch(optimizer="adam"), "state has 1 vectors"),
    "a large mini-batch": (lambda: epoch(batch=9), "batch_size must be between 1 and 8, got 9"),
    "an empty mini-batch": (lambda: epoch(batch=0), "batch_size must be between 1 and 8, got 0"),
    "wide X": (lambda: epoch(data=_core.Data(np.ones((N, 7)), Y)), "X has 7 features"),
    "wide y": (lambda: epoch(data=_core.Data(X, np.ones((N, 4)))), "y has 4 columns"),
    "y as wide as means and deviations": (
        lambda: _core.Trainer((6, 4), (), "gaussian_nll", "float64", 8).loss(
            np.zeros(28), _core.Data(X, np.ones((N, 4)))
        ),
        "y has 4 columns, the net has 4 outputs and takes 2",
    ),
    "a mean without a deviation": (
        lambda: _core.Trainer(SIZES, ("tanh",), "gaussian_nll", "float64", 8),
        "needs 2 outputs for each column of y, the net has 3",
    ),
    "a parameter too few": (lambda: trainer(loss_params=(1.0, 1.0)), "one number per output, 3"),
    "no y": (lambda: epoch(data=_core.Data(X)), "data has no y"),
    "classes": (lambda: epoch(data=_core.Data(X, np.zeros(N, np.int32))), "class indices as y"),
    "y of other rows": (lambda: _core.Data(X, Y[:-1]), "with 20 rows"),
    "weights of other rows": (lambda: _core.Data(X, Y, np.ones(N - 1)), "one number per row"),
    "an order of int32": (lambda: epoch(order=np.arange(N, dtype=np.int32)), "order must be"),
    "a trainer that measures": (
        lambda: trainer(measure=True).loss(PARAMS, _core.Data(X, Y)),
        "only measures",
    ),
    "dense X for entries": (
        lambda: trainer(sparse=True).loss(PARAMS, _core.Data(X, Y)),
        "made for CSR",
    ),
    "a gradient of the wrong trainer": (
        lambda: trainer("sgd").value_and_grad(PARAMS, _core.Data(X, Y), PARAMS.copy()),
        "optimizer 'none'",
    ),
    "a narrow output": (
        lambda: trainer().forward(PARAMS, _core.Data(X), np.empty((N, 2))),
        "out must be",
    ),
    "a short index array": (short_csr, r"X.indptr must have 21 numbers"),
    "activations": (
        lambda: _core.Trainer(SIZES, (), "squared_error", "float64", 8),
        "one activation per hidden layer",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(what):
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_index_arrays_of_two_types_are_refused():
    with pytest.raises(TypeError, match="both be int32 or both int64"):
        mixed_csr()
