"""One fit has a path at a time: a lock that ends with the process, however that ends."""

import contextlib
import os
import re

from .._files.replacing import naming
from .files import refuse_foreign

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_ours = {}  # path -> the lock that this process has


def _forget_in_child():
    """What a process has, its children have not; their copies of the files say nothing to them."""
    for lock in _ours.values():
        lock.close()
    _ours.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _is_number(content):
    """Whether this is what a lock holds: the number of a process, or nothing yet."""
    return re.fullmatch(rb"[0-9]{0,20}", content) is not None


class Lock:
    """A lock on a path, noted in a file beside it.

    A lock of the system is of a process, and ends when that closes the file, by whatever name it
    has opened it. So two fits of one process see each other in `_ours`, before they look at the
    file: one that is refused must not open it.

    Parameters
    ----------
    path : str
    given : str
        How errors call it.

    Raises
    ------
    ValueError
        Another fit of this process has it.
    """

    def __init__(self, path, given):
        self._path, self._given, self._name = path, given, f"{path}.lock"
        self._file = None
        if _ours.setdefault(path, self) is not self:
            raise self._in_use("of this process")

    def take(self):
        """Take it before all other processes; on an error it is to be released.

        Raises
        ------
        ValueError
            Another fit has it, or the file is none that a lock has written.
        OSError
            No file can be written there.
        """
        if self._is_taken_by_another_name():
            raise self._in_use("of this process")
        refuse_foreign(self._path, ".lock", _is_number)
        while self._file is None:
            with naming(self._given, self._name):
                file = open(self._name, "a+b", buffering=0)  # noqa: SIM115
            try:
                if not _lock(file):
                    file.seek(0)
                    raise self._in_use(f"of process {file.read(20).decode('ascii', 'replace')}")
                # The one who had it before may have removed the file meanwhile.
                if _is_same(file, self._name):
                    self._file = file
            finally:
                if self._file is None:
                    file.close()
        self._note_process()

    def _is_taken_by_another_name(self):
        """Whether the file is open here for another path, as "State" where case does not matter."""
        try:
            mine = os.stat(self._name)
        except OSError:
            return False
        files = (lock._file for lock in [*_ours.values()])
        is_open = (file for file in files if file is not None and not file.closed)
        return any(os.path.samestat(os.fstat(file.fileno()), mine) for file in is_open)

    def _note_process(self):
        """Write the number of this process, which shows that there is room on the disk."""
        try:
            self._file.truncate(0)
            self._file.write(str(os.getpid()).encode())
        except OSError as error:  # which names no file
            raise type(error)(error.errno, error.strerror, self._given) from None

    def release(self):
        """Give it up; nothing in a child of the process."""
        if _ours.get(self._path) is not self:
            return
        if self._file is not None:
            with contextlib.suppress(OSError):
                is_ours = self._is_ours()
                if fcntl is None:  # Windows removes no file that is open
                    self.close()
                if is_ours:
                    os.unlink(self._name)
        self.close()
        del _ours[self._path]

    def close(self):
        """Close the file, if there is one."""
        if self._file is not None:
            self._file.close()

    def _is_ours(self):
        """Whether nobody has written another file in its place meanwhile."""
        self._file.seek(0)
        return _is_number(self._file.read(21)) and _is_same(self._file, self._name)

    def _in_use(self, whose):
        return ValueError(
            f"checkpoint={self._given!r} is in use by another fit, {whose}: each fit takes a path "
            "of its own."
        )


def _lock(file):
    """False if another process has it; a file system without locks has none."""
    if fcntl is None:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True
    return True


def _is_same(file, name):
    try:
        return fcntl is None or os.path.samestat(os.fstat(file.fileno()), os.stat(name))
    except FileNotFoundError:
        return False
