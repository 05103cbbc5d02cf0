"""Trainers that stay: what one call has used, the next call of the same shape takes again.

A trainer (arena, team, room for packed weights) takes longer to make than a small call takes. It
keeps nothing between calls that the next one could miss: weights are packed anew in each, since the
caller may have changed them in place. So it belongs to no estimator (but for a large one of
``partial_fit``, see `_online`): kept trainers are the process's, a few of them and not the largest,
and the longest unused go first. Pickles and copies do not carry them, a forked child starts
without, and whoever has taken one has it for himself: other Python threads and signal handlers
take another, or make one. Nothing here waits for a lock.
"""

import os
from typing import NamedTuple

from . import _core
from ._environment import settings

# Mini-batches of a program that learns online are of many sizes, each of which is a shape.
MOST_TRAINERS = 64
MOST_BYTES = 32 << 20
MOST_TEAMS = 2  # of them that have threads
# A larger one is too much to hold for nobody in particular.
MOST_BYTES_OF_ONE = 8 << 20

_kept = {}  # arguments of the trainer -> trainers; the longest unused first


class Arguments(NamedTuple):
    """The arguments of ``_core.Trainer``, in its order."""

    layer_sizes: tuple
    activations: tuple
    loss: str
    dtype: str
    batch_size: int
    optimizer: str = "none"
    n_threads: int = 1
    max_memory: int = 0
    sparse: bool = False
    forward_only: bool = False
    measure: bool = False
    param_dtype: str | None = None
    loss_params: tuple = ()
    label_smoothing: float = 0.0
    dropout: tuple = ()
    max_rows: int = 0
    input_grad: bool = False
    keep_grad: bool = False
    reduces: bool = False
    asks: bool = False
    encoding: _core.Encoding | None = None
    input_scale: bool = False
    rates: tuple = ()
    decays: tuple = ()


def key_of(arguments):
    """What decides whether a trainer is the one that these arguments would make now."""
    # A trainer has chosen its instructions by these variables.
    return arguments, _core.environment("FASTBP_DISABLE_CPU", "FASTBP_DENSE")


def make(arguments):
    """A new trainer; ValueError if the environment says what is not understood."""
    settings()
    return _core.Trainer(*arguments)


def take(arguments):
    """A trainer made of these `Arguments`, for oneself."""
    settings()  # for its errors
    try:
        return _kept[key_of(arguments)].pop()
    except (KeyError, IndexError):
        return make(arguments)


def give_back(trainer, arguments):
    """Keep it for the next call of these arguments; False, and not done, if it is too large."""
    if trainer.n_bytes > MOST_BYTES_OF_ONE:
        return False
    key = key_of(arguments)
    trainers = _kept.pop(key, None)
    taken_from_here = trainers == []
    trainers = trainers or []
    trainers.append(trainer)
    _kept[key] = trainers  # the last in order, the most recently used
    if not taken_from_here:
        _drop_the_oldest()
    return True


def _drop_the_oldest():
    while True:
        every = [t for trainers in list(_kept.values()) for t in list(trainers)]
        teams = sum(t.n_threads > 1 for t in every)
        n_bytes = sum(t.n_bytes for t in every)
        if len(every) <= MOST_TRAINERS and teams <= MOST_TEAMS and n_bytes <= MOST_BYTES:
            return
        try:
            oldest = next(iter(_kept))
            if len(_kept[oldest]) > 1:
                _kept[oldest].pop()
            else:
                _kept.pop(oldest)
        except (StopIteration, RuntimeError, KeyError, IndexError):
            return  # another Python thread was at it


def forget():
    """Drop all that are kept, and with them their memory and threads."""
    _kept.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget)
