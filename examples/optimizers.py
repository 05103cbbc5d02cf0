"""
A loop of your own with Adam
============================

One update per mini-batch, in place. The optimizer holds its state, which can be pickled: the second
half of a training that goes on from the pickle ends with the bits of one that was not interrupted.
"""

import pickle

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastbp

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
net = fastbp.Network((64, 64, 10), loss="log_loss", batch_size=50)

# %%
# The settings of an optimizer are attributes. A schedule is to change them: here the learning rate
# falls from epoch to epoch.


def epochs(optimizer, params, numbers):
    """Train for these epochs; each has an order of its own. Returns the losses of the steps."""
    losses = []
    for number in numbers:
        order = np.random.default_rng(number).permutation(len(X))
        optimizer.learning_rate = 0.01 * 0.8**number
        for start in range(0, len(X), 50):
            rows = order[start : start + 50]
            losses.append(optimizer.step(params, X[rows], y[rows]))
    return losses


def begin():
    return fastbp.Adam(net, max_grad_norm=1.0, ema_decay=0.95), net.init_params(random_state=0)


# %%
# ``ema`` is the moving average of the parameters, which often is better than the last ones:

optimizer, params = begin()
losses = epochs(optimizer, params, range(10))
print(f"{optimizer.t} updates")
for name, p in (("last", params), ("averaged", optimizer.ema)):
    accuracy = np.mean(net.forward(p, X).argmax(axis=1) == y)
    print(f"{name:8} parameters: loss {net.loss(p, X, y):.4f}, accuracy {accuracy:.4f}")

# %%
# Half of the training, a pickle, the other half:

half, half_params = begin()
before = epochs(half, half_params, range(5))
stored = pickle.dumps((half, half_params))
half, half_params = pickle.loads(stored)
after = epochs(half, half_params, range(5, 10))
print(f"{len(stored):,} bytes of pickle, same bits: {np.array_equal(params, half_params)}")

# %%

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.semilogy(losses, color="0.75", linewidth=4, label="in one go")
ax.semilogy(range(len(before)), before, label="before the pickle")
ax.semilogy(range(len(before), len(losses)), after, label="after it")
ax.set(xlabel="update", ylabel="loss of its mini-batch", title="Training that goes on")
ax.legend()
plt.show()
