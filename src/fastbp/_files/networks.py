"""`Network` and its optimizers in files.

A network is its arguments: its arena is made by the first call after it is loaded, so that a file
cannot ask for memory. An optimizer has its net, its settings and its vectors.
"""

import inspect

import numpy as np

from .._input.arguments import check_layer_sizes
from ..network import Network
from ..optim import SGD, Adam, AdamW
from . import checks
from .checks import attributes, fail, list_of, mapping, vector_of
from .functions import decode_parameters, encode_parameters
from .values import Kind, of

_ARGUMENTS = ("layer_sizes", "activation", "loss", "dtype", "batch_size", "n_threads", "max_memory")
_OF_LOSS = ("huber_delta", "quantile", "label_smoothing")
# Losses that have a number for each output, which is made of one in the file; bytes of it.
_WITH_PARAMS, _BYTES_OF_PARAM = ("huber", "quantile"), 8
# Bytes of the rows of a layer in the plan of memory.
_BYTES_OF_LAYER = 2000
_SEQUENCES = (list, tuple, range, np.ndarray, np.memmap)
_MOST_THREADS = 2**31 - 1
# Attributes of an optimizer that are no settings.
_STATE = {
    "t": checks.COUNT,
    "state": list_of(vector_of(), tuple),
    "ema": vector_of().or_none(),
}


def _encode_network(encoder, net, where):
    where = f"{where}, Network" if where else "Network"
    values = dict(zip(_ARGUMENTS, net._arguments, strict=True)) | net._loss_arguments
    _check_arguments(encoder.limits, values, where)
    return encode_parameters(encoder, values, where)


def _decode_network(decoder, payload, where):
    where = f"{where}, Network" if where else "Network"
    # Arguments that a file has not came later, and have their defaults.
    payload = mapping(where, payload, ("layer_sizes",), (*_ARGUMENTS, *_OF_LOSS))
    values, _ = decode_parameters(decoder, payload, where)
    _check_arguments(decoder.limits, values, where)
    return Network._without_arena(**values)


def _check_arguments(limits, values, where):
    """Arguments that a network would take, but with more memory or another meaning."""
    sizes = values["layer_sizes"]
    if type(sizes) not in _SEQUENCES:
        fail(f"{where}.layer_sizes", sizes, "a sequence of widths")
    activation = values.get("activation", "")
    if not isinstance(activation, (str, *_SEQUENCES)):
        fail(f"{where}.activation", activation, "a text, or a sequence of them")
    n_threads = values.get("n_threads")
    if type(n_threads) is int and n_threads > _MOST_THREADS:
        fail(f"{where}.n_threads", n_threads, f"a number up to {_MOST_THREADS}")
    sizes = check_layer_sizes(sizes)
    n_numbers = sizes[-1] if values.get("loss") in _WITH_PARAMS else 0
    limits.take(len(sizes) * _BYTES_OF_LAYER + n_numbers * _BYTES_OF_PARAM, where)


def _encode_optimizer(encoder, optimizer, where):
    where = f"{where}, {type(optimizer).__name__}" if where else type(optimizer).__name__
    values = {k: v for k, v in vars(optimizer).items() if k not in ("net", "_names")}
    _check(optimizer, values, where)
    return {"net": encoder.encode(optimizer.net, where)} | encoder.mapping(values, where)


def _decoder_of(cls):
    def decode(decoder, payload, where):
        where = f"{where}, {cls.__name__}" if where else cls.__name__
        settings = _settings_of(cls)
        payload = mapping(where, payload, ("net", *_STATE), settings)
        values = {name: decoder.decode(value, f"{where}.{name}") for name, value in payload.items()}
        optimizer = object.__new__(cls)
        optimizer.net, optimizer._names = values.pop("net"), tuple(settings)
        if type(optimizer.net) is not Network:
            fail(f"{where}.net", optimizer.net, "a Network")
        vars(optimizer).update(settings | values)
        _check(optimizer, values, where)
        return optimizer

    return decode


def _settings_of(cls):
    """The settings of an optimizer with their defaults, in the order of its constructor."""
    parameters = inspect.signature(cls.__init__).parameters.values()
    return {p.name: p.default for p in parameters if p.name not in ("self", "net")}


def _check(optimizer, values, where):
    """Whether settings, counts and vectors are those of an optimizer of this net."""
    optimizer._arguments()
    attributes(where, {k: v for k, v in values.items() if k not in optimizer._names}, _STATE)
    net, vectors = optimizer.net, [*values["state"]]
    if len(vectors) != optimizer._n_states:
        fail(f"{where}.state", len(vectors), f"{optimizer._n_states} vectors")
    for vector in (*vectors, *(() if values["ema"] is None else (values["ema"],))):
        if vector.shape != (net.n_params,) or vector.dtype != np.dtype(net.dtype):
            takes = f"vectors of {net.n_params} numbers of {net.dtype}, as its net has"
            fail(f"{where}, vectors", vector, takes)


KINDS = (
    Kind("Network", of(Network), _encode_network, _decode_network, shared=True),
    *(
        Kind(cls.__name__, of(cls), _encode_optimizer, _decoder_of(cls), shared=True)
        for cls in (SGD, Adam, AdamW)
    ),
)
