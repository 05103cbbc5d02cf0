"""Predictions have the dtype of scikit-learn's, and are right for any finite X."""

import json
import sqlite3
import warnings
from decimal import Decimal

import numpy as np
import pytest
import sklearn.neural_network
from conftest import covering
from estimator_problems import (
    assert_near,
    is_in_float64,
    layers_in_float64,
    output_in_float64,
    output_of,
)
from scipy import sparse
from scipy.special import log_expit, log_softmax
from sklearn.ensemble import VotingClassifier
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, MLPRegressor, _predict

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.integers(-9, 9, size=(400, 6)).astype(float)  # the same numbers in every dtype
LABELS = {
    "classes": RNG.integers(0, 3, 400),
    "two classes": RNG.integers(0, 2, 400),
    "multilabel": RNG.integers(0, 2, (400, 4)),
}
TARGETS = {
    "squared_error": np.tanh(X[:, 0]),
    "poisson": RNG.poisson(2.0, 400).astype(float),
    "outputs": X[:, :2] / 9,
}
TASKS = {**LABELS, **TARGETS}
CONTAINERS = {
    "float32": lambda X: X.astype(np.float32),
    "float64": lambda X: X.astype(np.float64),
    "int": lambda X: X.astype(np.int64),
    "list": lambda X: X.tolist(),
    "CSR of float32": lambda X: sparse.csr_matrix(X.astype(np.float32)),
    "CSR of float64": sparse.csr_array,
    "frame of float32": lambda X: pytest.importorskip("pandas").DataFrame(X.astype(np.float32)),
    "frame": lambda X: pytest.importorskip("pandas").DataFrame(X).astype({0: "int64"}),
}
ROWS = (3, 400)  # computed in float64, and in float32


def fit(task, X=X, cls=None, **params):
    """A net that is large enough for 400 rows to be computed in its own dtype."""
    y = TASKS[task]
    cls = cls or (MLPClassifier if task in LABELS else MLPRegressor)
    params = {"hidden_layer_sizes": (64, 64), "max_iter": 2, "random_state": 0, **params}
    if task == "poisson":  # the default is squared_error, which scikit-learn 1.6 has no name for
        params["loss"] = "poisson"
    return cls(**params).fit(X, y)


# ---- the dtype of scikit-learn's ----


@pytest.mark.parametrize("fitted_on", ["float32", "float64", "int", "CSR of float32", "frame"])
@pytest.mark.parametrize("task", ["two classes", "classes", "multilabel", "squared_error"])
def test_results_have_the_dtype_of_scikit_learn(task, fitted_on):
    theirs = getattr(sklearn.neural_network, "MLPClassifier" if task in LABELS else "MLPRegressor")
    pair = [fit(task, CONTAINERS[fitted_on](X), cls) for cls in (None, theirs)]
    for name, convert in CONTAINERS.items():
        for n in ROWS:
            for method in ("predict", "predict_proba", "predict_log_proba"):
                if not hasattr(pair[0], method):
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of names of features; log of 0
                    ours, theirs = (getattr(est, method)(convert(X[:n])) for est in pair)
                assert ours.dtype == theirs.dtype, (name, n, method)
                assert ours.shape == theirs.shape


@pytest.mark.parametrize("task", ["classes", "squared_error"])
def test_activations_have_the_dtype_of_the_predictions(task):
    for dtype in (np.float32, np.float64):
        est = fit(task, X.astype(dtype))
        for other in (np.float32, np.float64):
            for n in ROWS:
                expected = np.result_type(dtype, other)
                layers = est.hidden_activations(X[:n].astype(other))
                assert {a.dtype for a in layers} == {expected}


@pytest.mark.parametrize("n", ROWS)
def test_a_prediction_is_a_number_to_everybody(n):
    rows = X[:n]
    one = fit("squared_error").predict(rows)[0]
    proba = fit("classes").predict_proba(rows)
    assert isinstance(one, float) and json.loads(json.dumps({"value": one})) == {"value": one}
    assert json.loads(json.dumps(list(proba[0]))) == proba[0].tolist()
    assert Decimal(one) == one
    db = sqlite3.connect(":memory:")
    assert db.execute("select typeof(?), typeof(?)", (one, proba[0, 0])).fetchone() == (
        "real",
        "real",
    )
    for row in proba:  # its probabilities must sum to 1 within 1.5e-8
        np.random.default_rng(0).choice(3, p=row)


def test_scores_are_python_floats():
    for task in TASKS:
        score = fit(task).score(X, TASKS[task])
        assert isinstance(score, float), task


def test_results_keep_their_dtype_inside_other_estimators():
    y = LABELS["classes"]
    net = MLPClassifier(hidden_layer_sizes=(64, 64), max_iter=2, random_state=0)
    proba = cross_val_predict(net, X, y, method="predict_proba", cv=3)
    assert proba.dtype == np.float64
    assert make_pipeline(StandardScaler(), net).fit(X, y).predict_proba(X).dtype == np.float64
    voting = VotingClassifier([("a", net), ("b", net)], voting="soft").fit(X, y)
    assert voting.predict_proba(X).dtype == np.float64
    assert np.abs(voting.predict_proba(X).sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("task", LABELS)
def test_labels_are_those_of_the_probabilities(task):
    est = fit(task)
    for n in (1, 8, 9, 64, 400):
        labels, proba = est.predict(X[:n]), est.predict_proba(X[:n])
        if task == "multilabel":
            np.testing.assert_array_equal(labels, proba > 0.5)
        else:
            np.testing.assert_array_equal(labels, est.classes_[proba.argmax(axis=1)])


# ---- any number of rows ----


def rows_on_both_sides(est):
    """Numbers of rows on both sides of each change of method, for a net of this size."""
    ends = (_predict.DOUBLE_ROWS, _predict.DIRECT_ROWS, _predict.BLOCK_ROWS)
    small = -(-_predict.SMALL_WORK // est._params.flat.size)
    return sorted({1, 2, *ends, *(n + 1 for n in ends), small - 1, small, small + 1} - {0})


SIZES = {"small": (16,), "small and deep": (40, 30, 20), "large": (128, 128), "no hidden layer": ()}


@covering(
    2,
    task=("two classes", "classes", "squared_error", "poisson"),
    sizes=SIZES,
    dtype=("float32", "float64"),
    activation=("relu", "tanh"),
)
def test_any_number_of_rows_is_predicted_right(task, sizes, dtype, activation):
    est = fit(task, hidden_layer_sizes=SIZES[sizes], dtype=dtype, activation=activation, max_iter=1)
    counts = rows_on_both_sides(est)
    many = np.resize(RNG.normal(size=(1000, 6)), (max(counts), 6))
    expected = output_in_float64(est, many)
    layers = layers_in_float64(est, many)
    for n in counts:
        tolerance = 1e-12 if is_in_float64(est, n) else 1e-5
        for convert in (np.asarray, sparse.csr_array):
            rows = convert(many[:n])
            assert_near(output_of(est, rows), expected[:n], tolerance)
            for ours, theirs in zip(est.hidden_activations(rows), layers, strict=True):
                assert_near(ours, theirs[:n], tolerance)


@pytest.mark.parametrize("n", [1, 8, 50])
def test_finite_differences_of_predictions_are_slopes(n):
    est = fit("squared_error", activation="tanh")
    assert is_in_float64(est, n)
    x, h = X[:n] / 9, 1e-6
    step = np.eye(6)[0] * h
    slope = (est.predict(x + step) - est.predict(x - step)) / (2 * h)
    wide = 1000 * step
    np.testing.assert_allclose(
        slope, (est.predict(x + wide) - est.predict(x - wide)) / (2000 * h), atol=1e-4
    )


# ---- any finite number ----

HUGE = {
    "float32": (1e30, -1e38, 3.4e38),
    "float64": (-1e38, 3.4e38, 1e39, -1e300),
}


@pytest.mark.filterwarnings("error::RuntimeWarning")
@covering(
    2,
    task=("two classes", "classes", "squared_error", "outputs"),
    dtype=HUGE,
    activation=("relu", "tanh", "logistic", "identity"),
)
def test_a_huge_number_is_predicted_right(task, dtype, activation):
    est = fit(task, X.astype(dtype), activation=activation)
    for value in HUGE[dtype]:
        for n in (1, 8, 9, 63, 64, 400):
            for everywhere in (False, True):
                rows = X[:n].astype(dtype)
                if everywhere:
                    rows = rows * (np.array(value, dtype) / 16)
                else:
                    rows[n // 2, 0] = value
                assert_right(est, rows, 2e-6)


def assert_right(est, rows, tolerance):
    """Of these rows, and of the same in CSR."""
    dense = rows.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = output_in_float64(est, dense)
        # Large numbers of the last hidden layer may cancel in the output.
        scale = np.ones_like(expected)
        if not hasattr(est, "classes_"):
            scale += np.abs(layers_in_float64(est, dense)[-1]).max(axis=1, keepdims=True)
    for convert in (np.asarray, sparse.csr_array):
        actual = output_of(est, convert(rows))
        fits = np.abs(expected) < np.finfo(actual.dtype).max * (1 - 1e-6)
        assert fits.any() and np.isfinite(actual[fits]).all()
        assert (np.abs(actual - expected) <= tolerance * scale)[fits].all()


def test_a_number_beyond_float32_is_not_infinity():
    est = fit("classes", activation="tanh")
    est.coefs_[0][0] = np.where(est.coefs_[0][0] < 0, -1.2e-38, 1.2e-38)
    est.intercepts_[0][...] = 0
    for n in (8, 400):
        rows = np.zeros((n, 6))
        rows[:, 0] = np.linspace(-1, 1, n) * 4e38  # tanh of up to 5
        assert_right(est, rows, 1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_activations_beyond_float32_are_right():
    est = fit("squared_error")
    est.coefs_[0][...] *= 8
    rows = X.copy()
    rows[:, 1:] = 3e38
    for ours, theirs in zip(
        est.hidden_activations(rows), layers_in_float64(est, rows), strict=True
    ):
        assert theirs.max() > np.finfo(np.float32).max and np.isfinite(ours).all()
        assert_near(ours, theirs, 1e-6)


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_predictions_beyond_float32_are_infinite_in_float32():
    est = fit("outputs", X.astype(np.float32), activation="identity")
    est.coefs_[-1][...] *= 1e3
    for n in (8, 400):
        rows = (X[:n] * 1e37).astype(np.float32)
        expected = output_in_float64(est, rows)
        beyond = np.abs(expected) > np.finfo(np.float32).max
        assert beyond.any()
        np.testing.assert_array_equal(np.isinf(est.predict(rows)), beyond)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("convert", [np.asarray, sparse.csr_array, np.asfortranarray])
@pytest.mark.parametrize("value", [1e39, -1e300])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_x_beyond_float32_is_refused_by_name_in_a_fit(activation, value, convert, method):
    rows = X.copy()
    rows[200, 3] = value
    for task in ("classes", "squared_error"):
        est = fit(task, activation=activation)
        if method == "partial_fit":
            est.partial_fit(X, TASKS[task])  # another call of its kind is quicker
        before = [p.copy() for p in est.coefs_]
        with pytest.raises(ValueError, match=r"X contains a value too large for dtype.*float32"):
            getattr(est, method)(convert(rows), TASKS[task])
        for now, then in zip(est.coefs_, before, strict=True):
            np.testing.assert_array_equal(now, then)


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "identity"])
@pytest.mark.parametrize("task", TASKS)
def test_huge_numbers_that_float32_holds_give_no_nan_without_a_word(task, activation, method):
    for value in (1e37, -1e38, 3.4e38):
        est = fit(task, activation=activation)
        try:
            getattr(est, method)(X * (value / 16), TASKS[task])
        except ValueError as error:
            assert "non-finite" in str(error)
        else:
            assert all(np.isfinite(p).all() for p in est.coefs_ + est.intercepts_)
            assert np.isfinite(output_of(est, X)).all()


def test_x_beyond_float32_is_taken_by_float64():
    rows = X.copy()
    rows[200, 3] = 1e39
    est = fit("classes", rows, activation="tanh", dtype="float64", max_iter=1)
    assert all(np.isfinite(W).all() for W in est.coefs_)


# ---- logarithms of probabilities ----


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("task", LABELS)
def test_log_probabilities_come_from_the_logits(task, dtype):
    est = fit(task, X.astype(dtype), dtype=dtype)
    est.coefs_[-1][...] *= 1000 / np.abs(output_in_float64(est, X, raw=True)).max()
    est.intercepts_[-1][...] = 0
    for n in (1, 8, 9, 63, 64, 400):
        rows = X[:n].astype(dtype)
        z = output_in_float64(est, rows, raw=True)
        if task == "classes":
            expected = log_softmax(z, axis=1)
        elif task == "multilabel":
            expected = log_expit(z)
        else:
            expected = np.hstack([log_expit(-z), log_expit(z)])
        actual = est.predict_log_proba(rows)
        assert np.isfinite(actual).all()
        # The logits are near 1000, of which float32 holds six digits.
        atol = 1e-9 if is_in_float64(est, n) and dtype == "float64" else 1e-2
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=atol)
    assert expected.min() < -500
