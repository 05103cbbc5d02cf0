"""Floats and collections as rows of the table of `values`."""

import numpy as np

from .checks import fail, shown
from .values import Kind, of

# ---- numbers ----


def _decode_float(decoder, payload, where):
    if payload not in ("nan", "inf", "-inf"):
        fail(where, payload, "'nan', 'inf' or '-inf'")
    return float(payload)


def _decode_floats(decoder, payload, where):
    return _floats(decoder, payload, where, 1).tolist()


def _decode_rows(decoder, payload, where):
    return list(map(tuple, _floats(decoder, payload, where, 2).tolist()))


def _floats(decoder, payload, where, ndim):
    tensor = decoder.tensor(payload, where)
    if tensor.dtype != np.float64 or tensor.ndim != ndim or not tensor.size:
        fail(where, tensor.shape, f"a tensor of float64 with {ndim} dimensions, not empty")
    return tensor


# ---- collections ----


def _encode_items(encoder, values, where):
    return [encoder.encode(item, f"{where}[{i}]") for i, item in enumerate(values)]


def _items(decoder, payload, where):
    if type(payload) is not list:
        fail(where, payload, "a list")
    decoder.limits.enter(0, len(payload), where)
    return decoder.items(payload, where)


def _decode_tuple(decoder, payload, where):
    return tuple(_items(decoder, payload, where))


def _encode_set(encoder, values, where):
    return _encode_items(encoder, sorted(values, key=repr), where)


def _decode_set(decoder, payload, where):
    return frozenset(_items(decoder, payload, where))


# Those that ask for a sequence of sizes make a list of it.
_LONGEST_RANGE = 1000


def _encode_range(encoder, values, where):
    if len(values) > _LONGEST_RANGE:
        raise TypeError(
            f"{where or 'obj'} is {values}, which fastbp.save cannot write: it takes a range of "
            f"{_LONGEST_RANGE} numbers at most, or a list of them."
        )
    return [values.start, values.stop, values.step]


def _decode_range(decoder, payload, where):
    if type(payload) is not list or len(payload) != 3 or not all(type(n) is int for n in payload):
        fail(where, payload, "three integers")
    made = range(*payload)
    if len(made) > _LONGEST_RANGE:
        fail(where, payload, f"a range of {_LONGEST_RANGE} numbers at most")
    return made


def _encode_dict(encoder, values, where):
    return [
        [encoder.encode(key, f"a key of {where}"), encoder.encode(value, f"{where}[{key!r}]")]
        for key, value in values.items()
    ]


def _decode_dict(decoder, payload, where):
    if type(payload) is not list or not all(
        type(pair) is list and len(pair) == 2 for pair in payload
    ):
        fail(where, payload, "a list of pairs")
    made = {}
    for key, value in payload:
        key = decoder.decode(key, f"a key of {where}")
        if key in made:
            fail(f"a key of {where}", key, "each once")
        made[key] = decoder.decode(value, f"{where}[{shown(key)}]")
    return made


def _decode_shared(decoder, payload, where):
    if type(payload) is not list and type(payload) is not dict:
        fail(where, payload, "a list, tuple or dict")
    return decoder.decode(payload, where)


def _of_lists(kind):
    return False  # `Encoder` writes lists and what is shared itself


KINDS = (
    Kind("float", of(float), lambda encoder, value, where: repr(value), _decode_float),
    Kind("floats", _of_lists, None, _decode_floats),
    Kind("rows", _of_lists, None, _decode_rows),
    Kind("tuple", of(tuple), _encode_items, _decode_tuple),
    Kind("dict", of(dict), _encode_dict, _decode_dict),
    Kind("frozenset", of(frozenset), _encode_set, _decode_set),
    Kind("shared", _of_lists, None, _decode_shared, shared=True),
    Kind("range", of(range), _encode_range, _decode_range),
)
