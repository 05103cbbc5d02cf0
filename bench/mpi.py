"""Data parallel training: a step over ranks by its parts, and what follows for more machines.

The ranks of one machine share its cores and its memory, so their number says nothing of speed; the
parts do. A model puts them together for machines that have a network between them.
"""

import argparse
import json
import math
import operator
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from machine import machine_record
from measure import summary
from report import machine_line, number, save, table

from fastbp import _core


class Net(NamedTuple):
    """A net, and the rows of a rank in a step."""

    name: str
    layers: tuple
    batch: int


NETS = (
    Net("digits", (64, 64, 10), 32),
    Net("tabular", (54, 256, 256, 256, 7), 256),
    Net("tabular, 4096 rows", (54, 256, 256, 256, 7), 4096),
    Net("mnist512", (784, 512, 512, 10), 256),
    Net("mnist512, 4096 rows", (784, 512, 512, 10), 4096),
    Net("wide", (1024, 2048, 2048, 2048, 10), 1024),
)
RANKS = (1, 2, 4)
MACHINES = (1, 2, 4, 8, 16, 32, 64)
PAYS = 0.5  # of the speed-up that so many machines could give


class Network(NamedTuple):
    """Between machines: a message of n bytes takes latency + n / bandwidth."""

    name: str
    latency: float  # seconds
    bandwidth: float  # bytes a second


NETWORKS = (
    Network("10 Gbit/s, 25 µs (Ethernet, TCP)", 25e-6, 0.9 * 10e9 / 8),
    Network("100 Gbit/s, 2 µs (RDMA)", 2e-6, 0.9 * 100e9 / 8),
)
EXPLANATION = (
    "float32, Adam, relu, log loss. Step: of all ranks together, with one Allreduce of the "
    "gradient. Compute: the same without the Allreduce, while the other ranks compute too. "
    "Allreduce: alone, of a vector as long. Waiting: what is left of the step. Hidden: the share "
    "of an Iallreduce that is done when a step that was computed after it began has ended, of the "
    "shortest times; at 0 nothing is to be won by sending pieces of the gradient while the rest is "
    "computed. Ranks share the cores of this machine. Medians over interleaved rounds, in µs."
)
MODEL = (
    "Rows a second with so many machines over those of one, each with the rows of its own in a "
    "step: n T1 / (T1 + A). T1 is the step of one machine with all its threads and a whole "
    "gradient, A the faster of two ways to add up a gradient of b bytes: recursive doubling, "
    "log2(n) (latency + b / bandwidth + b g), and a ring, 2 (n - 1) latency + (n - 1) / n (2 b / "
    "bandwidth + b g). g, of the sums, is measured here; latency and bandwidth are those that the "
    "heading says, of which a tenth is lost to headers. Slow or busy machines, which all others "
    "wait for, are not in it."
)


# ---- a rank that measures ------------------------------------------------------------------------


class Work:
    """Steps of a net on random rows; `allreduce` stands between gradient and update."""

    def __init__(self, net, n_threads, ranks, rank):
        rng = np.random.default_rng(rank)
        self.n_steps = max(2, min(50, int(2e9 / (6 * net.batch * _products(net)))))
        rows = self.n_steps * net.batch
        X = rng.normal(size=(rows, net.layers[0])).astype(np.float32)
        self.data = _core.Data(X, rng.integers(0, net.layers[-1], rows).astype(np.int32))
        self.batch, self.ranks, self.rank = net.batch, ranks, rank
        self.trainer = _core.Trainer(
            net.layers, ("relu",) * (len(net.layers) - 2), "log_loss", "float32", net.batch, "adam",
            n_threads, reduces=True,
        )  # fmt: skip
        self.params = rng.normal(0, 0.05, self.trainer.n_params).astype(np.float32)
        self.state = [np.zeros_like(self.params) for _ in range(2)]
        self.vector = np.zeros(self.trainer.n_params + 1, np.float32)

    def steps(self, allreduce, in_place, n_steps=None):
        """Seconds of a step."""
        n_steps = n_steps or self.n_steps
        ends = np.arange(1, n_steps + 1) * self.batch
        all_rows = np.full(n_steps, self.batch * self.ranks)
        order = np.arange(ends[-1])
        reduction = _core.Reduction(
            ends, all_rows, all_rows.astype(float), allreduce, in_place,
            counts_penalty=self.rank == 0,
        )  # fmt: skip
        begin = time.perf_counter()
        self.trainer.train_epoch(
            self.params, self.state, self.data, order, self.batch, alpha=0.0, learning_rate=1e-6,
            t=10, reduction=reduction,
        )  # fmt: skip
        return (time.perf_counter() - begin) / n_steps


def _products(net):
    return sum(a * b for a, b in zip(net.layers[:-1], net.layers[1:], strict=True))


def _timed(comm, work, n=1):
    """Seconds of n calls, which all ranks begin together; those of the slowest."""
    comm.Barrier()
    begin = time.perf_counter()
    for _ in range(n):
        work()
    return max(comm.allgather((time.perf_counter() - begin) / n))


def _measure_net(comm, in_place, net, n_threads, seconds):
    ranks, rank = comm.Get_size(), comm.Get_rank()
    work = Work(net, n_threads, ranks, rank)
    calls = max(1, min(100, int(1e7 / work.vector.nbytes)))

    def compute(n_steps=None):
        return work.steps(operator.is_, None, n_steps)

    def wait():
        comm.Barrier()
        request = comm.Iallreduce(in_place, work.vector)
        compute(1)
        begin = time.perf_counter()
        request.Wait()
        return max(comm.allgather(time.perf_counter() - begin))

    kinds = {
        "step": lambda: max(comm.allgather(work.steps(comm.Allreduce, in_place))),
        "compute": lambda: max(comm.allgather(compute())),
        "allreduce": lambda: _timed(comm, lambda: comm.Allreduce(in_place, work.vector), calls),
        "wait": wait,
    }
    times = {kind: [] for kind in kinds}
    end = time.perf_counter() + seconds
    going = True
    while going:
        for kind, measured in kinds.items():
            comm.Barrier()
            found = measured()
            work.vector[:] = 0
            times[kind].append(found)
        going = comm.bcast(time.perf_counter() < end or len(times["step"]) < 4, root=0)
    times = {kind: np.array(values[1:]) for kind, values in times.items()}  # one to warm up
    return {
        "net": net.name,
        "layers": net.layers,
        "batch": net.batch,
        "n_params": work.trainer.n_params,
        "n_threads": work.trainer.n_threads,
        "steps": work.n_steps,
        **{kind: summary([*times[kind]]) for kind in ("step", "compute", "allreduce")},
        "hidden": 1 - times["wait"].min() / times["allreduce"].min(),
    }


def _seconds_a_byte():
    """Of adding one vector to another, as an Allreduce does with what it receives."""
    mine, theirs = (np.ones(1 << 22, np.float32) for _ in range(2))
    times = []
    for _ in range(7):
        begin = time.perf_counter()
        np.add(mine, theirs, out=mine)
        times.append((time.perf_counter() - begin) / mine.nbytes)
    return min(times)


def measure_rank(path, names, seconds, cores):
    """What mpiexec runs: rank 0 writes what all have measured."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    n_threads = max(1, cores // comm.Get_size())
    cells = [
        _measure_net(comm, MPI.IN_PLACE, net, n_threads, seconds)
        for net in NETS
        if net.name in names
    ]
    if comm.Get_rank() == 0:
        found = {
            "ranks": comm.Get_size(),
            "library": MPI.Get_library_version().split("\n")[0].strip(),
            "seconds_a_byte": _seconds_a_byte(),
            "cells": cells,
        }
        Path(path).write_text(json.dumps(found))


def measure(ranks, names, seconds, cores):
    """Run so many ranks and return what they found."""
    beside = shutil.which("mpiexec", path=str(Path(sys.executable).parent))
    mpiexec = beside or shutil.which("mpiexec")
    if mpiexec is None:
        raise SystemExit('needs an MPI: pip install "fastbp[mpi]" mpich, or make bench-mpi')
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "found.json")
        more = ["--rank-of", path, "--seconds", str(seconds), "--cores", str(cores)]
        command = [mpiexec, "-n", str(ranks), sys.executable, __file__, *more, "--nets", *names]
        subprocess.run(command, check=True)
        return json.loads(Path(path).read_text())


# ---- the model -----------------------------------------------------------------------------------


def allreduce_seconds(n_machines, n_bytes, network, seconds_a_byte):
    """Of the faster of recursive doubling and a ring."""
    if n_machines == 1:
        return 0.0
    doubling = math.log2(n_machines) * (
        network.latency + n_bytes / network.bandwidth + n_bytes * seconds_a_byte
    )
    share = (n_machines - 1) / n_machines * n_bytes
    ring = 2 * (n_machines - 1) * network.latency
    ring += share * (2 / network.bandwidth + seconds_a_byte)
    return min(doubling, ring)


def speed_ups(cell, network, seconds_a_byte):
    """Rows a second of `MACHINES` over those of one, by the time of one machine's step."""
    alone, n_bytes = cell["step"]["median"], 4 * (cell["n_params"] + 1)
    return [
        n * alone / (alone + allreduce_seconds(n, n_bytes, network, seconds_a_byte))
        for n in MACHINES
    ]


def verdicts(runs):
    """Sentences that say for which nets data parallel pays."""
    one = runs[0]
    for network in NETWORKS:
        found = {True: [], False: []}
        for cell in one["cells"]:
            reached = speed_ups(cell, network, one["seconds_a_byte"])
            most = [n for n, s in zip(MACHINES, reached, strict=True) if s >= PAYS * n]
            found[most[-1] > 1].append((cell["net"], most[-1]))
        pays = ", ".join(f"{name} (to {most} machines)" for name, most in found[True]) or "none"
        not_so = ", ".join(name for name, _ in found[False]) or "none"
        yield (
            f"{network.name}: half of what the machines could give or more: {pays}. Less with two "
            f"machines already: {not_so}."
        )


# ---- the page ------------------------------------------------------------------------------------


def _us(seconds):
    return number(1e6 * seconds)


def _step_rows(runs):
    for i, cell in enumerate(runs[0]["cells"]):
        for run in runs:
            here = run["cells"][i]
            parts = [here[kind]["median"] for kind in ("step", "compute", "allreduce")]
            waiting = max(0.0, parts[0] - parts[1] - parts[2])
            yield [
                f"{cell['net']}, {'-'.join(map(str, cell['layers']))}, {cell['batch']} rows",
                f"{run['ranks']} x {here['n_threads']}",
                *map(_us, parts),
                _us(waiting) if waiting else "0",
                f"{max(0, here['hidden']):.2f}" if run["ranks"] > 1 else "",
            ]


def page(results):
    """The tables as a page of Markdown."""
    runs = results["runs"]
    head = ["net", "ranks x threads", "step", "compute", "Allreduce", "waiting", "hidden"]
    lines = ["# Data parallel training over MPI", "", machine_line(results), ""]
    lines += [f"{runs[0]['library']}.", "", EXPLANATION, ""]
    lines += [*table(head, [*_step_rows(runs)], 1), "", "## More machines, by a model", "", MODEL]
    lines += ["", f"g is {1e9 * runs[0]['seconds_a_byte']:.3f} ns a byte.", ""]
    for network in NETWORKS:
        rows = []
        for cell in runs[0]["cells"]:
            found = speed_ups(cell, network, runs[0]["seconds_a_byte"])
            mb = f"{4e-6 * cell['n_params']:.3g}"
            rows.append([cell["net"], mb, *(f"{s:.1f}" for s in found[1:])])
        head = ["net", "MB", *(f"{n} machines" for n in MACHINES[1:])]
        lines += [f"### {network.name}", "", *table(head, rows, 1), ""]
    lines += ["![Speed-up by the number of machines](mpi.png)", "", "## For which nets it pays", ""]
    lines += [f"- {text}" for text in verdicts(runs)]
    lines += [
        "- A small gradient pays for latency, a large one for bandwidth. Compute and bytes both "
        "grow with the parameters, so a larger net gains little by its size; more rows of each "
        "rank in a step make the arithmetic longer and the gradient no larger.",
    ]
    return "\n".join(lines) + "\n"


def picture(results, path):
    """Draw the speed-ups of the model, a panel for each network."""
    import matplotlib.pyplot as plt

    one = results["runs"][0]
    figure, panels = plt.subplots(
        1, len(NETWORKS), figsize=(9, 4.2), sharey=True, layout="constrained"
    )
    for axes, network in zip(panels, NETWORKS, strict=True):
        axes.plot(MACHINES, MACHINES, color="0.7", linewidth=1, label="all that could be")
        for cell, marker in zip(one["cells"], "osD^vP", strict=False):
            found = speed_ups(cell, network, one["seconds_a_byte"])
            axes.plot(MACHINES, found, marker=marker, markersize=4, label=cell["net"])
        axes.set_xscale("log", base=2)
        axes.set_yscale("log", base=2)
        ticks = [*MACHINES]
        axes.set_xticks(ticks, ticks)
        axes.set_yticks(ticks, ticks)
        axes.grid(color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        axes.set(xlabel="machines", title=network.name)
        axes.title.set_fontsize(10)
    panels[0].set_ylabel("rows a second over those of one machine")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False
    )
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main(arguments=None):
    """Measure, print, and with --save write bench/results/mpi.md, .json and .png."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10, help="for each net (default: 10)")
    parser.add_argument("--nets", nargs="+", default=[net.name for net in NETS], help="by name")
    parser.add_argument("--ranks", nargs="+", type=int, default=RANKS, help="(default: 1 2 4)")
    parser.add_argument("--save", action="store_true", help="write into bench/results")
    parser.add_argument("--picture", help="write the picture there")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.rank_of:
        measure_rank(chosen.rank_of, chosen.nets, chosen.seconds, chosen.cores)
        return
    unknown = set(chosen.nets) - {net.name for net in NETS}
    if unknown:
        parser.error(f"--nets {' '.join(unknown)}: it takes {[net.name for net in NETS]}")
    if chosen.ranks[0] != 1:
        parser.error("--ranks: the first must be 1, whose step the model begins with")
    record = machine_record()
    runs = []
    for ranks in chosen.ranks:
        print(f"measuring {ranks} rank{'s' if ranks > 1 else ''}", file=sys.stderr, flush=True)
        runs.append(measure(ranks, chosen.nets, chosen.seconds, record["cores"]))
    results = {"machine": record, "networks": NETWORKS, "runs": runs}
    text = page(results)
    print(text, end="")
    if chosen.save:
        save("mpi", text, results)
        picture(results, Path(__file__).parent / "results" / "mpi.png")
    if chosen.picture:
        picture(results, chosen.picture)


if __name__ == "__main__":
    main()
