"""What a value in a file must be; the same checks look at what is saved and at what is loaded."""

import math
import reprlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .container import FileError

_LARGEST = 2**62


class _Shown(reprlib.Repr):
    """A value in a message: short, in a time that does not depend on what is in it."""

    def repr_ndarray(self, array, level):
        return f"an array of dtype {array.dtype} and shape {array.shape}"

    repr_memmap = repr_ndarray

    def repr_instance(self, value, level):
        if hasattr(value, "__dict__"):  # its own repr may show all of its parts
            return f"an object of the class {type(value).__qualname__}"
        return super().repr_instance(value, level)


shown = _Shown().repr


def fail(where, value, takes):
    """Raise `FileError`: what it is about, what it got and what it takes."""
    raise FileError(f"{where or 'its value'} is {shown(value)}: it takes {takes}")


class Takes(NamedTuple):
    """What a place takes, in words and as a function from a value to a truth value."""

    text: str
    fits: Callable[[Any], bool]

    def check(self, where, value):
        """The value; `FileError` if it does not fit."""
        if not self.fits(value):
            fail(where, value, self.text)
        return value

    def or_none(self):
        """The same, and None."""
        return Takes(f"{self.text} or None", lambda value: value is None or self.fits(value))


def integer(least, most=_LARGEST):
    """An int from `least` to `most`."""
    return Takes(
        f"an integer from {least} to {most}",
        lambda value: type(value) is int and least <= value <= most,
    )


def one_of(values):
    """One of these, of the same type."""
    values = tuple(values)
    return Takes(
        f"one of {', '.join(map(repr, values))}",
        lambda value: any(type(value) is type(v) and value == v for v in values),
    )


def list_of(item, kind=list):
    """A list or tuple of such items."""
    return Takes(
        f"a {kind.__name__} of which each is {item.text}",
        lambda value: type(value) is kind and all(map(item.fits, value)),
    )


def vector_of(size=None):
    """A vector of float32 or float64, of so many numbers."""
    return Takes(
        f"a vector of float32 or float64{'' if size is None else f' of {size} numbers'}",
        lambda value: (
            is_array(value, "f", 1)
            and value.dtype.itemsize in (4, 8)
            and size in (None, value.size)
        ),
    )


def is_array(value, kinds, ndim):
    """Whether it is an array of one of these kinds of dtype and so many dimensions."""
    array = type(value) in (np.ndarray, np.memmap)  # joblib can map the arrays of an estimator
    return array and value.dtype.kind in kinds and value.ndim == ndim


def _is_number(value):
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


BOOLEAN = Takes("True or False", lambda value: type(value) is bool)
TEXT = Takes("text", lambda value: type(value) is str)
COUNT = integer(0)
SIZE = integer(1, 2**31 - 1)
FLOAT = Takes("a float", lambda value: isinstance(value, float))
NUMBER = Takes("a number", _is_number)
FINITE = Takes("a finite number", lambda value: _is_number(value) and math.isfinite(value))
FLOATS = list_of(FLOAT)
BINARY = Takes("a vector of booleans", lambda value: is_array(value, "b", 1))
LABELS = Takes(
    "a vector of labels", lambda value: is_array(value, "biufSUOMm", 1) and value.size > 0
)
NAMES = Takes(
    "a vector of texts",
    lambda value: is_array(value, "O", 1) and all(isinstance(name, str) for name in value),
)


def mapping(where, value, required, optional=()):
    """A dict of a file with these keys; `FileError` if it is none, or has others."""
    if type(value) is not dict or not all(type(key) is str for key in value):
        fail(where, value, "a mapping from names to values")
    for name in required:
        if name not in value:
            raise FileError(f"{where} has no {name!r}")
    for name in value:
        if name not in required and name not in optional:
            raise FileError(f"{where} has {reprlib.repr(name)}, which is unknown")
    return value


def attributes(where, state, takes):
    """Check attributes, a dict, by a table of what each takes; others are unknown."""
    for name, value in state.items():
        if name not in takes:
            raise FileError(f"{where} has {reprlib.repr(name)}, which is unknown")
        takes[name].check(f"{where}.{name}", value)
