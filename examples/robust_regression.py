"""
Losses that outliers do not bend
================================

Absolute error, Huber and log-cosh beside the squared error. One target in ten is far off, and
always above the curve.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastbp import MLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, size=(600, 1))
truth = np.sin(X[:, 0])
y = truth + rng.normal(scale=0.1, size=600)
y[rng.random(600) < 0.1] += 4

# %%
# The same net four times, but for its loss:

grid = np.linspace(-3, 3, 200)[:, None]
curves = {}
for loss in ("squared_error", "absolute_error", "huber", "log_cosh"):
    reg = MLPRegressor(loss, (50, 50), "tanh", huber_delta=0.2, random_state=0)
    reg.set_params(learning_rate_init=0.005, batch_size=50, max_iter=300).fit(X, y)
    curves[loss] = reg.predict(grid)
    error = np.abs(reg.predict(X) - truth).mean()
    print(f"{loss:14} mean distance from the curve without noise {error:.3f}")

# %%

figure, ax = plt.subplots(figsize=(8, 5), layout="constrained")
ax.plot(X, y, ".", color="0.8", label="training data")
ax.plot(grid, np.sin(grid), "k--", label="sin(x)")
for loss, curve in curves.items():
    ax.plot(grid, curve, label=loss)
ax.set(xlabel="x", ylabel="y", title="One target in ten is 4 too large")
ax.legend()
plt.show()
