"""The flat parameter vector: how it is cut, drawn, and packed from separate arrays.

All parameters of a net live in one vector, in the order of the table ``_core.parameters``: every
weight matrix ``W`` (in, out), row-major and layer by layer, then every ``b``. ``coefs_`` and
``intercepts_`` are views of it. Nothing else in Python knows how the vector is cut.
"""

import math
from operator import is_

import numpy as np

from . import _core

CACHE_LINE = 64  # bytes
# Numbers drawn in float64 at a time, so that a net of float32 needs no second copy of its weights.
_DRAWN_AT_ONCE = 1 << 16


def count(table):
    """Length of the vector."""
    return table[-1].offset + math.prod(table[-1].shape)


def views(flat, table):
    """The weights and the biases of every layer, two lists of views of the vector."""
    cut = {"W": [], "b": []}
    for name, offset, shape, *_ in table:
        piece = flat[offset : offset + math.prod(shape)]
        cut[name.partition("[")[0]].append(piece.reshape(shape))
    return cut["W"], cut["b"]


def zeros(count, dtype):
    """Make a vector of zeros that starts at a cache line.

    The loads of the core's vectors then cross none: 2% of a small net's step.
    """
    dtype = np.dtype(dtype)
    raw = np.zeros(count * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + count * dtype.itemsize].view(dtype)


def draw(coefs, intercepts, activations, random_state):
    """Fill W, then b, layer by layer, with numbers uniform in +-sqrt(factor / (in + out)).

    The factor is 2 for a logistic layer and 6 otherwise [1]_. Numbers are drawn in float64, so
    that a seed gives the net that it gives in scikit-learn.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010, equation 16.
    """
    for W, b, activation in zip(coefs, intercepts, activations, strict=True):
        bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / sum(W.shape))
        rows = max(1, _DRAWN_AT_ONCE // W.shape[1])  # the stream does not depend on the parts
        for i in range(0, len(W), rows):
            W[i : i + rows] = random_state.uniform(-bound, bound, W[i : i + rows].shape)
        b[...] = random_state.uniform(-bound, bound, b.shape)


def layer_activations(activation, n_layers):
    """One name per layer of weights to draw them for; the output layer counts as the last hidden.

    Parameters
    ----------
    activation : str or sequence of str
        One name for all, or one per hidden layer.
    n_layers : int
    """
    if isinstance(activation, str):
        return (activation,) * n_layers
    names = tuple(activation)
    return names + (names[-1:] or ("identity",))


def init_coef(estimator, fan_in, fan_out, dtype):
    """Draw weights and biases of one layer of an estimator, as `draw` does.

    Of several activations the first one counts, since nothing says which layer it is for.

    Returns
    -------
    coef_init : ndarray of shape (fan_in, fan_out)
    intercept_init : ndarray of shape (fan_out,)
    """
    coef_init, intercept_init = np.empty((fan_in, fan_out), dtype), np.empty(fan_out, dtype)
    names = layer_activations(estimator.activation, 1)[:1]
    draw([coef_init], [intercept_init], names, estimator._random_state)
    return coef_init, intercept_init


def parameters_of(state):
    """The `Parameters` of an estimator with these attributes (a dict).

    They are packed anew if the user put arrays of his own into ``coefs_`` or ``intercepts_``.
    """
    params, coefs, intercepts = state.get("_params"), state["coefs_"], state["intercepts_"]
    if params is not None and params.seen_in(coefs, intercepts):
        return params
    return Parameters.packed(coefs, intercepts)


class Parameters:
    """A flat vector with the views that an estimator shows as ``coefs_`` and ``intercepts_``.

    Parameters
    ----------
    layer_sizes : sequence of int
        Widths of all layers, input and output included.
    dtype : dtype
        float32 or float64.

    Attributes
    ----------
    flat : ndarray of shape (n_params,)
    coefs, intercepts : list of ndarray
        Views of `flat`, one per layer.
    """

    def __init__(self, layer_sizes, dtype):
        table = _core.parameters(tuple(layer_sizes))
        self._cut(layer_sizes, zeros(count(table), dtype), table)

    @classmethod
    def around(cls, layer_sizes, flat):
        """Those that are in this vector, which has their number; it is not copied."""
        params = object.__new__(cls)
        params._cut(layer_sizes, flat, _core.parameters(tuple(layer_sizes)))
        return params

    def _cut(self, layer_sizes, flat, table):
        self.layer_sizes, self.flat = tuple(layer_sizes), flat
        self.coefs, self.intercepts = views(flat, table)

    @classmethod
    def packed(cls, coefs, intercepts, dtype=None):
        """Copy separate arrays into a new flat vector.

        `dtype` None takes float32 if every array has it, else float64.
        """
        coefs = [np.asarray(W) for W in coefs]
        intercepts = [np.asarray(b) for b in intercepts]
        if dtype is None:
            narrow = all(p.dtype == np.float32 for p in (*coefs, *intercepts))
            dtype = np.float32 if narrow else np.float64
        if any(W.ndim != 2 for W in coefs) or len(coefs) != len(intercepts):
            raise ValueError(
                "coefs_ must hold one 2-D array per layer and intercepts_ one 1-D array per layer, "
                f"got shapes {[W.shape for W in coefs]} and {[b.shape for b in intercepts]}."
            )
        packed = cls((coefs[0].shape[0], *(W.shape[1] for W in coefs)), dtype)
        for name, own, given in (
            ("coefs_", packed.coefs, coefs),
            ("intercepts_", packed.intercepts, intercepts),
        ):
            for i, (view, array) in enumerate(zip(own, given, strict=True)):
                if view.shape != array.shape:
                    raise ValueError(
                        f"{name}[{i}] has shape {array.shape}, expected {view.shape} from the "
                        "shapes of coefs_."
                    )
                view[...] = array
        return packed

    def __reduce__(self):
        # Views would come back as arrays of their own. A pickle or a deep copy of an estimator's
        # attributes has what coefs_ and intercepts_ hold; those are packed anew where this is None.
        return type(None), ()

    def as_dtype(self, dtype):
        """These parameters if they have the dtype, else a copy that has it."""
        return self if self.flat.dtype == dtype else self.copied(dtype)

    def copied(self, dtype=None):
        """A copy, in this dtype."""
        return self.packed(self.coefs, self.intercepts, dtype)

    def replace(self, name, arrays):
        """Write one array per layer over the weights (`name` says "coef") or over the biases."""
        for layer, array in enumerate(arrays):
            view = (self.coefs if name.startswith("coef") else self.intercepts)[layer]
            with np.errstate(over="ignore"):
                view[...] = array
            if not np.isfinite(view).all():
                raise ValueError(
                    f"{name}[{layer}] holds numbers that {view.dtype} cannot: it takes up to "
                    f"{np.finfo(view.dtype).max:.3g}."
                )

    def seen_in(self, coefs, intercepts):
        """Tell whether these lists still hold exactly our views."""
        return (
            len(coefs) == len(self.coefs) == len(intercepts)
            and all(map(is_, coefs, self.coefs))
            and all(map(is_, intercepts, self.intercepts))
        )
