"""MLPRegressor: scikit-learn's estimator of that name on the fastbp engine."""

from numbers import Real
from operator import attrgetter

from sklearn.base import RegressorMixin
from sklearn.utils import check_array
from sklearn.utils._param_validation import Interval, StrOptions

from ._availability import available_online
from ._base import BaseMLP
from ._datasets import columns_for_score
from ._input.arguments import check_huber_delta, check_quantile
from ._input.targets import repeated
from ._losses import REGRESSION, d2_pinball, means, regression
from ._predict import Fitted, outputs


def _squeezed(output):
    return output[:, 0] if output.shape[1] == 1 else output


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for regression, trained with the squared error or another loss.

    A drop-in replacement of ``sklearn.neural_network.MLPRegressor``: the same parameters,
    attributes and methods, and with ``dtype="float64"`` the same numbers for the same seed.

    Parameters
    ----------
    loss : str or callable, default="squared_error"
        Of the error e = output - y, with identity output:

        - "squared_error": 0.5 * e**2. With several outputs `loss_` reports the mean over them,
          while the gradient is that of the sum, as in scikit-learn. `loss_` of every other loss is
          the sum over the outputs;
        - "absolute_error": abs(e), for the median;
        - "huber": 0.5 * e**2, or where abs(e) is above `huber_delta`
          ``huber_delta * (abs(e) - 0.5 * huber_delta)``;
        - "log_cosh": log(cosh(e)), as 0.5 * e**2 near 0 and as abs(e) far from it;
        - "quantile": the pinball loss, ``max(-q * e, (1 - q) * e)`` with q from `quantile`.

        With exponential output:

        - "poisson": half the Poisson deviance; `y` must not be negative;
        - "gamma": half the gamma deviance; `y` must be above 0.

        With a mean and a standard deviation for each target:

        - "gaussian_nll": the negative log-likelihood of a normal distribution without its
          constant, ``0.5 * (log(v) + (y - mean)**2 / v)``, where v = exp(z) + 1e-6 is the variance
          and z an output of the last layer. ``predict(X, return_std=True)`` returns both.

        A loss of your own is a function ``(output, y, sample_weight) -> (loss_per_row,
        d_output)`` of arrays of shape (n, n_outputs), (n, n_outputs) and (n,) or None: the losses
        of the n rows of a mini-batch and their derivatives by the output, both without weights and
        the mean, which are fastbp's. The output has no activation.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Widths of the hidden layers.
    activation : str or sequence of str, default="relu"
        Function f of the hidden layers, one name for all or one per hidden layer: "identity",
        "logistic", "tanh", "relu", "leaky_relu" (slope 0.01), "elu" [2]_, "selu" [3]_, "gelu"
        (exact) [4]_, "silu" [4]_, "mish" [5]_ or "softplus".
    solver : {"lbfgs", "sgd", "adam", "adamw"}, default="adam"
        "adam" [1]_, "adamw", which is Adam with `weight_decay` apart from the gradient [6]_, and
        "sgd" take mini-batches, "lbfgs" all rows in each iteration.
    alpha : float, default=0.0001
        Strength of the L2 penalty, divided by the number (weight) of rows in the batch.
    batch_size : int or "auto", default="auto"
        Rows of a mini-batch; "auto" is ``min(200, n_samples)``. Not used by "lbfgs".
    learning_rate : str or callable, default="constant"
        Schedule of the learning rate, for "sgd", "adam" and "adamw":

        - "constant": `learning_rate_init`;
        - "invscaling" ("sgd" only): ``learning_rate_init / (t + 1)**power_t`` with t the samples
          seen;
        - "adaptive" ("sgd" only): divided by 5 each time that training stalls;
        - "cosine" [7]_ and "linear": from `learning_rate_init` to 0 at the last step of `max_iter`
          epochs;
        - "one_cycle" [8]_: from `learning_rate_init` / 25 up to it in the first 30% of the steps,
          or in the share `warmup`, and down to `learning_rate_init` / 250000, both as a cosine;
        - a function from an array of progress, 0 at the first step after `warmup` and 1 at the
          last of `max_iter` epochs, to an array of as many factors of `learning_rate_init`,
          finite and 0 or more.

        The last four change from step to step. A fit whose loss stalls before their end stops
        there, unless ``n_iter_no_change=numpy.inf``. "lbfgs" does not support them, nor does
        `partial_fit`, which does not know how many steps there will be.
    learning_rate_init : float, default=0.001
        Initial learning rate of "sgd", "adam" and "adamw"; with "one_cycle" and `warmup` the
        largest.
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        Epochs ("sgd", "adam", "adamw") or iterations ("lbfgs") at most.
    shuffle : bool, default=True
        Visit the rows in a new random order in each epoch.
    random_state : int, RandomState instance or None, default=None
        Source of the initial weights, the validation split and the order of the rows.
    tol : float, default=1e-4
        Improvement that counts as such.
    verbose : bool, int or "progress", default=False
        Print a line per epoch; or show on standard error, in one line that is written anew, how far
        a fit has come and how much time is left until `max_iter` or `max_time`. Where standard
        error is no terminal, it gets a line for every tenth of the fit.
    warm_start : bool, default=False
        Let `fit` start from the present weights.
    momentum : float, default=0.9
        Momentum of "sgd", in [0, 1].
    nesterovs_momentum : bool, default=True
        Use Nesterov's momentum when `momentum` > 0.
    early_stopping : bool, default=False
        Hold out `validation_fraction` of the rows, or take those that `fit` gets as `X_val`, stop
        when what `scoring` says of them stalls, and keep the weights that did best. On `X_val` a
        `warm_start` begins with the score of the present weights, as the one to beat. Not used by
        "lbfgs".
    validation_fraction : float, default=0.1
        Share of rows held out by `early_stopping`, unless `fit` gets `X_val`.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the moment estimates of "adam" and "adamw", in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator of "adam" and "adamw".
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
    huber_delta : float, default=1.0
        Of the loss "huber": the error up to which it is squared.
    quantile : float or sequence of float, default=0.5
        Of the loss "quantile": the quantile in (0, 1) to predict. A sequence asks for several of
        one target, in any order: the net has one output for each, and `y` one column. Their
        number cannot change between fits with `warm_start`, or calls of `partial_fit`.
    dropout : float or sequence of float, default=0.0
        Probability in [0, 1) that a hidden unit is left out in a step of training, drawn for each
        row anew; the others are multiplied by 1 / (1 - dropout) [9]_. One number for all hidden
        layers or one per hidden layer. Predictions and validation leave out nothing. The draws
        depend on `random_state`, not on the number of threads. Not supported by "lbfgs".
    input_dropout : float, default=0.0
        The same for the numbers of X.
    weight_decay : float, default=0.01
        Of "adamw" only: in each step weights, not biases, lose this share of themselves times the
        learning rate. It comes on top of `alpha`.
    max_grad_norm : float or None, default=None
        Longest Euclidean length of the gradient of the mean loss with its L2 penalty, over all
        weights and biases: a longer one is shortened to it [10]_. Not supported by "lbfgs".
    warmup : float, default=0.0
        Share in [0, 1) of the steps of `max_iter` epochs in which the learning rate first rises,
        in equal parts from 0, before the schedule begins. Not supported by "lbfgs" and
        `partial_fit`.
    ema_decay : float or None, default=None
        In [0, 1): after each step a moving average of the weights becomes ``ema_decay * average +
        (1 - ema_decay) * weights`` [11]_, beginning with the initial weights, of which a
        hundredth is left after 4.6 / (1 - ema_decay) steps: let a fit be longer than that.
        `coefs_`, `intercepts_`, predictions and validation are then those of the average; `loss_`
        is that of the weights which are trained. Not supported by "lbfgs".
    scoring : str, callable or None, default=None
        What is watched on the rows held out or on `X_val`, and what `early_stopping` stops by. None
        for the R2 score; "loss" for minus the validation loss; the name of a scorer, as
        ``sklearn.metrics.get_scorer_names()`` lists them; or a callable ``(estimator, X, y)`` that
        returns a number, higher for better; `estimator` is a copy. A scorer with a parameter
        `sample_weight` gets the weights of the rows, if there are any.
    max_time : float or None, default=None
        Seconds. The fit ends after the epoch or iteration that passes it, with a
        ConvergenceWarning and the weights that it would have ended with anyway: the best so far
        with `early_stopping`, else the present ones.
    checkpoint : str, path-like or None, default=None
        File in which `fit` keeps the state of its run, at most every `checkpoint_interval` seconds
        and when it is interrupted. The same call of `fit`, in this process or another one, goes on
        from there, and ends with the bits of a run that was never interrupted. One of other data,
        parameters or versions is an error that names the difference. The file is removed when
        the fit has ended; each fit takes a path of its own. `partial_fit` writes none.
    checkpoint_interval : float, default=60.0
        Seconds between two checkpoints at least.

    Attributes
    ----------
    coefs_ : list of ndarray
        Weights W of shape (in, out), one per layer; views of one vector.
    intercepts_ : list of ndarray
        Biases of shape (out,), one per layer.
    loss_ : float
        Loss of the last epoch or iteration.
    best_loss_ : float or None
        Smallest loss; None with `early_stopping`, but for "lbfgs".
    loss_curve_ : list of float
        Loss of each epoch or iteration. `warm_start` and `partial_fit` go on with all curves.
    validation_scores_ : list of float or None
        Score of the rows that are watched after each epoch or iteration, by default the R2 score,
        of the means for "gaussian_nll", and with a list of quantiles the mean D2 pinball score;
        NaN where it could not be had; None without `early_stopping` and `X_val`. The rows weigh
        `sample_weight_val` (those held out: `sample_weight`).
    validation_loss_curve_ : list of float or None
        Their loss, in the same way: of the same weights, without the L2 penalty.
    best_validation_score_ : float or None
        The best of the scores, or that which a `warm_start` on `X_val` began with; with
        ``scoring="loss"`` minus the smallest loss.
    best_iter_ : int
        The entry of `loss_curve_`, counted from 1, whose weights `early_stopping` kept; without it
        that of the smallest loss. 0 if there was none better than the initial weights.
    learning_rates_ : list of float or None
        Learning rate at the end of each epoch, before the bias correction of "adam"; None for
        "lbfgs".
    history_ : dict of list
        All curves as the columns of a table, a row for each entry of `loss_curve_`: "iteration",
        "seconds" (of training since the first fit began), "loss", "validation_loss",
        "validation_score" and "learning_rate", NaN where there is none.
    t_ : int
        Training samples seen; not of "lbfgs".
    n_iter_ : int
        Epochs or iterations of the last fit.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Names of features, if X had any.
    n_layers_ : int
        Number of layers, input and output included.
    n_outputs_ : int
        Number of outputs of the net: one for each target; one for each quantile of a list; and two
        for each target with "gaussian_nll", first all means and then all deviations.
    out_activation_ : str
        "identity"; "exp" for the losses "poisson" and "gamma"; or "mean_and_std" for
        "gaussian_nll".
    memory_plan_ : MemoryPlan
        What the last fit allocated; a tuple, which JSON takes as a list.

    See Also
    --------
    MLPClassifier : The same for class labels.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.
    .. [2] D.-A. Clevert, T. Unterthiner and S. Hochreiter, "Fast and accurate deep network learning
       by exponential linear units (ELUs)", ICLR 2016.
    .. [3] G. Klambauer, T. Unterthiner, A. Mayr and S. Hochreiter, "Self-normalizing neural
       networks", NIPS 2017.
    .. [4] D. Hendrycks and K. Gimpel, "Gaussian error linear units (GELUs)", 2016,
       arXiv:1606.08415.
    .. [5] D. Misra, "Mish: a self regularized non-monotonic activation function", BMVC 2020.
    .. [6] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019.
    .. [7] I. Loshchilov and F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR
       2017; here without restarts.
    .. [8] L. N. Smith and N. Topin, "Super-convergence: very fast training of neural networks using
       large learning rates", arXiv:1708.07120, 2018.
    .. [9] N. Srivastava, G. Hinton, A. Krizhevsky, I. Sutskever and R. Salakhutdinov, "Dropout: a
       simple way to prevent neural networks from overfitting", JMLR 15, 2014.
    .. [10] R. Pascanu, T. Mikolov and Y. Bengio, "On the difficulty of training recurrent neural
       networks", ICML 2013.
    .. [11] B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic approximation by
       averaging", SIAM J. Control Optim. 30, 1992; there with equal weights.

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
        "loss": [StrOptions(set(REGRESSION)), callable],
        "huber_delta": [Interval(Real, 0, None, closed="neither")],
        "quantile": [Interval(Real, 0, 1, closed="neither"), "array-like"],
    }
    _settings_of = staticmethod(attrgetter(*_parameter_constraints))
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
        huber_delta=1.0,
        quantile=0.5,
        dropout=0.0,
        input_dropout=0.0,
        weight_decay=0.01,
        max_grad_norm=None,
        warmup=0.0,
        ema_decay=None,
        scoring=None,
        max_time=None,
        checkpoint=None,
        checkpoint_interval=60.0,
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
            dropout=dropout,
            input_dropout=input_dropout,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            warmup=warmup,
            ema_decay=ema_decay,
            scoring=scoring,
            max_time=max_time,
            checkpoint=checkpoint,
            checkpoint_interval=checkpoint_interval,
        )
        self.huber_delta = huber_delta
        self.quantile = quantile

    @available_online
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch over the given data, going on from the present state.

        Settings that were changed since the last call count; a new `learning_rate_init` or
        `learning_rate` starts at that rate, a new `solver` with a new state. Nothing is watched:
        `scoring` is not used, callbacks are not called, and `early_stopping=True` and a `max_time`
        are errors.

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

    def predict(self, X, return_std=False):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.
        return_std : bool, default=False
            Also return standard deviations, which a net fitted with ``loss="gaussian_nll"`` has.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_targets)
            In the dtype that scikit-learn's class gives for the same X: float64 unless `fit` and
            this method both get float32. With a list of quantiles of shape (n_samples,
            n_quantiles), in their order, also for a list of one. With "gaussian_nll" the means.
        std : ndarray of the same shape
            Only with `return_std`.

        Raises
        ------
        ValueError
            `return_std` where the net was fitted with another loss than "gaussian_nll".
        """
        fitted = Fitted.of(self)
        output_activation = fitted.state.get("out_activation_")
        if output_activation == "mean_and_std":
            output = outputs(self, fitted, X)
            mean, std = map(_squeezed, (means(output), output[:, output.shape[1] // 2 :]))
            return (mean, std) if return_std else mean
        if return_std:
            raise ValueError(
                f"return_std={return_std!r} with loss={self.loss!r}, out_activation_="
                f"{output_activation!r}: it takes a net fitted with loss='gaussian_nll'."
            )
        output = outputs(self, fitted, X)
        return output if fitted.state.get("_quantiles") else _squeezed(output)

    def score(self, X, y, sample_weight=None):
        """R2 of the predictions; with a list of quantiles their mean D2 pinball score.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.
        y : array-like of shape (n_samples,) or (n_samples, n_targets), or str or list of str
            Targets; with a dataset their columns.
        sample_weight : array-like of shape (n_samples,), or str, default=None
            Weights of the rows; with a dataset their column.

        Returns
        -------
        float
            ``sklearn.metrics.r2_score``; or of each quantile its
            ``sklearn.metrics.d2_pinball_score``, averaged over them.
        """
        y, sample_weight = columns_for_score(X, y, sample_weight)
        quantiles = getattr(self, "_quantiles", None)
        if not quantiles:
            return super().score(X, y, sample_weight)
        target = repeated(check_array(y, ensure_2d=False, input_name="y"), len(quantiles))
        return d2_pinball(quantiles)(self.predict(X), target, sample_weight)

    def _check_target(self, y, one_epoch, classes):
        quantile = check_quantile(self.quantile)
        several = self.loss == "quantile" and isinstance(quantile, tuple)
        self._quantiles = quantile if several else None
        return regression(self.loss, check_huber_delta(self.huber_delta), quantile), y

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        exponential = self.loss in ("poisson", "gamma")
        tags.target_tags.positive_only = exponential
        # Of scikit-learn's tests: a linear function is learnt slowly by exp(z).
        tags.regressor_tags.poor_score = exponential
        return tags
