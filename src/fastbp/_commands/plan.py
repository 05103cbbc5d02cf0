"""``python -m fastbp plan``: the memory of a fit, before the fit."""

from .. import _core
from .._input.arguments import DTYPES
from ..memory import SOLVERS_OF_PLANS as SOLVERS
from ..memory import memory_plan
from .options import integer, names_of, one_of, size

_DESCRIPTION = """\
Print what a fit allocates, to the byte, without allocating it: the arena, entry
by entry, and what lives outside of it.
"""
_EPILOG = """\
examples:
  fastbp plan 784 512 10 --batch-size 256
  fastbp plan 30 64 64 1 --activation tanh,relu --max-memory 64kB
"""


def add(commands):
    """Add the command to the parser."""
    text = "the memory of a fit, before the fit"
    parser = commands.add_parser("plan", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    option = parser.add_argument
    text = "widths of the layers, at least two: inputs, hidden layers, outputs"
    option("widths", type=integer(1), nargs="+", metavar="WIDTH", help=text)
    text = "rows of a mini-batch"
    option("--batch-size", type=integer(1), default=200, metavar="ROWS", help=text)
    text = f"of the parameters: {' or '.join(DTYPES)}"
    option("--dtype", type=one_of(*DTYPES), default="float32", metavar="DTYPE", help=text)
    text = f"{', '.join(SOLVERS)}; none is for a Network: loss and gradient only"
    option("--solver", type=one_of(*SOLVERS), default="adam", metavar="NAME", help=text)
    text = "the most threads (default: as many as there are cores for this process, at most "
    text += "FASTBP_NUM_THREADS)"
    option("--n-threads", type=integer(1), metavar="N", help=text)
    text = "of the hidden layers, or one for each, separated by commas: "
    text += ", ".join(_core.ACTIVATIONS)
    names = names_of(_core.ACTIVATIONS)
    option("--activation", type=names, default="relu", metavar="NAME", help=text)
    text = ", ".join(_core.LOSSES)
    names = one_of(*_core.LOSSES)
    option("--loss", type=names, default="squared_error", metavar="NAME", help=text)
    text = "cap on the arena in bytes, or with a unit: 64MB, 1.5GiB; larger mini-batches run in "
    text += "several passes (default: no cap)"
    option("--max-memory", type=size, metavar="SIZE", help=text)
    parser.set_defaults(run=run)


def run(arguments):
    """Do what the command line asks for."""
    if len(arguments.widths) < 2:
        raise ValueError(
            f"argument WIDTH: {arguments.widths[0]} is the only one: it takes at least two, the "
            "number of inputs first, the number of outputs last"
        )
    n_hidden, names = len(arguments.widths) - 2, arguments.activation
    if isinstance(names, list) and len(names) != n_hidden:
        raise ValueError(
            f"argument --activation: {','.join(names)!r} has {len(names)} names: it takes one for "
            f"all hidden layers, or one for each, here {n_hidden}"
        )
    print(
        memory_plan(
            arguments.widths,
            batch_size=arguments.batch_size,
            dtype=arguments.dtype,
            solver=arguments.solver,
            n_threads=arguments.n_threads,
            activation=names,
            loss=arguments.loss,
            max_memory=arguments.max_memory,
        )
    )
