"""Classes derived from the estimators, nets put together by hand, and copies of attributes."""

import copy
import pickle

import numpy as np
import pytest
import sklearn.neural_network
from conftest import relative_error
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
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network._base import ACTIVATIONS
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelBinarizer, StandardScaler

from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- constructors of their own ----


def derived(base):
    """Subclasses of one of the estimators, by what their constructor takes, with an instance."""

    class Passing(base):
        def __init__(self, **settings):
            super().__init__(**settings)

    class Extra(base):
        def __init__(self, cutoff, **settings):
            self.cutoff = cutoff
            super().__init__(**settings)

    class Fixed(base):
        def __init__(self):
            super().__init__(hidden_layer_sizes=(4,), max_iter=3)
            self.note = ""

    class Widths(base):
        def __init__(self, first=4, second=3, max_iter=3):
            self.first, self.second = first, second
            super().__init__(hidden_layer_sizes=(first, second), max_iter=max_iter)

        def fit(self, X, y):
            self.hidden_layer_sizes = (self.first, self.second)
            return super().fit(X, y)

    class Nothing(base):
        pass

    defaults = getattr(sklearn.neural_network, base.__name__)().get_params()
    space = {"Base": base}
    head = ", ".join(f"{name}={value!r}" for name, value in defaults.items())
    call = ", ".join(f"{name}={name}" for name in defaults)
    exec(f"class Full(Base):\n def __init__(self, {head}):\n  super().__init__({call})\n", space)
    return {
        "keywords passed on": Passing(max_iter=3),
        "one of its own": Extra(0.3, max_iter=3),
        "none": Fixed(),
        "two widths": Widths(5),
        "as inherited": Nothing(max_iter=3),
        "scikit-learn's": space["Full"](max_iter=3),
    }


@both
@pytest.mark.parametrize("kind", derived(MLPRegressor))
def test_subclasses_with_a_constructor_of_their_own(cls, kind):
    X, y = inputs(cls), targets(cls)
    est = derived(cls)[kind]
    est.fit(X, y)
    assert est.predict(X).shape == y.shape
    est.partial_fit(X, y)
    assert est.max_iter == 3 and est.dtype == "float32" and est.n_iter_ == 1
    repr(est)


@both
def test_subclasses_are_cloned_and_searched(cls):
    X, y = inputs(cls), targets(cls)
    widths = derived(cls)["two widths"]
    assert clone(widths).first == 5
    search = GridSearchCV(widths, {"first": [3, 6]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.coefs_[0].shape[1] == search.best_params_["first"]
    assert clone(derived(cls)["scikit-learn's"]).fit(X, y).n_iter_ == 3
    make_pipeline(StandardScaler(), derived(cls)["none"]).fit(X, y).predict(X)


# ---- initial weights ----


class Quarter(MLPRegressor):
    """Every weight starts at a quarter."""

    def _init_coef(self, fan_in, fan_out, dtype):
        return np.full((fan_in, fan_out), 0.25, dtype), np.zeros(fan_out, dtype)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_an_overridden_init_coef_is_where_training_starts(solver):
    settings = dict(solver=solver, learning_rate_init=1e-12, max_iter=1, max_fun=1, tol=1e9)
    est = small(Quarter, **settings).fit(X_REG, Y_REG)
    for W, b in zip(est.coefs_, est.intercepts_, strict=True):
        np.testing.assert_allclose(W, 0.25, atol=1e-6)
        np.testing.assert_allclose(b, 0, atol=1e-6)


@both
def test_an_init_coef_that_asks_the_base_draws_the_same(cls):
    class Asking(cls):
        def _init_coef(self, fan_in, fan_out, dtype):
            self.asked = (*getattr(self, "asked", ()), (fan_in, fan_out, np.dtype(dtype)))
            return super()._init_coef(fan_in, fan_out, dtype)

    asking, plain = fitted(Asking) if cls is MLPRegressor else small(Asking), fitted(cls)
    asking.fit(inputs(cls), targets(cls))
    assert_equal_params(asking, plain)
    shapes = [W.shape for W in plain.coefs_]
    assert [a[:2] for a in asking.asked[-2:]] == shapes
    assert {a[2] for a in asking.asked} == {np.dtype("float32")}


@pytest.mark.parametrize(
    ("coef", "intercept", "named"),
    [((3, 3), (12,), "coef_init of shape"), ((6, 12), (1, 12), "intercept_init of shape")],
)
def test_an_init_coef_of_other_shapes_is_refused(coef, intercept, named):
    class Wrong(MLPRegressor):
        def _init_coef(self, fan_in, fan_out, dtype):
            return np.zeros(coef), np.zeros(intercept)

    with pytest.raises(ValueError, match=rf"_init_coef gave a {named} .* for layer 0: .* have"):
        small(Wrong).fit(X_REG, Y_REG)


# ---- coef_init and intercept_init ----


def initial(est):
    """Other parameters of the same shapes."""
    rng = np.random.default_rng(5)
    return (
        [rng.normal(size=W.shape) for W in est.coefs_],
        [rng.normal(size=b.shape) for b in est.intercepts_],
    )


STILL = {"solver": "sgd", "learning_rate_init": 1e-30, "momentum": 0.0, "alpha": 0.0}


@both
@pytest.mark.parametrize("given", ["both", "coef_init", "intercept_init"])
def test_a_fit_starts_from_the_weights_it_is_given(cls, given):
    X, y = inputs(cls), targets(cls)
    drawn = fitted(cls, dtype="float64", **STILL)
    coefs, intercepts = initial(drawn)
    arguments = {"coef_init": coefs, "intercept_init": intercepts}
    if given != "both":
        arguments = {given: arguments[given]}
    est = small(cls, dtype="float64", **STILL).fit(X, y, **arguments)
    for name, start in (("coefs_", coefs), ("intercepts_", intercepts)):
        argument = {"coefs_": "coef_init", "intercepts_": "intercept_init"}[name]
        expected = start if argument in arguments else getattr(drawn, name)
        for a, b in zip(getattr(est, name), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-20)
            assert not np.shares_memory(a, b)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_given_weights_change_no_other_draw(solver):
    plain = small(MLPRegressor, max_iter=1, **STILL).fit(X_REG, Y_REG)
    start = {
        "coef_init": [W.copy() for W in plain.coefs_],
        "intercept_init": [b.copy() for b in plain.intercepts_],
    }
    a = small(MLPRegressor, solver=solver).fit(X_REG, Y_REG)
    b = small(MLPRegressor, solver=solver).fit(X_REG, Y_REG, **start)
    assert_equal_params(a, b)


def test_given_weights_win_over_those_of_a_warm_start():
    est = fitted(MLPRegressor, warm_start=True, **STILL)
    coefs, _ = initial(est)
    before = [b.copy() for b in est.intercepts_]
    est.fit(X_REG, Y_REG, coef_init=coefs)
    np.testing.assert_allclose(est.coefs_[0], coefs[0], rtol=1e-6)
    np.testing.assert_allclose(est.intercepts_[0], before[0], rtol=1e-6)


GOOD = [np.zeros((6, 12)), np.zeros((12, 1))]
BAD_INITIAL = {
    "one array too few": ({"coef_init": GOOD[:1]}, r"coef_init has 1 arrays.*\(6, 12\), \(12, 1\)"),
    "a single array": ({"coef_init": GOOD[0]}, r"coef_init has .* one array per layer"),
    "a shape": (
        {"coef_init": [GOOD[0].T, GOOD[1]]},
        r"coef_init\[0\] has shape \(12, 6\): it takes \(6, 12\)",
    ),
    "a column of biases": (
        {"intercept_init": [np.zeros((12, 1)), np.zeros(1)]},
        r"intercept_init\[0\] has shape \(12, 1\): it takes \(12,\)",
    ),
    "NaN": ({"coef_init": [GOOD[0] * np.nan, GOOD[1]]}, r"coef_init\[0\] holds NaN"),
    "beyond float32": ({"coef_init": [GOOD[0], GOOD[1] + 1e300]}, r"coef_init\[1\].* float32"),
    "words": ({"intercept_init": [np.array(["a"] * 12), np.zeros(1)]}, r"intercept_init\[0\]"),
}


@pytest.mark.parametrize("name", BAD_INITIAL)
@pytest.mark.parametrize("warm_start", [False, True])
def test_bad_initial_weights_are_named_and_change_nothing(name, warm_start):
    arguments, message = BAD_INITIAL[name]
    est = fitted(MLPRegressor, warm_start=warm_start)
    before = copy.deepcopy(est)
    with pytest.raises((ValueError, TypeError), match=message):
        est.fit(X_REG, Y_REG, **arguments)
    assert_equal_params(est, before)
    assert est.loss_curve_ == before.loss_curve_


# ---- nets put together by hand ----


def by_hand(kind):
    """A classifier of three classes, or of two, of which nothing was fitted."""
    rng = np.random.default_rng(0)
    n_outputs = {"multiclass": 3, "binary": 1}[kind]
    clf = MLPClassifier(hidden_layer_sizes=(4,), random_state=0)
    clf.classes_ = np.array(["bird", "cat", "dog"])[: max(2, n_outputs)]
    clf.coefs_ = [rng.normal(size=(6, 4)), rng.normal(size=(4, n_outputs))]
    clf.intercepts_ = [rng.normal(size=4), rng.normal(size=n_outputs)]
    clf.n_layers_, clf.n_outputs_ = 3, n_outputs
    clf.out_activation_ = "softmax" if n_outputs > 1 else "logistic"
    return clf


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_a_net_with_a_binarizer_set_by_hand_predicts_and_trains(kind):
    clf, plain = by_hand(kind), by_hand(kind)
    clf._label_binarizer = LabelBinarizer().fit(clf.classes_)
    np.testing.assert_array_equal(clf.predict(X_REG), plain.predict(X_REG))
    labels = clf.classes_[np.arange(len(X_REG)) % len(clf.classes_)]
    for est in (clf, plain):
        est.partial_fit(X_REG, labels)
    assert_equal_params(clf, plain)
    np.testing.assert_array_equal(clf.predict(X_REG), plain.predict(X_REG))
    # A fit from the start learns the classes anew.
    clf.fit(X_REG, labels.astype(object))
    assert clf._label_binarizer.classes_.tolist() == clf.classes_.tolist()


@pytest.mark.parametrize("kind", ["multiclass", "binary"])
def test_a_binarizer_with_other_names_is_obeyed(kind):
    clf = by_hand(kind)
    before = clf.predict(X_REG)
    renamed = LabelBinarizer().fit([f"a {name}" for name in clf.classes_])
    clf._label_binarizer = renamed
    assert clf._label_binarizer is renamed
    np.testing.assert_array_equal(clf.predict(X_REG), np.char.add("a ", before))


# ---- another output activation ----


@pytest.mark.parametrize("out_activation", ["identity", "logistic", "softmax", "exp"])
@pytest.mark.parametrize("task", ["multiclass", "binary", "regression", "two outputs"])
def test_a_changed_output_activation_is_obeyed(task, out_activation):
    if out_activation not in ACTIVATIONS:
        pytest.skip("scikit-learn before 1.7 has no exp to compare with")
    X = X_REG
    y = {
        "multiclass": np.arange(len(X)) % 3,
        "binary": np.arange(len(X)) % 2,
        "regression": np.abs(Y_REG),
        "two outputs": np.abs(np.c_[Y_REG, Y_REG**2]),
    }[task]
    name = "MLPClassifier" if task in ("multiclass", "binary") else "MLPRegressor"
    settings = dict(
        hidden_layer_sizes=(5,), max_iter=3, random_state=0, warm_start=True, solver="sgd"
    )
    ours = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[name](
        dtype="float64", **settings
    )
    theirs = getattr(sklearn.neural_network, name)(**settings)
    for est in (ours, theirs):
        est.fit(X, y).out_activation_ = out_activation
    for rows in (X, X[:3]):
        np.testing.assert_allclose(raw_output(ours, rows), raw_output(theirs, rows), rtol=1e-9)
        np.testing.assert_allclose(ours.predict(rows), theirs.predict(rows), rtol=1e-9)
    if out_activation == "softmax" and task != "multiclass":
        with pytest.raises(ValueError, match="out_activation_='softmax'"):
            ours.partial_fit(X, y)
        return
    for est in (ours, theirs):
        est.fit(X, y).partial_fit(X, y)
    for a, b in zip(ours.coefs_, theirs.coefs_, strict=True):
        assert relative_error(a, b) < 1e-9
    assert ours.out_activation_ == out_activation


def test_early_stopping_scores_a_changed_output_by_the_class_it_picks():
    settings = dict(warm_start=True, early_stopping=True, max_iter=30, learning_rate_init=0.01)
    clf = small(MLPClassifier, **settings)
    clf.fit(DIGITS, DIGIT_LABELS).out_activation_ = "logistic"
    assert clf.fit(DIGITS, DIGIT_LABELS).validation_scores_[-1] > 0.7


@both
def test_an_unknown_output_activation_is_named(cls):
    est = fitted(cls, warm_start=True)
    est.out_activation_ = "tanh"
    for call in (est.predict, lambda X: est.fit(X, targets(cls))):
        with pytest.raises(ValueError, match="out_activation_='tanh' is unknown.*'softmax'"):
            call(inputs(cls))


# ---- attributes copied as a dict ----

DICTS = {
    "pickle": lambda values: pickle.loads(pickle.dumps(values)),
    "deepcopy": copy.deepcopy,
    "dict": dict,
}


@both
@pytest.mark.parametrize("how", DICTS)
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_attributes_can_be_copied_as_a_dict(cls, how, solver):
    X, y = inputs(cls), targets(cls)
    original = fitted(cls, solver=solver)
    for rows in (X, X[:1]):
        raw_output(original, rows)
    twin = cls()
    twin.__dict__ = DICTS[how](original.__dict__)
    for rows in (X, X[:1]):
        np.testing.assert_array_equal(raw_output(original, rows), raw_output(twin, rows))
    if how == "dict":
        return  # which shares the arrays
    kept = [W.copy() for W in original.coefs_]
    for est in (twin, original):
        est.set_params(solver="adam" if solver == "lbfgs" else solver).partial_fit(X, y)
        for W, before in zip(original.coefs_, kept, strict=True):
            assert np.array_equal(W, before) == (est is twin)
    assert_equal_params(original, twin)
    # The attributes are views of what is trained, and what predictions are made from.
    twin.coefs_[0][...] = 0
    twin.intercepts_[0][...] = 0
    output = raw_output(twin, X)
    np.testing.assert_array_equal(output, np.broadcast_to(output[0], output.shape))


def test_a_pickled_dict_holds_each_parameter_once():
    est = fitted(MLPRegressor, hidden_layer_sizes=(200, 200), solver="sgd")
    n_bytes = sum(p.nbytes for p in est.coefs_ + est.intercepts_)
    assert len(pickle.dumps(est.__dict__)) < 2.3 * n_bytes
