"""Files that are written: whole or not at all, and not over what was read."""

import contextlib
import os
from pathlib import Path

from .._files.replacing import replaced


def check_writable(path, option, *inputs, special=True):
    """Raise ValueError now if a file cannot be written later.

    Parameters
    ----------
    path : str
    option : str
        Where the path came from, for the error.
    *inputs : str
        Files that are read, over which nothing is written.
    special : bool, default=True
        Whether a device or a pipe will do.
    """
    file = Path(path)
    folder = file.absolute().parent
    is_folder = file.is_dir() or str(path).endswith((os.sep, os.altsep or os.sep))
    if not folder.is_dir() or is_folder or (_is_special(file) and not special):
        raise ValueError(
            f"{option}: {path} cannot be written: it takes a file in a folder that is there"
        )
    for needed in [folder] * (not _is_special(file)) + [file] * file.exists():
        if not os.access(needed, os.W_OK):
            raise ValueError(f"{option}: {path} cannot be written: no permission to write {needed}")
    for name in inputs:
        if file.exists() and Path(name).exists() and file.samefile(name):
            raise ValueError(f"{option}: {path} would be written over, and it is what is read")


@contextlib.contextmanager
def replacing(path, mode="t", **options):
    """Open a file to write; it appears, or replaces what was there, when the block ends.

    If the block fails, or is interrupted, what was there stays. Devices and pipes are written
    directly.

    Parameters
    ----------
    path : str or Path
    mode : {"t", "b"}, default="t"
        Of text or of bytes.
    **options
        Those of `open`.

    Raises
    ------
    ValueError
        Naming the file, if it cannot be written.
    """
    try:
        if _is_special(Path(path)):
            with open(path, f"w{mode}", **options) as file:
                yield file
        else:
            with replaced(path, mode, **options) as file:
                yield file
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ValueError(f"{path} cannot be written: {reason_of(error)}") from error


def reason_of(error):
    """What an error of the system says, without the path and the number; some have no number."""
    return os.strerror(error.errno) if error.errno else error.strerror or str(error)


def _is_special(path):
    """Whether it is there and neither a file nor a folder: a device, a pipe."""
    return path.exists() and not path.is_file() and not path.is_dir()
