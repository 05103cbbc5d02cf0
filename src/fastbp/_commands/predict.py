"""``python -m fastbp predict``: predictions of a saved model for a table in a file."""

import csv
import sys
import warnings

from .._version import __version__
from . import models
from .files import check_writable, replacing
from .options import paragraph
from .reading import SUFFIXES, check_readable, naming_columns, read_table

_DESCRIPTION = paragraph(
    "Predict the rows of a table by a model that `fit` has saved. Columns are matched by their "
    "names; those that the model does not take are not used, and the target need not be there. "
    f"A model {models.TRUST}."
)
_EPILOG = """\
examples:
  fastbp predict cancer.fastbp cancer.csv --proba --out predictions.csv
  fastbp predict cancer.fastbp cancer.csv | head
"""


def add(commands):
    """Add the command to the parser."""
    text = "predict the rows of a table by a saved model"
    parser = commands.add_parser("predict", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    option = parser.add_argument
    option("model", metavar="MODEL", help="a file that `fit` has saved")
    option("table", metavar="TABLE", help=f"a file {', '.join(SUFFIXES)}")
    text = "CSV file of the predictions, a row for each of the table (default: standard output)"
    option("--out", metavar="FILE", help=text)
    text = "also the probability of each class, a column each (default: the prediction alone)"
    option("--proba", action="store_true", help=text)
    parser.set_defaults(run=run)


def run(arguments):
    """Do what the command line asks for."""
    if arguments.out is not None:
        check_writable(arguments.out, "--out", arguments.model, arguments.table)
    check_readable(arguments.table)
    model = models.load_model(arguments.model)
    if model.version != __version__:
        text = f"note: the model was saved by fastbp {model.version!r}, this is {__version__!r}"
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
    with replacing(arguments.out, encoding="utf-8", newline="") as file:
        _write(file, head, rows)
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
