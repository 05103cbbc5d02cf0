"""Dates, times and other labels of tables as rows of the table of `values`.

A time zone becomes its offset from UTC: two times that are the same moment are the same label.
"""

import datetime
import sys
import uuid

import numpy as np

from .checks import fail
from .container import FileError
from .values import Kind, of


def _text(payload, where):
    if type(payload) is not str or len(payload) > 200:
        fail(where, payload, "a text")
    return payload


def _of_text(made):
    """Rebuild from a text."""
    return lambda decoder, payload, where: made(_text(payload, where))


def _integers(payload, where, count):
    if (
        type(payload) is not list
        or len(payload) != count
        or not all(type(n) is int for n in payload)
    ):
        fail(where, payload, f"a list of {count} integers")
    return payload


def _isoformat(encoder, value, where):
    return value.isoformat()


def _encode_timedelta(encoder, value, where):
    return [value.days, value.seconds, value.microseconds]


def _decode_timedelta(decoder, payload, where):
    return datetime.timedelta(*_integers(payload, where, 3))


def _decode_bytes(decoder, payload, where):
    if type(payload) is not str:
        fail(where, payload, "hexadecimal digits")
    return bytes.fromhex(payload)


# ---- pandas, where it is installed ----


def _of_pandas(name):
    """Whether a type is the one of this name in pandas."""

    def is_of(kind):
        pandas = sys.modules.get("pandas")
        return pandas is not None and kind is getattr(pandas, name, None)

    return is_of


def _pandas(where):
    try:
        import pandas
    except ImportError as error:
        raise FileError(f"{where} is a label of pandas, which is not installed") from error
    return pandas


def _encode_timestamp(encoder, value, where):
    offset = None
    if value.tzinfo is not None:
        offset = round(value.utcoffset().total_seconds())
        value = value.tz_convert("UTC").tz_localize(None)
    return [value.asm8.astype("int64").item(), value.unit, offset]


def _decode_timestamp(decoder, payload, where):
    pandas = _pandas(where)
    count, unit, offset = _units(payload, where, 3)
    made = pandas.Timestamp(np.datetime64(count, unit)).as_unit(unit)
    if offset is None:
        return made
    _integers([offset], where, 1)
    zone = datetime.timezone(datetime.timedelta(seconds=offset))
    return made.tz_localize("UTC").tz_convert(zone)


def _units(payload, where, length):
    if (
        type(payload) is not list
        or len(payload) != length
        or payload[1] not in ("s", "ms", "us", "ns")
    ):
        fail(where, payload, "a count and its unit")
    count = _integers(payload[:1], where, 1)[0]
    if not -(2**63) < count < 2**63:
        fail(where, count, "an integer of 64 bits")
    return payload


def _encode_pandas_timedelta(encoder, value, where):
    return [value.asm8.astype("int64").item(), value.unit]


def _decode_pandas_timedelta(decoder, payload, where):
    count, unit = _units(payload, where, 2)
    return _pandas(where).Timedelta(np.timedelta64(count, unit)).as_unit(unit)


def _encode_interval(encoder, value, where):
    return [encoder.encode(value.left, where), encoder.encode(value.right, where), value.closed]


def _decode_interval(decoder, payload, where):
    if type(payload) is not list or len(payload) != 3:
        fail(where, payload, "two ends, and which of them belong to the interval")
    left, right = (decoder.decode(end, where) for end in payload[:2])
    return _pandas(where).Interval(left, right, closed=_text(payload[2], where))


_YEARS = "a period in the years 1 to 9999"


def _encode_period(encoder, value, where):
    if not 1 <= value.year <= 9999:
        raise ValueError(f"{where or 'obj'} is {value!r}: a file takes {_YEARS}.")
    return [value.ordinal, value.freqstr]


def _decode_period(decoder, payload, where):
    if type(payload) is not list or len(payload) != 2:
        fail(where, payload, "an ordinal and its frequency")
    ordinal = _integers(payload[:1], where, 1)[0]
    made = _pandas(where).Period(ordinal=ordinal, freq=_text(payload[1], where)[:20])
    if not 1 <= made.year <= 9999:  # also of NaT, which has none
        fail(where, payload, _YEARS)
    return made


KINDS = (
    Kind("date", of(datetime.date), _isoformat, _of_text(datetime.date.fromisoformat)),
    Kind("datetime", of(datetime.datetime), _isoformat, _of_text(datetime.datetime.fromisoformat)),
    Kind("time", of(datetime.time), _isoformat, _of_text(datetime.time.fromisoformat)),
    Kind("timedelta", of(datetime.timedelta), _encode_timedelta, _decode_timedelta),
    Kind("bytes", of(bytes), lambda encoder, value, where: value.hex(), _decode_bytes),
    Kind("uuid", of(uuid.UUID), lambda e, v, w: str(v), _of_text(uuid.UUID)),
    Kind("pandas.Timestamp", _of_pandas("Timestamp"), _encode_timestamp, _decode_timestamp),
    Kind(
        "pandas.Timedelta",
        _of_pandas("Timedelta"),
        _encode_pandas_timedelta,
        _decode_pandas_timedelta,
    ),
    Kind("pandas.Interval", _of_pandas("Interval"), _encode_interval, _decode_interval),
    Kind("pandas.Period", _of_pandas("Period"), _encode_period, _decode_period),
)
