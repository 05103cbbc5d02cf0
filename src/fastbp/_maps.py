"""Rows in a memory map that does not fit into memory, visited in an order that is kind to the disk.

Rows drawn from all of the map would each be read from the disk by themselves. Here the order has
two levels, as that of a dataset: neighbouring rows are a block, the order of the blocks is drawn in
each epoch, and then that of the rows of `_WINDOW` bytes of blocks together. While the rows of one
window are trained on, the system is asked to read those of the next.
"""

import mmap
import os
from contextlib import suppress

import numpy as np

from ._loops import Piece, Rows

# Read from a disk at once.
_BLOCK = 1 << 20
# Of blocks whose rows are drawn together.
_WINDOW = 256 << 20


def memory_of_machine():
    """Bytes of memory that this process can have at most; None if that cannot be told."""
    try:
        size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    for path in _limits():
        with suppress(OSError, ValueError), open(path) as file:
            size = min(size, int(file.read()))  # the text "max" is no number
    return size


def _limits(cgroups="/proc/self/cgroup", root="/sys/fs/cgroup"):
    """Files that may tell how much memory a container may have: those of all groups it is in.

    Of groups that are not seen from inside there is the root only, which then is the container's.
    """
    found = []
    with suppress(OSError), open(cgroups) as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            if not controllers:  # version 2
                folder, name = root, "memory.max"
            elif "memory" in controllers.split(","):
                folder, name = f"{root}/memory", "memory.limit_in_bytes"
            else:
                continue
            parts = [part for part in path.split("/") if part]
            found += ["/".join([folder, *parts[:n], name]) for n in range(len(parts) + 1)]
    return found


def map_of(X):
    """The memory map that an array is a view of, or None."""
    while isinstance(X, np.ndarray):
        X = X.base
        if isinstance(X, memoryview):
            X = X.obj
    return X if isinstance(X, mmap.mmap) else None


def is_beyond_memory(X):
    """Tell whether X lies in a memory map and has more bytes than half of the memory."""
    if map_of(X) is None:
        return False
    size = memory_of_machine()
    return size is not None and X.nbytes > size // 2


class MapRows(Rows):
    """Rows of such a map to train on; parameters as those of `Rows`, and two more.

    Parameters
    ----------
    X : ndarray
        The rows, in a memory map.
    batch_size : int
        No mini-batch is in two windows.
    """

    def __init__(self, data, n_rows, rows, random_state, X, batch_size):
        super().__init__(data, n_rows, rows, random_state)
        row_bytes = max(X.nbytes // len(X), 1)
        self._block_rows = max(_BLOCK // row_bytes, 1)
        self._window_rows = max(_WINDOW // (row_bytes * batch_size), 1) * batch_size
        self._map, self._X = map_of(X), X

    def begin_epoch(self):
        """Draw the order of the next epoch."""
        if self._random_state is None:
            return
        n_blocks = -(-self.n_rows // self._block_rows)
        at = 0
        for block in self._random_state.permutation(n_blocks):
            first = block * self._block_rows
            last = min(first + self._block_rows, self.n_rows)
            self._order[at : at + last - first] = np.arange(first, last)
            at += last - first
        for first in range(0, self.n_rows, self._window_rows):
            self._random_state.shuffle(self._order[first : first + self._window_rows])
        if self._rows is not None:
            np.take(self._rows, self._order, out=self._visit, mode="clip")

    def pieces(self, row=0):
        """The windows of this epoch, one after the other, from this row of the visit on."""
        if self._random_state is None:
            yield from super().pieces(row)
            return
        window = min(row, self.n_rows - 1) // self._window_rows  # the last one also if all is done
        for first in range(window * self._window_rows, self.n_rows, self._window_rows):
            order = self._visit[first : first + self._window_rows]
            self._ask_for(self._visit[first + self._window_rows :][: self._window_rows])
            yield Piece(self._data, order, max(row - first, 0))

    def fingerprint(self):
        """What a checkpoint compares of the order, which the memory has a say in: texts by name.

        Without shuffling the memory has a say only where rows are held out: of a map that is too
        large for it the others are visited as they stand there.
        """
        if self._random_state is not None:
            text = f"blocks of {self._block_rows} rows, {self._window_rows} rows drawn together"
        elif self._rows is not None:
            text = "rows as they stand in it"
        else:
            return {}
        return {"the order of a memory map that is larger than half of the memory": (text, "")}

    def _ask_for(self, rows):
        """Let the system read these rows ahead; nothing depends on whether it does."""
        if not hasattr(self._map, "madvise") or not len(rows):
            return
        row_bytes = self._X.strides[0]
        start = self._X.ctypes.data - np.frombuffer(self._map, np.uint8).ctypes.data
        if row_bytes <= 0:
            return
        for block in np.unique(rows // self._block_rows):
            first = start + int(block) * self._block_rows * row_bytes
            first -= first % mmap.PAGESIZE
            length = min(self._block_rows * row_bytes, len(self._map) - first)
            with suppress(OSError, ValueError):
                self._map.madvise(mmap.MADV_WILLNEED, first, length)
