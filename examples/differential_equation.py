"""
A net that solves a differential equation
=========================================

u'' + 0.4 u' + 4 u = 0 with u(0) = 1 and u'(0) = 0. The loss is a function of the output at all
points at once: differences of neighbours stand for the derivatives. ``Network.vjp`` turns its
derivatives by the output into a gradient for L-BFGS.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import minimize

import fastbp

N, END = 121, 6.0
X = np.linspace(0, END, N)[:, None]
H = X[1, 0]


def exact(t):
    w = np.sqrt(4 - 0.04)
    return np.exp(-0.2 * t) * (np.cos(w * t) + 0.2 / w * np.sin(w * t))


# %%
# The equation at the points, as a matrix A and a vector b with A u - b = 0: a row for each point
# inside, and two for the beginning.

identity = np.eye(N)
second = (identity[2:] - 2 * identity[1:-1] + identity[:-2]) / H**2
first = (identity[2:] - identity[:-2]) / (2 * H)
start = np.stack([identity[0], (-3 * identity[0] + 4 * identity[1] - identity[2]) / (2 * H)])
A = np.vstack([second + 0.4 * first + 4 * identity[1:-1], 30 * start])
b = np.append(np.zeros(N - 2), [30, 0])

# %%
# The loss is the mean square of A u - b. ``vjp`` calls the function with the output u and takes
# from it the derivatives of the loss by u.

net = fastbp.Network((1, 24, 24, 1), activation="tanh", dtype="float64")


def loss_and_grad(params):
    losses = []

    def slope_of_loss(u):
        residual = A @ u[:, 0] - b
        losses.append(residual @ residual / N)
        return (2 / N * A.T @ residual)[:, None]

    _, grad = net.vjp(params, X - END / 2, slope_of_loss)
    return losses[0], grad


params = net.init_params(random_state=0)
options = {"maxiter": 1000, "maxfun": 1500, "ftol": 1e-15}
result = minimize(loss_and_grad, params, jac=True, method="L-BFGS-B", options=options)
u = net.forward(result.x, X - END / 2)
print(f"{result.nit} iterations, loss {result.fun:.1e}")
print(f"largest distance from the exact solution {np.abs(u - exact(X)).max():.3f}")

# %%

figure, ax = plt.subplots(figsize=(8, 4), layout="constrained")
ax.plot(X, exact(X), label="exact solution")
ax.plot(X, u, "k--", label="net")
ax.plot(X, net.forward(params, X - END / 2), ":", label="net before training")
ax.set(xlabel="t", ylabel="u", title="u'' + 0.4 u' + 4 u = 0")
ax.legend()
plt.show()
