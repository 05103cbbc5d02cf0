"""What the estimators of tables share: parameters of the constructor, ``fit``, copies, pickles."""

import os
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions

from .. import _core, _onnx
from .._callbacks import TEMPORARY, CallbackSupportMixin
from .._history import history_of
from .._input.arguments import DTYPES
from .._notebook import ShowsPlan
from .._progress import NAME as PROGRESS
from . import _fit

_AUTO = StrOptions({"auto"})


class BaseTabular(ShowsPlan, CallbackSupportMixin, BaseEstimator):
    """Base of TabularClassifier and TabularRegressor; not for direct use."""

    _parameter_constraints: dict = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "n_estimators": [_AUTO, Interval(Integral, 1, 2**31, closed="left")],
        "hidden_layer_sizes": [_AUTO, "array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"auto", *_core.ACTIVATIONS}), "array-like"],
        "n_bins": [_AUTO, Interval(Integral, 1, None, closed="left")],
        "batch_size": [_AUTO, Interval(Integral, 1, None, closed="left")],
        "learning_rate_init": [_AUTO, Interval(Real, 0, None, closed="neither")],
        "weight_decay": [_AUTO, Interval(Real, 0, None, closed="left")],
        "dropout": [_AUTO, Interval(Real, 0, 1, closed="left")],
        "max_iter": [_AUTO, Interval(Integral, 1, None, closed="left")],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [
            _AUTO,
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "random_state": ["random_state"],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), str, None],
        "dtype": [StrOptions({*DTYPES})],
        "verbose": ["verbose", StrOptions({PROGRESS})],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_interval": [Interval(Real, 0, None, closed="neither")],
    }
    # Every fit begins anew: what the MLPs have for parameters is fixed here.
    warm_start = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _onnx.refuse(cls)

    def __init__(
        self,
        *,
        categorical_features,
        n_estimators,
        hidden_layer_sizes,
        activation,
        n_bins,
        batch_size,
        learning_rate_init,
        weight_decay,
        dropout,
        max_iter,
        early_stopping,
        validation_fraction,
        n_iter_no_change,
        max_time,
        random_state,
        n_threads,
        max_memory,
        dtype,
        verbose,
        checkpoint,
        checkpoint_interval,
    ):
        self.categorical_features = categorical_features
        self.n_estimators = n_estimators
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.n_bins = n_bins
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.max_iter = max_iter
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.max_time = max_time
        self.random_state = random_state
        self.n_threads = n_threads
        self.max_memory = max_memory
        self.dtype = dtype
        self.verbose = verbose
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval

    # Each subclass says what its targets are:
    #   _y_numeric, whether y holds numbers
    #   _check_target(y) -> kind of labels or None, and codes of labels or numbers (n, n_outputs)
    #   _target(kind, codes, weight) -> Classes or Numbers, by the rows to train on
    #   _class_weights(codes) -> for `_input.weights.weights_of_rows`; None for no weights

    def _class_weights(self, codes):
        return None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the model to a table.

        Parameters
        ----------
        X : table of shape (n_samples, n_features), or pyarrow Dataset
            A data frame of pandas or polars, an Arrow table, anything else that narwhals reads, or
            an array: numbers, text, categories, booleans and dates, with missing cells. Of a
            ``pyarrow.dataset.Dataset`` all columns but those of `y` and `sample_weight`; it may be
            larger than memory, see Notes.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str or list of str
            Class labels, a multilabel indicator matrix, or real numbers. With a dataset the name of
            their column; several of a regressor.
        sample_weight : array-like of shape (n_samples,), or str, default=None
            Weights of the rows: finite, with a sum above zero. A row of weight 0 has no part in
            anything, not even in the encoding of columns. With a dataset the name of their column.
        X_val : table of shape (n_val, n_features), or pyarrow Dataset, default=None
            Rows to validate on, which are not trained on: they take the place of those that
            `early_stopping` would hold out. With ``early_stopping=False`` they stop nothing, but
            are watched, and calibrate the probabilities of a classifier.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), or str or list of str, \
                default=None
            Targets of these rows; of a classifier no labels but those in `y`. The names of columns
            if `X_val` is a dataset.
        sample_weight_val : array-like of shape (n_val,), or str, default=None
            Weights of these rows in their loss and score: finite, with a sum above zero. Those of
            a classifier's `class_weight` multiply them there.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            For data that do not fit, leaving the estimator as it was: the error names the column.
            Or when the loss stops being finite.

        Notes
        -----
        A dataset is read once for what the encoding is made of, once for the rows that are held
        out, and once in every epoch, by a thread that encodes rows while the members train on
        others. Rows are shuffled in two levels: the blocks of the dataset (row groups of Parquet)
        in each epoch, then the rows of the blocks that are in memory together. The result depends
        on `random_state`, the rows, their order and `max_memory`.

        The encoding, and mean and deviation of the targets of a regressor, are those of all rows
        with weight, also of the ones that are held out. Up to 65,536 distinct values of a column
        are counted exactly (fewer where `max_memory` has no room for them); beyond that a uniform
        sample of so many rows decides. Which rows are held out follows from their numbers, without
        regard to their classes. Where they do not fit into a quarter of `max_memory` (256 MiB if
        that is None), a random part of them is watched.
        """
        _fit.fit(self, X, y, sample_weight, (X_val, y_val, sample_weight_val))
        return self

    @property
    def estimators_(self):
        """The members, as a list: each has all its parameters in a flat vector, `params`."""
        if "_fitted" not in vars(self):
            raise AttributeError("estimators_ is only available after fit.")
        return list(self._fitted.members)

    @property
    def history_(self):
        """All curves as the columns of a table: a dict of equally long lists."""
        return history_of(self)

    def __sklearn_is_fitted__(self):
        return "_fitted" in vars(self)

    def __copy__(self):
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        for name in TEMPORARY:
            vars(twin).pop(name, None)
        return twin

    def __getstate__(self):
        state = super().__getstate__().copy()
        for name in TEMPORARY:
            state.pop(name, None)
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags
