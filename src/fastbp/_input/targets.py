"""What y may be: the targets of `Network`, by its loss, and those of the estimators."""

import numpy as np
from scipy.sparse import issparse
from sklearn.exceptions import DataConversionWarning
from sklearn.utils.multiclass import (
    _check_partial_fit_first_call,
    type_of_target,
    unique_labels,
)
from sklearn.utils.validation import column_or_1d

from .. import _core
from .._distributed import labels_of_all
from .._warnings import warn
from .arrays import FLOATS, is_plain, refuse_dates, to_array, to_floats, validated

# Targets whose mean is so many standard deviations from zero lose digits in float32.
FAR = 1000

# ---- Network ----


def _check_rows(y, n, n_columns, who="the network"):
    """y as (n, n_columns) of float32, float64 or bool, contiguous."""
    y = to_array("y", y)
    if y.dtype not in FLOATS and y.dtype != np.bool_:
        y = to_floats("y", y, np.float64)
    if y.ndim == 1 and n_columns == 1:
        y = y[:, np.newaxis]
    if y.shape != (n, n_columns):
        accepted = f"({n}, {n_columns})" + (f" or ({n},)" if n_columns == 1 else "")
        takes = f"{n_columns} outputs" if who == "the network" else f"takes {n_columns} columns"
        raise ValueError(
            f"y has shape {y.shape}: it takes {accepted}, as X has {n} rows and {who} {takes}."
        )
    return np.require(y, requirements="CA")


def _check_probabilities(y, n, n_outputs):
    y = _check_rows(y, n, n_outputs)
    low, high = y.min(), y.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(f"y has values from {low} to {high}: this loss takes values in [0, 1].")
    return y


def _check_positive(y, n, n_outputs):
    y = _check_rows(y, n, n_outputs)
    low, high = y.min(), y.max()
    if not (low > 0 and high < np.inf):
        raise ValueError(
            f"y has values from {low} to {high}: loss='gamma' takes finite values above 0."
        )
    return y


def _check_half_as_many(y, n, n_outputs):
    """A column for each mean; the other outputs are their deviations."""
    return _check_rows(y, n, n_outputs // 2, "loss='gaussian_nll', with two outputs for each,")


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
    "absolute_error": _check_rows,
    "huber": _check_rows,
    "log_cosh": _check_rows,
    "quantile": _check_rows,
    "gamma": _check_positive,
    "gaussian_nll": _check_half_as_many,
}

# ---- estimators ----


def is_plain_target(y, n_rows, numbers):
    """Tell whether y is an array of so many finite numbers or, unless `numbers`, labels."""
    return (
        type(y) is np.ndarray
        and (y.ndim == 1 or (numbers and y.ndim == 2 and y.shape[1] > 1))
        and y.shape[0] == n_rows
        and y.dtype.kind in ("iuf" if numbers else "iubfU")
        and (y.dtype.kind != "f" or _is_finite(y))
    )


def _is_finite(y):
    if y.ndim == 1 and y.dtype in FLOATS and y.flags.aligned:
        return _core.all_finite(y[:, np.newaxis])
    return bool(np.isfinite(y).all())


def rows_and_targets_of(draft, X, y, first):
    """X and y to fit, validated; the draft learns the number of features and their names."""
    names = hasattr(draft, "feature_names_in_")
    n_features = None if first else getattr(draft, "n_features_in_", -1)
    if (
        (names and not first)
        or not is_plain(X, n_features)
        or not is_plain_target(y, X.shape[0], draft._y_numeric)
    ):
        if draft._y_numeric:
            check_numbers(y)
        return validated(draft, X, y, multi_output=True, y_numeric=draft._y_numeric, reset=first)
    if names:
        del draft.feature_names_in_
    draft.n_features_in_ = X.shape[1]
    return X, y


# ---- regressors ----


def check_numbers(y):
    """Raise TypeError unless y may hold numbers; what is in an array of objects decides itself."""
    refuse_dates("y", y)
    kind = getattr(getattr(y, "dtype", None), "kind", "f")
    if kind in "USV":
        raise TypeError(f"y has dtype {y.dtype}: it takes real numbers.")


def far_from_zero(y):
    """Tell whether a column of y has a mean of more than `FAR` standard deviations.

    A column of one number only has no digits to lose.
    """
    if len(y) < 2:
        return False
    low, high = y.min(axis=0), y.max(axis=0)
    varied = low < high
    with np.errstate(over="ignore", invalid="ignore"):
        # Two numbers that are so far apart make a deviation of at least this.
        least = (high - low) / np.sqrt(2 * len(y))
        if (np.maximum(-low, high) <= FAR * least).all():
            return False
        mean, deviation = (f(axis=0, dtype=np.float64) for f in (y.mean, y.std))
        return bool((varied & (np.abs(mean) > FAR * deviation)).any())


def _without_column(y):
    """A column of y as a vector, with scikit-learn's warning."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    column = column_or_1d(y)
    warn(
        "A column-vector y was passed when a 1d array was expected: it takes shape "
        f"({len(column)},), which y.ravel() has.",
        DataConversionWarning,
    )
    return column


def reals(y):
    """Validated y as contiguous (n, n_outputs) of float32 or float64."""
    y = _without_column(y)
    if y.dtype != np.float32:
        y = y.astype(np.float64, copy=False)
    return np.ascontiguousarray(y.reshape(len(y), -1))


def counts(y):
    """The same; ValueError if a number is negative."""
    if (y < 0).any():
        raise ValueError(
            "y must not be negative where the output is exp(z), as with loss='poisson', got "
            f"{y.min()}."
        )
    return reals(y)


def positives(y):
    """The same; ValueError unless every number is above 0."""
    if not (y > 0).all():
        raise ValueError(f"y must be above 0 with loss='gamma', got {y.min()}.")
    return reals(y)


def repeated(y, n_columns):
    """One column of numbers as so many equal ones; ValueError if y has several columns."""
    y = reals(y)
    if y.shape[1] != 1:
        raise ValueError(
            f"y has shape {y.shape}: loss='quantile' with a list of quantiles takes one column."
        )
    return np.repeat(y, n_columns, axis=1)


# ---- classifiers ----


def indices(codes):
    """Places of the labels among several classes, as class indices."""
    return codes.astype(np.int32)


def columns(codes):
    """Places of the labels among two classes, or an indicator matrix, as columns of 0 and 1."""
    return np.ascontiguousarray(codes.reshape(len(codes), -1), dtype=np.uint8)


def encode_labels(estimator, y, incremental, classes):
    """Learn the classes, or compare them with those learnt; find each label among them.

    Sets ``classes_`` and ``_binarizer`` of the estimator.

    Returns
    -------
    kind : {"constant", "binary", "multiclass", "multilabel"}
        "constant" is one class only.
    codes : ndarray of shape (n,) or, multilabel, (n, n_classes)
    """
    y = _without_column(y)
    announced = incremental and _check_partial_fit_first_call(estimator, classes)
    first = not hasattr(estimator, "classes_") or not (estimator.warm_start or incremental)
    if announced or first:
        kind = type_of_target(y) if announced else kind_of_target(y)
        estimator._binarizer = _binarizer(y, kind)
    labels, index = _distinct(y)
    if first:
        estimator.classes_ = labels_of_all(labels, y.ndim == 1)
    else:
        of_all = labels_of_all(labels, y.ndim == 1) if estimator.warm_start else labels
        _compare_classes(estimator, of_all, incremental)
    if getattr(estimator, "_binarizer", None) is not None:
        return _binarized(estimator._binarizer, y)
    if y.ndim != 1:
        raise ValueError(
            "The object was not fitted with multilabel input, but y has shape "
            f"{y.shape}; it must be of shape (n_samples,)."
        )
    known = estimator.classes_
    codes = np.searchsorted(known, y if index is None else labels)
    return _kind_of(len(known)), codes if index is None else codes[index]


def _kind_of(n_classes):
    return {1: "constant", 2: "binary"}.get(n_classes, "multiclass")


def _binarized(binarizer, y):
    """Kind and codes by a LabelBinarizer: that of multilabel targets, or one set by the user."""
    indicator = binarizer.transform(y)
    if issparse(indicator):
        indicator = indicator.toarray()
    if getattr(binarizer, "y_type_", "").startswith("multilabel"):
        return "multilabel", indicator
    if indicator.shape[1] == 1:
        return _kind_of(len(binarizer.classes_)), indicator[:, 0].astype(bool).astype(np.intp)
    return "multiclass", indicator.argmax(axis=1)


def _is_column_of_integers(y):
    return y.ndim == 1 and y.dtype.kind in "iub"


def kind_of_target(y):
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


def _compare_classes(estimator, classes, incremental):
    known = estimator.classes_
    if estimator.warm_start and not incremental:
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
