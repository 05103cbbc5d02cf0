"""Encoded rows of a dataset: in the buffers that a thread fills while the members train on others.

A buffer has all rows of some blocks, also those that a member does not train on: which these are
follows from the number of the row (`Parts`), and each member leaves out its own.
"""

from functools import partial
from typing import NamedTuple

import numpy as np

from .. import _core
from .._datasets._rows import generator
from .._datasets._source import fingerprint_of
from .._datasets._table import errors_named
from .._input.arrays import TINY
from .._input.weights import product_of_weights
from ._net import STEPS_AT_ONCE, Training
from ._statistics import row_keys
from ._table import Batch, read_places

# In the place of the number of the member that holds a row out.
NOBODY = -1  # all train on it
EVERYBODY = -2  # it has no weight

# Bytes that a member takes for each row of a buffer while it trains on it: the number of the row in
# its order, and two masks.
VISIT_BYTES = 8 + 2


class Parts:
    """What a row is held out for, by its number.

    Parameters
    ----------
    share : float
        Of the rows that one part has.
    n_members : int
        At most; the rows of further folds are held out by none of them.
    seed : int
    """

    def __init__(self, share, n_members, seed):
        self._share, self._seed = share, seed
        self._n_folds = max(2, round(1 / share))
        self._n_used = min(n_members, self._n_folds)
        self.count = 2 * (self._n_used + 1)

    def of(self, rows):
        """A number for each of the rows: twice its fold, and 1 if it is in the one part for all."""
        place = (row_keys(rows, self._seed) >> np.uint64(11)) * 2.0**-53
        folds = np.minimum((place * self._n_folds).astype(np.int64), self._n_used)
        return 2 * folds + (place < self._share)


class Split(NamedTuple):
    """Which rows are held out, and by whom."""

    parts: Parts
    n_folds: int  # one for each member; 1: one part for all of them; 0: none
    is_whole: np.ndarray | None  # of each class: whether its rows are too few to hold some out

    def holders(self, rows, codes):
        """The number of the member that holds out each row; 0 for one that all hold out."""
        if self.n_folds == 0:
            return np.full(len(rows), NOBODY, dtype=np.int16)
        parts = self.parts.of(rows)
        if self.n_folds > 1:
            folds = parts // 2
            return np.where(folds < self.n_folds, folds, NOBODY).astype(np.int16)
        held = parts % 2 == 1
        if self.is_whole is not None:
            held &= ~self.is_whole[codes]
        return np.where(held, 0, NOBODY).astype(np.int16)


class Window(NamedTuple):
    """Rows in a buffer, and the order in which they are visited."""

    data: _core.Data
    positions: np.ndarray
    target: np.ndarray
    weight: np.ndarray | None
    holders: np.ndarray
    order: np.ndarray | None = None

    def rows_of(self, holder):
        """The rows that whoever holds out the rows of this holder trains on, in visiting order."""
        trained = self.holders != holder
        trained &= self.holders != EVERYBODY
        return self.order[trained[self.order]]


class Facts(NamedTuple):
    """What is known of some rows beside their features."""

    codes: np.ndarray  # of labels; or numbers of shape (n, n_outputs)
    weight: np.ndarray | None
    holders: np.ndarray

    def at(self, rows):
        """Those of some of the rows."""
        weight = None if self.weight is None else self.weight[rows]
        return Facts(self.codes[rows], weight, self.holders[rows])


class EncodedLayout:
    """What encoded rows look like in a buffer (see `_datasets`).

    Parameters
    ----------
    source : Source
    net : Net
    target : Classes or Numbers
    split : Split
    starts : ndarray of int
        The number of the first row of each block.
    """

    def __init__(self, source, net, target, split, starts):
        self.columns = source.columns
        self._source, self._net, self.target = source, net, target
        self._split, self._starts = split, starts
        self.row_bytes = sum(a.nbytes for a in self.allocate(1))

    def allocate(self, n):
        """Room for n rows: positions, targets, weights if there are any, and holders."""
        net, target, source = self._net, self.target, self._source
        of_target = target.for_core(source.targets.nothing, net.dtype)
        arrays = (
            np.empty((n, net.encoding.n_columns), net.dtype),
            np.empty((n, *of_target.shape[1:]), of_target.dtype),
        )
        weight = (np.empty(n),) if source.has_weights else ()
        return (*arrays, *weight, np.empty(n, dtype=np.int16))

    def rows_of(self, batch, place):
        """The numbers of the rows of a record batch."""
        first = self._starts[place.block] + place.row
        return np.arange(first, first + batch.num_rows)

    def write(self, arrays, at, batch, place):
        """Put the rows of a record batch into the rows from `at` on."""
        with errors_named(place.path):
            self.put(arrays, at, batch, self.facts(batch, place))

    def facts(self, batch, place):
        """The `Facts` of the rows of a record batch."""
        codes = self._source.codes_of(batch, place)
        weight = self._source.weights_of(batch, place, codes)
        holders = self._split.holders(self.rows_of(batch, place), codes)
        if weight is not None:
            holders[weight < TINY] = EVERYBODY
        return Facts(codes, weight, holders)

    def put(self, arrays, at, batch, facts):
        """Put rows with these facts into the rows from `at` on."""
        rows = slice(at, at + batch.num_rows)
        self._net.encoding.encode(self._source.read(batch), out=arrays[0][rows])
        arrays[1][rows] = self.target.for_core(facts.codes, self._net.dtype)
        if facts.weight is not None:
            arrays[2][rows] = facts.weight
        arrays[-1][rows] = facts.holders

    def weight_sum(self, arrays, n):
        """Nothing asks for it: the loss of an epoch is the mean over its rows."""
        return float(n)

    def data(self, arrays, n):
        """The `Window` of the first n rows."""
        positions, target, *weight, holders = (a[:n] for a in arrays)
        weight = weight[0] if weight else None
        return Window(_core.Data(positions, target, weight), positions, target, weight, holders)


class Source:
    """Which columns of a dataset are what, and how they are read.

    Parameters
    ----------
    features : list of str
    targets : LabelsPass or NumbersPass
    outputs : list of str
        The columns of the targets.
    weights : Weights
    argument : str
        That of the targets.

    Attributes
    ----------
    columns, of_targets : list of str
        All of them; those of the targets and the weights.
    """

    def __init__(self, features, targets, outputs, weights, argument="y"):
        self.features, self.targets, self.weights = features, targets, weights
        self.of_targets = [*outputs, *([] if weights.name is None else [weights.name])]
        self.columns = [*features, *self.of_targets]
        self.schema = None  # of the features, when it is known
        self._outputs, self._argument = outputs, argument

    def fingerprint(self):
        """Which columns are what, for checkpoints: pairs of texts, by name."""
        return fingerprint_of(self._outputs, self.weights.name)

    @property
    def has_weights(self):
        """Whether rows have weights."""
        return self.weights.name is not None or self.targets.class_weights is not None

    def table(self, batch):
        """The features of a record batch, as a table whose columns have cells."""
        return Batch(batch, self.features)

    def read(self, batch):
        """The features of a record batch as columns of the kinds of the schema."""
        return read_places(self.schema, self.table(batch), range(len(self.features)))

    def codes_of(self, batch, place):
        """Codes of the labels of rows; or numbers of shape (n, n_outputs)."""
        return self.targets.of(batch, place, self._argument, self._outputs)

    def weights_of(self, batch, place, codes):
        """Weights of rows, or None."""
        weight = self.weights.of(batch, place)
        class_weights = self.targets.class_weights
        if class_weights is None:
            return weight
        of_classes = product_of_weights(class_weights, codes)
        return of_classes if weight is None else weight * of_classes


class Stand(NamedTuple):
    """Where a member is in an epoch."""

    first: int = 0  # of the updates that are made next
    row: int = 0  # rows of theirs that are done,
    loss_sum: float = 0.0  # and the sum of their losses
    total: float = 0.0  # the same of the updates before,
    visited: int = 0  # and how many rows they had
    done: int = 0  # rows of the present buffer that were trained on, or are left over
    n_left: int = 0  # rows that are left over


class StreamedTraining(Training):
    """The training of one member on rows of a dataset, buffer by buffer.

    The rows of a buffer that are left over go into a mini-batch with the first ones of the next
    buffer, so that an epoch has as many updates as it has with all rows in memory.

    Parameters
    ----------
    member : int
        Its number.
    holder : int
        It trains on the rows that are not held out by this number.
    layout : EncodedLayout
    others
        As those of `Training`.
    """

    def __init__(self, net, settings, member, holder, layout, seed, **others):
        super().__init__(net, settings, np.empty(0, dtype=np.int64), seed, **others)
        self._member, self._holder = member, holder
        self._left = layout.allocate(settings.batch_size)
        for array in self._left:
            array[:] = 0
        self._left_data = layout.data(self._left, settings.batch_size).data
        self._order_seed = int(self._random_state.randint(1, np.iinfo(np.int32).max))

    def between_epochs(self):
        """Forget the epoch that has ended."""
        self.stand, self.is_whole = Stand(), True

    def next_buffer(self):
        """The rows of a buffer are done."""
        self.stand = self.stand._replace(done=0)

    @property
    def mean_loss(self):
        """That of the rows visited in this epoch."""
        return self.stand.total / max(self.stand.visited, 1)

    def train(self, window, place, rates, ema_decay, stop, until):
        """Go on with the rows of a buffer; whether all of them are done.

        Parameters
        ----------
        window : Window
        place : tuple of int
            The numbers of the epoch and of the buffer.
        rates : ndarray of float64
            The learning rate of each update of the epoch.
        ema_decay : float
            Of the moving average.
        stop : threading.Event
            Ends the call early.
        until : float
            A time by time.monotonic after which the call ends, when it has made an update.
        """
        rows = self._order(window, place)
        while self.finite:
            data, some, is_left = self._next(window, rows, len(rates) - self.stand.first)
            if not len(some):
                break
            if stop.is_set() or not self._train_some(data, some, is_left, rates, ema_decay, until):
                return False
        return True

    def _order(self, window, place):
        """The rows of a buffer that it trains on.

        Those of the first member are in the order drawn for the buffer; that of the others follows
        from the member and the place.
        """
        rows = window.rows_of(self._holder)
        if self._member > 0:
            generator(self._order_seed, *place).shuffle(rows)
        return rows

    def _next(self, window, rows, n_updates):
        """The rows of the next updates, their data, and whether they were left over."""
        size = self._settings.batch_size
        if n_updates == 0:
            return None, (), False
        if self.stand.n_left % size and self.stand.done < len(rows):
            self._keep(window, rows[self.stand.done :][: size - self.stand.n_left])
        if self.stand.n_left == size:
            return self._left_data, np.arange(size), True
        rows = rows[self.stand.done :]
        n_rows = min(STEPS_AT_ONCE, n_updates, len(rows) // size) * size
        if n_rows == 0:
            self._keep(window, rows)
        return window.data, rows[:n_rows], False

    def _keep(self, window, rows):
        """Copy rows to those that are left over."""
        self.is_whole = False
        first = self.stand.n_left
        some = slice(first, first + len(rows))
        arrays = (window.positions, window.target, window.weight)
        for kept, values in zip(self._left, (a for a in arrays if a is not None), strict=False):
            kept[some] = values[rows]
        done = self.stand.done + len(rows)
        self.stand = self.stand._replace(n_left=first + len(rows), done=done)
        self.is_whole = True

    def _train_some(self, data, rows, is_left, rates, ema_decay, until):
        """Updates by these rows; False if the time was up before they were done."""
        stand = self.stand
        rates = rates[stand.first :][: len(rows) // self._settings.batch_size]
        self.is_whole = False
        self.trainer.begin(stand.row, stand.loss_sum)
        try:
            loss = self._updates(data, rows, rates, ema_decay, stand.row, stand.loss_sum, until)
        finally:
            row, loss_sum = self.trainer.rows_done, self.trainer.loss_sum
            self.stand = stand._replace(row=row, loss_sum=loss_sum)
            self.is_whole = True
        if row < len(rows) and self.finite:
            return False
        self.stand = Stand(
            first=stand.first + len(rates),
            total=stand.total + loss * len(rows),
            visited=stand.visited + len(rows),
            done=stand.done + (0 if is_left else len(rows)),
            n_left=0 if is_left else stand.n_left,
        )
        return True

    def state(self):
        """What `go_on` takes, beside the vectors."""
        return {
            "t": self._t,
            "stand": tuple(self.stand),
            "finite": self.finite,
            "has_best": self._has_best,
        }

    def go_on(self, state):
        """Be where the training was that had this state."""
        self._t, self._has_best = state["t"], state["has_best"]
        self.stand, self.finite = Stand(*state["stand"]), state["finite"]

    def trained(self):
        """What training changes in place, by name."""
        return {**super().trained(), **self._rows_left()}

    def vectors(self):
        """What it keeps beside the trainer, its parameters and the optimizer's state, by name."""
        vectors = super().vectors()
        del vectors["order"]
        return {**vectors, **self._rows_left()}

    def _rows_left(self):
        names = ("positions", "y", "sample_weight") if len(self._left) > 3 else ("positions", "y")
        return {f"{n} left over": a for n, a in zip(names, self._left, strict=False)}


class Streamed:
    """The rows of a dataset, on which all members train an epoch side by side.

    Parameters
    ----------
    rows : _datasets._rows.StreamRows

    Attributes
    ----------
    is_whole : bool
        False while something changes that a checkpoint must not have in half.
    """

    def __init__(self, rows):
        self._rows, self.is_whole = rows, True
        self._number = None  # of the buffer that is trained on; None between two epochs

    def between_epochs(self):
        """Forget the epoch that has ended."""
        self._number = None

    def train(self, job, rates, ema_decay):
        """Train an epoch, with a pause for each checkpoint; the mean losses of the members."""
        if self._number is None:
            self.is_whole = False
            self._rows.begin_epoch()
            self._number, self.is_whole = 0, True
        first = self._number * self._rows.state()["buffer_rows"]
        is_done = first >= self._rows.n_rows or not all(t.finite for t in job.trainings)
        for piece in () if is_done else self._rows.pieces(first):
            window = piece.data._replace(order=piece.order)
            self._train_on(window, job, rates, ema_decay)
            if not all(training.finite for training in job.trainings):
                break
        return [training.mean_loss for training in job.trainings]

    def _train_on(self, window, job, rates, ema_decay):
        """Train all members on the rows of a buffer."""
        place = self._rows.state()["epoch"], self._number
        while True:
            action = partial(_train, window, place, rates, ema_decay, job.keeper.deadline)
            if all(job.workers.run(action, job.trainings)):
                break
            job.keeper.write_if_due()
        self.is_whole = False
        for training in job.trainings:
            training.next_buffer()
        self._number, self.is_whole = self._number + 1, True

    def state(self):
        """What `go_on` takes."""
        return {"rows": self._rows.state(), "number": self._number}

    def go_on(self, state):
        """Be where the run was that had this state."""
        self._rows.restore(state["rows"])
        self._number = state["number"]

    def fingerprint(self):
        """What a checkpoint compares of the dataset: pairs of texts, by name."""
        return self._rows.fingerprint()

    def plan_rows(self, n_workers):
        """Lines of a `MemoryPlan`, for so many members that train at a time."""
        n = self._rows.buffer_rows
        yield "orders of members (at most)", (n_workers, n), n_workers * n * VISIT_BYTES
        yield from self._rows.plan_rows()

    def close(self):
        """End the thread that reads."""
        self._rows.close()


def _train(window, place, rates, ema_decay, until, training, stop):
    return training.train(window, place, rates, ema_decay, stop, until)
