"""The solvers, and their state between epochs: moment vectors, learning rate, when to stop.

The update rules themselves run in the compiled core; these objects hold what must survive from
one epoch, and one ``partial_fit``, to the next. Settings are not among it: they are read from the
estimator whenever they are needed, so that a changed one counts at once.
"""

import copy
from typing import NamedTuple

import numpy as np

from ._params import zeros
from ._progress import print_line, prints_lines
from ._schedules import factors


class _Optimizer:
    """What all have: the vectors of the state, the learning rate, and the count of the updates.

    Parameters
    ----------
    estimator : BaseMLP
        Its parameters are the settings.
    params : ndarray
        The flat vector that will be trained.
    """

    n_states: int
    seed = 0  # of the masks of dropout
    # With a moving average, which the estimator shows: what is trained, and what was shown with it.
    trained = shown = None
    last_rate = None  # of the last update, without bias correction

    def __init__(self, estimator, params):
        self.t = self._scheduled = 0
        self.state = tuple(zeros(params.size, params.dtype) for _ in range(self.n_states))
        self._schedule = None
        self.resume(estimator)

    def resume(self, estimator):
        """Start from `learning_rate_init` if that, or the schedule, is not what it was."""
        rate = estimator.learning_rate
        # A function may be one that cannot be pickled.
        schedule = estimator.learning_rate_init, rate if isinstance(rate, str) else repr(rate)
        if schedule != self._schedule:
            self._schedule = schedule
            self.learning_rate = float(estimator.learning_rate_init)

    def usable_as(self, dtype):
        """This state, or a copy if its vectors are of another dtype or cannot be written to."""
        state = tuple(np.require(s, dtype, "W") for s in self.state)
        if all(a is b for a, b in zip(state, self.state, strict=True)):
            return self
        twin = copy.copy(self)
        twin.state = state
        return twin

    def epoch_arguments(self, estimator, n_steps=1, one_epoch=False):
        """Keyword arguments of ``Trainer.train_epoch`` for an epoch of so many updates."""
        arguments = self._settings(estimator)
        rate, arguments["t"] = float(arguments["learning_rate"]), self.t
        self._rates = None
        if not one_epoch:
            first, self._scheduled = self._scheduled, self._scheduled + n_steps
            total = n_steps * estimator.max_iter
            self._rates = factors(estimator.learning_rate, estimator.warmup, first, n_steps, total)
        if self._rates is not None:
            self._rates *= rate
            arguments["rates"] = self._rates
        self.last_rate = rate
        if self.seed:
            arguments["seed"] = self.seed
        if estimator.max_grad_norm is not None:
            arguments["max_grad_norm"] = estimator.max_grad_norm
        return arguments

    def passed_over(self, n_steps):
        """So many steps of the schedule are behind us."""
        self._scheduled = n_steps

    def rates(self):
        """What an epoch begins with, apart from the vectors and the count of updates."""
        names = ("_scheduled", "last_rate", "learning_rate")
        return {name: getattr(self, name) for name in names}

    def count(self, steps, estimator):
        """Note that `steps` updates were done."""
        self.t += steps
        if self._rates is not None:
            self.last_rate = float(self._rates[-1])

    def iteration_ends(self, estimator):
        """Nothing without a schedule over epochs."""

    def trigger_stopping(self, msg, estimator):
        """Stop, whatever the learning rate."""
        if prints_lines(estimator):
            print_line(f"{msg} Stopping.")
        return True


class Adam(_Optimizer):
    """State of the Adam method.

    Attributes
    ----------
    learning_rate : float
        Step size after bias correction at the last update, as scikit-learn shows it.
    t : int
        Number of updates done.
    state : tuple of ndarray
        First and second moment, flat vectors laid out as the parameters.
    """

    n_states = 2

    def core_name(self, estimator):
        """Name of the update rule in the compiled core."""
        return "adam"

    def _settings(self, estimator):
        return {
            "learning_rate": estimator.learning_rate_init,
            "beta_1": estimator.beta_1,
            "beta_2": estimator.beta_2,
            "epsilon": estimator.epsilon,
        }

    def count(self, steps, estimator):
        """The same, and the learning rate that goes with it."""
        super().count(steps, estimator)
        if self.t:
            correction = np.sqrt(1 - estimator.beta_2**self.t) / (1 - estimator.beta_1**self.t)
            self.learning_rate = float(self.last_rate * correction)


class AdamW(Adam):
    """State of Adam with decoupled weight decay; attributes as those of `Adam`."""

    def core_name(self, estimator):
        """Name of the update rule in the compiled core."""
        return "adamw"

    def _settings(self, estimator):
        return super()._settings(estimator) | {"weight_decay": estimator.weight_decay}


class SGD(_Optimizer):
    """State of stochastic gradient descent with (Nesterov's) momentum.

    Attributes
    ----------
    learning_rate : float
        The current learning rate.
    t : int
        Number of updates done.
    state : tuple of ndarray
        The velocity, a flat vector laid out as the parameters.
    """

    n_states = 1

    def core_name(self, estimator):
        """Name of the update rule in the compiled core."""
        return "nesterov" if estimator.nesterovs_momentum and estimator.momentum > 0 else "sgd"

    def _settings(self, estimator):
        return {"learning_rate": self.learning_rate, "momentum": estimator.momentum}

    def iteration_ends(self, estimator):
        """Lower the learning rate of the inverse-scaling schedule, by the samples seen."""
        if estimator.learning_rate == "invscaling":
            start = float(estimator.learning_rate_init)
            self.learning_rate = start / (estimator.t_ + 1) ** estimator.power_t

    def trigger_stopping(self, msg, estimator):
        """Decide whether to stop; the adaptive schedule first divides the learning rate by 5."""
        if estimator.learning_rate != "adaptive":
            outcome, stop = "Stopping.", True
        elif self.learning_rate <= 1e-6:
            outcome, stop = "Learning rate too small. Stopping.", True
        else:
            self.learning_rate /= 5.0
            outcome, stop = f"Setting learning rate to {self.learning_rate:f}", False
        if prints_lines(estimator):
            print_line(f"{msg} {outcome}")
        return stop


class Solver(NamedTuple):
    """One row: how an estimator's ``solver`` trains.

    Attributes
    ----------
    core_name : str
        The update rule in the core, as a memory plan counts its vectors.
    optimizer : type or None
        The state between epochs of mini-batches; None: all rows in each iteration, by L-BFGS.
    """

    core_name: str
    optimizer: type | None


SOLVERS = {
    "adam": Solver("adam", Adam),
    "adamw": Solver("adamw", AdamW),
    "sgd": Solver("nesterov", SGD),
    "lbfgs": Solver("none", None),
}


def is_stochastic(solver):
    """Tell whether this solver works on mini-batches; also for names that are none."""
    known = isinstance(solver, str) and solver in SOLVERS
    return known and SOLVERS[solver].optimizer is not None
