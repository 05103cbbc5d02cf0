"""Files of fitted models: those of `fastbp.save`, with the names of the target and the columns."""

from typing import Any, NamedTuple

from sklearn.base import BaseEstimator

from .._version import __version__
from ..io import FileError, load_to_predict, save
from ..tabular import TabularClassifier, TabularRegressor
from .files import reason_of

TRUST = "is a safetensors file, which runs no code when it is loaded"
_KEYS = {"estimator", "target", "columns", "version"}


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


def save_model(model, path):
    """Write a `Model`; what was in the file before stays if that fails.

    Raises
    ------
    ValueError
        If the file cannot be written, or cannot hold the model.
    """
    try:
        save(model._asdict(), path)
    except (OSError, TypeError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else str(error).removesuffix(".")
        raise ValueError(f"{path} cannot be written: {reason}") from error


class Estimator(NamedTuple):
    """A fitted estimator of any class.

    Attributes
    ----------
    estimator : estimator
    columns : list of str or None
        Names of what it predicts from; None: it knows them itself.
    version : str or None
        Of fastbp; None if the file does not say.
    """

    estimator: Any
    columns: list | None = None
    version: str | None = None


def load_estimator(path):
    """Read the `Estimator` in a `Model`, or in a file of `fastbp.save` with nothing else.

    Raises
    ------
    ValueError
        If the file cannot be read, or holds something else.
    """
    found = _loaded(path)
    if _is_model(found):
        return Estimator(found["estimator"], found["columns"], found["version"])
    if not isinstance(found, BaseEstimator):
        raise ValueError(
            f"{path} holds no model that `fastbp fit` has saved, and no single estimator of "
            "fastbp.save"
        )
    return Estimator(found)


def load_model(path):
    """Read a `Model`.

    Raises
    ------
    ValueError
        If the file cannot be read, or is none that `save_model` has written.
    """
    found = _loaded(path)
    if not _is_model(found):
        raise ValueError(f"{path} is no model that `fastbp fit` has saved")
    return Model(**found)


def _loaded(path):
    try:
        return load_to_predict(path)
    except FileError as error:
        if isinstance(error, OSError):
            raise ValueError(f"{path} cannot be read: {reason_of(error)}") from error
        raise ValueError(str(error).removesuffix(".")) from error


def _is_model(found):
    if type(found) is not dict or found.keys() != _KEYS:
        return False
    estimator, columns = found["estimator"], found["columns"]
    return (
        isinstance(estimator, (TabularClassifier, TabularRegressor))
        and hasattr(estimator, "_fitted")
        and type(columns) is list
        and all(type(name) is str for name in (*columns, found["target"], found["version"]))
        and len(columns) == estimator.n_features_in_
    )
