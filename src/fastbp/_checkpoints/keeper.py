"""The keeper of a fit's checkpoint: what was found at its path, when it is written, and its end."""

import contextlib
import errno
import math
import os
import shutil
from time import monotonic

import numpy as np

from .._files.checks import shown
from .._files.container import FileAccessError, FileError
from .._files.replacing import check_name, permissions_of
from .._input.arguments import generator_of
from .._warnings import warn
from . import files
from .evaluations import Evaluations, refuse_other_log
from .fingerprint import differences
from .locks import Lock

# What a checkpoint consists of.
_PARTS = {
    "fingerprint": dict,
    "random_state": np.random.RandomState,  # before the first draw of the fit
    "elapsed": float,  # seconds
    "vectors": dict,
    "course": dict,  # of the run, as its loop has it
}


def copy_of(generator):
    """A generator of its own in the same state."""
    made = generator_of(0)
    made.set_state(generator.get_state())
    return made


def small(order):
    """Row numbers as they lie in a checkpoint."""
    fits = len(order) <= np.iinfo(np.uint32).max
    return order.astype(np.uint32) if fits else order


def keeper_of(estimator, began):
    """The keeper that an estimator's parameters ask for."""
    if estimator.checkpoint is None:
        return Nobody(began)
    return Keeper(os.fsdecode(estimator.checkpoint), estimator.checkpoint_interval, began)


class Nobody:
    """The keeper of a fit without a checkpoint: nothing is found, and nothing written.

    Parameters
    ----------
    began : float
        When the fit began, by `time.monotonic`.

    Attributes
    ----------
    began : float
        The same; with a checkpoint the time of the runs before counts, too.
    deadline : float
        When the next checkpoint is due.
    is_there : bool
        Whether there is somebody who keeps a checkpoint.
    goes_on : bool
        Whether a checkpoint was found, which the fit goes on with.
    unsaid : str
        A warning that is still to be given, when the fit has ended.
    """

    is_there = goes_on = False
    deadline, unsaid = math.inf, ""

    def __init__(self, began):
        self.began = began

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        return None

    def begin(self, generator):
        """Before the first draw of the fit."""

    def compare(self, fingerprint, vectors, n_bytes=0):
        """Before the estimator changes: raise ValueError if the checkpoint is of another fit."""

    def refuse(self, why):
        """The same, as it is found that nothing is to be trained."""

    def following(self, course):
        """Around the training; ``course()`` is the state of the run, None where it has none."""
        return contextlib.nullcontext()

    def ending(self):
        """Around what comes after training, before `end`."""
        return contextlib.nullcontext()

    def write_if_due(self):
        """Between two steps."""

    def end(self):
        """The fit has ended by its own rules."""


NOBODY = Nobody(0.0)


class Keeper(Nobody):
    """The keeper of the checkpoint at a path.

    Parameters
    ----------
    path : str
    interval : float
        Seconds between two checkpoints at least.
    began : float
        When the fit began.

    Raises
    ------
    OSError, ValueError
        On entry, if no checkpoint can be written there, or what is there is none.
    """

    is_there = True

    def __init__(self, path, interval, began):
        super().__init__(began)
        self._given, self._interval, self._pid = path, interval, os.getpid()
        self._read = self._course = self._evaluations = None
        self._put_back = None  # the state of a generator of the caller's
        self._is_warned = False

    # ---- before training ----

    def __enter__(self):
        check_name(self._given, "checkpoint")
        self._path = os.path.realpath(self._given)  # stays, also if the folder is changed
        files.refuse_other_files(self._path)
        permissions_of(self._path, self._given)  # for its errors
        self._lock = Lock(self._path, self._given)
        try:
            for refuse in (files.refuse_other_part, refuse_other_log):
                refuse(self._path)
            self._lock.take()
            files.remove_part(self._path)
            self._read = self._checked(self._found())
        except BaseException:
            self._lock.release()
            raise
        if self._read is not None:
            self.goes_on = True
            self.began -= self._read["elapsed"]
        return self

    def _found(self):
        try:
            return files.read(self._path)
        except FileAccessError:
            raise
        except FileError as error:
            raise FileError(
                f"checkpoint={self._given!r}: {error} To begin anew, remove the file."
            ) from error

    def _checked(self, read):
        if read is None:
            return None
        for name, kind in _PARTS.items():
            if type(read) is not dict or type(read.get(name)) is not kind:
                raise self._damaged(f"its {name} is no {kind.__name__}")
        return read

    def _damaged(self, why):
        return FileError(f"checkpoint={self._given!r} is damaged: {why}. It can be removed.")

    def __exit__(self, *exception):
        if self._put_back is not None:
            self._generator.set_state(self._put_back)
        if self._evaluations is not None:
            self._evaluations.close()
        self._lock.release()

    def begin(self, generator):
        """Note the generator; that of a fit that goes on is put where it began."""
        kind = type(generator._bit_generator).__name__
        if kind != "MT19937":
            raise ValueError(
                f"random_state draws from {kind}: with a checkpoint it takes an integer, None or a "
                "RandomState of MT19937, as numpy.random.RandomState(seed) is."
            )
        self._generator = generator
        if self._read is None:
            self._first = copy_of(generator)
        else:
            self._first, self._put_back = self._read["random_state"], generator.get_state()
            generator.set_state(self._first.get_state())

    def compare(self, fingerprint, vectors, n_bytes=0):
        """Refuse a checkpoint of another fit, and a disk without room for one of this.

        Parameters
        ----------
        fingerprint : callable
            () -> dict
        vectors : dict of ndarray
            What training changes in place.
        n_bytes : int, default=0
            That are needed beside them at least.
        """
        self._fingerprint, self._vectors = fingerprint(), vectors
        self._check_space(n_bytes)
        if self._read is not None:
            found = differences(self._fingerprint, self._read["fingerprint"])
            if found:
                self.refuse("; ".join(found))
            theirs, ours = (_kinds(v) for v in (self._read["vectors"], vectors))
            if theirs != ours:
                raise self._damaged(f"its vectors are {shown(theirs)}, where it takes {ours}")
        self._put_back = None

    def refuse(self, why):
        """Raise ValueError if there is a checkpoint: it is of another fit, since ..."""
        if self._read is not None:
            raise ValueError(
                f"checkpoint={self._given!r} is of another fit: {why}. To begin anew, remove the "
                "file; each fit takes a path of its own."
            )

    def _check_space(self, n_bytes):
        """Raise OSError unless there is room for a checkpoint."""
        needed = n_bytes + sum(vector.nbytes for vector in self._vectors.values())
        try:
            free = shutil.disk_usage(os.path.dirname(self._path)).free
        except OSError:  # a system that does not tell
            return
        if free < needed:
            text = f"a checkpoint takes {needed:,} bytes, where {free:,} are free"
            raise OSError(errno.ENOSPC, text, self._given)

    # ---- while it trains ----

    def go_on(self):
        """Give the vectors what the checkpoint has of them; the course of the run is returned."""
        read, self._read = self._read, None
        for name, vector in self._vectors.items():
            np.copyto(vector, read["vectors"][name])
        return read["course"]

    def evaluations(self, n_params, token):
        """The log of L-BFGS, which lies beside the checkpoint and ends with it.

        A checkpoint is due when it begins.
        """
        self._evaluations = Evaluations(self._path, n_params, token)
        if not self.goes_on:
            self.deadline = -math.inf
        return self._evaluations

    def following(self, course):
        """Around the training: what interrupts it leaves a checkpoint of where it was."""
        self._course = course
        self.deadline = monotonic() + self._interval
        return self.ending()

    @contextlib.contextmanager
    def ending(self):
        """Around what comes after training: what interrupts it leaves a checkpoint of its end."""
        try:
            yield
        except BaseException:
            self._is_warned = False  # that it is tried again
            self._write("Training has ended: what is newer than the last checkpoint is lost")
            raise

    def write_if_due(self):
        """Write a checkpoint, if the time has come; what fails is tried again when it is due."""
        if monotonic() >= self.deadline:
            again = f"it is tried again after {self._interval} seconds"
            self._write(f"Training goes on; {again}")

    def _write(self, otherwise):
        """Write a checkpoint, or warn: of why it fails, and what follows from that."""
        if os.getpid() != self._pid:  # a child that was forked meanwhile
            return
        try:
            course = self._course()
            if course is not None:
                files.write(
                    self._path,
                    {
                        "fingerprint": self._fingerprint,
                        "random_state": self._first,
                        "elapsed": monotonic() - self.began,
                        "vectors": self._vectors,
                        "course": course,
                    },
                )
        except Exception as error:  # whatever it is, it is no reason to lose the training
            self._warn(f"checkpoint={self._given!r} could not be written: {error}. {otherwise}.")
        self.deadline = monotonic() + self._interval

    def _warn(self, text):
        """Warn once, and at the end only where a warning is an error."""
        if self._is_warned:
            return
        self._is_warned = True
        try:
            warn(text)
        except Warning:
            self.unsaid = text

    def end(self):
        """Remove the checkpoint, which nobody needs any more."""
        if os.getpid() != self._pid:
            return
        try:
            if self._evaluations is not None:
                self._evaluations.remove()
            files.remove(self._path)
        except OSError as error:
            self._is_warned = False
            self._warn(
                f"checkpoint={self._given!r} could not be removed after the fit has ended: {error}."
            )


def _kinds(vectors):
    return {
        name: (str(vector.dtype), *vector.shape)
        for name, vector in vectors.items()
        if type(vector) is np.ndarray
    }
