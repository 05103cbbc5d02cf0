"""What the bins of numeric columns cost: the time of an encoded first layer by their number.

One process, one number of bins at a time, in turns; ratios are medians over the rounds of the time
with so many bins over that with the fewest in the same round. The dense twin is the same net on the
dense matrix that the encoded table stands for.
"""

import argparse
import sys
import time

import numpy as np
from machine import machine_record
from measure import summary
from report import machine_line, save, table

from fastbp import _core

BINS = (8, 32, 128, 512)
CASES = {"8 columns": (8, (128,) * 3), "30 columns": (30, (256,) * 3)}
BATCH, STEPS = 128, 16
LIMIT = 1.3  # of the products of the layer with 128 bins
EXPLANATION = (
    f"Mini-batches of {BATCH} rows, float32, mish, one output. Products: forward, gradient and the "
    "tables of sums, of a net that is the first layer and one output. Step: AdamW with a moving "
    "average, of the whole net, in which the update goes over every row of W. Median over "
    "interleaved rounds with quartiles; the first line has microseconds."
)


def positions_of(n_rows, n_columns, bins, rng):
    """A table of numbers, and the dense matrix that it stands for."""
    positions = rng.uniform(0, bins, (n_rows, n_columns)).astype(np.float32)
    raw = np.linspace(-2, 2, bins + 1)
    steps = np.clip(positions[:, :, np.newaxis] - np.arange(bins, dtype=np.float32), 0, 1)
    numbers = np.interp(positions, np.arange(bins + 1), raw).astype(np.float32)
    dense = np.concatenate((numbers[:, :, np.newaxis], steps), axis=2)
    return positions, dense.reshape(n_rows, -1), (bins + 1, tuple(raw))


class Work:
    """Steps of a net on a table of some bins, to be run again and again."""

    def __init__(self, n_columns, hidden, bins, n_threads, *, updates, dense=False):
        rng = np.random.default_rng(0)
        positions, matrix, column = positions_of(STEPS * BATCH, n_columns, bins, rng)
        encoding = _core.Encoding([column] * n_columns)
        layers = (encoding.n_inputs, *hidden, 1)
        self.updates = updates
        self.trainer = _core.Trainer(
            layers,
            ("mish",) * len(hidden),
            "squared_error",
            "float32",
            BATCH,
            "adamw" if updates else "none",
            n_threads,
            encoding=None if dense else encoding,
        )
        y = rng.normal(size=(len(matrix), 1)).astype(np.float32)
        self.data = _core.Data(matrix if dense else positions, y)
        self.orders = rng.permutation(len(matrix)).reshape(STEPS, BATCH)
        self.params = rng.normal(0, 0.05, self.trainer.n_params).astype(np.float32)
        self.vectors = [np.zeros_like(self.params) for _ in range(3)]

    def __call__(self):
        """Seconds of one step."""
        self._run()
        begin = time.perf_counter()
        self._run()
        return (time.perf_counter() - begin) / STEPS

    def _run(self):
        if self.updates:
            self.trainer.train_epoch(
                self.params, self.vectors[:2], self.data, self.orders.ravel(), BATCH, alpha=0.0,
                learning_rate=1e-5, weight_decay=0.01, t=10, ema=self.vectors[2], ema_decay=0.99,
            )  # fmt: skip
        else:
            for order in self.orders:
                self.trainer.value_and_grad(self.params, self.data, self.vectors[0], order)


def measure(name, n_columns, hidden, n_threads, seconds):
    """Ratios of products, steps and steps of the dense twin, by the number of bins."""
    works = {
        "products": {b: Work(n_columns, hidden[:1], b, n_threads, updates=False) for b in BINS},
        "step": {b: Work(n_columns, hidden, b, n_threads, updates=True) for b in BINS},
        "dense": {
            b: Work(n_columns, hidden, b, n_threads, updates=True, dense=True) for b in BINS[:-1]
        },
    }
    every = [(kind, b, work) for kind, row in works.items() for b, work in row.items()]
    for _, _, work in every:
        work()
    times = {(kind, b): [] for kind, b, _ in every}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times["step", BINS[0]]) < 5:
        for kind, b, work in every:
            times[kind, b].append(work())
    times = {key: np.array(values) for key, values in times.items()}
    return {
        "case": name,
        "layers": hidden,
        "n_threads": {kind: row[BINS[0]].trainer.n_threads for kind, row in works.items()},
        "plain": {kind: summary(times[kind, BINS[0]]) for kind in ("products", "step")},
        "ratios": {
            f"{kind} {b}": summary(times[kind, b] / times[base, BINS[0]])
            for kind, base in (("products", "products"), ("step", "step"), ("dense", "step"))
            for b in BINS
            if (kind, b) in times
        },
    }


def page(results):
    """The table as a page of Markdown."""
    head, rows = ["bins"], []
    for cell in results["cells"]:
        net = f"{cell['case']}, {'-'.join(map(str, cell['layers']))}"
        head += [f"{net}: products", "step", "step of the dense twin"]
    plain = [f"{BINS[0]}, µs"]
    for cell in results["cells"]:
        plain += [f"{cell['plain'][kind]['median'] * 1e6:,.0f}" for kind in ("products", "step")]
        plain.append("")
    for b in BINS:
        row = [str(b)]
        for cell in results["cells"]:
            for kind in ("products", "step", "dense"):
                ratio = cell["ratios"].get(f"{kind} {b}")
                above = kind == "products" and b == 128 and ratio["median"] > LIMIT
                row.append(
                    f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f})"
                    + (" ▼" if above else "")
                    if ratio
                    else "-"
                )
        rows.append(row)
    lines = ["# What bins cost", "", machine_line(results), "", EXPLANATION, ""]
    return "\n".join([*lines, *table(head, [plain, *rows], 1)]) + "\n"


def main(arguments=None):
    """Measure, print, and with --save write bench/results/encoding.md and .json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="for each case (default: 30)")
    parser.add_argument("--threads", type=int, default=2, help="at most so many (default: 2)")
    parser.add_argument("--save", action="store_true", help="write into bench/results")
    chosen = parser.parse_args(arguments)
    cells = []
    for name, (n_columns, hidden) in CASES.items():
        print(f"measuring {name}", file=sys.stderr, flush=True)
        cells.append(measure(name, n_columns, hidden, chosen.threads, chosen.seconds))
    results = {"machine": machine_record(), "cells": cells}
    text = page(results)
    print(text, end="")
    if chosen.save:
        save("encoding", text, results)


if __name__ == "__main__":
    main()
