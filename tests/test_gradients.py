"""The gradient is exact: against central differences and against the NumPy twin."""

import numpy as np
import pytest
import reference
from conftest import (
    SIZES,
    TOLERANCE,
    core_name,
    covering,
    make_inputs,
    make_params,
    make_targets,
    n_outputs_of,
    relative_error,
)

import fastbp
from fastbp import _core

# Hidden widths and outputs per depth, around vector sizes.
WIDTHS = {0: [], 1: [17], 2: [9, 16], 3: [8, 7, 15]}


def central_differences(f, params, step=1e-5):
    """Derivative of f by every parameter."""
    slope, moved = np.empty_like(params), params.copy()
    for i in range(len(params)):
        moved[i] = params[i] + step
        above = f(moved)
        moved[i] = params[i] - step
        slope[i] = (above - f(moved)) / (2 * step)
        moved[i] = params[i]
    return slope


def problem(layer_sizes, activations, loss, n, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    params = make_params(layer_sizes, rng, dtype)
    X = make_inputs(params, layer_sizes, activations, n, rng).astype(dtype)
    y = make_targets(loss, n, layer_sizes[-1] // n_outputs_of(loss, 1), rng)
    return params, X, y, rng.uniform(0.1, 2, n)


def twin(params, net, X, y, sample_weight=None, alpha=0.0, **more):
    return reference.value_and_grad(
        params,
        net.layer_sizes,
        net.activations,
        core_name(net.loss_name, net.n_outputs),
        X,
        y,
        sample_weight,
        alpha,
        **more,
    )


# What a loss can be told, by the names of `Network` and by those of the core and the twin.
TOLD = {
    "huber": ({"huber_delta": 0.3}, {"loss_params": 0.3}),
    "quantile": ({"quantile": 0.8}, {"loss_params": 0.8}),
    "quantiles": (
        {"quantile": (0.1, 0.5, 0.5, 0.9)},
        {"loss_params": [0.1, 0.5, 0.5, 0.9]},
    ),
    "log_loss": ({"label_smoothing": 0.1}, {"label_smoothing": 0.1}),
    "binary_log_loss": ({"label_smoothing": 0.3}, {"label_smoothing": 0.3}),
}


def test_the_twin_has_the_registries_of_the_core():
    assert tuple(reference.ACTIVATIONS) == _core.ACTIVATIONS
    assert tuple(reference.LOSSES) == _core.LOSSES
    assert ("none", *reference.OPTIMIZERS) == _core.OPTIMIZERS


@covering(
    4,
    activation=reference.ACTIVATIONS,
    loss=reference.LOSSES,
    depth=WIDTHS,
    terms=("plain", "weighted-decayed"),
)
def test_gradient_equals_central_differences(activation, loss, depth, terms):
    layer_sizes = [5, *WIDTHS[depth], n_outputs_of(loss, 3)]
    # 19 rows in passes of 8: two whole ones and a ragged one.
    net = fastbp.Network(layer_sizes, activation, loss, "float64", batch_size=8, n_threads=1)
    params, X, y, w = problem(layer_sizes, [activation] * depth, loss, 19)
    w, alpha = (None, 0.0) if terms == "plain" else (w, 0.7)

    value, grad = net.value_and_grad(params, X, y, w, alpha)
    slope = central_differences(lambda p: net.loss(p, X, y, w, alpha), params)

    assert value == pytest.approx(net.loss(params, X, y, w, alpha), rel=1e-14)
    assert relative_error(grad, slope) <= TOLERANCE["finite differences"]


@pytest.mark.parametrize("loss", reference.LOSSES)
def test_gradient_with_one_column_equals_central_differences(loss):
    layer_sizes = (4, 6, n_outputs_of(loss, 1))
    net = fastbp.Network(layer_sizes, "tanh", loss, "float64", batch_size=8, n_threads=1)
    params, X, y, w = problem(layer_sizes, ["tanh"], loss, 11)
    if loss == "log_loss":
        y = y.ravel()
    elif core_name(loss, 3) == "log_loss":
        pytest.skip("softmax of one output is constant")
    _, grad = net.value_and_grad(params, X, y, w)
    slope = central_differences(lambda p: net.loss(p, X, y, w), params)
    assert relative_error(grad, slope) <= TOLERANCE["finite differences"]


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
@pytest.mark.parametrize("width", SIZES)
def test_gradient_at_every_width_equals_central_differences(width, activation):
    """Input, hidden and output widths around vector sizes; a different activation per layer."""
    names = list(reference.ACTIVATIONS)
    other = names[(names.index(activation) + 1) % len(names)]
    layer_sizes = [min(width, 9), width, 3, width]
    net = fastbp.Network(layer_sizes, [activation, other], dtype="float64", batch_size=7)
    params, X, y, w = problem(layer_sizes, [activation, other], "squared_error", 10, seed=width)
    _, grad = net.value_and_grad(params, X, y, w, 0.3)
    slope = central_differences(lambda p: net.loss(p, X, y, w, 0.3), params)
    assert relative_error(grad, slope) <= TOLERANCE["finite differences"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_value_and_gradient_equal_the_twin(activation, loss, dtype):
    layer_sizes = (33, 31, 17, 10)
    net = fastbp.Network(layer_sizes, activation, loss, dtype, batch_size=32)
    params, X, y, w = problem(layer_sizes, [activation] * 2, loss, 71, dtype=dtype)
    for weight, alpha in ((None, 0.0), (w, 0.05)):
        value, grad = net.value_and_grad(params, X, y, weight, alpha)
        expected, expected_grad = twin(params, net, X, y, weight, alpha)
        assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
        assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", reference.LOSSES)
@pytest.mark.parametrize("width", SIZES + (63, 67))
def test_every_width_equals_the_twin(width, loss, dtype):
    columns = width + (loss == "log_loss" and width == 1)
    layer_sizes = (width, width, 5, n_outputs_of(loss, columns))
    activations = ["relu", "tanh"]
    net = fastbp.Network(layer_sizes, activations, loss, dtype, batch_size=width)
    params, X, y, w = problem(layer_sizes, activations, loss, 2 * width + 1, width, dtype)
    value, grad = net.value_and_grad(params, X, y, w, 0.1)
    expected, expected_grad = twin(params, net, X, y, w, 0.1)
    assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
    assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]
    output = reference.forward(params, layer_sizes, activations, loss, X)
    assert relative_error(net.forward(params, X), output) <= TOLERANCE["twin", dtype]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rows_of_y", [False, True], ids=["as given", "one-hot"])
@pytest.mark.parametrize("case", TOLD)
def test_losses_that_are_told_something_equal_the_twin(case, rows_of_y, dtype):
    loss, (told, told_twin) = case.removesuffix("s") if case == "quantiles" else case, TOLD[case]
    layer_sizes = (6, 9, 4)
    net = fastbp.Network(layer_sizes, "tanh", loss, dtype, batch_size=8, **told)
    params, X, y, w = problem(layer_sizes, ["tanh"], loss, 21, dtype=dtype)
    plain, plain_grad = twin(params, net, X, y, w, 0.1)
    y = np.eye(4)[y] if rows_of_y and loss == "log_loss" else y
    value, grad = net.value_and_grad(params, X, y, w, 0.1)
    expected, expected_grad = twin(params, net, X, y, w, 0.1, **told_twin)
    assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
    assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]
    assert value != pytest.approx(plain, rel=1e-3)
    assert relative_error(grad, plain_grad) > 1e-3
    if dtype == "float64":
        slope = central_differences(lambda p: net.loss(p, X, y, w, 0.1), params)
        assert relative_error(grad, slope) <= TOLERANCE["finite differences"]


@pytest.mark.parametrize("rows", SIZES + (63, 65, 130))
def test_the_number_of_rows_in_a_pass_does_not_change_the_gradient(rows):
    layer_sizes = (6, 19, 4)
    params, X, y, w = problem(layer_sizes, ["tanh"], "log_loss", rows)
    whole = fastbp.Network(layer_sizes, "tanh", "log_loss", "float64", batch_size=rows)
    expected, expected_grad = whole.value_and_grad(params, X, y, w, 0.1)
    for batch_size in (1, 2, 7, 16, 64, 200):
        net = fastbp.Network(layer_sizes, "tanh", "log_loss", "float64", batch_size=batch_size)
        value, grad = net.value_and_grad(params, X, y, w, 0.1)
        assert value == pytest.approx(expected, rel=1e-13)
        assert relative_error(grad, expected_grad) <= TOLERANCE["twin", "float64"]


@pytest.mark.parametrize("loss", reference.LOSSES)
def test_the_gradient_has_the_same_bits_with_one_and_two_threads(loss):
    layer_sizes = (120, 300, 260, 10)
    params, X, y, w = problem(layer_sizes, ["tanh"] * 2, loss, 300, dtype="float32")
    results = []
    for n_threads in (1, 2):
        net = fastbp.Network(layer_sizes, "tanh", loss, batch_size=256, n_threads=n_threads)
        results.append(net.value_and_grad(params, X, y, w, 0.01))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [30.0, 300.0, 3e4])
@pytest.mark.parametrize("loss", ["log_loss", "binary_log_loss"])
def test_losses_are_stable_for_large_outputs(loss, scale, dtype):
    """Confident and wrong: the loss is about the largest z, not infinite."""
    layer_sizes = (3, 4)
    net = fastbp.Network(layer_sizes, (), loss, dtype)
    params = np.zeros(net.n_params, dtype)
    net.views(params)[0][0][:] = scale * np.sign(np.arange(12).reshape(3, 4) % 3 - 0.5)
    X = np.eye(3, dtype=dtype)
    y = np.array([0, 1, 2]) if loss == "log_loss" else np.eye(3, 4)
    value, grad = net.value_and_grad(params, X, y)
    expected, expected_grad = twin(params, net, X, y)
    assert np.isfinite(value) and np.isfinite(grad).all()
    assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype], abs=1e-10)
    np.testing.assert_allclose(grad, expected_grad, atol=10 * TOLERANCE["twin", dtype])


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_nan_goes_through_every_activation(activation):
    net = fastbp.Network((2, 9, 9, 1), activation, dtype="float64", batch_size=4)
    params = net.init_params(0)
    X = np.ones((5, 2))
    X[3, 1] = np.nan
    output = net.forward(params, X)
    assert np.isnan(output).ravel().tolist() == [False, False, False, True, False]
    value, grad = net.value_and_grad(params, X, np.zeros(5))
    assert np.isnan(value) and np.isnan(grad).any()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_activations_equal_the_twin_over_their_whole_range(activation, dtype):
    """One weight of 1 in front of the activation and one behind: the output is f(x)."""
    small = np.concatenate([np.logspace(-30, 2, 3000), [0.0, 709.0, 1e4, 1e30]])
    X = np.concatenate([-small[::-1], small, np.linspace(-20, 20, 4001)])[:, None].astype(dtype)
    net = fastbp.Network((1, 1, 1), activation, dtype=dtype)
    params = np.array([1, 1, 0, 0], dtype)
    expected = reference.ACTIVATIONS[activation].value(X.astype(np.float64))
    # A few units in the last place, relative to each value; the smallest normal number absolutely.
    # gelu in float32 has exp(-x^2/2) of a rounded x^2 as well.
    units = 8.0
    if activation == "gelu" and dtype == "float32":
        units += np.minimum(X.astype(np.float64) ** 2, 15.0**2) * (X < 0)
    error = np.abs(net.forward(params, X) - expected)
    bound = units * np.finfo(dtype).eps * np.abs(expected) + np.finfo(dtype).tiny
    worst = np.argmax(error - bound)
    assert (error <= bound).all(), f"f({X[worst]}): {error[worst]} from {expected[worst]}"
