"""Losses of the estimators: what they estimate, weights of classes, smoothed labels, errors."""

import pickle

import numpy as np
import pytest
import reference
from conftest import make_targets
from estimator_problems import assert_equal_params
from sklearn.base import clone
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils.class_weight import compute_sample_weight

import fastbp
from fastbp import MLPClassifier, MLPRegressor
from fastbp._losses import REGRESSION, d2_pinball

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.uniform(-2, 2, (1500, 1))
CENTRE, DEVIATION = np.sin(2 * X[:, 0]), 0.1 + 0.3 * np.abs(X[:, 0])
Y = CENTRE + DEVIATION * RNG.normal(size=len(X))
ROWS = RNG.normal(size=(300, 4))
LABELS = (np.abs(ROWS[:, 0]) + 0.7 * np.abs(ROWS[:, 1])).astype(int).clip(0, 2)


def curve(loss, y, **params):
    """A fit of a smooth curve to y."""
    settings = {
        "hidden_layer_sizes": (24,),
        "activation": "tanh",
        "learning_rate_init": 0.005,
        "max_iter": 200,
        "n_iter_no_change": 200,
        "random_state": 0,
    }
    return MLPRegressor(loss, **settings | params).fit(X, y)


def constant(loss, y, **params):
    """What a net without input learns to say of y."""
    nothing = np.zeros((len(y), 1))
    settings = {"solver": "lbfgs", "hidden_layer_sizes": (), "tol": 1e-9, "dtype": "float64"}
    return MLPRegressor(loss, **settings, alpha=0, random_state=0, **params).fit(nothing, y)


# ---- what is estimated ----


@pytest.mark.parametrize("loss", REGRESSION)
def test_a_constant_is_the_statistic_that_minimises_the_loss(loss):
    y = np.random.default_rng(1).gamma(2.0, 1.0, 501)
    est = constant(loss, y, huber_delta=0.5, quantile=0.8)
    (found,) = est.predict(np.zeros((1, 1)))
    if loss in ("absolute_error", "quantile"):
        assert found == pytest.approx(np.quantile(y, 0.8 if loss == "quantile" else 0.5), abs=0.02)
    elif loss in ("huber", "log_cosh"):
        slope = np.clip(found - y, -0.5, 0.5) if loss == "huber" else np.tanh(found - y)
        assert abs(slope.mean()) < 1e-5
    else:
        assert found == pytest.approx(y.mean(), rel=1e-4)
    if loss == "gaussian_nll":
        _, (std,) = est.predict(np.zeros((1, 1)), return_std=True)
        assert std == pytest.approx(np.std(y), rel=1e-4)


@pytest.mark.parametrize("quantile", [(0.9, 0.1, 0.5), 0.8])
def test_quantiles_cover_their_share_wherever_the_noise_is_wide(quantile):
    prediction = curve("quantile", Y, quantile=quantile).predict(X).reshape(len(X), -1)
    for column, q in zip(prediction.T, np.atleast_1d(quantile), strict=True):
        for part in (np.abs(X[:, 0]) < 1, np.abs(X[:, 0]) >= 1):
            assert (column[part] > Y[part]).mean() == pytest.approx(q, abs=0.06)


def test_a_normal_distribution_has_its_mean_and_deviation_found():
    est = curve("gaussian_nll", Y)
    mean, std = est.predict(X, return_std=True)
    np.testing.assert_array_equal(mean, est.predict(X))
    assert np.abs(mean - CENTRE).mean() < 0.08
    assert np.abs(std - DEVIATION).mean() < 0.06
    assert std[np.abs(X[:, 0]) > 1.5].mean() > 2 * std[np.abs(X[:, 0]) < 0.5].mean()


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_means_of_skewed_targets_are_found(loss):
    rng, mean = np.random.default_rng(2), np.exp(CENTRE)
    y = rng.poisson(mean).astype(float) if loss == "poisson" else rng.gamma(4, mean / 4)
    prediction = curve(loss, y).predict(X)
    assert (prediction > 0).all()
    assert np.abs(prediction - mean).mean() < 0.15


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "log_cosh"])
def test_outliers_matter_less_than_to_the_squared_error(loss):
    y = Y.copy()
    y[::20] += 15
    errors = {
        name: np.abs(curve(name, y, huber_delta=0.3).predict(X) - CENTRE).mean()
        for name in (loss, "squared_error")
    }
    assert errors[loss] < 0.4 * errors["squared_error"]


# ---- shapes, scores, reported losses ----


def quick(cls=MLPRegressor, **params):
    settings = {"hidden_layer_sizes": (6,), "max_iter": 3, "random_state": 0}
    return cls(**settings | params)


@pytest.mark.parametrize(
    "loss, quantile, columns, n_outputs, shape",
    [
        ("quantile", 0.3, 1, 1, (300,)),
        ("quantile", 0.3, 2, 2, (300, 2)),
        ("quantile", [0.3], 1, 1, (300, 1)),
        ("quantile", [0.9, 0.3], 1, 2, (300, 2)),
        ("quantile", np.array([0.1, 0.5, 0.9]), 1, 3, (300, 3)),
        ("gaussian_nll", 0.5, 1, 2, (300,)),
        ("gaussian_nll", 0.5, 2, 4, (300, 2)),
        ("huber", [0.9, 0.3], 2, 2, (300, 2)),
    ],
)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_outputs_and_shapes(loss, quantile, columns, n_outputs, shape, early_stopping):
    y = ROWS[:, :columns] if columns > 1 else ROWS[:, 0]
    est = quick(loss=loss, quantile=quantile, early_stopping=early_stopping).fit(ROWS, y)
    assert est.n_outputs_ == n_outputs
    assert est.predict(ROWS).shape == shape
    for other in (pickle.loads(pickle.dumps(est)), clone(est).fit(ROWS, y)):
        np.testing.assert_array_equal(other.predict(ROWS), est.predict(ROWS))
        assert other.score(ROWS, y) == est.score(ROWS, y)
    assert np.isfinite(est.validation_scores_ or [0.0]).all()
    if loss == "gaussian_nll":
        mean, std = est.predict(ROWS, return_std=True)
        assert mean.shape == std.shape == shape and (std > 0).all()


def test_scores_are_r2_and_of_several_quantiles_the_pinball_score():
    weight = np.random.default_rng(3).uniform(0.1, 2, len(ROWS))
    y = ROWS[:, 0]
    several = quick(loss="quantile", quantile=[0.2, 0.7], max_iter=20).fit(ROWS, y)
    prediction = several.predict(ROWS)
    expected = np.mean(
        [
            d2_pinball_score(y, prediction[:, i], sample_weight=weight, alpha=q)
            for i, q in enumerate((0.2, 0.7))
        ]
    )
    assert several.score(ROWS, y, weight) == pytest.approx(expected, rel=1e-12)
    assert d2_pinball((0.2, 0.7))(prediction, np.c_[y, y], weight) == pytest.approx(expected)
    assert np.isnan(d2_pinball((0.2, 0.7))(prediction * np.nan, np.c_[y, y], weight))

    normal = quick(loss="gaussian_nll").fit(ROWS, ROWS[:, :2])
    output = np.hstack(normal.predict(ROWS, return_std=True))
    expected = r2_score(ROWS[:, :2], output[:, :2], sample_weight=weight)
    assert normal.score(ROWS, ROWS[:, :2], weight) == pytest.approx(expected, rel=1e-12)
    score = REGRESSION["gaussian_nll"].score(output, ROWS[:, :2], weight)
    assert score == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("loss", REGRESSION)
def test_the_reported_loss_is_the_sum_over_outputs_but_of_the_squared_error(loss):
    y = make_targets(loss, 80, 2, np.random.default_rng(4))
    params = {"huber_delta": 0.4, "quantile": 0.3, "alpha": 0.2, "dtype": "float64"}
    est = quick(loss=loss, solver="lbfgs", **params)
    est.fit(ROWS[:80], y)
    told = {"huber": 0.4, "quantile": 0.3}.get(loss)
    expected, _ = reference.value_and_grad(
        est._params.flat,
        est._params.layer_sizes,
        ["relu"],
        loss,
        ROWS[:80],
        y,
        alpha=0.2,
        loss_scale=0.5 if loss == "squared_error" else 1.0,
        loss_params=told,
    )
    assert est.loss_ == pytest.approx(expected, rel=1e-12)


def test_the_arena_has_as_many_columns_of_y_as_are_given():
    for loss, columns in (("gaussian_nll", 3), ("huber", 6)):
        plan = fastbp.memory_plan((4, 6), batch_size=100, loss=loss)
        assert {row.name: row.shape for row in plan.rows}["y"] == (100, columns)


# ---- smoothed labels ----


@pytest.mark.parametrize("n_classes, right", [(2, 1 - 0.2 / 2), (5, 0.8 + 0.2 / 5)])
def test_smoothed_labels_keep_probabilities_from_the_ends(n_classes, right):
    labels = np.arange(n_classes).repeat(9)
    est = quick(
        MLPClassifier,
        hidden_layer_sizes=(),
        solver="lbfgs",
        alpha=0,
        max_iter=500,
        tol=1e-9,
        label_smoothing=0.2,
    ).fit(np.eye(n_classes)[labels], labels)
    expected = np.where(np.eye(n_classes, dtype=bool), right, (1 - right) / (n_classes - 1))
    np.testing.assert_allclose(est.predict_proba(np.eye(n_classes)), expected, atol=1e-4)
    # The loss is the entropy of the smoothed labels.
    assert est.loss_ == pytest.approx(-(expected[0] * np.log(expected[0])).sum(), rel=1e-6)


def test_each_column_of_multilabel_targets_is_smoothed():
    y = np.array([[0, 1], [1, 1], [1, 0]] * 7)
    est = quick(
        MLPClassifier,
        hidden_layer_sizes=(),
        solver="lbfgs",
        alpha=0,
        max_iter=500,
        tol=1e-9,
        label_smoothing=0.3,
    ).fit(np.tile(np.eye(3), (7, 1)), y)
    expected = np.where(y[:3], 0.85, 0.15)
    np.testing.assert_allclose(est.predict_proba(np.eye(3)), expected, atol=1e-5)


def test_labels_that_are_not_smoothed_are_those_of_before():
    plain = quick(MLPClassifier).fit(ROWS, LABELS)
    smoothed = quick(MLPClassifier, label_smoothing=0.1).fit(ROWS, LABELS)
    assert np.abs(plain.coefs_[0] - smoothed.coefs_[0]).max() > 1e-4
    assert_equal_params(plain, quick(MLPClassifier, label_smoothing=0.0).fit(ROWS, LABELS))


# ---- weights of classes ----

NAMES = np.array(["few", "many", "some"])[LABELS]
COLUMNS = np.c_[ROWS[:, 0] > 1, ROWS[:, 1] > -0.5, ROWS[:, 2] > 0].astype(int)
WAYS = {
    "adam": {},
    "sgd": {"solver": "sgd"},
    "lbfgs": {"solver": "lbfgs"},
    "early stopping": {"early_stopping": True},
    "float64": {"dtype": "float64", "batch_size": 64},
}
WEIGHTED = {
    "balanced": (LABELS, "balanced"),
    "names": (NAMES, "balanced"),
    "two": (LABELS > 0, "balanced"),
    "one": (np.ones(300, int), "balanced"),
    "dict": (LABELS, {0: 1.0, 1: 0.25, 2: 4}),
    "names in a dict": (NAMES, {"few": 3.0, "some": 0.5}),
    "multilabel": (COLUMNS, "balanced"),
    "dicts": (COLUMNS, [{0: 1, 1: 5}, {0: 2.0, 1: 1}, {1: 3}]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("case", WEIGHTED)
@pytest.mark.parametrize("weighted", [False, True], ids=["even", "weighted"])
def test_class_weights_equal_weights_of_the_rows(case, way, weighted):
    y, class_weight = WEIGHTED[case]
    own = np.random.default_rng(5).uniform(0.1, 2, len(y)) if weighted else None
    rows = compute_sample_weight(class_weight, y) * (1 if own is None else own)
    by_class = quick(MLPClassifier, class_weight=class_weight, **WAYS[way]).fit(ROWS, y, own)
    by_row = quick(MLPClassifier, **WAYS[way]).fit(ROWS, y, rows)
    for a, b in zip(by_class.coefs_, by_row.coefs_, strict=True):
        assert np.abs(a - b).max() <= 1e-12
    assert by_class.loss_ == pytest.approx(by_row.loss_, rel=1e-12)
    if case not in ("one",) and not weighted:
        plain = quick(MLPClassifier, **WAYS[way]).fit(ROWS, y)
        assert np.abs(plain.coefs_[0] - by_class.coefs_[0]).max() > 1e-6


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 0.25, 2: 4}])
def test_class_weights_count_under_warm_start(class_weight):
    a = quick(MLPClassifier, class_weight=class_weight, warm_start=True)
    b = quick(MLPClassifier, warm_start=True)
    for rows in (slice(0, 200), slice(100, 300)):
        a.fit(ROWS[rows], LABELS[rows])
        b.fit(ROWS[rows], LABELS[rows], compute_sample_weight(class_weight, LABELS[rows]))
    assert_equal_params(a, b)


@pytest.mark.parametrize("y, weights", [(LABELS, {0: 1.0, 1: 0.25}), (NAMES, {"few": 3.0})])
def test_class_weights_of_partial_fit_are_those_of_a_dict(y, weights):
    """Also of calls that lack a class which has a weight, and when the dict is changed in place."""
    weights = dict(weights)
    a, b = quick(MLPClassifier, class_weight=weights), quick(MLPClassifier)
    for i in range(5):
        rows = np.flatnonzero(LABELS > 0)[20 * i : 20 * i + 20]
        of_rows = np.array([weights.get(label, 1.0) for label in y[rows]])
        classes = np.unique(y) if i == 0 else None
        a.partial_fit(ROWS[rows], y[rows], classes=classes)
        b.partial_fit(ROWS[rows], y[rows], of_rows, classes=classes)
        weights[y[rows][0]] = 1.5 + i
    assert_equal_params(a, b)


# ---- going on ----


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "gaussian_nll"},
        {"loss": "gamma"},
        {"loss": "huber", "huber_delta": 0.1},
        {"loss": "quantile", "quantile": 0.9},
        {"loss": "quantile", "quantile": (0.1, 0.9)},
        {"loss": "quantile", "quantile": [0.1, 0.9]},
    ],
    ids=str,
)
def test_the_short_way_of_partial_fit_is_the_long_one(params):
    y = np.abs(ROWS[:, 0]) + 0.1
    short, long = quick(**params), quick(**params)
    for i in range(4):
        rows = slice(20 * i, 20 * i + 20)
        short.partial_fit(ROWS[rows], y[rows])
        vars(long).pop("_steady", None)
        long.partial_fit(ROWS[rows], y[rows])
    assert_equal_params(short, long)
    assert ("_steady" in vars(short)) == (not isinstance(params.get("quantile"), list))
    before = pickle.dumps(short.coefs_)
    with pytest.raises(ValueError, match="y "):
        short.partial_fit(ROWS[:20], np.c_[y[:20], y[:20]])
    assert pickle.dumps(short.coefs_) == before
    assert short.predict(ROWS).shape[0] == len(ROWS)


def test_a_list_of_quantiles_that_changes_in_place_is_seen():
    quantiles = [0.1, 0.5]
    a = quick(loss="quantile", quantile=quantiles).partial_fit(ROWS, ROWS[:, 0])
    b = quick(loss="quantile", quantile=[0.1, 0.5]).partial_fit(ROWS, ROWS[:, 0])
    quantiles[1] = 0.9
    b.set_params(quantile=[0.1, 0.9])
    assert_equal_params(a.partial_fit(ROWS, ROWS[:, 0]), b.partial_fit(ROWS, ROWS[:, 0]))


@pytest.mark.parametrize("one_epoch", [False, True])
@pytest.mark.parametrize(
    "before, after, message",
    [
        (
            {"loss": "quantile", "quantile": [0.1, 0.5]},
            {"quantile": [0.1, 0.5, 0.9]},
            r"quantile=\[0.1, 0.5, 0.9\] asks for 3 outputs, but MLPRegressor was fitted with 2",
        ),
        (
            {"loss": "huber"},
            {"loss": "gaussian_nll"},
            r"loss='gaussian_nll' has outputs by 'mean_and_std'.*out_activation_='identity'",
        ),
        (
            {"loss": "gaussian_nll"},
            {"loss": "squared_error"},
            r"loss='squared_error' has outputs by 'identity'.*out_activation_='mean_and_std'",
        ),
        (
            {"loss": "squared_error"},
            {"loss": "gamma"},
            r"loss='gamma' has outputs by 'exp'.*out_activation_='identity'",
        ),
    ],
)
def test_outputs_cannot_change_between_fits(before, after, message, one_epoch):
    y = np.abs(ROWS[:, 0]) + 0.1
    est = quick(warm_start=True, **before).fit(ROWS, y)
    prediction = est.predict(ROWS)
    est.set_params(**after)
    with pytest.raises(ValueError, match=message):
        est.partial_fit(ROWS, y) if one_epoch else est.fit(ROWS, y)
    np.testing.assert_array_equal(est.predict(ROWS), prediction)
    est.set_params(warm_start=False).fit(ROWS, y)


@pytest.mark.parametrize(
    "change", [{"loss": "huber"}, {"quantile": 0.9}, {"loss": "log_cosh", "huber_delta": 2.0}]
)
def test_losses_of_the_same_outputs_may_change_between_fits(change):
    est = quick(loss="quantile", warm_start=True).fit(ROWS, ROWS[:, 0])
    same = clone(est).fit(ROWS, ROWS[:, 0]).fit(ROWS, ROWS[:, 0])
    est.set_params(**change).fit(ROWS, ROWS[:, 0])
    assert np.abs(est.coefs_[0] - same.coefs_[0]).max() > 1e-5


# ---- errors ----


@pytest.mark.parametrize(
    "params, y, message",
    [
        ({"loss": "gamma"}, np.r_[0.0, np.ones(299)], "y must be above 0 with loss='gamma', got 0"),
        ({"loss": "quantile", "quantile": [0.5]}, ROWS[:, :2], r"y has shape \(300, 2\): .*list"),
        ({"loss": "quantile", "quantile": []}, ROWS[:, 0], r"quantile=\[\].* at least one"),
        ({"loss": "quantile", "quantile": [0.5, 1.0]}, ROWS[:, 0], r"quantile=\[0.5, 1.0\]: it ta"),
        ({"loss": "quantile", "quantile": [0.5, "a"]}, ROWS[:, 0], r"quantile=\[0.5, 'a'\]: it t"),
        ({"quantile": 1.0}, ROWS[:, 0], "'quantile' parameter.*Got 1.0"),
        ({"quantile": 0}, ROWS[:, 0], "'quantile' parameter.*Got 0"),
        ({"huber_delta": 0.0}, ROWS[:, 0], "'huber_delta' parameter.*Got 0.0"),
        ({"loss": "huber", "huber_delta": np.inf}, ROWS[:, 0], "huber_delta"),
        ({"loss": "l1"}, ROWS[:, 0], "'loss' parameter.*Got 'l1'"),
    ],
)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_arguments_of_a_regressor_are_named(params, y, message, method):
    est = quick(**params)
    with pytest.raises(ValueError, match=message):
        getattr(est, method)(ROWS, y)
    assert not hasattr(est, "coefs_")


@pytest.mark.parametrize(
    "params, y, message",
    [
        ({"class_weight": "even"}, LABELS, "'class_weight' parameter.*Got 'even'"),
        ({"class_weight": {0: 1, 7: 2}}, LABELS, r"class_weight=\{0: 1, 7: 2\}.*\[1, 2\], are not"),
        ({"class_weight": {0: -1}}, LABELS, "class_weight has -1 for the class 0"),
        ({"class_weight": {0: np.nan}}, LABELS, "class_weight has nan for the class 0"),
        ({"class_weight": {0: "a"}}, LABELS, "class_weight has 'a' for the class 0"),
        ({"class_weight": {0: 0, 1: 0, 2: 0}}, LABELS, "class_weight gives .* sum 0.0"),
        ({"class_weight": [{0: 1}]}, LABELS, r"class_weight=\[\{0: 1\}\].*a list is for"),
        ({"class_weight": {0: 1}}, COLUMNS, r"class_weight=\{0: 1\}.*a list of 3 dicts"),
        ({"class_weight": [{0: 1}] * 2}, COLUMNS, "class_weight=.*a list of 3 dicts"),
        ({"class_weight": [{0: 1}, None, {}]}, COLUMNS, "class_weight has None for a column"),
        ({"label_smoothing": 1.0}, LABELS, "'label_smoothing' parameter.*Got 1.0"),
        ({"label_smoothing": -0.1}, LABELS, "'label_smoothing' parameter.*Got -0.1"),
    ],
)
def test_bad_arguments_of_a_classifier_are_named_and_change_nothing(params, y, message):
    est = quick(MLPClassifier).fit(ROWS, y)
    before = est.predict_proba(ROWS)
    with pytest.raises(ValueError, match=message):
        est.set_params(**params).fit(ROWS, y)
    np.testing.assert_array_equal(est.predict_proba(ROWS), before)


def test_partial_fit_takes_no_balanced_weights():
    est = quick(MLPClassifier).partial_fit(ROWS, LABELS, classes=[0, 1, 2])
    est.partial_fit(ROWS, LABELS)  # the short way is open
    before = pickle.dumps(est.coefs_)
    with pytest.raises(
        ValueError, match="partial_fit does not support class_weight='balanced'.*dict"
    ):
        est.set_params(class_weight="balanced").partial_fit(ROWS, LABELS)
    assert pickle.dumps(est.coefs_) == before


@pytest.mark.parametrize("loss", sorted(set(REGRESSION) - {"gaussian_nll"}))
def test_deviations_are_those_of_a_normal_distribution_only(loss):
    est = quick(loss=loss).fit(ROWS, np.abs(ROWS[:, 0]) + 0.1)
    with pytest.raises(ValueError, match=f"return_std=True with loss='{loss}'.*gaussian_nll"):
        est.predict(ROWS, return_std=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"huber_delta": 0}, "huber_delta=0: it takes a finite number above 0"),
        ({"huber_delta": "a"}, "huber_delta='a': it takes"),
        ({"huber_delta": True}, "huber_delta=True: it takes"),
        ({"quantile": 1}, "quantile=1: it takes a number above 0 and below 1"),
        ({"quantile": [0.5, np.nan]}, r"quantile=\[0.5, nan\]: it takes"),
        ({"quantile": "half"}, "quantile='half': it takes"),
        ({"loss": "quantile", "quantile": (0.5,)}, r"quantile=\(0.5,\) has 1 entries.* 3 outputs"),
        ({"label_smoothing": 1}, "label_smoothing=1: it takes a number from 0 on and below 1"),
        ({"label_smoothing": None}, "label_smoothing=None: it takes"),
        ({"label_smoothing": 0.1}, "label_smoothing=0.1 with loss='squared_error': it takes 0"),
        ({"loss": "gaussian_nll"}, "loss='gaussian_nll' .*even number.* got 3"),
    ],
)
def test_bad_arguments_of_a_network_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastbp.Network((4, 3), **arguments)
    if set(arguments) == {"loss"}:
        with pytest.raises(ValueError, match=message):
            fastbp.memory_plan((4, 3), **arguments)


def test_a_network_tells_and_keeps_what_its_loss_was_told():
    told = {"huber_delta": 0.5, "quantile": (0.1, 0.9)}
    net = fastbp.Network((4, 2), loss="quantile", dtype="float64", **told)
    assert "huber_delta=0.5, quantile=(0.1, 0.9)" in repr(net)
    assert "huber_delta" not in repr(fastbp.Network((4, 2)))
    params, y = net.init_params(0), ROWS[:, :2]
    again = pickle.loads(pickle.dumps(net))
    assert repr(again) == repr(net)
    assert again.loss(params, ROWS, y) == net.loss(params, ROWS, y)
    plain = fastbp.Network((4, 2), loss="quantile", dtype="float64")
    assert plain.loss(params, ROWS, y) != net.loss(params, ROWS, y)
