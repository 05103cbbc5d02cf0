"""Predictions: the forward pass over any number of rows in a small arena.

Few rows go through an engine that is kept with the estimator, so that one prediction costs
microseconds; many rows get an engine of their own, with threads, for the time of the call.
"""

import threading

import numpy as np
from scipy.sparse import issparse
from sklearn.utils.validation import check_is_fitted

from . import _core
from ._input.arguments import parse_max_memory
from ._input.arrays import finite_data, validated
from ._losses import BY_OUTPUT
from ._threads import resolve_n_threads, single_threaded_blas

# Rows in one pass. Larger blocks gave no more speed, only more memory.
FEW_ROWS = 32
BLOCK_ROWS = 256
# Share of non-zeros up to which the sparse product beats the dense one on gathered rows.
MOST_NON_ZEROS = 0.2
# An engine larger than this is not kept.
KEEP_BYTES = 4 << 20


def few_non_zeros(X):
    """Tell whether the first layer works from the non-zeros; otherwise rows become dense."""
    return issparse(X) and X.nnz <= MOST_NON_ZEROS * X.shape[0] * X.shape[1]


def outputs(estimator, X):
    """Output of a fitted estimator's net, (n_samples, n_outputs), in the parameters' dtype."""
    check_is_fitted(estimator)
    if _is_plain(estimator, X):
        data = _core.Data(np.require(X, requirements="A"))
    else:
        X = validated(estimator, X, reset=False)
        data = finite_data(estimator, X)
    params = estimator._parameters()
    net = (
        params.layer_sizes,
        (estimator.activation,) * (len(params.layer_sizes) - 2),
        BY_OUTPUT[estimator.out_activation_].core,
        params.flat.dtype.name,
    )
    forward = getattr(estimator, "_forward", None) or Forward()
    max_memory = parse_max_memory(estimator.max_memory)
    return forward(net, params.flat, data, few_non_zeros(X), estimator.n_threads, max_memory)


def _is_plain(estimator, X):
    """Tell whether X needs no validation: a few finite rows of the right type and width.

    The general validation takes 70 microseconds, far more than the forward pass of a few rows.
    """
    return (
        type(X) is np.ndarray
        and X.ndim == 2
        and 0 < X.shape[0] <= FEW_ROWS
        and X.shape[1] == getattr(estimator, "n_features_in_", None)
        and (X.dtype == np.float32 or X.dtype == np.float64)
        and not hasattr(estimator, "feature_names_in_")
        and bool(np.isfinite(X).all())
    )


class Forward:
    """Forward passes for one estimator; safe to call from several Python threads.

    Nothing here belongs to the fitted state: pickles leave it out.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._key = None
        self._trainer = None

    def __call__(self, net, flat, data, sparse, n_threads, max_memory):
        """Compute the network's output.

        Parameters
        ----------
        net : tuple
            Layer sizes, activations, loss (decides the output activation) and dtype name.
        flat : ndarray of shape (n_params,)
        data : _core.Data of shape (n, n_features)
        sparse : bool
            Whether the first layer works from the non-zeros of CSR rows.
        n_threads : int or None
        max_memory : int
            Bytes of the arena at most; 0 for no limit.

        Returns
        -------
        ndarray of shape (n, n_outputs)
            In the parameters' dtype.
        """
        out = np.empty((data.n_rows, net[0][-1]), dtype=flat.dtype)
        if data.n_rows > FEW_ROWS:
            rows = min(BLOCK_ROWS, data.n_rows)
            with single_threaded_blas():
                trainer = _engine(net, rows, resolve_n_threads(n_threads), max_memory, sparse)
                trainer.forward(flat, data, out)
        elif self._lock.acquire(blocking=False):
            try:
                self._kept_engine(net, max_memory, sparse).forward(flat, data, out)
            finally:
                self._lock.release()
        else:
            _engine(net, FEW_ROWS, 1, max_memory, sparse).forward(flat, data, out)
        return out

    def _kept_engine(self, net, max_memory, sparse):
        key = (net, max_memory, sparse)
        if self._key == key:
            return self._trainer
        trainer = _engine(net, FEW_ROWS, 1, max_memory, sparse)
        if trainer.plan()["total_bytes"] <= KEEP_BYTES:
            self._key, self._trainer = key, trainer
        return trainer


def _engine(net, rows, n_threads, max_memory, sparse):
    return _core.Trainer(
        *net, rows, n_threads=n_threads, max_memory=max_memory, sparse=sparse, forward_only=True
    )
