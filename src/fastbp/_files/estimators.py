"""`MLPClassifier` and `MLPRegressor` in files.

The parameters of the net are one tensor, the flat vector; ``coefs_`` and ``intercepts_`` are views
of it again when it is loaded. What is left out: trainers, and what scikit-learn's callbacks note
while a fit runs.
"""

import functools
import inspect

import numpy as np
from sklearn.preprocessing import LabelBinarizer

from .._callbacks import TEMPORARY
from .._distributed import alone
from .._input.arguments import check_activation, parse_max_memory
from .._losses import BY_OUTPUT
from .._params import Parameters
from ..classifier import MLPClassifier
from ..memory import MemoryPlan
from ..regressor import MLPRegressor
from . import checks
from .checks import attributes, fail, list_of, mapping, vector_of
from .classes import check_outputs
from .container import FileError
from .functions import decode_parameters, encode_parameters, name_of
from .solvers import ABSENT, check_optimizer, decode_optimizer, encode_optimizer
from .values import Kind, of

# Attributes, and what each takes. Those of a curve are lists, with which a warm start goes on.
CURVES = {
    "loss_": checks.NUMBER,
    "loss_curve_": checks.FLOATS,
    "best_loss_": checks.NUMBER.or_none(),
    "validation_scores_": checks.FLOATS.or_none(),
    "validation_loss_curve_": checks.FLOATS.or_none(),
    "best_validation_score_": checks.NUMBER.or_none(),
    "best_iter_": checks.COUNT,
    "n_iter_": checks.COUNT,
    "_no_improvement_count": checks.COUNT,
    "_history": list_of(
        checks.Takes(
            "a row of five floats",
            lambda row: type(row) is tuple and len(row) == 5 and checks.FLOATS.fits([*row]),
        )
    ),
    "_watched": checks.Takes(
        "whether it decided, and a text or None",
        lambda value: (
            type(value) is tuple
            and len(value) == 2
            and type(value[0]) is bool
            and (value[1] is None or type(value[1]) is str)
        ),
    ),
}
SEEN = {
    "n_features_in_": checks.SIZE,
    "feature_names_in_": checks.NAMES,
    "classes_": checks.LABELS,
    "_binarizer": checks.Takes("None or a LabelBinarizer", lambda v: type(v) in _BINARIZERS),
    "n_outputs_": checks.SIZE,
    "memory_plan_": checks.Takes("a MemoryPlan", lambda value: type(value) is MemoryPlan),
    "_metadata_request": checks.Takes(
        "requests of metadata, by method and parameter",
        lambda value: (
            type(value) is dict
            and set(value) <= {*SIMPLE_METHODS}
            and all(type(v) is dict and all(map(checks.TEXT.fits, v)) for v in value.values())
        ),
    ),
}
# Methods that metadata is requested for.
SIMPLE_METHODS = ("fit", "partial_fit", "predict", "predict_proba", "predict_log_proba", "score")
_BINARIZERS = (type(None), LabelBinarizer)
_STATE = {
    **SEEN,
    **CURVES,
    "_x_dtype": checks.Takes(
        "a dtype of floats", lambda value: isinstance(value, np.dtype) and value.kind == "f"
    ),
    "_keeps_digits": checks.Takes(
        "True or False", lambda value: isinstance(value, (bool, np.bool_))
    ),
    "_quantiles": list_of(checks.FLOAT, tuple).or_none(),
    "_random_state": checks.Takes(
        "a RandomState", lambda value: type(value) is np.random.RandomState
    ),
    "n_layers_": checks.SIZE,
    "out_activation_": checks.one_of(sorted(BY_OUTPUT)),
    "t_": checks.COUNT,
}
# Written in another form than as attributes.
_APART = ("coefs_", "intercepts_", "_params", "_optimizer", "_steady")


@functools.lru_cache
def parameter_names(cls):
    """Names of the parameters of the constructor."""
    return tuple(name for name in inspect.signature(cls.__init__).parameters if name != "self")


def state_of(estimator, where, known, apart=()):
    """The attributes that a file holds, a dict; TypeError for one that it cannot hold."""
    names = parameter_names(type(estimator))
    state = {}
    for name, value in vars(estimator).copy().items():  # another thread may fit it
        if name in names or name in apart or name in TEMPORARY:
            continue
        if name == "_skl_callbacks":
            raise TypeError(
                f"{where} has callbacks, which fastbp.save cannot write: it takes an estimator "
                "after set_callbacks(), which takes them away."
            )
        if name not in known:
            raise TypeError(
                f"{where} has the attribute {name!r}, which is none of fastbp's, of type "
                f"{type(value).__qualname__}: fastbp.save takes estimators without it. Beside the "
                f"estimator there is room for it: save({{'estimator': estimator, {name!r}: ...}}, "
                "path)."
            )
        state[name] = requests_of(value) if name == "_metadata_request" else value
    return state


def requests_of(routing):
    """What `set_fit_request` and its kin asked for: {method: {parameter: alias}}."""
    every = {name: getattr(routing, name) for name in SIMPLE_METHODS if hasattr(routing, name)}
    return {name: dict(of.requests) for name, of in every.items() if of.requests}


def attach(estimator, state):
    """Give a rebuilt estimator its attributes."""
    requests = state.pop("_metadata_request", None)
    if requests is not None:
        routing = estimator.get_metadata_routing()
        for method, aliases in requests.items():
            for parameter, alias in aliases.items():
                getattr(routing, method).add_request(param=parameter, alias=alias)
        estimator._metadata_request = routing
    vars(estimator).update(state)


def rebuilt(cls, decoder, payload, where):
    """An estimator with its parameters, checked as `fit` checks them, and which were functions.

    Those that a file has not came later, and have their defaults.
    """
    payload = mapping(where, payload, (), parameter_names(cls))
    values, functions = decode_parameters(decoder, payload, where)
    estimator = cls(**values)
    check_parameters(estimator)
    return estimator, functions


def check_parameters(estimator):
    """Raise ValueError for parameters of the constructor that `fit` refuses by their values."""
    with alone():  # it is no fit, of which other ranks hear
        estimator._validate_params()
    parse_max_memory(estimator.max_memory)


# ---- fitted or not ----


def _encode(encoder, estimator, where):
    where = f"{where}, {type(estimator).__name__}" if where else type(estimator).__name__
    parameters = encode_parameters(encoder, estimator.get_params(deep=False), where)
    check_parameters(estimator)
    state = state_of(estimator, where, _STATE, _APART)
    optimizer, layer_sizes, flat = vars(estimator).get("_optimizer"), None, None
    if hasattr(estimator, "coefs_"):
        params = estimator._parameters()
        layer_sizes, flat = params.layer_sizes, params.flat
    _check(estimator, where, state, layer_sizes, flat, optimizer)
    watched = state.get("_watched")
    if callable(estimator.scoring) and watched and watched[1] == repr(estimator.scoring):
        state["_watched"] = (watched[0], name_of(estimator.scoring))
    return {
        "parameters": parameters,
        "attributes": encoder.mapping(state, where),
        "layer_sizes": encoder.encode(layer_sizes and [*layer_sizes], where),
        "weights": encoder.encode(flat, where),
        "optimizer": encode_optimizer(encoder, estimator, optimizer, where),
    }


def _decoder_of(cls):
    def decode(decoder, payload, where):
        where = f"{where}, {cls.__name__}" if where else cls.__name__
        parts = ("parameters", "attributes", "layer_sizes", "weights", "optimizer")
        payload = mapping(where, payload, parts)
        estimator, functions = rebuilt(cls, decoder, payload["parameters"], where)
        names = mapping(where, payload["attributes"], (), _STATE)
        state = {n: decoder.decode(value, f"{where}.{n}") for n, value in names.items()}
        sizes = decoder.decode(payload["layer_sizes"], where)
        flat = decoder.decode(payload["weights"], where)
        optimizer = decode_optimizer(decoder, estimator, payload["optimizer"], where, functions)
        _check(estimator, where, state, sizes, flat, optimizer)
        watched = state.get("_watched")
        if watched and functions.get("scoring") == watched[1] is not None:
            state["_watched"] = (watched[0], repr(estimator.scoring))
        attach(estimator, state)
        if flat is not None:
            estimator._link(Parameters.around(sizes, flat))
        if optimizer is not ABSENT:
            estimator._optimizer = optimizer
        return estimator

    return decode


def _check(estimator, where, state, layer_sizes, flat, optimizer):
    """Everything that is or will be in attributes, and whether the parts fit together."""
    attributes(where, state, _STATE)
    if flat is None:
        if layer_sizes is not None or optimizer not in (None, ABSENT):
            raise FileError(f"{where} has no weights, but the sizes of its layers or an optimizer")
        return
    list_of(checks.SIZE).check(f"{where}, layer_sizes", [*layer_sizes] if layer_sizes else None)
    if len(layer_sizes) < 2:
        fail(f"{where}, layer_sizes", layer_sizes, "two widths at least")
    size = sum(
        (n_in + 1) * n_out for n_in, n_out in zip(layer_sizes, layer_sizes[1:], strict=False)
    )
    vector_of(size).check(f"{where}, weights", flat)
    _check_fits(estimator, where, state, layer_sizes)
    if optimizer not in (None, ABSENT):
        check_optimizer(where, optimizer, size)


def _check_fits(estimator, where, state, layer_sizes):
    """Whether predictions can be made of it."""
    for name in ("out_activation_", "n_features_in_"):
        if name not in state:
            raise FileError(f"{where} has weights, but no {name!r}")
    check_activation(estimator.activation, len(layer_sizes) - 2)
    n_features, n_outputs = layer_sizes[0], layer_sizes[-1]
    names = state.get("feature_names_in_")
    for name, value, fits in (
        ("n_features_in_", state["n_features_in_"], n_features),
        ("n_outputs_", state.get("n_outputs_", n_outputs), n_outputs),
        ("n_layers_", state.get("n_layers_", len(layer_sizes)), len(layer_sizes)),
        ("len(feature_names_in_)", n_features if names is None else len(names), n_features),
    ):
        if value != fits:
            fail(f"{where}.{name}", value, f"{fits}, by the widths of its layers")
    check_outputs(estimator, where, state, n_outputs)


KINDS = (
    Kind("MLPClassifier", of(MLPClassifier), _encode, _decoder_of(MLPClassifier), True),
    Kind("MLPRegressor", of(MLPRegressor), _encode, _decoder_of(MLPRegressor), True),
)
