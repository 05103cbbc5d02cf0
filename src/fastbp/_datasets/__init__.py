"""Rows that are read while the engine trains: datasets of pyarrow, which may be larger than memory.

pyarrow is imported only where somebody passes a dataset. The parts, each usable by itself:

``is_dataset(X)``
    Whether X is a ``pyarrow.dataset.Dataset``; imports nothing.
``_table.Table(dataset)``
    The blocks of a dataset (row groups of Parquet, record batches of Arrow IPC, else whole files)
    in its order. ``table.schema`` is that of the dataset, ``table.counts`` the rows of each block
    (None: not read yet), ``table.n_rows``. ``table.batches(columns, batch_rows)`` is one pass in
    the order of the dataset: pairs of a `Place` and a ``pyarrow.RecordBatch`` with these columns in
    this order, of the types of the dataset's schema (columns that a file lacks are null); after a
    whole pass all counts are known. ``place.named(row)`` words where a row is, for errors.
    ``table.reading_bytes(columns, batch_rows)`` bounds what pyarrow holds meanwhile, and
    ``table.fingerprint()`` is what a checkpoint compares.
``_rows.StreamRows(table, layout, n_rows, buffer_rows, seed)``
    What `_loops.Rows` is for rows in memory: ``n_rows``, ``begin_epoch()``, ``pieces(row)``,
    ``state()``, ``restore(state)``; and ``close()``, which ends its thread and must be called.
    `buffer_rows` is a multiple of the batch size, so that every piece but the last of an epoch is
    one; `seed` is None to visit the rows as they stand.
Layout
    What rows look like in a buffer; the only thing that knows of X and y. An object with

    - ``columns``: names of the columns to read;
    - ``row_bytes``: bytes of one row in a buffer;
    - ``allocate(n)``: a tuple of arrays with n rows each;
    - ``write(arrays, at, batch, place)``: put all rows of a ``pyarrow.RecordBatch`` into the rows
      from `at` on; it runs in the reader's thread and raises ValueError for what cannot be;
    - ``data(arrays, n)``: the ``_core.Data`` of the first n rows;
    - ``weight_sum(arrays, n)``: the sum of their weights.

    `_layout.PlainLayout` is that of MLPClassifier and MLPRegressor.
"""

import sys


class NoRoomForRowsError(MemoryError):
    """There is no memory for rows of a dataset that are kept in it."""


def is_dataset(X):
    """Tell whether X is a dataset of pyarrow; one cannot be unless pyarrow is imported already."""
    module = sys.modules.get("pyarrow.dataset")
    return module is not None and isinstance(X, module.Dataset)


def columns_for_score(X, y, sample_weight):
    """y and the weights as arrays, also where X is a dataset and they are the names of columns."""
    if not is_dataset(X):
        return y, sample_weight
    from ._predict import columns_for_score

    return columns_for_score(X, y, sample_weight)
