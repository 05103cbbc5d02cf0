"""Denormals are zero while the core computes, and only then: the caller's state comes back."""

import platform

import numpy as np
import pytest
from conftest import make_params

import fastbp
from fastbp import _core

pytestmark = pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64", "aarch64", "arm64"),
    reason="the state of the floating-point unit is left alone here",
)

SIZES = (8, 64, 64, 3)


def denormals_are_there():
    tiny = np.full(4, 2.0**-1050)  # not a Python constant, which would be worked out beforehand
    return bool((tiny * 0.5).all()) and float(tiny[0]) * 0.5 > 0


def epoch(trainer, data, params):
    state = (np.zeros_like(params),)
    trainer.train_epoch(params, state, data, None, 300, alpha=0.1, learning_rate=0.01)


CALLS = {
    "epoch": ("sgd", epoch),
    "gradient": ("none", lambda t, data, params: t.value_and_grad(params, data, params.copy())),
    "loss": ("none", lambda t, data, params: t.loss(params, data)),
    "forward": ("none", lambda t, data, params: t.forward(params, data, np.empty((300, 3)))),
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS)
def test_the_callers_floating_point_state_comes_back(call, n_threads):
    optimizer, work = CALLS[call]
    rng = np.random.default_rng(0)
    data = _core.Data(rng.normal(size=(300, 8)), rng.normal(size=(300, 3)))
    trainer = _core.Trainer(
        SIZES, ("relu", "relu"), "squared_error", "float64", 300, optimizer, n_threads
    )
    assert denormals_are_there()
    work(trainer, data, make_params(SIZES, rng))
    assert denormals_are_there()


def test_denormals_that_are_read_are_zero():
    """A net that has died computes with denormals, some hundred times slower than with zeros."""
    net = fastbp.Network((1, 1), dtype="float64")
    x, w = 2.0**-1050, 2.0**1000
    assert x * w > 0
    assert net.forward(np.array([w, 0.0]), np.array([[x]])) == 0


def test_denormals_that_are_written_are_zero():
    """W = 1.5 least - dW, where dW = x (z - y) = least, the smallest number that is none."""
    least = np.finfo(np.float64).tiny
    data = _core.Data(np.array([[least]]), np.array([[-1.0]]))
    trainer = _core.Trainer((1, 1), (), "squared_error", "float64", 1, "sgd")
    params, state = np.array([1.5 * least, 0.0]), (np.zeros(2),)
    trainer.train_epoch(params, state, data, None, 1, alpha=0.0, learning_rate=1.0, momentum=0.0)
    assert params[1] == -1 and state[0][0] == -least
    assert params[0] == 0


def test_denormals_are_zero_after_a_handler():
    """In a long call signals are looked at now and then, in the caller's state."""
    sizes, n = (8, 256, 1), 300_000
    trainer = _core.Trainer(
        sizes, ("identity",), "squared_error", "float64", 256, forward_only=True
    )
    params = np.zeros(trainer.n_params)
    params[: 8 * 256], params[8 * 256 : 9 * 256] = 2.0**1000, 1
    out = np.ones((n, 1))
    trainer.forward(params, _core.Data(np.full((n, 8), 2.0**-1050)), out)
    assert not out.any()
