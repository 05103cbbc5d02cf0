"""The environment variables: what they take, and that nothing else is taken silently."""

import numpy as np
import pytest

import fastbp
from fastbp import _core, _environment, _trainers
from fastbp.__main__ import main

rng = np.random.default_rng(0)
X, Y = rng.normal(size=(300, 20)), np.arange(300) % 2

WRONG = {
    "FASTBP_NUM_THREADS": ("0", "-1", "two", "1.5", "²", "9" * 5000),
    "FASTBP_DISABLE_CPU": ("avx", "AVX2", "avx2;avx512", "avx512f", "baseline", "avx2,sse2", "1"),
    "FASTBP_DENSE": ("Packed", "blas ", "openblas", "0", " "),
}
TAKES = {
    "FASTBP_NUM_THREADS": "must hold an integer from 1 to 999999999, got ",
    "FASTBP_DISABLE_CPU": "must hold names of instruction sets separated by commas, "
    "of 'avx512' and 'avx2', got ",
    "FASTBP_DENSE": "must hold one of 'blas' and 'packed', got ",
}
EVERY_WRONG = [(name, value) for name, values in WRONG.items() for value in values]
# As it is outside of the tests, which may run with some of them set.
NOTHING_SET = _environment.Settings(None, (), None)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in _environment.NAMES:
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("FASTBP_NUM_THREADS", "", {}),
        ("FASTBP_NUM_THREADS", " 3 ", {"n_threads": 3}),
        ("FASTBP_DISABLE_CPU", "", {}),
        ("FASTBP_DISABLE_CPU", ",", {}),
        ("FASTBP_DISABLE_CPU", "avx512", {"disabled": ("avx512",)}),
        ("FASTBP_DISABLE_CPU", "avx512,avx2", {"disabled": ("avx512", "avx2")}),
        ("FASTBP_DISABLE_CPU", " avx2 , avx512,", {"disabled": ("avx512", "avx2")}),
        ("FASTBP_DENSE", "", {}),
        ("FASTBP_DENSE", "blas", {"products": "blas"}),
        ("FASTBP_DENSE", "packed", {"products": "packed"}),
    ],
)
def test_what_is_understood(name, value, expected, monkeypatch):
    assert _environment.settings() == NOTHING_SET
    monkeypatch.setenv(name, value)
    assert _environment.settings() == NOTHING_SET._replace(**expected)
    assert fastbp.memory_plan((4, 3, 2)).total_bytes > 0


@pytest.mark.parametrize(("name", "value"), EVERY_WRONG)
def test_what_is_not_understood_is_named(name, value, monkeypatch):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError) as error:
        _environment.settings()
    assert str(error.value).startswith(f"The environment variable {name} {TAKES[name]}")
    assert str(error.value).endswith(f"got {value!r}." if value.strip() else f"{value!r}.")


def calls(n_threads):
    """Every way to the compiled core, each with a name; fits and nets made before."""
    clf = fastbp.MLPClassifier((8,), max_iter=2, n_threads=n_threads)
    large = fastbp.MLPRegressor("squared_error", (900,), max_iter=1, n_threads=n_threads)
    table = fastbp.TabularClassifier(max_iter=1, n_estimators=1, n_threads=n_threads)
    clf.fit(X, Y), clf.partial_fit(X, Y), large.fit(X, Y), table.fit(X, Y)
    # Small calls leave trainers that the next ones take.
    clf.partial_fit(X[:9], Y[:9]), clf.predict(X[:1]), table.predict(X[:3]), large.partial_fit(X, Y)
    net = fastbp.Network((20, 4, 1), n_threads=n_threads)
    params = net.init_params(random_state=0)
    assert fastbp.memory_plan((20, 1600, 1)).arena_bytes > 0
    return {
        "fit": lambda: clf.fit(X, Y),
        "small fit": lambda: clf.fit(X[:9], Y[:9]),
        "partial_fit": lambda: clf.partial_fit(X[:9], Y[:9]),
        "partial_fit of a large net": lambda: large.partial_fit(X, Y),
        "predict": lambda: clf.predict(X),
        "predict one row": lambda: clf.predict(X[:1]),
        "fit a table": lambda: table.fit(X, Y),
        "predict a table": lambda: table.predict(X[:3]),
        "lbfgs": lambda: fastbp.MLPClassifier((3,), solver="lbfgs", n_threads=n_threads).fit(X, Y),
        "Network": lambda: fastbp.Network((20, 4, 1), n_threads=n_threads),
        "a call of another kind": lambda: net.value_and_grad(params, X, Y, input_grad=True),
        "memory_plan": lambda: fastbp.memory_plan((20, 4, 1), n_threads=n_threads),
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("n_threads", [None, 1])
@pytest.mark.parametrize("name", _environment.NAMES)
def test_every_call_tells_a_wrong_value(name, n_threads, monkeypatch):
    monkeypatch.setattr(_trainers, "MOST_BYTES_OF_ONE", 1 << 16)  # the large net has its own
    every = calls(n_threads)
    monkeypatch.setenv(name, "no such thing")
    for what, call in every.items():
        with pytest.raises(ValueError, match=f"{name} must hold .*, got 'no such thing'"):
            call()
            pytest.fail(f"{what} takes no notice")
    monkeypatch.delenv(name)
    every["fit"]()


def test_info_shows_what_is_in_effect(monkeypatch, capsys):
    def shown():
        assert main(["info"]) == 0
        lines = capsys.readouterr().out.splitlines()
        return {line.split("  ")[0]: line.split("  ", 1)[1].strip() for line in lines}

    lines = shown()
    assert {name: lines[name] for name in _environment.NAMES} == dict.fromkeys(
        _environment.NAMES, "not set"
    )
    monkeypatch.setenv("FASTBP_NUM_THREADS", "1")
    monkeypatch.setenv("FASTBP_DISABLE_CPU", "avx512,avx2")
    for products in ("blas", "packed"):
        monkeypatch.setenv("FASTBP_DENSE", products)
        lines = shown()
        assert lines["threads"].startswith("1 by default")
        assert lines["instruction set"] == "baseline (of baseline)"
        assert lines["matrix products"] == lines["FASTBP_DENSE"] == products
        assert lines["FASTBP_NUM_THREADS"] == "1"
        assert lines["FASTBP_DISABLE_CPU"] == "avx512,avx2"


@pytest.mark.parametrize("command", ["info", "plan 4 3 2", "demo"])
@pytest.mark.parametrize("name", _environment.NAMES)
def test_commands_end_with_the_error(command, name, monkeypatch, capsys):
    monkeypatch.setenv(name, "nonsense")
    assert main(command.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"fastbp {command.split()[0]}: error: The environment variable {name}")
    assert error.count("\n") == 1


def test_names_that_are_understood_are_those_of_the_core(monkeypatch):
    levels = set(_core.cpu_levels())
    assert levels <= {*_environment.INSTRUCTION_SETS, "baseline"}
    monkeypatch.setenv("FASTBP_DISABLE_CPU", ",".join(_environment.INSTRUCTION_SETS))
    assert _core.cpu_levels() == ["baseline"]
    for products in _environment.PRODUCTS:
        monkeypatch.setenv("FASTBP_DENSE", products)
        assert set(fastbp.memory_plan((4, 3, 2)).dense) == {products}
