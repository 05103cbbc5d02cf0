"""MLPClassifier: scikit-learn's estimator of that name on the fastbp engine."""

import numpy as np
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.metaestimators import available_if

from ._base import BaseMLP, solver_is_stochastic
from ._input.targets import encode_labels
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
        Hold out `validation_fraction` of the rows (stratified for two classes), stop when
        the accuracy on them stalls, and keep the weights that did best. The rows are those that
        scikit-learn holds out, except that one of each class stays to train on, with a warning.
        Not used by "lbfgs".
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
        Type of weights and arithmetic. "auto" takes float32 for float32 X and float64 otherwise,
        as scikit-learn does. "lbfgs" always computes in float64.
    n_threads : int or None, default=None
        Threads of one fit. None: chosen from the shapes, at most the cores allowed to the process
        and the environment variables FASTBP_NUM_THREADS and OMP_NUM_THREADS.
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or text like "64MB". Mini-batches that do not fit are processed
        in parts that add up to the same gradient.

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
        Smallest loss; None with `early_stopping` ("sgd", "adam").
    loss_curve_ : list of float
        Loss of each epoch or iteration.
    validation_scores_ : list of float or None
        Accuracy on the held-out rows after each epoch, NaN where it could
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

    Examples
    --------
    >>> from fastbp import MLPClassifier
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> clf = MLPClassifier(random_state=0).fit(X / 16, y)
    >>> clf.predict(X[:3] / 16)
    array([0, 1, 2])
    """

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
        )

    @available_if(solver_is_stochastic)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch over the given data, going on from the present state.

        Settings that were changed since the last call count; a new `learning_rate_init` or
        `learning_rate` starts at that rate, a new `solver` with a new state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input.
        y : array-like of shape (n_samples,) or (n_samples, n_classes)
            Class labels or multilabel indicator matrix.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.
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
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
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
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Input.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            One column per entry of `classes_`, in the dtype that scikit-learn's class gives for
            the same X: float64 unless `fit` and this method both get float32.
        """
        return _probabilities(Fitted.of(self), self, X)

    def predict_log_proba(self, X):
        """Predict logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
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
        return CLASSIFICATION[kind], codes

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
