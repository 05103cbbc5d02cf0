"""A training loop of one's own with `fastbp.Network`, down to the update.

First mini-batches with the gradient clipped to a length, written out in NumPy; then SciPy's
L-BFGS-B over all rows, from where the mini-batches left off. `Network` supplies loss and gradient.
`optimizers.py` has the same kind of loop with an update that is ready-made.
Run ``python examples/own_training_loop.py``.
"""

import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

import fastbp

ALPHA = 30.0  # L2 penalty, divided by the number of rows
LONGEST = 1.0  # the gradient is no longer than this


def clipped_descent(net, params, X, y, epochs=20, batch_size=32, rate=0.05, momentum=0.9):
    """Descend in place along clipped gradients of shuffled mini-batches."""
    rng = np.random.default_rng(0)
    velocity, grad = np.zeros_like(params), np.empty_like(params)
    for _ in range(epochs):
        order = rng.permutation(len(X))
        for start in range(0, len(X), batch_size):
            rows = order[start : start + batch_size]
            share = len(rows) / len(X)
            net.value_and_grad(params, X[rows], y[rows], alpha=ALPHA * share, out=grad)
            grad *= min(1.0, LONGEST / np.linalg.norm(grad))
            velocity *= momentum
            velocity -= rate * grad
            params += velocity


def main():
    X, y = load_diabetes(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(scale(X), scale(y), random_state=0)

    net = fastbp.Network(
        (X.shape[1], 32, 16, 1), activation="tanh", dtype="float64", batch_size=128
    )
    print(f"{net.n_params} parameters, arena of {net.memory_plan.arena_bytes:,} bytes")

    def report(name, params):
        loss = net.loss(params, X_train, y_train, alpha=ALPHA)
        score = r2_score(y_test, net.forward(params, X_test))
        print(f"{name:22} loss {loss:.4f}   R2 on the test rows {score:6.3f}")

    params = net.init_params(random_state=0)
    report("initial weights", params)
    clipped_descent(net, params, X_train, y_train)
    report("clipped descent", params)

    result = minimize(
        net.value_and_grad,
        params,
        args=(X_train, y_train, None, ALPHA),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 200},
    )
    report(f"L-BFGS, {result.nit} iterations", result.x)


if __name__ == "__main__":
    main()
