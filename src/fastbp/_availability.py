"""Where ``partial_fit`` is: settings that one epoch by itself cannot follow take it away.

`hasattr` is False then, as scikit-learn has it for solvers, and the error says which setting it is.
"""

import functools
from types import MethodType

from ._optim import is_stochastic
from ._schedules import is_by_step


class NotOnlineError(AttributeError, ValueError):
    """A setting of the estimator that ``partial_fit`` does not support."""


def _refuse(name, value, why, takes):
    raise NotOnlineError(f"partial_fit does not support {name}={value!r}: {why}. It takes {takes}.")


def check_online(estimator):
    """Raise unless the estimator's settings allow for ``partial_fit``.

    Raises
    ------
    AttributeError
        The solver needs all rows at once.
    NotOnlineError
        Another setting; also an AttributeError, and a ValueError.
    """
    if not is_stochastic(estimator.solver):
        raise AttributeError(
            f"This {type(estimator).__name__!r} has no attribute 'partial_fit'"
        ) from AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    if estimator.early_stopping:
        why = "one epoch cannot stop early"
        _refuse("early_stopping", True, why, "False; `fit`, also with warm_start=True, takes True")
    if is_by_step(estimator.learning_rate):
        why = "it does not know how many steps there will be"
        rates = "'constant', 'invscaling' or 'adaptive'"
        _refuse("learning_rate", estimator.learning_rate, why, rates)
    if estimator.warmup:
        _refuse("warmup", estimator.warmup, "it does not know how many steps there will be", "0")
    if estimator.max_time is not None:
        why = "it trains for one epoch and returns"
        takes = "None; `fit`, also with warm_start=True, takes seconds"
        _refuse("max_time", estimator.max_time, why, takes)
    class_weight = getattr(estimator, "class_weight", None)
    if isinstance(class_weight, str):
        why = "it does not see how frequent the classes are"
        _refuse("class_weight", class_weight, why, "None, a dict of weights, or sample_weight")


class available_online:  # noqa: N801, it is used as a function
    """Decorator of ``partial_fit``: it is an attribute only where `check_online` passes."""

    def __init__(self, function):
        self._function = function
        functools.update_wrapper(self, function)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self._function
        check_online(estimator)
        return MethodType(self._function, estimator)
