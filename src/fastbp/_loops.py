"""The loop of the solvers that take mini-batches.

Python runs between epochs only: it shuffles row numbers, keeps the history, decides when to stop.
"""

from functools import partial
from time import monotonic
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from . import _core, _data_parallel
from ._checkpoints.keeper import copy_of, small
from ._distributed import agreeing
from ._history import History
from ._progress import print_line, prints_lines

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
    is_interrupted: bool = False  # by the user, who may want to go on

    def interrupted(self):
        """The same of a fit that the user has ended."""
        return self._replace(
            warning="Training interrupted by user.", category=UserWarning, is_interrupted=True
        )


class Piece(NamedTuple):
    """Rows that the core is given together: all of an epoch, or some mini-batches of it."""

    data: _core.Data
    order: np.ndarray | None  # row numbers of `data` in visiting order; None: all as they stand
    row: int  # of the visit, where to begin: those before it are done

    @property
    def n_rows(self):
        """Rows of the visit."""
        return self.data.n_rows if self.order is None else len(self.order)


class RowsOfOneProcess:
    """What rows to train on have wherever they are: their number `n_rows`, cut into mini-batches.

    Attributes
    ----------
    no_loss : float
        What the sum of the losses of an epoch begins with.
    """

    no_loss = 0.0

    def n_steps(self, batch_size):
        """Mini-batches of an epoch."""
        return -(-self.n_rows // batch_size)


class Rows(RowsOfOneProcess):
    """Rows in memory to train on, and the order in which they are visited, epoch by epoch.

    Each epoch shuffles the order of the one before, in place. That is what taking the rows by a
    shuffled 0..n-1 comes to, which is what scikit-learn does: the same stream, the same order.

    Parameters
    ----------
    data : _core.Data
    n_rows : int
        So many are visited in an epoch.
    rows : ndarray of int64 or None
        Which of them; None: all.
    random_state : RandomState or None
        None: they are visited as they stand.
    """

    def __init__(self, data, n_rows, rows, random_state):
        self.n_rows = n_rows
        self._data = data
        self._rows = self._visit = rows
        self._random_state = random_state
        if random_state is not None:
            self._order = np.arange(n_rows, dtype=np.int64)
            self._visit = self._order if rows is None else rows.copy()

    def begin_epoch(self):
        """Draw the order of the next epoch."""
        if self._random_state is not None:
            self._random_state.shuffle(self._order)
            self._take_rows()

    def _take_rows(self):
        if self._rows is not None:
            # mode="clip" writes into `out` directly; the default would buffer.
            np.take(self._rows, self._order, out=self._visit, mode="clip")

    def state(self):
        """What `restore` takes to visit the rows of this epoch, and of those after it, again."""
        if self._random_state is None:
            return {}
        return {"order": small(self._order), "random_state": copy_of(self._random_state)}

    def restore(self, state):
        """Go on where `state` was: in its epoch, or at the end of it.

        False, and nothing done, if it was of several ranks.
        """
        if "ranks" in state:
            return False
        if self._random_state is not None:
            np.copyto(self._order, state["order"])
            self._random_state.set_state(state["random_state"].get_state())
            self._take_rows()
        return True

    def pieces(self, row=0):
        """The pieces of this epoch, one after the other, from this row of the visit on."""
        yield Piece(self._data, self._visit, row)


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
            print_line(f"Validation loss: {validation.loss:f}")
        else:
            print_line(f"Validation score: {score:f}")


def end_iteration(estimator, job):
    """What is due after one; an `Ending` if the fit is to end with it, None if it may go on."""
    if job.ranks is None:
        return _end_iteration(estimator, job)
    return _data_parallel.ending_of_all(job.ranks, partial(_end_iteration, estimator, job))


def _end_iteration(estimator, job):
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


class Course:
    """Where a run is between two steps, and what a checkpoint has of it.

    Attributes
    ----------
    place : tuple or None
        The rows of the present epoch that are done, and the sum of their losses; where several
        ranks train the steps, and the sums of each rank. None between two epochs.
    is_whole : bool
        False while something changes that a checkpoint must not have in half.
    """

    def __init__(self, estimator, job, history):
        self._estimator, self._job, self._history = estimator, job, history
        self.place, self.is_whole = None, False

    def mark(self, place=None):
        """An epoch has ended, with all that belongs to it, or none has begun; or at this place."""
        self.is_whole = False
        if self._job.keeper.is_there:
            self._history.mark()
            self._rates = self._job.optimizer.rates()
        self.place, self.is_whole = place, True

    def begin_epoch(self):
        """Draw the order of the next epoch, unless it is one that a checkpoint was in."""
        if self.place is None:
            self.is_whole = False
            self._job.rows.begin_epoch()
            ranks = self._job.ranks
            no_loss = 0.0 if ranks is None else (0.0,) * ranks.size
            self.place, self.is_whole = (0, no_loss), True

    def state(self):
        """What `go_on` takes; None where there is nothing to go on from."""
        if not self.is_whole:
            return None
        job = self._job
        return {
            "attributes": self._history.marked(),
            "place": self.place,
            "rows": job.rows.state(),
            "random_state": copy_of(self._estimator._random_state),
            "optimizer": {**self._rates, "t": job.optimizer.t},
        }

    def go_on(self, state):
        """Be where the run was that had this state; the vectors are there already."""
        job = self._job
        self._history.go_on(state["attributes"])
        vars(job.optimizer).update(state["optimizer"])
        if job.ranks is None:  # of several each has its own, which is not drawn from any more
            self._estimator._random_state.set_state(state["random_state"].get_state())
        is_same = job.rows.restore(state["rows"]) is not False
        if not is_same:
            job.optimizer.passed_over(self._estimator.n_iter_ * _n_steps(job))
            _score_best_again(self._estimator, job)
        if job.tasks is not None:
            job.tasks.pass_over(self._estimator.n_iter_)
        self.mark(state["place"] if is_same else None)


def vectors_of(job):
    """What training changes in place, by name."""
    vectors = {"params": job.params.flat}
    if job.shown is not job.params:
        vectors["shown"] = job.shown.flat
    for i, vector in enumerate(job.optimizer.state):
        vectors[f"state {i}"] = vector
    if job.validation is not None and job.validation.decides:
        vectors["best"] = job.validation.best
    return vectors


def bytes_beside(job):
    """What a checkpoint takes beside these vectors at least, as far as it is much."""
    return 0


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
    course = Course(estimator, job, history)
    try:
        with job.keeper.following(course.state):
            if job.keeper.goes_on:
                course.go_on(job.keeper.go_on())
            else:
                _score_before(estimator, job)
                course.mark()
            ending = _run_epochs(estimator, job, history, course)
        return ending._replace(unbeaten=_unbeaten(estimator, job.validation))
    except KeyboardInterrupt as error:
        if job.ranks is not None and not job.ranks.is_shared(error):
            raise  # the others do not know of it
        return Ending().interrupted()
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


def _score_best_again(estimator, job):
    """Let the best parameters have the score to beat on the rows that are held out now.

    Those of another number of ranks were others, so that their scores do not compare.
    """
    validation = job.validation
    if validation is None or not validation.decides or job.given.validation is not None:
        return
    if estimator.best_validation_score_ == -np.inf:
        return
    shown = job.shown.flat
    present = shown.copy()
    validation.restore()
    score = validation.score()
    np.copyto(shown, present)
    estimator.best_validation_score_ = -np.inf if np.isnan(score) else score


def _run_epochs(estimator, job, history, course):
    for _ in range(estimator.n_iter_, estimator.max_iter):
        with agreeing(job.ranks):
            begin_iteration(job)
            course.begin_epoch()
            arguments = _arguments(estimator, job)
        loss, finite = _epoch(estimator, job, course, arguments)
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
        course.mark()
        job.keeper.write_if_due()
    return Ending(
        warning=f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
        "the optimization hasn't converged yet."
    )


def _n_steps(job):
    """Mini-batches of an epoch."""
    return -(-job.rows.n_rows // job.batch_size) if job.ranks is None else job.rows.n_steps


def _arguments(estimator, job):
    """What the core is given for an epoch beside the rows."""
    arguments = job.optimizer.epoch_arguments(estimator, _n_steps(job), job.given.one_epoch)
    arguments |= {
        "alpha": estimator.alpha,
        "loss_scale": job.loss_scale,
        "clip_loss": True,
        "ask": job.given.loss.ask,
    }
    if job.shown is not job.params:
        arguments |= {"ema": job.shown.flat, "ema_decay": estimator.ema_decay}
    return arguments


def _epoch(estimator, job, course, arguments):
    """One epoch in the core; its updates are counted, also if it is interrupted."""
    if job.ranks is None:
        return _pieces(estimator, job, course, arguments)
    return _shared_epoch(estimator, job, course, arguments)


def _pieces(estimator, job, course, arguments):
    finite = True
    for piece in job.rows.pieces(course.place[0]):
        if not finite:
            break
        finite = _train_piece(estimator, job, piece, course, arguments)
    return course.place[1] / job.rows.n_rows, finite


def _train_piece(estimator, job, piece, course, arguments):
    """Train on these rows, with a pause for each checkpoint; whether all losses were finite."""
    while True:
        finite = _train_rows(estimator, job, piece, course, arguments)
        if not finite or job.trainer.rows_done == piece.n_rows:
            return finite
        piece = piece._replace(row=job.trainer.rows_done)
        job.keeper.write_if_due()


def _train_rows(estimator, job, piece, course, arguments):
    """Train on these rows until the next checkpoint is due; whether all losses were finite."""
    row, loss_sum = course.place
    course.is_whole = False
    arguments = arguments | {"t": job.optimizer.t, "before": row - piece.row}
    if "rates" in arguments:
        arguments["rates"] = arguments["rates"][row // job.batch_size :]
    job.trainer.begin(piece.row, loss_sum)
    try:
        _, _, finite = job.trainer.train_epoch(
            job.params.flat,
            job.optimizer.state,
            piece.data,
            piece.order,
            job.batch_size,
            row=piece.row,
            loss_sum=loss_sum,
            until=job.keeper.deadline,
            **arguments,
        )
    finally:
        job.optimizer.count(job.trainer.updates, estimator)
        course.place = (row + job.trainer.rows_done - piece.row, job.trainer.loss_sum)
        course.is_whole = True
    return finite


def _shared_epoch(estimator, job, course, arguments):
    job.rows.weigh()
    _data_parallel.copy_rates(job.ranks, arguments)
    finite = True
    while finite and course.place[0] < job.rows.n_steps:
        arguments["t"] = job.optimizer.t
        try:
            finite = _data_parallel.epoch(job, course, arguments)
        finally:
            job.optimizer.count(job.trainer.updates, estimator)
        job.keeper.write_if_due()
    loss = sum(course.place[1]) / job.rows.n_rows
    return loss if finite or not np.isfinite(loss) else np.nan, finite


def _record_loss(estimator, job, history, loss):
    history.add_loss(loss, job.optimizer.last_rate)
    estimator.t_ += job.rows.n_rows
    if prints_lines(estimator):
        print_line(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")


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
