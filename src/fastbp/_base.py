"""What the classifier and the regressor share: parameters, ``fit``, copies and pickles.

``coefs_`` and ``intercepts_`` are views of one flat vector, which is kept beside them.
"""

import inspect
from numbers import Integral, Real

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils._param_validation import Interval, Options, StrOptions

from . import _core, _fit
from ._input.arguments import DTYPES
from ._optim import SOLVERS, is_stochastic
from ._params import Parameters
from ._predict import Forward


def store_parameters(estimator, arguments):
    """Assign the constructor's arguments (its ``locals()``) to the attributes of the same name."""
    for name in inspect.signature(type(estimator).__init__).parameters:
        if name != "self":
            setattr(estimator, name, arguments[name])


def solver_is_stochastic(estimator):
    """Condition of ``partial_fit``; raises AttributeError if the solver needs all rows at once."""
    if not is_stochastic(estimator.solver):
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
        "solver": [StrOptions(set(SOLVERS))],
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
        "dtype": [StrOptions({*DTYPES, "auto"})],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "max_memory": [Interval(Integral, 1, None, closed="left"), str, None],
    }

    # Each subclass says what its targets are:
    #   _y_numeric, whether y holds numbers
    #   _check_target(y, one_epoch, classes) -> a row of _losses, y or the codes of its labels

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
        return _fit.fit(self, X, y, sample_weight)

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
