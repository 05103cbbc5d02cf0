"""Fits of many kinds, for the tests of checkpoints: in this process, or killed in another one."""

import numpy as np
import tabular_problems
from differences import difference
from scipy import sparse
from sklearn.datasets import load_digits, make_regression

from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor

DIGITS, LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS / 16


def half_square(output, y, sample_weight):
    return 0.5 * ((output - y) ** 2).sum(axis=1), output - y


def absolute_error(est, X, y):
    return -np.abs(est.predict(X) - y).mean()


class Problem:
    """Rows and targets; a larger one takes about a second to fit."""

    def __init__(self, is_large):
        n = 1500 if is_large else 150
        self.X, self.digits = DIGITS[:n], LABELS[:n]
        self.X_val, self.digits_val = DIGITS[n : n + 60], LABELS[n : n + 60]
        self.x, self.y = make_regression(n, 6, noise=1.0, random_state=0)
        self.y = self.y / np.abs(self.y).max()
        self.several = np.stack([self.digits % 2, self.digits > 4], axis=1).astype(int)
        self.weight = np.random.default_rng(0).uniform(0.5, 2, n)
        self.table = tabular_problems.table(n)
        # Small: some epochs of a few steps.
        self.settings = {"hidden_layer_sizes": (12,), "batch_size": 50, "max_iter": 4}
        self.of_members, self.iterations = {}, {"max_iter": 9}
        if is_large:
            self.settings = {"hidden_layer_sizes": (200, 100), "batch_size": 50, "max_iter": 25}
            self.iterations = {"max_iter": 150, "max_fun": 150}
            self.of_members = {"hidden_layer_sizes": (128, 128), "max_iter": 20}

    def classifier(self, params, y=None, X=None, **fit):
        est = MLPClassifier(**{**self.settings, "random_state": 0, **params})
        return est.fit(self.X if X is None else X, self.digits if y is None else y, **fit)

    def regressor(self, params, **fit):
        return MLPRegressor(**{**self.settings, "random_state": 0, **params}).fit(
            self.x, self.y, **fit
        )

    def started(self, params, checkpoint):
        """Goes on from a fit without a checkpoint, with what a generator of its own draws."""
        est = MLPClassifier(**self.settings, random_state=np.random.RandomState(3), **params)
        est.set_params(warm_start=True).fit(self.X, self.digits)
        return est.set_params(**checkpoint).fit(self.X, self.digits, self.weight)

    def tabular(self, cls, params, **fit):
        est = tabular_problems.small(cls, **{**self.of_members, **params})
        return est.fit(self.table, tabular_problems.targets(cls, self.table), **fit)

    def validated(self):
        return {"X_val": self.X_val, "y_val": self.digits_val}


# Each is given a problem and the parameters of the checkpoint, if there is one.
FITS = {
    "adam": lambda p, c: p.classifier({"early_stopping": False, **c}, sample_weight=p.weight),
    "sgd, adaptive": lambda p, c: p.regressor(
        {
            **{"solver": "sgd", "learning_rate": "adaptive", "tol": 1.0, "n_iter_no_change": 1},
            **c,
        }
    ),
    "sgd, invscaling, as they stand": lambda p, c: p.classifier(
        {
            **{"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.1},
            **{"nesterovs_momentum": False, "shuffle": False, **c},
        }
    ),
    "adamw, cosine, clipped": lambda p, c: p.classifier(
        {"solver": "adamw", "learning_rate": "cosine", "warmup": 0.3, "max_grad_norm": 0.1, **c}
    ),
    "lbfgs": lambda p, c: p.regressor({"solver": "lbfgs", **p.iterations, **c}),
    "lbfgs, watched": lambda p, c: p.classifier(
        {"solver": "lbfgs", **p.iterations, **c}, **p.validated()
    ),
    "early stopping": lambda p, c: p.classifier(
        {"early_stopping": True, "validation_fraction": 0.2, "n_iter_no_change": 2, **c}
    ),
    "own rows to validate": lambda p, c: p.classifier(
        {"early_stopping": True, "scoring": "neg_log_loss", **c}, **p.validated()
    ),
    "a scorer, unshared": lambda p, c: p.regressor(
        {"early_stopping": True, "scoring": absolute_error, **c}
    ),
    "average, dropout": lambda p, c: p.classifier(
        {"ema_decay": 0.9, "dropout": 0.3, "input_dropout": 0.1, "early_stopping": True, **c}
    ),
    "sparse": lambda p, c: p.classifier(c, X=sparse.csr_array(p.X)),
    "warm start": lambda p, c: p.started({"early_stopping": True}, c),
    "warm start, all rows": lambda p, c: p.started({}, c),
    "two classes": lambda p, c: p.classifier(
        {"class_weight": "balanced", "dtype": "float64", **c}, y=p.digits > 4
    ),
    "several labels": lambda p, c: p.classifier({"learning_rate": "one_cycle", **c}, y=p.several),
    "own loss": lambda p, c: p.regressor({"loss": half_square, **c}),
    "few rows": lambda p, c: p.classifier({"batch_size": 10, **c}, X=p.X[:40], y=p.digits[:40]),
    "table": lambda p, c: p.tabular(TabularRegressor, {"early_stopping": False, **c}),
    "table, members": lambda p, c: p.tabular(
        TabularClassifier, {"n_estimators": 3, "n_threads": 2, **c}
    ),
    "table, stopping": lambda p, c: p.tabular(
        TabularClassifier, {"n_iter_no_change": 1, "max_iter": 9, **c}
    ),
}


def comparable(est):
    """The estimator without what may differ: seconds, and the parameters of the checkpoint."""
    est._history = [(0.0, *row[1:]) for row in est._history]
    return est.set_params(checkpoint=None, checkpoint_interval=60.0, n_threads=None)


def unlike(a, b):
    """Where two estimators differ; None if they have the same bits."""
    return difference(comparable(a), comparable(b))
