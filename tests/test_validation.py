"""Validation sets, what is watched on them, when it ends a fit, and what the curves say."""

import functools
import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from estimator_problems import (
    DIGIT_LABELS,
    DIGITS,
    X_REG,
    Y_REG,
    assert_equal_params,
    both,
    inputs,
    small,
    targets,
)
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, log_loss, make_scorer, mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MultiLabelBinarizer, StandardScaler

from fastbp import MLPClassifier, MLPRegressor, _core, _loops

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SOLVERS = ("adam", "sgd", "lbfgs")
CURVES = ("iteration", "seconds", "loss", "validation_loss", "validation_score", "learning_rate")
solvers = pytest.mark.parametrize("solver", SOLVERS)


def halves(cls):
    """X and y to train on, X and y to validate on."""
    X, X_val, y, y_val = train_test_split(inputs(cls), targets(cls), random_state=1)
    return X, y, X_val, y_val


def weights_of(X):
    return np.linspace(0.1, 2, X.shape[0])


def state_of(est):
    return pickle.dumps(vars(est))


# ---- the validation loss and score ----


def two_classes(y):
    return (np.asarray(y) > 4).astype(int)


def multilabel(y):
    return MultiLabelBinarizer().fit_transform([[v % 2, 2 + v % 3] for v in y])


def loss_by_scikit_learn(est, X, y, weight):
    if isinstance(est, MLPRegressor):
        return mean_squared_error(y, est.predict(X), sample_weight=weight) / 2
    proba = est.predict_proba(X)
    if y.ndim == 2:
        cross_entropy = -(y * np.log(proba) + (1 - y) * np.log1p(-proba)).sum(axis=1)
        return np.average(cross_entropy, weights=weight)
    return log_loss(y, proba, sample_weight=weight, labels=est.classes_)


KINDS = {
    "classes": (MLPClassifier, lambda y: y),
    "names": (MLPClassifier, lambda y: np.array([f"c{v}" for v in y])),
    "two classes": (MLPClassifier, two_classes),
    "multilabel": (MLPClassifier, multilabel),
    "numbers": (MLPRegressor, lambda y: y),
    "two outputs": (MLPRegressor, lambda y: np.column_stack([y, -2 * y])),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@solvers
def test_loss_and_score_are_those_of_the_present_weights(solver, kind, weighted):
    cls, target = KINDS[kind]
    X, y, X_val, y_val = halves(cls)
    y, y_val = target(y), target(y_val)
    weight = weights_of(X_val) if weighted else None
    est = small(cls, solver=solver, dtype="float64", alpha=1.0)
    est.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    expected = loss_by_scikit_learn(est, X_val, y_val, weight)
    assert est.validation_loss_curve_[-1] == pytest.approx(expected, rel=1e-12)
    assert est.validation_scores_[-1] == pytest.approx(est.score(X_val, y_val, weight), rel=1e-12)
    assert len(est.validation_scores_) == len(est.validation_loss_curve_) == est.n_iter_
    assert est.best_validation_score_ == max(est.validation_scores_)
    assert est.best_iter_ == 1 + np.argmin(est.loss_curve_)


@both
@solvers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_that_are_watched_change_nothing(cls, solver, dtype):
    X, y, X_val, y_val = halves(cls)
    settings = dict(solver=solver, dtype=dtype, max_iter=4)
    alone = small(cls, **settings).fit(X, y)
    est = small(cls, **settings).fit(X, y, X_val=X_val, y_val=y_val)
    assert_equal_params(est, alone)
    assert est.loss_curve_ == alone.loss_curve_ and est.best_loss_ == alone.best_loss_
    assert alone.validation_loss_curve_ is None and alone.validation_scores_ is None
    assert alone.best_iter_ == 4


@both
def test_early_stopping_records_the_loss_of_the_rows_held_out(cls):
    seen = []

    def keeping(est, X, y):
        seen.append((X, y))
        return 0.0

    X, y = inputs(cls), targets(cls)
    small(cls, early_stopping=True, max_iter=1, scoring=keeping).fit(X, y)
    est = small(cls, early_stopping=True, max_iter=1, dtype="float64").fit(X, y)
    ((X_held, y_held),) = seen
    assert len(X_held) == len(X) // 10
    expected = loss_by_scikit_learn(est, X_held, y_held, None)
    assert est.validation_loss_curve_ == pytest.approx([expected], rel=1e-12)
    assert est.score(X_held, y_held) == est.validation_scores_[0]


FORMS = {
    "float32": lambda X: X.astype(np.float32),
    "by columns": np.asfortranarray,
    "every second": lambda X: np.repeat(X, 2, axis=0)[::2],
    "list": lambda X: X.tolist(),
    "csr": sparse.csr_array,
    "csc": sparse.csc_matrix,
    "frame": pd.DataFrame,
}


@pytest.mark.parametrize("trained_on", ["dense", "few non-zeros", "many non-zeros"])
@pytest.mark.parametrize("form", FORMS)
def test_validation_rows_of_every_form(form, trained_on):
    X, y, X_val, y_val = halves(MLPClassifier)
    X = np.where(X > (0.9 if trained_on == "few non-zeros" else 0), X, 0)
    X = X if trained_on == "dense" else sparse.csr_array(X)
    X_val = np.round(X_val * 16)  # what float32 holds, too
    expected = small(MLPClassifier).fit(X, y, X_val=X_val, y_val=y_val)
    est = small(MLPClassifier).fit(X, y, X_val=FORMS[form](X_val), y_val=y_val.tolist())
    np.testing.assert_allclose(
        est.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_validation_arrays_of_floats_are_not_copied(dtype, monkeypatch):
    from fastbp import _validation

    seen = []

    def keeping(draft, X, *rest):
        seen.append(X)
        return _core_data(draft, X, *rest)

    _core_data = _validation.finite_data
    monkeypatch.setattr(_validation, "finite_data", keeping)
    X, y, X_val, y_val = halves(MLPRegressor)
    X_val = X_val.astype(dtype)
    small(MLPRegressor).fit(X, y, X_val=X_val, y_val=y_val)
    assert seen[0] is X_val


# ---- early stopping on rows of the caller's own ----


@both
@pytest.mark.parametrize("scoring", [None, "loss"])
def test_early_stopping_by_given_rows_keeps_the_best_weights(cls, scoring):
    X, y, X_val, y_val = halves(cls)
    settings = dict(learning_rate_init=0.05, max_iter=40, n_iter_no_change=3, scoring=scoring)
    est = small(cls, early_stopping=True, **settings)
    est.fit(X, y, X_val=X_val, y_val=y_val)
    scores = est.validation_scores_
    if scoring == "loss":
        assert scores == [-loss for loss in est.validation_loss_curve_]
    assert est.best_iter_ == 1 + np.argmax(scores) < len(scores)
    assert est.best_validation_score_ == max(scores)
    # All rows of X were trained on, and validation_fraction was not used.
    best = small(cls, **{**settings, "max_iter": est.best_iter_}).fit(X, y)
    assert_equal_params(est, best)
    assert est.best_loss_ is None


def test_a_fit_that_stops_says_what_did_not_improve(capsys):
    X, y, X_val, y_val = halves(MLPRegressor)
    est = small(MLPRegressor, early_stopping=True, scoring="loss", tol=10.0, n_iter_no_change=1)
    est.set_params(verbose=True).fit(X, y, X_val=X_val, y_val=y_val)
    out = capsys.readouterr().out
    assert f"Validation loss: {est.validation_loss_curve_[0]:f}" in out
    assert "Validation loss did not improve more than tol=10" in out
    assert "score" not in out


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_a_second_set_of_rows_begins_with_the_score_of_the_present_weights(scoring):
    X, y, X_val, y_val = halves(MLPRegressor)
    settings = dict(early_stopping=True, warm_start=True, scoring=scoring)
    est = small(MLPRegressor, learning_rate_init=0.05, **settings)
    est.fit(X, y, X_val=X_val, y_val=y_val)
    before, easy = est.coefs_[0].copy(), est.best_validation_score_
    harder = y_val + np.linspace(-3, 3, len(y_val))  # of which little can be learnt
    est.fit(X, y, X_val=X_val, y_val=harder)
    assert est.best_validation_score_ == max(est.validation_scores_[5:]) < easy
    assert est.best_iter_ == 6 + np.argmax(est.validation_scores_[5:])
    assert not np.array_equal(before, est.coefs_[0])
    assert len(est.validation_scores_) == 10


def test_weights_that_a_second_fit_makes_worse_stay():
    X, y, X_val, y_val = halves(MLPRegressor)
    est = small(MLPRegressor, early_stopping=True, warm_start=True, scoring="r2")
    est.fit(X, y, X_val=X_val, y_val=y_val)
    twin = pickle.loads(pickle.dumps(est)).set_params(learning_rate_init=10.0, max_iter=2)
    twin.fit(X, y, X_val=X_val[::2], y_val=y_val[::2])
    assert_equal_params(twin, est)
    assert twin.best_validation_score_ == est.score(X_val[::2], y_val[::2])
    assert twin.best_iter_ == est.best_iter_


def test_present_weights_without_a_score_are_beaten_by_any_that_has_one():
    X, y, X_val, y_val = halves(MLPRegressor)
    scores = iter([np.nan, -2.0, -1.0])
    est = small(MLPRegressor, warm_start=True).fit(X, y)
    est.set_params(early_stopping=True, scoring=lambda *_: next(scores), max_iter=2)
    est.fit(X, y, X_val=X_val, y_val=y_val)
    assert est.best_validation_score_ == -1.0 and est.best_iter_ == 7


# ---- what does not fit ----

X, Y, X_VAL, Y_VAL = halves(MLPClassifier)
BAD_SETS = {
    "no y_val": (dict(X_val=X_VAL), "X_val is provided, but y_val was not"),
    "no X_val": (dict(y_val=Y_VAL), "y_val is provided, but X_val was not"),
    "weights alone": (dict(sample_weight_val=Y_VAL), "sample_weight_val is provided, but X_val"),
    "features": (dict(X_val=X_VAL[:, 1:], y_val=Y_VAL), "X_val.*63 features.*expecting 64"),
    "rows": (dict(X_val=X_VAL, y_val=Y_VAL[1:]), "y_val.*inconsistent numbers of samples"),
    "labels": (
        dict(X_val=X_VAL, y_val=Y_VAL + 7),
        r"y_val has .* \[10, .*16\], which y has",
    ),
    "NaN": (dict(X_val=np.full_like(X_VAL, np.nan), y_val=Y_VAL), "X_val.*NaN"),
    "sparse NaN": (
        dict(X_val=sparse.csr_array(np.full_like(X_VAL, np.nan)), y_val=Y_VAL),
        "X_val.*NaN",
    ),
    "text": (dict(X_val=np.full(X_VAL.shape, "a"), y_val=Y_VAL), "X_val"),
    "weights of other rows": (
        dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=np.ones(3)),
        r"sample_weight_val.*shape \(3,\)",
    ),
    "weights of zero": (
        dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=np.zeros(len(Y_VAL))),
        "sample_weight_val.*sum 0",
    ),
}


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", BAD_SETS)
def test_bad_validation_sets_are_named_and_change_nothing(name, early_stopping):
    passed, message = BAD_SETS[name]
    est = small(MLPClassifier, early_stopping=early_stopping).fit(X, Y)
    before = state_of(est)
    with pytest.raises(ValueError, match=message):
        est.fit(X, Y, **passed)
    assert state_of(est) == before


def test_bad_validation_targets_of_a_regressor_are_named():
    X, y, X_val, y_val = halves(MLPRegressor)
    for given, message in (
        (np.column_stack([y_val, y_val]), "y_val has 2 outputs: it takes 1"),
        (np.full(len(y_val), np.nan), "y_val.*NaN"),
        (np.full(len(y_val), np.datetime64("2020-01-01")), "y_val.*datetime64"),
    ):
        with pytest.raises((ValueError, TypeError), match=message):
            small(MLPRegressor).fit(X, y, X_val=X_val, y_val=given)
    poisson = small(MLPRegressor, loss="poisson")
    with pytest.raises(ValueError, match="y_val.*must not be negative"):
        poisson.fit(X, np.abs(y), X_val=X_val, y_val=-1 - np.abs(y_val))


NAMED_AS = {
    "features": (dict(X_val=X_VAL[:, 1:], y_val=Y_VAL), "X_val has 63 features, but MLPCl"),
    "NaN": (dict(X_val=np.full_like(X_VAL, np.nan), y_val=Y_VAL), "Input X_val contains NaN"),
    "NaN in y": (dict(X_val=X_VAL, y_val=np.full(len(Y_VAL), np.nan)), "Input y_val contains NaN"),
    "rows": (dict(X_val=X_VAL, y_val=Y_VAL[1:]), "X_val and y_val: Found input variables"),
    "text": (dict(X_val=np.full(X_VAL.shape, "y", object), y_val=Y_VAL), "string to float: 'y'$"),
    "weights": (
        dict(X_val=X_VAL, y_val=Y_VAL, sample_weight_val=np.ones(3)),
        r"^sample_weight_val has shape \(3,\): .* per row of X_val",
    ),
}


@pytest.mark.parametrize("name", NAMED_AS)
def test_messages_name_the_arguments_of_the_validation_set(name):
    passed, message = NAMED_AS[name]
    with pytest.raises(ValueError, match=message):
        small(MLPClassifier).fit(X, Y, **passed)


@pytest.mark.parametrize("weighted", [False, True])
def test_class_weights_multiply_the_weights_of_the_validation_rows(weighted):
    seen = []

    def keeping(est, X, y, sample_weight):
        seen.append(sample_weight)
        return 0.0

    weight = weights_of(X_VAL) if weighted else None
    passed = dict(X_val=X_VAL, y_val=two_classes(Y_VAL), sample_weight_val=weight)
    settings = dict(class_weight={0: 1.0, 1: 5.0}, dtype="float64")
    est = small(MLPClassifier, **settings).fit(X, two_classes(Y), **passed)
    expected = np.where(two_classes(Y_VAL), 5.0, 1.0) * (1.0 if weight is None else weight)
    loss = loss_by_scikit_learn(est, X_VAL, two_classes(Y_VAL), expected)
    assert est.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)
    score = est.score(X_VAL, two_classes(Y_VAL), expected)
    assert est.validation_scores_[-1] == pytest.approx(score, rel=1e-12)
    small(MLPClassifier, scoring=keeping, **settings).fit(X, two_classes(Y), **passed)
    np.testing.assert_array_equal(seen[0], expected)


def test_class_weights_that_leave_nothing_of_y_val_name_it():
    y = (Y > 4).astype(int)
    est = small(MLPClassifier, class_weight={0: 1.0, 1: 0.0})
    with pytest.raises(ValueError, match="class_weight gives rows of y_val weights with sum 0"):
        est.fit(X, y, X_val=X_VAL, y_val=np.ones(len(X_VAL), int))


@pytest.mark.parametrize("named", ["X", "X_val"])
def test_names_on_one_side_are_warned_of_once(named):
    X, y, X_val, y_val = halves(MLPRegressor)
    frame = functools.partial(pd.DataFrame, columns=[*"abcdef"])
    X, X_val = (frame(X), X_val) if named == "X" else (X, frame(X_val))
    est = small(MLPRegressor, scoring="r2")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X, y, X_val=X_val, y_val=y_val)
    assert len([w for w in caught if "feature names" in str(w.message)]) == 1


def test_names_of_features_are_compared():
    X, y, X_val, y_val = halves(MLPRegressor)
    X, X_val = (pd.DataFrame(a, columns=[*"abcdef"]) for a in (X, X_val))
    est = small(MLPRegressor).fit(X, y, X_val=X_val, y_val=y_val)
    assert len(est.validation_scores_) == est.n_iter_
    with pytest.raises(ValueError, match=r"X_val(.|\n)*feature names"):
        est.fit(X, y, X_val=X_val[[*"bacdef"]], y_val=y_val)


# ---- scoring ----

SCORINGS = {
    MLPClassifier: ("accuracy", "neg_log_loss", "f1_macro"),
    MLPRegressor: ("r2", "neg_mean_absolute_error", "neg_max_error"),
}


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize(
    ("cls", "scoring"), [(cls, name) for cls, names in SCORINGS.items() for name in names]
)
def test_a_scorer_by_name_scores_the_present_weights(cls, scoring, solver, own):
    X, y, X_val, y_val = halves(cls)
    given = make_scorer(mean_squared_error, greater_is_better=False) if own else scoring
    if own and cls is MLPClassifier:
        given = get_scorer(scoring)
    weight = weights_of(X_val)
    est = small(cls, scoring=given, dtype="float64", solver=solver)
    est.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    scorer = get_scorer(given)
    takes_weight = scoring != "neg_max_error" or own
    expected = scorer(est, X_val, y_val, **({"sample_weight": weight} if takes_weight else {}))
    assert est.validation_scores_[-1] == pytest.approx(expected, rel=1e-12)
    assert len(set(est.validation_scores_)) > 1
    assert not np.isnan(est.validation_loss_curve_).any()


@pytest.mark.parametrize("n", [40, 90])  # with few rows the net is trained in float64
def test_a_scorer_predicts_with_the_weights_of_its_epoch(n):
    X, y, X_val, y_val = halves(MLPRegressor)
    X, y = X[:n], y[:n]
    predictions = []

    def keeping(est, X, y):
        assert est is not fit and X is X_val and y is y_val
        predictions.append(est.predict(X))
        return -float(len(predictions))  # the first is the best

    fit = small(MLPRegressor, scoring=keeping, early_stopping=True, max_iter=3)
    fit.fit(X, y, X_val=X_val, y_val=y_val)
    for k, prediction in enumerate(predictions, start=1):
        then = small(MLPRegressor, max_iter=k).fit(X, y)
        np.testing.assert_allclose(prediction, then.predict(X_val), rtol=1e-5, atol=1e-6)
    assert len(predictions) == 3 and fit.best_iter_ == 1
    assert_equal_params(fit, small(MLPRegressor, max_iter=1).fit(X, y))


def test_a_scorer_gets_labels_and_weights_of_the_rows_held_out():
    names = np.array([f"digit {v}" for v in DIGIT_LABELS])
    weight = weights_of(DIGITS)
    frame = pd.DataFrame(DIGITS, columns=[f"pixel {i}" for i in range(64)])
    seen = []

    def keeping(est, X, y, sample_weight):
        seen.append((X, y, sample_weight))
        return np.float32(est.score(X, y, sample_weight))

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # none about names of features
        warnings.simplefilter("ignore", ConvergenceWarning)
        est = small(MLPClassifier, scoring=keeping, early_stopping=True)
        est.fit(frame, names, sample_weight=weight)
    twin = small(MLPClassifier, early_stopping=True).fit(frame, names, sample_weight=weight)
    X, y, held = seen[0]
    rows = [np.flatnonzero((DIGITS == row).all(axis=1))[0] for row in X]
    assert (names[rows] == y).all() and (weight[rows] == held).all()
    np.testing.assert_allclose(est.validation_scores_, twin.validation_scores_, rtol=1e-6)
    assert type(est.validation_scores_[0]) is float


class ScorerError(Exception):
    pass


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n", [40, 90])
def test_a_scorer_that_raises_loses_nothing(n, early_stopping, solver):
    X, y, X_val, y_val = halves(MLPRegressor)
    X, y = X[:n], y[:n]
    settings = dict(early_stopping=early_stopping, solver=solver, learning_rate_init=0.01)
    calls = []

    def failing(est, X, y):
        calls.append(est)
        if len(calls) == 4:
            raise ScorerError("the fourth")
        return float(len(calls))

    est = small(MLPRegressor, scoring=failing, max_iter=9, **settings)
    with pytest.raises(ScorerError, match="the fourth"):
        est.fit(X, y, X_val=X_val, y_val=y_val)
    # The weights of the best epoch, or the present ones.
    kept = 3 if early_stopping and solver == "adam" else 4
    settings["early_stopping"] = False
    assert_equal_params(est, small(MLPRegressor, max_iter=kept, **settings).fit(X, y))
    assert est.n_iter_ == len(est.loss_curve_) == len(est.validation_scores_) == 4
    assert np.isnan(est.validation_scores_[3])
    assert {len(column) for column in est.history_.values()} == {4}
    est.set_params(scoring=None, warm_start=True, max_iter=2).fit(X, y)
    assert len(est.loss_curve_) == 6


def raising(est, X, y):
    raise ScorerError


BAD_SCORINGS = {
    "unknown": ("nothing", "scoring='nothing' is unknown: it takes None, 'loss'"),
    "a metric": (mean_squared_error, "scoring value .* looks like it is a metric"),
    "a number": (3, "'scoring' parameter"),
}


@both
@pytest.mark.parametrize("name", BAD_SCORINGS)
def test_bad_scoring_is_named_and_changes_nothing(cls, name):
    scoring, message = BAD_SCORINGS[name]
    est = small(cls).fit(inputs(cls), targets(cls)).set_params(scoring=scoring)
    before = vars(est).copy()
    with pytest.raises(ValueError, match=message):
        est.fit(inputs(cls), targets(cls))
    assert vars(est) == before


@pytest.mark.parametrize("score", ["high", None, [0.5], {"r2": 0.5}])
def test_scores_must_be_numbers(score):
    est = small(MLPRegressor, early_stopping=True, scoring=lambda est, X, y: score)
    with pytest.raises(ValueError, match=r"scoring=.*gave .*it takes a scorer that returns one"):
        est.fit(X_REG, Y_REG)
    assert np.isfinite(est.predict(X_REG)).all()


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_scores_of_another_kind_do_not_count(scoring):
    """A loss is never as high as an R2 of before."""
    est = small(MLPRegressor, early_stopping=True, warm_start=True, scoring="r2")
    est.fit(X_REG, Y_REG)
    before = est.best_validation_score_
    est.set_params(scoring=scoring).fit(X_REG, Y_REG)
    assert len(est.validation_scores_) == len(est.validation_loss_curve_) == 10
    if scoring == "loss":
        assert est.best_validation_score_ == max(est.validation_scores_[5:]) < 0
    elif scoring == "r2":
        assert est.best_validation_score_ == max(est.validation_scores_) >= before


def test_a_scorer_survives_copies():
    est = small(MLPRegressor, early_stopping=True, scoring=make_scorer(mean_squared_error))
    twin = pickle.loads(pickle.dumps(clone(est)))
    assert_equal_params(est.fit(X_REG, Y_REG), twin.fit(X_REG, Y_REG))


def test_scoring_of_before_is_not_pickled():
    est = small(MLPRegressor, early_stopping=True, scoring=lambda est, X, y: 1.0)
    est.fit(X_REG, Y_REG).set_params(scoring=None)
    assert_equal_params(pickle.loads(pickle.dumps(est)), est)


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("score", [np.nan, -np.inf])
def test_scores_that_beat_nothing_are_warned_of_at_the_end(score, own):
    est = small(MLPRegressor, early_stopping=True, scoring=lambda est, X, y: score)
    rows = dict(X_val=X_REG, y_val=Y_REG) if own else {}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        est.fit(X_REG, Y_REG, **rows)
    (mine,) = [w for w in caught if "No epoch beat the initial weights" in str(w.message)]
    assert mine.category is UserWarning and mine.filename == __file__
    for part in (
        "scoring=<function",
        f"gave {score}",
        "it takes a scorer that returns numbers above -inf",
    ):
        assert part in str(mine.message)
    assert est.best_iter_ == 0 and est.n_iter_ == 5
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        small(MLPRegressor, early_stopping=True).fit(X_REG, Y_REG, **rows)
        with pytest.raises(UserWarning, match="No epoch beat"):
            est.fit(X_REG, Y_REG, **rows)
    assert len(est.loss_curve_) == 5


def test_a_scorer_that_trains_its_copy_changes_nothing():
    def training(est, X, y):
        assert not hasattr(est, "_optimizer") and not hasattr(est, "_steady")
        score = est.score(X, y)
        est.set_params(early_stopping=False).partial_fit(X, -y)
        for W in (*est.coefs_, *est.intercepts_):
            W[...] = np.nan
        return score

    X, y, X_val, y_val = halves(MLPRegressor)
    for settings in ({}, {"early_stopping": True}, {"solver": "lbfgs"}):
        est, twin = (small(MLPRegressor, scoring=s, **settings) for s in (training, "r2"))
        if "solver" in settings:
            est.set_params(scoring=lambda e, X, y: training(e.set_params(solver="adam"), X, y))
        est.fit(X, y, X_val=X_val, y_val=y_val)
        twin.fit(X, y, X_val=X_val, y_val=y_val)
        assert_equal_params(est, twin)
        for curve in ("loss_curve_", "validation_scores_", "validation_loss_curve_"):
            assert getattr(est, curve) == getattr(twin, curve)
        assert len(est.history_["loss"]) == 5


class OwnValueError(ValueError):
    pass


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("kind", [TypeError, ValueError, OwnValueError, KeyError])
def test_errors_of_a_scorer_say_that_it_was_scoring(kind, solver):
    cause = kind("what went wrong")

    def failing(est, X, y):
        raise cause

    X, y, X_val, y_val = halves(MLPRegressor)
    est = small(MLPRegressor, scoring=failing, solver=solver)
    with pytest.raises(kind, match="what went wrong") as caught:
        est.fit(X, y, X_val=X_val, y_val=y_val)
    if kind in (TypeError, ValueError):
        assert str(caught.value) == f"scoring={failing!r}: what went wrong"
        assert type(caught.value) is kind and caught.value.__cause__ is cause
    else:
        assert caught.value is cause
    with pytest.raises(ValueError, match="scoring='neg_mean_squared_log_error': .*(negative|-1)"):
        est.set_params(scoring="neg_mean_squared_log_error")
        est.fit(X, y, X_val=X_val, y_val=-1 - np.abs(y_val))


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_iterator_of_scores_that_is_exhausted_is_an_error(solver):
    scores = iter([1.0, 2.0])
    est = small(MLPRegressor, solver=solver, scoring=lambda *_: next(scores))
    error = StopIteration if solver == "adam" else RuntimeError
    with pytest.raises(error) as caught:
        est.fit(X_REG, Y_REG, X_val=X_REG, y_val=Y_REG)
    if solver == "lbfgs":
        assert "StopIteration" in str(caught.value)
        assert isinstance(caught.value.__cause__, StopIteration)
    assert len(est.loss_curve_) == 3 and np.isfinite(est.predict(X_REG)).all()


@pytest.mark.parametrize("calls", [0, 4])
def test_an_own_loss_that_raises_stop_iteration_is_an_error(calls):
    left = iter(range(calls))

    def exhausted(output, y, sample_weight):
        next(left)
        return 0.5 * ((output - y) ** 2).sum(axis=1), output - y

    est = small(MLPRegressor, solver="lbfgs", loss=exhausted)
    with pytest.raises(RuntimeError, match="StopIteration"):
        est.fit(X_REG, Y_REG, X_val=X_REG, y_val=Y_REG)


def test_a_scorer_without_a_signature_gets_no_weights():
    X, y, X_val, y_val = halves(MLPRegressor)
    builtin = functools.partial(max, 0.5, key=lambda v: float(isinstance(v, float)))
    est = small(MLPRegressor, scoring=builtin)
    est.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weights_of(X_val))
    assert est.validation_scores_ == [0.5] * 5


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_a_score_may_be_an_array_without_dimensions(dtype):
    est = small(MLPRegressor, early_stopping=True, scoring=lambda *_: np.array(1, dtype))
    assert est.fit(X_REG, Y_REG).validation_scores_ == [1.0] * 5
    assert type(est.validation_scores_[0]) is float


# ---- time ----


class Clock:
    """Each look takes a second."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        self.now += 1.0
        return self.now


@both
@solvers
def test_max_time_ends_a_fit_after_the_epoch_that_passes_it(cls, solver, monkeypatch):
    from fastbp import _fit

    settings = dict(solver=solver, max_iter=50, tol=0.0)
    clock = Clock()
    monkeypatch.setattr(_loops, "monotonic", clock)
    monkeypatch.setattr(_fit, "monotonic", lambda: 0.0)
    est = small(cls, max_time=3.0, **settings)
    with pytest.warns(ConvergenceWarning, match=r"max_time=3.0 seconds .* after 3"):
        est.fit(inputs(cls), targets(cls))
    assert est.n_iter_ == 3 == clock.now
    settings["max_iter"] = 3
    assert_equal_params(est, small(cls, **settings).fit(inputs(cls), targets(cls)))


def test_max_time_keeps_the_best_weights(monkeypatch):
    scores = iter([1.0, 3.0, 2.0, 4.0])
    est = small(MLPRegressor, early_stopping=True, scoring=lambda *_: next(scores), max_time=1e-9)
    monkeypatch.setattr(_loops, "monotonic", iter([-1e9, -1e9, 1e9]).__next__)
    est.fit(X_REG, Y_REG)
    assert est.n_iter_ == 3 and est.best_iter_ == 2


def test_max_time_that_is_not_reached_changes_nothing():
    est = small(MLPRegressor, max_time=1e6).fit(X_REG, Y_REG)
    assert_equal_params(est, small(MLPRegressor).fit(X_REG, Y_REG))
    assert est.n_iter_ == 5


@pytest.mark.parametrize("value", [0, -1.0, "1s"])
def test_bad_max_time_is_named(value):
    with pytest.raises(ValueError, match="'max_time' parameter"):
        small(MLPRegressor, max_time=value).fit(X_REG, Y_REG)


# ---- partial_fit ----


def test_partial_fit_says_what_it_does_not_support():
    for name, value in (("early_stopping", True), ("max_time", 2.5)):
        est = small(MLPRegressor, **{name: value})
        with pytest.raises(ValueError, match=f"{name}={value}.*It takes"):
            est.partial_fit(X_REG, Y_REG)
        assert not hasattr(est, "coefs_")
        est.set_params(**{name: {True: False}.get(value)}).partial_fit(X_REG, Y_REG)
        with pytest.raises(ValueError, match=f"{name}={value}"):
            est.set_params(**{name: value}).partial_fit(X_REG, Y_REG)


@pytest.mark.parametrize("scoring", ["loss", "r2", raising])
def test_scoring_is_of_no_account_in_partial_fit(scoring):
    est, twin = small(MLPRegressor, scoring=scoring), small(MLPRegressor)
    for _ in range(3):
        assert_equal_params(est.partial_fit(X_REG, Y_REG), twin.partial_fit(X_REG, Y_REG))


# ---- curves ----


def assert_history(est, n):
    history = est.history_
    assert tuple(history) == CURVES
    assert {len(column) for column in history.values()} == {n}
    assert history["iteration"] == [*range(1, n + 1)]
    assert history["loss"] == est.loss_curve_
    assert (np.diff(history["seconds"]) > 0).all() and history["seconds"][0] > 0


@both
@solvers
def test_history_of_a_fit(cls, solver):
    X, y, X_val, y_val = halves(cls)
    est = small(cls, solver=solver).fit(X, y)
    assert_history(est, 5)
    assert np.isnan(est.history_["validation_loss"]).all()
    est.fit(X, y, X_val=X_val, y_val=y_val)
    assert_history(est, 5)
    assert est.history_["validation_loss"] == est.validation_loss_curve_
    assert est.history_["validation_score"] == est.validation_scores_
    if solver == "lbfgs":
        assert est.learning_rates_ is None and np.isnan(est.history_["learning_rate"]).all()
    else:
        assert est.learning_rates_ == est.history_["learning_rate"] == [0.001] * 5


def test_history_goes_on():
    X, y, X_val, y_val = halves(MLPRegressor)
    est = small(MLPRegressor, warm_start=True).fit(X, y)
    est.fit(X, y, X_val=X_val, y_val=y_val)
    assert_history(est, 10)
    assert np.isnan(est.history_["validation_loss"][:5]).all()
    assert est.history_["validation_loss"][5:] == est.validation_loss_curve_
    for n in range(11, 14):  # the whole road, and the short one
        est.partial_fit(X, y)
        assert_history(est, n)
    assert est.validation_loss_curve_ is None
    pickled = pickle.loads(pickle.dumps(est))
    pickled.partial_fit(X, y)
    assert_history(pickled, 14)
    assert len(est.loss_curve_) == 13
    est.set_params(warm_start=False).fit(X, y)
    assert_history(est, 5)


def test_rates_are_those_of_each_epoch():
    X, y = X_REG, Y_REG
    est = small(MLPRegressor, solver="sgd", learning_rate="invscaling").fit(X, y)
    expected = [0.001 / (k * len(X) + 1) ** 0.5 if k else 0.001 for k in range(5)]
    np.testing.assert_allclose(est.learning_rates_, expected)
    est = small(MLPRegressor, solver="sgd", learning_rate="adaptive", tol=1e9, n_iter_no_change=1)
    est.set_params(max_iter=9).fit(X, y)
    # The first epoch improves upon nothing at all.
    expected = 0.001 / 5.0 ** np.array([0, 0, 0, 1, 1, 2, 2, 3, 3])
    np.testing.assert_allclose(est.learning_rates_, expected)


def test_best_iteration_counts_from_the_first_fit():
    est = small(MLPRegressor, warm_start=True, max_iter=3).fit(X_REG, Y_REG)
    assert est.best_iter_ == 3
    est.set_params(learning_rate_init=10.0, max_iter=2).fit(X_REG, Y_REG)
    assert est.best_iter_ == 1 + np.argmin(est.loss_curve_)


def test_history_of_preset_weights():
    est = small(MLPRegressor).fit(X_REG, Y_REG)
    fresh = small(MLPRegressor, warm_start=True)
    fresh.coefs_, fresh.intercepts_ = est.coefs_, est.intercepts_
    fresh.n_features_in_ = 6
    fresh.partial_fit(X_REG, Y_REG)
    assert_history(fresh, 1)


def test_there_is_no_history_before_a_fit():
    for name in ("history_", "learning_rates_"):
        assert not hasattr(small(MLPRegressor), name)


# ---- roads ----


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


@both
def test_a_pipeline_transforms_the_validation_rows(cls, routing):
    X, y, X_val, y_val = halves(cls)
    est = small(cls, early_stopping=True).set_fit_request(
        X_val=True, y_val=True, sample_weight_val=True
    )
    pipe = make_pipeline(StandardScaler(), est, transform_input=["X_val"])
    weight = weights_of(X_val)
    pipe.fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    scaler = StandardScaler().fit(X)
    twin = small(cls, early_stopping=True).fit(
        scaler.transform(X),
        y,
        X_val=scaler.transform(X_val),
        y_val=y_val,
        sample_weight_val=weight,
    )
    assert_equal_params(pipe[-1], twin)
    assert pipe[-1].validation_loss_curve_ == twin.validation_loss_curve_


# ---- the core ----


@pytest.mark.parametrize("batch_size", [200, 7])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_trainer_with_an_optimizer_gives_values_and_output(dtype, batch_size):
    sizes = (6, 9, 2)
    params = np.linspace(-1, 1, 6 * 9 + 9 * 2 + 9 + 2).astype(dtype)
    y = np.column_stack([Y_REG, -Y_REG])
    data = _core.Data(X_REG, y, weights_of(X_REG))
    order = np.arange(len(y), dtype=np.int64)[::-3].copy()
    results = []
    for optimizer in ("adam", "none"):
        trainer = _core.Trainer(sizes, ("tanh",), "poisson", dtype, batch_size, optimizer)
        out = np.empty((len(order), 2), dtype)
        results.append((trainer.loss(params, data, order=order, out=out), out))
        expected = np.empty_like(out)
        trainer.forward(params, data, expected, order=order)
        np.testing.assert_array_equal(out, expected)
    assert results[0][0] == results[1][0]
    with pytest.raises(ValueError, match="out must be"):
        trainer.loss(params, data, out=out)  # of too few rows
