"""Dropout: random masks, the same however they are computed; exact gradients; none in predict."""

from itertools import pairwise

import numpy as np
import pytest
import reference
from conftest import TOLERANCE, make_inputs, make_params, random_csr, relative_error
from scipy import sparse
from test_gradients import central_differences

from fastbp import MLPClassifier, MLPRegressor, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# ---- the masks of the core, seen from outside ----


def tell_rows_apart(first, output, y, sample_weight):
    """A loss whose derivative by output j is 1 for row j of the visit, and 0 for the others."""
    return np.zeros(len(output)), np.eye(len(output), output.shape[1], first)


def masks(
    layer=0,
    n=512,
    width=512,
    share=0.3,
    *,
    batch_size=128,
    seed=7,
    t=0,
    dtype="float64",
    n_threads=1,
    passes=1,
    X=None,
):
    """What an epoch drops of the input of a layer, (n, width) of bool.

    The input is all ones, W is zero, and there is an output for each row of the visit: one step of
    length 1 leaves in column r of W what was left of row r.
    """
    layer_sizes = (1,) * layer + (width, n)
    dropout = (0.0,) * layer + (share,)
    arguments = [layer_sizes, ["identity"] * layer, "squared_error", dtype, batch_size, "sgd"]
    few = {"dropout": dropout, "asks": True, "sparse": sparse.issparse(X)}
    max_memory = 0
    if passes > 1:
        plan = _core.Trainer(*arguments, n_threads, measure=True, **few).plan()
        max_memory = plan["arena_bytes"] // passes
    trainer = _core.Trainer(*arguments, n_threads, max_memory, **few)
    assert trainer.n_threads == n_threads
    assert (trainer.batch_rows < batch_size) == (passes > 1)
    params = np.zeros(trainer.n_params, dtype)
    coefs, intercepts = reference.views(params, layer_sizes)
    for b in intercepts[:-1]:
        b[:] = 1
    X = np.ones((n, layer_sizes[0]), dtype) if X is None else X
    data = _core.Data(X, np.zeros((n, n), dtype))
    trainer.train_epoch(
        params, (np.zeros_like(params),), data, None, batch_size, alpha=0.0, learning_rate=1.0,
        momentum=0.0, t=t, seed=seed, ask=tell_rows_apart,
    )  # fmt: skip
    left = -coefs[-1].T
    rows = np.minimum(batch_size, n - np.arange(n) // batch_size * batch_size)[:, None]
    expected = np.where(left != 0, 1 / (1 - share) / rows, 0)
    np.testing.assert_allclose(left, expected, rtol=4 * np.finfo(dtype).eps)
    return left == 0


@pytest.mark.parametrize("layer", [0, 1, 2])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_masks_are_those_of_the_twin(share, layer):
    """The same numbers of the random function, for the rows of any mini-batch of an epoch."""
    found = masks(layer, 100, 70, share, batch_size=32, t=5, seed=11)
    for first in range(0, 100, 32):
        rows = np.arange(first, min(first + 32, 100))
        expected = reference.dropped(11, 6 + first // 32, layer, rows, 70, share)
        np.testing.assert_array_equal(found[rows], expected)


# ---- statistics: within 5 standard deviations, 6 where there are many numbers ----


def test_the_share_that_is_dropped():
    for share in (0.02, 0.1, 0.5, 0.8):
        for layer in (0, 1, 2):
            found = masks(layer, share=share)
            n, width = found.shape
            sigma = np.sqrt(share * (1 - share))
            assert abs(found.mean() - share) <= 5 * sigma / np.sqrt(found.size)
            assert np.abs(found.mean(axis=0) - share).max() <= 5 * sigma / np.sqrt(n)
            assert np.abs(found.mean(axis=1) - share).max() <= 5 * sigma / np.sqrt(width)


def correlations(a, b):
    """Of each column of a with each column of b, times the root of their length: normal numbers."""
    a, b = ((x - x.mean(axis=0)) / x.std(axis=0) for x in (a.astype(float), b.astype(float)))
    return a.T @ b / np.sqrt(len(a))


def check_uncorrelated(z):
    """Standard normal numbers: none too large, and as many as there should be."""
    assert np.abs(z).max() <= 6
    assert abs(np.square(z).mean() - 1) <= 5 * np.sqrt(2 / z.size) + 4 / np.sqrt(z.size)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_columns_and_rows_are_independent(share):
    for layer in (0, 1):
        found = masks(layer, share=share)
        pairs = np.triu_indices(512, 1)
        check_uncorrelated(correlations(found, found)[pairs])
        check_uncorrelated(correlations(found.T, found.T)[pairs])


@pytest.mark.parametrize(
    "change",
    [{"layer": 1}, {"layer": 2}, {"t": 4}, {"t": 1}, {"seed": 8}, {"seed": 2**63}],
    ids=str,
)
def test_layers_steps_and_seeds_are_independent(change):
    """Also of a row or a column further on: t=4 is the next epoch, t=1 shifted mini-batches."""
    one, other = masks(share=0.5), masks(**{"share": 0.5, **change})
    check_uncorrelated(correlations(one, other))
    check_uncorrelated(correlations(one.T, other.T))


def test_no_mask_comes_twice():
    """All rows of three epochs and of two layers have masks of their own."""
    every = np.concatenate([masks(layer, t=4 * epoch) for layer in (0, 1) for epoch in range(3)])
    assert len(np.unique(every, axis=0)) == len(every) == 6 * 512


def test_all_rows_of_a_mini_batch_of_one_have_masks_of_their_own():
    found = masks(n=200, width=64, batch_size=1)
    assert len(np.unique(found, axis=0)) == 200


def outputs(layer, x, W, b, share, n, csr):
    """What a linear layer gives for n equal rows x, with dropout."""
    width, n_outputs = W.shape
    layer_sizes = (width, n_outputs) if layer == 0 else (1, width, n_outputs)
    trainer = _core.Trainer(
        layer_sizes, ["identity"] * layer, "squared_error", "float64", 1000, "sgd",
        dropout=(0.0,) * layer + (share,), asks=True, sparse=csr,
    )  # fmt: skip
    params = np.zeros(trainer.n_params)
    coefs, intercepts = reference.views(params, layer_sizes)
    coefs[-1][:], intercepts[-1][:] = W, b
    X = np.tile(x, (n, 1))
    if layer == 1:
        intercepts[0][:], X = x, np.zeros((n, 1))
    found = []

    def ask(first, output, y, sample_weight):
        found.append(output)
        return np.zeros(len(output)), np.zeros_like(output)

    data = _core.Data(sparse.csr_array(X) if csr else X, np.zeros((n, n_outputs)))
    trainer.train_epoch(
        params, (np.zeros_like(params),), data, None, 1000, alpha=0.0, learning_rate=1.0, ask=ask
    )
    return np.concatenate(found)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75])
@pytest.mark.parametrize("layer, csr", [(0, False), (0, True), (1, False)])
def test_expectation_and_variance_of_a_linear_layer(layer, csr, share):
    """E = x W + b, var = sum of x^2 W^2 share / (1 - share)."""
    rng = np.random.default_rng(3)
    x, W, b = rng.normal(size=40), rng.normal(size=(40, 3)), rng.normal(size=3)
    x[::4] = 0
    n = 20_000
    found = outputs(layer, x, W, b, share, n, csr)
    odds = share / (1 - share)
    variance = (x**2 @ W**2) * odds
    assert (np.abs(found.mean(axis=0) - (x @ W + b)) <= 5 * np.sqrt(variance / n)).all()
    # A Bernoulli number's excess of the fourth moment, as far as the sum has it.
    excess = (x**4 @ W**4) * odds**2 * (1 / (share * (1 - share)) - 6) / variance**2
    error = np.abs(found.var(axis=0) / variance - 1)
    assert (error <= 5 * np.sqrt((2 + excess) / n)).all()


# ---- the same masks everywhere ----


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize(
    "change",
    [{"n_threads": 2}, {"passes": 3}, {"n_threads": 2, "passes": 3}, {"dtype": "float32"}],
    ids=str,
)
def test_masks_do_not_depend_on_how_they_are_computed(change, layer):
    np.testing.assert_array_equal(masks(layer, **change), masks(layer))


def as_strided(X):
    return np.repeat(X, 2, axis=1)[:, ::2]


KINDS = {
    "in place": np.ascontiguousarray,
    "by columns": np.asfortranarray,
    "strided": as_strided,
    "float32": lambda X: X.astype(np.float32),
    "csr": sparse.csr_array,
}


@pytest.mark.parametrize("kind", KINDS)
def test_masks_do_not_depend_on_how_x_lies(kind):
    X = KINDS[kind](np.ones((100, 70)))
    before = X.copy()
    found = masks(0, 100, 70, 0.4, batch_size=32, X=X)
    np.testing.assert_array_equal(found, masks(0, 100, 70, 0.4, batch_size=32))
    assert (X != before).sum() == 0  # the caller's X is not where it is dropped


# ---- gradients ----

SHARES = (0.25, 0.5, 0.2)


class Step:
    """The gradient that a step of the core followed, and the twin with the masks of that step."""

    def __init__(self, activation, n_outputs=3, dtype="float64", kind="in place", weighted=False):
        rng = np.random.default_rng(4)
        self.layer_sizes, self.activations = (6, 9, 5, n_outputs), [activation] * 2
        self.n, self.dtype, self.kind = 24, dtype, kind
        self.params = make_params(self.layer_sizes, rng, dtype)
        self.X = make_inputs(self.params, self.layer_sizes, self.activations, self.n, rng)
        if kind == "csr":
            self.X = self.X * (rng.uniform(size=self.X.shape) < 0.3)
        self.y = rng.normal(size=(self.n, n_outputs))
        self.w = rng.uniform(0.3, 2, self.n) if weighted else None
        self.order = None if kind == "in place" else rng.permutation(self.n)

    def core(self, seed=9, t=3, rows=None):
        trainer = _core.Trainer(
            self.layer_sizes, self.activations, "squared_error", self.dtype, self.n, "sgd",
            dropout=SHARES, sparse=self.kind == "csr", max_rows=rows or 0,
        )  # fmt: skip
        assert trainer.batch_rows == (rows or self.n)
        X = KINDS[self.kind](self.X)
        if self.dtype == "float32" and self.kind == "in place":
            X = X.astype(np.float32)
        data = _core.Data(X, self.y, self.w)
        params = self.params.copy()
        loss, steps, _ = trainer.train_epoch(
            params, (np.zeros_like(params),), data, self.order, self.n, alpha=0.1,
            learning_rate=1.0, momentum=0.0, t=t, seed=seed,
        )  # fmt: skip
        assert steps == 1
        return loss, self.params - params

    def twin(self, params=None, seed=9, t=3):
        order = np.arange(self.n) if self.order is None else self.order
        masks = [
            ~reference.dropped(seed, t + 1, layer, np.arange(self.n), width, share) / (1 - share)
            for layer, (width, share) in enumerate(zip(self.layer_sizes, SHARES, strict=False))
        ]
        return reference.value_and_grad(
            self.params if params is None else params,
            self.layer_sizes,
            self.activations,
            "squared_error",
            self.X[order],
            self.y[order],
            None if self.w is None else self.w[order],
            0.1,
            masks=[m.astype(self.dtype) for m in masks],
        )


@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_gradient_of_a_mask_equals_central_differences(monkeypatch, activation, dense, n_outputs):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    step = Step(activation, n_outputs)
    loss, grad = step.core()
    slope = central_differences(lambda params: step.twin(params)[0], step.params)
    assert loss == pytest.approx(step.twin()[0], rel=1e-12)
    assert relative_error(grad, slope) <= TOLERANCE["finite differences"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows", [None, 9], ids=["one pass", "three passes"])
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("kind", KINDS)
def test_gradient_of_a_mask_equals_the_twin(kind, weighted, rows, dtype):
    step = Step("gelu", kind=kind, dtype=dtype, weighted=weighted)
    if kind == "float32":
        step.X = step.X.astype(np.float32).astype(np.float64)
    loss, grad = step.core(rows=rows)
    expected, expected_grad = step.twin()
    assert loss == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
    assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]


def test_training_has_the_same_bits_with_one_and_two_threads():
    layer_sizes = (120, 300, 260, 10)
    rng = np.random.default_rng(6)
    start = make_params(layer_sizes, rng, "float32")
    X, y = rng.normal(size=(700, 120)).astype(np.float32), rng.normal(size=(700, 10))
    results = []
    for n_threads in (1, 2):
        trainer = _core.Trainer(
            layer_sizes, ["tanh"] * 2, "squared_error", "float32", 256, "adam", n_threads,
            dropout=(0.1, 0.5, 0.5),
        )  # fmt: skip
        assert trainer.n_threads == n_threads
        params, state = start.copy(), (np.zeros_like(start), np.zeros_like(start))
        for epoch in range(2):
            trainer.train_epoch(
                params, state, _core.Data(X, y), None, 256, alpha=0.0, learning_rate=1e-3,
                t=3 * epoch, seed=5,
            )  # fmt: skip
        results.append(params)
    np.testing.assert_array_equal(*results)


# ---- estimators ----

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(400, 10))
TARGET = ROWS @ RNG.normal(size=10) + RNG.normal(size=400)
SMALL = {"hidden_layer_sizes": (20, 10), "random_state": 0, "dtype": "float64", "max_iter": 5}


def regressor(**settings):
    return MLPRegressor(**{**SMALL, **settings})


def output_of_the_twin(est, X):
    sizes = tuple(W.shape[0] for W in est.coefs_) + (est.coefs_[-1].shape[1],)
    params = np.concatenate([a.ravel() for a in (*est.coefs_, *est.intercepts_)])
    names = [est.activation] * (len(sizes) - 2)
    return reference.forward(params, sizes, names, "squared_error", X)


def test_predict_never_drops():
    est = regressor(dropout=0.5, input_dropout=0.2).fit(ROWS, TARGET)
    for n in (1, 100, 400):  # by either kind of products
        expected = output_of_the_twin(est, ROWS[:n]).ravel()
        assert relative_error(est.predict(ROWS[:n]), expected) <= 1e-12
    classes = MLPClassifier(**SMALL, dropout=0.5).fit(ROWS, TARGET > 0)
    np.testing.assert_array_equal(classes.predict_proba(ROWS), classes.predict_proba(ROWS))


def test_validation_never_drops():
    """With steps of almost nothing the score stays, while the training loss changes."""
    est = regressor(
        dropout=0.5, early_stopping=True, learning_rate_init=1e-14, n_iter_no_change=20
    ).fit(ROWS, TARGET)
    assert np.ptp(est.validation_scores_) <= 1e-9
    assert np.ptp(est.loss_curve_) > 1e-3
    without = regressor(early_stopping=True, learning_rate_init=1e-14).fit(ROWS, TARGET)
    assert est.validation_scores_[0] == pytest.approx(without.validation_scores_[0], abs=1e-9)


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
def test_a_seed_says_what_is_dropped(solver):
    def coefs(**settings):
        return regressor(dropout=0.3, solver=solver, **settings).fit(ROWS, TARGET).coefs_[0]

    np.testing.assert_array_equal(coefs(), coefs())
    assert (coefs() != coefs(random_state=1)).any()
    # other masks alone: weights, rows and their order are those of the same seed
    start = regressor(max_iter=1).fit(ROWS, TARGET)
    fits = []
    for seed in (0, 1):
        est = regressor(dropout=0.3, solver=solver, shuffle=False, random_state=seed)
        fits.append(est.fit(ROWS, TARGET, coef_init=start.coefs_, intercept_init=start.intercepts_))
    assert (fits[0].coefs_[0] != fits[1].coefs_[0]).any()


def test_masks_go_on_through_partial_fit():
    """An epoch by partial_fit is an epoch of fit: the masks are not those of the first again."""
    whole = regressor(dropout=0.4, max_iter=3, shuffle=False).fit(ROWS, TARGET)
    parts = regressor(dropout=0.4, shuffle=False)
    for _ in range(3):
        parts.partial_fit(ROWS, TARGET)
    assert whole._optimizer.seed == parts._optimizer.seed != 0
    np.testing.assert_allclose(parts.coefs_[0], whole.coefs_[0], rtol=1e-9)
    losses = []
    for _ in range(4):  # with steps of almost nothing it is the masks that change
        parts.learning_rate_init = 1e-14
        losses.append(parts.partial_fit(ROWS, TARGET).loss_)
    assert len(set(np.round(losses, 6))) == 4
    assert parts._optimizer.seed == whole._optimizer.seed


def test_a_fit_drops_what_the_twin_drops():
    """Shares of a list, and of the input; all epochs of a fit, from the estimator's own seed."""
    settings = {"dropout": [0.5, 0.2], "input_dropout": 0.1, "solver": "sgd", "momentum": 0.9}
    start = regressor(max_iter=1).fit(ROWS, TARGET)
    est = regressor(
        **settings, activation="tanh", shuffle=False, batch_size=64, learning_rate_init=0.01,
        nesterovs_momentum=False,
    )  # fmt: skip
    est.fit(ROWS, TARGET, coef_init=start.coefs_, intercept_init=start.intercepts_)
    sizes = (10, 20, 10, 1)
    params = np.concatenate([a.ravel() for a in (*start.coefs_, *start.intercepts_)])
    state = (np.zeros_like(params),)
    for epoch in range(5):
        reference.train_epoch(
            params, state, sizes, ["tanh"] * 2, "squared_error", "sgd", ROWS, TARGET[:, None], None,
            np.arange(400), 64, alpha=1e-4, learning_rate=0.01, momentum=0.9, t=7 * epoch,
            seed=est._optimizer.seed, dropout=(0.1, 0.5, 0.2),
        )  # fmt: skip
    found = np.concatenate([a.ravel() for a in (*est.coefs_, *est.intercepts_)])
    assert relative_error(found, params) <= TOLERANCE["training", "float64"]


def test_one_number_is_for_every_hidden_layer():
    one = regressor(dropout=0.3).fit(ROWS, TARGET)
    each = regressor(dropout=(0.3, 0.3)).fit(ROWS, TARGET)
    only_input = regressor(input_dropout=0.3).fit(ROWS, TARGET)
    none = regressor().fit(ROWS, TARGET)
    zeros = regressor(dropout=[0, 0.0]).fit(ROWS, TARGET)
    for est in (one, each, only_input, none, zeros):
        assert np.isfinite(est.loss_)
    np.testing.assert_array_equal(one.coefs_[0], each.coefs_[0])
    np.testing.assert_array_equal(none.coefs_[0], zeros.coefs_[0])
    for a, b in pairwise([one, only_input, none]):
        assert (a.coefs_[0] != b.coefs_[0]).any()


def test_csr_rows_are_dropped_as_dense_ones():
    """Few non-zeros, which the first layer reads as they are, and many, which it gathers."""
    for density in (0.02, 0.9):
        X = random_csr((400, 200), density, np.random.default_rng(1))
        settings = {"input_dropout": 0.3, "dropout": 0.2, "max_iter": 3, "batch_size": 50}
        dense = regressor(**settings).fit(X.toarray(), TARGET)
        found = regressor(**settings).fit(X, TARGET)
        assert relative_error(found.coefs_[0], dense.coefs_[0]) <= 1e-9


@pytest.mark.parametrize(
    "settings, words",
    [
        ({"dropout": 1.0}, "dropout"),
        ({"dropout": -0.1}, "dropout"),
        ({"dropout": np.nan}, "dropout"),
        ({"dropout": "half"}, "dropout"),
        ({"dropout": None}, "dropout"),
        ({"dropout": [0.1]}, r"dropout=\[0.1\] has 1 entries.*2"),
        ({"dropout": [0.1, 0.2, 0.3]}, "has 3 entries"),
        ({"dropout": [0.1, 1.0]}, r"dropout=\[0.1, 1.0\]: it takes numbers of 0 or more below 1"),
        ({"dropout": [0.1, "x"]}, "dropout"),
        ({"input_dropout": 1}, "input_dropout"),
        ({"input_dropout": [0.1]}, "input_dropout"),
        ({"dropout": 0.1, "solver": "lbfgs"}, "dropout=0.1 needs mini-batches.*'lbfgs'"),
        ({"input_dropout": 0.1, "solver": "lbfgs"}, "input_dropout=0.1 needs mini-batches"),
    ],
)
def test_errors_name_the_parameter(settings, words):
    with pytest.raises(ValueError, match=words):
        regressor(**settings).fit(ROWS, TARGET)
