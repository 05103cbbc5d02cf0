"""Checkpoints on disk: the container of `fastbp.save`, with a mark that no other file has."""

import contextlib
import errno
import os
import re
import stat

from .._files import arrays, container, plain, values
from .._files.container import FileError

FORMAT = 1
_KINDS = (*plain.KINDS, *arrays.KINDS)
# How every checkpoint begins, but for its length, its checksum and the format of the container.
_BEFORE_CHECKSUM = b'{"__metadata__":{"crc32":"'
_AFTER_CHECKSUM = b'","fastbp":"1","content":"{\\"checkpoint\\":'
_FORMAT = re.compile(rb'(?<=","fastbp":")[0-9]{1,9}')
_START = 8 + len(_BEFORE_CHECKSUM) + 8 + len(_AFTER_CHECKSUM) + 8  # bytes at most
_PIECE = 1 << 20  # bytes


def is_checkpoint(path):
    """Whether the file begins as a checkpoint does."""
    with open(path, "rb") as file:
        _, before, after = _parts(file.read(_START))
    return before == _BEFORE_CHECKSUM and after == _AFTER_CHECKSUM


def _parts(start):
    """What begins a file, in three parts: its length, and what surrounds the checksum."""
    n = 8 + len(_BEFORE_CHECKSUM)
    after = _FORMAT.sub(b"1", start[n + 8 :], count=1)
    return start[:8], start[8:n], after[: len(_AFTER_CHECKSUM)]


def refuse_other_files(path):
    """Raise OSError or ValueError if there is something else at this path than a checkpoint."""
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "checkpoint takes a file, and this is a folder", path)
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise OSError(errno.EINVAL, "checkpoint takes a file; this is a device or a pipe", path)
        return
    if not is_checkpoint(path):
        raise ValueError(
            f"checkpoint={path!r} is a file, but no checkpoint, and is not overwritten: it takes "
            "the path of a checkpoint, or one where there is no file."
        )


def refuse_foreign(path, suffix, is_ours):
    """Raise ValueError if a file beside the checkpoint is none that fastbp has written.

    One of zeros only is nobody's: a power failure leaves it of a file that was being written.

    Parameters
    ----------
    path : str
        Of the checkpoint.
    suffix : str
        What the file's name has in addition.
    is_ours : callable
        Of the first bytes of the file.
    """
    name = f"{path}{suffix}"
    try:
        if stat.S_ISREG(os.stat(name).st_mode):
            with open(name, "rb") as file:
                if is_ours(file.read(_START)) or _is_of_zeros(file):
                    return
    except FileNotFoundError:
        return
    raise ValueError(
        f"checkpoint={path!r} needs {name!r} for itself, where there is something that fastbp "
        "has not written: it is left as it is. Move it away, or give checkpoint another path."
    )


def _is_of_zeros(file):
    file.seek(0)
    pieces = iter(lambda: file.read(_PIECE), b"")
    return not any(piece.strip(b"\0") for piece in pieces)


def _is_part(start):
    """Whether these bytes are the first ones of a checkpoint, as far as it was written."""
    if not start:
        return True
    length, before, after = _parts(start)
    is_length = len(length) == 8 and not any(length[4:])  # no header takes 4 GB
    return is_length and _BEFORE_CHECKSUM.startswith(before) and _AFTER_CHECKSUM.startswith(after)


def refuse_other_part(path):
    """Raise ValueError if the file that would be written first is another's."""
    refuse_foreign(path, ".part", _is_part)


def remove_part(path):
    """Remove what a process has left that was killed while it wrote."""
    refuse_other_part(path)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{path}.part")


def write(path, value):
    """Write a checkpoint, which takes the place of the one before when it is complete."""
    refuse_other_files(path)
    refuse_other_part(path)
    encoder = values.Encoder(_KINDS)
    # The mark comes first, where `is_checkpoint` looks for it.
    written = {"checkpoint": FORMAT, "value": encoder.encode(value, "")}
    container.write(path, values.text_of(written), encoder.tensors, part=f"{path}.part")


def read(path):
    """What `write` was given; None where there is no file, `FileError` if it is damaged."""
    refuse_other_files(path)

    def decode(content, tensors):
        written = values.value_of(content)
        if type(written) is not dict or written.keys() != {"checkpoint", "value"}:
            raise FileError("its content is not that of a checkpoint")
        if written["checkpoint"] != FORMAT:
            raise FileError(
                f"it is a checkpoint of format {str(written['checkpoint'])[:20]}, which another "
                f"version of fastbp has written: this one goes on from format {FORMAT}"
            )
        decoder = values.Decoder(_KINDS, tensors, {})
        value = decoder.decode(written["value"], "")
        decoder.finish()
        return value

    try:
        return container.read(path, decode)
    except container.FileMissingError:
        return None


def remove(path):
    """Remove a checkpoint, if it is one."""
    with contextlib.suppress(FileNotFoundError):
        if is_checkpoint(path):
            os.unlink(path)
