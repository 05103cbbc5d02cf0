"""``make bench`` compares what it says it compares."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
PROGRAM = ROOT / "bench" / "calls.py"


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.syspath_prepend(str(PROGRAM.parent))
    import calls

    return calls


@pytest.fixture
def update(calls):
    """A call of which 12 times the speed is wanted."""
    (found,) = [c for c in calls.CALLS if c.name == "partial_fit 8-32-32-1 float32 32"]
    return found


def rounds(**times):
    """What a side measured, from microseconds of each round."""
    return [{name: 1e-6 * t for name, t in zip(times, pair, strict=True)}
            for pair in zip(*times.values(), strict=True)]  # fmt: skip


@pytest.mark.bench_programs
def test_a_tiny_run_prints_and_writes_its_table(tmp_path):
    output = tmp_path / "calls.json"
    done = subprocess.run(
        [sys.executable, PROGRAM, "--quick", "--cells", "^predict 4-32-32-5 float32 1$"]
        + ["--rounds", "1", "--seconds", "0.01", "--json", output],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads(output.read_text())
    (cell,) = results["cells"]
    assert cell["rows"] == 1 and cell["wanted"] == 5
    assert 0 < cell["parity"]["error"] <= cell["parity"]["tolerance"]
    theirs, ours = (cell["sides"][side]["alone"]["median"] for side in ("sklearn", "fastbp"))
    assert cell["ratio"]["median"] == pytest.approx(theirs / ours)
    (row,) = [line for line in done.stdout.splitlines() if line.startswith("| predict")]
    assert f"{cell['ratio']['median']:.2f}" in row
    assert results["machine"]["cpu"] in done.stdout


def test_other_results_fail_and_the_row_says_so(calls, update, capsys, monkeypatch):
    class Process:
        def __init__(self, commands, arguments):
            self.side = arguments[0]

        def ask(self, command, *arguments):
            assert command == "outcome", "timed before the results were compared"
            return np.array([1.0, 2.0 if self.side == "sklearn" else 2.001]), None

        def close(self):
            pass

    monkeypatch.setattr(calls, "Process", Process)
    assert calls.main(["--cells", update.name]) == 1
    printed = capsys.readouterr().out
    (row,) = [line for line in printed.splitlines() if line.startswith("| partial_fit")]
    assert "FAILED" in row
    assert "not the same result: differs by 0.0005" in printed


@pytest.mark.parametrize(("classes", "expected"), [([0, 1], 0.0), ([0, 0], 0.2 / 0.9)])
def test_a_class_of_less_probability_is_a_difference(calls, classes, expected):
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6]])
    found = calls.difference((probabilities, np.array(classes)), (probabilities, None))
    assert found == pytest.approx(expected)


def test_the_ratio_is_of_neighbours_in_time(calls, update):
    samples = {"sklearn": rounds(alone=[40, 100, 50]), "fastbp": rounds(alone=[10, 20, 50])}
    assert calls.evaluate(update, samples)["ratio"]["median"] == pytest.approx(4)


def test_after_blas_a_call_is_held_against_itself(calls):
    call = next(c for c in calls.CALLS if c.kind == "predict after BLAS")
    samples = {
        "sklearn": rounds(alone=[100, 100], after=[120, 120]),
        "fastbp": rounds(alone=[10, 10], after=[40, 40]),
    }
    found = calls.evaluate(call, samples)
    assert found["ratio"]["median"] == pytest.approx(4)
    assert found["peer"]["median"] == pytest.approx(1.2)
    assert calls.misses({"kind": call.kind, "wanted": call.wanted, **found})


@pytest.mark.parametrize(
    ("ours", "row", "last"), [(10, "**4.00** ▼", "1 of 1"), (2, " 20.00", "0")]
)
def test_what_misses_is_marked_and_stays(calls, update, monkeypatch, capsys, ours, row, last):
    samples = {"sklearn": rounds(alone=[40, 40]), "fastbp": rounds(alone=[ours, ours])}
    parity = {"error": 1e-8, "tolerance": 1e-4}
    cell = calls._cell(update, samples, parity, None)
    monkeypatch.setattr(calls, "measure_group", lambda *_: [cell])
    assert calls.main(["--cells", update.name]) == 0
    printed = capsys.readouterr().out
    assert row in printed
    assert printed.strip().splitlines()[-1].startswith(last)


@pytest.mark.alone
def test_the_time_of_what_goes_before_a_call_does_not_count(calls):
    import time

    from calls_side import MIN_CALLS, median_seconds

    made = []
    found = median_seconds(made.append, [(1,), (2,)], 0.0, lambda: time.sleep(0.002))
    assert found < 0.001
    assert made == [1]  # a call that takes long for the time wanted is not made again
    made.clear()

    def call(number):
        made.append(number)
        time.sleep(0.02)

    median_seconds(call, [(1,), (2,)], 0.05)
    assert len(made) >= MIN_CALLS and made[:3] == [1, 2, 1]
