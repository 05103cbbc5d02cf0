"""What a fit over a dataset has in the place of X and y, and how much memory it takes."""

import numpy as np

from .._input.arrays import has_weight
from .._input.weights import product_of_weights
from ..memory import human_bytes
from ._rows import N_BUFFERS, StreamRows
from ._table import batch_rows_for

# Of each buffer, unless max_memory says otherwise.
_DEFAULT_BYTES = 64 << 20


class Stream:
    """The rows of a dataset that are trained on.

    Parameters
    ----------
    table : Table
    layout : Layout
    max_memory : int
        Bytes; 0 for no cap.
    left_out : HeldOut or None
    validation_bytes : int
        Bytes of the rows to validate on that were read from a dataset.

    Attributes
    ----------
    n_rows, n_features : int
    """

    def __init__(self, table, layout, max_memory, n_features, left_out=None, validation_bytes=0):
        self.table, self.layout, self.max_memory = table, layout, max_memory
        self.n_features = n_features
        self.left_out, self.validation_bytes = left_out, validation_bytes
        held_out = 0 if left_out is None else int(left_out.counts.sum())
        self.n_rows = table.n_rows - held_out

    def without(self, left_out):
        """The same without the rows that are held out, which are in memory."""
        return Stream(
            self.table,
            self.layout,
            self.max_memory,
            self.n_features,
            left_out,
            left_out.n_bytes,
        )

    @property
    def reading_bytes(self):
        """What pyarrow needs meanwhile, as far as that can be told."""
        return self.table.reading_bytes(self.layout.columns, batch_rows_for(self.layout.row_bytes))

    def rows(self, batch_size, random_state, kept_bytes, working_bytes, visit_bytes=0):
        """The `StreamRows` to train on.

        Parameters
        ----------
        batch_size : int
        random_state : RandomState or None
            None: rows are visited in the order of the dataset.
        kept_bytes, working_bytes : int
            Of the parameters, what is kept for them, and outputs to validate on; of the arena and
            what else depends on the number of threads.
        visit_bytes : int
            What is kept for each row of a buffer while it is trained on, beside the buffer.
        """
        seed = None
        if random_state is not None:
            seed = int(random_state.randint(0, np.iinfo(np.int32).max))
        row_bytes = self.layout.row_bytes + (8 if seed is not None else 0)
        row_bytes += -(-visit_bytes // N_BUFFERS)
        n_bytes = _DEFAULT_BYTES
        if self.max_memory:
            n_bytes = self._bytes_of_buffer(batch_size * row_bytes, kept_bytes, working_bytes)
        most = -(-self.n_rows // batch_size)
        n_batches = min(max(n_bytes // (batch_size * row_bytes), 1), most)
        return StreamRows(self.table, self.layout, n_batches * batch_size, seed, self.left_out)

    def _bytes_of_buffer(self, batch_bytes, kept_bytes, working_bytes):
        """A quarter of what is left, so that the net's arena has as much as both buffers.

        The number of threads, on which the size of the arena depends, has no say in it: the rows of
        a buffer decide how they are shuffled.
        """
        reading = self.reading_bytes
        fixed = kept_bytes + reading + self.validation_bytes
        least = fixed + 2 * max(N_BUFFERS * batch_bytes, working_bytes)
        if least > self.max_memory:
            raise ValueError(
                f"max_memory={self.max_memory} is too small for this dataset: it takes at least "
                f"{least} bytes ({human_bytes(least)}): {human_bytes(kept_bytes)} for the "
                "parameters, the optimizer and outputs to validate on, "
                f"{human_bytes(working_bytes)} for the arena, "
                f"{human_bytes(reading)} for what pyarrow holds while it reads, "
                f"{human_bytes(self.validation_bytes)} for rows to validate on, and two buffers of "
                f"a mini-batch each, {human_bytes(N_BUFFERS * batch_bytes)}, with as much again."
            )
        return (self.max_memory - fixed) // (2 * N_BUFFERS)


def check_class_weights(table, source, targets, class_weights):
    """Raise ValueError if all rows have no weight, which only a weight of 0 can do."""
    if class_weights is None or all((w > 0).all() for w in class_weights):
        return
    columns = [*source.outputs, *([source.weight] if source.weight else [])]
    total = 0.0
    for place, batch in table.batches(columns, batch_rows_for(8 * len(columns))):
        codes, _ = targets.of(source.targets(batch, place), place)
        of_rows, weight = product_of_weights(class_weights, codes), source.weights(batch, place)
        total += (of_rows if weight is None else of_rows * weight).sum()
    if not has_weight(np.array([total])):
        raise ValueError(
            f"class_weight gives rows of y weights with sum {total}: it takes weights whose sum is "
            "well above zero and finite."
        )
