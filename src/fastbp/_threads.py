"""How many threads a call may use, and keeping BLAS to one of them.

The engine brings its own team of threads, so a BLAS that starts more of its own would only get in
its way. ``single_threaded_blas`` holds BLAS at one thread while it is used by at least one call;
packed and direct products need no BLAS, so most calls leave it alone: to set its number of threads
takes milliseconds when they have just been busy.
"""

import functools
import os
import threading
import weakref
from contextlib import nullcontext

from . import _core
from ._environment import settings
from ._input.arguments import check_n_threads


def resolve_n_threads(n_threads, flops=None, n_sharers=1):
    """Turn the ``n_threads`` parameter into a number of threads.

    Parameters
    ----------
    n_threads : int or None
        A number is taken as it is. None means all cores that this process may use (CPU affinity
        and container limits count), at most ``FASTBP_NUM_THREADS`` and ``OMP_NUM_THREADS``
        where these environment variables are set, and at most what ``threadpoolctl`` limits the
        other libraries of the process to.
    flops : float or None, default=None
        The arithmetic of a pass over the arena. Where it does not pay for two threads, what limits
        them is not looked up.
    n_sharers : int, default=1
        Processes among which the cores are divided; the other limits are of each of them.

    Returns
    -------
    int
        At least 1. The engine uses fewer when the shapes do not pay for more.

    Raises
    ------
    ValueError
        If `n_threads` is not a positive integer, or an environment variable of fastbp holds what
        it does not take.
    """
    ours = settings().n_threads
    if n_threads is not None:
        return check_n_threads(n_threads)
    # A malformed value of OpenMP's is not ours to report.
    openmp = _number_of(*_core.environment("OMP_NUM_THREADS"))
    limits = [limit for limit in (ours, openmp) if limit]
    if flops is not None and flops < 2 * _core.FLOPS_PER_THREAD:
        return 1
    return max(1, min([_cores() // n_sharers, *_limits_in_force(), *limits]))


def _number_of(text):
    """The number in a variable of OpenMP or BLAS, or None; of a list, one per nesting level."""
    text = (text or "").split(",")[0].strip()
    return int(text) if text.isascii() and text.isdigit() and int(text) >= 1 else None


# ---- cores ----


def _cores():
    import joblib

    return _count_cores(joblib.cpu_count, _affinity(), *_core.environment("LOKY_MAX_CPU_COUNT"))


def _affinity():
    """How many cores the system lets us run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@functools.lru_cache(maxsize=16)
def _count_cores(count, affinity, loky_limit):
    # `count` reads files for the limits of containers; the others are what may change meanwhile.
    return count()


# ---- the thread pools of other libraries ----

# What decides how many threads a library starts with, by threadpoolctl's name of it.
_VARIABLES = {
    "openblas": ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS"),
    "mkl": ("MKL_NUM_THREADS", "OMP_NUM_THREADS"),
    "blis": ("BLIS_NUM_THREADS", "OMP_NUM_THREADS"),
    "openmp": ("OMP_NUM_THREADS",),
}
_ONE_PER_CORE = ("openblas", "openmp")  # those that have as many otherwise


@functools.cache
def _libraries():
    """The BLAS and OpenMP libraries in the process; looked for once, which takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    return [
        library
        for library in ThreadpoolController().lib_controllers
        if library.user_api in ("blas", "openmp")
    ]


@functools.cache
def _starting_threads(internal_api):
    """The smallest number that the environment gave this library, or None."""
    numbers = map(_number_of, _core.environment(*_VARIABLES.get(internal_api, ())))
    return min((n for n in numbers if n), default=None)


def _limits_in_force():
    """Numbers of threads that ``threadpool_limits`` holds libraries at.

    A limit is a number below the one that a library starts with. Which libraries are limited
    depends on the caller's ``user_api``; each of them counts.
    """
    _release_if_forgotten()
    limits = []
    ours = dict(_blas_before or ())  # held at one thread by ourselves, which is no limit
    for library in _libraries():
        now = ours.get(library) or library.get_num_threads()
        start = _starting_threads(library.internal_api)
        if start is None and library.internal_api in _ONE_PER_CORE:
            start = _affinity()
        if now and start and now < start:
            limits.append(now)
    return limits


# ---- BLAS at one thread ----


class _User:
    """Somebody who needs BLAS at one thread. Dies with the frame that it belongs to."""

    __slots__ = ("__weakref__",)


# Ctrl-C and other signals may interrupt Python code at any point, also here. A call that is cut
# short lets BLAS go on its way out; if it is cut short again, the next one does: a dead user does
# not count, and the numbers of before stay written down until they are restored.
_blas_lock = threading.Lock()
_blas_owner = None  # the Python thread that has the lock, whose signal handlers need not wait
_blas_users = weakref.WeakSet()
_blas_before = None  # [(library, number of threads)] while BLAS is held


def _locks_of_a_child():
    # The threads that used BLAS in the parent are not here; their limit is, until the next user.
    global _blas_lock, _blas_owner, _blas_users
    _blas_lock, _blas_owner, _blas_users = threading.Lock(), None, weakref.WeakSet()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_locks_of_a_child)


class single_threaded_blas:
    """Keep every BLAS in the process at one thread while the ``with`` block runs.

    The setting belongs to the whole process: the first of several concurrent blocks (from
    different Python threads) sets it, the last one to leave restores what was there.
    """

    def __enter__(self):
        self._user = _User()
        try:
            _alone(self._hold)
        except BaseException:
            _alone(self._release)
            raise

    def __exit__(self, *exception):
        _alone(self._release)

    def _hold(self):
        global _blas_before
        _blas_users.add(self._user)  # first: a handler that interrupts us sees it
        if _blas_before is None:
            blas = [library for library in _libraries() if library.user_api == "blas"]
            _blas_before = [(library, library.get_num_threads()) for library in blas]
        _set_threads([(library, 1) for library, _ in _blas_before])

    def _release(self):
        _blas_users.discard(self._user)
        _restore_if_unused()


def _restore_if_unused():
    global _blas_before
    before = _blas_before
    if before is not None and not _blas_users:
        _set_threads(before)
        _blas_before = None


def _release_if_forgotten():
    if _blas_before is not None and not _blas_users:
        _alone(_restore_if_unused)


def _alone(action):
    """Run it in one Python thread at a time; at once in a handler that interrupts such a run."""
    global _blas_owner
    me = threading.get_ident()
    if _blas_owner == me:
        action()
        return
    # No signal is looked at between taking the lock and noting the owner: nothing is called.
    with _blas_lock:
        _blas_owner = me
        try:
            action()
        finally:
            _blas_owner = None


def _set_threads(numbers):
    for library, n in numbers:
        if library.get_num_threads() == n:
            continue
        # threadpoolctl 3.8 lets the first Python thread that sets a limit of OpenBLAS set limits,
        # and silently ignores all others.
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)
        library.set_num_threads(n)
        if clear is not None:
            clear(force=True)


def blas_guard(uses_blas):
    """The context for a call that may use BLAS."""
    _release_if_forgotten()
    return single_threaded_blas() if uses_blas else nullcontext()
