"""The loop of the solver that takes all rows in each iteration."""

import numpy as np

from ._loops import NON_FINITE, Ending, start_history

CAUSES = "Likely causes are input or targets that are not scaled, or an alpha that is too large."


def train(estimator, job):
    """Minimise over all rows with SciPy's L-BFGS-B; memory is bounded by the arena.

    The parameters are those of the last iteration, whenever this ends.

    Returns
    -------
    Ending
    """
    from scipy.optimize import minimize

    start_history(estimator, scored=False)
    params = job.params.flat

    def value_and_grad(point):
        # SciPy keeps the gradient it is given, so it gets a new one each time.
        grad = np.empty_like(point)
        loss = job.trainer.value_and_grad(
            point,
            job.given.data,
            grad,
            alpha=estimator.alpha,
            loss_scale=job.loss_scale,
            clip_loss=True,
        )
        return loss, grad

    def callback(intermediate_result):
        _record(estimator, float(intermediate_result.fun))
        np.copyto(params, intermediate_result.x)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")

    result = minimize(
        value_and_grad,
        params.copy(),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        callback=callback,
    )
    return _end(estimator, params, result)


def _record(estimator, loss):
    estimator.n_iter_ += 1
    estimator.loss_ = loss
    estimator.loss_curve_.append(loss)
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
