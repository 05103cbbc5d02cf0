"""Columns of a table as positions, the compact form that the first layer of a net reads.

A cell is one number p. In a column of numbers with knots ``e_0 < ... < e_K`` it is ``k + f``: the
bin k that the value is in and the fraction f of that bin which is below it, so p is in [0, K]; a
missing cell is K + 1 if the column has a row for it, else it is where the training median is. In a
column of m categories p is the code, 0 to m - 1, and -1 for a value that is not known.

What these positions stand for is a wide row of inputs (`Encoding.dense`), never made in a fit: per
column of numbers the raw value and the K numbers of the cumulative piecewise-linear encoding, 1 for
the bins below the value, f in its bin, 0 above, and one for missing; per category 0 or 1.

The raw value is ``x / sqrt(1 + (x / 3)^2)`` of the number centred at the median and divided by the
distance of the quartiles, interpolated between the knots. (Piecewise-linear encoding: Gorishniy et
al., On embeddings for numerical features in tabular deep learning, 2022; the clip: Holzmüller et
al., Better by default: strong pre-tuned MLPs and boosted trees on tabular data, 2024.)
"""

import heapq
from dataclasses import dataclass
from functools import partial

import numpy as np

from ._statistics import NumberCounts, counts_of
from ._table import Column

_BLOCK = 8192  # rows that are encoded at a time: what is made of them stays in the cache
_FEW_ROWS = 1000  # are not worth the making of a search tree
_HUGE = 2.0**1022  # the difference of larger numbers may not be finite


@dataclass
class _Numbers:
    """Column of numbers with at least two knots, which like all its numbers are times `scale`."""

    name: str
    knots: np.ndarray
    scale: float
    raw: tuple
    has_missing: bool
    when_missing: float  # the position

    @property
    def rows(self):
        return len(self.knots) + self.has_missing

    def reader(self, column):
        _check_kind(self, column, "number")
        values = column.values
        low, width = self.knots[:-1], self.knots[1:] - self.knots[:-1]
        count_below = _counter(self.knots[1:-1], len(values))

        def positions(rows):
            x = values[rows].astype(np.float64) * self.scale
            x.clip(self.knots[0], self.knots[-1], out=x)
            bins = count_below(x)
            p = (x - low.take(bins)) / width.take(bins)
            p += bins
            p[np.isnan(p)] = self.when_missing
            return p

        return positions

    def dense(self, p):
        n_bins = len(self.knots) - 1
        place = p[:, np.newaxis]
        columns = np.empty((len(p), self.rows), dtype=np.float64)
        columns[:, 0] = np.interp(p, np.arange(n_bins + 1), self.raw)
        columns[:, 1 : n_bins + 1] = np.clip(place - np.arange(n_bins), 0, 1)
        if self.has_missing:
            missing = p > n_bins
            columns[missing] = 0
            columns[:, -1] = missing
        return columns


@dataclass
class _Categories:
    """Column of categories, or one of numbers that tells no more than whether it is missing."""

    name: str
    kind: str
    codes: dict  # of the labels that are kept
    missing: int  # its code, -1 if it has none
    rows: int

    raw = None

    def reader(self, column):
        _check_kind(self, column, self.kind)
        values = column.values
        if self.kind == "number":
            return lambda rows: np.where(np.isnan(values[rows]), self.missing, -1)
        code_of = np.array(
            [*(self.codes.get(label, -1) for label in column.labels), self.missing], dtype=np.intp
        )
        return lambda rows: code_of[values[rows]]

    def dense(self, p):
        return (p[:, np.newaxis] == np.arange(self.rows)).astype(np.float64)


def _check_kind(encoder, column, kind):
    if column.kind != kind:
        raise ValueError(
            f"The column {encoder.name!r} has the kind {column.kind!r}: it takes {kind!r}."
        )


class Encoding:
    """How the columns of a table become positions; made by `fit`, holds no rows.

    Attributes
    ----------
    names : list of str
    n_columns : int
    n_inputs : int
        Width of the dense form, the rows of the first matrix of weights.
    offsets : ndarray of int of shape (n_columns + 1,)
        Where the rows of each column begin, and `n_inputs` at the end.
    """

    def __init__(self, encoders):
        self._encoders = tuple(encoders)
        self.names = [encoder.name for encoder in encoders]
        self.n_columns = len(encoders)
        self.offsets = np.cumsum([0, *(encoder.rows for encoder in encoders)])
        self.n_inputs = int(self.offsets[-1])

    @classmethod
    def fit(cls, columns, *, n_bins=64, max_categories=4096, min_count=2):
        """Find knots and categories in training rows.

        Parameters
        ----------
        columns : iterable of Column
            Of the training rows only.
        n_bins : int
            The most bins of a column of numbers, at least 1. It has fewer where it has no more
            than so many distinct values, each of which is a knot then.
        max_categories : int
            The most categories of a column that are kept, those with the most rows; of equals the
            ones that are first in order.
        min_count : int
            The fewest rows of a category that is kept. A category that is not kept is encoded as
            one that no training row has. That cells are missing is always kept.

        Returns
        -------
        Encoding
        """
        counted = ((column.name, counts_of(column)) for column in columns)
        return cls.of_counts(
            counted, n_bins=n_bins, max_categories=max_categories, min_count=min_count
        )

    @classmethod
    def of_counts(cls, counted, *, n_bins=64, max_categories=4096, min_count=2):
        """The same by what the columns of the training rows come to.

        Parameters
        ----------
        counted : iterable of (str, NumberCounts or LabelCounts)
            The name of each column and its counts.
        n_bins, max_categories, min_count : int
            As `fit` takes them.

        Returns
        -------
        Encoding
        """
        return cls(
            [
                _numbers_of(name, counts, n_bins)
                if isinstance(counts, NumberCounts)
                else _categories_of(name, counts, max_categories, min_count)
                for name, counts in counted
            ]
        )

    def description(self):
        """What the core needs to know of each column.

        Returns
        -------
        tuple of (rows, knots)
            The number of rows of the first matrix of weights, and the raw values at the knots, a
            tuple of K + 1 floats with K >= 1, or None for a column of categories. A column of
            numbers has K + 1 rows, or K + 2 with one for missing, the last.
        """
        return tuple((encoder.rows, encoder.raw) for encoder in self._encoders)

    def encode(self, columns, dtype=np.float32, out=None):
        """Positions of rows.

        Parameters
        ----------
        columns : sequence of Column
            All columns in the order of `fit`.
        dtype : dtype
            float32 or float64.
        out : ndarray of shape (n_rows, n_columns) or None
            Where to put them.

        Returns
        -------
        ndarray of shape (n_rows, n_columns)
            C-contiguous, or `out`.
        """
        if len(columns) != self.n_columns:
            raise ValueError(f"There are {len(columns)} columns: it takes {self.n_columns}.")
        n_rows = len(columns[0])
        readers = [e.reader(column) for e, column in zip(self._encoders, columns, strict=True)]
        positions = np.empty((n_rows, self.n_columns), dtype=dtype) if out is None else out
        for first in range(0, n_rows, _BLOCK):
            rows = slice(first, first + _BLOCK)
            block = positions[rows]
            for place, reader in enumerate(readers):
                block[:, place] = reader(rows)
        return positions

    def dense(self, positions, dtype=np.float64):
        """The wide rows that positions stand for, as an ndarray of shape (n_rows, n_inputs)."""
        rows = np.empty((len(positions), self.n_inputs), dtype=dtype)
        for place, encoder in enumerate(self._encoders):
            wide = rows[:, self.offsets[place] : self.offsets[place + 1]]
            wide[:] = encoder.dense(positions[:, place].astype(np.float64))
        return rows


# ---- numbers ----


def _numbers_of(name, counts, n_bins):
    x = counts.values
    # A quarter is exact but of numbers that are nothing beside the largest.
    scale = 0.25 if len(x) and max(-x[0], x[-1]) > _HUGE else 1.0
    counts = counts.times(scale)
    has_missing = counts.has_missing
    if len(counts.values) < 2:
        tells = has_missing and len(x) > 0
        return _Categories(name, "number", {}, 0 if tells else -1, 1)
    knots = _knots(counts, n_bins)
    encoder = _Numbers(name, knots, scale, _raw(counts, knots), has_missing, len(knots))
    if not has_missing:
        median = Column(name, "number", counts.at([0.5]) / scale)
        encoder.when_missing = float(encoder.reader(median)(slice(None))[0])
    return encoder


def _knots(counts, n_bins):
    """At most n_bins + 1 of the distinct values: half by quantiles of the rows.

    The others go where the most distinct values have no knot between them, so that values which
    most rows share do not take all knots.
    """
    distinct = counts.values
    if len(distinct) <= n_bins + 1:
        return distinct
    of_rows = np.unique(counts.at(np.linspace(0, 1, max(n_bins // 2, 1) + 1)))
    ranks = np.searchsorted(distinct, of_rows)
    parts = _parts(np.diff(ranks).tolist(), n_bins + 1 - len(ranks))
    pieces = [
        first + (np.arange(count) * (last - first)) // count
        for first, last, count in zip(ranks[:-1], ranks[1:], parts, strict=True)
    ]
    return distinct[np.concatenate([*pieces, ranks[-1:]])]


def _parts(gaps, n_cuts):
    """How many parts each of the gaps has after so many cuts, each where the parts are largest."""
    parts = [1] * len(gaps)
    largest = [(-gap, place) for place, gap in enumerate(gaps)]
    heapq.heapify(largest)
    for _ in range(n_cuts):
        place = largest[0][1]
        parts[place] += 1
        heapq.heapreplace(largest, (-gaps[place] / parts[place], place))
    return parts


def _raw(counts, knots):
    """The raw values at the knots."""
    x = counts.values
    low, median, high = counts.at(np.array([0.25, 0.5, 0.75]))
    spread, times = (high - low, 1) if high > low else (x[-1] - x[0], 2)
    with np.errstate(over="ignore"):
        thirds = np.clip((knots - median) / spread * (times / 3), -1e9, 1e9)
    return tuple((3 * thirds / np.sqrt(1 + thirds**2)).tolist())


def _counter(bounds, n_rows):
    """What counts how many of the sorted bounds are at most x, for so many x; any for NaN."""
    if n_rows < _FEW_ROWS:
        return partial(bounds.searchsorted, side="right")
    return partial(_count_below, _levels(bounds))


def _levels(bounds):
    """Sorted bounds as a binary search tree: an array of the bounds to look at in each step.

    `_count_below` needs a third of the time of `numpy.searchsorted`, whose branches on unsorted
    numbers no processor can predict.
    """
    depth = int(len(bounds)).bit_length()
    padded = np.full(2**depth, np.inf)
    padded[: len(bounds)] = bounds
    return [padded[2 ** (depth - d - 1) - 1 :: 2 ** (depth - d)].copy() for d in range(depth)]


def _count_below(levels, x):
    """How many of the bounds are at most x; 0 for NaN."""
    count = np.zeros(len(x), dtype=np.intp)
    for bounds in levels:
        above = bounds.take(count) <= x
        count += count
        count += above
    return count


# ---- categories ----


def _categories_of(name, counted, max_categories, min_count):
    labels, counts, has_missing = counted.labels, counted.counts, counted.has_missing
    seen = int((counts > 0).sum()) + has_missing
    kept = sorted(
        (code for code in range(len(labels)) if counts[code] >= max(min_count, 1)),
        key=lambda code: (-counts[code], _order(labels[code])),
    )[:max_categories]
    kept = sorted((labels[code] for code in kept), key=_order)
    if seen < 2 or not kept and not has_missing:  # equal for all rows
        return _Categories(name, "category", {}, -1, 1)
    codes = {label: code for code, label in enumerate(kept)}
    missing = len(kept) if has_missing else -1
    return _Categories(name, "category", codes, missing, len(kept) + has_missing)


def _order(label):
    """Key that puts labels in the same order in every run: numbers, text, all else."""
    if isinstance(label, (int, float)):
        return (0, "", label, "")
    if isinstance(label, str):
        return (1, "", 0, label)
    return (2, type(label).__qualname__, 0, repr(label))
