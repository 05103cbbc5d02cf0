"""``bench/tabular.py`` trains on what it says, and scores what it has not trained on."""

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingRegressor

pandas = pytest.importorskip("pandas")

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "bench" / "tabular.py"
README = """# Tables

| file | rows | target | metric |
|---|---|---|---|
| prices.csv.gz | 200 | log(price) | RMSE |
| grades.csv | 150 | grade (regression) | |
| kinds.csv | 150 | `kind` | accuracy |
"""


@pytest.fixture
def tabular(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import tabular

    return tabular


@pytest.fixture
def tables(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import tabular_tables

    return tabular_tables


@pytest.fixture
def folder(tmp_path):
    """Three tables with a README that tells their targets, and one that it does not name."""
    rng = np.random.default_rng(0)
    size = rng.uniform(1, 3, 200)
    color = rng.choice(["red", "blue", None], 200)
    price = np.exp(size + (color == "red"))
    made = pandas.DataFrame({"price": price, "size": size, "color": color})
    made.to_csv(tmp_path / "prices.csv.gz", index=False)
    grade = rng.integers(0, 5, 150)
    pandas.DataFrame({"grade": grade, "x": grade + rng.normal(size=150)}).to_csv(
        tmp_path / "grades.csv", index=False
    )
    kind = rng.choice(["a", "b"], 150)
    x = (kind == "a") + 0.1 * rng.normal(size=150)
    pandas.DataFrame({"kind": kind, "x": x}).to_csv(tmp_path / "kinds.csv", index=False)
    pandas.DataFrame({"x": x, "last": x}).to_csv(tmp_path / "unnamed.csv", index=False)
    (tmp_path / "README.md").write_text(README)
    return tmp_path


def run(*arguments):
    return subprocess.run(
        [sys.executable, PROGRAM, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip


@pytest.mark.bench_programs
@pytest.mark.skipif(
    "X_val" not in inspect.signature(HistGradientBoostingRegressor.fit).parameters,
    reason="this scikit-learn's boosted trees take no rows of one's own to stop by",
)
def test_a_tiny_run_prints_and_writes_its_tables_and_is_not_done_twice(folder, tmp_path):
    output = tmp_path / "results"
    arguments = [folder, "--methods", "hgb", "catboost", "--threads", "1", "--output", output]
    done = run(*arguments, "--tables", "prices", "kinds", "--seeds", "0")
    assert done.returncode == 0, done.stderr
    results = json.loads((output / "tabular.json").read_text())
    runs = {(r["table"], r["seed"]): r for r in results["runs"] if r["method"] == "hgb"}
    assert set(runs) == {("prices", 0), ("kinds", 0)}
    price, kind = runs["prices", 0], runs["kinds", 0]
    assert (price["task"], price["rows"], price["columns"]) == ("regression", 200, 2)
    assert 0 < price["scores"]["rmse"] < 0.5  # the deviation of log(price) is 0.75
    assert kind["scores"]["accuracy"] > 0.9 and kind["scores"]["roc_auc"] > 0.9
    assert 0 < kind["scores"]["log_loss"] < 0.5
    assert all(
        r["cpu_seconds"] > 0 and r["peak_bytes"] > r["start_bytes"] > 2**20 for r in runs.values()
    )
    assert f"{price['scores']['rmse']:.4f}" in done.stdout and "## kinds" in done.stdout
    assert results["machine"]["cpu"] in done.stdout
    assert "prices, HistGradientBoosting, seed 0" in done.stderr

    another = run(*arguments, "--tables", "prices", "--seeds", "0", "1")
    assert "HistGradientBoosting, seed 1" in another.stderr
    assert "HistGradientBoosting, seed 0" not in another.stderr
    results = json.loads((output / "tabular.json").read_text())
    scores = [r["scores"]["rmse"] for r in results["runs"] if r["method"] == "hgb"]
    assert len(scores) == 2 and f"{np.mean(scores):.4f} (" in another.stdout
    fewer = run(*arguments, "--tables", "prices", "--seeds", "0", "--max-rows", "100")
    assert "prices, HistGradientBoosting, seed 0" in fewer.stderr
    assert "100 rows, 2 columns" in fewer.stdout


@pytest.mark.bench_programs
def test_a_run_that_fails_has_no_result_and_is_told(folder, tmp_path):
    output = tmp_path / "results"
    done = run(folder, "--tables", "kinds", "--target", "kinds=nobody", "--methods", "hgb",
               "--seeds", "0", "--output", output)  # fmt: skip
    assert done.returncode == 1
    assert "no column 'nobody'" in done.stderr and "'kind', 'x'" in done.stderr
    assert not list(output.glob("*hgb*"))


def test_targets_come_from_the_option_the_readme_or_the_last_column(tables, folder):
    found = {s.name: s for s in tables.find_tables(folder, ["kinds.csv = x / 1,000"])}
    told = {name: (source.target, source.task) for name, source in found.items()}
    assert told == {
        "prices": ("log(price)", "regression"),
        "grades": ("grade", "regression"),
        "kinds": ("x / 1,000", None),
        "unnamed": (None, None),
    }
    X, y, task = tables.load(found["kinds"])
    raw = pandas.read_csv(folder / "kinds.csv")
    assert list(X) == ["kind"] and task == "regression"
    np.testing.assert_allclose(y, raw["x"] / 1000, rtol=1e-12)
    X, y, _ = tables.load(found["prices"])
    raw = pandas.read_csv(folder / "prices.csv.gz")
    assert list(X) == ["size", "color"]
    np.testing.assert_allclose(y, np.log(raw["price"]), rtol=1e-12)
    assert list(tables.load(found["unnamed"])[0]) == ["x"]
    assert tables.load(found["grades"])[2] == "regression"


@pytest.mark.parametrize("target", ["kinds", "nobody.csv=x", "=x"])
def test_a_target_of_no_table_is_refused(tables, folder, target):
    with pytest.raises(ValueError, match="--target takes FILE=TARGET"):
        tables.find_tables(folder, [target])


@pytest.mark.parametrize(
    ("y", "task"),
    [
        (["b", "a", "b"], "classification"),
        ([1, 2, 2], "classification"),
        ([True, False, True], "classification"),
        ([0.5, 1.0, 2.0], "regression"),
        (list(range(21)), "regression"),
    ],
)
def test_the_task_follows_from_the_values(tables, tmp_path, y, task):
    pandas.DataFrame({"x": 1.0, "y": y}).to_csv(tmp_path / "t.csv", index=False)
    (source,) = tables.find_tables(tmp_path)
    assert tables.load(source)[2] == task


def test_the_three_parts_share_no_row(tables):
    X = pandas.DataFrame({"row": np.arange(500)})
    y = np.repeat([0, 1], [450, 50])
    parts = tables.split(X, y, "classification", seed=3)
    rows = [part.X["row"].tolist() for part in (parts.train, parts.validation, parts.test)]
    assert [len(of) for of in rows] == [320, 80, 100]
    assert sorted(sum(rows, [])) == list(range(500))
    for part in (parts.train, parts.validation, parts.test):
        assert part.y.mean() == pytest.approx(0.1)
        np.testing.assert_array_equal(part.y, y[part.X["row"]])
    other = tables.split(X, y, "classification", seed=4)
    assert set(other.test.X["row"]) != set(parts.test.X["row"])


def test_scores_are_those_of_the_definitions(tabular):
    from tabular_run import score

    y = np.array([0, 0, 1, 1])
    p = np.array([0.1, 0.6, 0.5, 0.9])
    found = score(y, np.column_stack([1 - p, p]), "classification")
    losses = np.log([0.9, 0.4, 0.5, 0.9])
    assert found == pytest.approx({"accuracy": 0.5, "log_loss": -losses.mean(), "roc_auc": 0.75})
    assert score(np.array([0.0, 3.0]), np.array([1.0, 3.0]), "regression") == {
        "rmse": pytest.approx(np.sqrt(0.5))
    }


def test_what_encodes_a_peers_table_has_seen_training_rows_only(tables, tabular):
    from tabular_methods import HistGradientBoosting

    X = pandas.DataFrame({"color": ["a", "b", None, "c", "a", "a"], "x": [1, 2, None, 4, 5, 6]})
    y = np.zeros(6)
    pieces = [tables.Part(X.iloc[rows], y[rows]) for rows in ([0, 1, 2], [3], [4, 5])]
    parts = HistGradientBoosting("regression", 0, 1).prepare(tables.Split(*pieces, "regression", 0))
    assert list(parts.train.X["x0"].cat.categories) == ["a", "b"]
    assert parts.validation.X["x0"].isna().all()  # "c" is of no training row
    assert parts.test.X["x0"].tolist() == ["a", "a"]
    assert np.isnan(parts.train.X["x1"].iloc[2]) and parts.test.X["x1"].tolist() == [5, 6]


def test_a_method_that_is_not_installed_is_left_out(tabular, monkeypatch, capsys):
    class Absent(tabular.METHODS["lightgbm"]):
        modules = ("no_such_module",)

    monkeypatch.setitem(tabular.METHODS, "lightgbm", Absent)
    assert tabular.installed(["lightgbm", "hgb"]) == ["hgb"]
    assert "LightGBM: left out, no_such_module is not installed" in capsys.readouterr().err


def test_errors_are_held_against_the_best_method_on_the_same_rows(tabular):
    from tabular_report import relative_errors

    def runs(*errors):
        return [{"seed": s, "scores": {"rmse": error}} for s, error in enumerate(errors)]

    found = relative_errors({"hgb": runs(2.0, 4.0), "mlp": runs(3.0, 4.0), "tabm": runs(1.0)})
    assert found == {"hgb": {0: 1, 1: 1}, "mlp": {0: 1.5, 1: 1}, "tabm": {0: 0.5}}
