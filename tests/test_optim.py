"""Optimizers of `Network`: the bits of an estimator's fit, pickles, averages, errors."""

import pickle
import tracemalloc

import numpy as np
import pytest

import fastbp
from fastbp import SGD, Adam, AdamW, MLPRegressor, Network

EACH = pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
SOLVER = {SGD: "sgd", Adam: "adam", AdamW: "adamw"}


def problem(n=130, dtype="float64", **options):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 6)), rng.normal(size=(n, 2))
    net = Network((6, 20, 10, 2), "tanh", dtype=dtype, **{"batch_size": 50, **options})
    return net, net.init_params(random_state=1), X, y, rng.uniform(0.1, 2, n)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 0.1}, {"ema_decay": 0.8}], ids=str)
@EACH
def test_the_bits_are_those_of_a_fit(kind, options, dtype):
    net, params, X, y, w = problem(dtype=dtype)
    est = MLPRegressor(
        hidden_layer_sizes=(20, 10),
        activation="tanh",
        solver=SOLVER[kind],
        batch_size=50,
        shuffle=False,
        max_iter=2,
        dtype=dtype,
        random_state=1,
        **options,
    )
    est.fit(X, y, w)
    optimizer = kind(net, **options)
    for _ in range(2):
        for start in range(0, 130, 50):
            rows = slice(start, start + 50)
            optimizer.step(params, X[rows], y[rows], w[rows], alpha=est.alpha)
            optimizer = pickle.loads(pickle.dumps(optimizer))
    assert optimizer.t == 6
    result = optimizer.ema if "ema_decay" in options else params
    np.testing.assert_array_equal(result, est._params.flat)


@EACH
def test_a_step_returns_the_loss_of_before(kind):
    net, params, X, y, w = problem()
    loss = net.loss(params, X, y, w, alpha=0.5)
    assert kind(net).step(params, X, y, w, alpha=0.5) == pytest.approx(loss, rel=1e-13)
    assert net.loss(params, X, y, w, alpha=0.5) < loss


@EACH
def test_more_rows_than_a_pass_are_one_step(kind):
    net, params, X, y, w = problem()
    wide, _, _, _, _ = problem(batch_size=1000)
    other = params.copy()
    kind(net).step(params, X, y, w)
    kind(wide).step(other, X, y, w)
    np.testing.assert_allclose(params, other, rtol=0, atol=1e-12)


def test_settings_may_change_between_steps():
    net, params, X, y, _ = problem()
    optimizer = SGD(net, momentum=0.0)
    before = params.copy()
    optimizer.learning_rate = 0.0
    optimizer.step(params, X, y)
    np.testing.assert_array_equal(params, before)
    optimizer.learning_rate = -1
    with pytest.raises(ValueError, match=r"learning_rate=-1: it takes a finite number of 0"):
        optimizer.step(params, X, y)
    assert optimizer.t == 1


@EACH
def test_a_loss_that_is_not_finite_makes_no_update(kind):
    net, params, X, y, _ = problem()
    optimizer, before = kind(net), params.copy()
    y[3, 1] = np.nan
    assert np.isnan(optimizer.step(params, X[:50], y[:50]))
    np.testing.assert_array_equal(params, before)
    assert optimizer.t == 0


def test_a_step_allocates_no_memory_to_speak_of():
    net, params, X, y, _ = problem(dtype="float32", n=50)
    large = Network((6, 300, 300, 2), batch_size=50)
    params, optimizer = large.init_params(0), Adam(large, max_grad_norm=1.0, ema_decay=0.9)
    optimizer.step(params, X, y)
    tracemalloc.start()
    for _ in range(5):
        optimizer.step(params, X, y)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < params.nbytes / 10


@EACH
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("learning_rate", "fast"),
        ("learning_rate", np.nan),
        ("learning_rate", True),
        ("max_grad_norm", 0),
        ("ema_decay", 1.0),
    ],
)
def test_wrong_settings_are_named(kind, name, value):
    net = problem()[0]
    with pytest.raises(ValueError, match=f"{name}={value!r}: it takes"):
        kind(net, **{name: value})


def test_wrong_settings_of_one_are_named():
    net = problem()[0]
    for kind, name, value in ((SGD, "momentum", 2), (Adam, "beta_1", 1), (AdamW, "epsilon", 0)):
        with pytest.raises(ValueError, match=f"{name}={value}: it takes"):
            kind(net, **{name: value})
    with pytest.raises(TypeError, match="net is of type str"):
        Adam("net")


@EACH
def test_wrong_arguments_of_a_step_change_nothing(kind):
    net, params, X, y, _ = problem()
    optimizer = kind(net)
    frozen = params.copy()
    frozen.flags.writeable = False
    for bad, match in (((frozen, X, y), "read-only"), ((params[:-1], X, y), "params has shape")):
        with pytest.raises(ValueError, match=match):
            optimizer.step(*bad)
    with pytest.raises(ValueError, match="y has shape"):
        optimizer.step(params, X, y[:, :1])
    assert optimizer.t == 0 and not any(s.any() for s in optimizer.state)


def test_representation_says_the_settings():
    text = repr(AdamW(problem()[0], weight_decay=0.5))
    assert text.startswith("AdamW(Network(") and "weight_decay=0.5" in text
    assert fastbp.AdamW is AdamW


def test_nesterov_matters():
    results = []
    for nesterovs_momentum in (True, False):
        net, params, X, y, _ = problem()
        optimizer = SGD(net, 0.1, nesterovs_momentum=nesterovs_momentum)
        for _ in range(3):
            optimizer.step(params, X, y)
        results.append(params)
    assert np.abs(results[0] - results[1]).max() > 1e-6
