"""``python -m fastbp fit``: train on a table in a file, print scores, save the model."""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from ..memory import human_bytes
from ..tabular import _fit
from . import models
from .reading import SUFFIXES, naming_columns, read_table
from .scores import boosted_trees, constant_guess, print_scores, score_classes, score_numbers

_TASKS = ("classification", "regression")
# Numbers are taken for classes if they are whole, and at most so many differ.
_MAX_WHOLE_CLASSES = 20


def add(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "fit",
        help="train on a table in a file and save the model",
        description="Train on a table (CSV, also gzipped, or Parquet), print the scores of rows "
        "held out beside those of a constant guess and of scikit-learn's HistGradientBoosting, "
        f"and save the model. A model {models.TRUST}.",
    )
    option = parser.add_argument
    option("table", metavar="TABLE", help=f"a file {', '.join(SUFFIXES)}")
    option("--target", required=True, metavar="NAME", help="the column to predict")
    option("--out", metavar="MODEL", help="file of the model; that of the table with .fastbp")
    text = "auto: regression for numbers that are not whole, or of which more than "
    text += f"{_MAX_WHOLE_CLASSES} differ"
    option("--task", default="auto", choices=["auto", *_TASKS], help=text)
    text = "share of the rows that is held out for the scores; 0 for none (default: 0.2)"
    option("--test-size", type=_share, default=0.2, metavar="SHARE", help=text)
    option("--seed", type=int, default=0, help="decides what is random (default: 0)")
    text = "columns that are categories although they hold numbers"
    option("--categorical", nargs="+", default=[], metavar="NAME", help=text)
    option("--max-time", type=float, metavar="SECONDS", help="end the training after this time")
    text = "nets whose mean is the prediction; by default more where rows are few"
    option("--n-estimators", type=int, metavar="N", help=text)
    option("--no-compare", action="store_true", help="no scores of HistGradientBoosting")
    parser.set_defaults(run=run)


def _share(text):
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not from 0 to below 1")
    return value


def run(arguments):
    """Do what the command line asks for."""
    out = arguments.out or _default_out(arguments.table)
    models.check_writable(out)
    table = read_table(arguments.table)
    X, y, is_classification = _divided(table, arguments)
    train, test = _split(y, is_classification, arguments)
    categorical = _categorical(X, train, arguments)
    model = _estimator(is_classification, categorical, arguments)
    kind = f"{len(np.unique(y))} classes" if is_classification else "regression"
    print(f"{arguments.table}: {len(X):,} rows, {len(X.names)} columns, {kind}")
    began = time.perf_counter()
    _train(model, X.take(train), y[train])
    seconds = time.perf_counter() - began
    if len(test):
        _print_scores(model, X, y, train, test, is_classification, seconds, arguments)
    models.save_model(models.Model(model, arguments.target, X.names), out)
    print(f"\nsaved: {out} (python -m fastbp predict {out} TABLE)")


def _default_out(table):
    name = Path(table).name
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return f"{name}.fastbp"


# ---- the target ----


def _divided(table, arguments):
    """The columns to predict from, the targets, and whether they are classes."""
    name = arguments.target
    for option, names in (("--target", [name]), ("--categorical", arguments.categorical)):
        for wanted in names:
            if wanted not in table.names:
                raise ValueError(
                    f"{option}: {arguments.table} has no column {wanted!r}; it has "
                    f"{', '.join(map(repr, table.names))}"
                )
    others = [other for other in table.names if other != name]
    if name in arguments.categorical or not others:
        what = "is the target" if others else "is all there is: it takes a column to predict from"
        raise ValueError(f"column {name!r} {what}")
    cells = table.cells(name)
    is_classification = _is_classification(cells, name, arguments.task)
    y, present = _labels(cells) if is_classification else _numbers(cells, name)
    if not present.all():
        print(f"{(~present).sum():,} rows have no {name!r} and are left out")
        table = table.take(np.flatnonzero(present))
    if len(y) == 0 or (y == y[0]).all():
        value = f", {y[0]}" if len(y) else ""
        raise ValueError(f"column {name!r} has no two different values{value}: nothing to learn")
    return table.select(others), y, is_classification


def _is_number(cells):
    return cells.natural == "number" or cells.natural == "text" and cells.means_numbers()


def _is_classification(cells, name, task):
    if cells.natural in ("date", "duration"):
        raise ValueError(
            f"column {name!r} holds {cells.natural}s: a target is of numbers or classes"
        )
    is_number = _is_number(cells)
    if task == "regression" and not is_number:
        labels = cells.labels()[1]
        example = f", such as {labels[0]!r}" if labels else ""
        raise ValueError(
            f"column {name!r} holds no numbers{example}: --task regression takes numbers"
        )
    if task != "auto":
        return task == "classification"
    if not is_number:
        return True
    values = np.unique(cells.numbers())
    values = values[~np.isnan(values)]
    return len(values) <= _MAX_WHOLE_CLASSES and bool((values == np.floor(values)).all())


def _labels(cells):
    """Labels of the rows that have one, and which do: whole numbers, text for all other values."""
    if not _is_number(cells):
        codes, values = cells.labels()
        labels = np.array(values, dtype=None if values else str)
    else:
        numbers = cells.numbers()
        labels, codes = np.unique(numbers, return_inverse=True)  # all NaN are one, the last
        codes = np.where(np.isnan(numbers), -1, codes)
        whole = (labels[~np.isnan(labels)] % 1 == 0).all()
        labels = np.nan_to_num(labels).astype(np.int64) if whole else labels.astype(str)
    present = codes >= 0
    return labels[codes[present]], present


def _numbers(cells, name):
    values = np.asarray(cells.numbers(), dtype=np.float64)
    if np.isinf(values).any():
        raise ValueError(f"column {name!r} has an infinite number: a target takes finite ones")
    present = ~np.isnan(values)
    return values[present], present


def _split(y, is_classification, arguments):
    """Places of the rows to train on and of those held out."""
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(y))
    if not arguments.test_size:
        return rows, rows[:0]
    stratify = None
    if is_classification:
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        n_test = np.ceil(arguments.test_size * len(y))
        # In proportion to the classes, if all can be in both parts.
        if counts.min() > 1 and min(n_test, len(y) - n_test) >= len(counts):
            stratify = codes
    return train_test_split(
        rows, test_size=arguments.test_size, random_state=arguments.seed, stratify=stratify
    )


# ---- the model ----


def _estimator(is_classification, categorical, arguments):
    from ..tabular import TabularClassifier, TabularRegressor

    make = TabularClassifier if is_classification else TabularRegressor
    return make(
        categorical_features=categorical,
        n_estimators="auto" if arguments.n_estimators is None else arguments.n_estimators,
        max_time=arguments.max_time,
        random_state=arguments.seed,
        verbose="progress" if sys.stderr.isatty() else False,
    )


def _categorical(X, train, arguments):
    """The places of the columns that are categories, or what says that their types tell."""
    names = {*arguments.categorical, *_numbers_in_training_only(X, train)}
    return [place for place, name in enumerate(X.names) if name in names] or "from_dtype"


def _numbers_in_training_only(X, train):
    """Columns of text whose rows to train on hold numbers alone."""
    names = [name for name in X.names if _is_text(X.cells(name))]
    some = X.select(names).take(train) if names else X
    return [name for name in names if not _is_text(some.cells(name))]


def _is_text(cells):
    return cells.natural == "text" and not cells.means_numbers()


def _train(model, X, y):
    """The model's own fit, which tells its memory before it trains."""
    model._validate_params()
    with naming_columns(X.names):
        _fit.fit(model, X.native, y, None, (None, None, None), announce=_print_plan)


def _print_plan(plan):
    encoded = sum(row.bytes for row in plan.rows if row.name.startswith("positions"))
    print(
        f"memory of the fit: {human_bytes(plan.total_bytes)}, of it {human_bytes(encoded)} for the "
        "encoded table",
        flush=True,
    )


def _print_scores(model, X, y, train, test, is_classification, seconds, arguments):
    held_out = X.take(test).native
    if is_classification:
        scores = score_classes(y[test], model.classes_, model.predict_proba(held_out))
    else:
        scores = score_numbers(y[test], model.predict(held_out))
    rows = [(type(model).__name__, scores, seconds)]
    if not arguments.no_compare:
        trees = boosted_trees(
            X, y, train, test, is_classification, arguments.seed, model.categorical_features
        )
        rows.append(("HistGradientBoosting", *trees))
    rows.append(("constant guess", constant_guess(y[train], y[test], is_classification), None))
    print(f"\nscores of {len(test):,} rows that were held out:\n")
    print_scores(rows)
