"""How many bytes a network needs, known before anything is allocated.

The arena of the compiled core measures and carves with one function, so the numbers of a
`MemoryPlan` are what is allocated, to the byte.
"""

from typing import NamedTuple

import numpy as np

from . import _core
from ._distributed import active
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
SOLVERS_OF_PLANS = tuple(_UPDATE_RULE)


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
        return self.with_vector(f"params_{params.dtype.name}", params)

    def with_vector(self, name, vector):
        """The plan of a fit that has one more vector."""
        return self.with_row(name, vector.shape, vector.nbytes)

    def with_row(self, name, shape, n_bytes):
        """The plan of a fit that has one more thing of so many bytes, outside of the arena."""
        row = PlanRow(name, tuple(shape), None, n_bytes)
        return self._replace(rows=(*self.rows, row), total_bytes=self.total_bytes + n_bytes)

    def times(self, n_nets):
        """The plan of so many of these nets, trained side by side: the others are one row."""
        if n_nets == 1:
            return self
        shape = (n_nets - 1, self.total_bytes)
        return self.with_row("other members", shape, (n_nets - 1) * self.total_bytes)

    @classmethod
    def empty(cls):
        """The plan of a fit that had nothing to train."""
        return cls(rows=(), arena_bytes=0, total_bytes=0, batch_rows=0, n_threads=1, dense=())

    def plot(self, ax=None, *, outside=True):
        """Draw what lives where, from forward to backward.

        One mini-batch goes from left to right, phase by phase; a phase is named after what it
        makes: "z[l]" the forward product of layer l, "dz[l]" what comes back to it, "dW[l]" the
        gradient of its weights, and their update. Every content of the arena is a rectangle: as
        high as its bytes, at its offset, over the phases from the one that makes it to the last
        that needs it. Rectangles at one height are contents of the same bytes, one after the
        other.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: a new figure.
        outside : bool, default=True
            Whether to draw what lives outside of the arena, too, as a column in a scale of its
            own, on inset axes on the right.

        Returns
        -------
        matplotlib Axes
            With one patch for each content of the arena.

        Raises
        ------
        ImportError
            Without matplotlib.

        Examples
        --------
        >>> import fastbp
        >>> plan = fastbp.memory_plan((784, 512, 10), batch_size=256)
        >>> plan.plot().figure.savefig("plan.png")  # doctest: +SKIP
        """
        from .plot import plot_plan

        return plot_plan(self, ax, outside=outside)

    def _repr_html_(self):
        """The plan as a table with bars, for notebooks."""
        from ._notebook import plan_html

        return plan_html(self)

    def __str__(self):
        """Draw the plan as a table."""
        inside = [row for row in self.rows if row.offset is not None]
        outside = [row for row in self.rows if row.offset is None]
        lines = [("name", "shape", "offset", "bytes", "")]
        lines += map(table_line, inside)
        lines += [None, ("arena", "", "", f"{self.arena_bytes:,}", human_bytes(self.arena_bytes))]
        if outside:
            lines += [None, *map(table_line, outside)]
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
        text.append(pass_summary(self))
        return "\n".join(text)


def table_line(row):
    """Name, shape, offset, bytes and readable bytes of a `PlanRow`, as texts."""
    shape = " x ".join(map(str, row.shape)) or "1"
    offset = "" if row.offset is None else f"{row.offset:,}"
    return row.name, shape, offset, f"{row.bytes:,}", human_bytes(row.bytes)


def pass_summary(plan):
    """Rows and threads of a pass, and how products are done, in a line."""
    threads = f"{plan.n_threads} thread{'s' if plan.n_threads != 1 else ''}"
    dense = " and ".join(dict.fromkeys(plan.dense))
    return f"{plan.batch_rows} rows a pass, {threads}, dense layers by {dense}"


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
    max_grad_norm=None,
    ema_decay=None,
):
    """What a fit would allocate, to the byte, without allocating it.

    A fit on at most 64 rows computes in float64, whatever its `dtype`. Within `distributed` it is
    what a fit there allocates on each rank.

    Parameters
    ----------
    layer_sizes : sequence of int
        Widths of the layers, input and output included.
    batch_size : int, default=200
        Rows of a mini-batch.
    dtype : {"float32", "float64"}, default="float32"
    solver : {"adam", "adamw", "sgd", "nesterov", "lbfgs", "none"}, default="adam"
        Decides the optimizer state. "none" is a `Network`: loss and gradient only; so is
        "lbfgs" to the core, in float64 (L-BFGS keeps its own vectors in SciPy).
    n_threads : int or None, default=None
        As in the estimators.
    activation : str or sequence of str, default="relu"
        One name for all hidden layers, or one per hidden layer.
    loss : str, default="squared_error"
        "squared_error", "log_loss", "binary_log_loss", "poisson", "absolute_error", "huber",
        "log_cosh", "quantile", "gamma" or "gaussian_nll"; see `Network`.
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or "64MB"; larger mini-batches run in several passes.
    max_grad_norm, ema_decay : float or None, default=None
        As in the estimators: whether there is one decides what is kept.

    Returns
    -------
    MemoryPlan
        What the core would allocate, entry by entry.

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
            keep_grad=max_grad_norm is not None,
            reduces=active() is not None,
            asks=callable(loss),
        )
    )
    n_params = next(row.shape[0] for row in plan.rows if row.name == "params")
    if ema_decay is not None:
        plan = plan.with_vector("ema", np.broadcast_to(np.dtype(dtype).type(0), n_params))
    if solver == "lbfgs" and dtype == "float32":
        plan = plan.with_rounded(np.broadcast_to(np.float32(0), n_params))
    return plan
