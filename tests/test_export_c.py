"""C files: what they compute is what the estimators predict, and no text in them becomes code."""

import contextlib
import ctypes
import datetime
import io
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from c_programs import compiler, finish, start
from conftest import TOLERANCE, relative_error
from export_problems import EVERY, OVERFLOWS, is_text, number_of, text_of
from tabular_problems import small

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor, _core
from fastbp.__main__ import main
from fastbp._export.c import source_of
from fastbp._export.c_code import ACTIVATIONS, FUNCTIONS
from fastbp._export.description import describe
from fastbp._losses import BY_OUTPUT

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FLAGS = "-std=c99 -Wall -Wextra -Wpedantic -Werror".split()
PREFIX = {name: f"m{place}" for place, name in enumerate(EVERY)}


def library(folder, *sources):
    """A library of C files with these texts, which are compiled side by side."""
    paths = [folder / f"{place}.c" for place in range(len(sources))]
    for path, text in zip(paths, sources, strict=True):
        path.write_text(text, encoding="ascii")
    running = [start(*FLAGS, "-fPIC", "-c", path, "-o", f"{path}.o") for path in paths]
    for process in running:
        finish(process)
    made = folder / "models.so"
    finish(start("-shared", *(f"{path}.o" for path in paths), "-o", made, "-lm"))
    return ctypes.CDLL(str(made))


def with_size(text, prefix):
    """A C file, and a function that tells the bytes of its tables and of the texts in them."""
    body = text.partition("*/")[2]
    parts = re.findall(r"^(?:static )?const .*?(\w+)\[.*\] = \{$", body, re.MULTILINE)
    parts += [text for text in re.findall(r'"[^"\n]*"', body) if text != '"C"']
    return (
        text
        + f"size_t {prefix}_size(void) {{ return {' + '.join(map('sizeof {}'.format, parts))}; }}\n"
    )


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """All of them in two files: of a compiler for each most of the time is its start."""
    texts = [source_of(EVERY[name].estimator, prefix) for name, prefix in PREFIX.items()]
    texts = [with_size(text, prefix) for text, prefix in zip(texts, PREFIX.values(), strict=True)]
    folder = tmp_path_factory.mktemp("models")
    return library(folder, "".join(texts[::2]), "".join(texts[1::2]))


class Model:
    """The functions of one model in a library."""

    def __init__(self, library, prefix):
        self._library, self._prefix = library, prefix

    def function(self, name, kind, *kinds):
        function = getattr(self._library, f"{self._prefix}_{name}")
        function.restype, function.argtypes = kind, kinds
        return function

    def texts(self, name, n):
        table = (ctypes.c_char_p * n).in_dll(self._library, f"{self._prefix}_{name}")
        return [text.decode() for text in table]

    def rows(self, estimator, X):
        """X as the numbers that the model takes."""
        columns = describe(estimator).columns
        if columns is None:
            return np.ascontiguousarray(X, dtype=np.float64)
        rows = np.empty(X.shape)
        for place, column in enumerate(columns):
            if is_text(column):
                category = self.function("category", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
                texts = map(text_of, X[:, place])
                rows[:, place] = [
                    category(place, None if text is None else text.encode()) for text in texts
                ]
            else:
                rows[:, place] = [number_of(cell) for cell in X[:, place]]
        return rows

    def predict(self, rows, n):
        numbers = ctypes.POINTER(ctypes.c_double)
        predict = self.function("predict", None, numbers, numbers)
        out = np.full((len(rows), n + 1), -99.0)
        for row, found in zip(rows, out, strict=True):
            predict(row.ctypes.data_as(numbers), found.ctypes.data_as(numbers))
        assert (out[:, -1] == -99).all()  # nothing is written behind the outputs
        return out[:, :-1]

    def classes(self, rows):
        numbers = ctypes.POINTER(ctypes.c_double)
        place = self.function("class", ctypes.c_int, numbers)
        return np.array([place(row.ctypes.data_as(numbers)) for row in rows])


@pytest.mark.parametrize("name", EVERY)
def test_a_c_file_predicts_what_the_estimator_does(models, name):
    problem, model = EVERY[name], Model(models, PREFIX[name])
    estimator, expected = problem.estimator, problem.expected()
    if getattr(estimator, "out_activation_", "") == "mean_and_std":
        expected = np.hstack([expected, problem.deviations()])
    rows = model.rows(estimator, problem.X)
    found = model.predict(rows, expected.shape[1])
    assert relative_error(found, expected) < TOLERANCE[problem.tolerance]
    predicted = estimator.predict(problem.X)
    if hasattr(estimator, "classes_"):
        labels = model.texts("labels", len(estimator.classes_))
        assert labels == [str(label) for label in estimator.classes_.tolist()]
        if predicted.ndim == 1:
            np.testing.assert_array_equal(estimator.classes_[model.classes(rows)], predicted)
        else:
            np.testing.assert_array_equal(found > 0.5, predicted)


def test_a_sum_that_overflows_has_an_infinite_deviation(models):
    rows = np.array([[3e38] * 4, [-3e38] * 4])
    deviations = Model(models, PREFIX[OVERFLOWS]).predict(rows, 2)[:, 1]
    np.testing.assert_allclose(deviations, [np.inf, 1e-3])


@pytest.mark.parametrize("name", EVERY)
def test_the_comment_says_how_many_bytes_the_constants_are(models, name):
    text = source_of(EVERY[name].estimator)
    stated = int(re.search(r"Memory: ([\d,]+) bytes", text)[1].replace(",", ""))
    found = Model(models, PREFIX[name]).function("size", ctypes.c_size_t)()
    assert found == stated if ctypes.sizeof(ctypes.c_void_p) == 8 else found <= stated


def test_numbers_that_stand_for_nothing_are_categories_not_known(models):
    name = "table, text alone"
    problem, model = EVERY[name], Model(models, PREFIX[name])
    unknown = problem.estimator.predict([["unseen"]])
    rows = np.array([[-1.0], [1e300], [-np.inf], [np.inf], [1000.0]])
    found = model.predict(rows, 1)[:, 0]
    np.testing.assert_allclose(found, np.repeat(unknown, 5), rtol=1e-12)
    category = model.function("category", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
    rows = np.array([[0.5], [len(describe(problem.estimator).columns[0].labels) + 0.5], [1.0]])
    found = model.predict(rows, 1)[:, 0]
    np.testing.assert_allclose(found[:2], np.repeat(unknown, 2), rtol=1e-12)
    assert found[2] != unknown
    assert category(-1, b"red") == category(1, b"red") == category(0, b"re") == -1
    assert category(0, b"red") >= 0


def test_a_column_of_one_text_tells_nothing(models):
    name = "table, one text alone"
    model = Model(models, PREFIX[name])
    found = model.predict(np.array([[-1.0], [0.0], [1.0]]), 1)[:, 0]
    np.testing.assert_array_equal(found, found[0])


# ---- text ----

NASTY = [
    "*/ int main(void) { return 1; } /*",
    '"; int x; //',
    "a\\",
    "??/",
    "??'\n#error\n",
    "// \\\nx",
    "$n ${n} %s %n",
    "ünï\u2028\U0001f600",
    "\x01\x7f\t\r",
    "<%:%> 0x1p3",
    "'",
    "km/h /* *",
]


def texts_of_a_model(texts):
    """A classifier whose columns, categories and classes have these names."""
    X = np.empty((120, 2), dtype=object)
    X[:, 0] = [texts[i % len(texts)] for i in range(120)]
    X[:, 1] = np.arange(120.0)
    y = np.array([texts[i % len(texts)] for i in range(120)])
    classifier = small(TabularClassifier, max_iter=1, hidden_layer_sizes=(2,)).fit(X, y)
    return classifier, [texts[0], texts[1]]


def test_text_is_what_it_was_and_never_code(tmp_path):
    # In the same order, so that the two models differ by their texts only.
    plain_texts = [f"text {place:02d}" for place in range(len(NASTY))]
    found = []
    for name, texts in (("nasty", sorted(NASTY)), ("plain", plain_texts)):
        classifier, names = texts_of_a_model(texts)
        found.append(source_of(classifier, "m", names=names))
        if name == "nasty":
            model = Model(library(tmp_path, found[0]), "m")
            assert model.texts("inputs", 2) == names
            assert model.texts("labels", len(NASTY)) == classifier.classes_.tolist()
            category = model.function("category", ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
            assert [category(0, text.encode()) for text in texts] == [*range(len(NASTY))]
    outside = re.compile(r'/\*.*?\*/|"(\\.|[^"\\\n])*"', re.DOTALL)
    code = [outside.sub("", text).split() for text in found]
    assert code[0] == code[1]
    comment = found[0].partition("*/")[0]
    assert "\n#include <math.h>" in found[0] and "out[0]" in comment and "Memory: " in comment


def test_a_model_file_with_such_names_is_exported_by_the_command(tmp_path, capsys):
    classifier, names = texts_of_a_model(NASTY)
    path, out = tmp_path / "a.fastbp", tmp_path / "a.c"
    model = {"estimator": classifier, "target": "*/", "columns": names, "version": "\x1b["}
    fastbp.save(model, path)
    assert main(["export", str(path), "--c", str(out), "--name", "a"]) == 0
    assert "note: the model was saved by fastbp '\\x1b[', this" in capsys.readouterr().err
    assert out.read_text(encoding="ascii") == source_of(classifier, "a", names=names)


# ---- the file ----


def test_it_is_c_plus_plus_too(tmp_path):
    paths = []
    names = "table, labels, float32, 3", "table, classes, float32, 3", "net, elu, selu, float32"
    for name in names:
        paths.append(tmp_path / f"{PREFIX[name]}.cpp")
        paths[-1].write_text(source_of(EVERY[name].estimator))
    command = [*compiler(), "-fsyntax-only", "-std=c++11", *FLAGS[1:]]
    probe = tmp_path / "probe.cpp"
    probe.write_text("int nothing;\n")
    if subprocess.run([*command, probe], capture_output=True).returncode:
        pytest.skip("the compiler has no C++")
    finish(start(*command[len(compiler()) :], *paths))


NAMES = "exp expm1 log log1p tanh erfc sqrt fabs".split()
# Compilers may call what copies and clears memory.
ALLOWED = {*NAMES, *(f"{name}f" for name in NAMES), "memcpy", "memset"}


@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("nm"), reason="needs nm of Linux")
def test_it_has_no_state_and_calls_nothing_but_libm(tmp_path):
    for name in ("table, labels, float32, 3", "net, mish, softplus, float32"):
        path, made = tmp_path / "model.c", tmp_path / "model.o"
        path.write_text(source_of(EVERY[name].estimator))
        # Tables of addresses are constant where code stays in one place.
        flags = ["-fno-pic", "-fno-sanitize=undefined", "-O1"]
        if subprocess.run([*compiler(), *flags, "-c", path, "-o", made]).returncode:
            pytest.skip("the compiler has no code that stays in one place")
        listed = subprocess.run(["nm", made], capture_output=True, text=True, check=True).stdout
        symbols = [line.split()[-2:] for line in listed.splitlines()]
        assert {kind for kind, _ in symbols} <= {*"TtRrU"}
        assert {symbol for kind, symbol in symbols if kind == "U"} <= ALLOWED


@pytest.mark.skipif(sys.platform != "linux", reason="needs GCC of Linux")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_comment_says_what_the_stack_holds(tmp_path, dtype):
    X = np.random.default_rng(0).normal(size=(60, 9))
    net = MLPClassifier(hidden_layer_sizes=(300,), dtype=dtype, max_iter=1)
    text = source_of(net.fit(X, X[:, 0] > 0))
    stated = int(re.search(r"on the stack ([\d,]+)", text.replace("\n *", ""))[1].replace(",", ""))
    assert f"They are finite in {dtype}, and so must be the sums" in text.replace("\n *", "")
    assert stated == (9 + 2 * 300) * np.dtype(dtype).itemsize + 2 * 8
    (tmp_path / "model.c").write_text(text)
    done = subprocess.run(
        [*compiler(), "-O1", "-c", "-fstack-usage", "model.c"], cwd=tmp_path, capture_output=True
    )
    if done.returncode or not (tmp_path / "model.su").exists():
        pytest.skip("the compiler does not tell the use of the stack")
    uses = re.findall(r"(\w+)\t(\d+)\t", (tmp_path / "model.su").read_text())
    most = sum(int(use) for function, use in uses if function in ("model_predict", "model_class"))
    assert stated <= most <= stated + 400


def test_the_same_bits_of_weights_are_in_the_file():
    X = np.random.default_rng(0).normal(size=(60, 3))
    for dtype in (np.float32, np.float64):
        net = MLPRegressor(hidden_layer_sizes=(5,), dtype=np.dtype(dtype).name, max_iter=1)
        net.fit(X, X[:, 0])
        net.coefs_[0][0] = [1, -0.0, np.finfo(dtype).tiny / 8, np.finfo(dtype).max, 0]
        # In [1000, 1024) float32 needs its nine digits.
        net.coefs_[0][1] = np.nextafter(dtype(1000), dtype(2000)) * np.ones(5, dtype)
        text = re.search(r"m_w_0_0\[\] = \{(.*?)\}", source_of(net, "m"), re.DOTALL)[1]
        numbers = [number.strip().rstrip("f") for number in text.split(",")][:-1]
        found = np.array([float(number) for number in numbers], dtype)
        assert found.tobytes() == net.coefs_[0].astype(dtype).tobytes()


def test_the_comment_says_what_cells_are_as_numbers():
    X = np.empty((60, 4), dtype=object)
    X[:, 0] = [datetime.time(8 + i % 3) for i in range(60)]
    X[:, 1] = [datetime.date(2020, 1, 1 + i % 3) for i in range(60)]
    X[:, 2] = [4, None] * 30
    X[:, 3] = ["only", None] * 30
    estimator = small(TabularRegressor, max_iter=1, categorical_features=[1, 2, 3])
    text = source_of(estimator.fit(X, np.arange(60.0))).partition("*/")[0].replace("\n * ", " ")
    for words in (
        '"x0": a duration or time of day: seconds',
        '"x1": a category that is a number, of 3 numbers',
        '"x2": a category that is a number, of 1 number ',
        '"x3": model_category(3, text), of 1 text\n',
        "A category that is a date is its seconds since 1970 in UTC",
        "out: 1 number, the predictions",
    ):
        assert words in text


# ---- what C cannot say ----


def mixed(*labels, **params):
    """An estimator with a column of these categories."""
    X = np.empty((60, 1), dtype=object)
    X[:, 0] = [labels[i % len(labels)] for i in range(60)]
    cls = small(TabularRegressor, max_iter=1, categorical_features=[0], **params)
    return cls.fit(X, np.arange(60.0))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ((("a", 1), ("b", 2)), "column 'x0' has the category \\('a', 1\\), a tuple"),
        ((2**60 + 1, 2), "column 'x0' has the category 1152921504606846977"),
        ((-(2**53) - 2, 2), "column 'x0' has the category -9007199254740994"),
        ((2**53, 2), "column 'x0' has the category 9007199254740992"),  # so is 2**53 + 1 in float64
        ((10**400, 2), "column 'x0' has the category 1000"),
        (("a\0", "b"), "column 'x0' has a category that is 'a.x00'"),
        (("\ud800", "b"), "UTF-8"),
        (("a" * 5000, "b"), "column 'x0' has a category that has 5,000 bytes"),
    ],
)
def test_categories_that_c_has_not_are_named(labels, message):
    with pytest.raises(ValueError, match=message):
        source_of(mixed(*labels))


def test_labels_and_names_that_c_has_not_are_named():
    X = np.random.default_rng(0).normal(size=(60, 1))
    y = np.where(X[:, 0] > 0, "a\0b", "b")
    net = MLPClassifier(hidden_layer_sizes=(2,), max_iter=1).fit(X, y)
    with pytest.raises(ValueError, match="classes_ holds 'a.x00b', which is"):
        source_of(net)
    with pytest.raises(ValueError, match="name of the input 'x.x00'"):
        source_of(MLPRegressor(hidden_layer_sizes=(2,), max_iter=1).fit(X, X[:, 0]), names=["x\0"])


@pytest.mark.parametrize("unit", ["D", "ns"])
def test_labels_that_are_dates_are_text(unit):
    X = np.random.default_rng(0).normal(size=(60, 1))
    y = np.array(["2020-01-01", "2021-06-01"], f"M8[{unit}]")[(X[:, 0] > 0).astype(int)]
    net = MLPClassifier(hidden_layer_sizes=(2,), max_iter=1).fit(X, y)
    assert all(f'"{label}' in source_of(net) for label in np.unique(y).astype(str))


def test_every_function_of_a_layer_has_a_form_and_a_new_one_is_named(monkeypatch):
    assert {*_core.ACTIVATIONS} <= {"identity", *ACTIVATIONS} and {*BY_OUTPUT} <= {*FUNCTIONS}
    X = np.random.default_rng(0).normal(size=(60, 1))
    net = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1).fit(X, X[:, 0])
    for table, name in ((ACTIVATIONS, "relu"), (FUNCTIONS, "identity")):
        with monkeypatch.context() as patched:
            patched.delitem(table, name)
            with pytest.raises(ValueError, match=f"{name!r} of a layer has no form in a C file"):
                source_of(net)


def test_weights_that_are_not_finite_are_refused():
    X = np.random.default_rng(0).normal(size=(60, 1))
    net = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1).fit(X, X[:, 0])
    net.coefs_[0][0, 0] = np.inf
    with pytest.raises(ValueError, match="MLPRegressor has weights that are no finite numbers"):
        source_of(net)


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a;", "ä", "_a", "a\n"])
def test_prefixes_that_c_has_not_are_refused(name):
    with pytest.raises(ValueError, match="it takes a name that C can have"):
        source_of(None, name)


# ---- the command ----


@pytest.fixture
def saved(tmp_path):
    X = np.random.default_rng(0).normal(size=(60, 2))
    path = tmp_path / "net.fastbp"
    fastbp.save(MLPRegressor(hidden_layer_sizes=(2,), max_iter=1).fit(X, X[:, 0]), path)
    return path


def test_a_file_of_save_is_exported(saved, capsys):
    out = saved.with_suffix(".c")
    assert main(["export", str(saved), "--c", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err == f"{out.stat().st_size:,} bytes: {out}\n"
    assert out.read_text() == source_of(fastbp.load(saved))


def test_a_model_that_had_functions_is_exported(tmp_path):
    def half_square(output, y, sample_weight):
        return 0.5 * ((output - y) ** 2).sum(axis=1), output - y

    X = np.random.default_rng(0).normal(size=(60, 2))
    net = MLPRegressor(
        half_square,
        hidden_layer_sizes=(2,),
        max_iter=1,
        solver="sgd",
        learning_rate=lambda progress: 1 - progress,
        early_stopping=True,
        scoring=lambda estimator, X, y: 0.0,
    ).fit(X, X[:, 0])
    path, out = tmp_path / "net.fastbp", tmp_path / "net.c"
    fastbp.save(net, path)
    assert main(["export", str(path), "--c", str(out)]) == 0
    assert out.read_text() == source_of(net)


def test_what_cannot_be_exported_leaves_what_was_there(saved, capsys):
    out = saved.with_name("out.c")
    out.write_text("as it was")
    path = saved.with_name("other.fastbp")
    for thing, message in (
        ({"a": 1}, "holds no model that `fastbp fit` has saved, and no single estimator"),
        (fastbp.Network((2, 1)), "holds no model"),
        (MLPRegressor(), "not fitted"),
    ):
        fastbp.save(thing, path)
        assert main(["export", str(path), "--c", str(out)]) == 2
        error = capsys.readouterr().err
        assert error.startswith("fastbp export: error: ") and message in error
        assert error.count("\n") == 1
    assert main(["export", str(saved), "--c", str(saved)]) == 2
    assert "it is what is read" in capsys.readouterr().err
    assert out.read_text() == "as it was"
    assert sorted(p.name for p in saved.parent.iterdir()) == ["net.fastbp", "other.fastbp", "out.c"]


# ---- the page ----

PAGE = Path(__file__).resolve().parents[1] / "docs" / "c-file.md"


def test_the_program_of_the_page_prints_what_the_estimator_predicts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    of_kind = {kind: [text for other, text in blocks if other == kind] for kind, _ in blocks}
    namespace = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(of_kind["python"][0], namespace)
    export, compile_it = map(shlex.split, of_kind["sh"])
    assert export[:3] == ["python", "-m", "fastbp"] and main(export[3:]) == 0
    (text,) = of_kind["c"]
    Path("main.c").write_text(text)
    assert compile_it[0] == "cc"
    finish(start(*compile_it[1:], *FLAGS[1:]))
    printed = subprocess.run([tmp_path / "flats"], capture_output=True, text=True, check=True)
    found = np.array(printed.stdout.split(), dtype=float)
    assert relative_error(found, namespace["reg"].predict([[3, "centre"], [None, "suburb"]])) < 1e-5
