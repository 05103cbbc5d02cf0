"""The flat parameter vector and its views.

All parameters of a net live in one vector: the weights ``W`` (in, out) row-major, layer by layer,
then the biases ``b``, layer by layer. ``coefs_`` and ``intercepts_`` are views of it.
"""

import numpy as np

CACHE_LINE = 64  # bytes


def count_parameters(layer_sizes):
    """Length of the flat vector of a net with these layer sizes (input and output included)."""
    pairs = zip(layer_sizes[:-1], layer_sizes[1:], strict=True)
    return sum(n_in * n_out + n_out for n_in, n_out in pairs)


def sizes_of(coefs):
    """Layer sizes told by the shapes of the weight matrices."""
    return (coefs[0].shape[0], *(W.shape[1] for W in coefs))


# Numbers drawn in float64 at a time, so that a net of float32 needs no second copy of its weights.
_DRAWN_AT_ONCE = 1 << 16


def draw_layer(W, b, activation, random_state):
    """Fill W, then b, with numbers uniform in +-sqrt(factor / (in + out)).

    The factor is 2 for the logistic function and 6 otherwise [1]_. Numbers are drawn in float64,
    so that a seed gives the net that it gives in scikit-learn.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward
       neural networks", AISTATS 2010, equation 16.
    """
    bound = np.sqrt((2.0 if activation == "logistic" else 6.0) / sum(W.shape))
    rows = max(1, _DRAWN_AT_ONCE // W.shape[1])  # the stream does not depend on the parts
    for i in range(0, len(W), rows):
        W[i : i + rows] = random_state.uniform(-bound, bound, W[i : i + rows].shape)
    b[...] = random_state.uniform(-bound, bound, b.shape)


def zeros(count, dtype):
    """Make a vector of zeros that starts at a cache line.

    The loads of the core's vectors then cross none: 2% of a small net's step.
    """
    dtype = np.dtype(dtype)
    raw = np.zeros(count * dtype.itemsize + CACHE_LINE, dtype=np.uint8)
    start = -raw.ctypes.data % CACHE_LINE
    return raw[start : start + count * dtype.itemsize].view(dtype)


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
    coefs, intercepts : tuple of ndarray
        Views of `flat`, one per layer.
    """

    def __init__(self, layer_sizes, dtype):
        self.layer_sizes = tuple(layer_sizes)
        self.flat = zeros(count_parameters(self.layer_sizes), dtype)
        coefs, intercepts, at = [], [], 0
        for n_in, n_out in zip(self.layer_sizes[:-1], self.layer_sizes[1:], strict=True):
            coefs.append(self.flat[at : at + n_in * n_out].reshape(n_in, n_out))
            at += n_in * n_out
        for n_out in self.layer_sizes[1:]:
            intercepts.append(self.flat[at : at + n_out])
            at += n_out
        self.coefs, self.intercepts = tuple(coefs), tuple(intercepts)

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
        packed = cls(sizes_of(coefs), dtype)
        for views, arrays, name in (
            (packed.coefs, coefs, "coefs_"),
            (packed.intercepts, intercepts, "intercepts_"),
        ):
            for i, (view, array) in enumerate(zip(views, arrays, strict=True)):
                if view.shape != array.shape:
                    raise ValueError(
                        f"{name}[{i}] has shape {array.shape}, expected {view.shape} from the "
                        "shapes of coefs_."
                    )
                view[...] = array
        return packed

    @classmethod
    def drawn(cls, layer_sizes, dtype, activation, random_state):
        """Draw initial values layer by layer, see `draw_layer`."""
        drawn = cls(layer_sizes, dtype)
        for W, b in zip(drawn.coefs, drawn.intercepts, strict=True):
            draw_layer(W, b, activation, random_state)
        return drawn

    def seen_in(self, coefs, intercepts):
        """Tell whether these lists still hold exactly our views."""
        return (
            len(coefs) == len(self.coefs) == len(intercepts)
            and all(a is b for a, b in zip(coefs, self.coefs, strict=True))
            and all(a is b for a, b in zip(intercepts, self.intercepts, strict=True))
        )
