"""Files on disk: safetensors, with a text in its metadata that says what the tensors mean.

A file is 8 bytes with the length of a JSON header, the header, and the bytes of the tensors. The
``__metadata__`` of the header has three entries: "fastbp", the version of this format; "content",
the JSON text of `values`; and "crc32", a checksum of the text and the tensors, by which accidental
damage is told. The package safetensors reads these files, too; here they are written without a copy
of every tensor, and read without a map of the file, which would end the process if it is cut.
"""

import json
import math
import os
import stat
import struct
import zlib

import numpy as np

from .._params import zeros
from .replacing import replaced

FORMAT = 1
# As safetensors names them.
DTYPES = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype(np.uint8),
    "I8": np.dtype(np.int8),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
# Python's values take up to ninety times the memory of their text.
_LONGEST_HEADER = 1 << 26
_MOST_DIMENSIONS = 8
_NO_CHECKSUM = "0" * 8  # until all is written
_PIECE = 1 << 18  # bytes that are written at a time
_MOST_AT_ONCE = 1 << 30  # bytes that one call reads: no system takes more than 2 GB


class FileError(ValueError):
    """A file that is none of fastbp's, or not whole."""


class FileMissingError(FileNotFoundError, FileError):
    """There is no such file."""


class FileAccessError(OSError, FileError):
    """A file that cannot be read."""


def checksum(content, tensors, write=None):
    """CRC-32 of the text and of the tensors, a dict of contiguous arrays.

    Each piece of their bytes is copied and given to `write`, too: what is written is what the
    checksum is of, also while another thread changes an array.
    """
    crc = zlib.crc32(content.encode())
    for name in _in_order(tensors):
        array = tensors[name]
        crc = zlib.crc32(f"{name} {_NAMES[array.dtype]} {array.shape}".encode(), crc)
        every = memoryview(array.reshape(-1).view(np.uint8))
        for start in range(0, len(every), _PIECE):
            piece = bytes(every[start : start + _PIECE])
            crc = zlib.crc32(piece, crc)
            if write is not None:
                write(piece)
    return f"{crc:08x}"


def _in_order(tensors):
    """Names in the order of the file: the widest numbers first, which keeps them aligned."""
    return sorted(tensors, key=lambda name: (-tensors[name].itemsize, name))


# ---- write ----


def write(path, content, tensors, part=None):
    """Write a text and tensors to a file, which is complete or not there.

    Parameters
    ----------
    path : str or path-like
    content : str
    tensors : dict of ndarray
        C-contiguous, of one of `DTYPES`.
    part : str or None, default=None
        As `replaced` takes it.
    """
    metadata = {"crc32": _NO_CHECKSUM, "fastbp": str(FORMAT), "content": content}
    header, end = {"__metadata__": metadata}, 0
    for name in _in_order(tensors):
        array, start = tensors[name], end
        end += array.nbytes
        entry = {"dtype": _NAMES[array.dtype], "shape": array.shape, "data_offsets": (start, end)}
        header[name] = entry
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _LONGEST_HEADER:
        raise ValueError(
            f"obj takes {len(text):,} bytes beside its arrays of numbers, for texts, lists and "
            f"arrays of objects: a file takes {_LONGEST_HEADER:,}."
        )
    with replaced(path, part=part) as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        crc = checksum(content, tensors, file.write)
        file.seek(8 + text.index(_NO_CHECKSUM.encode()))
        file.write(crc.encode())


# ---- read ----


def read(path, decode):
    """``decode(content, tensors)`` of a file; a `FileError` that it raises names the path.

    Parameters
    ----------
    path : str, bytes or path-like
    decode : callable
        Of the text and a dict of arrays, which start at cache lines.
    """
    name = os.fsdecode(path)
    try:
        metadata, tensors = _read(name)
        content = metadata["content"]
        if metadata.get("crc32") != checksum(content, tensors):
            raise FileError("it is damaged: its checksum is not that of its content")
        return decode(content, tensors)
    except (FileMissingError, FileAccessError):
        raise
    except FileError as error:
        raise FileError(f"{name} cannot be loaded: {error}.") from error


def _read(name):
    """The metadata and the tensors; errors of the system are `FileError`, too."""
    try:
        with _opened(name) as file:
            return _contents(file)
    except FileNotFoundError as error:
        raise FileMissingError(error.errno, "There is no such file", name) from None
    except OSError as error:
        text = f"It cannot be read: {error.strerror}"
        raise FileAccessError(error.errno, text, name) from error


def _opened(name):
    if "\0" in name:
        raise FileError("its path has a zero character")
    mode = os.stat(name).st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise FileError("it is a device or a pipe, where it takes a file")
    return open(name, "rb", buffering=0)


def _contents(file):
    """The metadata and the tensors, a dict of arrays, in memory that is ours.

    A file that is cut while it is read is too short; one that is mapped would end the process.
    """
    size = os.fstat(file.fileno()).st_size
    if not size:
        raise FileError("it is empty")
    header, length = _header(file, size)
    metadata = header.pop("__metadata__", {})
    if type(metadata) is not dict or not all(type(v) is str for v in metadata.values()):
        raise _damaged("its metadata are not texts")
    _check_version(metadata)
    if "content" not in metadata:
        raise _damaged("it has no content")
    plan = _plan(header, size - 8 - length)
    return metadata, {name: _tensor(file, name, *row) for name, row in plan.items()}


def _header(file, size):
    """The header, a dict, and its length in bytes."""
    if size < 8:
        raise _damaged(f"it has {size} bytes")
    (length,) = struct.unpack("<Q", _filled(file, bytearray(8)))
    if length > min(size - 8, _LONGEST_HEADER):
        raise _damaged(f"its header would have {length:,} bytes, of a file of {size:,}")
    text = _filled(file, bytearray(length))
    try:
        header = json.loads(text.decode(), object_pairs_hook=_whole_texts)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise _damaged(f"its header is no JSON text: {error}") from error
    if type(header) is not dict:
        raise _damaged("its header is no JSON object")
    return header, length


def _whole_texts(pairs):
    """The dict of an object of the header, whose texts are of whole characters."""
    for text in (text for pair in pairs for text in pair if type(text) is str):
        text.encode()
    return without_doubles(pairs)


def without_doubles(pairs):
    """The dict of a JSON object; `FileError` if a name is in it twice."""
    made = dict(pairs)
    if len(made) != len(pairs):
        raise FileError("an object of its content has a name twice")
    return made


def _plan(header, size):
    """``{name: (dtype, shape)}`` in the order of their bytes, of which there are `size`."""
    rows = {name: _row(name, entry) for name, entry in header.items()}
    place = 0
    for name in sorted(rows, key=lambda name: rows[name][2]):
        dtype, shape, (start, end) = rows[name]
        if start != place or end - start != math.prod(shape) * dtype.itemsize:
            raise _damaged(f"the tensor {name[:80]!r} is not at the bytes of its size")
        place = end
    if place != size:
        raise _damaged(f"its tensors have {place:,} bytes, and {size:,} are there")
    return {name: row[:2] for name, row in sorted(rows.items(), key=lambda item: item[1][2])}


def _row(name, entry):
    """``(dtype, shape, [start, end])`` of a tensor."""
    if type(entry) is not dict or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise _damaged(f"the tensor {name[:80]!r} has no dtype, shape and offsets")
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not _are_sizes(offsets) or len(offsets) != 2:
        raise _damaged(f"the tensor {name[:80]!r} has no place")
    takes = f"{', '.join(DTYPES)} and {_MOST_DIMENSIONS} dimensions at most"
    if type(dtype) is not str or dtype not in DTYPES or not _is_shape(shape, DTYPES[dtype]):
        raise FileError(
            f"the tensor {name[:80]!r} has dtype {str(dtype)[:20]!r} and shape "
            f"{str(shape)[:200]}: it takes {takes}"
        )
    return DTYPES[dtype], tuple(shape), offsets


def _are_sizes(value):
    return type(value) is list and all(type(n) is int and 0 <= n < 2**63 for n in value)


def _is_shape(shape, dtype):
    """Whether NumPy takes the shape, which looks at the sizes that are not 0 only."""
    if not _are_sizes(shape) or len(shape) > _MOST_DIMENSIONS:
        return False
    return math.prod(n for n in shape if n) * dtype.itemsize < 2**63


def _tensor(file, name, dtype, shape):
    array = zeros(math.prod(shape), dtype)
    _filled(file, memoryview(array.view(np.uint8)))
    if dtype.kind == "b" and array.view(np.uint8).max(initial=0) > 1:
        raise FileError(f"the tensor {name[:80]!r} of BOOL has a byte that is neither 0 nor 1")
    return array.reshape(shape)


def _filled(file, buffer):
    """The buffer with the next bytes of the file; `FileError` if there are not so many."""
    view, place = memoryview(buffer), 0
    while place < len(view):
        n = file.readinto(view[place : place + _MOST_AT_ONCE])
        if not n:
            raise _damaged("it ends before its tensors do")
        place += n
    return buffer


def _damaged(why):
    return FileError(f"it is damaged, cut short, or no file of fastbp.save at all ({why})")


def _check_version(metadata):
    version = metadata.get("fastbp", "")
    if not version:
        raise FileError("it is a safetensors file of another program, not of fastbp.save")
    if not (version.isascii() and version.isdigit() and len(version) <= 9) or int(version) < 1:
        raise FileError(f"its format is {version[:20]!r}, where it takes a number of 1 or more")
    if int(version) > FORMAT:
        raise FileError(
            f"it was written by a later version of fastbp, in format {version}: this one reads "
            f"formats up to {FORMAT} (pip install --upgrade fastbp)"
        )
