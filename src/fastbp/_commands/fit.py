"""``python -m fastbp fit``: train on a table in a file, print scores, save the model."""

import sys
import time
from pathlib import Path

import numpy as np

from ..memory import human_bytes
from ..tabular import _fit
from . import models
from .files import check_writable
from .options import integer, number, one_of, paragraph
from .reading import SUFFIXES, naming_columns, read_table
from .scores import boosted_trees, constant_guess, print_scores, score_classes, score_numbers

_TASKS = ("classification", "regression")
# Numbers are taken for classes if they are whole, and at most so many differ.
_MAX_WHOLE_CLASSES = 20
_LARGEST_SEED = 2**32 - 1

_DESCRIPTION = paragraph(
    "Train on a table (CSV, also gzipped, or Parquet), print the scores of rows held out beside "
    "those of a constant guess and of scikit-learn's HistGradientBoosting, and save the model. "
    f"Cells that are empty, NA, NaN, null, None or ? are missing. A model {models.TRUST}. Ctrl-C "
    "ends the training; the model so far is scored and saved, a second Ctrl-C ends the command."
)
_EPILOG = """\
examples:
  fastbp fit cancer.csv --target target
  fastbp fit prices.csv.gz --target price --categorical zip floor --max-time 60
  fastbp fit all.parquet --target kind --test-size 0 --out kind.fastbp
"""


def add(commands):
    """Add the command to the parser."""
    text = "train on a table in a file and save the model"
    parser = commands.add_parser("fit", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    option = parser.add_argument
    option("table", metavar="TABLE", help=f"a file {', '.join(SUFFIXES)}")
    option("--target", required=True, metavar="NAME", help="the column to predict")
    text = "file of the model (default: in the current folder, named as the table, with .fastbp)"
    option("--out", metavar="MODEL", help=text)
    text = f"{', '.join(_TASKS)} or auto: regression for numbers that are not whole, or of which "
    text += f"more than {_MAX_WHOLE_CLASSES} differ, classification for all else"
    option("--task", type=one_of("auto", *_TASKS), default="auto", metavar="TASK", help=text)
    text = "share of the rows that is held out for the scores, from 0 to below 1; 0: no scores"
    share = number("a number from 0 to below 1", lambda value: 0 <= value < 1)
    option("--test-size", type=share, default=0.2, metavar="SHARE", help=text)
    text = "an integer of 0 or more that decides what is random: rows held out, first weights"
    option("--seed", type=integer(0, _LARGEST_SEED), default=0, metavar="N", help=text)
    text = "columns that are categories although they hold numbers (default: those of text)"
    option("--categorical", nargs="+", default=[], metavar="NAME", help=text)
    text = "end the training after about so many seconds (default: no limit)"
    seconds = number("a number of seconds above 0", lambda value: 0 < value < np.inf)
    option("--max-time", type=seconds, metavar="SECONDS", help=text)
    text = (
        "file in which the training notes its state every minute, and from which the same command "
    )
    text += "goes on after a kill; it is removed at the end (default: none)"
    option("--checkpoint", metavar="PATH", help=text)
    text = "nets whose mean is the prediction (default: as many as suit the rows, more for few)"
    option("--n-estimators", type=integer(1), metavar="N", help=text)
    text = "leave out the scores of HistGradientBoosting (default: they are computed)"
    option("--no-compare", action="store_true", help=text)
    parser.set_defaults(run=run)


def run(arguments):
    """Do what the command line asks for."""
    out = arguments.out or _default_out(arguments.table)
    check_writable(out, "--out", arguments.table, special=False)
    table = read_table(arguments.table)
    X, y, is_classification = _divided(table, arguments)
    train, test = _split(y, is_classification, arguments)
    categorical = _categorical(X, train, arguments)
    model = _estimator(is_classification, categorical, arguments)
    kind = f"{len(np.unique(y))} classes" if is_classification else "regression"
    print(f"{arguments.table}: {len(X):,} rows, {len(X.names)} columns, {kind}")
    seconds = _train(model, X.take(train), y[train], out, arguments)
    try:
        if len(test):
            _print_scores(model, X, y, train, test, is_classification, seconds, arguments)
    finally:  # the model is there, also if the scores were interrupted
        print(f"\nsaved: {out} (python -m fastbp predict {out} TABLE)", flush=True)


def _default_out(table):
    name = Path(table).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            name = name[: -len(suffix)]
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
    n_train = len(y) - int(np.ceil(arguments.test_size * len(y)))
    if not n_train:
        share = arguments.test_size
        raise ValueError(f"--test-size: {share} of {len(y)} rows leaves no row to train on")
    stratify = None
    if is_classification:
        _, codes, counts = np.unique(y, return_inverse=True, return_counts=True)
        # In proportion to the classes, if all can be in both parts.
        if counts.min() > 1 and min(n_train, len(y) - n_train) >= len(counts):
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
        checkpoint=arguments.checkpoint,
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


class _NotSavedError(Exception):
    """The model cannot be written."""


def _train(model, X, y, out, arguments):
    """The model's own fit, which tells its memory before it trains; its seconds.

    The model is in its file before the checkpoint goes.
    """
    seconds, began = 0.0, time.perf_counter()

    def save():
        nonlocal seconds
        seconds = time.perf_counter() - began
        try:
            models.save_model(models.Model(model, arguments.target, X.names), out)
        except ValueError as error:
            raise _NotSavedError(str(error)) from error

    model._validate_params()
    try:
        with naming_columns(X.names):
            _fit.fit(model, X.native, y, None, (None, None, None), _print_plan, save)
    except _NotSavedError as error:
        checkpoint, hint = arguments.checkpoint, ""
        if checkpoint is not None and Path(checkpoint).exists():
            hint = f"; the same command goes on from {checkpoint}"
        raise ValueError(f"{error}{hint}") from error
    return seconds


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
