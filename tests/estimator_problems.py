"""Small problems, fits and comparisons shared by the tests of the estimators."""

import numpy as np
import pytest
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
