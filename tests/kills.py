"""``make test-kills``: fits that are killed at random moments, and go on with the same bits.

Each of many kinds of fits runs in a process of its own, which gets a SIGKILL after a random time, a
few times; the last one may end. Then all its bits are compared with those of a run that nobody
killed. The last line has the figures; the exit code is 1 if a fit ended otherwise.
"""

import argparse
import os
import pickle
import random
import signal
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
from checkpointed_fits import FITS, Problem, unlike

INTERVAL = 0.02  # seconds between two checkpoints
KILLS = 5  # of one fit
ROUNDS = 20  # of all kinds of fits, after which one kill at least has left a checkpoint


class NoCheckpoint(Exception):
    """No kill has left anything to go on from."""


class EndedOtherwise(Exception):
    """A process that was not killed did not fit."""


def forked(name, problem, kept, result):
    """The number of a process that fits, and writes the estimator to a file.

    It is forked from this one, which has imported all and fitted nothing: so the time until it is
    killed is that of the fit.
    """
    number = os.fork()
    if number:
        return number
    code = 1
    try:
        warnings.simplefilter("ignore")
        result.write_bytes(pickle.dumps(FITS[name](problem, kept)))
        code = 0
    finally:
        os._exit(code)


def killed(name, problem, folder, seconds):
    """Whether a fit with a checkpoint was killed after this time; otherwise it has ended."""
    kept = {"checkpoint": folder / "state", "checkpoint_interval": INTERVAL}
    number = forked(name, problem, kept, folder / "found")
    if seconds is not None:
        time.sleep(seconds)
        os.kill(number, signal.SIGKILL)
    _, status = os.waitpid(number, 0)
    if status not in (0, signal.SIGKILL):
        raise EndedOtherwise(f"{name} with a checkpoint: status {status}")
    return status != 0


def never_killed(name, problem, folder):
    """The estimator of a run without checkpoints, pickled, and its seconds."""
    began = time.monotonic()
    _, status = os.waitpid(forked(name, problem, {}, folder / "expected"), 0)
    if status:
        raise EndedOtherwise(f"{name}: status {status}")
    return (folder / "expected").read_bytes(), time.monotonic() - began


def which(path):
    """What tells a file from one before it in its place; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def one_fit(name, problem, folder, rng):
    """Where a fit that was killed differs from one that was not; kills, and those that left more.

    A kill counts as one of those if there is another checkpoint than before that process.
    """
    expected, seconds = never_killed(name, problem, folder)
    n_kills = n_left = 0
    before = which(folder / "state")
    while n_kills < KILLS and killed(name, problem, folder, rng.uniform(0, seconds)):
        now = which(folder / "state")
        n_kills, n_left, before = n_kills + 1, n_left + (now not in (None, before)), now
    if n_kills == KILLS:
        killed(name, problem, folder, None)
    left = [file.name for file in folder.iterdir() if file.name.startswith("state")]
    found = pickle.loads((folder / "found").read_bytes())
    where = f"it has left {left}" if left else unlike(found, pickle.loads(expected))
    outcome = "the same bits" if where is None else f"DIFFERS: {where}"
    print(f"{name}: {seconds:.2f} s, {n_kills} kills, {outcome}", flush=True)
    return where, n_kills, n_left


def main():
    """Kill each kind of fit in turn, until so many kills have left a new checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--kills", type=int, default=100, help="with a new checkpoint (default: 100)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the moments")
    parser.add_argument("--fits", nargs="+", choices=FITS, default=[*FITS], metavar="FIT")
    arguments = parser.parse_args()
    rng, problem, outcomes = np.random.default_rng(arguments.seed), Problem(is_large=True), []
    while (n_left := sum(n for *_, n in outcomes)) < arguments.kills:
        if n_left == 0 and len(outcomes) >= ROUNDS * len(arguments.fits):
            raise NoCheckpoint(f"{ROUNDS} rounds of {', '.join(arguments.fits)}")
        for name in arguments.fits:
            with tempfile.TemporaryDirectory() as folder:
                outcomes.append(one_fit(name, problem, Path(folder), rng))
    wheres, kills, left = zip(*outcomes, strict=True)
    same = wheres.count(None)
    print(
        f"{sum(kills)} kills of {len(outcomes)} fits of {len(arguments.fits)} kinds (seed "
        f"{arguments.seed}), {sum(left)} of them with a new checkpoint to go on from: {same} fits "
        f"ended with the same bits, {len(outcomes) - same} did not"
    )
    return int(same < len(outcomes))


if __name__ == "__main__":
    sys.exit(main())
