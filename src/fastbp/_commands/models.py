"""Files of fitted models: the one place that knows their format.

A file is a line that says what it is, and a pickle after it. Loading a pickle can run any code, so
nothing is loaded from a file without that line, and the user is told to trust its source.
"""

import os
import pickle
from pathlib import Path
from typing import Any, NamedTuple

from .._version import __version__

_FIRST_LINE = b"fastbp model 1\n"
TRUST = "is a pickle, which can run any code when it is loaded: take models only from who you trust"


class Model(NamedTuple):
    """What ``fit`` saves.

    Attributes
    ----------
    estimator : TabularClassifier or TabularRegressor
    target : str
        Name of the column that it predicts.
    columns : list of str
        Names of the columns that it predicts from.
    version : str
        Of fastbp.
    """

    estimator: Any
    target: str
    columns: list
    version: str = __version__


def check_writable(path):
    """Raise ValueError now if there will be no place for a file."""
    folder = Path(path).absolute().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK) or Path(path).is_dir():
        raise ValueError(f"{path} cannot be written: it takes a file in a folder that is there")


def save_model(model, path):
    """Write a `Model`; what was in the file before stays if that fails."""
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("wb") as file:
            file.write(_FIRST_LINE)
            pickle.dump(tuple(model), file)
        part.replace(path)
    except BaseException as error:  # a Ctrl-C, too, leaves no part of a file
        part.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise ValueError(f"{path} cannot be written: {error.strerror}") from error


def load_model(path):
    """Read a `Model`.

    Raises
    ------
    ValueError
        If the file cannot be read, or is none that `save_model` has written.
    """
    try:
        with open(path, "rb") as file:
            if file.read(len(_FIRST_LINE)) != _FIRST_LINE:
                raise ValueError(f"{path} is no model that `fastbp fit` has saved")
            return Model(*pickle.load(file))
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error
    except (pickle.UnpicklingError, EOFError, AttributeError, ImportError, TypeError) as error:
        raise ValueError(
            f"{path} cannot be loaded: it is damaged, or of another version of fastbp ({error})"
        ) from error
