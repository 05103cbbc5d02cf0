"""What rows of MLPClassifier and MLPRegressor look like in a buffer."""

import numpy as np

from .. import _core
from .._input.weights import product_of_weights


class PlainLayout:
    """Rows of X, the targets as the core takes them, and their weights.

    Parameters
    ----------
    source : Source
        Which columns are what.
    x_dtype : dtype
        Of X in a buffer: that in which the net computes.
    targets : Labels or Numbers
        What y means; its `finish` has been called.
    class_weights : list of ndarray, or None
        As `_input.weights.class_weights` gives them.
    """

    def __init__(self, source, x_dtype, targets, class_weights=None):
        self.columns = source.columns
        self._source, self.x_dtype = source, np.dtype(x_dtype)
        self._targets, self._class_weights = targets, class_weights
        self._y_shape, self._y_dtype = targets.sample.shape[1:], targets.sample.dtype
        self._weighted = source.weight is not None or class_weights is not None
        self.row_bytes = sum(a.nbytes for a in self.allocate(1))

    def allocate(self, n):
        """Room for n rows: X, y and the weights, if there are any."""
        arrays = (
            np.empty((n, len(self._source.features)), self.x_dtype),
            np.empty((n, *self._y_shape), self._y_dtype),
        )
        return (*arrays, np.empty(n)) if self._weighted else arrays

    def write(self, arrays, at, batch, place):
        """Put the rows of a record batch into the rows from `at` on."""
        rows = slice(at, at + batch.num_rows)
        source = self._source
        source.write(batch, place, arrays[0][rows])
        codes, arrays[1][rows] = self._targets.of(source.targets(batch, place), place)
        if self._weighted:
            arrays[2][rows] = self._weights(codes, batch, place)

    def weights_of(self, batch, place):
        """Weights of the rows of a record batch, or None."""
        if not self._weighted:
            return None
        codes, _ = self._targets.of(self._source.targets(batch, place), place)
        return self._weights(codes, batch, place)

    def _weights(self, codes, batch, place):
        weight = self._source.weights(batch, place)
        if self._class_weights is None:
            return weight
        of_classes = product_of_weights(self._class_weights, codes)
        return of_classes if weight is None else weight * of_classes

    def data(self, arrays, n):
        """The `_core.Data` of the first n rows."""
        return _core.Data(*(a[:n] for a in arrays))

    def weight_sum(self, arrays, n):
        """The sum of the weights of the first n rows."""
        return float(arrays[2][:n].sum()) if self._weighted else float(n)
