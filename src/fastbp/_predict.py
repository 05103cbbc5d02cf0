"""Predictions: the forward pass over any number of rows in a small arena.

How a call is computed follows from its cost, (rows) x (weights). Few rows are computed in float64,
whatever the parameters' dtype, so that finite differences of predictions mean something; more rows
in the parameters' dtype. Up to `DIRECT_ROWS` rows W is used as it stands, beyond that it is packed
first, which then costs less than it saves.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from . import _core
from ._datasets import is_dataset
from ._input.arguments import check_activation, parse_max_memory
from ._input.arrays import check_finite, is_finite, rows_of, threads_to_search
from ._losses import BY_OUTPUT
from ._params import parameters_of
from ._threads import blas_guard, resolve_n_threads
from ._trainers import Arguments, give_back, take

# So many rows are computed in float64 however large the net: it is read from memory once.
DOUBLE_ROWS = 8
# rows x weights below which float64 takes at most some 50 microseconds; above, a team of threads
# is worth waking, too.
SMALL_WORK = 1 << 20
# The core packs weights from 64 rows in a pass on (tuning.h).
DIRECT_ROWS = 63
# Features of a row of which room for many costs too much to be had for one.
LONG_ROW = 4096
# Rows in one pass. Larger blocks gave no more speed, only more memory.
BLOCK_ROWS = 256
# Share of non-zeros up to which the sparse product beats the dense one on gathered rows.
MOST_NON_ZEROS = 0.2


def few_non_zeros(X):
    """Tell whether the first layer works from the non-zeros; otherwise rows become dense."""
    return issparse(X) and X.nnz <= MOST_NON_ZEROS * X.shape[0] * X.shape[1]


class Fitted(NamedTuple):
    """What a forward pass needs of an estimator, all of one moment: another thread may refit it."""

    state: dict  # all attributes
    flat: np.ndarray
    layer_sizes: tuple
    activations: tuple
    loss: str  # in the core; decides the output activation
    x_dtype: np.dtype  # of X in `fit`
    n_threads: int | None
    max_memory: int | str | None

    @classmethod
    def of(cls, estimator):
        """Take it from the estimator, or raise NotFittedError."""
        state = vars(estimator).copy()  # at once: no other Python thread runs meanwhile
        if "coefs_" not in state:
            check_is_fitted(estimator)
        params = parameters_of(state)
        return cls(
            state=state,
            flat=params.flat,
            layer_sizes=params.layer_sizes,
            activations=check_activation(estimator.activation, len(params.layer_sizes) - 2),
            loss=BY_OUTPUT[state.get("out_activation_")].core,
            x_dtype=state.get("_x_dtype", params.flat.dtype),
            n_threads=estimator.n_threads,
            max_memory=estimator.max_memory,
        )


def outputs(estimator, fitted, X, raw=False):
    """Output of a fitted estimator's net; `raw`: before the output activation.

    Returns
    -------
    ndarray of shape (n_samples, n_outputs)
        In the dtype that scikit-learn's estimator gives for the same X.
    """
    (output,) = _forward(estimator, fitted, X, fitted.layer_sizes[-1:], raw=raw)
    return output


def hidden_activations(estimator, X):
    """Activations of every hidden layer, each in the dtype of `outputs`."""
    fitted = Fitted.of(estimator)
    return _forward(estimator, fitted, X, fitted.layer_sizes[1:-1], hidden=True)


def _forward(estimator, fitted, X, widths, hidden=False, raw=False):
    """Arrays of these widths: those of the hidden layers, or that of the output alone."""
    if is_dataset(X):
        from ._datasets._predict import forward

        return forward(estimator, fitted, X, widths, hidden, raw)
    X = rows_of(estimator, fitted.state, X)
    data = _core.Data(X)
    wanted = np.result_type(X.dtype, fitted.x_dtype)
    narrow = is_narrow(fitted, data.n_rows)
    n_threads = threads_to_search(X, fitted.n_threads)
    if narrow and is_finite(X, data, "float32", n_threads):
        arrays = _run(fitted, "float32", X, data, widths, wanted, hidden, raw)
        if all(map(has_finite_sum, arrays)):
            return arrays
        # A sum of float32 overflowed. In float64 it does not, unless the result does.
    check_finite(estimator, X, data, n_threads)
    arrays = _run(fitted, "float64", X, data, widths, np.float64, hidden, raw)
    with np.errstate(over="ignore"):
        return [a.astype(wanted, copy=False) for a in arrays]


def is_narrow(fitted, n_rows):
    """Tell whether so many rows are computed in float32."""
    small = n_rows <= DOUBLE_ROWS or n_rows * fitted.flat.size < SMALL_WORK
    return fitted.flat.dtype == np.float32 and not small


def has_finite_sum(a):
    """Tell whether no number of an array is NaN or infinite, nor their sum."""
    with np.errstate(invalid="ignore"):
        return math.isfinite(a.sum(dtype=np.float64))


def _run(fitted, dtype, X, data, widths, result_dtype, hidden, raw):
    """Compute in `dtype` by a trainer that stays."""
    arguments = arguments_of(fitted, dtype, X.shape[0], few_non_zeros(X))
    arrays = [np.empty((X.shape[0], width), result_dtype) for width in widths]
    out, layers = (None, arrays) if hidden else (arrays[0], ())
    trainer = take(arguments)
    try:
        with blas_guard(trainer.uses_blas):
            trainer.forward(fitted.flat, data, out, raw=raw, hidden=layers)
    finally:
        give_back(trainer, arguments)
    return arrays


def arguments_of(fitted, dtype, n_rows, sparse=False):
    """The `Arguments` of the trainer for the forward pass of so many rows in `dtype`."""
    work = n_rows * fitted.flat.size
    if n_rows > DIRECT_ROWS and work >= SMALL_WORK:
        rows = BLOCK_ROWS
    else:  # room for one number of rows serves them all, unless the rows are long
        rows = DIRECT_ROWS if fitted.layer_sizes[0] <= LONG_ROW else min(n_rows, DIRECT_ROWS)
    many = work >= SMALL_WORK and n_rows > 1
    return Arguments(
        layer_sizes=fitted.layer_sizes,
        activations=fitted.activations,
        loss=fitted.loss,
        dtype=dtype,
        batch_size=rows,
        n_threads=resolve_n_threads(fitted.n_threads) if many else 1,
        max_memory=parse_max_memory(fitted.max_memory),
        sparse=sparse,
        forward_only=True,
        param_dtype="float32" if fitted.flat.dtype == np.float32 else "float64",
    )
