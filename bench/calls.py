"""Single calls of fastbp beside the same calls of scikit-learn: predictions, updates, short fits.

Run ``make bench`` on an idle machine; ``ARGS=--quick`` gives a first look in a minute or two. Each
side has a process of its own, and a new one in each round: OpenBLAS's threads spin for a while
after each product and would disturb whoever shares the process. Before a call is timed, both sides
show that they come to the same results.
"""

import argparse
import json
import re
import sys
import time
from pathlib import Path

import numpy as np
from calls_cases import CALLS
from calls_report import misses, report
from calls_side import Side
from machine import machine_record
from measure import TOLERANCE_OF_RESULTS, summary
from worker import Process, WorkerError

RESULTS = Path(__file__).resolve().parent / "results"
SIDES = ("sklearn", "fastbp")
# OpenBLAS's threads spin about that long after the last product.
REST_SECONDS = 0.1


def arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    text = "only calls in whose name it is found, such as 'predict 64-64-5 float64 33'"
    add("--cells", type=re.compile, default=re.compile(""), metavar="REGEX", help=text)
    add("--list", action="store_true", help="print the names of the calls and measure nothing")
    add("--rounds", type=int, help="processes of each side per call; 5 by default")
    add("--seconds", type=float, help="calls of a side in one round, about; 0.1 by default")
    add("--quick", action="store_true", help="2 rounds of 0.04 seconds")
    add("--json", type=Path, metavar="FILE", help="write results as JSON")
    add("--save", action="store_true", help="write calls.md and calls.json in bench/results")
    options = parser.parse_args(argv)
    rounds, seconds = (2, 0.04) if options.quick else (5, 0.1)
    options.rounds = rounds if options.rounds is None else options.rounds
    options.seconds = seconds if options.seconds is None else options.seconds
    if options.rounds < 1:
        parser.error(f"--rounds is 1 or more, not {options.rounds}")
    return options


def difference(ours, theirs):
    """Compare what the two sides came to.

    Parameters
    ----------
    ours, theirs : tuple
        Of ``Side.outcome``: an array, and the classes that were predicted from it or None.

    Returns
    -------
    float
        The largest difference, relative to the largest of their numbers. Of a class that they do
        not predict, what its probability lacks to that of theirs counts as a difference too.
    """
    (numbers, classes), (expected, _) = ours, theirs
    if numbers.shape != expected.shape:
        raise WorkerError(f"not the same work: shapes {numbers.shape} and {expected.shape}")
    error = np.abs(numbers - expected).max()
    if classes is not None:
        chosen = expected[np.arange(len(classes)), classes]
        error = max(error, (expected.max(axis=1) - chosen).max())
    return float(error / np.abs(expected).max())


def check_parity(processes, call):
    """Let both sides do one call and compare.

    Returns
    -------
    dict
        ``error`` and ``tolerance``.

    Raises
    ------
    WorkerError
        If they come to different results.
    """
    theirs, ours = (processes[side].ask("outcome", call) for side in SIDES)
    tolerance, error = TOLERANCE_OF_RESULTS[call.dtype], difference(ours, theirs)
    if not error <= tolerance:
        raise WorkerError(f"not the same result: differs by {error:.2g}, allowed {tolerance:g}")
    return {"error": error, "tolerance": tolerance}


def measure_group(calls, options):
    """Measure calls that share an estimator.

    Returns
    -------
    list of dict
        A cell for each call, with an ``error`` if it failed.
    """
    samples = {call: {side: [] for side in SIDES} for call in calls}
    parity, errors = {}, {}
    for i in range(options.rounds):
        order = SIDES if i % 2 == 0 else SIDES[::-1]
        alive = [call for call in calls if call not in errors]
        if alive:
            _one_round(alive, order, options.seconds, samples, parity, errors)
    return [_cell(call, samples[call], parity.get(call), errors.get(call)) for call in calls]


def _one_round(calls, order, seconds, samples, parity, errors):
    # New processes; fills the last three arguments.
    processes = {side: Process(Side, (side, list(calls))) for side in order}
    try:
        for call in calls:
            try:
                found = check_parity(processes, call)
                parity[call] = max(found, parity.get(call, found), key=lambda p: p["error"])
                for side in order:
                    time.sleep(REST_SECONDS)
                    samples[call][side].append(processes[side].ask("seconds", call, seconds))
            except WorkerError as error:
                errors[call] = str(error)
    finally:
        for process in processes.values():
            process.close()


def _cell(call, samples, parity, error):
    about = {name: getattr(call, name) for name in ("name", "kind", "net", "dtype", "rows")}
    about |= {"wanted": call.wanted, "parity": parity}
    if error is not None:
        return {**about, "error": error}
    return {**about, **evaluate(call, samples)}


def evaluate(call, samples):
    """Summarise the rounds of a call.

    Parameters
    ----------
    call : Call
    samples : dict of list of dict
        By side, what ``Side.seconds`` returned in each round.

    Returns
    -------
    dict
        ``sides``: for each a `summary` of the times by name. ``ratio``: of their time to ours,
        round by round; for a prediction after BLAS that of our own time after it to our time alone,
        and ``peer``: the same of theirs.
    """
    sides = {
        side: {name: summary([one[name] for one in rounds]) for name in rounds[0]}
        for side, rounds in samples.items()
    }
    theirs, ours = (samples[side] for side in SIDES)
    if call.kind == "predict after BLAS":
        slowed = [[one["after"] / one["alone"] for one in rounds] for rounds in (ours, theirs)]
        return {"sides": sides, "ratio": summary(slowed[0]), "peer": summary(slowed[1])}
    ratios = [their["alone"] / our["alone"] for their, our in zip(theirs, ours, strict=True)]
    return {"sides": sides, "ratio": summary(ratios)}


def measure(calls, options):
    """Measure group by group, and tell of each on standard error.

    Returns
    -------
    dict
        Ready for JSON.
    """
    groups = {}
    for call in calls:
        groups.setdefault(call.group, []).append(call)
    cells = {}
    for group in groups.values():
        for cell in measure_group(group, options):
            cells[cell["name"]] = cell
            _tell(cell)
    keys = ("quick", "rounds", "seconds")
    return {
        "machine": machine_record(),
        "settings": {key: getattr(options, key) for key in keys},
        "cells": [cells[call.name] for call in calls],
    }


def _tell(cell):
    text = f"FAILED: {cell['error']}" if "error" in cell else f"{cell['ratio']['median']:.2f}"
    note = f"  (wanted {cell['wanted']:g})" if misses(cell) else ""
    print(f"{cell['name']}: {text}{note}", file=sys.stderr, flush=True)


def main(argv=None):
    """Measure and print; the status is 1 if anything failed and 0 whatever is slower."""
    options = arguments(argv)
    calls = [call for call in CALLS if options.cells.search(call.name)]
    if not calls:
        print(f"calls: no call is named like {options.cells.pattern!r}", file=sys.stderr)
        return 1
    if options.list:
        print("\n".join(call.name for call in calls))
        return 0
    results = measure(calls, options)
    page, record = report(results), json.dumps(results, indent=1) + "\n"
    print(page)
    if options.json:
        options.json.write_text(record, encoding="utf-8")
    if options.save:
        (RESULTS / "calls.md").write_text(page, encoding="utf-8")
        (RESULTS / "calls.json").write_text(record, encoding="utf-8")
    return 1 if any("error" in cell for cell in results["cells"]) else 0


if __name__ == "__main__":
    sys.exit(main())
