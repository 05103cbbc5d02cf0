"""What y may be: the targets of `Network`, by its loss, and those of the estimators."""

import numpy as np
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d

from .arrays import FLOATS, to_array, to_floats

# ---- Network ----


def _check_rows(y, n, n_outputs):
    """y as (n, n_outputs) of float32, float64 or bool, contiguous."""
    y = to_array("y", y)
    if y.dtype not in FLOATS and y.dtype != np.bool_:
        y = to_floats("y", y, np.float64)
    if y.ndim == 1 and n_outputs == 1:
        y = y[:, np.newaxis]
    if y.shape != (n, n_outputs):
        accepted = f"({n}, {n_outputs})" + (f" or ({n},)" if n_outputs == 1 else "")
        raise ValueError(
            f"y has shape {y.shape}: it takes {accepted}, as X has {n} rows and the network "
            f"{n_outputs} outputs."
        )
    return np.require(y, requirements="CA")


def _check_probabilities(y, n, n_outputs):
    y = _check_rows(y, n, n_outputs)
    low, high = y.min(), y.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"y has values from {low} to {high}: this loss takes values in [0, 1].")
    return y


def _check_counts(y, n, n_outputs):
    y = _check_rows(y, n, n_outputs)
    low, high = y.min(), y.max()
    if not (low >= 0 and high < np.inf):
        raise ValueError(
            f"y has values from {low} to {high}: loss='poisson' takes finite values of 0 or more."
        )
    return y


def _check_classes(y, n, n_outputs):
    """Class indices as int32, or rows of probabilities; with one output a column of {0, 1}."""
    y = to_array("y", y)
    if n_outputs == 1:
        y = _check_rows(y, n, 1)
        if not ((y == 0) | (y == 1)).all():
            raise ValueError("y: loss='log_loss' with one output takes the values 0 and 1.")
        return y
    if y.ndim != 1:
        y = _check_probabilities(y, n, n_outputs)
        if not np.allclose(y.sum(axis=1), 1, rtol=0, atol=1e-3):
            raise ValueError(
                "y has rows that do not sum to 1: loss='log_loss' takes class indices, one-hot "
                "rows or rows of probabilities; loss='binary_log_loss' independent outputs."
            )
        return y
    if y.dtype.kind not in "iub" or y.shape != (n,):
        raise ValueError(
            f"y has shape {y.shape} and dtype {y.dtype}: loss='log_loss' takes ({n},) integer "
            f"class indices or ({n}, {n_outputs}) rows of probabilities."
        )
    low, high = y.min(), y.max()
    if low < 0 or high >= n_outputs:
        raise ValueError(
            f"y has class indices from {low} to {high}: they go from 0 to {n_outputs - 1}, one "
            "per output."
        )
    return np.require(y, np.int32, "A")


# By the name of the loss: what y must be.
CHECK_TARGET = {
    "squared_error": _check_rows,
    "log_loss": _check_classes,
    "binary_log_loss": _check_probabilities,
    "poisson": _check_counts,
}

# ---- regressors ----


def reals(y):
    """Validated y as contiguous (n, n_outputs) of float32 or float64."""
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    if y.dtype != np.float32:
        y = y.astype(np.float64, copy=False)
    return np.ascontiguousarray(y.reshape(len(y), -1))


def counts(y):
    """The same; ValueError if a number is negative."""
    if (y < 0).any():
        raise ValueError(f"y must not be negative with loss='poisson', got {y.min()}.")
    return reals(y)


# ---- classifiers ----


def indices(codes):
    """Places of the labels among several classes, as class indices."""
    return codes.astype(np.int32)


def columns(codes):
    """Places of the labels among two classes, or an indicator matrix, as columns of 0 and 1."""
    return np.ascontiguousarray(codes.reshape(len(codes), -1), dtype=np.uint8)


def encode_labels(estimator, y, incremental, classes):
    """Learn the classes, or compare them with those learnt; find each label among them.

    Sets ``classes_`` and ``_multilabel_binarizer`` of the estimator.

    Returns
    -------
    kind : {"constant", "binary", "multiclass", "multilabel"}
        "constant" is one class only.
    codes : ndarray of shape (n,) or, multilabel, (n, n_classes)
    """
    if y.ndim == 2 and y.shape[1] == 1:
        y = column_or_1d(y, warn=True)
    announced = incremental and _check_partial_fit_first_call(estimator, classes)
    first = not hasattr(estimator, "classes_") or not (estimator.warm_start or incremental)
    if announced or first:
        kind = type_of_target(y) if announced else _kind_of_target(y)
        estimator._multilabel_binarizer = _binarizer(y, kind)
    labels, index = _distinct(y)
    if first:
        estimator.classes_ = labels
    else:
        _compare_classes(estimator, labels)
    binarizer = getattr(estimator, "_multilabel_binarizer", None)
    if binarizer is not None:
        return "multilabel", binarizer.transform(y)
    if y.ndim != 1:
        raise ValueError(
            "The object was not fitted with multilabel input, but y has shape "
            f"{y.shape}; it must be of shape (n_samples,)."
        )
    known = estimator.classes_
    codes = np.searchsorted(known, y if index is None else labels)
    kind = {1: "constant", 2: "binary"}.get(len(known), "multiclass")
    return kind, codes if index is None else codes[index]


def _is_column_of_integers(y):
    return y.ndim == 1 and y.dtype.kind in "iub"


def _kind_of_target(y):
    """ "multiclass" for any column of integers, else scikit-learn's name of the type of target."""
    if _is_column_of_integers(y):
        return "multiclass"
    kind = type_of_target(y, input_name="y")
    if "multioutput" in kind:
        raise ValueError(
            "Multioutput target data is not supported with label binarization: y must hold "
            f"one label per row or be a multilabel indicator matrix, got a {kind} target."
        )
    return kind


def _binarizer(y, kind):
    # Only multilabel targets need one; labels of one column are found by binary search.
    if not kind.startswith("multilabel"):
        return None
    from sklearn.preprocessing import LabelBinarizer

    return LabelBinarizer().fit(y)


def _distinct(y):
    """The sorted labels in y, and for integers where each row's stands among them (else None).

    Integers are spared the further passes that ``unique_labels`` makes to tell their type.
    """
    if _is_column_of_integers(y):
        return np.unique(y, return_inverse=True)
    return unique_labels(y), None


def _compare_classes(estimator, classes):
    known = estimator.classes_
    if estimator.warm_start:
        if set(classes) != set(known):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the "
                f"previous call to fit. Previously got {known}, `y` has {classes}"
            )
    elif len(np.setdiff1d(classes, known, assume_unique=True)):
        raise ValueError(
            "`y` has classes not in `self.classes_`. "
            f"`self.classes_` has {known}. 'y' has {classes}."
        )
