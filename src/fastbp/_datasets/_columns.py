"""Columns of numbers: which types they may have, and how they become NumPy's."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# Bytes of rows that are written together, so that they stay in the processor's cache meanwhile.
_CACHED = 64 << 10
# Labels that a column of a classifier may have.
_MOST_LABELS = 1 << 16
# What a feature with nulls can be given to.
_TAKE_GAPS = " TabularClassifier and TabularRegressor take gaps."


def is_number(kind):
    """Tell whether a column of this type holds numbers or booleans."""
    types = pa.types
    if types.is_dictionary(kind):
        return is_number(kind.value_type)
    return (
        types.is_floating(kind)
        or types.is_integer(kind)
        or types.is_boolean(kind)
        or types.is_decimal(kind)
    )


def numpy_dtype(kind):
    """The dtype that NumPy has for such a column of numbers; float64 for decimals."""
    if pa.types.is_dictionary(kind):
        return numpy_dtype(kind.value_type)
    return np.dtype(np.float64) if pa.types.is_decimal(kind) else np.dtype(kind.to_pandas_dtype())


def common_dtype(kinds):
    """float32 if that holds all columns as NumPy sees it, else float64, as for rows in memory."""
    dtype = np.result_type(*map(numpy_dtype, kinds))
    return np.dtype(np.float32 if dtype == np.float32 else np.float64)


def refuse_null(name, array, place, hint=_TAKE_GAPS):
    """Raise ValueError if a column has a null, saying where; `hint`: what takes some."""
    if array.null_count:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise ValueError(
            f"Column {name!r} of the dataset has a null in {place.named(row)}: it takes a value in "
            f"every row.{hint}"
        )


def plain(array):
    """An array of the values themselves, where it was one of the numbers of a dictionary."""
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def labels_of(array):
    """Labels of which equal ones are equal for Arrow, too: no zero is negative."""
    kind = array.type
    if not pa.types.is_floating(kind) or pa.types.is_float16(kind):  # which Arrow cannot add
        return array
    return pc.add(array, pa.scalar(0.0, kind))


def check_number_of_labels(n_labels, what):
    """Raise ValueError if a column has more distinct labels than any classes are."""
    if n_labels > _MOST_LABELS:
        raise ValueError(
            f"{what} has more than {_MOST_LABELS:,} distinct values: a classifier takes labels "
            "of classes."
        )


def numbers(name, array, place):
    """A column as a NumPy array of numbers or booleans.

    Whole numbers of 64 bits become float64, as in an array of several columns.
    """
    array = plain(array)  # which has the nulls of a dictionary, too
    refuse_null(name, array, place)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    return _without_long(array.to_numpy(zero_copy_only=False))


def _without_long(values):
    return values.astype(np.float64, copy=False) if values.dtype.itemsize == 8 else values


def runs_of(kinds):
    """Neighbours that `matrix` takes together, as slices: columns of one type of numbers.

    What Arrow cannot put into a matrix, booleans and decimals for instance, stands alone.
    """
    runs = []
    for number, kind in enumerate(kinds):
        if runs and kind == kinds[number - 1] and _is_plain_number(kind):
            runs[-1] = slice(runs[-1].start, number + 1)
        else:
            runs.append(slice(number, number + 1))
    return runs


def _is_plain_number(kind):
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def matrix(names, batch, place):
    """The columns of a batch, all of one type, as those of a NumPy array of rows and columns.

    One call of pyarrow for all of them takes a fraction of the time of one for each.
    """
    if len(names) == 1:
        return numbers(names[0], batch.column(0), place)[:, np.newaxis]
    try:
        joined = batch.to_tensor(row_major=False)
    except pa.ArrowTypeError:  # it has no place for a null
        for name, column in zip(names, batch.columns, strict=True):
            refuse_null(name, column, place)
        raise
    return _without_long(joined.to_numpy())


def write_columns(columns, out):
    """Let the columns of a matrix be those of another, whose rows are contiguous."""
    step = max(_CACHED // (columns.shape[1] * out.itemsize), 1)
    for row in range(0, len(out), step):
        out[row : row + step] = columns[row : row + step]
