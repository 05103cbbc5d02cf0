"""Positions of a table, against a slow definition of what they stand for."""

import math
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator

from fastbp.tabular._encoding import _BLOCK, Encoding
from fastbp.tabular._table import Column, fit_schema, read_columns

# ---- a slow definition ----


def _wide(encoding, fitted, value, **limits):
    """The inputs of one cell, straight from its value and the training rows."""
    if fitted.kind == "category":
        return _wide_of_label(fitted, value, **limits)
    x = fitted.values.astype(float)
    present, missing = np.sort(x[~np.isnan(x)]), np.isnan(x).any()
    if len(np.unique(present)) < 2:
        return [float(math.isnan(value))] if missing and len(present) else [0.0]
    knots, raw = _knots_of(encoding, fitted), _raw_of(encoding, fitted)
    n_bins = len(knots) - 1
    if math.isnan(value):
        if missing:
            return [0.0] * (n_bins + 1) + [1.0]
        value = present[round((len(present) - 1) / 2)]
    value = min(max(value, knots[0]), knots[-1])
    wide = [np.interp(value, knots, raw)]
    for low, high in zip(knots[:-1], knots[1:], strict=True):
        wide.append((min(max(value, low), high) - low) / (high - low))
    return wide + [0.0] * int(missing)


def _wide_of_label(fitted, value, min_count=2, max_categories=4096):
    cells = [fitted.labels[code] if code >= 0 else None for code in fitted.values]
    seen = [label for label in set(cells) if label is not None]
    kept = sorted(seen, key=lambda label: (-cells.count(label), label))
    kept = sorted([label for label in kept if cells.count(label) >= min_count][:max_categories])
    if len(set(cells)) < 2 or not (kept or None in cells):
        return [0.0]
    kept += [None] * (None in cells)
    return [float(label == value) for label in kept]


def _encoder(encoding, fitted):
    return encoding._encoders[encoding.names.index(fitted.name)]


def _knots_of(encoding, fitted):
    encoder = _encoder(encoding, fitted)
    return encoder.knots / encoder.scale


def _raw_of(encoding, fitted):
    return _encoder(encoding, fitted).raw


def _cells(column):
    if column.kind == "number":
        return column.values.astype(float).tolist()
    return [column.labels[code] if code >= 0 else None for code in column.values]


def _numbers(values, name="n"):
    return Column(name, "number", np.asarray(values))


def _labels(values, name="c"):
    labels = list(dict.fromkeys(value for value in values if value is not None))
    codes = [-1 if value is None else labels.index(value) for value in values]
    return Column(name, "category", np.array(codes, dtype=np.intp), labels)


# ---- strategies ----

_NUMBER = st.one_of(
    st.integers(-5, 5).map(float), st.floats(-1e6, 1e6), st.floats(-1e6, 1e6, width=32)
)
_ANY_NUMBER = st.floats(allow_nan=False, allow_infinity=False)
_WORDS = ["", *"abc", *(a + b for a in "abc" for b in "abc")]
_LABEL = st.sampled_from([None] * 4 + _WORDS)


@st.composite
def _tables(draw, number=_NUMBER):
    """Columns to fit on, and the same columns of other rows.

    The numbers are few, and some come often: to draw each cell anew would take most of the time.
    """
    n_rows, n_others = draw(st.integers(1, 30)), draw(st.integers(1, 12))
    numbers = draw(st.lists(number, min_size=2, max_size=16))
    known = st.sampled_from(numbers[1:] + [math.nan] * draw(st.integers(0, 2)))
    new = st.sampled_from([*numbers, draw(number), math.nan])
    fitted, others = [], []
    for place in range(draw(st.integers(1, 4))):
        if draw(st.booleans()):
            make, cells, later = _numbers, known, new
        else:
            make, cells, later = _labels, _LABEL, _LABEL
        sizes = ((n_rows, cells), (n_others, later))
        rows, more = (draw(st.lists(c, min_size=n, max_size=n)) for n, c in sizes)
        fitted.append(make(rows, f"k{place}"))
        others.append(make(more, f"k{place}"))
    return fitted, others


# ---- what positions stand for ----


@settings(deadline=None)
@given(_tables(), st.integers(1, 9), st.integers(1, 3), st.integers(1, 4))
def test_dense_form_is_the_definition(tables, n_bins, min_count, max_categories):
    limits = {"min_count": min_count, "max_categories": max_categories}
    encoding = Encoding.fit(tables[0], n_bins=n_bins, **limits)
    for columns in tables:
        dense = encoding.dense(encoding.encode(columns, np.float64))
        expected = [
            sum((_wide(encoding, f, v, **limits) for f, v in zip(tables[0], row, strict=True)), [])
            for row in zip(*map(_cells, columns), strict=True)
        ]
        # Narrow bins lose digits of the fraction in k + f.
        np.testing.assert_allclose(dense, expected, rtol=0, atol=1e-13)
    assert dense.shape[1] == encoding.n_inputs == encoding.offsets[-1]


@settings(deadline=None)
@given(_tables(), st.integers(1, 200))
def test_description_agrees_with_positions(tables, n_bins):
    fitted, others = tables
    encoding = Encoding.fit(fitted, n_bins=n_bins)
    positions = encoding.encode(others)
    assert positions.flags.c_contiguous and positions.dtype == np.float32
    assert positions.shape == (len(others[0]), encoding.n_columns)
    description = encoding.description()
    assert encoding.n_inputs == sum(rows for rows, _ in description)
    for (rows, raw), p, column in zip(description, positions.T, fitted, strict=True):
        if raw is None:
            assert set(p) <= {-1.0, *range(rows)}
            continue
        n_bins_of = len(raw) - 1
        assert 1 <= n_bins_of <= n_bins
        assert rows == n_bins_of + 1 + np.isnan(column.values).any()
        missing = p == n_bins_of + 1
        assert not missing.any() or rows == n_bins_of + 2
        assert ((p[~missing] >= 0) & (p[~missing] <= n_bins_of)).all()


@settings(deadline=None)
@given(
    st.lists(_ANY_NUMBER, min_size=2, max_size=30),
    st.lists(_ANY_NUMBER, min_size=1, max_size=6),
    st.integers(1, 20),
)
def test_positions_rise_with_numbers_of_any_magnitude(fitted, others, n_bins):
    column = _numbers(fitted)
    encoding = Encoding.fit([column], n_bins=n_bins)
    values = np.sort(np.concatenate([fitted, others]))
    p = encoding.encode([_numbers(values)], np.float64)[:, 0]
    assert np.isfinite(p).all()
    assert (np.diff(p) >= 0).all()
    ((_, raw),) = encoding.description()
    if raw is not None:
        assert (np.abs(raw) <= 3 + 1e-12).all() and (np.diff(raw) >= 0).all()
        assert (np.diff(_encoder(encoding, column).knots) > 0).all()
        assert p[0] == 0 and p[-1] == len(raw) - 1
        rounded = encoding.encode([_numbers(values)])[:, 0]
        np.testing.assert_allclose(rounded, p, rtol=2**-23, atol=2**-126)


@settings(deadline=None)
@given(st.lists(_NUMBER, min_size=2, max_size=40), st.integers(1, 12))
def test_knots_come_back_from_positions(values, n_bins):
    column = _numbers(values)
    encoding = Encoding.fit([column], n_bins=n_bins)
    if encoding.description()[0][1] is None:
        return
    knots = _knots_of(encoding, column)
    assert set(knots) <= set(values)
    np.testing.assert_array_equal(
        encoding.encode([_numbers(knots)])[:, 0], np.arange(len(knots), dtype=np.float32)
    )
    p = encoding.encode([column], np.float64)[:, 0]
    np.testing.assert_allclose(
        np.interp(p, np.arange(len(knots)), knots),
        values,
        rtol=0,
        atol=1e-13 * np.ptp(values) + 1e-300,
    )


# ---- what does not matter ----


@settings(deadline=None)
@given(_tables(), st.randoms(use_true_random=False))
def test_order_of_rows_and_columns_does_not_matter(tables, random):
    fitted, others = tables
    encoding = Encoding.fit(fitted, n_bins=5)
    rows = list(range(len(fitted[0])))
    random.shuffle(rows)
    of_shuffled = Encoding.fit([column.take(rows) for column in fitted], n_bins=5)
    assert of_shuffled.description() == encoding.description()
    positions = encoding.encode(others)
    np.testing.assert_array_equal(of_shuffled.encode(others), positions)
    places = list(range(len(fitted)))
    random.shuffle(places)
    other_order = Encoding.fit([fitted[place] for place in places], n_bins=5)
    assert other_order.description() == tuple(encoding.description()[place] for place in places)
    np.testing.assert_array_equal(
        other_order.encode([others[place] for place in places]), positions[:, places]
    )


@settings(deadline=None)
@given(st.lists(_LABEL, min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_codes_of_labels_do_not_matter(values, random):
    column = _labels(values)
    codes = list(range(len(column.labels)))
    random.shuffle(codes)
    labels = ["unused", *("" for _ in codes)]
    for code, new in enumerate(codes):
        labels[new + 1] = column.labels[code]
    coded = np.append(np.array(codes, dtype=int) + 1, -1)[column.values]
    other = Column("c", "category", coded, labels)
    encodings = [Encoding.fit([c], min_count=1) for c in (column, other)]
    assert encodings[0].description() == encodings[1].description()
    expected = encodings[0].encode([column])
    for encoding in encodings:
        for c in (column, other):
            np.testing.assert_array_equal(encoding.encode([c]), expected)


def test_rows_that_are_not_taken_do_not_matter():
    random = np.random.default_rng(0)
    x, c = random.normal(size=60), random.integers(0, 5, 60).astype(object)
    train = np.arange(40)
    columns = [_numbers(x), _labels(list(c))]
    encoding = Encoding.fit([column.take(train) for column in columns])
    x[40:], c[40:] = 1e9, 77
    others = [_numbers(x), _labels(list(c))]
    again = Encoding.fit([column.take(train) for column in others])
    assert again.description() == encoding.description()
    np.testing.assert_array_equal(again.encode(columns), encoding.encode(columns))


@pytest.mark.parametrize("dtype", ["int8", "uint64", "int64", "float32", ">f8", "bool"])
def test_dtype_does_not_matter(dtype):
    values = np.array([0, 1, 1, 0, 1] if dtype == "bool" else [3, 1, 4, 1, 59]).astype(dtype)
    encoding = Encoding.fit([_numbers(values)])
    expected = Encoding.fit([_numbers(values.astype(float))])
    assert encoding.description() == expected.description()
    np.testing.assert_array_equal(
        encoding.encode([_numbers(values)]), expected.encode([_numbers(values.astype(float))])
    )


def test_blocks_do_not_matter():
    random = np.random.default_rng(0)
    n = 2 * _BLOCK + 3
    numbers = np.where(random.random(n) < 0.3, np.nan, random.normal(size=n))
    columns = [_numbers(numbers), _labels(list(random.integers(0, 9, n)))]
    encoding = Encoding.fit(columns)
    whole = encoding.encode(columns)
    for rows in (slice(_BLOCK - 2, _BLOCK + 2), slice(2 * _BLOCK, None)):
        np.testing.assert_array_equal(encoding.encode([c.take(rows) for c in columns]), whole[rows])


def test_pickled_encoding_encodes_the_same_and_holds_no_rows():
    random = np.random.default_rng(0)
    sizes = []
    for n in (2000, 20000):
        columns = [_numbers(random.normal(size=n)), _labels(list(random.integers(0, 9, n)))]
        encoding = Encoding.fit(columns)
        pickled = pickle.dumps(encoding)
        sizes.append(len(pickled))
        again = pickle.loads(pickled)
        np.testing.assert_array_equal(again.encode(columns), encoding.encode(columns))
        assert again.description() == encoding.description()
    assert sizes[1] == sizes[0]


# ---- knots ----


def _count_knots(values, n_bins):
    return len(Encoding.fit([_numbers(values)], n_bins=n_bins).description()[0][1])


def test_number_of_bins():
    random = np.random.default_rng(0)
    values = random.normal(size=5000)
    for n_bins in (1, 2, 3, 8, 31, 128, 255):
        assert _count_knots(values, n_bins) == n_bins + 1
    assert _count_knots([1.0, 2.0, 2.0, 5.0], 64) == 3


def test_knots_are_half_by_rows_half_by_distinct_values():
    values = np.concatenate([np.zeros(10000), np.arange(1, 1001), np.full(5000, 1e6)])
    column = _numbers(values)
    knots = _knots_of(Encoding.fit([column], n_bins=32), column)
    assert {0.0, 1e6} <= set(knots)
    inner = knots[(knots > 0) & (knots < 1e6)]
    assert len(inner) >= 25 and np.ptp(inner) > 900
    skewed = np.exp(np.random.default_rng(0).normal(size=4000) * 3).round(1)
    column = _numbers(np.concatenate([skewed, np.full(40000, 0.5)]))
    knots = _knots_of(Encoding.fit([column], n_bins=32), column)
    assert ((knots > np.quantile(skewed, 0.25)).sum()) >= 15


def test_bins_of_distinct_values_have_the_same_number_of_rows():
    values = np.arange(1001.0)
    column = _numbers(np.random.default_rng(0).permutation(values))
    widths = np.diff(_knots_of(Encoding.fit([column], n_bins=100), column))
    assert 9 <= widths.min() and widths.max() <= 11


def test_raw_value_is_the_clipped_robust_scale():
    values = np.array([-100.0, 0, 1, 2, 3, 4, 1000])
    ((_, raw),) = Encoding.fit([_numbers(values)]).description()
    low, high = np.sort(values)[[2, 4]]  # nearest to a quarter and three quarters, ties to even
    z = (values - 2) / (high - low)
    np.testing.assert_allclose(raw, z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-14)
    # Equal quartiles: half the range instead.
    ((_, raw),) = Encoding.fit([_numbers([0.0] * 9 + [4.0])]).description()
    np.testing.assert_allclose(raw, [0, 2 / np.sqrt(1 + 4 / 9)], rtol=1e-14)


@pytest.mark.parametrize(
    "values",
    [
        [5e-324, 1e-323, 2e-323],
        [-1.7e308, 0.0, 1.7e308],
        [1e-300, 1e300],
        [1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0)],
        [2**63, 2**63 + 4096, 0],
        [-1e-300, 0.0, 1e308],
        [-1.7e308, 1.7e308],
        [0.0] * 9 + [5e-324],
        [1e-310 * k for k in range(1, 90)],
    ],
)
def test_extreme_numbers(values):
    column = _numbers(np.array(values, dtype=np.float64))
    encoding = Encoding.fit([column])
    raw = encoding.description()[0][1]
    assert np.isfinite(raw).all()
    p = encoding.encode([column])[:, 0]
    assert p.min() == 0 and p.max() == len(raw) - 1
    later = encoding.encode([_numbers([-1.79e308, 1.79e308])])[:, 0]
    np.testing.assert_array_equal(later, [0, len(raw) - 1])


# ---- columns without information, missing and rare ----


@pytest.mark.parametrize(
    "column",
    [
        _numbers([7.0, 7.0]),
        _numbers([np.nan, np.nan]),
        _numbers([3.0]),
        _labels(["a", "a"]),
        _labels([None, None]),
        _labels(["a"]),
        _labels(["a", "b"]),  # both rarer than min_count
        Column("e", "category", np.array([-1, -1]), []),
    ],
    ids=lambda column: f"{column.kind}-{column.values}-{column.labels}",
)
def test_columns_without_information(column):
    encoding = Encoding.fit([column])
    assert encoding.description() == ((1, None),)
    later = {
        "number": _numbers([0.0, 7.0, np.nan]),
        "category": _labels(["a", None, "z"]),
    }[column.kind]
    positions = encoding.encode([later])
    np.testing.assert_array_equal(positions[:, 0], [-1, -1, -1])
    assert not encoding.dense(positions).any()


def test_numbers_that_tell_only_whether_they_are_missing():
    encoding = Encoding.fit([_numbers([7.0, np.nan, 7.0])])
    assert encoding.description() == ((1, None),)
    np.testing.assert_array_equal(
        encoding.encode([_numbers([7.0, np.nan, 8.0])])[:, 0], [-1, 0, -1]
    )


def test_missing_number_is_the_median_if_none_was_missing():
    values = [1.0, 2.0, 10.0, 20.0, 30.0]
    encoding = Encoding.fit([_numbers(values)], n_bins=2)
    p = encoding.encode([_numbers([np.nan, 10.0])], np.float64)[:, 0]
    assert p[0] == p[1]


def test_rare_categories_are_as_unknown_ones():
    values = ["a"] * 5 + ["b"] * 3 + ["c"] * 3 + ["d"] + [None]
    later = _labels(["a", "b", "c", "d", None, "new"])

    def codes(**limits):
        return Encoding.fit([_labels(values)], **limits).encode([later])[:, 0].tolist()

    assert codes() == [0, 1, 2, -1, 3, -1]
    assert codes(min_count=1) == [0, 1, 2, 3, 4, -1]
    assert codes(min_count=4) == [0, -1, -1, -1, 1, -1]
    assert codes(max_categories=2) == [0, 1, -1, -1, 2, -1]  # of equals the first
    assert codes(max_categories=1) == [0, -1, -1, -1, 1, -1]


def test_labels_are_in_the_same_order_in_every_run():
    values = [2, 1, 10, 0.5, "b", "a", (2,), (1,)] * 2
    encoding = Encoding.fit([_labels(values)])
    expected = [2, 1, 3, 0, 5, 4, 7, 6]
    assert encoding.encode([_labels(values)])[:8, 0].tolist() == expected


def test_ten_thousand_categories():
    values = [f"v{k}" for k in range(10000)] * 2
    column = _labels_of_many(values)
    encoding = Encoding.fit([column], max_categories=20000)
    assert encoding.n_inputs == 10000
    p = encoding.encode([column])[:, 0]
    assert len(np.unique(p)) == 10000 and (p[:10000] == p[10000:]).all()


def _labels_of_many(values):
    labels, codes = np.unique(values, return_inverse=True)
    return Column("c", "category", codes, labels.tolist())


# ---- with tables ----


class Taker(BaseEstimator):
    pass


def test_tables_in_any_container_have_the_same_positions():
    pd = pytest.importorskip("pandas", reason="pandas is not installed")
    random = np.random.default_rng(0)
    data = {
        "x": random.normal(size=200),
        "k": random.integers(0, 4, 200),
        "t": random.choice(["u", "v", "w"], 200).astype(object),
    }
    data["x"][::7] = np.nan
    X = pd.DataFrame(data)
    taker = Taker()
    schema, columns = fit_schema(taker, X)
    encoding = Encoding.fit(columns)
    expected = encoding.encode(columns)
    others = [X.astype({"t": "category"}), X[["t", "k", "x"]], X.convert_dtypes()]
    others += [X.astype({"x": str, "k": str})]
    others += [X.astype({"t": pd.CategoricalDtype(["w", "new", "v", "u"])})]
    for other in others:
        np.testing.assert_array_equal(encoding.encode(read_columns(taker, schema, other)), expected)
    pl = pytest.importorskip("polars", reason="polars is not installed")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    frame = pl.DataFrame(data)
    for other in (frame, frame.with_columns(pl.col("t").cast(pl.Categorical)), frame.to_arrow()):
        np.testing.assert_array_equal(encoding.encode(read_columns(taker, schema, other)), expected)


def test_columns_of_another_table_are_refused():
    encoding = Encoding.fit([_numbers([1.0, 2.0])])
    with pytest.raises(ValueError, match="2 columns: it takes 1"):
        encoding.encode([_numbers([1.0]), _numbers([1.0])])
    with pytest.raises(ValueError, match="'n' has the kind 'category': it takes 'number'"):
        encoding.encode([_labels(["a"])])
