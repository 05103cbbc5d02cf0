"""The command line."""

import argparse
import os
import re
import signal
import subprocess
import sys
import time
import traceback

import pytest

import fastbp
from fastbp import _core
from fastbp.__main__ import main, parser
from fastbp._commands import info
from fastbp._optim import SOLVERS
from fastbp.memory import memory_plan

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


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
    assert main("plan 30 20 20 2 --activation tanh,relu --loss gaussian_nll".split()) == 0
    expected = fastbp.memory_plan((30, 20, 20, 2), activation=["tanh", "relu"], loss="gaussian_nll")
    assert capsys.readouterr().out == f"{expected}\n"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("plan 784", "argument WIDTH: 784 is the only one: it takes at least two"),
        ("plan 784 10 --max-memory 1", "max_memory=1, one row needs"),
        ("plan 7 5 5 1 --activation relu,tanh,elu", "--activation: 'relu,tanh,elu' has 3 names"),
        ("plan 784 3 --loss gaussian_nll", "loss='gaussian_nll'"),
        ("predict absent.fastbp absent.csv", "absent.csv cannot be read: No such file"),
        ("predict absent.fastbp README.md", "README.md: a table is a file .csv,"),
        ("export absent.fastbp --c absent.c", "absent.fastbp cannot be read: No such file"),
        ("export absent.fastbp --c /absent/m.c", "--c: /absent/m.c cannot be written: it takes"),
        ("export absent.fastbp --c m.c --name 2nd", "--name: '2nd': it takes a name that C can"),
        ("export absent.fastbp --onnx m --name m", "--name: 'm' names nothing in an ONNX model"),
    ],
)
def test_the_impossible_is_one_line_and_exit_code_2(capsys, arguments, message):
    assert main(arguments.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"fastbp {arguments.split()[0]}: error: ")
    assert captured.err.count("\n") == 1 and message in captured.err


@pytest.mark.parametrize(
    "arguments, message",
    [
        ("", "required: COMMAND"),
        ("train", "argument COMMAND: invalid choice: 'train'"),
        ("info --what", "unrecognized arguments: --what"),
        ("plan", "required: WIDTH"),
        ("plan ten", "argument WIDTH: 'ten': it takes an integer of 1 or more"),
        ("plan 784 0 10", "argument WIDTH: '0': it takes an integer of 1 or more"),
        ("plan 784 10 --dtype float8", "--dtype: 'float8': it takes one of float32, float64"),
        ("plan 784 10 --solver lamb", "--solver: 'lamb': it takes one of adam, adamw, sgd, "),
        ("plan 784 5 5 10 --activation relu,silly", "--activation: 'silly': it takes one of id"),
        ("plan 784 10 --loss hinge", "--loss: 'hinge': it takes one of squared_error, "),
        ("plan 784 10 --max-memory lots", "--max-memory: 'lots': it takes a number of bytes"),
        ("plan 784 10 --max-memory 0", "--max-memory: '0': it takes a number of bytes"),
        ("plan 784 10 --batch-size 0", "--batch-size: '0': it takes an integer of 1 or more"),
        ("plan 784 10 --n-threads all", "--n-threads: 'all': it takes an integer of 1 or more"),
        ("fit t.csv", "required: --target"),
        ("fit --target y", "required: TABLE"),
        ("fit t.csv --target y --test-size 1", "--test-size: '1': it takes a number from 0 to"),
        ("fit t.csv --target y --test-size nan", "--test-size: 'nan': it takes a number from 0"),
        ("fit t.csv --target y --task rank", "--task: 'rank': it takes one of auto, class"),
        ("fit t.csv --target y --seed -1", "--seed: '-1': it takes an integer, 0 to 4294967295"),
        ("fit t.csv --target y --seed 4294967296", "--seed: '4294967296': it takes an integer"),
        ("fit t.csv --target y --max-time 0", "--max-time: '0': it takes a number of seconds"),
        ("fit t.csv --target y --max-time inf", "--max-time: 'inf': it takes a number of sec"),
        ("fit t.csv --target y --n-estimators 0", "--n-estimators: '0': it takes an integer of"),
        ("predict", "required: MODEL, TABLE"),
        ("export m.fastbp", "one of the arguments --c --onnx is required"),
        ("export m.fastbp --c m.c --onnx m.onnx", "--onnx: not allowed with argument --c"),
    ],
)
def test_what_cannot_be_parsed_is_one_line_and_exit_code_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments.split())
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert captured.err.startswith("fastbp") and ": error: " in captured.err
    assert message in captured.err and "--help)" in captured.err


# ---- help ----


def commands():
    """The parsers of all commands, by their names."""
    (action,) = (a for a in parser()._actions if isinstance(a, argparse._SubParsersAction))
    return {"": parser(), **action.choices}


def every_action():
    for command, its_parser in commands().items():
        for action in its_parser._actions:
            name = "/".join(action.option_strings) or action.metavar or action.dest
            yield pytest.param(its_parser, action, id=f"{command} {name}")


@pytest.mark.parametrize(("its_parser", "action"), [*every_action()])
def test_every_option_has_help_and_shows_its_default(its_parser, action):
    if isinstance(action, argparse._SubParsersAction):
        assert all(choice.help for choice in action._choices_actions)
        return
    assert action.help and len(action.help) > 5
    text = its_parser._get_formatter()._expand_help(action)
    if action.required or isinstance(action, (argparse._HelpAction, argparse._VersionAction)):
        return
    shown = re.search(r"\(default: (.+)\)", text)
    assert shown, text
    if action.default not in (None, False, []):
        assert shown[1] == str(action.default)
    else:
        assert shown[1] not in ("None", "False", "[]")


def test_the_parsers_are_those_of_all_commands(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert set(commands()) == {"", "demo", "fit", "predict", "export", "info", "plan"}
    for command, its_parser in commands().items():
        with pytest.raises(SystemExit) as stop:
            main([*command.split(), "--help"])
        assert stop.value.code == 0
        text = capsys.readouterr().out
        assert text == its_parser.format_help()
        assert max(map(len, text.splitlines())) <= 80
        assert its_parser.description and text.count(its_parser.description.strip()) == 1


def test_help_of_a_plan_lists_the_names_that_it_takes():
    options = {a.option_strings[0]: a for a in commands()["plan"]._actions if a.option_strings}
    for option, names in (
        ("--solver", {*SOLVERS, *_core.OPTIMIZERS}),
        ("--activation", _core.ACTIVATIONS),
        ("--loss", _core.LOSSES),
        ("--dtype", ("float32", "float64")),
    ):
        listed = re.findall(r"\w+", options[option].help)
        assert set(names) <= set(listed), option
    for name in {*SOLVERS, *_core.OPTIMIZERS}:
        assert main(["plan", "4", "2", "--solver", name]) == 0


def test_defaults_of_a_plan_are_those_of_memory_plan():
    given = parser().parse_args(["plan", "4", "2"])
    for name, value in memory_plan.__kwdefaults__.items():
        assert getattr(given, name, None) == value, name


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"fastbp {fastbp.__version__}\n"


# ---- ends that are not the usual one ----


def ends(*arguments, stdout, signalled_after=None):
    """Exit code and standard error of the command line in a child process of this one.

    `stdout` is a file descriptor. A new Python would take seconds to import everything.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            sys.stdout, sys.stderr = os.fdopen(stdout, "w"), os.fdopen(writing, "w", buffering=1)
            try:
                code = main(list(arguments))
            except SystemExit as stop:
                code = stop.code
            sys.stdout.flush()  # as Python does when it ends
            os._exit(code)
        except BaseException:
            traceback.print_exc()
            os._exit(99)
    os.close(writing)
    if signalled_after:
        signalled_after()
        os.kill(child, signal.SIGINT)
    with os.fdopen(reading) as error:
        text = error.read()
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), text


@forks
@pytest.mark.parametrize("arguments", ["--help", "--version", "info", "plan 4 3 2"])
def test_a_reader_that_leaves_is_no_error(arguments):
    reading, writing = os.pipe()
    os.close(reading)
    assert ends(*arguments.split(), stdout=writing) == (141, "")
    os.close(writing)


@forks
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_output_that_cannot_be_written_is_an_error():
    with open("/dev/full", "w") as full:
        code, error = ends("plan", "4", "2", stdout=full.fileno())
    assert error == "fastbp: error: the output cannot be written: No space left on device\n"
    assert code == 2


@forks
def test_ctrl_c_in_the_training_saves_the_model_so_far(tmp_path):
    table, out = tmp_path / "t.csv", tmp_path / "out"
    table.write_text("a,b\n" + "".join(f"{i % 97},{i % 89 / 7}\n" for i in range(100_000)))
    fit = ["fit", str(table), "--target", "b", "--out", str(tmp_path / "model"), "--no-compare"]

    def until_it_trains():
        while "memory of the fit" not in out.read_text():
            time.sleep(0.01)
        time.sleep(0.5)  # that is said before the training, which takes some seconds

    with out.open("w") as file:
        found = ends(*fit, stdout=file.fileno(), signalled_after=until_it_trains)
    assert found == (0, "note: Training interrupted by user.\n")
    assert "\nTabularRegressor" in out.read_text() and "\nsaved: " in out.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out", "t.csv"]


@forks
def test_ctrl_c_is_no_traceback_even_while_nobody_reads(monkeypatch):
    monkeypatch.setattr(info, "run", lambda _: print("x" * (1 << 20)))
    reading, writing = os.pipe()
    found = ends("info", stdout=writing, signalled_after=lambda: os.read(reading, 1))
    assert found == (130, "\nfastbp info: interrupted\n")
    os.close(reading), os.close(writing)


def test_it_runs_as_a_module():
    done = subprocess.run(
        [sys.executable, "-m", "fastbp", "plan", "4", "3", "2"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("name")
