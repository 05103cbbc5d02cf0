"""Weights of the rows that mean nothing, and the rows that early stopping holds out."""

import copy
import warnings

import numpy as np
import pytest
from estimator_problems import X_REG, Y_REG, assert_equal_params, both, fitted, inputs, targets
from sklearn.datasets import make_classification
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import train_test_split

from fastbp import MLPClassifier, MLPRegressor
from fastbp._optim import SOLVERS
from fastbp._split import split_rows

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- weights ----

SENSELESS = {
    "zero": lambda n: np.zeros(n),
    "a zero for all": lambda n: 0,
    "cancelling": lambda n: np.where(np.arange(n) % 2, 1.0, -1.0),
    "negative": lambda n: -np.ones(n),
    "subnormal": lambda n: np.full(n, 1e-320),
    "overflowing": lambda n: np.full(n, 1e308),
    "NaN": lambda n: np.where(np.arange(n) == 3, np.nan, 1.0),
    "infinite": lambda n: np.where(np.arange(n) == 3, np.inf, 1.0),
    "too few": lambda n: np.ones(n - 1),
    "a table": lambda n: np.ones((n, 2)),
}


@both
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", SENSELESS)
def test_senseless_weights_are_refused_before_training(cls, solver, name):
    X, y = inputs(cls), targets(cls)
    est = fitted(cls, solver=solver)
    before = copy.deepcopy(est)
    calls = [est.fit] if solver == "lbfgs" else [est.fit, est.partial_fit]
    for call in calls:
        with pytest.raises(ValueError, match="sample_weight"):
            call(X, y, sample_weight=SENSELESS[name](len(X)))
        assert_equal_params(est, before)
        assert est.loss_curve_ == before.loss_curve_


def test_one_number_weighs_every_row():
    a, b = fitted(MLPRegressor), fitted(MLPRegressor)
    a.fit(X_REG, Y_REG, sample_weight=2)
    b.fit(X_REG, Y_REG, sample_weight=[2.0] * len(X_REG))
    assert_equal_params(a, b)


@both
def test_weights_may_be_negative_while_their_sum_is_not(cls):
    weight = np.where(np.arange(len(inputs(cls))) % 10, 1.0, -0.1)
    est = fitted(cls).fit(inputs(cls), targets(cls), sample_weight=weight)
    assert np.isfinite(est.loss_)


@pytest.mark.parametrize("scale", [1e-250, 1e250])
def test_the_scale_of_weights_is_no_matter(scale):
    settings = dict(alpha=0.0, dtype="float64")
    plain = fitted(MLPRegressor, **settings)
    scaled = fitted(MLPRegressor, **settings).fit(
        X_REG, Y_REG, sample_weight=np.full(len(X_REG), scale)
    )
    np.testing.assert_allclose(scaled.coefs_[0], plain.coefs_[0], rtol=1e-9)


def test_a_batch_of_subnormal_weights_is_passed_over():
    weight = np.r_[np.full(60, 1e-320), np.ones(60)]
    est = fitted(MLPRegressor, batch_size=60, shuffle=False, dtype="float64")
    est.fit(X_REG, Y_REG, sample_weight=weight)
    assert np.isfinite(est.loss_) and est._optimizer.t == est.n_iter_


# ---- the split ----


def split(n, fraction=0.2, seed=0, **how):
    return split_rows(n, fraction, np.random.RandomState(seed), **how)


def assert_partition(rows, held_out, n):
    np.testing.assert_array_equal(np.sort(np.r_[rows, held_out]), np.arange(n))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("stratified", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_the_split_is_scikit_learns_where_that_is_of_use(seed, stratified, weighted):
    classes = np.arange(60) % 3
    labels = classes if stratified else None
    weight = np.random.RandomState(1).uniform(0.1, 2, 60) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours = split(60, seed=seed, stratify=labels, classes=classes, weight=weight)
    theirs = train_test_split(
        np.arange(60), random_state=np.random.RandomState(seed), test_size=0.2, stratify=labels
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_every_class_is_trained_on(seed, weighted):
    classes = np.r_[np.arange(8), np.full(22, 8)]
    weight = np.where(np.arange(30) % 7 == 6, 0.0, 1.0) if weighted else None
    counts = np.ones(30, bool) if weight is None else weight > 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, held_out = split(30, seed=seed, classes=classes, weight=weight)
    assert_partition(rows, held_out, 30)
    assert len(held_out) == 6
    assert set(classes[rows][counts[rows]]) == set(classes[counts])


@pytest.mark.parametrize("n_weighted", [2, 3, 5])
@pytest.mark.parametrize("seed", range(20))
def test_both_sides_of_the_split_have_weight(seed, n_weighted):
    weight = np.zeros(40)
    weight[7 : 7 + n_weighted] = 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows, held_out = split(40, seed=seed, weight=weight)
    assert_partition(rows, held_out, 40)
    assert weight[rows].sum() > 0 and weight[held_out].sum() > 0


@pytest.mark.filterwarnings("ignore:early_stopping exchanged")
@pytest.mark.parametrize("seed", range(10))
def test_more_classes_than_rows_to_train_on_are_split_as_well_as_can_be(seed):
    classes = np.r_[np.zeros(4, int), np.arange(1, 7)]
    rows, held_out = split(10, 0.5, seed, classes=classes)
    assert_partition(rows, held_out, 10)
    assert len(set(classes[rows])) == len(rows) == 5


@pytest.mark.filterwarnings("ignore:early_stopping exchanged")
@pytest.mark.parametrize("seed", range(10))
def test_rows_without_weight_make_room_for_those_of_a_class(seed):
    # Six classes with weight in one row each, two of them in a second row.
    classes = np.r_[np.arange(6), 0, 1, np.zeros(12, int)]
    weight = np.r_[np.ones(8), np.zeros(12)]
    rows, held_out = split(20, 0.7, seed, classes=classes, weight=weight)
    assert_partition(rows, held_out, 20)
    assert set(classes[rows][weight[rows] > 0]) == set(range(6))
    assert weight[held_out].sum() > 0


def test_an_exchange_is_told_once():
    # Both classes of one row are held out.
    with pytest.warns(UserWarning, match="exchanged 2 of the rows to hold out") as caught:
        _, held_out = train_test_split(np.arange(20), random_state=0, test_size=0.2)
        classes = np.zeros(20, int)
        classes[held_out[:2]] = 1, 2
        rows, _ = split(20, 0.2, 0, classes=classes)
    assert len(caught) == 1
    assert set(classes[rows]) == {0, 1, 2}


@pytest.mark.filterwarnings("ignore:early_stopping exchanged")
def test_a_class_of_one_row_is_not_stratified_but_trained_on():
    X = np.random.RandomState(0).randn(60, 4)
    y = np.r_[1, np.zeros(59, int)]
    for seed in range(10):
        clf = MLPClassifier((3,), max_iter=2, early_stopping=True, random_state=seed)
        with pytest.warns(UserWarning, match="not stratified.*only 1 member"):
            clf.fit(X, y)
        assert clf.classes_.tolist() == [0, 1] and len(clf.validation_scores_) == 2


def test_fewer_rows_to_hold_out_than_classes_are_not_stratified():
    rng = np.random.RandomState(0)
    clf = MLPClassifier((3,), max_iter=2, early_stopping=True, validation_fraction=2)
    labels = np.array(["False", "True"])[np.arange(20) % 2]
    with pytest.raises(ValueError, match="test_size = 1"):  # scikit-learn's own error
        split(20, 0.05, stratify=labels)
    with pytest.raises(ValueError, match="validation set is too small"):
        split(20, 0.05)
    with pytest.raises(ValueError, match="validation_fraction"):
        clf.fit(rng.rand(20, 2), labels)


def test_one_row_cannot_be_held_out():
    """R2 of one row is not defined."""
    with pytest.raises(ValueError, match="validation set is too small"):
        split_rows(10, 0.1, np.random.RandomState(0))
    assert [len(side) for side in split_rows(20, 0.1, np.random.RandomState(0))] == [18, 2]


def test_one_row_with_weight_cannot_be_on_both_sides():
    est = fitted(MLPRegressor, early_stopping=True)
    before = copy.deepcopy(est)
    weight = np.zeros(len(X_REG))
    weight[5] = 1
    with pytest.raises(ValueError, match="sample_weight has sum 0.0 over the rows"):
        est.fit(X_REG, Y_REG, sample_weight=weight)
    assert_equal_params(est, before)


def test_bagging_of_early_stopped_nets():
    X, y = make_classification(200, 6, random_state=0)
    net = MLPClassifier((5,), max_iter=10, early_stopping=True, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bag = BaggingClassifier(net, 10, max_samples=10, random_state=0).fit(X, y)
    assert all(len(member.validation_scores_) for member in bag.estimators_)
