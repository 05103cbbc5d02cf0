"""How the estimators of tables behave: copies, columns, stopping, what they print and refuse."""

import copy
import pickle
import re
import threading
from _thread import interrupt_main

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tabular_problems import (
    SMALL,
    both,
    fitted,
    frame,
    numbers,
    output,
    small,
    table,
    targets,
    workers_alive,
)

import fastbp
from fastbp import TabularClassifier, TabularRegressor, _loops
from fastbp.tabular import _fit, _loop, _net, _table

# ---- copies ----


@both
@pytest.mark.parametrize("copied", [lambda e: pickle.loads(pickle.dumps(e)), copy.deepcopy])
def test_copies_predict_the_same(cls, copied):
    X, est = table(50, seed=1), fitted(cls, n_estimators=2)
    before = output(est, X)
    np.testing.assert_array_equal(output(copied(est), X), before)
    assert est.get_params() == copied(est).get_params()
    np.testing.assert_array_equal(output(clone(est).fit(table(), targets(cls, table())), X), before)


@both
def test_a_pickle_holds_no_rows(cls):
    sizes = [len(pickle.dumps(fitted(cls, n=n, n_bins=2))) for n in (300, 3000)]
    assert sizes[1] < sizes[0] + 2000


@both
def test_a_copy_keeps_its_predictions_when_the_original_is_fitted_anew(cls):
    X, est = table(50, seed=1), fitted(cls)
    other, before = copy.copy(est), output(est, X)
    est.set_params(random_state=5).fit(table(seed=3), targets(cls, table(seed=3)))
    np.testing.assert_array_equal(output(other, X), before)
    assert not np.array_equal(output(est, X), before)


@both
def test_a_fit_that_fails_leaves_the_estimator_as_it_was(cls):
    X, est = table(50, seed=1), fitted(cls)
    before, state = output(est, X), vars(est).copy()
    with pytest.raises(ValueError):
        est.fit(table(), targets(cls, table())[:-1])
    with pytest.raises(ValueError):
        est.fit(np.array([[np.inf], [1.0]]), targets(cls, table())[:2])
    assert vars(est) == state
    np.testing.assert_array_equal(output(est, X), before)


@both
def test_a_fit_forgets_the_one_before(cls):
    est = small(cls).fit(frame(), targets(cls, table()))
    assert list(est.feature_names_in_) == ["a", "b", "color"]
    est.set_params(early_stopping=False).fit(table()[:, :2], targets(cls, table()))
    assert not hasattr(est, "feature_names_in_")
    assert est.n_features_in_ == 2 and est.validation_scores_ is None
    assert len(est.loss_curve_) == est.n_iter_ == SMALL["max_iter"]


@both
def test_not_fitted(cls):
    est = small(cls)
    with pytest.raises(NotFittedError):
        est.predict(table())
    for name in ("estimators_", "history_", "memory_plan_"):
        assert not hasattr(est, name)


# ---- columns ----


@both
def test_columns_are_found_by_their_names(cls):
    X = frame()
    est = small(cls).fit(X, targets(cls, table()))
    np.testing.assert_array_equal(output(est, X[["color", "b", "a"]]), output(est, X))
    np.testing.assert_array_equal(est.is_categorical_, [False, False, True])
    with pytest.raises(ValueError, match="color"):
        est.predict(X[["a", "b"]])


@both
def test_data_frames_and_arrays_are_the_same(cls):
    y = targets(cls, table())
    one, other = small(cls).fit(frame(), y), small(cls).fit(table(), y)
    np.testing.assert_array_equal(output(one, frame()), output(other, table()))


@both
def test_what_was_not_seen_is_no_error(cls):
    X = table(20, seed=1)
    X[:10, 2], X[5:15, 0] = "purple", None
    assert np.isfinite(output(fitted(cls), X)).all()


@both
def test_predictions_of_blocks_of_rows(cls, monkeypatch):
    X, est = table(50, seed=1), fitted(cls, dtype="float64")
    whole = output(est, X)
    monkeypatch.setattr(_fit, "_ROWS", 7)
    np.testing.assert_allclose(output(est, X), whole, rtol=0, atol=1e-12)
    assert est.predict(X).dtype == (np.float64 if cls is TabularRegressor else "<U6")


# ---- rows that are held out ----


@both
def test_the_encoding_does_not_know_the_rows_held_out(cls, monkeypatch):
    held_out = []

    def noted(*args, **settings):
        rows = split(*args, **settings)
        held_out.append(rows[1])
        return rows

    split = _fit.split_rows
    monkeypatch.setattr(_fit, "split_rows", noted)
    X = table()
    one = small(cls).fit(X, targets(cls, X))
    changed = X.copy()
    changed[held_out[0], 0], changed[held_out[0], 2] = 1e6, "purple"
    other = small(cls).fit(changed, targets(cls, X))
    np.testing.assert_array_equal(*held_out)
    assert len(held_out[0]) == 40
    nets = [est._fitted.net for est in (one, other)]
    assert nets[0].encoding.description() == nets[1].encoding.description()
    assert one.loss_curve_ == other.loss_curve_
    assert one.validation_loss_curve_ != other.validation_loss_curve_


@both
def test_rows_to_validate_on_are_only_watched(cls):
    X, X_val = table(), table(60, seed=1)
    y, y_val = targets(cls, X), targets(cls, X_val)
    plain = small(cls, early_stopping=False).fit(X, y)
    for est in (small(cls), small(cls, early_stopping=False)):
        est.fit(X, y, X_val=X_val, y_val=y_val)
        assert est.loss_curve_ == plain.loss_curve_
        assert len(est.validation_loss_curve_) == SMALL["max_iter"]
    np.testing.assert_array_equal(est.predict(X), plain.predict(X))


def overfitted(cls, callback=None, **params):
    """One that was best before the end, and the rows that it was watched on."""
    rng = np.random.default_rng(0)
    X, X_val = rng.normal(size=(60, 6)), rng.normal(size=(300, 6))
    y, y_val = (
        a[:, 0] + rng.normal(size=len(a))
        if cls is TabularRegressor
        else np.where(a[:, 0] + rng.normal(size=len(a)) > 0, "yes", "no")
        for a in (X, X_val)
    )
    settings = {"max_iter": 40, "batch_size": 4, "learning_rate_init": 0.3, "n_iter_no_change": 99}
    params = {**settings, "dropout": 0.0, "weight_decay": 0.0, **params}
    est = small(cls, **params)
    if callback is not None:
        est.set_callbacks(callback)
    return est.fit(X, y, X_val=X_val, y_val=y_val), X_val, y_val


@both
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_early_stopping_keeps_the_best_epoch(cls, n_estimators):
    est, X, y = overfitted(cls, n_estimators=n_estimators)
    curve = est.validation_loss_curve_
    assert est.best_iter_ == np.argmin(curve) + 1 < len(curve) == 40
    assert curve[-1] > 1.05 * min(curve)
    if cls is TabularRegressor:
        loss = 0.5 * np.mean((est.predict(X) - y) ** 2) / est._fitted.target.deviation[0] ** 2
    else:
        est._fitted = est._fitted._replace(temperature=1.0)
        rows = np.arange(len(y)), np.searchsorted(est.classes_, y)
        loss = -np.mean(est.predict_log_proba(X)[rows])
    np.testing.assert_allclose(loss, min(curve), rtol=1e-4)
    np.testing.assert_allclose(est.score(X, y), est.best_validation_score_, rtol=1e-4)


def test_the_temperature_is_that_of_the_best_epoch():
    est, X, y = overfitted(TabularClassifier, n_estimators=2)
    columns = _table.read_columns(est, est._fitted.schema, X)
    z, codes = _fit._outputs(est, est._fitted, columns), np.searchsorted(est.classes_, y)
    expected = est._fitted.target.temperature(z, codes, None)
    assert est._fitted.temperature == pytest.approx(expected, rel=1e-3)
    assert expected != pytest.approx(1, rel=0.01)


@both
def test_callbacks_see_the_best_so_far(cls):
    pytest.importorskip("sklearn.callback")
    seen = []

    class Seeing:
        def setup(self, estimator, context):
            pass

        teardown = on_fit_task_begin = setup

        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            seen.append(fitted_estimator)

    est, X, y = overfitted(cls, callback=Seeing())
    np.testing.assert_array_equal(seen[-2].predict(X), est.predict(X))


@both
def test_patience_is_a_share_of_the_epochs(cls):
    est, *_ = overfitted(cls, n_iter_no_change="auto")
    assert est.n_iter_ == min(est.best_iter_ + 11, 40) < 40


@both
def test_patience(cls):
    est, *_ = overfitted(cls, n_iter_no_change=3)
    assert est.n_iter_ == est.best_iter_ + 4 < 40
    without, *_ = overfitted(cls, n_iter_no_change=3, early_stopping=False)
    assert without.n_iter_ == 40


@both
def test_few_rows_are_all_trained_on(cls):
    est = fitted(cls, n=40)
    assert est.validation_scores_ is None and est.n_iter_ == SMALL["max_iter"]
    assert fitted(cls, n=50).validation_scores_ is not None


def test_rare_classes_are_trained_on(recwarn):
    X = table(400)
    y = np.where(np.arange(400) % 2, "a", "b").astype(object)
    y[:1], y[1:3], y[3:6] = "once", "twice", "thrice"
    est = small(TabularClassifier).fit(X, y)
    assert list(est.classes_) == ["a", "b", "once", "thrice", "twice"]
    assert est.predict_proba(X).shape == (400, 5)
    assert not [w for w in recwarn if "stratified" in str(w.message)]


@pytest.mark.parametrize(
    "given, message",
    [
        ({"X_val": table(9)}, "X_val is provided, but y_val was not"),
        ({"y_val": [1]}, "y_val is provided, but X_val was not"),
        ({"sample_weight_val": [1]}, "sample_weight_val is provided, but X_val was not"),
        ({"X_val": table(9), "y_val": ["low"] * 8}, "inconsistent numbers"),
        (
            {"X_val": table(9), "y_val": ["huge"] * 9},
            r"y_val has .*'huge'\], which y has",
        ),
        ({"X_val": table(9)[:, :2], "y_val": ["low"] * 9}, "X_val has 2 features"),
        (
            {"X_val": table(9), "y_val": ["low"] * 9, "sample_weight_val": np.zeros(9)},
            "sample_weight_val has sum 0",
        ),
    ],
)
def test_rows_to_validate_on_are_checked(given, message):
    with pytest.raises(ValueError, match=message):
        small(TabularClassifier).fit(table(), targets(TabularClassifier, table()), **given)


# ---- the end of a fit ----


@both
@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go to main"
)
@pytest.mark.alone
def test_an_interrupt_ends_the_fit_with_the_best_so_far(cls, n_estimators):
    est = small(cls, max_iter=10**6, n_estimators=n_estimators, n_threads=2)
    timer = threading.Timer(0.4, interrupt_main)
    timer.start()
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        est.fit(table(), targets(cls, table()))
    timer.join()
    assert 1 <= est.best_iter_ <= est.n_iter_ < 10**6
    assert np.isfinite(output(est, table())).all()
    assert not workers_alive()


@both
def test_max_time(cls, monkeypatch):
    now, epoch = [0.0], _net.Training.epoch

    def of_a_second(self, *args):
        now[0] += 1
        return epoch(self, *args)

    monkeypatch.setattr(_net.Training, "epoch", of_a_second)
    for module in (_fit, _loop, _loops):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    est = small(cls, max_iter=10**6, max_time=10.5)
    with pytest.warns(ConvergenceWarning, match="max_time=10.5 seconds had time for 10 of"):
        est.fit(table(), targets(cls, table()))
    rates = est.history_["learning_rate"]
    assert len(rates) == 10 and rates[-1] == 0 and rates[4] > 0.2 * max(rates)
    est.set_params(max_time=0.5)
    with pytest.warns(ConvergenceWarning, match="max_time=0.5 seconds have passed after 1"):
        est.fit(table(), targets(cls, table()))


@both
def test_a_loss_that_is_not_finite(cls):
    X = table()
    with pytest.raises(ValueError, match="non-finite.*learning rate that is too large"):
        small(cls, learning_rate_init=1e30, early_stopping=False).fit(X, targets(cls, X))


@both
def test_a_loss_that_is_not_finite_after_a_good_epoch(cls, monkeypatch):
    X, epoch = table(), _net.Training.epoch

    def failing(self, *args):
        self.finite = not hasattr(self, "seen")
        self.seen = True
        return epoch(self, *args) if self.finite else np.nan  # as the core leaves it

    monkeypatch.setattr(_net.Training, "epoch", failing)
    with pytest.warns(ConvergenceWarning, match="became nan in epoch 2"):
        est = small(cls).fit(X, targets(cls, X))
    assert est.best_iter_ == 1 and len(est.validation_scores_) == 2
    assert np.isfinite(output(est, X)).all()


# ---- what is shown ----


@both
def test_curves(cls):
    est = fitted(cls)
    history = est.history_
    assert history["iteration"] == [1, 2, 3, 4]
    assert history["loss"] == est.loss_curve_ and est.loss_ == est.loss_curve_[-1]
    assert history["validation_loss"] == est.validation_loss_curve_
    assert history["validation_score"] == est.validation_scores_
    assert history["learning_rate"][-1] == 0
    assert np.isfinite([*history.values()]).all()


@both
def test_what_verbose_prints(cls, capsys):
    est = fitted(cls, verbose=True)
    out = capsys.readouterr().out
    assert out.startswith(str(est.memory_plan_))
    lines = out[len(str(est.memory_plan_)) + 1 :]
    assert re.fullmatch(r"(Epoch \d+, loss = \d\.\d{8}\nValidation loss: \d\.\d{6}\n){4}", lines)
    fitted(cls, verbose="progress")
    assert "epoch 4/4" in capsys.readouterr().err
    fitted(cls)
    assert capsys.readouterr() == ("", "")


SHARED = ("columns", "positions", "codes", "y", "sample_weight")
SHARED += ("z watched", "order watched", "codes watched", "weights watched")


@both
def test_the_plan_counts_every_vector(cls):
    X = table()
    weight = np.ones(len(X))
    one, two = (small(cls, n_estimators=n).fit(X, targets(cls, X), weight) for n in (1, 2))
    plan, rows = one.memory_plan_, {row.name: row for row in one.memory_plan_.rows}
    n_params = one.estimators_[0].params.size
    for name in ("params", "m", "v", "ema", "best"):
        assert rows[name].bytes == 4 * n_params
    assert rows["positions"].bytes == 4 * X.size
    assert rows["sample_weight"].bytes == 8 * len(X)
    assert rows["order"].bytes == 8 * 160
    outside = sum(row.bytes for row in plan.rows if row.offset is None)
    assert plan.total_bytes == plan.arena_bytes + outside
    shared = sum(rows[name].bytes for name in SHARED)
    watched = 2 * sum(rows[name].bytes for name in SHARED if name.endswith("watched"))
    found = {row.name: row.bytes for row in two.memory_plan_.rows}
    assert sum(found[name] for name in SHARED if name.endswith("watched")) == watched
    others = plan.total_bytes - shared
    assert two.memory_plan_.total_bytes == 2 * others + shared + watched / 2
    assert "positions" in one._repr_mimebundle_().get("text/html", "positions")


@both
def test_the_training_curve_display(cls):
    pytest.importorskip("matplotlib").use("agg")
    display = fastbp.TrainingCurveDisplay.from_estimator(fitted(cls))
    assert len(display.lines_) == 3


# ---- with scikit-learn ----


@both
def test_in_a_search_over_a_pipeline(cls):
    X = table()
    pipeline = make_pipeline(FunctionTransformer(), small(cls))
    name = cls.__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__n_bins": [2, 8]}, cv=2, error_score="raise")
    assert search.fit(X, targets(cls, X)).predict(X).shape == (200,)


@both
def test_permutation_importance(cls):
    X, est = frame(400), fitted(cls, n=400, max_iter=30)
    est.fit(X, targets(cls, table(400)))
    found = fastbp.permutation_importance(est, X, targets(cls, table(400)), random_state=0)
    assert found.importances_mean.argmin() == 1  # which has no part in the targets


def test_rooms_of_a_pipeline_get_the_rows_to_validate_on():
    import sklearn

    X, X_val = frame(), frame(50, seed=1)
    y, y_val = numbers(table()), numbers(table(50, seed=1))
    with sklearn.config_context(enable_metadata_routing=True):
        reg = small(TabularRegressor).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(FunctionTransformer(), reg, transform_input=["X_val"])
        pipeline.fit(X, y, X_val=X_val, y_val=y_val)
    assert len(pipeline[-1].validation_scores_) == SMALL["max_iter"]


# ---- parameters ----

WRONG = {
    "categorical_features": ["by name", 3],
    "n_estimators": [0, 1.5, "many", 10**40],
    "hidden_layer_sizes": ["wide", 0, [0], [1.5]],
    "activation": ["swish", ["relu", "relu"], 3],
    "n_bins": ["many", 0],
    "batch_size": [0, "all"],
    "learning_rate_init": [0, "fast"],
    "weight_decay": [-1.0, "some"],
    "dropout": [1.0, -0.1, [0.1]],
    "max_iter": [0, "long"],
    "early_stopping": ["auto", 2],
    "validation_fraction": [0.0, 1.0, "auto"],
    "n_iter_no_change": [0, 2.5],
    "max_time": [0, "long"],
    "random_state": ["any"],
    "n_threads": [0, "all", 10**40],
    "max_memory": [0, "much"],
    "dtype": ["float16", "auto"],
    "verbose": ["bar", -1],
    "checkpoint": [3],
    "checkpoint_interval": [0, "often"],
    "class_weight": ["even", {"low": -1.0}],
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_parameters_are_named(name):
    for value in WRONG[name]:
        with pytest.raises((ValueError, TypeError), match=name):
            fitted(TabularClassifier, **{name: value})


def test_every_parameter_has_wrong_values():
    assert set(WRONG) == set(TabularClassifier().get_params())
    assert set(WRONG) - {"class_weight"} == set(TabularRegressor().get_params())


@both
def test_settings_that_follow_from_the_data(cls):
    est = cls(max_iter=1, random_state=0, n_threads=1).fit(table(60), targets(cls, table(60)))
    assert est.get_params()["hidden_layer_sizes"] == "auto"
    assert len(est._fitted.net.layer_sizes) > 2
    assert len(est.estimators_) > 1
