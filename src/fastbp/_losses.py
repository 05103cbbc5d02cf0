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
    classes : callable or None
        target -> the number of each row's class.
    """

    core: str
    out_activation: str
    target: Callable
    score: Callable
    loss_scale: Callable = lambda n_outputs: 1.0
    stratify: Callable | None = None
    classes: Callable | None = None


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


def _accuracy_of_one_hot(output, target, sample_weight):
    return _accuracy_of_indices(output, target.argmax(axis=1), sample_weight)


def _accuracy_of_columns(output, target, sample_weight):
    hit = ((output > 0.5) == target).all(axis=1)
    return float(np.average(hit, weights=sample_weight))


def _always_right(output, target, sample_weight):
    return 1.0  # there is one label to choose from


def _names(target):
    # The names appear in scikit-learn's message about classes with too few members.
    return np.array(["False", "True"])[_first_column(target)]


def _first_column(target):
    return target[:, 0].astype(np.intp)


def _as_it_is(target):
    return target


def _largest(target):
    return target.argmax(axis=1)


# By the name of the loss.
REGRESSION = {
    "squared_error": Loss(
        "squared_error", "identity", reals, r2, loss_scale=lambda n_outputs: 1.0 / n_outputs
    ),
    "poisson": Loss("poisson", "exp", counts, r2),
}
# By the kind of labels, as `encode_labels` tells it.
CLASSIFICATION = {
    "multiclass": Loss("log_loss", "softmax", indices, _accuracy_of_indices, classes=_as_it_is),
    "multilabel": Loss("binary_log_loss", "logistic", columns, _accuracy_of_columns),
    "binary": Loss(
        "binary_log_loss",
        "logistic",
        columns,
        _accuracy_of_columns,
        stratify=_names,
        classes=_first_column,
    ),
    "constant": Loss("binary_log_loss", "logistic", columns, _always_right, stratify=_names),
}


class _ByOutput(dict):
    def __missing__(self, name):
        raise ValueError(f"out_activation_={name!r} is unknown: it takes one of {list(self)}.")


# By output activation, a row that has it: to a forward pass all of these are the same.
BY_OUTPUT = _ByOutput(
    (row.out_activation, row) for row in reversed([*REGRESSION.values(), *CLASSIFICATION.values()])
)


def with_output(loss, out_activation, n_outputs):
    """The loss of a net whose output activation was changed after the fit.

    It is the one whose gradient by z is output - y: the updates are those of scikit-learn, where
    the gradient is that whatever the activation is.
    """
    other = BY_OUTPUT[out_activation]
    if out_activation == "softmax":
        raise ValueError(
            "out_activation_='softmax' can be trained on labels of three classes or more only; "
            f"this net was fitted with {loss.out_activation!r}."
        )
    loss = loss._replace(
        core=other.core, out_activation=out_activation, loss_scale=other.loss_scale
    )
    if loss.target is indices:
        return loss._replace(
            target=lambda codes: np.eye(n_outputs, dtype=np.uint8)[codes],
            score=_accuracy_of_one_hot,
            classes=_largest,
        )
    return loss._replace(target=counts) if out_activation == "exp" else loss
