"""Weights of the rows that follow from their classes."""

from numbers import Real

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from .._distributed import counts_of_all
from .arrays import has_weight


def class_weights(class_weight, classes, codes, counts=None):
    """The weight of every class, by scikit-learn's rules.

    Parameters
    ----------
    class_weight : None, "balanced", dict or list of dict
        A dict has the weights of labels, 1 for those that it does not name; multilabel targets take
        a list, one dict for each column.
    classes : ndarray of shape (n_classes,)
        The labels.
    codes : ndarray of int of shape (n,) or, multilabel, (n, n_classes)
        The place of each row's label among the classes, or 0 and 1; "balanced" counts them.
    counts : list of ndarray, or None
        For each column of the codes, the rows of each class, instead of those in `codes`.

    Returns
    -------
    list of ndarray, or None
        The weights of the classes by their numbers, for each column of the codes; None without
        weights.

    Raises
    ------
    ValueError
        For labels or weights that cannot be.
    """
    if class_weight is None:
        return None
    if codes.ndim == 1:
        if isinstance(class_weight, list):
            raise ValueError(
                f"class_weight={class_weight!r}: it takes None, 'balanced' or a dict for y of one "
                "label per row; a list is for multilabel targets."
            )
        return [_of_column(class_weight, classes, codes, counts and counts[0])]
    n_columns = codes.shape[1]
    if isinstance(class_weight, str):
        class_weight = [class_weight] * n_columns
    if not isinstance(class_weight, list) or len(class_weight) != n_columns:
        raise ValueError(
            f"class_weight={class_weight!r}: it takes None, 'balanced' or a list of {n_columns} "
            "dicts, one for each column of y."
        )
    labels = np.arange(2)
    return [
        _of_column(w, labels, codes[:, k], counts and counts[k]) for k, w in enumerate(class_weight)
    ]


def _of_column(class_weight, classes, codes, counts=None):
    if isinstance(class_weight, str) and counts is not None:
        present = counts > 0
        weights = np.ones(len(classes))
        weights[present] = counts.sum() / (present.sum() * counts[present].astype(np.float64))
        return weights
    if isinstance(class_weight, str):
        weights = np.ones(len(classes))  # of a class without rows: any number
        counts = counts_of_all(np.bincount(codes, minlength=len(classes)))
        present = np.flatnonzero(counts)
        weights[present] = counts.sum() / (len(present) * counts[present])
        return weights
    if not isinstance(class_weight, dict):
        raise ValueError(f"class_weight has {class_weight!r} for a column of y: it takes a dict.")
    for label, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= weight < np.inf:
            raise ValueError(
                f"class_weight has {weight!r} for the class {label!r}: it takes finite numbers of "
                "0 or more."
            )
    try:
        return compute_class_weight(class_weight, classes=classes, y=classes)
    except ValueError as error:
        raise ValueError(f"class_weight={class_weight!r} does not fit y: {error}") from None


def weights_of_rows(weights, codes, sample_weight=None):
    """Weights of rows by their classes, multiplied with those given for the rows.

    Parameters
    ----------
    weights : list of ndarray, or None
        By `class_weights`.
    codes : ndarray of int of shape (n,) or (n, len(weights))
        As `class_weights` takes them, of any rows.
    sample_weight : ndarray of float64 of shape (n,), or None

    Returns
    -------
    ndarray of float64 of shape (n,), or None
        None if neither was given.
    """
    if weights is None:
        return sample_weight
    of_classes = product_of_weights(weights, codes)
    of_rows = of_classes if sample_weight is None else sample_weight * of_classes
    if not has_weight(of_rows):
        raise ValueError(
            f"class_weight gives rows of y weights with sum {of_rows.sum()}: it takes weights "
            "whose sum is well above zero and finite."
        )
    return of_rows


def product_of_weights(weights, codes):
    """Weights of rows by their classes alone."""
    columns = codes.reshape(len(codes), -1).astype(np.intp, copy=False).T
    return np.prod([w[c] for w, c in zip(weights, columns, strict=True)], axis=0)
