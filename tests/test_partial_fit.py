"""Training that goes on: what counts of new settings, what stays, and what interrupts it."""

import copy
import inspect
import json
import signal
import warnings

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
    small,
    targets,
)
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils._param_validation import InvalidParameterError

from fastbp import MLPClassifier, MLPRegressor, _loops
from fastbp._optim import SOLVERS, is_stochastic
from fastbp._validation import Validation

STOCHASTIC = [*filter(is_stochastic, SOLVERS)]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- settings that change ----

# A setting, a value of it, and the solver that asks for it.
CHANGES = [
    ("learning_rate_init", 0.1, "adam"),
    ("beta_1", 0.5, "adam"),
    ("beta_2", 0.5, "adam"),
    ("epsilon", 1.0, "adam"),
    ("alpha", 50.0, "adam"),
    ("batch_size", 7, "adam"),
    ("learning_rate_init", 0.1, "sgd"),
    ("momentum", 0.0, "sgd"),
    ("nesterovs_momentum", False, "sgd"),
    ("alpha", 50.0, "sgd"),
    ("batch_size", 7, "sgd"),
]


def after_changes(name, value, solver, when):
    """Two epochs, some with the new value."""
    est = small(MLPRegressor, solver=solver, dtype="float64", shuffle=False)
    if when == "first":
        est.set_params(**{name: value})
    est.partial_fit(X_REG, Y_REG)
    if when == "second":
        est.set_params(**{name: value})
    return est.partial_fit(X_REG, Y_REG)


@pytest.mark.parametrize(("name", "value", "solver"), CHANGES)
def test_a_changed_setting_counts_in_the_next_call(name, value, solver):
    never, second = (after_changes(name, value, solver, when) for when in ("never", "second"))
    assert np.abs(never.coefs_[0] - second.coefs_[0]).max() > 1e-9
    assert second._optimizer.t > 1  # the state went on


def test_sgd_moves_by_the_new_rate():
    est = small(MLPRegressor, solver="sgd", momentum=0.0, learning_rate_init=1e-3, alpha=0.0)
    est.set_params(dtype="float64", shuffle=False).partial_fit(X_REG, Y_REG)
    steps = []
    for rate in (1e-12, 1e-11):
        before = est.coefs_[0].copy()
        est.set_params(learning_rate_init=rate).partial_fit(X_REG, Y_REG)
        steps.append(np.abs(est.coefs_[0] - before).max())
    assert steps[0] < 1e-9
    assert steps[1] / steps[0] == pytest.approx(10, rel=1e-2)


def test_a_lowered_rate_stays_until_the_rate_or_the_schedule_is_changed():
    est = small(MLPRegressor, solver="sgd", learning_rate="adaptive", tol=1e6, n_iter_no_change=1)
    for _ in range(5):
        est.partial_fit(X_REG, Y_REG)
    lowered = est._optimizer.learning_rate
    assert lowered < 0.001
    est.set_params(n_iter_no_change=1000).partial_fit(X_REG, Y_REG)
    assert est._optimizer.learning_rate == lowered
    est.set_params(learning_rate_init=0.02).partial_fit(X_REG, Y_REG)
    assert est._optimizer.learning_rate == 0.02
    est.set_params(learning_rate="invscaling").partial_fit(X_REG, Y_REG)
    assert est._optimizer.learning_rate == 0.02 / (est.t_ + 1) ** 0.5
    est.set_params(power_t=0.25).partial_fit(X_REG, Y_REG)
    assert est._optimizer.learning_rate == 0.02 / (est.t_ + 1) ** 0.25
    est.set_params(learning_rate="constant").partial_fit(X_REG, Y_REG)
    assert est._optimizer.learning_rate == 0.02


def test_another_solver_starts_with_a_state_of_its_own():
    est = small(MLPRegressor, solver="sgd").partial_fit(X_REG, Y_REG)
    est.set_params(solver="adam").partial_fit(X_REG, Y_REG)
    assert len(est._optimizer.state) == 2 and est._optimizer.t == 1
    est.partial_fit(X_REG, Y_REG)
    assert est._optimizer.t == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate_init", -1.0), ("beta_1", 1.5), ("momentum", 2.0), ("batch_size", 0)],
)
def test_a_senseless_new_setting_is_refused(name, value):
    est = small(MLPRegressor).partial_fit(X_REG, Y_REG)
    before = [W.copy() for W in est.coefs_]
    with pytest.raises(InvalidParameterError, match=name):
        est.set_params(**{name: value}).partial_fit(X_REG, Y_REG)
    for W, kept in zip(est.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, kept)


# ---- classes ----


@pytest.mark.parametrize("warm_start", [False, True])
def test_a_batch_may_lack_classes(warm_start):
    clf = small(MLPClassifier, warm_start=warm_start)
    clf.partial_fit(DIGITS[:5], DIGIT_LABELS[:5], classes=range(10))
    clf.partial_fit(DIGITS[7:8], DIGIT_LABELS[7:8])
    assert clf.predict_proba(DIGITS).shape == (300, 10)
    with pytest.raises(ValueError, match="classes not in"):
        clf.partial_fit(DIGITS[:1], [77])
    if warm_start:
        with pytest.raises(ValueError, match="warm_start can only be used"):
            clf.fit(DIGITS[:5], DIGIT_LABELS[:5])


def test_probabilities_of_one_class_are_one():
    clf = small(MLPClassifier).fit(DIGITS, np.full(len(DIGITS), "same"))
    for rows in (DIGITS, DIGITS[:2]):
        np.testing.assert_array_equal(clf.predict_proba(rows), np.ones((len(rows), 1)))
        np.testing.assert_array_equal(clf.predict_log_proba(rows), np.zeros((len(rows), 1)))


@pytest.mark.parametrize("method", ["predict_proba", "predict_log_proba", "predict"])
def test_folds_of_one_class_are_predicted(method):
    X = np.random.RandomState(0).randn(40, 3)
    y = np.repeat([0, 1], 20)
    folds = [(np.arange(20), np.arange(20, 40)), (np.arange(20, 40), np.arange(20))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        got = cross_val_predict(small(MLPClassifier), X, y, cv=folds, method=method)
    if method == "predict":
        np.testing.assert_array_equal(got, 1 - y)
    elif method == "predict_proba":
        np.testing.assert_array_equal(got, np.eye(2)[1 - y])


# ---- a call that is not like the one before ----


def assign_weights(est):
    est.coefs_[0] = est.coefs_[0] * 0.5


def assign_biases(est):
    est.intercepts_[-1] = est.intercepts_[-1] + 1


def assign_lists(est):
    est.coefs_ = [W * 0.5 for W in est.coefs_]


def change_in_place(est):
    est.coefs_[0][...] *= 0.5


def set_to(**params):
    return lambda est: est.set_params(**params)


CHANGED = {
    "nothing": lambda est: None,
    "weights": assign_weights,
    "biases": assign_biases,
    "all weights": assign_lists,
    "weights in place": change_in_place,
    "the output": lambda est: setattr(est, "out_activation_", "exp"),
    "the optimizer": lambda est: delattr(est, "_optimizer"),
    "solver": set_to(solver="sgd"),
    "activation": set_to(activation="tanh"),
    "dtype": set_to(dtype="auto"),
    "batch_size": set_to(batch_size=10),
    "shuffle": set_to(shuffle=False, batch_size=10),
    "random_state": set_to(random_state=5, batch_size=10),
    "n_threads": set_to(n_threads=2),
    "max_memory": set_to(max_memory=20_000),
}


@pytest.mark.parametrize("what", CHANGED)
def test_a_call_after_a_change_is_as_without_a_call_before(what):
    """Calls like the one before take a short way, which a copy of the estimator does not know."""
    X, y = X_REG, np.abs(Y_REG)
    est = small(MLPRegressor, dtype="float64", learning_rate_init=0.01)
    est.partial_fit(X, y).partial_fit(X, y)
    twin = copy.deepcopy(est)
    before = est.coefs_[1].copy()
    for e in (est, twin):
        CHANGED[what](e)
        e.partial_fit(X, y).partial_fit(X[:50], y[:50], sample_weight=y[:50] + 1)
    for ours, theirs in zip(
        est.coefs_ + est.intercepts_, twin.coefs_ + twin.intercepts_, strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert (est.coefs_[1] != before).any()
    assert est._optimizer.t == twin._optimizer.t and est.loss_ == pytest.approx(twin.loss_)


# ---- data that changes ----

LATER = {
    "NaN": (np.where(X_REG == X_REG[3, 2], np.nan, X_REG), Y_REG, {}, "X contains NaN"),
    "too few columns": (X_REG[:, :4], Y_REG, {}, "X has 4 features"),
    "two outputs": (X_REG, np.c_[Y_REG, Y_REG], {}, "y has 2 outputs"),
    "y of NaN": (X_REG, np.full_like(Y_REG, np.nan), {}, "y contains NaN"),
    "an unknown label": (DIGITS, np.maximum(DIGIT_LABELS, 9) + 1, {}, "classes not in"),
    "a label between": (DIGITS, DIGIT_LABELS + 0.5, {}, "classes not in|Unknown label type"),
    "other classes": (DIGITS, DIGIT_LABELS, {"classes": [0, 1, 2]}, "classes"),
    "fewer rows": (DIGITS, DIGIT_LABELS[:-1], {}, "inconsistent numbers"),
}


@pytest.mark.parametrize("name", LATER)
def test_bad_data_in_a_later_call_changes_nothing(name):
    X, y, more, message = LATER[name]
    cls = MLPRegressor if X.shape[1] <= 6 else MLPClassifier
    est = small(cls)
    first = {"classes": np.unique(DIGIT_LABELS)} if cls is MLPClassifier else {}
    est.partial_fit(inputs(cls), targets(cls), **first)
    est.partial_fit(inputs(cls), targets(cls)).partial_fit(inputs(cls), targets(cls))
    before = [a.copy() for a in est.coefs_ + est.intercepts_]
    with pytest.raises(ValueError, match=message):
        est.partial_fit(X, y, **more)
    for a, b in zip(est.coefs_ + est.intercepts_, before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert est.t_ == 3 * len(inputs(cls))


def test_classes_put_in_by_the_user_count_in_the_next_call():
    est = small(MLPClassifier, dtype="float64").partial_fit(DIGITS, DIGIT_LABELS, classes=range(10))
    twin = copy.deepcopy(est)
    est.partial_fit(DIGITS, DIGIT_LABELS)
    est.classes_ = est.classes_ + 100
    est.partial_fit(DIGITS, DIGIT_LABELS + 100)
    twin.partial_fit(DIGITS, DIGIT_LABELS).partial_fit(DIGITS, DIGIT_LABELS)
    assert_equal_params(est, twin)


# ---- interruptions ----


class Interrupting:
    """A function that is interrupted in its k-th call."""

    def __init__(self, function, k):
        self.function, self.left = function, k

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return self.function(*args, **kwargs)


class Shuffler(np.random.RandomState):
    """Its third shuffle is interrupted."""

    left = 3

    def shuffle(self, x):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        super().shuffle(x)


def assert_consistent(est, batches):
    assert est._optimizer.t == est.n_iter_ * batches
    assert len(est.loss_curve_) == est.n_iter_
    assert est.t_ == est.n_iter_ * (len(X_REG) - 12 * est.early_stopping)
    if est.n_iter_:
        assert est.loss_ == est.loss_curve_[-1]
    if est.early_stopping:
        assert len(est.validation_scores_) == est.n_iter_
        assert est.best_validation_score_ == np.nanmax([*est.validation_scores_, -np.inf])
    assert np.isfinite(est.predict(X_REG)).all()


PLACES = {
    "scoring": (Validation, "score"),
    "keeping the best": (Validation, "keep"),
    "the order": (_loops.Rows, "begin_epoch"),
    "the loss": (_loops, "_record_loss"),
    "the score": (_loops, "record_score"),
    "whether to stop": (_loops, "_stops"),
}


@pytest.mark.parametrize("solver", STOCHASTIC)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("place", PLACES)
def test_an_interruption_between_epochs_counts_nothing_twice(place, k, solver, monkeypatch):
    owner, name = PLACES[place]
    interrupting = Interrupting(getattr(owner, name), k)
    # A function, so that it is a method in a class.
    monkeypatch.setattr(owner, name, lambda *args, **kwargs: interrupting(*args, **kwargs))
    est = small(MLPRegressor, early_stopping=True, batch_size=36, max_iter=10, solver=solver)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        est.fit(X_REG, Y_REG)
    if place == "the loss":  # the epoch was trained and is not in the history
        assert est._optimizer.t == (est.n_iter_ + 1) * 3 == 3 * k
    elif place == "keeping the best":
        assert est.n_iter_ >= 1 and len(est.validation_scores_) == est.n_iter_
    else:
        assert_consistent(est, 3)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timer")
def test_updates_of_an_interrupted_epoch_count():
    """Adam's moments went on with them, so must its count."""

    def interrupt(signum, frame):
        raise KeyboardInterrupt

    X, y = np.tile(X_REG, (3000, 1)), np.tile(Y_REG, 3000)
    est = small(MLPRegressor, hidden_layer_sizes=(64, 64), batch_size=4, n_threads=1)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.warns(UserWarning, match="interrupted by user"):
            est.fit(X, y)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert est._optimizer.t > est.n_iter_ * (len(X) // 4)


def test_an_interrupted_shuffle_counts_nothing_twice():
    est = small(MLPRegressor, batch_size=40, random_state=Shuffler(0))
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        est.fit(X_REG, Y_REG)
    assert est.n_iter_ == 2
    assert_consistent(est, 3)
    # What was interrupted goes on as if it had ended there.
    twin = small(MLPRegressor, batch_size=40, max_iter=2, random_state=np.random.RandomState(0))
    assert_equal_params(est, twin.fit(X_REG, Y_REG))


def test_an_interrupted_scoring_keeps_the_best_parameters(monkeypatch):
    settings = dict(early_stopping=True, learning_rate_init=0.01)
    whole = small(MLPRegressor, max_iter=3, **settings).fit(X_REG, Y_REG)
    interrupting = Interrupting(Validation.score, 4)
    monkeypatch.setattr(Validation, "score", lambda self: interrupting(self))
    with pytest.warns(UserWarning, match="interrupted"):
        est = small(MLPRegressor, max_iter=10, **settings).fit(X_REG, Y_REG)
    assert_equal_params(est, whole)
    assert est.n_iter_ == 4 and np.isnan(est.validation_scores_[3])
    assert est.validation_scores_[:3] == whole.validation_scores_


def test_an_interrupted_lbfgs_shows_its_last_iteration(monkeypatch):
    from fastbp import _lbfgs

    expected = small(MLPRegressor, solver="lbfgs", dtype="float64", max_iter=3).fit(X_REG, Y_REG)
    interrupting = Interrupting(_lbfgs._record, 4)
    monkeypatch.setattr(_lbfgs, "_record", interrupting)
    est = small(MLPRegressor, solver="lbfgs", dtype="float64", max_iter=30)
    with pytest.raises(KeyboardInterrupt):
        est.fit(X_REG, Y_REG)
    assert est.n_iter_ == 3 and est.loss_curve_ == expected.loss_curve_
    assert est.best_loss_ == est.loss_ == min(est.loss_curve_)
    assert_equal_params(est, expected)


# ---- warnings ----


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_warning_made_an_error_loses_nothing(early_stopping, dtype):
    settings = dict(early_stopping=early_stopping, learning_rate_init=0.05, max_iter=8, dtype=dtype)
    X, y = X_REG[:60], Y_REG[:60]  # so few that they are trained on in float64
    for rows in (slice(None), slice(60)):
        X, y = X_REG[rows], Y_REG[rows]
        expected = small(MLPRegressor, **settings).fit(X, y)
        est = small(MLPRegressor, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with pytest.raises(ConvergenceWarning):
                est.fit(X, y)
        assert_equal_params(est, expected)
        assert est.validation_scores_ == expected.validation_scores_


def test_a_warning_of_lbfgs_made_an_error_loses_nothing():
    expected = fitted(MLPRegressor, solver="lbfgs")
    est = small(MLPRegressor, solver="lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="lbfgs failed to converge"):
            est.fit(X_REG, Y_REG)
    assert_equal_params(est, expected)
    assert est.loss_curve_ == expected.loss_curve_


def test_an_interruption_made_an_error_keeps_the_best(monkeypatch):
    settings = dict(early_stopping=True, learning_rate_init=0.01)
    whole = small(MLPRegressor, max_iter=3, **settings).fit(X_REG, Y_REG)
    interrupting = Interrupting(Validation.score, 4)
    monkeypatch.setattr(Validation, "score", lambda self: interrupting(self))
    est = small(MLPRegressor, max_iter=10, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match="interrupted"):
            est.fit(X_REG, Y_REG)
    assert_equal_params(est, whole)


class Sub(MLPRegressor):
    def fit(self, X, y):
        return super().fit(X, y)


ROADS = {
    "directly": lambda est: est.fit(X_REG, Y_REG),
    "by a pipeline": lambda est: make_pipeline(StandardScaler(), est).fit(X_REG, Y_REG),
    "by a search": lambda est: sklearn.model_selection.GridSearchCV(est, {}, cv=2).fit(
        X_REG, Y_REG
    ),
}
WARNING = {
    "max_iter": {},
    "lbfgs": {"solver": "lbfgs"},
    "batch_size": {"batch_size": 1000, "tol": 1e9},
}


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("name", WARNING)
def test_warnings_point_at_the_line_of_the_user(name, road):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ROADS[road](small(MLPRegressor, **WARNING[name]))
    assert caught
    first = inspect.getsourcelines(ROADS[road])[1]
    assert {w.filename for w in caught} == {__file__}
    assert {w.lineno for w in caught} <= {first, first + 1}


def test_warnings_of_a_subclass_point_at_its_fit():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small(Sub).fit(X_REG, Y_REG)
        small(MLPClassifier).fit(DIGITS, DIGIT_LABELS[:, np.newaxis])
    assert {w.filename for w in caught} == {__file__}
    assert caught[0].lineno == inspect.getsourcelines(Sub.fit)[1] + 1
    assert "column-vector" in str(caught[1].message)


# ---- the history ----


@both
@pytest.mark.parametrize("early_stopping", [False, True])
def test_lbfgs_has_a_loss_for_each_iteration(cls, early_stopping):
    est = fitted(cls, solver="lbfgs", max_iter=12, early_stopping=early_stopping)
    theirs = getattr(sklearn.neural_network, cls.__name__)(
        **{n: est.get_params()[n] for n in ("hidden_layer_sizes", "solver", "max_iter")},
        random_state=0,
    ).fit(inputs(cls), targets(cls))
    assert len(est.loss_curve_) == est.n_iter_ == theirs.n_iter_ == 12
    assert est.loss_curve_ == sorted(est.loss_curve_, reverse=True)
    assert est.loss_ == est.best_loss_ == est.loss_curve_[-1]
    assert est.validation_scores_ is est.best_validation_score_ is None
    assert est.t_ == theirs.t_ == 0
    warm = clone(est).set_params(warm_start=True, max_iter=3).fit(inputs(cls), targets(cls))
    warm.fit(inputs(cls), targets(cls))
    assert warm.n_iter_ == 3 and len(warm.loss_curve_) == 6
    assert est.set_params(max_iter=2).fit(inputs(cls), targets(cls)).n_iter_ == 2
    assert len(est.loss_curve_) == 2


PLAIN = (int, float, str, dict, type(None))


@both
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_fitted_attributes_are_plain_and_go_into_json(cls, solver, early_stopping):
    est = fitted(cls, solver=solver, early_stopping=early_stopping)
    names = [n for n in vars(est) if n.endswith("_") and not n.startswith("_")]
    assert {"loss_", "loss_curve_", "memory_plan_", "coefs_"} <= set(names)
    for name in names:
        value = getattr(est, name)
        if name in ("coefs_", "intercepts_", "classes_"):
            value = [np.asarray(a).tolist() for a in value]
        elif name != "memory_plan_":
            assert type(value) in (*PLAIN, list), name
        if isinstance(value, list) and name not in ("coefs_", "intercepts_", "classes_"):
            assert {type(v) for v in value} <= {*PLAIN}, name
        json.loads(json.dumps(value))
    plan = est.memory_plan_
    again = json.loads(json.dumps(plan))
    assert again[1:3] == [plan.arena_bytes, plan.total_bytes]
    assert [row[0] for row in again[0]] == [row.name for row in plan.rows]
    assert str(plan).splitlines()[0].split() == ["name", "shape", "offset", "bytes"]
