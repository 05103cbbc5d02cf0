"""
Counts and durations
====================

Counts with the Poisson loss, durations with the gamma loss: predictions are never negative. Both
nets end in an exponential, so they learn a factor where the squared error learns a sum.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import mean_gamma_deviance, mean_poisson_deviance

from fastbp import MLPRegressor

rng = np.random.default_rng(0)
X = rng.uniform(-2, 2, size=(3000, 2))
mean = np.exp(np.sin(2 * X[:, 0]) + 0.5 * X[:, 1])
counts, durations = rng.poisson(mean), rng.gamma(shape=2, scale=mean / 2)
train, test = slice(2000), slice(2000, None)

# %%
# Each kind of target with its own loss and with the squared error, measured by the deviance:

predictions = {}
for name, y, deviance in (
    ("poisson", counts, mean_poisson_deviance),
    ("gamma", durations, mean_gamma_deviance),
):
    for loss in (name, "squared_error"):
        reg = MLPRegressor(loss, (50,), learning_rate_init=0.01, random_state=0)
        predicted = reg.fit(X[train], y[train]).predict(X[test])
        told = deviance(y[test], np.maximum(predicted, 1e-3))  # it takes no less than 0
        print(f"{loss:13} {name} deviance {told:.3f}, smallest {predicted.min():6.3f}")
        predictions[name, loss] = predicted

# %%
# Predictions over the mean that the targets were drawn with:

figure, axes = plt.subplots(1, 2, figsize=(10, 4.8), layout="constrained")
for ax, name in zip(axes, ("poisson", "gamma"), strict=True):
    for loss in ("squared_error", name):
        ax.plot(mean[test], predictions[name, loss], ".", markersize=4, label=loss)
    ax.plot([0, mean.max()], [0, mean.max()], "k--", label="exact")
    ax.set(xlabel="true mean", ylabel="predicted mean", title=f"{name}: test rows")
    ax.legend()
plt.show()
