"""Settings that follow from the data: rows, kind of target.

Each number was chosen by validation rows only; `docs/tabular-recipe.md` says on which tables, and
what was tried in its place.
"""

import math
from typing import NamedTuple

_BATCH = 128
# With more rows, mini-batches grow with them: see `_batch`.
_ROWS_OF_BATCH = 100_000
# Of all rows, that a category must have to be known; two at least.
_LEAST_SHARE = 1 / 20_000
# Epochs a regression may take: fewer where there are many rows, see `_epochs`.
_FEWEST_EPOCHS, _MOST_EPOCHS = 32, 64
# Those of a classification, and the updates that even a small table is given.
_CLASSIFICATION_EPOCHS, _CLASSIFICATION_UPDATES = 24, 300
_FEWEST_BINS, _MOST_BINS = 16, 128
# Members, and the most rows that so many are trained on.
_MEMBERS = ((4, 10_000), (3, 50_000), (2, 100_000))


class Settings(NamedTuple):
    """What a fit is set to; the names of parameters of the estimators mean what they mean there."""

    n_estimators: int
    hidden_layer_sizes: tuple
    activation: str
    n_bins: int
    min_count: int  # rows of a category that is known
    batch_size: int
    learning_rate_init: float
    weight_decay: float
    dropout: float
    max_iter: int
    n_iter_no_change: float
    warmup: float = 0.05  # share of the updates
    average: float = 1 / 16  # share of the updates that the moving average of weights goes back
    beta_1: float = 0.9
    beta_2: float = 0.95
    epsilon: float = 1e-8
    bias_rate: float = 0.1  # factors on the learning rate: of biases
    scale_rate: float = 6.0  # of the factors of the inputs


def updates_per_epoch(n_rows, batch_size):
    """Whole mini-batches; the rows that are left over are others in each epoch."""
    return max(1, n_rows // batch_size)


def average_decay(n_updates, average=1 / 16):
    """Decay of the moving average of the weights in an update of a fit of `n_updates`.

    A constant decay fits one length of fit only: .995 goes 200 updates back, a third of a fit of
    640.
    """
    return max(0.9, 1 - 1 / (average * n_updates))


def recommended(n_rows, is_classification):
    """The settings for a table of so many rows to train on.

    Parameters
    ----------
    n_rows : int
        Rows that a member trains on, without those it validates on.
    is_classification : bool

    Returns
    -------
    Settings
    """
    batch_size = _batch(n_rows)
    epochs = _epochs(n_rows, batch_size, is_classification)
    rate = 0.02 if is_classification else 0.03
    decay = 0.1
    if not is_classification:
        decay = _regression_decay(rate, epochs * updates_per_epoch(n_rows, batch_size))
    return Settings(
        n_estimators=_members(n_rows),
        hidden_layer_sizes=(128, 128),
        activation="relu" if is_classification else "mish",
        n_bins=_bins(n_rows, is_classification),
        min_count=max(2, round(_LEAST_SHARE * n_rows)),
        batch_size=batch_size,
        learning_rate_init=rate,
        weight_decay=decay,
        dropout=0.05 if is_classification else 0.1,
        max_iter=epochs,
        n_iter_no_change=math.ceil(epochs / 4),
    )


def _batch(n_rows):
    """128 rows; of 200,000 rows 256, of 400,000 512, and so on.

    An update goes over all weights, whatever the mini-batch, and with ten times the rows a net does
    not need ten times the updates. This is a rule for the time of a fit: no table that a choice was
    made on is so large.
    """
    doublings = int(math.log2(max(n_rows / _ROWS_OF_BATCH, 1)))
    return min(_BATCH << doublings, n_rows)


def _members(n_rows):
    """Several where rows are few: there an average gains most and costs least.

    Four on one split lower the error of one by 0.7%, and by 2.25% with a fold each to validate on
    (mean of nine tables), so that all rows train.
    """
    return next((members for members, most_rows in _MEMBERS if n_rows <= most_rows), 1)


def _regression_decay(rate, n_updates):
    """0.02, less in a long fit: the rate times the decay, summed over a fit, is at most 1.

    The mean rate is half of `rate`. With 0.02 the sum is 1.07 on california and 2.6 on diamonds,
    where 0.005 in its place lowered the error by 0.8% (one split: thin ground).
    """
    return min(0.02, 1 / (rate / 2 * n_updates))


def _bins(n_rows, is_classification):
    """The power of two next to sqrt(rows), in a classification to half of it.

    With sqrt(rows) there are as many bins as rows in each. Regressions of 3,000 to 6,000 rows gain
    on more bins (32 to 64: 0.3%, to 128: 0.4%, five tables); a label says less than a number, and
    classifications of 600 rows gain on fewer (16 in the place of 32: 0.9% on german, 4% on
    titanic). Half of sqrt(rows) lowers the error of six of them by 0.6%, though adult with 6,000
    rows loses 1%.
    """
    wanted = math.sqrt(n_rows) / (2 if is_classification else 1)
    return min(max(2 ** round(math.log2(wanted)), _FEWEST_BINS), _MOST_BINS)


def _epochs(n_rows, batch_size, is_classification):
    """Epochs of the schedule; a fit that gets no better ends a quarter of them after its best.

    The best epoch of a classification was 8 to 25 on six tables of 600 to 31,000 rows, so
    their number is one for all; with few updates in an epoch a net does not get under way.
    Regressions with little noise go on gaining: 64 epochs for 32 lowered the error by 1.9% at
    6,000 rows, and 36 for 24 by 0.8% at 34,500 (one split).
    """
    if is_classification:
        updates = updates_per_epoch(n_rows, batch_size)
        return max(_CLASSIFICATION_EPOCHS, math.ceil(_CLASSIFICATION_UPDATES / updates))
    return round(min(max(4000 / math.sqrt(n_rows), _FEWEST_EPOCHS), _MOST_EPOCHS))
