"""Several processes that train one net: the communicator that is active, and how ranks agree.

All ranks make the same calls in the same order. What may go wrong on one of them only, such as a
check of its rows, ends in an exchange (`Ranks.agreeing`): then all of them raise, the one with its
own error and the others with one that names it, and nobody waits for a rank that has left. What
fails outside of that ends the job: see `distributed`.

This module knows of communicators only; how a net is trained by them is in `_data_parallel`.
"""

import contextvars
import hashlib
import os
import re
import signal
import socket
import sys
import threading
import traceback
from contextlib import contextmanager, nullcontext

import numpy as np

_METHODS = ("Get_rank", "Get_size", "Allreduce", "Bcast", "allgather", "Abort")
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
# Errors that the other ranks raise as what they are; of other kinds they raise a RuntimeError.
_KINDS = {
    kind.__name__: kind
    for kind in (
        ValueError,
        TypeError,
        MemoryError,
        OverflowError,
        NotImplementedError,
        KeyboardInterrupt,
    )
}

_MOST_CAUSES = 100  # of an error, which may be in a circle

# The `Ranks` of the innermost block, with the process and the thread that entered it: a context is
# also copied into other threads, and a forked child has a copy of it.
_active = contextvars.ContextVar("fastbp.distributed", default=(None, None))


def _here():
    return os.getpid(), threading.get_ident()


def _entered():
    """The `Ranks` of the innermost block that this Python thread has entered, or None."""
    ranks, where = _active.get()
    return ranks if ranks is not None and where == _here() else None


def active():
    """The `Ranks` that a fit in this Python thread is shared by; None if it is alone."""
    ranks = _entered()
    return None if ranks is None or ranks.size == 1 else ranks


def is_first():
    """Tell whether this is the rank that prints: also one that is alone."""
    ranks = active()
    return ranks is None or ranks.rank == 0


# Around what a fit does that is alone.
_NOTHING = nullcontext()


def agreeing(ranks):
    """`Ranks.agreeing`, or nothing for a fit that is alone."""
    return _NOTHING if ranks is None else ranks.agreeing()


def fitting(ranks):
    """`Ranks.fitting`, or nothing for a fit that is alone."""
    return _NOTHING if ranks is None else ranks.fitting()


def alike(ranks):
    """`Ranks.alike`, or nothing for a fit that is alone."""
    return _NOTHING if ranks is None else ranks.alike()


@contextmanager
def alone():
    """What is done in the block is done by this rank alone, though it may be part of a fit."""
    token = _active.set((None, None))
    try:
        yield
    finally:
        _active.reset(token)


def tell_the_others(error):
    """Let other ranks, which have begun the same fit, raise too."""
    ranks = active()
    if ranks is not None:
        ranks.exchange("an error", error=error)


@contextmanager
def interrupts_held(ranks):
    """Let Ctrl-C be noted where the ranks can agree on it, instead of raising anywhere.

    A handler of the caller's own is left alone.
    """
    main = threading.current_thread() is threading.main_thread()
    if ranks is None or not main or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        yield
        return

    def note(number, frame):
        ranks.interrupted = True

    signal.signal(signal.SIGINT, note)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        ranks.interrupted = False  # one rank must not raise alone, after the last exchange


def refuse(what, takes):
    """Raise NotImplementedError where several ranks are active, for what they cannot do."""
    ranks = active()
    if ranks is not None:
        with ranks.agreeing():
            raise NotImplementedError(
                f"{what} does not go with fastbp.distributed over {ranks.size} ranks: it takes "
                f"{takes}."
            )


class distributed:  # noqa: N801, it is used as a function
    """Train with the rows of several processes: a context in which ``fit`` is data parallel.

    Every process (rank) runs the same program with rows of its own::

        # mpiexec -n 4 python train.py
        from mpi4py import MPI

        with fastbp.distributed(MPI.COMM_WORLD):
            clf.fit(X_of_this_rank, y_of_this_rank)

    In each step every rank computes the gradient over `batch_size` of its own rows, all of them
    are added up by one ``Allreduce``, and every rank makes the same update: after `fit` all have
    the same weights, to the bit. It is the fit of one process with mini-batches of `batch_size`
    rows of each rank. It applies to ``fit`` and ``partial_fit`` of `MLPClassifier` and
    `MLPRegressor` in the Python thread that entered it; other estimators, `Network` included,
    are as without, but for the tabular ones, which raise.

    Parameters
    ----------
    comm : mpi4py.MPI.Intracomm
        The communicator. Of anything else the methods ``Get_rank``, ``Get_size``, ``Allreduce``,
        ``Bcast``, ``allgather`` and ``Abort`` are used, as mpi4py has them. With one rank the fit
        is the ordinary one.

    Raises
    ------
    TypeError
        `comm` is no communicator.
    ValueError
        `comm` has no ranks, or is one between two groups.

    Notes
    -----
    What is wrong with the data or the parameters of one rank is raised by all of them. Any other
    exception that leaves the block ends the whole job: the rank says on standard error which it
    is and why, and calls ``comm.Abort``. One that has left a fit and is caught in the block does
    so where the next fit begins, or at the end of the block.

    At its end the block waits for all ranks, also where it is left by an error of all of them or
    by ``sys.exit(0)``. If some begin another fit instead, all raise RuntimeError, or what is wrong
    with that fit.

    Examples
    --------
    >>> import fastbp
    >>> from mpi4py import MPI  # doctest: +SKIP
    >>> with fastbp.distributed(MPI.COMM_WORLD):  # doctest: +SKIP
    ...     clf = fastbp.MLPClassifier(random_state=0).fit(X, y)
    """

    def __init__(self, comm):
        self._comm = _checked(comm)
        self._entered = []  # blocks that this is around: Ranks, process and thread, token

    def __enter__(self):
        outer, here = _entered(), _here()
        # In a block within a block the same ranks go on, with what they know of each other.
        ranks = outer if outer is not None and outer.comm == self._comm else Ranks(self._comm)
        self._entered.append((ranks, here, _active.set((ranks, here))))
        return self

    def __exit__(self, kind, error, where):
        ranks, entered, token = self._entered.pop()
        _active.reset(token)
        if ranks.size == 1 or entered != _here():  # a forked child is no rank
            return
        quiet = error is None or (isinstance(error, SystemExit) and not error.code)
        if ranks.is_shared(error) or (quiet and not ranks.lost):
            ranks.leave()
        else:
            _end_the_job(ranks, error)


def _end_the_job(ranks, error):
    """Say why, and end all ranks, whatever becomes of the saying."""
    try:
        if error is not None:
            traceback.print_exception(error)
        why = f"it has left a fit that the others are in, by {ranks.lost}"
        why = why if error is None else _text(error)
        print(
            f"fastbp.distributed: rank {ranks.rank} of {ranks.size} failed, which ends the job: "
            f"{why}",
            file=sys.stderr,
        )
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        ranks.comm.Abort(1)


def _checked(comm):
    takes = "it takes a communicator of mpi4py, such as MPI.COMM_WORLD"
    missing = [name for name in _METHODS if not callable(getattr(comm, name, None))]
    if missing or isinstance(comm, type):
        what = f"no {missing[0]}" if missing else "no ranks: it is a class"
        raise TypeError(f"comm={comm!r} has {what}: {takes}.")
    if not comm or getattr(comm, "Is_inter", bool)():
        what = "is one between two groups" if comm else "has no ranks"
        raise ValueError(f"comm={comm!r} {what}: {takes}.")
    return comm


def _text(error):
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _described(value):
    """A text that is the same in all processes if the value is."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return _ADDRESS.sub("", repr(value))


def digest(*arrays):
    """A short text that tells arrays apart, by dtype, shape and bytes."""
    found = hashlib.blake2b(digest_size=16)
    for array in arrays:
        array = np.ascontiguousarray(array)
        found.update(f"{array.dtype.str}{array.shape}".encode())
        found.update(array.data.cast("B") if array.size else b"")
    return found.hexdigest()


_LANES = 4096  # of 64 bits, which are added up each for itself


def quick_digest(*arrays):
    """The same of arrays that differ, if at all, in many numbers, or by little: as fast as memory.

    It is the digest of sums of their bits, which a few differences could leave as they are only
    where they cancel each other in the same lane.
    """
    parts, size = [], 8 * _LANES
    for array in arrays:
        bits = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        whole = len(bits) // size * size
        lanes = bits[:whole].view(np.uint64).reshape(-1, _LANES)
        parts += [np.array(whole // size), lanes.sum(axis=0), bits[whole:]]
    return digest(*parts)


class Ranks:
    """The ranks of a communicator, as one of them sees the others.

    Attributes
    ----------
    comm : mpi4py.MPI.Intracomm
    rank, size : int
    neighbours : int
        Ranks that run on the same cores, with this one.
    """

    def __init__(self, comm):
        self.comm = comm
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        # That of the communicator's own library: who has one has imported it.
        self.in_place = getattr(sys.modules.get("mpi4py.MPI"), "IN_PLACE", None)
        self.neighbours = None
        self.interrupted = False  # by Ctrl-C, which all ranks are to hear of
        self.is_finished = False  # the model of the present fit: a Ctrl-C is too late
        self.lost = ""  # the error that has left a fit here, which the others may still be in
        self.said = None  # the values of the last exchange, also of one that raised
        self._shared = None  # the exception that all ranks raise, until they meet again

    def exchange(self, name, value=None, error=None):
        """What all ranks have to say, in their order; raises if one of them has an error.

        Parameters
        ----------
        name : str
            What it is about: ranks that are at different points raise.
        value : object
            Anything that can be pickled.
        error : BaseException or None
            What has gone wrong here. It is raised, and by the others one that names this rank.
            If nothing has, a Ctrl-C that is held has, unless it is too late.
        """
        if self.lost:  # and somebody has caught it: the others are in the middle of that fit
            _end_the_job(self, None)
        if self.interrupted and not self.is_finished:
            error = KeyboardInterrupt() if error is None else error
            self.interrupted = False  # it is heard here, also if `error` is it already
        failure = None if error is None else (type(error).__name__, _kind_of(error), str(error))
        self.said = None
        answers = self.comm.allgather((name, value, failure))
        self.said = [answer[1] for answer in answers]
        if error is not None:
            self._shared = error
            error.add_note(f"It was raised on rank {self.rank} of {self.size}.")
            raise error
        failures = [(rank, answer[2]) for rank, answer in enumerate(answers) if answer[2]]
        if failures:
            self._shared = _error_of(*failures[0])
            raise self._shared
        names = [answer[0] for answer in answers]
        if len(set(names)) > 1:
            self._shared = RuntimeError(
                "The ranks of fastbp.distributed do different things: they are at "
                f"{dict(enumerate(names))}. It takes the same calls on all of them."
            )
            raise self._shared
        self._shared = None  # what was raised before is over on all of them
        return self.said

    @contextmanager
    def agreeing(self):
        """All ranks leave the block well, or all of them raise."""
        try:
            yield
        except BaseException as error:
            if not self.is_shared(error):
                self.exchange("an error", error=error)
            raise
        self.exchange("the end of a block")

    @contextmanager
    def alike(self):
        """A check that all ranks fail alike, without an exchange.

        What else is raised in it, such as a Ctrl-C, may be on this rank only.
        """
        try:
            yield
        except (ValueError, RuntimeError) as error:
            self.share(error)
            raise

    def share(self, error):
        """Note that all ranks raise this."""
        self._shared = error

    def is_shared(self, error):
        """Tell whether this is what all ranks raise, or was raised from it.

        What was raised while it was handled is not: that may be on one rank only.
        """
        for _ in range(_MOST_CAUSES):
            if error is None or error is self._shared:
                break
            error = error.__cause__
        return error is not None and error is self._shared

    @contextmanager
    def fitting(self):
        """Note what leaves the block, a fit, and is not raised by the others, which are in it."""
        try:
            yield
        except BaseException as error:
            if not self.is_shared(error):
                self.lost = _text(error)
            raise
        finally:
            self.is_finished = False

    def leave(self):
        """Wait until all ranks leave, for nobody is to wait for one that has left.

        If some went to do something else, all raise RuntimeError, or what was wrong with that; they
        come here, too, by that error.
        """
        shared, failure = self._shared, None
        self.interrupted = False
        while True:
            try:
                self.exchange("the end of the block")
                break
            except BaseException as error:
                if not self.is_shared(error):
                    raise
                failure = failure or error
        self._shared = failure or shared  # an outer block is left by it
        if failure is not None:
            raise failure

    def compare(self, name, values):
        """ValueError that names the first of these values (a dict) that differs between ranks.

        Returns those of all ranks.
        """
        every = self.exchange(name, {key: _described(value) for key, value in values.items()})
        for key in every[0]:
            for rank, theirs in enumerate(every):
                if theirs.get(key) != every[0][key]:
                    raise ValueError(
                        f"{key} is {theirs.get(key)} on rank {rank} and {every[0][key]} on rank "
                        "0: fastbp.distributed takes the same on all ranks."
                    )
        return every

    def find_neighbours(self):
        """Count the ranks that share the cores of this one, once."""
        if self.neighbours is None:
            cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
            here = (socket.gethostname(), sorted(cores))
            self.neighbours = self.exchange("the machine", here).count(here)

    def first(self, name, value):
        """The value of rank 0."""
        return self.exchange(name, value)[0]

    def copy_first(self, vector):
        """Make this contiguous array what it is on rank 0."""
        self.comm.Bcast(vector, root=0)

    def add_up(self, vector):
        """Make this contiguous array the sum over the ranks."""
        self.comm.Allreduce(self.in_place, vector)


def _kind_of(error):
    return next((name for name, kind in _KINDS.items() if isinstance(error, kind)), None)


def _error_of(rank, failure):
    """What the others raise for the failure of a rank."""
    name, kind, text = failure
    if kind is None:
        return RuntimeError(f"rank {rank}: {name}: {text}" if text else f"rank {rank}: {name}")
    return _KINDS[kind](f"rank {rank}: {text or name}")


# ---- what the checks of a fit ask for ----


def labels_of_all(labels, is_column):
    """The labels that y has on any rank, sorted.

    Parameters
    ----------
    labels : ndarray of shape (n_labels,)
        Those of this rank.
    is_column : bool
        y has one label a row; else the labels are the numbers of its columns.
    """
    ranks = active()
    if ranks is None:
        return labels
    every = ranks.exchange("labels", (is_column, labels))
    kinds = {
        "labels in columns" if not column else "numbers" if a.dtype.kind in "iubf" else "texts"
        for column, a in every
    }
    if len(kinds) > 1:
        raise ValueError(
            f"y has {' and '.join(sorted(kinds))} on different ranks: fastbp.distributed takes "
            "the same kind of labels on all of them."
        )
    for rank, (_, a) in enumerate(every):
        if not is_column and len(a) != len(every[0][1]):
            raise ValueError(
                f"the number of columns of y is {len(a)} on rank {rank} and {len(every[0][1])} on "
                "rank 0: fastbp.distributed takes the same on all ranks."
            )
    if not is_column:
        return labels
    return np.unique(np.concatenate([a for _, a in every]))


def counts_of_all(counts):
    """The sum of these integers over all ranks."""
    ranks = active()
    return counts if ranks is None else np.sum(ranks.exchange("counts", counts), axis=0)


def any_of_all(value):
    """Whether it is so on any rank."""
    ranks = active()
    return value if ranks is None else any(ranks.exchange("a choice", bool(value)))


def all_of_all(value):
    """Whether it is so on all ranks."""
    ranks = active()
    return value if ranks is None else all(ranks.exchange("a choice", bool(value)))
