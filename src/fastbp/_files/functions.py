"""Parameters of constructors, of which some may be functions: a file notes their names only."""

import os
import sys
from collections import Counter, OrderedDict
from operator import is_

import numpy as np

from .checks import fail
from .container import FileError

# Those that may be functions.
MAY_BE_FUNCTIONS = ("loss", "learning_rate", "scoring")


def name_of(function):
    """What a file calls a function."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    module = getattr(function, "__module__", None) or type(function).__module__
    return f"{module}.{name}"


def encode_parameters(encoder, values, where):
    """Parameters, a dict, as JSON; of functions their names."""
    return {
        name: {"function": name_of(value)}
        if name in MAY_BE_FUNCTIONS and callable(value)
        else encoder.encode(reduced(value), f"{where}.{name}")
        for name, value in values.items()
    }


def reduced(value, levels=3):
    """A parameter in types of Python that mean the same to a fit.

    Numbers and texts of derived classes, such as members of an IntEnum, become the int, float or
    str that they equal; an OrderedDict or a Counter a dict; an Index or a Series of pandas a list;
    a Path its text. So do those in lists, tuples and dicts. What is of these types already stays
    the same object.
    """
    kind = type(value)
    if issubclass(kind, np.generic) or not levels:
        return value
    if issubclass(kind, os.PathLike):
        return os.fsdecode(value)
    for base, plain in ((str, str.__str__), (int, int.__int__), (float, float.__float__)):
        if issubclass(kind, base) and kind not in (base, bool):
            return plain(value)
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(value, (pandas.Index, pandas.Series)):
        return value.tolist()
    if kind in (list, tuple):
        made = kind(reduced(item, levels - 1) for item in value)
        return value if all(map(is_, made, value)) else made
    if kind in (dict, OrderedDict, Counter):
        pairs = [tuple(reduced(part, levels - 1) for part in pair) for pair in value.items()]
        same = all(k is key and v is value[key] for (k, v), key in zip(pairs, value, strict=True))
        return value if same and kind is dict else dict(pairs)
    return value


def decode_parameters(decoder, payload, where):
    """The opposite; the caller of `load` gives functions back.

    Returns
    -------
    values : dict
    functions : dict
        The names of those that were functions.
    """
    functions = {
        name: value["function"]
        for name, value in payload.items()
        if name in MAY_BE_FUNCTIONS and type(value) is dict and value.keys() == {"function"}
    }
    _check_given(decoder.replacements, functions, where)
    decoder.replaced.update(functions)
    values = {
        name: decoder.replacements[name]
        if name in functions
        else decoder.decode(value, f"{where}.{name}")
        for name, value in payload.items()
    }
    return values, functions


def _check_given(replacements, functions, where):
    """Raise `FileError` unless there is a function in the place of each."""
    for name, function in functions.items():
        if type(function) is not str:
            fail(f"{where}.{name}", function, "the name of a function")
        if name in replacements and not callable(replacements[name]):
            fail(name, replacements[name], f"a function, in the place of {_shown(function)}")
    absent = [name for name in functions if name not in replacements]
    if absent:
        names = [f"the function {_shown(functions[name])} as its {name}" for name in absent]
        had = " and ".join(names)
        takes = ", ".join(f"{name}=function" for name in absent)
        raise FileError(
            f"{where} had {had}, which a file does not hold: it takes load(path, {takes})"
        )


def _shown(name):
    """A name of a file as a message has it, without what a terminal would obey."""
    return repr(name[:200])[1:-1]
