"""The loop of the solver that takes all rows in each iteration."""

import functools
import secrets

import numpy as np

from . import _data_parallel
from ._checkpoints.evaluations import TOKEN, bytes_of_record
from ._checkpoints.keeper import copy_of
from ._distributed import agreeing
from ._history import History
from ._loops import NON_FINITE, Ending, begin_iteration, end_iteration, record_score
from ._params import Parameters
from ._progress import print_line, prints_lines

CAUSES = "Likely causes are input or targets that are not scaled, or an alpha that is too large."


def train(estimator, job):
    """Minimise over all rows with SciPy's L-BFGS-B; memory is bounded by the arena.

    The parameters are those of the last iteration, whenever this ends.

    Returns
    -------
    Ending
    """
    from scipy.optimize import minimize

    history = History(estimator, job.began, job.validation)
    if job.validation is not None:
        job.validation.follow(estimator)
    course = Course(estimator, job, history)
    try:
        with job.keeper.following(course.state):
            course.begin()
            return _minimize(estimator, job, history, course, minimize)
    finally:
        history.close()


class Course:
    """What a checkpoint has of a run: the answers of the objective, and what they came to.

    Attributes
    ----------
    n_known : int
        Iterations that come again, with the answers of the log, and are recorded already.
    """

    def __init__(self, estimator, job, history):
        self._estimator, self._job, self._history = estimator, job, history
        self._log, self.n_known = None, 0

    def begin(self):
        """Begin the log, or go on with that of a checkpoint."""
        job, generator = self._job, getattr(self._estimator, "_random_state", None)
        if not job.keeper.is_there:
            return
        self._token = secrets.token_hex(TOKEN)
        self._history.mark()
        if job.keeper.goes_on:
            state = job.keeper.go_on()
            self._token = state["token"]
            self._history.go_on(state["attributes"])
            if job.ranks is None:  # of several each has its own, which is not drawn from
                generator.set_state(state["random_state"].get_state())
            self.n_known = self._estimator.n_iter_
            if job.tasks is not None:
                job.tasks.pass_over(self.n_known)
        log = job.keeper.evaluations(job.params.flat.size, bytes.fromhex(self._token))
        log.open()
        self._log = log
        job.keeper.write_if_due()  # it has the token, without which the log is of no use

    def state(self):
        """What `begin` goes on with; None before it."""
        if self._log is None:
            return None
        self._log.sync()
        return {
            "attributes": self._history.marked(),
            "random_state": copy_of(self._estimator._random_state),
            "token": self._token,
        }

    def answer(self, point):
        """The loss and the gradient at this point, if they are in the log; else None."""
        return None if self._log is None else self._log.answer(point)

    def note(self, point, loss, grad):
        """Add them to the log."""
        if self._log is not None:
            self._log.note(point, loss, grad)
            self._job.keeper.write_if_due()

    def mark(self):
        """An iteration has ended, with all that belongs to it."""
        if self._log is not None:
            self._history.mark()


def vectors_of(job):
    """What training changes in place and a checkpoint needs: nothing, for it has the answers."""
    return {}


def bytes_beside(job):
    """What it takes beside these vectors at least: the first of the answers."""
    return bytes_of_record(job.params.flat.size)


def _raising_stop_iteration(function):
    """Make a StopIteration of the user's own code an error; SciPy would take it for success."""

    @functools.wraps(function)
    def called(*args):
        try:
            return function(*args)
        except StopIteration as error:
            raise RuntimeError(
                "StopIteration was raised by a scorer, a callback or a loss of the user's own: "
                "with solver='lbfgs' they may raise any exception but this."
            ) from error

    return called


def _minimize(estimator, job, history, course, minimize):
    params = job.params.flat
    asked_to_end = []  # the `Ending` of who did
    total = None if job.ranks is None else _data_parallel.total_weight(job.ranks, job.given)

    @_raising_stop_iteration
    def value_and_grad(point):
        if not course.n_known:
            with agreeing(job.ranks):
                begin_iteration(job)  # the first of its evaluations
        known = course.answer(point)
        if known is not None:
            return known
        if job.ranks is not None:
            loss, grad = _data_parallel.value_and_grad(job, point, total, estimator.alpha)
        else:
            # SciPy keeps the gradient it is given, so it gets a new one each time.
            grad = np.empty_like(point)
            evaluate = _over_all_rows if job.rows is None else _over_pieces
            loss = evaluate(job, estimator.alpha, point, grad)
        course.note(point, loss, grad)
        return loss, grad

    @_raising_stop_iteration
    def after(intermediate_result):
        if course.n_known:
            np.copyto(params, intermediate_result.x)
            course.n_known -= 1
            return None
        _record(estimator, history, float(intermediate_result.fun))
        np.copyto(params, intermediate_result.x)
        if prints_lines(estimator):
            print_line(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        _watch(estimator, job.validation, history)
        ending = end_iteration(estimator, job)
        course.mark()
        return ending

    def callback(intermediate_result):
        ending = after(intermediate_result)
        if ending is not None:
            asked_to_end.append(ending)
            raise StopIteration

    if job.ranks is not None:
        minimize = functools.partial(_data_parallel.minimize, job.ranks, minimize)
    result = minimize(
        value_and_grad,
        params.copy(),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        callback=callback,
    )
    return asked_to_end[0] if asked_to_end else _end(estimator, params, result)


def _over_all_rows(job, alpha, point, grad):
    """The loss at this point, and its gradient into `grad`."""
    return job.trainer.value_and_grad(
        point,
        job.given.data,
        grad,
        alpha=alpha,
        loss_scale=job.loss_scale,
        clip_loss=True,
        ask=job.given.loss.ask,
    )


def _over_pieces(job, alpha, point, grad):
    """The same of rows that are read piece by piece: the sums of their losses and gradients."""
    loss = total = 0.0
    part = np.empty_like(grad)
    grad[:] = 0
    job.rows.begin_epoch()
    for piece in job.rows.pieces():
        loss += job.trainer.value_and_grad(
            point,
            piece.data,
            part,
            loss_scale=job.loss_scale,
            clip_loss=True,
            ask=job.given.loss.ask,
            total=True,
        )
        grad += part
        total += job.rows.weight
    grad /= total
    weights, d_weights = (
        Parameters.around(job.params.layer_sizes, flat).coefs for flat in (point, grad)
    )
    for W, dW in zip(weights, d_weights, strict=True):
        dW += alpha / total * W
    return (loss + 0.5 * alpha * sum(np.square(W).sum() for W in weights)) / total


def _watch(estimator, validation, history):
    """Score the present parameters, which has no influence on the fit."""
    if validation is None:
        return
    score = validation.score()
    record_score(estimator, validation, history, score)
    if score > estimator.best_validation_score_:
        estimator.best_validation_score_ = score


def _record(estimator, history, loss):
    history.add_loss(loss, np.nan)
    if loss < estimator.best_loss_:
        history.mark_best()
    estimator.best_loss_ = min(estimator.best_loss_, loss)


def _end(estimator, params, result):
    loss = float(result.fun)
    if not np.isfinite(loss) or not np.isfinite(result.x).all():
        return Ending(
            error=f"{NON_FINITE} The loss became {loss} after {estimator.n_iter_} iterations. "
            f"{CAUSES}"
        )
    np.copyto(params, result.x)
    estimator.loss_, estimator.best_loss_ = loss, min(estimator.best_loss_, loss)
    if result.status == 0:
        return Ending()
    return Ending(
        warning=f"lbfgs failed to converge after {estimator.n_iter_} iteration(s) "
        f"(status={result.status}):\n{result.message}\n\nMore iterations (max_iter, now "
        f"{estimator.max_iter}; max_fun, now {estimator.max_fun}) or scaled input may help."
    )
