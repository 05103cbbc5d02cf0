"""Rows of X, weights of the rows, and flat vectors: arrays that the core reads in place."""

import copy
import datetime
from numbers import Number

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import assert_all_finite, check_array
from sklearn.utils.validation import validate_data

from .. import _core
from .._threads import resolve_n_threads

FLOATS = (np.dtype("float32"), np.dtype("float64"))
_INDICES = (np.dtype("int32"), np.dtype("int64"))
_DATES = (datetime.date, datetime.time, datetime.timedelta, np.datetime64, np.timedelta64)
# Smaller sums of weights have no finite reciprocal, or are flushed to zero.
TINY = np.finfo(np.float64).tiny


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


def _dtypes(values):
    """The dtypes of an array, a series or the columns of a data frame, as far as they are told."""
    dtypes = getattr(values, "dtypes", None)  # also of a pandas series: one dtype
    if dtypes is None or getattr(values, "ndim", 2) != 2:
        dtypes = [getattr(values, "dtype", None)]
    return [dtype for dtype in dtypes if dtype is not None]


def _is_temporal(dtype):
    polars = getattr(dtype, "is_temporal", None)
    return getattr(dtype, "kind", "") in "mM" if polars is None else polars()


def refuse_dates(name, values):
    """Raise TypeError for dates and durations, which NumPy turns into numbers without a word."""
    if isinstance(values, (list, tuple)):
        try:
            values = np.asarray(values)
        except ValueError:
            return  # the general validation says what is wrong
    dtypes = _dtypes(values)
    temporal = [dtype for dtype in dtypes if _is_temporal(dtype)]
    if not temporal and any(getattr(dtype, "kind", "") == "O" for dtype in dtypes):
        objects = np.asarray(values, dtype=object).ravel()
        temporal = [type(v).__name__ for v in objects if isinstance(v, _DATES)]
    if temporal:
        raise TypeError(
            f"{name} has dtype {temporal[0]}: it takes real numbers; a date or a duration can be "
            "given as the number of days, or of seconds, that you mean."
        )


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
    refuse_dates("X", X)
    return validate_data(
        estimator,
        _with_one_sparse_dtype(X),
        y,
        accept_sparse="csr",
        dtype=(np.float64, np.float32),
        ensure_all_finite=False,
        **settings,
    )


# The general validation takes 70 microseconds of X and 200 of X and y, far more than a forward pass
# or a step on a few rows. What is plain passes it unchanged, and need not go through it. Whether X
# is finite is looked at by `check_finite`, plain or not.


def is_plain(X, n_features):
    """Tell whether X is an array of some rows of so many floats; None: of any number."""
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in FLOATS
        and X.shape[0] > 0
        and (X.shape[1] == n_features if n_features is not None else X.shape[1] > 0)
        and X.flags.aligned
    )


def rows_of(estimator, state, X):
    """X to predict from, validated and as the core reads it; `state`: the fitted attributes."""
    if "feature_names_in_" not in state and is_plain(X, state.get("n_features_in_", -1)):
        return X
    return core_rows(validated(estimator, X, reset=False))


def is_finite(X, data, dtype, n_threads):
    """Whether no number of X is NaN or infinite, also after it became one of this dtype."""
    if issparse(X):
        numbers = X.data[: X.indptr[-1]]
        return numbers.size == 0 or _core.all_finite(numbers.reshape(-1, 1), 1, dtype)
    # That is found by our threads: NumPy takes more than twice as long.
    return _core.all_finite(data, n_threads, dtype)


def check_finite(estimator, X, data, n_threads, dtype="float64"):
    """ValueError, as scikit-learn words it, if X has NaN or infinity, or is beyond float32."""
    if is_finite(X, data, dtype, n_threads):
        return
    assert_all_finite(X, estimator_name=type(estimator).__name__, input_name="X")
    # scikit-learn may have been told to assume that X is finite.
    if dtype == "float32" and is_finite(X, data, "float64", n_threads):
        raise ValueError(
            "X contains a value too large for dtype('float32'), in which "
            f"{type(estimator).__name__} computes: scale X, or use dtype='float64'."
        )


def _with_one_sparse_dtype(X):
    """A data frame whose columns are all sparse, with bool or several types, as float64 columns.

    SciPy has no sparse matrix of mixed types, and scikit-learn converts none of bool.
    """
    if not hasattr(X, "sparse"):
        return X
    dtypes = _dtypes(X)
    numbers = {getattr(dtype, "subtype", np.dtype(object)) for dtype in dtypes}
    if numbers <= set(FLOATS) and len(numbers) == 1 or any(t.kind not in "biuf" for t in numbers):
        return X
    if any(np.isnan(dtype.fill_value) for dtype in dtypes):
        return X
    if any(dtype.fill_value for dtype in dtypes):  # which astype loses before pandas 3
        return X.sparse.to_dense()
    return X.astype(type(dtypes[0])(np.float64, 0.0))


def finite_data(estimator, X, target, sample_weight, dtype):
    """The `_core.Data` of validated X and what goes with it; ValueError if X is not finite."""
    X = core_rows(X)
    data = _core.Data(X, target, sample_weight)
    check_finite(estimator, X, data, threads_to_search(X, estimator.n_threads), dtype)
    return data


def threads_to_search(X, n_threads):
    """How many threads may look for NaN in X."""
    large = X.shape[0] * X.shape[1] >= 2 * _core.FINITE_SHARE
    return resolve_n_threads(n_threads) if large else 1


# ---- weights of the rows ----


def has_weight(weight):
    """Tell whether the sum of these weights is one to divide by: positive, finite, no subnormal."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(TINY <= weight.sum() < np.inf)


def check_sample_weight(sample_weight, n):
    """Weights of a `Network`: one float64 per row, contiguous, of positive finite sum."""
    sample_weight = np.ascontiguousarray(
        to_floats("sample_weight", sample_weight, np.float64), np.float64
    )
    return _check_weights(sample_weight, n)


def validated_sample_weight(sample_weight, X):
    """Weights of an estimator, or one number for all rows, as contiguous float64."""
    n = X.shape[0]
    if isinstance(sample_weight, Number):
        sample_weight = np.full(n, sample_weight)
    sample_weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, order="C", input_name="sample_weight"
    )
    return _check_weights(sample_weight, n)


def _check_weights(sample_weight, n):
    if sample_weight.shape != (n,):
        raise ValueError(
            f"sample_weight has shape {sample_weight.shape}: it takes ({n},), one entry "
            "per row of X."
        )
    if not has_weight(sample_weight):
        with np.errstate(over="ignore", invalid="ignore"):
            total = sample_weight.sum()
        raise ValueError(
            f"sample_weight has sum {total}: it takes finite values whose sum is well above zero "
            "and finite."
        )
    return sample_weight


# ---- initial weights ----


def check_initial(name, arrays, shapes):
    """Initial weights or biases: None, or one finite real array per layer, of these shapes."""
    if arrays is None:
        return None
    wanted = ", ".join(map(str, shapes))
    if not isinstance(arrays, (list, tuple)) or len(arrays) != len(shapes):
        got = f"{len(arrays)} arrays" if hasattr(arrays, "__len__") else type(arrays).__name__
        raise ValueError(f"{name} has {got}: it takes one array per layer, of shapes {wanted}.")
    checked = []
    for layer, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
        array = to_floats(f"{name}[{layer}]", array, np.float64)
        if array.shape != shape:
            raise ValueError(f"{name}[{layer}] has shape {array.shape}: it takes {shape}.")
        if not np.isfinite(array).all():
            raise ValueError(f"{name}[{layer}] holds NaN or infinity: it takes finite numbers.")
        checked.append(array)
    return checked


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
