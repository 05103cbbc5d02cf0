"""Optimizer state between epochs: flat moment vectors, learning rate, and the decision to stop.

The update rules themselves run in the compiled core; these objects hold what must survive from
one epoch, and one ``partial_fit``, to the next.
"""

import numpy as np

from ._layout import zeros


class Adam:
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

    core_name = "adam"

    def __init__(self, params, learning_rate_init, beta_1, beta_2, epsilon):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.t = 0
        self.state = (zeros(params.size, params.dtype), zeros(params.size, params.dtype))

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
        """Note that `steps` updates were done."""
        self.t += steps
        if self.t:
            correction = np.sqrt(1 - self.beta_2**self.t) / (1 - self.beta_1**self.t)
            self.learning_rate = float(self.learning_rate_init * correction)

    def iteration_ends(self, time_step):
        """Nothing: Adam has no schedule over epochs."""

    def trigger_stopping(self, msg, verbose):
        """Stop, whatever the learning rate."""
        if verbose:
            print(f"{msg} Stopping.")
        return True


class SGD:
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

    def __init__(self, params, learning_rate_init, lr_schedule, momentum, nesterov, power_t):
        self.learning_rate_init = learning_rate_init
        self.learning_rate = float(learning_rate_init)
        self.lr_schedule = lr_schedule
        self.momentum = momentum
        self.nesterov = nesterov
        self.power_t = power_t
        self.t = 0
        self.state = (zeros(params.size, params.dtype),)

    @property
    def core_name(self):
        """Name of the update rule in the compiled core."""
        return "nesterov" if self.nesterov and self.momentum > 0 else "sgd"

    def epoch_arguments(self):
        """Keyword arguments of ``Trainer.train_epoch``."""
        return {"learning_rate": self.learning_rate, "momentum": self.momentum, "t": self.t}

    def count(self, steps):
        """Note that `steps` updates were done."""
        self.t += steps

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


def new_optimizer(estimator, params):
    """Make the state object that the estimator's ``solver`` asks for."""
    if estimator.solver == "adam":
        return Adam(
            params,
            estimator.learning_rate_init,
            estimator.beta_1,
            estimator.beta_2,
            estimator.epsilon,
        )
    return SGD(
        params,
        estimator.learning_rate_init,
        estimator.learning_rate,
        estimator.momentum,
        estimator.nesterovs_momentum,
        estimator.power_t,
    )
