"""The loop of the solver that takes all rows in each iteration."""

import functools

import numpy as np

from ._history import History
from ._loops import NON_FINITE, Ending, begin_iteration, end_iteration, record_score
from ._progress import prints_lines

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
    try:
        return _minimize(estimator, job, history, minimize)
    finally:
        history.close()


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


def _minimize(estimator, job, history, minimize):
    params = job.params.flat
    asked_to_end = []  # the `Ending` of who did

    @_raising_stop_iteration
    def value_and_grad(point):
        begin_iteration(job)  # the first of its evaluations
        # SciPy keeps the gradient it is given, so it gets a new one each time.
        grad = np.empty_like(point)
        loss = job.trainer.value_and_grad(
            point,
            job.given.data,
            grad,
            alpha=estimator.alpha,
            loss_scale=job.loss_scale,
            clip_loss=True,
            ask=job.given.loss.ask,
        )
        return loss, grad

    @_raising_stop_iteration
    def after(intermediate_result):
        _record(estimator, history, float(intermediate_result.fun))
        np.copyto(params, intermediate_result.x)
        if prints_lines(estimator):
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        _watch(estimator, job.validation, history)
        return end_iteration(estimator, job)

    def callback(intermediate_result):
        ending = after(intermediate_result)
        if ending is not None:
            asked_to_end.append(ending)
            raise StopIteration

    result = minimize(
        value_and_grad,
        params.copy(),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        callback=callback,
    )
    return asked_to_end[0] if asked_to_end else _end(estimator, params, result)


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
