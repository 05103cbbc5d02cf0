"""Files that are written whole or not at all."""

import contextlib
import errno
import os
import secrets
import stat

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None


@contextlib.contextmanager
def replaced(path, mode="b", part=None, **options):
    """A file to write, which takes the place of the one at `path` when all is written.

    If the block fails or is interrupted, what was there stays, and no part of a file. A link stays,
    and what it leads to is replaced. Permissions are those that `open` would leave.

    Parameters
    ----------
    path : str or path-like of str
    mode : {"b", "t"}, default="b"
        Of bytes or of text.
    part : str or None, default=None
        The file that is written first, in the folder of `path`, which belongs to the caller alone:
        one that is there is what a killed process has left. None: a name that nobody has.
    **options
        Those of `open`.

    Raises
    ------
    OSError
        If the file cannot be written, or is a folder, a device or a pipe. It names `path`.
    ValueError
        If `path` has the character NUL.
    """
    check_name(path)
    target = os.path.realpath(path)
    permissions = permissions_of(target, path)
    folder = os.path.dirname(target)
    own, part = part, part or os.path.join(folder, f".{secrets.token_hex(8)}.part")
    with naming(path, part):
        if own is not None:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(part)
        file = open(part, f"x{mode}", **options)  # noqa: SIM115
    try:
        with file:
            yield file
            file.flush()
            with naming(path, part):
                _finish(part, file.fileno(), permissions)
        with naming(path, part):
            os.replace(part, target)
    except BaseException:  # a Ctrl-C, too, leaves no part of a file
        with contextlib.suppress(FileNotFoundError):
            os.unlink(part)
        raise
    _sync_folder(folder)


def check_name(path, parameter="path"):
    """Raise an error for a path that is none of a file, whatever there is."""
    name = os.fspath(path)
    if "\0" in name:
        raise ValueError(f"{parameter} is {name!r}: it takes a path without the character NUL.")
    if name.endswith((os.sep, os.altsep or os.sep)):
        raise IsADirectoryError(errno.EISDIR, "Is a folder, where it takes a file", name)


@contextlib.contextmanager
def naming(path, part):
    """Let errors of the system name what was asked for, not the file beside it."""
    try:
        yield
    except OSError as error:
        if error.filename != part:
            raise
        raise type(error)(error.errno, error.strerror, os.fspath(path)) from None


def _finish(part, descriptor, permissions):
    """Set permissions, if they are others, and let the bytes last, where the file system can."""
    if permissions not in (None, stat.S_IMODE(os.fstat(descriptor).st_mode)):
        with _where_it_can(errno.EPERM):
            os.chmod(part, permissions)
    with _where_it_can(errno.EINVAL):
        sync(descriptor)


def sync(descriptor):
    """Let the bytes last."""
    os.fsync(descriptor)
    if hasattr(fcntl, "F_FULLFSYNC"):  # macOS, whose fsync leaves them in the memory of the disk
        with contextlib.suppress(OSError):  # of a file system without it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)


@contextlib.contextmanager
def _where_it_can(*none):
    """Pass over these errors, and those by which a file system says that it has no such call."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, *none):
            raise


def permissions_of(target, path):
    """Permissions of the file that is to be replaced; None if there is none."""
    try:
        found = os.stat(target)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a folder, where it takes a file", str(path))
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "Is a device or a pipe, where it takes a file", str(path))
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
    return stat.S_IMODE(found.st_mode)


def _sync_folder(folder):
    """Let the new name last, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):  # Windows
        return
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
