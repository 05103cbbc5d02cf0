"""`save` and `load`: what comes back is what was there, and a file is whole or not there."""

import copy
import datetime
import errno
import importlib.util
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tabular_problems
from differences import difference
from estimator_problems import X_REG, Y_REG, assert_equal_params, fitted, inputs, small, targets
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, TabularRegressor
from fastbp._files import container, replacing
from fastbp.io import FileError

HERE = Path(__file__).parent / "files"
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def the_writer():
    spec = importlib.util.spec_from_file_location("write_files", HERE / "write.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


write = the_writer()


# ---- equality of everything ----


def test_differences_are_found():
    est = fitted(MLPClassifier)
    assert difference(est, copy.deepcopy(est)) is None
    for change in (
        lambda e: e.loss_curve_.__setitem__(0, e.loss_curve_[0] + 1e-15),
        lambda e: e._optimizer.state[1].__setitem__(3, 1),
        lambda e: setattr(e, "alpha", np.float64(e.alpha)),
        lambda e: e._random_state.random_sample(),
        lambda e: setattr(e, "classes_", e.classes_.astype(float)),
    ):
        other = copy.deepcopy(est)
        change(other)
        assert difference(est, other) is not None


# ---- estimators ----


def labelled(labels, **params):
    """A classifier of these labels, which are of any dtype."""
    y = np.asarray(labels)[np.arange(60) % len(labels)]
    return small(MLPClassifier, max_iter=2, **params).fit(X_REG[:60], y)


def with_pandas_names():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(X_REG, columns=list("abcdef"))
    return small(MLPRegressor).fit(X, Y_REG)


def with_odd_coefs():
    """Arrays that the user has put in: strided, of another byte order, read-only."""
    est = fitted(MLPRegressor, dtype="float64")
    est.coefs_ = [np.asfortranarray(est.coefs_[0]), est.coefs_[1].astype(">f8")]
    for W in est.coefs_:
        W.flags.writeable = False
    return est


def with_validation():
    est = small(MLPRegressor, warm_start=True, scoring="loss", max_time=99.0, warmup=0.1)
    return est.fit(X_REG, Y_REG, X_val=X_REG[:9], y_val=Y_REG[:9])


ESTIMATORS = {
    "text": lambda: labelled(["b", "a", "longer"]),
    "objects": lambda: labelled(np.array(["b", "a"], dtype=object)),
    "booleans": lambda: labelled([False, True]),
    "one label": lambda: labelled([7]),
    "floats": lambda: labelled([-1.0, 0.0, 3.0]),
    "small integers": lambda: labelled(np.array([3, 200], dtype=np.uint8)),
    "weights of labels": lambda: labelled(["a", "b"], class_weight={"a": 1, "b": np.float32(2)}),
    "names": with_pandas_names,
    "odd coefs_": with_odd_coefs,
    "validation": with_validation,
    "CSR": lambda: small(MLPRegressor).fit(sparse.csr_array(X_REG), Y_REG),
    "float32 rows": lambda: small(MLPRegressor, dtype="auto").fit(X_REG.astype("f4"), Y_REG),
    "far targets": lambda: small(MLPRegressor).fit(X_REG, Y_REG + 1e7),
    "no hidden layer": lambda: fitted(MLPRegressor, hidden_layer_sizes=(), dtype="float64"),
    "array of sizes": lambda: fitted(MLPRegressor, hidden_layer_sizes=np.array([3, 4])),
    "range of sizes": lambda: fitted(MLPRegressor, hidden_layer_sizes=range(3, 5)),
    "own generator": lambda: fitted(MLPRegressor, random_state=np.random.RandomState(7)),
    "generator of all": lambda: fitted(MLPRegressor, random_state=None),
    "adaptive": lambda: fitted(MLPRegressor, solver="sgd", learning_rate="adaptive"),
    "not finite": lambda: small(MLPRegressor, n_iter_no_change=np.inf),
    "numpy numbers": lambda: small(MLPRegressor, alpha=np.float32(0.1), max_iter=np.int64(3)),
}


def of_frame(**columns):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(columns)
    return tabular_problems.small(TabularRegressor).fit(frame, np.arange(float(len(frame))))


def of_intervals():
    pd = pytest.importorskip("pandas")
    return of_frame(a=pd.cut(np.arange(40) % 10, 3))


def of_timestamps():
    pd = pytest.importorskip("pandas")
    days = pd.date_range("2020-01-01", periods=4, tz="Europe/Berlin")
    return of_frame(a=pd.Categorical(np.array(days)[np.arange(40) % 4]))


def test_labels_with_a_time_zone_are_known_again(again):
    pd = pytest.importorskip("pandas")
    before = of_timestamps()
    after = again(before)
    labels = [*before._fitted.net.encoding._encoders[0].codes]
    frame = pd.DataFrame({"a": pd.Categorical(np.array(labels))})
    assert len(set(before.predict(frame))) == 4
    np.testing.assert_array_equal(before.predict(frame), after.predict(frame))


def of_mixed_objects():
    X = np.array([["a", 1], [2.5, True], [None, 0], ["1", 3]] * 15, dtype=object)
    return tabular_problems.small(TabularClassifier, categorical_features=[0, 1]).fit(
        X, ["x", "y", "y", "x"] * 15
    )


TABLES = {
    "classifier": lambda: tabular_problems.fitted(TabularClassifier, class_weight="balanced"),
    "regressor": lambda: tabular_problems.fitted(TabularRegressor, n_estimators=2),
    "not fitted": lambda: TabularClassifier(categorical_features=["a"], n_iter_no_change=np.inf),
    "intervals": of_intervals,
    "mixed objects": of_mixed_objects,
}


@pytest.mark.parametrize(
    "make", [*ESTIMATORS.values(), *TABLES.values()], ids=[*ESTIMATORS, *TABLES]
)
def test_everything_comes_back(make, again):
    before = make()
    if "coefs_" in vars(before):
        before._link(before._parameters())  # arrays of the user's own become contiguous
    after = again(before)
    assert difference(before, after) is None
    assert after._parameters().flat.ctypes.data % 64 == 0 if hasattr(after, "coefs_") else True


@pytest.mark.parametrize("make", write.MAKERS, ids=lambda make: make.__name__)
def test_files_of_today_are_whole(make, again):
    before = make()
    assert difference(before, again(before, **write.FUNCTIONS.get(make.__name__, {}))) is None


@pytest.mark.parametrize("name", sorted(p.stem for p in HERE.glob("*.fastbp")))
def test_files_of_before_predict_what_they_did(name):
    expected = json.loads((HERE / "expected.json").read_text())[name]
    after = fastbp.load(HERE / f"{name}.fastbp", **write.FUNCTIONS.get(name, {}))
    if expected is None:
        assert write.predictions(after) is None
    else:
        np.testing.assert_allclose(write.predictions(after), expected, rtol=1e-5, atol=1e-7)


def test_a_file_of_before_that_holds_values_has_them_all():
    assert difference(write.values(), fastbp.load(HERE / "values.fastbp")) is None


def test_there_is_a_file_of_every_kind():
    names = {make.__name__ for make in write.MAKERS}
    assert names == {p.stem for p in HERE.glob("*.fastbp")}
    assert sum(p.stat().st_size for p in HERE.glob("*.fastbp")) < 150_000


@pytest.mark.parametrize("cls", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize(
    "params",
    [{}, {"solver": "sgd"}, {"ema_decay": 0.9, "solver": "adamw"}, {"dropout": 0.2}],
    ids=str,
)
def test_partial_fit_goes_on_with_the_same_bits(cls, params, again):
    X, y = inputs(cls), targets(cls)
    before = small(cls, **params).fit(X, y).partial_fit(X, y)
    after = again(before)
    for est in (before, after, before, after):
        est.partial_fit(X, y)
    assert_equal_params(before, after)
    assert before.loss_curve_ == after.loss_curve_


def test_a_warm_start_goes_on_with_the_same_bits(again):
    def scorer(estimator, X, y):
        return -np.abs(estimator.predict(X) - y).mean()

    for params in ({"scoring": scorer}, {"scoring": "r2"}, {"learning_rate": np.sqrt}):
        params |= {"warm_start": True, "early_stopping": True, "random_state": 3}
        before = fitted(MLPRegressor, **params)
        after = again(before, **{k: v for k, v in params.items() if callable(v)})
        assert difference(before, after) is None
        for est in (before, after):
            est.fit(X_REG, Y_REG)
        assert_equal_params(before, after)
        assert before.best_validation_score_ == after.best_validation_score_


def test_a_watched_function_that_comes_from_another_process_is_the_same(again, path):
    """The curves of a warm start go on although the function has another address."""
    before = fitted(
        MLPRegressor, scoring=max_error, early_stopping=True, warm_start=True, max_iter=20
    )

    def other(estimator, X, y):
        return max_error(estimator, X, y)

    after = again(before, scoring=other)
    assert after._watched == (True, repr(other))
    before.fit(X_REG, Y_REG), after.fit(X_REG, Y_REG)
    assert_equal_params(before, after)


def max_error(estimator, X, y):
    return -np.abs(estimator.predict(X) - y).max()


def test_what_is_loaded_can_be_cloned_and_saved_again(again, tmp_path):
    first = again(fitted(MLPClassifier, early_stopping=True))
    fastbp.save(first, tmp_path / "b")
    assert difference(first, fastbp.load(tmp_path / "b")) is None
    assert clone(first).get_params() == first.get_params()


def test_a_generator_stays_one(again):
    est = again(fitted(MLPRegressor, random_state=np.random.RandomState(1)))
    assert est.random_state is est._random_state
    assert again(fitted(MLPRegressor, random_state=None))._random_state is np.random.mtrand._rand


def test_a_generator_goes_on_where_it_was(again):
    generator = np.random.RandomState(3)
    generator.normal(size=7)  # they come in pairs, of which one is kept
    after = again(generator)
    assert difference(generator.normal(size=3), after.normal(size=3)) is None


def test_the_same_object_is_the_same_text(tmp_path):
    for name in "ab":
        fastbp.save(
            [frozenset(f"{name}bcdefgh{i}" for i in range(20)) for name in "ab"], tmp_path / name
        )
    written = (tmp_path / "a").read_bytes()
    assert written == (tmp_path / "b").read_bytes()
    assert written.index(b"abcdefgh0") < written.index(b"abcdefgh1") < written.index(b"abcdefgh9")


@pytest.mark.parametrize("cls", [MLPClassifier, TabularRegressor])
def test_requests_of_metadata_come_back(cls, again):
    with config_context(enable_metadata_routing=True):
        est = cls().set_fit_request(sample_weight="w", X_val=True)
        after = again(est)
        assert repr(after.get_metadata_routing()) == repr(est.get_metadata_routing())
        assert after.get_metadata_routing().fit.requests["sample_weight"] == "w"
    assert "_metadata_request" not in vars(again(cls()))


def test_a_tensor_is_read_in_pieces(again, monkeypatch):
    monkeypatch.setattr(container, "_MOST_AT_ONCE", 100)
    assert (again(np.arange(1000)) == np.arange(1000)).all()


def test_an_array_that_changes_meanwhile_is_a_whole_file(path, monkeypatch):
    """The checksum is of the bytes that are written, whatever another thread does."""
    array = np.zeros(1 << 18)
    crc32 = container.zlib.crc32

    def changing(*arguments):
        array[:] += 1
        return crc32(*arguments)

    monkeypatch.setattr(container.zlib, "crc32", changing)
    fastbp.save(array, path)
    monkeypatch.setattr(container.zlib, "crc32", crc32)
    assert fastbp.load(path).min() > 0


def test_lists_that_occur_twice_are_one(again, path):
    for kind in (list, tuple, lambda parts: dict(enumerate(parts))):
        part = ["a"]
        for _ in range(15):
            part = kind([part, part])
        after = again({"whole": part})["whole"]
        assert after[0] is after[1] and type(after) is type(part)
        assert path.stat().st_size < 10_000  # written twice each, it would be thirty thousand
    part = ["a"]
    for _ in range(22):
        part = [part, part]
    with pytest.raises(TypeError, match="has its parts so often"):
        fastbp.save(part, path)
    part = ["a"]
    after = again(np.array([[part], {"a": part}, None], dtype=object))
    assert after[0][0] is after[1]["a"]


def test_what_is_saved_is_never_too_deep_to_load(again, path):
    for kind in (list, tuple, lambda parts: frozenset(parts), lambda parts: {"a": parts[0]}):
        part, deepest = (), None
        with pytest.raises(TypeError, match="is nested too deeply: it takes 50 levels"):
            while True:
                assert again(part) == part
                part, deepest = kind([part]), part
        depth = 0
        while deepest:
            deepest = next(iter(deepest.values() if type(deepest) is dict else deepest))
            depth += 1
        assert depth == 49
    arrays = [np.array(["a"], dtype=object)]
    for _ in range(60):
        arrays.append(np.empty(1, dtype=object))
        arrays[-1][0] = arrays[-2]
    with pytest.raises(TypeError, match="too deeply"):
        fastbp.save(arrays, path)


# ---- networks ----


def test_a_loop_goes_on_with_the_same_bits(again):
    net = fastbp.Network((6, 5, 1), "tanh", dtype="float64", loss="quantile", quantile=0.2)
    params = net.init_params(random_state=0)
    for cls in (fastbp.SGD, fastbp.Adam, fastbp.AdamW):
        optimizer = cls(net, learning_rate=0.01, ema_decay=0.9, max_grad_norm=1.0)
        optimizer.step(params, X_REG, Y_REG)
        before = {"net": net, "params": params, "optimizer": optimizer, "best": params}
        after = again(before)
        assert after["optimizer"].net is after["net"] and after["best"] is after["params"]
        for state in (before, after):
            state["optimizer"].step(state["params"], X_REG, Y_REG)
        assert difference(before, after) is None
        assert repr(after["optimizer"]) == repr(optimizer)
        assert after["net"].memory_plan == net.memory_plan


def test_a_network_is_saved_if_it_can_be_loaded(again, path):
    net = fastbp.Network((1, 2**23), batch_size=1)
    assert again(net).layer_sizes == net.layer_sizes
    for n_outputs in (2**22, 2**25):
        net._arguments = ((1, n_outputs), "relu", "huber", *net._arguments[3:])
        if n_outputs < 2**23:
            assert again(net).n_outputs == n_outputs
        else:
            with pytest.raises(TypeError, match="Network takes .* bytes of memory"):
                fastbp.save(net, path)
    assert again(fastbp.Network(range(2, 5), ["tanh"])).layer_sizes == (2, 3, 4)
    with pytest.raises(FileError, match="layer_sizes is .*a sequence of widths"):
        fastbp.save(fastbp.Network({2: 1, 3: 1}), path)


def test_texts_that_are_padded_stay_small_together(again):
    before = [np.array(["a"], dtype="U250000") for _ in range(100)]  # 100 MB
    after = again(before)
    assert sum(array.nbytes for array in after) < 2**26 and after[0].nbytes == 10**6
    assert all((a == b).all() for a, b in zip(before, after, strict=True))


def test_many_texts_of_unlike_lengths_are_saved(again):
    before = np.array(["a"] * 400_000 + ["b" * 60])  # 96 MB
    assert (again(before) == before).all()


def test_arrays_that_joblib_maps_are_saved(again, tmp_path):
    joblib = pytest.importorskip("joblib")
    before = fitted(MLPClassifier, early_stopping=True)
    joblib.dump(before, tmp_path / "m.joblib")
    mapped = joblib.load(tmp_path / "m.joblib", mmap_mode="r")
    assert type(mapped._optimizer.state[0]) is np.memmap
    assert difference(before, again(mapped)) is None


def test_a_network_of_ones_own_loss_gets_it_back(again):
    net = fastbp.Network((6, 1), loss=write.half_square)
    params = net.init_params(random_state=0)
    after = again(net, loss=write.half_square)
    assert after.loss(params, X_REG, Y_REG) == net.loss(params, X_REG, Y_REG)


def test_a_network_from_a_file_asks_for_memory_when_it_is_called(path):
    net = fastbp.Network((10, 10), batch_size=10)
    net._arguments = ((1000, 10**6, 1000), *net._arguments[1:])  # 8 GB of weights
    fastbp.save(net, path)
    after = fastbp.load(path)
    assert after.n_params == 2001 * 10**6 + 1000 and after._idle == {}


def test_an_optimizer_with_an_attribute_of_ones_own_is_refused(path):
    optimizer = fastbp.Adam(fastbp.Network((2, 1)))
    optimizer.note = 1
    with pytest.raises(FileError, match="Adam has 'note', which is unknown"):
        fastbp.save(optimizer, path)


# ---- functions, and what cannot be saved ----


def test_functions_are_asked_for_by_name(again, path):
    est = MLPRegressor(write.half_square, learning_rate=np.sqrt, scoring=max_error)
    with pytest.raises(
        FileError, match=r"half_square as its loss and .*max_error.*loss=function, scoring=f"
    ):
        again(est)
    with pytest.raises(FileError, match=r"max_error as its scoring.*scoring=function"):
        fastbp.load(path, loss=write.half_square, learning_rate=np.sqrt)
    with pytest.raises(FileError, match=r"loss is 3: it takes a function"):
        fastbp.load(path, loss=3)
    after = fastbp.load(path, loss=write.half_square, learning_rate=np.sqrt, scoring=max_error)
    assert after.get_params() == est.get_params()
    with pytest.raises(TypeError, match="load got 'tol'.*loss, learning_rate, scoring"):
        fastbp.load(path, tol=0.1)
    fastbp.save(MLPRegressor(), path)
    with pytest.raises(TypeError, match="load got 'loss', but nothing in .*a.fastbp lacks"):
        fastbp.load(path, loss=max)


class Derived(MLPRegressor):
    pass


def refused():
    """(object, what the message says) of what a file has no room for."""
    noted = fitted(MLPRegressor)
    noted.note_ = "mine"
    circle = []
    circle.append(circle)
    table = np.array([[object()], [3]] * 20, dtype=object)
    odd = tabular_problems.small(TabularRegressor).fit(table, np.arange(40.0))
    other = np.random.RandomState(np.random.PCG64(1))
    return [
        (Derived(), r"Derived, which fastbp.save cannot write.*MLPRegressor"),
        ({"a": [Derived()]}, r"\['a'\]\[0\] is of type .*Derived"),
        (noted, r"MLPRegressor has the attribute 'note_', which is none of fastbp's, of type str"),
        (circle, "nested too deeply"),
        (odd, r"column 'x0', labels.* is of type builtins.object, which fastbp.save cannot write"),
        (MLPRegressor(random_state=other), r"MLPRegressor.random_state draws from PCG64"),
        (MLPClassifier(class_weight={1: max}), r"class_weight\[1\] is of type .*builtin_function"),
        (np.ones(2, np.longdouble), "an array of dtype (float128|longdouble)"),
        (np.ones(2, complex), "an array of dtype complex128"),
        (np.zeros((1,) * 9), "an array of 9 dimensions"),
        (np.zeros((1,) * 9, dtype=object), "an array of 9 dimensions"),
        (np.dtype("c8"), "the dtype complex64, which fastbp.save cannot write"),
        (np.dtype("V5"), "the dtype .*V5"),
        (np.dtype("f8,f8"), r"the dtype \[\('f0'"),
        (np.dtype(np.longdouble), "the dtype (float128|longdouble)"),
        (range(1001), r"range\(0, 1001\), .* a range of 1000 numbers at most"),
        (len, "is of type builtins.builtin_function_or_method"),
        (MLPClassifier(max_iter=10**5000), r"MLPClassifier.max_iter is an integer of 16,610 bits"),
    ]


@pytest.mark.parametrize("number", range(18))
def test_what_a_file_cannot_hold_is_named(number, path):
    made, message = refused()[number]
    with pytest.raises(TypeError, match=message):
        fastbp.save(made, path)
    assert not path.exists()


def test_texts_of_any_width_are_named(path):
    if not hasattr(np.dtypes, "StringDType"):
        pytest.skip("NumPy 1 has none")
    dtype = np.dtypes.StringDType()
    for made, where in (
        ({"a": {"b": np.array(["c"], dtype)}}, r"\['a'\]\['b'\]"),
        ([dtype], r"\[0\]"),
    ):
        with pytest.raises(TypeError, match=where + " is .*StringDType.*cannot write"):
            fastbp.save(made, path)


def test_callbacks_are_not_saved(path):
    callback = pytest.importorskip("sklearn.callback")
    est = MLPRegressor().set_callbacks(callback.ScoringMonitor(scoring="r2"))
    with pytest.raises(TypeError, match=r"has callbacks.*set_callbacks\(\)"):
        fastbp.save(est, path)
    fastbp.save(est.set_callbacks(), path)


def test_what_load_would_refuse_is_not_saved(path):
    broken = fitted(MLPRegressor)
    broken.n_features_in_ = 3
    for made, message in (
        (MLPRegressor(alpha=-1), "alpha"),
        (MLPRegressor(max_memory="much"), "max_memory='much'"),
        (broken, "n_features_in_ is 3: it takes 6"),
        (fitted(MLPRegressor).set_params(activation=["relu", "tanh"]), "activation=.*2 entries"),
    ):
        with pytest.raises(ValueError, match=message):
            fastbp.save(made, path)
    assert not path.exists()


def test_a_label_of_pandas_needs_pandas(path, monkeypatch):
    fastbp.save(of_intervals(), path)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(FileError, match="a label of pandas, which is not installed"):
        fastbp.load(path)


def test_texts_that_are_padded_stay_small(again):
    labels = np.array(["a", "b"] * 2000, dtype="<U1000")
    after = again(labels)
    assert after.dtype == "<U1" and (after == labels).all()
    assert again(labels[:2]).dtype == "<U1000"


def test_dates_with_a_zone_are_the_same_moment(again):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    moment = datetime.datetime(2020, 5, 1, 12, tzinfo=zone)
    assert again(moment) == moment


# ---- a file is whole or not there ----


@pytest.fixture
def saved(path):
    fastbp.save(np.arange(3), path)
    return path


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace", "chmod"])
def test_a_save_that_fails_leaves_what_was_there(saved, monkeypatch, call, error):
    before = saved.read_bytes()
    saved.chmod(0o600)

    def fail(*arguments):
        raise error

    monkeypatch.setattr(replacing.os, call, fail)
    with pytest.raises(type(error)):
        fastbp.save(np.arange(4), saved)
    assert saved.read_bytes() == before and os.listdir(saved.parent) == [saved.name]


def test_bytes_are_on_the_disk_before_the_name_is(path, monkeypatch):
    calls = []
    for name in ("fsync", "replace"):
        function = getattr(os, name)

        def noted(*arguments, name=name, function=function):
            calls.append(name)
            return function(*arguments)

        monkeypatch.setattr(replacing.os, name, noted)
    fastbp.save(1, path)
    assert calls == ["fsync", "replace", "fsync"]  # the last one of the folder


@pytest.mark.skipif(sys.platform == "win32", reason="permissions and links of POSIX")
def test_permissions_and_links_are_those_that_open_would_leave(tmp_path):
    path, link = tmp_path / "a", tmp_path / "link"
    old = os.umask(0o027)
    try:
        fastbp.save(1, path)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.chmod(0o604)
    link.symlink_to("a")
    fastbp.save(2, link)
    assert stat.S_IMODE(path.stat().st_mode) == 0o604
    assert link.is_symlink() and fastbp.load(path) == fastbp.load(link) == 2
    dangling = tmp_path / "dangling"
    dangling.symlink_to("new")
    fastbp.save(3, dangling)
    assert fastbp.load(tmp_path / "new") == 3


def test_where_no_file_can_be_it_is_an_error_of_the_system(tmp_path, monkeypatch):
    with pytest.raises(IsADirectoryError, match="folder"):
        fastbp.save(1, tmp_path)
    with pytest.raises(FileNotFoundError):
        fastbp.save(1, tmp_path / "no" / "a")
    if os.path.exists("/dev/null"):
        with pytest.raises(OSError, match="device"):
            fastbp.save(1, "/dev/null")
    fastbp.save(1, tmp_path / "a")
    monkeypatch.setattr(replacing.os, "access", lambda *arguments: False)
    with pytest.raises(PermissionError):
        fastbp.save(1, tmp_path / "a")
    with pytest.raises(TypeError):
        fastbp.save(1, open(tmp_path / "a", "rb"))  # noqa: SIM115
    assert fastbp.load(tmp_path / "a") == 1


SAVES = """
import sys, numpy as np, fastbp
fastbp.save(np.zeros(1 << 18), sys.argv[1])
print("saved", flush=True)
while True:
    for i in range(9):
        fastbp.save(np.full(1 << 18, i), sys.argv[1])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_killed_save_leaves_a_whole_file(path):
    with subprocess.Popen([sys.executable, "-c", SAVES, path], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"saved\n"
        time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    assert len(set(fastbp.load(path).tolist())) == 1


@pytest.mark.parametrize("shape", [(300_001,), (3, 100_001), (100_001, 3), (1, 1, 300_001)])
def test_large_arrays_come_back(shape, again):
    array = np.random.RandomState(0).random_sample(shape)
    assert difference(array, again({"a": array, "b": array.T})["a"]) is None


def test_a_file_says_what_wrote_it(path):
    fastbp.save(1, path)
    versions = fastbp.io.load_with_versions(path, {}).versions
    assert versions["fastbp"] == fastbp.__version__ and versions["numpy"] == np.__version__
    assert versions.keys() == {"fastbp", "numpy", "scikit-learn", "python"}


def test_other_programs_can_read_the_tensors(path):
    load_file = pytest.importorskip("safetensors.numpy").load_file
    est = fitted(MLPRegressor)
    fastbp.save(est, path)
    tensors = load_file(path)
    assert any(np.array_equal(t, est._params.flat) for t in tensors.values())
