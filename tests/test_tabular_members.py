"""Members of an estimator of tables, the threads that they train in, and who follows a fit."""

import copy
import pickle
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from tabular_problems import both, fitted, output, small, table, targets, workers_alive

from fastbp import TabularClassifier, TabularRegressor
from fastbp.tabular import _fit, _loop, _net, _table

X = table()

# ---- the same bits ----


@both
@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_the_same_bits_for_any_number_of_threads(cls, n_estimators, early_stopping):
    params = {"n_estimators": n_estimators, "early_stopping": early_stopping}
    # So wide that one net alone is worth two threads.
    params |= {"hidden_layer_sizes": (96, 96), "batch_size": 100, "max_iter": 3}
    one, *others = (fitted(cls, n_threads=n, **params) for n in (1, 2, 3))
    for other in others:
        for a, b in zip(one.estimators_, other.estimators_, strict=True):
            np.testing.assert_array_equal(a.params, b.params)
        assert one.loss_curve_ == other.loss_curve_
        assert one.validation_loss_curve_ == other.validation_loss_curve_
        np.testing.assert_array_equal(output(one, X), output(other, X))


@both
def test_random_state_decides(cls):
    one, same, other = (fitted(cls, random_state=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(output(one, X), output(same, X))
    assert not np.array_equal(output(one, X), output(other, X))
    generators = [fitted(cls, random_state=np.random.RandomState(3)) for _ in range(2)]
    np.testing.assert_array_equal(*(output(est, X) for est in generators))


def test_rows_that_are_left_over_are_others_in_each_epoch(monkeypatch):
    visited, updates = [], _net.Training._updates

    def noting(self, data, rows, *args):
        visited.append(set(rows.tolist()))
        return updates(self, data, rows, *args)

    monkeypatch.setattr(_net.Training, "_updates", noting)
    fitted(TabularRegressor, early_stopping=False)
    assert [len(rows) for rows in visited] == [192] * 4
    assert len({frozenset(rows) for rows in visited}) == 4
    visited.clear()
    fitted(TabularRegressor, early_stopping=False, batch_size=200)
    assert [len(rows) for rows in visited] == [200] * 4


@both
def test_dropout_and_the_order_of_rows_are_drawn(cls):
    params = {"early_stopping": False}
    curves = [fitted(cls, dropout=p, **params).loss_curve_ for p in (0.0, 0.5)]
    assert curves[0] != curves[1]
    rows = []

    class Noting(np.random.RandomState):
        pass

    training = _net.Training.__new__(_net.Training)
    training._rows, training._random_state = np.arange(50), Noting(0)
    training._settings, training.finite = small(cls), True
    training.trainer = SimpleNamespace(rows_done=48, loss_sum=0.0, begin=lambda *_: None)
    training._updates = lambda data, order, *_: rows.append(order.copy()) or 0.0
    training._settings.batch_size = 8
    for _ in range(2):
        training.between_epochs()
        training.epoch(None, np.ones(6), 0.9, threading.Event(), np.inf)
    assert [len(order) for order in rows] == [48, 48]
    assert all(len(set(order.tolist())) == 48 for order in rows)
    assert rows[0].tolist() != rows[1].tolist() != list(range(48))


# ---- members ----


@both
def test_a_member_is_what_a_single_net_is(cls):
    params = {"early_stopping": False}
    several, one = fitted(cls, n_estimators=3, **params), fitted(cls, **params)
    vectors = [member.params for member in several.estimators_]
    np.testing.assert_array_equal(vectors[0], one.estimators_[0].params)
    assert len(vectors) == 3
    assert not np.array_equal(vectors[0], vectors[1])
    assert not np.array_equal(vectors[1], vectors[2])


@both
def test_a_prediction_is_the_mean_of_the_members(cls):
    est = fitted(cls, n_estimators=3, early_stopping=False)
    every = est._fitted
    means = []
    for member in every.members:
        est._fitted = every._replace(members=(member,))
        means.append(output(est, X))
    est._fitted = every
    np.testing.assert_allclose(output(est, X), np.mean(means, axis=0), rtol=1e-6, atol=1e-7)


@both
def test_members_share_the_encoded_table(cls):
    rows = {row.name: row.bytes for row in fitted(cls, n_estimators=3).memory_plan_.rows}
    assert rows["positions"] == 4 * X.size
    est = fitted(cls, n_estimators=3)
    assert len({id(member) for member in est.estimators_}) == 3


@pytest.mark.parametrize("n, tolerance", [(20, 1e-12), (3000, 1e-4)])
def test_predictions_are_those_of_the_dense_net(n, tolerance):
    """Those of few rows to the digits of float64, though the net is float32."""
    est, rows = fitted(TabularRegressor, n_estimators=2, activation="relu"), table(n, seed=1)
    net, target = est._fitted.net, est._fitted.target
    columns = _table.read_columns(est, est._fitted.schema, rows)
    dense = net.encoding.dense(net.encoding.encode(columns))
    outputs = []
    for member in est.estimators_:
        p = {
            name: member.params[first : first + np.prod(shape)].reshape(shape).astype(float)
            for name, first, shape, *_ in net.table()
        }
        hidden = np.maximum(dense @ (p["s[0]"][:, np.newaxis] * p["W[0]"]) + p["b[0]"], 0)
        outputs.append(hidden @ p["W[1]"] + p["b[1]"])
    expected = target.mean + target.deviation * np.mean(outputs, axis=0)
    np.testing.assert_allclose(est.predict(rows), expected[:, 0], rtol=0, atol=tolerance)


# ---- a fold for each ----


def splits_of(est, monkeypatch):
    """The rows that each member of a fit trains on, and those watched."""
    seen, watched, init = [], [], _net.Training.__init__

    def noting(self, net, settings, rows, *args, **others):
        seen.append(rows)
        init(self, net, settings, rows, *args, **others)

    class Watched(_loop.Watched):
        def __init__(self, rows, orders, *args):
            watched.extend(orders)
            super().__init__(rows, orders, *args)

    monkeypatch.setattr(_net.Training, "__init__", noting)
    monkeypatch.setattr(_fit, "Watched", Watched)
    est.fit(X, targets(type(est), X))
    return seen, watched


@both
@pytest.mark.parametrize("n_estimators", [2, 5, 7])
def test_every_row_trains_a_member(cls, n_estimators, monkeypatch):
    trained, held_out = splits_of(small(cls, n_estimators=n_estimators), monkeypatch)
    assert len(trained) == n_estimators and len(held_out) == min(n_estimators, 5)
    assert set(np.concatenate(trained)) == set(range(200))
    for k, rows in enumerate(trained):
        assert sorted([*rows, *held_out[k % 5]]) == list(range(200))
    assert len(np.unique(np.concatenate(held_out))) == 40 * len(held_out)
    if cls is TabularClassifier:
        shares = [np.mean(targets(cls, X)[rows] == "low") for rows in held_out]
        assert np.ptp(shares) < 0.03


def test_a_classifier_of_few_rows_is_not_too_certain():
    from sklearn.datasets import load_breast_cancer
    from sklearn.metrics import log_loss

    X, y = load_breast_cancer(return_X_y=True)
    losses = []
    for seed in range(3):
        rows = np.random.default_rng(seed).permutation(len(y))
        est = TabularClassifier(random_state=seed).fit(X[rows[:30]], y[rows[:30]])
        losses.append(log_loss(y[rows[30:]], est.predict_proba(X[rows[30:]])))
    assert np.mean(losses) < 0.22
    # Two or three rows of a class are all needed to train on.
    few = TabularClassifier(max_iter=1).fit(X[:30], np.arange(30) // 3)
    assert few.validation_loss_curve_ is None


@both
def test_a_large_share_is_held_out_by_all_members(cls):
    est = fitted(cls, n_estimators=3, validation_fraction=0.9, batch_size=20)
    plan = {row.name: row.shape for row in est.memory_plan_.rows}
    assert plan["order"] == (20,) and plan["order watched"] == (180,)
    with pytest.raises(ValueError, match="validation_fraction=0.999 leaves none of 200 rows"):
        fitted(cls, validation_fraction=0.999, batch_size=1)


@both
def test_each_member_is_watched_on_its_own_fold(cls, monkeypatch):
    est = small(cls, n_estimators=3, max_iter=1)
    _, held_out = splits_of(est, monkeypatch)
    every, y, right = est._fitted, targets(cls, X), []
    for member, rows in zip(every.members, held_out, strict=True):
        est._fitted = every._replace(members=(member,), temperature=1.0)
        if cls is TabularRegressor:
            error = (est.predict(X[rows]) - y[rows]) / every.target.deviation[0]
            right.append(0.5 * np.mean(error**2))
        else:
            codes = np.searchsorted(est.classes_, y[rows])
            right.append(-np.mean(est.predict_log_proba(X[rows])[np.arange(len(rows)), codes]))
    assert est.validation_loss_curve_ == pytest.approx([np.mean(right)], rel=1e-5)


# ---- threads ----


class Failure(Exception):
    pass


def test_workers_do_all_and_keep_the_order():
    for n_threads in (1, 2, 4):
        with _loop.Workers(n_threads) as workers:
            for members in ([], list(range(7))):
                found = workers.run(lambda member, stop: member**2, members)
                assert found == [m**2 for m in members]


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("failing", [0, 4])
def test_a_failure_of_one_ends_the_others(n_threads, failing):
    done, met = [], threading.Barrier(n_threads)

    def action(member, stop):
        if len(done) == 0 and member < n_threads and failing == 0:
            met.wait(5)
        if member == failing:
            raise Failure
        if failing == 0:
            assert stop.wait(5)
        done.append(member)

    with _loop.Workers(n_threads) as workers:
        with pytest.raises(Failure):
            workers.run(action, range(100))
        assert len(done) < 50
        assert workers.run(lambda member, stop: stop.is_set(), [1, 2]) == [False, False]
    assert not workers_alive()


@both
def test_no_thread_stays(cls):
    fitted(cls, n_estimators=3, n_threads=3)
    assert not workers_alive()


def test_estimators_are_fitted_in_python_threads():
    expected = [fitted(TabularRegressor, random_state=seed).predict(X) for seed in range(4)]
    found = [None] * 4

    def fit(seed):
        found[seed] = fitted(TabularRegressor, random_state=seed, n_threads=2).predict(X)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(found, expected)


# ---- callbacks ----


class Recorder:
    """Notes every call; asks to stop, or fails, at the end of one epoch."""

    def __init__(self, stop_at=None, fail_at=None):
        self.calls, self.fitted, self.stop_at, self.fail_at = [], [], stop_at, fail_at

    def setup(self, estimator, context):
        self.calls.append(("setup", context.max_subtasks))

    def teardown(self, estimator, context):
        self.calls.append(("teardown", context.max_subtasks))

    def on_fit_task_begin(self, estimator, context):
        self.calls.append(("begin", context.task_name, context.task_id))

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.calls.append(("end", context.task_name, context.task_id))
        if context.task_name == "epoch":
            self.fitted.append(fitted_estimator)
            if context.task_id == self.fail_at:
                raise Failure
        return context.task_name == "epoch" and context.task_id == self.stop_at


class Copying(Recorder):
    """Copies the estimator in the midst of its fit."""

    copies = ()

    def on_fit_task_begin(self, estimator, context):
        copies = [copy.copy(estimator), pickle.loads(pickle.dumps(estimator))]
        self.copies = [*self.copies, *copies]


@pytest.fixture
def callbacks():
    return pytest.importorskip("sklearn.callback")


@both
@pytest.mark.parametrize("n_estimators", [1, 2])
def test_callbacks_are_told_every_epoch(callbacks, cls, n_estimators):
    recorder, plain = Recorder(), fitted(cls, n_estimators=n_estimators)
    est = small(cls, n_estimators=n_estimators).set_callbacks(recorder)
    est.fit(X, targets(cls, X))
    epochs = [(when, "epoch", k) for k in range(4) for when in ("begin", "end")]
    assert recorder.calls == [
        ("setup", 4),
        ("begin", "fit", 0),
        *epochs,
        ("end", "fit", 0),
        ("teardown", 4),
    ]
    np.testing.assert_array_equal(output(est, X), output(plain, X))
    curves = [twin.validation_scores_ for twin in recorder.fitted]
    assert curves == [est.validation_scores_[: k + 1] for k in range(4)]
    np.testing.assert_array_equal(recorder.fitted[-1].predict(X), est.predict(X))


@both
def test_a_callback_ends_a_fit(callbacks, cls):
    est = small(cls).set_callbacks(Recorder(stop_at=1)).fit(X, targets(cls, X))
    assert est.n_iter_ == 2 == len(est.loss_curve_)
    failing = small(cls).set_callbacks(Recorder(fail_at=2))
    with pytest.raises(Failure):
        failing.fit(X, targets(cls, X))
    assert failing.n_iter_ == 3 and failing.predict(X).shape == (200,)


def test_callbacks_of_scikit_learn(callbacks):
    monitor = callbacks.ScoringMonitor(scoring="r2")
    est = small(TabularRegressor).set_callbacks(monitor)
    make_pipeline(FunctionTransformer(), est).fit(X, targets(TabularRegressor, X))
    est.fit(X, targets(TabularRegressor, X))
    assert not hasattr(est, "_callback_fit_ctx")


def test_one_answer_only_is_no_reason_to_call(callbacks):
    recorder = Recorder()
    small(TabularClassifier).set_callbacks(recorder).fit(X, ["a"] * 200)
    assert recorder.calls == []


def test_copies_in_a_fit_are_in_none(callbacks):
    copying = Copying()
    est = small(TabularRegressor).set_callbacks(copying)
    est.fit(X, targets(TabularRegressor, X))
    copies = copying.copies
    names = {"_callback_fit_ctx", "_skl_callbacks_to_teardown"}
    assert copies and not any(names & set(vars(twin)) for twin in copies)
