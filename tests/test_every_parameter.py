"""Every parameter that scikit-learn's classes have not, at other values than its default.

scikit-learn's own checks run here with several of them at once, and with each of them alone in
``make test-parameters``.
"""

import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from estimator_problems import both, fitted, inputs, raw_output, small, targets
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import MLPClassifier, MLPRegressor


def half_square(output, y, sample_weight):
    return 0.5 * ((output - y) ** 2).sum(axis=1), output - y


def slower(progress):
    return 1 - progress / 2


FOLDER = tempfile.TemporaryDirectory()
CHECKPOINT = Path(FOLDER.name) / "state"


# Values other than the default, and values that are refused. Of the checks that are made of an
# estimator's parameters alone, some need the plain names of an activation or a schedule.
SHARED = {
    "activation": (
        ["leaky_relu", "elu", "selu", "gelu", "silu", "mish", "softplus", ["tanh"], ("gelu",)],
        ["swish", ["tanh", "relu"], ["tanh", 3], 3],
    ),
    "solver": (["adamw"], ["adamax", None]),
    "learning_rate": (["cosine", "linear", "one_cycle", slower], ["exponential", None, -1.0]),
    "warmup": ([0.25], [-0.1, 1.0, "long", None]),
    "dropout": ([0.3, [0.2]], [-0.1, 1.0, "half", [0.1, 0.1], [1.0], ["half"], None]),
    "input_dropout": ([0.2], [-0.1, 1.0, [0.1], None]),
    "weight_decay": ([0.5, 0], [-1.0, "much", None]),
    "max_grad_norm": ([0.5], [0, -1.0, "short"]),
    "ema_decay": ([0.5, 0.0], [1.0, -0.1, "slow"]),
    "scoring": (["loss"], ["best", 3]),
    "max_time": ([100.0], [0, -1, "long"]),
    "verbose": (["progress"], ["bar"]),
    "checkpoint": ([CHECKPOINT, str(CHECKPOINT)], [3]),
    "checkpoint_interval": ([1e-9], [0, -1.0, np.inf, "often", None]),
}
OWN = {
    MLPClassifier: {
        "class_weight": (["balanced", {0: 2.0}], ["even", {0: -1.0}, {0: "much"}, 3]),
        "label_smoothing": ([0.1], [-0.1, 1.0, "some", None]),
    },
    MLPRegressor: {
        "loss": (
            ["absolute_error", "huber", "log_cosh", "quantile", "gaussian_nll", half_square],
            ["hinge", 3, None],
        ),
        "huber_delta": ([0.1], [0, -1.0, "wide", None]),
        "quantile": ([0.9, [0.1, 0.9]], [0, 1.0, "half", [0.1, 1.0], [], None]),
    },
}
# A parameter that counts only together with another one.
TOGETHER = {
    "weight_decay": {"solver": "adamw"},
    "huber_delta": {"loss": "huber"},
    "quantile": {"loss": "quantile"},
    "scoring": {"early_stopping": True},
    "checkpoint_interval": {"checkpoint": CHECKPOINT},
}
# Those that change no update.
WATCHES = ("scoring", "max_time", "verbose", "checkpoint", "checkpoint_interval")
NOT_ONLINE = ("learning_rate", "warmup", "max_time", "scoring")


def cases(which):
    return [
        pytest.param(cls, name, value, id=f"{cls.__name__}-{name}-{value!r:.30}")
        for cls, own in OWN.items()
        for name, values in {**SHARED, **own}.items()
        for value in values[which]
    ]


def made(cls, name, value, **other):
    return small(cls, **{**TOGETHER.get(name, {}), name: value, **other})


def same(a, b):
    np.testing.assert_array_equal(a._params.flat, b._params.flat)


pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.mark.parametrize(("cls", "name", "value"), cases(0))
def test_a_value_counts_and_survives(cls, name, value, capfd):
    """It changes the fit; clones, copies by pickle and set_params fit the same; fits go on."""
    X, y = inputs(cls), targets(cls)
    est = made(cls, name, value).fit(X, y)
    assert np.isfinite(raw_output(est, X)).all()
    if name not in WATCHES and value not in (half_square, 0.0):
        plain = made(cls, name, getattr(cls(), name)).fit(X, y)
        alike = plain.get_params() == est.get_params()
        assert np.array_equal(plain._params.flat, est._params.flat) == alike
    same(clone(est).fit(X, y), est)
    again = pickle.loads(pickle.dumps(est))
    same(again, est)
    np.testing.assert_array_equal(raw_output(again, X), raw_output(est, X))
    same(small(cls).set_params(**TOGETHER.get(name, {}), **{name: value}).fit(X, y), est)
    est.set_params(warm_start=True)
    before = est._params.flat.copy()
    est.fit(X, y)
    assert np.isfinite(est.loss_) and len(est.loss_curve_) == 10
    assert name == "scoring" or not np.array_equal(before, est._params.flat)


@pytest.mark.parametrize(("cls", "name", "value"), cases(0))
def test_a_value_learns_online_or_is_refused(cls, name, value):
    X, y = inputs(cls), targets(cls)
    est, options = made(cls, name, value), {}
    if cls is MLPClassifier:
        options["classes"] = np.arange(10)
    if name in NOT_ONLINE or value == "balanced":
        with pytest.raises(ValueError, match="early_stopping" if name == "scoring" else name):
            est.partial_fit(X, y, **options)
        assert not hasattr(est, "coefs_")
        return
    two = pickle.loads(pickle.dumps(est.partial_fit(X, y, **options)))
    for _ in range(2):
        same(est.partial_fit(X, y), two.partial_fit(X, y))
    assert np.isfinite(raw_output(est, X)).all()


@pytest.mark.parametrize(("cls", "name", "value"), cases(1))
def test_a_wrong_value_is_named_and_changes_nothing(cls, name, value):
    X, y = inputs(cls), targets(cls)
    est = made(cls, name, value)
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        est.fit(X, y)
    said = str(caught.value)
    inside = value[0] if isinstance(value, dict) else value
    assert repr(inside) in said or str(inside) in said
    assert any(word in said for word in ("takes", "must be", "range"))
    with pytest.raises(NotFittedError):
        est.predict(X)
    good = fitted(cls)
    before = good._params.flat.copy()
    with pytest.raises((ValueError, TypeError), match=name):
        good.set_params(**TOGETHER.get(name, {}), **{name: value}).fit(X, y)
    np.testing.assert_array_equal(good._params.flat, before)


@both
def test_every_parameter_of_ours_is_here(cls):
    import sklearn.neural_network

    theirs = getattr(sklearn.neural_network, cls.__name__)().get_params()
    ours = set(cls().get_params()) - set(theirs) - {"dtype", "n_threads", "max_memory"}
    assert ours <= {*SHARED, *OWN[cls]}


# ---- scikit-learn's checks ----

# Enough epochs for the checks that want something learnt.
_EPOCHS = {"max_iter": 100}
_COMBINED = {
    MLPClassifier: [
        dict(activation="gelu", solver="adamw", learning_rate="cosine", warmup=0.1),
        dict(activation=["silu"], class_weight="balanced", label_smoothing=0.05, ema_decay=0.5),
        dict(activation="mish", dropout=0.05, input_dropout=0.01, max_grad_norm=5.0),
    ],
    MLPRegressor: [
        dict(activation="silu", solver="adamw", loss="huber", learning_rate="one_cycle"),
        dict(activation=("elu",), loss=half_square, dropout=0.05, input_dropout=0.01),
        dict(loss="gaussian_nll", ema_decay=0.5, max_time=100.0),
    ],
}


def not_expected_to_pass(estimator):
    """Checks that ask for what dropout, balanced classes and a split by chance cannot give."""
    reason = None
    if np.any(estimator.dropout) or estimator.input_dropout:
        reason = "which numbers are dropped depends on a row's place"
    if getattr(estimator, "class_weight", None) == "balanced":
        reason = "classes are counted by rows, not by weights, as in scikit-learn"
    if estimator.early_stopping:
        reason = "the split depends on a row's place"
    checks = [f"check_sample_weight_equivalence_on_{kind}_data" for kind in ("dense", "sparse")]
    if estimator.early_stopping:
        checks += [
            "check_estimators_nan_inf",
            "check_classifiers_one_label",
            "check_fit2d_1feature",
        ]
    return {check: reason for check in checks} if reason else {}


def combined():
    return [
        cls(**{**_EPOCHS, **options}) for cls, several in _COMBINED.items() for options in several
    ]


def one_by_one():
    return [
        cls(**{**_EPOCHS, **TOGETHER.get(name, {}), name: value})
        for cls, own in OWN.items()
        for name, values in {**SHARED, **own}.items()
        for value in values[0]
    ]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(combined(), expected_failed_checks=not_expected_to_pass)
def test_scikit_learns_checks_pass_with_several_at_once(estimator, check):
    check(estimator)


@pytest.mark.each_parameter
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(one_by_one(), expected_failed_checks=not_expected_to_pass)
def test_scikit_learns_checks_pass_with_each_alone(estimator, check):
    check(estimator)
