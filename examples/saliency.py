"""
Which pixels speak for a digit?
===============================

Gradients of the loss by the input. ``Network`` makes them in the same backward pass as the gradient
by the weights.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import fastbp

X, y = load_digits(return_X_y=True)
X = X / 16
net = fastbp.Network((64, 64, 10), activation="gelu", loss="log_loss", dtype="float64")
params = net.init_params(random_state=0)
optimizer = fastbp.Adam(net, learning_rate=0.005)
rng = np.random.default_rng(0)
for _ in range(10):
    order = rng.permutation(len(X))
    for start in range(0, len(X), 50):
        rows = order[start : start + 50]
        optimizer.step(params, X[rows], y[rows], alpha=0.5)

# %%
# The gradient has the shape of X. One of its numbers, beside what a difference quotient says:

loss, _, grad_X = net.value_and_grad(params, X, y, input_grad=True)
print(f"loss {loss:.3f}, gradient by the input of shape {grad_X.shape}")
step = 1e-6 * np.eye(64)[[20]]
by_difference = (net.loss(params, X[:1] + step, y[:1]) - net.loss(params, X[:1], y[:1])) / 1e-6
exact = len(X) * grad_X[0, 20]  # the loss is a mean over the rows
print(f"one pixel: {exact:+.6f}, by a difference {by_difference:+.6f}")

# %%
# A small step along the sign of the gradient (Goodfellow et al., 2015) fools the net:

fooled = net.forward(params, X + 0.1 * np.sign(grad_X)).argmax(axis=1)
right = net.forward(params, X).argmax(axis=1) == y
print(f"right: {right.mean():.3f}, with each pixel moved by 0.1: {np.mean(fooled == y):.3f}")

# %%
# A lower loss speaks for the digit: the sign of the gradient is turned around for the picture.

figure, axes = plt.subplots(4, 5, figsize=(8, 6.6), layout="constrained")
for digit in range(10):
    row = np.flatnonzero(y == digit)[0]
    slope = -grad_X[row].reshape(8, 8)
    most = np.abs(slope).max()
    block, column = divmod(digit, 5)
    axes[2 * block, column].imshow(X[row].reshape(8, 8), cmap="gray_r")
    axes[2 * block + 1, column].imshow(slope, cmap="RdBu", vmin=-most, vmax=most)
for ax in axes.flat:
    ax.set_axis_off()
figure.suptitle("Digits, and the pixels that speak for (blue) and against them (red)")
plt.show()
