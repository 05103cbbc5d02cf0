"""Small tables, and quick estimators of them."""

import threading

import numpy as np
import pytest

from fastbp import TabularClassifier, TabularRegressor
from fastbp.tabular import _loop

SMALL = {"hidden_layer_sizes": (16,), "max_iter": 4, "n_bins": 8, "batch_size": 32}
SMALL |= {"n_estimators": 1, "n_iter_no_change": 99}


def small(cls, **params):
    return cls(**{**SMALL, "random_state": 0, "n_threads": 1, **params})


def table(n=200, seed=0):
    """Two columns of numbers, with gaps, and one of categories, as an array of objects."""
    rng = np.random.default_rng(seed)
    X = np.empty((n, 3), dtype=object)
    X[:, 0] = rng.normal(size=n)
    X[:, 1] = rng.lognormal(size=n)
    X[rng.random(n) < 0.1, 1] = None
    X[:, 2] = rng.choice(["red", "green", "blue"], n)
    return X


def frame(n=200, seed=0):
    """The same as a data frame."""
    pd = pytest.importorskip("pandas")
    X = table(n, seed)
    return pd.DataFrame({"a": X[:, 0].astype(float), "b": X[:, 1].astype(float), "color": X[:, 2]})


def numbers(X):
    """Targets of the rows of `table` that can be learnt."""
    return X[:, 0].astype(float) + (X[:, 2] == "red")


def targets(cls, X):
    y = numbers(X)
    if cls is TabularRegressor:
        return y
    return np.select([y < -0.3, y < 0.7], ["low", "middle"], "top")


def fitted(cls, n=200, **params):
    X = table(n)
    return small(cls, **params).fit(X, targets(cls, X))


def output(est, X):
    return est.predict_proba(X) if hasattr(est, "predict_proba") else est.predict(X)


def workers_alive():
    """The threads in which members train."""
    return [t for t in threading.enumerate() if t.name.startswith(_loop.NAME)]


both = pytest.mark.parametrize("cls", [TabularClassifier, TabularRegressor])
