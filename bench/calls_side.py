"""One side of `calls.py`: the same calls of scikit-learn or of fastbp, in a process of its own.

Both libraries have the same interface, so a side differs from the other in the import alone, and in
the dtype, which scikit-learn takes from X.
"""

import gc
import importlib
import itertools
import statistics
import time
import warnings

import numpy as np
from calls_cases import SEARCH_FITS

MODULES = {"sklearn": "sklearn.neural_network", "fastbp": "fastbp"}
SEED = 20250711
# Rows of X lie in so many blocks of a call's size at most, and calls take them in turn, so that X
# comes from the cache no more often than a user's.
MAX_BLOCKS = 64
MIN_CALLS = 5
# A call so many times as long as the time wanted is not made again.
LONG = 5
BLAS_SIZE = 600
FOLDS = 5
SEARCH_EPOCHS = 5


class Predictions:
    """`predict` of a classifier after a step from the weights that the seed gives on both sides."""

    def __init__(self, library, calls):
        first = calls[0]
        self._X = _normal(2 * max(call.rows for call in calls), first.layers[0])
        y = np.random.default_rng(SEED + 1).integers(first.layers[-1], size=200)
        y[: first.layers[-1]] = range(first.layers[-1])  # all classes are there
        self._model = library.build("MLPClassifier", first, max_iter=1)
        self._model.fit(_normal(len(y), first.layers[0]), y)

    def outcome(self, call):
        """Return probabilities and predicted classes of the first block."""
        X = self._X[: call.rows]
        return self._model.predict_proba(X), self._model.predict(X)

    def timed(self, call):
        """Return what is timed and the arguments that it takes in turn."""
        return self._model.predict, [(X,) for X in _blocks(self._X, call.rows)]


class Updates:
    """`partial_fit` of a regressor."""

    def __init__(self, library, calls):
        self._build = lambda: library.build("MLPRegressor", calls[0])
        self._X, self._y = _regression(MAX_BLOCKS * calls[0].rows, calls[0].layers[0])
        self._model = self._build()

    def outcome(self, call):
        """Return predictions after one step from the weights that the seed gives."""
        X, y = self._X[: call.rows], self._y[: call.rows]
        return self._build().partial_fit(X, y).predict(X), None

    def timed(self, call):
        """Return what is timed and the arguments that it takes in turn."""
        blocks = (_blocks(array, call.rows) for array in (self._X, self._y))
        return self._model.partial_fit, list(zip(*blocks, strict=True))


class Fits:
    """`fit` of a regressor for one epoch."""

    def __init__(self, library, calls):
        self._model = library.build("MLPRegressor", calls[0], max_iter=1)
        self._X, self._y = _regression(MAX_BLOCKS * calls[0].rows, calls[0].layers[0])

    def outcome(self, call):
        """Return predictions after the epoch."""
        X, y = self._X[: call.rows], self._y[: call.rows]
        return self._model.fit(X, y).predict(X), None

    def timed(self, call):
        """Return what is timed and the arguments that it takes in turn."""
        blocks = (_blocks(array, call.rows) for array in (self._X, self._y))
        return self._model.fit, list(zip(*blocks, strict=True))


class Search:
    """A random search over small classifiers, the same candidates on both sides."""

    def __init__(self, library, calls):
        from sklearn.datasets import load_breast_cancer

        X, self._y = load_breast_cancer(return_X_y=True)
        self._X = (X - X.mean(axis=0)) / X.std(axis=0)
        self._model = library.build("MLPClassifier", None, max_iter=SEARCH_EPOCHS)

    def _search(self, scoring):
        from scipy.stats import loguniform
        from sklearn.model_selection import RandomizedSearchCV

        space = {
            "hidden_layer_sizes": [(16,), (32,), (64,), (16, 16), (32, 32)],
            "alpha": loguniform(1e-5, 1e-1),
            "learning_rate_init": loguniform(3e-4, 3e-2),
        }
        return RandomizedSearchCV(
            self._model, space, n_iter=SEARCH_FITS // FOLDS, cv=FOLDS, scoring=scoring,
            refit=False, n_jobs=1, random_state=1, error_score="raise",
        )  # fmt: skip

    def outcome(self, call):
        """Return the Brier score of each fit on the rows that it was not given."""
        found = self._search("neg_brier_score").fit(self._X, self._y).cv_results_
        return np.array([found[f"split{i}_test_score"] for i in range(FOLDS)]), None

    def timed(self, call):
        """Return what is timed and the arguments that it takes in turn."""
        return self._search(None).fit, [(self._X, self._y)]


WORK = {"predict": Predictions, "partial_fit": Updates, "fit": Fits, "search": Search}


class Side:
    """What a side can be asked for.

    Parameters
    ----------
    library : {"sklearn", "fastbp"}
    calls : list of Call
        Of one group.
    """

    def __init__(self, library, calls):
        # Both libraries say that the last epoch was no convergence.
        warnings.simplefilter("ignore")
        self._library, self._module = library, importlib.import_module(MODULES[library])
        self._work = WORK[calls[0].group[0]](self, calls)
        self._matrix = _normal(BLAS_SIZE, BLAS_SIZE)
        gc.collect()
        gc.freeze()  # what the imports made is not looked through during the calls

    def build(self, name, call, **parameters):
        """Make an estimator of this side's library."""
        if call is not None:
            parameters["hidden_layer_sizes"] = call.layers[1:-1]
            # float32 is what fastbp computes in by default.
            if self._library == "fastbp" and call.dtype != "float32":
                parameters["dtype"] = call.dtype
        return getattr(self._module, name)(random_state=0, **parameters)

    def outcome(self, call):
        """Return what the two sides must agree in: numbers, and classes or None."""
        return self._work.outcome(call)

    def seconds(self, call, seconds):
        """Time a call for about so long.

        Returns
        -------
        dict of float
            Medians: ``alone``, and if the call asks for it ``after`` a threaded BLAS product.
        """
        function, inputs = self._work.timed(call)
        found = {"alone": median_seconds(function, inputs, seconds)}
        if call.kind == "predict after BLAS":
            A = self._matrix
            found["after"] = median_seconds(function, inputs, seconds, lambda: A @ A)
        return found


def median_seconds(function, inputs, seconds, before=None):
    """Median time of single calls.

    Parameters
    ----------
    function : callable
    inputs : list of tuple
        Arguments, taken in turn.
    seconds : float
        Calls are made for so long, and `MIN_CALLS` of them at least unless they are `LONG`.
    before : callable, optional
        Called before each call and not timed.

    Returns
    -------
    float
    """
    taken, start, clock = [], time.perf_counter(), time.perf_counter_ns
    for arguments in itertools.cycle(inputs):
        if before is not None:
            before()
        begin = clock()
        function(*arguments)
        taken.append(clock() - begin)
        spent = time.perf_counter() - start
        if spent > LONG * seconds or (spent > seconds and len(taken) >= MIN_CALLS):
            return statistics.median(taken) / 1e9


def _normal(rows, columns):
    return np.random.default_rng(SEED).standard_normal((rows, columns))


def _regression(rows, columns):
    X = _normal(rows, columns)
    return X, np.sin(X[:, 0]) + 0.1 * X[:, 1]


def _blocks(array, rows):
    return [array[i : i + rows] for i in range(0, len(array) - rows + 1, rows)][:MAX_BLOCKS]
