"""The losses of the estimators, one row each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._input.targets import columns, counts, indices, reals


class Loss(NamedTuple):
    """One row: what a loss asks of the core, takes as y, and reports.

    Attributes
    ----------
    core : str
        Its name in the core.
    out_activation : str
        The output activation, as scikit-learn names it.
    target : callable
        y, or the codes of its labels -> the array that the core takes.
    score : callable
        (output, target, sample_weight) -> the score of the rows held out, a float.
    loss_scale : callable
        Number of outputs -> factor of the loss that is reported.
    stratify : callable or None
        target -> labels that the validation split keeps in proportion.
    """

    core: str
    out_activation: str
    target: Callable
    score: Callable
    loss_scale: Callable = lambda n_outputs: 1.0
    stratify: Callable | None = None


def r2(output, target, sample_weight):
    """Coefficient of determination, averaged over the outputs; NaN if an output is not finite.

    R2 = 1 - sum w (y - output)^2 / sum w (y - mean y)^2, per output. A constant target counts
    1 if it is met exactly and 0 if not.
    """
    if not np.isfinite(output).all():
        return np.nan
    weight = 1.0 if sample_weight is None else sample_weight[:, np.newaxis]
    mean = np.average(target, axis=0, weights=sample_weight)
    left = (weight * (target - output) ** 2).sum(axis=0, dtype=np.float64)
    total = (weight * (target - mean) ** 2).sum(axis=0, dtype=np.float64)
    constant = total == 0
    r2 = np.where(constant, left == 0, 1 - left / np.where(constant, 1, total))
    return float(r2.mean())


def _accuracy_of_indices(output, target, sample_weight):
    return float(np.average(output.argmax(axis=1) == target, weights=sample_weight))


def _accuracy_of_columns(output, target, sample_weight):
    hit = ((output > 0.5) == target).all(axis=1)
    return float(np.average(hit, weights=sample_weight))


def _always_right(output, target, sample_weight):
    return 1.0  # there is one label to choose from


def _names(target):
    # The names appear in scikit-learn's message about classes with too few members.
    return np.array(["False", "True"])[target[:, 0]]


# By the name of the loss.
REGRESSION = {
    "squared_error": Loss(
        "squared_error", "identity", reals, r2, loss_scale=lambda n_outputs: 1.0 / n_outputs
    ),
    "poisson": Loss("poisson", "exp", counts, r2),
}
# By the kind of labels, as `encode_labels` tells it.
CLASSIFICATION = {
    "multiclass": Loss("log_loss", "softmax", indices, _accuracy_of_indices),
    "multilabel": Loss("binary_log_loss", "logistic", columns, _accuracy_of_columns),
    "binary": Loss("binary_log_loss", "logistic", columns, _accuracy_of_columns, stratify=_names),
    "constant": Loss("binary_log_loss", "logistic", columns, _always_right, stratify=_names),
}
# By output activation, a row that has it: to a forward pass all of these are the same.
BY_OUTPUT = {
    row.out_activation: row for row in reversed([*REGRESSION.values(), *CLASSIFICATION.values()])
}
