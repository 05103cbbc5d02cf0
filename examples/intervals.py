"""
Not a number but a range
========================

Quantiles, or a mean with its standard deviation. The noise of the data grows with x. One net with
three outputs predicts three quantiles; another, fitted with ``loss="gaussian_nll"``, a normal
distribution.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import norm

from fastbp import MLPRegressor

QUANTILES = [0.1, 0.5, 0.9]
SETTINGS = dict(
    hidden_layer_sizes=(32, 32),
    activation="silu",
    learning_rate_init=0.005,
    batch_size=100,
    max_iter=300,
    random_state=0,
)


def sample(n, rng):
    x = rng.uniform(0, 4, size=n)
    return x[:, None], np.sin(2 * x) + rng.normal(scale=0.05 + 0.2 * x)


rng = np.random.default_rng(0)
X, y = sample(2000, rng)
X_test, y_test = sample(5000, rng)

# %%
# A list of quantiles gives an output for each; ``return_std=True`` a deviation beside the mean.

quantile = MLPRegressor("quantile", quantile=QUANTILES, **SETTINGS).fit(X, y)
gaussian = MLPRegressor("gaussian_nll", **SETTINGS).fit(X, y)


def band(X):
    mean, std = gaussian.predict(X, return_std=True)
    return mean[:, None] + std[:, None] * norm.ppf(QUANTILES)


# %%
# Of new rows as many should be below each curve as its quantile says:

for name, predict in (("quantile", quantile.predict), ("gaussian_nll", band)):
    below = (y_test[:, None] < predict(X_test)).mean(axis=0)
    shares = ", ".join(f"{q:.0%}: {b:.1%}" for q, b in zip(QUANTILES, below, strict=True))
    print(f"{name:12} test targets below the curve of   {shares}")

# %%

figure, axes = plt.subplots(1, 2, sharey=True, figsize=(10, 4.5), layout="constrained")
grid = np.linspace(0, 4, 200)[:, None]
titles = ('loss="quantile"', 'loss="gaussian_nll"')
for ax, title, predict in zip(axes, titles, (quantile.predict, band), strict=True):
    low, middle, high = predict(grid).T
    ax.plot(X, y, ".", color="0.75", markersize=2, label="training data")
    ax.fill_between(grid[:, 0], low, high, alpha=0.4, label="10 % to 90 %")
    ax.plot(grid, middle, label="middle")
    ax.set(title=title, xlabel="x")
    ax.legend(loc="upper left")
plt.show()
