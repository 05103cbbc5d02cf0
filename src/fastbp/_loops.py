"""The loop of the solvers that take mini-batches.

Python runs between epochs only: it shuffles row numbers, keeps the history, decides when to stop.
"""

from time import monotonic
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from ._history import History
from ._progress import prints_lines

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
CAUSES = "Likely causes are a learning rate that is too large, or input that is not scaled."


class Ending(NamedTuple):
    """What a loop has to say: an error or warnings, for `_fit.train` to raise when all is done."""

    error: str = ""
    warning: str = ""
    category: type = ConvergenceWarning
    unbeaten: str = ""  # warning that the weights are those which the fit began with


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


# ---- around each epoch or iteration, whatever the solver ----


def begin_iteration(job):
    """What is due before an epoch or iteration."""
    if job.tasks is not None:
        job.tasks.begin()


def record_score(estimator, validation, history, score):
    """Note the score of the present epoch or iteration, and its validation loss."""
    history.add_score(score, validation.loss)
    if prints_lines(estimator):
        if validation.watches_loss:
            print(f"Validation loss: {validation.loss:f}")
        else:
            print(f"Validation score: {score:f}")


def end_iteration(estimator, job):
    """What is due after one; an `Ending` if the fit is to end with it, None if it may go on."""
    if job.progress is not None:
        scores = estimator.validation_scores_
        job.progress.update(estimator.n_iter_, estimator.loss_, scores[-1] if scores else None)
    if job.tasks is not None and job.tasks.end():
        return Ending()
    if estimator.max_time is not None and monotonic() - job.began >= estimator.max_time:
        return Ending(
            warning=f"max_time={estimator.max_time} seconds have passed after {estimator.n_iter_} "
            "iterations and the optimization hasn't converged yet."
        )
    return None


# ---- mini-batches ----


def train(estimator, job):
    """Run epochs until the stopping rules, ``max_iter``, ``max_time`` or Ctrl-C end them.

    Returns
    -------
    Ending
    """
    history = History(estimator, job.began, job.validation)
    if job.validation is not None:
        job.validation.follow(estimator)
    job.optimizer.resume(estimator)
    try:
        _score_before(estimator, job)
        ending = _run_epochs(estimator, job, history)
        return ending._replace(unbeaten=_unbeaten(estimator, job.validation))
    except KeyboardInterrupt:
        return Ending(warning="Training interrupted by user.", category=UserWarning)
    finally:
        if job.validation is not None:
            job.validation.restore()
        history.close()


def _score_before(estimator, job):
    """Let the weights that a fit goes on from have the score to beat, on rows of the caller's own.

    Scores of earlier fits may be of other rows. The rows that `early_stopping` holds out are the
    same again with the same `random_state` and X; there the best score of all fits counts, as in
    scikit-learn.
    """
    validation, given = job.validation, job.given
    if validation is None or not validation.decides or given.first or given.validation is None:
        return
    score = validation.score()
    estimator.best_validation_score_ = -np.inf if np.isnan(score) else score


def _run_epochs(estimator, job, history):
    for _ in range(estimator.max_iter):
        begin_iteration(job)
        loss, finite = _epoch(estimator, job, job.order.next_epoch())
        _record_loss(estimator, job, history, loss)
        if not finite:
            return _not_finite(estimator, job, history)
        _update_no_improvement_count(estimator, job.validation, history)
        job.optimizer.iteration_ends(estimator)
        ending = end_iteration(estimator, job)
        if _stops(estimator, job) or job.given.one_epoch:
            return Ending()
        if ending is not None:
            return ending
    return Ending(
        warning=f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
        "the optimization hasn't converged yet."
    )


def _epoch(estimator, job, rows):
    """One epoch in the core; its updates are counted, also if it is interrupted."""
    n_steps = -(-job.order.n_rows // job.batch_size)
    # before: no call of ours may come between
    arguments = job.optimizer.epoch_arguments(estimator, n_steps, job.given.one_epoch)
    if job.shown is not job.params:
        arguments |= {"ema": job.shown.flat, "ema_decay": estimator.ema_decay}
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
            ask=job.given.loss.ask,
            **arguments,
        )
    finally:
        job.optimizer.count(job.trainer.updates, estimator)
    return loss, finite


def _record_loss(estimator, job, history, loss):
    history.add_loss(loss, job.optimizer.last_rate)
    estimator.t_ += job.order.n_rows
    if prints_lines(estimator):
        print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")


def _update_no_improvement_count(estimator, validation, history):
    # The comparisons with NaN are meant: a NaN score or loss counts as an improvement by neither
    # rule and resets the count, as in scikit-learn.
    decides = validation is not None and validation.decides
    if validation is not None:
        score = validation.score()
        record_score(estimator, validation, history, score)
        stalled = score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            if decides:
                validation.keep()
                history.mark_best()
            estimator.best_validation_score_ = score
    if not decides:
        stalled = estimator.loss_ > estimator.best_loss_ - estimator.tol
        if estimator.loss_ < estimator.best_loss_:
            estimator.best_loss_ = estimator.loss_
            history.mark_best()
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if stalled else 0


def _stops(estimator, job):
    if estimator._no_improvement_count <= estimator.n_iter_no_change:
        return False
    quantity = "Training loss"
    if job.validation is not None and job.validation.decides:
        quantity = "Validation loss" if job.validation.watches_loss else "Validation score"
    msg = (
        f"{quantity} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )
    if job.optimizer.trigger_stopping(msg, estimator):
        return True
    estimator._no_improvement_count = 0
    return False


def _unbeaten(estimator, validation):
    """What to say if no epoch had a score that compares; "" if one had, or nothing decides."""
    if validation is None or not validation.decides or not np.isfinite(estimator.loss_):
        return ""
    if estimator.best_validation_score_ > -np.inf:
        return ""
    return (
        "No epoch beat the initial weights, with which the fit ends: "
        f"scoring={estimator.scoring!r} gave {estimator.validation_scores_[-1]} in the last one. "
        "With early_stopping=True it takes a scorer that returns numbers above -inf, not NaN."
    )


def _not_finite(estimator, job, history):
    where = f"The loss became {estimator.loss_curve_[-1]} in epoch {estimator.n_iter_}."
    validation = job.validation
    if validation is None or not validation.decides:
        return Ending(error=f"{NON_FINITE} {where} {CAUSES}")
    validation.loss = np.nan
    record_score(estimator, validation, history, np.nan)
    return Ending(
        warning=f"{where} {CAUSES} Training stopped there; the parameters are those of the best "
        "validation score."
    )
