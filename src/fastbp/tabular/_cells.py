"""The cells of one column, whatever holds them: what they naturally are, as numbers, as categories.

`cells_of` takes a column of a data frame (a narwhals series) or of an array and returns one of the
classes below. Each has

- ``natural``: "number", "boolean", "date", "duration", "category" (declared by the dtype), "text"
  (text and all other values that are no numbers) or "nothing" (no cell has a value);
- ``numbers()``: an array of real numbers, NaN where a cell is missing;
- ``labels()``: ``(codes, values)``, the place of each cell's value in the list of distinct values,
  -1 where it is missing.

None, NaN, pandas' NA and NaT and the nulls of Arrow and polars are all missing cells.
"""

import datetime
import re
import sys
from decimal import Decimal
from numbers import Number, Real

import narwhals.stable.v2 as nw
import numpy as np

_NUMBERS = (int, float, bool, np.number, np.bool_, Decimal)
_DATES = (datetime.date, np.datetime64)  # datetime.datetime and pandas.Timestamp are dates too
_DURATIONS = (datetime.timedelta, np.timedelta64, datetime.time)
_NESTED = (nw.List, nw.Array, nw.Struct)
# A code, such as a postal code, not a number: its leading zeros are part of it.
_LEADING_ZERO = re.compile(r"\s*[+-]?0\d+\s*")
_EPOCH = datetime.datetime(1970, 1, 1)


class NotNumbersError(ValueError):
    """Cells that are no numbers, with one of them."""

    def __init__(self, example):
        super().__init__(example)
        self.example = example


# ---- values ----


def is_missing(value):
    """Tell whether one cell is missing."""
    try:
        return value is None or bool(value != value)
    except (TypeError, ValueError):  # pandas' NA has no truth value, arrays have many
        return type(value).__name__ == "NAType"


def plain(value):
    """A label that equals all labels of the same value: 1, 1.0, True and numpy.int8(1) are 1."""
    if isinstance(value, np.generic):
        value = value.item()
    if not isinstance(value, Number):
        return value
    if isinstance(value, complex):
        raise ValueError(f"Complex data not supported, such as {value!r}")
    if isinstance(value, int):
        return int(value)
    number = float(value)
    return int(number) if number.is_integer() else number


def text_of(value):
    """The text that stands for a label in a column of text: "1" for 1 and 1.0, "True" for True."""
    if type(value) is str:
        return value
    if isinstance(value, bytes):
        return value.decode(errors="backslashreplace")
    if isinstance(value, (bool, np.bool_)):
        return str(value)  # as in a file whose column has other text, too
    return str(plain(value))


def number_in(text):
    """The number that a text or another label is, NaN for blank text; None if it is no number."""
    if not isinstance(text, str):
        if isinstance(text, Real) or isinstance(text, Decimal):
            return float(text)
        if not isinstance(text, bytes):
            return None
        text = text.decode(errors="replace")
    if "_" in text:  # Python takes 1_000, no table means it
        return None
    if not text.strip():
        return np.nan
    try:
        return float(text)
    except ValueError:
        return None


def has_leading_zero(label):
    """Tell whether a label is a text such as "01234"."""
    return isinstance(label, str) and _LEADING_ZERO.fullmatch(label) is not None


def _seconds_in(value):
    """Seconds of a date, since 1970 in UTC, or of a duration or time of day."""
    if isinstance(value, (np.datetime64, np.timedelta64)):
        return _seconds(np.asarray(value).reshape(1))[0]
    if isinstance(value, datetime.time):
        return value.hour * 3600 + value.minute * 60 + value.second + value.microsecond / 1e6
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if not isinstance(value, datetime.datetime):
        value = datetime.datetime(value.year, value.month, value.day)
    return (value - _EPOCH).total_seconds() if value.tzinfo is None else value.timestamp()


def _seconds(values):
    """Seconds as float64, of an array of datetime64 or timedelta64 of any unit."""
    unit, count = np.datetime_data(values.dtype)
    if unit in ("Y", "M") or unit == "generic":
        values = values.astype(f"{values.dtype.kind}8[{'D' if values.dtype.kind == 'M' else 's'}]")
        unit, count = np.datetime_data(values.dtype)
    scale = np.timedelta64(count, unit) / np.timedelta64(1, "s")
    return np.where(np.isnat(values), np.nan, values.astype(np.int64) * scale)


# ---- classes of cells ----


class NumberCells:
    """Real numbers or booleans in an array; `missing`: a mask where NaN cannot tell, or None."""

    def __init__(self, values, missing=None, natural=None):
        self.values, self.missing = values, missing
        self.natural = natural or ("boolean" if values.dtype.kind == "b" else "number")

    def __len__(self):
        return len(self.values)

    def numbers(self):
        values = self.values
        if self.missing is not None:
            return np.where(self.missing, np.nan, values.astype(np.float64))
        if values.dtype.kind == "f" and values.dtype not in (np.float32, np.float64):
            with np.errstate(over="ignore"):
                return values.astype(np.float64)
        return values

    def labels(self):
        missing = self.missing
        if missing is None and self.values.dtype.kind == "f":
            missing = np.isnan(self.values)
            missing = missing if missing.any() else None
        present = self.values if missing is None else self.values[~missing]
        values, places = np.unique(present, return_inverse=True)
        codes = places
        if missing is not None:
            codes = np.full(len(self.values), -1, dtype=np.intp)
            codes[~missing] = places
        return codes, values.tolist()


class TimeCells(NumberCells):
    """Dates or durations, as seconds."""

    def __init__(self, seconds, natural):
        super().__init__(seconds, natural=natural)


class LabelCells:
    """Codes into a list of values: text, declared categories and objects."""

    def __init__(self, codes, values, natural):
        self._codes, self._values, self.natural = codes, values, natural
        if natural == "text" and not len(values):
            self.natural = "nothing"

    def __len__(self):
        return len(self._codes)

    def labels(self):
        return self._codes, self._values

    def numbers(self):
        if self.natural == "nothing":
            return np.full(len(self._codes), np.nan)
        numbers = np.empty(len(self._values) + 1)
        for code, value in enumerate(self._values):
            number = number_in(value)
            if number is None:
                raise NotNumbersError(value)
            numbers[code] = number
        numbers[-1] = np.nan  # the place of the code -1
        return numbers[self._codes]

    def example(self):
        """One of the values."""
        return self._values[0]

    def means_numbers(self):
        """Tell whether the values are text of numbers, and of no codes such as "01234"."""
        if any(has_leading_zero(value) for value in self._values):
            return False
        numbers = [np.nan]
        for value in self._values:
            numbers.append(number_in(value))
            if numbers[-1] is None:
                return False
        return not np.isnan(numbers).all()


class ObjectCells:
    """Python objects that are numbers, so that both forms are exact."""

    def __init__(self, values, natural):
        self._values, self.natural = values, natural

    def __len__(self):
        return len(self._values)

    def labels(self):
        return _factorized(self._values)

    def numbers(self):
        try:
            return self._values.astype(np.float64)  # None becomes NaN
        except (TypeError, OverflowError):  # pandas' NA; an integer beyond float64
            return np.array([np.nan if is_missing(v) else _float(v) for v in self._values], float)


def _float(value):
    try:
        return float(value)
    except OverflowError:  # an integer beyond float64
        return np.inf if value > 0 else -np.inf


# ---- objects ----


def _factorized(values):
    """Codes and distinct values of an array of objects; TypeError for one that is unhashable."""
    pandas = sys.modules.get("pandas")
    try:
        if pandas is not None:
            codes, distinct = pandas.factorize(values)
            return codes, list(distinct)
        return _factorized_by_dict(values.tolist())
    except TypeError:
        row = next(row for row, value in enumerate(values) if not _is_hashable(value))
        raise TypeError(
            f"a {type(values[row]).__name__} in row {row}: the argument must be a string, a real "
            "number or another value that can be a category"
        ) from None


def _factorized_by_dict(values):
    places = {}
    codes = np.fromiter((places.setdefault(v, len(places)) for v in values), np.intp, len(values))
    distinct, code_of = [], np.empty(len(places) + 1, dtype=np.intp)
    for place, value in enumerate(places):
        missing = is_missing(value)
        code_of[place] = -1 if missing else len(distinct)
        if not missing:
            distinct.append(value)
    return code_of[codes], distinct


def _is_hashable(value):
    try:
        hash(value)
    except TypeError:
        return False
    return True


def _of_objects(values):
    """Cells of an array of Python objects, by the types of the values."""
    types = set(map(type, values.tolist()))
    types -= {t for t in types if t is type(None) or t.__name__ in ("NAType", "NaTType")}
    if any(issubclass(t, (complex, np.complexfloating)) for t in types):
        raise ValueError("Complex data not supported")
    if types and all(issubclass(t, _NUMBERS) for t in types):
        booleans = all(issubclass(t, (bool, np.bool_)) for t in types)
        return ObjectCells(values, "boolean" if booleans else "number")
    codes, distinct = _factorized(values)
    for classes, natural in ((_DATES, "date"), (_DURATIONS, "duration")):
        if distinct and all(isinstance(value, classes) for value in distinct):
            seconds = np.array([*map(_seconds_in, distinct), np.nan])
            return TimeCells(seconds[codes], natural)
    return LabelCells(codes, distinct, "text")


# ---- arrays ----


def of_array(values):
    """Cells of a one-dimensional array of any dtype."""
    kind = values.dtype.kind
    if kind in "biuf":
        return NumberCells(values)
    if kind in "Mm":
        return TimeCells(_seconds(values), "date" if kind == "M" else "duration")
    if kind == "c":
        raise ValueError("Complex data not supported")
    if kind == "V":
        raise TypeError(f"dtype {values.dtype}: it takes numbers, text, dates or categories")
    return _of_objects(values.astype(object))


# ---- columns of data frames ----


def of_series(series):
    """Cells of a narwhals series."""
    dtype = series.dtype
    if isinstance(dtype, _NESTED):
        raise TypeError(f"dtype {dtype}: it takes numbers, text, dates or categories")
    if isinstance(dtype, nw.Boolean):
        return _of_integers(series, fill=False)
    if isinstance(dtype, nw.Decimal) or dtype in (nw.Int128, nw.UInt128):
        return NumberCells(series.cast(nw.Float64).to_numpy())
    if dtype.is_integer():
        return _of_integers(series, fill=0)
    if isinstance(dtype, (nw.String, nw.Categorical, nw.Enum)):
        codes, values = _dictionary(series)
        return LabelCells(codes, values, "text" if isinstance(dtype, nw.String) else "category")
    if isinstance(dtype, nw.Unknown):
        return _of_unknown(series)
    return of_array(series.to_numpy())


def of_arrow(array):
    """Cells of an Arrow array, as `of_series` finds them: common types without its detours."""
    import pyarrow as pa

    kind = array.type
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return NumberCells(array.to_numpy(zero_copy_only=False))
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        if not array.null_count:
            return NumberCells(array.to_numpy(zero_copy_only=False))
        missing = array.is_null().to_numpy(zero_copy_only=False)
        present = array.fill_null(pa.scalar(0).cast(kind))
        return NumberCells(present.to_numpy(zero_copy_only=False), missing)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return LabelCells(*_arrow_dictionary(array), "text")
    return of_series(nw.from_native(pa.chunked_array([array]), series_only=True))


def _of_integers(series, fill):
    if not series.null_count():
        return of_array(np.asarray(series.to_numpy()))
    return NumberCells(series.fill_null(fill).to_numpy(), series.is_null().to_numpy())


def _of_unknown(series):
    """Of a dtype that narwhals has no name for: pandas' periods, sparse columns, nulls."""
    native = series.to_native()
    if series.null_count() == len(series):
        return NumberCells(np.full(len(series), np.nan), natural="nothing")
    if type(getattr(native, "dtype", None)).__name__ == "PeriodDtype":
        native = native.dt.to_timestamp()
        return of_array(native.to_numpy())
    return of_array(np.asarray(series.to_numpy()))


def _dictionary(series):
    """Codes and distinct values of text or of declared categories."""
    implementation = series.implementation
    native = series.to_native()
    if implementation.is_pandas():
        codes, distinct = native.factorize()
        return codes, distinct.tolist()
    if implementation.is_pyarrow():
        return _arrow_dictionary(native)
    if implementation.is_polars() and _has_pyarrow():
        return _arrow_dictionary(native.to_arrow())
    return _factorized(np.array(series.to_list(), dtype=object))


def _has_pyarrow():
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        return False
    return True


def _arrow_dictionary(native):
    """The same of an Arrow array; its chunks may have dictionaries of their own."""
    import pyarrow

    chunks = native.chunks if isinstance(native, pyarrow.ChunkedArray) else [native]
    places, codes = {}, [np.empty(0, dtype=np.int64)]
    for chunk in chunks:
        if not pyarrow.types.is_dictionary(chunk.type):
            chunk = chunk.dictionary_encode()
        values = chunk.dictionary.to_pylist()
        place = [-1 if is_missing(v) else places.setdefault(v, len(places)) for v in values]
        indices = chunk.indices.cast(pyarrow.int64()).fill_null(-1)
        codes.append(np.array([*place, -1], dtype=np.int64)[indices.to_numpy(zero_copy_only=False)])
    return np.concatenate(codes), list(places)
