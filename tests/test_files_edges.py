"""Edges of `save` and `load`: what is rarely in a file, and names that are rarely given."""

import collections
import enum
import errno
import fractions
import json
import os

import numpy as np
import pandas as pd
import pytest
from estimator_problems import fitted, inputs, targets
from file_mutations import fixtures, parsed, sealed

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularRegressor
from fastbp._files import replacing
from fastbp.io import FileError

FIXTURES = fixtures()
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


# ---- files with parts that do not fit ----


def changed(name, place, new):
    """The file of this name with another value at a place of its text."""
    content, tensors = parsed(FIXTURES[name])
    tree = content["value"]
    for key in place[:-1]:
        tree = tree[key]
    tree[place[-1]] = new
    return sealed(json.dumps(content), tensors)


def objects(*items):
    return {"numpy.ndarray": {"dtype": "|O", "shape": [len(items)], "items": [*items]}}


ATTRIBUTES = ("MLPClassifier", "attributes")
OPTIMIZER = ("MLPClassifier", "optimizer", "Adam")
TARGET = ("TabularClassifier", "fitted", "target")


@pytest.mark.parametrize(
    "name, place, new, says",
    [
        (
            "with_early_stopping",
            (*ATTRIBUTES, "out_activation_"),
            "mean_and_std",
            "one of 'exp', 'identity', 'logistic', 'softmax'",
        ),
        (
            "with_early_stopping",
            (*ATTRIBUTES, "classes_"),
            objects([1], {"dict": []}, None),
            "texts, numbers, booleans or dates",
        ),
        ("with_early_stopping", (*ATTRIBUTES, "classes_"), objects("a", "b", "a"), "each label on"),
        ("with_early_stopping", (*ATTRIBUTES, "classes_"), objects("a", "b", 1), "compared with"),
        (
            "with_early_stopping",
            (*ATTRIBUTES, "classes_", "numpy.ndarray"),
            {"dtype": "<U1", "shape": [3], "items": ["a", "b", "a"]},
            "each label once",
        ),
        ("of_table_with_classes", (*TARGET, "labels"), objects(None, [2]), "texts, numbers"),
        ("with_early_stopping", (*OPTIMIZER, "learning_rate"), {"float": "nan"}, "a finite number"),
        ("with_early_stopping", (*OPTIMIZER, "learning_rate"), 10**400, "a finite number"),
        ("with_early_stopping", (*OPTIMIZER, "last_rate"), {"float": "inf"}, "a finite number"),
    ],
    ids=range(9),
)
def test_what_does_not_fit_is_named(name, place, new, says, path):
    path.write_bytes(changed(name, place, new))
    with pytest.raises(FileError, match=says):
        fastbp.load(path)


def test_the_vectors_of_an_optimizer_have_one_dtype(path):
    content, tensors = parsed(FIXTURES["with_early_stopping"])
    first = content["value"]["MLPClassifier"]["optimizer"]["Adam"]["state"]["tuple"][0]
    first = first["numpy.ndarray"]
    other = first["dtype"] = {"<f4": "<f8", "<f8": "<f4"}[first["dtype"]]
    tensors[first["tensor"]] = tensors[first["tensor"]].astype(other)
    path.write_bytes(sealed(json.dumps(content), tensors))
    with pytest.raises(FileError, match="float32.*float64.*vectors of one dtype"):
        fastbp.load(path)


@pytest.mark.parametrize("out_activation", ["identity", "logistic", "softmax", "exp"])
def test_an_output_activation_that_was_set_comes_back(out_activation, again):
    for cls in (MLPClassifier, MLPRegressor):
        est = fitted(cls)
        est.out_activation_ = out_activation
        same = again(est).predict(inputs(cls)) == est.predict(inputs(cls))
        assert same.all()


def test_a_solver_that_was_set_after_a_fit_is_no_fault(again):
    est = fitted(MLPRegressor, solver="adam").set_params(solver="sgd")
    X, y = inputs(MLPRegressor), targets(MLPRegressor)
    copy = again(est)
    assert (copy.fit(X, y).predict(X) == est.fit(X, y).predict(X)).all()


# ---- names and file systems ----


def test_a_long_name_that_is_not_ascii_is_written(tmp_path):
    path = tmp_path / ("\u4e2d" * 80)  # 240 bytes, of 255 that a name takes
    fastbp.save(1, path)
    assert fastbp.load(path) == 1 and os.listdir(tmp_path) == [path.name]


def test_an_error_names_the_path_that_was_asked_for(tmp_path):
    path = tmp_path / "nowhere" / "a.fastbp"
    with pytest.raises(FileNotFoundError) as caught:
        fastbp.save(1, path)
    assert caught.value.filename == str(path) and ".part" not in str(caught.value)


@pytest.mark.parametrize("call", ["replace", "chmod"])
def test_an_error_of_a_later_call_names_the_path_too(call, path, monkeypatch):
    path.touch(0o600)

    def fail(part, other):
        raise PermissionError(errno.EACCES, "Denied", part, None, other)

    monkeypatch.setattr(replacing.os, call, fail)
    with pytest.raises(PermissionError) as caught:
        fastbp.save(1, path)
    assert str(caught.value) == f"[Errno {errno.EACCES}] Denied: {str(path)!r}"
    assert os.listdir(path.parent) == [path.name]


def test_paths_are_bytes_too(path):
    fastbp.save([1], os.fsencode(path))
    assert fastbp.load(path) == fastbp.load(os.fsencode(path)) == [1]
    with pytest.raises(TypeError, match="nothing in .*a.fastbp lacks a function"):
        fastbp.load(os.fsencode(path), loss=max)


def test_paths_that_are_none_of_a_file_are_refused(tmp_path):
    with pytest.raises(IsADirectoryError, match="new/"):
        fastbp.save(1, f"{tmp_path}/new/")
    with pytest.raises(ValueError, match=r"a\\x00b.*it takes a path"):
        fastbp.save(1, f"{tmp_path}/a\0b")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("name, code", [("chmod", errno.EPERM), ("fsync", errno.EINVAL)])
def test_a_file_system_that_lacks_a_call_is_written_to(name, code, path, monkeypatch):
    path.write_bytes(b"")
    path.chmod(0o604)

    def fail(*arguments):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(replacing.os, name, fail)
    fastbp.save(1, path)
    assert fastbp.load(path) == 1


@pytest.mark.parametrize("error", [None, OSError(errno.ENOTTY, "not of this file system")])
def test_macos_is_asked_to_empty_the_memory_of_the_disk(error, path, monkeypatch):
    fcntl, asked = pytest.importorskip("fcntl"), []

    def noted(descriptor, command):
        asked.append(command)
        if error is not None:
            raise error

    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", noted)
    fastbp.save(1, path)
    assert asked == [51] and fastbp.load(path) == 1


def test_permissions_that_are_right_are_left_alone(path, monkeypatch):
    fastbp.save(1, path)
    asked = []
    monkeypatch.setattr(replacing.os, "chmod", lambda *arguments: asked.append(arguments))
    fastbp.save(2, path)
    assert not asked and fastbp.load(path) == 2


@pytest.mark.parametrize("year", [12000, 0])
def test_a_period_that_could_not_be_loaded_is_not_saved(year, path):
    period = pd.Period(year=year, month=1, freq="M")
    with pytest.raises(ValueError, match=r"\[0\] is Period\(.*takes a period in the years 1 to"):
        fastbp.save([period], path)
    assert not path.exists()


# ---- names and parameters of other types ----


class Text(str):
    def __str__(self):
        return "not this"


class Whole(enum.IntEnum):
    SEVEN = 7


class Real(float):
    pass


def of_other_types():
    weights = collections.OrderedDict({Text("a"): 2, "b": Real(1.5)})
    return MLPClassifier(
        pd.Series([4, 3]),
        Text("tanh"),
        batch_size=Whole.SEVEN,
        alpha=Real(0.5),
        class_weight=weights,
    )


def test_parameters_of_derived_types_come_back_as_those_of_python(again):
    back = again(of_other_types())
    assert repr(back) == repr(
        MLPClassifier([4, 3], "tanh", batch_size=7, alpha=0.5, class_weight={"a": 2, "b": 1.5})
    )
    for value in (back.activation, back.batch_size, back.alpha, *back.class_weight):
        assert type(value) in (str, int, float)
    counts = again(MLPClassifier(class_weight=collections.Counter("aab"))).class_weight
    assert type(counts) is dict and counts == {"a": 2, "b": 1}
    columns = again(TabularRegressor(categorical_features=pd.Index(["a", "b"])))
    assert columns.categorical_features == ["a", "b"]


def test_parameters_of_other_classes_are_named(path):
    around = [[]]
    around[0].append(around)
    for value in (collections.defaultdict(int), [fractions.Fraction(1)], [around]):
        with pytest.raises(TypeError, match="class_weight"):
            fastbp.save(MLPClassifier(class_weight=value), path)
    for est in (MLPRegressor(), TabularRegressor()):
        with pytest.raises(
            TypeError, match=r"Regressor.learning_rate_init is of type fractions.Fraction"
        ):
            fastbp.save(est.set_params(learning_rate_init=fractions.Fraction(1, 3)), path)


@pytest.mark.parametrize("name", [Text, np.str_], ids=["derived", "numpy"])
def test_names_of_columns_are_texts_of_any_class(name, again):
    X = pd.DataFrame(np.random.RandomState(0).uniform(size=(40, 2)))
    X.columns = pd.Index([name("a"), name("b")], dtype=object)
    settings = dict(hidden_layer_sizes=(3,), n_estimators=1, max_iter=2, random_state=0)
    est = TabularRegressor(**settings).fit(X, X.iloc[:, 0])
    back = again(est)
    assert (back.predict(X) == est.predict(X)).all()
    assert back.feature_names_in_.tolist() == ["a", "b"]


def test_a_message_has_nothing_that_a_terminal_would_obey(path):
    fastbp.save(MLPRegressor(loss=max), path)
    content, tensors = parsed(path.read_bytes())
    content["value"]["MLPRegressor"]["parameters"]["loss"] = {"function": "\x1b[2Jowned\n\udcff"}
    path.write_bytes(sealed(json.dumps(content), tensors))
    for given in ({}, {"loss": 3}):
        with pytest.raises(FileError, match=r"owned\\n") as caught:
            fastbp.load(path, **given)
        assert str(caught.value).isprintable()
