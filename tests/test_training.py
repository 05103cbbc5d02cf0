"""Whole epochs in the core equal the epochs of the NumPy twin."""

import os
import signal
import threading
import time
from time import monotonic

import numpy as np
import pytest
import reference
from ahead import HERE, Process, waits_for
from conftest import (
    TOLERANCE,
    make_inputs,
    make_params,
    make_targets,
    n_outputs_of,
    relative_error,
)
from scipy import sparse

from fastbp import _core

LAYERS = (9, 17, 8, 3)
ACTIVATIONS = ("tanh", "relu")
# A large epsilon keeps Adam from turning rounding errors of tiny gradients into whole steps.
SETTINGS = dict(alpha=0.02, learning_rate=0.02, beta_1=0.8, beta_2=0.98, epsilon=1e-3, momentum=0.7)


class Epochs:
    """The same epochs by the core and by the twin."""

    def __init__(self, loss, optimizer, dtype, n=53, batch_size=16, n_threads=1, max_memory=0):
        rng = np.random.default_rng(5)
        self.loss, self.optimizer, self.batch_size = loss, optimizer, batch_size
        self.dtype, self.rng = dtype, rng
        self.layers = (*LAYERS[:-1], n_outputs_of(loss, LAYERS[-1]))
        self.params = make_params(self.layers, rng, dtype)
        self.X = make_inputs(self.params, self.layers, ACTIVATIONS, n, rng)
        self.y = make_targets(loss, n, LAYERS[-1], rng)
        if self.y.ndim == 1:
            self.y = self.y.astype(np.int32)
        self.w = rng.uniform(0.1, 2, n)
        self.trainer = _core.Trainer(
            self.layers,
            ACTIVATIONS,
            loss,
            dtype,
            batch_size,
            optimizer,
            n_threads,
            max_memory,
        )

    def state(self):
        count = reference.OPTIMIZERS[self.optimizer].n_states
        return tuple(np.zeros_like(self.params) for _ in range(count))

    def core(self, orders, weight=None, X=None, **settings):
        X = self.X if X is None else X
        data = _core.Data(X, self.y, weight)
        params, state = self.params.copy(), self.state()
        return self._run(
            lambda order, t: self.trainer.train_epoch(
                params, state, data, order, self.batch_size, t=t, **{**SETTINGS, **settings}
            ),
            orders,
            params,
            state,
        )

    def twin(self, orders, weight=None, X=None, **settings):
        X = self.X if X is None else X
        params, state = self.params.copy(), self.state()
        return self._run(
            lambda order, t: reference.train_epoch(
                params,
                state,
                self.layers,
                ACTIVATIONS,
                self.loss,
                self.optimizer,
                X,
                self.y,
                weight,
                order,
                self.batch_size,
                t=t,
                **{**SETTINGS, **settings},
            ),
            orders,
            params,
            state,
        )

    @staticmethod
    def _run(epoch, orders, params, state):
        losses, t = [], 0
        for order in orders:
            loss, steps, finite = epoch(order, t)
            losses.append(loss)
            t += steps
        return np.array(losses), t, finite, params, state

    def orders(self, epochs=3):
        return [self.rng.permutation(len(self.X)) for _ in range(epochs)]

    def agree(self, orders, weight=None, X=None, **settings):
        ours = self.core(orders, weight, X, **settings)
        theirs = self.twin(orders, weight, None, **settings)
        tolerance = TOLERANCE["training", self.dtype]
        assert relative_error(ours[0], theirs[0]) <= tolerance
        assert ours[1:3] == theirs[1:3]
        assert relative_error(ours[3], theirs[3]) <= tolerance
        for mine, other in zip(ours[4], theirs[4], strict=True):
            assert relative_error(mine, other) <= tolerance
        return ours


@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_epochs_equal_the_twin(optimizer, loss, dtype, weighted):
    """53 rows in mini-batches of 16: the last one has 5."""
    epochs = Epochs(loss, optimizer, dtype)
    _, steps, finite, _, _ = epochs.agree(epochs.orders(), epochs.w if weighted else None)
    assert steps == 12 and finite


@pytest.mark.parametrize("batch_size", [1, 2, 7, 8, 15, 17, 33, 53, 100])
def test_every_batch_size_equals_the_twin(batch_size):
    epochs = Epochs("log_loss", "adam", "float64", batch_size=batch_size)
    epochs.agree(epochs.orders(), epochs.w)


@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_several_passes_per_batch_equal_the_twin(optimizer):
    plenty = Epochs("squared_error", optimizer, "float64", n=300, batch_size=128)
    least = plenty.trainer.plan()["arena_bytes"] // 3
    epochs = Epochs("squared_error", optimizer, "float64", 300, 128, max_memory=least)
    assert epochs.trainer.batch_rows < 128
    assert epochs.trainer.plan()["arena_bytes"] <= least
    epochs.agree(epochs.orders(), epochs.w)


@pytest.mark.parametrize("alpha", [0.0, 0.5])
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_alpha_equals_the_twin(optimizer, alpha):
    epochs = Epochs("squared_error", optimizer, "float64")
    epochs.agree(epochs.orders(), epochs.w, alpha=alpha)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", reference.LOSSES)
def test_reported_loss_is_scaled_and_clipped_as_asked(loss, dtype):
    epochs = Epochs(loss, "sgd", dtype)
    epochs.params *= 20
    orders = epochs.orders(1)
    settings = dict(loss_scale=1 / 3, clip_loss=True, learning_rate=1e-3)
    if loss in ("poisson", "gamma", "gaussian_nll"):
        epochs.params /= 20
    clipped = epochs.core(orders, **settings)
    expected = epochs.twin(orders, **settings)
    # The twin takes log(1 - p) of a rounded p, as scikit-learn does; the core works from z.
    tolerance = {"float32": 1e-3, "float64": 1e-6}[dtype]
    assert clipped[0] == pytest.approx(expected[0], rel=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", ["log_loss", "binary_log_loss"])
def test_a_clipped_loss_grows_up_to_the_logarithm_of_the_epsilon_of_float64(loss, dtype):
    """In float32 too, where probabilities below 1e-7 are lost but logits are not."""
    outputs = 2 if loss == "log_loss" else 1
    trainer = _core.Trainer((1, outputs), (), loss, dtype, 3, "none")
    params = np.zeros(trainer.n_params, dtype)
    params[0] = 1  # the logit of the first output is x
    y = np.array([[0, 1]] * 3 if outputs == 2 else [[0]] * 3, np.uint8)
    found = []
    for x in (20.0, 30.0, 100.0):
        data = _core.Data(np.full((3, 1), x, dtype), y)
        found.append(trainer.loss(params, data, clip_loss=True))
    assert found == pytest.approx([20.0, 30.0, -np.log(np.finfo(np.float64).eps)], rel=1e-6)


def test_clipping_changes_the_value_and_no_update():
    epochs = Epochs("binary_log_loss", "sgd", "float32")
    epochs.params *= 50
    orders = epochs.orders(1)
    plain, clipped = epochs.core(orders), epochs.core(orders, clip_loss=True, loss_scale=0.25)
    assert plain[0] != clipped[0]
    np.testing.assert_array_equal(plain[3], clipped[3])


def test_a_batch_without_weight_is_passed_over():
    epochs = Epochs("log_loss", "adam", "float64")
    order = epochs.orders(1)[0]
    weight = epochs.w.copy()
    weight[order[16:32]] = 0
    _, steps, finite, _, _ = epochs.agree([order], weight)
    assert steps == 3 and finite


def test_order_may_visit_some_rows_and_some_twice():
    epochs = Epochs("squared_error", "nesterov", "float64")
    epochs.agree([epochs.rng.integers(0, 53, 40)], epochs.w)


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array])
@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
def test_sparse_rows_train_as_dense_rows(make, x_dtype):
    epochs = Epochs("log_loss", "adam", "float64")
    epochs.X = (epochs.X * (np.abs(epochs.X) > 0.5)).astype(x_dtype)
    epochs.trainer = _core.Trainer(
        LAYERS, ACTIVATIONS, "log_loss", "float64", 16, "adam", sparse=True
    )
    epochs.agree(epochs.orders(), epochs.w, X=make(epochs.X))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
def test_a_loss_that_is_not_finite_stops_before_its_update(optimizer, bad):
    epochs = Epochs("squared_error", optimizer, "float64")
    order = np.arange(53)
    good = epochs.core([order[:32]])
    epochs.X[40, 2] = bad
    epochs.y[40] = bad
    loss, steps, finite, params, _ = epochs.core([order])
    assert not finite and not np.isfinite(loss).any()
    assert steps == good[1] == 2
    assert np.isfinite(params).all()
    np.testing.assert_array_equal(params, good[3])


@pytest.mark.parametrize("row", [128, 191, 255], ids=["first", "middle", "last"])
def test_a_loss_that_is_not_finite_in_any_pass_stops_before_its_update(row):
    least = Epochs("squared_error", "adam", "float64", 300, 128).trainer.plan()["arena_bytes"] // 3
    epochs = Epochs("squared_error", "adam", "float64", 300, 128, max_memory=least)
    assert epochs.trainer.batch_rows < 64
    good = epochs.core([np.arange(128)])
    epochs.X[row] = np.nan
    _, steps, finite, params, _ = epochs.core([np.arange(300)])
    assert not finite and steps == 1
    np.testing.assert_array_equal(params, good[3])


class Large:
    """Shapes that are worth two threads, and epochs longer than signals have to wait."""

    sizes, batch = (64, 256, 256, 10), 256

    def __init__(self, n_threads, n=1000):
        rng = np.random.default_rng(0)
        self.X = rng.normal(size=(n, 64)).astype("float32")
        self.data = _core.Data(self.X, rng.integers(0, 10, n).astype(np.int32))
        self.order = rng.permutation(n)
        self.trainer = _core.Trainer(
            self.sizes, ("relu", "relu"), "log_loss", "float32", self.batch, "adam", n_threads
        )
        self.params = make_params(self.sizes, np.random.default_rng(1), "float32")
        self.state = (np.zeros_like(self.params), np.zeros_like(self.params))

    def train(self, order, t=0, **others):
        return self.trainer.train_epoch(
            self.params,
            self.state,
            self.data,
            order,
            self.batch,
            alpha=1e-4,
            learning_rate=1e-3,
            t=t,
            **others,
        )


def test_one_and_two_threads_train_to_the_same_bits():
    results = []
    for n_threads in (1, 2):
        large = Large(n_threads)
        results.append((large.train(large.order), large.params))
    assert large.trainer.n_threads == 2
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_long_epoch_equals_its_pieces(n_threads):
    """Looking for signals now and then changes nothing."""
    whole, pieces = Large(n_threads), Large(n_threads)
    order = np.tile(whole.order[:768], 40)
    loss, steps, finite = whole.train(order)
    assert finite and steps == 120
    total, done = 0.0, 0
    for piece in np.split(order, 20):
        part, taken, _ = pieces.train(piece, t=done)
        total, done = total + part / 20, done + taken
    assert loss == pytest.approx(total, rel=1e-12)
    np.testing.assert_array_equal(whole.params, pieces.params)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_an_epoch_in_several_calls_is_the_same_bits(n_threads):
    """Each goes on where the time of the one before was up, with the rates and the loss so far."""
    whole, parts = Large(n_threads), Large(n_threads)
    order = np.tile(whole.order[:896], 40)  # 140 mini-batches
    rates = np.geomspace(1e-3, 1e-4, 140)
    loss, _, finite = whole.train(order, rates=rates, seed=3)
    assert finite
    row, loss_sum, calls, t = 0, 0.0, 0, 0
    while row < len(order):
        part, steps, _ = parts.train(
            order,
            t=t,
            rates=rates[row // parts.batch :],
            seed=3,
            row=row,
            loss_sum=loss_sum,
            until=-np.inf if calls % 2 else np.inf if row > len(order) // 2 else monotonic() + 0.01,
        )
        trainer, calls, t = parts.trainer, calls + 1, t + steps
        assert steps == -(-(trainer.rows_done - row) // parts.batch) > 0
        row, loss_sum = trainer.rows_done, trainer.loss_sum
    assert calls > 1
    assert t == 140 and part == loss
    for a, b in zip((whole.params, *whole.state), (parts.params, *parts.state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_a_call_says_of_itself_is_not_that_of_the_call_before():
    """Also if an interrupt comes after `begin` and before the call."""
    large = Large(1)
    large.train(large.order)
    trainer = large.trainer
    assert (trainer.updates, trainer.rows_done) == (4, 1000) and trainer.loss_sum > 0
    trainer.begin(256, 1.5)
    assert (trainer.updates, trainer.rows_done, trainer.loss_sum) == (0, 256, 1.5)


def test_rows_before_the_first_are_refused():
    large = Large(1)
    for row in (-1, 1001):
        with pytest.raises(ValueError, match=f"row must be between 0 and the 1000 .* got {row}"):
            large.train(large.order, row=row)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_team_stops_together_at_a_loss_that_is_not_finite(n_threads):
    large = Large(n_threads)
    before = Large(n_threads)
    before.train(before.order[:512])
    large.X[large.order[600]] = np.nan
    _, steps, finite = large.train(large.order)
    assert not finite and steps == 2
    np.testing.assert_array_equal(large.params, before.params)


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go to main"
)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_is_heard_within_an_epoch(n_threads):
    large = Large(n_threads)
    order = np.tile(large.order, 2000)  # minutes of work
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    start = time.perf_counter()
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            large.train(order)
    finally:
        timer.join()
        signal.signal(signal.SIGINT, handler)
    assert time.perf_counter() - start < 3
    assert np.isfinite(large.params).all()
    _, steps, finite = large.train(large.order)
    assert finite and steps == 4


@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go to main"
)
@pytest.mark.alone
@pytest.mark.parametrize("n_threads", [1, 2])
def test_signals_are_heard_soon_whatever_the_net(n_threads):
    """The steps of a net of two weights are all overhead: their work says nothing of their time."""
    X = np.random.RandomState(0).randn(1_000_000, 1).astype(np.float32)
    data, order = _core.Data(X, X), np.arange(len(X), dtype=np.int64)
    trainer = _core.Trainer((1, 1), (), "squared_error", "float32", 1, "adam", n_threads)
    params, state = np.zeros(2, np.float32), (np.zeros(2, np.float32), np.zeros(2, np.float32))

    class Alarm(Exception):
        pass

    def ring(*_):
        raise Alarm

    def seconds_to_hear(delay):
        start = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, delay)
        with pytest.raises(Alarm):
            trainer.train_epoch(params, state, data, order, 1, alpha=0.0, learning_rate=1e-3)
        return time.perf_counter() - start - delay

    handler = signal.signal(signal.SIGALRM, ring)
    try:
        assert min(seconds_to_hear(0.01) for _ in range(3)) < 0.08
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)


def test_diverging_steps_stop():
    epochs = Epochs("squared_error", "sgd", "float32")
    _, steps, finite, _, _ = epochs.core(epochs.orders(1) * 20, learning_rate=1e15)
    assert not finite and steps < 20 * 4


# ---- every instruction set ----

LEVELS = _core.cpu_levels()
AT_A_LEVEL = """
import sys
import pytest
from fastbp import _core
assert _core.cpu_level() == sys.argv[1], (_core.cpu_level(), sys.argv[1])
sys.exit(pytest.main(["-q", "-x", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""


def at_a_level(level):
    files = [HERE / name for name in ("test_gradients.py", "test_training.py")]
    disabled = ",".join(LEVELS[: LEVELS.index(level)])
    return Process(
        AT_A_LEVEL, level, "-k", "twin", *files, timeout=200, FASTBP_DISABLE_CPU=disabled
    )


@pytest.mark.skipif("FASTBP_DISABLE_CPU" in os.environ, reason="a level is chosen already")
@pytest.mark.parametrize("level", LEVELS[1:])
@waits_for(at_a_level)
def test_every_instruction_set_equals_the_twin(level, ahead):
    """The tests against the twin once more, with the better levels disabled."""
    ahead.printed()
