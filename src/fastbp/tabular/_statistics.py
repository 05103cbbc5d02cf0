"""What an encoding needs to know of the rows of a table, found in one pass over them.

`NumberCounts` and `LabelCounts` are what a column comes to, whether its rows are in memory
(`counts_of`) or pass by in batches (`TablePass`). Of batches the counts are exact as long as a
column has no more than `MOST` distinct values (and no more bytes of text than `_BYTES_EACH` times
that). Beyond it they are those of a uniform sample of so many rows: the rows of the smallest keys,
and a key is a hash of the number of the row. So neither the cuts into batches nor their order
matter, and the passes over two parts of a table merge to the pass over all of it.

Exact in any case: whether cells are missing, the smallest and the largest number, and the kinds of
the columns, which text of numbers has too.
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from . import _cells
from ._table import NamingColumn, Schema, _categories, _kind_for, _tell_dates, infinite_number

# Distinct values with exact counts, and rows of the sample in their place.
MOST = 1 << 16
# Bytes of text that the labels of a column may take, for each of these.
_BYTES_EACH = 256
# Of a label beside its text: what Python takes for it and its place in a dict.
_BYTES_OF_LABEL = 128


# ---- what a column comes to ----


@dataclass
class NumberCounts:
    """Distinct numbers, sorted, with the number of rows of each, and whether cells are missing."""

    values: np.ndarray
    counts: np.ndarray
    has_missing: bool

    @classmethod
    def of(cls, values):
        """Of an array of numbers, NaN where missing."""
        values = values.astype(np.float64)
        missing = np.isnan(values)
        has_missing = bool(missing.any())
        x = np.sort(values[~missing] if has_missing else values)
        return cls(*_runs(x), has_missing)

    def times(self, scale):
        """The same of the numbers times a scale, by which some may become equal."""
        if scale == 1.0:
            return self
        return NumberCounts(*_summed(self.values * scale, self.counts), self.has_missing)

    def at(self, share):
        """The number below which this share of the rows is: always one of them."""
        ends = np.cumsum(self.counts)
        place = np.rint(np.multiply(share, ends[-1] - 1)).astype(np.int64)
        return self.values[np.searchsorted(ends, place, side="right")]


@dataclass
class LabelCounts:
    """Distinct labels with the number of rows of each, and whether cells are missing."""

    labels: list
    counts: np.ndarray
    has_missing: bool


def counts_of(column):
    """The counts of a `Column`."""
    if column.kind == "number":
        return NumberCounts.of(column.values)
    counts = np.bincount(column.values + 1, minlength=len(column.labels) + 1)
    return LabelCounts(column.labels, counts[1:], bool(counts[0]))


def _runs(x):
    """Distinct numbers of a sorted array, and how often each stands in it; no zero is negative."""
    if not len(x):
        return x, np.empty(0, dtype=np.int64)
    first = np.flatnonzero(np.append(True, x[1:] != x[:-1]))
    return x[first] + 0.0, np.diff(np.append(first, len(x)))


def _summed(values, counts):
    """Distinct numbers, sorted, with the sums of the counts of equal ones."""
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    first = np.flatnonzero(np.append(True, values[1:] != values[:-1]))
    return values[first], np.add.reduceat(counts, first)


# ---- keys of rows ----


def row_keys(rows, seed=0):
    """A hash of each row number: uint64, uniform, different for different rows.

    Parameters
    ----------
    rows : ndarray of int64
    seed : int
        Other hashes for another one.

    Notes
    -----
    The finalizer of SplitMix64 (Steele, Lea and Flood, Fast splittable pseudorandom number
    generators, 2014), which is a permutation of the 64-bit integers.
    """
    start = (seed * 0xD1342543DE82EF95 + 0x632BE59BD9B4E019) % 2**64
    x = rows.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(start)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


class _Sample:
    """The values of the rows that have the smallest keys: so many, of so many bytes at most."""

    def __init__(self, dtype, most, most_bytes=None):
        self._keys, self._values = np.empty(0, np.uint64), np.empty(0, dtype)
        self._more, self._n_more, self._bytes_more = [], 0, 0
        self._most, self._most_bytes = most, most_bytes
        self._bound = None  # keys from this one on have no place

    def add(self, keys, values):
        """Have more rows; `values`: an array, or (array of codes, array of what they stand for)."""
        if self._bound is not None:
            rows = np.flatnonzero(keys < self._bound)
            keys = keys[rows]
            values = (
                values[rows] if isinstance(values, np.ndarray) else (values[0][rows], values[1])
            )
        if self._most_bytes is not None:
            self._bytes_more += _bytes_of_all(values)
        if not isinstance(values, np.ndarray):
            values = values[1][values[0]]
        self._more.append((keys, values))
        self._n_more += len(keys)
        if self._n_more > self._most or self._bytes_more > (self._most_bytes or 0):
            self._settle()

    def _settle(self):
        keys = np.concatenate([self._keys, *(keys for keys, _ in self._more)])
        values = np.concatenate([self._values, *(values for _, values in self._more)])
        order = np.argsort(keys)
        n_kept = min(self._most, len(order))
        if self._most_bytes is not None:
            ends = np.cumsum([_bytes_of(label) for label in values[order[:n_kept]]])
            n_kept = int(np.searchsorted(ends, self._most_bytes, side="right"))
        if n_kept < len(order):
            self._bound = keys[order[n_kept]]
        self._keys, self._values = keys[order[:n_kept]], values[order[:n_kept]]
        self._more, self._n_more, self._bytes_more = [], 0, 0

    def settled(self):
        """Keys and values, sorted by the keys."""
        if self._more:
            self._settle()
        return self._keys, self._values


def _bytes_of(label):
    return _BYTES_OF_LABEL + (len(label) if isinstance(label, (str, bytes)) else 0)


def _bytes_of_all(values):
    """Bytes of the labels of rows, an array or (array of codes, array of labels)."""
    if isinstance(values, np.ndarray):
        return sum(map(_bytes_of, values))
    codes, labels = values
    n_rows = np.bincount(codes, minlength=len(labels))
    return int(n_rows @ np.fromiter(map(_bytes_of, labels), np.int64, len(labels)))


# ---- passes over one column ----


def _named(row):
    return f"row {row}"


class NumberPass:
    """The numbers of a column that pass by, `most` distinct ones exactly."""

    def __init__(self, most=MOST):
        self._most = most
        self._exact = np.empty(0), np.empty(0, dtype=np.int64)
        self._more, self._n_more = [], 0  # not counted yet
        self._sample = _Sample(np.float64, most)
        self._low, self._high = np.inf, -np.inf
        self.has_missing = False
        self.infinite = None  # (row, number, words for where it is) of the first one

    @property
    def has_numbers(self):
        """Whether there was any number."""
        return self._low <= self._high

    def add(self, values, rows, keys, named=_named):
        """Have these numbers (NaN where missing) of these rows, which have these keys.

        `named` makes words of the number of a row.
        """
        values = values.astype(np.float64, copy=False)
        missing = np.isnan(values)
        if missing.any():
            self.has_missing = True
            values, rows, keys = values[~missing], rows[~missing], keys[~missing]
        if not len(values):
            return
        self._low, self._high = min(self._low, values.min()), max(self._high, values.max())
        if np.isinf([self._low, self._high]).any():
            first = np.flatnonzero(np.isinf(values))[:1]
            found = [
                (int(row), float(x)) for row, x in zip(rows[first], values[first], strict=True)
            ]
            self._note_infinite([(row, x, named(row)) for row, x in found])
        if self._exact is not None:
            self._more.append(values)
            self._n_more += len(values)
            if self._n_more > self._most:
                self._settle()
        self._sample.add(keys, values)

    def _settle(self):
        if self._more:
            self._count(*_runs(np.sort(np.concatenate(self._more))))
        self._more, self._n_more = [], 0

    def _note_infinite(self, found):
        found = [*found, *([] if self.infinite is None else [self.infinite])]
        self.infinite = min(found, default=None)

    def _count(self, values, counts):
        if self._exact is None:
            return
        more = [np.concatenate(pair) for pair in zip(self._exact, (values, counts), strict=True)]
        self._exact = _summed(*more) if len(more[0]) else self._exact
        if len(self._exact[0]) > self._most:
            self._exact = None

    def merge(self, other):
        """Have what another pass, over other rows, has found."""
        self.has_missing |= other.has_missing
        self._low, self._high = min(self._low, other._low), max(self._high, other._high)
        self._note_infinite([] if other.infinite is None else [other.infinite])
        self._settle()
        other._settle()
        if other._exact is None:
            self._exact = None
        elif self._exact is not None:
            self._count(*other._exact)
        self._sample.add(*other._sample.settled())

    def refuse_infinite(self):
        """Raise ValueError if there was an infinite number."""
        if self.infinite is not None:
            _, value, where = self.infinite
            raise infinite_number(value, where)

    def counts(self):
        """The `NumberCounts`: exact, or those of the sample with its ends moved to the true ones.

        Raises
        ------
        ValueError
            There was an infinite number.
        """
        self.refuse_infinite()
        self._settle()
        if self._exact is not None:
            return NumberCounts(*self._exact, self.has_missing)
        x = np.sort(self._sample.settled()[1])
        x[0], x[-1] = self._low, self._high
        return NumberCounts(*_runs(x), self.has_missing)


class LabelPass:
    """The labels of a column that pass by, `most` distinct ones exactly."""

    def __init__(self, most=MOST):
        self._most, self._most_bytes = most, most * _BYTES_EACH
        self._exact, self._n_bytes, self._n_rows = {}, 0, 0
        self._sample = _Sample(object, most, self._most_bytes)
        self.has_missing = False

    def add(self, codes, labels, keys):
        """Have rows of these codes (-1 where missing) into distinct labels."""
        missing = codes < 0
        if missing.any():
            self.has_missing = True
            codes, keys = codes[~missing], keys[~missing]
        if not len(codes):
            return
        self._n_rows += len(codes)
        if self._exact is not None:
            self._count(labels, np.bincount(codes, minlength=len(labels)).tolist())
        of_codes = np.empty(len(labels), dtype=object)
        of_codes[:] = labels
        self._sample.add(keys, (codes, of_codes))

    def _count(self, labels, counts):
        exact = self._exact
        for label, count in zip(labels, counts, strict=True):
            if not count:
                continue
            if label not in exact:
                exact[label] = 0
                self._n_bytes += _bytes_of(label)
            exact[label] += count
        if len(exact) > self._most or self._n_bytes > self._most_bytes:
            self._exact = None

    def merge(self, other):
        """Have what another pass, over other rows, has found."""
        self.has_missing |= other.has_missing
        self._n_rows += other._n_rows
        if other._exact is None:
            self._exact = None
        elif self._exact is not None:
            self._count(list(other._exact), list(other._exact.values()))
        self._sample.add(*other._sample.settled())

    def counts(self):
        """The `LabelCounts`: exact, or those of the sample, times what it is a sample of."""
        counted, times = self._exact, 1.0
        if counted is None:
            sampled = self._sample.settled()[1].tolist()
            counted, times = Counter(sampled), self._n_rows / max(len(sampled), 1)
        counts = np.rint(np.fromiter(counted.values(), np.float64, len(counted)) * times)
        return LabelCounts(list(counted), counts.astype(np.int64), self.has_missing)


# ---- the pass over a table ----


class ColumnPass:
    """A column that passes by; it has the answers of cells that decide about its kind.

    Parameters
    ----------
    asked : bool or None
        Whether it shall be a category; None: that follows from its type.
    most : int
    """

    def __init__(self, asked, most=MOST):
        self._asked, self._most = asked, most
        self.natural, self.with_text, self._has_missing = "nothing", False, False
        self._example = None
        # None: not of this column, or no longer.
        self._labels = self._numbers = None

    def add(self, cells, rows, keys, named=_named):
        """Have the cells of these rows, which have these keys; `named`: as of `NumberPass`."""
        if cells.natural == "nothing":
            self._has_missing |= len(cells) > 0
            return
        self._become(cells.natural)
        if self._labels is None:
            self._numbers.add(cells.numbers(), rows, keys, named)
            self._numbers.refuse_infinite()
            return
        codes, labels, with_text = _categories(cells, None)
        self.with_text |= with_text
        if self._example is None and labels:
            self._example = labels[0]
        self._labels.add(codes, labels, keys)
        if self._numbers is not None:
            self._add_text(cells, rows, keys, named)

    def _become(self, natural):
        """What the first cells that have values decide."""
        if self.natural == "nothing":
            self.natural = natural
            declared = natural in ("boolean", "category") and self._asked is None
            is_text = natural in ("text", "category")
            if self._asked or declared or is_text:
                self._labels = LabelPass(self._most)
            if not self._asked and not declared:
                self._numbers = NumberPass(self._most)
        elif natural != self.natural:
            raise ValueError(f"holds values of the kind {natural!r} and others {self.natural!r}")

    def _add_text(self, cells, rows, keys, named):
        """Have text as numbers, too, as long as it is nothing but numbers."""
        if any(map(_cells.has_leading_zero, cells.labels()[1])):
            self._numbers = None
            return
        try:
            self._numbers.add(cells.numbers(), rows, keys, named)
        except _cells.NotNumbersError:
            self._numbers = None

    def means_numbers(self):
        """Tell whether text is nothing but numbers, and no codes such as "01234"."""
        return self._numbers is not None and self._numbers.has_numbers

    def can_mean_numbers(self):
        """Tell whether it may turn out to be a column of numbers."""
        return self._labels is None or self._numbers is not None

    def example(self):
        """One of the labels."""
        return self._example

    def merge(self, other):
        """Have what another pass, over other rows, has found."""
        self._has_missing |= other._has_missing
        if other.natural == "nothing":
            return
        self._become(other.natural)
        self.with_text |= other.with_text
        self._example = other._example if self._example is None else self._example
        if self._labels is not None:
            self._labels.merge(other._labels)
        if other._numbers is None:
            self._numbers = None
        elif self._numbers is not None:
            self._numbers.merge(other._numbers)

    def counts(self, kind):
        """Its counts as a column of this kind."""
        if kind == "category":
            found = self._labels or LabelPass()
        else:
            found = self._numbers or NumberPass()
        counts = found.counts()
        counts.has_missing |= self._has_missing
        return counts


class TablePass:
    """A table that passes by in batches.

    Parameters
    ----------
    asked : list of bool, or None
        Which columns shall be categories; None: that follows from their types.
    n_columns : int
    takes_text : bool
        Whether text that is not numbers is allowed.
    most : int
        Of each column: distinct values with exact counts, and rows of the sample.
    """

    def __init__(self, asked, n_columns, takes_text=True, most=MOST):
        self._takes_text = takes_text
        self._asked = [None] * n_columns if asked is None else [bool(a) for a in asked]
        self._columns = [ColumnPass(a, most) for a in self._asked]

    def add(self, table, rows, named=_named):
        """Have these rows of a table (as `_table` opens it).

        Parameters
        ----------
        table
        rows : ndarray of int
            Their numbers.
        named : callable
            The number of a row -> words for it in an error.

        Raises
        ------
        ValueError
            A column of numbers has an infinite one; of text that may turn out to be no numbers
            `found` raises that.
        """
        keys = row_keys(rows)
        for place, column in enumerate(self._columns):
            with NamingColumn(table, place):
                column.add(table.cells(place), rows, keys, named)
                if not self._takes_text and not column.can_mean_numbers():
                    self._kind(place)  # raises

    def _kind(self, place):
        return _kind_for(self._columns[place], self._asked[place], self._takes_text)

    def merge(self, other):
        """Have what another pass, over other rows of the table, has found."""
        for column, others in zip(self._columns, other._columns, strict=True):
            column.merge(others)

    def found(self, table):
        """The `Schema`, and the counts of all columns.

        Parameters
        ----------
        table
            Any rows of the table, for the names of its columns.
        """
        schema, counts = Schema(table.names, table.named, [], []), []
        for place, column in enumerate(self._columns):
            with NamingColumn(table, place):
                kind = self._kind(place)
                counts.append(column.counts(kind))
            schema.kinds.append(kind)
            schema.with_text.append(column.with_text if kind == "category" else False)
        _tell_dates(schema)
        return schema, counts
