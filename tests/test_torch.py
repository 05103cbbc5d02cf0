"""PyTorch gives the same numbers: activations, losses, gradients, optimizers, clipping, schedules.

`make test-torch` installs PyTorch and runs these. Every activation and loss of the core must have a
counterpart here. Differences are relative to the largest entry of the array.
"""

import itertools

import numpy as np
import pytest
from conftest import make_params, relative_error

import fastbp
from fastbp import _core, _schedules

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed: `make test-torch` installs it and runs these"
)
F = torch.nn.functional

# Of one gradient or output, and of parameters after 25 updates.
TOLERANCE = {"float64": 1e-11, "float32": 3e-6}
AFTER_STEPS = {"float64": 1e-11, "float32": 1e-5}
DTYPES = ["float64", "float32"]
STEPS = 25

ACTIVATIONS = {
    "identity": lambda z: z,
    "logistic": torch.sigmoid,
    "tanh": torch.tanh,
    "relu": torch.relu,
    "leaky_relu": lambda z: F.leaky_relu(z, 0.01),
    "elu": F.elu,
    "selu": F.selu,
    "gelu": F.gelu,
    "silu": F.silu,
    "mish": F.mish,
    "softplus": lambda z: F.softplus(z, threshold=40),  # by default it is z from 20 on
}


def of_the_core(names, counterparts, name):
    """The counterpart of a name; the test fails for a name that has none."""
    assert name in names
    if name not in counterparts:
        pytest.fail(f"{name} has no counterpart in torch: add one to {__file__}")
    return counterparts[name]


def activation_of(name):
    return of_the_core(_core.ACTIVATIONS, ACTIVATIONS, name)


# ---- losses: of every row, from the output layer's z ----


def rows(loss):
    """A loss of every number, summed over the outputs of a row."""
    return lambda z, y, **settings: loss(z, y, **settings).sum(1)


def mean_and_std(z):
    mean, raw = z.chunk(2, dim=1)
    return torch.cat([mean, (raw.exp() + 1e-6).sqrt()], dim=1)


def log_loss(z, y, label_smoothing=0.0):
    return F.cross_entropy(z, y, reduction="none", label_smoothing=label_smoothing)


def binary_log_loss(z, y, label_smoothing=0.0):
    y = (1 - label_smoothing) * y + label_smoothing / 2
    return F.binary_cross_entropy_with_logits(z, y, reduction="none")


def poisson(z, y):
    """Half the deviance: what is left when the loss of a perfect prediction is taken away."""
    return F.poisson_nll_loss(z, y, reduction="none", full=False) + torch.special.xlogy(y, y) - y


def huber(z, y, huber_delta=1.0):
    return F.huber_loss(z, y, reduction="none", delta=huber_delta)


def log_cosh(z, y):
    e = z - y
    return e + F.softplus(-2 * e, threshold=100) - np.log(2)


def quantile(z, y, quantile=0.5):
    q = torch.as_tensor(quantile, dtype=z.dtype)
    return torch.maximum(q * (y - z), (q - 1) * (y - z))


def gamma(z, y):
    ratio = y / z.exp()
    return ratio - ratio.log() - 1


def gaussian_nll(z, y):
    mean, raw = z.chunk(2, dim=1)
    return F.gaussian_nll_loss(mean, y, raw.exp() + 1e-6, reduction="none", eps=1e-9)


class Loss:
    """A loss in torch.

    ``rows(z, y, **settings)`` is the loss of every row, ``output(z)`` the output activation,
    `settings` what the loss is tested with, each a dict of keyword arguments of `fastbp.Network`.
    """

    def __init__(self, rows, output=lambda z: z, settings=({},), y=lambda rng, shape: None):
        self.rows, self.output, self.settings, self.y = rows, output, settings, y


def normal(rng, shape):
    return rng.normal(size=shape)


def positive(rng, shape):
    return rng.gamma(2.0, size=shape)


SMOOTHING = ({}, {"label_smoothing": 0.1})
LOSSES = {
    "squared_error": Loss(rows(lambda z, y: F.mse_loss(z, y, reduction="none") / 2), y=normal),
    "log_loss": Loss(
        log_loss,
        lambda z: torch.softmax(z, 1),
        SMOOTHING,
        lambda rng, shape: rng.integers(0, shape[1], shape[0]),
    ),
    "binary_log_loss": Loss(
        rows(binary_log_loss),
        torch.sigmoid,
        SMOOTHING,
        lambda rng, shape: rng.integers(0, 2, shape).astype(float),
    ),
    "poisson": Loss(
        rows(poisson), torch.exp, y=lambda rng, shape: rng.poisson(1.5, shape).astype(float)
    ),
    "absolute_error": Loss(rows(lambda z, y: F.l1_loss(z, y, reduction="none")), y=normal),
    "huber": Loss(rows(huber), settings=({}, {"huber_delta": 0.3}), y=normal),
    "log_cosh": Loss(rows(log_cosh), y=normal),
    "quantile": Loss(
        rows(quantile),
        settings=({}, {"quantile": 0.9}, {"quantile": [0.1, 0.5, 0.6, 0.9]}),
        y=normal,
    ),
    "gamma": Loss(rows(gamma), torch.exp, y=positive),
    "gaussian_nll": Loss(rows(gaussian_nll), mean_and_std, y=normal),
}
OUTPUTS = 4


def loss_of(name):
    return of_the_core(_core.LOSSES, LOSSES, name)


def every_setting():
    """(loss, settings) of each; a loss without a counterpart once, to fail."""
    for name in _core.LOSSES:
        for settings in LOSSES[name].settings if name in LOSSES else ({},):
            yield pytest.param(name, settings, id="-".join([name, *map(str, settings.values())]))


# ---- a net in torch, from the flat vector of parameters ----


def tensor(a, requires_grad=False):
    return torch.tensor(np.asarray(a), requires_grad=requires_grad)


def cut(params, layer_sizes):
    """W and b of every layer, as views of a tensor."""
    views = [
        params[p.offset : p.offset + int(np.prod(p.shape))].reshape(p.shape)
        for p in _core.parameters(layer_sizes)
    ]
    return views[: len(views) // 2], views[len(views) // 2 :]


def forward(coefs, intercepts, X, activations):
    """z of the output layer."""
    a = X
    for layer, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        a = a @ W + b
        if layer < len(activations):
            a = activation_of(activations[layer])(a)
    return a


def weighted_mean(loss, weight):
    return loss.mean() if weight is None else (loss * weight).sum() / weight.sum()


def problem(loss, dtype, layer_sizes=(6, 9, 7, OUTPUTS), n=37, seed=0):
    """Parameters, X, y and weights; y as torch takes it."""
    rng = np.random.default_rng(seed)
    columns = layer_sizes[-1] // 2 if loss == "gaussian_nll" else layer_sizes[-1]
    y = loss_of(loss).y(rng, (n, columns))
    params, X = make_params(layer_sizes, rng, dtype), rng.normal(size=(n, layer_sizes[0]))
    y = y if y.dtype == np.int64 else y.astype(dtype)
    return params, X.astype(dtype), y, rng.uniform(0.1, 2, n)


def check(actual, expected, tolerance):
    expected = expected.detach().numpy() if torch.is_tensor(expected) else expected
    assert relative_error(actual, expected) <= tolerance


# ---- activations and losses ----


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_hidden_activations(activation, dtype):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(700, 6)).astype(dtype), rng.normal(size=700)
    est = fastbp.MLPRegressor(
        hidden_layer_sizes=(30, 9), activation=activation, dtype=dtype, max_iter=1, random_state=0
    )
    found = est.fit(X, y).hidden_activations(X)
    a = tensor(X)
    for W, b, ours in zip(est.coefs_[:-1], est.intercepts_[:-1], found, strict=True):
        a = activation_of(activation)(a @ tensor(W).to(a.dtype) + tensor(b).to(a.dtype))
        check(ours, a, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_activations_over_their_whole_range(activation, dtype):
    """One weight of 1 in front of the activation and one behind: the output is f(x)."""
    z = np.concatenate(
        [np.linspace(-30, 30, 4001), np.logspace(-20, 2, 99), -np.logspace(-20, 2, 99)]
    )
    net = fastbp.Network((1, 1, 1), activation, dtype=dtype)
    params, X = np.array([1, 1, 0, 0], dtype), z[:, None].astype(dtype)
    exact = tensor(X.astype(float), requires_grad=True)
    value = activation_of(activation)(exact)
    value.sum().backward()
    output, _, slope = net.vjp(params, X, np.ones_like(X), input_grad=True)
    # absolute: slopes near 0 are differences, also those of torch
    error = np.abs(output - value.detach().numpy()) / np.maximum(1, np.abs(z[:, None]))
    assert error.max() <= TOLERANCE[dtype]
    assert np.abs(slope - exact.grad.numpy()).max() <= TOLERANCE[dtype]


def check_gradients(net, loss, settings, dtype, activations, weighted):
    params, X, y, weight = problem(loss, dtype, net.layer_sizes)
    weight = weight if weighted else None
    value, grad, grad_X = net.value_and_grad(params, X, y, weight, input_grad=True)
    p, x = tensor(params, requires_grad=True), tensor(X, requires_grad=True)
    z = forward(*cut(p, net.layer_sizes), x, activations)
    w = None if weight is None else tensor(weight.astype(dtype))
    expected = weighted_mean(loss_of(loss).rows(z, tensor(y), **settings), w)
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=TOLERANCE[dtype])
    check(grad, p.grad, TOLERANCE[dtype])
    check(grad_X, x.grad, TOLERANCE[dtype])
    check(net.forward(params, X), loss_of(loss).output(z), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_gradients_of_every_activation(activation, dtype):
    net = fastbp.Network((6, 9, 7, OUTPUTS), activation, dtype=dtype, batch_size=16)
    check_gradients(net, "squared_error", {}, dtype, net.activations, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
@pytest.mark.parametrize("loss, settings", list(every_setting()))
def test_gradients_of_every_loss(loss, settings, weighted, dtype):
    net = fastbp.Network(
        (6, 9, 7, OUTPUTS), ("tanh", "gelu"), loss, dtype, batch_size=16, **settings
    )
    check_gradients(net, loss, settings, dtype, net.activations, weighted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_logistic_output(dtype):
    """ "log_loss" of one output, for two classes."""
    net = fastbp.Network((6, 9, 7, 1), "relu", "log_loss", dtype, label_smoothing=0.2)
    params, X, y, _ = problem("binary_log_loss", dtype, net.layer_sizes)
    value, grad = net.value_and_grad(params, X, y.ravel())
    p = tensor(params, requires_grad=True)
    z = forward(*cut(p, net.layer_sizes), tensor(X), net.activations)
    expected = binary_log_loss(z, tensor(y), label_smoothing=0.2).mean()
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=TOLERANCE[dtype])
    check(grad, p.grad, TOLERANCE[dtype])


def test_targets_as_probabilities():
    net = fastbp.Network((6, 9, 7, OUTPUTS), "silu", "log_loss", "float64", label_smoothing=0.3)
    params, X, _, _ = problem("log_loss", "float64")
    y = np.random.default_rng(4).dirichlet(np.ones(OUTPUTS), len(X))
    value, grad = net.value_and_grad(params, X, y)
    p = tensor(params, requires_grad=True)
    z = forward(*cut(p, net.layer_sizes), tensor(X), net.activations)
    expected = F.cross_entropy(z, tensor(y), label_smoothing=0.3)
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=1e-12)
    check(grad, p.grad, TOLERANCE["float64"])


# ---- products with the Jacobian, and losses written in torch ----


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [8, 200], ids=["several passes", "one pass"])
@pytest.mark.parametrize("given_as", ["array", "function"])
@pytest.mark.parametrize("loss", _core.LOSSES)
def test_vjp_through_every_output_activation(loss, given_as, batch_size, dtype):
    layer_sizes = (6, 9, 7, OUTPUTS)
    net = fastbp.Network(layer_sizes, ("mish", "tanh"), loss, dtype, batch_size=batch_size)
    params, X, _, _ = problem(loss, dtype)
    p, x = tensor(params, requires_grad=True), tensor(X, requires_grad=True)
    output = loss_of(loss).output(forward(*cut(p, layer_sizes), x, net.activations))
    if given_as == "array":
        cotangent = np.random.default_rng(2).normal(size=output.shape).astype(dtype)
        output.backward(tensor(cotangent))
    else:
        # of ((output - column means)^2).sum() / 2, which needs all rows at once
        def cotangent(output):
            return output - output.mean(axis=0)

        (((output - output.mean(0)) ** 2).sum() / 2).backward()
    found, grad, grad_X = net.vjp(params, X, cotangent, input_grad=True)
    check(found, output, TOLERANCE[dtype])
    check(grad, p.grad, TOLERANCE[dtype])
    check(grad_X, x.grad, TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_loss_written_in_torch(dtype):
    """Student's t with autograd, as a function that `Network` asks, and as a net of torch."""

    def row_losses(output, y):
        return torch.log1p((output - y) ** 2 / 3).sum(1)

    def asked(output, y, sample_weight):
        output = tensor(output, requires_grad=True)
        loss = row_losses(output, tensor(y))
        loss.sum().backward()
        return loss.detach().numpy(), output.grad.numpy()

    net = fastbp.Network((6, 9, 7, OUTPUTS), "elu", asked, dtype, batch_size=16)
    params, X, y, weight = problem("squared_error", dtype)
    value, grad = net.value_and_grad(params, X, y, weight)
    p = tensor(params, requires_grad=True)
    z = forward(*cut(p, net.layer_sizes), tensor(X), net.activations)
    expected = weighted_mean(row_losses(z, tensor(y)), tensor(weight.astype(dtype)))
    expected.backward()
    assert value == pytest.approx(expected.item(), rel=TOLERANCE[dtype])
    check(grad, p.grad, TOLERANCE[dtype])


# ---- optimizers ----


class Torch:
    """A net that torch trains: leaves for every W and b, which decay or not."""

    def __init__(self, params, layer_sizes, activations, loss):
        flat = tensor(params)
        self.coefs, self.intercepts = (
            [a.clone().requires_grad_() for a in part] for part in cut(flat, layer_sizes)
        )
        self.activations, self.loss = activations, loss

    def leaves(self):
        return [*self.coefs, *self.intercepts]

    def groups(self, weight_decay):
        """For an optimizer of torch: weights decay, biases do not."""
        return [
            {"params": self.coefs, "weight_decay": weight_decay},
            {"params": self.intercepts, "weight_decay": 0.0},
        ]

    def step(self, optimizer, X, y, max_norm=None):
        """One update; the length of the gradient before it was clipped."""
        optimizer.zero_grad()
        z = forward(self.coefs, self.intercepts, tensor(X), self.activations)
        loss_of(self.loss).rows(z, tensor(y)).mean().backward()
        norm = None
        if max_norm is not None:
            norm = torch.nn.utils.clip_grad_norm_(self.leaves(), max_norm).item()
        optimizer.step()
        return norm

    def flat(self):
        return np.concatenate([p.detach().numpy().ravel() for p in self.leaves()])


def batches(X, y, size=16):
    """Mini-batches for ever, epoch by epoch."""
    starts = range(0, len(X) - size + 1, size)
    return ((X[s : s + size], y[s : s + size]) for s in itertools.cycle(starts))


def trained_by_both(ours, theirs, dtype, *, activation="tanh", max_norm=None, alpha=0.0, ema=None):
    """Parameters of fastbp and of torch after 25 updates; and what else is asked for.

    ``ours(net)`` and ``theirs(twin)`` make the optimizers.
    """
    loss = "log_loss"
    net = fastbp.Network((6, 9, 7, OUTPUTS), activation, loss, dtype, batch_size=16)
    params, X, y, _ = problem(loss, dtype, n=80)
    twin = Torch(params, net.layer_sizes, net.activations, loss)
    optimizer, expected = ours(net), theirs(twin)
    average = ema and torch.optim.swa_utils.AveragedModel(
        torch.nn.ParameterList(twin.leaves()),
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(ema),
    )
    if ema:  # what it begins with
        average.update_parameters(torch.nn.ParameterList(twin.leaves()))
    norms = []
    for _, (rows, targets) in zip(range(STEPS), batches(X, y), strict=False):
        optimizer.step(params, rows, targets, alpha=alpha)
        norms.append(twin.step(expected, rows, targets, max_norm))
        if ema:
            average.update_parameters(torch.nn.ParameterList(twin.leaves()))
    check(params, twin.flat(), AFTER_STEPS[dtype])
    if ema:
        flat = np.concatenate([p.detach().numpy().ravel() for p in average.module])
        assert relative_error(flat, params) > 1e-3
        check(optimizer.ema, flat, AFTER_STEPS[dtype])
    return norms


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.8], ids=["", "decay"])
@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
def test_sgd(momentum, nesterov, alpha, dtype):
    """torch's decay is added to the gradient of the mean, as alpha over the rows is."""
    trained_by_both(
        lambda net: fastbp.SGD(net, 0.1, momentum, nesterov),
        lambda twin: torch.optim.SGD(
            twin.groups(alpha / 16), lr=0.1, momentum=momentum, nesterov=nesterov
        ),
        dtype,
        alpha=alpha,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("alpha", [0.0, 0.8], ids=["", "decay"])
def test_adam(alpha, dtype):
    """The two add epsilon in different places: it is one that does not count."""
    trained_by_both(
        lambda net: fastbp.Adam(net, 0.01, epsilon=1e-30),
        lambda twin: torch.optim.Adam(twin.groups(alpha / 16), lr=0.01, eps=1e-30),
        dtype,
        alpha=alpha,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("epsilon", [1e-8, 0.1])
@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 2.0])
def test_adamw(weight_decay, epsilon, dtype):
    trained_by_both(
        lambda net: fastbp.AdamW(net, 0.01, epsilon=epsilon, weight_decay=weight_decay),
        lambda twin: torch.optim.AdamW(twin.groups(weight_decay), lr=0.01, eps=epsilon),
        dtype,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
def test_adamw_with_every_activation(activation, dtype):
    trained_by_both(
        lambda net: fastbp.AdamW(net, 0.003, epsilon=1e-3),
        lambda twin: torch.optim.AdamW(twin.groups(0.01), lr=0.003, eps=1e-3),
        dtype,
        activation=activation,
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_clipping(kind, dtype):
    """Some of the gradients are longer than the norm and some are not."""
    norm = 0.42
    ours = {
        "sgd": lambda net: fastbp.SGD(net, 0.2, max_grad_norm=norm),
        "adamw": lambda net: fastbp.AdamW(net, 0.01, max_grad_norm=norm),
    }
    theirs = {
        "sgd": lambda twin: torch.optim.SGD(twin.leaves(), 0.2, momentum=0.9, nesterov=True),
        "adamw": lambda twin: torch.optim.AdamW(twin.groups(0.01), 0.01),
    }
    norms = trained_by_both(ours[kind], theirs[kind], dtype, max_norm=norm)
    clipped = sum(n > norm for n in norms)
    assert 3 <= clipped <= STEPS - 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_moving_average(dtype):
    trained_by_both(
        lambda net: fastbp.AdamW(net, 0.01, ema_decay=0.9),
        lambda twin: torch.optim.AdamW(twin.groups(0.01), lr=0.01),
        dtype,
        ema=0.9,
    )


# ---- schedules ----

TOTAL = 60


def warmed_up(optimizer, rise, then):
    """Up in `rise` equal steps, the first of them not zero, and on by another schedule."""
    up = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / rise, 1.0, total_iters=rise - 1)
    return torch.optim.lr_scheduler.SequentialLR(optimizer, [up, then], milestones=[rise])


def cosine(optimizer, rise=0):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=TOTAL - 1 - rise)


def linear(optimizer, rise=0):
    return torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=TOTAL - 1 - rise)


def one_cycle(optimizer, pct_start=0.3):
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=1.0, total_steps=TOTAL, pct_start=pct_start, cycle_momentum=False
    )


def square(progress):
    return (1 - progress) ** 2


SCHEDULES = {
    "cosine": ("cosine", 0.0, cosine),
    "linear": ("linear", 0.0, linear),
    "one_cycle": ("one_cycle", 0.0, one_cycle),
    "one_cycle, half up": ("one_cycle", 0.5, lambda o: one_cycle(o, 0.5)),
    "cosine, warm-up": ("cosine", 0.2, lambda o: warmed_up(o, 12, cosine(o, 12))),
    "linear, warm-up": ("linear", 0.2, lambda o: warmed_up(o, 12, linear(o, 12))),
    "constant, warm-up": (
        "constant",
        0.2,
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 1 / 12, 1.0, total_iters=11),
    ),
    "a function": (
        square,
        0.0,
        lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: square(t / (TOTAL - 1))),
    ),
}


def scheduled(optimizer, scheduler):
    """The learning rate of every step, and of none after the last."""
    rates = []
    for _ in range(TOTAL):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step() if len(rates) < TOTAL else None
    return np.array(rates)


@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SCHEDULES)
def test_factors_of_schedules(name):
    learning_rate, warmup, make = SCHEDULES[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    expected = scheduled(optimizer, make(optimizer))
    pieces = [_schedules.factors(learning_rate, warmup, at, 20, TOTAL) for at in (0, 20, 40)]
    np.testing.assert_allclose(np.concatenate(pieces), expected, rtol=1e-11, atol=1e-13)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:The epoch parameter")
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_fit_with_a_schedule(name):
    """Everything at once: AdamW with decay, a schedule by the step, clipping, a moving average."""
    learning_rate, warmup, make = SCHEDULES[name]
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(320, 6)), rng.normal(size=(320, 2))
    settings = {"learning_rate_init": 0.01, "weight_decay": 0.1, "max_grad_norm": 1.0}
    est = fastbp.MLPRegressor(
        hidden_layer_sizes=(9, 7), activation="gelu", dtype="float64", solver="adamw", alpha=0.0,
        batch_size=32, learning_rate=learning_rate, warmup=warmup, shuffle=False,
        max_iter=TOTAL // 10, ema_decay=0.8, random_state=0, n_iter_no_change=100, **settings,
    )  # fmt: skip
    sizes = (6, 9, 7, 2)
    params = make_params(sizes, rng)
    coefs, intercepts = cut(tensor(params), sizes)
    est.fit(
        X, y, coef_init=[W.numpy() for W in coefs], intercept_init=[b.numpy() for b in intercepts]
    )

    twin = Torch(params, sizes, ("gelu", "gelu"), "squared_error")
    optimizer = torch.optim.AdamW(twin.groups(0.1), lr=1.0)
    # The schedules go from 1 to 0; a second factor is the rate itself.
    scheduler = make(optimizer)
    average = params.copy()
    for step, (rows, targets) in zip(range(TOTAL), batches(X, y, 32), strict=False):
        for group in optimizer.param_groups:
            group["lr"] *= settings["learning_rate_init"]
        twin.step(optimizer, rows, targets, max_norm=settings["max_grad_norm"])
        for group in optimizer.param_groups:
            group["lr"] /= settings["learning_rate_init"]
        if step < TOTAL - 1:
            scheduler.step()
        average += 0.2 * (twin.flat() - average)
    found = np.concatenate([a.ravel() for a in (*est.coefs_, *est.intercepts_)])
    check(found, average, AFTER_STEPS["float64"])
