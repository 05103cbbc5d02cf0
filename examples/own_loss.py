"""
A loss of your own
==================

A Python function gives the rows' losses and their derivatives by the output. First the squared
error written down again, which trains the same net as the built-in one; then one that counts more
where the prediction is too low.
"""

import matplotlib.pyplot as plt
import numpy as np

import fastbp


def squared_error(output, y, sample_weight):
    """0.5 e^2: as ``loss="squared_error"``."""
    error = output - y
    return 0.5 * np.sum(error**2, axis=1), error


def expectile(output, y, sample_weight):
    """The squared error, ten times as much where the output is too low (Newey and Powell, 1987)."""
    error = output - y
    weight = np.where(error < 0, 10, 1)
    return 0.5 * np.sum(weight * error**2, axis=1), weight * error


# %%
# The estimator takes the function where a name would stand:

rng = np.random.default_rng(0)
X = rng.uniform(-3, 3, size=(1000, 1))
y = np.sin(X[:, 0]) + rng.normal(scale=0.3, size=1000)
settings = dict(hidden_layer_sizes=(32,), activation="tanh", learning_rate_init=0.01)
settings |= dict(batch_size=50, dtype="float64", random_state=0)

losses = {"built-in": "squared_error", "own": squared_error, "expectile": expectile}
fits = {name: fastbp.MLPRegressor(loss, **settings).fit(X, y) for name, loss in losses.items()}
apart = np.abs(fits["own"].predict(X) - fits["built-in"].predict(X)).max()
print(f"own and built-in squared error: predictions {apart:.0e} apart")
below = np.mean(fits["expectile"].predict(X) > y)
print(f"{below:.0%} of the targets are below the expectile")

# %%
# So does ``Network``:

nets = [fastbp.Network((1, 32, 1), loss=loss) for loss in ("squared_error", squared_error)]
params = nets[0].init_params(random_state=0)
(loss, grad), (own_loss, own_grad) = (net.value_and_grad(params, X, y) for net in nets)
alike = np.allclose(grad, own_grad, rtol=1e-4, atol=1e-6)
print(f"loss {loss:.5f} and {own_loss:.5f}, gradients alike: {alike}")

# %%

figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
grid = np.linspace(-3, 3, 200)[:, None]
ax.plot(X, y, ".", color="0.8", label="training data")
for name, style in (("built-in", "-"), ("own", "--"), ("expectile", "-")):
    ax.plot(grid, fits[name].predict(grid), style, label=name)
ax.set(xlabel="x", ylabel="y", title="A loss of your own")
ax.legend()
plt.show()
