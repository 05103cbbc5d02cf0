"""How many threads a fit may use, and keeping BLAS to one of them.

The engine brings its own team of threads, so a BLAS that starts more of its own would only get in
its way. ``single_threaded_blas`` holds BLAS at one thread while at least one fit is running.
"""

import os
import threading
from contextlib import contextmanager

from ._input.arguments import check_n_threads

_blas_lock = threading.Lock()
_blas_users = 0
_blas_controller = None
_blas_limit = None


def resolve_n_threads(n_threads):
    """Turn the ``n_threads`` parameter into a number of threads.

    Parameters
    ----------
    n_threads : int or None
        A number is taken as it is. None means all cores that this process may use (CPU affinity
        and container limits count), at most ``FASTBP_NUM_THREADS`` and ``OMP_NUM_THREADS``
        where these environment variables are set.

    Returns
    -------
    int
        At least 1. The engine uses fewer when the shapes do not pay for more.

    Raises
    ------
    ValueError
        If `n_threads` is not a positive integer, or ``FASTBP_NUM_THREADS`` does not hold one.
    """
    if n_threads is not None:
        return check_n_threads(n_threads)
    limits = [_cores()]
    ours = os.environ.get("FASTBP_NUM_THREADS", "").strip()
    if ours:
        if not ours.isascii() or not ours.isdigit() or int(ours) < 1:
            raise ValueError(
                "The environment variable FASTBP_NUM_THREADS must hold an integer >= 1, "
                f"got {ours!r}."
            )
        limits.append(int(ours))
    # OpenMP allows a list, one number per nesting level. A malformed value is not ours to report.
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if openmp.isascii() and openmp.isdigit() and int(openmp) >= 1:
        limits.append(int(openmp))
    return max(1, min(limits))


def _cores():
    import joblib

    return joblib.cpu_count()


def _forget_fits_of_the_parent():
    # Their threads are not in the child. The limit that they set is; the next fit lifts it.
    global _blas_users
    _blas_users = 0
    _blas_lock.release()


# A fork waits until no other Python thread is changing BLAS, or the child would inherit the locks
# of ours and of BLAS with nobody to open them.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_blas_lock.acquire,
        after_in_parent=_blas_lock.release,
        after_in_child=_forget_fits_of_the_parent,
    )


def _take_control():
    # threadpoolctl 3.8 lets the first Python thread that sets a limit of OpenBLAS set limits, and
    # silently ignores all others.
    for library in _blas_controller.lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


@contextmanager
def single_threaded_blas():
    """Keep every BLAS in the process at one thread while the ``with`` block runs.

    The setting belongs to the whole process, so it is counted: the first of several concurrent
    blocks (from different Python threads) sets it, the last one to leave restores what was there.
    """
    global _blas_users, _blas_controller, _blas_limit
    with _blas_lock:
        if _blas_users == 0:
            if _blas_controller is None:
                from threadpoolctl import ThreadpoolController

                _blas_controller = ThreadpoolController().select(user_api="blas")
            if _blas_limit is None:
                _take_control()
                _blas_limit = _blas_controller.limit(limits=1)
        _blas_users += 1
    try:
        yield
    finally:
        with _blas_lock:
            _blas_users -= 1
            if _blas_users == 0:
                _take_control()
                _blas_limit.restore_original_limits()
                _take_control()
                _blas_limit = None
