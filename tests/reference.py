"""The mathematics of fastbp in plain NumPy: slow, short, and right.

This module is the oracle of the tests and the documentation of the formulas. Letters: ``W``
(in, out) and ``b`` (out,) are the parameters of a layer, ``z`` (n, out) its pre-activation, ``a``
its activation, ``dz`` the derivative of the loss by ``z``.

One layer forward::

    z_l = a_{l-1} W_l + b_l         a_l = f_l(z_l)         a_{-1} = X

and backward, from the last layer down, every ``dz`` already carrying the row weights::

    dz_{l-1} = (dz_l W_l^T) * f'(z_{l-1})     dW_l = a_{l-1}^T dz_l     db_l = sum of rows of dz_l

An activation, a loss or an update rule is one entry of a registry: ``ACTIVATIONS``, ``LOSSES``,
``OPTIMIZERS``. The names are those of the compiled core, in its order.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.special import erfcx

from fastbp import _core, _params

# ---------------------------------------------------------------------------------------------
# Activations
# ---------------------------------------------------------------------------------------------


def _sigmoid(z):
    """1 / (1 + exp(-z)), without overflow for any z."""
    e = np.exp(-np.abs(z))
    return np.where(z < 0, e / (1 + e), 1 / (1 + e))


def _softplus(z):
    """log(1 + exp(z)), without overflow for any z."""
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _relu(z):
    """max(z, 0); a NaN goes through."""
    return np.where(z < 0, z.dtype.type(0), z)


class Activation(NamedTuple):
    """An activation function: ``value(z)`` is f(z), ``backward(z, d)`` is d * f'(z)."""

    value: Callable
    backward: Callable


def _logistic_backward(z, d):
    a = _sigmoid(z)
    return d * a * (1 - a)


def _positive_or(z, value, negative):
    """Value where z > 0, elsewhere negative(z); negative sees no number above 0."""
    return np.where(z > 0, value, negative(np.minimum(z, 0)))


SELU_SCALE, SELU_ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717


def _selu(z):
    return SELU_SCALE * _positive_or(z, z, lambda z: SELU_ALPHA * np.expm1(z))


def _selu_backward(z, d):
    return d * SELU_SCALE * _positive_or(z, 1, lambda z: SELU_ALPHA * np.exp(z)).astype(z.dtype)


def _normal(z):
    """Density without its constant, exp(-z^2 / 2), and distribution function of the normal."""
    u = np.minimum(np.abs(z), 40.0).astype(np.float64)
    high = u.astype(np.float32).astype(np.float64)  # its square is exact
    density = np.exp(-(high**2) / 2) * np.exp((high - u) * (high + u) / 2)
    tail = density * erfcx(u / 2**0.5) / 2
    return density.astype(z.dtype), np.where(z > 0, 1 - tail, tail).astype(z.dtype)


def _gelu_backward(z, d):
    density, distribution = _normal(z)
    return d * (distribution + np.clip(z, -40, 40) * density / (2 * np.pi) ** 0.5)


def _silu_backward(z, d):
    return d * _sigmoid(z) * (1 + z * _sigmoid(-z))


def _mish_backward(z, d):
    t = np.tanh(_softplus(z))
    return d * (t + z * _sigmoid(z) * (1 - t) * (1 + t))


ACTIVATIONS = {
    "identity": Activation(lambda z: z, lambda z, d: d),
    "logistic": Activation(_sigmoid, _logistic_backward),
    "tanh": Activation(np.tanh, lambda z, d: d * (1 - np.tanh(z) ** 2)),
    "relu": Activation(_relu, lambda z, d: np.where(z <= 0, z.dtype.type(0), d)),
    "leaky_relu": Activation(
        lambda z: np.where(z > 0, z, 0.01 * z), lambda z, d: np.where(z > 0, d, 0.01 * d)
    ),
    "elu": Activation(
        lambda z: _positive_or(z, z, np.expm1),
        lambda z, d: _positive_or(z, d, lambda z: d * np.exp(z)),
    ),
    "selu": Activation(_selu, _selu_backward),
    "gelu": Activation(lambda z: z * _normal(z)[1], _gelu_backward),
    "silu": Activation(lambda z: z * _sigmoid(z), _silu_backward),
    "mish": Activation(lambda z: z * np.tanh(_softplus(z)), _mish_backward),
    "softplus": Activation(_softplus, lambda z, d: d * _sigmoid(z)),
}

# ---------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """A loss with its output activation.

    ``output(z)`` is the output activation, (n, out). ``rows(z, y)`` is the loss of every row,
    (n,), in float64, summed over outputs, from z in a stable form. ``clipped_rows(a, y)`` is
    the same from probabilities kept inside [eps, 1 - eps], as scikit-learn reports it; None
    where there is nothing to clip. ``slope(z, y)`` is dz; None for output(z) - y, that of the
    canonical output activation. ``param`` is the default of a parameter that each output has:
    ``rows(z, y, p)`` and ``slope(z, y, p)`` then take p, (out,). ``smoothed(y, s)`` gives labels
    smoothed by s. The net has ``outputs`` outputs for each column of y.
    """

    output: Callable
    rows: Callable
    clipped_rows: Callable | None = None
    slope: Callable | None = None
    param: float | None = None
    smoothed: Callable = lambda y, s: y
    outputs: int = 1


def _xlogx(y):
    """y log(y), 0 at y = 0."""
    return y * np.log(np.where(y == 0, 1, y))


def _shifted(z):
    """z minus the largest value of its row, so that exp cannot overflow."""
    return z - z.max(axis=1, keepdims=True)


def _softmax(z):
    e = np.exp(_shifted(z))
    return e / e.sum(axis=1, keepdims=True)


def _log_loss_rows(z, y):
    """-sum_j y_j log softmax(z)_j = sum_j y_j (logsumexp(z) - z_j)."""
    z = _shifted(z)
    return (y * (np.log(np.exp(z).sum(axis=1, keepdims=True)) - z)).sum(axis=1)


def _binary_log_loss_rows(z, y):
    """-y log s(z) - (1 - y) log(1 - s(z)) = softplus(z) - y z."""
    return (_softplus(z) - y * z).sum(axis=1)


def _poisson_rows(z, y):
    """Half the Poisson deviance with mu = exp(z): y log(y / mu) - y + mu."""
    return (_xlogx(y) - y * z - y + np.exp(z)).sum(axis=1)


def _binary_clipped_rows(a, y):
    return -(y * np.log(a) + (1 - y) * np.log(1 - a)).sum(axis=1)


def _identity(z):
    return z


def _huber_rows(z, y, delta):
    """e^2 / 2 up to delta, delta (|e| - delta / 2) beyond."""
    e = np.abs(z - y)
    return np.where(e <= delta, 0.5 * e**2, delta * (e - 0.5 * delta)).sum(axis=1)


def _log_cosh_rows(z, y):
    """log((exp(e) + exp(-e)) / 2); near 0 from cosh e - 1 = 2 sinh(e / 2)^2."""
    e = np.abs(z - y)
    near = np.log1p(2 * np.sinh(np.minimum(e, 1) / 2) ** 2)
    return np.where(e < 1, near, e + np.log1p(np.exp(-2 * e)) - np.log(2)).sum(axis=1)


def _quantile_rows(z, y, q):
    """The pinball loss: q of what y is above z, 1 - q of what it is below."""
    return np.maximum(q * (y - z), (q - 1) * (y - z)).sum(axis=1)


def _quantile_slope(z, y, q):
    return np.where(z > y, 1 - q, np.where(z < y, -q, 0))


def _gamma_rows(z, y):
    """Half the gamma deviance with mu = exp(z): y / mu - log(y / mu) - 1."""
    return (y * np.exp(-z) - np.log(y) + z - 1).sum(axis=1)


# Added to the variance of a normal distribution.
LEAST_VARIANCE = 1e-6


def _halves(z):
    """Means, raw deviations s, and the variances exp(s) + least, (n, out / 2) each."""
    mean, s = np.split(z, 2, axis=1)
    return mean, s, np.exp(s) + z.dtype.type(LEAST_VARIANCE)


def _mean_and_std(z):
    mean, _, variance = _halves(z)
    return np.hstack([mean, np.sqrt(variance)])


def _gaussian_rows(z, y):
    """-log of the normal density, without the constant: (log v + (y - mean)^2 / v) / 2."""
    mean, _, variance = _halves(z)
    return 0.5 * (np.log(variance) + (y - mean) ** 2 / variance).sum(axis=1)


def _gaussian_slope(z, y):
    mean, s, variance = _halves(z)
    by_variance = (1 - (y - mean) ** 2 / variance) / (2 * variance)
    return np.hstack([(mean - y) / variance, by_variance * np.exp(s)])


def _smoothed_classes(y, s):
    return (1 - s) * y + s / y.shape[1]


def _smoothed_columns(y, s):
    return (1 - s) * y + s / 2


LOSSES = {
    "squared_error": Loss(_identity, lambda z, y: 0.5 * ((z - y) ** 2).sum(axis=1)),
    "log_loss": Loss(
        _softmax,
        _log_loss_rows,
        lambda a, y: -(y * np.log(a)).sum(axis=1),
        smoothed=_smoothed_classes,
    ),
    "binary_log_loss": Loss(
        _sigmoid, _binary_log_loss_rows, _binary_clipped_rows, smoothed=_smoothed_columns
    ),
    "poisson": Loss(np.exp, _poisson_rows),
    "absolute_error": Loss(
        _identity, lambda z, y: np.abs(z - y).sum(axis=1), slope=lambda z, y: np.sign(z - y)
    ),
    "huber": Loss(
        _identity, _huber_rows, slope=lambda z, y, delta: np.clip(z - y, -delta, delta), param=1.0
    ),
    "log_cosh": Loss(_identity, _log_cosh_rows, slope=lambda z, y: np.tanh(z - y)),
    "quantile": Loss(_identity, _quantile_rows, slope=_quantile_slope, param=0.5),
    "gamma": Loss(np.exp, _gamma_rows, slope=lambda z, y: 1 - y * np.exp(-z)),
    "gaussian_nll": Loss(_mean_and_std, _gaussian_rows, slope=_gaussian_slope, outputs=2),
}


def _params_of(loss, n_outputs, loss_params):
    """The arguments that rows and slope of a loss take after z and y."""
    if LOSSES[loss].param is None:
        return ()
    given = LOSSES[loss].param if loss_params is None else loss_params
    return (np.broadcast_to(np.asarray(given, np.float64), n_outputs),)


def _loss_rows(loss, z, y, clip, params):
    """Loss of every row in float64, (n,)."""
    entry = LOSSES[loss]
    y = np.asarray(y, np.float64)
    if clip and entry.clipped_rows is not None:
        eps = np.finfo(np.float64).eps
        return entry.clipped_rows(np.clip(entry.output(z.astype(np.float64)), eps, 1 - eps), y)
    return entry.rows(z.astype(np.float64), y, *params)


def one_hot(y, n_outputs):
    """Rows of the identity for class indices, (n, n_outputs); 2-D targets unchanged."""
    y = np.asarray(y)
    return np.eye(n_outputs)[y] if y.ndim == 1 and n_outputs > 1 else y.reshape(len(y), -1)


# ---------------------------------------------------------------------------------------------
# Dropout
# ---------------------------------------------------------------------------------------------


def _mix(x):
    """The finaliser of splitmix64, of an array of uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def dropped(seed, t, layer, rows, n_columns, share):
    """Which numbers of a layer's input are dropped.

    Parameters
    ----------
    seed : int
    t : int
        Number of the update, from 1 on.
    layer : int
        Layer whose input it is.
    rows : ndarray of int
        Places of the rows in the epoch's order.
    n_columns : int
    share : float
        Probability of being dropped.

    Returns
    -------
    ndarray of bool of shape (len(rows), n_columns)
    """
    with np.errstate(over="ignore"):
        key = _mix(np.array([seed], np.uint64) + _mix(np.array([t], np.uint64)))
        key = key + np.uint64(layer + 1) * np.uint64(0xD1342543DE82EF95)
        key = _mix(key + np.asarray(rows).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        low, high = (
            (key & np.uint64(0xFFFFFFFF)).astype(np.uint32),
            (key >> np.uint64(32)).astype(np.uint32),
        )
        x = np.arange(n_columns, dtype=np.uint32) * np.uint32(0x9E3779B1) + low[:, None]
        x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
        x = (x ^ (x >> np.uint32(15)) ^ high[:, None]) * np.uint32(0xD35A2D97)
        return (x ^ (x >> np.uint32(15))) < np.uint32(share * 2**32)


# ---------------------------------------------------------------------------------------------
# Forward, loss and gradient
# ---------------------------------------------------------------------------------------------


def views(params, layer_sizes):
    """Lists of the W and of the b, as views of a flat vector."""
    return _params.views(params, _core.parameters(layer_sizes))


def is_weight(layer_sizes):
    """1 for weights and 0 for biases, (n_params,)."""
    return np.concatenate(
        [
            np.full(int(np.prod(p.shape)), float(p.name[0] == "W"))
            for p in _core.parameters(layer_sizes)
        ]
    )


def _forward_tape(params, layer_sizes, activations, X, masks=None):
    """z of every layer, and the input of every layer, times its mask if there are masks."""
    a = np.asarray(X.toarray() if hasattr(X, "toarray") else X).astype(params.dtype)
    zs, inputs = [], []
    names = (*activations, "identity")
    for W, b, name in zip(*views(params, layer_sizes), names, strict=True):
        if masks is not None:
            a = a * masks[len(inputs)]
        inputs.append(a)
        zs.append(a @ W + b)
        a = ACTIVATIONS[name].value(zs[-1])
    return zs, inputs


def forward(params, layer_sizes, activations, loss, X):
    """Output of the network after the output activation.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
        Its dtype is the dtype of the whole computation.
    layer_sizes : sequence of int
        Widths, input and output included.
    activations : sequence of str
        One name per hidden layer.
    loss : str
        A key of ``LOSSES``; decides the output activation.
    X : array-like or sparse matrix of shape (n, layer_sizes[0])

    Returns
    -------
    ndarray of shape (n, layer_sizes[-1])
    """
    zs, _ = _forward_tape(params, layer_sizes, activations, X)
    return LOSSES[loss].output(zs[-1])


def value_and_grad(
    params,
    layer_sizes,
    activations,
    loss,
    X,
    y,
    sample_weight=None,
    alpha=0.0,
    *,
    loss_scale=1.0,
    clip_loss=False,
    masks=None,
    loss_params=None,
    label_smoothing=0.0,
):
    """Weighted mean loss of a batch with its L2 penalty, and the exact gradient.

    Value: ``loss_scale * sum_i w_i loss_i / sum(w) + 0.5 * alpha * sum(W^2) / sum(w)``.
    Gradient: ``(sum_i w_i dloss_i + alpha * W) / sum(w)``; ``loss_scale`` is not in it.

    Parameters
    ----------
    params, layer_sizes, activations, loss, X
        As in `forward`.
    y : ndarray of shape (n, layer_sizes[-1]) or, class indices with "log_loss", (n,)
        Half as many columns with "gaussian_nll".
    sample_weight : ndarray of shape (n,) or None
    alpha : float
    loss_scale : float
        Factor on the data term of the value (scikit-learn reports the mean over outputs).
    clip_loss : bool
        Report the log losses from probabilities clipped at float64's eps, unless labels are
        smoothed.
    masks : list of ndarray of shape (n, width) or None
        Dropout: what the input of each layer is multiplied with, 0 or 1 / (1 - share).
    loss_params : float, array-like of shape (layer_sizes[-1],) or None
        The parameter of each output where the loss has one; None for its default.
    label_smoothing : float
        The share s of a label that is spread evenly over the classes, by the log losses.

    Returns
    -------
    value : float
    grad : ndarray of shape (n_params,)
    """
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    entry, extra = LOSSES[loss], _params_of(loss, layer_sizes[-1], loss_params)
    y = entry.smoothed(one_hot(y, layer_sizes[-1]), label_smoothing).astype(params.dtype)
    w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    total = w.sum()
    coefs, _ = views(params, layer_sizes)
    zs, inputs = _forward_tape(params, layer_sizes, activations, X, masks)

    penalty = 0.5 * alpha * sum(np.square(W, dtype=np.float64).sum() for W in coefs)
    rows = _loss_rows(loss, zs[-1], y, clip_loss and label_smoothing == 0, extra)
    value = (loss_scale * (w * rows).sum() + penalty) / total

    grad = np.empty_like(params)
    dWs, dbs = views(grad, layer_sizes)
    scale = (w / total).astype(params.dtype)[:, None]
    slope = entry.slope(zs[-1], y, *extra) if entry.slope else entry.output(zs[-1]) - y
    dz = slope.astype(params.dtype) * scale
    for layer in range(len(coefs) - 1, -1, -1):
        dWs[layer][:] = inputs[layer].T @ dz + params.dtype.type(alpha / total) * coefs[layer]
        dbs[layer][:] = dz.sum(axis=0)
        if layer:
            da = dz @ coefs[layer].T * (1 if masks is None else masks[layer])
            dz = ACTIVATIONS[activations[layer - 1]].backward(zs[layer - 1], da)
    return float(value), grad


# ---------------------------------------------------------------------------------------------
# Update rules
# ---------------------------------------------------------------------------------------------


class Optimizer(NamedTuple):
    """An update rule with ``n_states`` flat state vectors.

    ``step(params, grad, state, t, **settings)`` changes params and state in place; ``t`` counts
    from 1 at the first update. ``is_weight`` says which parameters decay.
    """

    n_states: int
    step: Callable


def _sgd_step(params, grad, state, t, *, learning_rate, momentum, **_):
    """v = momentum v - rate g;  p += v."""
    (v,) = state
    v[:] = momentum * v - learning_rate * grad
    params += v


def _nesterov_step(params, grad, state, t, *, learning_rate, momentum, **_):
    """v = momentum v - rate g;  p += momentum v - rate g."""
    (v,) = state
    v[:] = momentum * v - learning_rate * grad
    params += momentum * v - learning_rate * grad


def _adam_step(params, grad, state, t, *, learning_rate, beta_1, beta_2, epsilon, **_):
    """Adam (Kingma and Ba, 2014, arXiv:1412.6980, the ordering at the end of section 2).

    m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;
    p -= rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon).
    """
    m, v = state
    m[:] = beta_1 * m + (1 - beta_1) * grad
    v[:] = beta_2 * v + (1 - beta_2) * grad**2
    rate = float(learning_rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t))
    params -= rate * m / (np.sqrt(v) + epsilon)


def _adamw_step(
    params, grad, state, t, *, learning_rate, beta_1, beta_2, epsilon, weight_decay, is_weight, **_
):
    """AdamW (Loshchilov and Hutter, 2019, arXiv:1711.05101, algorithm 2).

    p -= rate decay p;  p -= rate mhat / (sqrt(vhat) + epsilon), mhat = m / (1 - b1^t), vhat alike.
    """
    m, v = state
    m[:] = beta_1 * m + (1 - beta_1) * grad
    v[:] = beta_2 * v + (1 - beta_2) * grad**2
    params -= float(learning_rate * weight_decay) * params * is_weight
    corrected = np.sqrt(v / (1 - beta_2**t)) + epsilon
    params -= float(learning_rate / (1 - beta_1**t)) * m / corrected


def clipped(grad, max_norm):
    """The gradient, or one of its direction and this length if it is longer."""
    norm = np.sqrt(np.square(grad, dtype=np.float64).sum())
    return grad * grad.dtype.type(min(1.0, max_norm / (norm + 1e-6)))


OPTIMIZERS = {
    "sgd": Optimizer(1, _sgd_step),
    "nesterov": Optimizer(1, _nesterov_step),
    "adam": Optimizer(2, _adam_step),
    "adamw": Optimizer(2, _adamw_step),
}


def train_epoch(
    params,
    state,
    layer_sizes,
    activations,
    loss,
    optimizer,
    X,
    y,
    sample_weight,
    order,
    batch_size,
    *,
    alpha,
    learning_rate,
    beta_1=0.9,
    beta_2=0.999,
    epsilon=1e-8,
    momentum=0.9,
    t=0,
    loss_scale=1.0,
    clip_loss=False,
    weight_decay=0.0,
    rates=None,
    max_grad_norm=0.0,
    ema=None,
    ema_decay=0.0,
    seed=0,
    dropout=(),
    loss_params=None,
    label_smoothing=0.0,
):
    """One pass over the rows ``order`` in consecutive mini-batches, in place.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
    state : tuple of ndarray of shape (n_params,)
        ``OPTIMIZERS[optimizer].n_states`` of them.
    layer_sizes, activations, loss, X, y, sample_weight, alpha, loss_scale, clip_loss
    loss_params, label_smoothing
        As in `value_and_grad`.
    optimizer : str
        A key of ``OPTIMIZERS``.
    order : ndarray of int
        Rows in the order of the visit.
    batch_size : int
        The last mini-batch may be shorter.
    learning_rate, beta_1, beta_2, epsilon, momentum, weight_decay : float
    t : int
        Updates done before.
    rates : sequence of float or None
        The learning rate of each mini-batch; None: `learning_rate`.
    max_grad_norm : float
        See `clipped`; 0 for never.
    ema : ndarray of shape (n_params,) or None
        Moving average of params, in place: ema += (1 - ema_decay) (params - ema) after each update.
    seed, dropout : int, sequence of float
        See `dropped`; the share of each layer's input.

    Returns
    -------
    loss : float
        Sum over mini-batches of (loss of the batch x its rows), divided by ``len(order)``.
    steps : int
        Updates done in this call.
    finite : bool
        False if a batch loss was not finite; that update was not applied.
    """
    settings = dict(
        learning_rate=learning_rate,
        beta_1=beta_1,
        beta_2=beta_2,
        epsilon=epsilon,
        momentum=momentum,
        weight_decay=weight_decay,
        is_weight=is_weight(layer_sizes),
    )
    X, y = np.asarray(X.toarray() if hasattr(X, "toarray") else X), np.asarray(y)
    accumulated, steps = 0.0, 0
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        w = None if sample_weight is None else sample_weight[rows]
        if w is not None and w.sum() == 0:
            continue
        value, grad = value_and_grad(
            params,
            layer_sizes,
            activations,
            loss,
            X[rows],
            y[rows],
            w,
            alpha,
            loss_scale=loss_scale,
            clip_loss=clip_loss,
            masks=dropout
            and [
                ~dropped(seed, t + steps + 1, layer, np.arange(start, start + len(rows)), width, p)
                / (1 - p)
                for layer, (p, width) in enumerate(zip(dropout, layer_sizes, strict=False))
            ]
            or None,
            loss_params=loss_params,
            label_smoothing=label_smoothing,
        )
        accumulated += value * len(rows)
        if not np.isfinite(value):
            return accumulated / len(order), steps, False
        steps += 1
        if rates is not None:
            settings["learning_rate"] = rates[start // batch_size]
        if max_grad_norm > 0:
            grad = clipped(grad, max_grad_norm)
        OPTIMIZERS[optimizer].step(params, grad, state, t + steps, **settings)
        if ema is not None:
            ema += (1 - ema_decay) * (params - ema)
    return accumulated / len(order), steps, True
