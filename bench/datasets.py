"""What it costs to train on a Parquet folder of many times max_memory: peak memory, and speed.

Every fit is a process of its own. The peak is that of its resident memory during the fit, above
what it was with everything imported and a small fit done; the speed is that of the epochs after
the first, so that the pass before them, which looks at all rows, does not count. Fits on the
dataset and on the same rows in memory take turns. The folder is read once before, so that it lies
in the page cache if that has room.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from machine import machine_record
from measure import summary
from report import machine_line, save, table

N_FEATURES, BATCH, EPOCHS = 64, 256, 3
GROUP = 1 << 16  # rows of a row group
NETS = {"32": (32,), "128-128": (128, 128), "256-256": (256, 256), "512-512": (512, 512)}
WANTED = 0.9
EXPLANATION = (
    f"A folder of Parquet files (pyarrow's defaults, Snappy, row groups of {GROUP:,} rows) with "
    f"{N_FEATURES} columns of float32 and a label of three classes; Adam, mini-batches of {BATCH}, "
    "float32, shuffled. Speed: seconds of an epoch on rows in memory over those of an epoch on the "
    "dataset, medians over the rounds with quartiles. Peak: of the resident memory of the fit. "
    "Reading alone: seconds that one thread takes to read and decode all rows into buffers. ▼: "
    f"below {WANTED}."
)


# ---- the folder ----


def write(folder, n_bytes):
    """Parquet files whose rows have about so many bytes in memory; the number of rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    direction = rng.normal(size=(8, 3)).astype(np.float32)
    n_rows = n_bytes // (4 * N_FEATURES + 8)
    for number, first in enumerate(range(0, n_rows, 4 * GROUP)):
        n = min(4 * GROUP, n_rows - first)
        X = rng.standard_normal((N_FEATURES, n), dtype=np.float32)
        columns = {f"x{j}": X[j] for j in range(N_FEATURES)}
        columns["y"] = (X[:8].T @ direction).argmax(axis=1)
        pq.write_table(
            pa.table(columns),
            folder / f"part-{number:04}.parquet",
            row_group_size=GROUP,
            use_dictionary=["y"],
        )
    return n_rows


# ---- one fit, in a process of its own ----


def peak_memory():
    """Bytes of the largest resident memory since `forget_peak`."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) << 10


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


def rows_in_memory(dataset):
    """X and y of a dataset, filled batch by batch."""
    n_rows, at = dataset.count_rows(), 0
    X, y = np.empty((n_rows, N_FEATURES), np.float32), np.empty(n_rows, np.int64)
    for batch in dataset.to_batches():
        rows = slice(at, at + batch.num_rows)
        for j in range(N_FEATURES):
            X[rows, j] = batch.column(f"x{j}").to_numpy()
        y[rows] = batch.column("y").to_numpy()
        at += batch.num_rows
    return X, y


def fit(folder, side, hidden, max_memory, n_threads):
    """Fit once; what was measured, as a dict."""
    import warnings

    import pyarrow.dataset as ds

    from fastbp import MLPClassifier

    warnings.simplefilter("ignore")
    dataset = ds.dataset(folder)
    settings = {
        "hidden_layer_sizes": hidden,
        "batch_size": BATCH,
        "max_iter": EPOCHS,
        "n_iter_no_change": np.inf,
        "random_state": 0,
        "n_threads": n_threads,
    }
    with tempfile.TemporaryDirectory() as small:
        write(Path(small), 1 << 20)
        MLPClassifier(**settings).fit(ds.dataset(small), "y")
    arguments = (dataset, "y") if side == "dataset" else rows_in_memory(dataset)
    if side == "dataset":
        settings["max_memory"] = max_memory
    forget_peak()
    before = peak_memory()
    model = MLPClassifier(**settings)
    begin = time.perf_counter()
    model.fit(*arguments)
    return {
        "peak": peak_memory() - before,
        "plan": model.memory_plan_.total_bytes,
        "seconds": time.perf_counter() - begin,
        "epochs": np.diff(model.history_["seconds"]).tolist(),
        "loss": model.loss_,
    }


def read(folder, max_memory):
    """Seconds of one pass of the reader over all rows, without training."""
    import pyarrow.dataset as ds

    from fastbp import MLPClassifier
    from fastbp._datasets import _check
    from fastbp._input.arguments import parse_max_memory

    draft = MLPClassifier(max_memory=max_memory)
    settings = {"max_memory": parse_max_memory(max_memory), "hidden_layer_sizes": (1,)}
    learnt = _check.learn(draft, ds.dataset(folder), "y", None, True, settings)
    stream = _check.stream_of(draft, learnt, np.dtype("float32"), settings["max_memory"])
    rows = stream.rows(BATCH, np.random.RandomState(0), 0, 0)
    begin = time.perf_counter()
    rows.begin_epoch()
    for _ in rows.pieces():
        pass
    seconds = time.perf_counter() - begin
    rows.close()
    return {"seconds": seconds, "n_rows": rows.n_rows}


def side(*arguments):
    """What a process of its own measures with these arguments."""
    command = [sys.executable, __file__, "--side", json.dumps(arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


# ---- the comparison ----


def compare(folder, hidden, max_memory, n_threads, rounds):
    """The measurements of one net."""
    found = {"dataset": [], "memory": []}
    for _ in range(rounds):
        for name, fits in found.items():
            fits.append(side("fit", str(folder), name, hidden, max_memory, n_threads))
    epochs = {name: [np.mean(f["epochs"]) for f in fits] for name, fits in found.items()}
    speeds = [m / d for m, d in zip(epochs["memory"], epochs["dataset"], strict=True)]
    return {
        "layers": [N_FEATURES, *hidden, 3],
        "speed": summary(speeds),
        "epoch": {name: summary(times) for name, times in epochs.items()},
        "fit": summary([f["seconds"] for f in found["dataset"]]),
        "peak": max(f["peak"] for f in found["dataset"]),
        "plan": found["dataset"][0]["plan"],
        "loss": {name: fits[0]["loss"] for name, fits in found.items()},
    }


def page(results):
    """The measurements as a page of Markdown."""
    from fastbp._input.arguments import parse_max_memory

    cap, size = parse_max_memory(results["max_memory"]), results["n_bytes"]
    rows = []
    for cell in results["cells"]:
        speed, epoch = cell["speed"], cell["epoch"]
        mark = " ▼" if speed["median"] < WANTED else ""
        rows.append([
            "-".join(map(str, cell["layers"])),
            f"{speed['median']:.2f} ({speed['q1']:.2f} to {speed['q3']:.2f}){mark}",
            f"{epoch['dataset']['median']:.1f}",
            f"{epoch['memory']['median']:.1f}",
            f"{cell['plan'] / 1e6:,.0f}",
            f"{cell['peak'] / 1e6:,.0f}" + ("" if cell["peak"] <= cap else " ▲"),
        ])  # fmt: skip
    head = ["net", "speed", "epoch on the dataset, s", "in memory, s", "plan, MB", "peak, MB"]
    lines = [
        "# Datasets larger than memory",
        "",
        machine_line(results),
        "",
        EXPLANATION,
        "",
        f"{results['n_rows']:,} rows, {size / 1e6:,.0f} MB of them in memory: "
        f"{size / cap:.1f} times max_memory={results['max_memory']!r}, {cap / 1e6:,.0f} MB. "
        f"Reading alone takes {results['reading']:.1f} s.",
        "",
        *table(head, rows, 1),
    ]
    return "\n".join(lines) + "\n"


def main(arguments=None):
    """Measure, print, and with --save write bench/results/datasets.md and .json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--max-memory", default="100MB", help="of the fits (default: 100MB)")
    parser.add_argument("--times", type=float, default=10, help="of it are the rows (default: 10)")
    parser.add_argument("--rounds", type=int, default=3, help="fits of each kind (default: 3)")
    parser.add_argument("--threads", type=int, default=2, help="of a fit (default: 2)")
    parser.add_argument("--nets", nargs="+", choices=NETS, default=[*NETS], help="default: all")
    parser.add_argument("--save", action="store_true", help="write into bench/results")
    parser.add_argument("--side", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.side:
        what, *rest = json.loads(chosen.side)
        print(json.dumps({"fit": fit, "read": read}[what](*rest)))
        return
    from fastbp._input.arguments import parse_max_memory

    n_bytes = int(chosen.times * parse_max_memory(chosen.max_memory))
    with tempfile.TemporaryDirectory() as folder:
        n_rows = write(Path(folder), n_bytes)
        side("read", folder, chosen.max_memory)
        cells = []
        for name in chosen.nets:
            print(f"measuring {name}", file=sys.stderr, flush=True)
            cells.append(
                compare(folder, NETS[name], chosen.max_memory, chosen.threads, chosen.rounds)
            )
        reading = side("read", folder, chosen.max_memory)["seconds"]
    results = {
        "machine": machine_record(),
        "max_memory": chosen.max_memory,
        "n_bytes": n_bytes,
        "n_rows": n_rows,
        "reading": reading,
        "cells": cells,
    }
    text = page(results)
    print(text, end="")
    if chosen.save:
        save("datasets", text, results)


if __name__ == "__main__":
    main()
