"""The columns of a table as ONNX operators: inputs, and the first layer over what they hold.

A column of numbers is a row of shares f, one for each bin: 1 if the bin is below the number, 0 if
it is above. Then z is ``T_0 + sum_k f_k (T_{k+1} - T_k)``, a product with the differences of T. A
column of categories is the place of a row of T, and a last row of zeros is that of labels which are
not known; where labels are no integers, it is one column for each, of 0 and 1.
"""

from typing import NamedTuple

import numpy as np

from .checks import LARGEST_EXACT, check_text
from .description import Categories, Numbers
from .operators import add_constant, indices, plus, scaled, type_of

# Two integers above the largest label stand for numbers which are no label.
_UNKNOWN, _MISSING = 2**53 + 2, 2**54

_UNITS = {
    "number": "numbers",
    "date": "dates, as seconds since 1970 in UTC",
    "duration": "durations or times of day, as seconds",
    "nothing": "not used: it held nothing",
}


class Inputs(NamedTuple):
    """Names of the inputs, by what they hold."""

    names: tuple
    kinds: tuple  # "float64" or "text"


def inputs_of(graph, columns):
    """Declare an input for every column."""
    _check_names([column.name for column in columns])
    kinds = tuple(map(_kind_of, columns))
    for column, kind in zip(columns, kinds, strict=True):
        graph.input(column.name, kind, 1, _doc_of(column, kind))
    return Inputs(tuple(column.name for column in columns), kinds)


def _check_names(names):
    seen = set()
    for name in names:
        if not name or name in seen:
            what = "comes twice" if name else "is empty"
            raise ValueError(
                f"The name {name!r} of a column {what}: an ONNX model takes an input for each "
                "column, and every input has a name of its own."
            )
        check_text(f"The name of the column {name!r}", name)
        seen.add(name)


def _kind_of(column):
    """The type of the input of a column; ValueError if there is none."""
    if isinstance(column, Numbers):
        return "float64"
    if column.of_text:
        for label in column.labels:
            check_text(f"The column {column.name!r} has a category that", label)
        if "" in column.labels and column.missing >= 0:
            raise ValueError(
                f"The column {column.name!r} has the category '' beside missing cells: in an ONNX "
                "model '' stands for a missing cell. Name that category otherwise before fit."
            )
        return "text"
    for label in column.labels:
        if not isinstance(label, (int, float)):
            raise ValueError(
                f"The column {column.name!r} has the category {label!r}, a "
                f"{type(label).__name__}: an ONNX model takes columns whose categories are all "
                "text, or all numbers."
            )
        if not abs(label) <= LARGEST_EXACT:
            raise ValueError(
                f"The column {column.name!r} has the category {label!r}: an ONNX model takes "
                "categories that are numbers as float64, which tells those below 2**53 from all "
                "others. Make them text before fit."
            )
    return "float64"


def _doc_of(column, kind):
    if isinstance(column, Numbers):
        return f"{_UNITS[column.unit]}; NaN if missing"
    if kind == "text":
        return 'categories; "" if missing'
    return (
        "categories; NaN if missing; a date is its seconds since 1970 in UTC, a duration or time "
        "of day its seconds"
    )


# ---- the first layer ----


def add_first_layers(graph, described, inputs):
    """z of the first layer of every member.

    Returns
    -------
    list of str
        Each (n, n_out).
    """
    columns = described.columns
    parts = [*_shares(graph, columns, inputs), *_indicators(graph, columns, inputs)]
    wide = _joined(graph, [value for value, _ in parts], axis=1)
    places, rows = _places(graph, columns, inputs)
    found = []
    for layers in described.members:
        table = layers[0].weights.astype(np.float64)
        bias = layers[0].bias + _origin(columns, table)
        found.append(_add_first_layer(graph, inputs, parts, wide, places, rows, table, bias))
    return found


def _add_first_layer(graph, inputs, parts, wide, places, rows, table, bias):
    bias = bias.astype(graph.dtype)
    if wide is None:
        z = add_constant(graph, inputs.names[0], bias)
    else:
        weights = np.concatenate([weights_of(table) for _, weights_of in parts])
        z = graph("Gemm", wide, weights.astype(graph.dtype), bias)
    if places is None:
        return z
    kept = np.concatenate([table[rows], np.zeros((1, table.shape[1]))]).astype(graph.dtype)
    gathered = graph("Gather", kept, places, axis=0)  # (n, n_columns, n_out)
    return graph("Add", z, graph("ReduceSum", gathered, indices([1]), keepdims=0))


def _joined(graph, values, axis):
    """Values side by side; None for none."""
    if len(values) < 2:
        return values[0] if values else None
    return graph("Concat", *values, axis=axis)


def _origin(columns, table):
    """What columns of numbers give if they have their first knot."""
    first = [c.first for c in columns if isinstance(c, Numbers) and len(c.knots)]
    return table[first].sum(axis=0)


# Each of the following gives pairs: a value (n, n_rows), and what its weights are, given T.


def _shares(graph, columns, inputs):
    """Shares of the bins of all columns of numbers."""
    some = [(c, name) for c, name in zip(columns, inputs.names, strict=True) if _has_knots(c)]
    if not some:
        return
    chosen = [column for column, _ in some]
    x = _joined(graph, [name for _, name in some], axis=1)
    is_missing = graph("IsNaN", x)
    scales = np.array([[column.scale for column in chosen]])
    if (scales != 1).any():
        x = graph("Mul", x, scales)
    shares = _share_of_bins(graph, chosen, x)
    sizes = [len(column.knots) - 1 for column in chosen]
    of_bins = np.repeat(np.arange(len(chosen)), sizes)
    fill = np.concatenate([_when_missing(column) for column in chosen]).astype(graph.dtype)
    is_missing = graph("Gather", is_missing, indices(of_bins), axis=1)
    value = graph("Where", is_missing, fill.reshape(1, -1), shares)
    rows = np.concatenate([column.first + np.arange(len(column.knots) - 1) for column in chosen])
    yield value, lambda table: table[rows + 1] - table[rows]


def _has_knots(column):
    return isinstance(column, Numbers) and len(column.knots) > 0


def _share_of_bins(graph, columns, x):
    """(x - low) / width of each bin, from 0 to 1, with the rounding that the position has."""
    low = np.concatenate([column.knots[:-1] for column in columns])
    width = np.concatenate([np.diff(column.knots) for column in columns])
    place = np.concatenate([np.arange(len(column.knots) - 1.0) for column in columns])
    sizes = [len(column.knots) - 1 for column in columns]
    of_bins = np.repeat(np.arange(len(columns)), sizes)
    x = graph("Gather", x, indices(of_bins), axis=1)
    above = plus(graph, x, -low.reshape(1, -1))
    inside = scaled(graph, "Div", above, width.reshape(1, -1))
    position = graph("Add", inside, place.reshape(1, -1))
    if graph.dtype != np.float64:
        position = graph("Cast", position, to=type_of(graph.dtype))
    share = graph("Sub", position, place.reshape(1, -1).astype(graph.dtype))
    return graph("Clip", share, np.array(0, graph.dtype), np.array(1, graph.dtype))


def _when_missing(column):
    """Shares of the bins where a cell is missing; all 0 if that has a row of its own."""
    n_bins = len(column.knots) - 1
    if column.missing > n_bins:
        return np.zeros(n_bins)
    return np.clip(column.missing - np.arange(n_bins), 0, 1)


def _indicators(graph, columns, inputs):
    """What is 0 or 1: that a number is missing, and categories that are numbers."""
    for column, name, kind in zip(columns, *inputs, strict=True):
        if kind == "text" or _has_integers(column):
            continue
        if isinstance(column, Categories) and column.labels:
            labels = np.array([column.labels], dtype=np.float64)
            value = graph("Cast", graph("Equal", name, labels), to=type_of(graph.dtype))
            rows = column.first + np.arange(len(column.labels))
            yield value, lambda table, rows=rows: table[rows]
        if column.missing < 0 or column.missing < len(getattr(column, "knots", ())):
            continue  # it has no row
        value = graph("Cast", graph("IsNaN", name), to=type_of(graph.dtype))
        row = column.first + int(column.missing)
        origin = [column.first] if _has_knots(column) else []
        yield value, lambda table, row=row, origin=origin: table[[row]] - table[origin].sum(axis=0)


def _has_integers(column):
    labels = getattr(column, "labels", ())
    return len(labels) > 0 and all(isinstance(label, int) for label in labels)


def _places(graph, columns, inputs):
    """Places of text and integers in rows of T, (n, n_columns), and what these rows are."""
    some = [(column, name) for column, name in zip(columns, inputs.names, strict=True)]
    integers = [(column, name) for column, name in some if _has_integers(column)]
    values = _as_integers(graph, [name for _, name in integers])
    keyed = [
        (value, "keys_int64s", [*map(int, column.labels)], _MISSING, column)
        for value, (column, _) in zip(values, integers, strict=True)
    ]
    keyed += [
        (name, "keys_strings", [*column.labels], "", column)
        for (column, name), kind in zip(some, inputs.kinds, strict=True)
        if kind == "text"
    ]
    rows, found = [], []
    for _, _, keys, missing, column in keyed:
        keys += [missing] * (column.missing >= 0)
        rows += [column.first + place for place in range(len(keys))]
    first = 0
    for value, attribute, keys, _, _ in keyed:
        if keys:
            found.append(_place(graph, value, attribute, keys, first, len(rows)))
        first += len(keys)
    return _joined(graph, found, axis=1), np.array(rows, dtype=np.intp)


def _place(graph, value, attribute, keys, first, unknown):
    return graph(
        "LabelEncoder",
        value,
        domain="ai.onnx.ml",
        values_int64s=[*range(first, first + len(keys))],
        default_int64=unknown,
        **{attribute: keys},
    )


def _as_integers(graph, names):
    """Columns of float64 as int64, each (n, 1): whole numbers are themselves."""
    if not names:
        return []
    x = _joined(graph, names, axis=1)
    is_whole = graph("Equal", graph("Floor", x), x)
    bounded = graph("Clip", x, np.array(-float(_UNKNOWN)), np.array(float(_UNKNOWN)))
    whole = graph("Where", is_whole, bounded, np.array([float(_UNKNOWN)]))
    found = graph("Where", graph("IsNaN", x), np.array([float(_MISSING)]), whole)
    found = graph("Cast", found, to=type_of(np.int64))
    return [graph("Gather", found, indices([place]), axis=1) for place in range(len(names))]
