"""Gradients by the input: which pixels speak for a digit?

`Network` makes them in the same backward pass as the gradient by the weights.
Run ``python examples/saliency.py [FOLDER]``.
"""

import numpy as np
from _picture import plt, save
from sklearn.datasets import load_digits

import fastbp


def main():
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

    loss, _, grad_X = net.value_and_grad(params, X, y, input_grad=True)
    print(f"loss {loss:.3f}, gradient by the input of shape {grad_X.shape}")
    step = 1e-6 * np.eye(64)[[20]]
    by_difference = (net.loss(params, X[:1] + step, y[:1]) - net.loss(params, X[:1], y[:1])) / 1e-6
    exact = len(X) * grad_X[0, 20]  # the loss is a mean over the rows
    print(f"one pixel: {exact:+.6f}, by a difference {by_difference:+.6f}")

    # A small step along the sign of the gradient (Goodfellow et al., 2015) fools the net.
    fooled = net.forward(params, X + 0.1 * np.sign(grad_X)).argmax(axis=1)
    right = net.forward(params, X).argmax(axis=1) == y
    print(f"right: {right.mean():.3f}, with each pixel moved by 0.1: {np.mean(fooled == y):.3f}")

    if plt:
        figure, axes = plt.subplots(2, 10, figsize=(12, 2.8))
        for digit in range(10):
            row = np.flatnonzero(y == digit)[0]
            slope = -grad_X[row].reshape(8, 8)  # a lower loss speaks for the digit
            most = np.abs(slope).max()
            axes[0, digit].imshow(X[row].reshape(8, 8), cmap="gray_r")
            axes[1, digit].imshow(slope, cmap="RdBu", vmin=-most, vmax=most)
            axes[0, digit].set_title(digit)
        for ax in axes.flat:
            ax.set_axis_off()
        figure.suptitle("digits, and the pixels that speak for (blue) and against them (red)")
        figure.subplots_adjust(left=0.01, right=0.99, bottom=0.02, top=0.78)
        save(figure, __file__)


if __name__ == "__main__":
    main()
