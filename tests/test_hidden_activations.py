"""`hidden_activations`: a = f(z) of every hidden layer, however the rows are computed."""

import numpy as np
import pytest
import reference
from conftest import TOLERANCE, random_csr, relative_error
from sklearn.exceptions import NotFittedError

from fastbp import MLPClassifier, MLPRegressor, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(700, 40))
Y = np.arange(700) % 3


def expected(est, rows):
    f = reference.ACTIVATIONS[est.activation].value
    a, layers = rows.astype(float), []
    for W, b in zip(est.coefs_[:-1], est.intercepts_[:-1], strict=True):
        a = f(a @ W.astype(float) + b)
        layers.append(a)
    return layers


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_they_are_those_of_the_formula(activation, dtype):
    est = MLPClassifier(
        (300, 50), activation=activation, dtype=dtype, max_iter=1, random_state=0, n_threads=2
    ).fit(X, Y)
    right = expected(est, X)
    for n_rows in (1, 5, 63, 64, 257, 700):
        found = est.hidden_activations(X[:n_rows])
        assert [a.shape for a in found] == [(n_rows, 300), (n_rows, 50)]
        for ours, theirs in zip(found, right, strict=True):
            assert relative_error(ours, theirs[:n_rows]) <= TOLERANCE["twin", dtype]


def test_of_sparse_rows():
    X_csr = random_csr((300, 40), 0.1, RNG)
    est = MLPRegressor(hidden_layer_sizes=(20,), max_iter=1, dtype="float64").fit(X, Y)
    (found,) = est.hidden_activations(X_csr)
    assert relative_error(found, expected(est, X_csr.toarray())[0]) <= TOLERANCE["twin", "float64"]


def test_a_net_without_hidden_layers_has_none():
    est = MLPRegressor(hidden_layer_sizes=(), max_iter=1).fit(X, Y)
    assert est.hidden_activations(X) == []


def test_before_a_fit_there_are_none():
    with pytest.raises(NotFittedError):
        MLPRegressor().hidden_activations(X)
