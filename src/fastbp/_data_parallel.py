"""Training by several ranks: the rows of a step, an epoch, L-BFGS, and what is validated.

Each rank has rows of its own. An epoch has as many steps as the rank with the most rows needs; the
others spread theirs over all steps, so that each step has a share of every rank.
"""

import functools
from contextlib import suppress

import numpy as np
import scipy

from . import _core
from ._checkpoints import keeper
from ._checkpoints.fingerprint import OF_ROWS
from ._distributed import active, alike, digest, quick_digest
from ._losses import means, r2, r2_of_means
from ._validation import Validation
from ._version import __version__

_SPACING = 0x9E3779B97F4A7C15  # between the seeds of two ranks


def generator_of(seed, *numbers):
    """The RandomState that belongs to a seed of the fit and to some numbers of 0 or more."""
    return np.random.RandomState(np.random.MT19937(np.random.SeedSequence((seed, *numbers))))


def seed_of_rank(seed, rank):
    """The seed of the masks of dropout of a rank: that of rank 0 is the one of the fit."""
    return (seed + rank * _SPACING) % 2**64


def step_ends(n_rows, n_steps, batch_size):
    """The rows of a rank up to the end of each step, shape (n_steps,).

    Full mini-batches and what is left, if that makes so many steps, else equal shares.
    """
    steps = np.arange(1, n_steps + 1, dtype=np.int64)
    if n_rows > (n_steps - 1) * batch_size:
        return np.minimum(steps * batch_size, n_rows)
    whole, rest = divmod(n_rows, n_steps)
    return steps * whole + steps * rest // n_steps


class SharedRows:
    """The rows that this rank trains on beside the others, and their order, epoch by epoch.

    The order of an epoch follows from the seed, the number of the epoch and the rank.

    Parameters
    ----------
    given : Given
    ranks : Ranks
    rows : ndarray of int64 or None
        Which rows of `given` they are; None: all.
    batch_size : int
    seed : int
        The same on all ranks.
    shuffle : bool

    Attributes
    ----------
    n_rows, n_steps : int
        Of an epoch, over all ranks.
    """

    def __init__(self, given, ranks, rows, batch_size, seed, shuffle):
        self._data, self._weight, self._ranks = given.data, given.sample_weight, ranks
        self._rows = self._visit = rows
        self._seed, self._shuffle, self._epoch = seed, shuffle, -1
        n_own = given.data.n_rows if rows is None else len(rows)
        every = ranks.exchange("rows", (n_own, self._weight is not None))
        counts = [n for n, _ in every]
        self._is_weighted = any(weighted for _, weighted in every)
        self.n_rows = sum(counts)
        self.n_steps = -(-max(counts) // batch_size)
        self._ends = step_ends(n_own, self.n_steps, batch_size)
        self._rows_of_steps = sum(
            np.diff(step_ends(n, self.n_steps, batch_size), prepend=0) for n in counts
        )
        self._order = np.arange(n_own, dtype=np.int64) if shuffle else None
        if shuffle and rows is not None:
            self._visit = rows.copy()
        self._totals = None

    def begin_epoch(self):
        """Draw the order of the next epoch."""
        self._epoch += 1
        self._draw()

    def _draw(self):
        if self._shuffle:
            self._order[:] = np.arange(len(self._order))
            generator_of(self._seed, self._epoch, self._ranks.rank).shuffle(self._order)
            if self._rows is None:
                self._visit = self._order
            else:
                np.take(self._rows, self._order, out=self._visit, mode="clip")

    def state(self):
        """What `restore` takes; the order of the epoch follows from it on any rank."""
        return {"ranks": self._ranks.size, "seed": self._seed, "epoch": self._epoch}

    def restore(self, state):
        """Go on where `state` was: in its epoch, or at the end of it.

        False if it was of another number of ranks, whose steps are others: of the epochs that are
        done only their number counts.
        """
        self._seed, self._epoch = state.get("seed", self._seed), state.get("epoch", self._epoch)
        if state.get("ranks") != self._ranks.size:
            return False
        self._draw()
        return True

    def weigh(self):
        """Find the sums of weights of the steps, which takes all ranks."""
        self._totals = self._rows_of_steps.astype(np.float64)
        if self._is_weighted:
            self._totals = self._own_weights()
            self._ranks.add_up(self._totals)

    def _own_weights(self):
        counts = np.diff(self._ends, prepend=0)
        if self._weight is None:
            return counts.astype(np.float64)
        weights = self._weight if self._visit is None else self._weight[self._visit]
        sums, some = np.zeros(len(counts)), np.flatnonzero(counts)
        sums[some] = np.add.reduceat(weights, self._ends[some] - counts[some])
        return sums

    def piece(self, step):
        """What the core is given for the steps from this one on.

        Data, order, the row to begin with and a `Reduction`; and a function that tells how often
        the core has called its Allreduce.
        """
        ranks = self._ranks
        # A cache of no results counts and calls in C: a signal handler cannot raise in between.
        allreduce = functools.lru_cache(maxsize=0)(ranks.comm.Allreduce)
        reduction = _core.Reduction(
            self._ends,
            self._rows_of_steps,
            self._totals,
            allreduce,
            ranks.in_place,
            counts_penalty=ranks.rank == 0,
            interrupted=lambda: ranks.interrupted,
            step=step,
        )
        row = int(self._ends[step - 1]) if step else 0
        n_met = lambda: allreduce.cache_info().misses  # noqa: E731
        return self._data, self._visit, row, reduction, n_met


# ---- what the ranks must have in common ----

# Parameters of an estimator that each rank may choose for itself; of those that are drawn from, or
# that print, rank 0's count.
OF_A_RANK = ("n_threads", "verbose", "random_state", "checkpoint", "checkpoint_interval")


def compare_settings(draft, one_epoch, first, initial, validation):
    """ValueError unless all ranks fit the same estimator in the same way."""
    ranks = active()
    if ranks is None:
        return
    ranks.find_neighbours()
    values = {
        **{f"the version of {module.__name__}": module.__version__ for module in (np, scipy)},
        "the version of fastbp": __version__,
        "the call": f"{type(draft).__name__}.{'partial_fit' if one_epoch else 'fit'}",
        "to begin with new weights": first,
        "the instruction set, see FASTBP_DISABLE_CPU,": _core.cpu_level(),
        "FASTBP_DENSE": _core.environment("FASTBP_DENSE")[0],
        "that X_val is given": validation[0] is not None,
        "that a checkpoint is wanted": draft.checkpoint is not None,
    }
    values |= {f"that {name} is given": array is not None for name, array in initial.items()}
    own = draft.get_params(deep=False)
    values |= {name: value for name, value in own.items() if name not in OF_A_RANK}
    ranks.compare("settings", values)


def compare_data(draft, X, layer_sizes):
    """ValueError unless X and y of all ranks have the same columns; the rows of all of them."""
    ranks = active()
    if ranks is None:
        return X.shape[0]
    values = {
        "the number of features of X": layer_sizes[0],
        "the dtype of X": str(X.dtype),
        "the number of outputs": layer_sizes[-1],
        "classes_": getattr(draft, "classes_", None),
    }
    ranks.compare("data", values)
    return sum(ranks.exchange("the number of rows", X.shape[0]))


def begin(ranks, draft, given, params, random_state):
    """Give all ranks the parameters to start from; the seed of what is drawn from now on.

    New ones are those of rank 0; those that a fit goes on from are the same already.
    """
    values = {"the dtype of the weights": params.flat.dtype.name}
    values |= {name: digest(*arrays) for name, arrays in given.initial.items() if arrays}
    ranks.compare("weights to begin with", values)
    if given.first:
        ranks.copy_first(params.flat)
    optimizer = getattr(draft, "_optimizer", None) if given.one_epoch else None
    state = () if optimizer is None else (*optimizer.state, np.array(optimizer.t))
    ranks.compare("parameters", {"the digest of the weights": quick_digest(params.flat, *state)})
    return ranks.first("a seed", int(random_state.randint(1, np.iinfo(np.int32).max)))


# ---- the checkpoint, which rank 0 keeps ----


def keeper_of(estimator, began):
    """The keeper that an estimator's parameters ask for, on any rank."""
    ranks = active()
    if ranks is None or estimator.checkpoint is None:
        return keeper.keeper_of(estimator, began)
    own = keeper.keeper_of(estimator, began) if ranks.rank == 0 else keeper.Nobody(began)
    return SharedKeeper(ranks, own)


class SharedKeeper:
    """The keeper of the checkpoint of several ranks: `_checkpoints.keeper.Keeper` on rank 0.

    The others learn from it what was found, and have nothing to write.

    Parameters
    ----------
    ranks : Ranks
    own : Keeper or Nobody
    """

    is_there = True

    def __init__(self, ranks, own):
        self._ranks, self._own, self.began = ranks, own, own.began

    def __enter__(self):
        self._own.__enter__()
        try:
            passed = self.began - self._own.began
            self.goes_on, passed = self._ranks.first("a checkpoint", (self._own.goes_on, passed))
        except BaseException as error:
            self._own.__exit__(type(error), error, None)
            raise
        self.began -= passed
        return self

    def __exit__(self, *exception):
        self._own.__exit__(*exception)

    @property
    def deadline(self):
        """When the next checkpoint is due: rank 0 knows."""
        return self._own.deadline

    @property
    def unsaid(self):
        """A warning that is still to be given, by this rank."""
        return self._own.unsaid

    def begin(self, generator):
        """Before the first draw of the fit, which is rank 0's."""
        self._own.begin(generator)

    def compare(self, fingerprint, vectors, n_bytes=0):
        """Raise ValueError if the checkpoint is of another fit."""
        self._vectors = vectors
        found = fingerprint()
        of_rows = {name: found["data"].pop(name) for name in OF_ROWS if name in found["data"]}
        every = self._ranks.exchange("what the fit is of", of_rows)
        found["ranks"] = len(every)
        for rank, rows in enumerate(every):
            found["data"] |= {f"{name} of rank {rank}": what for name, what in rows.items()}
        self._own.compare(lambda: found, vectors, n_bytes)

    def go_on(self):
        """Give the vectors what the checkpoint has of them; the course of the run is returned."""
        course = self._ranks.first("a course", self._own.go_on() if self._own.is_there else None)
        for vector in self._vectors.values():
            self._ranks.copy_first(vector)
        return course

    def following(self, course):
        """Around the training."""
        return self._own.following(course)

    def write_if_due(self):
        """Between two steps."""
        self._own.write_if_due()

    def end(self):
        """The fit has ended by its own rules."""
        self._own.end()

    def evaluations(self, n_params, token):
        """The log of L-BFGS, which rank 0 writes and reads out to the others."""
        own = self._own.evaluations(n_params, token) if self._own.is_there else None
        return SharedEvaluations(self._ranks, own, self.goes_on)


class SharedEvaluations:
    """The log of L-BFGS for several ranks: that of rank 0, which tells the others."""

    def __init__(self, ranks, own, has_answers):
        self._ranks, self._own, self._has_answers = ranks, own, has_answers

    def open(self):
        """Begin it, or go on with it."""
        with self._ranks.agreeing():
            if self._own is not None:
                self._own.open()

    def sync(self):
        """Have it on the disk."""
        if self._own is not None:
            self._own.sync()

    def answer(self, point):
        """The loss and the gradient at this point, if they are in the log; else None."""
        if not self._has_answers:
            return None
        own = None if self._own is None else self._own.answer(point)
        known = self._ranks.first("an answer", own)
        self._has_answers = known is not None
        return known

    def note(self, point, loss, grad):
        """Add them to the log."""
        if self._own is not None:
            self._own.note(point, loss, grad)


# ---- mini-batches ----


def copy_rates(ranks, arguments):
    """Let all ranks take the learning rates of rank 0: those of another CPU may differ in a bit.

    Parameters
    ----------
    ranks : Ranks
    arguments : dict
        As `epoch` takes them.
    """
    rate = np.array([arguments["learning_rate"]], np.float64)
    ranks.copy_first(rate)
    arguments["learning_rate"] = float(rate[0])
    if "rates" in arguments:
        ranks.copy_first(arguments["rates"])


def epoch(job, course, arguments):
    """One epoch of all ranks in the core, or what is done of it until a checkpoint is due.

    Parameters
    ----------
    job : Job
    course : Course
        Its place is where this begins, and ends.
    arguments : dict
        Those of `_core.Trainer.train_epoch` but for data and what follows from `job`.

    Returns
    -------
    bool
        Whether all losses were finite.
    """
    rows, ranks = job.rows, job.ranks
    step, parts = course.place
    data, order, row, reduction, n_met = rows.piece(step)
    if arguments.get("rates") is not None:
        arguments = arguments | {"rates": arguments["rates"][step:]}
    if "seed" in arguments:
        arguments = arguments | {"seed": seed_of_rank(arguments["seed"], ranks.rank)}
    error, finite = None, True
    course.is_whole = False
    job.trainer.begin(row, parts[ranks.rank])
    try:
        _, _, finite = job.trainer.train_epoch(
            job.params.flat,
            job.optimizer.state,
            data,
            order,
            job.batch_size,
            row=row,
            loss_sum=parts[ranks.rank],
            until=job.keeper.deadline,
            reduction=reduction,
            **arguments,
        )
    except BaseException as caught:
        error = caught
        if not n_met():  # it was raised before the core, where the others wait in their first step
            ranks.add_up(np.full(job.trainer.n_params + 1, np.nan, job.params.flat.dtype))
    ended = finite and reduction.step < rows.n_steps  # by its own clock
    said = (job.trainer.loss_sum, finite, ended, quick_digest(job.params.flat))
    try:
        every = ranks.exchange("an epoch", said, error)
    finally:
        if ranks.said is not None:
            losses, _, _, digests = zip(*ranks.said, strict=True)
            course.place = (reduction.step, losses)
            course.is_whole = len(set(digests)) == 1  # or it is of no use to a checkpoint
    with alike(ranks):
        _check_same(digests)
    return any(ended for _, _, ended, _ in every) or all(finite for _, finite, _, _ in every)


def ending_of_all(ranks, own):
    """The ending of an epoch or iteration that counts: any rank's, but of its time rank 0's.

    Parameters
    ----------
    own : callable
        Gives that of this rank, or None.
    """
    ending = error = None
    try:
        ending = own()
    except BaseException as caught:
        error = caught
    every = ranks.exchange("the end of an epoch", ending, error)
    asked = [ending for ending in every if ending is not None and not ending.warning]
    return asked[0] if asked else every[0]


def ending_with_late_interruption(ranks, ending):
    """What all ranks make of a Ctrl-C after the last exchange of the loop, on any of them.

    Parameters
    ----------
    ending : Ending
        Of the loop.
    """
    try:
        ranks.exchange("the end of the training")
    except KeyboardInterrupt as error:
        if not ranks.is_shared(error):
            raise
        return ending.interrupted()
    return ending


def check_same_bits(ranks, vector):
    """RuntimeError unless all ranks have the same parameters."""
    _check_same(ranks.exchange("the parameters", quick_digest(vector)))


def _check_same(digests):
    if len(set(digests)) > 1:
        raise RuntimeError(
            "The ranks of fastbp.distributed have come to different parameters, so that their "
            "Allreduce does not give all ranks the same sums, or their machines compute the same "
            "update differently: it takes an Allreduce, and machines, of one kind."
        )


# ---- all rows at once ----


def total_weight(ranks, given):
    """The weight of the rows of all ranks."""
    weight = given.sample_weight
    return sum(ranks.exchange("weight", given.data.n_rows if weight is None else weight.sum()))


def value_and_grad(job, point, total, alpha):
    """Loss and gradient over the rows of all ranks, which all get the same of.

    Parameters
    ----------
    job : Job
    point : ndarray of float64
        The same on all ranks.
    total : float
        Weight of all rows.
    alpha : float
        The penalty: it is added up on one rank.
    """
    ranks, error = job.ranks, None
    vector = np.empty(point.size + 1)
    try:
        vector[-1] = job.trainer.value_and_grad(
            point,
            job.given.data,
            vector[:-1],
            alpha=alpha if ranks.rank == 0 else 0.0,
            loss_scale=job.loss_scale,
            clip_loss=True,
            ask=job.given.loss.ask,
            total=True,
        )
    except BaseException as caught:
        error = caught
    if error is not None:
        vector[-1] = np.nan
    ranks.add_up(vector)
    if not np.isfinite(vector[-1]):
        ranks.exchange("a loss that is not finite", error=error)
    vector /= total
    return float(vector[-1]), vector[:-1]


def minimize(ranks, by_scipy, evaluate, x0, callback, **settings):
    """SciPy's `minimize` on rank 0; the others evaluate and iterate where it does.

    So nothing depends on the arithmetic of SciPy, which on another machine may differ in a bit.

    Parameters
    ----------
    ranks : Ranks
    by_scipy : callable
        `scipy.optimize.minimize`.
    evaluate, callback : callable
        As it takes them. They are called on all ranks, with the same points.
    x0 : ndarray of float64
        Where to begin.
    **settings : object
        The others that it takes.

    Returns
    -------
    OptimizeResult
        x, fun, status and message, the same on all ranks.
    """
    if ranks.rank > 0:
        return _follow(ranks, evaluate, callback, x0)

    def evaluate_by_all(point):
        _lead(ranks, "evaluate", point)
        return evaluate(point)

    def callback_by_all(intermediate_result):
        _lead(ranks, "iterate", intermediate_result.x, fun=intermediate_result.fun)
        callback(intermediate_result)

    result = by_scipy(evaluate_by_all, x0, callback=callback_by_all, **settings)
    ended = {name: result[name] for name in ("fun", "status", "message")}
    _lead(ranks, "end", result.x, **ended)
    return result


_STEP = "a step of L-BFGS"


def _lead(ranks, what, x, **numbers):
    """Tell the others what rank 0 does, and where."""
    ranks.exchange(_STEP, (what, numbers))
    ranks.copy_first(x.copy())


def _follow(ranks, evaluate, callback, x):
    """Do what rank 0 does, until it has ended."""
    from scipy.optimize import OptimizeResult

    while True:
        what, numbers = ranks.first(_STEP, None)
        ranks.copy_first(x)
        if what == "evaluate":
            evaluate(x)
            continue
        result = OptimizeResult(x=x, **numbers)
        if what == "end":
            return result
        with suppress(StopIteration):  # rank 0 ends then
            callback(result)


# ---- validation ----


class SharedValidation(Validation):
    """Loss and score of the rows that all ranks watch, each its own.

    Loss and accuracy are means over all rows, by their weights, and R2 is that of all rows. Any
    other score is the mean of what the rows of each rank come to, by their weights.
    """

    def __init__(self, ranks, given, *arguments):
        super().__init__(given, *arguments)
        self._ranks = ranks
        weight, target = self._weight, self._target
        self._total = float(len(target) if weight is None else weight.sum())
        self._means = None
        if self._scorer is None and given.loss.score in (r2, r2_of_means):
            self._means = means if given.loss.score is r2_of_means else np.asarray
            self._weights = np.ones(len(target)) if weight is None else weight
            sums = self._sum_up((self._total, self._weights @ target))
            self._spread = self._sum_up((self._weights @ (target - sums[1] / sums[0]) ** 2,))[0]
            self._score_output = self._left
        self._total_of_all = self._sum_up((self._total,))[0]

    def _sum_up(self, numbers, error=None):
        every = self._ranks.exchange("validation", numbers, error)
        return [sum(parts) for parts in zip(*every, strict=True)]

    def _left(self, output, target, sample_weight):
        """What the predictions leave of the squares of the targets, for each column."""
        return self._weights @ (target - self._means(output).astype(np.float64)) ** 2

    def score(self):
        """Score of the present parameters over the rows of all ranks."""
        error = part = None
        try:
            part = super().score()
        except BaseException as caught:
            error = caught
        if self._means is None and error is None:
            part = part * self._total
        loss, score = self._sum_up((self.loss * self._total, part), error)
        self.loss = loss / self._total_of_all
        if self.watches_loss:
            return -self.loss
        return self._r2(score) if self._means is not None else float(score / self._total_of_all)

    def _r2(self, left):
        """As `_losses.r2`, from the sums over all ranks."""
        if not np.isfinite(left).all():
            return np.nan
        constant = self._spread == 0
        scores = np.where(constant, left == 0, 1 - left / np.where(constant, 1, self._spread))
        return float(scores.mean())
