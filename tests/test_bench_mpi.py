"""The model of ``make bench-mpi`` follows what was measured."""

from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parent.parent / "bench"


@pytest.fixture
def mpi(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    import mpi

    return mpi


def a_run(mpi, ranks, message, byte, step):
    """What so many ranks found, whose Allreduce takes so long."""
    cells = []
    for net, n_params in zip(mpi.NETS, (5_000, 150_000, 700_000, 10_000_000), strict=False):
        seconds = {"step": step + ranks * 1e-6, "compute": step}
        seconds["allreduce"] = message + byte * 4 * (n_params + 1)
        medians = {name: {"median": value} for name, value in seconds.items()}
        cells.append({"net": net.name, "n_params": n_params, **medians})
    return {"ranks": ranks, "seconds_a_byte": 1e-10, "cells": cells}


def runs_of(mpi, message, byte, step=1e-4):
    return [a_run(mpi, 1, 1e-6, 0, step), a_run(mpi, 2, message, byte, step)]


def test_the_time_of_the_software_is_that_of_the_allreduces(mpi):
    found = mpi.software_of(runs_of(mpi, 25e-6, 5e-10))
    assert found == pytest.approx((25e-6, 5e-10, 1e-10))


def test_two_machines_without_a_network_are_two_ranks_here(mpi):
    runs = runs_of(mpi, 25e-6, 5e-10)
    for cell, (name, measured, modelled) in zip(
        runs[1]["cells"], mpi.speed_ups_here(runs, mpi.software_of(runs)), strict=True
    ):
        assert name == cell["net"]
        assert measured == pytest.approx(2 * 101e-6 / 102e-6)
        assert modelled == pytest.approx(2 * 101e-6 / (1e-4 + cell["allreduce"]["median"]))


def test_the_verdict_counts_the_time_of_the_software(mpi):
    """It is what a small gradient waits for, however fast the network is."""

    def verdict(message):
        runs = runs_of(mpi, message, 1e-10)
        *_, fastest = mpi.verdicts(runs, mpi.software_of(runs))
        return fastest.partition("Less with two machines already: ")

    assert "digits" in verdict(1e-6)[0]
    assert "digits" in verdict(200e-6)[2]


@pytest.mark.parametrize("more", [["--seconds", "3"], ["--nets", "digits"], ["--save"]])
def test_a_page_made_anew_takes_nothing_of_a_measurement(more, mpi, capsys):
    with pytest.raises(SystemExit):
        mpi.main(["--page", *more])
    assert f"it does not go with {more[0]}" in capsys.readouterr().err


def test_a_page_made_anew_leaves_what_was_measured(mpi, monkeypatch, tmp_path):
    measured = (mpi.RESULTS / "mpi.json").read_text().replace("\n", "\n ")  # as nobody writes it
    (tmp_path / "mpi.json").write_text(measured)
    drawn = []
    monkeypatch.setattr(mpi, "RESULTS", tmp_path)
    monkeypatch.setattr(mpi, "picture", lambda results, path: drawn.append(path))
    monkeypatch.setattr(mpi, "save", lambda *_: pytest.fail("saved"))
    mpi.main(["--page"])
    assert (tmp_path / "mpi.json").read_text() == measured
    assert (tmp_path / "mpi.md").read_text().startswith("# Data parallel") and len(drawn) == 1
