"""What the columns of y mean: learnt in a first pass, then each batch of rows by itself."""

import copy
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._input.targets import FAR, check_numbers, kind_of_target
from .._losses import target_of_fit
from ._columns import check_number_of_labels, is_number, labels_of

# Of labels that are all different scikit-learn doubts that they are labels: it is given each so
# many times.
_REPEATS = 3


@contextmanager
def rows_named(place):
    """Say where the rows are of which a general check complains."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{error} It is in the rows from {place.named(0)} on.") from error


def _renamed(targets, names):
    other = copy.copy(targets)
    other._names = names
    return other


def targets_of(draft, first, names):
    """What learns the targets of this estimator."""
    return (Numbers if draft._y_numeric else Labels)(draft, first, names)


class Numbers:
    """Targets of a regressor.

    Attributes
    ----------
    loss : Loss
    sample : ndarray
        The targets of some rows as the core takes them.
    n_outputs : int
        Of the net.
    counts : None
    """

    counts = None

    def __init__(self, draft, first, names):
        self._draft, self._first, self._names = draft, first, names
        self.loss = None
        self._n = 0

    def check_types(self, schema, names):
        """TypeError unless all these columns hold numbers."""
        for name in names:
            kind = schema.field(name).type
            if not is_number(kind):
                raise TypeError(
                    f"y: column {name!r} of the dataset has type {kind}: it takes real numbers."
                )

    def of_columns(self, names):
        """The same for rows whose targets are in these columns."""
        return _renamed(self, names)

    def see(self, arrays, place):
        """Learn from the targets of some rows, and check them."""
        y = self._finite(arrays, place)
        with rows_named(place):
            if self.loss is None:
                check_numbers(y)
                loss, y = self._draft._check_target(y, False, None)
                self.loss, self.sample, self.n_outputs = target_of_fit(
                    self._draft, self._first, y, loss
                )
                self.sample = self.sample[:1].copy()
            self._add(self.loss.target(y))

    def _finite(self, arrays, place):
        y = self._values(arrays)
        finite = np.isfinite(y).reshape(len(y), -1)
        if not finite.all():
            row, column = np.argwhere(~finite)[0]
            raise ValueError(
                f"y: column {self._names[column]!r} of the dataset has "
                f"{y.reshape(len(y), -1)[row, column]} in {place.named(int(row))}: it takes finite "
                "numbers."
            )
        return y

    def _values(self, arrays):
        columns = [
            (a.cast(pa.float64()) if pa.types.is_decimal(a.type) else a).to_numpy(
                zero_copy_only=False
            )
            for a in arrays
        ]
        return columns[0] if len(columns) == 1 else np.column_stack(columns)

    def _add(self, target):
        """Let these rows count in the smallest and largest target, mean and sum of squares."""
        low, high = target.min(axis=0), target.max(axis=0)
        with np.errstate(over="ignore", invalid="ignore"):
            mean = target.mean(axis=0, dtype=np.float64)
            squares = ((target - mean) ** 2).sum(axis=0, dtype=np.float64)
            n, m = self._n, len(target)
            if n:
                between = mean - self._mean
                squares = self._squares + squares + between**2 * (n * m / (n + m))
                mean = self._mean + between * (m / (n + m))
                low, high = np.minimum(low, self._low), np.maximum(high, self._high)
        self._n, self._mean, self._squares, self._low, self._high = n + m, mean, squares, low, high

    def finish(self):
        """All rows were seen; the draft learns whether their digits need float64."""
        if self._first:
            with np.errstate(over="ignore", invalid="ignore"):
                far = np.abs(self._mean) > FAR * np.sqrt(self._squares / self._n)
            self._draft._keeps_digits = bool((far & (self._low < self._high)).any())

    def of(self, arrays, place):
        """(y, targets as the core takes them) of some rows."""
        y = self._finite(arrays, place)
        with rows_named(place):
            return y, self.loss.target(y)

    def labels(self, arrays):
        """y as a scorer takes it."""
        return self._values(arrays)


class Labels:
    """Targets of a classifier; attributes as those of `Numbers`.

    Attributes
    ----------
    counts : list of ndarray
        The number of rows of each class, for each column of the codes.
    codes : ndarray
        Codes of the distinct labels, for checks of `class_weight`.
    """

    def __init__(self, draft, first, names):
        self._draft, self._first, self._names = draft, first, names
        self._seen = [{} for _ in names]  # label -> rows, for each column
        self._types = self._distinct = None

    def of_columns(self, names):
        """The same for rows whose labels are in these columns."""
        return _renamed(self, names)

    def check_types(self, schema, names):
        """Labels may be of any type."""

    def see(self, arrays, place):
        """Learn from the labels of some rows, and check them."""
        if self._types is None:
            self._types = [array.type for array in arrays]
            with rows_named(place):
                kind_of_target(np.repeat(self.labels(arrays), _REPEATS, axis=0))
        for array, seen, name in zip(arrays, self._seen, self._names, strict=True):
            for entry in labels_of(array).value_counts().to_pylist():
                label, n_rows = entry["values"], entry["counts"]
                if isinstance(label, float) and not label.is_integer():
                    raise ValueError(
                        f"y: column {name!r} of the dataset has {label!r} in the rows from "
                        f"{place.named(0)} on: a classifier takes labels, not real numbers."
                    )
                if len(arrays) > 1 and label not in (0, 1):
                    raise ValueError(
                        f"y: column {name!r} of the dataset has {label!r} in the rows from "
                        f"{place.named(0)} on: with several columns, each takes 0 and 1."
                    )
                seen[label] = seen.get(label, 0) + n_rows
            check_number_of_labels(len(seen), f"y: column {name!r} of the dataset")

    def finish(self):
        """All labels were seen: the draft learns its classes."""
        if len(self._names) > 1:
            ends = np.repeat([[0], [1]], len(self._names), axis=1)
            loss, codes = self._draft._check_target(ends, False, None)
            self.counts = [np.array([s.get(0, 0), s.get(1, 0)]) for s in self._seen]
        else:
            (seen,) = self._seen
            self._distinct = pa.array([*seen], self._types[0])
            self._objects = distinct = self._distinct.to_numpy(zero_copy_only=False)
            loss, codes = self._draft._check_target(np.repeat(distinct, _REPEATS), False, None)
            codes = codes[::_REPEATS]
            self._codes = codes.astype(np.int32)
            counts = np.zeros(len(self._draft.classes_), np.int64)
            np.add.at(counts, self._codes, [*seen.values()])
            self.counts = [counts]
        self.codes = codes
        self.loss, self.sample, self.n_outputs = target_of_fit(
            self._draft, self._first, codes, loss
        )

    def of(self, arrays, place):
        """(codes, targets as the core takes them) of some rows."""
        if len(arrays) > 1:
            codes = self._indicators(arrays, place).astype(np.intp)
        else:
            found = pc.index_in(labels_of(arrays[0]), value_set=self._distinct)
            if found.null_count:
                row = int(np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))[0])
                raise ValueError(
                    f"y: column {self._names[0]!r} of the dataset has the label "
                    f"{arrays[0][row].as_py()!r} in {place.named(row)}: it takes those of the "
                    f"rows to train on, as they were read first, {self._draft.classes_.tolist()}."
                )
            codes = self._codes[found.to_numpy()]
        return codes, self.loss.target(codes)

    def _indicators(self, arrays, place):
        """Several columns of 0 and 1."""
        values = self.labels(arrays)
        wrong = np.argwhere((values != 0) & (values != 1))
        if len(wrong):
            row, column = wrong[0]
            raise ValueError(
                f"y: column {self._names[column]!r} of the dataset has "
                f"{arrays[column][int(row)].as_py()!r} in {place.named(int(row))}: with several "
                "columns, each takes 0 and 1."
            )
        return values

    def labels(self, arrays):
        """y as a scorer takes it."""
        if len(arrays) == 1 and self._distinct is not None and self._objects.dtype == object:
            # The same object for all rows of a label.
            return self._objects[pc.index_in(arrays[0], value_set=self._distinct).to_numpy()]
        columns = [array.to_numpy(zero_copy_only=False) for array in arrays]
        if len(columns) == 1:
            return columns[0]
        return np.column_stack([np.asarray(column) for column in columns])
