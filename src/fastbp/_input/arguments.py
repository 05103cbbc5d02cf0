"""Single values: sizes, names, numbers, bytes."""

import re
from numbers import Integral, Real

import numpy as np
from numpy.random.bit_generator import ISeedSequence
from sklearn.utils import check_random_state

from .. import _core
from .._warnings import warn

DTYPES = ("float32", "float64")

_UNITS = {"": 1, "b": 1}
for _power, _letter in enumerate("kmgt", start=1):
    _UNITS[_letter] = _UNITS[_letter + "b"] = 1000**_power
    _UNITS[_letter + "ib"] = 1024**_power
_MEMORY = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)
_LARGEST = 2**63 - 1


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, (bool, np.bool_))


def parse_max_memory(value):
    """Bytes of a ``max_memory`` argument.

    Parameters
    ----------
    value : int, str or None
        Bytes; or a number with a unit, "64MB" (powers of 1000: kB, MB, GB, TB) or "1.5 GiB"
        (powers of 1024: KiB, MiB, GiB, TiB), in any case; or None for no cap.

    Returns
    -------
    int
        Bytes; 0 for no cap.

    Raises
    ------
    ValueError
        If the value is not understood, below one byte, or above 2**63 - 1.

    Examples
    --------
    >>> parse_max_memory("1.5 KiB")
    1536
    """
    if value is None:
        return 0
    size = None
    if _is_integer(value):
        size = int(value)
    elif isinstance(value, str):
        match = _MEMORY.fullmatch(value)
        if match and match[2].lower() in _UNITS:
            whole, _, digits = match[1].partition(".")
            scale = _UNITS[match[2].lower()]
            size = int(whole + digits or "0") * scale // 10 ** len(digits)
    if size is None or not 1 <= size <= _LARGEST:
        raise ValueError(
            f"max_memory={value!r} is not a size: it takes None, a number of bytes from 1 to "
            "2**63 - 1, or a string such as '64MB' or '1.5 GiB'."
        )
    return size


def check_layer_sizes(layer_sizes):
    """Tuple of int widths, input and output included; ValueError if it is not that."""
    try:
        sizes = tuple(layer_sizes)
    except TypeError:
        sizes = ()
    if len(sizes) < 2 or not all(_is_integer(s) and s >= 1 for s in sizes):
        raise ValueError(
            f"layer_sizes={layer_sizes!r}: it takes at least two integers of 1 or more, the "
            "number of inputs first, the number of outputs last, hidden widths between."
        )
    return tuple(int(s) for s in sizes)


def check_hidden_layer_sizes(hidden_layer_sizes):
    """Tuple of int widths from a sequence of them, or from one."""
    sizes = hidden_layer_sizes
    sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    if not all(isinstance(n, Integral) for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be integers, got {sizes}.")
    if any(n <= 0 for n in sizes):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
    return tuple(int(n) for n in sizes)


def check_activation(activation, n_hidden):
    """Tuple of one activation name per hidden layer."""
    if isinstance(activation, str):
        names = (activation,) * max(n_hidden, 1)
    else:
        try:
            names = tuple(activation)
        except TypeError:
            names = (activation,)
        if len(names) != n_hidden:
            raise ValueError(
                f"activation={activation!r} has {len(names)} entries: it takes one name for all "
                f"hidden layers, or one per hidden layer, here {n_hidden}."
            )
    for name in names:
        check_name("activation", name, _core.ACTIVATIONS)
    return names[:n_hidden]


def check_dropout(dropout, input_dropout, n_hidden):
    """The share of the input of each layer of weights that is dropped; empty if nothing is."""
    if np.ndim(dropout) == 0:
        shares = (dropout,) * n_hidden
    else:
        shares = tuple(dropout)
        if len(shares) != n_hidden:
            raise ValueError(
                f"dropout={dropout!r} has {len(shares)} entries: it takes one number for all "
                f"hidden layers, or one per hidden layer, here {n_hidden}."
            )
    if not all(isinstance(p, Real) and 0 <= p < 1 for p in shares):
        raise ValueError(f"dropout={dropout!r}: it takes numbers of 0 or more below 1.")
    shares = (float(input_dropout), *map(float, shares))
    return shares if any(shares) else ()


def check_name(parameter, value, accepted):
    """Raise ValueError unless value is one of the accepted names."""
    if not isinstance(value, str) or value not in accepted:
        raise ValueError(f"{parameter}={value!r} is unknown: it takes one of {list(accepted)}.")


def check_positive_int(parameter, value):
    """The value as int; ValueError unless it is an integer of 1 or more."""
    if not _is_integer(value) or value < 1:
        raise ValueError(f"{parameter}={value!r}: it takes an integer of 1 or more.")
    return int(value)


def check_dtype(dtype):
    """ "float32" or "float64" from a name or anything that NumPy takes for one of them."""
    try:
        name = np.dtype(dtype).name if dtype is not None else None
    except TypeError:
        name = None
    if name not in DTYPES:
        raise ValueError(f"dtype={dtype!r} is unknown: it takes one of {list(DTYPES)}.")
    return name


def core_loss(loss, n_outputs):
    """Name of the loss in the core: with one output "log_loss" is the logistic one.

    A loss of the user's own goes with the net of any loss whose output activation is identity.
    """
    if callable(loss):
        return "squared_error"
    check_name("loss", loss, _core.LOSSES)
    outputs = dict(zip(_core.LOSSES, _core.LOSS_OUTPUTS, strict=True))[loss]
    if n_outputs % outputs:
        raise ValueError(
            f"loss={loss!r} has {outputs} outputs for each column of y: it takes an even number "
            f"of outputs, the last of layer_sizes, got {n_outputs}."
        )
    return "binary_log_loss" if loss == "log_loss" and n_outputs == 1 else loss


def _is_real(value):
    return isinstance(value, Real) and not isinstance(value, (bool, np.bool_))


def check_huber_delta(huber_delta):
    """The bound of the squared part of the Huber loss, as float."""
    if not _is_real(huber_delta) or not 0 < huber_delta < np.inf:
        raise ValueError(f"huber_delta={huber_delta!r}: it takes a finite number above 0.")
    return float(huber_delta)


def check_quantile(quantile):
    """A quantile as float, or several as a tuple of floats."""
    several = hasattr(quantile, "__iter__") and not isinstance(quantile, str)
    quantiles = tuple(quantile) if several else (quantile,)
    if not quantiles or not all(_is_real(q) and 0 < q < 1 for q in quantiles):
        raise ValueError(
            f"quantile={quantile!r}: it takes a number above 0 and below 1, or a sequence of at "
            "least one of them."
        )
    return tuple(map(float, quantiles)) if several else float(quantile)


def check_label_smoothing(label_smoothing):
    """The share of a label that is spread over the classes, as float."""
    if not _is_real(label_smoothing) or not 0 <= label_smoothing < 1:
        raise ValueError(
            f"label_smoothing={label_smoothing!r}: it takes a number from 0 on and below 1."
        )
    return float(label_smoothing)


def loss_params(loss, n_outputs, huber_delta, quantile):
    """The parameter of each output, for the core; empty where the loss has none.

    Parameters
    ----------
    loss : str
        Its name in the core.
    n_outputs : int
    huber_delta : float
    quantile : float or tuple of float
        One for all outputs, or one each.
    """
    if loss == "huber":
        return (huber_delta,) * n_outputs
    if loss != "quantile":
        return ()
    if isinstance(quantile, float):
        return (quantile,) * n_outputs
    if len(quantile) != n_outputs:
        raise ValueError(
            f"quantile={quantile!r} has {len(quantile)} entries: it takes a number, or one for "
            f"each of the {n_outputs} outputs."
        )
    return quantile


def check_n_threads(n_threads):
    """The number as int; ValueError unless it is an integer of 1 or more."""
    is_integer = isinstance(n_threads, Integral) and not isinstance(n_threads, bool)
    if not is_integer or not 1 <= n_threads < 2**31:
        raise ValueError(
            f"n_threads must be None or an int from 1 to 2**31 - 1, got {n_threads!r}."
        )
    return int(n_threads)


class _NoEntropy(ISeedSequence):
    """For a generator that is seeded at once: it need not ask the system for a seed before."""

    def generate_state(self, n_words, dtype=np.uint32):
        return np.zeros(n_words, dtype)


def generator_of(random_state):
    """The RandomState of a ``random_state``, as `sklearn.utils.check_random_state` gives it.

    From a number it takes a third of the time, which is as long as all else in a small fit.
    """
    if not isinstance(random_state, Integral):
        return check_random_state(random_state)
    generator = np.random.RandomState(np.random.MT19937(_NoEntropy()))
    generator.seed(random_state)
    return generator


def check_alpha(alpha):
    """The L2 penalty as float."""
    if not isinstance(alpha, Real) or not 0 <= alpha < np.inf:
        raise ValueError(f"alpha={alpha!r}: it takes a finite number of 0 or more.")
    return float(alpha)


def clip_batch_size(batch_size, n_rows):
    """Rows of a mini-batch of an estimator, at most those that there are."""
    if batch_size == "auto":
        return min(200, n_rows)
    if batch_size > n_rows:
        warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be "
            f"clipped from {batch_size} to {n_rows}."
        )
    return int(min(batch_size, n_rows))
