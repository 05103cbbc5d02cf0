"""The fit of a dataset: the road of `_fit`, on rows that pass by.

The first pass over the dataset finds the kinds of its columns, what their encoding is made of, and
what y comes to; a second one encodes the rows that are watched; then there is one for each epoch.
"""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from .._checkpoints.fingerprint import fingerprint
from .._checkpoints.keeper import keeper_of
from .._datasets import is_dataset
from .._datasets._source import outputs_of
from .._datasets._stream import Stream
from .._datasets._table import Table, batch_rows_for, errors_named
from .._fit import plan_of
from .._input.arguments import generator_of, parse_max_memory
from .._input.arrays import TINY, has_weight
from .._threads import resolve_n_threads
from .._validation import check_passed_together
from . import _fit
from ._encoding import Encoding
from ._loop import Watched, Workers, vectors_of
from ._net import Net
from ._statistics import MOST, TablePass, row_keys
from ._stream_rows import (
    EVERYBODY,
    VISIT_BYTES,
    EncodedLayout,
    Parts,
    Source,
    Split,
    Streamed,
    StreamedTraining,
)
from ._stream_targets import LabelsPass, NumbersPass, Weights
from ._table import Batch, NamingColumn, categorical_mask, learn_names, read_places

# Bytes of the rows that are watched, where max_memory does not say how many: its quarter; and the
# fewest of these rows.
_BYTES_WATCHED, _FEWEST_WATCHED = 256 << 20, 1000
# What the first pass keeps of a column for each distinct value that it may have, about, and the
# fewest of these values.
_BYTES_OF_NUMBER, _BYTES_OF_TEXT, _FEWEST = 64, 1024, 256
# Rows that are read at a time where they are counted only.
_ROWS = 1 << 14
# Of the hash by which rows are chosen to be watched.
_WATCHED = 1


class Given(NamedTuple):
    """What a fit was given, after all checks and the first pass."""

    table: Table
    source: Source
    counted: list  # names and counts of the columns
    parts: Parts
    held: Any  # X_val, y_val, sample_weight_val as they were given, or None
    random_state: np.random.RandomState
    max_memory: int


def begin(stack, estimator, passed, validation, announce, began):
    """All that comes before training, as `_fit._begin` has it for a table in memory.

    The counts of the columns end with this call.
    """
    draft = object.__new__(type(estimator))
    vars(draft).update(estimator.get_params(deep=False))
    keeper = stack.enter_context(keeper_of(draft, began))
    given = check(draft, *passed, validation, keeper)
    schema = given.source.schema
    target, job = prepare(draft, given, keeper)
    if job is None:
        _fit.commit(estimator, draft, _fit.Fitted(schema, target, None, (), 1.0))
        return None
    stack.callback(job.streamed.close)
    return _fit.commence(stack, estimator, draft, job, schema, passed, announce), schema


# ---- check: the first pass ----


def check(draft, dataset, y, sample_weight, validation, keeper):
    """Check the parameters and all rows; the draft learns columns and classes."""
    max_memory = parse_max_memory(draft.max_memory)
    resolve_n_threads(draft.n_threads, flops=0)  # for its errors
    table = Table(dataset)
    names = table.schema.names
    outputs, weight = _outputs(draft, table.schema, y, sample_weight)
    features = [name for name in names if name not in (*outputs, weight)]
    if not features:
        raise ValueError(f"The dataset has no columns but {names}: none for X.")
    random_state = generator_of(draft.random_state)
    keeper.begin(random_state)
    seed = int(random_state.randint(np.iinfo(np.int32).max))
    parts = Parts(draft.validation_fraction, _fit.most_members(draft, 1), seed)
    targets = _targets_pass(draft, outputs, parts.count)
    source = Source(features, targets, outputs, Weights(weight))
    passed = _pass(draft, table, source, parts, max_memory)
    source.schema, counts = passed.found(source.table(_no_rows(table.schema)))
    targets.learn(draft)
    source.weights.check()
    if not targets.counts.sum():
        raise ValueError("The dataset has no row with weight: it takes some.")
    counted = list(zip(source.schema.names, counts, strict=True))
    X_val, y_val, weight_val = validation
    held = None
    if not (X_val is None and y_val is None and weight_val is None):
        check_passed_together(X_val, y_val)
        held = validation
    return Given(table, source, counted, parts, held, random_state, max_memory)


def _no_rows(schema):
    return pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)


def _outputs(draft, schema, y, sample_weight, suffix=""):
    """The columns of the targets, and the column of the weights or None."""
    names = [f"{name}{suffix}" for name in ("X", "y", "sample_weight")]
    outputs, weight = outputs_of(schema, y, sample_weight, names)
    if len(outputs) > 1 and not draft._y_numeric:
        raise ValueError(
            f"{names[1]}={y!r}: {type(draft).__name__} takes one column of labels of a dataset."
        )
    return outputs, weight


def _targets_pass(draft, outputs, n_parts):
    if draft._y_numeric:
        return NumbersPass(outputs, n_parts)
    return LabelsPass(outputs[0], n_parts, draft.class_weight)


def _pass(draft, table, source, parts, max_memory):
    """The pass over all rows: the `TablePass`; the targets and weights of `source` learn, too."""
    header = source.table(_no_rows(table.schema))
    learn_names(draft, header)
    asked = categorical_mask(header, draft.categorical_features)
    n_columns = len(source.features)
    for place in range(n_columns):
        with NamingColumn(header, place):
            header.cells(place)  # raises for types that cannot be
    most = _most_distinct(table.schema, source.features, max_memory)
    passed = TablePass(asked, n_columns, draft.categorical_features is not None, most)
    first = 0
    for place, batch in table.batches(source.columns, batch_rows_for(8 * len(source.columns))):
        rows = np.arange(first, first + batch.num_rows)
        named = partial(_named, place, first)
        first += batch.num_rows
        with errors_named(place.path):
            weight = source.weights.of(batch, place)
            source.weights.add(weight)
            has_weight = source.targets.add(batch, place, parts.of(rows), weight)
            if not has_weight.all():
                batch, rows = batch.filter(has_weight), rows[has_weight]
            passed.add(source.table(batch), rows, named)
    if first == 0:
        raise ValueError("The dataset has 0 rows: it takes 1 at least.")
    return passed


def _named(place, first, row):
    """Words for a row of the dataset; `first`: the number of the first one of its batch."""
    return place.named(row - first)


# ---- prepare ----


def prepare(draft, given, keeper):
    """Encode, draw and allocate: the target, and the `Job` unless there is one answer."""
    source, random_state = given.source, given.random_state
    target = source.targets.target(draft)
    if target.is_constant:
        keeper.refuse("y has one answer only, where there is nothing to train")
        return target, None
    split, n_members, n_held = _split(draft, given)
    n_rows = int(source.targets.counts.sum()) - max(n_held)  # the fewest of a member
    settings = _fit._settings(draft, n_rows)._replace(n_estimators=n_members)
    encoding = Encoding.of_counts(
        given.counted, n_bins=settings.n_bins, min_count=settings.min_count
    )
    given.counted.clear()  # before anything else is allocated
    net = Net(encoding, settings, target, draft.dtype)
    flops = net.flops(settings.batch_size) * n_members
    n_threads = resolve_n_threads(draft.n_threads, flops=flops)
    workers = Workers(min(n_members, n_threads))
    starts = np.cumsum([0, *given.table.counts])
    layout = EncodedLayout(source, net, target, split, starts)
    keeps_best = draft.early_stopping and (split.n_folds > 0 or given.held is not None)
    seeds = random_state.randint(np.iinfo(np.int32).max, size=n_members)
    trainings = tuple(
        StreamedTraining(
            net,
            settings,
            member,
            member % max(split.n_folds, 1),
            layout,
            seed,
            keeps_best=keeps_best,
            n_threads=max(1, n_threads // workers.n_threads),
            max_memory=0,  # all of it is shared out by `_rows_to_stream`
        )
        for member, seed in enumerate(seeds)
    )
    encoded, held_out, more_bytes = _watched_rows(
        draft, given, layout, net, split, n_held, n_members
    )
    watched = None
    if encoded is not None:
        watched = Watched(encoded, held_out, target, n_members, net.dtype, keeps_best)
    streamed = Streamed(
        _rows_to_stream(given, layout, settings.batch_size, trainings, encoded, watched, more_bytes)
    )
    job = _fit.Job(
        began=keeper.began,
        settings=settings,
        target=target,
        net=net,
        trainings=trainings,
        workers=workers,
        data=None,
        n_rows=n_rows,
        watched=watched,
        plan=_plan(trainings, streamed, workers.n_threads, encoded, watched, more_bytes),
        streamed=streamed,
        keeper=keeper,
    )
    own = encoded if given.held is not None else None
    keeper.compare(partial(_fingerprint, draft, job, source, own), vectors_of(job))
    return target, job


def _fingerprint(draft, job, source, own):
    """What a checkpoint of this job is of; `own`: rows of the caller's to validate on."""
    data = {**job.streamed.fingerprint(), **source.fingerprint()}
    data["classes_"] = getattr(draft, "classes_", None)
    if own is not None:
        data |= {"X_val": own.positions, "y_val": own.known, "sample_weight_val": own.weight}
    return fingerprint(draft, data, job.trainings[0].trainer)


def _split(draft, given):
    """The `Split`, the number of members, and the rows that are held out by each."""
    targets, share = given.source.targets, 0.0
    counts = targets.counts.reshape(len(targets.counts), -1, 2)  # of class, fold, part for all
    n_rows = int(counts.sum())
    of_classes = counts.sum(axis=(1, 2))
    if draft.early_stopping and given.held is None:
        smallest = of_classes[of_classes > 0].min() if targets.has_labels else None
        share = _fit.share_held_out(draft, n_rows, smallest)
    n_members = _fit.most_members(draft, max(1, round(n_rows * (1 - share))))
    none = Split(given.parts, 0, None)
    if share == 0:
        return none, n_members, [0]
    if n_members == 1 or share > 0.5:
        is_whole = of_classes * share < 1 if targets.has_labels else None
        held = counts[:, :, 1].sum(axis=1)
        held = [held.sum() if is_whole is None else held[~is_whole].sum()]
        split = Split(given.parts, 1, is_whole)
    else:
        n_folds = min(n_members, max(2, round(1 / share)))
        held = counts.sum(axis=(0, 2))[:n_folds]
        split = Split(given.parts, n_folds, None)
    if min(held) == 0 or max(held) == n_rows:
        return none, n_members, [0]
    return split, n_members, [int(n) for n in held]


# ---- rows that are watched ----


def _watched_rows(draft, given, layout, net, split, n_held, n_members):
    """The rows that are watched, `Encoded`, their places for each fold, and bytes beside them.

    (None, None, 0) where none are watched.
    Where those of the dataset do not fit into their share of the memory a random part of them is
    watched.
    """
    share = given.max_memory // 4 if given.max_memory else _BYTES_WATCHED
    most = max(share // _bytes_watched(layout, net, n_members, split.n_folds), _FEWEST_WATCHED)
    if given.held is not None:
        encoded, more_bytes = _rows_of_caller(draft, given, layout, net, most)
        return encoded, [None], more_bytes
    if not split.n_folds:
        return None, None, 0
    chosen = _Chosen(layout, sum(n_held), most)
    for place, batch in given.table.batches(layout.columns, batch_rows_for(layout.row_bytes)):
        chosen.add(batch, place)
    places = chosen.places(split.n_folds)
    more_bytes = chosen.more_bytes() + sum(a.nbytes for a in places if a is not None)
    return chosen.encoded(), places, more_bytes


def _bytes_watched(layout, net, n_members, n_folds):
    """Bytes of a row that is watched, with all that a `Watched` keeps of it."""
    z = layout.target.n_outputs * np.dtype(net.dtype).itemsize
    if n_folds < 2:
        return layout.row_bytes + n_members * z
    place = np.dtype(np.int64).itemsize
    _, *of_row, _ = layout.allocate(1)  # the target, and the weight if there is one
    members = -(-n_members // n_folds)  # that hold out the same rows
    return layout.row_bytes + place + members * (place + sum(a.nbytes for a in of_row) + z)


class _Chosen:
    """Rows that are watched, as they pass by."""

    def __init__(self, layout, n_rows, most, all_rows=False):
        n = min(n_rows, most)
        self._layout, self._all = layout, all_rows
        self._arrays, self._at = layout.allocate(n), 0
        # So many that there is hardly ever one too many, by four deviations.
        share = 1.0 if n == n_rows else max(n - 4 * np.sqrt(n), 1) / n_rows
        self._bound = np.uint64(min(share * 2.0**64, 2**64 - 1))

    def add(self, batch, place):
        """Choose among the rows of a record batch."""
        layout = self._layout
        with errors_named(place.path):
            facts = layout.facts(batch, place)
            mask = facts.holders != EVERYBODY if self._all else facts.holders >= 0
            mask &= row_keys(layout.rows_of(batch, place), _WATCHED) <= self._bound
            room = len(self._arrays[0]) - self._at
            chosen = np.flatnonzero(mask)[:room]
            if len(chosen):
                layout.put(self._arrays, self._at, batch.take(pa.array(chosen)), facts.at(chosen))
                self._at += len(chosen)

    def encoded(self):
        """The rows, as `_fit` has them in memory."""
        window = self._layout.data(self._arrays, self._at)
        target = window.target
        return _fit.Encoded(window.data, window.positions, target, target, window.weight)

    def more_bytes(self):
        """Bytes of room for rows that did not come, and of who holds out each."""
        *kept, holders = self._arrays
        return holders.nbytes + sum(a[self._at :].nbytes for a in kept)

    def places(self, n_folds):
        """The places of the rows of each fold; None for all."""
        if n_folds == 1:
            return [None]
        holders = self._arrays[-1][: self._at]
        return [np.flatnonzero(holders == fold) for fold in range(n_folds)]


def _rows_of_caller(draft, given, layout, net, most):
    """The rows of X_val, `Encoded`, and bytes beside them."""
    X_val, y_val, weight = given.held
    source = given.source
    targets = source.targets
    if not is_dataset(X_val):
        held = _fit._checked_validation(
            draft, source.schema, targets.kind, targets.nothing, targets.class_weights, given.held
        )
        return _fit._encoded(net, layout.target, held, targets.kind), 0
    table = Table(X_val)
    names = table.schema.names
    outputs, weight = _outputs(draft, table.schema, y_val, weight, "_val")
    if targets.nothing.ndim == 2 and len(outputs) != targets.nothing.shape[1]:
        raise ValueError(
            f"y_val={y_val!r}: it takes {targets.nothing.shape[1]} columns, as many as y."
        )
    absent = [name for name in source.features if name not in names]
    if absent:
        raise ValueError(f"X_val has no columns {absent}: it takes all of X, {source.features}.")
    weights = Weights(weight, "sample_weight_val")
    of_caller = Source(source.features, targets, outputs, weights, "y_val")
    of_caller.schema = source.schema
    n_rows = _rows_with_weight(table, of_caller)
    starts = np.cumsum([0, *table.counts])
    layout = EncodedLayout(of_caller, net, layout.target, Split(given.parts, 0, None), starts)
    chosen = _Chosen(layout, n_rows, most, all_rows=True)
    for place, batch in table.batches(layout.columns, batch_rows_for(layout.row_bytes)):
        chosen.add(batch, place)
    return chosen.encoded(), chosen.more_bytes()


def _rows_with_weight(table, source):
    """The number of rows of an X_val that have weight; ValueError unless it has some."""
    n_rows, total = 0, 0.0
    for place, batch in table.batches(source.of_targets, _ROWS):
        with errors_named(place.path):
            source.weights.add(source.weights.of(batch, place))
            weight = source.weights_of(batch, place, source.codes_of(batch, place))
        n_rows += batch.num_rows if weight is None else int((weight >= TINY).sum())
        total += batch.num_rows if weight is None else weight.sum()
    if not table.n_rows:
        raise ValueError("X_val has 0 rows: it takes 1 at least.")
    source.weights.check()
    if not n_rows or not has_weight(np.array([total])):
        raise ValueError(
            f"class_weight gives rows of y_val weights with sum {total}: it takes weights whose "
            "sum is well above zero and finite."
        )
    return n_rows


# ---- predict ----


def batches_to_predict(dataset, schema):
    """The columns of the schema, batch by batch of rows.

    Raises
    ------
    ValueError
        The dataset has not all of them.
    """
    absent = [name for name in schema.names if name not in dataset.schema.names]
    if absent:
        raise ValueError(
            f"X has no columns {absent}: it takes all those of fit, {schema.names}, and may have "
            "more."
        )
    for place, batch in Table(dataset).batches(schema.names, _ROWS):
        with errors_named(place.path):
            yield read_places(schema, Batch(batch, schema.names), range(schema.n_columns))


# ---- memory ----


def _most_distinct(schema, names, max_memory):
    """The distinct values that each column may have in the first pass, in half of the memory."""
    if not max_memory:
        return MOST
    n_bytes = 0
    for name in names:
        kind = schema.field(name).type
        is_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        n_bytes += _BYTES_OF_TEXT if is_text or pa.types.is_dictionary(kind) else _BYTES_OF_NUMBER
    return int(np.clip(max_memory // 2 // n_bytes, _FEWEST, MOST))


def _rows_to_stream(given, layout, batch_size, trainings, encoded, watched, more_bytes):
    """The rows of the dataset to train on, within `max_memory` with all else that the fit has."""
    working = sum(plan_of(training.trainer).total_bytes for training in trainings)
    kept = sum(a.nbytes for training in trainings for a in (training.params, *training.moments))
    working -= kept
    kept += sum(a.nbytes for training in trainings for a in training.vectors().values())
    n_bytes = more_bytes
    if watched is not None:
        arrays = (encoded.positions, encoded.target, encoded.weight)
        n_bytes += sum(a.nbytes for a in arrays if a is not None)
        n_bytes += sum(a.nbytes for _, a in watched.vectors())
    n_columns = len(given.source.features)
    stream = Stream(given.table, layout, given.max_memory, n_columns, validation_bytes=n_bytes)
    # The number of threads has no say in what is shuffled together, so none in this either.
    visit_bytes = VISIT_BYTES * len(trainings)
    return stream.rows(batch_size, given.random_state, kept, working, visit_bytes)


def _plan(trainings, streamed, n_workers, encoded, watched, more_bytes):
    """The `MemoryPlan` of a fit."""
    plan = plan_of(trainings[0].trainer)
    for name, vector in trainings[0].vectors().items():
        plan = plan.with_vector(name, vector)
    plan = plan.times(len(trainings))
    for row in streamed.plan_rows(n_workers):
        plan = plan.with_row(*row)
    if encoded is not None:
        arrays = (encoded.positions, encoded.target, encoded.weight)
        for name, array in zip(("positions", "y", "sample_weight"), arrays, strict=True):
            if array is not None:
                plan = plan.with_vector(f"{name} watched", array)
        for name, vector in watched.vectors():
            plan = plan.with_vector(name, vector)
    if more_bytes:
        plan = plan.with_row("places of rows watched", (more_bytes,), more_bytes)
    return plan
