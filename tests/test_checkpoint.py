"""Checkpoints: a fit that was cut anywhere goes on and ends with the bits of one that was not."""

import contextlib
import copy
import errno
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from checkpointed_fits import FITS, Problem, absolute_error, half_square, unlike
from differences import difference
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import GridSearchCV

import fastbp
from fastbp import MLPClassifier, MLPRegressor, TabularClassifier, _core, _fit, _loops
from fastbp._checkpoints import evaluations, files, fingerprint, keeper, locks
from fastbp._files import container
from fastbp.tabular import _loop, _net

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:Training interrupted by user"),
]
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
SMALL = Problem(is_large=False)
# Every chance to write is taken.
ALWAYS = 1e-9


class InSteps:
    """A trainer whose time is up after each step, as far as it has a time."""

    def __init__(self, trainer):
        self._trainer = trainer

    def __getattr__(self, name):
        return getattr(self._trainer, name)

    def train_epoch(self, params, state, data, order, batch_size, *, row=0, until=np.inf, **others):
        if until < np.inf:
            order = np.arange(data.n_rows) if order is None else order
            order = order[: row + batch_size]
        return self._trainer.train_epoch(
            params, state, data, order, batch_size, row=row, until=np.inf, **others
        )


@pytest.fixture
def in_steps(monkeypatch):
    """Fits may write after each step."""
    for module, name in ((_fit, "take"), (_net, "make")):
        make = getattr(module, name)
        monkeypatch.setattr(module, name, lambda arguments, make=make: InSteps(make(arguments)))
    monkeypatch.setattr(_fit, "give_back", lambda trainer, arguments: None)


@pytest.fixture
def copies(monkeypatch, tmp_path):
    """Copies of all checkpoints that are written: what a kill right after would leave."""
    written = []
    write = files.write

    def write_and_copy(path, value):
        write(path, value)
        folder = tmp_path / f"copy {len(written)}"
        folder.mkdir()
        for suffix in ("", ".evaluations"):
            if os.path.exists(f"{path}{suffix}"):
                shutil.copy(f"{path}{suffix}", folder / f"state{suffix}")
        written.append(folder)

    monkeypatch.setattr(files, "write", write_and_copy)
    return written


def kept(folder, interval=ALWAYS):
    return {"checkpoint": folder / "state", "checkpoint_interval": interval}


@pytest.mark.parametrize("name", FITS)
def test_a_fit_goes_on_from_any_step(name, in_steps, copies, tmp_path):
    plain = FITS[name](SMALL, {})
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = FITS[name](SMALL, kept(folder))
    assert unlike(whole, plain) is None
    assert not list(folder.iterdir())
    cuts = copies[:]
    assert len(cuts) > 8
    some = {0, 1, 2, len(cuts) - 1, *np.random.default_rng(0).choice(len(cuts), 4)}
    for i in sorted(some):
        assert unlike(FITS[name](SMALL, kept(cuts[i], interval=60.0)), plain) is None, i
        assert not list(cuts[i].iterdir())


# ---- a checkpoint of another fit ----


@pytest.fixture
def cut(in_steps, copies, tmp_path):
    """``cut(name)`` is a folder with a checkpoint from the midst of this fit."""

    def folder_of(name, at=0.6):
        before = len(copies)
        FITS[name](
            SMALL, {"checkpoint": tmp_path / f"whole {before}", "checkpoint_interval": ALWAYS}
        )
        return copies[before + int(at * (len(copies) - before))]

    return folder_of


def other_data(**changes):
    """The small problem with arrays of which one number is another."""
    problem = Problem(is_large=False)
    for name, change in changes.items():
        setattr(problem, name, change(getattr(problem, name).copy()))
    return problem


def one_more(array):
    array[7] = array[7] + 1
    return array


PARAMETERS = {
    "alpha": (0.5, "alpha: this fit has 0.5, the checkpoint 0.0001"),
    "hidden_layer_sizes": ([12, 3], r"hidden_layer_sizes: this fit has \[12, 3\], .* \[12\]"),
    "max_iter": (7, "max_iter: this fit has 7, the checkpoint 4"),
    "random_state": (1, "random_state: this fit has 1, the checkpoint 0"),
    "max_memory": ("64MB", "max_memory: this fit has '64MB', the checkpoint None"),
    "class_weight": ({0: 2.0}, "class_weight: .*; sample_weight: other values"),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_another_parameter_is_named(name, cut):
    value, said = PARAMETERS[name]
    folder = cut("adam")
    before = (folder / "state").read_bytes()
    with pytest.raises(ValueError, match=f"is of another fit: .*{said}.*remove the file"):
        FITS["adam"](SMALL, {**kept(folder), name: value})
    assert (folder / "state").read_bytes() == before
    assert [path.name for path in folder.iterdir()] == ["state"]


def test_what_changes_no_bit_may_be_another(cut):
    folder, plain = cut("adam"), FITS["adam"](SMALL, {})
    free = {"n_threads": 2, "checkpoint_interval": 1.0, "checkpoint": str(folder / "state")}
    assert (
        unlike(
            FITS["adam"](SMALL, {"verbose": "progress", **free}).set_params(verbose=False), plain
        )
        is None
    )


OTHER_DATA = {
    "X: other values": ("adam", other_data(X=one_more)),
    "y: other values": ("own loss", other_data(y=one_more)),
    "sample_weight: other values": ("adam", other_data(weight=one_more)),
    r"X: this fit has float64 of shape \(140, 64\), the checkpoint .*150": (
        "early stopping",
        other_data(X=lambda X: X[:140], digits=lambda y: y[:140]),
    ),
    "X_val: other values": ("own rows to validate", other_data(X_val=one_more)),
    "y_val: other values": ("own rows to validate", other_data(digits_val=lambda y: y[::-1])),
    "X: other values.*CSR": ("sparse", other_data(X=one_more)),
    "the weights to start from: other values": (
        "warm start",
        other_data(digits=lambda y: y[::-1]),
    ),
    "y: other values.*": ("lbfgs", other_data(y=one_more)),
    "X: other values .*float32": (
        "table",
        other_data(table=lambda table: np.vstack([table[1:], table[:1]])),
    ),
}


@pytest.mark.parametrize("said", OTHER_DATA)
def test_other_data_are_named(said, cut):
    name, problem = OTHER_DATA[said]
    folder = cut(name)
    with pytest.raises(ValueError, match=f"is of another fit: .*{said}"):
        FITS[name](problem, kept(folder))
    assert (folder / "state").exists()


def test_seconds_of_earlier_fits_do_not_count(monkeypatch):
    est = FITS["warm start"](SMALL, {})
    start = fingerprint.start_of(est)
    est._history = [(row[0] + 1.0, *row[1:]) for row in est._history]
    assert fingerprint.start_of(est) == start
    est._history[0] = (*est._history[0][:1], 9.0, *est._history[0][2:])
    other = fingerprint.start_of(est)
    assert [name for name in start if other[name] != start[name]] == ["the curves to go on with"]


def test_labels_and_first_weights_count(cut):
    folder = cut("adam")
    with pytest.raises(ValueError, match="classes_: other"):
        FITS["adam"](other_data(digits=lambda y: y + 1), kept(folder))
    weights = [np.ones((64, 12)), np.ones((12, 10))]
    with pytest.raises(ValueError, match=r"coef_init\[0\]: this fit has float64 .*none"):
        SMALL.classifier(kept(folder), coef_init=weights, sample_weight=SMALL.weight)


@pytest.mark.parametrize(
    ("where", "name", "said"),
    [
        (fingerprint, "__version__", "fastbp: here 99, of the checkpoint "),
        (np, "__version__", "numpy: here 99, of the checkpoint "),
        (_core, "cpu_level", "instruction set: here 99, of the checkpoint "),
    ],
)
def test_another_version_is_named(where, name, said, cut, monkeypatch):
    folder = cut("adam")
    monkeypatch.setattr(where, name, (lambda: "99") if callable(getattr(where, name)) else "99")
    with pytest.raises(ValueError, match=said):
        FITS["adam"](SMALL, kept(folder))


def test_lbfgs_depends_on_scipy_and_blas(cut, monkeypatch):
    folder = cut("lbfgs")
    monkeypatch.setattr(fingerprint.scipy, "__version__", "99")
    monkeypatch.setattr(fingerprint, "_blas", lambda: "another")
    with pytest.raises(ValueError, match="BLAS: here another, .*; scipy: here 99, "):
        FITS["lbfgs"](SMALL, kept(folder))


def test_other_solvers_do_not_depend_on_scipy(cut, monkeypatch):
    folder, plain = cut("adam"), FITS["adam"](SMALL, {})
    monkeypatch.setattr(fingerprint.scipy, "__version__", "99")
    assert unlike(FITS["adam"](SMALL, kept(folder)), plain) is None


def test_another_estimator_is_named(cut):
    folder = cut("adam")
    with pytest.raises(ValueError, match=r"this fit is of .*MLPRegressor, .* of .*MLPClassifier"):
        SMALL.regressor(kept(folder))


def test_functions_count_by_name_and_code():
    def made(factor):
        def loss(output, y):
            return factor * output - y

        return loss

    def renamed(output, y):
        return 2 * output - y

    of_one_name = (lambda x: x + 1, lambda x: x + 2, lambda x: x * 1)
    functions = (made(2), made(3), renamed, absolute_error, *of_one_name)
    texts = [*map(fingerprint.text_of, functions)]
    assert len({*texts}) == 7
    assert fingerprint.text_of(made(2)) == texts[0]
    assert "made.<locals>.loss of code" in texts[0]
    scorer = fingerprint.text_of(get_scorer("accuracy"))
    assert scorer == fingerprint.text_of(get_scorer("accuracy")) and "accuracy" in scorer
    assert " at 0x" not in fingerprint.text_of(object())


class Reversed(frozenset):
    """A set that is gone through in the other order, as it may be in another process."""

    def __iter__(self):
        return reversed([*super().__iter__()])

    def __repr__(self):
        return repr([*self])


def test_the_order_of_a_set_does_not_count():
    def made(names):
        def scorer(est, X, y, also=names):
            return len(names) + len(also)

        return scorer

    def text_of(value):
        return fingerprint.text_of(value).replace("Reversed", "frozenset")

    names, others = frozenset("abc"), frozenset("abd")
    for around in (lambda s: s, lambda s: {1: (s, "x")}, made):
        assert text_of(around(names)) == text_of(around(Reversed(names)))
        assert text_of(around(names)) != text_of(around(others))
    assert fingerprint.text_of({1: 2}) != fingerprint.text_of({2: 1})
    assert len({*map(fingerprint.text_of, ((), set(), {}))}) == 3


def test_functions_in_a_dict_count_by_their_code():
    def made(n):
        return {"by": [lambda x: x * n]}

    assert fingerprint.text_of(made(2)) == fingerprint.text_of(made(2))
    assert fingerprint.text_of(made(2)) != fingerprint.text_of(made(3))


def changed(value, change):
    """A copy of which one of the last numbers is another."""
    value = value.copy()
    change(value)
    return value


def test_large_arrays_of_functions_count_by_their_values():
    """Also where a repr or a list of them would be short of some, or take much memory."""
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")

    def made(held):
        return lambda output, y: output * held

    def set_at(place):
        return lambda value: value.__setitem__(place, -3)

    n = 2000
    column, names = np.arange(n), np.array([str(i) for i in range(n)])
    table = pd.DataFrame({"a": column, "b": names})
    rows = sparse.csr_array(column.reshape(40, 50))
    masked = np.ma.masked_less(column, 7)
    pairs = [
        (column, changed(column, set_at(1500))),
        (names, changed(names, set_at(1500))),
        (names.astype(object), changed(names.astype(object), set_at(1500))),
        (masked, changed(masked, lambda a: a.mask.__setitem__(1500, True))),
        (table, changed(table, lambda t: t.isetitem(1, table["b"].where(column != 1500, "-3")))),
        (table, table.rename(columns={"b": "c"})),
        (table, table.set_index(column[::-1])),
        (table["a"], changed(table["a"], set_at(1500))),
        (pl.Series(column), pl.Series(changed(column, set_at(1500)))),
        (rows, changed(rows, lambda a: a.data.__setitem__(1500, -3))),
        (rows.tocoo(), changed(rows, lambda a: a.data.__setitem__(1500, -3)).tocoo()),
    ]
    texts = [[fingerprint.text_of(made(held)) for held in pair] for pair in pairs]
    assert [i for i, (a, b) in enumerate(texts) if a == b] == []
    assert [fingerprint.text_of(made(copy.deepcopy(pair[0]))) for pair in pairs] == [
        a for a, _ in texts
    ]
    assert len(fingerprint.text_of(column)) < 200
    assert fingerprint.text_of(np.arange(3)) == fingerprint.text_of([0, 1, 2])


def test_tables_count_by_their_values_however_they_are_shown():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    frame = pd.DataFrame({f"column {i}": [i, i + 1.5] * 50 for i in range(9)})
    kinds = frame["column 0"].astype(str).astype("category")
    tables = [frame, frame["column 1"], frame.columns, kinds, pl.DataFrame(np.ones((60, 9)))]
    wide = [fingerprint.text_of(value) for value in tables]
    with pd.option_context("display.max_columns", 4, "display.max_rows", 7, "display.width", 20):
        with pd.option_context("display.max_seq_items", 1), pl.Config(tbl_cols=3, tbl_rows=4):
            assert [fingerprint.text_of(value) for value in tables] == wide
    other_order = kinds.cat.reorder_categories(kinds.cat.categories[::-1])
    others = [
        frame.rename_axis("rows"),
        *(pd.MultiIndex.from_tuples([(1, 2)], names=[*names]) for names in ("ab", "ac")),
        frame.astype({"column 0": "float32"}),
        frame["column 1"].rename("other"),
        other_order,
        other_order.to_frame(),
        kinds.to_frame(),
        kinds.array,
        pl.Series("a", [1, 2]),
        pl.Series("b", [1, 2]),
        pl.Series("b", [1, 2], pl.Int8),
    ]
    assert len({*wide, *map(fingerprint.text_of, others)}) == len(tables) + len(others)


def test_digests_see_every_number():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 700)).astype(np.float32)  # two blocks
    digest = fingerprint.digest_of(X)
    assert digest == fingerprint.digest_of(X.copy(order="F"), n_threads=2)
    assert digest == fingerprint.digest_of(np.repeat(X, 2, axis=1)[:, ::2])
    for place in ((0, 0), (2999, 699), (2995, 3)):
        other = X.copy()
        other[place] = -other[place]
        assert fingerprint.digest_of(other) != digest
    assert fingerprint.digest_of(X[::-1]) != digest
    rows = sparse.csr_array(X[:9, :9])
    assert fingerprint.digest_of(rows) == fingerprint.digest_of(rows.copy())
    for part in ("data", "indices", "indptr"):
        other = rows.copy()
        getattr(other, part)[1] += 1
        assert fingerprint.digest_of(other) != fingerprint.digest_of(rows), part


@pytest.mark.parametrize("name", ["warm start", "adam"])
def test_a_fit_that_is_refused_changes_nothing(name, cut):
    folder = cut(name)
    generator = np.random.RandomState(5)
    est = MLPClassifier((9,), random_state=generator, max_iter=2, warm_start=True)
    est.fit(SMALL.X, SMALL.digits)
    before = copy.deepcopy(est)
    est.set_params(**kept(folder), alpha=0.1)
    with pytest.raises(ValueError, match="is of another fit"):
        est.fit(SMALL.X, SMALL.digits)
    assert (
        difference(est.set_params(checkpoint=None, checkpoint_interval=60.0, alpha=1e-4), before)
        is None
    )


# ---- files that are no checkpoints ----


def test_a_model_is_not_overwritten(tmp_path):
    path = tmp_path / "model.fastbp"
    est = FITS["adam"](SMALL, {})
    fastbp.save(est, path)
    before = path.read_bytes()
    for name in FITS:
        with pytest.raises(
            ValueError, match="model.fastbp' is a file, but no checkpoint, and is not"
        ):
            FITS[name](SMALL, {"checkpoint": path})
    assert path.read_bytes() == before
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="no checkpoint"):
        FITS["adam"](SMALL, {"checkpoint": path})
    assert [*tmp_path.iterdir()] == [path]


def test_what_takes_no_file_is_refused(tmp_path):
    for path, error, said in (
        (tmp_path, IsADirectoryError, "takes a file, and this is a folder"),
        (tmp_path / "none" / "state", FileNotFoundError, "No such file"),
        (f"{tmp_path}/state/", IsADirectoryError, "Is a folder, where it takes a file"),
        *([("/dev/null", OSError, "is a device or a pipe")] * os.path.exists("/dev/null")),
        ("a\0b", ValueError, "checkpoint is .*without the character NUL"),
    ):
        with pytest.raises(error, match=said) as caught:
            FITS["adam"](SMALL, {"checkpoint": path})
        if isinstance(caught.value, OSError):
            assert caught.value.filename == str(path)
    assert not [*tmp_path.iterdir()]


def test_load_says_that_it_is_a_checkpoint(cut):
    folder = cut("adam")
    with pytest.raises(fastbp.io.FileError, match="is the checkpoint of a fit that has not ended"):
        fastbp.load(folder / "state")


def test_a_damaged_checkpoint_is_refused(cut):
    folder = cut("adam")
    path = folder / "state"
    whole = path.read_bytes()
    for damaged in (whole[:-9], whole[:-9] + b"x" + whole[-8:]):
        path.write_bytes(damaged)
        said = "checkpoint='.*state': .*state cannot be loaded: it is damaged.*remove the file"
        with pytest.raises(fastbp.io.FileError, match=said):
            FITS["adam"](SMALL, kept(folder))
        assert path.read_bytes() == damaged
    value = files.read(path) if path.write_bytes(whole) else None
    for part in value:
        files.write(path, {**value, part: None})
        with pytest.raises(fastbp.io.FileError, match=f"is damaged: its {part} is no "):
            FITS["adam"](SMALL, kept(folder))
    vectors = {**value["vectors"], "params": np.zeros(3)}
    files.write(path, {**value, "vectors": vectors})
    with pytest.raises(fastbp.io.FileError, match="is damaged: its vectors are"):
        FITS["adam"](SMALL, kept(folder))


def test_a_checkpoint_in_a_later_container_is_one(cut, monkeypatch):
    folder = cut("adam")
    whole = (folder / "state").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(container, "FORMAT", 12)
        value = files.read(folder / "state")
        files.write(folder / "state", value)
    later = (folder / "state").read_bytes()
    with pytest.raises(fastbp.io.FileError, match="later version of fastbp, in format 12.*remove"):
        FITS["adam"](SMALL, kept(folder))
    for n in (0, *range(8, 90), len(later)):
        (folder / "state.part").write_bytes(later[:n])
        files.remove_part(str(folder / "state"))
        assert not (folder / "state.part").exists()
    (folder / "state").write_bytes(whole.replace(b'"fastbp":"1"', b'"fastbp":"x"'))
    with pytest.raises(ValueError, match="no checkpoint"):
        FITS["adam"](SMALL, kept(folder))


def test_a_checkpoint_of_a_later_format_is_refused(cut, monkeypatch):
    folder = cut("adam")
    monkeypatch.setattr(files, "FORMAT", 0)
    with pytest.raises(
        fastbp.io.FileError, match="is a checkpoint of format 1, which another version"
    ):
        FITS["adam"](SMALL, kept(folder))


# ---- writing fails ----


class Failing:
    """Writes fail, all or the first ones."""

    def __init__(self, monkeypatch, n_failures=10**9, before=lambda: None):
        self.n_calls, write = 0, container.write

        def failing(*arguments, **others):
            self.n_calls += 1
            before()
            if self.n_calls <= n_failures:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "state")
            write(*arguments, **others)

        monkeypatch.setattr(container, "write", failing)


@pytest.mark.parametrize("name", ["adam", "lbfgs", "table, members"])
def test_a_full_disk_is_warned_of_once_and_training_goes_on(name, in_steps, monkeypatch, tmp_path):
    plain, failing = FITS[name](SMALL, {}), Failing(monkeypatch)
    with pytest.warns(UserWarning, match="checkpoint=.*No space left.*Training goes on") as warned:
        est = FITS[name](SMALL, kept(tmp_path))
    assert len([w for w in warned if "checkpoint" in str(w.message)]) == 1
    assert warned[0].filename.endswith("checkpointed_fits.py")
    assert failing.n_calls > 8
    assert unlike(est, plain) is None
    assert not [*tmp_path.iterdir()]


def test_it_is_tried_again(in_steps, copies, monkeypatch, tmp_path):
    plain, folder = FITS["adam"](SMALL, {}), tmp_path / "whole"
    folder.mkdir()
    Failing(monkeypatch, n_failures=3)
    with pytest.warns(UserWarning, match="could not be written"):
        FITS["adam"](SMALL, kept(folder))
    assert unlike(FITS["adam"](SMALL, kept(copies[2])), plain) is None


@pytest.mark.filterwarnings("error:checkpoint=")
def test_a_warning_that_is_an_error_loses_nothing(in_steps, monkeypatch, tmp_path):
    plain = FITS["adam"](SMALL, {})
    Failing(monkeypatch)
    est = MLPClassifier(**SMALL.settings, random_state=0, **kept(tmp_path))
    with pytest.raises(UserWarning, match="could not be written"):
        est.fit(SMALL.X, SMALL.digits, SMALL.weight)
    assert unlike(est, plain) is None


def test_a_file_that_grows_too_large_leaves_no_part(in_steps, tmp_path):
    resource = pytest.importorskip("resource")
    plain, (soft, hard) = FITS["adam"](SMALL, {}), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.warns(UserWarning, match="could not be written: .*File too large"):
            est = FITS["adam"](SMALL, kept(tmp_path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert unlike(est, plain) is None
    assert not [*tmp_path.iterdir()]


def test_a_folder_may_vanish(in_steps, monkeypatch, tmp_path):
    plain, folder = FITS["adam"](SMALL, {}), tmp_path / "folder"
    folder.mkdir()
    Failing(monkeypatch, 0, before=lambda: shutil.rmtree(folder, ignore_errors=True))
    with pytest.warns(UserWarning, match="could not be written: .*No such file"):
        est = FITS["adam"](SMALL, kept(folder))
    assert unlike(est, plain) is None
    assert not folder.exists()


def test_what_takes_the_place_of_a_checkpoint_is_not_overwritten(in_steps, copies, tmp_path):
    def scorer(est, X, y):
        (tmp_path / "state").write_text("mine")
        return est.score(X, y)

    with pytest.warns(UserWarning, match="is a file, but no checkpoint"):
        SMALL.classifier({"scoring": scorer, "early_stopping": True, **kept(tmp_path)})
    assert copies and (tmp_path / "state").read_text() == "mine"


def test_a_full_disk_stops_a_fit_before_it_begins(monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=500))
    for name in ("adam", "table", "lbfgs"):
        with pytest.raises(OSError, match=r"takes [\d,]+ bytes, where 500 are free") as caught:
            FITS[name](SMALL, kept(tmp_path))
        assert caught.value.filename == str(tmp_path / "state")
    assert not [*tmp_path.iterdir()]


def test_leftovers_of_a_killed_process_do_not_pile_up(cut, tmp_path):
    folder, plain = cut("adam"), FITS["adam"](SMALL, {})
    whole = (folder / "state").read_bytes()
    for lock, n in ((b"", 0), (b"123", 8), (b"4567", 40), (b"89", 300)):
        (folder / "state").write_bytes(whole)
        (folder / "state.lock").write_bytes(lock)
        (folder / "state.part").write_bytes(whole[:n])
        assert unlike(FITS["adam"](SMALL, kept(folder)), plain) is None
        assert not [*folder.iterdir()]


@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_what_a_power_failure_has_left_is_removed(name, cut):
    """Zeros in the place of what was written, in as many bytes."""
    folder, plain = cut(name), FITS[name](SMALL, {})
    for suffix in (".lock", ".part", *[".evaluations"] * (name == "lbfgs")):
        (folder / f"state{suffix}").write_bytes(bytes(300))
    assert unlike(FITS[name](SMALL, kept(folder)), plain) is None
    assert not [*folder.iterdir()]


def test_a_part_does_not_outlive_a_fit_that_writes_nothing(tmp_path):
    (tmp_path / "state.part").write_bytes(b"")
    FITS["adam"](SMALL, kept(tmp_path, interval=60.0))
    assert not [*tmp_path.iterdir()]


MINE = (b"mine", b"A file of mine, longer than a number of a process." * 9, b"\0" * 300 + b"mine")


@pytest.mark.parametrize("content", MINE, ids=["short", "long", "zeros"])
@pytest.mark.parametrize("suffix", [".lock", ".part", ".evaluations"])
@pytest.mark.parametrize("name", ["adam", "lbfgs"])
def test_files_of_others_beside_a_checkpoint_stay(name, suffix, content, tmp_path):
    (tmp_path / f"state{suffix}").write_bytes(content)
    with pytest.raises(ValueError, match=f"checkpoint=.*state' needs .*{suffix}' .*Move it away"):
        FITS[name](SMALL, kept(tmp_path))
    assert (tmp_path / f"state{suffix}").read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == [f"state{suffix}"]


@pytest.mark.parametrize("suffix", [".lock", ".part"])
def test_files_of_others_stay_if_they_come_later(suffix, tmp_path):
    def scorer(est, X, y):
        (tmp_path / f"state{suffix}").write_text("mine")
        return est.score(X, y)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        SMALL.classifier({"scoring": scorer, "early_stopping": True, **kept(tmp_path)})
    assert (tmp_path / f"state{suffix}").read_text() == "mine"


# ---- who may have it ----


def test_a_path_is_of_one_fit_at_a_time(tmp_path):
    def scorer(est, X, y):
        with pytest.raises(ValueError, match="in use by another fit, of this process: each fit"):
            FITS["lbfgs"](SMALL, kept(tmp_path))
        return est.score(X, y)

    SMALL.classifier({"scoring": scorer, "early_stopping": True, **kept(tmp_path)})
    assert not [*tmp_path.iterdir()]


def test_a_path_is_of_one_process_at_a_time(tmp_path):
    pytest.importorskip("fcntl")
    program = (
        "import sys; from fastbp._checkpoints.locks import Lock; lock = Lock(*sys.argv[1:] * 2); "
        "lock.take(); print('has it', flush=True); sys.stdin.read()"
    )
    path = str(tmp_path / "state")
    other = subprocess.Popen(
        [sys.executable, "-c", program, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout.readline()
        with pytest.raises(ValueError, match=f"in use by another fit, of process {other.pid}"):
            FITS["adam"](SMALL, {"checkpoint": path})
        other.kill()
        other.wait()
    FITS["adam"](SMALL, {"checkpoint": path})
    assert not [*tmp_path.iterdir()]


def in_child(action):
    """Whether a forked process got through this without an exception."""
    number = os.fork()
    if not number:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(number, 0)[1] == 0


@forks
def test_a_refused_fit_leaves_the_lock_of_the_other(tmp_path):
    """The system takes a lock from a process that closes the file, whoever opened it."""
    path = str(tmp_path / "state")

    def refused_as_other_process():
        with pytest.raises(ValueError, match=f"in use by another fit, of process {os.getppid()}:"):
            locks.Lock(path, path).take()

    def scorer(est, X, y):
        with pytest.raises(ValueError, match="of this process"):
            FITS["adam"](SMALL, kept(tmp_path))
        outcomes.append(in_child(refused_as_other_process))
        return est.score(X, y)

    outcomes = []
    SMALL.classifier(
        {"scoring": scorer, "early_stopping": True, "max_iter": 1, **kept(tmp_path, 60.0)}
    )
    assert outcomes == [True]
    assert not [*tmp_path.iterdir()]


@forks
def test_a_lock_that_has_two_names_is_one(tmp_path):
    """As "state" and "State" are on a file system that does not tell them apart."""
    path, other = (str(tmp_path / name) for name in ("state", "other"))

    def refused_as_other_process():
        with pytest.raises(ValueError, match=f"in use by another fit, of process {os.getppid()}:"):
            locks.Lock(path, path).take()

    lock, refused = locks.Lock(path, path), locks.Lock(other, other)
    lock.take()
    os.link(f"{path}.lock", f"{other}.lock")
    with pytest.raises(ValueError, match="other' is in use by another fit, of this process"):
        refused.take()
    refused.release()
    assert in_child(refused_as_other_process)
    lock.release()
    assert [file.name for file in tmp_path.iterdir()] == ["other.lock"]


@forks
def test_a_child_has_a_path_when_its_parent_has_given_it_up(tmp_path):
    lock = locks.Lock(str(tmp_path / "state"), "state")
    lock.take()

    def take():
        (tmp_path / "state.lock").unlink()  # as its parent would
        locks.Lock(str(tmp_path / "state"), "state").take()
        lock.release()  # nothing, in a child
        assert (tmp_path / "state.lock").read_text() == str(os.getpid())

    assert in_child(take)
    lock.release()


def test_errors_of_a_lock_name_what_was_given(limit, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "none" / "state")
    with pytest.raises(FileNotFoundError) as caught:
        FITS["adam"](SMALL, {"checkpoint": tmp_path / "link"})
    assert caught.value.filename == str(tmp_path / "link")
    (tmp_path / "link").unlink()
    limit(0)
    with pytest.raises(OSError, match="File too large") as caught:
        FITS["adam"](SMALL, {"checkpoint": tmp_path / "state"})
    limit(None)  # before the report of the test, which may go to a file
    assert caught.value.filename == str(tmp_path / "state")
    assert not [*tmp_path.iterdir()]


@forks
def test_a_child_that_is_forked_writes_nothing(in_steps, copies, tmp_path):
    children = []

    def scorer(est, X, y):
        if not children:
            children.append(os.fork())
            if not children[0]:
                raise SystemExit
        return est.score(X, y)

    params = {"scoring": scorer, "early_stopping": True, **kept(tmp_path)}
    try:
        SMALL.classifier(params)
    except SystemExit:
        os._exit(0 if (tmp_path / "state.lock").exists() and len(copies) == 2 else 1)
    assert os.waitpid(children[0], 0)[1] == 0


def test_a_search_tries_one_after_the_other(tmp_path):
    est = MLPClassifier((5,), max_iter=3, random_state=0, **kept(tmp_path))
    search = GridSearchCV(est, {"alpha": [0.1, 1.0]}, cv=2, error_score="raise")
    search.fit(SMALL.X, SMALL.digits > 4)
    assert not [*tmp_path.iterdir()]


# ---- interrupted fits ----


class Interrupting:
    """A scorer that raises in one of its calls."""

    def __init__(self, error, at=3):
        self.error, self.at, self.n_calls = error, at, 0

    def __call__(self, est, X, y):
        self.n_calls += 1
        if self.n_calls == self.at:
            raise self.error
        return est.score(X, y)

    def __repr__(self):
        return "a scorer"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError, SystemExit])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_an_interrupted_fit_goes_on(solver, error, tmp_path):
    def fit(scoring, **params):
        params |= {"scoring": scoring, "early_stopping": True, "solver": solver}
        return SMALL.classifier(params, **SMALL.validated())

    scorer = Interrupting(error)
    plain = fit(Interrupting(error, at=99))
    with contextlib.suppress(error):
        fit(scorer, checkpoint=tmp_path / "state")
    assert (tmp_path / "state").exists()
    est = fit(scorer, checkpoint=tmp_path / "state")
    assert unlike(est.set_params(scoring=None), plain.set_params(scoring=None)) is None
    # The score that was interrupted is tried again, those before it are not.
    assert scorer.n_calls == 3 + SMALL.settings["max_iter"] - 2
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("interval", [ALWAYS, 60.0])
def test_a_fit_that_ends_without_its_checkpoint_says_so(interval, in_steps, monkeypatch, tmp_path):
    """Also if it has said before that it tries again."""
    Failing(monkeypatch)
    params = {"scoring": Interrupting(ZeroDivisionError, at=2), "early_stopping": True}
    with pytest.warns(UserWarning) as warned, pytest.raises(ZeroDivisionError):
        SMALL.classifier({**params, **kept(tmp_path, interval)})
    goes_on = ["Training goes on"] * (interval == ALWAYS)
    for warning, said in zip(warned, [*goes_on, "Training has ended"], strict=True):
        assert f"No space left on device: 'state'. {said}" in str(warning.message)


class InterruptedLoss:
    """A loss that raises once, in the midst of an epoch."""

    def __init__(self, at):
        self.at, self.n_calls = at, 0

    def __call__(self, *arguments):
        self.n_calls += 1
        if self.n_calls == self.at:
            raise ZeroDivisionError
        return half_square(*arguments)

    def __repr__(self):
        return "half the square"


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
def test_an_interrupted_step_is_made_again(solver, tmp_path):
    whole = InterruptedLoss(at=0)
    plain, n_calls = SMALL.regressor({"solver": solver, "loss": whole}), whole.n_calls
    params = {"solver": solver, "loss": InterruptedLoss(at=5), "checkpoint": tmp_path / "state"}
    with pytest.raises(ZeroDivisionError):
        SMALL.regressor(params)
    if solver == "sgd":
        place = files.read(tmp_path / "state")["course"]["place"]
        assert place[0] == 50  # rows of the second epoch
    est = SMALL.regressor(params)
    assert unlike(est.set_params(loss="huber"), plain.set_params(loss="huber")) is None
    assert params["loss"].n_calls == n_calls + 1


def test_an_interrupted_table_goes_on(monkeypatch, tmp_path):
    plain = FITS["table, members"](SMALL, {})
    score, calls = _loop.Watched.score, []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(_loop.Watched, "score", interrupted)
    est = FITS["table, members"](SMALL, {"checkpoint": tmp_path / "state"})
    assert est.n_iter_ == 3 and (tmp_path / "state").exists()
    assert unlike(FITS["table, members"](SMALL, {"checkpoint": tmp_path / "state"}), plain) is None
    assert not [*tmp_path.iterdir()]


def test_what_changes_in_half_is_not_written(in_steps, copies, monkeypatch, tmp_path):
    """An interrupt in the midst of what is noted leaves the checkpoint of before."""
    plain = FITS["adam"](SMALL, {})
    shuffle, calls = _loops.Rows.begin_epoch, []

    def interrupted(rows):
        shuffle(rows)
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(_loops.Rows, "begin_epoch", interrupted)
    FITS["adam"](SMALL, kept(tmp_path))
    before = len(copies)
    assert before == 6 and (tmp_path / "state").exists()
    assert unlike(FITS["adam"](SMALL, kept(tmp_path)), plain) is None


@pytest.mark.parametrize(
    ("name", "where", "method"),
    [
        ("adam", _loops.History, "mark"),
        ("adam", _loops.Rows, "restore"),
        ("table, members", _net.Training, "go_on"),
        ("table, members", _loop.History, "mark"),
    ],
)
@pytest.mark.parametrize("when", ["before", "after"])
def test_what_goes_on_in_half_is_not_written(name, where, method, when, cut, monkeypatch):
    """An exception while a fit takes up a checkpoint leaves that as it is."""
    folder, plain = cut(name), FITS[name](SMALL, {})
    before, call = files.read(folder / "state"), getattr(where, method)
    assert before["course"].get("place") or before["course"]["members"][0]["place"]

    def interrupted(*arguments):
        if when == "after":
            call(*arguments)
        raise ZeroDivisionError

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(where, method, interrupted)
        FITS[name](SMALL, kept(folder))
    assert difference(files.read(folder / "state"), before) is None
    assert unlike(FITS[name](SMALL, kept(folder)), plain) is None


def test_a_fit_that_ends_leaves_no_file(tmp_path):
    params = {"checkpoint": tmp_path / "state", "max_iter": 3}
    SMALL.classifier({**params, "max_time": 1e-9})
    assert not [*tmp_path.iterdir()]
    with pytest.raises(ValueError, match="non-finite"):
        SMALL.regressor({**params, "solver": "sgd", "learning_rate_init": 1e30})
    assert not [*tmp_path.iterdir()]
    TabularClassifier(checkpoint=tmp_path / "state").fit([[1.0], [2.0]], ["a", "a"])
    assert not [*tmp_path.iterdir()]


def test_one_answer_is_not_what_a_checkpoint_is_of(cut):
    folder = cut("table, members")
    est = TabularClassifier(checkpoint=folder / "state")
    with pytest.raises(ValueError, match="y has one answer only"):
        est.fit(SMALL.table, ["a"] * len(SMALL.table))


def test_partial_fit_writes_none(tmp_path):
    params = {"random_state": 0, **kept(tmp_path)}
    est = MLPClassifier((5,), **params).partial_fit(SMALL.X, SMALL.digits, classes=range(10))
    (tmp_path / "state").write_text("no checkpoint")
    est.partial_fit(SMALL.X, SMALL.digits)
    assert (tmp_path / "state").read_text() == "no checkpoint"


# ---- what goes on with it ----


def test_the_generator_of_all_goes_on(cut, in_steps, copies, tmp_path):
    """``random_state=None`` draws from NumPy's own, which is put where the fit began."""

    def fit(**params):
        drawn = {"early_stopping": True, "dropout": 0.2}  # rows to hold out, and a seed
        return SMALL.classifier({"random_state": None, **drawn, **params})

    np.random.seed(4)
    plain, after = fit(), np.random.get_state()[1].copy()
    np.random.seed(4)
    fit(checkpoint=tmp_path / "x", checkpoint_interval=ALWAYS)
    np.random.seed(99)
    assert unlike(fit(**kept(copies[5])), plain) is None
    np.testing.assert_array_equal(np.random.get_state()[1], after)


def test_generators_of_other_kinds_are_refused(tmp_path):
    generator = np.random.RandomState(np.random.PCG64(0))
    SMALL.classifier({"random_state": generator})
    with pytest.raises(
        ValueError, match="random_state draws from PCG64: with a checkpoint it takes"
    ):
        SMALL.classifier({"random_state": generator, **kept(tmp_path)})
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize("name", ["adam", "table"])
def test_the_time_goes_on(name, cut):
    folder = cut(name)
    value = files.read(folder / "state")
    files.write(folder / "state", {**value, "elapsed": value["elapsed"] + 1000})
    est = FITS[name](SMALL, kept(folder))
    seconds, n = est.history_["seconds"], len(value["course"]["attributes"]["loss_curve_"])
    assert 0 < n < len(seconds)
    assert max(seconds[:n]) < 1000 < min(seconds[n:])


def test_max_time_counts_the_runs_before(cut):
    folder = cut("adam", at=0.4)
    value = files.read(folder / "state")
    value["fingerprint"]["parameters"]["max_time"] = "500.0"
    files.write(folder / "state", {**value, "elapsed": 1000.0})
    n = len(value["course"]["attributes"]["loss_curve_"])
    with pytest.warns(
        ConvergenceWarning, match=f"max_time=500.0 seconds have passed after {n + 1}"
    ):
        FITS["adam"](SMALL, {"max_time": 500.0, **kept(folder)})


@pytest.mark.parametrize("name", ["adam", "lbfgs", "table"])
def test_epochs_are_told_and_printed_once(name, cut, capsys):
    """Callbacks learn of those that are left, with the numbers that they would have had."""
    pytest.importorskip("sklearn.callback")
    folder, told = cut(name), []
    n = len(files.read(folder / "state")["course"]["attributes"]["loss_curve_"])

    class Recorder:
        def setup(self, estimator, context):
            pass

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context):
            told.append(context.task_id)

    cls = type(FITS[name](SMALL, {}))
    fit = cls.fit

    def followed(est, *arguments, **others):
        return fit(est.set_callbacks(Recorder()), *arguments, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cls, "fit", followed)
        est = FITS[name](SMALL, {"verbose": True, **kept(folder)})
    assert 0 < n < est.n_iter_
    assert told == [*range(n, est.n_iter_), 0]
    printed = [line for line in capsys.readouterr().out.splitlines() if ", loss = " in line]
    assert [int(line.split()[1].strip(",")) for line in printed] == [*range(n + 1, est.n_iter_ + 1)]


def test_checkpoints_are_written_when_they_are_due(in_steps, copies, monkeypatch, tmp_path):
    seconds = iter(range(10**6))
    monkeypatch.setattr(keeper, "monotonic", lambda: float(next(seconds)))
    FITS["adam"](SMALL, {"checkpoint": tmp_path / "state", "checkpoint_interval": 1000.0})
    assert not copies
    FITS["adam"](SMALL, {"checkpoint": tmp_path / "state", "checkpoint_interval": 6.0})
    assert 1 <= len(copies) <= 3


# ---- L-BFGS ----


def test_the_log_is_cut_anywhere(cut):
    """What a kill or a power failure leaves of it is of use; what it lacks is computed again."""
    folder, plain = cut("lbfgs"), FITS["lbfgs"](SMALL, {})
    names = ("state", "state.evaluations")
    state, log = ((folder / name).read_bytes() for name in names)
    rng = np.random.default_rng(0)
    damaged = bytearray(log)
    damaged[len(log) // 2] ^= 1
    for kept_of_it in (
        b"",
        log[:5],
        log[:-1],
        *(log[:n] for n in rng.choice(len(log), 4)),
        damaged,
    ):
        (folder / "state").write_bytes(state)
        (folder / "state.evaluations").write_bytes(kept_of_it)
        assert unlike(FITS["lbfgs"](SMALL, kept(folder)), plain) is None
        assert not [*folder.iterdir()]


def test_a_log_of_another_fit_is_begun_anew(cut, copies, tmp_path):
    """It is there where the checkpoint beside it was removed; its first point is the same."""
    folder, plain = cut("lbfgs"), FITS["lbfgs"](SMALL, {})
    params = {"checkpoint": tmp_path / "other", "checkpoint_interval": ALWAYS}
    FITS["lbfgs"](other_data(y=one_more), params)
    other = copies[-1] / "state.evaluations"
    shutil.copy(other, folder)
    assert unlike(FITS["lbfgs"](SMALL, kept(folder)), plain) is None
    shutil.copy(other, folder)
    assert unlike(FITS["lbfgs"](SMALL, kept(folder)), plain) is None


def test_no_evaluation_is_made_twice(cut, monkeypatch):
    folder = cut("lbfgs", at=0.8)
    evaluate, calls = InSteps.__getattr__, []

    def noting(trainer, name):
        calls.append(name)
        return evaluate(trainer, name)

    monkeypatch.setattr(InSteps, "__getattr__", noting)
    FITS["lbfgs"](SMALL, {})
    every = calls.count("value_and_grad")
    calls.clear()
    FITS["lbfgs"](SMALL, kept(folder))
    assert 0 < calls.count("value_and_grad") <= every - 0.5 * every


class CrampedLoss:
    """A loss that lets no file grow, from one of its calls to another."""

    def __init__(self, path, limit, begin, end):
        self.path, self.limit, self.calls, self.n_calls = path, limit, (begin, end), 0

    def __call__(self, *arguments):
        self.n_calls += 1
        if self.n_calls == self.calls[0]:
            self.limit(self.path.stat().st_size + 20)  # of the next record some bytes have room
        elif self.n_calls == self.calls[1]:
            self.limit(None)
        return half_square(*arguments)

    def __repr__(self):
        return "half the square"


@pytest.fixture
def limit():
    """``limit(n)`` lets no file have more bytes; None sets it back."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def set_limit(n):
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if n is None else n, hard))

    yield set_limit
    set_limit(None)


def cramped(folder, limit, begin=0, end=0):
    """A fit, with a log that has no room meanwhile; and its loss."""
    loss = CrampedLoss(folder / "state.evaluations", limit, begin, end)
    est = SMALL.regressor({"solver": "lbfgs", "max_iter": 15, "loss": loss, **kept(folder)})
    return est.set_params(loss="huber"), loss


@pytest.mark.parametrize("most_waiting", [1 << 20, 2000])
def test_a_log_goes_on_when_there_is_room_again(most_waiting, limit, copies, monkeypatch, tmp_path):
    """What had no room is added; if it was too much to keep, it is computed again."""
    monkeypatch.setattr(evaluations, "_MOST_WAITING", most_waiting, raising=False)
    (tmp_path / "whole").mkdir()
    with pytest.warns(UserWarning, match="could not be written: .*File too large"):
        plain, loss = cramped(tmp_path / "whole", limit, 5, 9)
    n = loss.n_calls
    assert len(copies) == 1 + n - 4  # one as it begins, and one each but for those without room
    for at, known in ((6, 10), (n - 4, n)):
        known = known if most_waiting > 2000 else 4
        est, loss = cramped(copies[at], limit)
        assert unlike(est, plain) is None
        assert loss.n_calls == n - known
        assert not [*copies[at].iterdir()]


def evaluating(**params):
    """A fit by L-BFGS whose loss counts its calls, which may raise; and that loss."""
    loss = InterruptedLoss(at=0)
    params = {"solver": "lbfgs", "max_iter": 6, "loss": loss, **params}
    return loss, lambda: SMALL.regressor(params).set_params(loss="huber")


def test_what_is_killed_before_the_interval_has_passed_loses_no_evaluation(copies, tmp_path):
    """A checkpoint is there when the log begins, so that this is of use from its first record."""
    folder = tmp_path / "whole"
    folder.mkdir()
    loss, fit = evaluating(**kept(folder, 60.0))
    log, kept_of_it = evaluations.Evaluations.remove, []

    def remove(self):
        kept_of_it.append((folder / "state.evaluations").read_bytes())
        log(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluations.Evaluations, "remove", remove)
        plain = fit()
    (copy_of_it,) = copies
    n_head, n = len(evaluations._MARK) + evaluations.TOKEN, loss.n_calls
    record = (len(kept_of_it[0]) - n_head) // n
    for known in (n // 2, n):
        shutil.copy(copy_of_it / "state", folder)
        (folder / "state.evaluations").write_bytes(kept_of_it[0][: n_head + known * record])
        again, fit = evaluating(**kept(folder, 60.0))
        assert unlike(fit(), plain) is None
        assert again.n_calls == n - known


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.EIO, "Input/output error")])
def test_an_error_while_the_log_is_opened_leaves_it(error, cut, monkeypatch):
    folder, plain = cut("lbfgs", at=0.8), FITS["lbfgs"](SMALL, {})
    before = (folder / "state.evaluations").read_bytes()

    def opened(path, mode, **others):
        if mode == "rb":
            raise error
        return open(path, mode, **others)

    with monkeypatch.context() as patch, contextlib.suppress(KeyboardInterrupt, OSError):
        patch.setattr(evaluations, "open", opened, raising=False)
        FITS["lbfgs"](SMALL, kept(folder))
    assert (folder / "state.evaluations").read_bytes() == before
    assert unlike(FITS["lbfgs"](SMALL, kept(folder)), plain) is None


@forks
def test_a_child_that_is_forked_leaves_the_log_alone(tmp_path):
    """It neither adds to it, nor moves the place from which its parent reads."""
    path, points = str(tmp_path / "state"), np.arange(6.0).reshape(3, 2)
    log = evaluations.Evaluations(path, 2, b"t" * evaluations.TOKEN)
    log.open()
    for point in points:
        log.note(point, 1.0, point)
    log.close()
    before = (tmp_path / "state.evaluations").read_bytes()
    log = evaluations.Evaluations(path, 2, b"t" * evaluations.TOKEN)
    log.open()

    def go_on():
        for point in points:
            assert log.answer(point) is None
            log.note(point, 2.0, point)

    assert in_child(go_on)
    assert (tmp_path / "state.evaluations").read_bytes() == before
    assert all(log.answer(point) is not None for point in points)
    log.remove()


def test_another_point_than_that_of_the_log_is_an_error(cut):
    folder, plain = cut("lbfgs"), FITS["lbfgs"](SMALL, {})
    path, head_of = folder / "state.evaluations", evaluations._HEAD
    n_params = sum(array.size for array in (*plain.coefs_, *plain.intercepts_))
    first, log = len(evaluations._MARK) + evaluations.TOKEN, bytearray(path.read_bytes())
    second = first + head_of.size + 8 * n_params
    crc, of_point, loss = head_of.unpack(log[first : first + head_of.size])
    grad = log[first + head_of.size : second]
    head = head_of.pack(0, of_point, loss)
    assert evaluations._checksum(head, grad) == crc
    head = head_of.pack(0, of_point ^ 1, loss)
    head = head_of.pack(evaluations._checksum(head, grad), of_point ^ 1, loss)
    path.write_bytes(log[:first] + head + log[first + head_of.size :])
    with pytest.raises(RuntimeError, match="has the answer for another point.*Remove"):
        FITS["lbfgs"](SMALL, kept(folder))
    (folder / "state").unlink()
    assert unlike(FITS["lbfgs"](SMALL, kept(folder)), plain) is None
    assert not [*folder.iterdir()]


# ---- kills ----


@forks
def test_fits_that_are_killed_end_with_the_same_bits():
    """`make test-kills` kills more of them, of all kinds."""
    program = Path(__file__).with_name("kills.py")
    fits = ("early stopping", "table, members")
    done = subprocess.run(
        [sys.executable, program, "--kills", "2", "--fits", *fits], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " fits ended with the same bits, 0 did not\n" in done.stdout


# ---- the parameters elsewhere ----


def test_estimators_with_a_checkpoint_are_saved_and_cloned(tmp_path):
    path = tmp_path / "state"
    est = FITS["adam"](SMALL, {"checkpoint": path, "checkpoint_interval": 9})
    fastbp.save(est, tmp_path / "model")
    again = fastbp.load(tmp_path / "model")
    assert (again.checkpoint, again.checkpoint_interval) == (str(path), 9)
    assert clone(est).checkpoint == path
    assert unlike(again, est) is None
    assert repr(MLPRegressor(checkpoint="x")) == "MLPRegressor(checkpoint='x')"
    assert not hasattr(fastbp.to_sklearn(est), "checkpoint")
