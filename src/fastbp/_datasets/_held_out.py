"""Rows of a dataset that are in memory: those that early stopping holds out, or a whole dataset."""

import numpy as np

from .._validation import ValidationSet
from .._warnings import warn
from ..memory import human_bytes
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
        Of these rows in memory.
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


def hold_out(draft, stream, source, targets, wants_labels):
    """Hold out rows, which are read into memory.

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
    left_out.n_bytes = n * stream.layout.row_bytes
    if stream.max_memory and left_out.n_bytes > stream.max_memory // 2:
        raise ValueError(
            f"The {n} rows that early_stopping holds out take {human_bytes(left_out.n_bytes)} of "
            f"max_memory={stream.max_memory}, more than half of it: it takes a larger max_memory, "
            "a smaller validation_fraction, or rows to validate on as X_val."
        )
    validation, codes = _rows_read(stream, source, targets, left_out, n, wants_labels)
    if targets.counts is not None and codes.ndim == 1:
        _warn_of_missing(draft, targets.counts[0], codes)
    return stream.without(left_out), validation


def _warn_of_missing(draft, counts, codes):
    held = np.bincount(codes, minlength=len(counts))
    missing = draft.classes_[(counts > 0) & (held == counts)].tolist()
    if missing:
        warn(
            f"early_stopping holds out all rows of the classes {missing}: none is left to train "
            "on. Rows to validate on can be given as X_val."
        )


def whole(stream, source, targets, wants_labels):
    """A whole dataset as the `ValidationSet` that it makes."""
    return _rows_read(stream, source, targets, None, stream.table.n_rows, wants_labels)[0]


def _rows_read(stream, source, targets, left_out, n, wants_labels):
    """The `ValidationSet` of n rows, and their codes (a regressor's y)."""
    layout = stream.layout
    arrays = layout.allocate(n)
    at, labels, all_codes = 0, [], []
    for place, batch in stream.table.batches(layout.columns, batch_rows_for(layout.row_bytes)):
        if left_out is not None:
            batch = batch.filter(left_out.mask(place, batch.num_rows))
        layout.write(arrays, at, batch, place)
        at += batch.num_rows
        of_y = source.targets(batch, place)
        all_codes.append(targets.of(of_y, place)[0])
        if wants_labels:
            labels.append(targets.labels(of_y))
    data = layout.data(arrays, n)
    X, target, *weight = arrays
    y = np.concatenate(labels) if wants_labels else None
    validation = ValidationSet(X, y, weight[0] if weight else None, target, X, data)
    return validation, np.concatenate(all_codes)
