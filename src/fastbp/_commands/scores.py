"""Scores of what was not trained on, beside those of a constant guess and of boosted trees."""

import time

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    mean_absolute_error,
    r2_score,
    roc_auc_score,
    root_mean_squared_error,
)

from ..tabular._table import fit_schema

# HistGradientBoosting takes so many categories of a column.
_MAX_CATEGORIES = 255


def score_classes(y, classes, probabilities):
    """Scores of probabilities.

    Parameters
    ----------
    y : ndarray of shape (n,)
        True labels; some may not be in `classes`, and then have the probability 0.
    classes : ndarray of shape (n_classes,)
    probabilities : ndarray of shape (n, n_classes)

    Returns
    -------
    dict
        Text for a table by the name of the score.
    """
    known = np.union1d(classes, y)
    of_all = np.zeros((len(y), len(known)))
    of_all[:, np.searchsorted(known, classes)] = probabilities
    scores = {
        "accuracy": f"{accuracy_score(y, classes[probabilities.argmax(axis=1)]):.4f}",
        "log loss": f"{log_loss(y, of_all, labels=known):.4f}" if len(known) > 1 else "",
    }
    if len(np.unique(y)) == len(known) > 1:
        given = of_all[:, 1] if len(known) == 2 else of_all
        scores["ROC AUC"] = f"{roc_auc_score(y, given, multi_class='ovr', labels=known):.4f}"
    return scores


def score_numbers(y, predicted):
    """Scores of predicted numbers: a dict as of `score_classes`."""
    return {
        "RMSE": f"{root_mean_squared_error(y, predicted):.5g}",
        "mean absolute error": f"{mean_absolute_error(y, predicted):.5g}",
        "R2": f"{r2_score(y, predicted):.4f}" if len(y) > 1 else "",
    }


def constant_guess(y_train, y_test, is_classification):
    """Scores of the shares of the classes, or of the mean, of the rows trained on."""
    if not is_classification:
        return score_numbers(y_test, np.full(len(y_test), y_train.mean()))
    classes, counts = np.unique(y_train, return_counts=True)
    shares = np.broadcast_to(counts / counts.sum(), (len(y_test), len(classes)))
    return score_classes(y_test, classes, shares)


def boosted_trees(table, y, train, test, is_classification, seed, categorical="from_dtype"):
    """Scores of scikit-learn's HistGradientBoosting, and the seconds of its fit."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    make = HistGradientBoostingClassifier if is_classification else HistGradientBoostingRegressor
    X, is_category = _numbers_of(table, make(), categorical)
    model = make(categorical_features=is_category, random_state=seed)
    began = time.perf_counter()
    model.fit(X[train], y[train])
    seconds = time.perf_counter() - began
    if is_classification:
        return score_classes(y[test], model.classes_, model.predict_proba(X[test])), seconds
    return score_numbers(y[test], model.predict(X[test])), seconds


def _numbers_of(table, estimator, categorical):
    """The table as numbers, categories by their codes, and which columns are categories."""
    _, columns = fit_schema(estimator, table.native, categorical)
    X = np.empty((len(table), len(columns)))
    is_category = np.zeros(len(columns), dtype=bool)
    for place, column in enumerate(columns):
        X[:, place] = column.values
        if column.labels is not None:
            X[column.values < 0, place] = np.nan
            is_category[place] = len(column.labels) <= _MAX_CATEGORIES
    return X, is_category


def print_scores(rows):
    """Print a table: a line for each (name, scores, seconds or None)."""
    heads = list(rows[0][1])
    names = [name for name, _, _ in rows]
    width = max(map(len, names))
    columns = [max(len(head), 8) for head in heads]
    line = "  ".join(head.rjust(w) for head, w in zip(heads, columns, strict=True))
    print(f"{'':{width}}  {line}  {'seconds':>8}")
    for name, scores, seconds in rows:
        cells = (scores.get(head, "").rjust(w) for head, w in zip(heads, columns, strict=True))
        elapsed = "" if seconds is None else f"{seconds:.1f}"
        print(f"{name:{width}}  {'  '.join(cells)}  {elapsed:>8}".rstrip())
