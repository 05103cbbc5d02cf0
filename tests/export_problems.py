"""Fitted estimators of every kind to export, and cells as models in other languages take them."""

import datetime
import warnings
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from tabular_problems import small

from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor, _core
from fastbp._export.description import Numbers, describe
from fastbp.tabular import _cells

WORDS = ["red", "grün", "", 'a "b" \\', "1", "??/"]
EPOCH = datetime.datetime(1970, 1, 1)


def days(rng, n):
    return [EPOCH + datetime.timedelta(seconds=float(s)) for s in rng.integers(0, 2 * 10**9, n)]


def chosen(rng, values, n):
    return [values[i] for i in rng.integers(0, len(values), n)]


def with_gaps(rng, cells):
    return [None if rng.random() < 0.2 else cell for cell in cells]


# Of each kind of column, the cells of n rows.
KINDS = {
    "numbers": lambda rng, n: rng.normal(size=n).tolist(),
    "gaps": lambda rng, n: with_gaps(rng, rng.lognormal(3, 2, n).tolist()),
    "huge": lambda rng, n: (rng.uniform(-1.7, 1.7, n) * 1e308).tolist(),
    "tiny": lambda rng, n: with_gaps(rng, (rng.normal(size=n) * 1e-300).tolist()),
    "ids": lambda rng, n: (10**12 + rng.integers(0, 5000, n)).tolist(),
    "few numbers": lambda rng, n: rng.integers(0, 4, n).tolist(),
    "constant": lambda rng, n: [7.0] * n,
    "nothing": lambda rng, n: [None] * n,
    "there or not": lambda rng, n: with_gaps(rng, [7.0] * n),
    "dates": lambda rng, n: with_gaps(rng, days(rng, n)),
    "durations": lambda rng, n: [datetime.timedelta(hours=h) for h in rng.random(n)],
    "text": lambda rng, n: with_gaps(rng, chosen(rng, WORDS[:2] + WORDS[3:], n)),
    "text without gaps": lambda rng, n: chosen(rng, WORDS, n),
    "one text": lambda rng, n: ["only"] * n,
    "text or not": lambda rng, n: with_gaps(rng, ["only"] * n),
    "postal codes": lambda rng, n: chosen(rng, ["01234", "99999", "00000"], n),
    "flags": lambda rng, n: with_gaps(rng, chosen(rng, [True, False], n)),
    "integers": lambda rng, n: with_gaps(rng, chosen(rng, [-5, 10, 2**40, 0], n)),
    "integers without gaps": lambda rng, n: chosen(rng, [3, 1, 2], n),
    "halves": lambda rng, n: with_gaps(rng, chosen(rng, [0.5, 1.5, 2, -0.25], n)),
    "one integer": lambda rng, n: [4] * n,
}
CATEGORIES = [*KINDS][[*KINDS].index("text") :]
# Categories that no row has in training, and numbers outside of its range.
UNSEEN = {
    "huge": [1.79e308, -1.79e308, 0.0],
    "tiny": [1e-290, 5e-324, 0.0],
    "dates": [datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)],
    "durations": [datetime.timedelta(days=9), datetime.timedelta(days=-9)],
    "postal codes": ["1234", "012345"],
    "flags": [4, 2.5, -9e300],
    **dict.fromkeys([kind for kind in KINDS if "integer" in kind], [4, 2.5, -9e300]),
    "halves": [0.75, 3, 1e300],
    **dict.fromkeys([kind for kind in KINDS if "text" in kind], ["unseen", "RED", "redd", "gr"]),
}
UNSEEN_NUMBERS = [-1e9, 1e9, 0.0, 12345.678]


class Lazily(dict):
    """What functions return, by name; each is called when it is first asked for."""

    def __getitem__(self, name):
        found = super().__getitem__(name)
        if callable(found):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of dates, and of few epochs
                found = self[name] = found()
        return found


class Problem(NamedTuple):
    """A fitted estimator, and rows to predict."""

    estimator: Any
    X: np.ndarray

    def expected(self):
        """Numbers of shape (n_rows, n_outputs)."""
        predict = getattr(self.estimator, "predict_proba", self.estimator.predict)
        classes = getattr(self.estimator, "classes_", None)
        found = predict(self.X).reshape(len(self.X), -1)
        return found if classes is None else found[:, : len(classes)]

    def deviations(self):
        return self.estimator.predict(self.X, return_std=True)[1].reshape(len(self.X), -1)

    @property
    def tolerance(self):
        return ("export", describe(self.estimator).dtype.name)


# ---- tables ----


def array_of(columns):
    X = np.empty((len(columns[0]), len(columns)), dtype=object)
    for place, cells in enumerate(columns):
        X[:, place] = cells
    return X


def table(kinds, rng, n):
    return array_of([KINDS[kind](rng, n) for kind in kinds])


def other_rows(kinds, X, rng):
    """Rows of cells that were there, new ones, ones far out or unseen, and missing ones."""
    columns = []
    for place, kind in enumerate(kinds):
        unseen = UNSEEN.get(kind, UNSEEN_NUMBERS)
        pool = [*X[:30, place], *KINDS[kind](rng, 30), *unseen * 3, *[None] * 8]
        columns.append(chosen(rng, pool, 90))
    return array_of(columns)


def tabular_problem(kinds, target="numbers", seed=0, **params):
    rng = np.random.default_rng(seed)
    X = table(kinds, rng, 150)
    cls = TabularRegressor if target in ("numbers", "two numbers", "one number") else None
    estimator = small(
        cls or TabularClassifier,
        categorical_features=[kind in CATEGORIES for kind in kinds],
        **{"max_iter": 3, **params},
    )
    return Problem(estimator.fit(X, TARGETS[target](rng, 150)), other_rows(kinds, X, rng))


def in_another_order(kinds):
    """A table whose labels do not rise with their codes, as in files that others have made."""
    problem = tabular_problem(kinds, dtype="float64")
    for encoder in problem.estimator._fitted.net.encoding._encoders:
        n = len(encoder.codes)
        encoder.codes = {label: (code + 1) % n for label, code in encoder.codes.items()}
    return problem


def indicators(rng, n):
    return (rng.random((n, 3)) < 0.5).astype(int)


TARGETS = {
    "numbers": lambda rng, n: 100 + rng.normal(size=n),
    "two numbers": lambda rng, n: np.c_[rng.normal(size=n), np.full(n, 3.0)],
    "one number": lambda rng, n: np.full(n, -2.5),
    "two classes": lambda rng, n: rng.integers(0, 2, n).astype(bool),
    "classes": lambda rng, n: np.array(["b", "ä", "c"])[rng.integers(0, 3, n)],
    "one class": lambda rng, n: np.full(n, 5),
    "labels": indicators,
}


def tables():
    """Problems of tables: every target, members and temperature; all kinds of columns."""
    every = [*KINDS]
    for target in TARGETS:
        for dtype in ("float32", "float64"):
            for members in (1, 3):
                if dtype == "float32" or target in ("numbers", "classes", "labels"):
                    name = f"table, {target}, {dtype}, {members}"
                    params = dict(dtype=dtype, n_estimators=members)
                    yield name, partial(tabular_problem, every, target, **params)
    for seed, target in enumerate(TARGETS):
        rng = np.random.default_rng(seed)
        some = [every[i] for i in rng.permutation(len(every))[: rng.integers(1, 8)]]
        params = dict(dtype="float64", n_bins=[2, 5, 200][seed % 3], activation="mish")
        yield (
            f"table, {target}, {len(some)} columns",
            partial(tabular_problem, some, target, seed, **params),
        )
    params = dict(dtype="float64", hidden_layer_sizes=())
    yield "table, no hidden layer", partial(tabular_problem, every, **params)
    yield "table, one number, without text", partial(tabular_problem, ["numbers"], "one number")
    yield "table, another order", partial(in_another_order, ["text", "integers", "halves"])
    for kind in KINDS:
        params = dict(dtype="float64", hidden_layer_sizes=(3,))
        yield f"table, {kind} alone", partial(tabular_problem, [kind], **params)


# ---- plain estimators ----

SETTINGS = dict(max_iter=4, learning_rate_init=0.02, random_state=0)
LOSSES = {
    "squared_error": {},
    "absolute_error": {},
    "poisson": {},
    "gamma": {},
    "quantile": {"quantile": [0.1, 0.9]},
    "gaussian_nll": {},
}


def plain():
    """Problems of the plain estimators: activations, losses, kinds of labels."""
    names = [*_core.ACTIVATIONS]
    for dtype in ("float32", "float64"):
        for two in zip(names, names[1:] + names[:1], strict=True):
            params = dict(hidden_layer_sizes=(7, 5), activation=[*two], dtype=dtype)
            yield f"net, {', '.join(two)}, {dtype}", partial(regression, 2, **params)
        for loss, params in LOSSES.items():
            yield f"net, {loss}, {dtype}", partial(regression, 1, loss=loss, dtype=dtype, **params)
        for target in ("two classes", "classes", "one class", "labels"):
            yield f"net, {target}, {dtype}", partial(classification, target, dtype)
    for function in ("identity", "exp", "softmax"):
        yield f"net, two classes by {function}", partial(with_function, function)
    params = dict(hidden_layer_sizes=(), dtype="float64")
    yield "net, no hidden layer", partial(regression, 1, **params)
    params = dict(loss="gaussian_nll", dtype="float64")
    yield "net, two means and deviations", partial(regression, 2, **params)
    yield "net, deviations whose squares are infinite", large_deviations
    yield OVERFLOWS, sum_of_features


def regression(n_outputs, **params):
    rng = np.random.default_rng(1)
    X, new = rng.normal(size=(80, 4)), 3 * rng.normal(size=(40, 4))
    y = np.abs(X[:, :n_outputs]) + 0.1
    net = MLPRegressor(**{"hidden_layer_sizes": (6,), **SETTINGS, **params})
    return Problem(net.fit(X, y[:, 0] if n_outputs == 1 else y), new)


OVERFLOWS = "net, deviations of the sum of the features"


def sum_of_features():
    """A net whose deviations are infinite where the sum of four numbers of float32 is."""
    params = dict(loss="gaussian_nll", hidden_layer_sizes=(), dtype="float32")
    problem = regression(1, **params)
    problem.estimator.coefs_[0][:, 1] = 1
    return problem


def large_deviations():
    problem = regression(1, loss="gaussian_nll", dtype="float64")
    problem.estimator.intercepts_[-1][1] = 1400
    return problem


def classification(target, dtype):
    rng = np.random.default_rng(1)
    X, new = rng.normal(size=(80, 4)), 3 * rng.normal(size=(40, 4))
    net = MLPClassifier(hidden_layer_sizes=(6,), dtype=dtype, **SETTINGS)
    return Problem(net.fit(X, TARGETS[target](rng, 80)), new)


def with_function(function):
    """Two classes by another output activation than that of the fit."""
    problem = classification("two classes", "float64")
    problem.estimator.out_activation_ = function
    return problem


# By name.
EVERY = Lazily([*plain(), *tables()])

# ---- cells as numbers ----


def number_of(cell):
    """A cell of a column that is no text, as a float: NaN where it is missing."""
    if cell is None:
        return np.nan
    if isinstance(cell, datetime.datetime):
        return (cell - EPOCH).total_seconds()
    return cell.total_seconds() if isinstance(cell, datetime.timedelta) else float(cell)


def text_of(cell):
    """A cell of a column of text."""
    return None if cell is None else _cells.text_of(cell)


def is_text(column):
    return not isinstance(column, Numbers) and column.of_text
