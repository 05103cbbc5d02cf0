"""Fits and predictions from end to end, as a user calls them, on the digits data."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

import fastbp


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X.astype(np.float32) / 16, y


@pytest.fixture(scope="module")
def fitted(digits):
    return _fit(*digits)


def _fit(X, y, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fastbp.MLPClassifier(
            (64,), max_iter=20, n_iter_no_change=np.inf, random_state=0, **parameters
        ).fit(X, y)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fit(benchmark, digits, dtype):
    benchmark.group = "fit"
    model = benchmark(_fit, *digits, dtype=dtype)
    assert model.score(*digits) > 0.9


def test_fit_lbfgs(benchmark, digits):
    benchmark.group = "fit"
    assert benchmark(_fit, *digits, solver="lbfgs").score(*digits) > 0.9


def test_fit_early_stopping(benchmark, digits):
    benchmark.group = "fit"
    assert benchmark(_fit, *digits, early_stopping=True).score(*digits) > 0.9


def test_fit_sparse(benchmark, digits):
    benchmark.group = "fit"
    assert benchmark(_fit, sparse.csr_matrix(digits[0]), digits[1]).score(*digits) > 0.9


@pytest.mark.parametrize("rows", [1, 1797])
def test_predict_proba(benchmark, fitted, digits, rows):
    benchmark.group = f"predict {rows}"
    assert benchmark(fitted.predict_proba, digits[0][:rows]).shape == (rows, 10)


def test_value_and_grad(benchmark):
    """The gradient of 24-8(tanh)-2 on 200 rows, float64."""
    rng = np.random.default_rng(0)
    net = fastbp.Network((24, 8, 2), activation="tanh", dtype="float64", batch_size=200)
    params, out = net.init_params(0), np.empty(net.n_params)
    X, y = rng.standard_normal((200, 24)), rng.standard_normal((200, 2))
    benchmark.group = "gradient"
    loss, grad = benchmark(net.value_and_grad, params, X, y, out=out)
    assert np.isfinite(loss) and np.isfinite(grad).all()


@pytest.mark.parametrize("shuffle", [False, True], ids=["in order", "shuffled"])
@pytest.mark.parametrize("epochs", [20, 120])
def test_epochs_of_a_small_net(benchmark, shuffle, epochs):
    """Epochs of 4-32-32-1, 100 steps each: what 100 of them add is the engine's and Python's."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((6400, 4), "float32"), rng.standard_normal(6400, "float32")
    model = fastbp.MLPRegressor(
        hidden_layer_sizes=(32, 32), batch_size=64, max_iter=epochs, shuffle=shuffle,
        n_iter_no_change=np.inf, random_state=0, n_threads=1,
    )  # fmt: skip

    def fit():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            return model.fit(X, y)

    benchmark.group = f"{epochs} epochs of sciml"
    assert benchmark(fit).n_iter_ == epochs
