"""The commands ``fit`` and ``predict`` of the command line."""

import csv
import errno
import gzip
import importlib.util
import io
import os
import pickle
import shutil
import sys
from argparse import Namespace

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from threadpoolctl import threadpool_limits

import fastbp
from fastbp import _history
from fastbp.__main__ import main
from fastbp._commands import fit, models, predict, reading, scores
from fastbp._files import replacing
from fastbp.tabular import _net

# A model of few epochs: what it learns is tested elsewhere.
SHORT = ["--max-time", "0.3", "--no-compare"]


def rows_of_a_table(n_rows=240, seed=0):
    """Head and rows: a class that follows from the others, gaps, and a number."""
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n_rows):
        size, color = rng.uniform(0, 2), rng.choice(["red", "green", "blue"])
        kind = "large" if size + (color == "red") > 1.3 else "small"
        price = f"{10 * size + 5 * (color == 'red'):.3f}"
        gap = "" if i % 7 == 0 else f"{size:.4f}"
        rows.append([gap, "NA" if i % 11 == 0 else color, i, price, kind])
    return [["size", "color", "number", "price", "kind"], *rows]


def write_csv(path, rows, separator=","):
    text = io.StringIO()
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return str(path)


def read_csv(text):
    return list(csv.reader(io.StringIO(text)))


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def table(here):
    return write_csv(here / "table.csv", rows_of_a_table())


@pytest.fixture
def one_thread():
    """Boosted trees of so few rows need a hundred times longer if threads wait for a core."""
    with threadpool_limits(1):
        yield


@pytest.fixture(params=["pandas", "polars", "csv"])
def library(request, monkeypatch):
    """What reads CSV; the others seem not to be installed."""
    if request.param != "csv":
        pytest.importorskip(request.param)
    find = importlib.util.find_spec
    hidden = {"pandas", "polars"} - {request.param}

    def find_spec(name, *rest):
        return None if name in hidden else find(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    return request.param


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """A fitted model of `kind`, and of `price`."""
    folder = tmp_path_factory.mktemp("models")
    table = write_csv(folder / "table.csv", rows_of_a_table())
    for target in ("kind", "price"):
        out = str(folder / f"{target}.fastbp")
        assert main(["fit", table, "--target", target, "--out", out, *SHORT]) == 0
    return str(folder / "kind.fastbp")


@pytest.fixture
def regressor(classifier):
    return classifier.replace("kind.fastbp", "price.fastbp")


def error_of(capsys, *arguments):
    """The error of a command that ends with exit code 2: one line, and no output before it."""
    assert main(list(map(str, arguments))) == 2
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1 and lines[0].startswith(f"fastbp {arguments[0]}: error: ")
    return lines[0]


# ---- fit, and what its model predicts ----


def test_fit_prints_scores_beside_others_and_saves(table, here, capsys, one_thread):
    assert main(["fit", table, "--target", "kind", "--max-time", "20"]) == 0
    out = capsys.readouterr().out
    assert "240 rows, 4 columns, 2 classes" in out
    assert out.index("memory of the fit: ") < out.index("scores of 48 rows")
    printed = {line.split("  ")[0]: line.split()[-4:] for line in out.splitlines()}
    accuracy, log_loss, roc_auc, _ = map(float, printed["TabularClassifier"])
    assert accuracy > 0.8 and log_loss < 0.5 and roc_auc > 0.9
    assert float(printed["HistGradientBoosting"][0]) > 0.8
    line = next(line for line in out.splitlines() if line.startswith("constant guess"))
    assert 0.5 <= float(line.split()[2]) < 0.8 and float(line.split()[4]) == 0.5
    assert models.load_model("table.fastbp").estimator.n_estimators == "auto"
    assert (here / "table.fastbp").exists() and "table.fastbp" in out.splitlines()[-1]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_predictions_of_every_reader_are_those_of_the_model(
    here, capsys, library, name, classifier, regressor
):
    rows = rows_of_a_table(60, seed=1)
    path = write_csv(here / name, rows, separator=";")
    out = str(here / "p.csv")
    assert main(["predict", classifier, path, "--out", out, "--proba"]) == 0
    assert capsys.readouterr().out == ""
    head, *found = read_csv((here / "p.csv").read_text())
    assert head == ["kind", "probability of large", "probability of small"]
    estimator = models.load_model(classifier).estimator
    cells = [[None if c in ("", "NA") else c for c in row[:4]] for row in rows[1:]]
    X = np.array(cells, dtype=object)
    with pytest.warns(UserWarning, match="feature names"):
        expected = estimator.predict_proba(X)
    np.testing.assert_allclose(np.array(found)[:, 1:].astype(float), expected, rtol=1e-9)
    assert [row[0] for row in found] == estimator.classes_[expected.argmax(axis=1)].tolist()
    assert main(["predict", regressor, path]) == 0
    (head, *found) = read_csv(capsys.readouterr().out)
    assert head == ["price"] and len(found) == 60
    assert np.isfinite(np.array(found, dtype=float)).all()


def test_a_row_is_the_same_beside_any_other_rows(here, library):
    text = ["True", "False", "maybe"], ["1.0", "2.50", "other"], ["007", "07", "7"]
    rows = [[*cells, str(len(cells[0])), "0.5"] for cells in zip(*text, strict=True)] * 40
    head = ["answer", "size", "code", "target", "number"]
    table = write_csv(here / "table.csv", [head, *rows])
    arguments = "--target target --task regression --out model --no-compare --n-estimators 1"
    assert main(["fit", table, *arguments.split()]) == 0
    for name, part in (("all.csv", rows), ("part.csv", rows[:2])):
        path = write_csv(here / name, [head, *part])
        assert main(["predict", "model", path, "--out", str(here / f"of_{name}")]) == 0
    found, expected = (np.loadtxt(here / f"of_{name}.csv", skiprows=1) for name in ("part", "all"))
    np.testing.assert_allclose(found, expected[:2], rtol=1e-3)
    assert abs(found[0] - found[1]) > 0.5


def test_a_file_in_another_encoding(here, capsys):
    (here / "t.csv").write_bytes("a,kind\né,u\n".encode("latin-1"))
    error = error_of(capsys, "fit", "t.csv", "--target", "kind")
    assert "t.csv cannot be read: the byte 0xe9 is no text in UTF-8" in error


def test_text_among_numbers_in_rows_held_out_only(here, library, monkeypatch):
    rows = [["unknown" if i == 55 else i % 9, i % 7, i % 3] for i in range(60)]
    table = write_csv(here / "table.csv", [["a", "b", "kind"], *rows])
    monkeypatch.setattr(fit, "_split", lambda *_: (np.arange(50), np.arange(50, 60)))
    assert main(["fit", table, "--target", "kind", "--out", "model", *SHORT]) == 0
    assert models.load_model("model").estimator.is_categorical_.tolist() == [True, False]


def test_codes_with_leading_zeros_are_categories_and_labels(here, library):
    rows = [[f"0{i % 5}", f"0{i % 2}"] for i in range(100)]
    table = write_csv(here / "table.csv", [["code", "kind"], *rows])
    assert main(["fit", table, "--target", "kind", "--out", "model", *SHORT]) == 0
    estimator = models.load_model("model").estimator
    assert estimator.is_categorical_.tolist() == [True]
    assert estimator.classes_.tolist() == ["00", "01"]


def test_fit_is_the_same_with_every_reader(here, capsys, library, classifier):
    table = write_csv(here / "table.csv", rows_of_a_table())
    arguments = ["fit", table, "--target", "kind", "--n-estimators", "2", "--categorical", "number"]
    assert main([*arguments, "--out", "m", *SHORT, "--seed", "3"]) == 0
    saved = models.load_model("m")
    assert (saved.target, saved.columns) == ("kind", ["size", "color", "number", "price"])
    assert saved.version == fastbp.__version__
    estimator = saved.estimator
    assert estimator.is_categorical_.tolist() == [False, True, True, False]
    assert len(estimator.estimators_) == 2 and estimator.random_state == 3
    assert estimator.classes_.tolist() == ["large", "small"]


def test_rows_and_columns_of_every_reader(here, library):
    head, *rows = rows_of_a_table(30)
    path = write_csv(here / "t.csv", [head, *rows])
    (here / "t.csv").write_bytes(b"\xef\xbb\xbf" + (here / "t.csv").read_bytes())  # as of Excel
    table = reading.read_table(path)
    assert table.names == head and len(table) == 30
    places = np.array([21, 4, 7])
    part = table.select(["number", "color"]).take(places)
    assert part.names == ["number", "color"] and len(part) == 3
    assert part.cells("number").numbers().tolist() == [21, 4, 7]
    codes, values = part.cells("color").labels()
    colors = [None if code < 0 else values[code] for code in codes]
    assert colors == [None if rows[i][1] == "NA" else rows[i][1] for i in places]


def test_columns_are_matched_by_their_names(here, capsys, classifier):
    rows = rows_of_a_table(30, seed=1)
    order = [3, 0, 2, 1]  # and without the target
    for name, places in (("a.csv", range(5)), ("b.csv", order)):
        write_csv(here / name, [[row[i] for i in places] for row in rows])
    printed = []
    for name in ("a.csv", "b.csv"):
        assert main(["predict", classifier, name]) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


def test_parquet(here, capsys, classifier):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    head, *rows = rows_of_a_table()
    columns = {
        "size": [float(row[0]) if row[0] else None for row in rows],
        "color": [None if row[1] == "NA" else row[1] for row in rows],
        "number": [row[2] for row in rows],
        "price": [float(row[3]) for row in rows],
        "kind": pyarrow.array([row[4] for row in rows]).dictionary_encode(),
    }
    parquet.write_table(pyarrow.table(columns), "table.parquet")
    write_csv(here / "table.csv", [head, *rows])
    for name in ("table.parquet", "table.csv"):
        assert main(["predict", classifier, name, "--out", f"{name}.out"]) == 0
    assert (here / "table.parquet.out").read_text() == (here / "table.csv.out").read_text()
    assert main(["fit", "table.parquet", "--target", "kind", *SHORT]) == 0
    assert models.load_model("table.fastbp").estimator.classes_.tolist() == ["large", "small"]


def test_parquet_without_a_reader_says_what_to_install(here, capsys, monkeypatch):
    (here / "t.parquet").write_bytes(b"PAR1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    message = error_of(capsys, "fit", "t.parquet", "--target", "y")
    assert "t.parquet" in message and "pip install pyarrow" in message


def test_the_bar_is_shown_on_a_terminal(table, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["fit", table, "--target", "kind", *SHORT]) == 0
    assert "epoch" in capsys.readouterr().err


# ---- targets ----


@pytest.mark.parametrize(
    ("target", "options", "task", "classes"),
    [
        ("number", [], "TabularRegressor", None),
        ("price", [], "TabularRegressor", None),
        ("kind", [], "TabularClassifier", ["large", "small"]),
        ("grade", [], "TabularClassifier", [1, 2, 3]),
        ("grade", ["--task", "regression"], "TabularRegressor", None),
        ("size", ["--task", "classification"], "TabularClassifier", ["0.5", "1.5"]),
        ("size", [], "TabularRegressor", None),
    ],
)
def test_the_task(here, capsys, target, options, task, classes, library):
    head, *rows = rows_of_a_table(80)
    rows = [[size, *rest, i % 3 + 1] for i, (size, *rest) in enumerate(rows)]
    if target == "size":
        rows = [[f"{i % 2 + 0.5}", *rest] for i, (_, *rest) in enumerate(rows)]
    write_csv(here / "t.csv", [[*head, "grade"], *rows])
    options = [*options, "--test-size", "0", *SHORT]
    assert main(["fit", "t.csv", "--target", target, *options]) == 0
    assert "scores" not in capsys.readouterr().out
    estimator = models.load_model("t.fastbp").estimator
    assert type(estimator).__name__ == task
    if classes:
        assert estimator.classes_.tolist() == classes


def test_rows_without_a_target_are_left_out(here, capsys):
    head, *rows = rows_of_a_table(90)
    for row in rows[::9]:
        row[4] = ""
    write_csv(here / "t.csv", [head, *rows])
    assert main(["fit", "t.csv", "--target", "kind", *SHORT]) == 0
    out = capsys.readouterr().out
    assert "10 rows have no 'kind' and are left out" in out and "80 rows, 4 columns" in out
    assert models.load_model("t.fastbp").estimator.classes_.tolist() == ["large", "small"]


@pytest.mark.parametrize("target", ["kind", "price", "grade"])
def test_other_rows_keep_their_targets(here, library, target):
    head, *rows = rows_of_a_table(30)
    head, rows = [*head, "grade"], [[*row, row[2] % 3] for row in rows]
    place = head.index(target)
    for row in rows[3::9]:
        row[place] = ""
    table = reading.read_table(write_csv(here / "t.csv", [head, *rows]))
    arguments = Namespace(table="t.csv", target=target, categorical=[], task="auto")
    X, y, is_classification = fit._divided(table, arguments)
    kept = [row for row in rows if row[place] != ""]
    assert X.cells("number").numbers().tolist() == [row[2] for row in kept]
    assert is_classification == (target != "price")
    expected = [float(row[place]) if target == "price" else row[place] for row in kept]
    assert y.tolist() == expected


def test_a_class_of_one_row_stops_nothing(here, capsys):
    head, *rows = rows_of_a_table(90)
    rows[8][4] = "odd"
    write_csv(here / "t.csv", [head, *rows])
    is_known = set()
    for seed in ("0", "1"):
        assert main(["fit", "t.csv", "--target", "kind", "--seed", seed, *SHORT]) == 0
        assert "log loss" in capsys.readouterr().out
        is_known.add("odd" in models.load_model("t.fastbp").estimator.classes_)
    assert is_known == {True, False}  # rows held out are not trained on


def test_a_label_that_was_not_trained_on_has_the_probability_zero():
    y, classes = np.array(["a", "b", "c"]), np.array(["a", "c"])
    found = scores.score_classes(y, classes, np.array([[0.9, 0.1], [0.5, 0.5], [0.2, 0.8]]))
    assert found["accuracy"] == "0.6667"
    least = np.finfo(float).eps  # what scikit-learn takes for 0
    assert float(found["log loss"]) == pytest.approx(-np.log([0.9, least, 0.8]).mean(), abs=1e-3)
    found = scores.score_classes(y[[0, 2]], classes, np.array([[0.9, 0.1], [0.2, 0.8]]))
    assert found["log loss"] == f"{-np.log([0.9, 0.8]).mean():.4f}"
    assert found["ROC AUC"] == "1.0000"


def test_the_constant_guess_knows_the_rows_trained_on_only():
    found = scores.constant_guess(np.array([0.0, 0, 1, 3]), np.array([2.0, 4]), False)
    assert (found["RMSE"], found["mean absolute error"]) == (f"{5**0.5:.5g}", "2")
    found = scores.constant_guess(np.array(["b", "a", "a", "a"]), np.array(["b", "b"]), True)
    assert (found["accuracy"], found["log loss"]) == ("0.0000", f"{-np.log(0.25):.4f}")


def test_boosted_trees_are_those_of_scikit_learn(here, library, one_thread):
    rng = np.random.default_rng(0)
    n, letters = 160, np.array(list("abcdefgh"))
    codes, size = rng.integers(0, 8, n), rng.normal(size=n).round(3)
    y = np.where((codes % 2 + (size > 1) + (rng.random(n) < 0.2)) % 2, "odd", "even")
    rows = [[size[i], "" if i % 9 == 0 else letters[codes[i]]] for i in range(n)]
    table = reading.read_table(write_csv(here / "t.csv", [["size", "letter"], *rows]))
    train, test = np.arange(n)[::2], np.arange(n)[1::2]
    found, _ = scores.boosted_trees(table, y, train, test, True, 3)
    X = np.column_stack([size, np.where(np.arange(n) % 9 == 0, np.nan, codes)])
    model = HistGradientBoostingClassifier(categorical_features=[1], random_state=3)
    model.fit(X[train], y[train])
    assert found == scores.score_classes(y[test], model.classes_, model.predict_proba(X[test]))


@pytest.mark.parametrize("n_categories", [255, 256])
def test_boosted_trees_of_many_categories(here, one_thread, n_categories):
    n = 2 * n_categories
    rows = [[f"v{i // 2}", i % 7] for i in range(n)]
    table = reading.read_table(write_csv(here / "t.csv", [["name", "number"], *rows]))
    places = np.arange(n)
    found, _ = scores.boosted_trees(table, places % 5 * 1.0, places, places[:9], False, 0)
    assert float(found["RMSE"]) >= 0


# ---- errors ----


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--target nobody", "no column 'nobody'; it has 'size', 'color'"),
        ("--target kind --categorical color nobody", "--categorical: .* no column 'nobody'"),
        ("--target kind --categorical kind", "column 'kind' is the target"),
        ("--target kind --task regression", "'kind' holds no numbers, such as '(large|small)'"),
        ("--target kind --out no_such_folder/m", "no_such_folder/m cannot be written"),
        ("--target kind --out new/", "--out: new/ cannot be written: it takes a file"),
        ("--target kind --out t.csv", "--out: t.csv would be written over, and it is what is re"),
        ("--target kind --test-size 0.999", "--test-size: 0.999 of 40 rows leaves no row to"),
        ("--target same", "'same' has no two different values, 1"),
    ],
)
def test_fit_says_what_is_wrong_with_its_arguments(here, capsys, arguments, message, library):
    rows = [[*row, "same" if i == 0 else 1] for i, row in enumerate(rows_of_a_table(40))]
    write_csv(here / "t.csv", rows)
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error_of(capsys, "fit", "t.csv", *arguments.split()))
    assert not (here / "t.fastbp").exists()


def test_a_model_that_cannot_be_written_is_told_before_the_training(table, capsys, monkeypatch):
    monkeypatch.setattr(fastbp.TabularClassifier, "_validate_params", None)  # comes first in it
    for out in ("no_such_folder/m", "."):
        message = error_of(capsys, "fit", table, "--target", "kind", "--out", out)
        assert f"{out} cannot be written" in message


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("absent.csv", None, "absent.csv cannot be read: No such file"),
        ("t.txt", b"a,b\n1,2\n", "t.txt: a table is a file .csv, .csv.gz, .parquet"),
        ("empty.csv", b"", "empty.csv cannot be read: it is empty"),
        ("head.csv", b"a,b\n", "head.csv has a head and no rows"),
        ("twice.csv", b"a,b,a\n1,2,3\n", "several columns have the name 'a'"),
        ("long.csv", b"a,b\n1,2,3\n", "the head has 2 columns, the line after it 3"),
        ("broken.csv.gz", b"a,b\n1,2\n", "broken.csv.gz cannot be read: Not a gzipped file"),
        ("cut.csv.gz", gzip.compress(b"a,b\n" + b"1,2\n" * 99)[:30], "cut.csv.gz cannot be read"),
        ("latin.csv", "a,b\nä,2\n".encode("latin1"), "latin.csv cannot be read"),
    ],
)
def test_a_file_that_is_no_table_is_named(here, capsys, library, name, content, message):
    if content is not None:
        (here / name).write_bytes(content)
    assert message in error_of(capsys, "fit", name, "--target", "b")


def test_a_file_that_is_no_parquet_is_named(here, capsys):
    if not (importlib.util.find_spec("pyarrow") or importlib.util.find_spec("polars")):
        pytest.skip("no reader of Parquet is installed")
    (here / "t.parquet").write_bytes(b"no parquet at all")
    assert "t.parquet cannot be read" in error_of(capsys, "fit", "t.parquet", "--target", "b")


def test_a_line_of_other_length_is_named(here, capsys, monkeypatch):
    monkeypatch.setattr(reading, "_installed", lambda *names: None)
    (here / "t.csv").write_text("a,b\n1,2\n3\n")
    assert "line 3 has 1 cells, the head 2" in error_of(capsys, "fit", "t.csv", "--target", "b")


def test_predict_names_the_columns_that_are_absent(here, capsys, classifier, library):
    write_csv(here / "t.csv", [[row[0], row[2], row[4]] for row in rows_of_a_table(20)])
    message = error_of(capsys, "predict", classifier, "t.csv")
    assert "t.csv lacks columns that the model takes: 'color', 'price'" in message


def test_predict_names_the_column_that_holds_something_else(here, capsys, classifier, library):
    rows = rows_of_a_table(20)
    rows[4][3] = "cheap"
    write_csv(here / "t.csv", rows)
    message = error_of(capsys, "predict", classifier, "t.csv")
    assert "column 'price'" in message and "'cheap'" in message


def test_probabilities_of_a_regression_are_refused(table, capsys, regressor):
    assert "has no probabilities" in error_of(capsys, "predict", regressor, table, "--proba")


def test_only_what_fit_has_saved_is_loaded(table, here, capsys, classifier):
    class Trap:
        def __reduce__(self):
            return open, (str(here / "opened"), "w")

    (here / "m").write_bytes(pickle.dumps(Trap()))
    message = error_of(capsys, "predict", "m", table)
    assert "m cannot be loaded" in message and "no file of fastbp.save" in message
    assert not (here / "opened").exists()
    fastbp.save({"estimator": fastbp.MLPClassifier()}, here / "m")
    message = error_of(capsys, "predict", "m", table)
    assert "m is no model that `fastbp fit` has saved" in message
    with open(classifier, "rb") as file:
        (here / "m").write_bytes(file.read()[:200])
    assert "m cannot be loaded: it is damaged" in error_of(capsys, "predict", "m", table)
    assert "m2 cannot be read: No such file" in error_of(capsys, "predict", "m2", table)


def test_a_model_stays_if_another_one_cannot_be_written_over_it(here, classifier, monkeypatch):
    saved = models.load_model(classifier)
    models.save_model(saved, here / "m")
    before = (here / "m").read_bytes()

    def fail(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(replacing.os, "fsync", fail)
    with pytest.raises(ValueError, match="m cannot be written: No space left on device"):
        models.save_model(saved, here / "m")
    assert (here / "m").read_bytes() == before
    assert [path.name for path in here.iterdir()] == ["m"]


def test_a_model_that_no_file_holds_is_an_error_that_says_why(here, classifier):
    saved = models.load_model(classifier)
    saved.estimator.mine = 1
    with pytest.raises(ValueError, match="m cannot be written: .*the attribute 'mine'.*[^.]$"):
        models.save_model(saved, here / "m")


def test_an_error_of_the_system_without_a_number_has_its_own_text(here, classifier, monkeypatch):
    def fail(*arguments):
        raise OSError("it is full")

    saved = models.load_model(classifier)
    monkeypatch.setattr(replacing.os, "fsync", fail)
    with pytest.raises(ValueError, match="m cannot be written: it is full"):
        models.save_model(saved, here / "m")


def test_help_says_that_a_model_runs_no_code(table, capsys):
    for command in ("fit", "predict"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert models.TRUST in " ".join(capsys.readouterr().out.split())


def test_predictions_are_written_whole_or_not_at_all(table, here, capsys, classifier, monkeypatch):
    command = ["predict", classifier, table, "--out", "p.csv"]
    assert main(command) == 0
    before = (here / "p.csv").read_text()
    assert before.startswith("kind\n") and before.count("\n") == 241
    (here / "p.csv").chmod(0o640)
    assert main(command) == 0  # replaced, and who may read it is as before
    assert (here / "p.csv").stat().st_mode & 0o777 == 0o640
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def write(file, head, rows, failure=failure):
            file.write("half of it")
            raise failure

        monkeypatch.setattr(predict, "_write", write)
        assert main(command) == (130 if isinstance(failure, KeyboardInterrupt) else 2)
        assert (here / "p.csv").read_text() == before
        assert sorted(path.name for path in here.iterdir()) == ["p.csv", "table.csv"]
    assert "p.csv cannot be written: No space left on device" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_or_device_is_written_and_not_replaced(table, here, classifier):
    os.mkfifo(here / "pipe")
    reading = os.open(here / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert main(["predict", classifier, table, "--out", "pipe"]) == 0
    assert os.read(reading, 1 << 16).startswith(b"kind\n")
    os.close(reading)
    assert (here / "pipe").is_fifo()


def test_a_model_is_a_file(table, here, capsys):
    message = error_of(capsys, "fit", table, "--target", "kind", "--out", os.devnull)
    assert f"--out: {os.devnull} cannot be written: it takes a file" in message


def test_a_link_leads_to_what_is_written(table, here, classifier):
    (here / "link").symlink_to("p.csv")
    assert main(["predict", classifier, table, "--out", "link"]) == 0
    assert (here / "link").is_symlink() and (here / "p.csv").read_text().startswith("kind\n")


@pytest.mark.parametrize("what", ["model", "table.csv"])
def test_predictions_do_not_replace_what_they_come_from(table, here, capsys, classifier, what):
    shutil.copy(classifier, here / "model")
    before = (here / what).read_bytes()
    message = error_of(capsys, "predict", "model", table, "--out", f"../{here.name}/{what}")
    assert f"--out: ../{here.name}/{what} would be written over" in message
    assert (here / what).read_bytes() == before


def test_a_model_is_there_although_its_scores_are_not(table, here, capsys, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(fit, "_print_scores", interrupt)
    assert main(["fit", table, "--target", "kind", *SHORT]) == 130
    assert "\nsaved: table.fastbp (" in capsys.readouterr().out
    assert models.load_model("table.fastbp").target == "kind"


def test_a_model_of_another_version_is_told(table, here, capsys, classifier):
    saved = models.load_model(classifier)
    models.save_model(saved._replace(version="0.0.1"), here / "m")
    assert main(["predict", "m", table, "--out", "p.csv"]) == 0
    assert "saved by fastbp '0.0.1'" in capsys.readouterr().err


def test_ctrl_c_saves_nothing(table, here, capsys, monkeypatch):
    from fastbp.tabular import _loop

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(_loop, "train", interrupt)
    assert main(["fit", table, "--target", "kind"]) == 130
    assert capsys.readouterr().err.endswith("fastbp fit: interrupted\n")
    assert not list(here.glob("*.fastbp*"))


def test_a_fit_goes_on_from_its_checkpoint(table, here, monkeypatch):
    command = ["fit", table, "--target", "kind", "--n-estimators", "1", "--no-compare", "--out"]
    assert main([*command, "whole.fastbp"]) == 0
    add_loss, calls = _history.History.add_loss, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        add_loss(*arguments)

    monkeypatch.setattr(_history.History, "add_loss", interrupted)
    for there in (True, False):
        assert main([*command, "found.fastbp", "--checkpoint", "state"]) == 0
        assert (here / "state").exists() is there
    whole, found = (models.load_model(here / f"{name}.fastbp") for name in ("whole", "found"))
    np.testing.assert_array_equal(
        found.estimator.estimators_[0].params, whole.estimator.estimators_[0].params
    )
    assert found.estimator.loss_curve_ == whole.estimator.loss_curve_


@pytest.mark.parametrize("interval", [1e-9, 60.0])
def test_a_checkpoint_stays_until_the_model_is_saved(interval, table, here, monkeypatch, capsys):
    command = ["fit", table, "--target", "kind", "--n-estimators", "1", "--no-compare"]
    assert main([*command, "--out", "whole.fastbp"]) == 0
    command += ["--checkpoint", "state", "--out", "found.fastbp"]
    make = fit._estimator

    def full(*arguments):
        assert (here / "state").exists() is (interval < 1)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(
        fit, "_estimator", lambda *a: make(*a).set_params(checkpoint_interval=interval)
    )
    with monkeypatch.context() as patch:
        patch.setattr(models, "save", full)
        assert main(command) == 2
    assert "No space left on device; the same command goes on from state" in capsys.readouterr().err
    assert (here / "state").exists() and not (here / "found.fastbp").exists()
    with monkeypatch.context() as patch:
        patch.setattr(_net.Training, "_updates", None)  # there is nothing left to train
        assert main(command) == 0
    assert not (here / "state").exists()
    whole, found = (models.load_model(f"{name}.fastbp").estimator for name in ("whole", "found"))
    np.testing.assert_array_equal(found.estimators_[0].params, whole.estimators_[0].params)


def test_an_interrupted_save_leaves_what_was_there(tmp_path, classifier, monkeypatch):
    path = tmp_path / "model.fastbp"
    path.write_bytes(b"before")
    saved = models.load_model(classifier)

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(replacing.os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        models.save_model(saved, path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.fastbp"]
    assert path.read_bytes() == b"before"
