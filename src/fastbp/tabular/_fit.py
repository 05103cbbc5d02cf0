"""The road of a fit: check, prepare, commit, train.

As in the fit of the MLPs, a call that fails before `commit` leaves the estimator as it was.
"""

import math
from contextlib import ExitStack
from functools import partial
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

import numpy as np
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils.validation import _check_y, check_consistent_length, check_is_fitted

from .. import _core
from .._callbacks import FitTasks, has_callbacks
from .._checkpoints.fingerprint import fingerprint
from .._checkpoints.keeper import NOBODY, Keeper, Nobody, keeper_of
from .._datasets import is_dataset
from .._distributed import refuse
from .._fit import plan_of
from .._history import CURVES, History, clear_history
from .._input.arguments import (
    check_activation,
    check_hidden_layer_sizes,
    clip_batch_size,
    generator_of,
    parse_max_memory,
)
from .._input.arrays import TINY, validated_sample_weight
from .._input.targets import check_numbers
from .._input.weights import weights_of_rows
from .._progress import NAME as PROGRESS
from .._progress import Progress, prints_lines
from .._split import split_rows
from .._threads import blas_guard, resolve_n_threads
from .._validation import (
    check_as_many_outputs,
    check_passed_together,
    checked_as,
    refuse_unseen,
)
from .._warnings import warn
from ..memory import MemoryPlan
from . import _loop
from ._cells import is_missing
from ._encoding import Encoding
from ._loop import Watched, Workers
from ._net import Member, Net, Training, outputs
from ._recipe import Settings, recommended
from ._table import fit_schema, read_columns
from ._targets import blocks

# With fewer rows to hold out, what they say is noise: the fit is by all rows.
_FEWEST_HELD_OUT = 10
# Rows that are predicted at a time.
_ROWS = 1 << 14


class Fitted(NamedTuple):
    """What predictions need of a fitted estimator, all of one moment."""

    schema: Any
    target: Any  # Classes or Numbers
    net: Net | None  # None, and no members, where there is one answer only
    members: tuple
    temperature: float


class Rows(NamedTuple):
    """Rows of a table with their targets."""

    columns: list
    codes: np.ndarray  # of labels; or numbers of shape (n, n_outputs)
    weight: np.ndarray | None

    def __len__(self):
        return len(self.codes)


class Encoded(NamedTuple):
    """Rows as the core reads them, and what lies behind its `data`."""

    data: _core.Data
    positions: np.ndarray
    target: np.ndarray
    known: np.ndarray  # what the outputs are compared with: codes of labels, or `target`
    weight: np.ndarray | None


class Given(NamedTuple):
    """What a fit was given, after all checks."""

    schema: Any
    rows: Rows
    kind: str | None  # of labels
    held: Rows | None  # of the caller's own, to validate on
    max_memory: int


class Job(NamedTuple):
    """What one fit trains, and how."""

    began: float
    settings: Settings
    target: Any  # Classes or Numbers
    net: Net
    trainings: tuple  # one for each member
    workers: Workers
    data: _core.Data | None  # None: they are streamed
    n_rows: int  # to train on
    watched: Watched | None
    plan: MemoryPlan
    keeper: Keeper | Nobody = NOBODY  # of its checkpoint
    streamed: Any = None  # rows of a dataset, `_stream_rows.Streamed`
    tasks: FitTasks | None = None
    progress: Progress | None = None
    ranks: None = None  # this process is alone


def fit(estimator, X, y, sample_weight, validation, announce=None, keep=lambda: None):
    """Fit an estimator; `validation` is (X_val, y_val, sample_weight_val).

    ``announce(plan)`` is called with the `MemoryPlan` before training begins, ``keep()`` when the
    estimator shows the outcome: a checkpoint stays until that has returned, and is written if it
    raises.
    """
    refuse(type(estimator).__name__, "MLPClassifier or MLPRegressor")
    begin = _begin
    if is_dataset(X):
        from ._stream_fit import begin  # which needs pyarrow
    began = monotonic()
    with ExitStack() as stack:
        passed = X, y, sample_weight
        begun = begin(stack, estimator, passed, validation, announce, began)
        if begun is None:
            keep()
        else:
            train(estimator, *begun, keep)


def _begin(stack, estimator, passed, validation, announce, began):
    """All that comes before training: the `Job` and the schema; None if there is one answer only.

    The columns, which are encoded then, end with this call.
    """
    draft = object.__new__(type(estimator))
    vars(draft).update(estimator.get_params(deep=False))
    given = check(draft, *passed, validation)
    schema = given.schema
    target, job = prepare(draft, given, stack.enter_context(keeper_of(draft, began)))
    if job is None:
        commit(estimator, draft, Fitted(schema, target, None, (), 1.0))
        return None
    return commence(stack, estimator, draft, job, schema, passed, announce), schema


def commence(stack, estimator, draft, job, schema, passed, announce):
    """Tell who wants to know that a fit begins, and let the estimator change: the job."""
    if announce is not None:
        announce(job.plan)
    job = followed(estimator, job, schema, *passed)
    if job.progress is not None:
        stack.callback(job.progress.close)
    vectors = [training.shown for training in job.trainings]
    commit(estimator, draft, _fitted(job, schema, vectors), job)
    return job


# ---- check ----


def check(draft, X, y, sample_weight, validation):
    """Check the data and the parameters; the draft learns columns and classes."""
    max_memory = parse_max_memory(draft.max_memory)
    resolve_n_threads(draft.n_threads, flops=0)  # for its errors
    schema, columns = fit_schema(draft, X, draft.categorical_features)
    kind, codes = _checked_target(draft, columns, y)
    weight = None
    if sample_weight is not None:
        weight = validated_sample_weight(sample_weight, codes)
    class_weights = draft._class_weights(codes)
    weight = weights_of_rows(class_weights, codes, weight)
    held = _checked_validation(draft, schema, kind, codes, class_weights, validation)
    return Given(schema, Rows(columns, codes, weight), kind, held, max_memory)


def _checked_target(draft, columns, y):
    """The kind of labels and their codes; or None and numbers of shape (n, n_outputs)."""
    if y is None:
        raise ValueError(
            f"{type(draft).__name__} requires y to be passed, but the target y is None."
        )
    if draft._y_numeric:
        check_numbers(y)
    elif any(is_missing(label) for label in _objects(y)):
        raise ValueError("y has missing values (None or NaN): it takes a label for every row.")
    else:
        y = _of_numpy(y)
    y = _check_y(y, multi_output=True, y_numeric=draft._y_numeric, estimator=draft)
    check_consistent_length(columns[0], y)
    return draft._check_target(y)


def _of_numpy(y):
    """Labels of pandas' nullable types, of which scikit-learn makes floats, in their own type."""
    return np.asarray(y) if getattr(getattr(y, "dtype", None), "kind", None) in set("biu") else y


def _objects(y):
    """What y holds if that may be anything; an array of a list with text would have NaN as text."""
    y = np.asarray(y, dtype=object if isinstance(y, (list, tuple)) else None)
    return y.ravel() if y.dtype == object else ()


def _checked_validation(draft, schema, kind, codes, class_weights, validation):
    """The `Rows` of (X_val, y_val, sample_weight_val), or None if they are not given."""
    X_val, y_val, weight = validation
    if X_val is None and y_val is None and weight is None:
        return None
    check_passed_together(X_val, y_val)
    with checked_as("X_val"):
        columns = read_columns(draft, schema, X_val)
    if not draft._y_numeric:
        refuse_unseen(draft, np.asarray(y_val))
    with checked_as("y_val"):
        _, codes_val = _checked_target(draft, columns, y_val)
    check_as_many_outputs(codes_val, codes)
    if weight is not None:
        with checked_as("sample_weight_val"):
            weight = validated_sample_weight(weight, codes_val)
    with checked_as("y_val"):
        weight = weights_of_rows(class_weights, codes_val, weight)
    return Rows(columns, codes_val, weight)


# ---- prepare ----


def prepare(draft, given, keeper):
    """Split, encode, draw and allocate: the target, and the `Job` unless there is one answer."""
    random_state = generator_of(draft.random_state)
    keeper.begin(random_state)
    candidates = _candidates(given.rows)
    target = draft._target(given.kind, *_of_rows(given.rows, candidates))
    if target.is_constant:
        keeper.refuse("y has one answer only, where there is nothing to train")
        return target, None
    share = 0.0
    if draft.early_stopping and given.held is None:
        share = share_held_out(draft, len(candidates), _fewest(given.rows.codes[candidates]))
    settings = _settings(draft, max(1, round(len(candidates) * (1 - share))))
    splits = _split(given, candidates, share, settings.n_estimators, random_state)
    # Those that a member trains on: with a fold for each to hold out these are all.
    rows = candidates if len(splits) > 1 else splits[0][0]
    target = draft._target(given.kind, *_of_rows(given.rows, rows))
    columns = (column.take(rows) for column in given.rows.columns)  # one at a time
    encoding = Encoding.fit(columns, n_bins=settings.n_bins, min_count=settings.min_count)
    net = Net(encoding, settings, target, draft.dtype)
    n_estimators = settings.n_estimators
    flops = net.flops(settings.batch_size) * n_estimators
    n_threads = resolve_n_threads(draft.n_threads, flops=flops)
    workers = Workers(min(n_estimators, n_threads))
    keeps_best = draft.early_stopping and (share > 0 or given.held is not None)
    seeds = random_state.randint(np.iinfo(np.int32).max, size=n_estimators)
    own_rows = [splits[k % len(splits)][0] for k in range(n_estimators)]
    trainings = tuple(
        Training(
            net,
            settings,
            of_member,
            seed,
            keeps_best=keeps_best,
            n_threads=max(1, n_threads // workers.n_threads),
            max_memory=given.max_memory,
        )
        for of_member, seed in zip(own_rows, seeds, strict=True)
    )
    all_rows = _encoded(net, target, given.rows, given.kind)
    own = None if given.held is None else _encoded(net, target, given.held, given.kind)
    watched = None
    if own is not None or share > 0:
        held_out = [split[1] for split in splits]
        watched = Watched(own or all_rows, held_out, target, n_estimators, net.dtype, keeps_best)
    job = Job(
        began=keeper.began,
        settings=settings,
        target=target,
        net=net,
        trainings=trainings,
        workers=workers,
        data=all_rows.data,
        n_rows=min(map(len, own_rows)),
        watched=watched,
        plan=_plan(trainings, watched, (given.rows, all_rows), (given.held, own)),
        keeper=keeper,
    )
    keeper.compare(partial(_fingerprint, draft, job, all_rows, own), _loop.vectors_of(job))
    return target, job


def _fingerprint(draft, job, all_rows, own):
    """What a checkpoint of this job is of: what follows from the encoded table."""
    data = {"classes_": getattr(draft, "classes_", None)}
    for suffix, rows in (("", all_rows), ("_val", own)):
        if rows is not None:
            data[f"X{suffix}"], data[f"y{suffix}"] = rows.positions, rows.known
            data[f"sample_weight{suffix}"] = rows.weight
    return fingerprint(draft, data, job.trainings[0].trainer)


def _of_rows(rows, order):
    """Codes and weights of some of the rows."""
    return rows.codes[order], None if rows.weight is None else rows.weight[order]


def _encoded(net, target, rows, kind):
    positions = net.encoding.encode(rows.columns, dtype=net.dtype)
    of_core = target.for_core(rows.codes, net.dtype)
    known = of_core if kind is None else rows.codes
    data = _core.Data(positions, of_core, rows.weight)
    return Encoded(data, positions, of_core, known, rows.weight)


def _candidates(rows):
    """The rows that count: those without weight have no part in anything."""
    every = np.arange(len(rows), dtype=np.int64)
    return every if rows.weight is None else every[rows.weight >= TINY]


def share_held_out(draft, n_rows, smallest):
    """The share of so many rows to hold out: none where they, or those of a class, are few.

    `smallest` is the number of rows of the smallest class, None without classes. There are to be
    rows of each in the folds of all members.

    Without them a classifier of few rows is far too certain: with five rows of each class, log
    losses were .52 for .25 (20 rows of breast_cancer), .25 for .16 (25 of iris). With two or three
    of each it needs all to train on, and a regression of 15 to 45 rows lost as often as it gained.
    """
    share = draft.validation_fraction
    if smallest is not None and share <= 0.5 and smallest * share >= 1:
        share *= min(most_members(draft, n_rows), round(1 / share))
    return draft.validation_fraction if n_rows * share >= _FEWEST_HELD_OUT else 0.0


def most_members(draft, n_rows):
    """The members of a fit on so many rows."""
    n_members = draft.n_estimators
    return recommended(n_rows, True).n_estimators if _is_auto(n_members) else n_members


def _fewest(codes):
    """The number of rows of the smallest class; None without classes."""
    if codes.ndim != 1:
        return None
    _, counts = np.unique(codes, return_counts=True)
    return counts.min()


def _split(given, candidates, share, n_members, random_state):
    """Pairs of the rows to train on and those held out: one for all members, or one for each fold.

    Several members hold out a fold each, so that every row trains one of them. `share` 0 holds out
    none; of more than half of the rows there is one part for all members.
    """
    if share == 0:
        return [(candidates, None)]
    if math.ceil(len(candidates) * share) == len(candidates):
        raise ValueError(
            f"validation_fraction={share} leaves none of {len(candidates)} rows to train on: it "
            "takes a smaller share."
        )
    codes, weight = _of_rows(given.rows, candidates)
    classes = codes if codes.ndim == 1 else None
    strata = None if classes is None else _strata(classes, share)
    if n_members == 1 or share > 0.5:
        pairs = [
            split_rows(len(candidates), share, random_state, strata, classes=classes, weight=weight)
        ]
    else:
        kind = KFold if strata is None else StratifiedKFold
        folds = kind(max(2, round(1 / share)), shuffle=True, random_state=random_state)
        pairs = list(islice(folds.split(candidates, strata), n_members))
    return [(candidates[train], candidates[held_out]) for train, held_out in pairs]


def _strata(classes, fraction):
    """The classes, but those of which not a row would be held out taken together, or None."""
    counts = np.bincount(classes)
    rare = counts * fraction < 1
    strata = np.where(rare[classes], len(counts), classes)
    few = rare.any() and counts[rare].sum() * fraction < 1
    if few:  # so few that they go with the most frequent class
        strata[rare[classes]] = counts.argmax()
    return strata


# Parameters of the estimators that may be "auto".
_AUTOMATIC = (
    "n_estimators",
    "hidden_layer_sizes",
    "activation",
    "n_bins",
    "batch_size",
    "learning_rate_init",
    "weight_decay",
    "dropout",
    "max_iter",
    "n_iter_no_change",
)


def _is_auto(value):
    return isinstance(value, str) and value == "auto"


def _settings(draft, n_rows):
    """The recommended settings, but for those that the user has chosen."""
    settings = recommended(n_rows, not draft._y_numeric)
    patience = settings.n_iter_no_change / settings.max_iter
    given = {name: getattr(draft, name) for name in _AUTOMATIC}
    given = {name: value for name, value in given.items() if not _is_auto(value)}
    if "hidden_layer_sizes" in given:
        given["hidden_layer_sizes"] = check_hidden_layer_sizes(draft.hidden_layer_sizes)
    if "batch_size" in given:
        given["batch_size"] = clip_batch_size(draft.batch_size, n_rows)
    if "n_iter_no_change" not in given and "max_iter" in given:
        given["n_iter_no_change"] = math.ceil(patience * draft.max_iter)
    settings = settings._replace(**given)
    names = check_activation(settings.activation, len(settings.hidden_layer_sizes))
    return settings._replace(activation=names)


def _plan(trainings, watched, of_fit, of_caller):
    """The `MemoryPlan` of a fit: of the members, and of what they share.

    `of_fit` and `of_caller` are pairs of `Rows` and what they became, `Encoded`.
    """
    first = trainings[0]
    plan = plan_of(first.trainer)
    for name, vector in first.vectors().items():
        plan = plan.with_vector(name, vector)
    plan = plan.times(len(trainings))
    for suffix, (rows, encoded) in (("", of_fit), ("_val", of_caller)):
        if rows is None:
            continue
        # Columns that are not those of the caller's table; they end when they are encoded.
        read = sum(c.values.nbytes for c in rows.columns if c.values.base is None)
        plan = plan.with_row(f"columns{suffix}", (len(rows), len(rows.columns)), read)
        plan = plan.with_vector(f"positions{suffix}", encoded.positions)
        plan = plan.with_vector(f"codes{suffix}", rows.codes)
        plan = plan.with_vector(f"y{suffix}", encoded.target)
        if rows.weight is not None:
            plan = plan.with_vector(f"sample_weight{suffix}", rows.weight)
    for name, vector in () if watched is None else watched.vectors():
        plan = plan.with_vector(name, vector)
    return plan


# ---- the estimator changes ----


def followed(estimator, job, schema, X, y, sample_weight):
    """The job, with those who want to be told how it goes; they learn here that it begins."""
    n_epochs = job.settings.max_iter
    if has_callbacks(estimator):
        present = partial(_present_attributes, estimator, job, schema)
        tasks = FitTasks(estimator, X, y, sample_weight, present, "epoch", n_epochs)
        job = job._replace(tasks=tasks)
    if estimator.verbose == PROGRESS:
        bar = Progress("epoch", n_epochs, estimator.max_time, job.began)
        job = job._replace(progress=bar)
    return job


def commit(estimator, draft, fitted, job=None):
    """Give the estimator what its draft has learnt, at once; what was learnt before is gone."""
    state, settings = vars(estimator), estimator.get_params(deep=False)
    draft._fitted, draft.n_outputs_, draft.n_iter_ = fitted, fitted.target.n_outputs, 0
    draft.is_categorical_ = fitted.schema.is_categorical
    draft.memory_plan_ = MemoryPlan.empty() if job is None else job.plan
    learnt = {name: value for name, value in vars(draft).items() if name not in settings}
    clear_history(estimator)
    for name in [n for n in state if n.endswith("_") and n not in settings and n not in learnt]:
        del state[name]
    state.update(learnt)
    if job is None:  # there was nothing to train
        History(estimator, 0.0, None)
        estimator.loss_ = 0.0


def train(estimator, job, schema, keep):
    """Train; the estimator shows the outcome, also of an interrupted fit."""
    if prints_lines(estimator):
        print(job.plan)
    temperature = 1.0
    try:
        with blas_guard(job.trainings[0].trainer.uses_blas), job.workers:
            ending = _loop.train(estimator, job)
            with job.keeper.ending():
                for training in job.trainings:
                    training.settle()
                if job.watched is not None and not ending.error:
                    temperature = job.watched.temperature(job.workers, job.trainings)
    finally:
        vectors = [training.result() for training in job.trainings]
        estimator._fitted = _fitted(job, schema, vectors, temperature)
    if not ending.error:
        with job.keeper.ending():
            keep()
    if not ending.is_interrupted:
        job.keeper.end()
    if ending.error:
        raise ValueError(ending.error)
    if job.tasks is not None:
        job.tasks.end_fit()
    # At last, for a warning can be made an error, which must lose nothing.
    if ending.warning:
        warn(ending.warning, ending.category)
    if job.keeper.unsaid:
        warn(job.keeper.unsaid)


def _fitted(job, schema, vectors, temperature=1.0):
    return Fitted(schema, job.target, job.net, tuple(map(Member, vectors)), temperature)


def _present_attributes(estimator, job, schema):
    """Attributes that make a copy of the estimator what it were if the fit had ended now."""
    vectors = [training.result().copy() for training in job.trainings]
    state = vars(estimator)
    return {
        **{name: [*state[name]] for name in CURVES if state.get(name) is not None},
        "_fitted": _fitted(job, schema, vectors),
    }


# ---- predict ----


def predicted(estimator, X, answer):
    """Predictions, made block by block of rows.

    Parameters
    ----------
    estimator : BaseTabular
    X : table
    answer : callable
        (fitted, z of shape (n_members, n, n_outputs)) -> the predictions for these n rows.

    Returns
    -------
    ndarray of shape (n_samples, ...)
    """
    fitted = vars(estimator).get("_fitted")
    if fitted is None:
        check_is_fitted(estimator)
    if is_dataset(X):
        return _predicted_of_dataset(estimator, fitted, X, answer)
    columns = read_columns(estimator, fitted.schema, X)
    n_rows = len(columns[0])
    if n_rows <= _ROWS:
        return answer(fitted, _outputs(estimator, fitted, columns))
    parts = [
        answer(fitted, _outputs(estimator, fitted, [c.take(rows) for c in columns]))
        for rows in blocks(n_rows, _ROWS)
    ]
    return np.concatenate(parts)


def _predicted_of_dataset(estimator, fitted, dataset, answer):
    from ._stream_fit import batches_to_predict

    parts = [
        answer(fitted, _outputs(estimator, fitted, columns))
        for columns in batches_to_predict(dataset, fitted.schema)
    ]
    if not parts:
        raise ValueError("X has 0 rows: it takes 1 at least.")
    return np.concatenate(parts)


def _outputs(estimator, fitted, columns):
    net, members = fitted.net, fitted.members
    if net is None:
        return np.zeros((1, len(columns[0]), fitted.target.n_outputs))
    positions = net.encoding.encode(columns, dtype=net.dtype)
    return outputs(net, members, positions, estimator.n_threads, estimator.max_memory)
