"""What the classifier and the regressor share: parameters, ``fit``, copies and pickles.

``coefs_`` and ``intercepts_`` are views of one flat vector, which is kept beside them.
"""

import functools
import os
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import (
    Interval,
    Options,
    StrOptions,
    validate_parameter_constraints,
)

from . import _core, _fit, _online, _onnx
from ._callbacks import TEMPORARY, CallbackSupportMixin
from ._datasets import is_dataset
from ._distributed import tell_the_others
from ._history import history_of
from ._input.arguments import DTYPES
from ._notebook import ShowsPlan
from ._optim import SOLVERS
from ._params import Parameters, init_coef, parameters_of
from ._predict import hidden_activations
from ._progress import NAME as PROGRESS
from ._schedules import SCHEDULES

# Values of parameters that have been found valid: (class, name, type of the value, value).
_valid = set()
_MOST_VALID = 4096
_PLAIN_TYPES = frozenset((int, float, str, bool, type(None)))


@functools.lru_cache(maxsize=256)
def _param_names(cls, init):
    return tuple(super(BaseMLP, cls)._get_param_names())


class BaseMLP(ShowsPlan, CallbackSupportMixin, BaseEstimator):
    """Base of MLPClassifier and MLPRegressor; not for direct use."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_core.ACTIVATIONS)), "array-like"],
        "solver": [StrOptions(set(SOLVERS))],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({*SCHEDULES}), callable],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose", StrOptions({PROGRESS})],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "dtype": [StrOptions({*DTYPES, "auto"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), str, None],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "input_dropout": [Interval(Real, 0, 1, closed="left")],
        "weight_decay": [Interval(Real, 0, None, closed="left")],
        "max_grad_norm": [Interval(Real, 0, None, closed="neither"), None],
        "warmup": [Interval(Real, 0, 1, closed="left")],
        "ema_decay": [Interval(Real, 0, 1, closed="left"), None],
        "scoring": [str, callable, None],
        "max_time": [Interval(Real, 0, None, closed="neither"), None],
        "checkpoint": [str, os.PathLike, None],
        "checkpoint_interval": [Interval(Real, 0, None, closed="neither")],
    }

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        _onnx.offer(cls)

    def __init__(
        self,
        *,
        hidden_layer_sizes,
        activation,
        solver,
        alpha,
        batch_size,
        learning_rate,
        learning_rate_init,
        power_t,
        max_iter,
        shuffle,
        random_state,
        tol,
        verbose,
        warm_start,
        momentum,
        nesterovs_momentum,
        early_stopping,
        validation_fraction,
        beta_1,
        beta_2,
        epsilon,
        n_iter_no_change,
        max_fun,
        dtype,
        n_threads,
        max_memory,
        dropout,
        input_dropout,
        weight_decay,
        max_grad_norm,
        warmup,
        ema_decay,
        scoring,
        max_time,
        checkpoint,
        checkpoint_interval,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.dtype = dtype
        self.n_threads = n_threads
        self.max_memory = max_memory
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.weight_decay = weight_decay
        self.max_grad_norm = max_grad_norm
        self.warmup = warmup
        self.ema_decay = ema_decay
        self.scoring = scoring
        self.max_time = max_time
        self.checkpoint = checkpoint
        self.checkpoint_interval = checkpoint_interval

    # Each subclass says what its targets are:
    #   _settings_of, which `_online` watches: the values of our own parameters, whatever a
    #   subclass of the user's makes of them
    #   _y_numeric, whether y holds numbers
    #   _check_target(y, one_epoch, classes) -> a row of _losses, y or the codes of its labels
    #   _class_weights(codes, counts) -> for `_input.weights.weights_of_rows`; None for no
    #   weights

    def _class_weights(self, codes, counts=None):
        return None

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(
        self,
        X,
        y,
        sample_weight=None,
        *,
        X_val=None,
        y_val=None,
        sample_weight_val=None,
        coef_init=None,
        intercept_init=None,
    ):
        """Fit the model to data.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input. float32, float64 and CSR are read in place, whatever the strides and whatever
            `dtype` the network has; anything else is converted. A ``pyarrow.dataset.Dataset`` is
            read block by block while the engine trains, and may be larger than memory; then
            `max_memory` caps all that the fit has. Its columns but those of y and of the weights
            are the features: numbers or booleans without nulls.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str or list of str
            Class labels, a multilabel indicator matrix, or real numbers; with a dataset the name of
            their column, or names.
        sample_weight : array-like of shape (n_samples,), or str, default=None
            Weights of the rows: finite, with a sum above zero; with a dataset the name of their
            column.
        X_val : {array-like, sparse matrix, pyarrow Dataset} of shape (n_val, n_features), \
default=None
            Input of rows to validate on, which are not trained on. With `early_stopping` they
            take the place of those that it would hold out, and `validation_fraction` is not used.
            Without, and with "lbfgs", they are only watched: `validation_loss_curve_`,
            `validation_scores_` and `history_` show how they do, nothing stops and the last
            weights stay. In a `Pipeline` with ``transform_input=["X_val"]`` they are transformed
            as `X` is. It may be a dataset only where `X` is one, and is read into memory; `y_val`
            and `sample_weight_val` then are names of columns.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), or str or list of str, \
default=None
            Targets of these rows; of a classifier no labels but those in `y`.
        sample_weight_val : array-like of shape (n_val,), or str, default=None
            Weights of these rows in their loss and score: finite, with a sum above zero. Those of
            a classifier's `class_weight` multiply them there.
        coef_init : list of array-like of shape (in, out), default=None
            Initial weights, one array per layer. None: drawn, or with `warm_start` the present
            ones. What is given has no influence on what else is drawn.
        intercept_init : list of array-like of shape (out,), default=None
            Initial biases, in the same way.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError, TypeError
            For input that does not fit, leaving the estimator as it was; or when the loss stops
            being finite, leaving the last finite parameters in `coefs_` and `intercepts_`; or for
            files of a dataset that change during the fit.
        OSError
            For files of a dataset that cannot be read.
        Exception
            What a scorer or a callback raises ends the fit: the estimator stays fitted, with the
            best weights so far with `early_stopping`, else with the present ones.
        """
        _fit.fit(
            self,
            X,
            y,
            sample_weight,
            validation=(X_val, y_val, sample_weight_val),
            coef_init=coef_init,
            intercept_init=intercept_init,
        )
        return self

    def _learn_online(self, X, y, sample_weight, classes=None):
        """One epoch, for ``partial_fit``."""
        if is_dataset(X):
            error = TypeError(
                "X is a dataset: partial_fit takes arrays, and trains on them once. fit takes a "
                "dataset, and goes on with it where warm_start=True."
            )
            tell_the_others(error)
            raise error
        if not _online.step(self, X, y, sample_weight, classes):
            self._fit_one_epoch(X, y, sample_weight, classes)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def _fit_one_epoch(self, X, y, sample_weight, classes):
        _online.note(self, _fit.fit(self, X, y, sample_weight, one_epoch=True, classes=classes))

    @classmethod
    def _get_param_names(cls):
        # scikit-learn inspects the signature in each call, for 50 microseconds.
        return list(_param_names(cls, cls.__init__))

    def _validate_params(self):
        # Values that have passed pass again; scikit-learn looks at each for some microseconds.
        cls, unknown = type(self), {}
        for name, value in self.get_params(deep=False).items():
            kind = type(value)
            if kind not in _PLAIN_TYPES or (cls, name, kind, value) not in _valid:
                unknown[name] = value
        if not unknown:
            return
        try:
            validate_parameter_constraints(
                self._parameter_constraints, unknown, caller_name=cls.__name__
            )
        except ValueError as error:
            tell_the_others(error)
            raise
        if len(_valid) > _MOST_VALID:
            _valid.clear()
        for name, value in unknown.items():
            if type(value) in _PLAIN_TYPES:
                _valid.add((cls, name, type(value), value))

    # A subclass may choose other initial weights by overriding this, as with scikit-learn's class.
    _init_coef = init_coef

    def _link(self, params):
        """Make `coefs_` and `intercepts_` views of this flat vector."""
        self.coefs_, self.intercepts_ = list(params.coefs), list(params.intercepts)
        self._params = params

    def _parameters(self):
        """The flat vector behind `coefs_`; packed anew if the user put in arrays of their own."""
        return parameters_of(vars(self))

    @property
    def history_(self):
        """All curves as the columns of a table: a dict of equally long lists."""
        return history_of(self)

    @property
    def learning_rates_(self):
        """Learning rate at the end of each epoch; None if the last fit had none."""
        rates = history_of(self)["learning_rate"]
        return rates if getattr(self, "_optimizer", None) is not None else None

    def hidden_activations(self, X):
        """Activations of the hidden layers.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        list of ndarray of shape (n_samples, width)
            a = f(z) of every hidden layer, the first one first; empty for a net without one. In
            the dtype of the predictions for X.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For input that does not fit.
        """
        return hidden_activations(self, X)

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coefs_")

    def __copy__(self):
        # A shallow copy shares everything, the parameters and their optimizer state alike.
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        for name in TEMPORARY:
            vars(twin).pop(name, None)
        return twin

    def __getstate__(self):
        # Views of one vector would be saved twice.
        state = super().__getstate__().copy()
        for name in ("_params", "_steady", *TEMPORARY):
            state.pop(name, None)
        return state

    def __setstate__(self, state):
        super().__setstate__(state)
        arrays = (*vars(self).get("coefs_", ()), *vars(self).get("intercepts_", ()))
        # Memory-mapped arrays (joblib's mmap_mode) stay where they are.
        if arrays and all(type(a) is np.ndarray for a in arrays):
            self._link(Parameters.packed(self.coefs_, self.intercepts_))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
