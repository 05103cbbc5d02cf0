"""Rows of a dataset to train on, in pieces that are read while the engine trains.

The rows of an epoch are those of its blocks, one block after the other, in a new order of the
blocks for each epoch. They are cut into buffers of equally many rows, a multiple of the batch size;
the rows in one buffer are then visited in an order of their own. All orders follow from one seed,
the number of the epoch and that of the buffer: neither time nor threads have a say, and any buffer
of any epoch can be had without those before it.
"""

from typing import NamedTuple

import numpy as np
import pyarrow as pa

from .._loops import Piece, RowsOfOneProcess
from ..memory import human_bytes
from . import NoRoomForRowsError
from ._reader import Reader
from ._table import batch_rows_for

N_BUFFERS = 2  # one to train on, one to fill
# Numbers of rows that are written together.
_COUNTED = 1 << 12


class Buffer(NamedTuple):
    """Room for rows, and for their order."""

    arrays: tuple
    order: np.ndarray | None  # int64; None: rows are visited as they stand


class Filled(NamedTuple):
    """A buffer with rows."""

    buffer: Buffer
    epoch: int
    number: int  # of the buffer in its epoch
    n_rows: int


def generator(seed, *numbers):
    """A RandomState that follows from these numbers alone."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence([seed, *numbers])))


class StreamRows(RowsOfOneProcess):
    """What `_loops.Rows` is for rows in memory.

    Parameters
    ----------
    table : Table
        All of its counts are known.
    layout : Layout
        See the package.
    buffer_rows : int
        Rows of each of the two buffers: a multiple of the batch size.
    seed : int or None
        Of the orders; None: rows are visited in the order of the dataset.
    left_out : HeldOut or None
        ``left_out.counts`` are the rows of each block that are not visited, and
        ``left_out.mask(place, n_rows)`` a bool for each of the rows at a place.

    Attributes
    ----------
    n_rows : int
        So many are visited in an epoch.
    weight : float
        The sum of the weights of the rows of the present piece.
    """

    def __init__(self, table, layout, buffer_rows, seed, left_out=None):
        self._table, self._layout = table, layout
        self._left_out, self._seed = left_out, seed
        counts = np.array(table.counts, np.int64)
        self._counts = counts if left_out is None else counts - left_out.counts
        self.n_rows = int(self._counts.sum())
        self._buffer_rows = min(buffer_rows, self.n_rows)
        self._batch_rows = batch_rows_for(layout.row_bytes)
        self._buffers = self._new_buffers()
        self._epoch = -1
        self._reader = self._next = None  # what the reader fills next: (epoch, number)

    def _new_buffers(self):
        try:
            return [self._new_buffer() for _ in range(N_BUFFERS)]
        except MemoryError as error:
            n, n_bytes = self._buffer_rows, self._buffer_rows * self._layout.row_bytes
            raise NoRoomForRowsError(
                f"{N_BUFFERS} buffers of {n} rows of the dataset take {human_bytes(n_bytes)} each: "
                f"{error} max_memory caps them."
            ) from error

    def _new_buffer(self):
        order = None if self._seed is None else np.empty(self._buffer_rows, np.int64)
        return Buffer(self._layout.allocate(self._buffer_rows), order)

    # ---- what a loop of training asks for ----

    def begin_epoch(self):
        """Go on to the next epoch."""
        self._epoch += 1

    def pieces(self, row=0):
        """The pieces of this epoch, one after the other, from this row of the visit on."""
        n_buffers = -(-self.n_rows // self._buffer_rows)
        first = min(row // self._buffer_rows, n_buffers - 1)
        for number in range(first, n_buffers):
            filled = self._take(self._epoch, number)
            start = row - number * self._buffer_rows if number == first else 0
            buffer, n, reader = filled.buffer, filled.n_rows, self._reader
            order = None if buffer.order is None else buffer.order[:n]
            self.weight = self._layout.weight_sum(buffer.arrays, n)
            try:
                yield Piece(self._layout.data(buffer.arrays, n), order, start)
            finally:
                reader.give_back(buffer)

    def state(self):
        """What `restore` takes to go on in the present epoch."""
        return {"seed": self._seed, "epoch": self._epoch, "buffer_rows": self._buffer_rows}

    def restore(self, state):
        """Go on in the epoch of this state, without another `begin_epoch`.

        Raises
        ------
        ValueError
            The buffers have another number of rows than those of the state.
        """
        if state["buffer_rows"] != self._buffer_rows:
            raise ValueError(
                f"The checkpoint is of a fit whose buffers hold {state['buffer_rows']} rows; here "
                f"they hold {self._buffer_rows}: it takes the same max_memory."
            )
        self._seed, self._epoch = state["seed"], state["epoch"]
        self.close()

    def close(self):
        """End the thread that reads, if there is one; the rows can be visited again later."""
        reader, self._reader = self._reader, None
        if reader is not None:
            reader.close()

    @property
    def buffer_rows(self):
        """Rows of each buffer."""
        return self._buffer_rows

    def fingerprint(self):
        """What a checkpoint compares of the dataset and its order: pairs of texts, by name."""
        found = self._table.fingerprint()
        n_rows, n_files = sum(found["n_rows"]), len(found["files"])
        where = f"{n_files} files" if n_files else "memory"
        return {
            "X": (f"a dataset of {n_rows} rows in {where}", repr(found)),
            "rows of a buffer": (f"{self._buffer_rows}", ""),
            "pyarrow": (f"version {pa.__version__}", ""),
        }

    def plan_rows(self):
        """Lines of a `MemoryPlan`: (name, shape, bytes)."""
        arrays = [a for buffer in self._buffers for a in buffer.arrays]
        yield "buffers of rows", (N_BUFFERS, self._buffer_rows), sum(a.nbytes for a in arrays)
        if self._seed is not None:
            orders = [buffer.order for buffer in self._buffers]
            yield "orders of rows", (N_BUFFERS, self._buffer_rows), sum(a.nbytes for a in orders)
        if self._left_out is not None:
            shape = (int(self._left_out.counts.sum()), self._layout.row_bytes)
            yield "rows to validate on", shape, self._left_out.n_bytes
        reading = self._table.reading_bytes(self._layout.columns, self._batch_rows)
        yield "pyarrow (at most)", (reading,), reading

    # ---- the thread ----

    def _take(self, epoch, number):
        """The rows of this buffer of this epoch, from the thread that reads ahead."""
        if self._reader is not None and self._next != (epoch, number):
            self.close()
        if self._reader is None:
            visit = Visit(self, epoch, number)
            self._reader = Reader(visit.fill, self._buffers)
        filled = self._reader.take()
        n_buffers = -(-self.n_rows // self._buffer_rows)
        last = number == n_buffers - 1
        self._next = (epoch + 1, 0) if last else (epoch, number + 1)
        return filled


class Visit:
    """The rows of all epochs from one buffer on, in the order in which they are visited.

    It is the reader's thread that uses it.
    """

    def __init__(self, rows, epoch, number):
        self._rows = rows
        self._epoch, self._number = epoch, number
        self._parts = self._epoch_from(number * rows._buffer_rows)
        self._rest = None  # (place, record batch) of which the buffer before had a part

    def fill(self, buffer, stop):
        """Fill a buffer with the next rows, and draw their order."""
        rows = self._rows
        if self._number * rows._buffer_rows >= rows.n_rows:
            self._epoch, self._number = self._epoch + 1, 0
            self._parts, self._rest = self._epoch_from(0), None
        n = min(rows._buffer_rows, rows.n_rows - self._number * rows._buffer_rows)
        at = 0
        while at < n and not stop.is_set():
            place, batch = self._rest or next(self._parts)
            self._rest = None
            if batch.num_rows > n - at:
                here = n - at
                self._rest = place._replace(row=place.row + here), batch.slice(here)
                batch = batch.slice(0, here)
            rows._layout.write(buffer.arrays, at, batch, place)
            at += batch.num_rows
        if n == rows.n_rows - self._number * rows._buffer_rows:
            self._end_epoch(stop)
        if buffer.order is not None:
            order = buffer.order[:n]
            for row in range(0, n, _COUNTED):  # no other array of n numbers
                order[row : row + _COUNTED] = np.arange(row, min(row + _COUNTED, n))
            generator(rows._seed, self._epoch, self._number + 1).shuffle(order)
        filled = Filled(buffer, self._epoch, self._number, n)
        self._number += 1
        return filled

    def _end_epoch(self, stop):
        """Nothing must be left of the blocks: ValueError of the table if a file has grown."""
        for _ in self._parts:
            if stop.is_set():
                break

    def _epoch_from(self, row):
        """Record batches of the present epoch from this row of the visit on."""
        rows = self._rows
        blocks = np.arange(len(rows._counts))
        if rows._seed is not None:
            generator(rows._seed, self._epoch, 0).shuffle(blocks)
        ends = np.cumsum(rows._counts[blocks])
        first = int(np.searchsorted(ends, row, side="right"))
        skipped = row - int(ends[first] - rows._counts[blocks[first]])
        for place, batch in self._visited(blocks[first:]):
            if skipped >= batch.num_rows:
                skipped -= batch.num_rows
                continue
            yield place._replace(row=place.row + skipped), batch.slice(skipped)
            skipped = 0

    def _visited(self, blocks):
        """Record batches of these blocks, without the rows that are left out."""
        rows = self._rows
        batches = rows._table.batches(rows._layout.columns, rows._batch_rows, blocks.tolist())
        if rows._left_out is None:
            yield from batches
            return
        for place, batch in batches:
            kept = np.flatnonzero(~rows._left_out.mask(place, batch.num_rows))
            yield place.of(kept), batch.take(pa.array(kept))
