"""The road of every fit: check, prepare, commit, train.

`check` and `prepare` leave the estimator as it is, so that a call that fails changes nothing:
scikit-learn's checks, which write into the estimator that they check, are given a draft of it.
`commit` is where a fit begins to change the estimator; `train` goes on with that.
"""

import copy
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from numbers import Integral
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from . import _core, _lbfgs, _loops
from ._availability import check_online
from ._callbacks import FitTasks, has_callbacks
from ._history import CURVES, clear_history
from ._input.arguments import (
    check_activation,
    check_dropout,
    check_hidden_layer_sizes,
    clip_batch_size,
    generator_of,
    parse_max_memory,
)
from ._input.arrays import check_initial, finite_data, validated_sample_weight
from ._input.targets import far_from_zero, rows_and_targets_of
from ._input.weights import weights_of_rows
from ._losses import Loss, with_output
from ._optim import SOLVERS
from ._params import Parameters, draw, init_coef, layer_activations
from ._predict import few_non_zeros
from ._progress import NAME as PROGRESS
from ._progress import Progress
from ._schedules import is_by_step
from ._split import split_rows
from ._threads import blas_guard, resolve_n_threads
from ._trainers import Arguments, give_back, take
from ._validation import Validation, ValidationSet, check_scoring, check_validation_set
from ._warnings import warn
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
    layer_sizes: tuple
    max_memory: int
    dropout: tuple  # share of the input of each layer; empty for none
    X: Any
    target: np.ndarray  # y as the core takes it
    sample_weight: np.ndarray | None
    data: _core.Data  # of these three
    loss: Loss
    initial: dict  # parameters to start from, by the name of the argument; None if not given
    validation: ValidationSet | None  # of the caller's own
    scorer: Any  # as `check_scoring` gives it
    y: Any  # validated, where a scorer wants it


class Job(NamedTuple):
    """What one fit trains, and how."""

    began: float  # when the call was made, by time.monotonic
    given: Given
    kept: Parameters  # those that the estimator has: `shown`, or rounded ones if that is float64
    params: Parameters  # those that are trained
    shown: Parameters  # those that count: `params`, or their moving average
    optimizer: Any  # state between epochs; None for L-BFGS
    seed: int  # of the masks of dropout
    trainer: _core.Trainer
    trainer_arguments: tuple
    order: _loops.RowOrder | None  # of the rows to train on; None for L-BFGS
    validation: Validation | None  # None if no rows are watched
    batch_size: int
    loss_scale: float
    tasks: FitTasks | None = None  # for callbacks, if there are any
    progress: Progress | None = None  # if it is shown


def fit(
    estimator, X, y, sample_weight, one_epoch=False, classes=None, validation=(None,) * 3, **initial
):
    """Fit an estimator: whole fits, and the one epoch of ``partial_fit``; returns the `Job`.

    `validation` is (X_val, y_val, sample_weight_val).
    """
    began = monotonic()
    draft = copy.copy(estimator)
    before = vars(draft).copy()
    vars(draft).pop("_steady", None)  # holds the parameters of before
    given = check(draft, X, y, sample_weight, one_epoch, classes, initial, validation)
    job = prepare(draft, given, began)
    try:
        if not one_epoch:
            job = followed(estimator, job, X, y, sample_weight)
        commit(estimator, before, draft, job)
        del before, draft  # and with them the parameters of before
        train(estimator, job)
    finally:
        # A whole fit is seldom followed by another of its shape at once, and leaves no thread.
        if one_epoch or estimator.warm_start or job.trainer.n_threads == 1:
            give_back(job.trainer, job.trainer_arguments)
    return job


def followed(estimator, job, X, y, sample_weight):
    """The job, with those who want to be told how it goes; they learn here that it begins."""
    unit = "iteration" if job.optimizer is None else "epoch"
    if has_callbacks(estimator):
        present = partial(_present_attributes, estimator, job)
        tasks = FitTasks(estimator, X, y, sample_weight, present, unit, estimator.max_iter)
        job = job._replace(tasks=tasks)
    if estimator.verbose == PROGRESS:
        bar = Progress(unit, estimator.max_iter, estimator.max_time, job.began)
        job = job._replace(progress=bar)
    return job


def _present_attributes(estimator, job):
    """Attributes that make a copy of the estimator what it were if the fit had ended now."""
    with np.errstate(over="ignore"):
        params = job.shown.copied(job.kept.flat.dtype)
        if job.validation is not None:
            job.validation.restore_into(params.flat)
    state = vars(estimator)
    names = [name for name in (*CURVES, "_optimizer") if name in state]
    attributes = copy.deepcopy({name: state[name] for name in names})
    return {
        **attributes,
        "coefs_": params.coefs,
        "intercepts_": params.intercepts,
        "_params": params,
    }


def check(draft, X, y, sample_weight, one_epoch, classes, initial, validation):
    """Check the data and the parameters; the draft learns features and classes."""
    first = not hasattr(draft, "coefs_") or not (draft.warm_start or one_epoch)
    hidden_layer_sizes = check_hidden_layer_sizes(draft.hidden_layer_sizes)
    check_activation(draft.activation, len(hidden_layer_sizes))
    dropout = check_dropout(draft.dropout, draft.input_dropout, len(hidden_layer_sizes))
    if one_epoch:
        check_online(draft)
    elif SOLVERS[draft.solver].optimizer is None:
        _refuse_mini_batches(draft)
    max_memory = parse_max_memory(draft.max_memory)
    resolve_n_threads(draft.n_threads, flops=0)  # for its errors
    scorer = check_scoring(draft)

    X, y = rows_and_targets_of(draft, X, y, first)
    if first:
        draft._x_dtype = X.dtype  # decides that of predictions
    labels = y
    loss, y = draft._check_target(y, one_epoch, classes)
    target = loss.target(y)
    n_outputs = loss.n_outputs(target.shape[1]) if target.ndim == 2 else len(draft.classes_)
    out_activation = getattr(draft, "out_activation_", loss.out_activation)
    if not first and out_activation != loss.out_activation:
        loss = with_output(loss, out_activation, n_outputs)
        target = loss.target(y)
    if first:
        draft._keeps_digits = draft._y_numeric and far_from_zero(target)
    if sample_weight is not None:
        sample_weight = validated_sample_weight(sample_weight, X)
    dtype = _arithmetic(draft, first, X)
    class_weights = draft._class_weights(y)
    sample_weight = weights_of_rows(class_weights, y, sample_weight)
    layer_sizes = (X.shape[1], *hidden_layer_sizes, n_outputs)
    shapes = {"coef_init": [*pairwise(layer_sizes)]}
    shapes["intercept_init"] = [(out,) for _, out in shapes["coef_init"]]
    return Given(
        one_epoch=one_epoch,
        first=first,
        layer_sizes=layer_sizes,
        max_memory=max_memory,
        dropout=dropout,
        X=X,
        target=target,
        sample_weight=sample_weight,
        data=finite_data(draft, X, target, sample_weight, dtype),
        loss=loss,
        initial={name: check_initial(name, a, shapes[name]) for name, a in initial.items()},
        validation=check_validation_set(draft, X, loss, target, class_weights, validation, dtype),
        scorer=scorer,
        y=labels if callable(scorer) else None,
    )


# What needs mini-batches, and the value that asks for none of it.
_OF_MINI_BATCHES = {
    "dropout": 0.0,
    "input_dropout": 0.0,
    "max_grad_norm": None,
    "ema_decay": None,
    "warmup": 0.0,
}


def _refuse_mini_batches(draft):
    """Raise ValueError for a setting that a solver without mini-batches would have to ignore."""
    for name, none in _OF_MINI_BATCHES.items():
        value = getattr(draft, name)
        if value is not none and any(v != none for v in np.ravel(value)):
            raise ValueError(
                f"{name}={value!r} needs mini-batches: with solver={draft.solver!r} it takes "
                f"{none!r}."
            )
    if is_by_step(draft.learning_rate):
        raise ValueError(
            f"learning_rate={draft.learning_rate!r} needs mini-batches, which "
            f"solver={draft.solver!r} has none of: it takes 'constant', and does not use it."
        )


def _arithmetic(draft, first, X):
    """The dtype that a net of this dtype computes in, in which X must be finite."""
    if SOLVERS[draft.solver].optimizer is None:
        return "float64"
    if draft.dtype != "auto":
        return _dtype(draft)
    return X.dtype if first else draft._parameters().flat.dtype


def prepare(draft, given, began):
    """Draw, split and allocate what training needs, in scikit-learn's order of random draws."""
    with _sizes_named(draft, given):
        random_state = draft._random_state = generator_of(draft.random_state)
        kept = _initial(draft, given)
        stochastic = SOLVERS[draft.solver].optimizer is not None
        rows = held_out = None
        if draft.early_stopping and stochastic and given.validation is None:
            rows, held_out = _split(draft, given)
        n_rows = given.data.n_rows if rows is None else len(rows)
        shown = kept.as_dtype(np.float64) if _in_double(draft, given) else kept
        optimizer = _optimizer(draft, given, shown.flat) if stochastic else None
        params = _trained(draft, given, optimizer, shown)
        seed = 0
        if given.dropout:
            seed = optimizer.seed or int(random_state.randint(1, np.iinfo(np.int32).max))
        batch_size = min(_LBFGS_ROWS, n_rows)
        if stochastic:
            batch_size = clip_batch_size(draft.batch_size, n_rows)
        arguments = trainer_arguments(draft, given, params, optimizer, batch_size)
        trainer = take(arguments)
        order = validation = None
        if stochastic:
            order = row_order(draft, given, n_rows, rows, batch_size, random_state)
        loss_scale = given.loss.loss_scale(given.layer_sizes[-1])
        if held_out is not None or given.validation is not None:
            decides = draft.early_stopping and stochastic
            validation = Validation(
                given, held_out, trainer, shown, loss_scale, given.scorer, decides
            )
        return Job(
            began=began,
            given=given,
            kept=kept,
            params=params,
            shown=shown,
            optimizer=optimizer,
            seed=seed,
            trainer=trainer,
            trainer_arguments=arguments,
            order=order,
            validation=validation,
            batch_size=batch_size,
            loss_scale=loss_scale,
        )


def row_order(draft, given, n_rows, rows, batch_size, random_state=None):
    """The order of the rows to train on.

    The one mini-batch of a ``partial_fit`` has all of them, so theirs makes no difference but of
    rounding. It is not drawn unless somebody else draws from the generator, too.
    """
    alone = given.one_epoch and n_rows <= batch_size and isinstance(draft.random_state, Integral)
    shuffle = draft.shuffle and not alone
    if shuffle and random_state is None:
        random_state = generator_of(draft.random_state)
    return _loops.RowOrder(n_rows, rows, shuffle, random_state)


def threads_of(draft, batch_size, params):
    """Threads of the trainer."""
    return resolve_n_threads(draft.n_threads, flops=6.0 * batch_size * params.flat.size)


def trainer_arguments(draft, given, params, optimizer, batch_size):
    """The `Arguments` of the trainer."""
    return Arguments(
        layer_sizes=params.layer_sizes,
        activations=check_activation(draft.activation, len(params.layer_sizes) - 2),
        loss=given.loss.core,
        dtype="float32" if params.flat.dtype == np.float32 else "float64",
        batch_size=batch_size,
        optimizer="none" if optimizer is None else optimizer.core_name(draft),
        n_threads=threads_of(draft, batch_size, params),
        max_memory=given.max_memory,
        sparse=few_non_zeros(given.X),
        dropout=given.dropout,
        keep_grad=draft.max_grad_norm is not None and optimizer is not None,
        loss_params=given.loss.params(params.layer_sizes[-1]),
        label_smoothing=given.loss.smoothing,
        asks=given.loss.ask is not None,
    )


@contextmanager
def _sizes_named(draft, given):
    """Say of which net it is that there is no memory for it."""
    try:
        yield
    except (OverflowError, MemoryError) as error:
        kind = OverflowError if isinstance(error, OverflowError) else MemoryError
        n_features, *_, n_outputs = given.layer_sizes
        raise kind(
            f"A network of {n_features} features, hidden_layer_sizes={draft.hidden_layer_sizes!r} "
            f"and {n_outputs} outputs is too large: {error}"
        ) from error


def _in_double(draft, given):
    """Tell whether to compute in float64, whatever the dtype of the net.

    L-BFGS does always: its line search stalls on the rounding errors of float32.
    """
    few = not given.one_epoch and given.data.n_rows <= _ROWS_IN_DOUBLE
    return few or SOLVERS[draft.solver].optimizer is None


def _split(draft, given):
    loss, target = given.loss, given.target
    return split_rows(
        given.data.n_rows,
        draft.validation_fraction,
        draft._random_state,
        stratify=loss.stratify and loss.stratify(target),
        classes=loss.classes and loss.classes(target),
        weight=given.sample_weight,
    )


# ---- the parameters to start from ----


def _initial(draft, given):
    """Those drawn or gone on from, with those that the caller gave."""
    params = _drawn(draft, given) if given.first else _continued(draft, given)
    arrays = {name: a for name, a in given.initial.items() if a is not None}
    if arrays and not given.first:
        params = params.copied(params.flat.dtype)  # the estimator has these
    for name, a in arrays.items():
        params.replace(name, a)
    return params


def _drawn(draft, given):
    dtype = given.X.dtype.name if draft.dtype == "auto" else _dtype(draft)
    params = Parameters(given.layer_sizes, dtype)
    if getattr(draft._init_coef, "__func__", None) is not init_coef:
        _draw_by_subclass(draft, params)
    else:
        activations = layer_activations(draft.activation, len(params.coefs))
        draw(params.coefs, params.intercepts, activations, draft._random_state)
    return params


def _draw_by_subclass(draft, params):
    """Copy what an `_init_coef` of the user's own gives for each layer."""
    for layer, (W, b) in enumerate(zip(params.coefs, params.intercepts, strict=True)):
        drawn = draft._init_coef(*W.shape, W.dtype)
        for name, view, array in zip(("coef", "intercept"), (W, b), drawn, strict=True):
            if np.shape(array) != view.shape:
                raise ValueError(
                    f"_init_coef gave a {name}_init of shape {np.shape(array)} for layer {layer}: "
                    f"it must have {view.shape}."
                )
            view[...] = array


def _dtype(draft):
    """The dtype asked for, or float64 where float32 cannot hold the digits of the targets."""
    wider = draft.dtype == "float32" and getattr(draft, "_keeps_digits", False)
    return "float64" if wider else draft.dtype


def _continued(draft, given):
    """The parameters to go on from; they must match the data and the constructor."""
    params = draft._parameters()
    if draft.dtype != "auto":
        params = params.as_dtype(_dtype(draft))
    have, name = params.layer_sizes, type(draft).__name__
    n_features, *hidden, n_outputs = given.layer_sizes
    if have[1:-1] != tuple(hidden):
        raise ValueError(
            f"hidden_layer_sizes={draft.hidden_layer_sizes!r} does not match the widths "
            f"{have[1:-1]} of the fitted layers; a fit with warm_start=False can change them."
        )
    if have[0] != n_features:
        raise ValueError(
            f"X has {n_features} features, but {name} is expecting {have[0]} features as input."
        )
    if have[-1] != n_outputs:
        who = "y has"
        if getattr(draft, "_quantiles", None):
            who = f"quantile={draft.quantile!r} asks for"
        raise ValueError(f"{who} {n_outputs} outputs, but {name} was fitted with {have[-1]}.")
    return params


def _optimizer(draft, given, flat):
    """The optimizer state to train with: fresh in ``fit``, the kept one in ``partial_fit``."""
    kept, kind = getattr(draft, "_optimizer", None), SOLVERS[draft.solver].optimizer
    same = type(kept) is kind and kept.state[0].shape == flat.shape
    if not given.one_epoch or not same:
        return kind(draft, flat)
    return kept.usable_as(flat.dtype)


def _trained(draft, given, optimizer, shown):
    """What is trained: what is shown, unless that is a moving average, which begins there.

    ``partial_fit`` goes on with what it has trained, if the weights shown are its own.
    """
    if draft.ema_decay is None:
        return shown
    params = shown.copied(shown.flat.dtype)
    own = given.one_epoch and not given.first and optimizer.trained is not None
    if own and np.array_equal(optimizer.shown, shown.flat):
        np.copyto(params.flat, optimizer.trained)
    return params


# ---- the estimator changes ----


def commit(estimator, before, draft, job):
    """Give the estimator what its draft has learnt, and what training goes on from.

    At once: other Python threads that predict meanwhile see the net of before, or this one. What
    the draft has not changed is left alone: they may have set it.
    """
    sizes = job.kept.layer_sizes
    draft.memory_plan_ = plan_of(job.trainer)
    if job.shown is not job.params:
        draft.memory_plan_ = draft.memory_plan_.with_vector("ema", job.shown.flat)
    if job.validation is not None and job.validation.decides:
        draft.memory_plan_ = draft.memory_plan_.with_vector("best", job.shown.flat)
    if job.shown is not job.kept:
        draft.memory_plan_ = draft.memory_plan_.with_rounded(job.kept.flat)
    draft.n_layers_, draft.n_outputs_ = len(sizes), sizes[-1]
    draft.out_activation_ = job.given.loss.out_activation
    if job.given.first:
        clear_history(draft)
        draft.t_ = draft.n_iter_ = 0
    elif not hasattr(draft, "t_"):
        draft.t_ = 0
    if job.optimizer is not None:
        job.optimizer.seed, job.optimizer.trained = job.seed, None
    draft._optimizer = job.optimizer
    draft._link(job.kept)
    after = vars(draft)
    vars(estimator).update({k: v for k, v in after.items() if v is not before.get(k, before)})
    for name in before.keys() - after.keys():
        vars(estimator).pop(name, None)


def plan_of(trainer):
    """The `MemoryPlan` of a trainer, made once."""
    if trainer.memory_plan is None:
        trainer.memory_plan = MemoryPlan.from_core(trainer.plan())
    return trainer.memory_plan


def train(estimator, job):
    """Train by the solver's loop; the estimator shows the outcome, also of an interrupted fit."""
    loop = _lbfgs if job.optimizer is None else _loops
    try:
        # SciPy's L-BFGS uses BLAS for its own vectors.
        with blas_guard(job.trainer.uses_blas or job.optimizer is None):
            ending = loop.train(estimator, job)
    finally:
        fits = job.shown is job.kept or _round(job.shown.flat, job.kept.flat)
        _keep_trained(job)
        if job.progress is not None:
            job.progress.close()
    if ending.error:
        raise ValueError(ending.error)
    if not fits:
        raise ValueError(
            f"{_loops.NON_FINITE} They are beyond the range of {job.kept.flat.dtype}, which "
            "dtype='float64' would widen; coefs_ and intercepts_ are those of before."
        )
    if not _core.all_finite(job.kept.flat[:, np.newaxis]):
        raise ValueError(_loops.NON_FINITE)
    if job.tasks is not None:
        job.tasks.end_fit()
    # At last, for a warning can be made an error, which must lose nothing.
    if ending.unbeaten:
        warn(ending.unbeaten)
    if ending.warning:
        warn(ending.warning, ending.category)


def _keep_trained(job):
    """Let ``partial_fit`` go on with what was trained, where that is not what is shown.

    Where early stopping has gone back to the best average, there is no telling what was trained.
    """
    if job.shown is not job.params and (job.validation is None or not job.validation.decides):
        job.optimizer.trained, job.optimizer.shown = job.params.flat, job.kept.flat.copy()


def _round(source, target):
    """Copy float64 parameters into the vector of the net; False, and no copy, if they overflow."""
    if max(source.max(), -source.min()) > np.finfo(target.dtype).max:
        return False
    np.copyto(target, source, casting="same_kind")
    return True
