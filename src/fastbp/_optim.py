"""The solvers, and their state between epochs: moment vectors, learning rate, when to stop.

The update rules themselves run in the compiled core; these objects hold what must survive from
one epoch, and one ``partial_fit``, to the next.
"""

from typing import NamedTuple

import numpy as np

from ._params import zeros


class _Optimizer:
    """What all have: the vectors of the state, and the count of the updates.

    Parameters
    ----------
    estimator : BaseMLP
        Its parameters are the settings.
    params : ndarray
        The flat vector that will be trained.
    """

    n_states: int

    def __init__(self, estimator, params):
        self.learning_rate_init = estimator.learning_rate_init
        self.learning_rate = float(estimator.learning_rate_init)
        self.t = 0
        self.state = tuple(zeros(params.size, params.dtype) for _ in range(self.n_states))

    def count(self, steps):
        """Note that `steps` updates were done."""
        self.t += steps

    def iteration_ends(self, time_step):
        """Nothing without a schedule over epochs; `time_step` is samples seen."""

    def trigger_stopping(self, msg, verbose):
        """Stop, whatever the learning rate."""
        if verbose:
            print(f"{msg} Stopping.")
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
    core_name = "adam"

    def __init__(self, estimator, params):
        super().__init__(estimator, params)
        self.beta_1, self.beta_2 = estimator.beta_1, estimator.beta_2
        self.epsilon = estimator.epsilon

    def epoch_arguments(self):
        """Keyword arguments of ``Trainer.train_epoch``."""
        return {
            "learning_rate": self.learning_rate_init,
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "t": self.t,
        }

    def count(self, steps):
        """The same, and the learning rate that goes with it."""
        super().count(steps)
        if self.t:
            correction = np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
            self.learning_rate = float(self.learning_rate_init * correction)


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

    def __init__(self, estimator, params):
        super().__init__(estimator, params)
        self.lr_schedule = estimator.learning_rate
        self.momentum = estimator.momentum
        self.nesterov = estimator.nesterovs_momentum
        self.power_t = estimator.power_t

    @property
    def core_name(self):
        """Name of the update rule in the compiled core."""
        return "nesterov" if self.nesterov and self.momentum > 0 else "sgd"

    def epoch_arguments(self):
        """Keyword arguments of ``Trainer.train_epoch``."""
        return {"learning_rate": self.learning_rate, "momentum": self.momentum, "t": self.t}

    def iteration_ends(self, time_step):
        """Lower the learning rate of the inverse-scaling schedule; `time_step` is samples seen."""
        if self.lr_schedule == "invscaling":
            self.learning_rate = float(self.learning_rate_init) / (time_step + 1) ** self.power_t

    def trigger_stopping(self, msg, verbose):
        """Decide whether to stop; the adaptive schedule first divides the learning rate by 5."""
        if self.lr_schedule != "adaptive":
            outcome, stop = "Stopping.", True
        elif self.learning_rate <= 1e-6:
            outcome, stop = "Learning rate too small. Stopping.", True
        else:
            self.learning_rate /= 5.0
            outcome, stop = f"Setting learning rate to {self.learning_rate:f}", False
        if verbose:
            print(f"{msg} {outcome}")
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
    "sgd": Solver("nesterov", SGD),
    "lbfgs": Solver("none", None),
}


def is_stochastic(solver):
    """Tell whether this solver works on mini-batches; also for names that are none."""
    known = isinstance(solver, str) and solver in SOLVERS
    return known and SOLVERS[solver].optimizer is not None
