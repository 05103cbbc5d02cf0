"""The checks of a fit over a dataset: what it trains on, in the place of arrays.

`_fit.check` has the other checks, and makes of all of them a `Given`.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .._optim import SOLVERS
from .._validation import check_passed_together, check_validation_set, checked_as
from ..memory import human_bytes
from . import is_dataset
from ._first_pass import Finite, first_pass
from ._held_out import whole
from ._layout import PlainLayout
from ._source import fingerprint_of, source_of
from ._stream import Stream, check_class_weights
from ._table import Table
from ._targets import targets_of


class Learnt(NamedTuple):
    """What the first pass over a dataset has found."""

    source: Any
    targets: Any  # Labels or Numbers
    finite: Finite
    table: Table
    class_weights: list | None

    def fingerprint(self):
        """What a checkpoint compares: pairs of texts, by name."""
        return fingerprint_of(self.source.outputs, self.source.weight)


def learn(draft, dataset, y, sample_weight, first, settings):
    """Read all rows once; the draft learns features and classes.

    `settings` are the parameters that are checked already, as `_fit` has them.

    Raises
    ------
    TypeError, ValueError, OSError
        For what cannot be trained on, with the name of the column and of the file.
    """
    table = Table(dataset)
    known = None if first else getattr(draft, "feature_names_in_", None)
    features = None if known is None else list(known)
    source = source_of(table.schema, y, sample_weight, features=features)
    _learn_features(draft, table.schema, source, first)
    targets = targets_of(draft, first, source.outputs)
    targets.check_types(table.schema, source.outputs)
    _check_least_memory(draft, table, source, settings)
    finite = first_pass(table, source, targets.see)
    targets.finish()
    class_weights = None
    if targets.counts is not None:
        class_weights = draft._class_weights(targets.codes, targets.counts)
        check_class_weights(table, source, targets, class_weights)
    if first:
        draft._x_dtype = source.x_dtype
    return Learnt(source, targets, finite, table, class_weights)


def _check_least_memory(draft, table, source, settings):
    """Raise ValueError for a `max_memory` that is too small whatever the rows are."""
    max_memory = settings["max_memory"]
    optimizer = SOLVERS[draft.solver].optimizer
    sizes = (len(source.features), *settings["hidden_layer_sizes"], 1)
    n_params = sum((width + 1) * after for width, after in pairwise(sizes))
    itemsize = 8 if optimizer is None or draft.dtype == "float64" else 4
    kept = n_params * itemsize * (1 + (0 if optimizer is None else optimizer.n_states))
    reading = table.reading_bytes(source.columns, 1)
    if 0 < max_memory < kept + reading:
        raise ValueError(
            f"max_memory={max_memory} is too small for this dataset: it takes more than "
            f"{kept + reading} bytes, {human_bytes(kept)} for the parameters and the optimizer and "
            f"{human_bytes(reading)} for what pyarrow holds while it reads."
        )


def _learn_features(draft, schema, source, first):
    if not first:
        used = set(source.columns)
        unseen = [name for name in schema.names if name not in used]
        if unseen:
            raise ValueError(
                f"The dataset has the columns {unseen}, which the fit before did not have: it "
                f"takes {source.features} for X."
            )
        if len(source.features) != draft.n_features_in_:
            raise ValueError(
                f"X has {len(source.features)} features, but {type(draft).__name__} is expecting "
                f"{draft.n_features_in_} features as input."
            )
        return
    draft.feature_names_in_ = np.array(source.features, dtype=object)
    draft.n_features_in_ = len(source.features)


def stream_of(draft, learnt, dtype, max_memory):
    """The rows to train on, for a net that computes in this dtype; X is checked for it."""
    learnt.finite.check(draft, dtype)
    layout = PlainLayout(learnt.source, dtype, learnt.targets, learnt.class_weights)
    return Stream(learnt.table, layout, max_memory, len(learnt.source.features))


def validation_of(draft, learnt, dtype, passed, wants_labels):
    """The `ValidationSet` of (X_val, y_val, sample_weight_val), or None.

    X_val may be a dataset, which is read into memory.
    """
    X_val, y_val, sample_weight = passed
    targets, class_weights = learnt.targets, learnt.class_weights
    if not is_dataset(X_val):
        return check_validation_set(
            draft, None, targets.loss, targets.sample, class_weights, passed, dtype
        )
    check_passed_together(X_val, y_val)
    table = Table(X_val)
    features = learnt.source.features
    names = ("X_val", "y_val", "sample_weight_val")
    source = source_of(table.schema, y_val, sample_weight, names, features)
    if len(source.outputs) != len(learnt.source.outputs):
        raise ValueError(
            f"y_val={y_val!r}: it takes {len(learnt.source.outputs)} columns, as many as y."
        )
    with checked_as("X_val and y_val"):
        targets = targets.of_columns(source.outputs)
        targets.check_types(table.schema, source.outputs)
        layout = PlainLayout(source, dtype, targets, class_weights)
        finite = first_pass(table, source, targets.of)
        finite.check(draft, dtype)
        return whole(Stream(table, layout, 0, len(features)), source, targets, wants_labels)
