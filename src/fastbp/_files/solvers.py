"""The optimizers of `MLPClassifier` and `MLPRegressor` in files: counts, rates and vectors.

The class need not be that of `solver`, which may have been set to another one after a fit: the next
fit begins anew then.
"""

import sys

from .._optim import SOLVERS
from . import checks
from .checks import attributes, fail, list_of, mapping, vector_of
from .functions import name_of


class _Absent:
    """The estimator has no such attribute."""


ABSENT = _Absent()
_OPTIMIZERS = {row.optimizer.__name__: row.optimizer for row in SOLVERS.values() if row.optimizer}
_RATE = checks.Takes(
    "a finite number",
    lambda value: checks.NUMBER.fits(value) and abs(value) <= sys.float_info.max,
)
_OF_OPTIMIZER = {
    "t": checks.COUNT,
    "_scheduled": checks.COUNT,
    "seed": checks.integer(0, 2**32 - 1),
    "learning_rate": _RATE,
    "last_rate": _RATE.or_none(),
    "_schedule": checks.Takes(
        "a rate and the name of its schedule",
        lambda value: (
            type(value) is tuple
            and len(value) == 2
            and checks.NUMBER.fits(value[0])
            and type(value[1]) is str
        ),
    ),
    "state": list_of(vector_of(), tuple),
    "trained": vector_of().or_none(),
    "shown": vector_of().or_none(),
}


def check_optimizer(where, optimizer, size):
    """Whether all vectors have this size, and those of the state one dtype."""
    where = f"{where}._optimizer"
    for i, vector in enumerate((*optimizer.state, optimizer.trained, optimizer.shown)):
        if vector is not None or i < optimizer.n_states:
            vector_of(size).check(f"{where}, vector {i}", vector)
    dtypes = sorted({vector.dtype.name for vector in optimizer.state})
    if len(dtypes) != 1:
        fail(f"{where}.state", dtypes, "vectors of one dtype")


def encode_optimizer(encoder, estimator, optimizer, where):
    """JSON of an estimator's optimizer; None and the lack of one are different."""
    if optimizer is None:
        return None if "_optimizer" in vars(estimator) else "absent"
    where = f"{where}._optimizer"
    state = {name: getattr(optimizer, name) for name in _OF_OPTIMIZER}
    attributes(where, state, _OF_OPTIMIZER)
    rate = estimator.learning_rate
    if callable(rate) and state["_schedule"][1] == repr(rate):
        state["_schedule"] = (state["_schedule"][0], name_of(rate))
    return {type(optimizer).__name__: encoder.mapping(state, where)}


def decode_optimizer(decoder, estimator, payload, where, functions):
    """The opposite; `functions` are the names of the parameters that were functions."""
    if payload is None or payload == "absent":
        return ABSENT if payload else None
    where = f"{where}._optimizer"
    if type(payload) is not dict or len(payload) != 1 or [*payload][0] not in _OPTIMIZERS:
        fail(where, payload, f"one of {', '.join(_OPTIMIZERS)} with its state")
    ((name, values),) = payload.items()
    values = mapping(where, values, _OF_OPTIMIZER)
    state = {n: decoder.decode(value, f"{where}.{n}") for n, value in values.items()}
    attributes(where, state, _OF_OPTIMIZER)
    if functions.get("learning_rate") == state["_schedule"][1]:
        state["_schedule"] = (state["_schedule"][0], repr(estimator.learning_rate))
    optimizer = object.__new__(_OPTIMIZERS[name])
    if len(state["state"]) != optimizer.n_states:
        fail(f"{where}.state", len(state["state"]), f"{optimizer.n_states} vectors")
    vars(optimizer).update(state, _rates=None)
    return optimizer
