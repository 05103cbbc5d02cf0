"""The log of L-BFGS: what its objective has answered, in a file beside the checkpoint.

SciPy's L-BFGS-B keeps its state to itself. But it is deterministic: a second run that is given the
same answers asks for the same points. So a fit goes on by running again, with answers from the log
until it ends. A file is a mark that no other file has and a token of the fit, then records of one
size: a checksum of what follows, one of the point, the loss, the gradient. What follows the last
whole record is of no account.
"""

import contextlib
import os
import struct
import zlib

import numpy as np

from .._files.replacing import sync
from .files import refuse_foreign

_HEAD = struct.Struct("<IId")
TOKEN = 16  # bytes
_MOST_WAITING = 1 << 28  # bytes that are kept until there is room on the disk
_MARK = b"\x93fastbp evaluations\n"


def refuse_other_log(path):
    """Raise ValueError if there is another file in the place of the log of a checkpoint."""
    refuse_foreign(path, ".evaluations", _is_log)


def _is_log(start):
    """Whether these bytes are the first ones of a log, as far as it was written."""
    return _MARK.startswith(start[: len(_MARK)])


def bytes_of_record(n_params):
    """What an evaluation takes in the log."""
    return _HEAD.size + 8 * n_params


class Evaluations:
    """Answers to read, and then to write.

    Parameters
    ----------
    path : str
        Of the checkpoint.
    n_params : int
    token : bytes
        Of the fit.
    """

    def __init__(self, path, n_params, token):
        self._checkpoint, self._path = path, f"{path}.evaluations"
        self._n_params, self._start = n_params, _MARK + token
        self._reader = self._file = None
        self._waiting = []  # what is still to be written, and where
        self._end = len(self._start)  # where the next record belongs
        self._is_given_up = False
        self._pid = os.getpid()

    def open(self):
        """Open it, and begin it anew if there is none, or one of another fit."""
        refuse_other_log(self._checkpoint)
        with contextlib.suppress(FileNotFoundError):
            self._reader = open(self._path, "rb")  # noqa: SIM115
            if self._reader.read(len(self._start)) == self._start:
                return
        self._stop_reading()
        self._waiting.append((0, self._start))

    def _is_in_child(self):
        """Whether this is a child that was forked meanwhile: the file is its parent's."""
        return os.getpid() != self._pid

    def _stop_reading(self):
        if self._reader is not None:
            self._reader.close()
        self._reader = None

    def answer(self, point):
        """The loss and the gradient at this point, or None where the log has ended."""
        if self._reader is None or self._is_in_child():  # which have one place in the file
            return None
        head, grad = self._reader.read(_HEAD.size), np.empty(self._n_params)
        whole = len(head) == _HEAD.size and self._reader.readinto(memoryview(grad).cast("B"))
        if whole == grad.nbytes:
            crc, of_point, loss = _HEAD.unpack(head)
            if crc == _checksum(head, grad):
                self._check_point(of_point, point)
                self._end = self._reader.tell()
                return loss, grad
        self._stop_reading()
        return None

    def _check_point(self, of_point, point):
        if of_point != zlib.crc32(point):
            raise RuntimeError(
                f"{self._path} has the answer for another point than L-BFGS asks for: SciPy does "
                "not compute here what it computed before. Remove the checkpoint to begin anew."
            )

    def note(self, point, loss, grad):
        """Add what the objective has answered, now or when there is room again."""
        if self._is_given_up or self._is_in_child():
            return
        head = _HEAD.pack(0, zlib.crc32(point), loss)
        head = _HEAD.pack(_checksum(head, grad), zlib.crc32(point), loss)
        self._waiting.append((self._end, head + grad.tobytes()))
        self._end += len(head) + grad.nbytes
        try:
            self._write_waiting()  # what the system has outlives this process
        except (OSError, ValueError):  # `sync` tries again, and says why it fails
            self._give_up_if_many()

    def _write_waiting(self):
        """Write what waits. After a failure or an interrupt it may be called again."""
        if self._file is None:
            refuse_other_log(self._checkpoint)
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115
        while self._waiting:
            place, record = self._waiting[0]
            self._file.truncate(place)
            rest = memoryview(record)
            while rest:
                rest = rest[self._file.write(rest) :]
            del self._waiting[0]

    def _give_up_if_many(self):
        """Let the log end here, if what waits takes too much memory: the rest is not noted."""
        if sum(len(record) for _, record in self._waiting) > _MOST_WAITING:
            self._is_given_up, self._waiting = True, []

    def sync(self):
        """Let it last; OSError or ValueError if something cannot be written."""
        self._write_waiting()
        with contextlib.suppress(OSError):
            sync(self._file.fileno())

    def close(self):
        """Close the file."""
        self._stop_reading()
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def remove(self):
        """Close and remove it, if nothing else has taken its place."""
        self.close()
        with contextlib.suppress(FileNotFoundError):
            with open(self._path, "rb") as file:
                is_log = _is_log(file.read(len(_MARK)))
            if is_log:
                os.unlink(self._path)


def _checksum(head, grad):
    return zlib.crc32(memoryview(grad), zlib.crc32(head[4:]))
