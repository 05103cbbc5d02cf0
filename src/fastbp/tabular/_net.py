"""A net over encoded rows: its first parameters, its training epoch by epoch, its outputs.

What the engine is asked for is in `Net`; a `Member` is one vector of parameters of it, and a
`Training` is what makes one.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from .. import _core
from .._checkpoints.keeper import copy_of, small
from .._input.arguments import parse_max_memory
from .._params import count, zeros
from .._predict import BLOCK_ROWS, DIRECT_ROWS, DOUBLE_ROWS, SMALL_WORK
from .._threads import blas_guard, resolve_n_threads
from .._trainers import Arguments, give_back, make, take

# Updates between two looks at whether the fit is to end.
STEPS_AT_ONCE = 256


class Net:
    """What a net is, apart from its parameters.

    Parameters
    ----------
    encoding : Encoding
        Of the columns of a table.
    settings : Settings
    target : Classes or Numbers
    dtype : str
    """

    def __init__(self, encoding, settings, target, dtype):
        self.encoding, self.dtype, self.loss = encoding, dtype, target.core.core
        self.layer_sizes = (encoding.n_inputs, *settings.hidden_layer_sizes, target.n_outputs)
        self.activations = settings.activation
        self._core_encoding = _core.Encoding(encoding.description())

    def __getstate__(self):
        state = vars(self).copy()
        del state["_core_encoding"]
        return state

    def __setstate__(self, state):
        vars(self).update(state)
        self._core_encoding = _core.Encoding(self.encoding.description())

    def table(self):
        """What lies where in a vector of parameters."""
        return _core.parameters(self.layer_sizes, input_scale=True)

    @property
    def n_params(self):
        """Length of a vector of parameters."""
        return count(self.table())

    def flops(self, batch_size):
        """About what an update takes."""
        inputs = (self.encoding.n_columns, *self.layer_sizes[1:])
        return 6.0 * batch_size * sum(a * b for a, b in pairwise(inputs))

    def training_arguments(self, settings, n_threads, max_memory):
        """The `Arguments` of a trainer that trains.

        A layer has W / sqrt(in) in the place of W, so its rate is that of W over sqrt(in); W decays
        by learning rate times `weight_decay` in an update, b and s do not.
        """
        roots = [math.sqrt(n) for n in self.layer_sizes[:-1]]
        n_layers = len(roots)
        of_weights = [1 / root for root in roots]
        return self._arguments(
            batch_size=settings.batch_size,
            optimizer="adamw",
            n_threads=n_threads,
            max_memory=max_memory,
            dropout=(0.0, *(settings.dropout,) * (n_layers - 1)) if settings.dropout else (),
            rates=(*of_weights, *[settings.bias_rate] * n_layers, settings.scale_rate),
            decays=(*roots, *[0.0] * n_layers, 0.0),
        )

    def forward_arguments(self, n_rows, n_threads, max_memory):
        """The `Arguments` of a trainer that predicts so many rows: few of them in float64."""
        small = n_rows <= DOUBLE_ROWS or n_rows * self.n_params < SMALL_WORK
        return self._arguments(
            dtype="float64" if small else self.dtype,
            batch_size=BLOCK_ROWS if n_rows > DIRECT_ROWS and not small else DIRECT_ROWS,
            n_threads=1 if small else resolve_n_threads(n_threads),
            max_memory=max_memory,
            forward_only=True,
        )

    def _arguments(self, dtype=None, **others):
        return Arguments(
            self.layer_sizes,
            self.activations,
            self.loss,
            dtype=dtype or self.dtype,
            encoding=self._core_encoding,
            input_scale=True,
            **others,
        )


def drawn(net, random_state):
    """First parameters: W normal with variance 1 / in, b with variance 1, s = 1.

    The last layer is zero, so that the first output is the mean of the targets, or equal
    probabilities.
    """
    table = net.table()
    flat = zeros(net.n_params, net.dtype)
    last = f"[{len(net.layer_sizes) - 2}]"
    for name, offset, shape, *_ in table:
        piece = flat[offset : offset + math.prod(shape)]
        if name == "s[0]":
            piece[:] = 1
        elif not name.endswith(last):
            deviation = shape[0] ** -0.5 if name.startswith("W") else 1.0
            piece[:] = random_state.normal(0, deviation, piece.size)
    return flat


class Member:
    """One trained net of an estimator.

    Attributes
    ----------
    params : ndarray of shape (n_params,)
        All its parameters.
    """

    def __init__(self, params):
        self.params = params


def outputs(net, members, positions, n_threads, max_memory):
    """z of the last layer, of every member: (n_members, n, n_outputs).

    Parameters
    ----------
    net : Net
    members : list of Member
    positions : ndarray of shape (n, n_columns)
        Encoded rows.
    n_threads, max_memory
        Those of an estimator.
    """
    arguments = net.forward_arguments(len(positions), n_threads, parse_max_memory(max_memory))
    z = np.empty((len(members), len(positions), net.layer_sizes[-1]), dtype=arguments.dtype)
    data = _core.Data(positions)
    trainer = take(arguments)
    try:
        with blas_guard(trainer.uses_blas):
            for member, out in zip(members, z, strict=True):
                trainer.forward(member.params.astype(z.dtype, copy=False), data, out, raw=True)
    finally:
        give_back(trainer, arguments)
    return z


class Place(NamedTuple):
    """Where a member is in an epoch, which is trained some updates at a time."""

    first: int = 0  # of these updates
    row: int = 0  # rows of theirs that are done,
    loss_sum: float = 0.0  # and the sum of their losses
    total: float = 0.0  # the same of the updates before,
    visited: int = 0  # and how many rows they had


class Training:
    """The training of one member.

    Parameters
    ----------
    net : Net
    settings : Settings
    rows : ndarray of int64
        Of the data to train on.
    seed : int
        Of all that is drawn.
    keeps_best : bool
        Whether `keep` will be called.
    n_threads, max_memory : int

    Attributes
    ----------
    trainer : _core.Trainer
    params, shown : ndarray of shape (n_params,)
        What is trained, and its moving average, which counts.
    finite : bool
        False: the loss of an update was not finite, and that update was not made.
    place : Place or None
        None: the epoch has not begun.
    loss : float or None
        Mean loss of the epoch's rows, if it has ended.
    is_whole : bool
        False while something changes that a checkpoint must not have in half.
    """

    def __init__(self, net, settings, rows, seed, keeps_best, n_threads, max_memory):
        random_state = np.random.RandomState(seed)
        self.params, self.shown = drawn(net, random_state), zeros(net.n_params, net.dtype)
        self.shown[:] = self.params
        self._predicts = self.shown
        self.moments = tuple(zeros(self.params.size, net.dtype) for _ in range(2))
        self._best = zeros(self.params.size, net.dtype) if keeps_best else None
        self._has_best = False
        self.trainer = make(net.training_arguments(settings, n_threads, max_memory))
        self.finite = True
        self._settings = settings
        self._seed = int(random_state.randint(1, np.iinfo(np.int32).max))
        self._rows, self._random_state = rows.copy(), random_state
        self._t = 0
        self.between_epochs()

    def between_epochs(self):
        """Forget the epoch that has ended."""
        self.place, self.loss, self.is_whole = None, None, True

    def epoch(self, data, rates, ema_decay, stop, until):
        """Train on whole mini-batches of shuffled rows; the mean loss of the rows visited.

        It is None if the epoch has not ended: the next call goes on with it.

        Parameters
        ----------
        data : _core.Data
        rates : ndarray of float64
            The learning rate of each update.
        ema_decay : float
            Of the moving average.
        stop : threading.Event
            Ends the call early.
        until : float
            A time by time.monotonic after which the call ends, when it has made an update.
        """
        if self.loss is not None:
            return self.loss
        if self.place is None:
            self.is_whole = False
            self._random_state.shuffle(self._rows)
            self.place, self.is_whole = Place(), True
        while self.place.first < len(rates) and self.finite:
            if stop.is_set() or not self._some_updates(data, rates, ema_decay, until):
                return None
        self.loss = self.place.total / max(self.place.visited, 1)
        return self.loss

    def _some_updates(self, data, rates, ema_decay, until):
        """Go on to the next look at whether to end; False if the time was up before."""
        first, row, loss_sum, total, visited = self.place
        size = self._settings.batch_size
        rates = rates[first : first + STEPS_AT_ONCE]
        rows = self._rows[first * size : (first + len(rates)) * size]
        self.is_whole = False
        self.trainer.begin(row, loss_sum)
        try:
            loss = self._updates(data, rows, rates, ema_decay, row, loss_sum, until)
        finally:
            done, loss_sum = self.trainer.rows_done, self.trainer.loss_sum
            self.place = self.place._replace(row=done, loss_sum=loss_sum)
            self.is_whole = True
        if done < len(rows) and self.finite:
            return False
        self.place = Place(
            first + len(rates), total=total + loss * len(rows), visited=visited + len(rows)
        )
        return True

    def _updates(self, data, rows, rates, ema_decay, row=0, loss_sum=0.0, until=math.inf):
        s = self._settings
        try:
            loss, _, self.finite = self.trainer.train_epoch(
                self.params,
                self.moments,
                data,
                rows,
                s.batch_size,
                alpha=0.0,
                learning_rate=s.learning_rate_init,
                rates=rates[row // s.batch_size :],
                beta_1=s.beta_1,
                beta_2=s.beta_2,
                epsilon=s.epsilon,
                weight_decay=s.weight_decay,
                t=self._t,
                seed=self._seed,
                clip_loss=True,
                ema=self.shown,
                ema_decay=ema_decay,
                row=row,
                loss_sum=loss_sum,
                until=until,
            )
        finally:
            self._t += self.trainer.updates
        return loss

    def outputs(self, data, order, out):
        """Fill `out` with z of these rows, by the parameters that count."""
        self.trainer.forward(self._predicts, data, out, order, raw=True)

    def keep(self):
        """Take the present parameters for the best."""
        np.copyto(self._best, self.shown)
        self._has_best = True

    def settle(self):
        """Let the best parameters be those that count, if any were kept.

        The others stay as they are, for a checkpoint.
        """
        self._predicts = self.result()

    def result(self):
        """The best parameters, or the present ones where none were kept."""
        return self._best if self._has_best else self.shown

    def state(self):
        """What `go_on` takes, beside the vectors."""
        return {
            "order": small(self._rows),
            "random_state": copy_of(self._random_state),
            "t": self._t,
            "place": None if self.place is None else tuple(self.place),
            "loss": self.loss,
            "finite": self.finite,
            "has_best": self._has_best,
        }

    def go_on(self, state):
        """Be where the training was that had this state."""
        np.copyto(self._rows, state["order"])
        self._random_state.set_state(state["random_state"].get_state())
        self._t, self._has_best = state["t"], state["has_best"]
        self.place = None if state["place"] is None else Place(*state["place"])
        self.loss, self.finite = state["loss"], state["finite"]

    def trained(self):
        """What training changes in place, by name."""
        best = {} if self._best is None else {"best": self._best}
        state = {f"state {i}": vector for i, vector in enumerate(self.moments)}
        return {"params": self.params, "shown": self.shown, **state, **best}

    def vectors(self):
        """What it keeps beside the trainer, its parameters and the optimizer's state, by name."""
        best = {} if self._best is None else {"best": self._best}
        return {"ema": self.shown, **best, "order": self._rows}
