"""`TabularClassifier` and `TabularRegressor` in files, with their encoding.

Of a fitted estimator: what the columns of its table are (`Schema`), how each is encoded (knots, or
labels in the order of their codes), what the outputs mean, and the parameters of each member.
"""

import math

import numpy as np

from .._input.arguments import DTYPES, check_activation
from ..tabular._encoding import Encoding, _Categories, _Numbers
from ..tabular._fit import Fitted
from ..tabular._net import Member, Net
from ..tabular._table import Schema
from ..tabular._targets import Classes, Numbers
from ..tabular.classifier import TabularClassifier
from ..tabular.regressor import TabularRegressor
from . import checks
from .checks import attributes, fail, list_of, mapping, vector_of
from .classes import check_classes, check_labels
from .container import FileError
from .estimators import (
    CURVES,
    SEEN,
    attach,
    check_parameters,
    rebuilt,
    state_of,
)
from .functions import encode_parameters
from .values import Kind, of

_STATE = {**SEEN, **CURVES, "is_categorical_": checks.BINARY}
_KINDS = ("number", "date", "duration", "category", "nothing")


def _encode(encoder, estimator, where):
    where = f"{where}, {type(estimator).__name__}" if where else type(estimator).__name__
    parameters = encode_parameters(encoder, estimator.get_params(deep=False), where)
    check_parameters(estimator)
    state = state_of(estimator, where, _STATE, ("_fitted",))
    fitted = vars(estimator).get("_fitted")
    _check(where, state, fitted)
    return {
        "parameters": parameters,
        "attributes": encoder.mapping(state, where),
        "fitted": None if fitted is None else _encode_fitted(encoder, fitted, where),
    }


def _decoder_of(cls):
    def decode(decoder, payload, where):
        where = f"{where}, {cls.__name__}" if where else cls.__name__
        payload = mapping(where, payload, ("parameters", "attributes", "fitted"))
        estimator, _ = rebuilt(cls, decoder, payload["parameters"], where)
        names = mapping(where, payload["attributes"], (), _STATE)
        state = {n: decoder.decode(value, f"{where}.{n}") for n, value in names.items()}
        fitted = payload["fitted"]
        if fitted is not None:
            fitted = _decode_fitted(decoder, fitted, where)
        _check(where, state, fitted)
        if fitted is not None:
            if isinstance(fitted.target, Classes) is not (cls is TabularClassifier):
                raise FileError(f"{where} has targets of the other estimator of tables")
            state["_fitted"] = fitted
        attach(estimator, state)
        return estimator

    return decode


def _check(where, state, fitted):
    attributes(where, state, _STATE)
    if fitted is None:
        return
    n_columns = fitted.schema.n_columns
    names, mask = state.get("feature_names_in_"), state.get("is_categorical_")
    for name, value in (
        ("n_features_in_", state.get("n_features_in_")),
        ("len(feature_names_in_)", n_columns if names is None else len(names)),
        ("len(is_categorical_)", n_columns if mask is None else len(mask)),
    ):
        if value != n_columns:
            fail(f"{where}.{name}", value, f"{n_columns}, by the columns of its table")
    if isinstance(fitted.target, Classes):
        check_classes(where, state, fitted.target.n_outputs, least=2)


# ---- what it has learnt ----


def _encode_fitted(encoder, fitted, where):
    schema, net = fitted.schema, fitted.net
    written = {
        "schema": encoder.mapping(vars(schema), f"{where}, schema"),
        "target": _encode_target(encoder, fitted.target, where),
        "temperature": encoder.encode(fitted.temperature, where),
        "net": None,
    }
    if net is not None:
        columns = zip(schema.names, net.encoding._encoders, strict=True)
        written["net"] = {
            "columns": [_encode_column(encoder, e, f"{where}, column {n!r}") for n, e in columns],
            "hidden_layer_sizes": [*net.layer_sizes[1:-1]],
            "activations": [*net.activations],
            "dtype": net.dtype,
            "members": [encoder.encode(member.params, where) for member in fitted.members],
        }
    return written


def _decode_fitted(decoder, payload, where):
    payload = mapping(where, payload, ("schema", "target", "temperature", "net"))
    schema = _decode_schema(decoder, payload["schema"], f"{where}, schema")
    target = _decode_target(decoder, payload["target"], where)
    temperature = checks.FINITE.check(f"{where}, temperature", payload["temperature"])
    if temperature <= 0:
        fail(f"{where}, temperature", temperature, "a number above 0")
    if (payload["net"] is None) is not bool(target.is_constant):
        raise FileError(f"{where} has a net and one answer only, or none and several answers")
    if target.is_constant:
        return Fitted(schema, target, None, (), temperature)
    net, members = _decode_net(decoder, payload["net"], schema, target, where)
    return Fitted(schema, target, net, members, temperature)


def _decode_schema(decoder, payload, where):
    payload = mapping(where, payload, ("names", "named", "kinds", "with_text"))
    values = {name: decoder.decode(value, where) for name, value in payload.items()}
    list_of(checks.TEXT).check(f"{where}, names", values["names"])
    checks.BOOLEAN.check(f"{where}, named", values["named"])
    list_of(checks.one_of(_KINDS)).check(f"{where}, kinds", values["kinds"])
    list_of(checks.BOOLEAN).check(f"{where}, with_text", values["with_text"])
    lengths = {len(values[name]) for name in ("names", "kinds", "with_text")}
    if len(lengths) != 1 or lengths == {0}:
        raise FileError(f"{where} has not as many names as kinds and with_text, or none")
    return Schema(**values)


def _encode_target(encoder, target, where):
    where = f"{where}, target"
    names = _OF_CLASSES if isinstance(target, Classes) else _OF_NUMBERS
    return encoder.mapping({name: getattr(target, name) for name in names}, where)


_OF_CLASSES = {
    "kind": checks.one_of(("multiclass", "multilabel")),
    "labels": checks.LABELS,
    "binarizer": SEEN["_binarizer"],
}
_OF_NUMBERS = {"mean": vector_of(), "deviation": vector_of()}


def _decode_target(decoder, payload, where):
    where = f"{where}, target"
    takes = _OF_CLASSES if type(payload) is dict and "kind" in payload else _OF_NUMBERS
    payload = mapping(where, payload, takes)
    values = {name: decoder.decode(value, f"{where}.{name}") for name, value in payload.items()}
    attributes(where, values, takes)
    if takes is _OF_CLASSES:
        return _classes(values, where)
    mean, deviation = values["mean"], values["deviation"]
    if mean.shape != deviation.shape or not mean.size or mean.dtype != np.float64:
        fail(f"{where}, mean", mean, "as many numbers of float64 as there are deviations")
    target = object.__new__(Numbers)
    target.n_outputs, target.mean, target.deviation = mean.size, mean, deviation
    target.is_constant = not deviation.any()
    return target


def _classes(values, where):
    binarizer = values["binarizer"]
    check_labels(f"{where}.labels", values["labels"])
    if values["kind"] == "multilabel":
        y_type = "" if binarizer is None else binarizer.y_type_
        if y_type != "multilabel-indicator" or len(binarizer.classes_) != len(values["labels"]):
            raise FileError(f"{where} has several labels, but no LabelBinarizer for so many")
    return Classes(**values)


# ---- the net and its encoding ----


def _decode_net(decoder, payload, schema, target, where):
    where = f"{where}, net"
    names = ("columns", "hidden_layer_sizes", "activations", "dtype", "members")
    payload = mapping(where, payload, names)
    columns, hidden = payload["columns"], payload["hidden_layer_sizes"]
    list_of(checks.SIZE).check(f"{where}, hidden_layer_sizes", hidden)
    dtype = checks.one_of(DTYPES).check(f"{where}, dtype", payload["dtype"])
    activations = decoder.decode(payload["activations"], where)
    list_of(checks.TEXT).check(f"{where}, activations", activations)
    if type(columns) is not list or len(columns) != schema.n_columns:
        raise FileError(f"{where} does not encode the {schema.n_columns} columns of its table")
    kinds = zip(schema.names, schema.kinds, columns, strict=True)
    encoding = Encoding([_decode_column(decoder, *column, where) for column in kinds])
    sizes = (encoding.n_inputs, *hidden, target.n_outputs)
    size = sum((n_in + 1) * n_out for n_in, n_out in zip(sizes, sizes[1:], strict=False))
    vectors = decoder.decode(payload["members"], f"{where}, members")
    list_of(vector_of(size + encoding.n_inputs)).check(f"{where}, members", vectors)
    if not vectors or any(vector.dtype != dtype for vector in vectors):
        fail(f"{where}, members", vectors, f"one or more of {dtype}")
    net = object.__new__(Net)
    state = {
        "encoding": encoding,
        "dtype": dtype,
        "loss": target.core.core,
        "layer_sizes": sizes,
        "activations": check_activation(activations, len(hidden)),
    }
    net.__setstate__(state)
    return net, tuple(map(Member, vectors))


def _encode_column(encoder, column, where):
    if isinstance(column, _Categories):
        labels = sorted(column.codes, key=column.codes.get)
        return {
            "kind": column.kind,
            "labels": encoder.encode(labels, f"{where}, labels"),
            "has_missing": column.missing >= 0,
        }
    return {
        "knots": encoder.encode(column.knots, where),
        "scale": column.scale,
        "raw": encoder.encode([*column.raw], where),
        "has_missing": column.has_missing,
        "when_missing": column.when_missing,
    }


def _decode_column(decoder, name, kind, payload, where):
    where = f"{where}, column {name[:80]!r}"
    if type(payload) is dict and "knots" in payload:
        column = _decode_numbers(decoder, name, payload, where)
    else:
        column = _decode_categories(decoder, name, payload, where)
    of_numbers = isinstance(column, _Numbers) or column.kind == "number"
    if of_numbers is (kind == "category"):
        raise FileError(f"{where} is of the kind {kind!r}, and encoded as one of another kind")
    return column


def _decode_categories(decoder, name, payload, where):
    payload = mapping(where, payload, ("kind", "labels", "has_missing"))
    kind = checks.one_of(("category", "number")).check(f"{where}, kind", payload["kind"])
    has_missing = checks.BOOLEAN.check(f"{where}, has_missing", payload["has_missing"])
    labels = decoder.decode(payload["labels"], f"{where}, labels")
    if type(labels) is not list or (kind == "number" and labels):
        fail(f"{where}, labels", labels, "a list, empty in a column of numbers")
    codes = {label: code for code, label in enumerate(labels)}
    if len(codes) != len(labels):
        fail(f"{where}, labels", labels, "each label once")
    missing = len(codes) if has_missing else -1
    return _Categories(name, kind, codes, missing, max(1, len(codes) + has_missing))


def _decode_numbers(decoder, name, payload, where):
    names = ("knots", "scale", "raw", "has_missing", "when_missing")
    payload = mapping(where, payload, names)
    knots = vector_of().check(f"{where}, knots", decoder.decode(payload["knots"], where))
    with np.errstate(over="ignore", invalid="ignore"):
        widths = np.diff(knots)
    if (
        knots.dtype != np.float64
        or not widths.size
        or not (0 < widths).all() & (widths < np.inf).all()
    ):
        fail(f"{where}, knots", knots, "two or more rising finite numbers of float64")
    scale = checks.one_of((1.0, 0.25)).check(f"{where}, scale", payload["scale"])
    raw = list_of(checks.FLOAT).check(f"{where}, raw", decoder.decode(payload["raw"], where))
    if len(raw) != len(knots) or not all(map(math.isfinite, raw)):
        fail(f"{where}, raw", raw, "a finite number for each knot")
    has_missing = checks.BOOLEAN.check(f"{where}, has_missing", payload["has_missing"])
    place = checks.FINITE.check(f"{where}, when_missing", payload["when_missing"])
    if not (place == len(knots) if has_missing else 0 <= place <= len(knots) - 1):
        fail(f"{where}, when_missing", place, "a position that the column has")
    return _Numbers(name, knots, scale, tuple(raw), has_missing, place)


KINDS = (
    Kind("TabularClassifier", of(TabularClassifier), _encode, _decoder_of(TabularClassifier), True),
    Kind("TabularRegressor", of(TabularRegressor), _encode, _decoder_of(TabularRegressor), True),
)
