"""How the estimators behave: what they print, when they stop, what they refuse."""

import inspect
import pickle
import re
import threading
import time
from _thread import interrupt_main

import joblib
import numpy as np
import pytest
import sklearn.neural_network
from estimator_problems import (
    DIGIT_LABELS,
    DIGITS,
    X_REG,
    Y_REG,
    assert_equal_params,
    both,
    fitted,
    inputs,
    raw_output,
    small,
    targets,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.utils._param_validation import InvalidParameterError

import fastbp
from fastbp import MLPClassifier, MLPRegressor, _core

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- printing, stopping, interruption ----


def test_verbose_lines(capsys):
    fitted(MLPRegressor, verbose=True, early_stopping=True, max_iter=2)
    out = capsys.readouterr().out
    assert re.fullmatch(
        r"(Iteration \d+, loss = \d+\.\d{8}\nValidation score: -?\d+\.\d{6}\n){2}", out
    )
    fitted(MLPRegressor, verbose=True, tol=100, n_iter_no_change=1, max_iter=50)
    out = capsys.readouterr().out
    assert out.endswith(
        "Training loss did not improve more than tol=100.000000 for 1 consecutive epochs. "
        "Stopping.\n"
    )
    params = {"solver": "sgd", "learning_rate": "adaptive"}
    fitted(MLPRegressor, verbose=True, tol=100, n_iter_no_change=1, max_iter=50, **params)
    out = capsys.readouterr().out
    assert "Setting learning rate to 0.000200\n" in out
    assert out.endswith("Learning rate too small. Stopping.\n")
    fitted(MLPRegressor)
    assert capsys.readouterr().out == ""


def test_warnings_of_a_fit():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(5\) reached"):
        fitted(MLPRegressor)
    with pytest.warns(UserWarning, match="Got `batch_size` less than 1 or larger"):
        fitted(MLPRegressor, batch_size=1000)


def test_a_clipped_batch_is_all_rows():
    with pytest.warns(UserWarning, match="clipped from 1000 to 120"):
        est = fitted(MLPRegressor, batch_size=1000)
    assert est.memory_plan_.batch_rows == 120
    assert_equal_params(est, fitted(MLPRegressor, batch_size=120))


def test_early_stopping_keeps_the_best_parameters():
    est = fitted(MLPClassifier, early_stopping=True, max_iter=30, learning_rate_init=0.05)
    best = int(np.argmax(est.validation_scores_)) + 1
    assert est.best_validation_score_ == max(est.validation_scores_)
    # The same run, ended by max_iter at its best epoch.
    assert_equal_params(est, clone(est).set_params(max_iter=best).fit(DIGITS, DIGIT_LABELS))


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.alone
def test_ctrl_c_leaves_a_usable_estimator(early_stopping):
    rng = np.random.RandomState(0)
    X, y = rng.rand(20_000, 20), rng.rand(20_000)
    est = MLPRegressor(
        max_iter=10**6, tol=0, n_iter_no_change=10**6, early_stopping=early_stopping, random_state=0
    )
    timer = threading.Timer(0.7, interrupt_main)
    timer.start()
    begin = time.perf_counter()
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        est.fit(X, y)
    assert time.perf_counter() - begin < 5
    timer.join()
    assert np.isfinite(est.predict(X)).all()
    assert len(est.loss_curve_) == est.n_iter_
    if early_stopping:
        score = est.best_validation_score_
        assert score == np.nanmax([-np.inf, *est.validation_scores_])
        assert len(est.validation_scores_) == est.n_iter_
    else:
        est.partial_fit(X, y)


# ---- non-finite losses ----


DIVERGING = {"solver": "sgd", "learning_rate_init": 1e6, "activation": "identity", "max_iter": 50}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_divergence_is_reported_with_its_epoch(dtype):
    est = small(MLPRegressor, dtype=dtype, **DIVERGING)
    message = (
        r"^Solver produced non-finite parameter weights\. The input data may contain large values "
        r"and need to be preprocessed\. .*epoch \d+.*learning rate.*scaled"
    )
    with pytest.raises(ValueError, match=message):
        est.fit(X_REG, Y_REG)
    assert not np.isfinite(est.loss_curve_[-1])
    assert len(est.loss_curve_) == est.n_iter_ < 50
    assert all(np.isfinite(p).all() for p in est.coefs_ + est.intercepts_)


def test_divergence_with_early_stopping_keeps_the_best():
    est = small(MLPRegressor, early_stopping=True, **DIVERGING)
    with pytest.warns(ConvergenceWarning, match=r"epoch \d+.*learning rate.*scaled"):
        est.fit(X_REG, Y_REG)
    assert np.isnan(est.validation_scores_[-1])
    assert len(est.validation_scores_) == est.n_iter_ < 50
    assert np.isfinite(est.predict(X_REG)).all()


# ---- the added parameters ----


@both
@pytest.mark.parametrize("x_dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dtype", ["float32", "float64", "auto"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_dtype_of_parameters_and_predictions(cls, dtype, x_dtype, solver):
    expected = np.dtype(x_dtype if dtype == "auto" else dtype)
    X = inputs(cls).astype(x_dtype)
    est = small(cls, dtype=dtype, solver=solver).fit(X, targets(cls))
    assert {p.dtype for p in est.coefs_ + est.intercepts_} == {expected}
    for rows in (X, X.astype(np.float32), X.astype(np.float64), X[:1]):
        assert raw_output(est, rows).dtype == np.result_type(x_dtype, rows.dtype)
    assert cls().dtype == "float32"


@both
def test_dtype_can_change_between_partial_fits(cls):
    X, y = inputs(cls), targets(cls)
    est = fitted(cls, dtype="float32").set_params(dtype="float64").partial_fit(X, y)
    assert est.coefs_[0].dtype == np.float64
    est.set_params(dtype="float32").partial_fit(X, y)
    assert est.coefs_[0].dtype == np.float32


@both
def test_thread_count_changes_nothing(cls):
    one = fitted(cls, n_threads=1, hidden_layer_sizes=(256, 256))
    for n_threads in (2, 3, None):
        other = fitted(cls, n_threads=n_threads, hidden_layer_sizes=(256, 256))
        assert_equal_params(one, other)
        np.testing.assert_array_equal(raw_output(one, inputs(cls)), raw_output(other, inputs(cls)))


@both
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_memory_cap_changes_rounding_only(cls, solver):
    X, y = inputs(cls), targets(cls)
    free = small(cls, dtype="float64", batch_size=100, solver=solver).fit(X, y)
    cap = free.memory_plan_.arena_bytes // 3
    tight = clone(free).set_params(max_memory=cap).fit(X, y)
    assert tight.memory_plan_.arena_bytes <= cap
    assert clone(free).set_params(max_memory="1 GiB").fit(X, y).memory_plan_ == free.memory_plan_
    for a, b in zip(free.coefs_, tight.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(raw_output(free, X), raw_output(tight, X), rtol=1e-6, atol=1e-9)


def test_lbfgs_memory_does_not_grow_with_the_rows():
    rng = np.random.RandomState(0)
    plans = [
        small(MLPRegressor, solver="lbfgs", max_iter=1)
        .fit(rng.rand(n, 4), rng.rand(n))
        .memory_plan_
        for n in (5_000, 20_000)
    ]
    assert plans[0].arena_bytes == plans[1].arena_bytes


def test_predictions_from_several_threads():
    est = fitted(MLPClassifier)
    expected = est.predict_proba(DIGITS)
    wrong = []

    def work(seed):
        rng = np.random.RandomState(seed)
        for _ in range(200):
            i = rng.randint(len(DIGITS))
            if not np.allclose(est.predict_proba(DIGITS[i : i + 1]), expected[i], atol=1e-6):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("n_rows", [1, 31, 32, 33, 255, 256, 257, 300])
def test_any_number_of_rows_is_predicted_alike(n_rows):
    est = fitted(MLPClassifier)
    np.testing.assert_allclose(
        est.predict_proba(DIGITS[:n_rows]), est.predict_proba(DIGITS)[:n_rows], rtol=1e-5, atol=1e-7
    )


# ---- bad input ----


def state_of(est):
    """Every attribute, with arrays copied."""
    return {
        name: pickle.dumps(value)
        for name, value in vars(est).items()
        if name not in ("_params", "_forward")
    }


X_NAN = np.where(np.arange(X_REG.size).reshape(X_REG.shape) == 7, np.nan, X_REG)

BAD_CALLS = {
    "too few columns": (lambda e: e.partial_fit(X_REG[:, :4], Y_REG), "4 features"),
    "NaN in X": (lambda e: e.fit(X_NAN, Y_REG), "X contains NaN"),
    "NaN in y": (lambda e: e.fit(X_REG, np.full(len(Y_REG), np.nan)), "y contains NaN"),
    "lengths of X and y": (lambda e: e.fit(X_REG, Y_REG[:-1]), "inconsistent numbers"),
    "length of sample_weight": (
        lambda e: e.fit(X_REG, Y_REG, sample_weight=[1.0]),
        "sample_weight",
    ),
    "no rows": (lambda e: e.fit(X_REG[:0], Y_REG[:0]), "0 sample"),
    "more outputs than before": (
        lambda e: e.partial_fit(X_REG, np.c_[Y_REG, Y_REG]),
        "y has 2 outputs",
    ),
    "other features, wrong y": (lambda e: e.fit(X_REG[:, :3], ["a"] * len(Y_REG)), None),
}
BAD_PARAMETERS = {
    "activation": ["swish", "softmax"],
    "solver": ["adamax"],
    "dtype": ["float16", "half", None],
    "n_threads": [0, -1, 1.5, "two", 2**31, 10**40],
    "max_memory": [0, "64 apples", "many", 1.5, 10],
    "hidden_layer_sizes": [0, (10, 0), (3, -1), (2.5,), (2**31,), (2**62, 2**62), (10**9, 10**9)],
    "batch_size": [0, "some"],
    "learning_rate": ["exponential"],
    "alpha": [-1.0],
    "loss": ["least_squares"],
    "huber_delta": [0.0, -1.0, "wide"],
    "quantile": [0.0, 1, "half", [], [0.5, 1.5]],
}


@pytest.mark.parametrize("name", BAD_CALLS)
def test_bad_data_changes_nothing(name):
    call, message = BAD_CALLS[name]
    est = fitted(MLPRegressor)
    before = state_of(est)
    with pytest.raises(ValueError, match=message):
        call(est)
    assert state_of(est) == before


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in BAD_PARAMETERS.items() for v in values]
)
def test_bad_parameters_are_named_and_change_nothing(name, value):
    est = fitted(MLPRegressor).set_params(**{name: value})
    before = state_of(est)
    with pytest.raises((ValueError, OverflowError, MemoryError), match=name):
        est.fit(X_REG, Y_REG)
    assert state_of(est) == before
    fresh = small(MLPRegressor, **{name: value})
    with pytest.raises((ValueError, OverflowError, MemoryError), match=name):
        fresh.fit(X_REG, Y_REG)
    assert not hasattr(fresh, "n_features_in_")
    with pytest.raises(NotFittedError):
        fresh.predict(X_REG)


def test_unknown_names_are_answered_with_what_is_accepted():
    with pytest.raises(InvalidParameterError, match="'auto'.*'float32'.*'float64'|float"):
        small(MLPRegressor, dtype="float16").fit(X_REG, Y_REG)


def test_bad_labels_change_nothing():
    est = fitted(MLPClassifier)
    before = state_of(est)
    with pytest.raises(ValueError, match="Unknown label type"):
        est.fit(DIGITS, np.linspace(0, 1, len(DIGITS)))
    with pytest.raises(ValueError, match="classes not in"):
        est.partial_fit(DIGITS[:2], [3, 99])
    with pytest.raises(ValueError, match="Multioutput"):
        est.fit(DIGITS, np.c_[DIGIT_LABELS, DIGIT_LABELS])
    with pytest.raises(ValueError, match="classes"):
        est.partial_fit(DIGITS, DIGIT_LABELS, classes=[1, 2])
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        est.set_params(early_stopping=True).partial_fit(DIGITS, DIGIT_LABELS)
    est.set_params(early_stopping=False)
    assert state_of(est) == before


def test_bad_first_call_leaves_the_estimator_unfitted():
    clf = small(MLPClassifier)
    with pytest.raises(ValueError, match="classes"):
        clf.partial_fit(DIGITS[:2], [0, 5], classes=[0, 1])
    assert set(vars(clf)) == set(clf.get_params())
    clf.partial_fit(DIGITS[:2], [0, 5], classes=[0, 5])


def test_negative_counts_are_refused():
    with pytest.raises(ValueError, match="y must not be negative"):
        small(MLPRegressor, loss="poisson").fit(X_REG, Y_REG)


def test_failing_engine_changes_nothing(monkeypatch):
    est = fitted(MLPRegressor)
    before = state_of(est)

    def no_memory(*args, **kwargs):
        raise MemoryError("arena of 123 bytes")

    monkeypatch.setattr(_core, "Trainer", no_memory)
    with pytest.raises(MemoryError, match="123"):
        est.fit(X_REG[:, :3], Y_REG)
    assert state_of(est) == before


def test_threads_from_the_environment(monkeypatch):
    from fastbp._threads import resolve_n_threads

    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    for name in ("FASTBP_NUM_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    assert resolve_n_threads(None) == 8
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")
    assert resolve_n_threads(None) == 4
    monkeypatch.setenv("FASTBP_NUM_THREADS", "3")
    assert resolve_n_threads(None) == 3
    assert resolve_n_threads(16) == 16
    monkeypatch.setenv("OMP_NUM_THREADS", "nonsense")
    assert resolve_n_threads(None) == 3
    for bad in ("none", "0", "-2", "1.5"):
        monkeypatch.setenv("FASTBP_NUM_THREADS", bad)
        with pytest.raises(ValueError, match="FASTBP_NUM_THREADS"):
            resolve_n_threads(None)
        with pytest.raises(ValueError, match="FASTBP_NUM_THREADS"):
            small(MLPRegressor).fit(X_REG, Y_REG)


def test_blas_is_restored_when_the_last_fit_leaves():
    from threadpoolctl import threadpool_info, threadpool_limits

    from fastbp._threads import single_threaded_blas

    def blas_threads():
        return {
            i["filepath"]: i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"
        }

    with threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        outer, inner = single_threaded_blas(), single_threaded_blas()
        outer.__enter__()
        inner.__enter__()
        assert set(blas_threads().values()) == {1}
        outer.__exit__(None, None, None)
        assert set(blas_threads().values()) == {1}
        inner.__exit__(None, None, None)
        assert blas_threads() == before


def test_every_parameter_of_scikit_learn_is_in_its_place():
    if "loss" not in inspect.signature(sklearn.neural_network.MLPRegressor).parameters:
        pytest.skip("the parameters are those of scikit-learn 1.7 and later")
    for cls in (MLPClassifier, MLPRegressor):
        ours = list(inspect.signature(cls).parameters.values())
        theirs = list(
            inspect.signature(getattr(sklearn.neural_network, cls.__name__)).parameters.values()
        )
        assert ours[: len(theirs)] == theirs
        assert [p.name for p in ours[len(theirs) :]][:3] == ["dtype", "n_threads", "max_memory"]
        assert {p.kind for p in ours[len(theirs) :]} == {inspect.Parameter.KEYWORD_ONLY}
    assert fastbp.MLPClassifier is MLPClassifier
