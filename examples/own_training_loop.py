"""
A training loop of your own
===========================

Down to the update: first mini-batches with the gradient clipped to a length, written out in NumPy;
then SciPy's L-BFGS-B over all rows, from where the mini-batches left off. ``Network`` supplies loss
and gradient as functions of one vector of parameters.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize
from sklearn.datasets import load_diabetes
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import scale

import fastbp

X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(scale(X), scale(y), random_state=0)

net = fastbp.Network((X.shape[1], 32, 16, 1), activation="tanh", dtype="float64", batch_size=128)
print(f"{net.n_params} parameters, arena of {net.memory_plan.arena_bytes:,} bytes")

# %%
# Descent along clipped gradients of shuffled mini-batches, in place. The penalty of a mini-batch is
# its share of the whole one.

ALPHA = 30.0  # L2 penalty, divided by the number of rows
LONGEST = 1.0  # the gradient is no longer than this
losses = []


def note(params):
    losses.append(net.loss(params, X_train, y_train, alpha=ALPHA))


def clipped_descent(params, epochs=20, batch_size=32, rate=0.05, momentum=0.9):
    rng = np.random.default_rng(0)
    velocity, grad = np.zeros_like(params), np.empty_like(params)
    for _ in range(epochs):
        order = rng.permutation(len(X_train))
        for start in range(0, len(X_train), batch_size):
            rows = order[start : start + batch_size]
            alpha = ALPHA * len(rows) / len(X_train)
            net.value_and_grad(params, X_train[rows], y_train[rows], alpha=alpha, out=grad)
            grad *= min(1.0, LONGEST / np.linalg.norm(grad))
            velocity *= momentum
            velocity -= rate * grad
            params += velocity
        note(params)


def report(name, params):
    loss = net.loss(params, X_train, y_train, alpha=ALPHA)
    score = r2_score(y_test, net.forward(params, X_test))
    print(f"{name:22} loss {loss:.4f}   R2 on the test rows {score:6.3f}")


params = net.init_params(random_state=0)
report("initial weights", params)
note(params)
clipped_descent(params)
report("clipped descent", params)

# %%
# SciPy takes ``value_and_grad`` as it is:

epochs_done = len(losses) - 1
result = minimize(
    net.value_and_grad,
    params,
    args=(X_train, y_train, None, ALPHA),
    jac=True,
    method="L-BFGS-B",
    callback=note,
    options={"maxiter": 200},
)
report(f"L-BFGS, {result.nit} iterations", result.x)

# %%

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(losses[: epochs_done + 1], label="clipped descent, by epoch")
ax.plot(range(epochs_done, len(losses)), losses[epochs_done:], label="L-BFGS, by iteration")
ax.set(
    xlabel="epoch or iteration",
    ylabel="loss of the training rows",
    title="One vector, two ways",
    xlim=(0, 60),
    ylim=(0.3, 0.5),
)
ax.legend()
plt.show()
