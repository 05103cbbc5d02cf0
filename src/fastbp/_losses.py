"""The losses of the estimators, one row each."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from ._input.arguments import loss_params
from ._input.targets import columns, counts, indices, positives, reals, repeated
from ._own_loss import ask_for


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
    n_outputs : callable
        Number of columns of the target -> number of outputs of the net.
    params : callable
        Number of outputs -> the parameter of each, a tuple of float; empty where it has none.
    smoothing : float
        The share of a label that is spread over the classes.
    is_canonical : bool
        The gradient by z is output - y.
    ask : callable or None
        What ``_core.Trainer`` asks instead of its own loss.
    """

    core: str
    out_activation: str
    target: Callable
    score: Callable
    loss_scale: Callable = lambda n_outputs: 1.0
    stratify: Callable | None = None
    classes: Callable | None = None
    n_outputs: Callable = lambda n_columns: n_columns
    params: Callable = lambda n_outputs: ()
    smoothing: float = 0.0
    is_canonical: bool = True
    ask: Callable | None = None


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


def means(output):
    """The means of an output of means and deviations, (n, n_outputs / 2)."""
    return output[:, : output.shape[1] // 2]


def r2_of_means(output, target, sample_weight):
    """`r2` of the means of an output of means and deviations."""
    return r2(means(output), target, sample_weight)


def d2_pinball(quantiles):
    """Score by these quantiles, one per output: the mean of their D2 pinball scores [1]_.

    NaN if an output is not finite.

    References
    ----------
    .. [1] Koenker and Machado, "Goodness of fit and related inference processes for quantile
       regression", JASA 94, 1999.
    """

    def score(output, target, sample_weight):
        from sklearn.metrics import d2_pinball_score

        if not np.isfinite(output).all():
            return np.nan
        scores = [
            d2_pinball_score(y, prediction, sample_weight=sample_weight, alpha=quantile)
            for quantile, y, prediction in zip(quantiles, target.T, output.T, strict=True)
        ]
        return float(np.mean(scores))

    return score


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
    "absolute_error": Loss("absolute_error", "identity", reals, r2, is_canonical=False),
    "huber": Loss("huber", "identity", reals, r2, is_canonical=False),
    "log_cosh": Loss("log_cosh", "identity", reals, r2, is_canonical=False),
    "quantile": Loss("quantile", "identity", reals, r2, is_canonical=False),
    "gamma": Loss("gamma", "exp", positives, r2, is_canonical=False),
    "gaussian_nll": Loss(
        "gaussian_nll",
        "mean_and_std",
        reals,
        r2_of_means,
        n_outputs=lambda n_columns: 2 * n_columns,
        is_canonical=False,
    ),
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


def regression(name, huber_delta, quantile):
    """The row of a regressor's loss, which knows its parameter; arguments are checked ones."""
    if callable(name):
        return Loss("squared_error", "identity", reals, r2, is_canonical=False, ask=ask_for(name))
    row = REGRESSION[name]
    row = row._replace(params=lambda n: loss_params(row.core, n, huber_delta, quantile))
    if name != "quantile" or isinstance(quantile, float):
        return row
    return row._replace(target=lambda y: repeated(y, len(quantile)), score=d2_pinball(quantile))


class _ByOutput(dict):
    def __missing__(self, name):
        raise ValueError(f"out_activation_={name!r} is unknown: it takes one of {list(self)}.")


# By output activation, a row that has it: to a forward pass all of these are the same.
BY_OUTPUT = _ByOutput(
    (row.out_activation, row) for row in reversed([*REGRESSION.values(), *CLASSIFICATION.values()])
)


def _with_output(loss, out_activation, n_outputs):
    """The loss of a net whose output activation was changed after the fit.

    It is the one whose gradient by z is output - y: the updates are those of scikit-learn, where
    the gradient is that whatever the activation is.
    """
    other = BY_OUTPUT[out_activation]
    if not (loss.is_canonical and other.is_canonical):
        name = "a function" if loss.ask else repr(loss.core)
        raise ValueError(
            f"loss={name} has outputs by {loss.out_activation!r}, the net has them by "
            f"out_activation_={out_activation!r}: a fit with warm_start=False can change them."
        )
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


def target_of_fit(estimator, first, y, loss):
    """The loss of a fit, y as the core takes it, and the number of the net's outputs.

    Parameters
    ----------
    estimator : BaseMLP
        It has learnt classes already.
    first : bool
        The fit begins with new weights, not with a net whose output activation may be another.
    y : ndarray
        Numbers, or codes of labels.
    loss : Loss
    """
    target = loss.target(y)
    n_outputs = loss.n_outputs(target.shape[1]) if target.ndim == 2 else len(estimator.classes_)
    out_activation = getattr(estimator, "out_activation_", loss.out_activation)
    if not first and out_activation != loss.out_activation:
        loss = _with_output(loss, out_activation, n_outputs)
        target = loss.target(y)
    return loss, target, n_outputs
