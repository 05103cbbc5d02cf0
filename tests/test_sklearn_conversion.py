"""`from_sklearn` and `to_sklearn`: the same predictions, the same training from there on."""

import numpy as np
import pytest
import sklearn
from sklearn import neural_network

import fastbp

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X = np.random.RandomState(0).uniform(-1, 1, (80, 4))
LEVELS = np.digitize(X[:, 0], [-0.4, 0.3])
TARGETS = {
    "two classes": LEVELS > 0,
    "text": np.array(["low", "middle", "top"])[LEVELS],
    "several labels": (X[:, :3] > 0).astype(int),
    "number": X @ [1.0, 2.0, -1.0, 0.5],
    "numbers": X[:, :2] - 1.0,
}
SETTINGS = [
    {},
    {"solver": "sgd", "learning_rate": "adaptive"},
    {"solver": "sgd", "learning_rate": "invscaling", "nesterovs_momentum": False},
    {"solver": "lbfgs", "activation": "tanh"},
    {"early_stopping": True},
]
every_target = pytest.mark.parametrize("kind", TARGETS)
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def theirs(kind, **settings):
    cls = neural_network.MLPRegressor if "number" in kind else neural_network.MLPClassifier
    if kind == "text" and "early_stopping" in settings and sklearn.__version__.startswith("1.6."):
        pytest.skip("scikit-learn 1.6 stops at labels of text: it looks for NaN among them")
    settings |= {"hidden_layer_sizes": (7, 3), "max_iter": 3, "random_state": 0}
    return cls(**settings)


def output(est):
    return est.predict_proba(X) if hasattr(est, "predict_proba") else est.predict(X)


def assert_same(a, b):
    np.testing.assert_allclose(output(a), output(b), rtol=0, atol=1e-12)
    if hasattr(a, "classes_"):
        np.testing.assert_array_equal(a.predict(X), b.predict(X))


@every_target
@every_setting
def test_predictions_and_training_are_the_same(kind, settings, tmp_path):
    y = TARGETS[kind]
    before = theirs(kind, **settings).fit(X, y)
    ours = fastbp.from_sklearn(before)
    back = fastbp.to_sklearn(ours)
    fastbp.save(ours, tmp_path / "a")
    every = [before, ours, back, fastbp.load(tmp_path / "a")]
    for est in every[1:]:
        assert_same(before, est)
        assert est.n_iter_ == before.n_iter_ and est.t_ == before.t_ and est.loss_ == before.loss_
    assert back.get_params() == before.get_params()
    assert {n for n in vars(before) if n.endswith("_")} <= {*vars(back)}
    if settings.get("solver") == "lbfgs" or settings.get("early_stopping"):
        return
    for _ in range(2):
        for est in every:
            est.partial_fit(X, y)
    for est in every[1:]:
        assert_same(before, est)
        np.testing.assert_allclose(before.loss_curve_, est.loss_curve_, rtol=0, atol=1e-12)


def test_one_class_is_predicted():
    before = theirs("one class").fit(X, np.full(80, 5))
    ours = fastbp.from_sklearn(before)
    assert set(ours.predict(X)) == set(fastbp.to_sklearn(ours).predict(X)) == {5}
    np.testing.assert_array_equal(ours.coefs_[0], before.coefs_[0])


def test_copies_share_nothing():
    before = theirs("number", warm_start=True).set_params(random_state=np.random.RandomState(1))
    before.fit(X, TARGETS["number"])
    ours = fastbp.from_sklearn(before)
    back = fastbp.to_sklearn(ours)
    first = output(before)
    assert ours.random_state is not before.random_state is not back.random_state
    for est in (ours, back):
        est.partial_fit(X, TARGETS["number"])
    np.testing.assert_array_equal(output(before), first)
    assert len(before.loss_curve_) == 3


def test_parameters_of_what_is_not_fitted_go_both_ways():
    before = theirs("text", alpha=0.1, beta_1=0.8, n_iter_no_change=3, verbose=True)
    ours = fastbp.from_sklearn(before)
    assert type(ours) is fastbp.MLPClassifier and ours.dtype == "auto" and ours.alpha == 0.1
    assert fastbp.to_sklearn(ours).get_params() == before.get_params()
    assert not hasattr(ours, "coefs_")


def test_names_of_columns_go_both_ways():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(X, columns=list("abcd"))
    ours = fastbp.from_sklearn(theirs("number").fit(frame, TARGETS["number"]))
    assert [*ours.feature_names_in_] == [*fastbp.to_sklearn(ours).feature_names_in_] == [*"abcd"]


def test_history_has_what_scikit_learn_knew():
    before = theirs("text", early_stopping=True).fit(X, TARGETS["text"])
    ours = fastbp.from_sklearn(before)
    assert ours.history_["loss"] == before.loss_curve_ == ours.loss_curve_
    assert ours.history_["validation_score"] == before.validation_scores_
    assert ours.best_iter_ == 1 + np.argmax(before.validation_scores_)
    before = theirs("number").fit(X, TARGETS["number"])
    assert fastbp.from_sklearn(before).best_iter_ == 1 + np.argmin(before.loss_curve_)


@pytest.mark.parametrize("rows", [np.float32, np.float64])
def test_a_net_of_float32_has_the_dtype_that_it_predicts_in(rows):
    y = TARGETS["number"].astype(rows)
    ours = fastbp.MLPRegressor(hidden_layer_sizes=(5,), random_state=0, max_iter=2).fit(
        X.astype(rows), y
    )
    back = fastbp.to_sklearn(ours)
    assert back.coefs_[0].dtype == rows
    assert back.predict(X.astype(rows)).dtype == ours.predict(X.astype(rows)).dtype
    np.testing.assert_allclose(back.predict(X), ours.predict(X), rtol=1e-5)


def test_what_scikit_learn_computes_in_no_way_is_an_error():
    for name, est in (
        ("activation='gelu'", fastbp.MLPClassifier(activation="gelu")),
        (r"activation=\['relu', 'tanh'\]", fastbp.MLPClassifier((3, 3), ["relu", "tanh"])),
        ("loss='huber'", fastbp.MLPRegressor("huber")),
        ("loss='quantile'", fastbp.MLPRegressor("quantile", quantile=[0.1, 0.9])),
        ("loss=<built-in", fastbp.MLPRegressor(max)),
    ):
        with pytest.raises(ValueError, match=f"MLP.* has {name}.*to_sklearn takes '"):
            fastbp.to_sklearn(est)
    same = fastbp.MLPClassifier((3, 3), ["tanh", "tanh"])
    assert fastbp.to_sklearn(same).activation == "tanh"


def test_settings_of_training_are_left_out_with_a_warning():
    est = fastbp.MLPClassifier(
        dropout=0.1, class_weight="balanced", solver="adamw", learning_rate="cosine", max_time=9
    )
    with pytest.warns(UserWarning) as caught:
        made = fastbp.to_sklearn(est)
    text = str(caught[0].message)
    for setting in ("dropout=0.1", "class_weight='balanced'", "max_time=9"):
        assert setting in text
    assert "solver='adamw' (now 'adam')" in text and "learning_rate='cosine'" in text
    assert made.solver == "adam" and made.learning_rate == "constant"


@pytest.mark.filterwarnings("error")
def test_where_and_how_a_net_runs_needs_no_warning():
    fastbp.to_sklearn(fastbp.MLPClassifier(n_threads=2, max_memory="64MB", dtype="float64"))


def test_other_classes_are_refused():
    class Derived(fastbp.MLPRegressor):
        pass

    with pytest.raises(TypeError, match=r"of type .*Derived: it takes a fastbp\.classifier"):
        fastbp.to_sklearn(Derived())
    with pytest.raises(TypeError, match=r"of type MLPRegressor: it takes a sklearn\.neural"):
        fastbp.from_sklearn(fastbp.MLPRegressor())


def test_there_are_no_curves_with_lbfgs_and_activations_are_texts_of_python():
    X = np.random.RandomState(0).uniform(size=(30, 3))
    settings = dict(hidden_layer_sizes=(4,), max_iter=3, solver="lbfgs")
    est = fastbp.MLPRegressor(**settings, activation=np.array(["tanh"])).fit(X, X[:, 0])
    made = fastbp.to_sklearn(est)
    assert type(made.activation) is str
    theirs = neural_network.MLPRegressor(**settings).fit(X, X[:, 0])
    assert vars(made).keys() - vars(theirs).keys() <= {"feature_names_in_"}
