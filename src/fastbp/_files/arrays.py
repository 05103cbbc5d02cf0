"""Arrays, scalars and generators of NumPy as rows of the table of `values`."""

import math
import re

import numpy as np

from .._input.arguments import generator_of
from .checks import fail
from .values import Kind, of

_DTYPE = re.compile(
    r"[<>|](?:b1|[iu][1248]|f[248]|[US]\d{1,9}|O|[mM]8(?:\[(?:[1-9]\d{0,8})?[A-Za-zμ]{1,2}\])?)"
)
_MOST_DIMENSIONS = 8
# As which an array of objects counts, beside its items: to show one takes that long.
_VALUES_OF_ARRAY = 16
# Characters that an array of texts may take beyond those of its longest text.
_MOST_PADDED = 1 << 18
# Bytes by which each text may be padded for nothing: as much as a Python object takes.
_FREE_PADDING = 256


# ---- arrays ----


def _encode_array(encoder, array, where):
    dtype = array.dtype
    if not _DTYPE.fullmatch(dtype.str):
        raise _no_dtype(f"an array of dtype {dtype}", where)
    if array.ndim > _MOST_DIMENSIONS:
        raise TypeError(
            f"{where or 'obj'} is an array of {array.ndim} dimensions, which fastbp.save cannot "
            f"write: it takes {_MOST_DIMENSIONS} at most."
        )
    payload = {"dtype": dtype.str}
    if dtype.kind in "mM":
        return payload | {
            "tensor": encoder.tensor(array.view(np.int64 if dtype.isnative else ">i8"))
        }
    if dtype.kind not in "USO":
        return payload | {"tensor": encoder.tensor(array)}
    items = array.ravel().tolist()
    if dtype.kind == "S":
        items = [item.hex() for item in items]
    elif dtype.kind == "O":
        encoder.limits.enter(0, _VALUES_OF_ARRAY + len(items), where)
        items = [encoder.encode(item, f"{where}[{i}]") for i, item in enumerate(items)]
    if dtype.kind != "O":
        padding = _padding(dtype, items)
        if _is_too_wide(dtype, items) or not encoder.limits.has(padding):
            payload["dtype"] = f"{dtype.str[:2]}{max(map(_width, items), default=1)}"
            padding = _padding(np.dtype(payload["dtype"]), items)
        encoder.limits.take(padding, where)
    return payload | {"shape": list(array.shape), "items": items}


def _no_dtype(what, where):
    return TypeError(
        f"{where or 'obj'} is {what}, which fastbp.save cannot write: it takes booleans, integers, "
        "floats of 16 to 64 bits, texts, dates and objects."
    )


def _padding(dtype, items):
    """Bytes of an array of texts beyond those of the texts and what each may take."""
    n_characters = sum(map(len, items))
    of_texts = n_characters * 4 if dtype.kind == "U" else n_characters // 2
    return max(0, (dtype.itemsize - _FREE_PADDING) * len(items) - of_texts)


def _width(item):
    return max(len(item), 1)


def _is_too_wide(dtype, items):
    """Whether the array takes much more memory than its texts do in the file."""
    width = int(dtype.str[2:])
    if dtype.kind == "S":
        items = [item[::2] for item in items]
    return width > max(map(_width, items), default=1) and width * len(items) > _MOST_PADDED


def _decode_array(decoder, payload, where):
    if type(payload) is not dict or payload.keys() not in (
        {"dtype", "tensor"},
        {"dtype", "shape", "items"},
    ):
        fail(where, payload, "the dtype of an array with its tensor, or its shape and items")
    dtype = _dtype_of(payload["dtype"], where)
    if "tensor" in payload:
        tensor = decoder.tensor(payload["tensor"], where)
        little = np.dtype("<i8") if dtype.kind in "mM" else dtype.newbyteorder("<")
        if tensor.dtype != little:
            fail(where, tensor.dtype, f"a tensor of {little}")
        if dtype.kind in "mM":
            return _with_unit(tensor.view(dtype.newbyteorder("<")), where).astype(dtype, copy=False)
        return tensor.astype(dtype, copy=False)
    items, shape = payload["items"], payload["shape"]
    if type(items) is not list or dtype.kind not in "USO":
        fail(where, payload["dtype"], "a list of items, of texts or objects")
    if (
        type(shape) is not list
        or len(shape) > _MOST_DIMENSIONS
        or not all(type(n) is int and n >= 0 for n in shape)
    ):
        fail(where, shape, "a shape")
    if math.prod(shape) != len(items):
        fail(where, shape, f"a shape of {len(items)} items")
    return _array_of(decoder, dtype, items, where).reshape(shape)


def _with_unit(dates, where):
    """Dates without a unit can only be missing ones, NaT."""
    if dates.dtype == "M8" and not np.isnat(dates).all():
        fail(where, dates.dtype.str, "a unit, such as <M8[s]")
    return dates


def _array_of(decoder, dtype, items, where):
    """A vector of texts or objects."""
    if dtype.kind == "O":
        decoder.limits.enter(0, _VALUES_OF_ARRAY + len(items), where)
        made = np.empty(len(items), dtype=object)
        for i, item in enumerate(items):
            made[i] = decoder.decode(item, f"{where}[{i}]")
        return made
    if not all(type(item) is str for item in items):
        fail(where, items, "texts")
    if _is_too_wide(dtype, items):
        fail(where, dtype.str, "the width of its longest text")
    decoder.limits.take(_padding(dtype, items), where)
    made = np.array([bytes.fromhex(i) for i in items] if dtype.kind == "S" else items, dtype=dtype)
    return made


def _dtype_of(text, where):
    if type(text) is not str or not _DTYPE.fullmatch(text):
        fail(where, text, "the name of a dtype")
    return np.dtype(text)


def _encode_scalar(encoder, scalar, where):
    payload = _encode_array(encoder, np.asarray(scalar), where)
    if payload["dtype"][1] not in "USO":
        payload.pop("tensor")
        encoder.tensors.popitem()
        number = scalar.view(np.int64) if payload["dtype"][1] in "mM" else scalar
        return payload | {"value": encoder.encode(number.item(), where)}
    return payload


def _decode_scalar(decoder, payload, where):
    if type(payload) is dict and payload.keys() == {"dtype", "value"}:
        dtype = _dtype_of(payload["dtype"], where)
        value = decoder.decode(payload["value"], where)
        takes = {"b": bool, "f": float}.get(dtype.kind, int)
        if type(value) is not takes or dtype.kind in "USO":
            fail(where, value, f"a number of dtype {dtype}")
        if dtype.kind in "mM":
            made = np.int64(value).view(dtype.newbyteorder("="))
            return _with_unit(made, where)
        try:
            with np.errstate(over="ignore"):
                made = np.array(value, dtype=dtype)[()]
            exact = made.item() == value or value != value
        except OverflowError:  # of NumPy 2; before, such numbers are wrapped
            exact = False
        if not exact:
            fail(where, value, f"a number that {dtype} has")
        return made
    array = _decode_array(decoder, payload, where)
    if array.ndim or array.dtype.kind == "O":
        fail(where, array.shape, "one text")
    return array[()]


def _encode_dtype(encoder, dtype, where):
    if not _DTYPE.fullmatch(dtype.str):
        raise _no_dtype(f"the dtype {dtype}", where)
    return dtype.str


def _decode_dtype(decoder, payload, where):
    return _dtype_of(payload, where)


# ---- random numbers ----

_GLOBAL = np.random.mtrand._rand  # what random_state=None draws from


def _encode_random_state(encoder, generator, where):
    if generator is _GLOBAL:
        return "global"
    state = generator.get_state(legacy=False)
    if state["bit_generator"] != "MT19937":
        raise TypeError(
            f"{where} draws from {state['bit_generator']}, which fastbp.save cannot write: it "
            "takes a RandomState of MT19937, as numpy.random.RandomState(seed) is."
        )
    return {
        "key": encoder.tensor(state["state"]["key"]),
        "pos": int(state["state"]["pos"]),
        "has_gauss": int(state["has_gauss"]),
        "gauss": encoder.encode(float(state["gauss"]), where),
    }


def _decode_random_state(decoder, payload, where):
    if payload == "global":
        return _GLOBAL
    if type(payload) is not dict or payload.keys() != {"key", "pos", "has_gauss", "gauss"}:
        fail(where, payload, "key, pos, has_gauss and gauss")
    key = decoder.tensor(payload["key"], where)
    if key.dtype != np.uint32 or key.shape != (624,):
        fail(where, key.shape, "a key of 624 numbers of uint32")
    if not key[1:].any() and key[0] < 2**31:  # of the first number it uses the highest bit only
        fail(where, "all zeros", "a key with which normal() comes to an end")
    pos, has_gauss = payload["pos"], payload["has_gauss"]
    gauss = decoder.decode(payload["gauss"], where)
    if type(pos) is not int or not 0 <= pos <= 624 or has_gauss not in (0, 1):
        fail(where, (pos, has_gauss), "a pos from 0 to 624, and has_gauss of 0 or 1")
    if type(gauss) is not float or type(has_gauss) is not int:
        fail(where, gauss, "a float")
    made = generator_of(0)
    made.set_state(("MT19937", key, pos, has_gauss, gauss))
    return made


KINDS = (
    Kind("numpy.ndarray", of(np.ndarray, np.memmap), _encode_array, _decode_array, shared=True),
    Kind("numpy scalar", lambda kind: issubclass(kind, np.generic), _encode_scalar, _decode_scalar),
    Kind("numpy.dtype", lambda kind: issubclass(kind, np.dtype), _encode_dtype, _decode_dtype),
    Kind(
        "RandomState", of(np.random.RandomState), _encode_random_state, _decode_random_state, True
    ),
)
