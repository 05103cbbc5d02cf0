"""Validation: the rows that a fit watches, and what the present parameters come to on them."""

import copy
import inspect
import re
from contextlib import contextmanager
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse
from sklearn.utils.validation import _get_feature_names

from . import _core
from ._datasets import is_dataset
from ._history import CURVES
from ._input.arrays import finite_data, validated_sample_weight
from ._input.targets import rows_and_targets_of
from ._input.weights import weights_of_rows
from ._predict import few_non_zeros

# Names of arguments in a message. Text in quotes or in a list is of the user's own: labels, names.
_GENERAL_NAMES = re.compile(r"(?<!['\"])(?<!- )\b(X|y|sample_weight)\b(?!['\"])")


class ValidationSet(NamedTuple):
    """Rows of the caller's own, as a scorer takes them and as the core does."""

    X: Any
    y: Any
    sample_weight: np.ndarray | None
    target: np.ndarray
    rows: Any  # X as the core reads it
    data: _core.Data


@contextmanager
def checked_as(names):
    """Say of which arguments it is that a general check complains, which calls them X and y."""
    try:
        yield
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        message, n_named = _GENERAL_NAMES.subn(r"\1_val", str(error))
        raise kind(message if n_named else f"{names}: {error}") from error


def check_validation_set(draft, X, loss, target, class_weights, passed, dtype):
    """The `ValidationSet` of (X_val, y_val, sample_weight_val), or None if it is not given.

    Parameters
    ----------
    draft : BaseMLP
        It has learnt features and classes already, and learns nothing here.
    X, target
        The rows to train on, validated.
    loss : Loss
    class_weights
        Those of the rows to train on, which count here, too.
    passed : tuple
    dtype : dtype
        In which X_val must be finite.
    """
    X_val, y_val, sample_weight = passed
    if X_val is None and y_val is None and sample_weight is None:
        return None
    check_passed_together(X_val, y_val)
    if is_dataset(X_val):
        raise TypeError("X_val is a dataset, which it takes only where X is one: it takes arrays.")
    with checked_as("X_val and y_val"):
        rows, y = rows_and_targets_of(draft, X_val, y_val, first=False)
    refuse_unseen(draft, y)
    with checked_as("X_val and y_val"):
        _, codes = draft._check_target(y, True, None)
        target_val = loss.target(codes)
    check_as_many_outputs(target_val, target)
    if sample_weight is not None:
        with checked_as("sample_weight_val"):
            sample_weight = validated_sample_weight(sample_weight, rows)
    with checked_as("y_val"):
        sample_weight = weights_of_rows(class_weights, codes, sample_weight)
    if few_non_zeros(X) and not sparse.issparse(rows):
        rows = sparse.csr_array(rows)  # the trainer's first layer works from non-zeros
    with checked_as("X_val"):
        data = finite_data(draft, rows, target_val, sample_weight, dtype)
    return ValidationSet(X_val, y_val, sample_weight, target_val, rows, data)


def check_passed_together(X_val, y_val):
    """Raise ValueError unless rows and targets to validate on are both given."""
    if X_val is None:
        name = "sample_weight_val" if y_val is None else "y_val"
        raise ValueError(
            f"{name} is provided, but X_val was not provided: it takes the three together."
        )
    if y_val is None:
        raise ValueError("X_val is provided, but y_val was not provided: it takes the targets.")


def check_as_many_outputs(target_val, target):
    """Raise ValueError unless both have the same columns."""
    if target_val.shape[1:] != target.shape[1:]:
        n_outputs, wanted = (t.size // len(t) for t in (target_val, target))
        raise ValueError(f"y_val has {n_outputs} outputs: it takes {wanted}, as many as y.")


def refuse_unseen(draft, y):
    """Raise ValueError for labels of y_val that a classifier has not learnt from y."""
    if draft._y_numeric or y.ndim != 1:
        return
    known = draft.classes_.tolist()
    unseen = sorted(set(y.tolist()) - set(known), key=repr)
    if unseen:
        raise ValueError(f"y_val has the labels {unseen}, which y has not: it takes {known}.")


# ---- what is watched ----


def check_scoring(estimator):
    """What `scoring` means: None, "loss", or a callable (estimator, X, y) -> number."""
    scoring = estimator.scoring
    if scoring is None or (isinstance(scoring, str) and scoring == "loss"):
        return scoring
    from sklearn.metrics import check_scoring, get_scorer

    if not isinstance(scoring, str):
        return check_scoring(estimator, scoring)
    try:
        return get_scorer(scoring)
    except ValueError as error:
        raise ValueError(
            f"scoring={scoring!r} is unknown: it takes None, 'loss', one of the names that "
            "sklearn.metrics.get_scorer_names() lists, or a callable (estimator, X, y) -> number."
        ) from error


def _takes_weight(scorer):
    accepts = getattr(scorer, "_accept_sample_weight", None)
    if accepts is not None:
        return accepts()
    try:
        # scikit-learn's scorers take what their metric takes.
        signature = inspect.signature(getattr(scorer, "_score_func", scorer))
    except (TypeError, ValueError):  # some functions that are not written in Python have none
        return False
    return "sample_weight" in signature.parameters


@contextmanager
def _errors_of_scorer(scoring):
    """Say that it was the scorer that raised; errors of the user's own kinds stay what they are."""
    try:
        yield
    except (TypeError, ValueError) as error:
        if type(error) not in (TypeError, ValueError):
            raise
        raise type(error)(f"scoring={scoring!r}: {error}") from error


class Validation:
    """Loss and score of the rows that are watched, and the parameters that did best.

    Parameters
    ----------
    given : Given
    held_out : ndarray of int64 or None
        Rows of `given.X`; None: the `given.validation` of the caller's own.
    trainer : _core.Trainer
    params : Parameters
        Those that are scored, kept and restored: of the present moment, whenever they change.
    loss_scale : float
        Factor of the loss that is reported.
    scorer : callable, "loss" or None
        As `check_scoring` gives it.
    decides : bool
        Training stops by the score and ends with the best parameters; otherwise it is watched only.

    Attributes
    ----------
    loss : float
        That of the last `score`, without the L2 penalty.
    best : ndarray or None
        The parameters that did best; None if nothing decides.
    """

    def __init__(self, given, held_out, trainer, params, loss_scale, scorer=None, decides=True):
        own = given.validation
        self._data = given.data if own is None else own.data
        self._order = held_out
        self._target, self._weight = (
            (_rows(given.target, held_out), _rows(given.sample_weight, held_out))
            if own is None
            else (own.target, own.sample_weight)
        )
        self._score_output, self._ask = given.loss.score, given.loss.ask
        self._trainer, self._params, self._flat = trainer, params, params.flat
        self._loss_scale = loss_scale
        self._scorer, self._weighted = scorer, False
        self._output = None
        if scorer is None:
            shape = (len(self._target), given.layer_sizes[-1])
            self._output = np.empty(shape, dtype=params.flat.dtype)
        elif callable(scorer):
            self._X = _rows(given.X, held_out) if own is None else own.X
            self._y = _rows(given.y, held_out) if own is None else own.y
            # Those of X may be others, of which there has been a warning; validated rows have none.
            self._names = None if own is None else _get_feature_names(own.X)
            self._weighted = self._weight is not None and _takes_weight(scorer)
        self.decides = decides
        self.watches_loss = isinstance(scorer, str)
        self.best = self._flat.copy() if decides else None
        self.loss = np.nan
        self._estimator = None

    def vectors(self):
        """What it has of its own for the rows, by name."""
        if self._output is not None:
            yield "outputs to validate on", self._output

    def follow(self, estimator):
        """Hand a scorer of the user's own copies of this estimator, which is being fitted."""
        self._estimator = estimator

    def score(self):
        """Score of the present parameters, of one forward pass with the loss where it can be."""
        self.loss = self._trainer.loss(
            self._flat,
            self._data,
            order=self._order,
            loss_scale=self._loss_scale,
            clip_loss=True,
            ask=self._ask,
            out=self._output,
        )
        if self._scorer is None:
            return self._score_output(self._output, self._target, self._weight)
        return -self.loss if self.watches_loss else self._score_by_scorer()

    def _copy_for_scorer(self):
        """The estimator as it is now; what a scorer does to it is of no account to the fit."""
        present = copy.copy(self._estimator)
        state = vars(present)
        for name in ("_optimizer", "_steady"):
            state.pop(name, None)
        for name in CURVES:
            if state.get(name) is not None:
                state[name] = [*state[name]]
        state.pop("feature_names_in_", None)
        if self._names is not None:
            present.feature_names_in_ = self._names
        present._link(self._params.copied(self._flat.dtype))
        return present

    def _score_by_scorer(self):
        present = self._copy_for_scorer()
        weight = {"sample_weight": self._weight} if self._weighted else {}
        with _errors_of_scorer(present.scoring):
            score = self._scorer(present, self._X, self._y, **weight)
        if isinstance(score, np.ndarray) and score.ndim == 0:
            score = score.item()
        if not isinstance(score, Real):
            raise ValueError(
                f"scoring={present.scoring!r} gave {score!r}: it takes a scorer that returns "
                "one number."
            )
        return float(score)

    def keep(self):
        """Take the present parameters for the best."""
        np.copyto(self.best, self._flat)

    def restore(self):
        """Go back to the best, if they are what training is for."""
        self.restore_into(self._flat)

    def restore_into(self, flat):
        """Make this vector what `restore` would make the present parameters; its dtype stays."""
        if self.decides:
            np.copyto(flat, self.best, casting="same_kind")


def _rows(array, order):
    return None if array is None else array[order]
