"""What is learnt: targets as the net takes them, and what its outputs say about them.

A net gives z, its output before the output activation. Several members give several, of which a
kind of target makes one answer: the mean of their probabilities, or of their numbers.
"""

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax, logsumexp

from .._losses import CLASSIFICATION, REGRESSION

# Rows whose probabilities are computed at a time: they are float64, whatever the net is.
_ROWS = 8192
# The logarithm of the temperature is normal around 0 with this deviation before a row is seen, so
# that a handful of validation rows, all of them right, do not make the net certain.
_LOG_TEMPERATURE_DEVIATION = 0.5
_MOST_LOG_TEMPERATURE = 2.5


def blocks(n, rows=_ROWS):
    """Slices of so many of n rows."""
    return [slice(first, min(first + rows, n)) for first in range(0, n, rows)]


# ---- classes ----


def log_probabilities(kind, z, temperature=1.0):
    """Logarithms of the probabilities, of the mean over members, in float64.

    Parameters
    ----------
    kind : {"multiclass", "multilabel"}
    z : array of shape (n_members, n, n_outputs)
    temperature : float
        Above 1: closer to equal; below 1: closer to certain.

    Returns
    -------
    ndarray of shape (n, n_classes), or (n, n_outputs, 2) of multilabel targets
    """
    z = np.asarray(z, dtype=np.float64)
    if kind == "multiclass":
        logs = log_softmax(z, axis=-1)
    else:
        logs = np.stack([log_expit(-z), log_expit(z)], axis=-1)
    mean = logs[0] if len(logs) == 1 else logsumexp(logs, axis=0) - np.log(len(logs))
    mean = mean if temperature == 1.0 else log_softmax(mean / temperature, axis=-1)
    return np.minimum(mean, 0)  # rounding: scikit-learn refuses probabilities above 1


class Classes:
    """Labels, or the columns of an indicator matrix.

    Parameters
    ----------
    kind : {"multiclass", "multilabel"}
    labels : ndarray of shape (n_classes,)
    binarizer : LabelBinarizer or None
        Of multilabel targets.

    Attributes
    ----------
    core : Loss
        The row of `_losses`.
    n_outputs : int
        Of the net.
    is_constant : bool
        There is one answer only, for which it takes no net.
    """

    has_temperature = True

    def __init__(self, kind, labels, binarizer):
        self.kind, self.labels, self.binarizer = kind, labels, binarizer
        self.n_outputs = len(labels)
        self.is_constant = kind == "multiclass" and len(labels) == 1

    @property
    def core(self):
        """The row of `_losses`."""
        return CLASSIFICATION[self.kind]

    def for_core(self, codes, dtype):
        """The codes of rows as the core takes them."""
        return self.core.target(codes)

    def log_probabilities(self, z, temperature=1.0):
        """As the function of this name."""
        return log_probabilities(self.kind, z, temperature)

    def predicted(self, z):
        """The labels of the largest probabilities."""
        codes = self.log_probabilities(z).argmax(axis=-1)
        return self.labels[codes] if codes.ndim == 1 else self.binarizer.inverse_transform(codes)

    def loss_and_score(self, z, codes, weight):
        """Weighted mean of log loss, over outputs summed, and accuracy; NaN if z is not finite."""
        loss, hit = np.empty(len(codes)), np.empty(len(codes))
        for rows in blocks(len(codes)):
            logs = log_probabilities(self.kind, z[:, rows])
            loss[rows] = -_summed(_of_codes(logs, codes[rows]))
            right = logs.argmax(axis=-1) == codes[rows]
            hit[rows] = right if right.ndim == 1 else right.all(axis=1)
        if not np.isfinite(loss).all():
            return np.nan, np.nan
        return tuple(float(np.average(values, weights=weight)) for values in (loss, hit))

    def temperature(self, z, codes, weight):
        """The temperature of the smallest log loss of these rows, which were not trained on."""
        weight = np.ones(len(codes)) if weight is None else weight / weight.mean()

        def cost(log_temperature):
            total = 0.5 * (log_temperature / _LOG_TEMPERATURE_DEVIATION) ** 2
            for rows in blocks(len(codes)):
                logs = log_probabilities(self.kind, z[:, rows], np.exp(log_temperature))
                total -= weight[rows] @ _summed(_of_codes(logs, codes[rows]))
            return total

        bounds = (-_MOST_LOG_TEMPERATURE, _MOST_LOG_TEMPERATURE)
        found = minimize_scalar(cost, bounds=bounds, method="bounded", options={"xatol": 1e-3})
        return float(np.exp(found.x))


def _of_codes(logs, codes):
    """The entry of the last axis that each row's code names."""
    codes = codes.astype(np.intp, copy=False)[..., np.newaxis]
    return np.take_along_axis(logs, codes, axis=-1)[..., 0]


def _summed(values):
    return values if values.ndim == 1 else values.sum(axis=1)


# ---- numbers ----


class Numbers:
    """One or several columns of numbers, of mean 0 and deviation 1 to the net.

    Parameters
    ----------
    y : ndarray of shape (n, n_outputs)
        Of the rows to learn from.
    weight : ndarray of shape (n,) or None

    Attributes
    ----------
    core, n_outputs, is_constant
        As of `Classes`.
    mean, deviation : ndarray of shape (n_outputs,)
        A constant column has deviation 0, so that every prediction is its number.
    """

    core = REGRESSION["squared_error"]
    has_temperature = False

    def __init__(self, y, weight):
        self._learn(*mean_and_deviation(y, weight))

    def _learn(self, mean, deviation):
        self.n_outputs = len(mean)
        self.mean, self.deviation = mean, deviation
        self.is_constant = not deviation.any()

    @classmethod
    def of_moments(cls, mean, deviation):
        """The same by the mean and the deviation of the columns."""
        numbers = object.__new__(cls)
        numbers._learn(mean, deviation)
        return numbers

    def for_core(self, y, dtype):
        """Standardised numbers of rows as the core takes them."""
        # Numbers of other rows may lie further out than the deviation lets them become.
        with np.errstate(over="ignore"):
            z = (y - self.mean) / np.where(self.deviation == 0, 1, self.deviation)
            return np.ascontiguousarray(z, dtype=dtype)

    def predicted(self, z):
        """What the members predict on average, in the unit of y: (n, n_outputs), or (n,) of one."""
        y = self.mean + self.deviation * np.mean(z, axis=0, dtype=np.float64)
        return y[:, 0] if self.n_outputs == 1 else y

    def loss_and_score(self, z, target, weight):
        """Half the mean squared error of standardised numbers, as the core has it, and R2."""
        mean = np.mean(z, axis=0, dtype=np.float64)
        if not np.isfinite(mean).all():
            return np.nan, np.nan
        with np.errstate(over="ignore", invalid="ignore"):  # a target may be far beyond the others
            squares = ((mean - target) ** 2).mean(axis=1, dtype=np.float64)
            loss = 0.5 * float(np.average(squares, weights=weight))
            return loss, self.core.score(mean, target, weight)


def mean_and_deviation(y, weight):
    """Weighted mean and standard deviation of the columns, also of numbers close to overflow."""
    unit = np.abs(y).max(axis=0)
    unit[unit == 0] = 1.0
    parts = y / unit
    mean = np.average(parts, axis=0, weights=weight)
    deviation = np.sqrt(np.average((parts - mean) ** 2, axis=0, weights=weight))
    constant = y.min(axis=0) == y.max(axis=0)
    return np.where(constant, y[0], mean * unit), np.where(constant, 0.0, deviation) * unit
