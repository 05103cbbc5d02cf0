"""From any table to named columns of known kinds; every error names the column.

`fit_schema` decides what each column is, a number or a category, and remembers it in a `Schema`;
`read_columns` reads another table by it. A kind follows from the type of the column (of the values,
where the type is "object") or from ``categorical_features``:

- numbers of any width, decimals, dates (seconds since 1970), durations and times of day (seconds)
  are numbers, and so is text that holds nothing but numbers, unless some have leading zeros;
- declared categories (of pandas, polars, Arrow), booleans, all other text, and objects that can be
  hashed are categories. Categories are matched by value, never by code. In a column with text a
  number or a boolean stands for its text.

Missing cells (None, NaN, NaT, nulls) are NaN in numbers and the code -1 in categories. Infinite
numbers are refused.
"""

from collections import Counter
from dataclasses import dataclass

import narwhals.stable.v2 as nw
import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._datasets import is_dataset
from .._warnings import warn
from . import _cells

_TIMES = ("date", "duration")


@dataclass
class Column:
    """Some rows of one column.

    Attributes
    ----------
    name : str
    kind : {"number", "category"}
    values : ndarray of shape (n_rows,)
        Of a column of numbers: real numbers, finite, or NaN where missing. Of categories: places
        in `labels`, -1 where missing.
    labels : list or None
        The distinct values of categories; other rows may have more, or fewer.
    """

    name: str
    kind: str
    values: np.ndarray
    labels: list | None = None

    def __len__(self):
        return len(self.values)

    def take(self, rows):
        """The column at these rows: indices, a mask or a slice."""
        return Column(self.name, self.kind, self.values[rows], self.labels)


@dataclass
class Schema:
    """The columns of a table that was fitted on, without its rows.

    Attributes
    ----------
    names : list of str
        "x0", "x1" and so on where the table has no names of its own.
    named : bool
        Whether it has names, all of them text, by which columns are matched.
    kinds : list of {"number", "date", "duration", "category", "nothing"}
        "nothing" is a column without a value.
    with_text : list of bool
        Whether the labels of a column of categories are text.
    """

    names: list
    named: bool
    kinds: list
    with_text: list

    @property
    def n_columns(self):
        return len(self.names)

    @property
    def is_categorical(self):
        """ndarray of bool of shape (n_columns,)."""
        return np.array([kind == "category" for kind in self.kinds])


def fit_schema(estimator, X, categorical_features="from_dtype"):
    """Find the kinds of the columns of X, and read them.

    Parameters
    ----------
    estimator : estimator
        Gets ``n_features_in_`` and, where the columns have names, ``feature_names_in_``.
    X : data frame, Arrow table or array-like of shape (n_rows, n_columns)
        Whatever narwhals or NumPy takes.
    categorical_features : {"from_dtype"}, None, or array-like of bool, int or str
        A mask, the places or the names of the columns that are categories; the others are then
        numbers if they can be, else categories too. None: every column is one of numbers.

    Returns
    -------
    schema : Schema
    columns : list of Column

    Raises
    ------
    TypeError, ValueError
        If X is no table, or a column cannot be what it has to be.

    Warns
    -----
    UserWarning
        Names the columns of dates, which are taken as numbers.
    """
    table = _opened(estimator, X)
    learn_names(estimator, table)
    asked = categorical_mask(table, categorical_features)
    names, named = table.names, table.named
    schema, columns = Schema(names, named, [], []), []
    for place, name in enumerate(names):
        with NamingColumn(table, place):
            cells = table.cells(place)
            asked_here = asked if asked is None else asked[place]
            kind = _kind_for(cells, asked_here, categorical_features is not None)
            column, with_text = _column(name, kind, cells, None)
        schema.kinds.append(kind)
        schema.with_text.append(with_text)
        columns.append(column)
    _tell_dates(schema)
    return schema, columns


def learn_names(estimator, table):
    """Give the estimator the number of columns and, if they have names, these."""
    validate_data(estimator, table.native, skip_check_array=True)
    if table.named:  # before 1.9 scikit-learn does not know all containers
        estimator.feature_names_in_ = np.array(table.names, dtype=object)


def read_columns(estimator, schema, X):
    """Read the columns of another table, in the order and of the kinds of the fitted one.

    Parameters
    ----------
    estimator : estimator
        As `fit_schema` left it.
    schema : Schema
    X : data frame, Arrow table or array-like of shape (n_rows, n_columns)
        Columns with names are matched by them, in any order; columns without by their places.

    Returns
    -------
    list of Column

    Raises
    ------
    TypeError, ValueError
        If X is no table, columns are absent, there are more, or one holds what its kind excludes.
    """
    table = _opened(estimator, X)
    places = list(range(schema.n_columns))
    if schema.named and table.named and sorted(schema.names) == sorted(table.names):
        place_of = {name: place for place, name in enumerate(table.names)}
        places = [place_of[name] for name in schema.names]
    else:
        validate_data(estimator, table.native, reset=False, skip_check_array=True)
    return read_places(schema, table, places)


def read_places(schema, table, places):
    """Read the columns at these places of a table, in the order of the schema."""
    columns = []
    for place, name, kind, text in zip(
        places, schema.names, schema.kinds, schema.with_text, strict=True
    ):
        with NamingColumn(table, place):
            columns.append(_column(name, kind, table.cells(place), text)[0])
    return columns


# ---- tables ----


class _Frame:
    """A data frame; `native` is what scikit-learn looks at."""

    def __init__(self, frame):
        self._frame, self.native = frame, frame.to_native()
        columns = list(frame.columns)
        self.named = all(isinstance(name, str) for name in columns)
        self.names = [(str.__str__ if isinstance(n, str) else str)(n) for n in columns]
        self._keys, self.shape = columns, frame.shape

    def cells(self, place):
        return _cells.of_series(self._frame[:, place])

    def where(self, place):
        return repr(self._keys[place])


class Batch:
    """Columns of an Arrow record batch, with rows or without."""

    named = True

    def __init__(self, batch, names):
        self._batch, self.names = batch, names
        self.shape = batch.num_rows, len(names)

    @property
    def native(self):
        """An Arrow table, which scikit-learn looks at."""
        import pyarrow

        return pyarrow.Table.from_batches([self._batch]).select(self.names)

    def cells(self, place):
        return _cells.of_arrow(self._batch.column(self.names[place]))

    def where(self, place):
        return repr(self.names[place])


class _Array:
    """A two-dimensional array."""

    def __init__(self, values):
        self.native, self.shape, self.named = values, values.shape, False
        self.names = [f"x{place}" for place in range(values.shape[1])]

    def cells(self, place):
        return _cells.of_array(self.native[:, place])

    def where(self, place):
        return f"{place} (counted from 0)"


def _opened(estimator, X):
    """The table that X is; errors as scikit-learn has them if it is none."""
    X = nw.to_native(X, pass_through=True)
    if type(X).__module__.startswith("pyarrow") and hasattr(X, "to_struct_array"):
        X = _arrow_table(X)
    if nw.dependencies.is_into_dataframe(X):
        refuse_repeated_names(X)
        table = _Frame(nw.from_native(X, eager_only=True))
        if 0 in table.shape:
            check_array(np.empty(table.shape), estimator=estimator)  # raises
        return table
    if is_dataset(X):
        raise TypeError(
            f"X is a {type(X).__name__}, whose rows are not in memory: it takes a table with rows, "
            "such as X.to_table()."
        )
    if _is_lazy(X):
        raise TypeError(
            f"X is a {type(X).__name__}, whose rows are not computed yet: it takes a table with "
            "rows, such as X.collect()."
        )
    return _Array(
        check_array(
            _array_like(X), dtype=None, ensure_all_finite=False, estimator=estimator, input_name="X"
        )
    )


def _arrow_table(X):
    """An Arrow table of a table or of one batch of rows."""
    import pyarrow

    return pyarrow.Table.from_batches([X]) if isinstance(X, pyarrow.RecordBatch) else X


def _is_lazy(X):
    frame = nw.from_native(X, pass_through=True)
    return isinstance(frame, nw.LazyFrame)


def _array_like(X):
    """X without what an array would lose: the mask, and the types of values in lists."""
    if isinstance(X, np.ma.MaskedArray):
        values = X.data.astype(np.float64 if X.dtype.kind in "biuf" else object)
        values[np.ma.getmaskarray(X)] = np.nan
        return values
    if isinstance(X, np.ndarray) and X.dtype.kind == "V":
        raise TypeError(
            f"X is an array of dtype {X.dtype}: it takes an array of numbers, text or objects with "
            "two dimensions, or a data frame, such as pandas.DataFrame(X)."
        )
    if isinstance(X, (list, tuple)):
        array = np.asarray(X)
        return array if array.dtype.kind in "biufcMm" else np.array(X, dtype=object)
    return X


def refuse_repeated_names(X):
    names = list(getattr(X, "column_names", None) or X.columns)
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(
            f"X has several columns of the same name: {repeated}. Names of columns must differ."
        )


class NamingColumn:
    """Errors of what is done within say which column of X they are about."""

    def __init__(self, table, place):
        self._table, self._place = table, place

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if isinstance(error, (TypeError, ValueError)):
            general = TypeError if isinstance(error, TypeError) else ValueError
            where = self._table.where(self._place)
            raise general(f"X, column {where}: {error}.") from error


# ---- kinds ----


def categorical_mask(table, categorical_features):
    """Which columns were said to be categories; None if that follows from their types."""
    n_columns, names = table.shape[1], table.names if table.named else None
    if isinstance(categorical_features, str) and categorical_features == "from_dtype":
        return None
    mask = np.zeros(n_columns, dtype=bool)
    if categorical_features is None:
        return mask
    asked = np.asarray(categorical_features)
    if asked.ndim != 1:
        raise ValueError(
            f"categorical_features={categorical_features!r}: it takes 'from_dtype', None, or an "
            "array-like of bool, int or str."
        )
    if asked.size == 0:
        return mask
    kinds = {type(value).__name__ for value in asked.tolist()}
    if kinds == {"bool"}:
        if asked.shape != (n_columns,):
            raise ValueError(
                "categorical_features set as a boolean mask must have shape (n_features,) = "
                f"({n_columns},), got: {asked.shape}"
            )
        return asked.astype(bool)
    if kinds == {"int"}:
        if asked.max() >= n_columns or asked.min() < 0:
            raise ValueError(
                "categorical_features set as integer indices must be in [0, n_features - 1] = "
                f"[0, {n_columns - 1}], got: {asked.tolist()}"
            )
        mask[asked.astype(np.intp)] = True
        return mask
    if kinds != {"str"}:
        raise ValueError(
            "categorical_features must be an array-like of bool, int or str, got: "
            f"{', '.join(sorted(kinds))}."
        )
    if names is None:
        raise ValueError(
            "categorical_features should be passed as an array of integers or as a boolean mask "
            f"when the model is fitted on data without feature names, got: {asked.tolist()}."
        )
    for name in asked.tolist():
        if name not in names:
            raise ValueError(
                f"categorical_features has an item value '{name}' which is not a valid feature "
                f"name of the training data. Observed feature names: {names}"
            )
        mask[names.index(name)] = True
    return mask


def _kind_for(cells, asked, takes_text):
    """The kind of a column, as it stands in a `Schema`; ValueError for text that is not allowed."""
    kind = _kind(cells, asked)
    if kind == "text" and not takes_text:
        raise ValueError(
            "holds text or other values that are no numbers, such as "
            f"{cells.example()!r}, and categorical_features=None allows no categories"
        )
    return "category" if kind == "text" else kind


def _kind(cells, asked):
    """The kind of a column; `asked`: None to go by its type, or whether it shall be a category."""
    natural = cells.natural
    if asked:
        return "category"
    if natural in ("boolean", "category") and asked is None:
        return "category"
    if natural == "boolean":
        return "number"
    if natural in ("text", "category"):
        return "number" if cells.means_numbers() else "text"
    return natural


def _tell_dates(schema):
    dates = [name for name, kind in zip(schema.names, schema.kinds, strict=True) if kind == "date"]
    if dates:
        warn(
            f"Columns of dates are taken as numbers, the seconds since 1970: {dates}. Columns of "
            "their parts, such as the month or the day of the week, may tell more."
        )


# ---- columns ----


def _column(name, kind, cells, with_text):
    """A column of this kind, and whether its labels are text (`with_text`: in fit; else None)."""
    if kind == "nothing":
        return Column(name, "number", np.full(len(cells), np.nan)), False
    if kind == "category":
        values, labels, with_text = _categories(cells, with_text)
        return Column(name, "category", values, labels), with_text
    return Column(name, "number", _numbers(kind, cells)), False


def _numbers(kind, cells):
    natural = cells.natural
    if natural != "nothing" and (natural in _TIMES or kind in _TIMES) and natural != kind:
        raise ValueError(f"holds values of the kind {natural!r}, and held {kind!r} in fit")
    try:
        values = cells.numbers()
    except _cells.NotNumbersError as error:
        raise ValueError(
            f"holds {error.example!r}, which is no number, and was a column of numbers in fit"
        ) from None
    if values.dtype.kind == "f" and np.isinf(values).any():
        row = int(np.flatnonzero(np.isinf(values))[0])
        raise infinite_number(values[row], f"row {row}")
    return values


def infinite_number(value, where):
    """The error of a column with an infinite number; `where`: words for the row."""
    return ValueError(
        f"has an infinite number, {value}, in {where} (infinity, or a value too large "
        "for float64): it takes finite numbers and NaN for a missing one"
    )


def _categories(cells, with_text):
    """Codes and distinct labels, so that labels of one value are one, and whether they are text."""
    codes, values = cells.labels()
    if with_text is None:
        with_text = any(isinstance(value, (str, bytes)) for value in values)
    places = {}
    place_of = np.empty(len(values) + 1, dtype=np.intp)
    place_of[-1] = -1  # of the code -1
    for code, value in enumerate(values):
        label = _cells.text_of(value) if with_text else _label(value)
        place_of[code] = places.setdefault(label, len(places))
    if not np.array_equal(place_of[:-1], np.arange(len(values))):
        codes = place_of[codes]
    return codes, list(places), with_text


def _label(value):
    """The label in a column without text; text of a later table may mean a number or a boolean."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
        return int(value.lower() == "true")
    if isinstance(value, (str, bytes)):
        number = _cells.number_in(value)
        value = value if number is None or number != number else number
    return _cells.plain(value)
