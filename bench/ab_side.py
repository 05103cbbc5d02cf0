"""One side of `ab.py`: a process that does the benchmarks' work with one build of fastbp.

Run as ``python -P ab_side.py FD ROOT``, with ROOT/src and ROOT/bench on PYTHONPATH. It answers
commands on the socket FD. Of ROOT's benchmarks, which may be of another revision than this file,
it uses `cases.CASES`, `make_weights` and `mean_loss`, `worker.few_steps`, and the contenders of
`peers.contenders()` with their `warm_up`, `prepare`, `load`, `run`, `weights` and `outcome`.
"""

import dataclasses
import gc
import hashlib
import importlib
import os
import signal
import sys
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path

NAMES = ("fastbp", "fastbp-fit")  # the bare loop before whole fits


def pick(classes, case):
    """Choose fastbp's contender that does this case.

    Parameters
    ----------
    classes : sequence of type
        Of ``peers.contenders()``.
    case : Case

    Returns
    -------
    type
        The bare epoch loop where there is one, otherwise whole fits.
    """
    able = [c for c in classes if c.name in NAMES and c.can(case)]
    if not able:
        raise ValueError(f"no contender of fastbp does {case.name}")
    return min(able, key=lambda c: NAMES.index(c.name))


def cut(case, changes):
    """Replace fields of a case; ``short`` among them asks for the case in small.

    Returns
    -------
    Case
    """
    changes = dict(changes)
    small = case.short() if changes.pop("short", False) else case
    return dataclasses.replace(small, **changes)


def description(case, contender):
    """Say what is done, so that two revisions of the benchmarks can be held side by side.

    Returns
    -------
    dict
        Plain values only.
    """
    fields = ("layers", "batch", "rows", "loss", "activation", "kind", "data", "steps")
    return {"contender": contender.name, **{name: getattr(case, name) for name in fields}}


def _digest(arrays):
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        if hasattr(array, "indptr"):  # CSR
            digest.update(_digest((array.indptr, array.indices, array.data)).encode())
        else:
            digest.update(f"{array.dtype} {array.shape}".encode() + array.tobytes())
    return digest.hexdigest()


class _Commands:
    """What a side can be asked for."""

    def __init__(self, root):
        self._root = Path(root).resolve()

    def prepare(self, name, changes, dtype, n_threads):
        """Take the last `n_threads` cores, import, and build data, model and weights.

        Returns
        -------
        dict
            `description` of the work.
        """
        cores = sorted(os.sched_getaffinity(0))
        if n_threads < len(cores):
            os.sched_setaffinity(0, cores[-n_threads:])
        for module in ("fastbp", "fastbp._core"):
            self._own("src", module)
        cases, peers, _ = (self._own("bench", module) for module in ("cases", "peers", "worker"))
        self._case = cut(cases.CASES[name], changes)
        self._class = pick(peers.contenders(), self._case)
        self._arguments = (dtype, n_threads, 0, self._class.variants[0])
        self._weights = cases.make_weights(self._case, dtype)
        self._contender = self._class()
        self._contender.warm_up()
        self._contender.prepare(self._case, *self._arguments)
        gc.collect()
        gc.freeze()  # what the imports made is not looked through before each run
        return description(self._case, self._class)

    def _own(self, folder, name):
        # Import a module, which must be of this side.
        module = importlib.import_module(name)
        found = Path(module.__file__).resolve()
        if not found.is_relative_to(self._root / folder):
            raise RuntimeError(f"{name} is {found}, not of {self._root / folder}")
        return module

    def parity(self):
        """Do a little of the work, unshuffled.

        Returns
        -------
        dict
            ``inputs``, ``result``: digests of data and initial weights, and of what came of them.
            ``found``: for training the loss after a few steps, in a list; otherwise the outcome.
            ``start``: for training the loss of the initial weights.
        """
        from cases import mean_loss
        from worker import few_steps

        few, repeats = few_steps(self._case)
        if few.kind == "train":  # where an epoch is one large step, ten of them take too long
            repeats = min(repeats, 3)
        small = self._class()
        small.prepare(few, *self._arguments)
        small.load(*self._weights)
        small.run(repeats, shuffle=False)
        coefs, intercepts = self._weights
        answer = {"inputs": _digest((small.X, small.y, *coefs, *intercepts)), "start": None}
        if self._case.kind not in ("train", "lbfgs"):
            found = small.outcome()
            return {**answer, "result": repr(found), "found": found}
        coefs, intercepts = small.weights()
        found, start = (
            mean_loss(few, *weights, small.X[:2048], small.y[:2048])
            for weights in ((coefs, intercepts), self._weights)
        )
        result = _digest((*coefs, *intercepts))
        return {**answer, "result": result, "found": [found], "start": start}

    def seconds(self, repeats):
        """Do `repeats` units of work from the initial weights; returns the seconds they took."""
        contender = self._contender
        contender.load(*self._weights)
        gc.collect()
        gc.disable()
        start = time.perf_counter()
        contender.run(repeats)
        end = time.perf_counter()
        gc.enable()
        return end - start


def main(argv):
    """Answer commands until the other end is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the other end is closed then
    pipe, commands = Connection(int(argv[0])), _Commands(argv[1])
    while True:
        try:
            command, arguments = pipe.recv()
        except (EOFError, OSError):
            return 0
        try:
            answer = True, getattr(commands, command)(*arguments)
        except Exception as error:
            last = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{os.path.basename(last.filename)}:{last.lineno}"
            text = (str(error).strip().splitlines() or [""])[0]
            answer = False, f"{type(error).__name__}: {text} ({where})"
        try:
            pipe.send(answer)
        except OSError:
            return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
