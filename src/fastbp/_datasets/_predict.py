"""Predictions for the rows of a dataset, and its columns of y for a score."""

import numpy as np

from .. import _core
from .._predict import arguments_of, has_finite_sum, is_narrow
from .._threads import blas_guard
from .._trainers import give_back, take
from ._first_pass import Finite
from ._source import Source, outputs_of, source_of_rows
from ._table import Table, batch_rows_for


class _NotFinite(Exception):
    """A number in float32 is not finite."""


def forward(estimator, fitted, dataset, widths, hidden, raw):
    """What `_predict._forward` gives for rows in memory; of the rows one batch is, at a time."""
    table = Table(dataset)
    names = fitted.state.get("feature_names_in_")
    source = source_of_rows(table.schema, names, fitted.state.get("n_features_in_"), estimator)
    n_rows = dataset.count_rows()
    if not n_rows:
        raise ValueError("The dataset has no rows: it takes one at least.")
    wanted = np.result_type(source.x_dtype, fitted.x_dtype)

    def run(dtype, result_dtype):
        arrays = [np.empty((n_rows, width), result_dtype) for width in widths]
        arguments = arguments_of(fitted, dtype, n_rows)
        trainer = take(arguments)
        try:
            with blas_guard(trainer.uses_blas):
                _fill(trainer, fitted.flat, table, source, dtype, arrays, n_rows, hidden, raw)
        finally:
            give_back(trainer, arguments)
        return arrays

    if is_narrow(fitted, n_rows):
        try:
            return run("float32", wanted)
        except _NotFinite:
            pass  # in float64 it is, unless X is not
    arrays = run("float64", np.float64)
    with np.errstate(over="ignore"):
        return [a.astype(wanted, copy=False) for a in arrays]


def _fill(trainer, flat, table, source, dtype, arrays, n_rows, hidden, raw):
    """Fill the arrays of so many rows with the outputs, batch by batch."""
    batch_rows = batch_rows_for(8 * len(source.features))
    X = np.empty((batch_rows, len(source.features)), dtype)
    finite, at = Finite(source), 0
    for place, batch in table.batches(source.columns, batch_rows):
        first, at = at, at + batch.num_rows
        if at > n_rows:
            break
        rows = X[: batch.num_rows]
        source.write(batch, place, rows)
        data = _core.Data(rows)
        if not _core.all_finite(data, 1, dtype):
            finite.see(batch, place)  # raises, unless float64 has these numbers
            raise _NotFinite
        parts = [a[first:at] for a in arrays]
        out, layers = (None, parts) if hidden else (parts[0], ())
        trainer.forward(flat, data, out, raw=raw, hidden=layers)
        if dtype == "float32" and not all(map(has_finite_sum, parts)):
            raise _NotFinite
    if at != n_rows:
        found = "more" if at > n_rows else at
        raise ValueError(
            f"The dataset was changed while it was read: it had {n_rows} rows and now has {found}."
        )


def columns_for_score(dataset, y, sample_weight):
    """The columns of these names as arrays: (y, sample_weight or None)."""
    table = Table(dataset)
    source = Source(table.schema, [], *outputs_of(table.schema, y, sample_weight))
    targets, weights = [], []
    for place, batch in table.batches(source.columns, batch_rows_for(8 * len(source.columns))):
        columns = [a.to_numpy(zero_copy_only=False) for a in source.targets(batch, place)]
        targets.append(columns[0] if len(columns) == 1 else np.column_stack(columns))
        weights.append(source.weights(batch, place))
    if not targets:
        raise ValueError("The dataset has no rows: it takes one at least.")
    return np.concatenate(targets), None if source.weight is None else np.concatenate(weights)
