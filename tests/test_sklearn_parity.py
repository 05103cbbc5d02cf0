"""The same seed gives the numbers of scikit-learn's estimators, in float64.

Loss curves and parameters after 20 epochs agree to 1e-9, relative to the largest entry of the
array. Every value of every factor meets every value of its most interesting partners.
"""

import inspect
import itertools
import warnings

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import (
    make_classification,
    make_multilabel_classification,
    make_regression,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import r2_score

import fastbp
from fastbp._losses import r2

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.skipif(
        "loss" not in inspect.signature(sklearn.neural_network.MLPRegressor).parameters,
        reason="scikit-learn before 1.7 has no sample_weight and no Poisson loss to compare with",
    ),
]

RTOL = 1e-9
# L-BFGS turns rounding into other step lengths, and its line search amplifies them with each
# iteration; 20 iterations stay well within this.
RTOL_LBFGS = 1e-5

N_ROWS = 150
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
TASKS = ("binary", "multiclass", "multilabel", "regression", "multioutput", "poisson")
SOLVERS = {
    "adam": {"solver": "adam"},
    "adam-other": {
        "solver": "adam", "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6,
        "learning_rate_init": 0.01,
    },
    "sgd": {"solver": "sgd", "momentum": 0.0, "learning_rate_init": 0.02},
    "sgd-momentum": {"solver": "sgd", "nesterovs_momentum": False, "learning_rate_init": 0.01},
    "sgd-nesterov": {"solver": "sgd", "learning_rate_init": 0.01},
    "sgd-invscaling": {
        "solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3, "learning_rate_init": 0.05,
    },
    # A tolerance that is never met makes the learning rate fall every third epoch.
    "sgd-adaptive": {
        "solver": "sgd", "learning_rate": "adaptive", "tol": 10.0, "n_iter_no_change": 2,
        "learning_rate_init": 0.02,
    },
}  # fmt: skip


def make_task(task):
    """Data of one task, scaled to be well-conditioned: X, y, sample_weight."""
    rng = np.random.RandomState(7)
    if task in ("binary", "multiclass"):
        X, y = make_classification(
            N_ROWS, 9, n_informative=6, n_classes=2 if task == "binary" else 4, random_state=3
        )
    elif task == "multilabel":
        X, y = make_multilabel_classification(N_ROWS, 9, n_classes=3, random_state=3)
        X = X / X.max()
    else:
        X, y = make_regression(
            N_ROWS, 9, n_targets=3 if task == "multioutput" else 1, random_state=3
        )
        y = y / np.abs(y).max()
        if task == "poisson":
            y = rng.poisson(np.exp(y)).astype(float)
    return X, y, rng.uniform(0.2, 3.0, N_ROWS)


def pair(task, **params):
    """Our estimator and scikit-learn's, with the same parameters."""
    name = "MLPRegressor" if task in ("regression", "multioutput", "poisson") else "MLPClassifier"
    if task == "poisson":
        params["loss"] = "poisson"
    params = {"hidden_layer_sizes": (11, 8), "max_iter": 20, "random_state": 5, **params}
    ours = getattr(fastbp, name)(dtype="float64", **params)
    return ours, getattr(sklearn.neural_network, name)(**params)


def difference(a, b):
    """Largest difference, relative to the largest entry of `b`."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    assert a.shape == b.shape
    scale = np.abs(b).max()
    return np.abs(a - b).max() / (scale if scale else 1.0)


def assert_same_fit(ours, theirs, X, rtol=RTOL):
    if theirs.solver != "lbfgs":
        assert difference(ours.loss_curve_, theirs.loss_curve_) <= rtol
        assert ours.t_ == theirs.t_
        assert ours._optimizer.learning_rate == pytest.approx(
            theirs._optimizer.learning_rate, rel=1e-12
        )
        assert ours._no_improvement_count == theirs._no_improvement_count
        assert (ours.best_loss_ is None) == (theirs.best_loss_ is None)
        assert (ours.validation_scores_ is None) == (theirs.validation_scores_ is None)
        if theirs.validation_scores_ is not None:
            assert difference(ours.validation_scores_, theirs.validation_scores_) <= rtol
            assert ours.best_validation_score_ == pytest.approx(
                theirs.best_validation_score_, rel=rtol
            )
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=rtol)
    for mine, other in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert difference(mine, other) <= rtol
    for mine, other in zip(ours.intercepts_, theirs.intercepts_, strict=True):
        assert difference(mine, other) <= rtol
    for name in ("n_layers_", "n_outputs_", "out_activation_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    if hasattr(theirs, "predict_proba"):
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.predict(X).dtype == theirs.predict(X).dtype
        assert difference(ours.predict_proba(X), theirs.predict_proba(X)) <= rtol
    else:
        assert difference(ours.predict(X), theirs.predict(X)) <= rtol


def check(task, weighted=False, rtol=RTOL, **params):
    X, y, weight = make_task(task)
    weight = weight if weighted else None
    ours, theirs = pair(task, **params)
    assert_same_fit(
        ours.fit(X, y, sample_weight=weight), theirs.fit(X, y, sample_weight=weight), X, rtol
    )
    return ours, theirs


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("solver", SOLVERS)
def test_every_solver_on_every_task(solver, task):
    check(task, **SOLVERS[solver])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_on_every_task(activation, task):
    check(task, activation=activation, batch_size=64)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("batch_size", [1, 25, 64, 150])
@pytest.mark.parametrize("solver", ["adam", "sgd-nesterov"])
def test_batches_that_divide_the_rows_and_that_do_not(solver, batch_size, shuffle):
    params = dict(SOLVERS[solver], learning_rate_init=0.002)
    if batch_size == 1:  # 600 steps are as telling as 3,000, most of whose time is scikit-learn's
        params["max_iter"] = 4
    check("multiclass", batch_size=batch_size, shuffle=shuffle, **params)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_weights_and_early_stopping(task, weighted, early_stopping):
    for solver, shuffle in itertools.product(("adam", "sgd-invscaling"), (True, False)):
        check(
            task,
            weighted,
            batch_size=40,
            shuffle=shuffle,
            early_stopping=early_stopping,
            validation_fraction=0.2,
            **SOLVERS[solver],
        )


@pytest.mark.parametrize("hidden_layer_sizes", [(), 7, (16,), (31, 17, 5)])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_depths_and_penalties(hidden_layer_sizes, alpha):
    for task in ("multiclass", "multioutput"):
        check(task, weighted=True, hidden_layer_sizes=hidden_layer_sizes, alpha=alpha)


@pytest.mark.parametrize("early_stopping", [True, False])
@pytest.mark.parametrize("solver", ["adam", "sgd-adaptive"])
def test_stops_in_the_same_epoch(solver, early_stopping):
    params = dict(SOLVERS[solver], tol=0.01, n_iter_no_change=3, learning_rate_init=0.02)
    ours, theirs = check("binary", max_iter=300, early_stopping=early_stopping, **params)
    assert theirs.n_iter_ < 300


@pytest.mark.parametrize("task", TASKS)
def test_partial_fit_follows(task):
    X, y, weight = make_task(task)
    ours, theirs = pair(task, batch_size=30)
    first = {} if not hasattr(theirs, "predict_proba") else {"classes": np.unique(y)}
    if task == "multilabel":
        first = {"classes": np.arange(y.shape[1])}
    for epoch in range(5):
        for est in (ours, theirs):
            est.partial_fit(X, y, sample_weight=weight, **(first if epoch == 0 else {}))
    assert_same_fit(ours, theirs, X)


@pytest.mark.parametrize("solver", ["adam", "sgd-nesterov", "sgd-invscaling"])
def test_warm_start_and_partial_fit_after_fit_follow(solver):
    X, y, _ = make_task("regression")
    ours, theirs = pair("regression", warm_start=True, **SOLVERS[solver])
    for est in (ours, theirs):
        est.set_params(max_iter=6).fit(X, y).set_params(max_iter=9).fit(X, y)
        for _ in range(3):
            est.partial_fit(X[:70], y[:70])
    assert_same_fit(ours, theirs, X)


def test_one_generator_is_drawn_from_alike():
    X, y, _ = make_task("binary")
    states = np.random.RandomState(3), np.random.RandomState(3)
    ours, theirs = pair("binary", early_stopping=True)
    for est, state in zip((ours, theirs), states, strict=True):
        est.set_params(random_state=state).fit(X, y).fit(X, y)
    assert_same_fit(ours, theirs, X)
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("task", TASKS)
def test_lbfgs(task, weighted):
    for activation in ("logistic", "tanh"):
        check(task, weighted, rtol=RTOL_LBFGS, solver="lbfgs", activation=activation, alpha=0.1)


def test_lbfgs_stops_at_the_tolerance():
    X, y, _ = make_task("regression")
    iterations = []
    for tol in (0.1, 0.03, 0.01):
        ours, theirs = pair("regression", solver="lbfgs", tol=tol, max_iter=200)
        iterations.append(ours.fit(X, y).n_iter_)
        assert theirs.fit(X, y).n_iter_ == iterations[-1]
    assert sorted(set(iterations)) == iterations


def test_lbfgs_ends_as_scikit_learn_does():
    X, y, _ = make_task("regression")
    ours, theirs = pair("regression", solver="lbfgs", max_iter=3)
    messages = []
    for est in (ours, theirs):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            est.fit(X, y)
        messages += [str(w.message) for w in caught if w.category is ConvergenceWarning]
    ours, theirs = (message.splitlines() for message in messages)
    # What SciPy says; the line before it differs among the versions of scikit-learn.
    assert ours[0].startswith("lbfgs failed to converge") and "status=1" in ours[0]
    assert ours[1] in theirs[1] or ours[1] in theirs[0]


def test_sparse_rows():
    scipy_sparse = pytest.importorskip("scipy.sparse")
    X, y, weight = make_task("multiclass")
    X = np.where(np.abs(X) > 1, X, 0)
    for container in (scipy_sparse.csr_matrix, scipy_sparse.csr_array, scipy_sparse.csc_matrix):
        ours, theirs = pair("multiclass", batch_size=64)
        ours.fit(container(X), y, sample_weight=weight)
        theirs.fit(container(X), y, sample_weight=weight)
        assert_same_fit(ours, theirs, container(X))


def test_scores_that_stay_equal():
    """Without a tolerance a score as good as the best is no stall."""
    ours, theirs = check(
        "binary", early_stopping=True, tol=0.0, n_iter_no_change=2, learning_rate_init=1e-7
    )
    assert theirs.n_iter_ == theirs.max_iter and len(set(ours.validation_scores_)) == 1


def test_the_adaptive_rate_ends_alike():
    ours, theirs = check("binary", max_iter=300, **SOLVERS["sgd-adaptive"])
    assert theirs.n_iter_ < 300


@pytest.mark.parametrize("weighted", [True, False])
def test_the_score_of_held_out_rows_is_r2(weighted):
    rng = np.random.default_rng(0)
    target, output = rng.normal(size=(20, 3)), rng.normal(size=(20, 3))
    weight = rng.uniform(0.5, 2, 20) if weighted else None
    target[:, 1] = 3  # constant: 1 if it is met exactly, else 0
    for met in (False, True):
        if met:
            output[:, 1] = 3
        expected = r2_score(target, output, sample_weight=weight)
        assert r2(output, target, weight) == pytest.approx(expected, rel=1e-12)
