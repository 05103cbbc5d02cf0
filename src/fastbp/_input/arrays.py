"""Rows of X, weights of the rows, and flat vectors: arrays that the core reads in place."""

import copy

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite
from sklearn.utils.validation import _check_sample_weight, validate_data

from .. import _core
from .._threads import resolve_n_threads

FLOATS = (np.dtype("float32"), np.dtype("float64"))
_INDICES = (np.dtype("int32"), np.dtype("int64"))


def to_array(name, values):
    """An array of real numbers of some dtype; no copy if it is one already."""
    try:
        values = np.asarray(values)
    except ValueError as error:
        raise ValueError(f"{name} is not an array of numbers: {error}") from None
    if values.dtype.kind not in "biufO":
        raise TypeError(f"{name} has dtype {values.dtype}: it takes real numbers.")
    return values


def to_floats(name, values, dtype):
    """An aligned float32 or float64 array; no copy if it is one already."""
    values = to_array(name, values)
    if values.dtype not in FLOATS:
        try:
            values = values.astype(dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{name} holds values that are not real numbers: {error}") from None
    return np.require(values, requirements="A")


# ---- rows ----


def core_rows(X):
    """Bring float rows into a form that the core reads in place: dense and aligned, or CSR.

    Only awkward rows are copied: misaligned arrays, and index arrays of CSR that are of two types.
    """
    if not issparse(X):
        return np.require(X, requirements="A")
    if X.indices.dtype != X.indptr.dtype or X.indices.dtype not in _INDICES:
        indices, indptr = X.indices.astype(np.int64), X.indptr.astype(np.int64)
        X = copy.copy(X)  # the numbers are shared
        X.indices, X.indptr = indices, indptr
    _check_structure(X)
    return X


def _check_structure(X):
    """Raise ValueError unless the index arrays of CSR describe rows and columns that are there."""
    indptr, indices = X.indptr, X.indices
    if (
        indptr.shape[0] != X.shape[0] + 1
        or indptr[0] != 0
        or (indptr[1:] < indptr[:-1]).any()
        or indptr[-1] > min(indices.shape[0], X.data.shape[0])
    ):
        raise ValueError(
            "X is not a valid CSR matrix: X.indptr does not describe rows of X.indices and X.data"
        )
    if indices.shape[0] and (indices.min() < 0 or indices.max() >= X.shape[1]):
        raise ValueError(
            f"X is not a valid CSR matrix: X.indices has columns outside 0..{X.shape[1] - 1}"
        )


def check_rows(X, layer_sizes, dtype):
    """X of a `Network`: converted to `dtype` if the core cannot read what it is."""
    if issparse(X):
        X = X.tocsr()
        if X.dtype not in FLOATS:
            if X.dtype.kind not in "biuf":
                raise TypeError(f"X has dtype {X.dtype}: it takes real numbers.")
            X = X.astype(dtype)
    elif not isinstance(X, np.ndarray) or X.dtype not in FLOATS:
        X = to_floats("X", X, dtype)
    if X.ndim != 2 or X.shape[1] != layer_sizes[0]:
        raise ValueError(
            f"X has shape {X.shape}: it takes (n, {layer_sizes[0]}), the first of "
            f"layer_sizes={layer_sizes}."
        )
    return core_rows(X)


def validated(estimator, X, y="no_validation", **settings):
    """X, or X and y, of an estimator by scikit-learn's checks; `finite_data` looks for NaN in X."""
    return validate_data(
        estimator,
        X,
        y,
        accept_sparse="csr",
        dtype=(np.float64, np.float32),
        ensure_all_finite=False,
        **settings,
    )


def finite_data(estimator, X, target=None, sample_weight=None):
    """The `_core.Data` of validated X and what goes with it; ValueError if X is not finite.

    That a dense X has no NaN and no infinity is found by our threads: NumPy takes more than twice
    as long.
    """
    X = core_rows(X)
    data = _core.Data(X, target, sample_weight)
    large = X.shape[0] * X.shape[1] >= 2 * _core.FINITE_SHARE
    n_threads = resolve_n_threads(estimator.n_threads) if large else 1
    if issparse(X) or not _core.all_finite(data, n_threads):
        assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")
    return data


# ---- weights of the rows ----


def check_sample_weight(sample_weight, n):
    """Weights of a `Network`: one float64 per row, contiguous, of positive finite sum."""
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


def validated_sample_weight(sample_weight, X):
    """Weights of an estimator by scikit-learn's checks, as contiguous float64."""
    return np.ascontiguousarray(_check_sample_weight(sample_weight, X), dtype=np.float64)


# ---- flat vectors ----


def check_vector(name, vector, n_params, dtype):
    """Raise unless this is a contiguous vector of all parameters."""
    if not isinstance(vector, np.ndarray):
        raise TypeError(
            f"{name} is of type {type(vector).__name__}: it takes a NumPy array of shape "
            f"({n_params},) and dtype {dtype}."
        )
    contiguous = vector.flags.c_contiguous and vector.flags.aligned
    if vector.dtype != dtype or vector.shape != (n_params,) or not contiguous:
        layout = "contiguous" if contiguous else "not contiguous"
        raise ValueError(
            f"{name} has shape {vector.shape} and dtype {vector.dtype} and is {layout}: it "
            f"takes a contiguous array of shape ({n_params},) and dtype {dtype}."
        )


def check_out(out, params):
    """Raise unless a gradient of these (checked) params can be written to `out`."""
    check_vector("out", out, params.size, params.dtype)
    if not out.flags.writeable:
        raise ValueError("out is read-only: it takes an array that can be written.")
    if np.may_share_memory(out, params):
        raise ValueError("out shares memory with params: it takes an array of its own.")
