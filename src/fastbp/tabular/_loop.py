"""The loop of a fit: all members train an epoch side by side, and are looked at together.

What is watched is the answer of all of them, as in a prediction: one history, one best epoch, one
decision to stop. The result does not depend on how many of them train at a time.
"""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from time import monotonic

import numpy as np

from .._history import History
from .._loops import (
    CAUSES,
    NON_FINITE,
    Ending,
    begin_iteration,
    end_iteration,
    prints_lines,
    record_score,
)
from .._schedules import factors
from ._recipe import average_decay, updates_per_epoch

# Of the threads of `Workers`, for those who list threads.
NAME = "fastbp-members"


class Workers:
    """Python threads that do the same for every member; the caller's is one of them.

    The core does not hold the interpreter's lock. The caller's thread works, too, so that a Ctrl-C
    is heard in the midst of an epoch; the others end theirs soon after.

    Parameters
    ----------
    n_threads : int

    Attributes
    ----------
    is_idle : bool
        Whether no member can change.
    """

    def __init__(self, n_threads):
        self.n_threads = n_threads
        self.is_idle = True
        self._stop = threading.Event()

    def __enter__(self):
        self._pool = None
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(self.n_threads - 1, thread_name_prefix=NAME)
        return self

    def __exit__(self, *exception):
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, action, members):
        """The results of ``action(member, stop)`` in the order of the members.

        `stop` is an event: the action should end early where it is set.
        """
        todo, results = deque(enumerate(members)), {}
        self._stop.clear()

        def work():
            try:
                while todo and not self._stop.is_set():
                    try:
                        number, member = todo.popleft()
                    except IndexError:  # another thread was faster
                        return
                    results[number] = action(member, self._stop)
            except BaseException:
                self._stop.set()
                raise

        self.is_idle = False
        others = [self._pool.submit(work) for _ in range(self.n_threads - 1)]
        try:
            work()
            wait(others)
        except BaseException:  # Ctrl-C, if it is none of the work
            self._stop.set()
            wait(others)
            self.is_idle = True
            raise
        self.is_idle = True
        for other in others:
            other.result()
        return [results[number] for number in range(len(members))]


class Watched:
    """The rows that are watched: what all members together come to on them.

    Parameters
    ----------
    rows : Encoded
    orders : list of (ndarray of int64 or None)
        Which of them, for all members; None: all. Or a fold for each.
    target : Classes or Numbers
    n_members : int
    dtype : str
    decides : bool
        Training stops by the loss and ends with the best parameters; otherwise it is watched only.

    Attributes
    ----------
    loss : float
        That of the last `score`.
    z : ndarray of shape (n_members, n, n_outputs)
        The outputs that it is of. With a fold for each member there is one answer for each row of
        them: (1, n, n_outputs).
    """

    watches_loss = True

    def __init__(self, rows, orders, target, n_members, dtype, decides):
        self._data, self._target = rows.data, target
        folds = len(orders) > 1
        orders = [orders[k % len(orders)] for k in range(n_members if folds else 1)]
        self._order = None if orders[0] is None else np.concatenate(orders)
        self._known, self._weight = rows.known, rows.weight
        if self._order is not None:
            self._known = rows.known[self._order]
            self._weight = None if rows.weight is None else rows.weight[self._order]
        shape = (1 if folds else n_members, len(self._known), target.n_outputs)
        self.z = np.empty(shape, dtype)
        if folds:
            ends = np.cumsum([len(order) for order in orders])
            cuts = [slice(end - len(o), end) for o, end in zip(orders, ends, strict=True)]
            self._parts = [(self._order[cut], self.z[0, cut]) for cut in cuts]
        else:
            self._parts = [(self._order, z) for z in self.z]
        self.decides, self.loss, self.best_loss = decides, np.nan, np.inf

    def vectors(self):
        """What it keeps, by name."""
        yield "z watched", self.z
        if self._order is not None:
            yield "order watched", self._order
            yield "codes watched", self._known
            if self._weight is not None:
                yield "weights watched", self._weight

    def run(self, workers, trainings):
        """Fill `z` by the parameters that count."""

        def of_member(pair, stop):
            training, (order, z) = pair
            training.outputs(self._data, order, z)

        workers.run(of_member, list(zip(trainings, self._parts, strict=True)))

    def score(self, workers, trainings):
        """The score of the present parameters; their loss with it."""
        self.run(workers, trainings)
        self.loss, score = self._target.loss_and_score(self.z, self._known, self._weight)
        return score

    def improves(self):
        """Whether the last loss is the best so far; NaN is not."""
        if self.loss < self.best_loss:
            self.best_loss = self.loss
            return True
        return False

    def temperature(self, workers, trainings):
        """The temperature that suits these rows best, of the present parameters."""
        if not self._target.has_temperature:
            return 1.0
        self.run(workers, trainings)
        return self._target.temperature(self.z, self._known, self._weight)


class Course:
    """Where a run is, and what a checkpoint has of it.

    Attributes
    ----------
    epoch : int
        The present one.
    n_epochs : int
        So many there will be.
    stalled : int
        Epochs since the last one that was the best.
    began : float
        When the first epoch began, by the clock.
    """

    def __init__(self, estimator, job, history):
        self._estimator, self._job, self._history = estimator, job, history
        self.epoch, self.n_epochs, self.stalled = 0, job.settings.max_iter, 0
        self.began, self._is_whole = monotonic(), False

    def mark(self):
        """An epoch has ended, with all that belongs to it, or none has begun."""
        self._is_whole = False
        for training in self._job.trainings:
            training.between_epochs()
        if self._job.streamed is not None:
            self._job.streamed.between_epochs()
        self._note()

    def _note(self):
        """Note what the run has come to: all is as a checkpoint may have it."""
        if self._job.keeper.is_there:
            watched = self._job.watched
            self._history.mark()
            self._marked = {
                "epoch": self.epoch,
                "n_epochs": self.n_epochs,
                "stalled": self.stalled,
                "best_loss": None if watched is None else watched.best_loss,
            }
        self._is_whole = True

    def state(self):
        """What `go_on` takes; None where there is nothing to go on from."""
        job = self._job
        parts = [job.workers.is_idle, *(training.is_whole for training in job.trainings)]
        if job.streamed is not None:
            parts.append(job.streamed.is_whole)
        if not self._is_whole or not all(parts):
            return None
        return {
            **self._marked,
            "attributes": self._history.marked(),
            "seconds": monotonic() - self.began,
            "members": [training.state() for training in job.trainings],
            "streamed": None if job.streamed is None else job.streamed.state(),
        }

    def go_on(self, state):
        """Be where the run was that had this state; the vectors are there already."""
        job = self._job
        self.epoch, self.n_epochs = state["epoch"], state["n_epochs"]
        self.stalled, self.began = state["stalled"], self.began - state["seconds"]
        if job.watched is not None:
            job.watched.best_loss = state["best_loss"]
        self._history.go_on(state["attributes"])
        if job.tasks is not None:
            job.tasks.pass_over(self._estimator.n_iter_)
        for training, of_member in zip(job.trainings, state["members"], strict=True):
            training.go_on(of_member)
        if job.streamed is not None:
            job.streamed.go_on(state["streamed"])
        self._note()


def vectors_of(job):
    """What training changes in place, by name."""
    return {
        f"{k} {name}": vector
        for k, training in enumerate(job.trainings)
        for name, vector in training.trained().items()
    }


def train(estimator, job):
    """Run epochs until the stopping rules, ``max_time`` or Ctrl-C end them.

    The learning rate falls to 0 in the last epoch that `max_time` has time for, as far as can be
    told from those before it.

    Returns
    -------
    Ending
    """
    history = History(estimator, job.began, job.watched)
    course = Course(estimator, job, history)
    try:
        with job.keeper.following(course.state):
            if job.keeper.goes_on:
                course.go_on(job.keeper.go_on())
            else:
                course.mark()
            return _run_epochs(estimator, job, history, course)
    except KeyboardInterrupt:
        return Ending(
            warning="Training interrupted by user.", category=UserWarning, is_interrupted=True
        )
    finally:
        history.close()


def _run_epochs(estimator, job, history, course):
    settings = job.settings
    n_steps = updates_per_epoch(job.n_rows, settings.batch_size)
    while course.epoch < course.n_epochs:
        begin_iteration(job)
        total = course.n_epochs * n_steps
        rates = factors("cosine", settings.warmup, course.epoch * n_steps, n_steps, total)
        rates *= settings.learning_rate_init
        losses = _epoch_of_all(job, rates, average_decay(total, settings.average))
        history.add_loss(float(np.mean(losses)), float(rates[-1]))
        if prints_lines(estimator):
            print(f"Epoch {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        if not all(training.finite for training in job.trainings):
            return _not_finite(estimator, job, history)
        course.stalled = 0 if _look(estimator, job, history) else course.stalled + 1
        ending = end_iteration(estimator, job)
        if ending is not None:
            return ending
        if course.stalled > settings.n_iter_no_change:
            return Ending()
        course.epoch += 1
        if estimator.max_time is not None:
            left = estimator.max_time - (monotonic() - job.began)
            in_time = course.epoch + int(left * course.epoch / (monotonic() - course.began))
            course.n_epochs = min(settings.max_iter, in_time)
        course.mark()
        job.keeper.write_if_due()
    if course.epoch == settings.max_iter:
        return Ending()
    return Ending(
        warning=f"max_time={estimator.max_time} seconds had time for {course.epoch} of "
        f"max_iter={settings.max_iter} epochs."
    )


def _epoch_of_all(job, rates, ema_decay):
    """Train an epoch, with a pause for each checkpoint; the mean losses of the members."""
    if job.streamed is not None:
        return job.streamed.train(job, rates, ema_decay)
    while True:
        until = job.keeper.deadline
        action = partial(_epoch, job.data, rates, ema_decay, until)
        losses = job.workers.run(action, job.trainings)
        if None not in losses:
            return losses
        job.keeper.write_if_due()


def _epoch(data, rates, ema_decay, until, training, stop):
    return training.epoch(data, rates, ema_decay, stop, until)


def _look(estimator, job, history):
    """Watch the rows that are watched; whether this epoch is the best so far."""
    watched = job.watched
    if watched is None:
        best = estimator.loss_ < estimator.best_loss_
        if best:
            estimator.best_loss_ = estimator.loss_
    else:
        score = watched.score(job.workers, job.trainings)
        record_score(estimator, watched, history, score)
        best = watched.improves()
        if best:
            estimator.best_validation_score_ = score
    decides = watched is not None and watched.decides
    if best and decides:
        for training in job.trainings:
            training.keep()
    if best:
        history.mark_best()
    return best or not decides


def _not_finite(estimator, job, history):
    where = f"The loss became {estimator.loss_curve_[-1]} in epoch {estimator.n_iter_}."
    if job.watched is None or not job.watched.decides or job.watched.best_loss == np.inf:
        return Ending(error=f"{NON_FINITE} {where} {CAUSES}")
    job.watched.loss = np.nan
    record_score(estimator, job.watched, history, np.nan)
    return Ending(
        warning=f"{where} {CAUSES} Training stopped there; the parameters are those of the best "
        "validation loss."
    )
