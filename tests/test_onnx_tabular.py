"""`to_onnx`: ONNX Runtime predicts from its models what the estimators predict."""

import importlib.util
import sys

import numpy as np
import pytest
from conftest import TOLERANCE, relative_error
from export_problems import EVERY, OVERFLOWS, number_of, text_of
from tabular_problems import small

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor, _core
from fastbp.__main__ import main
from fastbp._export.description import describe
from fastbp._export.operators import OPERATORS
from fastbp._losses import BY_OUTPUT

REASON = "the extra onnx and onnxruntime are not installed"
onnx = pytest.importorskip("onnx", reason=REASON)
onnxruntime = pytest.importorskip("onnxruntime", reason=REASON)

from onnx import TensorProto  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Columns of dates"),
]


def cells_of(column, kind, cells):
    """A column of a table as the input of this type takes it: (n, 1)."""
    if kind == TensorProto.STRING:
        # Where "" is a category, nothing stands for a missing cell, which is as one not known.
        missing = "" if column is None or "" not in column.labels else "not known"
        texts = [missing if cell is None else text_of(cell) for cell in cells]
        return np.array(texts, dtype=object).reshape(-1, 1)
    assert kind == TensorProto.DOUBLE
    return np.array([[number_of(cell)] for cell in cells])


def feed(estimator, model, X):
    """X as the inputs of the model."""
    inputs, columns = model.graph.input, describe(estimator).columns
    if columns is None:
        (x,) = inputs
        types = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64}
        return {"X": X.astype(types[x.type.tensor_type.elem_type])}
    return {
        x.name: cells_of(column, x.type.tensor_type.elem_type, X[:, place])
        for place, (x, column) in enumerate(zip(inputs, columns, strict=True))
    }


def run(estimator, X, model=None):
    """The outputs, by name; each has the shape that the model declares."""
    model = model or fastbp.to_onnx(estimator)
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    results = session.run(None, feed(estimator, model, X))
    for declared, result in zip(model.graph.output, results, strict=True):
        shape = declared.type.tensor_type.shape.dim
        assert list(result.shape) == [n.dim_value or len(X) for n in shape], declared.name
    return {o.name: result for o, result in zip(model.graph.output, results, strict=True)}


def test_a_sum_that_overflows_has_an_infinite_deviation():
    rows = np.array([[3e38] * 4, [-3e38] * 4])
    deviations = run(EVERY[OVERFLOWS].estimator, rows)["deviations"]
    np.testing.assert_allclose(deviations[:, 0], [np.inf, 1e-3])


@pytest.mark.parametrize("name", EVERY)
def test_onnx_runtime_predicts_what_the_estimator_does(name):
    problem = EVERY[name]
    estimator = problem.estimator
    found = run(estimator, problem.X)
    # ONNX Runtime has the error function of float32 only.
    tolerance = 1e-5 if "gelu" in name else TOLERANCE[problem.tolerance]
    if not hasattr(estimator, "classes_"):
        assert relative_error(found["predictions"], problem.expected()) < tolerance
        if "deviations" in found:
            assert relative_error(found["deviations"], problem.deviations()) < tolerance
        return
    assert [*found] == ["label", "probabilities"]
    assert relative_error(found["probabilities"], problem.expected()) < tolerance
    predicted = estimator.predict(problem.X)
    np.testing.assert_array_equal(found["label"], predicted)
    assert found["label"].dtype == (object if predicted.dtype.kind == "U" else np.int64)


def test_many_rows_which_the_estimator_computes_in_float32():
    problem = EVERY["table, classes, float32, 3"]
    X = np.concatenate([problem.X] * 50)
    found = run(problem.estimator, X)["probabilities"]
    assert relative_error(found, problem.estimator.predict_proba(X)) < 1e-5


@pytest.mark.parametrize(
    ("values", "scale"), [((1, 3), 1e-300), ((1, 3), 1e-50), ((0, 1), 1 + 1e-8)]
)
def test_constants_that_float32_does_not_tell_from_0_or_1(values, scale):
    rng = np.random.default_rng(0)
    X = scale * rng.choice(values, (60, 1))  # two numbers are one bin
    y = X[:, 0] + 0.1 * scale * rng.normal(size=60)
    estimator = small(TabularRegressor, n_estimators=1, dtype="float64").fit(X, y)
    X = np.append(X, scale * np.linspace(*values, 9)).reshape(-1, 1)
    found = run(estimator, X)["predictions"][:, 0]
    np.testing.assert_allclose(found, estimator.predict(X), rtol=1e-12)


def test_deviations_in_float32_whose_squares_are_not():
    X = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    net = MLPRegressor("gaussian_nll", hidden_layer_sizes=(), max_iter=1).fit(X, X[:, 0])
    net.intercepts_[0][:] = 100
    expected = net.predict(X, return_std=True)[1]
    assert 1e21 < expected.min() and expected.max() < 1e23
    assert relative_error(run(net, X)["deviations"][:, 0], expected) < 1e-5


def test_inputs_and_outputs_say_what_they_are():
    X = np.empty((60, 3), dtype=object)
    X[:, 0], X[:, 1] = np.arange(60.0), ["a", "b", "c"] * 20
    X[:, 2] = [True, False] * 30
    model = fastbp.to_onnx(small(TabularClassifier).fit(X, ["no", "yes"] * 30))
    types = TensorProto.DOUBLE, TensorProto.STRING, TensorProto.DOUBLE
    words = "numbers", '""', "a date is its seconds since 1970"
    for place, column in enumerate(model.graph.input):
        assert column.name == f"x{place}"
        assert column.type.tensor_type.elem_type == types[place]
        dims = column.type.tensor_type.shape.dim
        assert [d.dim_param or d.dim_value for d in dims] == ["n", 1]
        assert words[place] in column.doc_string
    assert (model.producer_name, model.graph.name) == ("fastbp", "TabularClassifier")


def test_columns_may_have_the_names_of_outputs_and_of_nodes():
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(0)
    names = ["label", "probabilities", "gemm_1", "constant_2", "X", "cast_3", "label_"]
    X = pandas.DataFrame(rng.normal(size=(80, len(names))), columns=names)
    estimator = small(TabularClassifier).fit(X, X["X"] > 0)
    model = fastbp.to_onnx(estimator)
    assert [column.name for column in model.graph.input] == names
    found = run_named(model, {n: X[[n]].to_numpy() for n in names})
    assert [o.name for o in model.graph.output] == ["label__", "probabilities_"]
    assert relative_error(found[1], estimator.predict_proba(X)) < 1e-5


def run_named(model, cells):
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, cells)


def test_every_node_is_needed_and_no_constant_comes_twice():
    graph = fastbp.to_onnx(EVERY["table, classes, float32, 3"].estimator).graph
    used = [name for node in graph.node for name in node.input]
    made = [name for node in graph.node for name in node.output]
    outputs = [output.name for output in graph.output]
    assert set(made) - set(outputs) <= set(used)
    assert {constant.name for constant in graph.initializer} <= set(used)
    blobs = [constant.SerializeToString(deterministic=True) for constant in graph.initializer]
    assert len(blobs) == len(set(blobs))


# ---- what ONNX cannot say ----


def of_categories(*labels, name=None):
    X = np.empty((60, 1), dtype=object)
    X[:, 0] = [labels[i % len(labels)] for i in range(60)]
    return small(TabularRegressor, max_iter=1, categorical_features=[0]).fit(X, np.arange(60.0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((("a", 1), ("b", 2)), "column 'x0' has the category \\('a', 1\\), a tuple: an ONNX model"),
        ((2**60 + 1, 0.5), "column 'x0' has the category 1152921504606846977: an ONNX model"),
        ((2**53, 2), "column 'x0' has the category 9007199254740992: an ONNX model"),
        (("", None, "a"), "column 'x0' has the category '' beside missing cells"),
        (("a\0", "b"), "column 'x0' has a category that is 'a.x00'"),
        (("\ud800", "b"), "UTF-8"),
    ],
)
def test_categories_that_onnx_has_not_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        fastbp.to_onnx(of_categories(*labels))


def test_every_function_of_a_layer_has_operators_and_a_new_one_is_named(monkeypatch):
    assert {*_core.ACTIVATIONS, *BY_OUTPUT} <= {*OPERATORS}
    monkeypatch.delitem(OPERATORS, "relu")
    X = np.random.default_rng(0).normal(size=(60, 1))
    net = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1).fit(X, X[:, 0])
    with pytest.raises(ValueError, match="'relu' of a layer has no form in an ONNX model"):
        fastbp.to_onnx(net)


def test_names_that_onnx_has_not_are_named():
    pandas = pytest.importorskip("pandas")
    for name in ("", "a\0"):
        X = pandas.DataFrame({name: np.arange(60.0), "b": np.arange(60.0)})
        estimator = small(TabularRegressor, max_iter=1).fit(X, np.arange(60.0))
        with pytest.raises(ValueError, match="of a column is empty|of the column 'a.x00' is"):
            fastbp.to_onnx(estimator)


@pytest.mark.parametrize(("text", "reason"), [("a\0b", "NUL"), ("\ud800", "UTF-8")])
def test_text_of_plain_estimators_that_onnx_has_not_is_named(text, reason):
    X = np.arange(60.0).reshape(-1, 1)
    settings = dict(hidden_layer_sizes=(2,), max_iter=1)
    net = MLPRegressor(**settings).fit(X, X[:, 0])
    net.feature_names_in_ = np.array([text], dtype=object)
    with pytest.raises(ValueError, match=f"name of a feature is '.*{reason}"):
        fastbp.to_onnx(net)
    for dtype in (str, object):
        net = MLPClassifier(**settings).fit(X, np.array([text, "b"] * 30, dtype))
        with pytest.raises(ValueError, match=f"classes_ holds a label that is '.*{reason}"):
            fastbp.to_onnx(net)


def test_a_model_that_is_too_large_is_refused_before_it_is_made(monkeypatch):
    X = np.random.default_rng(0).normal(size=(60, 2))
    net = MLPRegressor(hidden_layer_sizes=(1000,), max_iter=1, dtype="float64").fit(X, X[:, 0])
    size = fastbp.to_onnx(net).ByteSize()
    monkeypatch.setattr("fastbp._export.onnx.LARGEST", size)
    fastbp.to_onnx(net)
    monkeypatch.setattr("fastbp._export.onnx.LARGEST", 32_000)
    with pytest.raises(
        ValueError, match="The model has 32,.* bytes or more: .* takes up to 32,000"
    ):
        fastbp.to_onnx(net)


@pytest.mark.parametrize("kind", ["M8[D]", "M8[ns]", "m8[ns]"])
@pytest.mark.parametrize("cls", [MLPClassifier, TabularClassifier])
def test_labels_that_onnx_has_not_are_named(cls, kind):
    X, y = np.arange(60.0).reshape(-1, 1), np.array([20000, 30000] * 30).astype(kind)
    with pytest.raises(ValueError, match=r"holds (np|numpy)\.(date|timedelta).*: ONNX takes"):
        fastbp.to_onnx(cls(hidden_layer_sizes=(2,), max_iter=1).fit(X, y))


class Shifted(MLPRegressor):
    def predict(self, X):
        return super().predict(X) + 1


class Renamed(MLPRegressor):
    pass


@pytest.mark.parametrize("cls", [MLPClassifier, TabularRegressor])
def test_other_objects_are_refused(cls):
    with pytest.raises(ValueError, match="not fitted"):
        fastbp.to_onnx(cls())
    with pytest.raises(TypeError, match="estimator is a Network: it takes a fitted MLP"):
        fastbp.to_onnx(fastbp.Network((2, 1)))


def test_a_derived_class_is_taken_if_it_predicts_in_the_same_way():
    X = np.random.default_rng(0).normal(size=(60, 2))
    found = run(Renamed(max_iter=1).fit(X, X[:, 0]), X)
    assert [*found] == ["predictions"]
    with pytest.raises(TypeError, match="Shifted, which predicts in its own way"):
        fastbp.to_onnx(Shifted(max_iter=1).fit(X, X[:, 0]))


def test_without_onnx_the_extra_is_named(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *r: None if n == "onnx" else find(n, *r)
    )
    with pytest.raises(ImportError, match="pip install fastbp\\[onnx\\]"):
        fastbp.to_onnx(EVERY["net, no hidden layer"].estimator)


def test_it_needs_no_skl2onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)  # its import is an error
    fastbp.to_onnx(EVERY["net, no hidden layer"].estimator)


# ---- the command ----


def test_the_command_writes_the_model(tmp_path, capsys):
    estimator = EVERY["table, text alone"].estimator
    path, out = tmp_path / "a.fastbp", tmp_path / "a.onnx"
    model = {"estimator": estimator, "target": "y", "columns": ["the color"], "version": "0"}
    fastbp.save(model, path)
    assert main(["export", str(path), "--onnx", str(out)]) == 0
    assert capsys.readouterr().out == ""
    written = onnx.load(out)
    assert [column.name for column in written.graph.input] == ["the color"]
    X = EVERY["table, text alone"].X
    (found,) = run(estimator, X, written).values()
    assert relative_error(found[:, 0], estimator.predict(X)) < 1e-12
