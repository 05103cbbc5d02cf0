"""Losses of the user's own, products with the Jacobian, gradients by X."""

import os
import pickle
import signal

import numpy as np
import pytest
from conftest import TOLERANCE, relative_error
from sklearn.base import clone

from fastbp import Adam, MLPRegressor, Network


def half_square(output, y, sample_weight):
    return 0.5 * ((output - y) ** 2).sum(axis=1), output - y


SHAPES = [(6, 9, 5, 3), (6, 3), (6, 1), (6, 7, 1), (6, 5, 4, 3, 2)]


def problem(layers, loss=half_square, **options):
    rng = np.random.default_rng(0)
    options = {"dtype": "float64", "batch_size": 32, "activation": "tanh", **options}
    net = Network(layers, loss=loss, **options)
    X, y = rng.normal(size=(75, layers[0])), rng.normal(size=(75, layers[-1]))
    return net, net.init_params(0), X, y, rng.uniform(0.1, 2, 75)


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layers", SHAPES)
def test_an_own_squared_error_is_the_built_in_one(layers, dtype, n_threads):
    options = {"dtype": dtype, "n_threads": n_threads}
    net, params, X, y, w = problem(layers, "squared_error", **options)
    own, *_ = problem(layers, **options)
    expected = net.value_and_grad(params, X, y, w, alpha=0.3, input_grad=True)
    found = own.value_and_grad(params, X, y, w, alpha=0.3, input_grad=True)
    for mine, other in zip(found, expected, strict=True):
        assert relative_error(mine, other) <= TOLERANCE["twin", dtype]
    assert own.loss(params, X, y, w, 0.3) == pytest.approx(found[0], rel=1e-6)
    grad = own.value_and_grad(params, X, y, w, alpha=0.3)[1]
    assert relative_error(grad, found[1]) <= TOLERANCE["twin", dtype]


def test_it_is_called_once_per_pass_with_what_belongs_to_its_rows():
    calls = []

    def loss(output, y, sample_weight):
        calls.append((output.copy(), y.copy(), sample_weight.copy()))
        return half_square(output, y, sample_weight)

    net, params, X, y, w = problem((6, 5, 2), loss)
    net.value_and_grad(params, X, y, w)
    assert [len(output) for output, _, _ in calls] == [32, 32, 11]
    for place, all_of_it in enumerate((net.forward(params, X), y, w)):
        np.testing.assert_array_equal(np.concatenate([call[place] for call in calls]), all_of_it)
    calls.clear()
    with pytest.raises(AttributeError):
        net.value_and_grad(params, X, y)  # without weights there are none


def test_what_it_gets_are_copies():
    kept = []

    def loss(output, y, sample_weight):
        kept.append(output)
        answer = half_square(output, y, sample_weight)
        output[:] = y[:] = 7
        return answer

    net, params, X, y, _ = problem((6, 5, 2), loss)
    plain, *_ = problem((6, 5, 2))
    value, grad = net.value_and_grad(params, X, y)
    assert value == plain.loss(params, X, y)
    np.testing.assert_array_equal(grad, plain.value_and_grad(params, X, y)[1])
    assert all((output == 7).all() for output in kept)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda o, y: o, "returned ndarray: it takes a pair"),
        (
            lambda o, y: (o, o),
            r"first .* of shape \(32, 2\): it takes losses of shape \(32",
        ),
        (
            lambda o, y: (o[:, 0], o[:, 0]),
            r"second .* it takes derivatives of shape \(32, 2",
        ),
        (lambda o, y: (o[:, 0] * 1j, o), "complex128"),
        (lambda o, y: ([1, [2]], o), "it takes losses"),
    ],
)
def test_wrong_answers_are_named(answer, match):
    net, params, X, y, _ = problem((6, 5, 2), lambda o, y, w: answer(o, y))
    with pytest.raises(ValueError, match=match):
        net.value_and_grad(params, X, y)


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_its_errors_come_through_and_leave_the_network_usable(error):
    failing = [True]

    def loss(output, y, sample_weight):
        if failing[0]:
            raise error("mine")
        return half_square(output, y, sample_weight)

    net, params, X, y, _ = problem((6, 50, 2), loss, n_threads=2)
    optimizer, before = Adam(net), params.copy()
    for call in (net.loss, net.value_and_grad, optimizer.step):
        with pytest.raises(error, match="mine"):
            call(params, X, y)
    np.testing.assert_array_equal(params, before)
    assert optimizer.t == 0
    failing[0] = False
    optimizer.step(params, X, y)
    assert np.isfinite(net.loss(params, X, y))


def test_it_may_use_the_network_itself_and_hears_signals():
    heard = []

    def loss(output, y, sample_weight):
        signal.raise_signal(signal.SIGUSR1)
        np.testing.assert_array_equal(net.forward(params, X[:4]), net.forward(params, X)[:4])
        return half_square(output, y, sample_weight)

    previous = signal.signal(signal.SIGUSR1, lambda *_: heard.append(1))
    try:
        net, params, X, y, _ = problem((6, 5, 2), loss)
        net.value_and_grad(params, X, y)
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert len(heard) == 3


def test_a_loss_that_is_not_finite_is_told():
    net, params, X, y, _ = problem(
        (6, 5, 2), lambda o, y, w: (np.full(len(o), np.inf), np.zeros_like(o))
    )
    assert net.loss(params, X, y) == np.inf
    before = params.copy()
    assert Adam(net).step(params, X, y) == np.inf
    np.testing.assert_array_equal(params, before)


# ---- gradients by X, and products with the Jacobian ----

LOSSES = ["squared_error", "log_loss", "binary_log_loss", "poisson", "gaussian_nll"]


@pytest.mark.parametrize("layers", SHAPES)
def test_gradients_by_X_are_central_differences(layers):
    net, params, X, y, w = problem(layers, "squared_error")
    _, _, grad_X = net.value_and_grad(params, X, y, w, input_grad=True)
    rng, step = np.random.default_rng(1), 1e-5
    for i, j in zip(rng.integers(0, 75, 8), rng.integers(0, 6, 8), strict=True):
        change = np.zeros_like(X)
        change[i, j] = step
        slope = net.loss(params, X + change, y, w) - net.loss(params, X - change, y, w)
        assert slope / (2 * step) == pytest.approx(grad_X[i, j], rel=1e-6, abs=1e-9)


def test_gradients_by_X_leave_the_others_alone():
    net, params, X, y, w = problem((6, 9, 5, 3), "squared_error")
    loss, grad = net.value_and_grad(params, X, y, w, alpha=0.1)
    out = np.empty_like(grad)
    again, grad_again, _ = net.value_and_grad(params, X, y, w, 0.1, out, input_grad=True)
    assert again == loss and grad_again is out
    np.testing.assert_array_equal(out, grad)


@pytest.mark.parametrize("n", [1, 32, 75])
@pytest.mark.parametrize("loss", LOSSES)
def test_vjp_is_the_product_with_the_jacobian(loss, n):
    """Against central differences of sum(cotangent * output)."""
    net, params, X, _, _ = problem((6, 5, 4), loss)
    rng, X = np.random.default_rng(1), X[:n]
    cotangent, step = rng.normal(size=(n, 4)), 1e-5
    output, grad, grad_X = net.vjp(params, X, cotangent, input_grad=True)
    np.testing.assert_allclose(output, net.forward(params, X), rtol=1e-13)
    for k in rng.integers(0, net.n_params, 8):
        change = np.zeros_like(params)
        change[k] = step
        ends = [(cotangent * net.forward(params + s * change, X)).sum() for s in (1, -1)]
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(grad[k], rel=1e-6, abs=1e-8)
    change = np.zeros_like(X)
    change[0, 2] = step
    ends = [(cotangent * net.forward(params, X + s * change)).sum() for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * step) == pytest.approx(grad_X[0, 2], rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("n", [0, 20, 75])
def test_a_cotangent_may_be_a_function_of_the_whole_output(n):
    net, params, X, _, _ = problem((6, 5, 3), "log_loss")
    seen = []

    def cotangent(output):
        seen.append(output.shape)
        return output - output.mean(axis=0) if n else output

    output, grad = net.vjp(params, X[:n], cotangent)
    assert seen == [(n, 3)]
    expected = net.vjp(params, X[:n], cotangent(net.forward(params, X[:n])))
    np.testing.assert_allclose(output, expected[0], rtol=1e-13)
    np.testing.assert_allclose(grad, expected[1], rtol=1e-10, atol=1e-13)


def test_wrong_cotangents_are_named():
    net, params, X, _, _ = problem((6, 5, 3), "log_loss")
    for bad, match in (
        (np.ones((75, 2)), r"cotangent is float64 of shape \(75, 2\): it takes"),
        (lambda output: output[:, 0], r"What cotangent returned is .* shape \(75,\)"),
        ("none", "cotangent is"),
    ):
        with pytest.raises(ValueError, match=match):
            net.vjp(params, X, bad)
    with pytest.raises(ValueError, match="What cotangent returned"):
        net.vjp(params, X[:9], lambda output: output[:, 0])


# ---- estimators ----


@pytest.mark.parametrize("solver", ["adam", "sgd", "adamw", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_an_own_squared_error_fits_as_the_built_in_one(solver, early_stopping):
    rng = np.random.default_rng(0)
    X, y, w = rng.normal(size=(150, 6)), rng.normal(size=150), rng.uniform(0.1, 2, 150)
    fits = []
    for loss in ("squared_error", half_square):
        est = MLPRegressor(
            loss=loss,
            hidden_layer_sizes=(9, 5),
            solver=solver,
            early_stopping=early_stopping,
            max_iter=8,
            batch_size=40,
            dtype="float64",
            random_state=0,
        )
        fits.append(est.fit(X, y, w))
    built_in, own = fits
    np.testing.assert_allclose(own._params.flat, built_in._params.flat, rtol=0, atol=1e-9)
    np.testing.assert_allclose(own.loss_curve_, built_in.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(own.predict(X), built_in.predict(X), rtol=0, atol=1e-9)
    assert pickle.loads(pickle.dumps(own)).loss is half_square
    assert clone(own).loss is half_square


def test_an_own_loss_learns_online_the_short_way_too():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 6)), rng.normal(size=(50, 2))
    options = dict(hidden_layer_sizes=(9,), dtype="float64", random_state=0)
    built_in, own = MLPRegressor(**options), MLPRegressor(loss=half_square, **options)
    for _ in range(3):
        built_in.partial_fit(X, y)
        own.partial_fit(X, y)
    np.testing.assert_allclose(own._params.flat, built_in._params.flat, rtol=0, atol=1e-12)


def test_an_error_of_the_loss_keeps_the_weights_so_far():
    calls = []

    def failing(output, y, sample_weight):
        calls.append(len(output))
        if len(calls) > 5:
            raise ZeroDivisionError("mine")
        return half_square(output, y, sample_weight)

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 6)), rng.normal(size=100)
    est = MLPRegressor(failing, hidden_layer_sizes=(9,), batch_size=50, random_state=0)
    with pytest.raises(ZeroDivisionError, match="mine"):
        est.fit(X, y)
    assert est.n_iter_ == 2 and est._optimizer.t == 5 and np.isfinite(est.predict(X)).all()


@pytest.mark.parametrize("loss", [7, "hinge", None])
def test_other_losses_are_named(loss):
    with pytest.raises(ValueError, match="The 'loss' parameter of MLPRegressor"):
        MLPRegressor(loss=loss).fit(np.eye(3), [1, 2, 3])


def test_a_derivative_that_is_not_finite_makes_no_update():
    calls = []

    def loss(output, y, sample_weight):
        calls.append(1)
        rows, slopes = half_square(output, y, sample_weight)
        slopes[0, 0] *= np.nan if len(calls) == 5 else 1
        return rows, slopes

    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100, 6)), rng.normal(size=100)
    est = MLPRegressor(loss, hidden_layer_sizes=(9,), batch_size=50, random_state=0)
    with pytest.raises(ValueError, match="The loss became nan in epoch 3"):
        est.fit(X, y)
    assert est._optimizer.t == 4 and np.isfinite(est.predict(X)).all()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_inside_ends_the_call_in_the_child():
    """It has none of the threads; the parent goes on."""
    children = []

    def loss(output, y, sample_weight):
        if not children:
            children.append(os.fork())
        return half_square(output, y, sample_weight)

    net = Network((64, 256, 256, 1), loss=loss, n_threads=2, batch_size=500)
    assert net.memory_plan.n_threads == 2
    params, X, y = net.init_params(0), np.ones((500, 64)), np.ones((500, 1))
    parent = os.getpid()
    try:
        net.value_and_grad(params, X, y)
    except RuntimeError as error:
        if os.getpid() != parent:
            os._exit(7 if "forked while a Trainer" in str(error) else 8)
        raise
    finally:
        if os.getpid() != parent:
            os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7
