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
from scipy.optimize import nnls

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
RESULTS = Path(__file__).parent / "results"
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
    "log2(n) (m + b s), and a ring, 2 (n - 1) m + (n - 1) / n b (2 s - g). m is the time of a "
    "message, s that of a byte that is sent and added, and g that of adding it alone, which is "
    "measured here. m and s are what the software takes, and the network: the latency and the "
    "bandwidth that the heading says, of which a tenth is lost to headers. What the software takes "
    "is fitted to the Allreduces of 2 ranks above, m + b s, so that their errors relative to the "
    "measured times are the least. Slow or busy machines, which all others wait for, are not in it."
)
CHECK = (
    "2 ranks on this machine, in the same way but without a network: rows a second over those of "
    "one rank. T1 is then the compute of 2 ranks, since they share the cores that one rank has, "
    "and about 1 is all that could be, but for nets so small that one rank uses one thread only: "
    "there it is 2. What the model does not have is the waiting."
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


class Software(NamedTuple):
    """What MPI takes for a message of n bytes that are added, beside the network."""

    message: float  # seconds
    byte: float  # seconds, sent and added
    addition: float  # seconds, of adding a byte alone


def software_of(runs):
    """Fitted to the Allreduces of the 2 ranks that were measured."""
    two = of_ranks(runs, 2)
    times = np.array([cell["allreduce"]["median"] for cell in two["cells"]])
    megabytes = np.array([1e-6 * n_bytes(cell) for cell in two["cells"]])
    columns = np.column_stack([np.ones_like(times), megabytes]) / times[:, np.newaxis]
    (message, megabyte), _ = nnls(columns, np.ones_like(times))
    return Software(message, max(1e-6 * megabyte, two["seconds_a_byte"]), two["seconds_a_byte"])


def of_ranks(runs, n):
    """The run of so many ranks."""
    return next(run for run in runs if run["ranks"] == n)


def n_bytes(cell):
    """Of the vector that is added up."""
    return 4 * (cell["n_params"] + 1)


def allreduce_seconds(n_machines, size, network, software):
    """Of the faster of recursive doubling and a ring, for a vector of so many bytes."""
    if n_machines == 1:
        return 0.0
    message = network.latency + software.message
    byte = 1 / network.bandwidth + software.byte
    doubling = math.log2(n_machines) * (message + size * byte)
    share = (n_machines - 1) / n_machines * size
    ring = 2 * (n_machines - 1) * message + share * (2 * byte - software.addition)
    return min(doubling, ring)


def speed_ups(cell, network, software):
    """Rows a second of `MACHINES` over those of one, by the time of one machine's step."""
    alone = cell["step"]["median"]
    return [
        n * alone / (alone + allreduce_seconds(n, n_bytes(cell), network, software))
        for n in MACHINES
    ]


def speed_ups_here(runs, software):
    """Of each net the rows a second of 2 ranks of this machine over one: measured, and modelled."""
    one, two = (of_ranks(runs, n)["cells"] for n in (1, 2))
    for cell, pair in zip(one, two, strict=True):
        alone, step = cell["step"]["median"], pair["step"]["median"]
        allreduce = software.message + n_bytes(cell) * software.byte
        modelled = pair["compute"]["median"] + allreduce
        yield cell["net"], 2 * alone / step, 2 * alone / modelled


def verdicts(runs, software):
    """Sentences that say for which nets data parallel pays."""
    for network in NETWORKS:
        found = {True: [], False: []}
        for cell in of_ranks(runs, 1)["cells"]:
            reached = speed_ups(cell, network, software)
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


def _check_rows(runs, software):
    return [[name, *(f"{s:.2f}" for s in found)] for name, *found in speed_ups_here(runs, software)]


def page(results):
    """The tables as a page of Markdown."""
    runs = results["runs"]
    head = ["net", "ranks x threads", "step", "compute", "Allreduce", "waiting", "hidden"]
    lines = ["# Data parallel training over MPI", "", machine_line(results), ""]
    lines += [f"{runs[0]['library']}.", "", EXPLANATION, ""]
    software = software_of(runs)
    lines += [*table(head, [*_step_rows(runs)], 1), "", "## More machines, by a model", "", MODEL]
    lines += [
        "",
        f"The software takes {1e6 * software.message:.3g} µs a message and "
        f"{1e9 * software.byte:.3g} ns a byte; g is {1e9 * software.addition:.3g} ns a byte.",
        "",
        CHECK,
        "",
        *table(["net", "measured", "model"], _check_rows(runs, software), 1),
        "",
    ]
    for network in NETWORKS:
        rows = []
        for cell in runs[0]["cells"]:
            found = speed_ups(cell, network, software)
            mb = f"{4e-6 * cell['n_params']:.3g}"
            rows.append([cell["net"], mb, *(f"{s:.1f}" for s in found[1:])])
        head = ["net", "MB", *(f"{n} machines" for n in MACHINES[1:])]
        lines += [f"### {network.name}", "", *table(head, rows, 1), ""]
    lines += ["![Speed-up by the number of machines](mpi.png)", "", "## For which nets it pays", ""]
    lines += [f"- {text}" for text in verdicts(runs, software)]
    lines += [
        "- A small gradient pays for latency, a large one for bandwidth. Compute and bytes both "
        "grow with the parameters, so a larger net gains little by its size; more rows of each "
        "rank in a step make the arithmetic longer and the gradient no larger.",
    ]
    return "\n".join(lines) + "\n"


def picture(results, path):
    """Draw the speed-ups of the model, a panel for each network."""
    import matplotlib.pyplot as plt

    one, software = results["runs"][0], software_of(results["runs"])
    figure, panels = plt.subplots(
        1, len(NETWORKS), figsize=(9, 4.2), sharey=True, layout="constrained"
    )
    for axes, network in zip(panels, NETWORKS, strict=True):
        axes.plot(MACHINES, MACHINES, color="0.7", linewidth=1, label="all that could be")
        for cell, marker in zip(one["cells"], "osD^vP", strict=False):
            found = speed_ups(cell, network, software)
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


def _measured(chosen):
    record = machine_record()
    runs = []
    for ranks in chosen.ranks:
        print(f"measuring {ranks} rank{'s' if ranks > 1 else ''}", file=sys.stderr, flush=True)
        runs.append(measure(ranks, chosen.nets, chosen.seconds, record["cores"]))
    return {"machine": record, "networks": NETWORKS, "runs": runs}


def _chosen(arguments):
    """What the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, help="for each net (default: 10)")
    parser.add_argument("--nets", nargs="+", help="by name (default: all)")
    parser.add_argument("--ranks", nargs="+", type=int, help="(default: 1 2 4)")
    parser.add_argument("--save", action="store_true", help="write into bench/results")
    parser.add_argument(
        "--page", action="store_true", help="measure nothing: .md and .png anew from .json"
    )
    parser.add_argument("--picture", help="write the picture there")
    parser.add_argument("--rank-of", help=argparse.SUPPRESS)
    parser.add_argument("--cores", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    measured = [name for name in ("seconds", "nets", "ranks", "save") if getattr(chosen, name)]
    if chosen.page and measured:
        parser.error(f"--page measures nothing: it does not go with --{' --'.join(measured)}")
    chosen.seconds = 10 if chosen.seconds is None else chosen.seconds
    chosen.nets = chosen.nets or [net.name for net in NETS]
    chosen.ranks = chosen.ranks or RANKS
    unknown = set(chosen.nets) - {net.name for net in NETS}
    if unknown:
        parser.error(f"--nets {' '.join(unknown)}: it takes {[net.name for net in NETS]}")
    if chosen.ranks[0] != 1 or 2 not in chosen.ranks:
        parser.error("--ranks: 1 must be the first and 2 among them, which the model is made from")
    return chosen


def main(arguments=None):
    """Measure, print, and with --save write bench/results/mpi.md, .json and .png."""
    chosen = _chosen(arguments)
    if chosen.rank_of:
        measure_rank(chosen.rank_of, chosen.nets, chosen.seconds, chosen.cores)
        return
    results = json.loads((RESULTS / "mpi.json").read_text()) if chosen.page else _measured(chosen)
    text = page(results)
    print(text, end="")
    if chosen.save:
        save("mpi", text, results)
    if chosen.page:
        (RESULTS / "mpi.md").write_text(text)
    if chosen.save or chosen.page:
        picture(results, RESULTS / "mpi.png")
    if chosen.picture:
        picture(results, chosen.picture)


if __name__ == "__main__":
    main()
