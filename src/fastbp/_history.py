"""The curves of an estimator: what each epoch or iteration came to, over all its fits."""

from time import monotonic
from typing import NamedTuple

import numpy as np

# What `fit` begins anew and warm_start and partial_fit go on with.
ATTRIBUTES = (
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "validation_loss_curve_",
    "best_validation_score_",
    "best_iter_",
    "_history",
    "_no_improvement_count",
    "_watched",
)
# What a checkpoint has of them. What is watched follows from the parameters again.
_KEPT = (*(name for name in ATTRIBUTES if name != "_watched"), "n_iter_", "t_")
# Curves that go on while the estimator is fitted: a copy needs lists of its own.
CURVES = ("loss_curve_", "validation_scores_", "validation_loss_curve_", "_history")


class Row(NamedTuple):
    """An epoch or iteration in ``_history``, from which `history_of` makes columns."""

    seconds: float
    loss: float
    validation_loss: float
    validation_score: float
    learning_rate: float


def clear_history(estimator):
    """Forget the curves and counters of earlier fits."""
    state = vars(estimator)
    for name in ATTRIBUTES:
        state.pop(name, None)


def history_of(estimator):
    """The rows as a dict of columns, with their numbers; AttributeError before a fit."""
    rows = vars(estimator).get("_history")
    if rows is None:
        raise AttributeError("history_ is only available after fit.")
    columns = zip(*rows, strict=True) if rows else [()] * len(Row._fields)
    names = ("iteration", *Row._fields)
    return {n: [*c] for n, c in zip(names, (range(1, len(rows) + 1), *columns), strict=True)}


class History:
    """Goes on with the curves of an estimator, or begins those that it has not.

    Parameters
    ----------
    estimator : BaseMLP
    began : float
        When the fit began, by `time.monotonic`.
    validation : Validation or None
    """

    __slots__ = ("_marked", "_rows", "_scored_before", "_state", "_validation", "_zero")

    def __init__(self, estimator, began, validation):
        self._state = state = vars(estimator)
        self._validation = validation
        if "loss_curve_" not in state:
            state["loss_curve_"] = []
        if "_no_improvement_count" not in state:
            state["_no_improvement_count"] = 0
        self._rows = rows = state.get("_history")
        if rows is None:
            self._rows = rows = state["_history"] = []
            state["best_iter_"] = 0
        self._zero = began - rows[-1][0] if rows else began
        state["n_iter_"] = 0
        if validation is not None:
            self._begin_scores(getattr(estimator, "scoring", None))
        else:
            state["validation_scores_"] = state["validation_loss_curve_"] = None
            state["best_validation_score_"] = None
        if validation is not None and validation.decides:
            state["best_loss_"] = None
        elif state.get("best_loss_") is None:
            state["best_loss_"] = np.inf

    def _begin_scores(self, scoring):
        # A callable may be one that no pickle takes; the curves outlive it.
        key = repr(scoring) if callable(scoring) else scoring
        state, watched = self._state, (self._validation.decides, key)
        if state.get("validation_scores_") is None:
            state["validation_scores_"] = []
            state.pop("_watched", None)
        if state.get("_watched") != watched:  # scores of another kind do not compare
            state["best_validation_score_"] = -np.inf
        if state.get("validation_loss_curve_") is None:
            state["validation_loss_curve_"] = [np.nan] * len(state["validation_scores_"])
        state["_watched"] = watched
        self._scored_before = len(state["validation_scores_"])

    def add_loss(self, loss, rate):
        """Note the loss of an epoch or iteration, and its learning rate."""
        state = self._state
        state["n_iter_"] += 1
        state["loss_"] = loss
        state["loss_curve_"].append(loss)
        # A plain tuple takes half the time of a Row.
        self._rows.append((monotonic() - self._zero, loss, np.nan, np.nan, rate))

    def add_score(self, score, loss):
        """Note what the same epoch comes to on the rows that are watched."""
        state, rows = self._state, self._rows
        state["validation_scores_"].append(score)
        state["validation_loss_curve_"].append(loss)
        rows[-1] = (*rows[-1][:2], loss, score, rows[-1][-1])

    def mark_best(self):
        """The last epoch is the best so far."""
        self._state["best_iter_"] = len(self._rows)

    def mark(self):
        """Note what the attributes are now, at the end of an epoch or iteration."""
        present = [(name, self._state[name]) for name in _KEPT if name in self._state]
        # Curves grow at their end: what they are now is found there later.
        self._marked = [(n, v, len(v) if type(v) is list else None) for n, v in present]

    def marked(self):
        """The attributes as they were at the last `mark`, a dict."""
        return {n: v if length is None else v[:length] for n, v, length in self._marked}

    def go_on(self, attributes):
        """Take attributes that `marked` gave, perhaps in another process."""
        self._state.update(attributes)
        self._rows = self._state["_history"]
        self.mark()

    def close(self):
        """Give scores to epochs whose scoring was interrupted."""
        if self._validation is None:
            return
        n = self._scored_before + self._state["n_iter_"]
        for name in ("validation_scores_", "validation_loss_curve_"):
            curve = self._state[name]
            curve += [np.nan] * (n - len(curve))
