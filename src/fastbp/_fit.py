"""The road of every fit: check, prepare, commit, train.

`check` and `prepare` leave the estimator as it is, so that a call that fails changes nothing:
scikit-learn's checks, which write into the estimator that they check, are given a draft of it.
`commit` is where a fit begins to change the estimator; `train` goes on with that.
"""

import copy
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from numbers import Integral
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from . import _core, _data_parallel, _distributed, _lbfgs, _loops
from ._availability import check_online
from ._callbacks import FitTasks, has_callbacks
from ._checkpoints.fingerprint import fingerprint, start_of
from ._checkpoints.keeper import NOBODY, Keeper, Nobody
from ._datasets import NoRoomForRowsError, is_dataset
from ._distributed import Ranks, active, agreeing, alike
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
from ._losses import Loss, target_of_fit
from ._maps import MapRows, is_beyond_memory
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
    data: _core.Data | Any  # of these three; of a dataset a `Stream`, and X is None
    loss: Loss
    initial: dict  # parameters to start from, by the name of the argument; None if not given
    validation: ValidationSet | None  # of the caller's own
    scorer: Any  # as `check_scoring` gives it
    y: Any  # validated, where a scorer wants it
    learnt: Any = None  # of a dataset, as `_datasets._check.learn` gives it
    n_rows: int = 0  # of all ranks


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
    rows: Any  # to train on: `_loops.Rows`, of a dataset `StreamRows`; None for L-BFGS in memory
    validation: Validation | None  # None if no rows are watched
    batch_size: int
    loss_scale: float
    keeper: Keeper | Nobody = NOBODY  # of its checkpoint
    tasks: FitTasks | None = None  # for callbacks, if there are any
    progress: Progress | None = None  # if it is shown
    ranks: Ranks | None = None  # that train together; None: this process alone


def fit(
    estimator, X, y, sample_weight, one_epoch=False, classes=None, validation=(None,) * 3, **initial
):
    """Fit an estimator: whole fits, and the one epoch of ``partial_fit``; returns the `Job`.

    `validation` is (X_val, y_val, sample_weight_val).
    """
    began = monotonic()
    with ExitStack() as stack:
        passed = X, y, sample_weight
        job = _begin(stack, estimator, passed, validation, initial, one_epoch, classes, began)
        train(estimator, job)
    return job


def _begin(stack, estimator, passed, validation, initial, one_epoch, classes, began):
    """All that comes before training: the job.

    What training does not need, such as the parameters of before, ends with this call.
    """
    draft = copy.copy(estimator)
    before = vars(draft).copy()
    vars(draft).pop("_steady", None)  # holds the parameters of before
    ranks = active()
    stack.enter_context(_distributed.fitting(ranks))
    stack.enter_context(_distributed.interrupts_held(ranks))
    with agreeing(ranks):
        first = _begins_anew(draft, one_epoch)
        _data_parallel.compare_settings(draft, one_epoch, first, initial, validation)
        keeper = Nobody(began) if one_epoch else _data_parallel.keeper_of(draft, began)
        stack.enter_context(keeper)  # before all of a dataset is read
        given = check(draft, *passed, one_epoch, classes, initial, validation)
        job = prepare(draft, given, keeper)
    stack.callback(_put_away, estimator, job)
    if not one_epoch:
        with agreeing(ranks):
            job = followed(estimator, job, *passed)
    commit(estimator, before, draft, job)
    return job


def _put_away(estimator, job):
    """Keep the trainer for the next fit, if there may be one: a whole fit is seldom followed by
    another of its shape at once, and leaves no thread."""
    if job.given.learnt is not None:
        job.rows.close()
    if job.given.one_epoch or estimator.warm_start or job.trainer.n_threads == 1:
        give_back(job.trainer, job.trainer_arguments)


def followed(estimator, job, X, y, sample_weight):
    """The job, with those who want to be told how it goes; they learn here that it begins."""
    unit = "iteration" if job.optimizer is None else "epoch"
    if has_callbacks(estimator):
        present = partial(_present_attributes, estimator, job)
        tasks = FitTasks(estimator, X, y, sample_weight, present, unit, estimator.max_iter)
        job = job._replace(tasks=tasks)
    if estimator.verbose == PROGRESS and _distributed.is_first():
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


def _begins_anew(draft, one_epoch):
    """Whether the parameters are to be drawn, not gone on from."""
    return not hasattr(draft, "coefs_") or not (draft.warm_start or one_epoch)


def check(draft, X, y, sample_weight, one_epoch, classes, initial, validation):
    """Check the data and the parameters; the draft learns features and classes."""
    first = _begins_anew(draft, one_epoch)
    settings = _check_settings(draft, one_epoch)
    if is_dataset(X):
        _distributed.refuse("A dataset", "arrays, each rank's own rows")
        return _check_dataset(draft, X, y, sample_weight, first, settings, initial, validation)
    X, y = rows_and_targets_of(draft, X, y, first)
    if first:
        draft._x_dtype = X.dtype  # decides that of predictions
    labels = y
    loss, y = draft._check_target(y, one_epoch, classes)
    loss, target, n_outputs = target_of_fit(draft, first, y, loss)
    if first:
        far = draft._y_numeric and far_from_zero(target)
        draft._keeps_digits = _distributed.any_of_all(far)
    if sample_weight is not None:
        sample_weight = validated_sample_weight(sample_weight, X)
    dtype = _arithmetic(draft, first, X.dtype)
    class_weights = draft._class_weights(y)
    sample_weight = weights_of_rows(class_weights, y, sample_weight)
    layer_sizes = (X.shape[1], *settings["hidden_layer_sizes"], n_outputs)
    n_rows = _data_parallel.compare_data(draft, X, layer_sizes)
    return Given(
        one_epoch=one_epoch,
        first=first,
        layer_sizes=layer_sizes,
        max_memory=settings["max_memory"],
        dropout=settings["dropout"],
        X=X,
        target=target,
        sample_weight=sample_weight,
        data=finite_data(draft, X, target, sample_weight, dtype),
        loss=loss,
        initial=_check_initials(initial, layer_sizes),
        validation=check_validation_set(draft, X, loss, target, class_weights, validation, dtype),
        scorer=settings["scorer"],
        y=labels if callable(settings["scorer"]) else None,
        n_rows=n_rows,
    )


def _check_settings(draft, one_epoch):
    """Check the parameters that need no data, and read those that need reading."""
    hidden_layer_sizes = check_hidden_layer_sizes(draft.hidden_layer_sizes)
    check_activation(draft.activation, len(hidden_layer_sizes))
    dropout = check_dropout(draft.dropout, draft.input_dropout, len(hidden_layer_sizes))
    if one_epoch:
        check_online(draft)
    elif SOLVERS[draft.solver].optimizer is None:
        _refuse_mini_batches(draft)
    resolve_n_threads(draft.n_threads, flops=0)  # for its errors
    return {
        "hidden_layer_sizes": hidden_layer_sizes,
        "dropout": dropout,
        "max_memory": parse_max_memory(draft.max_memory),
        "scorer": check_scoring(draft),
    }


def _check_initials(initial, layer_sizes):
    shapes = {"coef_init": [*pairwise(layer_sizes)]}
    shapes["intercept_init"] = [(out,) for _, out in shapes["coef_init"]]
    return {name: check_initial(name, a, shapes[name]) for name, a in initial.items()}


def _check_dataset(draft, dataset, y, sample_weight, first, settings, initial, validation):
    """The same for a dataset: its rows are read once, and nothing of them is kept."""
    from ._datasets import _check as datasets

    learnt = datasets.learn(draft, dataset, y, sample_weight, first, settings)
    targets = learnt.targets
    dtype = np.dtype(_arithmetic(draft, first, learnt.source.x_dtype))
    stream = datasets.stream_of(draft, learnt, dtype, settings["max_memory"])
    layer_sizes = (stream.n_features, *settings["hidden_layer_sizes"], targets.n_outputs)
    wants_labels = callable(settings["scorer"])
    own = datasets.validation_of(draft, learnt, dtype, validation, wants_labels)
    return Given(
        one_epoch=False,
        first=first,
        layer_sizes=layer_sizes,
        max_memory=0,  # all of it is shared out by the stream
        dropout=settings["dropout"],
        X=None,
        target=targets.sample,
        sample_weight=None,
        data=stream,
        loss=targets.loss,
        initial=_check_initials(initial, layer_sizes),
        validation=own,
        scorer=settings["scorer"],
        y=None,
        learnt=learnt,
        n_rows=stream.n_rows,
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


def _arithmetic(draft, first, x_dtype):
    """The dtype that a net of this dtype computes in, in which X must be finite."""
    if SOLVERS[draft.solver].optimizer is None:
        return "float64"
    if draft.dtype != "auto":
        return _dtype(draft)
    return x_dtype if first else draft._parameters().flat.dtype


def prepare(draft, given, keeper):
    """Draw, split and allocate what training needs, in scikit-learn's order of random draws."""
    with _sizes_named(draft, given):
        ranks = active()
        random_state = draft._random_state = generator_of(draft.random_state)
        keeper.begin(random_state)
        kept = _initial(draft, given)
        if ranks is not None:
            # From here on what is drawn follows from one seed, and is another thing on each rank.
            shared_seed = _data_parallel.begin(ranks, draft, given, kept, random_state)
            random_state = _data_parallel.generator_of(shared_seed, ranks.rank)
            draft._random_state = random_state
        stochastic = SOLVERS[draft.solver].optimizer is not None
        in_double = _in_double(draft, given)
        rows = held_out = None
        watched = given  # its rows are validated on
        if draft.early_stopping and stochastic and given.validation is None:
            if given.learnt is not None:
                given, watched = _hold_out(draft, given)
            else:
                rows, held_out = _split(draft, given)
        n_rows = given.data.n_rows if rows is None else len(rows)
        shown = kept.as_dtype(np.float64) if in_double else kept
        optimizer = _optimizer(draft, given, shown.flat) if stochastic else None
        params = _trained(draft, given, optimizer, shown)
        seed = 0
        if given.dropout:
            seed = optimizer.seed or int(random_state.randint(1, np.iinfo(np.int32).max))
            seed = seed if ranks is None else optimizer.seed or shared_seed
        batch_size = min(_LBFGS_ROWS, n_rows)
        if stochastic:
            most = n_rows if ranks is None else max(ranks.exchange("rows of a rank", n_rows))
            batch_size = clip_batch_size(draft.batch_size, most)
        arguments = trainer_arguments(draft, given, params, optimizer, batch_size)
        trainer = take(arguments)
        visited = validation = None
        loss_scale = given.loss.loss_scale(given.layer_sizes[-1])
        if held_out is not None or watched.validation is not None:
            decides = draft.early_stopping and stochastic
            watching = (watched, held_out, trainer, shown, loss_scale, given.scorer, decides)
            if ranks is None:
                validation = Validation(*watching)
            else:
                validation = _data_parallel.SharedValidation(ranks, *watching)
        job = Job(
            began=keeper.began,
            given=given,
            kept=kept,
            params=params,
            shown=shown,
            optimizer=optimizer,
            seed=seed,
            trainer=trainer,
            trainer_arguments=arguments,
            rows=None,
            validation=validation,
            batch_size=batch_size,
            loss_scale=loss_scale,
            ranks=ranks,
            keeper=keeper,
        )
        if given.learnt is not None:
            visited = _rows_to_stream(draft, job)
        elif stochastic and ranks is None:
            visited = rows_to_visit(draft, given, n_rows, rows, batch_size, random_state)
        elif stochastic:
            shared = (given, ranks, rows, batch_size, shared_seed, draft.shuffle)
            visited = _data_parallel.SharedRows(*shared)
        job = job._replace(rows=visited)
        loop, fingerprint = _loop_of(job), partial(_fingerprint, draft, job)
        keeper.compare(fingerprint, loop.vectors_of(job), loop.bytes_beside(job))
        return job


def _hold_out(draft, given):
    """Hold out rows of a dataset: what is given to train on, and what is to validate on."""
    from ._datasets._held_out import hold_out

    source, targets = given.learnt.source, given.learnt.targets
    stream, held_out = hold_out(draft, given.data, source, targets, given.scorer)
    return given._replace(data=stream), given._replace(validation=held_out)


def _rows_to_stream(draft, job):
    """The rows of a dataset, within `max_memory` with all else that the fit has."""
    plan = plan_of(job.trainer)
    vectors = [job.params.flat, *(job.optimizer.state if job.optimizer is not None else ())]
    kept = sum(vector.nbytes for vector in vectors)
    working = plan.total_bytes - kept
    kept += whole_plan_of(job).total_bytes - plan.total_bytes
    shuffles = draft.shuffle and job.optimizer is not None
    random_state = draft._random_state if shuffles else None
    return job.given.data.rows(job.batch_size, random_state, kept, working)


def _loop_of(job):
    """The module with the solver's loop."""
    return _lbfgs if job.optimizer is None else _loops


def _fingerprint(draft, job):
    """What a checkpoint of this job is of."""
    given = job.given
    if given.learnt is not None:
        data = {**job.rows.fingerprint(), **given.learnt.fingerprint()}
    else:
        data = {"X": given.X, "y": given.target, "sample_weight": given.sample_weight}
    if isinstance(job.rows, MapRows):
        data |= job.rows.fingerprint()
    data["classes_"] = getattr(draft, "classes_", None)
    if given.validation is not None:
        own = given.validation
        data |= {"X_val": own.rows, "y_val": own.target, "sample_weight_val": own.sample_weight}
    for name, arrays in given.initial.items():
        data |= {f"{name}[{i}]": array for i, array in enumerate(arrays or ())}
    if not given.first:
        data |= start_of(draft)
    return fingerprint(draft, data, job.trainer, by_scipy=job.optimizer is None)


def rows_to_visit(draft, given, n_rows, rows, batch_size, random_state=None):
    """The rows to train on.

    The one mini-batch of a ``partial_fit`` has all of them, so their order makes no difference but
    of rounding. It is not drawn unless somebody else draws from the generator, too.
    """
    alone = given.one_epoch and n_rows <= batch_size and isinstance(draft.random_state, Integral)
    if not draft.shuffle or alone:
        random_state = None
    elif random_state is None:
        random_state = generator_of(draft.random_state)
    if not alone and is_beyond_memory(given.X):
        return MapRows(given.data, n_rows, rows, random_state, given.X, batch_size)
    return _loops.Rows(given.data, n_rows, rows, random_state)


def threads_of(draft, batch_size, params):
    """Threads of the trainer; ranks of one machine share its cores."""
    ranks = active()
    n_sharers = 1 if ranks is None else ranks.neighbours
    return resolve_n_threads(draft.n_threads, 6.0 * batch_size * params.flat.size, n_sharers)


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
        sparse=_distributed.all_of_all(few_non_zeros(given.X)),
        dropout=given.dropout,
        keep_grad=draft.max_grad_norm is not None and optimizer is not None,
        reduces=active() is not None and optimizer is not None,
        loss_params=given.loss.params(params.layer_sizes[-1]),
        label_smoothing=given.loss.smoothing,
        asks=given.loss.ask is not None,
    )


@contextmanager
def _sizes_named(draft, given):
    """Say of which net it is that there is no memory for it."""
    try:
        yield
    except NoRoomForRowsError:
        raise
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
    few = not given.one_epoch and given.n_rows <= _ROWS_IN_DOUBLE
    return few or SOLVERS[draft.solver].optimizer is None


def _split(draft, given):
    loss, target = given.loss, given.target
    sides = split_rows(
        given.data.n_rows,
        draft.validation_fraction,
        draft._random_state,
        stratify=loss.stratify and loss.stratify(target),
        classes=loss.classes and loss.classes(target),
        weight=given.sample_weight,
    )
    if is_beyond_memory(given.X):  # neighbours are read together
        for rows in sides:
            rows.sort()
    return sides


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
    dtype = draft._x_dtype.name if draft.dtype == "auto" else _dtype(draft)
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
    draft.memory_plan_ = whole_plan_of(job)
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


def whole_plan_of(job):
    """The `MemoryPlan` of a fit: that of its trainer, and what else it keeps."""
    plan = plan_of(job.trainer)
    if job.shown is not job.params:
        plan = plan.with_vector("ema", job.shown.flat)
    if job.validation is not None and job.validation.decides:
        plan = plan.with_vector("best", job.shown.flat)
    if job.shown is not job.kept:
        plan = plan.with_rounded(job.kept.flat)
    if job.given.learnt is not None and job.validation is not None:
        for name, vector in job.validation.vectors():
            plan = plan.with_vector(name, vector)
    if job.given.learnt is not None and job.rows is not None:
        for row in job.rows.plan_rows():
            plan = plan.with_row(*row)
    return plan


def train(estimator, job):
    """Train by the solver's loop; the estimator shows the outcome, also of an interrupted fit."""
    try:
        # SciPy's L-BFGS uses BLAS for its own vectors.
        alone = blas_guard(job.trainer.uses_blas or job.optimizer is None)
        with alone:
            ending = _loop_of(job).train(estimator, job)
            if job.ranks is not None:
                ending = _data_parallel.ending_with_late_interruption(job.ranks, ending)
    finally:
        fits = job.shown is job.kept or _round(job.shown.flat, job.kept.flat)
        _keep_trained(job)
        if job.progress is not None:
            job.progress.close()
    if job.ranks is not None:
        with alike(job.ranks):
            _data_parallel.check_same_bits(job.ranks, job.kept.flat)
    if not ending.is_interrupted:
        if job.ranks is not None:
            job.ranks.is_finished = True
        job.keeper.end()
    with alike(job.ranks):
        _check_outcome(job, ending, fits)
    with agreeing(job.ranks):
        if job.tasks is not None:
            job.tasks.end_fit()
    # At last, for a warning can be made an error, which must lose nothing.
    with agreeing(job.ranks):
        if ending.unbeaten:
            warn(ending.unbeaten)
        if ending.warning:
            warn(ending.warning, ending.category)
        if job.keeper.unsaid:
            warn(job.keeper.unsaid)
        if job.ranks is not None and job.ranks.interrupted:
            warn("Ctrl-C came after the end of the training, and has changed nothing.")


def _check_outcome(job, ending, fits):
    if ending.error:
        raise ValueError(ending.error)
    if not fits:
        raise ValueError(
            f"{_loops.NON_FINITE} They are beyond the range of {job.kept.flat.dtype}, which "
            "dtype='float64' would widen; coefs_ and intercepts_ are those of before."
        )
    if not _core.all_finite(job.kept.flat[:, np.newaxis]):
        raise ValueError(_loops.NON_FINITE)


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
