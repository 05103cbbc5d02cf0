"""What the documentation shows is what happens: code blocks, docstrings, example scripts.

The python blocks of a page run in order, in one namespace. A text block after one of them is what
it prints; with ``<!-- output: LEVEL -->`` before it, what it prints at that instruction set.
``python tests/test_docs.py`` writes the present output into the pages.
"""

import contextlib
import doctest
import importlib
import importlib.util
import io
import os
import pkgutil
import re
import runpy
import sys
from pathlib import Path

import pytest

import fastbp
from fastbp import _core
from fastbp._losses import REGRESSION
from fastbp._optim import SOLVERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("[!_]*.py"))
# What the code of a page imports and may be missing; then the code is not run.
NEEDS = {"onnx.md": ("skl2onnx", "onnxruntime")}
MODULES = ["fastbp", *(m.name for m in pkgutil.walk_packages(fastbp.__path__, "fastbp."))]
CODE = re.compile(r"^```python\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
OUTPUT = re.compile(r"^(?:<!-- output: (\w+) -->\n)?```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


def has_code(page):
    return CODE.search(page.read_text()) is not None


def blocks(page):
    """(code, level, expected output or None, where that output stands) of every python block."""
    text = page.read_text()
    codes = list(CODE.finditer(text))
    for code, after in zip(codes, [*codes[1:], None], strict=True):
        end = after.start() if after else len(text)
        output = OUTPUT.search(text, code.end(), end)
        if output:
            yield code[1], output[1], output[2], output.span(2)
        else:
            yield code[1], None, None, None


def run(code, namespace, name):
    """What the code prints."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, name, "exec"), namespace)
    return printed.getvalue()


def missing(page):
    """The modules that the page's code needs and that are not installed."""
    return [name for name in NEEDS.get(page.name, ()) if importlib.util.find_spec(name) is None]


def applies(level):
    """Whether output marked with this level is what this run should print."""
    return level is None or (level == _core.cpu_level() and not os.environ.get("FASTBP_DENSE"))


@pytest.mark.parametrize("page", filter(has_code, PAGES), ids=lambda page: page.name)
def test_code_blocks_print_what_the_page_says(page):
    if missing(page):
        pytest.skip(f"not installed: {', '.join(missing(page))}")
    namespace = {"__name__": page.stem}
    for code, level, expected, _ in blocks(page):
        printed = run(code, namespace, str(page))
        if expected is not None and applies(level):
            assert printed == expected, code


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


@pytest.fixture
def run_example(tmp_path, monkeypatch):
    """Runs a script; its picture goes to `tmp_path`."""
    monkeypatch.syspath_prepend(ROOT / "examples")
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.delitem(sys.modules, "_picture", raising=False)

    def run(script):
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path)])
        runpy.run_path(str(script), run_name="__main__")

    yield run
    sys.modules.pop("_picture", None)
    if sys.modules.get("matplotlib.pyplot"):
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
def test_examples_run(script, run_example, capsys, tmp_path):
    run_example(script)
    out = capsys.readouterr().out
    assert out
    pictures = [f"picture: {path}\n" in out for path in tmp_path.iterdir()]
    could_draw = importlib.util.find_spec("matplotlib") and "nothing to show" not in out
    assert pictures == ([True] if could_draw and "save(" in script.read_text() else [])


def test_examples_run_without_matplotlib(run_example, capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    run_example(ROOT / "examples" / "saliency.py")
    out = capsys.readouterr().out
    assert "matplotlib is not installed" in out and "gradient by the input" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "documented, names",
    [
        (fastbp.MLPClassifier, [*_core.ACTIVATIONS, *SOLVERS]),
        (fastbp.MLPRegressor, [*_core.ACTIVATIONS, *SOLVERS, *REGRESSION]),
        (fastbp.Network, [*_core.ACTIVATIONS, *_core.LOSSES]),
        (fastbp.memory_plan, [*_core.OPTIMIZERS, *SOLVERS, *_core.LOSSES]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_docstrings_list_every_name(documented, names):
    assert [name for name in names if f'"{name}"' not in documented.__doc__] == []


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def write_outputs():
    """Put what every code block prints now into its page."""
    for page in (page for page in PAGES if not missing(page)):
        text, namespace, shift = page.read_text(), {"__name__": page.stem}, 0
        for code, level, expected, where in blocks(page):
            printed = run(code, namespace, str(page))
            if expected is not None and applies(level):
                start, end = (place + shift for place in where)
                text = text[:start] + printed + text[end:]
                shift += len(printed) - len(expected)
        page.write_text(text)


if __name__ == "__main__":
    write_outputs()
