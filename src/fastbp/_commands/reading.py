"""Tables from files: CSV, also gzipped, and Parquet.

CSV is read by pandas or polars, whichever is installed, or else by Python's csv module, which needs
more time and memory; Parquet by pandas, polars or pyarrow. The result is the same: cells that hold
one of `MISSING` are missing.
"""

import contextlib
import csv
import gzip
import importlib
import importlib.util
import re
from collections import Counter
from pathlib import Path

import narwhals.stable.v2 as nw
import numpy as np

from ..tabular import _cells

SUFFIXES = (".csv", ".csv.gz", ".parquet")
MISSING = ("", "NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "<NA>", "#N/A", "?")
_SEPARATORS = ",;\t|"
# Rows in which codes with leading zeros are looked for.
_FIRST_ROWS = 10_000


class FrameTable:
    """A table in a data frame of pandas or polars, or an Arrow table."""

    def __init__(self, native):
        self._frame = nw.from_native(native, eager_only=True)
        self.names = list(self._frame.columns)
        self.native = native

    def __len__(self):
        return len(self._frame)

    def cells(self, name):
        """The cells of a column, as `fastbp.tabular` knows them."""
        return _cells.of_series(self._frame[name])

    def select(self, names):
        """The table of these columns, in this order."""
        return FrameTable(self._frame.select(names).to_native())

    def take(self, rows):
        """The table of these rows: indices in an array."""
        return FrameTable(self._frame[rows].to_native())


class TextTable:
    """A table in an array of text, with None where a cell is missing."""

    def __init__(self, names, native):
        self.names, self.native = list(names), native

    def __len__(self):
        return len(self.native)

    def cells(self, name):
        """The cells of a column, as `fastbp.tabular` knows them."""
        return _cells.of_array(self.native[:, self.names.index(name)])

    def select(self, names):
        """The table of these columns, in this order."""
        return TextTable(names, self.native[:, [self.names.index(name) for name in names]])

    def take(self, rows):
        """The table of these rows: indices in an array."""
        return TextTable(self.names, self.native[rows])


def read_table(path, as_text=None):
    """Read a table.

    Parameters
    ----------
    path : str or Path
        Its suffix, one of `SUFFIXES`, tells the format.
    as_text : list of str or None
        Names of columns of a CSV that stay text, whatever they hold: "1.0" and "True", too. None:
        those that hold a code with leading zeros, such as "01234", in the first rows.

    Returns
    -------
    FrameTable or TextTable

    Raises
    ------
    ValueError
        Naming the file, if it cannot be read or is no table with rows.
    """
    path = Path(path)
    check_readable(path)
    try:
        is_parquet = path.name.lower().endswith(".parquet")
        table = _read_parquet(path) if is_parquet else _read_csv(path, as_text)
    except MemoryError:
        raise
    except UnicodeDecodeError as error:
        byte = f"0x{error.object[error.start]:02x}"
        raise ValueError(
            f"{path} cannot be read: the byte {byte} is no text in UTF-8, which a CSV is taken for"
        ) from error
    except Exception as error:  # every library has its own
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read: {' '.join(reason.split())}") from error
    if not len(table):
        raise ValueError(f"{path} has a head and no rows")
    return table


def check_readable(path):
    """Raise ValueError if it is no name of a table, or that of a file that cannot be opened."""
    if not Path(path).name.lower().endswith(SUFFIXES):
        raise ValueError(f"{path}: a table is a file {', '.join(SUFFIXES)}")
    try:
        open(path, "rb").close()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def naming_columns(names):
    """Put the names into errors that know columns by their places, as those of arrays do."""
    try:
        yield
    except ValueError as error:
        place = r"column (\d+) \(counted from 0\)"
        raise ValueError(
            re.sub(place, lambda match: f"column {names[int(match[1])]!r}", str(error))
        ) from error


def _installed(*names):
    """The first of these modules that is installed, or None."""
    for name in names:
        if importlib.util.find_spec(name) is not None:
            return importlib.import_module(name)
    return None


def _read_parquet(path):
    if importlib.util.find_spec("pyarrow") is not None:
        return FrameTable(importlib.import_module("pyarrow.parquet").read_table(path))
    polars = _installed("polars")
    if polars is None:
        raise ValueError("Parquet needs one of pyarrow and polars: pip install pyarrow")
    return FrameTable(polars.read_parquet(path))


def _read_csv(path, as_text):
    names, separator = _head(path)
    library = _installed("pandas", "polars")
    if library is None:
        return _read_text(path, names, separator)
    read = _pandas_csv if library.__name__ == "pandas" else _polars_csv
    if as_text is None:
        first = FrameTable(read(library, path, separator, None, n_rows=_FIRST_ROWS))
        as_text = [name for name in first.names if _has_leading_zeros(first.cells(name))]
    return FrameTable(read(library, path, separator, as_text))


def _has_leading_zeros(cells):
    return any(map(_cells.has_leading_zero, cells.labels()[1]))


def _pandas_csv(pandas, path, separator, as_text, n_rows=None):
    """A data frame; `as_text` None: all columns are text."""
    return pandas.read_csv(
        path,
        sep=separator,
        index_col=False,  # without a name the first column is none, too
        dtype="str" if as_text is None else dict.fromkeys(as_text, "str"),
        keep_default_na=False,
        na_values=list(MISSING),
        low_memory=False,
        encoding="utf-8-sig",
        nrows=n_rows,
    )


def _polars_csv(polars, path, separator, as_text, n_rows=None):
    """The same."""
    return polars.read_csv(
        path,
        separator=separator,
        null_values=list(MISSING),
        infer_schema_length=0 if as_text is None else None,
        schema_overrides=dict.fromkeys(as_text or (), polars.String),
        n_rows=n_rows,
    )


def _opened(path):
    opened = gzip.open if path.name.lower().endswith(".gz") else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")


def _head(path):
    """Names of the columns and what separates them, after a look at the first lines."""
    with _opened(path) as file:
        first = file.readline()
        separator = max(_SEPARATORS, key=first.count)  # the comma if there is none
        file.seek(0)
        rows = csv.reader(file, delimiter=separator)
        names = next(rows, [])
        cells = next(rows, names)
    if not names:
        raise ValueError("it is empty: the first line has the names of the columns")
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"several columns have the name {repeated[0]!r}: names must differ")
    if len(cells) != len(names):
        raise ValueError(f"the head has {len(names)} columns, the line after it {len(cells)}")
    return names, separator


def _read_text(path, names, separator):
    missing, rows = set(MISSING), []
    known = {}  # of a text that comes often one object is kept
    with _opened(path) as file:
        lines = csv.reader(file, delimiter=separator)
        next(lines)
        for cells in lines:
            if not cells:  # an empty line
                continue
            if len(cells) != len(names):
                raise ValueError(
                    f"line {lines.line_num} has {len(cells)} cells, the head {len(names)}"
                )
            rows.append([None if c in missing else known.setdefault(c, c) for c in cells])
    table = np.empty((len(rows), len(names)), dtype=object)
    if rows:
        table[...] = rows
    return TextTable(names, table)
