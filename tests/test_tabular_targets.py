"""Targets of the estimators of tables, and weights of their rows."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import log_loss
from tabular_problems import both, fitted, numbers, output, small, table, targets

from fastbp import TabularClassifier, TabularRegressor
from fastbp.tabular._targets import Classes, Numbers, log_probabilities

X = table()
CODES = np.digitize(numbers(X), [-0.3, 0.7])

# ---- labels ----

LABELS = {
    "text": np.array(["b", "c", "a"]),
    "objects": np.array(["b", "c", "a"], dtype=object),
    "integers": np.array([7, -1, 30]),
    "numbers": np.array([2.0, 0.0, 1.0]),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_any_kind(kind):
    y = LABELS[kind][CODES]
    est = small(TabularClassifier, max_iter=30).fit(X, y)
    np.testing.assert_array_equal(est.classes_, np.unique(y))
    assert est.predict(X).dtype == est.classes_.dtype
    assert est.score(X, y) > 0.6
    plain = small(TabularClassifier, max_iter=30).fit(X, np.searchsorted(est.classes_, y))
    np.testing.assert_array_equal(est.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"]])
def test_two_labels(labels):
    y = np.array(labels)[(CODES > 0).astype(int)]
    est = small(TabularClassifier).fit(X, y)
    np.testing.assert_array_equal(est.classes_, labels)
    proba = est.predict_proba(X)
    assert proba.shape == (200, 2)
    np.testing.assert_allclose(proba.sum(axis=1), 1, rtol=1e-14)
    np.testing.assert_array_equal(est.predict(X), est.classes_[proba.argmax(axis=1)])


def test_labels_in_other_containers():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    plain = small(TabularClassifier).fit(X, LABELS["text"][CODES]).predict_proba(X)
    y = LABELS["text"][CODES].tolist()
    for column in (y, pd.Series(y), pd.Series(y, dtype="category"), pl.Series(y)):
        est = small(TabularClassifier).fit(X, column)
        np.testing.assert_array_equal(est.predict_proba(X), plain)


@pytest.mark.parametrize(
    "labels, dtype, kind", [([7, 9], "Int64", "i"), ([False, True], "boolean", "b")]
)
def test_labels_of_nullable_types_keep_their_type(labels, dtype, kind):
    pd = pytest.importorskip("pandas")
    est = small(TabularClassifier).fit(X, pd.Series(labels * 100, dtype=dtype))
    assert est.predict(X).dtype.kind == kind
    np.testing.assert_array_equal(est.classes_, labels)


@pytest.mark.parametrize("dtype", ["string", "Int64", object])
def test_labels_with_missing_values_of_pandas(dtype):
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="y has missing values|y contains NaN"):
        small(TabularClassifier).fit(X, pd.Series([1, pd.NA] * 100, dtype=dtype))


@pytest.mark.parametrize(
    "y, message",
    [
        ([None, "a"] * 100, "y has missing values"),
        ([np.nan, "a"] * 100, "y has missing values"),
        (np.array([np.nan, 1.0] * 100), "y contains NaN"),
        ([0.5, 1.7] * 100, "Unknown label type: continuous"),
        (None, "y cannot be None|requires y"),
        (["a"] * 199, "inconsistent numbers of samples"),
    ],
)
def test_labels_that_are_none(y, message):
    with pytest.raises(ValueError, match=message):
        small(TabularClassifier).fit(X, y)


@pytest.mark.parametrize("y", [[np.nan] * 200, [np.inf] * 200, ["a"] * 200, [None] * 200])
def test_numbers_that_are_none(y):
    with pytest.raises((TypeError, ValueError), match="y|could not convert"):
        small(TabularRegressor).fit(X, y)


def test_several_labels_at_once():
    y = np.stack([CODES > 0, CODES > 1], axis=1).astype(int)
    est = small(TabularClassifier, max_iter=40).fit(X, y)
    assert est.predict_proba(X).shape == (200, 2)
    np.testing.assert_array_equal(est.predict(X), est.predict_proba(X) > 0.5)
    assert est.score(X, y) > 0.6
    np.testing.assert_array_equal(np.exp(est.predict_log_proba(X)), est.predict_proba(X))


# ---- one answer only ----


@pytest.mark.parametrize("n", [1, 2, 200])
@pytest.mark.parametrize("label", ["only", 3, True])
def test_one_class(n, label):
    est = small(TabularClassifier).fit(X[:n], [label] * n)
    assert est.predict(X[:5]).tolist() == [label] * 5
    np.testing.assert_array_equal(est.predict_proba(X[:5]), np.ones((5, 1)))
    np.testing.assert_array_equal(est.predict_log_proba(X[:5]), np.zeros((5, 1)))
    assert (est.n_iter_, est.estimators_, est.loss_curve_) == (0, [], [])


@pytest.mark.parametrize("n", [1, 2, 200])
@pytest.mark.parametrize("value", [0.1, -3, 1e300, 0])
def test_a_constant_target(n, value):
    est = small(TabularRegressor).fit(X[:n], [value] * n)
    np.testing.assert_array_equal(est.predict(X[:5]), np.full(5, value))


def test_a_constant_column_among_others():
    y = np.stack([numbers(X), np.full(200, 0.1), -numbers(X)], axis=1)
    est = small(TabularRegressor, max_iter=20).fit(X, y)
    found = est.predict(X)
    assert found.shape == (200, 3)
    np.testing.assert_array_equal(found[:, 1], 0.1)
    assert est.score(X, y) > 0.5


def test_one_row_of_each_class():
    est = small(TabularClassifier, max_iter=100, batch_size="auto").fit(X[:2], ["a", "b"])
    assert est.predict(X[:2]).tolist() == ["a", "b"]


# ---- numbers ----


@pytest.mark.parametrize("scale, shift", [(1e-30, 0), (1e30, 0), (1, 1e9), (1e300, 1e300)])
def test_targets_of_any_scale(scale, shift):
    params = {"max_iter": 30, "dtype": "float64"}
    plain = small(TabularRegressor, **params).fit(X, numbers(X)).predict(X)
    found = small(TabularRegressor, **params).fit(X, numbers(X) * scale + shift).predict(X)
    np.testing.assert_allclose((found - shift) / scale, plain, rtol=0, atol=1e-5)


def test_a_column_of_numbers_is_a_vector():
    with pytest.warns(UserWarning, match="column-vector y"):
        est = small(TabularRegressor).fit(X, numbers(X)[:, np.newaxis])
    assert est.predict(X).shape == (200,)


def test_mean_and_deviation_are_weighted():
    y, weight = np.array([[1.0], [2.0], [4.0]]), np.array([1.0, 3.0, 2.0])
    repeated = Numbers(np.repeat(y, weight.astype(int), axis=0), None)
    weighted = Numbers(y, weight)
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-15)
    np.testing.assert_allclose(weighted.deviation, repeated.deviation, rtol=1e-15)


@pytest.mark.parametrize("number", [1e30, 1e300])
def test_a_number_far_out_among_the_rows_to_validate_on(number):
    y = numbers(X)
    far = np.r_[y[:9], number]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        est = small(TabularRegressor).fit(X, y, X_val=X[:10], y_val=far)
    assert np.isfinite(est.predict(X)).all()


# ---- probabilities ----


def test_members_are_averaged_as_probabilities():
    z = np.random.default_rng(0).normal(0, 3, size=(3, 10, 4))
    each = np.exp(z) / np.exp(z).sum(axis=-1, keepdims=True)
    found = np.exp(log_probabilities("multiclass", z))
    np.testing.assert_allclose(found, each.mean(axis=0), rtol=1e-13)
    found = np.exp(log_probabilities("multilabel", z))
    np.testing.assert_allclose(found[:, :, 1], (1 / (1 + np.exp(-z))).mean(axis=0), rtol=1e-13)


def test_logarithms_of_probabilities_too_small_for_float64():
    logs = log_probabilities("multiclass", np.array([[[0.0, 5000.0]], [[0.0, 4000.0]]]))
    np.testing.assert_allclose(logs, [[-4000 - np.log(2), 0]], rtol=1e-12)


@pytest.mark.parametrize("n_members", range(1, 9))
def test_probabilities_are_not_above_one(n_members):
    z = np.random.default_rng(0).normal([0, 40], 20, size=(n_members, 2000, 2))
    assert np.exp(log_probabilities("multiclass", z)).max() == 1  # log_loss refuses more


def test_temperature_of_a_net_that_is_too_certain():
    rng = np.random.default_rng(0)
    z = rng.normal(0, 1.5, size=(1, 4000, 3))
    proba = np.exp(log_probabilities("multiclass", z))
    codes = (rng.random((4000, 1)) > proba.cumsum(axis=1)[:, :-1]).sum(axis=1)
    target = Classes("multiclass", np.arange(3), None)
    assert target.temperature(3 * z, codes, None) == pytest.approx(3, rel=0.08)
    assert target.temperature(z, codes, None) == pytest.approx(1, rel=0.08)
    # Weights that leave only rows on which it is right ask for a colder net.
    right = (z[0].argmax(axis=1) == codes).astype(float)
    assert target.temperature(z, codes, right) < 0.5
    # Few rows say little.
    assert 0.4 < target.temperature(z[:, :3] * 9, z[0, :3].argmax(axis=1), None) < 1


@pytest.mark.parametrize("n_estimators", [1, 2])
def test_probabilities_are_calibrated_on_the_rows_that_are_watched(n_estimators):
    rng = np.random.default_rng(1)
    rows, y = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    X_val, y_val = rng.normal(size=(300, 4)), rng.integers(0, 2, 300)
    params = {"early_stopping": False, "max_iter": 40, "batch_size": 8, "dropout": 0.0}
    params |= {"learning_rate_init": 0.05, "weight_decay": 0.0, "n_estimators": n_estimators}
    plain = small(TabularClassifier, **params).fit(rows, y)
    est = small(TabularClassifier, **params).fit(rows, y, X_val=X_val, y_val=y_val)
    np.testing.assert_array_equal(est.predict(rows), plain.predict(rows))
    before, after = (log_loss(y_val, e.predict_proba(X_val)) for e in (plain, est))
    assert before > 0.9 and after < 0.75


def test_loss_and_score_of_the_rows_that_are_watched():
    est = fitted(TabularClassifier, early_stopping=False)
    weight = np.random.default_rng(0).uniform(0.5, 2, 200)
    y = targets(TabularClassifier, X)
    est.fit(X, y, X_val=X, y_val=y, sample_weight_val=weight)
    est._fitted = est._fitted._replace(temperature=1.0)
    expected = log_loss(y, est.predict_proba(X), sample_weight=weight)
    assert est.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-5)
    assert est.validation_scores_[-1] == pytest.approx(est.score(X, y, weight))


# ---- weights ----


@both
def test_rows_without_weight_have_no_part(cls):
    y, weight = targets(cls, X), np.ones(200)
    weight[20:80] = 0
    changed = X.copy()
    changed[20:80, 0], changed[20:80, 2] = 1e9, "purple"
    est = small(cls).fit(changed, y, weight)
    kept = weight > 0
    plain = small(cls).fit(X[kept], y[kept], weight[kept])
    np.testing.assert_array_equal(output(est, X), output(plain, X))
    assert est.loss_curve_ == plain.loss_curve_


@both
def test_weight_two_is_the_row_twice(cls):
    # Of categories, all rows in one mini-batch, without dropout: the sums are the same.
    rows = np.array([["a", "p"], ["b", "q"], ["a", "q"], ["c", "p"], ["c", "q"], ["b", "p"]] * 3)
    y = np.tile([1.0, 2.0, 1.0, 3.0, 3.0, 2.0], 3)
    weight = np.tile([1, 2, 1, 1, 3, 1], 3)
    params = {"early_stopping": False, "dropout": 0.0, "dtype": "float64", "max_iter": 20}
    est = small(cls, **params, batch_size=18).fit(rows, y, weight)
    repeated = [np.repeat(a, weight, axis=0) for a in (rows, y)]
    twice = small(cls, **params, batch_size=27).fit(*repeated)
    np.testing.assert_allclose(output(est, rows), output(twice, rows), rtol=1e-9)


def test_class_weights_multiply_the_weights_of_rows():
    y = targets(TabularClassifier, X)
    by_class = {"low": 0.5, "top": 3.0}
    of_rows = np.array([by_class.get(label, 1.0) for label in y])
    est = small(TabularClassifier, class_weight=by_class).fit(X, y)
    plain = small(TabularClassifier).fit(X, y, of_rows)
    np.testing.assert_array_equal(output(est, X), output(plain, X))
    assert est.validation_loss_curve_ == plain.validation_loss_curve_


def test_balanced_classes():
    y = np.where(CODES == 2, "often", "seldom")
    y[::2] = "often"
    found = [
        small(TabularClassifier, max_iter=20, class_weight=w).fit(X, y) for w in (None, "balanced")
    ]
    seldom = [np.mean(est.predict(X) == "seldom") for est in found]
    assert np.mean(y == "seldom") < 0.35
    assert seldom[1] > seldom[0] + 0.05
    counts = 200 / 2 / np.unique(y, return_counts=True)[1]
    given = dict(zip(["often", "seldom"], counts, strict=True))
    plain = small(TabularClassifier, max_iter=20, class_weight=given).fit(X, y)
    np.testing.assert_array_equal(output(found[1], X), output(plain, X))


def test_tags():
    labels, reals = TabularClassifier().__sklearn_tags__(), TabularRegressor().__sklearn_tags__()
    assert labels.classifier_tags.multi_label and reals.target_tags.multi_output
    assert labels.input_tags.allow_nan and reals.input_tags.allow_nan
