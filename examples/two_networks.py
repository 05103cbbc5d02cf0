"""
One loss over two nets
======================

The left and the right half of a digit find each other. Each net turns a half into 16 numbers; the
contrastive loss (Oord et al., 2018) wants those of the halves of one picture alike, and those of
any two pictures apart. It is a function of both outputs of all rows, so ``Network.vjp`` trains both
nets.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import log_softmax
from sklearn.datasets import load_digits

import fastbp


def squared_distances(left, right):
    """Of each row on the left to each on the right."""
    return (left**2).sum(axis=1)[:, None] - 2 * left @ right.T + (right**2).sum(axis=1)


def contrastive(left, right, temperature=2.0):
    """Loss of the pairs, and its derivatives by both outputs."""
    n = len(left)
    log_p = log_softmax(-squared_distances(left, right) / temperature, axis=1)
    slope = (np.exp(log_p) - np.eye(n)) / n * (-2 / temperature)
    by_left = slope.sum(axis=1)[:, None] * left - slope @ right
    by_right = slope.sum(axis=0)[:, None] * right - slope.T @ left
    return -np.trace(log_p) / n, by_left, by_right


# %%
# Each mini-batch: both outputs, the loss of all pairs, and its derivatives on their way back
# through each net.

images = load_digits().images / 16
halves = [images[:, :, :4].reshape(-1, 32), images[:, :, 4:].reshape(-1, 32)]
train, test = slice(1500), slice(1500, None)
nets = [fastbp.Network((32, 64, 16), "tanh", dtype="float64", batch_size=300) for _ in halves]
params = [net.init_params(random_state=seed) for seed, net in enumerate(nets)]
velocity = [np.zeros(net.n_params) for net in nets]

rng, losses = np.random.default_rng(0), []
for _ in range(40):
    for rows in rng.permutation(1500).reshape(-1, 100):
        X = [half[train][rows] for half in halves]
        outputs = [net.forward(*pair) for net, *pair in zip(nets, params, X, strict=True)]
        loss, *slopes = contrastive(*outputs)
        losses.append(loss)
        for net, p, v, x, slope in zip(nets, params, velocity, X, slopes, strict=True):
            v *= 0.9
            v -= 0.1 * net.vjp(p, x, slope)[1]
            p += v
print(f"loss {losses[0]:.2f} at first, {losses[-1]:.2f} at the end; log(100) is 4.61")

# %%
# On digits that the nets have not seen:

left, right = (net.forward(p, h[test]) for net, p, h in zip(nets, params, halves, strict=True))
distance = squared_distances(left, right)
rank = (distance <= np.diag(distance)[:, None]).sum(axis=1)  # 1: the nearest
print(f"of {len(rank)} right halves the one that belongs to a left half is the nearest")
print(f"for {np.mean(rank == 1):.0%}, among the ten nearest for {np.mean(rank <= 10):.0%}")

# %%
# Digits, and below them their left half with the right half that is nearest to it:

figure, axes = plt.subplots(4, 6, figsize=(8, 5.6), layout="constrained")
for k in range(12):
    block, column = divmod(k, 6)
    for row, right_of in ((2 * block, k), (2 * block + 1, distance[k].argmin())):
        pair = halves[0][test][k], halves[1][test][right_of]
        ax = axes[row, column]
        ax.imshow(np.hstack([half.reshape(8, 4) for half in pair]), cmap="gray_r")
        ax.axvline(3.5, color="tab:red", linewidth=1)
for ax in axes.flat:
    ax.set_axis_off()
figure.suptitle("Digits, and their left half with the nearest right half")
plt.show()
