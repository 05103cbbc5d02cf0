"""The road of every fit: check, prepare, commit, train.

`check` and `prepare` leave the estimator as it is, so that a call that fails changes nothing:
scikit-learn's checks, which write into the estimator that they check, are given a draft of it.
`commit` is where a fit begins to change the estimator; `train` goes on with that.
"""

import copy
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state

from . import _core, _lbfgs, _loops
from ._input.arguments import check_hidden_layer_sizes, clip_batch_size, parse_max_memory
from ._input.arrays import finite_data, validated, validated_sample_weight
from ._losses import BY_OUTPUT, Loss
from ._optim import SOLVERS
from ._params import Parameters, draw
from ._predict import few_non_zeros
from ._threads import resolve_n_threads, single_threaded_blas
from .memory import MemoryPlan

# L-BFGS wants the gradient over all rows; this many at a time keep the arena small.
_LBFGS_ROWS = 1024
# `fit` on so few rows computes in float64 and rounds the result to the net's dtype: it costs
# nothing, and a weight of k then means the same as k equal rows to the last digit.
_ROWS_IN_DOUBLE = 64


class Given(NamedTuple):
    """What a fit was given, after all checks."""

    one_epoch: bool  # by partial_fit
    first: bool  # the parameters are to be drawn, not gone on from
    hidden_layer_sizes: tuple
    max_memory: int
    n_threads: int
    X: Any
    target: np.ndarray  # y as the core takes it
    sample_weight: np.ndarray | None
    data: _core.Data  # of these three
    n_outputs: int
    loss: Loss


class Job(NamedTuple):
    """What one fit trains, and how."""

    given: Given
    kept: Parameters  # those that the estimator shows
    params: Parameters  # those that are trained: `kept`, or a copy in float64
    optimizer: Any  # state between epochs; None for L-BFGS
    trainer: _core.Trainer
    rows: np.ndarray | None  # int64 numbers of the rows to train on; None for all
    validation_rows: np.ndarray | None  # None without early stopping
    batch_size: int
    random_state: np.random.RandomState
    loss: Loss
    loss_scale: float

    @property
    def n_rows(self):
        """How many rows are trained on."""
        return self.given.data.n_rows if self.rows is None else len(self.rows)


def fit(estimator, X, y, sample_weight, one_epoch=False, classes=None):
    """Fit an estimator: whole fits, and the one epoch of ``partial_fit``."""
    draft = copy.copy(estimator)
    given = check(draft, X, y, sample_weight, one_epoch, classes)
    job = prepare(draft, given)
    commit(estimator, draft, job)
    del draft  # and with it the parameters of before
    train(estimator, job)
    return estimator


def check(draft, X, y, sample_weight, one_epoch, classes):
    """Check the data and the parameters; the draft learns features and classes."""
    hidden_layer_sizes = check_hidden_layer_sizes(draft.hidden_layer_sizes)
    max_memory = parse_max_memory(draft.max_memory)
    n_threads = resolve_n_threads(draft.n_threads)
    if one_epoch and draft.early_stopping:
        raise ValueError("partial_fit does not support early_stopping=True")
    first = not hasattr(draft, "coefs_") or not (draft.warm_start or one_epoch)

    X, y = validated(draft, X, y, multi_output=True, y_numeric=draft._y_numeric, reset=first)
    loss, y = draft._check_target(y, one_epoch, classes)
    target = loss.target(y)
    if sample_weight is not None:
        sample_weight = validated_sample_weight(sample_weight, X)
    return Given(
        one_epoch=one_epoch,
        first=first,
        hidden_layer_sizes=hidden_layer_sizes,
        max_memory=max_memory,
        n_threads=n_threads,
        X=X,
        target=target,
        sample_weight=sample_weight,
        data=finite_data(draft, X, target, sample_weight),
        n_outputs=target.shape[1] if target.ndim == 2 else len(draft.classes_),
        loss=loss,
    )


def prepare(draft, given):
    """Draw, split and allocate what training needs, in scikit-learn's order of random draws."""
    random_state = check_random_state(draft.random_state)
    kept = _drawn(draft, given, random_state) if given.first else _continued(draft, given)
    loss = given.loss if given.first else _continued_loss(draft, given.loss)
    n_rows = given.data.n_rows
    stochastic = SOLVERS[draft.solver].optimizer is not None
    rows = validation_rows = None
    if draft.early_stopping and stochastic:
        labels = given.loss.stratify and given.loss.stratify(given.target)
        fraction = draft.validation_fraction
        rows, validation_rows = _loops.split_rows(n_rows, fraction, labels, random_state)
    in_double = not given.one_epoch and n_rows <= _ROWS_IN_DOUBLE
    params = kept.as_dtype(np.float64) if in_double else kept
    optimizer, batch_size = None, min(_LBFGS_ROWS, n_rows)
    if stochastic:
        optimizer = _optimizer(draft, given, params)
        batch_size = clip_batch_size(draft.batch_size, n_rows if rows is None else len(rows))
    trainer = _core.Trainer(
        params.layer_sizes,
        (draft.activation,) * len(given.hidden_layer_sizes),
        loss.core,
        params.flat.dtype.name,
        batch_size,
        optimizer="none" if optimizer is None else optimizer.core_name,
        n_threads=given.n_threads,
        max_memory=given.max_memory,
        sparse=few_non_zeros(given.X),
    )
    return Job(
        given=given,
        kept=kept,
        params=params,
        optimizer=optimizer,
        trainer=trainer,
        rows=rows,
        validation_rows=validation_rows,
        batch_size=batch_size,
        random_state=random_state,
        loss=loss,
        loss_scale=loss.loss_scale(given.n_outputs),
    )


def _drawn(draft, given, random_state):
    sizes = (given.X.shape[1], *given.hidden_layer_sizes, given.n_outputs)
    dtype = given.X.dtype.name if draft.dtype == "auto" else draft.dtype
    try:
        params = Parameters(sizes, dtype)
        activations = (draft.activation,) * len(params.coefs)
        draw(params.coefs, params.intercepts, activations, random_state)
        return params
    except (OverflowError, MemoryError) as error:
        kind = OverflowError if isinstance(error, OverflowError) else MemoryError
        raise kind(
            f"hidden_layer_sizes={draft.hidden_layer_sizes!r} makes a network of layer sizes "
            f"{sizes} that is too large: {error}"
        ) from error


def _continued(draft, given):
    """The parameters to go on from; they must match the data and the constructor."""
    params = draft._parameters()
    if draft.dtype != "auto":
        params = params.as_dtype(draft.dtype)
    have, name, n_features = params.layer_sizes, type(draft).__name__, given.X.shape[1]
    if have[1:-1] != given.hidden_layer_sizes:
        raise ValueError(
            f"hidden_layer_sizes={draft.hidden_layer_sizes!r} does not match the widths "
            f"{have[1:-1]} of the fitted layers; a fit with warm_start=False can change them."
        )
    if have[0] != n_features:
        raise ValueError(
            f"X has {n_features} features, but {name} is expecting {have[0]} features as input."
        )
    if have[-1] != given.n_outputs:
        raise ValueError(f"y has {given.n_outputs} outputs, but {name} was fitted with {have[-1]}.")
    return params


def _continued_loss(draft, loss):
    """The loss asked for, unless the net has another output activation: that stays."""
    out_activation = getattr(draft, "out_activation_", loss.out_activation)
    return loss if out_activation == loss.out_activation else BY_OUTPUT[out_activation]


def _optimizer(draft, given, params):
    """The optimizer state to train with: fresh in ``fit``, the kept one in ``partial_fit``."""
    kept = getattr(draft, "_optimizer", None)
    if not given.one_epoch or kept is None or kept.state[0].shape != params.flat.shape:
        return SOLVERS[draft.solver].optimizer(draft, params.flat)
    return kept


def commit(estimator, draft, job):
    """Give the estimator what its draft has learnt, and what training goes on from."""
    for name in vars(estimator).keys() - vars(draft).keys():
        delattr(estimator, name)
    vars(estimator).update(vars(draft))
    estimator.memory_plan_ = MemoryPlan.from_core(job.trainer.plan())
    estimator.n_layers_, estimator.n_outputs_ = len(job.kept.layer_sizes), job.given.n_outputs
    estimator.out_activation_ = job.loss.out_activation
    if job.given.first:
        _loops.clear_history(estimator)
        estimator.t_ = estimator.n_iter_ = 0
    elif not hasattr(estimator, "t_"):
        estimator.t_ = 0
    estimator._link(job.kept)


def train(estimator, job):
    """Train by the solver's loop; the estimator shows the outcome, also of an interrupted fit."""
    loop = _lbfgs if job.optimizer is None else _loops
    flat = job.kept.flat
    try:
        with single_threaded_blas():
            loop.train(estimator, job)
    finally:
        if job.params is not job.kept:
            with np.errstate(over="ignore"):
                flat[...] = job.params.flat
    # The sum is finite unless an entry is not (or the sum overflows, hence the second look).
    if not np.isfinite(flat.sum()) and not np.isfinite(flat).all():
        raise ValueError(_loops.NON_FINITE)
