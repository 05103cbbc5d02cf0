"""Any table becomes columns of known kinds, or an error names the column."""

import datetime
import pickle
import sys
import warnings
from decimal import Decimal

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from fastbp.tabular._table import fit_schema, read_columns

pd = pytest.importorskip("pandas", reason="pandas is not installed")

DAY = 86400.0


class Taker(BaseEstimator):
    """An estimator as far as tables are concerned."""


def _fit(X, **settings):
    taker = Taker()
    schema, columns = fit_schema(taker, X, **settings)
    return taker, schema, columns


def _values(column):
    """What the cells of a column are: numbers, or labels; None where missing."""
    if column.kind == "number":
        return [None if np.isnan(v) else v for v in column.values.astype(float).tolist()]
    return [None if code < 0 else column.labels[code] for code in column.values]


def _read(X, Y, **settings):
    taker, schema, _ = _fit(X, **settings)
    return [_values(column) for column in read_columns(taker, schema, Y)]


def _frames():
    """One table in each container, with a name of the container."""
    numbers = [1.5, None, -2.0, 1.5]
    text = ["b", "a", None, "b"]
    flags = [True, None, False, True]
    whole = [3, 2**62, None, 3]
    yield (
        "pandas",
        lambda: pd.DataFrame(
            {
                "x": numbers,
                "t": pd.Series(text, dtype=object),
                "f": pd.array(flags, dtype="boolean"),
                "w": pd.array(whole, dtype="Int64"),
                "c": pd.Categorical(text, categories=["z", "b", "a"]),
            }
        ),
    )
    yield "pandas-str", lambda: dict(_frames())["pandas"]().astype({"t": "string"})

    def polars():
        pl = pytest.importorskip("polars", reason="polars is not installed")
        return pl.DataFrame(
            {
                "x": numbers,
                "t": text,
                "f": flags,
                "w": whole,
                "c": pl.Series(text, dtype=pl.Categorical),
            }
        )

    yield "polars", polars

    def polars_enum():
        pl = pytest.importorskip("polars", reason="polars is not installed")
        return polars().with_columns(pl.col("c").cast(pl.Enum(["b", "a"])))

    yield "polars-enum", polars_enum

    def arrow():
        pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        columns = {"x": numbers, "t": text, "f": flags, "w": whole}
        return pa.table({**columns, "c": pa.array(text).dictionary_encode()})

    yield "arrow", arrow

    def batch():
        pytest.importorskip("pyarrow", reason="pyarrow is not installed")
        return arrow().combine_chunks().to_batches()[0]

    yield "arrow-batch", batch

    def narwhals():
        import narwhals

        return narwhals.from_native(dict(_frames())["pandas"]())

    yield "narwhals", narwhals
    yield "pandas-arrow", lambda: _pandas_arrow(arrow())


def _pandas_arrow(table):
    return table.to_pandas(types_mapper=pd.ArrowDtype)


FRAMES = dict(_frames())
EXPECTED = [
    [1.5, None, -2.0, 1.5],
    ["b", "a", None, "b"],
    [1, None, 0, 1],
    [3.0, float(2**62), None, 3.0],
    ["b", "a", None, "b"],
]


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
def test_all_containers_have_the_same_columns(frame):
    taker, schema, columns = _fit(frame())
    assert list(map(_values, columns)) == EXPECTED
    assert schema.is_categorical.tolist() == [False, True, True, False, True]
    assert schema.names == ["x", "t", "f", "w", "c"]
    assert taker.feature_names_in_.tolist() == schema.names
    assert taker.n_features_in_ == 5


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize("fitted", FRAMES.values(), ids=FRAMES.keys())
def test_fitted_on_one_container_read_from_another(fitted, frame):
    assert _read(fitted(), frame()) == EXPECTED


class _NotThere:
    """A finder of modules for which there is no pandas and no PyArrow."""

    def find_spec(self, name, path=None, target=None):
        if name in ("pandas", "pyarrow"):
            raise ModuleNotFoundError(name)


def test_same_columns_where_pandas_is_not_imported(monkeypatch):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    cells = ["b", None, "a"]
    frame = polars.DataFrame({"t": cells, "c": polars.Series(cells, dtype=polars.Categorical)})
    array = np.array([["b", float("nan"), "a"], ["b", None, "a"]], dtype=object).T
    for name in ("pandas", "pyarrow"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "meta_path", [_NotThere(), *sys.meta_path])  # and cannot be
    for X in (frame, array):
        assert [_values(column) for column in _fit(X)[2]] == [cells, cells]


def test_lazy_frame_is_refused():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    with pytest.raises(TypeError, match=r"LazyFrame.*X\.collect\(\)"):
        _fit(pl.DataFrame({"x": [1.0]}).lazy())


# ---- arrays ----


def test_array_of_floats_is_read_in_place():
    X = np.array([[1.0, np.nan], [2.0, 3.0]])
    taker, schema, columns = _fit(X)
    assert [_values(c) for c in columns] == [[1, 2], [None, 3]]
    assert all(np.shares_memory(column.values, X) for column in columns)
    assert taker.n_features_in_ == 2 and not hasattr(taker, "feature_names_in_")
    assert schema.names == ["x0", "x1"]


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float32", "longdouble", ">f8"])
def test_arrays_of_any_numbers(dtype):
    assert [_values(c) for c in _fit(np.array([[1, 2], [3, 4]], dtype))[2]] == [[1, 3], [2, 4]]


@pytest.mark.parametrize("container", [list, lambda rows: np.array(rows, dtype=object)])
def test_rows_of_mixed_values(container):
    rows = [[1, "a", True, None], [2.5, "b", False, None], [None, None, np.nan, np.nan]]
    columns = _fit(container(rows))[2]
    assert list(map(_values, columns)) == [
        [1, 2.5, None],
        ["a", "b", None],
        [1, 0, None],
        [None] * 3,
    ]


def test_lists_keep_the_types_of_their_values():
    columns = _fit([["a", True, 2.0], ["b", False, 1]])[2]
    assert list(map(_values, columns)) == [["a", "b"], [1, 0], [2, 1]]


def test_number_too_large_for_float64_is_infinite():
    if np.finfo(np.longdouble).max == np.finfo(np.float64).max:
        pytest.skip("long double is float64")
    with pytest.raises(ValueError, match="column 0 .*infinite"):
        _fit(np.array([["1e400"]]).astype(np.longdouble))


def test_chunks_of_an_arrow_column_may_have_dictionaries_of_their_own():
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    chunks = [pa.array(cells).dictionary_encode() for cells in (["a", "b"], ["b", None, "c"])]
    X = pa.table({"a": pa.chunked_array(chunks)})
    assert _values(_fit(X)[2][0]) == ["a", "b", "b", None, "c"]


def test_arrays_of_text_and_dates():
    assert _values(_fit(np.array([["a"], ["b"]]))[2][0]) == ["a", "b"]
    with pytest.warns(UserWarning, match="dates.*x0"):
        columns = _fit(np.array([["1970-01-02"], ["NaT"]], "M8[D]"))[2]
        months = _fit(np.array([["1970-02"], ["NaT"]], "M8[M]"))[2]
    assert _values(columns[0]) == [DAY, None]
    assert _values(months[0]) == [31 * DAY, None]


def test_masked_array_has_missing_cells():
    for values in ([[1.0], [2.0]], [[1], [2]]):
        X = np.ma.array(values, mask=[[True], [False]])
        assert _values(_fit(X)[2][0]) == [None, 2]
    X = np.ma.array([["a"], ["b"]], mask=[[True], [False]])
    assert _values(_fit(X)[2][0]) == [None, "b"]


@pytest.mark.parametrize(
    "X, error, text",
    [
        (np.ones(3), ValueError, "Reshape your data"),
        ([1, 2], ValueError, "Reshape your data"),
        (np.float64(3), ValueError, "Expected 2D array"),
        (np.ones((2, 2, 2)), ValueError, "dim 3"),
        (np.ones((0, 3)), ValueError, r"0 sample\(s\).*shape=\(0, 3\).*required by Taker"),
        (np.ones((3, 0)), ValueError, r"0 feature\(s\).*shape=\(3, 0\).*required"),
        (pd.DataFrame({"a": []}), ValueError, r"0 sample\(s\).*required by Taker"),
        (pd.DataFrame(index=[0, 1]), ValueError, r"0 feature\(s\).*required by Taker"),
        (pd.Series([1.0, 2.0]), ValueError, "2-dimensional|2D"),
        (np.ones((2, 2), complex), ValueError, "Complex data not supported"),
        (np.array([[1j], [2]], object), ValueError, "column 0.*Complex data not supported"),
        (pd.DataFrame({"a": [1j]}), ValueError, "column 'a'.*Complex data not supported"),
        (
            np.ones(2, [("a", float), ("b", float)]),
            TypeError,
            r"dtype \[\('a'.*pandas.DataFrame\(X\)",
        ),
        ("a table", ValueError, "Expected 2D array"),
    ],
)
def test_no_table(X, error, text):
    with pytest.raises(error, match=text):
        _fit(X)


@pytest.mark.parametrize("container", ["csr_array", "coo_matrix"])
def test_sparse_is_refused(container):
    import scipy.sparse

    with pytest.raises(TypeError, match=r"Sparse data was passed.*toarray"):
        _fit(getattr(scipy.sparse, container)(np.eye(3)))


# ---- kinds ----


def _column(values, dtype=None, **settings):
    return _fit(pd.DataFrame({"a": pd.Series(values, dtype=dtype)}), **settings)[2][0]


@pytest.mark.parametrize(
    "values, dtype, expected",
    [
        ([Decimal("1.5"), None, Decimal("NaN")], object, [1.5, None, None]),
        ([1, 2.5, None, np.int8(3), pd.NA], object, [1, 2.5, None, 3, None]),
        ([2**70, 1], object, [2.0**70, 1]),
        ([2**53 + 1, 2**63 - 1], "int64", [2.0**53, 2.0**63]),
        (["1", " 2.5e1", None, "nan", ""], object, [1, 25, None, None, None]),
        ([True, 2, 3.5], object, [1, 2, 3.5]),
        ([datetime.timedelta(days=1), None], None, [DAY, None]),
        ([datetime.timedelta(days=1), None], object, [DAY, None]),
        ([datetime.time(1, 0, 1), None], object, [3601, None]),
        ([b"1.5", b"2"], object, [1.5, 2]),
    ],
)
def test_numbers(values, dtype, expected):
    column = _column(values, dtype)
    assert column.kind == "number"
    assert _values(column) == expected


@pytest.mark.parametrize(
    "values, dtype, expected",
    [
        ([True, False], bool, [1, 0]),
        ([True, None, False], object, [1, None, 0]),
        (["a", 1, 1.0, True, 2.5, None], object, ["a", "1", "1", "1", "2.5", None]),
        (["b", "1", 1, "a", None], object, ["b", "1", "1", "a", None]),
        (["01234", "75001"], object, ["01234", "75001"]),
        (["1_000", "2"], object, ["1_000", "2"]),
        (["", "a"], object, ["", "a"]),
        (["nan", "a"], object, ["nan", "a"]),
        ([b"a", np.bytes_(b"b"), np.str_("c")], object, ["a", "b", "c"]),
        ([(1, 2), (1, 2), frozenset({3})], object, [(1, 2), (1, 2), frozenset({3})]),
        ([3, 1, None], pd.CategoricalDtype([1, 2, 3]), [3, 1, None]),
        (["2", "1"], "category", ["2", "1"]),
    ],
)
def test_categories(values, dtype, expected):
    column = _column(values, dtype)
    assert column.kind == "category"
    assert _values(column) == expected


def test_dates_are_numbers_and_are_named_once():
    zone = datetime.timezone(datetime.timedelta(hours=1))
    X = pd.DataFrame(
        {
            "a": pd.to_datetime(["1970-01-02", None]),
            "b": pd.to_datetime(["1970-01-02 01:00", None]).tz_localize("Europe/Paris"),
            "c": pd.Series([datetime.date(1970, 1, 2), None], dtype=object),
            "d": pd.Series([datetime.datetime(1970, 1, 2, 1, tzinfo=zone), None], dtype=object),
            "e": pd.period_range("1970-01-02", periods=2, freq="D"),
            "f": [1.0, 2.0],
            "g": pd.to_datetime(["1970-01-02", None]).astype("M8[s]"),
        }
    )
    with pytest.warns(UserWarning, match=r"\['a', 'b', 'c', 'd', 'e', 'g'\]") as told:
        taker, schema, columns = _fit(X)
    assert len(told) == 1 and told[0].filename == __file__
    for name, column in zip(X, columns, strict=True):
        if name not in "ef":
            assert _values(column) == [DAY, None], name
    assert _values(columns[4]) == [DAY, 2 * DAY]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_columns(taker, schema, X)


def test_dates_of_polars():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    day, at = datetime.date(1970, 1, 2), datetime.datetime(1970, 1, 2)
    X = pl.DataFrame(
        {"a": [day, None], "b": [at, None], "c": [datetime.timedelta(1), None]},
        schema={"a": pl.Date, "b": pl.Datetime("ns", "UTC"), "c": pl.Duration("ms")},
    ).with_columns(d=pl.Series([datetime.time(1), None]))
    with pytest.warns(UserWarning, match=r"\['a', 'b'\]"):
        columns = _fit(X)[2]
    assert list(map(_values, columns)) == [[DAY, None]] * 3 + [[3600, None]]


def test_decimals_wide_integers_and_nulls_of_polars():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    X = pl.DataFrame(
        {
            "a": pl.Series([Decimal("1.25"), None]),
            "b": pl.Series([5, None], dtype=pl.Int128),
            "c": pl.Series([None, None], dtype=pl.Null),
            "d": pl.Series([1, "a"], dtype=pl.Object),
            "e": pl.Series([b"a", None]),
        }
    )
    columns = _fit(X)[2]
    expected = [[1.25, None], [5, None], [None, None], ["1", "a"], ["a", None]]
    assert list(map(_values, columns)) == expected


def test_nested_columns_are_refused():
    pl = pytest.importorskip("polars", reason="polars is not installed")
    for values in ([[1, 2]], [{"k": 1}]):
        with pytest.raises(TypeError, match="column 'a'.*dtype"):
            _fit(pl.DataFrame({"a": values}))


@pytest.mark.parametrize("cell", [{"foo": "bar"}, [1], {2}, np.ones(2)])
def test_unhashable_cells_are_refused(cell):
    X = np.array([[1.0, None], [2.0, "a"]], dtype=object)
    X[0, 1] = cell
    text = f"column 1 .*{type(cell).__name__} in row 0.*argument must be a string, a real number"
    with pytest.raises(TypeError, match=text):
        _fit(X)


@pytest.mark.parametrize(
    "values",
    [[1.0, np.inf], [1.0, -np.inf], [1, np.float32("inf")], ["1", "inf"], [1, 10**400]],
    ids=repr,
)
def test_infinite_numbers_are_refused(values):
    X = pd.DataFrame({"a": [1.0, 2.0], "b": pd.Series(values, dtype=object)})
    with pytest.raises(ValueError, match="column 'b'.*infinite.*row 1"):
        _fit(X)
    fitted = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(ValueError, match="column 'b'.*infinite.*row 1"):
        _read(fitted, X)


def test_infinity_in_an_array_names_the_column():
    with pytest.raises(ValueError, match="column 1 .*infinite.*row 0"):
        _fit(np.array([[1, np.inf], [2, 3]]))


# ---- categorical_features ----


@pytest.mark.parametrize("asked", [[True, False], [0], np.array([0]), ["a"], np.array(["a"])])
def test_given_categories(asked):
    X = pd.DataFrame({"a": [2.0, np.nan, 1.5, np.inf], "b": [True, False, True, True]})
    schema, columns = _fit(X, categorical_features=asked)[1:]
    assert schema.is_categorical.tolist() == [True, False]
    assert list(map(_values, columns)) == [[2, None, 1.5, np.inf], [1, 0, 1, 1]]


def test_columns_that_are_not_given_are_numbers_if_they_can_be():
    X = pd.DataFrame({"a": [1, 2], "b": ["u", "v"], "c": pd.Categorical([3, 4])})
    schema = _fit(X, categorical_features=["a"])[1]
    assert schema.is_categorical.tolist() == [True, True, False]
    for nothing in ([], [False] * 3):
        assert _fit(X, categorical_features=nothing)[1].kinds == ["number", "category", "number"]


def test_no_categories():
    X = pd.DataFrame({"a": [True, False], "b": pd.Categorical([3, 4]), "c": ["1", "2"]})
    assert not _fit(X, categorical_features=None)[1].is_categorical.any()
    with pytest.raises(ValueError, match="column 'd'.*'u'.*categorical_features=None"):
        _fit(X.assign(d=["u", "v"]), categorical_features=None)


def test_integers_as_categories_are_exact():
    big = [2**53, 2**53 + 1, None]
    frames = [pd.DataFrame({"a": pd.array(big, "Int64")})]
    frames += [pd.DataFrame({"a": pd.Series(big, dtype=object)})]
    for X in frames:
        assert _values(_fit(X, categorical_features=[0])[2][0]) == big


@pytest.mark.parametrize(
    "asked, text",
    [
        ([True], r"boolean mask must have shape \(n_features,\).*got: \(1,\)"),
        ([2], r"\[0, n_features - 1\].*got: \[2\]"),
        ([-1], r"\[0, n_features - 1\].*got: \[-1\]"),
        (["z"], "item value 'z' which is not a valid feature name"),
        ([0.5], "array-like of bool, int or str, got: float"),
        (["a", 1], "categorical_features"),
        (np.array(["a", 1], object), "array-like of bool, int or str, got: int, str"),
        ("b", "categorical_features='b'.*'from_dtype'"),
    ],
)
def test_categorical_features_that_cannot_be(asked, text):
    with pytest.raises(ValueError, match=text):
        _fit(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), categorical_features=asked)


def test_names_of_categories_without_names_of_columns():
    with pytest.raises(ValueError, match="integers or as a boolean mask"):
        _fit(np.ones((2, 2)), categorical_features=["x0"])


# ---- other tables ----


def test_columns_are_matched_by_name():
    X = pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]})
    assert _read(X, X[["b", "a"]]) == [[1, 2], ["u", "v"]]


@pytest.mark.parametrize(
    "change, text",
    [
        (lambda X: X.drop(columns="a"), "now missing:\n- a"),
        (lambda X: X.assign(z=1), "unseen at fit time:\n- z"),
        (lambda X: X.rename(columns={"a": "A"}), "unseen at fit time:\n- A\n.*now missing:\n- a"),
        (lambda X: X.to_numpy()[:, :1], "X has 1 features, but Taker is expecting 2"),
    ],
)
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_columns_that_are_absent_or_too_many(change, text):
    X = pd.DataFrame({"a": [1.0, 2.0], "b": ["u", "v"]})
    with pytest.raises(ValueError, match=text):
        _read(X, change(X))


def test_array_after_names_and_names_after_array():
    X = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 4.0]})
    with pytest.warns(UserWarning, match="does not have valid feature names, but Taker"):
        assert _read(X, X.to_numpy()) == [[1, 2], [3, 4]]
    with pytest.warns(UserWarning, match="X has feature names, but Taker"):
        assert _read(X.to_numpy(), X) == [[1, 2], [3, 4]]


def test_repeated_names_are_refused():
    X = pd.DataFrame([[1, 2, 3]], columns=["a", "b", "a"])
    with pytest.raises(ValueError, match=r"same name: \['a'\]"):
        _fit(X)
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    with pytest.raises(ValueError, match=r"same name: \['a'\]"):
        _fit(pa.table([[1], [2]], names=["a", "a"]))


def test_names_that_are_no_text():
    X = pd.DataFrame([[1, "a"]], columns=[7, 3])
    taker, schema, columns = _fit(X)
    assert not hasattr(taker, "feature_names_in_")
    assert schema.names == ["7", "3"]
    assert list(map(_values, columns)) == [[1], ["a"]]
    with pytest.raises(ValueError, match="column 7.*infinite"):
        _read(X, pd.DataFrame([[np.inf, "a"]], columns=[7, 3]))
    with pytest.raises(TypeError, match="only supported if all input features have string names"):
        _fit(pd.DataFrame([[1, 2]], columns=["a", 3]))


def test_names_of_an_earlier_fit_are_forgotten():
    taker = Taker()
    fit_schema(taker, pd.DataFrame({"a": [1.0]}))
    fit_schema(taker, np.ones((2, 3)))
    assert not hasattr(taker, "feature_names_in_") and taker.n_features_in_ == 3


@pytest.mark.parametrize(
    "fitted, later, text",
    [
        ([1.0, 2.0], ["1", "low"], "holds 'low', which is no number"),
        ([1.0, 2.0], pd.Categorical(["low", "high"]), "holds 'low'|holds 'high'"),
        ([1.0, 2.0], pd.to_datetime(["2020", "2021"]), "kind 'date', and held 'number'"),
        (pd.to_timedelta([1, 2], unit="D"), [1, 2], "kind 'number', and held 'duration'"),
    ],
)
def test_kinds_that_do_not_fit(fitted, later, text):
    with pytest.raises(ValueError, match=f"column 'a'.*(?:{text})"):
        _read(pd.DataFrame({"a": fitted}), pd.DataFrame({"a": later}))


@pytest.mark.parametrize(
    "fitted, later, expected",
    [
        ([1.0, 2.0], ["1", " 7 "], [1, 7]),
        ([1.0, 2.0], pd.Categorical([5, 6]), [5, 6]),
        ([1.0, 2.0], [True, False], [1, 0]),
        ([1.0, 2.0], [None, None], [None, None]),
        (["1", "2"], [3.5, 4.5], [3.5, 4.5]),
        (["u", "1"], [1, 2], ["1", "2"]),
        (["u", "1"], [1.0, np.nan], ["1", None]),
        (pd.Categorical([1, 2]), ["1", "x"], [1, "x"]),
        (pd.Categorical([1, 2]), [1.0, 2.5], [1, 2.5]),
        (pd.Categorical(["u", "v"]), pd.Categorical(["v", "u"], categories=["v", "u"]), ["v", "u"]),
        ([True, False], [0, 1], [0, 1]),
        ([True, False], ["True", "false", "u"], [1, 0, "u"]),
        (["True", "False", "u"], [True, False], ["True", "False"]),
        (["u", "v"], [None, None], [None, None]),
        ([None, None], ["u", "v"], [None, None]),
    ],
)
def test_values_count_not_types(fitted, later, expected):
    assert _read(pd.DataFrame({"a": fitted}), pd.DataFrame({"a": later})) == [expected]


def test_rows_of_a_column():
    column = _column(["a", "b", "c", None], object)
    for rows in ([3, 1], np.array([3, 1]), slice(3, 0, -2)):
        assert _values(column.take(rows)) == [None, "b"]
    assert _values(column.take(np.array([True, False, False, True]))) == ["a", None]
    assert len(column) == 4


@pytest.mark.filterwarnings("ignore:Columns of dates")
def test_schema_survives_pickling():
    X = FRAMES["pandas"]()
    taker, schema, _ = _fit(X)
    columns = read_columns(taker, pickle.loads(pickle.dumps(schema)), X)
    assert list(map(_values, columns)) == EXPECTED
