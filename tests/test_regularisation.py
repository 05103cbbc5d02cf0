"""Dropout, AdamW, clipping, the moving average and rates by the step: epochs equal the twin's."""

import pickle

import numpy as np
import pytest
import reference
from conftest import (
    TOLERANCE,
    make_inputs,
    make_params,
    make_targets,
    n_outputs_of,
    relative_error,
)
from estimator_problems import X_REG, Y_REG, small
from scipy import sparse

import fastbp
from fastbp import MLPRegressor, _core

LAYERS, ACTIVATIONS = (9, 17, 8, 3), ("tanh", "relu")
SETTINGS = dict(alpha=0.02, learning_rate=0.02, beta_1=0.8, beta_2=0.98, epsilon=1e-3, seed=7)
EVERYTHING = dict(
    dropout=(0.2, 0.4, 0.1), max_grad_norm=0.05, ema_decay=0.9, rates=np.linspace(0.1, 0, 4)
)


class Problem:
    """Rows, targets and weights of a net, and epochs of them by the core and by the twin."""

    def __init__(self, layers=LAYERS, activations=ACTIVATIONS, n=53, batch_size=16, **other):
        self.layers, self.activations, self.batch_size = layers, activations, batch_size
        self.dtype = other.pop("dtype", "float64")
        self.loss = other.pop("loss", "squared_error")
        rng = self.rng = np.random.default_rng(5)
        self.params = make_params(layers, rng, self.dtype)
        self.X = make_inputs(self.params, layers, activations, n, rng)
        if other.pop("csr", False):
            self.X = sparse.csr_matrix(self.X * (rng.random(self.X.shape) < 0.3))
        self.y = make_targets(self.loss, n, layers[-1] // n_outputs_of(self.loss, 1), rng)
        if self.y.ndim == 1:
            self.y = self.y.astype(np.int32)
        self.w = rng.uniform(0.1, 2, n)
        self.other = other

    def trainer(self, optimizer, settings, **other):
        return _core.Trainer(
            self.layers,
            self.activations,
            self.loss,
            self.dtype,
            self.batch_size,
            optimizer,
            dropout=settings.get("dropout", ()),
            keep_grad="max_grad_norm" in settings,
            sparse=sparse.issparse(self.X),
            **{**self.other, **other},
        )

    def run(self, epoch, optimizer, settings, orders):
        count = reference.OPTIMIZERS[optimizer].n_states
        params = self.params.copy()
        state = tuple(np.zeros_like(params) for _ in range(count))
        settings = {**SETTINGS, **settings}
        if "ema_decay" in settings:
            settings["ema"] = params.copy()
        losses, t = [], 0
        for order in orders:
            loss, steps, finite = epoch(params, state, order, t=t, **settings)
            assert finite
            losses.append(loss)
            t += steps
        return np.array(losses), params, *state, settings.get("ema", params)

    def core(self, optimizer, settings, orders, **other):
        trainer = self.trainer(optimizer, settings, **other)
        data = _core.Data(self.X, self.y, self.w)
        settings = {k: v for k, v in settings.items() if k != "dropout"}
        return self.run(
            lambda params, state, order, **s: trainer.train_epoch(
                params, state, data, order, self.batch_size, **s
            ),
            optimizer,
            settings,
            orders,
        )

    def twin(self, optimizer, settings, orders):
        return self.run(
            lambda params, state, order, **s: reference.train_epoch(
                params,
                state,
                self.layers,
                self.activations,
                self.loss,
                optimizer,
                self.X,
                self.y,
                self.w,
                order,
                self.batch_size,
                **s,
            ),
            optimizer,
            settings,
            orders,
        )

    def agree(self, optimizer, settings):
        orders = [self.rng.permutation(self.X.shape[0]) for _ in range(2)]
        ours, theirs = (f(optimizer, settings, orders) for f in (self.core, self.twin))
        for mine, other in zip(ours, theirs, strict=True):
            assert relative_error(mine, other) <= TOLERANCE["training", self.dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", EVERYTHING)
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_each_alone_equals_the_twin(optimizer, name, dtype):
    settings = {name: EVERYTHING[name], "weight_decay": 0.1, "momentum": 0.7}
    Problem(dtype=dtype).agree(optimizer, settings)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", reference.LOSSES)
def test_everything_at_once_equals_the_twin(loss, dtype):
    layers = (9, 17, 8, 4)
    Problem(layers, loss=loss, dtype=dtype).agree("adamw", {**EVERYTHING, "weight_decay": 0.1})


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("layers", [(9, 40, 1), (30, 40, 21, 5), (7, 3)])
def test_dropout_equals_the_twin(layers, activation):
    hidden = len(layers) - 2
    problem = Problem(layers, (activation,) * hidden)
    problem.agree("adam", {"dropout": (0.2,) + (0.4,) * hidden})


def test_dropout_of_sparse_rows_equals_the_twin():
    Problem((30, 40, 5), ("identity",), csr=True).agree("adam", {"dropout": (0.3, 0.4)})


def test_clipping_of_a_short_gradient_does_nothing():
    problem = Problem()
    orders = [problem.rng.permutation(53)]
    ours = problem.core("sgd", {"max_grad_norm": 1e6, "momentum": 0.7}, orders)
    plain = problem.core("sgd", {"momentum": 0.7}, orders)
    assert relative_error(ours[1], plain[1]) < 1e-13


@pytest.mark.parametrize("optimizer", ["adamw", "nesterov"])
def test_several_passes_equal_the_twin(optimizer):
    least = Problem(n=300, batch_size=128).trainer(optimizer, {}).plan()["arena_bytes"] // 3
    problem = Problem(n=300, batch_size=128, max_memory=least)
    assert problem.trainer(optimizer, EVERYTHING).batch_rows < 128
    problem.agree(optimizer, {**EVERYTHING, "rates": np.linspace(0.1, 0.05, 3)})


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_bits_do_not_depend_on_threads(loss):
    problem = Problem((60, 150, 70, 5), n=700, batch_size=256, loss=loss, dtype="float32")
    orders = [problem.rng.permutation(700)]
    settings = {**EVERYTHING, "weight_decay": 0.1}
    one = problem.core("adamw", settings, orders)
    assert problem.trainer("adamw", settings, n_threads=3).n_threads > 1
    for n_threads in (2, 3):
        many = problem.core("adamw", settings, orders, n_threads=n_threads)
        for a, b in zip(one, many, strict=True):
            np.testing.assert_array_equal(a, b)


def test_rates_of_every_update_are_asked_for():
    problem = Problem()
    trainer = problem.trainer("sgd", {})
    data = _core.Data(problem.X, problem.y)
    state = (np.zeros_like(problem.params),)
    for rates in (np.ones(3), np.ones(4, np.float32), np.ones(8)[::2]):
        with pytest.raises(ValueError, match="rates must be"):
            trainer.train_epoch(
                problem.params, state, data, None, 16, alpha=0, learning_rate=1, rates=rates
            )


def test_clipping_needs_the_whole_gradient():
    problem = Problem()
    trainer = problem.trainer("sgd", {})
    state = (np.zeros_like(problem.params),)
    data = _core.Data(problem.X, problem.y)
    with pytest.raises(ValueError, match="keep_grad=True"):
        trainer.train_epoch(
            problem.params, state, data, None, 16, alpha=0, learning_rate=1, max_grad_norm=1.0
        )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_gradient_whose_squares_overflow_is_clipped_all_the_same(dtype):
    net = fastbp.Network((6, 5, 2), "identity", "absolute_error", dtype)
    params = net.init_params(0)
    X, y = np.full((40, 6), 1e25), np.full((40, 2), 1e30)
    before = params.copy()
    optimizer = fastbp.SGD(net, 1.0, 0.0, max_grad_norm=1e-3)
    optimizer.step(params, X, y)
    assert np.linalg.norm(params - before) == pytest.approx(1e-3, rel=1e-3)


def test_a_gradient_of_no_length_makes_no_update():
    net = fastbp.Network((6, 5, 2), "identity", "absolute_error", "float32")
    params = net.init_params(0)
    net.views(params)[0][1][:] = 1e30  # its product with X is beyond float32, the output is not
    net.views(params)[0][0][:] = 0
    before = params.copy()
    optimizer = fastbp.SGD(net, 1.0, 0.0, max_grad_norm=1e-3)
    assert not np.isfinite(optimizer.step(params, np.full((40, 6), 1e25), np.ones((40, 2))))
    np.testing.assert_array_equal(params, before)
    assert optimizer.t == 0


def test_a_mini_batch_without_weight_has_its_rate():
    problem = Problem()
    problem.w[16:32] = 0
    rates = np.array([0.1, 7.0, 0.03, 0.02])
    orders = [np.arange(53)]
    ours, theirs = (
        f("sgd", {"rates": rates, "momentum": 0.5}, orders) for f in (problem.core, problem.twin)
    )
    assert relative_error(ours[1], theirs[1]) < 1e-12
    assert np.abs(ours[1]).max() < 10


# ---- the moving average of an estimator ----


def averaged(**params):
    return small(MLPRegressor, ema_decay=0.5, shuffle=False, dtype="float64", **params)


def test_online_the_average_goes_on_as_in_a_fit():
    est = averaged()
    for _ in range(3):
        est = pickle.loads(pickle.dumps(est.partial_fit(X_REG, Y_REG)))
    whole = averaged().set_params(max_iter=3).fit(X_REG, Y_REG)
    np.testing.assert_array_equal(est._params.flat, whole._params.flat)


def test_weights_that_were_edited_count():
    est = averaged().partial_fit(X_REG, Y_REG)
    for array in (*est.coefs_, *est.intercepts_):
        array[...] = 0
    est.set_params(learning_rate_init=1e-5).partial_fit(X_REG, Y_REG)
    assert np.abs(est._params.flat).max() < 1e-3


def test_early_stopping_leaves_the_best_average_to_go_on_from():
    est = averaged(early_stopping=True, learning_rate_init=0.05, max_iter=30).fit(X_REG, Y_REG)
    before = est._params.flat.copy()
    est.set_params(early_stopping=False, learning_rate_init=1e-8).partial_fit(X_REG, Y_REG)
    assert np.abs(est._params.flat - before).max() < 1e-5


def test_a_call_that_fails_leaves_what_is_trained():
    est, other = (averaged().partial_fit(X_REG, Y_REG) for _ in range(2))
    est.set_params(ema_decay=None, max_memory=1)
    with pytest.raises(ValueError, match="max_memory"):
        est.partial_fit(X_REG, Y_REG)
    est.set_params(ema_decay=0.5, max_memory=None)
    for e in (est, other):
        e.partial_fit(X_REG, Y_REG)
    np.testing.assert_array_equal(est._params.flat, other._params.flat)


def test_the_plan_has_the_vectors_of_a_fit():
    est = small(MLPRegressor, max_grad_norm=1.0, ema_decay=0.5, early_stopping=True)
    plan = est.fit(X_REG, Y_REG).memory_plan_
    names = [row.name for row in plan.rows]
    assert {"norm", "ema", "best"} <= set(names)
    planned = fastbp.memory_plan(
        (6, 12, 1), batch_size=108, max_grad_norm=1.0, ema_decay=0.5, n_threads=1
    )
    assert [row for row in plan.rows if row.name != "best"] == list(planned.rows)
    own = fastbp.memory_plan((6, 12, 1), loss=lambda o, y, w: (o[:, 0], o))
    assert "row_loss" in [row.name for row in own.rows]
