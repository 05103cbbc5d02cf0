"""TabularRegressor: numbers from a table as it is."""

import numpy as np
from sklearn.base import RegressorMixin

from .._datasets import columns_for_score
from .._input.targets import reals
from ._base import BaseTabular
from ._fit import predicted
from ._targets import Numbers


class TabularRegressor(RegressorMixin, BaseTabular):
    """Regression on the rows of a table: any columns, gaps included, and nothing to tune.

    Columns of numbers are encoded piecewise linearly, categories one by one, and a multilayer
    perceptron learns from both, by the squared error.

    Parameters
    ----------
    categorical_features : {"from_dtype"}, None, or array-like of bool, int or str, \
            default="from_dtype"
        Which columns are categories: by their types, which takes declared categories, booleans and
        text that is not numbers; a mask; or their places or names. The others are then numbers.
        None: every column is.
    n_estimators : "auto" or int, default="auto"
        Members, nets that differ by what is drawn for them; several where rows are few. They share
        the encoded table and are trained side by side on the cores; predictions are the mean of
        theirs. With `early_stopping` each holds out a fold of its own, so that every row
        trains some of them.
    hidden_layer_sizes : "auto", int or array-like of int, default="auto"
        Widths of the hidden layers. This and the other settings that are "auto" follow from the
        numbers of rows, columns and classes.
    activation : "auto", str or sequence of str, default="auto"
        Function of the hidden layers, as in `MLPRegressor`.
    n_bins : "auto" or int, default="auto"
        The most bins of a column of numbers, whose bounds are found in the rows to train on.
    batch_size : "auto" or int, default="auto"
        Rows of a mini-batch.
    learning_rate_init : "auto" or float, default="auto"
        The largest learning rate of AdamW, from which it falls to 0 by half a cosine.
    weight_decay : "auto" or float, default="auto"
        Decoupled weight decay.
    dropout : "auto" or float, default="auto"
        Share of the activations of hidden layers that training drops.
    max_iter : "auto" or int, default="auto"
        Epochs. The learning rate has fallen to 0 in the last one.
    early_stopping : bool, default=True
        Hold out `validation_fraction` of the rows, if `fit` gets none to validate on, and end with
        the parameters of the epoch whose loss was best there. False: train on all rows, end with
        the last parameters. So it is, too, where there were fewer than 10 rows to hold out.
    validation_fraction : float, default=0.2
        Share of the rows that is held out.
    n_iter_no_change : "auto", int or inf, default="auto"
        Epochs without a better validation loss after which early stopping ends the fit.
    max_time : float or None, default=None
        Seconds for the fit. The epochs are as many as there is time for, going by the first ones,
        and the learning rate falls to 0 in the last; one epoch is done in any case.
    random_state : int, RandomState instance or None, default=None
        Decides the rows that are held out, first weights, the order of rows and dropout. With an
        int results are the same to the bit, for any `n_threads`.
    n_threads : int or None, default=None
        As in `MLPRegressor`; members share them.
    max_memory : int, str or None, default=None
        Cap on the arena of each member in bytes, or "64MB". Of a fit over a dataset a cap on all
        that it keeps: `memory_plan_` shows it.
    dtype : {"float32", "float64"}, default="float32"
        Of parameters and encoded rows. Predictions are float64.
    verbose : bool, int or "progress", default=False
        True prints the memory plan and a line for each epoch; "progress" shows a bar on standard
        error.
    checkpoint : str, path-like or None, default=None
        File in which `fit` keeps the state of its run, at most every `checkpoint_interval` seconds
        and when it is interrupted. The same call of `fit`, in this process or another one, goes on
        from there, and ends with the bits of a run that was never interrupted. One of other data,
        parameters or versions is an error that names the difference. The file is removed when
        the fit has ended; each fit takes a path of its own.
    checkpoint_interval : float, default=60.0
        Seconds between two checkpoints at least.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if all of them are text.
    is_categorical_ : ndarray of bool of shape (`n_features_in_`,)
        Which of them are categories.
    n_outputs_ : int
        Number of outputs of the net.
    estimators_ : list
        The members; empty where the targets leave one answer only.
    n_iter_ : int
        Epochs of the fit.
    loss_, loss_curve_ : float, list of float
        Mean loss of the rows trained on, and of the members, in the last epoch and in each
        (half the squared error of targets that are standardised).
    validation_loss_curve_ : list of float or None
        Loss of the rows that are watched after each epoch, of the mean of all members, or of each
        member on its own fold; None if none are.
    validation_scores_ : list of float or None
        Their coefficient of determination, in the same way.
    best_validation_score_ : float or None
        That of `best_iter_`.
    best_iter_ : int
        The epoch of the smallest validation loss; of the smallest `loss_curve_` if no rows are
        watched.
    history_ : dict of list
        All curves as the columns of a table, a row for each epoch: "iteration", "seconds", "loss",
        "validation_loss", "validation_score" and "learning_rate".
    memory_plan_ : MemoryPlan
        What the fit allocated for its members and for the encoded table.

    See Also
    --------
    TabularClassifier : The same for labels.

    Examples
    --------
    >>> from fastbp import TabularRegressor
    >>> X = [["red", 1.5], ["blue", None], ["red", 2.5], ["blue", 0.5]] * 30
    >>> reg = TabularRegressor(max_iter=100, random_state=0).fit(X, [10, 2, 11, 1] * 30)
    >>> reg.predict([["red", 2.5], ["blue", 0.5]]).round()
    array([11.,  1.])
    """

    _y_numeric = True

    def __init__(
        self,
        *,
        categorical_features="from_dtype",
        n_estimators="auto",
        hidden_layer_sizes="auto",
        activation="auto",
        n_bins="auto",
        batch_size="auto",
        learning_rate_init="auto",
        weight_decay="auto",
        dropout="auto",
        max_iter="auto",
        early_stopping=True,
        validation_fraction=0.2,
        n_iter_no_change="auto",
        max_time=None,
        random_state=None,
        n_threads=None,
        max_memory=None,
        dtype="float32",
        verbose=False,
        checkpoint=None,
        checkpoint_interval=60.0,
    ):
        super().__init__(
            categorical_features=categorical_features,
            n_estimators=n_estimators,
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            n_bins=n_bins,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            weight_decay=weight_decay,
            dropout=dropout,
            max_iter=max_iter,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            max_time=max_time,
            random_state=random_state,
            n_threads=n_threads,
            max_memory=max_memory,
            dtype=dtype,
            verbose=verbose,
            checkpoint=checkpoint,
            checkpoint_interval=checkpoint_interval,
        )

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : table of shape (n_samples, n_features), or pyarrow Dataset
            With the columns of `fit`; of a table with names in any order. A dataset may have more
            columns, and is read batch by batch.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            In float64.
        """
        return predicted(self, X, lambda fitted, z: fitted.target.predicted(z))

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination of the predictions.

        Parameters
        ----------
        X : table of shape (n_samples, n_features), or pyarrow Dataset
            As `predict` takes it.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs), or str or list of str
            Targets; with a dataset the name of their column, or several.
        sample_weight : array-like of shape (n_samples,), or str, default=None
            Weights of the rows; with a dataset the name of their column.

        Returns
        -------
        float
            1 for perfect predictions, 0 for those of the mean.
        """
        return super().score(X, *columns_for_score(X, y, sample_weight))

    def _check_target(self, y):
        return None, reals(y).astype(np.float64, copy=False)

    def _target(self, kind, codes, weight):
        return Numbers(codes, weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
