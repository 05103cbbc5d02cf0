"""Schedules of the learning rate: a factor for every step of a fit.

A schedule is a function of the progress, an array from 0 at the first step to 1 at the last, that
gives an array of factors on ``learning_rate_init``. Those that the solver "sgd" has between epochs
("invscaling", "adaptive") are not among them: see `_optim`.
"""

import numpy as np

# Of "one_cycle": the share of the steps that the rate rises in, and what it starts and ends with.
RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = ONE_CYCLE_START / 1e4


def _cosine(progress):
    return (1 + np.cos(np.pi * progress)) / 2


def _linear(progress):
    return 1 - progress


BY_STEP = {"cosine": _cosine, "linear": _linear}
SCHEDULES = ("constant", "invscaling", "adaptive", *BY_STEP, "one_cycle")


def is_by_step(learning_rate):
    """Tell whether this `learning_rate` of an estimator changes from step to step."""
    if isinstance(learning_rate, str):
        return learning_rate in BY_STEP or learning_rate == "one_cycle"
    return callable(learning_rate)


def factors(learning_rate, warmup, first, count, total):
    """Factors on the learning rate, one per step; None where all are 1.

    Parameters
    ----------
    learning_rate : str or callable
        That of an estimator.
    warmup : float
        Share of the steps in which the factor first rises to 1, in equal steps from zero.
    first, count : int
        The steps that are asked for.
    total : int
        Steps of the fit.

    Returns
    -------
    ndarray of shape (count,) or None

    Raises
    ------
    ValueError
        If a function does not give one number of 0 or more for each step.
    """
    steps = np.arange(first, first + count, dtype=np.float64)
    if learning_rate == "one_cycle":
        return _one_cycle(steps, total, warmup or RISE)
    if not is_by_step(learning_rate) and warmup == 0:
        return None
    rise = int(np.ceil(round(warmup * total, 6)))  # 0.07 * 100 is 7, and a little more in floats
    result = np.ones(count)
    if is_by_step(learning_rate):
        progress = np.clip((steps - rise) / max(total - 1 - rise, 1), 0, 1)
        progress[(steps == total - 1) & (total > 1)] = 1
        result = BY_STEP.get(learning_rate, learning_rate)(progress)
        result = _checked(learning_rate, result, count)
    return np.where(steps < rise, (steps + 1) / max(rise, 1), result)


def _one_cycle(steps, total, rise):
    """Up by half a cosine and down again by another (Smith and Topin, 2018, arXiv:1708.07120)."""
    top = max(rise * total - 1, 1e-9)
    up = 1 + (ONE_CYCLE_START - 1) * _cosine(np.clip(steps / top, 0, 1))
    fall = np.clip((steps - top) / max(total - 1 - top, 1e-9), 0, 1)
    down = ONE_CYCLE_END + (1 - ONE_CYCLE_END) * _cosine(fall)
    return np.where(steps <= top, up, down)


def _checked(function, result, count):
    if not callable(function):
        return result
    try:
        result = np.asarray(result, dtype=np.float64)
        fits = result.shape == (count,) and np.isfinite(result).all() and (result >= 0).all()
    except (TypeError, ValueError):
        fits = False
    if not fits:
        raise ValueError(
            f"learning_rate={function!r} returned {result!r} for {count} numbers: it takes a "
            "function from an array of progress, from 0 to 1, to as many finite factors of 0 or "
            "more."
        )
    return result
