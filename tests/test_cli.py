"""The command line."""

import re
import subprocess
import sys

import pytest

import fastbp
from fastbp import _core
from fastbp.__main__ import main


def test_demo_reaches_its_accuracy(capsys):
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    found = dict(re.findall(r"^(fastbp|scikit-learn) +\d+ +[\d.]+ +([\d.]+)$", text, re.M))
    assert float(found["fastbp"]) >= 0.96
    assert float(found["scikit-learn"]) >= 0.96
    assert "arena" in text and "epoch   1  loss" in text
    assert re.search(r"fastbp took \d+\.\d times less time", text)


def test_info_tells_what_is_in_use(capsys):
    assert main(["info"]) == 0
    text = capsys.readouterr().out
    for word in (fastbp.__version__, _core.cpu_level(), "BLAS", "scikit-learn", "numpy"):
        assert word in text


def test_plan_is_the_table(capsys):
    assert main(["plan", "784", "512", "10", "--batch-size", "256", "--n-threads", "1"]) == 0
    expected = fastbp.memory_plan((784, 512, 10), batch_size=256, n_threads=1)
    assert capsys.readouterr().out == f"{expected}\n"


def test_plan_takes_every_option(capsys):
    arguments = "plan 30 20 20 2 --dtype float64 --solver sgd --activation tanh --max-memory 40kB"
    assert main(arguments.split()) == 0
    expected = fastbp.memory_plan(
        (30, 20, 20, 2), dtype="float64", solver="sgd", activation="tanh", max_memory="40kB"
    )
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("plan 784 0 10", "layer_sizes"),
        ("plan 784", "layer_sizes"),
        ("plan 784 10 --dtype float8", "dtype"),
        ("plan 784 10 --solver lamb", "solver"),
        ("plan 784 10 --max-memory 1", "max_memory"),
        ("plan 784 10 --max-memory lots", "max_memory"),
        ("plan 784 10 --batch-size 0", "batch_size"),
    ],
)
def test_the_impossible_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("fastbp plan: error: ")
    assert captured.err.count("\n") == 1 and message in captured.err


@pytest.mark.parametrize("arguments", ["", "train", "plan ten", "plan"])
def test_what_cannot_be_parsed_is_exit_code_2(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    assert "fastbp" in capsys.readouterr().err


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "plan", "4", "3", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("name")
