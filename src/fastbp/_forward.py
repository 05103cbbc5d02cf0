"""Predictions: the forward pass over any number of rows in a small arena.

Few rows go through an engine that is kept with the estimator, so that one prediction costs
microseconds; many rows get an engine of their own, with threads, for the time of the call.
"""

import threading

import numpy as np
from scipy.sparse import issparse

from . import _core
from ._threads import resolve_n_threads, single_threaded_blas

# Rows in one pass. Larger blocks gave no more speed, only more memory.
FEW_ROWS = 32
BLOCK_ROWS = 256
# Share of non-zeros up to which the sparse product beats the dense one on gathered rows.
MOST_NON_ZEROS = 0.2
# An engine larger than this is not kept.
KEEP_BYTES = 4 << 20


def engine_input(X):
    """Bring validated X into a form that the core reads in place.

    Only awkward inputs are copied: misaligned arrays, and CSR with index arrays of two types.
    """
    if not issparse(X):
        return np.require(X, requirements="A")
    if X.indices.dtype != X.indptr.dtype:
        wide = np.promote_types(X.indices.dtype, X.indptr.dtype)
        indices, indptr = X.indices.astype(wide, copy=False), X.indptr.astype(wide, copy=False)
        X = X.copy()
        X.indices, X.indptr = indices, indptr
    return X


def few_non_zeros(X):
    """Tell whether the first layer works from the non-zeros; otherwise rows become dense."""
    return issparse(X) and X.nnz <= MOST_NON_ZEROS * X.shape[0] * X.shape[1]


class Forward:
    """Forward passes for one estimator; safe to call from several Python threads.

    Nothing here belongs to the fitted state: pickles leave it out.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._key = None
        self._trainer = None

    def __call__(self, params, X, activation, loss, n_threads, max_memory):
        """Compute the network's output.

        Parameters
        ----------
        params : Parameters
        X : ndarray or CSR matrix of shape (n, n_features)
        activation, loss : str
            Of the hidden layers; as the core names it (decides the output activation).
        n_threads : int or None
        max_memory : int
            Bytes of the arena at most; 0 for no limit.

        Returns
        -------
        ndarray of shape (n, n_outputs)
            In the parameters' dtype.
        """
        data = _core.Data(engine_input(X))
        out = np.empty((X.shape[0], params.layer_sizes[-1]), dtype=params.flat.dtype)
        net = (
            params.layer_sizes,
            (activation,) * (len(params.layer_sizes) - 2),
            loss,
            params.flat.dtype.name,
        )
        sparse = few_non_zeros(X)
        if X.shape[0] > FEW_ROWS:
            rows = min(BLOCK_ROWS, X.shape[0])
            with single_threaded_blas():
                _engine(net, rows, resolve_n_threads(n_threads), max_memory, sparse).forward(
                    params.flat, data, out
                )
        elif self._lock.acquire(blocking=False):
            try:
                self._kept_engine(net, max_memory, sparse).forward(params.flat, data, out)
            finally:
                self._lock.release()
        else:
            _engine(net, FEW_ROWS, 1, max_memory, sparse).forward(params.flat, data, out)
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
