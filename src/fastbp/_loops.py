"""The loop of the solvers that take mini-batches.

Python runs between epochs only: it shuffles row numbers, keeps the history, decides when to stop.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
CAUSES = "Likely causes are a learning rate that is too large, or input that is not scaled."


def split_rows(n_rows, validation_fraction, stratify, random_state):
    """Choose training and validation rows as scikit-learn's estimators do; X is not touched.

    Returns
    -------
    rows, validation_rows : ndarray of int64
    """
    from sklearn.model_selection import train_test_split

    rows, validation_rows = train_test_split(
        np.arange(n_rows, dtype=np.int64),
        random_state=random_state,
        test_size=validation_fraction,
        stratify=stratify,
    )
    if len(validation_rows) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    return rows, validation_rows


class RowOrder:
    """The order in which the rows are visited, epoch by epoch.

    Each epoch shuffles the order of the one before, in place. That is what taking the rows by a
    shuffled 0..n-1 comes to, which is what scikit-learn does: the same stream, the same order.
    """

    def __init__(self, n_rows, rows, shuffle, random_state):
        self._order = np.arange(n_rows, dtype=np.int64)
        self._rows = rows
        self._random_state = random_state if shuffle else None
        self._visit = self._order if rows is None else rows.copy() if shuffle else rows

    def next_epoch(self):
        """Row numbers of the data in visiting order."""
        if self._random_state is not None:
            self._random_state.shuffle(self._order)
            if self._rows is not None:
                # mode="clip" writes into `out` directly; the default would buffer.
                np.take(self._rows, self._order, out=self._visit, mode="clip")
        return self._visit


def _start_history(estimator):
    # An estimator whose history is missing (preset weights, or an earlier fit by lbfgs) gets one.
    if not hasattr(estimator, "loss_curve_"):
        estimator.loss_curve_ = []
    if not hasattr(estimator, "_no_improvement_count"):
        estimator._no_improvement_count = 0
    if estimator.early_stopping:
        if getattr(estimator, "validation_scores_", None) is None:
            estimator.validation_scores_ = []
            estimator.best_validation_score_ = -np.inf
        estimator.best_loss_ = None
    else:
        if getattr(estimator, "best_loss_", None) is None:
            estimator.best_loss_ = np.inf
        estimator.validation_scores_ = None
        estimator.best_validation_score_ = None


def clear_history(estimator):
    """Forget the curves and counters of earlier fits."""
    for name in (
        "loss_curve_",
        "best_loss_",
        "validation_scores_",
        "best_validation_score_",
        "_no_improvement_count",
        "_optimizer",
    ):
        vars(estimator).pop(name, None)


class _Validation:
    """Scores of the held-out rows, and the parameters that did best."""

    def __init__(self, job):
        rows = job.validation_rows
        self._job = job
        self._target = job.given.target[rows]
        self._weight = None if job.given.sample_weight is None else job.given.sample_weight[rows]
        n_outputs = job.params.layer_sizes[-1]
        self._output = np.empty((len(rows), n_outputs), dtype=job.params.flat.dtype)
        self._best = job.params.flat.copy()

    def score(self):
        job, rows = self._job, self._job.validation_rows
        job.trainer.forward(job.params.flat, job.given.data, self._output, order=rows)
        return job.loss.score(self._output, self._target, self._weight)

    def keep(self):
        np.copyto(self._best, self._job.params.flat)

    def restore(self):
        np.copyto(self._job.params.flat, self._best)


def train(estimator, job):
    """Run epochs until the stopping rules, ``max_iter`` or Ctrl-C end them."""
    _start_history(estimator)
    optimizer = estimator._optimizer = job.optimizer
    # Vectors of another dtype, or mapped from a file that is read-only, are copied.
    dtype = job.params.flat.dtype
    optimizer.state = tuple(np.require(s, dtype, "W") for s in optimizer.state)
    validation = None if job.validation_rows is None else _Validation(job)
    order = RowOrder(job.n_rows, job.rows, estimator.shuffle, job.random_state)
    finite = True
    estimator.n_iter_ = 0
    try:
        for _ in range(estimator.max_iter):
            loss, steps, finite = job.trainer.train_epoch(
                job.params.flat,
                optimizer.state,
                job.given.data,
                order.next_epoch(),
                job.batch_size,
                alpha=estimator.alpha,
                loss_scale=job.loss_scale,
                clip_loss=True,
                **optimizer.epoch_arguments(),
            )
            optimizer.count(steps)
            _record_loss(estimator, loss, job.n_rows)
            if not finite:
                if validation is not None:
                    _record_score(estimator, np.nan)
                break
            _update_no_improvement_count(estimator, validation)
            optimizer.iteration_ends(estimator.t_)
            if _stops(estimator, optimizer) or job.given.one_epoch:
                break
            if estimator.n_iter_ == estimator.max_iter:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and "
                    "the optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=2,
                )
    except KeyboardInterrupt:
        optimizer.count(job.trainer.updates)
        warnings.warn("Training interrupted by user.", stacklevel=2)
    if validation is not None:
        validation.restore()
    if not finite:
        _report_non_finite(estimator)


def _record_loss(estimator, loss, n_rows):
    estimator.n_iter_ += 1
    estimator.t_ += n_rows
    estimator.loss_ = loss
    estimator.loss_curve_.append(loss)
    if estimator.verbose:
        print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")


def _record_score(estimator, score):
    estimator.validation_scores_.append(score)
    if estimator.verbose:
        print(f"Validation score: {score:f}")


def _update_no_improvement_count(estimator, validation):
    # The comparisons with NaN are meant: a NaN score or loss counts as an improvement by neither
    # rule and resets the count, as in scikit-learn.
    if validation is not None:
        score = validation.score()
        _record_score(estimator, score)
        stalled = score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            estimator.best_validation_score_ = score
            validation.keep()
    else:
        stalled = estimator.loss_ > estimator.best_loss_ - estimator.tol
        if estimator.loss_ < estimator.best_loss_:
            estimator.best_loss_ = estimator.loss_
    estimator._no_improvement_count = estimator._no_improvement_count + 1 if stalled else 0


def _stops(estimator, optimizer):
    if estimator._no_improvement_count <= estimator.n_iter_no_change:
        return False
    quantity = "Validation score" if estimator.early_stopping else "Training loss"
    msg = (
        f"{quantity} did not improve more than tol={estimator.tol:f} for "
        f"{estimator.n_iter_no_change:d} consecutive epochs."
    )
    if optimizer.trigger_stopping(msg, estimator.verbose):
        return True
    estimator._no_improvement_count = 0
    return False


def _report_non_finite(estimator):
    where = f"The loss became {estimator.loss_curve_[-1]} in epoch {estimator.n_iter_}."
    if not estimator.early_stopping:
        raise ValueError(f"{NON_FINITE} {where} {CAUSES}")
    warnings.warn(
        f"{where} {CAUSES} Training stopped there; the parameters are those of the best "
        "validation score.",
        ConvergenceWarning,
        stacklevel=2,
    )
