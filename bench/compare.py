"""fastbp beside scikit-learn, PyTorch and JAX, whichever are installed, on equal work.

Run ``python bench/compare.py`` on an idle machine; ``--quick`` gives a first look in some ten
minutes, most of it start-up of the peers. Each contender first shows that it does the same work,
then their runs alternate.
"""

import argparse
import importlib.util
import json
import os
import sys
from pathlib import Path

from cases import CASES, MAIN, MORE
from machine import machine_record
from measure import compare_case, import_times, peak_memory, sweep_widths
from peers import contenders
from report import COLUMNS, COMMAND, draw, full_report, page_part, ratio_table, replace_part

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "performance.md"
PARTS = ("widths", "memory", "imports")
MEMORY_CASES = ("mnist512", "wide", "sparse")


def arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--cases",
        nargs="+",
        choices=[*CASES, *PARTS],
        default=[*CASES, *PARTS],
        metavar="CASE",
        help=f"of {', '.join([*CASES, *PARTS])}; all by default",
    )
    parser.add_argument("--dtypes", nargs="+", choices=("float32", "float64"))
    parser.add_argument(
        "--peers",
        nargs="+",
        choices=list(COLUMNS),
        default=list(COLUMNS),
        metavar="PEER",
        help=f"of {', '.join(COLUMNS)}; all by default",
    )
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    parser.add_argument("--seconds", type=float, default=20, help="timed runs of a case, about")
    parser.add_argument("--quick", action="store_true", help="little work, few runs")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIR")
    parser.add_argument(
        "--page", action="store_true", help="put the table into docs/performance.md, too"
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing, draw DIR/compare.json anew"
    )
    return parser.parse_args(argv)


def _say(text):
    print(text, flush=True)


def _tell(cell):
    errors = ", ".join(f"{name} {error:.1e}" for name, error in cell["parity"]["error"].items())
    tolerance = f"{cell['parity']['tolerance']:.0e} of the {cell['parity']['of']}"
    _say(f"  same work (tolerance {tolerance}): {errors}")
    for name, found in cell["contenders"].items():
        ratio = f", ratio {found['ratio']['median']:.2f}" if "ratio" in found else ""
        spread = f"{found['q1'] * 1e6:,.1f}..{found['q3'] * 1e6:,.1f}"
        setting = f"{found['threads']} threads {found['variant']}".strip()
        _say(
            f"  {name:11} {found['median'] * 1e6:12,.1f} us/{cell['unit']} "
            f"({spread}; {found['runs']} runs, {setting}){ratio}"
        )
    for who, why in cell["failures"].items():
        _say(f"  left out: {who}: {why}")


def measure(options):
    """Do all measurements that the options ask for.

    Returns
    -------
    dict
        The content of ``compare.json``.
    """
    peers = ["fastbp", "fastbp-fit", *options.peers]
    seconds, rounds = (2, 3) if options.quick else (options.seconds, 5)
    missing = [c.title for c in contenders() if c.name in peers and c.missing()]
    results = {
        "machine": machine_record(options.threads),
        "settings": {"quick": options.quick, "seconds": seconds, "rounds": rounds},
        "missing": sorted(set(missing)),
        "cells": [],
        "memory": [],
        "widths": None,
        "imports": {},
    }
    if missing:
        _say(f"not installed: {', '.join(results['missing'])}")
    chosen = [case for case in (*MAIN, *MORE) if case.name in options.cases]
    for case in chosen:
        for dtype in options.dtypes or case.dtypes:
            if dtype not in case.dtypes:
                continue
            _say(f"{case.name} {dtype}")
            small = case.short() if options.quick else case
            cell = compare_case(small, dtype, peers, options.threads, seconds, rounds)
            results["cells"].append(cell)
            _tell(cell)
            save(results, options.output)
    if "memory" in options.cases:
        for name in MEMORY_CASES:
            _say(f"memory of {name}")
            case = CASES[name].short() if options.quick else CASES[name]
            found = peak_memory(case, "float32", peers, max(options.threads))
            results["memory"].append({"case": name, "dtype": "float32", "contenders": found})
    if "widths" in options.cases:
        _say("widths")
        results["widths"] = sweep_widths("float32", seconds, rounds, options.quick)
    if "imports" in options.cases:
        _say("imports")
        results["imports"] = import_times(1 if options.quick else 7)
    save(results, options.output)
    return results


def save(results, directory):
    """Write ``compare.json``."""
    directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False)
    (directory / "compare.json").write_text(text + "\n", encoding="utf-8")


def others():
    """Results of other machines, by the name of their folder in bench/results."""
    paths = sorted((ROOT / "bench" / "results").glob("*/compare.json"))
    return {path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def publish(results, directory, to_page):
    """Write the report and the picture, and the part of docs/performance.md if asked to."""
    (directory / "compare.md").write_text(full_report(results), encoding="utf-8")
    if results["cells"] and importlib.util.find_spec("matplotlib"):
        draw(results, directory / "compare.png")
    elif results["cells"]:
        _say("matplotlib is not installed: no picture")
    if to_page:
        picture = Path(os.path.relpath(directory / "compare.png", PAGE.parent)).as_posix()
        part = page_part(results, others(), picture)
        PAGE.write_text(replace_part(PAGE.read_text(encoding="utf-8"), part), encoding="utf-8")


def main(argv=None):
    """Measure, print, write."""
    options = arguments(argv)
    if options.render:
        results = json.loads((options.output / "compare.json").read_text(encoding="utf-8"))
    else:
        results = measure(options)
    publish(results, options.output, options.page)
    if results["cells"]:
        _say("\n" + "\n".join(ratio_table(results)))
    _say(f"\nwritten to {options.output}; to do it all again: {COMMAND}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
