"""From the arrays that a caller of `Network` brings to those that the core reads in place.

Each check returns its argument, converted only where it must be, or raises an error that names
the argument, what it got and what it takes. The core trusts what has passed here.
"""

import numbers

import numpy as np

FLOATS = (np.dtype("float32"), np.dtype("float64"))
_INDICES = (np.dtype("int32"), np.dtype("int64"))


def to_floats(name, values, dtype):
    """An aligned float32 or float64 array; no copy if it is one already."""
    values = _to_array(name, values)
    if values.dtype not in FLOATS:
        try:
            values = values.astype(dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} holds values that are not real numbers: {error}") from None
    return np.require(values, requirements="A")


def _to_array(name, values):
    """An array of real numbers of some dtype; no copy if it is one already."""
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of numbers: {error}") from None
    if values.dtype.kind not in "biufO":
        raise TypeError(f"{name} has dtype {values.dtype}: it takes real numbers.")
    return values


def check_csr(X, dtype):
    """A CSR matrix of float32 or float64 with index arrays of one type; the core checks them."""
    X = X.tocsr()
    if X.dtype not in FLOATS:
        if X.dtype.kind not in "biuf":
            raise TypeError(f"X has dtype {X.dtype}: it takes real numbers.")
        X = X.astype(dtype)
    if X.indices.dtype != X.indptr.dtype or X.indices.dtype not in _INDICES:
        X = type(X)(
            (X.data, X.indices.astype(np.int64), X.indptr.astype(np.int64)), X.shape, copy=False
        )
    return X


def check_sample_weight(sample_weight, n):
    """One float64 per row, contiguous, of positive finite sum."""
    sample_weight = np.ascontiguousarray(
        to_floats("sample_weight", sample_weight, np.float64), np.float64
    )
    if sample_weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {sample_weight.shape}: it takes ({n},), one entry "
            "per row of X."
        )
    total = sample_weight.sum()
    if not 0 < total < np.inf:
        raise ValueError(f"sample_weight has sum {total}: it takes finite values of positive sum.")
    return sample_weight


def check_alpha(alpha):
    if not isinstance(alpha, numbers.Real) or not 0 <= alpha < np.inf:
        raise ValueError(f"alpha={alpha!r}: it takes a finite number of 0 or more.")
    return float(alpha)


def _check_rows(y, n, n_outputs):
    """y as (n, n_outputs) of float32, float64 or bool, contiguous."""
    y = _to_array("y", y)
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
    y = _to_array("y", y)
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
