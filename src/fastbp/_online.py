"""The short way of ``partial_fit``: a call that is like the one before looks at its data only.

Who learns online calls ``partial_fit`` thousands of times with a few rows each. A call that came
through the whole road of `_fit` notes what it found; while nothing of that changes, the calls after
it check their data, take the trainer that stays (`_trainers`), and train. Whatever is out of the
ordinary goes the whole road again, and gets its errors there.
"""

from operator import is_
from time import monotonic
from typing import Any, NamedTuple

import numpy as np

from . import _core
from ._distributed import active
from ._environment import settings
from ._fit import Given, Job, plan_of, rows_to_visit, threads_of, train
from ._input.arguments import clip_batch_size
from ._input.arrays import is_finite, is_plain, threads_to_search, validated_sample_weight
from ._input.targets import is_plain_target
from ._params import Parameters
from ._trainers import Arguments, give_back, key_of, take

# Subclasses may have checks of their own.
_OURS = ("fastbp.classifier", "fastbp.regressor")


class Steady(NamedTuple):
    """What a call of ``partial_fit`` found, and the next one need not look for."""

    settings: tuple  # values of the estimator's parameters
    params: Parameters
    optimizer: Any
    learnt: tuple  # by `_learnt`
    given: Given
    loss_scale: float
    arguments: Arguments  # of the trainer, but for rows and threads
    large: list  # the last trainer and its key, if it is too large for `_trainers`

    def __reduce__(self):
        # Belongs to one estimator in one process.
        return type(None), ()

    def holds(self, estimator):
        """Whether everything is still as it was."""
        state = vars(estimator)
        params = self.params
        return (
            all(map(is_, self.settings, _settings(estimator)))
            and state.get("_params") is params
            and state.get("_optimizer") is self.optimizer
            and params.seen_in(state.get("coefs_", ()), state.get("intercepts_", ()))
            and all(map(is_, self.learnt, _learnt(state)))
        )


def _settings(estimator):
    return estimator._settings_of(estimator)


def _learnt(state):
    return (
        state.get("classes_"),
        state.get("_binarizer"),
        state.get("out_activation_"),
        state.get("n_features_in_"),
        state.get("feature_names_in_"),
    )


def note(estimator, job):
    """Let the estimator's next ``partial_fit`` go the short way, where there is one."""
    learnt = _learnt(vars(estimator))
    _, binarizer, *_, feature_names = learnt
    # A list, of widths or else, may be changed in place.
    changeable = (list, dict, np.ndarray)
    fixed = not any(isinstance(value, changeable) for value in _settings(estimator))
    targets_are_ours = type(estimator)._check_target.__module__ in _OURS
    one_vector = job.params is job.kept
    one_vector = one_vector and job.ranks is None
    if fixed and one_vector and targets_are_ours and binarizer is None and feature_names is None:
        estimator._steady = Steady(
            settings=_settings(estimator),
            params=job.kept,
            optimizer=job.optimizer,
            learnt=learnt,
            given=job.given._replace(
                first=False, X=None, target=None, sample_weight=None, data=None, y=None
            ),
            loss_scale=job.loss_scale,
            arguments=job.trainer_arguments._replace(sparse=False),
            large=[],
        )


def step(estimator, X, y, sample_weight, classes):
    """Train one epoch the short way; False, with nothing done, if the whole one is needed."""
    steady = vars(estimator).get("_steady")
    if steady is None or active() is not None or not steady.holds(estimator):
        return False
    job = _job(estimator, steady, X, y, sample_weight, classes)
    if job is None:
        return False
    try:
        estimator.memory_plan_ = plan_of(job.trainer)
        train(estimator, job)
    finally:
        if not give_back(job.trainer, job.trainer_arguments):
            steady.large[:] = [(job.trainer, key_of(job.trainer_arguments))]
    return True


def _trainer(steady, arguments):
    settings()  # for its errors
    try:
        trainer, key = steady.large.pop()  # nobody else can have it now
    except IndexError:
        return take(arguments)
    return trainer if key == key_of(arguments) else take(arguments)


def _job(estimator, steady, X, y, sample_weight, classes):
    began = monotonic()
    if not is_plain(X, estimator.n_features_in_):
        return None
    n_rows = X.shape[0]
    target = _target(estimator, steady, y, n_rows)
    if target is None or not _are_known(estimator, classes):
        return None
    if estimator.batch_size != "auto" and estimator.batch_size > n_rows:
        return None
    batch_size = clip_batch_size(estimator.batch_size, n_rows)
    if sample_weight is not None:
        sample_weight = validated_sample_weight(sample_weight, X)
    data = _core.Data(X, target, sample_weight)
    n_threads = threads_to_search(X, estimator.n_threads)
    if not is_finite(X, data, steady.params.flat.dtype, n_threads):
        return None
    given = steady.given._replace(X=X, target=target, sample_weight=sample_weight, data=data)
    arguments = steady.arguments._replace(
        batch_size=batch_size, n_threads=threads_of(estimator, batch_size, steady.params)
    )
    try:
        trainer = _trainer(steady, arguments)
    except (MemoryError, OverflowError):
        return None  # the whole way says of which net
    return Job(
        began=began,
        given=given,
        kept=steady.params,
        params=steady.params,
        shown=steady.params,
        optimizer=steady.optimizer,
        seed=steady.optimizer.seed,
        trainer=trainer,
        trainer_arguments=arguments,
        rows=rows_to_visit(estimator, given, n_rows, None, batch_size),
        validation=None,
        batch_size=batch_size,
        loss_scale=steady.loss_scale,
    )


def _are_known(estimator, classes):
    known = getattr(estimator, "classes_", None)
    return (
        classes is None
        or np.array_equal(classes, known)
        or np.array_equal(np.unique(classes), known)
    )


def _target(estimator, steady, y, n_rows):
    """y as the core takes it; None if it is not plain."""
    numbers = estimator._y_numeric
    if not is_plain_target(y, n_rows, numbers):
        return None
    if numbers:
        loss, target = steady.given.loss, steady.given.loss.target(y)
        n_outputs = loss.n_outputs(target.shape[1])
        return target if n_outputs == steady.given.layer_sizes[-1] else None
    classes = estimator.classes_
    if (classes.dtype.kind == "U") != (y.dtype.kind == "U") or classes.dtype.kind not in "iubfU":
        return None
    codes = np.minimum(classes.searchsorted(y), len(classes) - 1)
    return steady.given.loss.target(codes) if (classes[codes] == y).all() else None
