"""Which columns of a dataset are X, y and the weights of the rows."""

import numpy as np
import pyarrow as pa

from ._columns import (
    common_dtype,
    is_number,
    matrix,
    numbers,
    plain,
    refuse_null,
    runs_of,
    write_columns,
)


class Source:
    """The columns that a fit reads.

    Attributes
    ----------
    features, outputs : list of str
    weight : str or None
    columns : list of str
        All of these.
    x_dtype : dtype
        float32 or float64: that which the same rows would have in memory.
    """

    def __init__(self, schema, features, outputs, weight):
        self.features, self.outputs, self.weight = features, outputs, weight
        self.columns = [*features, *outputs, *([weight] if weight else [])]
        kinds = [schema.field(name).type for name in features]
        self.x_dtype = common_dtype(kinds or [pa.bool_()])
        self._runs = runs_of(kinds)

    def matrices(self, batch, place):
        """The columns of X as matrices of one dtype each: (slice of `features`, matrix)."""
        for run in self._runs:
            part = batch.select(range(run.start, run.stop))
            yield run, matrix(self.features[run], part, place)

    def write(self, batch, place, X):
        """Let the columns of X be those of an array, whose dtype may be too small for them."""
        with np.errstate(over="ignore"):
            for run, columns in self.matrices(batch, place):
                write_columns(columns, X[:, run])

    def targets(self, batch, place):
        """The columns of y as Arrow arrays without nulls."""
        arrays = [plain(batch.column(name)) for name in self.outputs]
        for name, array in zip(self.outputs, arrays, strict=True):
            refuse_null(name, array, place, hint="")
        return arrays

    def weights(self, batch, place):
        """Weights of the rows as float64, or None."""
        if self.weight is None:
            return None
        array = plain(batch.column(self.weight))
        refuse_null(self.weight, array, place, hint="")
        return numbers(self.weight, array, place).astype(np.float64)


def source_of(schema, y, sample_weight, names=("X", "y", "sample_weight"), features=None):
    """The `Source` of a fit.

    Parameters
    ----------
    schema : pyarrow.Schema
    y, sample_weight
        As the caller of ``fit`` gave them.
    names : tuple of str
        Those of the arguments.
    features : list of str or None
        The columns of X; None: all others.

    Raises
    ------
    TypeError, ValueError
        For what is no column, or a column of what is no number.
    """
    outputs, weight = outputs_of(schema, y, sample_weight, names)
    used = {*outputs, weight}
    if features is None:
        features = [name for name in schema.names if name not in used]
        if not features:
            raise ValueError(f"The dataset has no columns but {sorted(used - {None})}: none for X.")
    else:
        for name in features:
            _check_is_column(schema, name, names[0])
    for name in features:
        _check_is_number(schema, name, names[0])
    return Source(schema, features, outputs, weight)


def outputs_of(schema, y, sample_weight, names=("X", "y", "sample_weight")):
    """The columns of y, and the column of the weights or None."""
    outputs = _names_of_outputs(schema, y, names[1])
    if sample_weight is not None:
        if not isinstance(sample_weight, str):
            raise TypeError(
                f"{names[2]} is of type {type(sample_weight).__name__}: with a dataset it takes "
                "the name of a column, or None."
            )
        _check_is_column(schema, sample_weight, names[2])
        _check_is_number(schema, sample_weight, names[2])
    columns = [*outputs, sample_weight]
    if len(set(columns)) < len(columns):
        raise ValueError(
            f"{names[1]}={y!r}, {names[2]}={sample_weight!r}: it takes different columns."
        )
    return outputs, sample_weight


def fingerprint_of(outputs, weight):
    """Which columns are what, as a checkpoint compares it: pairs of texts, by name."""
    names = {"y": outputs, "sample_weight": weight}
    return {name: (f"the columns {columns}", "") for name, columns in names.items()}


def source_of_rows(schema, names, n_features, estimator):
    """The `Source` of a prediction: the columns of these names; None: all columns.

    ValueError unless it has as many as the fitted estimator takes.
    """
    features = schema.names if names is None else list(names)
    if len(features) != n_features:
        raise ValueError(
            f"The dataset has {len(features)} columns, but {type(estimator).__name__} is expecting "
            f"{n_features} features, and does not know their names."
        )
    for name in features:
        _check_is_column(schema, name, "X")
        _check_is_number(schema, name, "X")
    return Source(schema, features, [], None)


def _names_of_outputs(schema, y, argument):
    outputs = [y] if isinstance(y, str) else y
    if (
        not isinstance(outputs, (list, tuple))
        or not outputs
        or not all(isinstance(name, str) for name in outputs)
    ):
        got = "None" if y is None else f"of type {type(y).__name__}"
        raise TypeError(
            f"{argument} is {got}: with a dataset it takes the name of a column, or a list of "
            "names."
        )
    for name in outputs:
        _check_is_column(schema, name, argument)
    return list(outputs)


def _check_is_column(schema, name, argument):
    if name not in schema.names:
        raise ValueError(f"{argument}: the dataset has no column {name!r}; it has {schema.names}.")


def _check_is_number(schema, name, argument):
    kind = schema.field(name).type
    if is_number(kind):
        return
    hint = "leave it out, or give it as a number"
    if argument.startswith("X"):
        hint = "TabularClassifier and TabularRegressor take text, dates and gaps"
        if pa.types.is_temporal(kind):
            hint += "; here a date can be given as the number of days that you mean"
    raise TypeError(
        f"{argument}: column {name!r} of the dataset has type {kind}: it takes numbers and "
        f"booleans. {hint}."
    )
