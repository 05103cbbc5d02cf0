"""``python -m fastbp predict``: predictions of a saved model for a table in a file."""

import csv
import sys
import warnings

from .._version import __version__
from . import models
from .reading import SUFFIXES, naming_columns, read_table


def add(commands):
    """Add the command to the parser."""
    parser = commands.add_parser(
        "predict",
        help="predict the rows of a table by a saved model",
        description="Predict the rows of a table by a model that `fit` has saved. Columns are "
        f"matched by their names, others are not used. A model {models.TRUST}.",
    )
    option = parser.add_argument
    option("model", metavar="MODEL", help="a file that `fit` has saved")
    option("table", metavar="TABLE", help=f"a file {', '.join(SUFFIXES)}")
    option("--out", metavar="FILE", help="CSV file of the predictions; standard output without it")
    option("--proba", action="store_true", help="also the probability of each class")
    parser.set_defaults(run=run)


def run(arguments):
    """Do what the command line asks for."""
    if arguments.out is not None:
        models.check_writable(arguments.out)
    print(f"note: {arguments.model} {models.TRUST}", file=sys.stderr)
    model = models.load_model(arguments.model)
    if model.version != __version__:
        text = f"note: the model was saved by fastbp {model.version}, this is {__version__}"
        print(text, file=sys.stderr)
    estimator = model.estimator
    if arguments.proba and not hasattr(estimator, "predict_proba"):
        raise ValueError(f"--proba: {arguments.model} is a regression, it has no probabilities")
    table = read_table(arguments.table, as_text=_columns_of_text(model))
    X = _columns(table, model, arguments.table)
    with naming_columns(X.names):
        head, rows = _predictions(model, X.native, arguments.proba)
    if arguments.out is None:
        _write(sys.stdout, head, rows)
        return
    try:
        with open(arguments.out, "w", encoding="utf-8", newline="") as file:
            _write(file, head, rows)
    except OSError as error:
        raise ValueError(f"{arguments.out} cannot be written: {error.strerror}") from error
    print(f"{len(X):,} predictions: {arguments.out}", file=sys.stderr)


def _columns_of_text(model):
    """Those whose categories are text, so that a cell is the same beside any other cells."""
    with_text = model.estimator._fitted.schema.with_text
    return [name for name, is_text in zip(model.columns, with_text, strict=True) if is_text]


def _columns(table, model, path):
    """The columns that the model takes."""
    absent = [name for name in model.columns if name not in table.names]
    if absent:
        names = ", ".join(map(repr, absent))
        raise ValueError(f"{path} lacks columns that the model takes: {names}")
    return table.select(model.columns)


def _predictions(model, X, with_probabilities):
    """The head and an iterator over the rows."""
    estimator = model.estimator
    with warnings.catch_warnings():
        # The columns were matched above; a table without a data frame has no names in it.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        if not with_probabilities:
            return [model.target], ([value] for value in estimator.predict(X).tolist())
        probabilities = estimator.predict_proba(X)
    classes = estimator.classes_.tolist()
    predicted = estimator.classes_[probabilities.argmax(axis=1)].tolist()
    rows = ([p, *row] for p, row in zip(predicted, probabilities.tolist(), strict=True))
    return [model.target, *(f"probability of {c}" for c in classes)], rows


def _write(file, head, rows):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
