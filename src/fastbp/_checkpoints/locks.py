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


def refuse_other_lock(path):
    """Raise ValueError if there is another file in the place of the lock."""
    refuse_foreign(path, ".lock", _is_number)


def _is_number(content):
    """Whether this is what a lock holds: the number of a process, or nothing yet."""
    return re.fullmatch(rb"[0-9]{0,20}", content) is not None


class Lock:
    """A lock on a path, noted in a file beside it.

    Parameters
    ----------
    path : str

    Raises
    ------
    ValueError
        Another fit has it, or the file is none that a lock has written.
    OSError
        No file can be written there.
    """

    def __init__(self, path):
        self._path, self._name, self._pid = path, f"{path}.lock", os.getpid()
        # Locks of the system are of processes; two fits of this one see each other here.
        if _ours.setdefault(path, self) is not self:
            raise _in_use(path, "of this process")
        try:
            refuse_other_lock(path)
            self._file = self._locked()
        except BaseException:
            del _ours[path]
            raise

    def _locked(self):
        while True:
            with naming(self._path, self._name):
                file = open(self._name, "a+b", buffering=0)  # noqa: SIM115
            try:
                if not _lock(file):
                    file.seek(0)
                    raise _in_use(self._path, f"of process {file.read(20).decode('ascii', '?')}")
                # The one who had it before may have removed the file meanwhile.
                if _is_same(file, self._name):
                    file.truncate(0)
                    file.write(str(os.getpid()).encode())  # shows that there is room on the disk
                    return file
            except BaseException:
                file.close()
                raise
            file.close()

    def release(self):
        """Give it up; nothing in a child of the process."""
        if os.getpid() != self._pid or _ours.get(self._path) is not self:
            return
        with contextlib.suppress(OSError):
            is_ours = self._is_ours()
            if fcntl is None:  # Windows removes no file that is open
                self._file.close()
            if is_ours:
                os.unlink(self._name)
        self._file.close()
        del _ours[self._path]

    def _is_ours(self):
        """Whether nobody has written another file in its place meanwhile."""
        self._file.seek(0)
        return _is_number(self._file.read(21)) and _is_same(self._file, self._name)


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


def _in_use(path, whose):
    return ValueError(
        f"checkpoint={path!r} is in use by another fit, {whose}: each fit takes a path of its own."
    )
