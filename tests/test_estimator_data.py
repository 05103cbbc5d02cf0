"""What X and y may be, and targets and losses at the edge of what floats can hold."""

import datetime
import warnings

import numpy as np
import pytest
import sklearn.neural_network
from estimator_problems import X_REG, Y_REG, assert_equal_params, both, fitted, small
from sklearn.datasets import load_breast_cancer

from fastbp import MLPClassifier, MLPRegressor, _fit
from fastbp._input.targets import far_from_zero
from fastbp._optim import SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = len(X_REG)
DAYS = np.datetime64("2020-01-01") + np.arange(N)


# ---- dates ----


def dates():
    """Columns of dates and durations."""
    return {
        "datetime64": DAYS,
        "timedelta64": DAYS - DAYS[0],
        "a column": DAYS[:, np.newaxis],
        "a list": [datetime.date(2020, 1, 1)] * N,
        "a list of numpy's": list(DAYS),
        "objects of date": np.array([datetime.date(2020, 1, 1)] * N, object),
        "objects of datetime": np.array([datetime.datetime(2020, 1, 1)] * N, object),
        "objects of timedelta": np.array([datetime.timedelta(1)] * N, object),
        "objects of datetime64": np.array([*DAYS.astype("M8[ns]"), None], object)[:-1],
        "objects of timedelta64": np.array([np.timedelta64(1, "s")] * N + [None], object)[:-1],
    }


def dates_of_pandas():
    """The same, in containers of pandas."""
    pd = pytest.importorskip("pandas")
    return {
        "series": pd.Series(DAYS),
        "series with a zone": pd.Series(pd.date_range("2020", periods=N, tz="UTC")),
        "durations": pd.Series(DAYS - DAYS[0]),
        "frame": pd.DataFrame({"day": DAYS}),
        "frame of two": pd.DataFrame({"day": DAYS, "number": np.arange(N)}),
        "frame of objects": pd.DataFrame({"day": np.array([datetime.date(2020, 1, 1)] * N)}),
        "index": pd.date_range("2020", periods=N),
    }


@pytest.mark.parametrize("make", [dates, dates_of_pandas])
def test_dates_are_refused_as_targets(make):
    est = fitted(MLPRegressor)
    for name, y in make().items():
        for call in (est.fit, est.partial_fit):
            with pytest.raises(TypeError, match=r"^y has dtype .*: it takes real numbers"):
                call(X_REG, y)
                pytest.fail(name)


@both
@pytest.mark.parametrize("make", [dates, dates_of_pandas])
def test_dates_are_refused_as_input(make, cls):
    y = np.arange(N) % 2
    est = small(cls).fit(X_REG[:, :1], y)
    for name, X in make().items():
        if np.ndim(X) == 1:
            X = np.asarray(X)[:, np.newaxis] if hasattr(X, "dtype") else [[x] for x in X]
        for call in (lambda X: est.fit(X, y), lambda X: est.partial_fit(X, y), est.predict):
            with pytest.raises(TypeError, match=r"^X has dtype .*: it takes real numbers"):
                call(X)
                pytest.fail(name)


# ---- other kinds of numbers ----


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_words_are_no_targets(dtype):
    with pytest.raises(TypeError, match=r"y has dtype .*: it takes real numbers"):
        small(MLPRegressor).fit(X_REG, Y_REG.astype(dtype))


def test_complex_targets_are_refused():
    with pytest.raises(ValueError, match="Complex data not supported"):
        small(MLPRegressor).fit(X_REG, Y_REG + 1j)


def numbers():
    """Targets that scikit-learn takes for numbers."""
    pd = pytest.importorskip("pandas")
    whole = np.arange(N) % 7
    return {
        "bool": (whole > 3, whole > 3),
        "objects": (whole.astype(object), whole),
        "float16": (whole.astype(np.float16), whole),
        "Int64": (pd.Series(whole, dtype="Int64"), whole),
        "boolean": (pd.Series(whole > 3, dtype="boolean"), whole > 3),
        "Float32": (pd.Series(whole, dtype="Float32"), whole),
        "category": (pd.Series(whole).astype("category"), whole),
    }


def test_other_kinds_of_numbers_are_targets():
    for name, (y, plain) in numbers().items():
        got = small(MLPRegressor).fit(X_REG, y)
        expected = small(MLPRegressor).fit(X_REG, plain.astype(float))
        for a, b in zip(got.coefs_, expected.coefs_, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7, err_msg=name)


def frames():
    """Data frames, with what they hold as float64."""
    pd = pytest.importorskip("pandas")
    table = pd.DataFrame({"kind": list("uvw") * 40, "place": list("pqqppq") * 20})
    sparse, whole = pd.get_dummies(table, sparse=True), np.arange(N) % 7
    floats = pd.arrays.SparseArray(np.where(whole > 3, 0.5, 0.0), fill_value=0.0)
    ones = pd.arrays.SparseArray(whole > 3, fill_value=True)
    made = {
        "dummies": pd.get_dummies(table),
        "sparse dummies": sparse,
        "sparse dummies of int": pd.get_dummies(table, sparse=True, dtype=int),
        "sparse dummies of uint8": pd.get_dummies(table, sparse=True, dtype=np.uint8),
        "sparse dummies of float32": pd.get_dummies(table, sparse=True, dtype=np.float32),
        "sparse bool and float": sparse.assign(share=floats),
        "sparse bool and int": sparse.assign(
            number=pd.arrays.SparseArray(whole.astype(np.int16), fill_value=0)
        ),
        "sparse, mostly True": pd.DataFrame({"most": ones}),
        "sparse and dense": sparse.assign(number=whole),
        "Int64": pd.DataFrame({"a": pd.Series(whole, dtype="Int64")}),
        "boolean": pd.DataFrame({"a": pd.Series(whole > 3, dtype="boolean")}),
        "Float32": pd.DataFrame({"a": pd.Series(whole, dtype="Float32")}),
    }
    return {name: (frame, frame.to_numpy().astype(float)) for name, frame in made.items()}


@both
def test_frames_of_every_kind_of_number(cls):
    y = np.arange(N) % 2
    for name, (frame, plain) in frames().items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got, expected = small(cls).fit(frame, y), small(cls).fit(plain, y)
            for rows in (slice(None), slice(3)):
                a, b = got.predict(frame[rows]), expected.predict(plain[rows])
                np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5, err_msg=name)
        assert list(got.feature_names_in_) == list(frame.columns), name


@both
@pytest.mark.parametrize("dtype", ["Int64", "boolean", "Float32"])
def test_missing_values_are_named(cls, dtype):
    pd = pytest.importorskip("pandas")
    column = pd.Series([None, *(np.arange(1, N) % 2)], dtype=dtype)
    y = np.arange(N) % 2
    with pytest.raises(ValueError, match="Input X contains NaN"):
        small(cls).fit(pd.DataFrame({"a": column}), y)
    with pytest.raises(ValueError, match="y contains NaN"):
        small(MLPRegressor).fit(X_REG, column)


# ---- rows to predict from ----

BAD_ROWS = {
    "too few columns": (X_REG[:, :4], "X has 4 features, but {} is expecting 6 features"),
    "too many columns": (np.c_[X_REG, X_REG], "X has 12 features, but {} is expecting 6 features"),
    "no rows": (X_REG[:0], r"Found array with 0 sample\(s\)"),
    "a vector": (X_REG[0], "Expected 2D array"),
    "NaN": (np.where(X_REG == X_REG[3, 2], np.nan, X_REG), "X contains NaN"),
    "infinity": (np.where(X_REG == X_REG[3, 2], -np.inf, X_REG), "X contains infinity"),
}


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.parametrize("times", [1, 200], ids=["few", "many"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_do_not_fit_are_refused_as_by_scikit_learn(name, dtype, times):
    rows, message = BAD_ROWS[name]
    rows = np.tile(rows, (times, 1)) if rows.ndim == 2 else np.tile(rows, times)
    est = fitted(MLPRegressor, activation="logistic")  # of infinity it would make a number
    for call in (est.predict, est.hidden_activations):
        with pytest.raises(ValueError, match=message.format("MLPRegressor")):
            call(rows.astype(dtype))


# ---- targets far from zero ----


def smooth(offset, n=200):
    """A function without noise on top of an offset."""
    X = np.random.default_rng(0).uniform(-1, 1, (n, 2))
    return X, offset + np.sin(2 * X[:, 0]) + X[:, 1]


@pytest.mark.parametrize(
    ("y", "far"),
    [
        ([1e6, 1e6 + 1, 1e6 + 2], True),
        ([-1e6, -1e6 + 1], True),
        ([0.0, 1.0, 2.0], False),
        ([5.0, 5.0, 5.0], False),
        ([1e8], False),
        ([1e200, -1e200, 1e200], False),
    ],
)
def test_what_is_far_from_zero(y, far):
    y = np.array(y)[:, np.newaxis]
    assert far_from_zero(y) == far
    assert far_from_zero(np.c_[np.arange(float(len(y))), y]) == far


def test_lbfgs_keeps_the_digits_of_targets_far_from_zero():
    X, y = smooth(1e8)
    settings = dict(hidden_layer_sizes=(20,), solver="lbfgs", alpha=0.0, tol=1e-10, random_state=0)
    default = MLPRegressor(max_iter=2000, **settings).fit(X, y)
    double = MLPRegressor(max_iter=2000, dtype="float64", **settings).fit(X, y)
    assert default.score(X, y) > 0.95
    assert default.score(X, y) == pytest.approx(double.score(X, y), abs=0.01)


@pytest.mark.parametrize("solver", SOLVERS)
def test_targets_far_from_zero_are_trained_on_in_float64(solver):
    X, y = smooth(1e6)
    settings = dict(solver=solver, learning_rate_init=1e-4, max_iter=3)
    for target in (y, np.c_[y - 1e6, y]):
        default = small(MLPRegressor, **settings).fit(X, target)
        double = small(MLPRegressor, dtype="float64", **settings).fit(X, target)
        assert default.coefs_[0].dtype == np.float64
        assert_equal_params(default, double)
    near = small(MLPRegressor, **settings).fit(X, y - 1e6)
    assert near.coefs_[0].dtype == np.float32


def test_adam_with_a_large_rate_reaches_targets_far_from_zero():
    X, _ = smooth(1e6)
    y = 3 * X[:, 0] - X[:, 1] + 1e6
    settings = dict(learning_rate_init=10.0, max_iter=4000, tol=0.0, n_iter_no_change=4000)
    est = MLPRegressor(hidden_layer_sizes=(20,), random_state=0, alpha=0.0, **settings).fit(X, y)
    assert est.score(X, y) > 0.9999  # float32 reaches 0.9985


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_net_of_targets_far_from_zero_goes_on_in_float64(warm_start):
    X, y = smooth(1e6)
    est = small(MLPRegressor, warm_start=warm_start)
    est.partial_fit(X, y)
    assert est.coefs_[0].dtype == np.float64
    est.partial_fit(X[:1], y[:1])
    assert est.coefs_[0].dtype == np.float64
    est.fit(X, y - 1e6)
    assert est.coefs_[0].dtype == (np.float64 if warm_start else np.float32)


def test_classes_are_never_far_from_zero():
    clf = small(MLPClassifier).fit(X_REG, 10**6 + np.arange(N) % 3)
    assert clf.coefs_[0].dtype == np.float32


# ---- L-BFGS ----


def test_lbfgs_computes_in_float64_and_shows_float32():
    single = small(MLPRegressor, solver="lbfgs", max_iter=30).fit(X_REG, Y_REG)
    double = small(MLPRegressor, solver="lbfgs", max_iter=30, dtype="float64")
    start = small(MLPRegressor, solver="sgd", learning_rate_init=1e-30, max_iter=1)
    start.fit(X_REG, Y_REG)
    double.fit(X_REG, Y_REG, coef_init=start.coefs_, intercept_init=start.intercepts_)
    assert single.coefs_[0].dtype == np.float32
    for a, b in zip(single.coefs_, double.coefs_, strict=True):
        np.testing.assert_array_equal(a, b.astype(np.float32))
    np.testing.assert_allclose(single.loss_curve_, double.loss_curve_, rtol=1e-12)


def test_lbfgs_on_raw_features_breaks_off_as_seldom_as_scikit_learn():
    X, y = load_breast_cancer(return_X_y=True)
    broken = {}
    for package, cls in (("ours", MLPClassifier), ("theirs", sklearn.neural_network.MLPClassifier)):
        broken[package] = 0
        for seed in range(6):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                cls((10,), solver="lbfgs", max_iter=60, random_state=seed).fit(X, y)
            broken[package] += any("ABNORMAL" in str(w.message) for w in caught)
    assert broken["ours"] <= broken["theirs"] + 1


# ---- losses that are not finite ----

OVERFLOWING = {
    "huge targets": (Y_REG * 1e200, None, {}),
    "tiny weights and alpha": (Y_REG, np.full(N, 1e-300), {"alpha": 1e10}),
    # Adam divides the gradient by its size.
    "huge alpha": (Y_REG, None, {"alpha": 1e305, "solver": ("sgd", "lbfgs")}),
}


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OVERFLOWING)
def test_a_loss_that_is_not_finite_is_an_error_with_every_solver(name, dtype, solver):
    y, weight, settings = OVERFLOWING[name]
    if solver not in settings.get("solver", SOLVERS):
        return
    est = small(MLPRegressor, **{**settings, "solver": solver, "dtype": dtype})
    with pytest.raises(ValueError, match="^Solver produced non-finite parameter weights"):
        est.fit(X_REG, y, sample_weight=weight)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lbfgs_names_its_iteration_and_keeps_finite_parameters(dtype):
    start = fitted(MLPRegressor, solver="lbfgs", dtype=dtype, warm_start=True)
    before = [W.copy() for W in start.coefs_]
    with pytest.raises(ValueError, match=r"The loss became \w+ after 0 iterations\. .*alpha"):
        start.fit(X_REG, Y_REG * 1e200)
    for W, kept in zip(start.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, kept)


def test_parameters_that_float32_cannot_hold_are_an_error():
    # So few rows that they are trained on in float64.
    X, y = X_REG[:50], Y_REG[:50] * 1e42
    est = small(MLPRegressor, solver="sgd", learning_rate_init=0.1, max_iter=1)
    with pytest.raises(ValueError, match=r"beyond the range of float32.*dtype='float64'"):
        est.fit(X, y)
    assert all(np.isfinite(W).all() for W in est.coefs_)
    assert np.abs(est.set_params(dtype="float64").fit(X, y).coefs_[0]).max() > 1e39


def test_rounding_stops_before_what_float32_cannot_hold():
    target = np.zeros(3, "float32")
    for large in (1e39, -1e39):
        assert not _fit._round(np.array([1.0, large, 2.0]), target)
        assert not target.any()
    assert _fit._round(np.array([1.0, -3e38, 3e38]), target) and target.all()


def test_a_last_update_that_is_not_finite_is_an_error():
    est = small(MLPRegressor, solver="sgd", learning_rate_init=1e308, max_iter=1, dtype="float64")
    with pytest.raises(ValueError, match="non-finite parameter weights"):
        est.fit(X_REG, Y_REG * 1e6)
    assert np.isfinite(est.loss_)


@pytest.mark.filterwarnings("ignore:overflow")
def test_parameters_whose_sum_overflows_are_fine():
    est = small(MLPRegressor, alpha=0.0, max_iter=2)
    coefs = [np.full((6, 12), 3e38), np.zeros((12, 1))]
    est.fit(np.zeros_like(X_REG), Y_REG, coef_init=coefs)
    assert not np.isfinite(est.coefs_[0].sum()) and np.isfinite(est.coefs_[0]).all()


# ---- nets that are too large ----


@pytest.mark.parametrize("which", ["hidden_layer_sizes", "features", "outputs"])
def test_a_net_too_large_says_its_sizes(which):
    from scipy import sparse

    X, y = X_REG, np.arange(N) % 3
    hidden = (10**6, 10**6) if which == "hidden_layer_sizes" else (10**7,)
    if which == "features":
        X = sparse.csr_array((N, 10**6))
        X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
    est = MLPClassifier(hidden, max_iter=1)
    if which == "outputs":
        est = MLPRegressor(hidden_layer_sizes=hidden, max_iter=1)
        y = np.broadcast_to(Y_REG[:, np.newaxis], (N, 10**6))[:3]
        X = X[:3]
    with pytest.raises(MemoryError) as error:
        est.fit(X, y)
    n_outputs = y.shape[1] if y.ndim == 2 else 3
    for word in (f"{X.shape[1]} features", f"hidden_layer_sizes={hidden}", f"{n_outputs} outputs"):
        assert word in str(error.value)
    assert not hasattr(est, "coefs_")
