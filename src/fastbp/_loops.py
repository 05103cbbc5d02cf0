"""The loop of the solvers that take mini-batches.

Python runs between epochs only: it shuffles row numbers, keeps the history, decides when to stop.
"""

from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
CAUSES = "Likely causes are a learning rate that is too large, or input that is not scaled."


class Ending(NamedTuple):
    """What a loop has to say: an error or a warning, for `_fit.train` to raise when all is done."""

    error: str = ""
    warning: str = ""
    category: type = ConvergenceWarning


class RowOrder:
    """The order in which the rows are visited, epoch by epoch.

    Each epoch shuffles the order of the one before, in place. That is what taking the rows by a
    shuffled 0..n-1 comes to, which is what scikit-learn does: the same stream, the same order.
    """

    def __init__(self, n_rows, rows, shuffle, random_state):
        self.n_rows = n_rows
        self._rows = self._visit = rows
        self._random_state = random_state if shuffle else None
        if shuffle:
            self._order = np.arange(n_rows, dtype=np.int64)
            self._visit = self._order if rows is None else rows.copy()

    def next_epoch(self):
        """Row numbers of the data in visiting order; None for all as they stand."""
        if self._random_state is not None:
            self._random_state.shuffle(self._order)
            if self._rows is not None:
                # mode="clip" writes into `out` directly; the default would buffer.
                np.take(self._rows, self._order, out=self._visit, mode="clip")
        return self._visit


def start_history(estimator, scored):
    """Give an estimator whose history is missing (preset weights) one to go on with."""
    if not hasattr(estimator, "loss_curve_"):
        estimator.loss_curve_ = []
    if not hasattr(estimator, "_no_improvement_count"):
        estimator._no_improvement_count = 0
    if scored:
        if getattr(estimator, "validation_scores_", None) is None:
            estimator.validation_scores_ = []
            estimator.best_validation_score_ = -np.inf
        estimator.best_loss_ = None
    else:
        if getattr(estimator, "best_loss_", None) is None:
            estimator.best_loss_ = np.inf
        estimator.validation_scores_ = None
        estimator.best_validation_score_ = None
    estimator.n_iter_ = 0


def clear_history(estimator):
    """Forget the curves and counters of earlier fits."""
    for name in (
        "loss_",
        "loss_curve_",
        "best_loss_",
        "validation_scores_",
        "best_validation_score_",
        "_no_improvement_count",
    ):
        vars(estimator).pop(name, None)


class Validation:
    """Scores of the held-out rows, and the parameters that did best."""

    def __init__(self, given, rows, trainer, flat):
        self._data, self._loss, self._rows = given.data, given.loss, rows
        self._target = given.target[rows]
        self._weight = None if given.sample_weight is None else given.sample_weight[rows]
        self._trainer, self._flat = trainer, flat
        self._output = np.empty((len(rows), given.layer_sizes[-1]), dtype=flat.dtype)
        self._best = flat.copy()

    def score(self):
        """Score of the present parameters."""
        self._trainer.forward(self._flat, self._data, self._output, order=self._rows)
        return self._loss.score(self._output, self._target, self._weight)

    def keep(self):
        """Take the present parameters for the best."""
        np.copyto(self._best, self._flat)

    def restore(self):
        """Go back to the best."""
        np.copyto(self._flat, self._best)


def train(estimator, job):
    """Run epochs until the stopping rules, ``max_iter`` or Ctrl-C end them.

    Returns
    -------
    Ending
    """
    start_history(estimator, job.validation is not None)
    job.optimizer.resume(estimator)
    scored_before = len(estimator.validation_scores_ or ())
    try:
        return _run_epochs(estimator, job)
    except KeyboardInterrupt:
        return Ending(warning="Training interrupted by user.", category=UserWarning)
    finally:
        if job.validation is not None:
            job.validation.restore()
            # Of an epoch that was interrupted while it was scored.
            missing = estimator.n_iter_ - (len(estimator.validation_scores_) - scored_before)
            estimator.validation_scores_ += [np.nan] * missing


def _run_epochs(estimator, job):
    for _ in range(estimator.max_iter):
        loss, finite = _epoch(estimator, job, job.order.next_epoch())
        _record_loss(estimator, loss, job.order.n_rows)
        if not finite:
            return _not_finite(estimator, job)
        _update_no_improvement_count(estimator, job.validation)
        job.optimizer.iteration_ends(estimator)
        if _stops(estimator, job.optimizer) or job.given.one_epoch:
            return Ending()
    return Ending(
        warning=f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
        "the optimization hasn't converged yet."
    )


def _epoch(estimator, job, rows):
    """One epoch in the core; its updates are counted, also if it is interrupted."""
    arguments = job.optimizer.epoch_arguments(estimator)  # before: no call of ours may come between
    try:
        loss, _, finite = job.trainer.train_epoch(
            job.params.flat,
            job.optimizer.state,
            job.given.data,
            rows,
            job.batch_size,
            alpha=estimator.alpha,
            loss_scale=job.loss_scale,
            clip_loss=True,
            **arguments,
        )
    finally:
        job.optimizer.count(job.trainer.updates, estimator)
    return loss, finite


def _record_loss(estimator, loss, n_rows):
    estimator.n_iter_ += 1
    estimator.t_ += n_rows
    estimator.loss_ = loss
    estimator.loss_curve_.append(loss)
    if estimator.verbose:
        print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")


def _record_score(estimator, score):
    estimator.validation_scores_.append(score)
    if estimator.verbose:
        print(f"Validation score: {score:f}")


def _update_no_improvement_count(estimator, validation):
    # The comparisons with NaN are meant: a NaN score or loss counts as an improvement by neither
    # rule and resets the count, as in scikit-learn.
    if validation is not None:
        score = validation.score()
        _record_score(estimator, score)
        stalled = score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            validation.keep()
            estimator.best_validation_score_ = score
    else:
        stalled = estimator.loss_ > estimator.best_loss_ - estimator.tol
        if estimator.loss_ < estimator.best_loss_:
            estimator.best_loss_ = estimator.loss_
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if stalled else 0


def _stops(estimator, optimizer):
    if estimator._no_improvement_count <= estimator.n_iter_no_change:
        return False
    quantity = "Validation score" if estimator.early_stopping else "Training loss"
    msg = (
        f"{quantity} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )
    if optimizer.trigger_stopping(msg, estimator):
        return True
    estimator._no_improvement_count = 0
    return False


def _not_finite(estimator, job):
    where = f"The loss became {estimator.loss_curve_[-1]} in epoch {estimator.n_iter_}."
    if job.validation is None:
        return Ending(error=f"{NON_FINITE} {where} {CAUSES}")
    _record_score(estimator, np.nan)
    return Ending(
        warning=f"{where} {CAUSES} Training stopped there; the parameters are those of the best "
        "validation score."
    )
