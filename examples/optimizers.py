"""A loop of one's own with `fastbp.Adam`: one update per mini-batch, in place.

The optimizer holds its state, which can be pickled: the second half of the training goes on from
the pickle, and ends with the bits of a training that was not interrupted.
Run ``python examples/optimizers.py``.
"""

import pickle

import numpy as np
from sklearn.datasets import load_digits

import fastbp


def epochs(optimizer, params, X, y, numbers):
    """Train for these epochs; each has an order of its own."""
    for number in numbers:
        order = np.random.default_rng(number).permutation(len(X))
        optimizer.learning_rate = 0.01 * 0.8**number  # a schedule: settings are attributes
        for start in range(0, len(X), 50):
            rows = order[start : start + 50]
            loss = optimizer.step(params, X[rows], y[rows])
    return loss


def main():
    X, y = load_digits(return_X_y=True)
    X = (X / 16).astype(np.float32)
    net = fastbp.Network((64, 64, 10), loss="log_loss", batch_size=50)

    def begin():
        return fastbp.Adam(net, max_grad_norm=1.0, ema_decay=0.95), net.init_params(random_state=0)

    optimizer, params = begin()
    loss = epochs(optimizer, params, X, y, range(10))
    for name, p in (("last", params), ("averaged", optimizer.ema)):
        accuracy = np.mean(net.forward(p, X).argmax(axis=1) == y)
        print(f"{name:8} parameters: loss {net.loss(p, X, y):.4f}, accuracy {accuracy:.4f}")
    print(f"{optimizer.t} updates, loss of the last mini-batch before it {loss:.4f}")

    half, half_params = begin()
    epochs(half, half_params, X, y, range(5))
    stored = pickle.dumps((half, half_params))
    half, half_params = pickle.loads(stored)
    epochs(half, half_params, X, y, range(5, 10))
    print(f"{len(stored):,} bytes of pickle, same bits: {np.array_equal(params, half_params)}")


if __name__ == "__main__":
    main()
