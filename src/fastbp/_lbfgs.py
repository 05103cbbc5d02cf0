"""The loop of the solver that takes all rows in each iteration."""

import numpy as np


def train(estimator, job):
    """Minimise over all rows with SciPy's L-BFGS-B; memory is bounded by the arena."""
    from scipy.optimize import minimize
    from sklearn.utils.optimize import _check_optimize_result

    params = job.params.flat

    def value_and_grad(point):
        # SciPy works in float64 and keeps the gradient it is given, so it gets a new one each time.
        np.copyto(params, point, casting="same_kind")
        grad = np.empty_like(params)
        loss = job.trainer.value_and_grad(
            params,
            job.given.data,
            grad,
            alpha=estimator.alpha,
            loss_scale=job.loss_scale,
            clip_loss=True,
        )
        return loss, grad.astype(np.float64, copy=False)

    result = minimize(
        value_and_grad,
        params.astype(np.float64),
        method="L-BFGS-B",
        jac=True,
        options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        callback=_print_iterations() if estimator.verbose else None,
    )
    np.copyto(params, result.x, casting="same_kind")
    estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = float(result.fun)


def _print_iterations():
    count = 0

    def callback(intermediate_result):
        nonlocal count
        count += 1
        print(f"Iteration {count}, loss = {intermediate_result.fun:.8f}")

    return callback
