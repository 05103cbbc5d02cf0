"""The first pass over a dataset: what must be known before training, and all checks of the rows."""

import numpy as np

from .. import _core
from .._input.arrays import has_weight
from ._table import batch_rows_for


class Finite:
    """Looks for NaN and infinity in the columns of X, also after they became float32."""

    def __init__(self, source):
        self._source = source
        self._too_large = None  # the first number that float32 does not have, in words

    def see(self, batch, place):
        """Raise ValueError, naming column and row, unless these rows are finite."""
        for run, values in self._source.matrices(batch, place):
            if values.dtype.kind != "f":
                continue
            if values.dtype == np.float16:
                values = values.astype(np.float32)
            if not _core.all_finite(values.T, 1, "float32"):  # whose rows are contiguous
                for name, column in zip(self._source.features[run], values.T, strict=True):
                    self._look_at(name, column, place)

    def _look_at(self, name, values, place):
        """The same for the numbers of one column."""
        column = values[:, np.newaxis]
        if _core.all_finite(column, 1, "float32"):
            return
        if not _core.all_finite(column, 1, "float64"):
            raise ValueError(_words(name, values, ~np.isfinite(values), place))
        if self._too_large is None:
            large = np.abs(values) > np.finfo(np.float32).max
            self._too_large = _words(name, values, large, place)

    def check(self, estimator, dtype):
        """Raise ValueError if a number of X is beyond this dtype, in which the net computes."""
        if self._too_large and dtype == np.float32:
            raise ValueError(
                f"{self._too_large}, a value too large for dtype('float32'), in which "
                f"{type(estimator).__name__} computes: scale X, or use dtype='float64'."
            )


def _words(name, values, wrong, place):
    row = int(np.flatnonzero(wrong)[0]) if wrong.any() else 0
    return f"X: column {name!r} of the dataset has {values[row]} in {place.named(row)}"


class WeightSum:
    """The sum of the weights of the rows."""

    def __init__(self, source):
        self._source = source
        self._sum = 0.0

    def see(self, batch, place):
        """Add the weights of some rows; ValueError unless they are finite."""
        weight = self._source.weights(batch, place)
        if weight is None:
            return
        if not np.isfinite(weight).all():
            name = self._source.weight
            raise ValueError(
                _words(name, weight, ~np.isfinite(weight), place).replace("X", "sample_weight", 1)
            )
        self._sum += weight.sum()

    def check(self, name="sample_weight"):
        """Raise ValueError unless one can divide by the sum."""
        if self._source.weight is not None and not has_weight(np.array([self._sum])):
            raise ValueError(
                f"{name}={self._source.weight!r} has sum {self._sum}: it takes finite values "
                "whose sum is well above zero and finite."
            )


def first_pass(table, source, see_targets):
    """Read all rows once; all columns are checked.

    Parameters
    ----------
    table : Table
    source : Source
    see_targets : callable
        (columns of y, place) -> None, for each batch.

    Returns
    -------
    Finite
        For its `check`, when the dtype of the net is known.
    """
    finite, weights = Finite(source), WeightSum(source)
    row_bytes = 8 * len(source.columns)
    for place, batch in table.batches(source.columns, batch_rows_for(row_bytes)):
        finite.see(batch, place)
        see_targets(source.targets(batch, place), place)
        weights.see(batch, place)
    if not table.n_rows:
        raise ValueError("The dataset has no rows: a fit takes one at least.")
    weights.check()
    return finite
