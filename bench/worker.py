"""A contender in a process of its own, which waits for commands.

One process each keeps thread pools, allocators and crashes apart; thread counts are set by
environment variable and by affinity before anything is imported, which is the only way that some
libraries know.
"""

import ctypes
import gc
import multiprocessing
import os
import re
import time
import traceback
from dataclasses import replace

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PARITY_STEPS = 10


class WorkerError(RuntimeError):
    """What went wrong in the process of a contender, in one line."""


class Process:
    """A process that answers commands; a context manager.

    Parameters
    ----------
    commands : type
        An instance is made in the process, and its methods are the commands.
    arguments : tuple
        For its constructor.
    n_cores : int or None
        How many cores the process may use; None for those of this one.
    blas_threads : int or None
        For BLAS and OpenMP libraries; None for what they choose themselves.
    """

    def __init__(self, commands, arguments, n_cores=None, blas_threads=None):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, commands, arguments, n_cores), daemon=True
        )
        self._process = process
        before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
        if blas_threads is not None:
            os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(blas_threads)))
        try:
            process.start()
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value
        theirs.close()

    def ask(self, command, *arguments, timeout=900):
        """Send a command and wait for its answer.

        Raises
        ------
        WorkerError
            If the command failed, the process died, or `timeout` seconds passed.
        """
        try:
            self._pipe.send((command, arguments))
            if not self._pipe.poll(timeout):
                raise WorkerError(f"no answer to {command!r} within {timeout} s")
            good, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerError(f"the process died in {command!r}") from None
        if not good:
            raise WorkerError(answer)
        return answer

    def close(self):
        """End the process."""
        self._pipe.close()
        self._process.join(5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


class Worker(Process):
    """The process of one contender with one number of threads.

    Parameters
    ----------
    contender : type
        Subclass of `Contender`.
    case : Case
    dtype : str
    n_threads : int
    variant : str
        One of the contender's variants.
    seed : int
    """

    def __init__(self, contender, case, dtype, n_threads, variant="", seed=0):
        self.contender, self.n_threads, self.variant = contender, n_threads, variant
        arguments = (contender, case, dtype, n_threads, variant, seed)
        super().__init__(
            _Commands, arguments, n_threads, n_threads if contender.inner_threads else 1
        )


def _serve(pipe, commands, arguments, n_cores):
    cores = sorted(os.sched_getaffinity(0))
    if n_cores is not None and n_cores < len(cores):
        os.sched_setaffinity(0, cores[-n_cores:])
    commands = commands(*arguments)
    while True:
        try:
            command, arguments = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, getattr(commands, command)(*arguments)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            text = str(error).strip().splitlines() or [""]
            where = f"{os.path.basename(last.filename)}:{last.lineno}"
            reason = re.sub(r"/[^\s'\"]+/", "", text[0])[:200]  # results name no directory
            answer = False, f"{type(error).__name__}: {reason} ({where})"
        pipe.send(answer)


class _Commands:
    """What a worker can be asked for."""

    def __init__(self, contender, case, dtype, n_threads, variant, seed):
        self._contender, self._case, self._dtype = contender(), case, dtype
        self._arguments = (case, dtype, n_threads, seed, variant)

    def parity(self):
        """Prepare; do a little of the work, unshuffled, for comparison between contenders.

        Returns
        -------
        found : list of float
            For training the loss after a few steps, judged by `mean_loss`; otherwise the outcome.
        start : float or None
            For training the loss of the initial weights.
        """
        from cases import make_weights, mean_loss

        case, few, repeats = self._case, *few_steps(self._case)
        small = type(self._contender)()
        small.warm_up()
        small.prepare(few, *self._arguments[1:])
        self._weights = make_weights(case, self._dtype)
        small.load(*self._weights)
        small.run(repeats, shuffle=False)
        self._contender.prepare(*self._arguments)
        if case.kind not in ("train", "lbfgs"):
            return small.outcome(), None
        found, start = (
            mean_loss(few, *weights, small.X[:2048], small.y[:2048])
            for weights in (small.weights(), self._weights)
        )
        return [found], start

    def seconds(self):
        """Do one timed run from the initial weights; returns seconds per unit of work."""
        contender, case = self._contender, self._case
        contender.load(*self._weights)
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        contender.run(case.repeats)
        end = time.perf_counter()
        gc.enable()
        return (end - start) / (case.repeats * case.steps)

    def memory(self):
        """Peak resident memory of building the model and one epoch, over what was there before.

        Returns
        -------
        peak, planned : int or None
            In bytes.
        """
        from cases import CASES, make_weights

        contender, case = self._contender, self._case
        tiny = CASES["sciml" if case.loss == "squared_error" else "digits"].short()
        contender.warm_up()
        rest = self._arguments[1:]
        contender.prepare(tiny, *rest)
        contender.load(*make_weights(tiny, self._dtype))
        contender.run(1)
        # A new object: the small model goes, what its libraries keep stays.
        contender = type(contender)()
        gc.collect()
        build = contender.build
        contender.build = lambda: None
        contender.prepare(case, *rest)
        weights = make_weights(case, self._dtype)
        _give_back_memory()
        start = resident("VmRSS")
        _forget_peak()
        build()
        if contender.needs_weights:
            contender.load(*weights)
        contender.run(1)
        return resident("VmHWM") - start, contender.planned_bytes()


def few_steps(case):
    """Cut the case down to the work whose outcome is compared.

    Few steps, because every step multiplies the differences that rounding makes, and because
    among few steps one more or less shows.

    Returns
    -------
    case : Case
    repeats : int
        Of it.
    """
    if case.kind != "train":
        return case, PARITY_STEPS if case.kind == "lbfgs" else 1
    few = replace(case, rows=min(case.rows, PARITY_STEPS * case.batch))
    return few, -(-PARITY_STEPS // few.steps)


def resident(field):
    """``VmRSS`` (resident now) or ``VmHWM`` (at the highest) of this process, in bytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {field}")


def _forget_peak():
    with open("/proc/self/clear_refs", "w") as control:
        control.write("5")


def _give_back_memory():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
