"""MLPClassifier: scikit-learn's estimator of that name on the fastbp engine."""

from numbers import Real
from operator import attrgetter

import numpy as np
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils._param_validation import Interval, StrOptions

from ._availability import available_online
from ._base import BaseMLP
from ._datasets import columns_for_score
from ._input.targets import encode_labels
from ._input.weights import class_weights
from ._losses import CLASSIFICATION
from ._predict import Fitted, outputs


def _has_one_class(fitted):
    return len(fitted.state.get("classes_", ())) == 1


def _probabilities(fitted, estimator, X):
    output = outputs(estimator, fitted, X)
    if output.shape[1] > 1:
        return output
    if _has_one_class(fitted):
        return np.ones_like(output)
    proba = np.empty((len(output), 2), dtype=output.dtype)
    proba[:, 1] = output[:, 0]
    np.subtract(1, output[:, 0], out=proba[:, 0])
    return proba


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classification, trained with the log loss.

    A drop-in replacement of ``sklearn.neural_network.MLPClassifier``: the same parameters,
    attributes and methods, and with ``dtype="float64"`` the same numbers for the same seed.

    Parameters
    ----------
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
        Hold out `validation_fraction` of the rows (stratified for two classes), stop when
        what `scoring` says of them stalls, and keep the weights that did best. The rows are those
        that scikit-learn holds out, except that one of each class stays to train on, with a
        warning; or those that `fit` gets as `X_val`: there a `warm_start` begins with the
        score of the present weights, as the one to beat. Not used by "lbfgs".
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
        Type of weights and arithmetic. "auto" takes float32 for float32 X and float64 otherwise,
        as scikit-learn does. "lbfgs" always computes in float64.
    n_threads : int or None, default=None
        Threads of one fit. None: chosen from the shapes, at most the cores allowed to the process
        and the environment variables FASTBP_NUM_THREADS and OMP_NUM_THREADS.
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or text like "64MB". Mini-batches that do not fit are processed
        in parts that add up to the same gradient.
    class_weight : None, "balanced", dict or list of dict, default=None
        Weights of the classes, which multiply `sample_weight`: by label, 1 for labels that a dict
        does not name; "balanced" takes ``n_samples / (n_classes * np.bincount(y))``. Multilabel
        targets take "balanced" or a list of one dict for each column, whose weights are multiplied,
        as by ``sklearn.utils.class_weight.compute_sample_weight``. `partial_fit` does not support
        "balanced".
    label_smoothing : float, default=0.0
        In [0, 1): this share s of each label is spread evenly over the classes, so that the targets
        are (1 - s) y + s / n_classes; of each column of multilabel targets over its two values.
        `loss_` is then that of the smoothed targets, its probabilities not clipped.
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
        for the accuracy; "loss" for minus the validation loss; the name of a scorer, as
        ``sklearn.metrics.get_scorer_names()`` lists them; or a callable ``(estimator, X, y)`` that
        returns a number, higher for better; `estimator` is a copy. A scorer with a parameter
        `sample_weight` gets the weights of the rows times those of their classes, if there are any.
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
    classes_ : ndarray of shape (n_classes,)
        Class labels.
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
        Score of the rows that are watched after each epoch or iteration, by default the
        accuracy; NaN where it could not be had; None without `early_stopping` and `X_val`. The rows
        weigh `sample_weight_val` (those held out: `sample_weight`) times their `class_weight`.
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
        Number of outputs: 1 for two classes.
    out_activation_ : str
        "softmax" for several classes, "logistic" for two classes and for multilabel targets.
    memory_plan_ : MemoryPlan
        What the last fit allocated; a tuple, which JSON takes as a list.

    See Also
    --------
    MLPRegressor : The same for real targets.

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
    >>> from fastbp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = MLPClassifier(random_state=0).fit(X / 16, y)
    >>> clf.predict(X[:3] / 16)
    array([0, 1, 2])
    """

    _parameter_constraints: dict = {
        **BaseMLP._parameter_constraints,
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
    }
    _settings_of = staticmethod(attrgetter(*_parameter_constraints))
    # Not a parameter here, but an attribute of scikit-learn's class.
    loss = "log_loss"
    _y_numeric = False

    def __init__(
        self,
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
        class_weight=None,
        label_smoothing=0.0,
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
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing

    @available_online
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch over the given data, going on from the present state.

        Settings that were changed since the last call count; a new `learning_rate_init` or
        `learning_rate` starts at that rate, a new `solver` with a new state. Nothing is watched:
        `scoring` is not used, callbacks are not called, and `early_stopping=True` and a `max_time`
        are errors.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels or multilabel indicator matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows; those of `class_weight`, a dict here, multiply them.
        classes : array-like of shape (n_classes,), default=None
            All labels that will ever occur; needed in the first call only.

        Returns
        -------
        self : object
            The estimator.
        """
        return self._learn_online(X, y, sample_weight, classes)

    def predict(self, X):
        """Predict class labels.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_classes)
            Labels, or 0 and 1 for multilabel targets.
        """
        fitted = Fitted.of(self)
        output = outputs(self, fitted, X)
        binarizer, classes = fitted.state.get("_binarizer"), fitted.state.get("classes_")
        if binarizer is not None:
            return binarizer.inverse_transform(output[:, 0] if output.shape[1] == 1 else output)
        if output.shape[1] > 1:
            return classes[output.argmax(axis=1)]
        if len(classes) == 1:
            return np.repeat(classes, len(output))
        return classes[(output[:, 0] > 0.5).astype(np.intp)]

    def predict_proba(self, X):
        """Predict probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            One column per entry of `classes_`, in the dtype that scikit-learn's class gives for
            the same X: float64 unless `fit` and this method both get float32.
        """
        return _probabilities(Fitted.of(self), self, X)

    def score(self, X, y, sample_weight=None):
        """Accuracy of the predictions.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.
        y : array-like of shape (n_samples,) or (n_samples, n_classes), or str or list of str
            Labels; with a dataset their columns.
        sample_weight : array-like of shape (n_samples,), or str, default=None
            Weights of the rows; with a dataset their column.

        Returns
        -------
        float
            The share of the rows whose labels are all right.
        """
        return super().score(X, *columns_for_score(X, y, sample_weight))

    def predict_log_proba(self, X):
        """Predict logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix, pyarrow Dataset} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            The logarithm of `predict_proba`; below 0.5 made from the logits, so that it is finite
            also where a probability is too small for its dtype.
        """
        fitted = Fitted.of(self)
        # Two passes over the same weights, also while another Python thread trains them.
        fitted = fitted._replace(flat=fitted.flat.copy())
        proba = _probabilities(fitted, self, X)
        out_activation = fitted.state["out_activation_"]
        if out_activation not in ("softmax", "logistic") or _has_one_class(fitted):
            return np.log(proba)
        z = outputs(self, fitted, X, raw=True)
        if out_activation == "softmax":
            log_proba = log_softmax(z, axis=1)
        else:
            log_proba = log_expit(z if z.shape[1] > 1 else np.hstack([-z, z]))
        return np.log(proba, out=log_proba, where=proba >= 0.5)

    # `_binarizer` is what labels go through where binary search in `classes_` does not do: the
    # LabelBinarizer of multilabel targets, or whatever is assigned to `_label_binarizer`.

    @property
    def _label_binarizer(self):
        """A LabelBinarizer for `classes_`, for code that looks for scikit-learn's attribute."""
        if getattr(self, "_binarizer", None) is not None:
            return self._binarizer
        if not hasattr(self, "classes_"):
            raise AttributeError("_label_binarizer is only available after fit.")
        from sklearn.preprocessing import LabelBinarizer

        return LabelBinarizer().fit(self.classes_)

    @_label_binarizer.setter
    def _label_binarizer(self, binarizer):
        self._binarizer = binarizer

    def _check_target(self, y, one_epoch, classes):
        kind, codes = encode_labels(self, y, one_epoch, classes)
        return CLASSIFICATION[kind]._replace(smoothing=float(self.label_smoothing)), codes

    def _class_weights(self, codes, counts=None):
        return class_weights(self.class_weight, self.classes_, codes, counts)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
