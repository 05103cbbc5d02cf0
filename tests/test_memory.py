"""The memory plan: sizes in words, caps that are kept, sizes that are refused."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ahead import Process, waits_for
from conftest import TOLERANCE, relative_error
from hypothesis import given
from hypothesis import strategies as st

import fastbp
from fastbp._input.arguments import parse_max_memory
from fastbp.memory import human_bytes, memory_plan


@pytest.mark.parametrize(
    "text, expected",
    [
        (None, 0),
        (1, 1),
        (np.int64(4096), 4096),
        ("1", 1),
        ("64MB", 64 * 10**6),
        ("64 mb", 64 * 10**6),
        ("64M", 64 * 10**6),
        ("1.5 GiB", 3 * 2**29),
        ("1.5KiB", 1536),
        (".5kB", 500),
        ("2.kB", 2000),
        ("  12 B ", 12),
        ("3TiB", 3 * 2**40),
        ("1000", 1000),
    ],
)
def test_sizes_are_understood(text, expected):
    assert parse_max_memory(text) == expected


@pytest.mark.parametrize(
    "value",
    ["", "MB", "12 parsecs", "-1MB", "1e6", "1..5MB", "0", "0.1", ".", 0, -5, True, 1.5, 2**63,
     "9999999 TiB", float("nan"), [1], b"1MB"],
)  # fmt: skip
def test_other_sizes_are_refused_by_name(value):
    with pytest.raises(ValueError, match="max_memory=.* is not a size"):
        parse_max_memory(value)


@given(st.integers(1, 2**63 - 1))
def test_bytes_survive_the_way_through_text(n):
    assert parse_max_memory(str(n)) == parse_max_memory(f"{n} B") == n


@given(st.integers(0, 2**63 - 1))
def test_readable_bytes_are_near(n):
    number, unit = human_bytes(n).split()
    scale = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    scale |= {"PiB": 2**50, "EiB": 2**60}
    assert float(number) * scale[unit] == pytest.approx(n, rel=0.051)
    assert len(number) <= 6


def test_the_table_shows_every_row_and_both_totals():
    plan = memory_plan((784, 512, 10), batch_size=256, n_threads=1)
    text = str(plan)
    lines = text.splitlines()
    for row in plan.rows:
        assert any(line.split()[0] == row.name and f"{row.bytes:,}" in line for line in lines)
    assert f"{plan.arena_bytes:,}" in text and f"{plan.total_bytes:,}" in text
    table = [line for line in lines[:-1] if not line.startswith("-")]
    assert max(map(len, lines[:-1])) == len(lines[1])
    assert len({line.rstrip().endswith("B") for line in table[1:]}) == 1
    assert lines[-1].startswith("256 rows a pass, 1 thread, dense layers by ")


def test_a_plan_cannot_be_changed():
    plan = memory_plan((3, 2))
    with pytest.raises(AttributeError):
        plan.arena_bytes = 0
    assert plan == memory_plan((3, 2))


@pytest.mark.parametrize("solver, vectors", [("none", 2), ("lbfgs", 2), ("sgd", 2), ("adam", 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_total_is_the_arena_and_the_vectors(solver, vectors, dtype):
    sizes = (20, 30, 4)
    plan = memory_plan(sizes, solver=solver, dtype=dtype)
    n_params = 20 * 30 + 30 * 4 + 34
    outside = [row for row in plan.rows if row.offset is None]
    flat = [row for row in outside if row.shape and row.shape[0] == n_params]
    assert plan.total_bytes == plan.arena_bytes + sum(row.bytes for row in outside)
    rounded = solver == "lbfgs" and dtype == "float32"  # computed in float64
    assert len(flat) == vectors + rounded
    assert all(row.bytes == n_params * 8 for row in flat[:vectors] if rounded)
    assert all(row.bytes >= n_params * np.dtype(dtype).itemsize for row in flat)


@pytest.mark.parametrize("cap", ["40 kB", 100_000, "1 MiB"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_max_memory_is_kept_and_changes_no_gradient(cap, dtype):
    sizes = (50, 64, 32, 5)
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(700, 50)), rng.normal(size=(700, 5))
    free = fastbp.Network(sizes, "tanh", dtype=dtype, batch_size=700)
    bound = fastbp.Network(sizes, "tanh", dtype=dtype, batch_size=700, max_memory=cap)
    assert bound.memory_plan.arena_bytes <= parse_max_memory(cap)
    assert 1 <= bound.memory_plan.batch_rows <= free.memory_plan.batch_rows == 700
    params = free.init_params(0)
    value, grad = free.value_and_grad(params, X, y, alpha=0.1)
    other, other_grad = bound.value_and_grad(params, X, y, alpha=0.1)
    assert other == pytest.approx(value, rel=TOLERANCE["twin", dtype])
    assert relative_error(other_grad, grad) <= TOLERANCE["twin", dtype]


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_gradient_is_whole_only_where_passes_add_it_up(n_threads):
    """Otherwise there are pieces of it, one per thread, used as soon as they are made."""
    sizes, n_params = (1000, 400, 400, 10), 1410 * 400 + 810
    one = memory_plan(sizes, batch_size=256, solver="adam", n_threads=n_threads)
    several = memory_plan(
        sizes, batch_size=256, solver="adam", n_threads=n_threads, max_memory="1 MB"
    )
    assert one.batch_rows == 256 and several.batch_rows < 256
    pieces, whole = ([r for r in p.rows if r.name == "grad"] for p in (one, several))
    assert [r.shape[0] for r in whole] == [n_params]
    assert [r.shape[0] for r in pieces] == [one.n_threads] == [n_threads]
    assert pieces[0].bytes <= n_threads * 128 * 1024 * 4 < whole[0].bytes


def test_a_larger_cap_takes_more_rows():
    rows = [
        memory_plan((100, 100, 10), batch_size=5000, max_memory=cap, n_threads=1).batch_rows
        for cap in ("100kB", "200kB", "1MB", "100MB")
    ]
    assert rows == sorted(rows) and rows[0] < rows[1] < rows[2] < rows[3] == 5000


def test_room_for_more_threads_takes_half_of_the_rows_at_most():
    caps = range(30_000, 400_000, 1_000)
    rows = [memory_plan((100, 100, 10), batch_size=500, max_memory=c).batch_rows for c in caps]
    assert all(2 * later >= before for before, later in itertools.pairwise(rows))


def test_a_cap_below_one_row_is_refused_by_name():
    with pytest.raises(ValueError, match="max_memory"):
        memory_plan((1000, 1000, 10), max_memory=100)
    with pytest.raises(ValueError, match="max_memory"):
        fastbp.Network((1000, 1000, 10), max_memory=100)


def test_max_memory_is_kept_by_teams():
    """Threads beyond those that there is room for are not started."""
    sizes, teams = (300, 300, 300, 10), set()
    for cap in range(300_000, 4_000_000, 100_000):
        plan = memory_plan(sizes, batch_size=500, max_memory=cap, n_threads=64)
        assert plan.arena_bytes <= cap
        teams.add(plan.n_threads)
    assert memory_plan(sizes, batch_size=500, n_threads=64).n_threads == 64
    assert 1 < min(teams) and max(teams) < 64


def test_a_cap_of_the_whole_plan_changes_nothing():
    settings = dict(layer_sizes=(784, 160, 160, 10), batch_size=128, n_threads=8)
    plan = memory_plan(**settings)
    assert plan.n_threads == 8
    assert memory_plan(**settings, max_memory=plan.arena_bytes) == plan
    assert memory_plan(**settings, max_memory=plan.arena_bytes - 1).batch_rows < 128


def test_a_cap_makes_any_mini_batch_possible():
    """Also one whose bytes could not be counted in one pass."""
    plan = memory_plan((2**30, 1), batch_size=2**40, max_memory="1 TiB")
    assert plan.arena_bytes <= 2**40 and plan.batch_rows > 100


@pytest.mark.parametrize(
    "sizes, batch_size",
    [((2**31 - 1, 2**31 - 1, 2**31 - 1), 2**40), ((10, 2**62, 2**62), 10), ((5, 5), 2**62),
     ((2**70, 2), 1), ((2, 2), 2**70), ((2**29, 2**29), 1)],
)  # fmt: skip
def test_sizes_beyond_the_machine_are_refused(sizes, batch_size):
    with pytest.raises((OverflowError, ValueError)):
        memory_plan(sizes, batch_size=batch_size)
    with pytest.raises((OverflowError, ValueError, MemoryError)):
        fastbp.Network(sizes, batch_size=batch_size)


def test_a_block_that_nobody_has_is_a_memory_error():
    """2**44 bytes fit in the address arithmetic, not in the machine."""
    with pytest.raises(MemoryError):
        fastbp.Network((2**21, 2**21))


def test_a_pass_has_no_more_rows_than_can_be_interrupted():
    """A large mini-batch runs in several, unless a whole gradient would be large beside them."""
    narrow, wide = (100, 512, 512, 1), (512, 300_000)
    plan = memory_plan(narrow, batch_size=400_000, n_threads=1)
    assert 50_000 < plan.batch_rows < 400_000
    again = memory_plan(narrow, batch_size=400_000, n_threads=2)
    assert again.batch_rows == plan.batch_rows and again.n_threads == 2
    assert memory_plan(narrow, batch_size=50_000, n_threads=1).batch_rows == 50_000
    assert memory_plan(wide, batch_size=1000, n_threads=1).batch_rows == 1000
    assert memory_plan(wide, batch_size=1000, n_threads=1, solver="none").batch_rows < 1000


def test_a_slow_mini_batch_keeps_its_gradient_if_that_is_small():
    """So that it can be given up until it is whole; the choice depends on shapes alone."""
    narrow, wide = (100, 512, 512, 1), (2000, 2000, 2000)

    def first_of_grad(sizes, rows, n_threads):
        plan = memory_plan(sizes, batch_size=rows, n_threads=n_threads)
        assert plan.batch_rows == rows and plan.n_threads == n_threads
        return next(row.shape[0] for row in plan.rows if row.name == "grad")

    n_params = 101 * 512 + 513 * 512 + 513
    for n_threads in (1, 2):
        assert first_of_grad(narrow, 20_000, n_threads) == n_params
        assert first_of_grad(narrow, 4_000, n_threads) == n_threads, "fast"
        assert first_of_grad(wide, 1000, n_threads) == n_threads, "large"


# Memory is made scarce until nothing, then the arena alone, then all of it can be had.
SCARCE = """
import re, resource
from pathlib import Path
from fastbp import _core

args = ((64, 4096, 4096, 8), ("relu", "relu"), "log_loss", "float32", 4096, "adam", 1)
plan = _core.plan(*args)
kept = sum(row[3] for row in plan["rows"] if row[2] is None and row[0] not in ("params", "m", "v"))
needed, said, had = plan["arena_bytes"] + kept, set(), 0
for share in range(20, 125, 5):
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + needed * share // 100, resource.RLIM_INFINITY))
    try:
        _core.Trainer(*args)
        had += 1
    except MemoryError as error:
        said.add(int(re.search(r"needs ([0-9]+) bytes", str(error))[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
assert had and said == {needed}, (had, said, needed)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="measures by /proc")
@waits_for(lambda: Process(SCARCE))
def test_a_memory_error_says_the_bytes_of_the_plan_whatever_was_had_already(ahead):
    ahead.printed()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(solver="adagrad"), r"solver='adagrad' is unknown.*'adam'"),
        (dict(dtype="int8"), r"dtype='int8'"),
        (dict(batch_size=-1), r"batch_size=-1"),
        (dict(activation="x"), r"activation='x'"),
        (dict(loss="x"), r"loss='x'"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        memory_plan((4, 3, 2), **arguments)
