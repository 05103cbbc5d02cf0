"""How many bytes a network needs, known before anything is allocated.

The arena of the compiled core measures and carves with one function, so the numbers of a
`MemoryPlan` are what is allocated, to the byte.
"""

from typing import NamedTuple

import numpy as np

from . import _core
from ._input.arguments import (
    check_activation,
    check_dtype,
    check_layer_sizes,
    check_name,
    check_positive_int,
    core_loss,
    parse_max_memory,
)
from ._optim import SOLVERS
from ._threads import resolve_n_threads

# What a solver of the estimators, or an update rule of the core, keeps: its name in the core.
_UPDATE_RULE = {name: solver.core_name for name, solver in SOLVERS.items()}
_UPDATE_RULE |= {name: name for name in _core.OPTIMIZERS if name not in _UPDATE_RULE}


class PlanRow(NamedTuple):
    """One line of a `MemoryPlan`: offset counts bytes from the start of the arena.

    ``offset`` is None for what lives outside of the arena (parameters, gradient, optimizer
    state, packed copies).
    """

    name: str
    shape: tuple
    offset: int | None
    bytes: int


def human_bytes(n):
    """Bytes as a short text.

    Examples
    --------
    >>> human_bytes(1536)
    '1.5 KiB'
    """
    if n < 1024:
        return f"{n} B"
    value, units = n / 1024, ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB"]
    while value >= 1023.95 and len(units) > 1:
        value /= 1024
        units.pop()
    return f"{value:.1f} {units[-1]}"


class MemoryPlan(NamedTuple):
    """The memory of a training step, entry by entry: a tuple, which JSON takes as a list.

    Attributes
    ----------
    rows : tuple of PlanRow
        ``(name, shape, offset, bytes)``; the entries of the arena first, then what lives
        outside of it, with offset None.
    arena_bytes : int
        Size of the arena.
    total_bytes : int
        Arena, parameters, gradient, optimizer state and packed copies.
    batch_rows : int
        Rows in one pass over the arena. Below the batch size if ``max_memory`` asked for it, or if
        the products of so many rows (some ten thousand) would keep Ctrl-C waiting: a mini-batch
        then runs in several passes that add up one gradient.
    n_threads : int
        Threads that the core found worth using for these shapes.
    dense : tuple of str
        How the products of every layer are done: "blas" or "packed".

    Examples
    --------
    >>> import fastbp
    >>> plan = fastbp.memory_plan((784, 100, 10), batch_size=200)
    >>> plan.total_bytes >= plan.arena_bytes > 200 * 110 * 4
    True
    """

    rows: tuple
    arena_bytes: int
    total_bytes: int
    batch_rows: int
    n_threads: int
    dense: tuple

    @classmethod
    def from_core(cls, plan):
        """Build a plan from the dict of the compiled core.

        Parameters
        ----------
        plan : dict
            As returned by ``fastbp._core.plan`` and ``Trainer.plan``.

        Returns
        -------
        MemoryPlan
        """
        return cls(
            rows=tuple(
                PlanRow(name, tuple(shape), offset, n_bytes)
                for name, shape, offset, n_bytes in plan["rows"]
            ),
            arena_bytes=plan["arena_bytes"],
            total_bytes=plan["total_bytes"],
            batch_rows=plan["batch_rows"],
            n_threads=plan["n_threads"],
            dense=tuple(plan["dense"]),
        )

    def with_rounded(self, params):
        """The plan of a fit that computes in float64 and rounds the result to this vector."""
        row = PlanRow(f"params_{params.dtype.name}", params.shape, None, params.nbytes)
        return self._replace(rows=(*self.rows, row), total_bytes=self.total_bytes + params.nbytes)

    def __str__(self):
        """Draw the plan as a table."""
        inside = [row for row in self.rows if row.offset is not None]
        outside = [row for row in self.rows if row.offset is None]
        lines = [("name", "shape", "offset", "bytes", "")]
        lines += map(_table_line, inside)
        lines += [None, ("arena", "", "", f"{self.arena_bytes:,}", human_bytes(self.arena_bytes))]
        if outside:
            lines += [None, *map(_table_line, outside)]
        lines += [None, ("total", "", "", f"{self.total_bytes:,}", human_bytes(self.total_bytes))]

        cells = [line for line in lines if line is not None]
        widths = [max(len(line[column]) for line in cells) for column in range(5)]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        text = []
        for line in lines:
            if line is None:
                text.append(rule)
                continue
            aligned = [
                cell.ljust(width) if column < 2 else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(line, widths, strict=True))
            ]
            text.append("  ".join(aligned).rstrip())
        text.insert(1, rule)
        text.append(
            f"{self.batch_rows} rows a pass, {self.n_threads} "
            f"thread{'s' if self.n_threads != 1 else ''}, dense layers by {_runs(self.dense)}"
        )
        return "\n".join(text)


def _table_line(row):
    shape = " x ".join(map(str, row.shape)) or "1"
    offset = "" if row.offset is None else f"{row.offset:,}"
    return row.name, shape, offset, f"{row.bytes:,}", human_bytes(row.bytes)


def _runs(names):
    """The distinct names in order of appearance, joined."""
    return " and ".join(dict.fromkeys(names))


def memory_plan(
    layer_sizes,
    *,
    batch_size=200,
    dtype="float32",
    solver="adam",
    n_threads=None,
    activation="relu",
    loss="squared_error",
    max_memory=None,
):
    """What a fit would allocate, to the byte, without allocating it.

    A fit on at most 64 rows computes in float64, whatever its `dtype`.

    Parameters
    ----------
    layer_sizes : sequence of int
        Widths of the layers, input and output included.
    batch_size : int, default=200
        Rows of a mini-batch.
    dtype : {"float32", "float64"}, default="float32"
    solver : {"adam", "sgd", "nesterov", "lbfgs", "none"}, default="adam"
        Decides the optimizer state. "none" is a `Network`: loss and gradient only; so is
        "lbfgs" to the core, in float64 (L-BFGS keeps its own vectors in SciPy).
    n_threads : int or None, default=None
        As in the estimators.
    activation : str or sequence of str, default="relu"
        One name for all hidden layers, or one per hidden layer.
    loss : {"squared_error", "log_loss", "binary_log_loss", "poisson"}, default="squared_error"
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or "64MB"; larger mini-batches run in several passes.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    ValueError
        If an argument is not understood, or one row does not fit in ``max_memory``.
    OverflowError
        If the bytes cannot be counted in a machine word.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.memory_plan((64, 64, 10), batch_size=32).batch_rows
    32
    """
    sizes = check_layer_sizes(layer_sizes)
    activations = check_activation(activation, len(sizes) - 2)
    check_name("solver", solver, _UPDATE_RULE)
    dtype = check_dtype(dtype)
    plan = MemoryPlan.from_core(
        _core.plan(
            sizes,
            activations,
            core_loss(loss, sizes[-1]),
            "float64" if solver == "lbfgs" else dtype,
            check_positive_int("batch_size", batch_size),
            _UPDATE_RULE[solver],
            resolve_n_threads(n_threads),
            max_memory=parse_max_memory(max_memory),
        )
    )
    if solver != "lbfgs" or dtype == "float64":
        return plan
    n_params = next(row.shape[0] for row in plan.rows if row.name == "params")
    return plan.with_rounded(np.broadcast_to(np.float32(0), n_params))
