"""What features of a training step cost: its time over that of the same step with relu and Adam.

One process, one feature at a time, in turns: each round runs an epoch of each, and a ratio is the
median over the rounds of (time with the feature / time of the plain step in the same round).
"""

import argparse
import sys
import time

import numpy as np
from cases import MAIN
from machine import machine_record
from measure import summary
from report import machine_line, save, table

from fastbp import _core

WANTED = {"digits": 1.4, "mnist512": 1.15, "tabular": 1.15}
# What must keep within it.
LIMITED = ("gelu", "silu", "dropout")
SHARE = 0.2  # that is dropped
FEATURES = {
    **{name: {"activation": name} for name in _core.ACTIVATIONS if name != "relu"},
    "dropout": {"dropout": True},
    "dropout, also of the input": {"dropout": True, "input_dropout": True},
    "adamw": {"optimizer": "adamw", "settings": {"weight_decay": 0.01}},
    "max_grad_norm": {"keep_grad": True, "settings": {"max_grad_norm": 1.0}},
    "ema_decay": {"ema": True},
    "a rate for each step": {"rates": True},
    "label_smoothing": {"label_smoothing": 0.1},
}
EXPLANATION = (
    "Time of a training step with one feature over that of the same step without it (relu, Adam; "
    f"dropout of {SHARE}), float32, median over interleaved rounds with quartiles; ▼ marks what is "
    "above the limit, which gelu, silu and dropout have."
)


class Epoch:
    """An epoch of a case with a feature, to be run again and again."""

    def __init__(
        self,
        case,
        n_threads,
        activation="relu",
        optimizer="adam",
        dropout=False,
        input_dropout=False,
        keep_grad=False,
        label_smoothing=0.0,
        ema=False,
        rates=False,
        settings=None,
    ):
        rng = np.random.default_rng(0)
        hidden, rows = len(case.layers) - 2, 16 * case.batch
        X = rng.normal(size=(rows, case.layers[0])).astype(np.float32)
        y = rng.integers(0, case.layers[-1], rows).astype(np.int32)
        self.data, self.order, self.batch = _core.Data(X, y), rng.permutation(rows), case.batch
        shares = (SHARE * input_dropout, *(SHARE * dropout,) * hidden)
        self.trainer = _core.Trainer(
            case.layers,
            (activation,) * hidden,
            "log_loss",
            "float32",
            case.batch,
            optimizer,
            n_threads,
            label_smoothing=label_smoothing,
            dropout=shares if any(shares) else (),
            keep_grad=keep_grad,
        )
        self.params = rng.normal(scale=0.05, size=self.trainer.n_params).astype(np.float32)
        self.state = (np.zeros_like(self.params), np.zeros_like(self.params))
        self.settings = dict(settings or {}, seed=1)
        if ema:
            self.settings |= {"ema": self.params.copy(), "ema_decay": 0.99}
        if rates:
            self.settings["rates"] = np.full(16, 1e-4)

    def __call__(self):
        """Seconds of one step."""
        self._run()  # what the one before has pushed out of the caches comes back
        begin = time.perf_counter()
        steps = self._run()
        return (time.perf_counter() - begin) / steps

    def _run(self):
        loss, steps, finite = self.trainer.train_epoch(
            self.params,
            self.state,
            self.data,
            self.order,
            self.batch,
            alpha=1e-4,
            learning_rate=1e-4,
            t=10,
            **self.settings,
        )
        assert steps == 16 and finite
        return steps


def measure(case, n_threads, seconds):
    """One row of the table: the step, and the ratio of each feature."""
    plain, epochs = Epoch(case, n_threads), {}
    for name, feature in FEATURES.items():
        epochs[name] = Epoch(case, n_threads, **feature)
    for epoch in (plain, *epochs.values()):
        for _ in range(3):
            epoch()
    times, ratios = [], {name: [] for name in epochs}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 5:
        before = plain()
        for name, epoch in epochs.items():
            taken, after = epoch(), plain()
            ratios[name].append(taken / (0.5 * (before + after)))
            times.append(after)
            before = after
    return {
        "case": case.name,
        "layers": case.layers,
        "batch": case.batch,
        "n_threads": plain.trainer.n_threads,
        "step": summary(times),
        "ratios": {name: summary(values) for name, values in ratios.items()},
    }


def page(results):
    """The table as a page of Markdown."""
    rows = []
    for name in FEATURES:
        row = [name]
        for cell in results["cells"]:
            ratio, wanted = cell["ratios"][name], WANTED[cell["case"]]
            mark = " ▼" if name in LIMITED and ratio["median"] > wanted else ""
            row.append(f"{ratio['median']:.2f} ({ratio['q1']:.2f} to {ratio['q3']:.2f}){mark}")
        rows.append(row)
    limits = [f"limit {WANTED[cell['case']]}" for cell in results["cells"]]
    steps = [
        f"{cell['step']['median'] * 1e6:,.1f} µs, {cell['n_threads']} threads"
        for cell in results["cells"]
    ]
    head = [
        "feature",
        *(f"{c['case']} {'-'.join(map(str, c['layers']))}" for c in results["cells"]),
    ]
    rows = [["plain step", *steps], *rows, ["gelu, silu, dropout", *limits]]
    lines = ["# What features cost", "", machine_line(results), "", EXPLANATION, ""]
    return "\n".join([*lines, *table(head, rows, 1)]) + "\n"


def main(arguments=None):
    """Measure, print, and with --save write bench/results/features.md and .json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=30, help="for each case (default: 30)")
    parser.add_argument("--threads", type=int, default=2, help="at most so many (default: 2)")
    parser.add_argument("--save", action="store_true", help="write into bench/results")
    chosen = parser.parse_args(arguments)
    cells = []
    for case in MAIN:
        if case.name in WANTED:
            print(f"measuring {case.name}", file=sys.stderr, flush=True)
            cells.append(measure(case, chosen.threads, chosen.seconds))
    results = {"machine": machine_record(), "cells": cells}
    text = page(results)
    print(text, end="")
    if chosen.save:
        save("features", text, results)


if __name__ == "__main__":
    main()
