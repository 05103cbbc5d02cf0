"""The rows that early stopping holds out: scikit-learn's split, wherever that is of use."""

import numpy as np

from ._input.arrays import TINY, has_weight
from ._warnings import warn


def split_rows(n_rows, fraction, random_state, stratify=None, classes=None, weight=None):
    """Choose the rows to train on and those to hold out; X is not touched.

    They are those that scikit-learn's estimators choose, unless a class cannot be stratified, no
    row of a class is left to train on, or one side has no weight.

    Parameters
    ----------
    n_rows : int
    fraction : float
        Share of rows to hold out.
    random_state : RandomState
    stratify : ndarray of shape (n_rows,) or None
        Labels to keep in proportion.
    classes : ndarray of int of shape (n_rows,) or None
        The number of each row's class; None without classes.
    weight : ndarray of shape (n_rows,) or None
        Weights of the rows.

    Returns
    -------
    rows, held_out : ndarray of int64

    Raises
    ------
    ValueError
        There are too few rows, or too few with weight.
    """
    rows, held_out, complaint = _drawn(n_rows, fraction, random_state, stratify)
    if len(held_out) < 2:
        raise complaint or ValueError(
            "The validation set is too small. Increase 'validation_fraction' "
            "or the size of your dataset."
        )
    if complaint:
        warn(f"The rows that early_stopping holds out are not stratified. {complaint}")
    if classes is None:
        classes = np.zeros(n_rows, dtype=np.intp)
    counts = np.ones(n_rows, dtype=bool) if weight is None else weight >= TINY
    exchanged = _exchange_classes(rows, held_out, classes, counts)
    if weight is not None:
        exchanged += _exchange_weight(rows, held_out, classes, weight)
    if exchanged:
        warn(
            f"early_stopping exchanged {exchanged} of the rows to hold out for others: the rows to "
            "train on had none of a class, or one side had no weight."
        )
    return rows, held_out


def _drawn(n_rows, fraction, random_state, stratify):
    """The split, and why it is not stratified as asked (None if it is)."""
    from sklearn.model_selection import train_test_split

    numbers = np.arange(n_rows, dtype=np.int64)
    how = {"random_state": random_state, "test_size": fraction}
    try:
        return *train_test_split(numbers, stratify=stratify, **how), None
    except ValueError as error:
        if stratify is None:
            raise
        return *train_test_split(numbers, **how), error


def _spare(rows, classes, counts):
    """Places in `rows` of rows that count and are not the only one of their class to do so."""
    per_class = np.bincount(classes[rows[counts[rows]]], minlength=classes.max() + 1)
    return np.flatnonzero(counts[rows] & (per_class[classes[rows]] > 1))


def _swap(rows, i, held_out, j):
    rows[i], held_out[j] = held_out[j], rows[i]


def _exchange_classes(rows, held_out, classes, counts):
    """Bring back one row of every class of which none is left to train on, as far as possible."""
    missing = np.setdiff1d(classes[counts], classes[rows[counts[rows]]])
    done = 0
    for number in missing:
        mine = np.flatnonzero(counts[held_out] & (classes[held_out] == number))
        spare = _spare(rows, classes, counts)
        if not len(spare):
            spare = np.flatnonzero(~counts[rows])
        if not len(spare):
            break
        _swap(rows, spare[-1], held_out, mine[0])
        done += 1
    return done


def _exchange_weight(rows, held_out, classes, weight):
    """Bring a row with weight among those held out if they have none; ValueError if none can be."""
    done = 0
    if not has_weight(weight[held_out]):
        spare = _spare(rows, classes, weight >= TINY)
        if len(spare):
            _swap(rows, spare[-1], held_out, np.argmin(weight[held_out]))
            done = 1
    for name, side in (("to train on", rows), ("that early_stopping holds out", held_out)):
        if not has_weight(weight[side]):
            raise ValueError(
                f"sample_weight has sum {weight[side].sum()} over the rows {name}: it takes "
                "positive weights on both sides of the split."
            )
    return done
