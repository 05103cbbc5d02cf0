"""Small problems, fits and comparisons shared by the tests of the estimators."""

import numpy as np
import pytest
import reference
from scipy import sparse
from sklearn.datasets import load_digits, make_regression

from fastbp import MLPClassifier, MLPRegressor

DIGITS, DIGIT_LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS[:300] / 16
DIGIT_LABELS = DIGIT_LABELS[:300]
X_REG, Y_REG = make_regression(120, 6, random_state=0)
Y_REG = Y_REG / np.abs(Y_REG).max()


def small(cls, **params):
    return cls(**{"hidden_layer_sizes": (12,), "max_iter": 5, "random_state": 0, **params})


def fitted(cls, **params):
    data = (DIGITS, DIGIT_LABELS) if cls is MLPClassifier else (X_REG, Y_REG)
    return small(cls, **params).fit(*data)


def inputs(cls):
    return DIGITS if cls is MLPClassifier else X_REG


def targets(cls):
    return DIGIT_LABELS if cls is MLPClassifier else Y_REG


def raw_output(est, X):
    return est.predict_proba(X) if hasattr(est, "predict_proba") else est.predict(X)


def assert_equal_params(a, b):
    for left, right in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_array_equal(left, right)


both = pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])


# ---- predictions by NumPy in float64 ----


def layers_in_float64(est, X):
    """Activations of the hidden layers by NumPy."""
    layers = []
    for W, b in zip(est.coefs_[:-1], est.intercepts_[:-1], strict=True):
        z = (layers[-1] if layers else X) @ W.astype(np.float64) + b
        layers.append(reference.ACTIVATIONS[est.activation].value(z))
    return layers


def output_in_float64(est, X, raw=False):
    """The net's output by NumPy; `raw`: z of the last layer."""
    X = (X.toarray() if sparse.issparse(X) else np.asarray(X)).astype(np.float64)
    a = [X, *layers_in_float64(est, X)][-1]
    z = a @ est.coefs_[-1].astype(np.float64) + est.intercepts_[-1]
    loss = {"softmax": "log_loss", "logistic": "binary_log_loss", "exp": "poisson"}
    return z if raw else reference.LOSSES[loss.get(est.out_activation_, "squared_error")].output(z)


def output_of(est, X):
    """The same by the estimator, always two-dimensional."""
    if not hasattr(est, "predict_proba"):
        return est.predict(X).reshape(X.shape[0], -1)
    proba = est.predict_proba(X)
    return proba[:, 1:] if est.n_outputs_ == 1 else proba


def assert_near(actual, expected, tolerance):
    """Relative to the largest of the numbers."""
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def is_in_float64(est, n):
    """Tell whether predictions of n rows are promised in float64, whatever the net's dtype."""
    return n <= 8 or n * est._params.flat.size < 1 << 20 or est.dtype == "float64"
