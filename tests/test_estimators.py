"""The estimators as users meet them: labels, containers, copies, and training that goes on."""

import copy
import pickle
import warnings

import joblib
import numpy as np
import pytest
import sklearn.neural_network
from conftest import AWKWARD, make_targets
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
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from fastbp import MLPClassifier, MLPRegressor
from fastbp._losses import REGRESSION
from fastbp._optim import SOLVERS, is_stochastic

STOCHASTIC = [*filter(is_stochastic, SOLVERS)]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- labels ----


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("kind", ["str", "object", "float", "negative", "bool"])
def test_labels_of_any_kind(kind, n_classes):
    names = {
        "str": np.array(["ant", "bee", "cat"]),
        "object": np.array(["ant", "bee", "caterpillar"], dtype=object),
        "float": np.array([1.0, 2.0, 30.0]),
        "negative": np.array([-7, 0, 9]),
        "bool": np.array([False, True, True]),
    }[kind]
    keep = DIGIT_LABELS < n_classes
    X, codes = DIGITS[keep], DIGIT_LABELS[keep]
    named = small(MLPClassifier, max_iter=60, learning_rate_init=0.01).fit(X, names[codes])
    predicted = named.predict(X)
    theirs = sklearn.neural_network.MLPClassifier(max_iter=1).fit(X, names[codes])
    assert predicted.dtype == theirs.predict(X).dtype
    assert named.score(X, names[codes]) > 0.95
    np.testing.assert_array_equal(named.classes_, np.unique(names[codes]))
    if kind != "bool":
        plain = clone(named).fit(X, codes)
        assert_equal_params(named, plain)


def test_one_class_only():
    clf = small(MLPClassifier, early_stopping=True).fit(DIGITS, np.full(len(DIGITS), "same"))
    assert set(clf.predict(DIGITS)) == {"same"}
    assert clf.best_validation_score_ == 1.0


def test_partial_fit_with_classes_not_seen_yet():
    clf = small(MLPClassifier)
    clf.partial_fit(DIGITS[:3], ["a", "b", "a"], classes=["a", "b", "c", "d"])
    clf.partial_fit(DIGITS[3:5], ["d", "c"])
    assert clf.predict_proba(DIGITS).shape == (300, 4)
    with pytest.raises(ValueError, match="has classes not in `self.classes_`"):
        clf.partial_fit(DIGITS[:1], ["e"])


@pytest.mark.parametrize("as_sparse", [False, True])
def test_multilabel_targets_come_back_as_they_were(as_sparse):
    X, Y = make_multilabel_classification(80, 8, n_classes=3, random_state=0)
    clf = small(MLPClassifier, max_iter=200, learning_rate_init=0.02)
    clf.fit(X, sparse.csr_matrix(Y) if as_sparse else Y)
    predicted = clf.predict(X)
    assert sparse.issparse(predicted) == as_sparse
    predicted = predicted.toarray() if as_sparse else predicted
    assert (predicted == Y).mean() > 0.85
    with pytest.raises(ValueError, match="not fitted with multilabel"):
        small(MLPClassifier).fit(DIGITS, DIGIT_LABELS).partial_fit(
            DIGITS[:80], np.eye(80, 10, dtype=int)
        )


def test_label_binarizer_is_there_for_those_who_look():
    clf = fitted(MLPClassifier)
    assert isinstance(clf._label_binarizer, LabelBinarizer)
    np.testing.assert_array_equal(clf._label_binarizer.classes_, clf.classes_)
    assert not hasattr(MLPClassifier(), "_label_binarizer")


# ---- containers of X ----


@both
def test_data_frames_and_feature_names(cls):
    pd = pytest.importorskip("pandas")
    X, y = inputs(cls), targets(cls)
    frame = pd.DataFrame(X, columns=[f"column {i}" for i in range(X.shape[1])])
    est = small(cls, early_stopping=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        est.fit(frame, pd.Series(y))
        est.predict(frame)
    assert list(est.feature_names_in_) == list(frame.columns)
    with pytest.warns(UserWarning, match="feature names"):
        est.predict(X)
    assert_equal_params(est, clone(est).fit(X, y))


@both
@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_awkward_arrays_change_nothing(cls, name, dtype, tmp_path):
    X, y = inputs(cls).astype(dtype), targets(cls)
    expected = small(cls).fit(X, y)
    awkward = AWKWARD[name](X, tmp_path)
    got = small(cls).fit(awkward, y)
    assert_equal_params(got, expected)
    if awkward.dtype != dtype:  # scikit-learn's checks make float64 of it, and so are the results
        np.testing.assert_allclose(raw_output(got, awkward), raw_output(expected, X), rtol=1e-6)
    else:
        np.testing.assert_array_equal(raw_output(got, awkward), raw_output(expected, X))
    np.testing.assert_array_equal(awkward, X)


@both
@pytest.mark.parametrize("container", [sparse.csr_matrix, sparse.csr_array, sparse.csc_matrix])
@pytest.mark.parametrize("params", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
def test_sparse_equals_dense(cls, container, params):
    X, y = np.where(np.abs(inputs(cls)) > 0.5, inputs(cls), 0), targets(cls)
    dense = small(cls, dtype="float64", **params).fit(X, y)
    thin = small(cls, dtype="float64", **params).fit(container(X), y)
    for a, b in zip(dense.coefs_, thin.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    for rows in (slice(None), slice(5)):
        np.testing.assert_allclose(
            raw_output(thin, container(X[rows])), raw_output(thin, X[rows]), rtol=1e-9, atol=1e-12
        )


def test_sparse_entries_in_any_order_and_twice():
    X = sparse.random(40, 6, density=0.5, format="coo", random_state=0)
    double = sparse.csr_matrix(
        (np.r_[X.data, X.data][::-1], (np.r_[X.row, X.row][::-1], np.r_[X.col, X.col][::-1])),
        shape=X.shape,
    )
    messy = sparse.csr_matrix((40, 6))
    rows = [[*double[i].indices, 0, 0] for i in range(40)]
    messy.indices = np.concatenate(rows).astype(np.int32)
    messy.indptr = np.r_[0, np.cumsum([len(r) for r in rows])].astype(np.int32)
    messy.data = np.concatenate([[*double[i].data, 1.0, 2.0] for i in range(40)])
    y = np.arange(40.0) / 40
    a = small(MLPRegressor, dtype="float64").fit(messy, y)
    b = small(MLPRegressor, dtype="float64").fit(messy.toarray(), y)
    np.testing.assert_allclose(a.coefs_[0], b.coefs_[0], rtol=1e-9, atol=1e-12)
    assert len(messy.indices) == len(np.concatenate(rows))


# ---- copies ----


COPIES = {
    "pickle": lambda est, _: pickle.loads(pickle.dumps(est)),
    "joblib": lambda est, folder: _through_joblib(est, folder),
    "joblib, memory-mapped": lambda est, folder: _through_joblib(est, folder, mmap_mode="r"),
    "deepcopy": lambda est, _: copy.deepcopy(est),
}


def _through_joblib(est, folder, **how):
    joblib.dump(est, folder / "estimator.joblib")
    return joblib.load(folder / "estimator.joblib", **how)


@both
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_copies_predict_and_go_on_alike(cls, how, solver, tmp_path):
    original = fitted(cls, solver=solver)
    X, y = inputs(cls), targets(cls)
    twin = COPIES[how](original, tmp_path)
    np.testing.assert_array_equal(raw_output(original, X), raw_output(twin, X))
    before = [W.copy() for W in original.coefs_]
    twin.partial_fit(X, y).partial_fit(X, y)
    for W, kept in zip(original.coefs_, before, strict=True):
        np.testing.assert_array_equal(W, kept)
    original.partial_fit(X, y).partial_fit(X, y)
    assert_equal_params(original, twin)
    np.testing.assert_array_equal(raw_output(original, X), raw_output(twin, X))


@both
def test_shallow_copies_share(cls):
    original, X = fitted(cls), inputs(cls)
    twin = copy.copy(original)
    twin.partial_fit(X, targets(cls))
    assert_equal_params(original, twin)
    kept = [W.copy() for W in original.coefs_]
    twin.fit(X[:50], targets(cls)[:50])
    for W, before in zip(original.coefs_, kept, strict=True):
        np.testing.assert_array_equal(W, before)


@both
def test_pickles_hold_each_parameter_once(cls):
    est = fitted(cls, hidden_layer_sizes=(200, 200), solver="sgd")
    n_bytes = sum(p.nbytes for p in est.coefs_ + est.intercepts_)
    # Parameters and velocity, and little else.
    assert len(pickle.dumps(est)) < 2.3 * n_bytes


@both
def test_coefs_are_views_of_one_vector(cls):
    est = fitted(cls)
    assert len({id(p.base) for p in est.coefs_ + est.intercepts_}) == 1
    est.coefs_[0][...] = 0
    est.intercepts_[0][...] = 0
    output = raw_output(est, inputs(cls))
    np.testing.assert_array_equal(output, np.broadcast_to(output[0], output.shape))


@both
def test_arrays_put_in_by_the_user_are_used(cls):
    est, X = fitted(cls), inputs(cls)
    reference = copy.deepcopy(est)
    reference.coefs_[0] *= 0.5
    mine = est.coefs_[0] * 0.5
    est.coefs_[0] = mine
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(raw_output(est, rows), raw_output(reference, rows))
    assert est.coefs_[0] is mine
    for e in (est, reference):
        e.partial_fit(X, targets(cls))
    assert_equal_params(est, reference)
    est.coefs_[0] = np.zeros((3, 3))
    with pytest.raises(ValueError, match="coefs_"):
        est.predict(X)


@both
def test_biases_put_in_by_the_user_are_used(cls):
    est, X = fitted(cls), inputs(cls)
    before = raw_output(est, X)
    est.intercepts_[-1] = est.intercepts_[-1] + np.arange(1.0, 1 + len(est.intercepts_[-1]))
    assert (raw_output(est, X) != before).any()


@both
def test_mapped_parameters_stay_on_the_disk(cls, tmp_path):
    original = fitted(cls)
    twin = _through_joblib(original, tmp_path, mmap_mode="r")
    raw_output(twin, inputs(cls))
    assert all(isinstance(W, np.memmap) for W in twin.coefs_)


@both
def test_a_second_fit_is_as_the_first(cls):
    first, second = fitted(cls), fitted(cls)
    second.fit(inputs(cls), targets(cls))
    assert_equal_params(first, second)
    assert second.loss_curve_ == first.loss_curve_ and second.best_loss_ == first.best_loss_
    assert (second.t_, second.n_iter_) == (first.t_, first.n_iter_)
    assert second._optimizer.t == first._optimizer.t


def test_a_probability_of_a_half_is_the_first_class():
    labels = np.array(["no", "yes"])[DIGIT_LABELS % 2]
    for est in map(small, (MLPClassifier, sklearn.neural_network.MLPClassifier)):
        est.fit(DIGITS, labels)
        for p in est.coefs_ + est.intercepts_:
            p[...] = 0
        assert set(est.predict_proba(DIGITS).ravel()) == {0.5}
        assert set(est.predict(DIGITS)) == {"no"}


@both
def test_tags_are_those_of_scikit_learn(cls):
    ours = cls().__sklearn_tags__()
    theirs = getattr(sklearn.neural_network, cls.__name__)().__sklearn_tags__()
    theirs.input_tags.sparse = True  # which 1.6.0 forgot to say
    assert ours == theirs


@both
def test_grid_search_and_pipeline(cls):
    X, y = inputs(cls), targets(cls)
    model = make_pipeline(StandardScaler(), small(cls, max_iter=20, learning_rate_init=0.02))
    name = cls.__name__.lower()
    grid = {f"{name}__hidden_layer_sizes": [(4,), (30,)], f"{name}__alpha": [1e-4, 1e-2]}
    search = GridSearchCV(model, grid, cv=3, n_jobs=2).fit(X, y)
    assert search.best_score_ > 0.5
    assert search.predict(X).shape == y.shape


# ---- going on ----


@both
def test_warm_start_goes_on_and_cold_start_does_not(cls):
    X, y = inputs(cls), targets(cls)
    cold = fitted(cls)
    again = [W.copy() for W in cold.coefs_]
    cold.fit(X, y)
    for W, kept in zip(cold.coefs_, again, strict=True):
        np.testing.assert_array_equal(W, kept)
    warm = fitted(cls, warm_start=True)
    loss = warm.loss_
    warm.fit(X, y)
    assert warm.loss_ < loss
    assert len(warm.loss_curve_) == 10
    assert warm.n_iter_ == 5
    assert warm.t_ == 10 * len(X)


@both
@pytest.mark.parametrize("solver", STOCHASTIC)
def test_partial_fit_epochs_equal_fit(cls, solver):
    X, y = inputs(cls), targets(cls)
    # Without shuffling, epochs do not depend on how the generator is seeded.
    whole = small(cls, solver=solver, shuffle=False, max_iter=6).fit(X, y)
    parts = small(cls, solver=solver, shuffle=False)
    for _ in range(6):
        parts.partial_fit(X, y, **({"classes": np.unique(y)} if cls is MLPClassifier else {}))
    assert_equal_params(whole, parts)
    assert parts.n_iter_ == 1
    assert parts.loss_curve_ == whole.loss_curve_


@both
def test_partial_fit_after_lbfgs(cls):
    est = fitted(cls, solver="lbfgs")
    iterations = est.n_iter_
    assert not hasattr(est, "partial_fit")
    with pytest.raises(AttributeError, match="partial_fit"):
        est.partial_fit(inputs(cls), targets(cls))
    est.set_params(solver="adam").partial_fit(inputs(cls), targets(cls))
    assert len(est.loss_curve_) == iterations + 1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("loss", REGRESSION)
def test_every_loss_of_the_regressor_is_lowered_by_every_solver(loss, solver):
    y = make_targets(loss, len(X_REG), 2, np.random.default_rng(0))
    first = small(MLPRegressor, loss=loss, solver=solver, max_iter=1).fit(X_REG, y)
    est = small(MLPRegressor, loss=loss, solver=solver, max_iter=30).fit(X_REG, y)
    assert est.loss_ < first.loss_
    assert est.out_activation_ == REGRESSION[loss].out_activation


def test_widths_cannot_change_under_warm_start():
    est = fitted(MLPRegressor, warm_start=True).set_params(hidden_layer_sizes=(9,))
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        est.fit(X_REG, Y_REG)
    est.set_params(warm_start=False).fit(X_REG, Y_REG)
    assert est.coefs_[0].shape == (6, 9)
