"""Equality of everything: where two objects differ, in type, dtype or a bit."""

import struct
import types

import numpy as np

import fastbp

# Made anew where it is needed, and never read by anyone before.
NOT_SAVED = ("_params", "_steady", "_rates", "_core_encoding")


def difference(a, b, where="object"):
    """Where two objects differ, in type, dtype or a bit; None if they do not."""
    if type(a) is not type(b):
        return f"{where}: {type(a)} and {type(b)}"
    if isinstance(a, np.ndarray):
        if a.dtype != b.dtype or a.shape != b.shape:
            return f"{where}: {a.dtype} {a.shape} and {b.dtype} {b.shape}"
        if a.dtype == object:
            return difference(a.tolist(), b.tolist(), where)
        return None if a.tobytes() == b.tobytes() else f"{where}: {a} and {b}"
    if isinstance(a, np.random.RandomState):
        return difference(a.get_state(legacy=False), b.get_state(legacy=False), where)
    if isinstance(a, fastbp.Network):
        return difference([*a.__reduce__()[1]], [*b.__reduce__()[1]], where)
    if isinstance(a, float):
        return None if struct.pack("d", a) == struct.pack("d", b) else f"{where}: {a} and {b}"
    if isinstance(a, (list, tuple)):
        return _first(len(a) == len(b), where, [(f"[{i}]", *p) for i, p in enumerate(zip(a, b))])  # noqa: B905
    if isinstance(a, dict):
        if [*map(repr, a)] != [*map(repr, b)]:
            return f"{where}: the keys {[*a]} and {[*b]}"
        return _first(True, where, [(f".{k}", v, w) for k, v, w in zip(a, a.values(), b.values())])  # noqa: B905
    if hasattr(a, "__dict__") and not isinstance(a, (type, types.FunctionType)):
        return difference(attributes(a), attributes(b), where)
    return None if a == b else f"{where}: {a} and {b}"


def attributes(made):
    """All that are not the defaults of the class."""
    default = type(made)
    return {
        name: value
        for name, value in sorted(vars(made).items())
        if name not in NOT_SAVED and value is not getattr(default, name, NOT_SAVED)
    }


def _first(same_length, where, pairs):
    if not same_length:
        return f"{where}: lengths"
    return next((d for name, v, w in pairs if (d := difference(v, w, where + name))), None)
