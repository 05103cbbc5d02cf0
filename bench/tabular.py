"""fastbp's tabular estimators beside other methods: error and cost on every table of a folder.

``python bench/tabular.py DIR`` trains each method that is installed on each table (CSV, also
gzipped, and Parquet) with seeds 0 to 2: 64% of the rows to train, 16% to validate, 20% to test.
Without a folder it takes the tables that scikit-learn ships. Where the target comes from is told
by ``--help``. Every run has a process of its own, and its result a file: what is there already is
not run again.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
from pathlib import Path

import tabular_tables
from machine import machine_record
from tabular_methods import METHODS
from tabular_run import Run
from tabular_tables import find_tables
from worker import Process, WorkerError

ROOT = Path(__file__).resolve().parent.parent
SAVED = ROOT / "bench" / "results"


def arguments(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0],
        epilog=tabular_tables.__doc__.partition("\n\n")[2],
    )
    add = parser.add_argument
    add("folder", nargs="?", type=Path, metavar="DIR", help="with tables; else scikit-learn's")
    add("--target", action="append", default=[], metavar="FILE=TARGET", help="see below")
    add("--tables", nargs="+", metavar="NAME", help="of the folder; all by default")
    text = f"of {', '.join(METHODS)}; those that are installed by default"
    add("--methods", nargs="+", choices=list(METHODS), metavar="METHOD", help=text)
    add("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N", help="0 1 2 by default")
    add("--threads", type=int, default=2, metavar="N", help="for every method; 2 by default")
    add("--max-rows", type=int, metavar="N", help="take no more rows of a table than these")
    add("--timeout", type=float, default=3600, metavar="SECONDS", help="of a run; 3600 by default")
    text = "where the files of the runs lie; build/tabular by default"
    add("--output", type=Path, default=ROOT / "build" / "tabular", metavar="DIR", help=text)
    add("--again", action="store_true", help="run also what has a result")
    add("--render", action="store_true", help="run nothing, only print and draw what is there")
    add("--save", action="store_true", help="write tabular.md, .json and .png in bench/results")
    options = parser.parse_args(argv)
    try:
        options.sources = find_tables(options.folder, options.target)
        known = [source.name for source in options.sources]
        for name in options.tables or ():
            if name not in known:
                raise ValueError(f"--tables names {name!r}; there are {', '.join(known)}")
    except ValueError as error:
        parser.error(str(error))
    if options.tables:
        options.sources = [s for s in options.sources if s.name in options.tables]
    return options


def _say(text):
    print(text, file=sys.stderr, flush=True)


def installed(names):
    """Those of the methods that can be run here; of the others it says why not."""
    found = []
    for name in names or METHODS:
        if missing := METHODS[name].missing():
            _say(f"{METHODS[name].title}: left out, {', '.join(missing)} is not installed")
        else:
            found.append(name)
    return found


def run_all(options):
    """Do the runs that have no result yet, method by method.

    Returns
    -------
    int
        How many runs failed.
    """
    failures = 0
    for method in installed(options.methods):
        for source in options.sources:
            for seed in options.seeds:
                if options.again or _result(source, method, seed, options) is None:
                    failures += not _run_one(source, method, seed, options)
    return failures


def _path(source, method, seed, options):
    return options.output / f"{source.name}.{method}.{seed}.json"


def _asked(source, options):
    """What a result depends on besides table, method and seed; another value is another run."""
    target = f"{source.target or 'last column'}, {source.task or 'task by its values'}"
    size = Path(source.path).stat().st_size if source.path else None
    return {"target": target, "bytes": size, "max_rows": options.max_rows}


def _result(source, method, seed, options):
    """The result of a run, if it is there."""
    path = _path(source, method, seed, options)
    if not path.exists():
        return None
    found = json.loads(path.read_text(encoding="utf-8"))
    return found if found["asked"] == _asked(source, options) else None


def _run_one(source, method, seed, options):
    _say(f"{source.name}, {METHODS[method].title}, seed {seed}")
    try:
        with Process(Run, (), options.threads, options.threads) as process:
            task = (source, method, seed, options.threads, options.max_rows)
            found = process.ask("run", *task, timeout=options.timeout)
    except WorkerError as error:
        _say(f"  failed: {error}")
        return False
    scores = ", ".join(f"{name} {value:.4f}" for name, value in found["scores"].items())
    _say(f"  {scores}; {found['cpu_seconds']:.1f} CPU seconds")
    found |= {"version": _version(METHODS[method].modules[0]), "asked": _asked(source, options)}
    path = _path(source, method, seed, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return True


def _version(module):
    package = {"sklearn": "scikit-learn"}.get(module, module)
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a source tree on the path
        return __import__(module).__version__


def collect(options):
    """Results of all runs of the tables and methods that were asked for.

    Returns
    -------
    dict
        Ready for JSON.
    """
    runs = []
    for source in options.sources:
        for method in options.methods or METHODS:
            for seed in options.seeds:
                if found := _result(source, method, seed, options):
                    runs.append(found)
    return {"machine": machine_record(), "runs": runs}


def publish(results, folder):
    """Write the results as a page, as JSON and, where matplotlib is installed, as a picture."""
    from tabular_report import draw, page

    text = page(results)
    (folder / "tabular.md").write_text(text, encoding="utf-8")
    record = json.dumps(results, indent=1) + "\n"
    (folder / "tabular.json").write_text(record, encoding="utf-8")
    try:
        draw(results, folder / "tabular.png")
    except ImportError:
        _say("matplotlib is not installed: no picture")
    return text


def main(argv=None):
    """Run, print, write; the status is 1 if a run failed."""
    options = arguments(argv)
    # Threads of OpenMP that spin while they wait would count as CPU seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    failures = 0 if options.render else run_all(options)
    results = collect(options)
    if not results["runs"]:
        print("tabular: there is no result", file=sys.stderr)
        return 1
    print(publish(results, options.output), end="")
    if options.save:
        for path in options.output.glob("tabular.*"):
            shutil.copy(path, SAVED)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
