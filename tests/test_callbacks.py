"""scikit-learn's callbacks: tasks, what they are told, how they end a fit; no fit is lost."""

import copy
import importlib.util
import pickle
import sys

import numpy as np
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
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, MLPRegressor, _callbacks, _fit

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
try:
    from sklearn.callback import ProgressBar, ScoringMonitor

    old = False
except ImportError:
    old = True
needs_callbacks = pytest.mark.skipif(old, reason="scikit-learn has no callbacks")
SOLVERS = ("adam", "sgd", "lbfgs")
# What an estimator has in a fit only, and its copies never.
TEMPORARY = {"_callback_fit_ctx", "_skl_callbacks_to_teardown", "_parent_callback_ctx"}
solvers = pytest.mark.parametrize("solver", SOLVERS)


class Recorder:
    """Notes every call; asks to stop, or raises, at one of them."""

    def __init__(self, stop_at=None, fail_at=None):
        self.calls, self.stop_at, self.fail_at = [], stop_at, fail_at

    def _note(self, name, context, **what):
        self.calls.append((name, context.task_name, context.task_id, what))
        if (name, context.task_name, context.task_id) == self.fail_at:
            raise CallbackError(str(self.fail_at))
        return (name, context.task_name, context.task_id) == self.stop_at

    def setup(self, estimator, context):
        self._note("setup", context)
        assert context.max_subtasks == estimator.max_iter

    def teardown(self, estimator, context):
        self._note("teardown", context)

    def on_fit_task_begin(self, estimator, context, *, X, y, metadata, fitted_estimator):
        self._note("begin", context, X=X, y=y, metadata=metadata, fitted=fitted_estimator)

    def on_fit_task_end(self, estimator, context, *, X, y, metadata, fitted_estimator):
        return self._note("end", context, X=X, y=y, metadata=metadata, fitted=fitted_estimator)

    def names(self):
        return [call[:3] for call in self.calls]

    def fitted(self, name, task):
        return [c[3]["fitted"] for c in self.calls if c[:2] == (name, task)]


class CallbackError(Exception):
    pass


class Quiet:
    """Wants to know nothing."""

    def setup(self, estimator, context):
        pass

    teardown = setup

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context):
        pass


def unit(solver):
    return "iteration" if solver == "lbfgs" else "epoch"


@needs_callbacks
@both
@solvers
def test_tasks_of_a_fit(cls, solver):
    recorder = Recorder()
    est = small(cls, solver=solver, max_iter=3).set_callbacks(recorder)
    est.fit(inputs(cls), targets(cls))
    epochs = [(name, unit(solver), k) for k in range(3) for name in ("begin", "end")]
    assert recorder.names() == [
        ("setup", "fit", 0),
        ("begin", "fit", 0),
        *epochs,
        ("end", "fit", 0),
        ("teardown", "fit", 0),
    ]
    assert not TEMPORARY & set(vars(est))
    assert_equal_params(est, small(cls, solver=solver, max_iter=3).fit(inputs(cls), targets(cls)))


@needs_callbacks
@pytest.mark.parametrize("weighted", [False, True])
def test_tasks_are_told_the_data_as_given(weighted):
    recorder, X, y = Recorder(), DIGITS.tolist(), DIGIT_LABELS.tolist()
    weight = np.linspace(1, 2, len(y)) if weighted else None
    est = small(MLPClassifier, max_iter=2).set_callbacks(recorder)
    est.fit(X, y, weight, X_val=DIGITS, y_val=DIGIT_LABELS)
    told = [call[3] for call in recorder.calls if call[3]]
    assert len(told) == 6
    assert all(what["X"] is X and what["y"] is y for what in told)
    for what in told:
        if weighted:
            assert [*what["metadata"]] == ["sample_weight"]
            assert what["metadata"]["sample_weight"] is weight
        else:
            assert what["metadata"] is None


@needs_callbacks
@pytest.mark.parametrize("n", [40, 120])  # with few rows the net is trained in float64
@solvers
def test_fitted_estimators_are_those_of_a_fit_that_had_ended(n, solver):
    X, y, recorder = X_REG[:n], Y_REG[:n], Recorder()
    est = small(MLPRegressor, solver=solver, max_iter=3).set_callbacks(recorder).fit(X, y)
    for k, then in enumerate(recorder.fitted("end", unit(solver)), start=1):
        assert_equal_params(then, small(MLPRegressor, solver=solver, max_iter=k).fit(X, y))
        assert then.coefs_[0].dtype == np.float32
        assert len(then.loss_curve_) == len(then.history_["loss"]) == k
        assert np.isfinite(then.predict(X)).all()
        assert not np.shares_memory(then.coefs_[0], est.coefs_[0])
        assert not TEMPORARY & set(vars(then))
    assert_equal_params(*recorder.fitted("end", "fit"), est)
    assert recorder.fitted("begin", "fit") == [None]


@needs_callbacks
@pytest.mark.parametrize("n", [40, 120])  # with few rows the net is trained in float64
def test_fitted_estimators_have_the_best_weights_of_early_stopping(n):
    X, y, recorder = X_REG[:n], Y_REG[:n], Recorder()
    scores = iter([1.0, 3.0, 2.0, 4.0])
    settings = dict(early_stopping=True, scoring=lambda *_: next(scores), max_iter=4)
    est = small(MLPRegressor, **settings).set_callbacks(recorder)
    est.fit(X, y, X_val=X, y_val=y)
    for then, kept in zip(recorder.fitted("end", "epoch"), (1, 2, 2, 4), strict=True):
        assert then.best_iter_ == kept
        assert_equal_params(then, small(MLPRegressor, max_iter=kept).fit(X, y))
        assert then.coefs_[0].dtype == np.float32


@needs_callbacks
def test_a_fitted_estimator_can_be_trained_without_harm():
    class Training(Quiet):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator):
            fitted_estimator.set_callbacks()
            fitted_estimator.partial_fit(X_REG, -Y_REG)

    est = small(MLPRegressor).set_callbacks(Training()).fit(X_REG, Y_REG)
    twin = small(MLPRegressor).fit(X_REG, Y_REG)
    assert_equal_params(est, twin)
    assert_equal_params(est.partial_fit(X_REG, Y_REG), twin.partial_fit(X_REG, Y_REG))


@needs_callbacks
def test_nothing_is_copied_for_callbacks_that_do_not_look(monkeypatch):
    def copying(*_):
        raise AssertionError("a copy was made")

    monkeypatch.setattr(_fit, "_present_attributes", copying)
    small(MLPRegressor).set_callbacks(Quiet()).fit(X_REG, Y_REG)


@needs_callbacks
@solvers
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_callback_can_end_a_fit(solver, early_stopping, recwarn):
    recorder = Recorder(stop_at=("end", unit(solver), 2))
    settings = dict(solver=solver, learning_rate_init=0.01, early_stopping=early_stopping)
    est = small(MLPRegressor, max_iter=9, **settings).set_callbacks(recorder)
    est.fit(X_REG, Y_REG)
    assert not [w for w in recwarn if "fit" in str(w.message)]
    assert est.n_iter_ == 3 and recorder.names()[-2:] == [("end", "fit", 0), ("teardown", "fit", 0)]
    assert_equal_params(est, small(MLPRegressor, max_iter=3, **settings).fit(X_REG, Y_REG))


@needs_callbacks
def test_stopping_by_a_callback_warns_of_nothing():
    import warnings

    for solver in SOLVERS:
        recorder = Recorder(stop_at=("end", unit(solver), 1))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            small(MLPRegressor, solver=solver).set_callbacks(recorder).fit(X_REG, Y_REG)


@needs_callbacks
@solvers
@pytest.mark.parametrize("name", ["begin", "end"])
def test_a_callback_that_raises_loses_nothing(name, solver):
    recorder = Recorder(fail_at=(name, unit(solver), 2))
    est = small(MLPRegressor, solver=solver, max_iter=9).set_callbacks(recorder)
    with pytest.raises(CallbackError):
        est.fit(X_REG, Y_REG)
    kept = 2 if name == "begin" else 3
    assert_equal_params(est, small(MLPRegressor, solver=solver, max_iter=kept).fit(X_REG, Y_REG))
    assert len(est.loss_curve_) == len(est.history_["loss"]) == est.n_iter_ == kept
    assert recorder.names()[-1] == ("teardown", "fit", 0)
    assert not TEMPORARY & set(vars(est))
    est.set_callbacks().set_params(warm_start=True, max_iter=2).fit(X_REG, Y_REG)
    assert len(est.loss_curve_) == kept + 2


@needs_callbacks
@pytest.mark.parametrize("name", ["begin", "end"])
def test_a_callback_that_raises_stop_iteration_ends_no_fit_in_silence(name):
    class Exhausted(Recorder):
        def _note(self, name, context, **what):
            try:
                return super()._note(name, context, **what)
            except CallbackError:
                raise StopIteration from None

    recorder = Exhausted(fail_at=(name, "iteration", 2))
    est = small(MLPRegressor, solver="lbfgs", max_iter=9).set_callbacks(recorder)
    with pytest.raises(RuntimeError, match="StopIteration"):
        est.fit(X_REG, Y_REG)


@needs_callbacks
@pytest.mark.parametrize("fail_at", [("setup", "fit", 0), ("begin", "fit", 0)])
def test_a_callback_that_raises_before_training_changes_nothing(fail_at):
    est = small(MLPRegressor).fit(X_REG, Y_REG)
    before = pickle.dumps(vars(est))
    est.set_callbacks(Recorder(fail_at=fail_at))
    with pytest.raises(CallbackError):
        est.set_params(hidden_layer_sizes=(3,)).fit(X_REG[:, :4], Y_REG)
    est.set_callbacks().set_params(hidden_layer_sizes=(12,))
    assert pickle.dumps(vars(est)) == before


@needs_callbacks
def test_bad_data_calls_nobody():
    recorder = Recorder()
    est = small(MLPRegressor).set_callbacks(recorder)
    with pytest.raises(ValueError, match="NaN"):
        est.fit(np.full((9, 2), np.nan), np.zeros(9))
    assert recorder.calls == [] and not hasattr(est, "coefs_")


@needs_callbacks
def test_partial_fit_calls_nobody():
    recorder = Recorder()
    est = small(MLPRegressor).set_callbacks(recorder)
    for _ in range(3):
        est.partial_fit(X_REG, Y_REG)
    assert recorder.calls == []


@needs_callbacks
def test_a_fit_without_callbacks_makes_no_context(monkeypatch):
    def making(*_, **__):
        raise AssertionError("a context was made")

    monkeypatch.setattr(_callbacks, "FitTasks", making)
    monkeypatch.setattr(MLPRegressor, "_init_callback_context", making)
    small(MLPRegressor).fit(X_REG, Y_REG)
    with pytest.raises(AssertionError, match="a context"):
        small(MLPRegressor).set_callbacks(Quiet()).fit(X_REG, Y_REG)


@needs_callbacks
def test_copies_in_a_fit_are_in_none():
    class Copying(Quiet):
        def on_fit_task_end(self, estimator, context):
            assert hasattr(estimator, "_callback_fit_ctx")
            for twin in (copy.copy(estimator), pickle.loads(pickle.dumps(estimator))):
                assert not TEMPORARY & set(vars(twin))
                assert np.isfinite(twin.predict(X_REG)).all()

    globals()["Copying"] = Copying  # pickle looks it up
    Copying.__qualname__ = "Copying"
    small(MLPRegressor).set_callbacks(Copying()).fit(X_REG, Y_REG)


# ---- scikit-learn's own callbacks ----


def rows_of(monitor):
    return monitor.get_logs().data


@needs_callbacks
@both
@solvers
def test_scoring_monitor(cls, solver):
    scoring = "neg_log_loss" if cls is MLPClassifier else "neg_mean_squared_error"
    monitor = ScoringMonitor(scoring=scoring)
    X, y = inputs(cls), targets(cls)
    est = small(cls, solver=solver, dtype="float64", alpha=0.0).set_callbacks(monitor).fit(X, y)
    (whole,) = [row for row in rows_of(monitor) if row["task_name"] == "fit"]
    each = [row[scoring] for row in rows_of(monitor) if row["task_name"] == unit(solver)]
    assert len(each) == 5 and each[-1] == whole[scoring]
    if solver == "lbfgs":  # its loss is that of the weights after each iteration
        factor = -1 if cls is MLPClassifier else -2
        np.testing.assert_allclose(each, factor * np.array(est.loss_curve_), rtol=1e-12)


@needs_callbacks
def test_scoring_monitor_with_weights():
    monitor = ScoringMonitor(scoring="r2")
    weight = np.linspace(0.1, 3, len(X_REG))
    est = small(MLPRegressor).set_callbacks(monitor).fit(X_REG, Y_REG, weight)
    assert rows_of(monitor)[-1]["r2"] == pytest.approx(est.score(X_REG, Y_REG, weight), rel=1e-6)


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
@solvers
def test_scoring_monitor_in_a_pipeline_in_a_search(solver, n_jobs):
    if n_jobs == 2 and solver == "sgd":
        pytest.skip("as adam")
    monitor = ScoringMonitor(scoring="r2")
    est = small(MLPRegressor, solver=solver, max_iter=3).set_callbacks(monitor)
    pipe = make_pipeline(StandardScaler(), est)
    search = GridSearchCV(pipe, {"mlpregressor__alpha": [0.1, 1.0]}, cv=2, n_jobs=n_jobs)
    search.fit(X_REG, Y_REG)
    each = [row for row in rows_of(monitor) if row["task_name"] == unit(solver)]
    assert len(each) == (2 * 2 + 1) * 3
    plain = clone(search).set_params(estimator=make_pipeline(StandardScaler(), clone(est)))
    plain.estimator[-1].set_callbacks()
    scores = plain.fit(X_REG, Y_REG).cv_results_["mean_test_score"]
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], scores)


@needs_callbacks
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_progress_bar_in_a_pipeline_in_a_search(n_jobs, capsys):
    pytest.importorskip("rich")
    pipe = make_pipeline(StandardScaler(), small(MLPRegressor, max_iter=3))
    search = GridSearchCV(pipe, {"mlpregressor__alpha": [0.1, 1.0]}, cv=2, n_jobs=n_jobs)
    search.set_callbacks(ProgressBar(max_propagation_depth=None)).fit(X_REG, Y_REG)
    out = capsys.readouterr().out
    assert "GridSearchCV - fit" in out and "MLPRegressor - fit" in out
    assert out.count("100%") >= 3


@needs_callbacks
@both
def test_progress_bar(cls, capsys):
    pytest.importorskip("rich")
    est = small(cls).set_callbacks(ProgressBar())
    est.fit(inputs(cls), targets(cls))
    assert f"{cls.__name__} - fit" in capsys.readouterr().out


@needs_callbacks
def test_callbacks_survive_copies():
    est = small(MLPRegressor).set_callbacks(Quiet())
    for twin in (clone(est), copy.deepcopy(est), pickle.loads(pickle.dumps(est))):
        assert [type(c) for c in twin._skl_callbacks] == [Quiet]
        twin.fit(X_REG, Y_REG)


@needs_callbacks
def test_a_parent_without_callbacks_is_followed():
    seen = []

    class Looking(MLPRegressor):
        def _init_callback_context(self, **settings):
            seen.append(settings)
            return super()._init_callback_context(**settings)

    make_pipeline(StandardScaler(), small(Looking)).fit(X_REG, Y_REG)
    assert seen == [{"max_subtasks": 5}]


# ---- older scikit-learn ----


def test_an_older_scikit_learn_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn.callback", None)
    monkeypatch.setattr(sklearn, "__version__", "1.6.1")
    spec = importlib.util.spec_from_file_location("fastbp._callbacks_old", _callbacks.__file__)
    spec.loader.exec_module(module := importlib.util.module_from_spec(spec))
    with pytest.raises(NotImplementedError, match=r"scikit-learn 1\.9; .* scikit-learn 1\.6\.1"):
        module.CallbackSupportMixin().set_callbacks(Quiet())
