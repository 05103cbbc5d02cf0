"""Tables that pass by in batches: what a pass finds, and fits of a dataset on disk."""

import dataclasses
import shutil
import threading
import tracemalloc

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from tabular_problems import both, frame, output, small, table, targets, workers_alive
from test_checkpoint import ALWAYS, InSteps

import fastbp
from fastbp import TabularClassifier, TabularRegressor
from fastbp._checkpoints import files
from fastbp.tabular import _fit, _net
from fastbp.tabular._encoding import Encoding
from fastbp.tabular._loop import Watched
from fastbp.tabular._statistics import LabelPass, TablePass, row_keys
from fastbp.tabular._table import _opened, fit_schema
from fastbp.tabular._targets import mean_and_deviation

pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
ds = pytest.importorskip("pyarrow.dataset", reason="pyarrow has no datasets")
pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow has no Parquet")

from fastbp._datasets import _stream  # noqa: E402  # needs pyarrow
from fastbp.tabular import _stream_fit, _stream_rows  # noqa: E402
from fastbp.tabular._stream_targets import NumbersPass  # noqa: E402

# ---- what a pass finds ----


class Taker(BaseEstimator):
    """An estimator as far as tables are concerned."""


def _rows_of(X, rows):
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows]


def _passed(X, cuts, asked=None, **limits):
    """The pass over X, a part for each of the slices between the cuts, in reverse order, merged."""
    n, total = len(X), None
    ends = [0, *cuts, n]
    for first, last in reversed(list(zip(ends[:-1], ends[1:], strict=True))):
        part = TablePass(asked, X.shape[1], **limits)
        rows = np.arange(first, last)
        for some in np.array_split(rows, 3):
            if len(some):
                part.add(_opened(Taker(), _rows_of(X, some)), some)
        if total is None:
            total = part
        else:
            total.merge(part)
    return total.found(_opened(Taker(), X))


def _same_encodings(one, other):
    for a, b in zip(one._encoders, other._encoders, strict=True):
        assert type(a) is type(b)
        for field in dataclasses.fields(a):
            np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
            if field.name == "codes":
                assert list(a.codes) == list(b.codes)


def _awkward(n=400):
    """Columns that only all of their rows decide about."""
    rng = np.random.default_rng(0)
    X = np.empty((n, 8), dtype=object)
    X[:, 0] = [str(value) for value in rng.integers(0, 9, n) / 4]  # text of numbers
    X[:, 1] = X[:, 0]
    X[-1, 1] = "none of these"
    X[:, 2] = X[:, 0]
    X[n // 2, 2] = "007"
    X[:, 3] = None
    X[:, 4] = [None] * (n - 1) + [3.5]
    X[:, 5] = rng.choice([True, False, None], n)
    X[:, 6] = rng.choice([-0.0, 0.0, 1e308, -1e308], n)
    X[:, 7] = rng.choice(["", " ", "2", None], n)
    return X


@pytest.mark.parametrize("make", [table, frame, _awkward])
def test_a_pass_finds_what_all_rows_in_memory_come_to(make):
    X = make()
    schema, columns = fit_schema(Taker(), X)
    of_memory = Encoding.fit(columns, n_bins=16)
    for cuts in ([], [1], [50, 51, 130]):
        passed, counts = _passed(X, cuts)
        assert passed == schema
        _same_encodings(
            Encoding.of_counts(zip(passed.names, counts, strict=True), n_bins=16), of_memory
        )


def test_labels_that_wait_for_the_sample_are_bounded_by_their_bytes():
    labels, keys = LabelPass(most=1000), row_keys(np.arange(900))
    tracemalloc.start()
    for first in range(0, 900, 50):
        texts = [f"{row}".zfill(5000) for row in range(first, first + 50)]
        labels.add(np.arange(50), texts, keys[first : first + 50])
        del texts
    n_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert n_bytes < 1e6  # all labels have 4.5e6


def test_beyond_what_is_counted_exactly_a_sample_of_rows_decides_whatever_the_cuts():
    rng = np.random.default_rng(0)
    n = 6000
    X = np.empty((n, 2), dtype=object)
    X[:, 0] = rng.lognormal(size=n)
    X[:, 1] = np.where(rng.random(n) < 0.5, "often", [f"once {k}" for k in range(n)])
    X[7] = None
    found = [_passed(X, cuts, most=500)[1] for cuts in ([], [1, 2999], [4000, 4001, 5999])]
    for numbers, labels in found:
        np.testing.assert_array_equal(numbers.values, found[0][0].values)
        np.testing.assert_array_equal(numbers.counts, found[0][0].counts)
        assert sorted(zip(labels.labels, labels.counts, strict=True)) == sorted(
            zip(found[0][1].labels, found[0][1].counts, strict=True)
        )
    numbers, labels = found[0]
    x = np.array([value for value in X[:, 0] if value is not None], dtype=float)
    assert numbers.has_missing and labels.has_missing
    assert numbers.counts.sum() == 500 == len(numbers.values)
    assert (numbers.values[0], numbers.values[-1]) == (x.min(), x.max())
    # Of a sample of 500 rows the median has a deviation of 2.2 percent of the rows.
    assert abs(np.mean(x < numbers.at(0.5)) - 0.5) < 0.1
    assert abs(dict(zip(labels.labels, labels.counts, strict=True))["often"] / n - 0.5) < 0.1


def test_an_infinite_number_ends_a_pass_at_once():
    X = np.zeros((20, 1))
    X[13] = np.inf
    part = TablePass(None, 1)
    part.add(_opened(Taker(), X[:10]), np.arange(10))
    with pytest.raises(ValueError, match="has an infinite number, inf, in the row of number 13"):
        part.add(_opened(Taker(), X[10:]), np.arange(10, 20), "the row of number {}".format)


def test_text_of_labels_that_are_long_takes_bounded_memory():
    X = np.array([[f"{k:0100000}"] for k in range(40)], dtype=object)
    X[::4] = "the same"
    _, (labels,) = _passed(X, [], most=16)  # 4096 bytes
    assert set(labels.labels) <= {"the same"}


def test_keys_of_rows_differ_and_are_uniform():
    keys = row_keys(np.arange(100_000))
    assert len(np.unique(keys)) == len(keys)
    counts = np.bincount((keys >> np.uint64(60)).astype(int), minlength=16)
    assert abs(counts - 6250).max() < 400  # five deviations
    assert not (row_keys(np.arange(1000), 1) == keys[:1000]).any()


class _Place:
    path = "here"

    def named(self, row):
        return f"row {row}"


@pytest.mark.parametrize("of_weights", [None, "uniform", "with zeros"])
@pytest.mark.parametrize("scale, shift", [(1.0, 0.0), (1e-3, 1e6), (8e307, 0.0)])
def test_mean_and_deviation_of_batches_are_those_of_all_rows(scale, shift, of_weights):
    rng = np.random.default_rng(0)
    y = np.clip(rng.normal(size=(1000, 2)) * 0.5, -2, 2) * scale + shift
    y[:300, 1] = y[0, 1]
    weight = None if of_weights is None else rng.random(1000)
    if of_weights == "with zeros":
        weight[200:600] = 0
    passed = NumbersPass(["a", "b"], 1)
    for rows in np.split(np.arange(1000), [1, 3, 500, 501]):
        batch = pa.record_batch({"a": y[rows, 0], "b": y[rows, 1]})
        parts = np.zeros(len(rows), dtype=np.intp)
        passed.add(batch, _Place(), parts, None if weight is None else weight[rows])
    found = passed.target(None)
    mean, deviation = mean_and_deviation(y, weight)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-13, atol=1e-13 * scale)
    # A mean far from 0 is known to its last digit only, in memory as well.
    np.testing.assert_allclose(found.deviation, deviation, rtol=1e-12 + 1e-15 * shift / scale)
    assert passed.counts.sum() == (600 if of_weights == "with zeros" else 1000)


# ---- datasets on disk ----


def _arrow(n=400, seed=0, cls=TabularClassifier):
    """The table of `table` with targets "y", as an Arrow table."""
    X = table(n, seed)
    return pa.table(
        {
            "a": pa.array(X[:, 0].astype(float)),
            "b": pa.array(X[:, 1].tolist(), pa.float64()),
            "color": pa.array(X[:, 2].tolist()),
            "y": pa.array(targets(cls, X).tolist()),
        }
    )


def _written(path, rows, rows_of_file=200, row_group_size=100):
    """A folder of Parquet files with these rows."""
    path.mkdir(exist_ok=True)
    for number, first in enumerate(range(0, len(rows), rows_of_file)):
        part = rows.slice(first, rows_of_file)
        pq.write_table(part, path / f"{number:03}.parquet", row_group_size=row_group_size)
    return ds.dataset(path)


def _in_memory(rows):
    """X and y of an Arrow table."""
    return rows.drop_columns(["y"]), rows["y"].to_numpy()


def _weighted(rows):
    """An Arrow table with a column "weight" more."""
    return rows.append_column("weight", pa.array(np.linspace(0.5, 2, len(rows))))


def _with(rows, name, values):
    """An Arrow table with other values in one of its columns."""
    return rows.set_column(rows.schema.get_field_index(name), name, pa.array(values))


@pytest.fixture
def small_buffers(monkeypatch):
    """Buffers of so few rows that an epoch has several of them."""
    monkeypatch.setattr(_stream, "_DEFAULT_BYTES", 5000)


def _readers():
    return [t for t in threading.enumerate() if t.name == "fastbp-reader"] + workers_alive()


@both
def test_a_dataset_is_encoded_as_the_same_rows_in_memory(cls, tmp_path):
    rows = _arrow(cls=cls)
    of_dataset = small(cls, early_stopping=False).fit(_written(tmp_path, rows), "y")
    of_memory = small(cls, early_stopping=False).fit(*_in_memory(rows))
    _same_encodings(of_dataset._fitted.net.encoding, of_memory._fitted.net.encoding)
    assert of_dataset._fitted.schema == of_memory._fitted.schema
    assert of_dataset.n_features_in_ == 3
    assert of_dataset.feature_names_in_.tolist() == ["a", "b", "color"]
    if cls is TabularClassifier:
        assert of_dataset.classes_.tolist() == of_memory.classes_.tolist()
    else:
        for name in ("mean", "deviation"):
            found, expected = (getattr(e._fitted.target, name) for e in (of_dataset, of_memory))
            np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_columns_of_every_type_are_those_of_the_same_table_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    n = 120
    gaps = pa.array(rng.random(n) < 0.1)

    def column(values, kind=None):
        values = pa.array(values, kind)
        return pa.compute.if_else(gaps, pa.scalar(None, values.type), values)

    whole, text = rng.integers(0, 20, n), rng.choice(["a", "b", "7"], n).tolist()
    seconds = rng.integers(0, 10**9, n)
    columns = {
        "float32": column(rng.normal(size=n).astype(np.float32)),
        "without": pa.array(rng.normal(size=n)),
        "int8": column(whole.astype(np.int8)),
        "uint64": pa.array(whole.astype(np.uint64) + 2**60),
        "flags": column(whole > 9),
        "text": column(text),
        "digits": column([str(value / 4) for value in whole]),
        "zip": column([f"{value:05}" for value in whole]),
        "large": column(text, pa.large_string()),
        "declared": column(text).dictionary_encode(),
        "decimal": column([str(value) for value in whole]).cast(pa.decimal128(9, 2)),
        "date": column(seconds // 86400, pa.int64()).cast(pa.int32()).cast(pa.date32()),
        "moment": column(seconds, pa.timestamp("s")),
        "time": column(seconds % 86400, pa.int64()).cast(pa.int32()).cast(pa.time32("s")),
        "nothing": pa.nulls(n),
        "no text": pa.nulls(n, pa.string()),
        "bytes": column([value.encode() for value in text], pa.binary()),
        "y": pa.array(rng.normal(size=n)),
    }
    rows = pa.table(columns)
    with pytest.warns(UserWarning, match="Columns of dates are taken as numbers"):
        params = {"early_stopping": False, "max_iter": 1}
        of_dataset = small(TabularRegressor, **params).fit(_written(tmp_path, rows, 50), "y")
        of_memory = small(TabularRegressor, **params).fit(*_in_memory(rows))
    assert of_dataset._fitted.schema == of_memory._fitted.schema
    encodings = [est._fitted.net.encoding for est in (of_dataset, of_memory)]
    _same_encodings(*encodings)
    X = rows.drop_columns(["y"])
    np.testing.assert_array_equal(of_dataset.predict(ds.dataset(tmp_path)), of_dataset.predict(X))


@pytest.mark.parametrize(
    "labels", [["b", "a"], [2, -1], [True, False], [2.0, 1.0]], ids=lambda labels: str(labels[0])
)
def test_classes_are_those_of_the_same_column_in_memory(labels, tmp_path):
    rows = _with(_arrow(), "y", np.resize(np.array(labels), 400))
    of_dataset = small(TabularClassifier, max_iter=1).fit(_written(tmp_path, rows), "y")
    of_memory = small(TabularClassifier, max_iter=1).fit(*_in_memory(rows))
    assert of_dataset.classes_.tolist() == sorted(labels)
    assert of_dataset.classes_.dtype == of_memory.classes_.dtype
    declared = _with(rows, "y", rows["y"].combine_chunks().dictionary_encode())
    of_declared = small(TabularClassifier, max_iter=1).fit(_written(tmp_path / "d", declared), "y")
    assert of_declared.classes_.tolist() == sorted(labels)


@both
@pytest.mark.parametrize("format", ["parquet", "arrow", "csv"])
def test_every_format_is_learnt_from(cls, format, tmp_path):
    rows = _arrow(cls=cls)
    path = tmp_path / f"rows.{format}"
    if format == "csv":
        from pyarrow import csv

        csv.write_csv(rows, path)
    elif format == "parquet":
        pq.write_table(rows, path)
    else:
        with pa.ipc.new_file(path, rows.schema) as file:
            file.write_table(rows, max_chunksize=70)
    est = small(cls, max_iter=15).fit(ds.dataset(path, format=format), "y")
    test = _arrow(seed=1, cls=cls)
    assert est.score(*_in_memory(test)) > 0.75
    assert not _readers()


@both
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_the_result_depends_on_the_seed_and_not_on_threads(
    cls, n_estimators, tmp_path, small_buffers
):
    dataset = _written(tmp_path, _arrow(cls=cls))
    first, again, threads, other = (
        small(cls, n_estimators=n_estimators, **params).fit(dataset, "y")
        for params in ({}, {}, {"n_threads": 2}, {"random_state": 1})
    )
    for est, same in ((again, True), (threads, True), (other, False)):
        for one, member in zip(first.estimators_, est.estimators_, strict=True):
            assert np.array_equal(one.params, member.params) == same
    assert threads.validation_loss_curve_ == first.validation_loss_curve_


class _Visits:
    """What each member trains on, epoch by epoch: numbers that tell the rows apart."""

    def __init__(self, monkeypatch):
        self.of = {}
        train, updates = _stream_rows.StreamedTraining.train, _stream_rows.Training._updates

        def noted_train(training, window, place, *others):
            training.window, training.epoch = window, place[0]
            return train(training, window, place, *others)

        def noted_updates(training, data, rows, *others):
            is_left = data is training._left_data
            positions = training._left[0] if is_left else training.window.positions
            seen = self.of.setdefault((training._member, training.epoch), [])
            seen.append(positions[rows, 0].copy())
            return updates(training, data, rows, *others)

        monkeypatch.setattr(_stream_rows.StreamedTraining, "train", noted_train)
        monkeypatch.setattr(_stream_rows.StreamedTraining, "_updates", noted_updates)


@pytest.mark.parametrize("n_estimators, share", [(1, 0.2), (3, 0.2), (2, 0.6), (1, None)])
def test_a_member_visits_its_rows_once_an_epoch_and_never_those_that_it_holds_out(
    n_estimators, share, tmp_path, monkeypatch, small_buffers
):
    """Positions in a column of numbers that all differ tell the rows apart."""
    n, batch = 700, 32
    rows = _arrow(n, cls=TabularRegressor).append_column("id", pa.array(np.arange(n) * 1.0))
    dataset = _written(tmp_path, rows.select(["id", "a", "color", "y"]))
    visits = _Visits(monkeypatch)
    params = {"early_stopping": False} if share is None else {"validation_fraction": share}
    est = small(TabularRegressor, n_estimators=n_estimators, n_bins=999, **params)
    est.fit(dataset, "y")
    (buffers,) = [row for row in est.memory_plan_.rows if row.name == "buffers of rows"]
    assert buffers.shape[1] < n / 3
    watched, n_visited, others = [], [], None
    for member in range(n_estimators):
        ever = set()
        for epoch in range(est.n_iter_):
            seen = np.concatenate(visits.of[member, epoch]).round().astype(int).tolist()
            assert len(set(seen)) == len(seen)
            ever |= set(seen)
        n_visited.append(len(seen))
        orders = [visits.of[member, epoch][0].tolist() for epoch in range(2)]
        assert orders[0] != orders[1] and orders != others
        others = orders
        watched.append(set(range(n)) - ever)
    most_held = max(len(held) for held in watched)
    assert set(n_visited) == {(n - most_held) // batch * batch}  # whole mini-batches
    if share is not None:
        share_held_out = np.mean([len(held) / n for held in watched])
        assert abs(share_held_out - share) < 0.08
    if n_estimators == 3:
        assert not watched[0] & watched[1] and not watched[0] & watched[2]
    elif n_estimators == 2:
        assert watched[0] == watched[1]


# ---- as in memory ----


def _hard(n, seed):
    """Rows of numbers and categories whose targets take some learning."""
    rng = np.random.default_rng(seed)
    x, place = rng.normal(size=(n, 3)), rng.integers(0, 30, n)
    z = np.sin(2 * x[:, 0]) + x[:, 1] * (place % 3) + (place / 15 - 1) ** 2
    columns = {f"x{k}": np.where(rng.random(n) < 0.05, np.nan, x[:, k]) for k in range(3)}
    return columns | {"place": [f"p{p}" for p in place]}, z + 0.3 * rng.normal(size=n)


@both
def test_a_streamed_fit_is_as_good_as_one_in_memory(cls, tmp_path, monkeypatch):
    monkeypatch.setattr(_stream, "_DEFAULT_BYTES", 40_000)  # a fifth of the rows
    rows, unseen = (pa.table({**x, "y": z}) for x, z in (_hard(8000, 0), _hard(4000, 1)))
    if cls is TabularClassifier:
        rows, unseen = (_with(t, "y", t["y"].to_numpy() > 0.5) for t in (rows, unseen))
    dataset = _written(tmp_path, rows, rows_of_file=4000, row_group_size=1000)
    params = {"max_iter": 6, "n_estimators": 1, "hidden_layer_sizes": (32,), "n_threads": 1}
    streamed, in_memory = [], []
    for seed in range(2):
        est = cls(random_state=seed, **params).fit(dataset, "y")
        streamed.append(est.score(*_in_memory(unseen)))
        assert est.best_validation_score_ == pytest.approx(streamed[-1], abs=0.03)
        est = cls(random_state=seed, **params).fit(*_in_memory(rows))
        in_memory.append(est.score(*_in_memory(unseen)))
    # Scores of fits in memory have a deviation of 0.006 for labels and of 0.003 for numbers, seed
    # by seed.
    assert np.mean(streamed) > np.mean(in_memory) - 0.01


@both
@pytest.mark.parametrize("as_dataset", [True, False])
def test_rows_to_validate_on_are_a_dataset_or_a_table(cls, as_dataset, tmp_path):
    dataset, held = _written(tmp_path / "fit", _arrow(cls=cls)), _arrow(90, 1, cls)
    weight = np.linspace(0.1, 2, 90)
    X_val, y_val = _in_memory(held)
    given = {"X_val": X_val, "y_val": y_val, "sample_weight_val": weight}
    if as_dataset:
        held = held.append_column("w", pa.array(weight))
        X_val = _written(tmp_path / "val", held.select(["w", "y", "color", "b", "a"]))
        given = {"X_val": X_val, "y_val": "y", "sample_weight_val": "w"}
    est = small(cls, early_stopping=False).fit(dataset, "y", **given)
    z = output(est, held.drop_columns(["y"] + ["w"] * as_dataset))
    if cls is TabularRegressor:
        error = np.average((z - y_val) ** 2, weights=weight)
        variance = np.average((y_val - np.average(y_val, weights=weight)) ** 2, weights=weight)
        score = 1 - error / variance
    else:
        score = np.average(est.classes_[z.argmax(axis=1)] == y_val, weights=weight)
    assert est.validation_scores_[-1] == pytest.approx(score, abs=1e-6)


@both
def test_rows_without_weight_have_no_part_in_anything(cls, tmp_path):
    rows = _arrow(cls=cls)
    weight = np.random.default_rng(0).random(400) + 0.5
    weight[::3] = 0
    spoilt = np.array(rows["b"].to_numpy())
    spoilt[::3] = 1e6
    color = np.where(weight == 0, "never", rows["color"].to_numpy())
    spoilt = rows.set_column(1, "b", pa.array(spoilt)).set_column(2, "color", pa.array(color))
    params = {"early_stopping": False, "n_estimators": 1}
    rows, spoilt = (r.append_column("w", pa.array(weight)) for r in (rows, spoilt))
    one = small(cls, **params).fit(_written(tmp_path / "a", rows), "y", "w")
    two = small(cls, **params).fit(_written(tmp_path / "b", spoilt), "y", sample_weight="w")
    np.testing.assert_array_equal(one.estimators_[0].params, two.estimators_[0].params)
    _same_encodings(one._fitted.net.encoding, two._fitted.net.encoding)
    X, y = _in_memory(rows.drop_columns(["w"]))
    in_memory = small(cls, **params).fit(X, y, sample_weight=weight)
    _same_encodings(one._fitted.net.encoding, in_memory._fitted.net.encoding)


def test_a_zero_that_is_negative_is_the_label_0(tmp_path):
    y = np.array([0.0, -0.0, 1.0, 2.0] * 100)
    dataset = _written(tmp_path, _with(_arrow(), "y", y))
    one = small(TabularClassifier).fit(dataset, "y")
    two = small(TabularClassifier).fit(_written(tmp_path, _with(_arrow(), "y", abs(y))), "y")
    assert _unlike(one, two) == []
    assert str(one.classes_.tolist()) == "[0.0, 1.0, 2.0]"


def test_class_weights_are_those_of_all_rows(tmp_path):
    rows = _arrow()
    dataset = _written(tmp_path, rows)
    X, y = _in_memory(rows)
    labels, counts = np.unique(y, return_counts=True)
    by_hand = {
        label: 400 / (3 * count) for label, count in zip(labels.tolist(), counts, strict=True)
    }
    losses = [
        small(TabularClassifier, class_weight=class_weight).fit(dataset, "y").loss_curve_
        for class_weight in ("balanced", by_hand, None)
    ]
    assert losses[0] == losses[1] != losses[2]
    alone = small(TabularClassifier, class_weight={"low": 0, "top": 0}, early_stopping=False)
    assert set(alone.set_params(max_iter=10).fit(dataset, "y").predict(X)) == {"middle"}


def test_several_columns_are_targets_of_a_regressor(tmp_path):
    rows = _arrow(cls=TabularRegressor)
    rows = rows.append_column("minus", pa.array(-rows["y"].to_numpy()))
    est = small(TabularRegressor, max_iter=15).fit(_written(tmp_path, rows), ["y", "minus"])
    found = est.predict(rows.select(["a", "b", "color"]))
    assert found.shape == (400, 2)
    assert np.corrcoef(found[:, 0], -found[:, 1])[0, 1] > 0.95


@both
def test_one_answer_needs_no_training(cls, tmp_path):
    rows = _arrow(cls=cls)
    same = "same" if cls is TabularClassifier else 2.5
    rows = rows.set_column(3, "y", pa.array([same] * 400))
    est = small(cls).fit(_written(tmp_path, rows), "y")
    assert est.estimators_ == []
    assert set(est.predict(rows.drop_columns(["y"]))) == {same}


@both
def test_predictions_for_a_dataset_are_those_for_its_rows(cls, tmp_path):
    rows = _arrow(cls=cls)
    dataset = _written(tmp_path, rows)
    est = small(cls).fit(dataset, "y")
    X = rows.drop_columns(["y"])
    np.testing.assert_array_equal(est.predict(dataset), est.predict(X))
    assert est.score(dataset, "y") == pytest.approx(est.score(*_in_memory(rows)), abs=1e-12)
    if cls is TabularClassifier:
        np.testing.assert_allclose(est.predict_proba(dataset), est.predict_proba(X), rtol=1e-6)
    less = _written(tmp_path / "less", rows.drop_columns(["b"]))
    with pytest.raises(ValueError, match=r"X has no columns \['b'\]: it takes all those of fit"):
        est.predict(less)


@both
def test_the_fitted_estimator_is_saved_and_loaded(cls, tmp_path):
    rows = _arrow(cls=cls)
    est = small(cls).fit(_written(tmp_path / "rows", rows), "y")
    fastbp.save(est, tmp_path / "model")
    X = rows.drop_columns(["y"])
    np.testing.assert_array_equal(fastbp.load(tmp_path / "model").predict(X), est.predict(X))


# ---- memory ----


@both
def test_the_plan_is_within_max_memory(cls, tmp_path):
    dataset = _written(tmp_path, _arrow(2000, cls=cls), rows_of_file=1000)
    est = small(cls, n_estimators=2, max_iter=1).set_params(max_memory="1.5 MiB")
    plan = est.fit(dataset, "y").memory_plan_
    assert plan.total_bytes <= 1.5 * 2**20
    assert {"buffers of rows", "pyarrow (at most)", "z watched"} <= {r.name for r in plan.rows}
    with pytest.raises(ValueError, match="max_memory=100000 is too small for this dataset"):
        small(cls, max_memory=100_000).fit(dataset, "y")


def test_the_orders_of_members_are_planned_as_large_as_they_are():
    n = 100_000
    holders, order = np.arange(n, dtype=np.int16) % 5, np.random.default_rng(0).permutation(n)
    window = _stream_rows.Window(None, None, None, None, holders, order)
    tracemalloc.start()
    rows = window.rows_of(9)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == n
    assert 0.9 * peak < n * _stream_rows.VISIT_BYTES < 1.1 * peak


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_plan_has_an_order_for_each_member_that_trains_at_a_time(n_threads, tmp_path):
    dataset = _written(tmp_path, _arrow(2000), rows_of_file=1000)
    fits = [
        small(TabularClassifier, n_estimators=3, n_threads=k, max_iter=1, max_memory="2 MiB")
        for k in (n_threads, 1)
    ]
    plans = [{r.name: r for r in f.fit(dataset, "y").memory_plan_.rows} for f in fits]
    orders, buffers = plans[0]["orders of members (at most)"], plans[0]["buffers of rows"]
    assert orders.shape == (n_threads, buffers.shape[1])
    assert orders.bytes == n_threads * buffers.shape[1] * _stream_rows.VISIT_BYTES
    assert buffers.shape == plans[1]["buffers of rows"].shape


@pytest.mark.parametrize("weight", [None, "weight"])
@pytest.mark.parametrize("n_estimators", [1, 3])
def test_the_plan_has_all_arrays_of_the_rows_watched(n_estimators, weight, tmp_path, monkeypatch):
    monkeypatch.setattr(_stream_fit, "_FEWEST_WATCHED", 0)
    monkeypatch.setattr(_stream_fit, "_BYTES_WATCHED", 3600)
    rows, room, places, weights = _arrow(2000), [], [], []
    rows = rows if weight is None else _weighted(rows)
    dataset = _written(tmp_path, rows, rows_of_file=1000)
    watched, chosen = _stream_fit.Watched, _stream_fit._Chosen

    class Chosen(chosen):
        def encoded(self):
            room.extend(self._arrays)
            return super().encoded()

    def noted(rows, orders, *more):
        places.extend(order for order in orders if order is not None)
        made = watched(rows, orders, *more)
        if made._weight is not None and made._weight is not rows.weight:
            weights.append(made._weight)
        return made

    monkeypatch.setattr(_stream_fit, "_Chosen", Chosen)
    monkeypatch.setattr(_stream_fit, "Watched", noted)
    est = small(TabularClassifier, n_estimators=n_estimators, max_iter=1)
    est.fit(dataset, "y", sample_weight=weight)
    names = ("positions", "y", "sample_weight", "places of rows", "weights")
    names = [f"{name} watched" for name in names]
    planned = sum(row.bytes for row in est.memory_plan_.rows if row.name in names)
    assert planned == sum(a.nbytes for a in (*room, *places, *weights))
    assert len(places) == (n_estimators if n_estimators > 1 else 0)
    assert len(weights) == (n_estimators > 1 and weight is not None)


def test_a_fit_of_several_members_stays_within_max_memory(tmp_path, monkeypatch):
    max_memory, of_arrow = 1_800_000, []
    put = _stream_rows.EncodedLayout.put

    def noted(*given):
        of_arrow.append(pa.default_memory_pool().bytes_allocated())
        put(*given)

    monkeypatch.setattr(_stream_rows.EncodedLayout, "put", noted)
    few = _written(tmp_path / "few", _arrow())
    dataset = _written(tmp_path / "many", _arrow(4000), rows_of_file=2000)
    est = small(TabularClassifier, n_estimators=3, n_threads=2, max_iter=1, max_memory=max_memory)
    est.fit(few, "y")  # what is imported, and kept once
    before = pa.default_memory_pool().bytes_allocated()
    of_arrow.clear()
    tracemalloc.start()
    est.fit(dataset, "y")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak + max(of_arrow) - before < max_memory
    plan = {row.name: row.bytes for row in est.memory_plan_.rows}
    assert 0 < max(of_arrow) - before < plan["pyarrow (at most)"]


@both
def test_a_random_part_is_watched_of_more_rows_than_fit(cls, tmp_path, monkeypatch):
    monkeypatch.setattr(_stream_fit, "_FEWEST_WATCHED", 0)
    rows = _arrow(2000, cls=cls)
    dataset, weighted = _written(tmp_path / "1", rows), _written(tmp_path / "2", _weighted(rows))
    own, by_weight = {"X_val": dataset, "y_val": "y"}, {"sample_weight": "weight"}
    given_to_fits = [(1, 0.2, {}), (3, 0.2, {}), (4, 0.5, {}), (4, 0.5, by_weight), (8, 0.2, own)]
    for n_estimators, share, given in given_to_fits:
        n_bytes = 80000 if given is by_weight else 8000  # so many that few are spared
        monkeypatch.setattr(_stream_fit, "_BYTES_WATCHED", n_bytes)
        est = small(cls, n_estimators=n_estimators, max_iter=1, validation_fraction=share)
        plan = est.fit(weighted if given is by_weight else dataset, "y", **given).memory_plan_
        # Of the rows that are expected, four deviations are spared.
        planned = sum(r.bytes for r in plan.rows if r.name.endswith("watched"))
        assert 0.5 * n_bytes < planned <= n_bytes
        assert len(est.validation_scores_) == 1
        if n_estimators == 1:
            (watched,) = [r for r in plan.rows if r.name == "positions watched"]
            room = 8000 // (18 + 4 * (3 if cls is TabularClassifier else 1))
            assert watched.shape[0] < 0.9 * room, "the first rows that there is room for"


# ---- errors ----


def _refused(est, dataset, y="y", match=None, error=(TypeError, ValueError), **given):
    before = dict(vars(est))
    with pytest.raises(error, match=match):
        est.fit(dataset, y, **given)
    assert vars(est) == before
    assert not _readers()


@both
def test_rows_that_cannot_be_are_refused_with_the_name_of_the_column(cls, tmp_path):
    rows, est = _arrow(cls=cls), small(cls)
    numbers = np.array(rows["a"].to_numpy())
    numbers[321] = np.inf
    where = "has an infinite number, inf, in row 21 of block 1 of .*001[.]parquet"
    infinite = _written(tmp_path / "inf", _with(rows, "a", numbers))
    _refused(est, infinite, match=f"X, column 'a': {where}")
    text = [str(value) for value in numbers]
    _refused(est, _written(tmp_path / "text", _with(rows, "a", text)), match=f"'a': {where}")
    nested = _written(tmp_path / "nested", _with(rows, "b", [[1.0]] * 400))
    _refused(est, nested, match=r"X, column 'b': dtype List\(Float64\): it takes")
    _refused(
        small(cls, categorical_features=None),
        _written(tmp_path / "color", rows),
        match="column 'color': holds text or other values that are no numbers",
    )
    y = rows["y"].to_pylist()
    y[250] = None
    gap = _written(tmp_path / "gap", _with(rows, "y", y))
    _refused(est, gap, match="y: column 'y' of the dataset has .* in row 50 of block 0 of .*001")
    weight = rows.append_column("w", pa.array([-1.0] * 400))
    weight = _written(tmp_path / "weight", weight)
    _refused(est, weight, sample_weight="w", match="sample_weight: column 'w' .* the sum -400.0")
    pq.write_table(rows.slice(0, 0), tmp_path / "none.parquet")
    _refused(est, ds.dataset(tmp_path / "none.parquet"), match="The dataset has 0 rows")


@pytest.mark.parametrize(
    ("params", "weight", "match"),
    [
        ({}, 0.0, "sample_weight_val: column 'w' of the dataset has the sum 0.0: it takes"),
        ({}, -1.0, "sample_weight_val: column 'w' of the dataset has the sum -400.0: it takes"),
        ({"class_weight": {"low": 0}}, 1.0, "class_weight gives rows of y_val weights with sum 0"),
    ],
)
def test_rows_to_validate_on_without_weight_are_refused(params, weight, match, tmp_path):
    rows = _arrow()
    dataset, weight = _written(tmp_path / "rows", rows), pa.array([weight] * 400)
    rows = _with(rows, "y", ["low"] * 400).append_column("w", weight)
    held = {"X_val": _written(tmp_path / "val", rows), "y_val": "y", "sample_weight_val": "w"}
    _refused(small(TabularClassifier, **params), dataset, match=match, **held)


@both
def test_columns_are_given_by_name(cls, tmp_path):
    rows, est = _arrow(cls=cls), small(cls)
    dataset = _written(tmp_path, rows)
    _refused(est, dataset, "z", match=r"y: the dataset has no column 'z'; it has \['a', 'b'")
    _refused(est, dataset, rows["y"].to_numpy(), match="y is of type ndarray: with a dataset")
    weight = np.ones(400)
    _refused(est, dataset, sample_weight=weight, match="sample_weight is of type ndarray")
    _refused(est, _written(tmp_path / "y", rows.select(["y"])), match="none for X")
    X, y = _in_memory(rows)
    with pytest.raises(TypeError, match="X_val is a .*Dataset, whose rows are not in memory"):
        est.fit(X, y, X_val=dataset, y_val=y)
    if cls is TabularClassifier:
        _refused(est, dataset, ["y", "a"], match="takes one column of labels of a dataset")
        other = _written(tmp_path / "other", _with(rows, "y", ["low", "new"] * 200))
        match = r"y_val: column 'y' of the dataset has the labels \['new'\], which y had not"
        _refused(est, dataset, X_val=other, y_val="y", match=match)
    else:
        text = _written(tmp_path / "text", _with(rows, "y", ["1"] * 400))
        _refused(est, text, match="y: column 'y' of the dataset has type string: it takes numbers")


def test_an_error_while_reading_names_the_file_and_leaves_no_thread(tmp_path, monkeypatch):
    dataset = _written(tmp_path, _arrow())
    commit = _stream_fit._fit.commit

    def spoilt_before_training(*given):
        commit(*given)
        data = (tmp_path / "001.parquet").read_bytes()
        (tmp_path / "001.parquet").write_bytes(data[:4] + bytes(len(data) - 4))

    monkeypatch.setattr(_stream_fit._fit, "commit", spoilt_before_training)
    with pytest.raises((OSError, ValueError), match=r"001\.parquet"):
        small(TabularClassifier).fit(dataset, "y")
    assert not _readers()


def test_an_interrupted_fit_keeps_what_it_has_and_leaves_no_thread(tmp_path, monkeypatch):
    dataset = _written(tmp_path, _arrow())
    train = _stream_rows.StreamedTraining.train

    def interrupted_in_the_third_epoch(training, window, place, *others):
        if place[0] == 2:
            raise KeyboardInterrupt
        return train(training, window, place, *others)

    monkeypatch.setattr(_stream_rows.StreamedTraining, "train", interrupted_in_the_third_epoch)
    with pytest.warns(UserWarning, match="interrupted by user"):
        est = small(TabularClassifier).fit(dataset, "y")
    assert est.n_iter_ == 2 == len(est.validation_scores_)
    assert len(est.predict(dataset)) == 400
    assert not _readers()


# ---- checkpoints ----


class _Interrupt:
    """Raises KeyboardInterrupt as one of the calls of the core has ended."""

    def __init__(self, monkeypatch):
        self.at, self.count = None, 0
        updates = _stream_rows.StreamedTraining._updates

        def counted(training, *given):
            self.count += 1
            count = self.count
            loss = updates(training, *given)
            if count == self.at:
                raise KeyboardInterrupt
            return loss

        monkeypatch.setattr(_stream_rows.StreamedTraining, "_updates", counted)


@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("is_finite", [False, True])
@pytest.mark.parametrize("n_estimators", [1, 3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_outcome_that_cannot_be_kept_is_in_the_checkpoint(
    n_estimators, is_finite, on_disk, tmp_path, monkeypatch, small_buffers
):
    X, y = (_written(tmp_path / "rows", _arrow()), "y") if on_disk else _in_memory(_arrow())
    updates, seeds = _net.Training._updates, []

    def made(training, *given):
        loss = updates(training, *given)
        seeds.append(training._seed)
        if not is_finite and training._seed == seeds[0] and training._t >= 60:
            training.finite = False
        return loss

    def fit(keep, **params):
        params |= {"n_estimators": n_estimators, "learning_rate_init": 0.1, "max_iter": 40}
        est = small(TabularClassifier, n_iter_no_change=2, **params)
        _fit.fit(est, X, y, None, (None, None, None), None, keep)
        return est

    def failing():
        raise OSError("no space")

    monkeypatch.setattr(_net.Training, "_updates", made)
    plain = fit(lambda: None)
    assert plain.best_iter_ < plain.n_iter_ < 40
    path = tmp_path / "state"
    with pytest.raises(OSError, match="no space"):
        fit(failing, checkpoint=path)
    monkeypatch.setattr(_net.Training, "_updates", None)  # there is nothing left to train
    again = fit(lambda: None, checkpoint=path)
    assert _unlike(again, plain) == [] and not path.exists()
    assert again._fitted.temperature == plain._fitted.temperature


def test_an_interrupt_after_training_leaves_a_checkpoint(tmp_path, monkeypatch):
    X, y = _in_memory(_arrow())
    plain = small(TabularClassifier).fit(X, y)

    def interrupted(*given):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Watched, "temperature", interrupted)
        with pytest.raises(KeyboardInterrupt):
            small(TabularClassifier, checkpoint=tmp_path / "state").fit(X, y)
    monkeypatch.setattr(_net.Training, "_updates", None)  # there is nothing left to train
    again = small(TabularClassifier, checkpoint=tmp_path / "state").fit(X, y)
    assert _unlike(again, plain) == []


def _unlike(one, other):
    """Names of what differs between two fits, but for seconds."""
    curves = ("loss_curve_", "validation_loss_curve_", "validation_scores_", "best_iter_")
    found = [name for name in curves if getattr(one, name) != getattr(other, name)]
    members = zip(one.estimators_, other.estimators_, strict=True)
    if not all(np.array_equal(a.params, b.params) for a, b in members):
        found.append("params")
    return found


@pytest.fixture
def checkpoints(monkeypatch, tmp_path):
    """Copies of the checkpoints of a fit, which may write one after each update."""
    make, write, written = _net.make, files.write, []

    def write_and_copy(path, value):
        write(path, value)
        written.append(tmp_path / f"copy {len(written)}")
        shutil.copy(path, written[-1])

    monkeypatch.setattr(_net, "make", lambda arguments: InSteps(make(arguments)))
    monkeypatch.setattr(files, "write", write_and_copy)
    return written


KINDS = {
    "weighted": {},
    "folds": {"n_estimators": 3, "n_threads": 2},
    "all rows": {"early_stopping": False, "n_estimators": 2},
}


@both
@pytest.mark.parametrize("kind", KINDS)
def test_a_fit_goes_on_from_any_checkpoint_with_the_same_bits(
    cls, kind, tmp_path, monkeypatch, checkpoints
):
    # So many rows that members make other numbers of updates by those of a buffer.
    monkeypatch.setattr(_stream, "_DEFAULT_BYTES", 9000)
    rows, weight = _arrow(cls=cls), None
    if kind == "weighted":
        rows, weight = rows.append_column("w", pa.array(np.linspace(0.5, 2, 400))), "w"
    dataset, params = _written(tmp_path / "rows", rows), {**KINDS[kind], "max_iter": 2}
    plain = small(cls, **params).fit(dataset, "y", weight)
    kept = {"checkpoint": tmp_path / "state", "checkpoint_interval": ALWAYS}
    whole = small(cls, **kept, **params).fit(dataset, "y", weight)
    assert not (tmp_path / "state").exists()
    assert _unlike(whole, plain) == []
    copies = checkpoints[:]
    assert len(copies) > 8
    for i in sorted({0, 1, 5, *range(12, len(copies), 2), len(copies) - 1}):
        kept = {"checkpoint": copies[i], "checkpoint_interval": 60.0}
        assert _unlike(small(cls, **kept, **params).fit(dataset, "y", weight), plain) == [], i
        assert not copies[i].exists()


@pytest.mark.parametrize("n_estimators", [1, 3])
def test_an_interrupted_fit_goes_on_with_the_same_bits(
    n_estimators, tmp_path, monkeypatch, small_buffers
):
    dataset, path = _written(tmp_path / "rows", _arrow()), tmp_path / "state"
    params = {"n_estimators": n_estimators, "n_threads": 2}
    interrupt = _Interrupt(monkeypatch)
    whole = small(TabularClassifier, **params).fit(dataset, "y")
    for call in (2, interrupt.count // 2, interrupt.count - 1):
        interrupt.count, interrupt.at = 0, call
        with pytest.warns(UserWarning, match="interrupted by user"):
            small(TabularClassifier, checkpoint=path, **params).fit(dataset, "y")
        assert path.exists() and not _readers()
        interrupt.at = None
        est = small(TabularClassifier, checkpoint=path, **params).fit(dataset, "y")
        assert not path.exists()
        assert _unlike(est, whole) == []


@both
def test_a_checkpoint_of_another_dataset_is_refused(cls, tmp_path, checkpoints):
    dataset, path = _written(tmp_path / "rows", _arrow(cls=cls)), tmp_path / "state"
    small(cls, checkpoint=path, checkpoint_interval=ALWAYS, max_iter=1).fit(dataset, "y")
    est = small(cls, checkpoint=checkpoints[0], max_iter=1)
    same = small(cls, checkpoint=checkpoints[0], max_iter=1, max_memory="64 MB")
    _refused(same, dataset, match="max_memory: this fit has '64 MB', the checkpoint None")
    other = _written(tmp_path / "rows", _arrow(cls=cls, seed=1))
    match = "is of another fit: .*X: other values .a dataset of 400 rows in 2 files"
    _refused(est, other, match=match)


def test_a_checkpoint_of_other_columns_is_refused(tmp_path, checkpoints):
    rows, weight = _arrow(cls=TabularRegressor), pa.array(np.linspace(0.5, 2, 400))
    rows = rows.append_column("z", rows["b"]).append_column("v", weight).append_column("w", weight)
    dataset, path = _written(tmp_path / "rows", rows), tmp_path / "state"
    given = {"checkpoint": path, "checkpoint_interval": ALWAYS, "max_iter": 1}
    small(TabularRegressor, **given).fit(dataset, "y", "w")
    est = small(TabularRegressor, checkpoint=checkpoints[0], max_iter=1)
    for y, name, match in [
        ("a", "w", r"y: .* \['a'\], .* \['y'\]"),
        ("y", "v", "weight: .* v, .* w"),
    ]:
        _refused(est, dataset, y, sample_weight=name, match=f"is of another fit: .*{match}")
