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


ACTIVATIONS = {
    "identity": Activation(lambda z: z, lambda z, d: d),
    "logistic": Activation(_sigmoid, _logistic_backward),
    "tanh": Activation(np.tanh, lambda z, d: d * (1 - np.tanh(z) ** 2)),
    "relu": Activation(_relu, lambda z, d: np.where(z <= 0, z.dtype.type(0), d)),
}

# ---------------------------------------------------------------------------------------------
# Losses
# ---------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """A loss with its output activation.

    ``output(z)`` is the output activation, (n, out). ``rows(z, y)`` is the loss of every row,
    (n,), in float64, summed over outputs, from z in a stable form. ``clipped_rows(a, y)`` is
    the same from probabilities kept inside [eps, 1 - eps], as scikit-learn reports it; None
    where there is nothing to clip. ``slope(a, y)`` is dz; the default is that of the canonical
    output activation.
    """

    output: Callable
    rows: Callable
    clipped_rows: Callable | None = None
    slope: Callable = lambda a, y: a - y


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


LOSSES = {
    "squared_error": Loss(lambda z: z, lambda z, y: 0.5 * ((z - y) ** 2).sum(axis=1)),
    "log_loss": Loss(_softmax, _log_loss_rows, lambda a, y: -(y * np.log(a)).sum(axis=1)),
    "binary_log_loss": Loss(_sigmoid, _binary_log_loss_rows, _binary_clipped_rows),
    "poisson": Loss(np.exp, _poisson_rows),
}


def _loss_rows(loss, z, y, clip):
    """Loss of every row in float64, (n,)."""
    entry = LOSSES[loss]
    y = np.asarray(y, np.float64)
    if clip and entry.clipped_rows is not None:
        eps = np.finfo(np.float64).eps
        return entry.clipped_rows(np.clip(entry.output(z.astype(np.float64)), eps, 1 - eps), y)
    return entry.rows(z.astype(np.float64), y)


def one_hot(y, n_outputs):
    """Rows of the identity for class indices, (n, n_outputs); 2-D targets unchanged."""
    y = np.asarray(y)
    return np.eye(n_outputs)[y] if y.ndim == 1 and n_outputs > 1 else y.reshape(len(y), -1)


# ---------------------------------------------------------------------------------------------
# Forward, loss and gradient
# ---------------------------------------------------------------------------------------------


def views(params, layer_sizes):
    """Lists of the W and of the b, as views of a flat vector."""
    return _params.views(params, _core.parameters(layer_sizes))


def _forward_tape(params, layer_sizes, activations, X):
    """z of every layer, and the input of every layer."""
    a = np.asarray(X.toarray() if hasattr(X, "toarray") else X).astype(params.dtype)
    zs, inputs = [], []
    names = (*activations, "identity")
    for W, b, name in zip(*views(params, layer_sizes), names, strict=True):
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
):
    """Weighted mean loss of a batch with its L2 penalty, and the exact gradient.

    Value: ``loss_scale * sum_i w_i loss_i / sum(w) + 0.5 * alpha * sum(W^2) / sum(w)``.
    Gradient: ``(sum_i w_i dloss_i + alpha * W) / sum(w)``; ``loss_scale`` is not in it.

    Parameters
    ----------
    params, layer_sizes, activations, loss, X
        As in `forward`.
    y : ndarray of shape (n, layer_sizes[-1]) or, class indices with "log_loss", (n,)
    sample_weight : ndarray of shape (n,) or None
    alpha : float
    loss_scale : float
        Factor on the data term of the value (scikit-learn reports the mean over outputs).
    clip_loss : bool
        Report the log losses from probabilities clipped at float64's eps.

    Returns
    -------
    value : float
    grad : ndarray of shape (n_params,)
    """
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    y = one_hot(y, layer_sizes[-1]).astype(params.dtype)
    w = np.ones(n) if sample_weight is None else np.asarray(sample_weight, np.float64)
    total = w.sum()
    coefs, _ = views(params, layer_sizes)
    zs, inputs = _forward_tape(params, layer_sizes, activations, X)

    penalty = 0.5 * alpha * sum(np.square(W, dtype=np.float64).sum() for W in coefs)
    rows = _loss_rows(loss, zs[-1], y, clip_loss)
    value = (loss_scale * (w * rows).sum() + penalty) / total

    grad = np.empty_like(params)
    dWs, dbs = views(grad, layer_sizes)
    scale = (w / total).astype(params.dtype)[:, None]
    dz = LOSSES[loss].slope(LOSSES[loss].output(zs[-1]), y) * scale
    for layer in range(len(coefs) - 1, -1, -1):
        dWs[layer][:] = inputs[layer].T @ dz + params.dtype.type(alpha / total) * coefs[layer]
        dbs[layer][:] = dz.sum(axis=0)
        if layer:
            dz = ACTIVATIONS[activations[layer - 1]].backward(zs[layer - 1], dz @ coefs[layer].T)
    return float(value), grad


# ---------------------------------------------------------------------------------------------
# Update rules
# ---------------------------------------------------------------------------------------------


class Optimizer(NamedTuple):
    """An update rule with ``n_states`` flat state vectors.

    ``step(params, grad, state, t, **settings)`` changes params and state in place; ``t`` counts
    from 1 at the first update.
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


OPTIMIZERS = {
    "sgd": Optimizer(1, _sgd_step),
    "nesterov": Optimizer(1, _nesterov_step),
    "adam": Optimizer(2, _adam_step),
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
):
    """One pass over the rows ``order`` in consecutive mini-batches, in place.

    Parameters
    ----------
    params : ndarray of shape (n_params,)
    state : tuple of ndarray of shape (n_params,)
        ``OPTIMIZERS[optimizer].n_states`` of them.
    layer_sizes, activations, loss, X, y, sample_weight, alpha, loss_scale, clip_loss
        As in `value_and_grad`.
    optimizer : str
        A key of ``OPTIMIZERS``.
    order : ndarray of int
        Rows in the order of the visit.
    batch_size : int
        The last mini-batch may be shorter.
    learning_rate, beta_1, beta_2, epsilon, momentum : float
    t : int
        Updates done before.

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
        )
        accumulated += value * len(rows)
        if not np.isfinite(value):
            return accumulated / len(order), steps, False
        steps += 1
        OPTIMIZERS[optimizer].step(params, grad, state, t + steps, **settings)
    return accumulated / len(order), steps, True
