"""What a net's outputs mean: output activations and labels, checked for whether they fit."""

import datetime
import numbers
from itertools import pairwise

import numpy as np

from .._losses import BY_OUTPUT
from ..regressor import MLPRegressor
from .checks import fail, one_of
from .container import FileError

# Types of labels in an array of objects; those of pandas are derived from them.
_LABEL = (
    str,
    bytes,
    numbers.Number,
    np.generic,
    datetime.date,
    datetime.time,
    datetime.timedelta,
)
# Labels have no means and deviations. All else may be set after a fit.
_OF_CLASSIFIERS = one_of(sorted({*BY_OUTPUT} - {"mean_and_std"}))


def check_outputs(estimator, where, state, n_outputs):
    """Whether the outputs can be those of such an estimator, which another loss may be set for."""
    out_activation = state["out_activation_"]
    if not isinstance(estimator, MLPRegressor):
        _OF_CLASSIFIERS.check(f"{where}.out_activation_", out_activation)
        check_classes(where, state, n_outputs)
        return
    quantiles = state.get("_quantiles")
    if quantiles and len(quantiles) != n_outputs:
        fail(f"{where}._quantiles", quantiles, f"{n_outputs} of them, one for each output")
    if out_activation == "mean_and_std" and n_outputs % 2:
        fail(f"{where}, outputs", n_outputs, "an even number for means and deviations")


def check_classes(where, state, n_outputs, least=1):
    """Whether there is a label for every output; two or one for one output, if that is `least`."""
    for name in ("classes_", "_binarizer"):
        if name not in state:
            raise FileError(f"{where} has weights, but no {name!r}")
    binarizer, classes = state["_binarizer"], state["classes_"]
    known = classes if binarizer is None else binarizer.classes_
    check_labels(f"{where}.classes_", classes)
    check_labels(f"{where}.classes_", known)
    fits = (n_outputs,) if n_outputs > 1 or least > 1 else (1, 2)
    if binarizer is not None and binarizer.y_type_.startswith("multilabel"):
        fits = (n_outputs,)
    if len(known) not in fits or len(classes) != len(known):
        fail(f"{where}.classes_", known, f"{' or '.join(map(str, fits))} labels, by its outputs")


def check_labels(where, labels):
    """Whether each can be a label, is comparable with the others, and is there once."""
    if labels.dtype.kind != "O":
        if len(np.unique(labels)) != len(labels):
            fail(where, labels, "each label once")
        return
    for label in labels:
        if not isinstance(label, _LABEL):
            fail(where, label, "labels that are texts, numbers, booleans or dates")
    try:
        ordered = sorted(labels)
    except TypeError:
        fail(where, labels, "labels that can be compared with one another")
    if any(a == b for a, b in pairwise(ordered)):
        fail(where, labels, "each label once")
