"""Fits on datasets of pyarrow: the bits of rows in memory, within a budget, whatever goes wrong."""

import os
import signal
import sys
import threading
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import type_of_target

from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, _core, _fit, _maps
from fastbp._checkpoints.keeper import Nobody
from fastbp._datasets import is_dataset

pa = pytest.importorskip("pyarrow")
ds = pytest.importorskip("pyarrow.dataset")
pq = pytest.importorskip("pyarrow.parquet")
csv = pytest.importorskip("pyarrow.csv")

from fastbp._datasets import (  # noqa: E402
    _check,
    _columns,
    _held_out,
    _reader,
    _source,
    _stream,
)
from fastbp._datasets._layout import PlainLayout  # noqa: E402
from fastbp._datasets._reader import NAME, Reader  # noqa: E402
from fastbp._datasets._rows import StreamRows  # noqa: E402
from fastbp._datasets._table import Place, Table  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N_ROWS = 503
FEATURES = [f"x{j}" for j in range(4)]


def columns():
    """The columns of a table, and X of it."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(N_ROWS, len(FEATURES))).astype(np.float32)
    table = dict(zip(FEATURES, X.T, strict=True))
    table["label"] = np.array(["left", "middle", "right"])[1 * (X[:, 0] > 0) + (X[:, 1] > 0.5)]
    table["up"] = (X[:, 2] > 0).astype(np.int64)
    table["down"] = (X[:, 3] > 0.2).astype(np.int64)
    table["height"] = (X**2).sum(axis=1).astype(np.float64)
    table["width"] = X @ rng.normal(size=len(FEATURES)).astype(np.float32)
    table["weight"] = rng.uniform(0.5, 2, N_ROWS)
    return table, X


COLUMNS, X = columns()


def write(folder, names, file_format="parquet"):
    """A folder of three files with these columns; the dataset of it."""
    folder.mkdir(exist_ok=True)
    table = pa.table({name: COLUMNS[name] for name in names})
    for number, first in enumerate(range(0, N_ROWS, 200)):
        part = table.slice(first, 200)
        path = folder / f"part-{number}.{file_format}"
        if file_format == "parquet":
            pq.write_table(part, path, row_group_size=70)
        elif file_format == "ipc":
            with pa.ipc.new_file(path, part.schema) as file:
                file.write_table(part, max_chunksize=70)
        else:
            csv.write_csv(part, path)
    return ds.dataset(folder, format=file_format)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("datasets")


@pytest.fixture(scope="module")
def labels(folder):
    """X and labels in Parquet files."""
    return write(folder / "labels", [*FEATURES, "label"])


@pytest.fixture(autouse=True)
def no_thread_is_left():
    yield
    assert NAME not in [thread.name for thread in threading.enumerate()]


@pytest.fixture(autouse=True)
def small_buffers(monkeypatch):
    """Several pieces an epoch: buffers of about 80 rows."""
    monkeypatch.setattr(_stream, "_DEFAULT_BYTES", 80 * 24)


def assert_same_bits(a, b):
    assert a.loss_curve_ == b.loss_curve_
    assert a.validation_scores_ == b.validation_scores_
    for p, q in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        assert p.dtype == q.dtype
        np.testing.assert_array_equal(p, q)


def settings(**more):
    return {
        "hidden_layer_sizes": (6,),
        "batch_size": 32,
        "max_iter": 3,
        "random_state": 0,
        "shuffle": False,
        **more,
    }


TARGETS = {
    "labels": (MLPClassifier, ["label"]),
    "two labels": (MLPClassifier, ["up"]),
    "multilabel": (MLPClassifier, ["up", "down"]),
    "number": (MLPRegressor, ["height"]),
    "two numbers": (MLPRegressor, ["height", "width"]),
}


def in_memory(names):
    arrays = [COLUMNS[name] for name in names]
    return arrays[0] if len(arrays) == 1 else np.column_stack(arrays)


def pair(names):
    return names[0] if len(names) == 1 else names


# ---- the same bits ----


@pytest.mark.parametrize("solver", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_fit_has_the_bits_of_rows_in_memory(folder, target, solver):
    kind, names = TARGETS[target]
    dataset = write(folder / f"{target} weighted", [*FEATURES, *names, "weight"])
    more = {"dropout": 0.2, "max_grad_norm": 1.0, "ema_decay": 0.5, "learning_rate": "cosine"}
    model = kind(**settings(solver=solver, **(more if solver != "sgd" else {})))
    b = model.fit(dataset, pair(names), "weight")
    assert b.memory_plan_.rows[-2].name == "buffers of rows"
    assert b.memory_plan_.rows[-2].shape[1] < N_ROWS, "one piece only"
    a = kind(**model.get_params()).fit(X, in_memory(names), COLUMNS["weight"])
    assert_same_bits(a, b)


@pytest.mark.parametrize("file_format", ["ipc", "csv"])
def test_so_it_has_from_other_formats(folder, file_format):
    dataset = write(folder / file_format, [*FEATURES, "label"], file_format)
    model = MLPClassifier(**settings(dtype="float64"))
    rows = np.column_stack([dataset.to_table()[name].to_numpy() for name in FEATURES])
    a = MLPClassifier(**model.get_params()).fit(rows, COLUMNS["label"])
    assert_same_bits(a, model.fit(dataset, "label"))


@pytest.mark.parametrize("in_dataset", [True, False])
def test_so_it_has_with_early_stopping_on_rows_of_ones_own(folder, labels, in_dataset):
    model = MLPClassifier(**settings(early_stopping=True, max_iter=8, n_iter_no_change=2))
    rest = pa.table({name: COLUMNS[name][:90] for name in [*FEATURES, "label"]})
    pq.write_table(rest, folder / "rest.parquet")
    X_val, y_val = ds.dataset(folder / "rest.parquet"), "label"
    if not in_dataset:
        X_val, y_val = rest.select(FEATURES).to_pandas(), COLUMNS["label"][:90]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        b = model.fit(labels, "label", X_val=X_val, y_val=y_val)
    a = MLPClassifier(**model.get_params())
    a.fit(X, COLUMNS["label"], X_val=X[:90], y_val=COLUMNS["label"][:90])
    assert_same_bits(a, b)


@pytest.mark.parametrize("scoring", ["loss", "balanced_accuracy", None])
def test_so_it_has_when_watched_by_a_scorer(labels, scoring):
    model = MLPClassifier(**settings(scoring=scoring))
    b = model.fit(labels, "label", X_val=labels, y_val="label")
    a = MLPClassifier(**model.get_params())
    a.fit(X, COLUMNS["label"], X_val=X, y_val=COLUMNS["label"])
    assert_same_bits(a, b)


@pytest.mark.parametrize("target", ["labels", "multilabel"])
@pytest.mark.parametrize("weighted", [True, False])
def test_so_it_has_with_weights_of_classes(folder, target, weighted):
    _, names = TARGETS[target]
    more = ["weight"] if weighted else []
    dataset = write(folder / f"{target} {weighted}", [*FEATURES, *names, *more])
    model = MLPClassifier(**settings(class_weight="balanced"))
    b = model.fit(dataset, pair(names), *more)
    a = MLPClassifier(**model.get_params())
    a.fit(X, in_memory(names), *(COLUMNS[name] for name in more))
    assert_same_bits(a, b)


@pytest.mark.parametrize("names", [["height"], ["height", "width"]])
def test_lbfgs_ends_where_it_does_in_memory(folder, names):
    dataset = write(folder / f"lbfgs {names}", [*FEATURES, *names, "weight"])
    model = MLPRegressor(**settings(solver="lbfgs", max_iter=20, dtype="float64", alpha=0.1))
    b = model.fit(dataset, pair(names), "weight")
    a = MLPRegressor(**model.get_params()).fit(X, in_memory(names), COLUMNS["weight"])
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-9)
    # The value and the gradient themselves, before the search for a minimum adds to differences.
    np.testing.assert_allclose(b.loss_curve_[0], a.loss_curve_[0], rtol=1e-12)


def test_lbfgs_adds_up_the_gradient_of_rows_in_memory(labels, monkeypatch):
    monkeypatch.setattr(_fit, "_LBFGS_ROWS", 64)
    model = MLPClassifier(**settings(solver="lbfgs", alpha=0.3))
    found = []
    monkeypatch.setattr("scipy.optimize.minimize", lambda f, x, **k: found.append(f(x)) or 1 / 0)
    for arguments in ((labels, "label"), (X, COLUMNS["label"])):
        with pytest.raises(ZeroDivisionError):
            model.fit(*arguments)
    (loss, grad), (wanted, wanted_grad) = found
    assert abs(loss - wanted) <= 1e-12 * wanted
    assert np.abs(grad - wanted_grad).max() <= 1e-12 * np.abs(wanted_grad).max()


def test_a_fit_goes_on_by_warm_start(labels):
    model = MLPClassifier(**settings(warm_start=True))
    a = MLPClassifier(**model.get_params())
    first = [np.full((4, 6), 0.1), np.full((6, 3), 0.2)]
    model.fit(labels, "label", coef_init=first).fit(labels, "label")
    a.fit(X, COLUMNS["label"], coef_init=first).fit(X, COLUMNS["label"])
    assert_same_bits(a, model)


def test_few_rows_are_computed_in_double(tmp_path):
    table = pa.table({name: COLUMNS[name][:50] for name in [*FEATURES, "label"]})
    pq.write_table(table, tmp_path / "few.parquet")
    model = MLPClassifier(**settings())
    b = model.fit(ds.dataset(tmp_path), "label")
    a = MLPClassifier(**model.get_params()).fit(X[:50], COLUMNS["label"][:50])
    assert_same_bits(a, b)


@pytest.mark.parametrize(
    "kinds",
    [("float", "double"), ("float", "int8"), ("int64", "bool"), ("decimal128(12, 3)", "double")],
)
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_columns_of_several_types_are_those_of_an_array(tmp_path, kinds, dtype):
    numbers = np.arange(200) % 7 + 2**40 * (kinds[0] == "int64")
    types = {"decimal128(12, 3)": pa.decimal128(12, 3), "bool": pa.bool_()}
    arrays = [pa.array(numbers, pa.float64() if "dec" in k else None) for k in kinds]
    arrays = [
        a.cast(types.get(k) or pa.type_for_alias(k)) for a, k in zip(arrays, kinds, strict=True)
    ]
    y = np.arange(200) % 2
    pq.write_table(pa.table({"a": arrays[0], "b": arrays[1], "y": y}), tmp_path / "a.parquet")
    model = MLPClassifier(**settings(dtype=dtype))
    b = model.fit(ds.dataset(tmp_path), "y")
    columns = [
        a.cast(pa.float64()).to_numpy() if "dec" in k else a.to_numpy(zero_copy_only=False)
        for a, k in zip(arrays, kinds, strict=True)
    ]
    a = MLPClassifier(**model.get_params()).fit(np.column_stack(columns), y)
    assert_same_bits(a, b)


def test_neighbours_of_one_type_are_converted_together(monkeypatch):
    """That is most of the time of the reader where rows have many columns."""
    rng, one_by_one = np.random.default_rng(0), []
    kinds = [np.float32] * 3 + [np.int64] * 2 + [bool] * 2 + [np.int64, np.float32, np.float16]
    columns = {f"x{j}": rng.integers(-9, 9, 700).astype(kind) for j, kind in enumerate(kinds)}
    columns["x3"][99] = 2**54 + 2**30 + 1  # another float32 where it was a float64 before
    batch = pa.record_batch(columns).slice(30)
    source = _source.Source(batch.schema, [*columns], [], None)
    numbers = _columns.numbers
    monkeypatch.setattr(_columns, "numbers", lambda *a: one_by_one.append(a[0]) or numbers(*a))
    for dtype in (np.float32, np.float64):
        X = np.empty((len(batch), len(kinds)), dtype)
        source.write(batch, None, X)
        expected = [c[30:].astype(np.float64).astype(dtype) for c in columns.values()]
        np.testing.assert_array_equal(X, np.column_stack(expected))
    assert one_by_one == ["x5", "x6", "x7", "x8", "x9"] * 2


def test_columns_that_paths_tell_and_that_files_have_in_another_type(tmp_path):
    for side in (0, 1):
        rows = slice(side * 100, side * 100 + 100)
        y = COLUMNS["up"][rows].astype([np.int64, np.int32][side])
        part = pa.table({"y": y, "x": X[rows, 0]})
        (tmp_path / f"side={side}").mkdir()
        pq.write_table(part, tmp_path / f"side={side}" / "part.parquet")
    dataset = ds.dataset(tmp_path, partitioning="hive")
    b = MLPClassifier(**settings()).fit(dataset, "y")
    assert list(b.feature_names_in_) == ["x", "side"]
    rows = np.column_stack([X[:200, 0], np.repeat([0, 1], 100)]).astype(np.float64)
    a = MLPClassifier(**settings()).fit(rows, COLUMNS["up"][:200])
    assert_same_bits(a, b)


@pytest.mark.parametrize("file_format", ["parquet", "ipc", "csv"])
def test_a_column_of_path_and_file_is_that_of_the_path(tmp_path, file_format):
    for side in (0, 1):
        (tmp_path / f"side={side}").mkdir()
        part = pa.table({"side": pa.array([7] * 5, pa.int32()), "x": np.arange(5.0)})
        ds.write_dataset(part, tmp_path / f"side={side}", format=file_format)
    partitioning = ds.partitioning(pa.schema([("side", pa.int32())]), flavor="hive")
    schema = pa.schema([("side", pa.int32()), ("x", pa.float64())])
    dataset = ds.dataset(tmp_path, schema, file_format, partitioning=partitioning)
    batches = [batch for _, batch in Table(dataset).batches(["side", "x"], 100)]
    assert pa.Table.from_batches(batches).equals(dataset.to_table())
    assert batches[-1]["side"].to_pylist() == [1] * 5


# ---- the order ----


class RowNumbers:
    """A layout of which a piece tells the numbers of its rows."""

    columns = ["number"]
    row_bytes = 8

    def allocate(self, n):
        return (np.full((n, 1), -1.0),)

    def write(self, arrays, at, batch, place):
        arrays[0][at : at + batch.num_rows, 0] = batch.column(0).to_numpy()

    def data(self, arrays, n):
        self.seen = arrays[0][:n, 0].copy()
        return _core.Data(arrays[0][:n])

    def weight_sum(self, arrays, n):
        return float(n)


@pytest.fixture
def numbered(tmp_path):
    """A dataset whose column says which row it is, in blocks of 10."""
    table = pa.table({"number": np.arange(230.0)})
    for number in range(3):
        path = tmp_path / f"{number}.parquet"
        pq.write_table(table.slice(number * 80, 80), path, row_group_size=10)
    return ds.dataset(tmp_path)


def rows_of(dataset, seed=0, buffer_rows=40):
    layout = RowNumbers()
    return StreamRows(Table(dataset), layout, buffer_rows, seed), layout


def visit(rows, layout, row=0):
    """The numbers of the rows in the order in which they are visited."""
    visited = []
    for piece in rows.pieces(row):
        order = np.arange(len(layout.seen)) if piece.order is None else piece.order
        visited.append(layout.seen[order][piece.row :])
    return np.concatenate(visited)


def test_every_epoch_visits_every_row_once_in_an_order_of_its_own(numbered):
    rows, layout = rows_of(numbered)
    epochs = []
    for _ in range(3):
        rows.begin_epoch()
        epochs.append(visit(rows, layout))
        np.testing.assert_array_equal(np.sort(epochs[-1]), np.arange(230))
    rows.close()
    assert not (epochs[0] == epochs[1]).all() and not (epochs[1] == epochs[2]).all()
    # Blocks are drawn, and the rows of four of them together.
    blocks = [set(part // 10) for part in np.split(epochs[0][:200], 5)]
    assert all(len(part) in (4, 5) for part in blocks)
    assert blocks[0] != set(epochs[1][:40] // 10) and blocks[0] != {0, 1, 2, 3}
    assert (np.diff(epochs[0]) != 1).mean() > 0.9


def test_without_shuffle_rows_come_as_they_stand(numbered):
    rows, layout = rows_of(numbered, seed=None, buffer_rows=36)  # which cut blocks
    for _ in range(2):
        rows.begin_epoch()
        np.testing.assert_array_equal(visit(rows, layout), np.arange(230))
    rows.close()


@pytest.mark.parametrize("row", [0, 24, 40, 56, 200, 229])
@pytest.mark.parametrize("seed", [3, None])
def test_an_epoch_goes_on_from_a_state(numbered, seed, row):
    rows, layout = rows_of(numbered, seed, buffer_rows=36)  # which cut blocks
    rows.begin_epoch()
    visit(rows, layout)
    rows.begin_epoch()
    state = rows.state()
    wanted = [visit(rows, layout)]
    rows.begin_epoch()
    wanted.append(visit(rows, layout))
    rows.close()
    again, layout = rows_of(numbered, seed if seed is None else 99, buffer_rows=36)
    again.restore(state)
    np.testing.assert_array_equal(visit(again, layout, row), wanted[0][row:])
    again.begin_epoch()
    np.testing.assert_array_equal(visit(again, layout), wanted[1])
    again.close()


def test_a_state_of_other_buffers_is_refused(numbered):
    rows, _ = rows_of(numbered)
    rows.begin_epoch()
    other, _ = rows_of(numbered, buffer_rows=80)
    with pytest.raises(ValueError, match="hold 40 rows; here they hold 80.*max_memory"):
        other.restore(rows.state())


def test_pieces_may_be_given_up_and_begun_again(numbered):
    rows, layout = rows_of(numbered)
    rows.begin_epoch()
    whole = visit(rows, layout)
    rows.restore(rows.state() | {"epoch": 0})
    for row in (0, 40, 80, 40):
        next(iter(rows.pieces(row)))
        np.testing.assert_array_equal(visit(rows, layout, row), whole[row:])
    rows.close()


def test_a_shuffled_fit_follows_from_the_seed(labels):
    def fit(**more):
        more = {"shuffle": True, "dropout": 0.1, **more}
        return MLPClassifier(**settings(**more)).fit(labels, "label")

    a = fit(n_threads=1)
    assert_same_bits(a, fit(n_threads=2))
    assert a.loss_curve_ != fit(random_state=1).loss_curve_ != fit(shuffle=False).loss_curve_


# ---- rows that are held out ----


def test_rows_held_out_are_not_trained_on(labels):
    seen = []

    def scorer(estimator, X, y):
        seen.append((X, y))
        return estimator.score(X, y)

    model = MLPClassifier(**settings(early_stopping=True, scoring=scorer, shuffle=True))
    model.fit(labels, "label")
    held_out, y = seen[-1]
    assert held_out.shape == (51, 4) and model.t_ == 3 * (N_ROWS - 51)
    numbers = [np.flatnonzero((X == row).all(axis=1))[0] for row in held_out]
    assert len(set(numbers)) == 51
    np.testing.assert_array_equal(COLUMNS["label"][numbers], y)
    rows = _rows_of_fit(MLPClassifier(**model.get_params()), labels)
    visited, data = [], rows._layout.data
    rows._layout.data = lambda arrays, n: visited.append(arrays[0][:n].copy()) or data(arrays, n)
    rows.begin_epoch()
    assert sum(len(piece.order) for piece in rows.pieces()) == N_ROWS - 51
    rows.close()
    together = np.concatenate([held_out, *visited])
    np.testing.assert_array_equal(np.sort(together, axis=0), np.sort(X, axis=0))


def _rows_of_fit(model, dataset):
    given = _fit.check(model, dataset, "label", None, False, None, {}, (None,) * 3)
    return _fit.prepare(model, given, Nobody(0.0)).rows


def test_rows_to_hold_out_are_drawn_once_for_many_batches_of_a_block(monkeypatch):
    drawn, generator = [], _held_out.generator
    monkeypatch.setattr(_held_out, "_CHUNK", 100)
    monkeypatch.setattr(_held_out, "generator", lambda *n: drawn.append(n) or generator(*n))
    left_out = _held_out.HeldOut(np.array([0, 950, 40]), 0.1, 0)
    masks = [left_out.mask(Place(1, row, "", None), 30) for row in range(0, 950, 30)]
    assert len(drawn) == 10
    mask = np.concatenate(masks)
    assert mask.sum() == left_out.counts[1] == 95
    assert {int(part.sum()) for part in np.split(mask[:900], 9)} <= {9, 10}
    # In one go, and from any row on, the same; rows beyond the block are not held out.
    np.testing.assert_array_equal(left_out.mask(Place(1, 0, "", None), 960), mask)
    np.testing.assert_array_equal(left_out.mask(Place(1, 77, "", None), 300), mask[77:377])
    assert left_out.mask(Place(2, 0, "", None), 40).sum() == 4


@pytest.mark.parametrize("fraction", [0.1, 0.8])
@pytest.mark.parametrize(
    ("cls", "target"),
    [(MLPRegressor, "height"), (MLPClassifier, "up"), (MLPClassifier, ["up", "down"])],
)
def test_blocks_may_be_too_small_to_hold_out_a_row_or_to_keep_one(cls, target, fraction):
    names = [*FEATURES, *([target] if isinstance(target, str) else target), "weight"]
    table = pa.table({name: COLUMNS[name][:60] for name in names})
    given = settings(early_stopping=True, validation_fraction=fraction, batch_size=4)
    scored = []

    def scorer(estimator, X, y):
        scored.append(len(y))
        return estimator.score(X, y)

    for rows in (1, 5):
        dataset = ds.dataset(table.to_batches(max_chunksize=rows))
        for scoring in (None, scorer):
            model = cls(**given, scoring=scoring).fit(dataset, target, sample_weight="weight")
            assert model.t_ == 3 * (60 - 60 * fraction)
    assert set(scored) == {60 * fraction}


def test_a_class_of_which_all_rows_are_held_out_is_told(tmp_path):
    table = pa.table({"x": X[:20, 0], "y": np.arange(20)})
    pq.write_table(table, tmp_path / "rare.parquet")
    with pytest.warns(UserWarning, match="holds out all rows of the classes .*X_val"):
        MLPClassifier(**settings(early_stopping=True, batch_size=8)).fit(ds.dataset(tmp_path), "y")


@pytest.mark.parametrize("by", ["weight", "class"])
@pytest.mark.parametrize(("side", "kept"), [("that it holds out", False), ("to train on", True)])
def test_both_sides_of_the_split_need_weight(tmp_path, monkeypatch, by, side, kept):
    dataset = dataset_of(tmp_path, a=ONES, y=Y, w=ONES)
    masks, mask = {}, _held_out.HeldOut.mask

    def noted(self, place, n_rows):
        masks[place.block] = mask(self, place, n_rows)
        return masks[place.block]

    monkeypatch.setattr(_held_out.HeldOut, "mask", noted)
    given = settings(early_stopping=True)
    MLPClassifier(**given).fit(dataset, "y", "w")
    held = np.concatenate([masks[block] for block in range(3)])
    some = (held == kept).astype(float)
    if by == "weight":
        dataset = dataset_of(tmp_path, a=ONES, y=Y, w=some)
    else:
        given["class_weight"] = {0: 0}
        dataset = dataset_of(tmp_path, a=ONES, y=some.astype(int), w=ONES)
    model = MLPClassifier(**given)
    with pytest.raises(ValueError, match=f"early_stopping: the weights of the rows {side} have s"):
        model.fit(dataset, "y", "w")
    assert not hasattr(model, "coefs_")


def test_rows_to_validate_on_need_weight(tmp_path, labels):
    arrays = {name: COLUMNS[name][:100] for name in FEATURES}
    other = dataset_of(tmp_path, **arrays, label=["left"] * 100, w=0 * ONES)
    given = {"X_val": other, "y_val": "label"}
    with pytest.raises(ValueError, match="sample_weight_val='w' has sum 0"):
        MLPClassifier(**settings()).fit(labels, "label", sample_weight_val="w", **given)
    other = dataset_of(tmp_path, **arrays, label=["left"] * 100)
    given = {"X_val": other, "y_val": "label"}
    with pytest.raises(ValueError, match="class_weight gives rows of y_val weights with sum 0"):
        MLPClassifier(**settings(class_weight={"left": 0})).fit(labels, "label", **given)


def test_rows_in_errors_are_those_of_the_file_where_others_are_left_out(tmp_path):
    dataset = dataset_of(tmp_path, a=ONES)
    table = Table(dataset)
    left_out = _held_out.HeldOut(np.array(table.counts), 0.5, 0)
    rows = StreamRows(table, Nulls(), 10, None, left_out)
    rows.begin_epoch()
    kept = np.flatnonzero(~left_out.mask(Place(0, 0, "", 0), 40))
    with pytest.raises(ValueError, match=f"row {kept[13]} of block 0"):
        list(rows.pieces())
    rows.close()


# ---- memory ----


@pytest.mark.parametrize("scoring", [None, "balanced_accuracy"])
def test_all_that_is_kept_of_rows_held_out_is_planned(labels, scoring, monkeypatch):
    kept, validation = [], _fit.Validation

    def noted(given, *others):
        made = validation(given, *others)
        own = given.validation
        kept.extend([own.X, own.target, own.y, made._output])
        return made

    monkeypatch.setattr(_fit, "Validation", noted)
    model = MLPClassifier(**settings(early_stopping=True, scoring=scoring)).fit(labels, "label")
    planned = sum(row.bytes for row in model.memory_plan_.rows if "to validate on" in row.name)
    assert planned == sum(a.nbytes for a in kept if a is not None)
    if scoring is not None:
        assert len({id(label) for label in kept[2]}) == 3, "an object for each row"


@pytest.mark.parametrize(
    ("n_rows", "message"), [(51, "The 51 rows to validate on.* take"), (96, "2 buffers of 96 rows")]
)
def test_rows_that_have_no_room_are_named(labels, n_rows, message, monkeypatch):
    allocate = PlainLayout.allocate

    def full(layout, n):
        if n == n_rows:
            raise MemoryError("no room")
        return allocate(layout, n)

    monkeypatch.setattr(PlainLayout, "allocate", full)
    with pytest.raises(MemoryError, match=f"^{message}.*no room"):
        MLPClassifier(**settings(early_stopping=True)).fit(labels, "label")


def test_a_fit_stays_within_max_memory_to_the_byte(labels):
    model = MLPClassifier(**settings(max_memory="2MB", shuffle=True, early_stopping=True))
    model.fit(labels, "label")
    plan = {row.name: row.bytes for row in model.memory_plan_.rows}
    assert model.memory_plan_.total_bytes <= 2_000_000
    rows = _rows_of_fit(MLPClassifier(**model.get_params()), labels)
    arrays = [a for buffer in rows._buffers for a in buffer.arrays]
    assert plan["buffers of rows"] == sum(a.nbytes for a in arrays)
    assert plan["orders of rows"] == sum(buffer.order.nbytes for buffer in rows._buffers)
    assert plan["rows to validate on"] == 51 * (4 * 4 + 4)


def test_max_memory_that_is_too_small_says_what_it_takes(labels, monkeypatch):
    with monkeypatch.context() as change:
        change.setattr(_check, "first_pass", None)
        with pytest.raises(ValueError, match="max_memory=3000 is too small.* more than") as error:
            MLPClassifier(**settings(max_memory=3000)).fit(labels, "label")
    more = int(str(error.value).split("more than ")[1].split()[0])
    with pytest.raises(ValueError, match=f"max_memory={more} is too small.* least") as error:
        MLPClassifier(**settings(max_memory=more)).fit(labels, "label")
    least = int(str(error.value).split("at least ")[1].split()[0])
    with pytest.raises(ValueError, match=f"at least {least}"):
        MLPClassifier(**settings(max_memory=least - 1)).fit(labels, "label")
    model = MLPClassifier(**settings(max_memory=least)).fit(labels, "label")
    assert model.memory_plan_.total_bytes <= least
    assert_same_bits(model, MLPClassifier(**settings()).fit(labels, "label"))


def test_a_record_batch_of_arrow_that_does_not_fit_is_refused(tmp_path):
    table = pa.table({"x": np.zeros(60_000), "y": np.arange(60_000) % 2})
    with pa.ipc.new_file(tmp_path / "rows.arrow", table.schema) as file:
        file.write_table(table)
    dataset = ds.dataset(tmp_path, format="ipc")
    assert Table(dataset).reading_bytes(["x", "y"], 100) == 0  # as long as none was read
    with pytest.raises(ValueError, match="max_memory=1500000 is too small .* 1.8 MiB for what py"):
        MLPClassifier(**settings(max_memory=1_500_000)).fit(dataset, "y")


def test_footers_of_all_files_count_to_what_pyarrow_holds(tmp_path):
    table, found = pa.table({f"x{j}": np.arange(40.0) for j in range(20)}), []
    for number in range(3):
        pq.write_table(table, tmp_path / f"{number}.parquet", row_group_size=1)
        found.append(Table(ds.dataset(tmp_path)).reading_bytes(["x0"], 40))
    footer = pq.read_metadata(tmp_path / "0.parquet").serialized_size
    assert np.diff(found).tolist() == [5 * footer] * 2


def test_fewer_rows_are_decoded_together_where_texts_are_long(tmp_path):
    texts = pa.array([f"{row:05}" * 4000 for row in range(300)])
    table = pa.table({"text": texts, "number": np.arange(300)})
    pq.write_table(table, tmp_path / "rows.parquet", use_dictionary=False, data_page_size=1 << 16)
    table = Table(ds.dataset(tmp_path))
    sizes = [batch.nbytes for _, batch in table.batches(["number", "text"], 16384)]
    assert max(sizes) < 1.1 * 2**20
    assert max(sizes) < table.reading_bytes(["number", "text"], 16384) < 6 * 2**20
    (batch,) = [batch for _, batch in table.batches(["number"], 16384)]
    assert batch.num_rows == 300


def test_rows_held_out_must_fit(labels, monkeypatch):
    monkeypatch.setattr(Table, "reading_bytes", lambda *arguments: 1000)
    with pytest.raises(
        ValueError, match="452 rows that early_stopping.*validation_fraction.*X_val"
    ):
        MLPClassifier(
            **settings(max_memory=10_000, early_stopping=True, validation_fraction=0.897)
        ).fit(labels, "label")


def test_the_number_of_threads_does_not_change_the_buffers(labels, monkeypatch):
    monkeypatch.setattr(Table, "reading_bytes", lambda *arguments: 1000)
    shapes = {
        n: MLPClassifier(**settings(max_memory="32KB", n_threads=n, batch_size=8))
        .fit(labels, "label")
        .memory_plan_.rows[-2]
        for n in (1, 2, 3)
    }
    assert len(set(shapes.values())) == 1
    assert 100 < shapes[1].shape[1] < N_ROWS


# ---- predictions ----


@pytest.mark.parametrize("n_rows", [90, 110])
def test_rows_that_come_or_go_while_they_are_predicted_are_told(tmp_path, labels, n_rows):
    model = MLPClassifier(**settings()).fit(labels, "label")
    table = pa.table({name: COLUMNS[name][:n_rows] for name in FEATURES})
    csv.write_csv(table, tmp_path / "rows.csv")

    class Before(ds.FileSystemDataset):
        """The dataset, of which rows were counted before it was written anew."""

        def count_rows(self):
            return 100

    fragments = list(ds.dataset(tmp_path, format="csv").get_fragments())
    dataset = Before(fragments, table.schema, ds.CsvFileFormat(), fragments[0].filesystem)
    with pytest.raises(ValueError, match="changed while it was read: it had 100 rows and now has"):
        model.predict(dataset)


@pytest.mark.parametrize("target", TARGETS)
def test_predictions_for_a_dataset_are_those_for_its_rows(folder, target):
    kind, names = TARGETS[target]
    dataset = write(folder / f"{target} predicted", [*names, *FEATURES])
    model = kind(**settings()).fit(dataset, pair(names))
    wanted = kind(**settings()).fit(X, in_memory(names))
    got = model.predict(dataset)
    assert got.dtype == wanted.predict(X).dtype
    if kind is MLPClassifier:
        np.testing.assert_array_equal(got, wanted.predict(X))
        np.testing.assert_allclose(model.predict_proba(dataset), wanted.predict_proba(X), rtol=1e-6)
    else:
        np.testing.assert_allclose(got, wanted.predict(X), rtol=1e-5)
    assert model.score(dataset, pair(names)) == pytest.approx(wanted.score(X, in_memory(names)))
    (hidden,) = model.hidden_activations(dataset)
    np.testing.assert_allclose(hidden, wanted.hidden_activations(X)[0], rtol=1e-5, atol=1e-7)


def test_predictions_of_many_rows_are_computed_in_the_dtype_of_the_net(labels, monkeypatch):
    model = MLPClassifier(**settings()).fit(labels, "label")
    wanted = model.predict_proba(pa.table(dict(zip(FEATURES, X.T, strict=True))).to_pandas())
    narrow = []
    monkeypatch.setattr("fastbp._predict.SMALL_WORK", 100)
    monkeypatch.setattr(
        "fastbp._datasets._predict.is_narrow", lambda *a: narrow.append(1) or len(narrow) < 2
    )
    np.testing.assert_allclose(model.predict_proba(labels), wanted, rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(labels), wanted, rtol=1e-6)
    assert len(narrow) == 2


def test_outputs_beyond_float32_are_computed_in_double(labels):
    first = [np.full((4, 6), 1e30), np.full((6, 3), 1e30)]
    model = MLPClassifier(**settings(dtype="float64", activation="identity", max_iter=1))
    model.fit(labels, "label", coef_init=first)
    narrow = [p.astype(np.float32) for p in model.coefs_ + model.intercepts_]
    model.coefs_, model.intercepts_ = narrow[:2], narrow[2:]
    rows = np.tile(X, (40, 1))
    table = pa.table(dict(zip(FEATURES, rows.T, strict=True)))
    got = model.hidden_activations(ds.InMemoryDataset(table))[0]
    assert np.isfinite(model.predict_proba(ds.InMemoryDataset(table))).all()
    np.testing.assert_allclose(got, model.hidden_activations(rows)[0], rtol=1e-4)


# ---- what cannot be ----


def dataset_of(folder, **arrays):
    pq.write_table(pa.table(arrays), folder / "rows.parquet", row_group_size=40)
    return ds.dataset(folder)


Y = np.arange(100) % 2
ONES = np.ones(100)


def with_value(value, row=57):
    array = ONES.copy()
    array[row] = value
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"a": ["text"] * 100}, "column 'a' of the dataset has type string.*TabularClassifier"),
        ({"a": [b""] * 100}, "column 'a' of the dataset has type binary"),
        ({"a": np.zeros(100, "M8[s]")}, "column 'a' .* type timestamp.*number of days"),
        ({"a": with_value(np.nan)}, "'a' of the dataset has nan in row 17 of block 1 of .*rows"),
        ({"a": with_value(-np.inf)}, "'a' of the dataset has -inf in row 17 of block 1 of"),
        ({"a": with_value(1e39)}, r"has 1e\+39 in row 17 of block 1 .*dtype='float64'"),
        ({"a": [1.0] * 57 + [None] * 43}, "'a' of the dataset has a null in row 17 of block 1 of"),
        ({"a": ONES, "y": [None] * 100}, "'y' of the .* a null in row 0 of .* in every row[.]$"),
        ({"a": ONES, "w": [None] * 99 + [1.0]}, "'w' of the .* a null in row 0 .* every row[.]$"),
        ({"a": ONES, "y": ONES + 0.5}, "Unknown label type: continuous|real numbers"),
        ({"a": ONES, "w": -ONES}, "sample_weight='w' has sum -100"),
        ({"a": ONES, "w": with_value(np.nan)}, "sample_weight: column 'w' .* nan in row 17"),
        ({"a": ONES, "w": ["1"] * 100}, "sample_weight: column 'w' of the dataset has type string"),
        ({}, "no columns but .'y'.: none for X"),
    ],
)
def test_columns_that_cannot_be_trained_on_are_named(tmp_path, arrays, message):
    arrays = {"y": Y, **arrays}
    dataset = dataset_of(tmp_path, **arrays)
    model = MLPClassifier(**settings())
    before = vars(model).copy()
    with pytest.raises((TypeError, ValueError), match=message):
        model.fit(dataset, "y", "w" if "w" in arrays else None)
    assert vars(model) == before


def test_rows_in_memory_are_named_by_their_block():
    table = pa.table({"a": with_value(np.nan), "y": Y})
    dataset = ds.dataset(table.to_batches(max_chunksize=30))
    with pytest.raises(ValueError, match="has nan in row 27 of block 1 of the rows in memory$"):
        MLPClassifier(**settings()).fit(dataset, "y")


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_a_zero_that_is_negative_is_the_label_0(tmp_path, kind):
    y = np.array([0.0, -0.0, 1.0, 0.0] * 25)
    table = pa.table({"a": X[:100, 0], "y": pa.array(y, kind)})
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=1)
    model = MLPClassifier(**settings()).fit(ds.dataset(tmp_path), "y")
    assert_same_bits(model, MLPClassifier(**settings()).fit(X[:100, :1], y))
    assert str(model.classes_.tolist()) == "[0.0, 1.0]"


@pytest.mark.parametrize("kind", [MLPClassifier, TabularClassifier])
def test_more_labels_than_classes_can_be_are_refused(kind, monkeypatch):
    monkeypatch.setattr(_columns, "_MOST_LABELS", 50)
    dataset = ds.dataset(pa.table({"a": np.arange(100.0), "y": np.arange(100)}))
    with pytest.raises(ValueError, match="'y' of the dataset has more than 50 distinct values: a"):
        kind().fit(dataset, "y")


@pytest.mark.parametrize("name", ["a", "y"])
def test_a_null_in_a_dictionary_is_a_null(name):
    numbers = pa.DictionaryArray.from_arrays([0, 1, 2, 1] * 25, pa.array([0, 1, None]))
    table = pa.table({"a": ONES, "y": Y, name: numbers})
    with pytest.raises(ValueError, match=f"'{name}' of the dataset has a null in row 2 of"):
        MLPClassifier(**settings()).fit(ds.dataset(table), "y")


def test_classes_without_weight_alone_are_refused(folder, labels):
    none = dict.fromkeys(["left", "middle", "right"], 0)
    with pytest.raises(ValueError, match="class_weight gives rows of y weights with sum 0"):
        MLPClassifier(**settings(class_weight=none)).fit(labels, "label")
    model = MLPClassifier(**settings(class_weight={"left": 0}))
    b = model.fit(labels, "label")
    a = MLPClassifier(**model.get_params()).fit(X, COLUMNS["label"])
    assert_same_bits(a, b)


@pytest.mark.parametrize(
    ("loss", "y", "message"),
    [
        ("poisson", with_value(-1), "must not be negative.*rows from row 0 of block 1"),
        ("gamma", with_value(0), "must be above 0.*rows from row 0 of block 1"),
        ("squared_error", with_value(np.inf), "'y' of the dataset has inf in row 17 of block 1"),
        ("squared_error", ["1"] * 100, "y: column 'y' of the dataset has type string"),
    ],
)
def test_targets_are_checked_as_in_memory(tmp_path, loss, y, message):
    dataset = dataset_of(tmp_path, a=ONES, y=y)
    with pytest.raises((TypeError, ValueError), match=message):
        MLPRegressor(loss, **settings()).fit(dataset, "y")


@pytest.mark.parametrize("loss", ["poisson", "gamma", "gaussian_nll", "quantile"])
def test_losses_of_regression_have_the_bits_of_rows_in_memory(folder, loss):
    dataset = write(folder / loss, [*FEATURES, "height"])
    model = MLPRegressor(loss, quantile=[0.1, 0.9], **settings())
    a = MLPRegressor(**model.get_params()).fit(X, COLUMNS["height"])
    assert_same_bits(a, model.fit(dataset, "height"))


def test_targets_far_from_zero_keep_their_digits(tmp_path):
    y = 1e6 + np.arange(100.0)
    dataset = dataset_of(tmp_path, a=np.arange(100.0), y=y)
    b = MLPRegressor(**settings()).fit(dataset, "y")
    a = MLPRegressor(**settings()).fit(np.arange(100.0)[:, np.newaxis], y)
    assert b.coefs_[0].dtype == np.float64
    assert_same_bits(a, b)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None,), "y is None: with a dataset it takes the name of a column"),
        ((Y,), "y is of type ndarray: with a dataset it takes the name of a column"),
        (("z",), "y: the dataset has no column 'z'; it has"),
        (("label", ONES), "sample_weight is of type ndarray: with a dataset"),
        (("label", "z"), "sample_weight: the dataset has no column 'z'"),
        (("label", "label"), "different columns|type string"),
        ((["x0", "x0"],), "different columns"),
    ],
)
def test_names_of_columns_are_checked(labels, arguments, message):
    with pytest.raises((TypeError, ValueError), match=message):
        MLPClassifier(**settings()).fit(labels, *arguments)


def test_a_dataset_that_is_not_one_is_refused(labels, tmp_path):
    model = MLPClassifier(**settings())
    with pytest.raises(ValueError, match="filter.*write_dataset"):
        model.fit(labels.filter(ds.field("x0") > 0), "label")
    with pytest.raises(TypeError, match="partial_fit takes arrays.*warm_start"):
        model.partial_fit(labels, "label")
    with pytest.raises(ValueError, match="has no rows"):
        model.fit(dataset_of(tmp_path, a=ONES[:0], y=Y[:0]), "y")


def test_a_later_fit_takes_the_columns_of_the_first(labels, folder):
    model = MLPClassifier(**settings(warm_start=True)).fit(labels, "label")
    more = write(folder / "more", [*FEATURES, "label", "width"])
    with pytest.raises(ValueError, match="has the columns .'width'., which the fit before"):
        model.fit(more, "label")
    fewer = write(folder / "fewer", [*FEATURES[1:], "label"])
    with pytest.raises(ValueError, match="X: the dataset has no column 'x0'"):
        model.fit(fewer, "label")
    with pytest.raises(ValueError, match="X: the dataset has no column 'x0'"):
        model.predict(fewer)
    with pytest.raises(ValueError, match="has no column 'label'.*|y: the dataset"):
        model.score(write(folder / "unlabelled", FEATURES), "label")


@pytest.mark.parametrize(
    ("target", "values", "message"),
    [
        (
            "number",
            with_value(np.nan),
            "y_val: column 'z' of the dataset has nan in row 17 of block",
        ),
        (
            "number",
            with_value(np.inf),
            "y_val: column 'z' of the dataset has inf in row 17 of block",
        ),
        ("multilabel", with_value(2), "y_val: column 'z' .* has 2.0 in row 17 .* takes 0 and 1"),
        ("multilabel", with_value(0.5), "y_val: column 'z' .* has 0.5 in row 17 of block 1"),
        ("multilabel", with_value(np.nan), "y_val: column 'z' .* has nan in row 17 of block 1"),
        (
            "labels",
            ["over"] * 100,
            "y_val: column 'z' of the dataset has the label 'over' in row 0",
        ),
    ],
)
def test_targets_of_a_validation_set_are_checked(folder, tmp_path, target, values, message):
    kind, names = TARGETS[target]
    dataset = write(folder / f"{target} checked", [*FEATURES, *names])
    arrays = {name: COLUMNS[name][:100] for name in [*FEATURES, *names[1:]]}
    other = dataset_of(tmp_path, **arrays, z=values)
    with pytest.raises(ValueError, match=message):
        kind(**settings()).fit(dataset, pair(names), X_val=other, y_val=pair(["z", *names[1:]]))


@pytest.mark.parametrize("values", [[f"label {k}" for k in range(100)], np.arange(100.0)])
def test_many_labels_are_no_reason_to_warn(tmp_path, values, monkeypatch):
    kind_of = type_of_target

    def of_scikit_learn_1_6(y, **more):
        assert len(np.unique(y)) <= len(y) / 2, "it warns of so many classes"
        return kind_of(y, **more)

    monkeypatch.setattr("fastbp._input.targets.type_of_target", of_scikit_learn_1_6)
    dataset = dataset_of(tmp_path, a=ONES, y=values)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier(**settings()).fit(dataset, "y")
    assert len(model.classes_) == 100


def test_labels_of_a_validation_set_must_be_known(labels, tmp_path):
    arrays = {name: COLUMNS[name][:100] for name in FEATURES}
    other = dataset_of(tmp_path, **arrays, label=["left"] * 99 + ["over"])
    with pytest.raises(ValueError, match="has the label 'over' in row 19 of block 2 of"):
        MLPClassifier(**settings()).fit(labels, "label", X_val=other, y_val="label")


# ---- a thread, and files that change ----


def test_what_the_thread_raises_reaches_the_caller(monkeypatch):
    monkeypatch.setattr(_reader, "_PATIENCE", 0.01)

    def fill(buffer, stop):
        if buffer == 2:
            raise ValueError("no more")
        return buffer

    reader = Reader(fill, [1, 2])
    assert reader.take() == 1
    with pytest.raises(ValueError, match="no more"):
        reader.take()
    with pytest.raises(RuntimeError, match="has ended"):
        reader.take()
    reader.close()


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_ctrl_c_is_heard_while_waiting_for_rows():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background
    reader = Reader(lambda buffer, stop: stop.wait(30), [1])
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            reader.take()
    finally:
        reader.close()
        signal.signal(signal.SIGINT, before)


def test_an_interrupted_fit_leaves_no_thread(labels):
    def scorer(estimator, X, y):
        raise KeyboardInterrupt

    model = MLPClassifier(**settings(scoring=scorer))
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(labels, "label", X_val=labels, y_val="label")
    assert model.n_iter_ == 1


@pytest.mark.parametrize("change", ["gone", "corrupt", "shorter", "null"])
def test_a_file_that_changes_while_it_is_read_is_named(folder, labels, change):
    place = folder / f"changing {change}"
    dataset = write(place, [*FEATURES, "label"])
    path = place / "part-1.parquet"

    def scorer(estimator, X, y):
        if change == "gone":
            path.unlink(missing_ok=True)
        elif change == "corrupt":
            path.write_bytes(b"PAR1" + bytes(path.stat().st_size))
        else:
            table = pq.read_table(place / "part-0.parquet")
            if change == "shorter":
                table = table.slice(0, 100)
            else:
                names = table.schema.names
                table = table.set_column(0, names[0], pa.nulls(len(table), pa.float32()))
            pq.write_table(table, path, row_group_size=70)
        return 1.0

    model = MLPClassifier(**settings(scoring=scorer, max_iter=50))
    with pytest.raises((OSError, ValueError), match="part-1.parquet"):
        model.fit(dataset, "label", X_val=labels, y_val="label")
    assert 1 <= model.n_iter_ < 5


@pytest.mark.parametrize("left_out", [False, True])
@pytest.mark.parametrize("file_format", ["parquet", "ipc", "csv"])
def test_a_file_that_has_grown_is_named(tmp_path, file_format, left_out):
    dataset = write(tmp_path, ["x0"], file_format)
    table = Table(dataset)
    n_read = sum(batch.num_rows for _, batch in table.batches(["x0"], 50))
    held_out = _held_out.HeldOut(np.array(table.counts), 0.1, 0) if left_out else None
    rows = StreamRows(table, Column(), 40, None, held_out)
    rows.begin_epoch()
    assert sum(len(piece.data) for piece in rows.pieces()) == n_read - 51 * left_out
    write_longer(tmp_path / f"part-2.{file_format}", file_format)
    rows.close()
    rows.begin_epoch()
    match = rf"part-2\.{file_format} was changed .* had \d+ .* now has"
    with pytest.raises(ValueError, match=match):
        list(rows.pieces())
    rows.close()


class Column:
    """A layout of one column."""

    columns = ["x0"]
    row_bytes = 8

    def allocate(self, n):
        return (np.zeros(n),)

    def write(self, arrays, at, batch, place):
        arrays[0][at : at + batch.num_rows] = batch.column(0).to_numpy()

    def data(self, arrays, n):
        return arrays[0][:n]

    def weight_sum(self, arrays, n):
        return float(n)


class Nulls(Column):
    """A layout that complains of a row."""

    columns = ["a"]

    def write(self, arrays, at, batch, place):
        if place.row == 10:
            raise ValueError(place.named(3))


def write_longer(path, file_format):
    """What `write` has in its last file, and rows after them in parts of their own."""
    table = pa.table({"x0": COLUMNS["x0"][400:]})
    if file_format == "parquet":
        with pq.ParquetWriter(path, table.schema) as file:
            for first in (0, 70, 0):
                file.write_table(table.slice(first, 70))
    elif file_format == "ipc":
        with pa.ipc.new_file(path, table.schema) as file:
            for _ in range(2):
                file.write_table(table, max_chunksize=70)
    else:
        csv.write_csv(pa.concat_tables([table, table]), path)


def test_the_fingerprint_tells_of_a_change(tmp_path):
    dataset = dataset_of(tmp_path, a=ONES, y=Y)
    before = Table(dataset).fingerprint()
    assert before == Table(ds.dataset(tmp_path)).fingerprint()
    assert before["n_rows"] == [40, 40, 20]
    os.utime(tmp_path / "rows.parquet", ns=(1, 1))
    assert before != Table(dataset).fingerprint()


def test_a_checkpoint_that_cannot_be_written_is_told_before_rows_are_read(
    labels, tmp_path, monkeypatch
):
    monkeypatch.setattr(_check, "first_pass", None)
    with pytest.raises(FileNotFoundError, match="none"):
        MLPClassifier(**settings(checkpoint=tmp_path / "none" / "state")).fit(labels, "label")


def test_the_fingerprint_tells_of_other_rows_in_memory():
    found = []
    for x in (ONES, ONES, with_value(2.0), ONES[1:]):
        dataset = ds.dataset(pa.table({"a": x}).to_batches(max_chunksize=30))
        table = Table(dataset)
        list(table.batches(["a"], 100))
        found.append(repr(table.fingerprint()))
    assert found[0] == found[1] and len(set(found)) == 3


@pytest.mark.parametrize("name", ["a", "y"])
def test_it_tells_of_other_values_of_a_dictionary(name):
    found = []
    for values in (["u", "v"], ["u", "v"], ["v", "u"]):
        arrays = {"a": ONES, "y": Y, name: pa.DictionaryArray.from_arrays(Y, values)}
        table = Table(ds.dataset(pa.table(arrays)))
        found.append(table.fingerprint()["in memory"])
    assert found[0] == found[1] != found[2]


def test_a_dataset_to_validate_on_goes_with_a_dataset(labels):
    with pytest.raises(TypeError, match="X_val is a dataset, which it takes only where X is one"):
        MLPClassifier().fit(X, COLUMNS["label"], X_val=labels, y_val="label")


def test_nothing_is_a_dataset_without_pyarrow(labels, monkeypatch):
    assert is_dataset(labels) and not is_dataset(X)
    monkeypatch.setitem(sys.modules, "pyarrow.dataset", None)
    assert not is_dataset(labels)
    monkeypatch.delitem(sys.modules, "pyarrow.dataset")
    assert not is_dataset(labels) and "pyarrow.dataset" not in sys.modules


# ---- memory maps ----


@pytest.fixture
def mapped(tmp_path):
    """X in a memory map."""
    np.save(tmp_path / "x.npy", X)
    return np.load(tmp_path / "x.npy", mmap_mode="r")


def test_an_ordinary_map_has_the_order_of_an_array(mapped):
    model = MLPClassifier(**settings(shuffle=True))
    a = MLPClassifier(**model.get_params()).fit(X, COLUMNS["label"])
    assert_same_bits(a, model.fit(mapped, COLUMNS["label"]))


@pytest.fixture
def little_memory(monkeypatch):
    """A machine with less memory than the map has bytes."""
    monkeypatch.setattr(_maps, "memory_of_machine", lambda: X.nbytes)
    monkeypatch.setattr(_maps, "_BLOCK", 10 * X[0].nbytes)
    monkeypatch.setattr(_maps, "_WINDOW", 70 * X[0].nbytes)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_map_beyond_memory_is_visited_block_by_block(mapped, little_memory, early_stopping):
    model = MLPClassifier(**settings(shuffle=True, early_stopping=early_stopping))
    given = _fit.check(model, mapped, COLUMNS["label"], None, False, None, {}, (None,) * 3)
    rows = _fit.prepare(model, given, Nobody(0.0)).rows
    assert type(rows) is _maps.MapRows
    epochs = []
    for _ in range(2):
        rows.begin_epoch()
        pieces = list(rows.pieces())
        assert {len(piece.order) for piece in pieces[:-1]} == {64}
        epochs.append(np.concatenate([piece.order for piece in pieces]))
        assert len(set(epochs[-1])) == len(epochs[-1]) == N_ROWS - 51 * early_stopping
        # Of the 51 blocks, a window has rows of about seven.
        assert max(len(set(piece.order // 10)) for piece in pieces) <= 10 + 6 * early_stopping
    assert not (epochs[0] == epochs[1]).all()
    assert (np.diff(epochs[0]) == 1).mean() < 0.2, "rows of a window are not drawn"
    (first, *_) = rows.pieces(80)
    np.testing.assert_array_equal(first.order[first.row :], epochs[1][80:128])


def test_a_map_has_a_piece_where_all_rows_are_done(mapped, little_memory):
    for n_rows in (N_ROWS, 192):  # windows have 64
        data = _core.Data(mapped[:n_rows])
        rows = _maps.MapRows(data, n_rows, None, np.random.RandomState(0), mapped[:n_rows], 32)
        rows.begin_epoch()
        (piece,) = rows.pieces(n_rows)
        assert piece.row == len(piece.order) > 0


def test_a_checkpoint_of_a_map_is_of_its_order(mapped, little_memory, monkeypatch, tmp_path):
    def interrupted(estimator, X, y):
        raise KeyboardInterrupt

    given = settings(shuffle=True, scoring=interrupted, checkpoint=tmp_path / "state")
    data = {"X": mapped, "y": COLUMNS["label"], "X_val": X, "y_val": COLUMNS["label"]}
    with pytest.warns(UserWarning, match="interrupted"):
        MLPClassifier(**given).fit(**data)
    with monkeypatch.context() as change:
        change.setattr(_maps, "memory_of_machine", lambda: 4 * X.nbytes)
        match = (
            "a memory map .*: this fit has none, the checkpoint blocks of 10 rows, 64 rows drawn"
        )
        with pytest.raises(ValueError, match=match):
            MLPClassifier(**given).fit(**data)
    with pytest.warns(UserWarning, match="interrupted"):
        MLPClassifier(**given).fit(**data)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_without_an_order_of_its_own_a_map_may_fit_or_not(
    mapped, little_memory, early_stopping, monkeypatch, tmp_path
):
    def interrupted(estimator, X, y):
        raise KeyboardInterrupt

    given = settings(scoring=interrupted, checkpoint=tmp_path / "state")
    given["early_stopping"] = early_stopping
    data = {"X": mapped, "y": COLUMNS["label"]}
    if not early_stopping:
        data |= {"X_val": X, "y_val": COLUMNS["label"]}
    with pytest.warns(UserWarning, match="interrupted"):
        MLPClassifier(**given).fit(**data)
    monkeypatch.setattr(_maps, "_WINDOW", 140 * X[0].nbytes)
    with pytest.warns(UserWarning, match="interrupted"):
        MLPClassifier(**given).fit(**data)
    monkeypatch.setattr(_maps, "memory_of_machine", lambda: 4 * X.nbytes)
    if early_stopping:  # rows held out are in another order
        with pytest.raises(ValueError, match="a memory map .* has none, the checkpoint rows as"):
            MLPClassifier(**given).fit(**data)
    else:
        with pytest.warns(UserWarning, match="interrupted"):
            MLPClassifier(**given).fit(**data)


@pytest.mark.parametrize(
    ("line", "files"),
    [
        ("0::/", ["memory.max"]),
        ("0::/a/b", ["memory.max", "a/memory.max", "a/b/memory.max"]),
        ("9:cpu,memory:/a", [f"memory/{p}memory.limit_in_bytes" for p in ("", "a/")]),
        ("9:cpu:/a", []),
    ],
)
def test_limits_of_containers_are_those_of_all_groups(tmp_path, line, files):
    (tmp_path / "cgroup").write_text(line + "\n")
    found = _maps._limits(tmp_path / "cgroup", "/groups")
    assert found == [f"/groups/{name}" for name in files]
    assert _maps._limits(tmp_path / "none") == []


def test_the_least_limit_is_the_memory(tmp_path, monkeypatch):
    texts = {"max": "max", "large": "9" * 30, "some": "5000000"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    paths = [tmp_path / name for name in (*texts, "none")]
    monkeypatch.setattr(_maps, "_limits", lambda: paths)
    if _maps.memory_of_machine() is not None:
        assert _maps.memory_of_machine() == 5_000_000


def test_a_fit_on_a_map_beyond_memory(mapped, little_memory):
    model = MLPClassifier(**settings(shuffle=True, dropout=0.1, max_iter=20))
    a = MLPClassifier(**model.get_params()).fit(mapped, COLUMNS["label"])
    assert_same_bits(a, model.fit(mapped, COLUMNS["label"]))
    assert a.loss_ < 0.9 * a.loss_curve_[0]
    whole = MLPClassifier(**settings()).fit(X, COLUMNS["label"])
    assert_same_bits(whole, MLPClassifier(**settings()).fit(mapped, COLUMNS["label"]))
    assert _maps.map_of(X) is None and _maps.map_of(mapped[1:, 1:]) is not None
