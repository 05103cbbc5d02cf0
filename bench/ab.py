"""Another revision of fastbp beside the working tree: the same work, timed in turns.

Run ``make ab REV=<revision>``; ``ARGS=--quick`` gives a first look in some three minutes. The
revision is built in build/ab/ once and kept. Each side runs with its own sources and benchmarks,
in processes of its own, several pairs of them for each case: where a process and its memory happen
to lie changes its times by percents, the same for all its runs. Within a pair the runs alternate,
and each run of the new side is divided by its neighbour of the old one.

``make ab`` of an unchanged tree compares the code with itself. What its ratios are off from 1.00
is what the machine adds; smaller differences between revisions mean nothing.
"""

import argparse
import json
import math
import os
import statistics
import sys
from pathlib import Path

from ab_pairs import SIDES, Cell, measure_cell
from ab_revision import ROOT, RevisionError, build, describe_sides, resolve
from cases import CASES, MAIN, MORE
from machine import machine_record
from measure import TOLERANCE

# Above this ratio a case counts as slower.
SLOWER = 1.03


def _say(text):
    print(text, flush=True)


def heading(sides):
    """Lines that say what is compared."""
    new = sides["new"]
    lines = [
        f"old: {sides['old']['commit']} {sides['old']['title']}",
        f"new: the working tree, {new['commit']}" + (" with changes" if new["changed"] else ""),
    ]
    if sides["same_source"]:
        lines.append("the package is the same in both: ratios show what the machine adds to 1.00")
    compilers = sides["compilers"]
    if compilers["old"] != compilers["new"]:
        lines.append(f"WARNING: two compilers: {compilers['old']} and {compilers['new']}")
    columns = f"{'case':12} {'dtype':7} {'threads':>7} {'old us':>12} {'new us':>12} {'per':9}"
    columns += f" {'new/old':>7} {'quartiles':>12} {'process pairs':>14} {'runs':>4}  result"
    return [*lines, "", columns]


def line_of(cell):
    """One line of the table."""
    text = f"{cell['case']:12} {cell['dtype']:7} {cell['threads']:7}"
    if "error" in cell:
        return f"{text}  ERROR {cell['error']}"
    old, new = (f"{1e6 * cell[name]['median']:12,.2f}" for name in SIDES)
    runs, pairs = (f"{cell[key]['q1']:.3f}..{cell[key]['q3']:.3f}" for key in ("ratios", "pairs"))
    parity = cell["parity"]
    same = "same bits" if parity["same_bits"] else f"{parity['error']:.0e} of the {parity['of']}"
    return (
        f"{text} {old} {new} {cell['unit']:9} {cell['ratio']:7.3f} {runs:>12} {pairs:>14} "
        f"{cell['ratios']['runs']:4}  {same}"
    )


def totals(cells):
    """The outcome over all cases.

    Returns
    -------
    dict
        ``cells``, ``errors``, and if anything was timed ``largest`` ratio and ``where``,
        ``geometric_mean``, and ``slower``, the number of cases above `SLOWER`.
    """
    timed = [cell for cell in cells if "error" not in cell]
    found = {"cells": len(cells), "errors": len(cells) - len(timed)}
    if timed:
        worst = max(timed, key=lambda cell: cell["ratio"])
        logs = [math.log(cell["ratio"]) for cell in timed]
        found["largest"] = worst["ratio"]
        found["where"] = [worst["case"], worst["dtype"], worst["threads"]]
        found["geometric_mean"] = math.exp(statistics.fmean(logs))
        found["slower"] = sum(cell["ratio"] > SLOWER for cell in timed)
    return found


def summary_lines(found):
    """The last lines."""
    lines = [f"{found['errors']} of {found['cells']} cases failed"] if found["errors"] else []
    if "largest" in found:
        case, dtype, n = found["where"]
        lines += [
            f"largest new/old: {found['largest']:.3f} ({case} {dtype}, threads: {n})",
            f"geometric mean: {found['geometric_mean']:.3f}",
            f"above {SLOWER}: {found['slower']} of {found['cells'] - found['errors']} cases",
        ]
    return lines


def arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("revision", nargs="?", default="HEAD", help="the old side, HEAD by default; comes first")
    every = ", ".join(CASES)
    add(
        "--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE", help=f"of {every}"
    )
    add("--dtypes", nargs="+", choices=TOLERANCE, help="those of each case by default")
    cores = len(os.sched_getaffinity(0))
    threads = [1, 2] if cores > 1 else [1]
    text = "1 and 2 by default, if there are two cores; a case may take fewer"
    add("--threads", nargs="+", type=int, default=threads, metavar="N", help=text)
    add("--pairs", type=int, help="pairs of processes for each case; 5 by default")
    add("--rounds", type=int, help="timed runs of a process, at least; 2 by default")
    add("--seconds", type=float, help="timed runs of a case, about; 8 by default")
    add("--run", type=float, default=0.05, help="seconds of one timed run, about; 0.05 by default")
    add("--quick", action="store_true", help="cases in small, 2 pairs, 1 second")
    add("--output", type=Path, metavar="FILE", help="write results as JSON")
    options = parser.parse_args(argv)
    if min(options.threads) < 1 or max(options.threads) > cores:
        parser.error(f"--threads: this process may use {cores} cores")
    defaults = {"pairs": 5, "rounds": 2, "seconds": 8.0}
    if options.quick:
        defaults = {"pairs": 2, "rounds": 2, "seconds": 1.0}
    for name, value in defaults.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if min(options.pairs, options.rounds) < 1:
        parser.error("--pairs and --rounds are 1 or more")
    return options


def cells_of(options):
    """List what the options ask for.

    Returns
    -------
    list of Cell
    """
    return [
        Cell(case, dtype, n, options.quick)
        for case in (*MAIN, *MORE)
        if case.name in options.cases
        for dtype in case.dtypes
        if dtype in (options.dtypes or case.dtypes)
        for n in options.threads
        if n in (case.threads or options.threads)
    ]


def compare(options):
    """Build, measure, and print line by line.

    Returns
    -------
    dict
        Ready for JSON.
    """
    commit = resolve(options.revision)
    roots = {"old": build(commit), "new": ROOT}
    sides = describe_sides(commit, roots)
    keys = ("quick", "pairs", "rounds", "seconds", "run")
    results = {
        "machine": machine_record(options.threads),
        "settings": {key: getattr(options, key) for key in keys},
        "sides": sides,
        "cells": [],
    }
    _say("\n".join(heading(sides)))
    for cell in cells_of(options):
        results["cells"].append(measure_cell(roots, cell, options))
        _say(line_of(results["cells"][-1]))
        results["totals"] = totals(results["cells"])
        if options.output:
            options.output.parent.mkdir(parents=True, exist_ok=True)
            options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return results


def main(argv=None):
    """Compare; the status is 1 if anything failed and 0 whatever is slower."""
    options = arguments(argv)
    try:
        results = compare(options)
    except RevisionError as error:
        print(f"ab: {error}", file=sys.stderr)
        return 1
    if not results["cells"]:
        print("ab: no case has these dtypes and threads", file=sys.stderr)
        return 1
    _say("\n" + "\n".join(summary_lines(results["totals"])))
    return 1 if results["totals"]["errors"] else 0


if __name__ == "__main__":
    sys.exit(main())
