"""When what lies in the arena is needed: phases of a mini-batch, first and last of every content.

The order is that of ``csrc/train/step.c``, as one row of the mini-batch sees it. It follows from
the rows of a `MemoryPlan` alone: their names and layers.
"""

import re
from typing import NamedTuple

from .memory import PlanRow

_NAME = re.compile(r"(\w+?)(?:\[(\d+)\])?")
# Rows that a plan of forward passes does not have.
_OF_TRAINING = frozenset(("y", "weight", "dz", "dz_top", "loss", "squares"))


class Lifetime(NamedTuple):
    """A content of a row of the plan, from the phase that makes it to the last that reads it.

    ``first`` and ``last`` count in `phases`, both included. A row has several contents one after
    the other where layers take turns in it.
    """

    row: PlanRow
    label: str
    first: int
    last: int


def phases(plan):
    """The phases of one pass over the arena, named after what each makes.

    Parameters
    ----------
    plan : MemoryPlan

    Returns
    -------
    tuple of str
        "fetch", then z of every layer; "loss", which also makes dz of the last layer; then dz of
        the layers below and "dW[l]", the gradient of W and b of layer l with their update; and
        "reset". A plan of forward passes has nothing between the last z and "reset".
    """
    kinds = [_parsed(row.name) for row in plan.rows]
    n_layers = sum(kind == "z" for kind, _ in kinds)
    forward = [f"z[{layer}]" for layer in range(n_layers)]
    if not any(kind in _OF_TRAINING for kind, _ in kinds):
        return ("fetch", *forward, "reset")
    return ("fetch", *forward, "loss", *_backward(n_layers), "reset")


def _backward(n_layers):
    """The topmost two dz follow the loss at once; those below wait for a buffer to be free."""
    top = n_layers - 1
    at_once = range(top - 1, max(top - 3, -1), -1)
    names = [f"dz[{layer}]" for layer in at_once]
    for layer in range(top, -1, -1):
        below = f"dz[{layer - 1}]"
        if layer > 0 and below not in names:
            names.append(below)
        names.append(f"dW[{layer}]")
    return names


def lifetimes(plan):
    """Every content of every row of a plan, with its phases.

    Rows of unknown names are needed throughout, and so is what lives outside of the arena, but for
    the gradient.

    Parameters
    ----------
    plan : MemoryPlan

    Returns
    -------
    list of Lifetime
        In the order of the rows; within a row in the order of time.
    """
    at = {name: index for index, name in enumerate(phases(plan))}
    n_layers = sum(name.startswith("z[") for name in at)
    own_dz_top = any(row.name == "dz_top" for row in plan.rows)
    found = []
    for row in plan.rows:
        for label, first, last in _contents(row.name, n_layers, "loss" in at, own_dz_top):
            found.append(Lifetime(row, label, at.get(first, 0), at.get(last, at["reset"])))
    return found


def _contents(name, n_layers, trains, own_dz_top):
    """(label, first phase, last phase) of all that the row of this name holds in turn."""
    kind, layer = _parsed(name)
    top = n_layers - 1
    if kind == "z":
        return [_z(layer, top, trains, own_dz_top)]
    if kind == "dz":  # of every second hidden layer
        hidden = range(top - 1, -1, -1)
        return [(f"dz[{l}]", f"dz[{l}]", f"dW[{l}]") for l in hidden if l % 2 == layer]
    first, last = {
        "x": ("fetch", "dW[0]" if trains else "z[0]"),
        "scratch": ("z[0]", "dW[0]" if trains else f"z[{top}]"),
        "y": ("loss", "loss"),
        "weight": ("loss", "loss"),
        "d_output": ("loss", "loss"),
        "row_loss": ("loss", "loss"),
        "dz_top": ("loss", f"dW[{top}]"),
        "loss": ("loss", f"dW[{top}]"),  # summed before the first dW
        "squares": (f"dW[{top}]", "reset"),
        "norm": ("dW[0]", "reset"),
        "grad": (f"dW[{top}]", "reset"),
    }.get(kind, ("fetch", "reset"))
    return [(f"dz[{top}]" if kind == "dz_top" else name, first, last)]


def _z(layer, top, trains, own_dz_top):
    """Hidden layers: the layer above reads z, and once more for its dW, if there is one."""
    made = f"z[{layer}]"
    if layer < top:
        return made, made, f"dW[{layer + 1}]" if trains else f"z[{layer + 1}]"
    if not trains:
        return made, made, "reset"  # the result, copied out
    if own_dz_top:
        return made, made, "loss"
    return f"{made}, dz[{top}]", made, f"dW[{top}]"  # the loss puts dz in its place


def _parsed(name):
    """("z", 3) of "z[3]"; ("x", None) of "x"."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name, None
    return match[1], None if match[2] is None else int(match[2])
