"""Export: what ONNX Runtime computes from an exported estimator is what the estimator predicts."""

import sys

import numpy as np
import pytest
from ahead import Process, waits_for
from conftest import TOLERANCE, relative_error
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    BaggingClassifier,
    BaggingRegressor,
    StackingClassifier,
    VotingClassifier,
    VotingRegressor,
)
from sklearn.model_selection import GridSearchCV
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from tabular_problems import small

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor, _core
from fastbp._export.operators import OPERATORS

REASON = "the extra onnx and onnxruntime are not installed"
skl2onnx = pytest.importorskip("skl2onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)

from skl2onnx.common import data_types  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

INPUT_TYPES = {
    "float32": data_types.FloatTensorType,
    "float64": data_types.DoubleTensorType,
    "int64": data_types.Int64TensorType,
}
SETTINGS = dict(hidden_layer_sizes=(7, 5), max_iter=20, learning_rate_init=0.05, random_state=0)


class Subclassed(MLPClassifier):
    pass


def rows(dtype="float32"):
    return (3 * np.random.default_rng(1).normal(size=(60, 4))).astype(dtype)


def labels(n_classes, names=None):
    """A label per row that depends on its features."""
    score = rows("float64")[:, :2].sum(axis=1)
    places = np.digitize(score, np.quantile(score, np.arange(1, n_classes) / n_classes))
    return places if names is None else np.array(names)[places]


def indicators(n_classes):
    return (rows("float64")[:, :n_classes] > 0.3).astype(int)


TARGETS = {
    "two classes": labels(2),
    "three classes": labels(3),
    "one class": np.full(60, 7),
    "text": labels(3, ["b", "ä", "ccc"]),
    "objects": labels(2, ["no", "yes"]).astype(object),
    "bool": labels(2, [False, True]),
    "whole floats": labels(3, [-1.0, 0.0, 4.0]),
    "large integers": labels(2, [5, 2**40]),
    "two labels at once": indicators(2),
    "three labels at once": indicators(3),
}


def exported(estimator, dtype="float32", **arguments):
    types = [("X", INPUT_TYPES[dtype]([None, 4]))]
    return skl2onnx.to_onnx(estimator, initial_types=types, **arguments)


def run(model, X, names=None):
    """What ONNX Runtime makes of X: the outputs of these names, by default all in their order.

    An array has the shape that the model declares.
    """
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results = session.run(names, {"X": X})
    declared = {output.name: output.type.tensor_type.shape.dim for output in model.graph.output}
    for name, result in zip(names or declared, results, strict=True):
        if isinstance(result, np.ndarray):
            assert list(result.shape) == [n.dim_value or len(X) for n in declared[name]], name
    return results


def without_zipmap(estimator):
    return {id(estimator): {"zipmap": False}}


def tolerance(*dtypes):
    return TOLERANCE["export", "float64" if set(dtypes) == {"float64"} else "float32"]


def check_classifier(clf, dtype="float32", net_dtype="float32", **arguments):
    X = rows(dtype)
    model = exported(clf, dtype, options=without_zipmap(clf), **arguments)
    found, probabilities = run(model, X)
    np.testing.assert_array_equal(found, clf.predict(X))
    expected = clf.predict_proba(X)[:, : len(clf.classes_)]
    assert relative_error(probabilities, expected) < tolerance(dtype, net_dtype)


def check_regressor(reg, dtype="float32", net_dtype="float32", **arguments):
    X = rows(dtype)
    (found,) = run(exported(reg, dtype, **arguments), X)
    expected = reg.predict(X).reshape(len(X), -1)
    assert relative_error(found, expected) < tolerance(dtype, net_dtype)


# ---- alone ----


@pytest.mark.parametrize("dtype", INPUT_TYPES)
@pytest.mark.parametrize("kind", TARGETS)
def test_classifier_predicts_the_same(kind, dtype):
    check_classifier(MLPClassifier(**SETTINGS).fit(rows(), TARGETS[kind]), dtype)


@pytest.mark.parametrize(
    ("activation", "net_dtype", "dtype"),
    [
        (activation, net_dtype, dtype)
        for activation in _core.ACTIVATIONS
        for net_dtype in ("float32", "float64")
        for dtype in ("float32", "float64")
        if net_dtype == dtype or activation in ("relu", "gelu")
    ],
)
def test_every_activation_and_number_type(activation, net_dtype, dtype):
    assert activation in OPERATORS
    settings = SETTINGS | dict(activation=activation, dtype=net_dtype)
    X = rows(net_dtype)
    if activation == "gelu":  # the error function is one of float32
        net_dtype = "float32"
    check_classifier(MLPClassifier(**settings).fit(X, labels(3)), dtype, net_dtype)
    check_regressor(MLPRegressor(**settings).fit(X, X[:, 0]), dtype, net_dtype)


@pytest.mark.parametrize("dtype", INPUT_TYPES)
@pytest.mark.parametrize("n_outputs", [1, 3])
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_regressor_predicts_the_same(loss, n_outputs, dtype):
    y = np.abs(rows()[:, :n_outputs] if n_outputs > 1 else rows()[:, 0])
    check_regressor(MLPRegressor(loss, **SETTINGS).fit(rows() / 3, y), dtype)


@pytest.mark.parametrize(
    "params",
    [
        {"loss": "huber"},
        {"loss": "gamma"},
        {"loss": "quantile", "quantile": [0.1, 0.5, 0.9]},
        {"loss": "gaussian_nll"},  # the means
    ],
    ids=lambda params: params["loss"],
)
def test_every_kind_of_output_is_exported(params):
    check_regressor(MLPRegressor(**params, **SETTINGS).fit(rows(), np.abs(rows()[:, 0]) + 0.1))
    if params["loss"] == "gaussian_nll":
        check_regressor(MLPRegressor(**params, **SETTINGS).fit(rows(), rows()[:, :2]))


def test_a_net_without_hidden_layers():
    settings = SETTINGS | dict(hidden_layer_sizes=())
    check_classifier(MLPClassifier(**settings).fit(rows(), labels(3)))
    check_regressor(MLPRegressor(**settings).fit(rows(), rows()[:, 0]))


def test_the_users_own_arrays_are_exported():
    reg = MLPRegressor(**SETTINGS).fit(rows(), rows()[:, 0])
    reg.coefs_[0] = 2 * reg.coefs_[0]
    check_regressor(reg)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_older_versions_of_onnx(opset):
    clf = MLPClassifier(**SETTINGS).fit(rows(), labels(3, ["a", "b", "c"]))
    check_classifier(clf, target_opset=opset)


def test_each_layer_is_computed_once():
    clf = MLPClassifier(**SETTINGS).fit(rows(), labels(3))
    model = skl2onnx.to_onnx(clf, rows()[:1], options=without_zipmap(clf))
    names = [node.op_type for node in model.graph.node if node.op_type != "Identity"]
    assert sorted(names) == ["ArgMax", "Gather", *["Gemm"] * 3, *["Relu"] * 2, "Softmax"]


# ---- options ----


@pytest.mark.parametrize("kind", TARGETS)
def test_by_default_probabilities_are_dictionaries(kind):
    clf = MLPClassifier(**SETTINGS).fit(rows(), TARGETS[kind])
    found, probabilities = run(exported(clf), rows())
    np.testing.assert_array_equal(found, clf.predict(rows()))
    assert [list(row) for row in probabilities] == [list(clf.classes_)] * len(rows())
    expected = clf.predict_proba(rows())[:, : len(clf.classes_)]
    found = [list(row.values()) for row in probabilities]
    assert relative_error(found, expected) < tolerance("float32")


def test_options_are_given_by_class_by_object_or_by_name():
    clf = Subclassed(**SETTINGS).fit(rows(), labels(3))
    pipe = make_pipeline(StandardScaler(), clf).fit(rows(), labels(3))
    off, on = {"zipmap": False}, {"zipmap": True}
    for model, options in [
        (clf, {Subclassed: off}),
        (clf, {id(clf): off}),
        (pipe, {Subclassed: off}),
        (pipe, {id(pipe): off}),
        (pipe, {"subclassed__zipmap": False}),
    ]:
        assert isinstance(run(exported(model, options=options), rows())[1], np.ndarray), options
    for options in [{Subclassed: on}, {id(clf): on}]:
        assert isinstance(run(exported(clf, options=options), rows())[1], list), options


def test_probabilities_in_a_column_each():
    clf = MLPClassifier(**SETTINGS).fit(rows(), labels(2, ["no", "yes"]))
    model = exported(clf, options={id(clf): {"zipmap": "columns"}})
    assert [output.name for output in model.graph.output] == ["output_label", "sno", "syes"]
    (yes,) = run(model, rows(), ["syes"])
    assert relative_error(yes.ravel(), clf.predict_proba(rows())[:, 1]) < tolerance("float32")


def test_places_of_classes_instead_of_labels():
    clf = MLPClassifier(**SETTINGS).fit(rows(), labels(3, ["a", "b", "c"]))
    places, _ = run(exported(clf, options={id(clf): {"zipmap": False, "nocl": True}}), rows())
    np.testing.assert_array_equal(clf.classes_[places], clf.predict(rows()))


# ---- inside of other estimators ----


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: make_pipeline(StandardScaler(), net),
        lambda net: make_pipeline(
            ColumnTransformer([("a", StandardScaler(), [0, 2]), ("b", MinMaxScaler(), [1, 3])]), net
        ),
        lambda net: VotingClassifier(
            [("a", net), ("b", clone(net).set_params(random_state=1))],
            voting="soft",
            flatten_transform=False,
        ),
        lambda net: CalibratedClassifierCV(net, cv=2),
        lambda net: CalibratedClassifierCV(make_pipeline(StandardScaler(), net), cv=2),
        lambda net: StackingClassifier([("a", net), ("b", clone(net))], cv=2),
        lambda net: BaggingClassifier(net, n_estimators=2, random_state=0),
        lambda net: GridSearchCV(net, {"alpha": [0.1, 0.01]}, cv=2),
        lambda net: OneVsRestClassifier(net),
    ],
    ids=[
        "pipeline", "columns", "voting", "calibrated", "calibrated pipeline", "stacking",
        "bagging", "search", "one against the rest",
    ],
)  # fmt: skip
@pytest.mark.parametrize("cls", [MLPClassifier, Subclassed])
def test_classifier_inside_of(wrap, cls):
    check_classifier(wrap(cls(**SETTINGS)).fit(rows(), labels(3)))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda net: make_pipeline(StandardScaler(), net),
        lambda net: VotingRegressor([("a", net), ("b", clone(net).set_params(random_state=1))]),
        lambda net: BaggingRegressor(net, n_estimators=2, random_state=0),
        lambda net: GridSearchCV(net, {"alpha": [0.1, 0.01]}, cv=2),
    ],
    ids=["pipeline", "voting", "bagging", "search"],
)
def test_regressor_inside_of(wrap):
    check_regressor(wrap(MLPRegressor(**SETTINGS)).fit(rows(), rows()[:, 0]))


def test_each_layer_has_its_own_activation():
    settings = SETTINGS | dict(hidden_layer_sizes=(7, 5), activation=["tanh", "silu"])
    check_regressor(MLPRegressor(**settings).fit(rows(), rows()[:, 0]))


# ---- what ONNX cannot say ----


@pytest.mark.parametrize("attribute", ["activation", "out_activation_"])
def test_an_unknown_function_is_named(attribute):
    clf = MLPClassifier(**SETTINGS).fit(rows(), labels(3))
    setattr(clf, attribute, "swish")
    with pytest.raises(ValueError, match=f"{attribute}='swish'"):
        exported(clf)


@pytest.mark.parametrize("cls", [TabularClassifier, TabularRegressor])
def test_tables_are_exported_by_another_function_which_is_named(cls):
    estimator = small(cls, max_iter=1).fit(rows(), labels(2))
    for options in [None, *[without_zipmap(estimator)] * (cls is TabularClassifier)]:
        with pytest.raises(TypeError, match=rf"{cls.__name__}.*fastbp.to_onnx\(estimator\)"):
            exported(make_pipeline(estimator), options=options)


# ---- when the classes are registered ----

EXPORT = """
net = fastbp.MLPRegressor(max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
class Later(fastbp.MLPRegressor): pass
import skl2onnx
later = Later(max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
class Latest(fastbp.MLPRegressor): pass
latest = Latest(max_iter=1).fit([[0.0], [1.0]], [0.0, 1.0])
import numpy as np
for estimator in net, later, latest:
    skl2onnx.to_onnx(estimator, np.zeros((1, 1), np.float32))
assert type(skl2onnx.__loader__) is type(fastbp.__loader__) is type(skl2onnx.__spec__.loader)
"""


@pytest.mark.parametrize(
    "first",
    [
        "import sys, fastbp; assert not {'skl2onnx', 'onnx'} & set(sys.modules)",
        "import skl2onnx; import fastbp",
        "import importlib.util, fastbp; assert importlib.util.find_spec('skl2onnx').origin",
    ],
    ids=["after fastbp", "before fastbp", "looked for before it is imported"],
)
@waits_for(lambda first: Process(first + EXPORT, PYTHONWARNINGS="ignore"))
def test_skl2onnx_may_be_imported(first, ahead):
    ahead.printed()


BLOCKED = """
import sys, fastbp
sys.path.clear()
sys.path_importer_cache.clear()
try:
    import skl2onnx
except ModuleNotFoundError as e:
    print(e.name)
"""


@waits_for(lambda: Process(BLOCKED))
def test_other_modules_are_found_and_missing_as_ever(ahead):
    (finder,) = [f for f in sys.meta_path if getattr(f, "__module__", "") == "fastbp._onnx"]
    assert finder.find_spec("skl2onnx.convert") is None
    assert finder.find_spec("fastbp") is None
    assert ahead.printed().strip() == "skl2onnx"


def test_the_estimators_have_no_new_names():
    names = [name for name in dir(fastbp.MLPClassifier) if "onnx" in name.lower()]
    assert names == []
