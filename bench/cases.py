"""What is trained in the benchmarks: networks, data and initial weights, all from fixed seeds.

The data are random, shaped like the data that the case is named after, with targets that a random
teacher computes from the inputs, so that there is something to learn and a loss that falls.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy import sparse

SEED = 20250711
LEARNING_RATE = 1e-3


@dataclass(frozen=True)
class Case:
    """One piece of work that every contender can do.

    Parameters
    ----------
    name : str
    layers : tuple of int
        Widths, input and output included.
    batch, rows : int
        Rows of a mini-batch, and of the data. Whole mini-batches only.
    loss : {"log_loss", "squared_error"}
        The mean over the rows of the sum over the outputs.
    activation : {"relu", "tanh"}
    dtypes : tuple of str
        Those that are measured.
    repeats : int
        Units of work in one timed run: epochs, calls or iterations, the same for all contenders.
    kind : {"train", "gradient", "predict", "lbfgs"}
    threads : tuple of int or None
        Thread counts to try, of which the best counts; None for those of the command line.
    data : {"normal", "pixels", "sparse", "digits"}
    """

    name: str
    layers: tuple
    batch: int
    rows: int
    loss: str = "log_loss"
    activation: str = "relu"
    dtypes: tuple = ("float32",)
    repeats: int = 1
    kind: str = "train"
    threads: tuple | None = None
    data: str = "normal"

    @property
    def steps(self):
        """Units that a time is divided by: mini-batches of an epoch, or 1 for other work."""
        return self.rows // self.batch if self.kind == "train" else 1

    @property
    def unit(self):
        """What a time is the time of."""
        words = {"train": "step", "gradient": "gradient", "predict": "call", "lbfgs": "iteration"}
        return words[self.kind]

    @property
    def n_weights(self):
        """Numbers in all weight matrices."""
        return sum(m * n for m, n in zip(self.layers, self.layers[1:], strict=False))

    def short(self):
        """The same work in small: for a first look, not for results."""
        rows = min(self.rows, 16 * self.batch) if self.kind == "train" else self.rows
        return replace(self, rows=rows, repeats=max(1, self.repeats // 4))


BOTH = ("float32", "float64")

# The six cases of training that stand for common uses, small to wide.
MAIN = (
    Case("sciml", (4, 32, 32, 1), 64, 6_400, "squared_error", dtypes=BOTH, repeats=50),
    Case("digits", (64, 64, 10), 32, 1_792, dtypes=BOTH, repeats=50, data="pixels"),
    Case("mnist100", (784, 100, 10), 200, 20_000, repeats=3, data="pixels"),
    Case("mnist512", (784, 512, 512, 10), 256, 10_240, repeats=2, data="pixels"),
    Case("tabular", (54, 256, 256, 256, 7), 256, 25_600, repeats=2),
    Case("wide", (1024, 2048, 2048, 2048, 10), 1024, 4_096, dtypes=BOTH, repeats=2),
)

# Cases that other projects publish, and work other than epochs of Adam.
MORE = (
    Case("simplechains", (4, 32, 16, 4), 10_000, 10_000, "squared_error", "tanh", repeats=50),
    Case("gradient", (24, 8, 2), 200, 200, "squared_error", "tanh", ("float64",), 500, "gradient"),
    Case("mlpc", (784, 100, 10), 8, 4_000, repeats=1, threads=(1,), data="pixels"),
    Case("one-hidden", (4, 500, 1), 200, 10_000, "squared_error", repeats=4),
    Case(
        "lbfgs",
        (64, 64, 10),
        1_797,
        1_797,
        "log_loss",
        "relu",
        ("float64",),
        50,
        "lbfgs",
        data="digits",
    ),
    Case("predict", (784, 512, 512, 10), 10_000, 10_000, repeats=2, kind="predict", data="pixels"),
    Case("one-row", (64, 64, 10), 1, 1, repeats=500, kind="predict", data="pixels"),
    Case("sparse", (20_000, 100, 20), 200, 20_000, data="sparse"),
)

CASES = {case.name: case for case in MAIN + MORE}

# One width after the other: a kernel with a bad edge shows as a cliff between neighbours.
WIDTHS = tuple(
    Case(f"width {w}", (10, w, w, 10), 64, 6_400, repeats=5, threads=(1, 2, 4))
    for w in range(40, 51)
)


def _pixels(rng, rows, features):
    """Four numbers in five are zero, the others uniform in 0..1."""
    X = rng.random((rows, features), dtype=np.float32)
    return np.maximum(5 * X - 4, 0)


def _sparse_rows(rng, rows, features, density=0.005):
    """CSR with equally many non-zeros in every row, one in each of as many stretches of columns."""
    per_row = max(1, round(density * features))
    stretch = features // per_row
    columns = np.arange(per_row) * stretch + rng.integers(0, stretch, (rows, per_row))
    values = rng.random(rows * per_row, dtype=np.float32)
    indptr = np.arange(rows + 1, dtype=np.int32) * per_row
    return sparse.csr_matrix(
        (values, columns.ravel().astype(np.int32), indptr), shape=(rows, features)
    )


def make_data(case, dtype, seed=SEED):
    """Make X and y.

    Returns
    -------
    X : ndarray or CSR matrix of shape (rows, features)
    y : ndarray
        Class numbers of shape (rows,), or targets of shape (rows, outputs) in `dtype`.
    """
    if case.data == "digits":
        from sklearn.datasets import load_digits

        X, y = load_digits(return_X_y=True)
        return (X / 16).astype(dtype), y
    rng = np.random.default_rng(seed)
    shape = (case.rows, case.layers[0])
    if case.data == "sparse":
        X = _sparse_rows(rng, *shape)
    elif case.data == "pixels":
        X = _pixels(rng, *shape)
    else:
        X = rng.standard_normal(shape, dtype=np.float32)
    teacher = rng.standard_normal((shape[1], case.layers[-1]), dtype=np.float32)
    scores = X @ teacher
    if case.loss == "squared_error":
        return X.astype(dtype), np.tanh(scores / np.sqrt(shape[1])).astype(dtype)
    y = np.argmax(scores - scores.mean(axis=0), axis=1)
    some = min(case.rows, scores.shape[1])
    y[:some] = np.arange(some)  # every class occurs
    return X.astype(dtype), y


def make_weights(case, dtype, seed=SEED):
    """Draw the initial weights that all contenders start from, W of shape (in, out) [1]_.

    Returns
    -------
    coefs, intercepts : list of ndarray

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010, equation 16.
    """
    rng = np.random.default_rng(seed + 1)
    coefs, intercepts = [], []
    for n_in, n_out in zip(case.layers, case.layers[1:], strict=False):
        bound = np.sqrt(6 / (n_in + n_out))
        coefs.append(rng.uniform(-bound, bound, (n_in, n_out)).astype(dtype))
        intercepts.append(rng.uniform(-bound, bound, n_out).astype(dtype))
    return coefs, intercepts


def make_orders(case, count=4, seed=SEED):
    """Draw `count` orders of the rows; timed epochs take them in turn.

    Returns
    -------
    list of ndarray of int64, shape (rows,)
    """
    rng = np.random.default_rng(seed + 2)
    return [rng.permutation(case.rows) for _ in range(count)]


def mean_loss(case, coefs, intercepts, X, y):
    """Loss of these weights in float64, by NumPy alone: the judge of all contenders.

    Returns
    -------
    float
        Mean over the rows of the sum over the outputs.
    """
    a = X.astype(np.float64)
    for l, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        z = a @ W.astype(np.float64) + b.astype(np.float64)
        a = np.tanh(z) if case.activation == "tanh" else np.maximum(z, 0)
        if l == len(coefs) - 1:
            a = z
    if case.loss == "squared_error":
        return float(0.5 * np.square(a - y).sum() / len(y))
    a -= a.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(a).sum(axis=1))
    return float((log_sum - a[np.arange(len(y)), y]).mean())
