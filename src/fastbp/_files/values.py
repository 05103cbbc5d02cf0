"""Values as JSON and tensors, by a closed table of types.

None, booleans, integers, texts, finite floats and lists stand for themselves. All else is an object
with one entry, ``{tag: payload}``, of which `Kind` is a row: the tag decides which function of this
program rebuilds the value and checks it. Nothing in a file is ever called, imported or executed.

What occurs twice, such as a net and the net of its optimizer, is written once: arrays and other
`shared` kinds have numbers, in the order in which they are complete, and ``{"same": number}``
stands for the second. A list, tuple or dict has one if it does occur twice: ``{"shared": ...}``.
"""

import functools
import json
import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .checks import fail, shown
from .container import FileError, without_doubles
from .limits import Limits

# Lists of fewer floats are readable numbers in the text.
_FEWEST_OF_A_TENSOR = 16
_PLAIN = frozenset((type(None), bool, int, str))


class Kind(NamedTuple):
    """One row of the table: a type, how it is written, and how it is rebuilt and checked.

    Attributes
    ----------
    tag : str
    is_of : callable
        type of a value -> whether it is of this kind.
    encode : callable
        (encoder, value, where) -> what JSON holds.
    decode : callable
        (decoder, what JSON held, where) -> the value; `FileError`, ValueError, TypeError or
        OverflowError where that is not what it should be.
    shared : bool
        One object in two places stays one.
    """

    tag: str
    is_of: Callable
    encode: Callable
    decode: Callable
    shared: bool = False


def of(*classes):
    """Whether a type is one of these, not a class that is derived from them."""
    return lambda kind: kind in classes


class Encoder:
    """Makes the text and the tensors of a value.

    Parameters
    ----------
    kinds : sequence of Kind

    Attributes
    ----------
    tensors : dict of ndarray
    limits : Limits
    """

    def __init__(self, kinds):
        self._kinds, self.tensors = kinds, {}
        self.limits = Limits(lambda text: TypeError(f"{text}."))
        # By identity: the number and the size of what is written, and what is to get a number.
        self._numbers, self._kept, self._repeated = {}, [], None

    def encode(self, value, where):
        """What JSON holds of a value; `where` is what messages call it."""
        kind = type(value)
        if kind is int:
            self.limits.integer(value, where)
        if kind in _PLAIN or (kind is float and math.isfinite(value)):
            return value
        if id(value) in self._numbers:
            number, size = self._numbers[id(value)]
            self.limits.enter_again(*size, where)
            return {"same": number}
        if self._repeated is None:
            self._repeated = _repeated(value)
        self.limits.enter(1, _size(value), where)
        self.limits.depth += 1
        try:
            if id(value) in self._repeated:
                self._repeated.remove(id(value))
                return {"shared": self._numbered(self.encode, value, where)}
            return self._tagged(value, kind, where)
        finally:
            self.limits.depth -= 1

    def _numbered(self, encode, value, where):
        before = self.limits.begin()
        payload = encode(value, where)
        self._numbers[id(value)] = len(self._kept), self.limits.end(before)
        self._kept.append(value)  # while it lives no other has its id
        return payload

    def _tagged(self, value, kind, where):
        if kind is list:
            return self._list(value, where)
        for row in self._kinds:
            if row.is_of(kind):
                break
        else:
            raise TypeError(
                f"{where or 'obj'} is of type {kind.__module__}.{kind.__qualname__}, which "
                f"fastbp.save cannot write: {shown(value)}. It takes "
                f"{_list_of(self._kinds)}."
            )
        if row.shared:
            encode = functools.partial(row.encode, self)
            return {row.tag: self._numbered(encode, value, where)}
        return {row.tag: row.encode(self, value, where)}

    def _list(self, values, where):
        """A list; many floats are a vector, many rows of floats are a matrix."""
        if len(values) >= _FEWEST_OF_A_TENSOR:
            if _are_floats(values):
                return {"floats": self.tensor(np.array(values))}
            if _are_rows(values):
                return {"rows": self.tensor(np.array(values))}
        return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(values)]

    def tensor(self, array):
        """Put an array of numbers among the tensors: its name there."""
        name = f"t{len(self.tensors)}"
        little = array.dtype.newbyteorder("<")
        self.tensors[name] = np.ascontiguousarray(array, dtype=little).reshape(array.shape)
        return name

    def mapping(self, values, where):
        """A dict with texts as keys, which are names that this program gave."""
        return {name: self.encode(value, f"{where}.{name}") for name, value in values.items()}


def _size(value):
    return 1 + (len(value) if type(value) in (list, tuple, dict, frozenset) else 0)


def _repeated(obj):
    """Identities of the lists, tuples and dicts that occur more than once in it."""
    seen, twice, left = set(), set(), [obj]
    while left:
        value = left.pop()
        if type(value) is np.ndarray and value.dtype == object:
            left.extend(value.ravel().tolist())
        elif type(value) in (list, tuple, dict) and value:
            if id(value) in seen:
                twice.add(id(value))
                continue
            seen.add(id(value))
            left.extend(value.values() if type(value) is dict else value)
    return twice


def _list_of(kinds):
    hidden = ("float", "floats", "rows", "shared")
    tags = [row.tag for row in kinds if row.tag not in hidden]
    return f"None, bool, int, float, str, list, {', '.join(tags)}"


class Decoder:
    """Makes a value of the text and the tensors of a file.

    Parameters
    ----------
    kinds : sequence of Kind
    tensors : dict of ndarray
    replacements : dict
        What takes the place of functions, by the names of the parameters.

    Attributes
    ----------
    limits : Limits
    """

    def __init__(self, kinds, tensors, replacements):
        self._kinds = {row.tag: row for row in kinds}
        self._tensors, self._used = tensors, set()
        self.replacements, self.replaced = replacements, set()
        self._shared, self.limits = [], Limits(FileError)

    def decode(self, value, where):
        """The value that JSON holds."""
        kind = type(value)
        if kind is int:
            self.limits.integer(value, where)
        if kind in _PLAIN or kind is float:
            return value
        self.limits.enter(1, len(value), where)
        self.limits.depth += 1
        try:
            return self.items(value, where) if kind is list else self._of_tag(value, where)
        finally:
            self.limits.depth -= 1

    def items(self, values, where):
        """The list of the values that a list holds."""
        return [self.decode(item, f"{where}[{i}]") for i, item in enumerate(values)]

    def _of_tag(self, value, where):
        if len(value) != 1:
            fail(where, value, "one entry, the tag of a type")
        ((tag, payload),) = value.items()
        if tag == "same":
            if type(payload) is not int or not 0 <= payload < len(self._shared):
                fail(where, payload, "the number of something before it")
            made, (depth, n_values) = self._shared[payload]
            self.limits.enter_again(depth - 1, n_values, where)  # one is counted already
            return made
        if tag not in self._kinds:
            raise FileError(f"{where or 'its value'} has the tag {shown(tag)}, which is unknown")
        row, before = self._kinds[tag], self.limits.begin()
        try:
            made = row.decode(self, payload, where)
        except FileError:
            raise
        except (ValueError, TypeError, ArithmeticError, LookupError) as error:
            raise FileError(f"{where or 'its value'}, {tag}: {error}") from error
        size = self.limits.end(before)
        if row.shared:
            self._shared.append((made, size))
        return made

    def tensor(self, name, where):
        """The tensor of this name, which belongs to whoever asks first."""
        if type(name) is not str or name not in self._tensors or name in self._used:
            fail(where, name, "the name of a tensor that is not used yet")
        self._used.add(name)
        return self._tensors[name]

    def finish(self):
        """Check that all of the file was used."""
        left = sorted(set(self._tensors) - self._used)
        if left:
            raise FileError(f"nothing says what the tensor {left[0][:80]!r} is")


def text_of(value):
    """The JSON text of what an `Encoder` made."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def value_of(text):
    """The opposite; `FileError` if the text is no JSON, or has what `text_of` does not write."""
    try:
        return json.loads(
            text, object_pairs_hook=without_doubles, parse_constant=_refuse, parse_float=_finite
        )
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileError(f"its content is no JSON text of fastbp.save ({error})") from error


def _refuse(text):
    raise FileError(f"its content has the number {text}")


def _finite(text):
    number = float(text)
    return number if math.isfinite(number) else _refuse(text[:20])


def _are_floats(values):
    return all(type(value) is float for value in values)


def _are_rows(values):
    width = len(values[0]) if type(values[0]) is tuple else 0
    rows = (type(row) is tuple and len(row) == width and _are_floats(row) for row in values)
    return width > 0 and all(rows)
