"""What a fitted estimator computes, apart from how: columns, layers, outputs, labels.

A row is made of *inputs*. Those of the plain estimators are numbers, the features. Those of the
tabular ones are the columns of a table, and each becomes a position p, as `tabular._encoding` says,
in the rows of a table T that is the first layer: of a column of numbers z gets
``(1 - f) T_k + f T_{k+1}`` for p = k + f, of one of categories T_p, and of a p below 0 nothing. So
T holds the weights, the factors of the inputs and the raw values all in one.
"""

import math
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from .. import _core, _predict
from .._params import views
from ..classifier import MLPClassifier
from ..regressor import MLPRegressor
from ..tabular import TabularClassifier, TabularRegressor
from ..tabular._encoding import _Categories
from ..tabular._targets import Classes
from .checks import is_multilabel, predicts_otherwise


class Layer(NamedTuple):
    """A layer: a -> activation(a @ weights + bias).

    Attributes
    ----------
    weights : ndarray of shape (n_in, n_out)
        Of the first layer of a table, T.
    bias : ndarray of shape (n_out,)
    activation : str
        "identity" in the last layer, whose function is that of the `Output`.
    """

    weights: np.ndarray
    bias: np.ndarray
    activation: str


class Numbers(NamedTuple):
    """A column of numbers.

    Attributes
    ----------
    name : str
    unit : {"number", "date", "duration", "nothing"}
        Dates are seconds since 1970 in UTC, durations are seconds.
    first, rows : int
        Its rows of T.
    knots : ndarray of shape (n_knots,)
        Those of the numbers times `scale`, rising; none where all that counts is whether a cell is
        missing.
    scale : float
    missing : float
        Position of a missing cell, -1 for none.
    """

    name: str
    unit: str
    first: int
    rows: int
    knots: np.ndarray
    scale: float
    missing: float


class Categories(NamedTuple):
    """A column of categories: the position is the place of the label.

    Attributes
    ----------
    name : str
    first, rows : int
        As of `Numbers`.
    labels : tuple
        Rising. Text is in the order of its UTF-8.
    of_text : bool
        All labels are text; else they are numbers, if a writer is not to refuse them.
    missing : int
        Position of a missing cell, -1 for none.
    """

    name: str
    first: int
    rows: int
    labels: tuple
    of_text: bool
    missing: int


class Output(NamedTuple):
    """What is made of z, what the last layer of each member gives.

    Attributes
    ----------
    kind : {"numbers", "classes", "labels"}
        Numbers; probabilities of classes; or of several labels, each of which is there or not.
    function : str
        Of z: an output activation.
    n : int
        Width of the output.
    classes : ndarray or None
    temperature : float
        Of the probabilities that are the mean of all members.
    mean, deviation : ndarray of shape (n,) or None
        By which numbers are standardised.
    constant : ndarray of shape (n,) or None
        The only answer; then there are no members.
    both : bool
        Of two classes z tells the second alone; its output is completed by that of the first.
    """

    kind: str
    function: str
    n: int
    classes: np.ndarray | None = None
    temperature: float = 1.0
    mean: np.ndarray | None = None
    deviation: np.ndarray | None = None
    constant: np.ndarray | None = None
    both: bool = False


class Description(NamedTuple):
    """A fitted estimator.

    Attributes
    ----------
    name : str
        Of its class, which is ours.
    dtype : numpy.dtype
        Of its parameters.
    names : tuple of str
        Of the inputs.
    columns : tuple of Numbers and Categories, or None
        None: the inputs are numbers, and make one matrix.
    members : tuple of tuple of Layer
    output : Output
    """

    name: str
    dtype: np.dtype
    names: tuple
    columns: tuple | None
    members: tuple
    output: Output


def describe(estimator, names=None):
    """The `Description` of a fitted estimator.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, TabularClassifier or TabularRegressor
    names : list of str or None
        Names of the inputs in the place of those that the estimator knows.

    Raises
    ------
    TypeError
        For other estimators, and those derived from ours that predict in their own way.
    NotFittedError, ValueError
        For one that cannot predict.
    """
    base = _base_of(estimator)
    if issubclass(base, (MLPClassifier, MLPRegressor)):
        return _describe_plain(base, estimator, names)
    return _describe_tabular(base, estimator, names)


def _base_of(estimator):
    """Which of our classes an estimator is of."""
    ours = (MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor)
    base = next((cls for cls in ours if isinstance(estimator, cls)), None)
    if base is None:
        names = ", ".join(cls.__name__ for cls in ours)
        raise TypeError(f"estimator is a {type(estimator).__name__}: it takes a fitted {names}.")
    if predicts_otherwise(type(estimator), base):
        raise TypeError(
            f"estimator is a {type(estimator).__name__}, which predicts in its own way: it takes a "
            f"{base.__name__}, or a class derived from it with the same predictions."
        )
    return base


# ---- plain estimators ----


def _describe_plain(base, estimator, names):
    fitted = _predict.Fitted.of(estimator)
    cut = views(fitted.flat, _core.parameters(fitted.layer_sizes))
    activations = (*fitted.activations, "identity")
    layers = tuple(Layer(*layer) for layer in zip(*cut, activations, strict=True))
    output = _plain_output(estimator, fitted.state, fitted.layer_sizes[-1])
    if names is None:
        names = fitted.state.get("feature_names_in_")
    if names is None:
        names = [f"x{place}" for place in range(fitted.layer_sizes[0])]
    return Description(
        name=base.__name__,
        dtype=fitted.flat.dtype,
        names=tuple(map(str, names)),
        columns=None,
        members=() if output.constant is not None else (layers,),
        output=output,
    )


def _plain_output(estimator, state, width):
    function = state["out_activation_"]
    if isinstance(estimator, MLPRegressor):
        return Output("numbers", function, width)
    classes = state["classes_"]
    if is_multilabel(estimator):
        return Output("labels", function, width, classes)
    if len(classes) == 1:
        return Output("classes", function, 1, classes, constant=np.ones(1))
    return Output("classes", function, len(classes), classes, both=width < len(classes))


# ---- tabular estimators ----


def _describe_tabular(base, estimator, names):
    fitted = vars(estimator).get("_fitted")
    if fitted is None:
        check_is_fitted(estimator)
    schema, net = fitted.schema, fitted.net
    names = tuple(schema.names if names is None else names)
    if net is None:
        columns = _columns_without_net(names, schema)
        members, dtype = (), np.dtype(np.float64)
    else:
        encoders, offsets = net.encoding._encoders, net.encoding.offsets
        columns = tuple(
            _column(*column)
            for column in zip(
                names, schema.kinds, schema.with_text, encoders, offsets[:-1].tolist(), strict=True
            )
        )
        dtype = np.dtype(net.dtype)
        members = tuple(_layers(net, member.params, dtype) for member in fitted.members)
    output = _tabular_output(fitted)
    return Description(base.__name__, dtype, names, columns, members, output)


def _tabular_output(fitted):
    target = fitted.target
    n = target.n_outputs
    if not isinstance(target, Classes):
        constant = target.mean if target.is_constant else None
        return Output("numbers", "identity", n, None, 1.0, target.mean, target.deviation, constant)
    if target.kind == "multilabel":
        return Output("labels", "logistic", n, target.labels, fitted.temperature)
    constant = np.ones(1) if target.is_constant else None
    return Output("classes", "softmax", n, target.labels, fitted.temperature, constant=constant)


def _columns_without_net(names, schema):
    """The columns of a table that tells nothing, since there is one answer only."""
    columns = []
    for name, kind, of_text in zip(names, schema.kinds, schema.with_text, strict=True):
        if kind == "category":
            columns.append(Categories(name, 0, 0, (), of_text, -1))
        else:
            columns.append(Numbers(name, kind, 0, 0, np.empty(0), 1.0, -1.0))
    return tuple(columns)


def _column(name, kind, of_text, encoder, first):
    if kind == "category":
        labels = _ordered(encoder.codes)
        if labels:
            of_text = all(isinstance(label, str) for label in labels)
        return Categories(name, first, encoder.rows, labels, of_text, encoder.missing)
    if isinstance(encoder, _Categories):
        missing = float(encoder.missing)
        return Numbers(name, kind, first, encoder.rows, np.empty(0), 1.0, missing)
    return Numbers(
        name, kind, first, encoder.rows, encoder.knots, encoder.scale, encoder.when_missing
    )


def _ordered(labels):
    """Labels in the order of `Categories`, or as they are where they have none."""
    try:
        return tuple(sorted(labels))
    except TypeError:
        return tuple(labels)


def _layers(net, params, dtype):
    """The layers of a member, the first of which is T."""
    cut = {"W": [], "b": [], "s": []}
    for name, offset, shape, *_ in net.table():
        piece = params[offset : offset + math.prod(shape)]
        cut[name.partition("[")[0]].append(piece.reshape(shape))
    weights, biases = cut["W"], cut["b"]
    factors = cut["s"][0].astype(np.float64)[:, np.newaxis]
    table = _table(net.encoding, factors * weights[0])
    activations = (*net.activations, "identity")
    weights = (table.astype(dtype), *weights[1:])
    return tuple(Layer(*layer) for layer in zip(weights, biases, activations, strict=True))


def _table(encoding, weights):
    """T of the weights of the inputs, each times its factor."""
    table = np.empty_like(weights)
    for encoder, first in zip(encoding._encoders, encoding.offsets[:-1], strict=True):
        rows, of_column = weights[first:], table[first : first + encoder.rows]
        of_column[:] = rows[: encoder.rows]
        if encoder.raw is not None:
            n_knots = len(encoder.raw)
            of_column[0] = 0
            np.cumsum(of_column[:n_knots], axis=0, out=of_column[:n_knots])
            of_column[:n_knots] += np.multiply.outer(encoder.raw, rows[0])
        elif encoder.codes:
            order = [encoder.codes[label] for label in _ordered(encoder.codes)]
            of_column[: len(order)] = rows[order]
    return table
