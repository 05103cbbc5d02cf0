"""Targets and weights of rows that pass by in record batches: what all of them come to, and codes.

A pass counts the rows in parts, too: a part is what a row is held out for, which follows from its
number (see `_stream_fit.Parts`).
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._datasets._columns import check_number_of_labels, labels_of
from .._input.arrays import TINY
from .._input.weights import class_weights
from ._cells import is_missing
from ._targets import Numbers, mean_and_deviation


def _values(column):
    """A column of a table as one Arrow array of plain values."""
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # some versions give it back where there is no chunk
        column = pa.concat_arrays(column.chunks) if column.chunks else pa.array([], column.type)
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _numbers(what, column, place):
    """A column of finite numbers as float64; ValueError that says what it is and where not."""
    column = _values(column)
    kind = column.type
    is_number = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    if not (is_number or pa.types.is_boolean(kind) or pa.types.is_decimal(kind)):
        raise TypeError(f"{what} of the dataset has type {kind}: it takes numbers.")
    if pa.types.is_boolean(kind):
        column = column.cast(pa.uint8())
    values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    if column.null_count:
        values = np.where(column.is_null().to_numpy(zero_copy_only=False), np.nan, values)
    finite = np.isfinite(values)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(
            f"{what} of the dataset has {values[row]} in {place.named(row)}: it takes finite "
            "numbers, none of them missing."
        )
    return values


class Weights:
    """The weights of rows in a column, if there is one.

    Parameters
    ----------
    name : str or None
        Of the column.
    """

    def __init__(self, name, argument="sample_weight"):
        self.name, self._argument = name, argument
        self._total = 0.0

    def of(self, batch, place):
        """Those of the rows of a record batch: float64, or None."""
        if self.name is None:
            return None
        what = f"{self._argument}: column {self.name!r}"
        return _numbers(what, batch.column(self.name), place)

    def add(self, weight):
        """Have weights that pass by."""
        if weight is not None:
            with np.errstate(over="ignore", invalid="ignore"):
                self._total += float(weight.sum())

    def check(self):
        """ValueError unless the sum of what has passed by is above zero and finite."""
        if self.name is not None and not TINY <= self._total < np.inf:
            raise ValueError(
                f"{self._argument}: column {self.name!r} of the dataset has the sum {self._total}: "
                "it takes finite values whose sum is well above zero and finite."
            )


class LabelsPass:
    """The labels of a column that passes by.

    Parameters
    ----------
    name : str
        Of the column.
    n_parts : int
        In which the rows are counted.
    class_weight
        That of the estimator: a row of a class without weight is not counted in its part.
    """

    kind = "multiclass"
    has_labels = True
    nothing = np.zeros(0, dtype=np.intp)  # codes of no rows

    def __init__(self, name, n_parts, class_weight):
        self._what = f"y: column {name!r} of the dataset"
        self._name, self._class_weight = name, class_weight
        self._places, self._counts = {}, np.zeros((0, 1 + n_parts), dtype=np.int64)
        self._type = None
        self._labels = self._codes = None

    def add(self, batch, place, parts, weight):
        """Have the rows of a record batch; whether each has weight."""
        places = self._coded(batch, place)
        has_weight = np.ones(len(parts), dtype=bool) if weight is None else weight >= TINY
        if isinstance(self._class_weight, dict):
            factors = [float(self._class_weight.get(label, 1)) for label in self._places]
            of_rows = np.array(factors)[places]
            has_weight = (of_rows if weight is None else of_rows * weight) >= TINY
        n_parts = self._counts.shape[1]
        if len(self._places) > len(self._counts):
            more = np.zeros((len(self._places) - len(self._counts), n_parts), dtype=np.int64)
            self._counts = np.concatenate([self._counts, more])
        self._counts[:, 0] += np.bincount(places, minlength=len(self._places))
        flat = places[has_weight] * n_parts + 1 + parts[has_weight]
        self._counts += np.bincount(flat, minlength=self._counts.size).reshape(-1, n_parts)
        return has_weight

    def _coded(self, batch, place):
        """The places of the labels of rows; new labels have new places."""
        column = labels_of(_values(batch.column(self._name)))
        self._type = column.type
        if pa.types.is_nested(column.type):
            raise TypeError(f"{self._what} has type {column.type}: it takes labels.")
        encoded = column.dictionary_encode()
        labels = encoded.dictionary.to_pylist()
        if encoded.null_count or any(map(is_missing, labels)):
            missing = pc.is_null(column, nan_is_null=True).to_numpy(zero_copy_only=False)
            where = place.named(int(np.flatnonzero(missing)[0]))
            raise ValueError(
                f"{self._what} has a missing value (None or NaN) in {where}: it takes a label for "
                "every row."
            )
        of_labels = [self._places.setdefault(label, len(self._places)) for label in labels]
        check_number_of_labels(len(self._places), self._what)
        return np.array(of_labels, dtype=np.intp)[encoded.indices.to_numpy(zero_copy_only=False)]

    def learn(self, draft):
        """The estimator learns the classes."""
        labels = pa.array(list(self._places), type=self._type)
        values = labels.to_numpy(zero_copy_only=False)
        # Of rows that are all different scikit-learn doubts that they are labels.
        _, codes = draft._check_target(np.repeat(values, 3))
        self._labels, self._codes = labels, np.asarray(codes[::3], dtype=np.intp)
        counts = np.empty_like(self._counts)
        counts[self._codes] = self._counts
        self._counts = counts  # by code from here on
        self.class_weights = class_weights(
            self._class_weight, draft.classes_, self.nothing, [self._counts[:, 0]]
        )

    @property
    def counts(self):
        """Rows of each class (in order of the codes) in each part: (n_classes, n_parts)."""
        return self._counts[:, 1:]

    def target(self, draft):
        """The `Classes`, of the estimator that has learnt."""
        return draft._target(self.kind, None, None)

    def of(self, batch, place, argument, names):
        """Codes of the labels in the column which this argument names."""
        column = labels_of(_values(batch.column(names[0])))
        if column.type != self._labels.type:
            column = column.cast(self._labels.type)
        places = pc.index_in(column, value_set=self._labels)
        if places.null_count:
            unseen = pc.unique(column.filter(places.is_null())).to_pylist()
            raise ValueError(
                f"{argument}: column {names[0]!r} of the dataset has the labels {unseen}, which y "
                f"had not: it takes {self._labels.to_pylist()}."
            )
        return self._codes[places.to_numpy(zero_copy_only=False)]


class NumbersPass:
    """Numbers of columns that pass by: their mean and deviation, and rows in each part.

    Parameters
    ----------
    names : list of str
        Of the columns.
    n_parts : int
        In which the rows are counted.
    """

    kind, class_weights = None, None
    has_labels = False

    def __init__(self, names, n_parts):
        self._names = names
        self.counts = np.zeros((1, n_parts), dtype=np.int64)
        self.nothing = np.zeros((0, len(names)))  # numbers of no rows
        self._weight, self._mean, self._deviation = 0.0, 0.0, 0.0
        self._low, self._high = np.inf, -np.inf

    def add(self, batch, place, parts, weight):
        """Have the rows of a record batch; whether each has weight."""
        values = self.of(batch, place, "y", self._names)
        has_weight = np.ones(len(parts), dtype=bool)
        if weight is not None:
            has_weight = weight >= TINY
            values, parts, weight = values[has_weight], parts[has_weight], weight[has_weight]
        if len(values):
            self.counts[0] += np.bincount(parts, minlength=self.counts.shape[1])
            total = float(len(values)) if weight is None else float(weight.sum())
            self._join(total, *mean_and_deviation(values, weight))
            self._low = np.minimum(self._low, values.min(axis=0))
            self._high = np.maximum(self._high, values.max(axis=0))
        return has_weight

    def _join(self, weight, mean, deviation):
        """Have rows of this weight, mean and deviation, without an overflow on the way."""
        total = self._weight + weight
        share, others = weight / total, self._weight / total
        half_gap = mean / 2 - self._mean / 2  # the whole of it may be too large
        between = 2 * np.sqrt(share * others) * half_gap
        within = np.hypot(np.sqrt(others) * self._deviation, np.sqrt(share) * deviation)
        self._deviation, self._weight = np.hypot(within, between), total
        self._mean = self._mean + share * half_gap + share * half_gap

    def learn(self, draft):
        """The estimator has nothing to learn."""

    def target(self, draft):
        """The `Numbers`."""
        constant = self._low == self._high
        deviation = np.where(constant, 0.0, self._deviation)
        return Numbers.of_moments(np.where(constant, self._low, self._mean), deviation)

    def of(self, batch, place, argument, names):
        """Numbers of shape (n, n_outputs), of these columns, which this argument names."""
        columns = [_numbers(f"{argument}: column {n!r}", batch.column(n), place) for n in names]
        return np.column_stack(columns)
