"""Timing two builds of fastbp in turns, in pairs of processes: the measuring part of `ab.py`."""

import os
import statistics
import subprocess
import sys
import time
from multiprocessing import Pipe
from pathlib import Path

from ab_side import cut, description, pick
from measure import REST_SECONDS, TOLERANCE, TOLERANCE_OF_RESULTS, summary
from peers import contenders
from worker import THREAD_VARIABLES, WorkerError

PROGRAM = Path(__file__).resolve().with_name("ab_side.py")
SIDES = ("old", "new")
# A step of it takes tenths of a second, so that one is a run.
CHANGES = {"wide": {"rows": 1024, "repeats": 1}}


class Side:
    """A process of one side.

    Parameters
    ----------
    root : Path
        The tree whose src/ and bench/ it uses.
    blas_threads : int
        For BLAS and OpenMP libraries.
    """

    def __init__(self, root, blas_threads):
        self._pipe, theirs = Pipe()
        environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, str(blas_threads))}
        # Before site-packages, where an editable install would lead to the working tree; -P keeps
        # the directory of the program itself out, which is the working tree's bench/.
        environment["PYTHONPATH"] = os.pathsep.join([str(root / "src"), str(root / "bench")])
        command = [sys.executable, "-P", str(PROGRAM), str(theirs.fileno()), str(root)]
        with theirs:
            self._process = subprocess.Popen(command, env=environment, pass_fds=[theirs.fileno()])

    def send(self, command, *arguments):
        """Send a command, whose answer `receive` waits for."""
        try:
            self._pipe.send((command, arguments))
        except OSError:
            raise WorkerError(f"the process died before {command!r}") from None

    def receive(self, timeout=600):
        """Wait for an answer.

        Raises
        ------
        WorkerError
            If the command failed, the process died, or `timeout` seconds passed.
        """
        try:
            if not self._pipe.poll(timeout):
                raise WorkerError(f"no answer within {timeout} s")
            good, answer = self._pipe.recv()
        except (EOFError, OSError):
            raise WorkerError("the process died") from None
        if not good:
            raise WorkerError(answer)
        return answer

    def close(self):
        """End the process."""
        self._pipe.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Pair:
    """A process of each side with the same case in it; a context manager.

    Parameters
    ----------
    roots : dict of Path
        Of the sides.
    cell : Cell
    first : {"old", "new"}
        The one to be started first.
    """

    def __init__(self, roots, cell, first):
        order = SIDES if first == "old" else SIDES[::-1]
        self._sides = {}
        try:
            for name in order:
                self._sides[name] = Side(roots[name], cell.blas_threads)
            arguments = (cell.case.name, cell.changes, cell.dtype, cell.n_threads)
            works = self.ask("prepare", *arguments)
            for name, work in works.items():
                if work != cell.work:
                    raise WorkerError(f"the case is not the same work: {name} has {work}")
        except BaseException:
            self.__exit__()
            raise

    def ask(self, command, *arguments):
        """Let both sides do something at once.

        Returns
        -------
        dict
            Of their answers.
        """
        for side in self._sides.values():
            side.send(command, *arguments)
        return {name: self._answer(name) for name in SIDES}

    def ask_one(self, name, command, *arguments):
        """Let one side do something while the other is idle."""
        self._sides[name].send(command, *arguments)
        return self._answer(name)

    def _answer(self, name):
        try:
            return self._sides[name].receive()
        except WorkerError as error:
            raise WorkerError(f"{name}: {error}") from None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        for side in self._sides.values():
            side.close()


class Cell:
    """A case with a dtype and a number of threads.

    Parameters
    ----------
    case : Case
    dtype : str
    n_threads : int
    quick : bool
        Whether to take the case in small.
    """

    def __init__(self, case, dtype, n_threads, quick):
        self.dtype, self.n_threads = dtype, n_threads
        self.changes = {"short": True} if quick else {}
        self.changes |= CHANGES.get(case.name, {})
        self.case = cut(case, self.changes)
        contender = pick(contenders(), self.case)
        self.work = description(self.case, contender)
        self.blas_threads = n_threads if contender.inner_threads else 1
        self.by_result = case.kind in ("gradient", "predict")
        self.tolerance = (TOLERANCE_OF_RESULTS if self.by_result else TOLERANCE)[dtype]

    def repeats_for(self, seconds, taken):
        """Units of work in a run of about `seconds`, if the case's number took `taken`."""
        if self.case.kind == "lbfgs":  # more iterations might meet convergence
            return self.case.repeats
        return max(1, round(self.case.repeats * seconds / taken))


def check_parity(pair, cell):
    """Let both sides do the same little work.

    Returns
    -------
    dict
        ``tolerance``, ``of`` what, ``error``, and whether the sides have the ``same_bits``.

    Raises
    ------
    WorkerError
        If they come to different results.
    """
    found = pair.ask("parity")
    old, new = (found[name] for name in SIDES)
    if old["inputs"] != new["inputs"]:
        raise WorkerError("the case is not the same work: data or initial weights differ")
    scale = [abs(x) for x in old["found"]]
    if not cell.by_result:
        scale = [abs(old["start"] - old["found"][0])]
    errors = [
        abs(a - b) / max(s, 1e-300)
        for a, b, s in zip(new["found"], old["found"], scale, strict=True)
    ]
    of = "result" if cell.by_result else "gain"
    if not all(error <= cell.tolerance for error in errors):
        raise WorkerError(f"not the same result: differs by {max(errors):.2g} of the {of}")
    return {
        "tolerance": cell.tolerance,
        "of": of,
        "error": max(errors),
        "same_bits": old["result"] == new["result"],
    }


def time_pair(pair, cell, first, repeats, seconds, min_rounds):
    """Timed runs in turns, old new new old ..., so that drift of the machine cancels.

    Returns
    -------
    dict
        ``old`` and ``new``: lists of seconds per unit of work, in order of time.
    """
    found, start, rounds = {name: [] for name in SIDES}, time.perf_counter(), 0
    order = list(SIDES if first == "old" else SIDES[::-1])
    while rounds < min_rounds or time.perf_counter() - start < seconds:
        for name in order:
            time.sleep(REST_SECONDS)
            taken = pair.ask_one(name, "seconds", repeats)
            found[name].append(taken / (repeats * cell.case.steps))
        order.reverse()
        rounds += 1
    return found


def measure_cell(roots, cell, options):
    """Measure one case in several pairs of processes.

    Returns
    -------
    dict
        ``case``, ``dtype``, ``threads``, ``unit`` and either ``error`` or ``parity``, ``samples``
        and what `evaluate` makes of them.
    """
    about = {"case": cell.case.name, "dtype": cell.dtype, "threads": cell.n_threads}
    about["unit"] = cell.case.unit
    samples, parity, repeats = [], None, cell.case.repeats
    try:
        for i in range(options.pairs):
            first = SIDES[i % 2]
            with Pair(roots, cell, first) as pair:
                if i == 0:
                    parity = check_parity(pair, cell)
                warm = [pair.ask_one(name, "seconds", repeats) for name in SIDES]
                if i == 0:
                    repeats = cell.repeats_for(options.run, min(warm))
                seconds = options.seconds / options.pairs
                samples.append(time_pair(pair, cell, first, repeats, seconds, options.rounds))
    except WorkerError as error:
        return {**about, "error": str(error)}
    return {**about, "repeats": repeats, "parity": parity, **evaluate(samples), "samples": samples}


def evaluate(samples):
    """Ratios of new to old.

    Each run is divided by its neighbour. The ratio that counts is the median of all of these. The
    median over the pairs of processes of the median within each is told too; in comparisons of a
    tree with itself on a busy machine it lay further from 1.

    Parameters
    ----------
    samples : list of dict
        Of `time_pair`, one for each pair of processes.

    Returns
    -------
    dict
        `summary` of ``old`` and ``new`` seconds, of the ``ratios`` of all neighbours and of the
        medians of the ``pairs`` of processes, and ``ratio``.
    """
    inner = [
        [new / old for old, new in zip(one["old"], one["new"], strict=True)] for one in samples
    ]
    ratios = summary([ratio for of_pair in inner for ratio in of_pair])
    return {
        **{name: summary([t for one in samples for t in one[name]]) for name in SIDES},
        "ratios": ratios,
        "pairs": summary([statistics.median(of_pair) for of_pair in inner]),
        "ratio": ratios["median"],
    }
