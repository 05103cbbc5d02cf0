"""What the classifier and the regressor share: parameters, checks, and the way through a fit.

A fit first checks and prepares everything, leaving the estimator as it was if anything is wrong,
and only then changes it. ``coefs_`` and ``intercepts_`` are views of one flat vector.
"""

import inspect
import warnings
from contextlib import contextmanager
from numbers import Integral, Real

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import assert_all_finite, check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from . import _core
from ._forward import FEW_ROWS, Forward, engine_input, few_non_zeros
from ._layout import Parameters
from ._threads import resolve_n_threads, single_threaded_blas
from ._training import (
    NON_FINITE,
    Job,
    clear_history,
    fit_lbfgs,
    fit_stochastic,
    optimizer_for,
    split_rows,
)
from .memory import MemoryPlan, parse_max_memory

_STOCHASTIC = ("sgd", "adam")
# Output activation, as scikit-learn names it, to the core's loss.
_CORE_LOSS = {
    "identity": "squared_error",
    "exp": "poisson",
    "softmax": "log_loss",
    "logistic": "binary_log_loss",
}
# L-BFGS wants the gradient over all rows; this many at a time keep the arena small.
_LBFGS_ROWS = 1024
# `fit` on so few rows computes in float64 and rounds the result to the net's dtype: it costs
# nothing, and a weight of k then means the same as k equal rows to the last digit.
_ROWS_IN_DOUBLE = 64


def store_parameters(estimator, arguments):
    """Assign the constructor's arguments (its ``locals()``) to the attributes of the same name."""
    for name in inspect.signature(type(estimator).__init__).parameters:
        if name != "self":
            setattr(estimator, name, arguments[name])


@contextmanager
def _unchanged_on_error(estimator):
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def solver_is_stochastic(estimator):
    """Condition of ``partial_fit``; raises AttributeError if the solver needs all rows at once."""
    if estimator.solver not in _STOCHASTIC:
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(BaseEstimator):
    """Base of MLPClassifier and MLPRegressor; not for direct use."""

    _parameter_constraints: dict = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions(set(_core.ACTIVATIONS))],
        "solver": [StrOptions({"lbfgs", *_STOCHASTIC})],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
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
        "dtype": [StrOptions({"float32", "float64", "auto"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    # Each subclass says what its targets look like:
    #   _check_input(X, y, incremental, classes, reset) -> X, target as the core takes it
    #   _output_shape(target) -> n_outputs, output activation
    #   _stratify(target) -> labels for the validation split, or None
    #   _output_score(output, target, sample_weight) -> float, the validation score

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model to data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input. float32, float64 and CSR are read in place, whatever the strides and whatever
            `dtype` the network has; anything else is converted.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a multilabel indicator matrix, or real numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For input that does not fit, leaving the estimator as it was; or when the loss stops
            being finite, leaving the last finite parameters in `coefs_` and `intercepts_`.
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X, y, sample_weight, incremental, classes=None):
        with _unchanged_on_error(self):
            job, optimizer = self._prepare(X, y, sample_weight, incremental, classes)
        flat = self._params.flat
        try:
            with single_threaded_blas():
                if optimizer is None:
                    fit_lbfgs(self, job)
                else:
                    fit_stochastic(self, job, optimizer, incremental)
        finally:
            if job.params is not self._params:
                with np.errstate(over="ignore"):
                    flat[...] = job.params.flat
        # The sum is finite unless an entry is not (or the sum overflows, hence the second look).
        if not np.isfinite(flat.sum()) and not np.isfinite(flat).all():
            raise ValueError(NON_FINITE)
        return self

    def _prepare(self, X, y, sample_weight, incremental, classes):
        """Check everything, allocate everything, set the attributes that training starts from."""
        hidden = self._hidden_sizes()
        max_memory = parse_max_memory(self.max_memory)
        n_threads = resolve_n_threads(self.n_threads)
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)

        X, target = self._check_input(X, y, incremental, classes, reset=first)
        n_rows = X.shape[0]
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            sample_weight = np.ascontiguousarray(sample_weight, dtype=np.float64)
        random_state = check_random_state(self.random_state)
        if first:
            self.n_outputs_, self.out_activation_ = self._output_shape(target)
            sizes = (X.shape[1], *hidden, self.n_outputs_)
            dtype = X.dtype.name if self.dtype == "auto" else self.dtype
            params = self._draw(sizes, dtype, max_memory, random_state)
        else:
            params = self._continued(X, target, hidden)

        rows = validation_rows = None
        n_train = n_rows
        if self.early_stopping and self.solver in _STOCHASTIC:
            rows, validation_rows = split_rows(self, n_rows, self._stratify(target), random_state)
            n_train = len(rows)
        trained = params
        if not incremental and n_rows <= _ROWS_IN_DOUBLE and params.flat.dtype != np.float64:
            trained = Parameters.packed(params.coefs, params.intercepts, np.float64)
        optimizer, batch_size = None, min(_LBFGS_ROWS, n_rows)
        if self.solver in _STOCHASTIC:
            optimizer = optimizer_for(self, trained, incremental)
            batch_size = self._batch_size(n_train)

        loss = _CORE_LOSS[self.out_activation_]
        trainer = _core.Trainer(
            params.layer_sizes,
            (self.activation,) * (len(params.layer_sizes) - 2),
            loss,
            trained.flat.dtype.name,
            batch_size,
            optimizer="none" if optimizer is None else optimizer.core_name,
            n_threads=n_threads,
            max_memory=max_memory,
            sparse=few_non_zeros(X),
        )
        X = engine_input(X)
        job = Job(
            trainer=trainer,
            params=trained,
            data=_core.Data(X, target, sample_weight),
            n_rows=n_train,
            rows=rows,
            batch_size=batch_size,
            random_state=random_state,
            loss_scale=1.0 / self.n_outputs_ if loss == "squared_error" else 1.0,
            target=target,
            sample_weight=sample_weight,
            validation_rows=validation_rows,
        )

        self.memory_plan_ = MemoryPlan.from_core(trainer.plan())
        if first:
            clear_history(self)
            self.t_ = self.n_iter_ = 0
            self.n_layers_ = len(params.layer_sizes)
        elif not hasattr(self, "t_"):
            self.t_ = 0
        self._link(params)
        return job, optimizer

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if not all(isinstance(n, Integral) for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be integers, got {sizes}.")
        if any(n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(n) for n in sizes]

    def _draw(self, sizes, dtype, max_memory, random_state):
        # Measuring first turns sizes beyond all bounds into an error that says so.
        activations = (self.activation,) * (len(sizes) - 2)
        loss = _CORE_LOSS[self.out_activation_]
        try:
            _core.plan(sizes, activations, loss, dtype, 1, "none", 1, max_memory=max_memory)
            return Parameters.drawn(sizes, dtype, self.activation, random_state)
        except (OverflowError, MemoryError) as error:
            raise type(error)(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} makes a network of layer sizes "
                f"{sizes} that is too large: {error}"
            ) from error

    def _continued(self, X, target, hidden):
        """The parameters to go on from; they must match the data and the constructor."""
        params = self._parameters()
        if self.dtype != "auto" and params.flat.dtype != self.dtype:
            params = Parameters.packed(params.coefs, params.intercepts, self.dtype)
        have = params.layer_sizes
        name = type(self).__name__
        if list(have[1:-1]) != hidden:
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r} does not match the widths "
                f"{have[1:-1]} of the fitted layers; a fit with warm_start=False can change them."
            )
        if have[0] != X.shape[1]:
            raise ValueError(
                f"X has {X.shape[1]} features, but {name} is expecting {have[0]} features as input."
            )
        n_outputs, out_activation = self._output_shape(target)
        if have[-1] != n_outputs:
            raise ValueError(f"y has {n_outputs} outputs, but {name} was fitted with {have[-1]}.")
        if not hasattr(self, "out_activation_"):
            self.out_activation_ = out_activation
        self.n_outputs_, self.n_layers_ = n_outputs, len(have)
        return params

    def _batch_size(self, n_rows):
        if self.batch_size == "auto":
            return min(200, n_rows)
        if self.batch_size > n_rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                f"clipped from {self.batch_size} to {n_rows}.",
                stacklevel=2,
            )
        return int(min(self.batch_size, n_rows))

    def _link(self, params):
        """Make `coefs_` and `intercepts_` views of this flat vector."""
        self.coefs_, self.intercepts_ = list(params.coefs), list(params.intercepts)
        self._params = params
        if not hasattr(self, "_forward"):
            self._forward = Forward()

    def _parameters(self):
        """The flat vector behind `coefs_`; packed anew if the user put in arrays of their own."""
        params = getattr(self, "_params", None)
        if params is not None and params.seen_in(self.coefs_, self.intercepts_):
            return params
        return Parameters.packed(self.coefs_, self.intercepts_)

    def _outputs(self, X):
        """Network output for X, shape (n_samples, n_outputs), in the parameters' dtype."""
        check_is_fitted(self)
        if not self._is_plain(X):
            X = self._validated(X, reset=False)
        forward = getattr(self, "_forward", None) or Forward()
        return forward(
            self._parameters(),
            X,
            self.activation,
            _CORE_LOSS[self.out_activation_],
            self.n_threads,
            parse_max_memory(self.max_memory),
        )

    def _validated(self, X, y="no_validation", **settings):
        """scikit-learn's checks and conversions of X, or of X and y.

        That a dense X has no NaN and no infinity is left to our threads: NumPy takes more than
        twice as long.
        """
        checked = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=(np.float64, np.float32),
            ensure_all_finite=False,
            **settings,
        )
        X = checked[0] if isinstance(checked, tuple) else checked
        large = X.shape[0] * X.shape[1] >= 2 * _core.FINITE_SHARE
        n_threads = resolve_n_threads(self.n_threads) if large else 1
        if issparse(X) or not _core.all_finite(engine_input(X), n_threads):
            assert_all_finite(X, estimator_name=type(self).__name__, input_name="X")
        return checked

    def _is_plain(self, X):
        """Tell whether X needs no validation: a few finite rows of the right type and width.

        The general validation takes 70 microseconds, far more than the forward pass of a few rows.
        """
        return (
            type(X) is np.ndarray
            and X.ndim == 2
            and 0 < X.shape[0] <= FEW_ROWS
            and X.shape[1] == getattr(self, "n_features_in_", None)
            and (X.dtype == np.float32 or X.dtype == np.float64)
            and not hasattr(self, "feature_names_in_")
            and bool(np.isfinite(X).all())
        )

    def __sklearn_is_fitted__(self):
        return hasattr(self, "coefs_")

    def __copy__(self):
        # A shallow copy shares everything, the parameters and their optimizer state alike.
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        return twin

    def __getstate__(self):
        # Views of one vector would be saved twice, and engines cannot be saved.
        state = super().__getstate__().copy()
        state.pop("_params", None)
        state.pop("_forward", None)
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
