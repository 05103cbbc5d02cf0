"""MLPRegressor: scikit-learn's estimator of that name on the fastbp engine."""

from sklearn.base import RegressorMixin
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ._base import BaseMLP, solver_is_stochastic
from ._losses import REGRESSION
from ._predict import Fitted, outputs


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for regression, trained with the squared error or Poisson deviance.

    A drop-in replacement of ``sklearn.neural_network.MLPRegressor``: the same parameters,
    attributes and methods, and with ``dtype="float64"`` the same numbers for the same seed.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error with identity output, or half the Poisson deviance with exponential
        output (`y` must not be negative). With several outputs `loss_` reports the mean of the
        squared error over them, while the gradient is that of the sum, as in scikit-learn.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Function of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        "adam" [1]_ and "sgd" take mini-batches, "lbfgs" all rows in each iteration.
    alpha : float, default=0.0001
        Strength of the L2 penalty, divided by the number (weight) of rows in the batch.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch; "auto" is ``min(200, n_samples)``. Not used by "lbfgs".
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of "sgd": constant; ``learning_rate_init / (t + 1)**power_t`` with t the samples
        seen; or divided by 5 each time that training stalls.
    learning_rate_init : float, default=0.001
        Initial learning rate of "sgd" and "adam".
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs ("sgd", "adam") or iterations ("lbfgs") at most.
    shuffle : bool, default=True
        Visit the rows in a new random order in each epoch.
    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, the validation split and the order of the rows.
    tol : float, default=1e-4
        Improvement that counts as such.
    verbose : bool or int, default=False
        Print a line per epoch.
    warm_start : bool, default=False
        Let `fit` start from the present weights.
    momentum : float, default=0.9
        Momentum of "sgd", in [0, 1].
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum when `momentum` > 0.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the rows, stop when the R2 score on them stalls, and keep
        the weights that did best. Not used by "lbfgs".
    validation_fraction : float, default=0.1
        Share of rows held out by `early_stopping`.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the moment estimates of "adam", in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator of "adam".
    n_iter_no_change : int, default=10
        Epochs without improvement before training stops; ``numpy.inf`` for never.
    max_fun : int, default=15000
        Function calls of "lbfgs" at most.
    dtype : {"float32", "float64", "auto"}, default="float32"
        Type of weights, arithmetic and predictions. "auto" takes float32 for float32 X and float64
        otherwise, as scikit-learn does. "lbfgs" always computes in float64. Where float32 could not
        hold the digits of the targets, because the mean of a column of y is more than 1000 standard
        deviations from zero in the first fit, "float32" means float64, of `coefs_` too.
    n_threads : int or None, default=None
        Threads of one fit. None: chosen from the shapes, at most the cores allowed to the process
        and the environment variables FASTBP_NUM_THREADS and OMP_NUM_THREADS.
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or text like "64MB". Mini-batches that do not fit are processed
        in parts that add up to the same gradient.

    Attributes
    ----------
    coefs_ : list of ndarray
        Weights W of shape (in, out), one per layer; views of one vector.
    intercepts_ : list of ndarray
        Biases of shape (out,), one per layer.
    loss_ : float
        Loss of the last epoch or iteration.
    best_loss_ : float or None
        Smallest loss; None with `early_stopping` ("sgd", "adam").
    loss_curve_ : list of float
        Loss of each epoch or iteration.
    validation_scores_ : list of float or None
        R2 score on the held-out rows after each epoch, NaN where it could
        not be had; None without `early_stopping` and for "lbfgs".
    best_validation_score_ : float or None
        The best of them.
    t_ : int
        Training samples seen ("sgd", "adam").
    n_iter_ : int
        Epochs or iterations of the last fit.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of features, if X had any.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of outputs.
    out_activation_ : str
        "identity", or "exp" for the Poisson loss.
    memory_plan_ : MemoryPlan
        What the last fit allocated; a tuple, which JSON takes as a list.

    See Also
    --------
    MLPClassifier : The same for class labels.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp import MLPRegressor
    >>> X = np.linspace(-1, 1, 400).reshape(-1, 1)
    >>> y = np.sin(3 * X[:, 0])
    >>> reg = MLPRegressor(activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(reg.score(X, y) > 0.999)
    True
    """

    _parameter_constraints: dict = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions(set(REGRESSION))],
    }
    _y_numeric = True

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dtype="float32",
        n_threads=None,
        max_memory=None,
    ):
        self.loss = loss
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            dtype=dtype,
            n_threads=n_threads,
            max_memory=max_memory,
        )

    @available_if(solver_is_stochastic)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch over the given data, going on from the present state.

        Settings that were changed since the last call count; a new `learning_rate_init` or
        `learning_rate` starts at that rate, a new `solver` with a new state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

        Returns
        -------
        self : object
            The estimator.
        """
        return self._learn_online(X, y, sample_weight)

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In the dtype that scikit-learn's class gives for the same X: float64 unless `fit` and
            this method both get float32.
        """
        output = outputs(self, Fitted.of(self), X)
        return output[:, 0] if output.shape[1] == 1 else output

    def _check_target(self, y, one_epoch, classes):
        return REGRESSION[self.loss], y
