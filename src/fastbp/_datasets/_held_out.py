"""Rows of a dataset that are in memory: those that early stopping holds out, or a whole dataset."""

import numpy as np

from .._input.arrays import has_weight
from .._validation import ValidationSet
from .._warnings import warn
from ..memory import human_bytes
from . import NoRoomForRowsError
from ._columns import is_number, numpy_dtype
from ._rows import generator
from ._table import batch_rows_for

# Rows of a block that are drawn together: so no permutation has as many rows as a large block.
_CHUNK = 1 << 16


class HeldOut:
    """Which rows of each block are held out: those that follow from a seed.

    Every block gives its share, and so does every chunk of it; all together are
    ``ceil(fraction * n_rows)`` rows.

    Attributes
    ----------
    counts : ndarray of int64 of shape (n_blocks,)
    n_bytes : int
        Of these rows in memory, with their labels where a scorer takes them.
    """

    def __init__(self, counts, fraction, seed):
        self._of_blocks, self._seed = counts, seed
        ends = np.ceil(np.cumsum(counts) * fraction).astype(np.int64)
        self.counts = np.minimum(np.diff(ends, prepend=0), counts)
        self.n_bytes = 0
        self._drawn = None, None  # (block, chunk) and its mask

    def mask(self, place, n_rows):
        """True for those of some rows that are held out; `place`: that of the first one."""
        mask = np.zeros(n_rows, bool)  # also for rows that a file has more than before
        end = min(place.row + n_rows, int(self._of_blocks[place.block]))
        row = place.row
        while row < end:
            chunk, skipped = divmod(row, _CHUNK)
            part = self._of_chunk(place.block, chunk)[skipped : skipped + end - row]
            mask[row - place.row :][: len(part)] = part
            row += len(part)
        return mask

    def _of_chunk(self, block, chunk):
        """The mask of a chunk, which is kept: rows come one batch after the other."""
        drawn, mask = self._drawn
        if drawn != (block, chunk):
            n, k = int(self._of_blocks[block]), int(self.counts[block])
            first, end = chunk * _CHUNK, min((chunk + 1) * _CHUNK, n)
            mask = np.zeros(end - first, bool)
            n_held = end * k // n - first * k // n
            mask[generator(self._seed, block, chunk).permutation(len(mask))[:n_held]] = True
            self._drawn = (block, chunk), mask
        return mask


def hold_out(draft, stream, source, targets, scorer):
    """Hold out rows, which are read into memory.

    Parameters
    ----------
    draft : BaseMLP
    stream : Stream
    source : Source
    targets : Labels or Numbers
    scorer
        As `_validation.check_scoring` gives it.

    Returns
    -------
    stream : Stream
        Without them.
    validation : ValidationSet
        Of them.
    """
    table = stream.table
    seed = int(draft._random_state.randint(0, np.iinfo(np.int32).max))
    left_out = HeldOut(np.array(table.counts, np.int64), draft.validation_fraction, seed)
    n = int(left_out.counts.sum())
    if n < 2 or n == table.n_rows:
        raise ValueError(
            f"validation_fraction={draft.validation_fraction} of {table.n_rows} rows are {n}: "
            "early_stopping takes two at least to hold out, and some to train on."
        )
    _check_share(stream, n, _bytes_of_row(stream, source, targets, scorer))
    validation, held, other_weight = _rows_read(
        stream, source, targets, left_out, n, callable(scorer)
    )
    _check_weights(validation.sample_weight, other_weight)
    if held is not None:
        _warn_of_missing(draft, targets.counts[0], held)
    left_out.n_bytes = n * stream.layout.row_bytes
    left_out.n_bytes += 0 if validation.y is None else validation.y.nbytes
    return stream.without(left_out), validation


def _bytes_of_row(stream, source, targets, scorer):
    """Bytes of a row that is held out, with all that is kept of it and for it."""
    n_bytes = stream.layout.row_bytes
    if scorer is None:
        n_bytes += targets.n_outputs * stream.layout.x_dtype.itemsize
    elif callable(scorer):
        kinds = [stream.table.schema.field(name).type for name in source.outputs]
        n_bytes += sum(numpy_dtype(k).itemsize if is_number(k) else 8 for k in kinds)
    return n_bytes


def _check_share(stream, n, row_bytes):
    if stream.max_memory and n * row_bytes > stream.max_memory // 2:
        raise ValueError(
            f"The {n} rows that early_stopping holds out take {human_bytes(n * row_bytes)} of "
            f"max_memory={stream.max_memory}, more than half of it: it takes a larger max_memory, "
            "a smaller validation_fraction, or rows to validate on as X_val."
        )


def _check_weights(weight, other_weight):
    """Raise ValueError unless the rows held out have weight, and all others, too."""
    if weight is None:
        return
    for name, total in (("that it holds out", weight.sum()), ("to train on", other_weight)):
        if not has_weight(np.array([total])):
            raise ValueError(
                f"early_stopping: the weights of the rows {name} have sum {total}: it takes "
                "weights whose sum is well above zero and finite on both sides. Another "
                "random_state holds out others; rows to validate on can be given as X_val."
            )


def _warn_of_missing(draft, counts, held):
    missing = draft.classes_[(counts > 0) & (held == counts)].tolist()
    if missing:
        warn(
            f"early_stopping holds out all rows of the classes {missing}: none is left to train "
            "on. Rows to validate on can be given as X_val."
        )


def whole(stream, source, targets, wants_labels):
    """A whole dataset as the `ValidationSet` that it makes."""
    validation, *_ = _rows_read(stream, source, targets, None, stream.table.n_rows, wants_labels)
    weight = validation.sample_weight
    if weight is not None and not has_weight(weight):
        raise ValueError(
            f"class_weight gives rows of y weights with sum {weight.sum()}: it takes weights whose "
            "sum is well above zero and finite."
        )
    return validation


def _rows_read(stream, source, targets, left_out, n, wants_labels):
    """n rows of a dataset, read into memory.

    Returns
    -------
    validation : ValidationSet
    held : ndarray of int or None
        Its rows of each class, where a row has one.
    other_weight : float
        The sum of the weights of all other rows, if rows have weights.
    """
    layout = stream.layout
    arrays = _allocated(layout, n)
    at, y, held, other_weight = 0, None, None, 0.0
    if targets.counts is not None and len(targets.counts) == 1:
        held = np.zeros(len(targets.counts[0]), np.int64)
    for place, batch in stream.table.batches(layout.columns, batch_rows_for(layout.row_bytes)):
        if left_out is not None:
            mask = left_out.mask(place, batch.num_rows)
            weight = layout.weights_of(batch, place)
            other_weight += 0.0 if weight is None else weight[~mask].sum()
            if not mask.any():
                continue
            batch, place = batch.filter(mask), place.of(np.flatnonzero(mask))
        layout.write(arrays, at, batch, place)
        of_y = source.targets(batch, place)
        if held is not None:
            held += np.bincount(targets.of(of_y, place)[0], minlength=len(held))
        if wants_labels:
            labels = targets.labels(of_y)
            y = np.empty((n, *labels.shape[1:]), labels.dtype) if y is None else y
            y[at : at + len(labels)] = labels
        at += batch.num_rows
    X, target, *weight = arrays
    weight = weight[0] if weight else None
    return ValidationSet(X, y, weight, target, X, layout.data(arrays, n)), held, other_weight


def _allocated(layout, n):
    try:
        return layout.allocate(n)
    except MemoryError as error:
        raise NoRoomForRowsError(
            f"The {n} rows to validate on, which are read into memory, take "
            f"{human_bytes(n * layout.row_bytes)}: {error}"
        ) from error
