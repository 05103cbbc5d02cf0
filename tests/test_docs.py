"""What the documentation shows is what happens: code blocks, docstrings, example scripts.

And the site has every page, every example and every public name. `make docs` builds it, which takes
too long for a test.

The python blocks of a page run in order, in one namespace. A text block after one of them is what
it prints; with ``<!-- output: LEVEL -->`` before it, what it prints at that instruction set.
``python tests/test_docs.py`` writes the present output into the pages.
"""

import contextlib
import doctest
import importlib
import importlib.util
import inspect
import io
import json
import os
import pkgutil
import re
import runpy
import sys
import tempfile
from pathlib import Path

import pytest
from ahead import Process, waits_for

import fastbp
from fastbp import _core
from fastbp._losses import REGRESSION
from fastbp._optim import SOLVERS

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# What the code of a page or an example imports and may be missing; then the code is not run.
NEEDS = {
    "onnx.md": ("skl2onnx", "onnxruntime"),
    "getting-started.md": ("matplotlib", "pandas"),
    "callbacks.py": ("sklearn.callback",),
}
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


def lacks(code):
    """Whether a block imports pandas or pyarrow, which need not be installed."""
    names = re.findall(r"^import (pandas|pyarrow)\b", code, re.MULTILINE)
    return any(importlib.util.find_spec(name) is None for name in names)


def missing(page):
    """The modules that the code of a page or an example needs and that are not installed."""
    return [name for name in NEEDS.get(page.name, ()) if importlib.util.find_spec(name) is None]


def applies(level):
    """Whether output marked with this level is what this run should print."""
    return level is None or (level == _core.cpu_level() and not os.environ.get("FASTBP_DENSE"))


@pytest.mark.parametrize("page", [*filter(has_code, PAGES)], ids=lambda page: page.name)
def test_code_blocks_print_what_the_page_says(page, tmp_path, monkeypatch):
    if missing(page):
        pytest.skip(f"not installed: {', '.join(missing(page))}")
    monkeypatch.chdir(tmp_path)  # some write files
    namespace = {"__name__": page.stem}
    for code, level, expected, _ in blocks(page):
        if page.name == "tables.md" and lacks(code):
            continue  # no other block of the page needs what this one has
        printed = run(code, namespace, str(page))
        if expected is not None and applies(level):
            assert printed == expected, code


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    assert doctest.testmod(module).failed == 0


# Runs scripts in turn, and tells of each whether it prints, how many pictures are open at each
# plt.show(), where each of them can be drawn, and its error.
RUN_EXAMPLES = """
import contextlib, io, json, runpy, sys, traceback, warnings
import matplotlib.pyplot as plt

plt.switch_backend("Agg")
warnings.simplefilter("error")
shown = []

def show():
    shown.append(len(plt.get_fignums()))
    for number in plt.get_fignums():
        plt.figure(number).canvas.draw()

plt.show = show
found = {}
for script in sys.argv[1:]:
    sys.argv, error = [script], ""
    shown.clear()
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            runpy.run_path(script, run_name="__main__")
    except BaseException:
        error = traceback.format_exc()
    plt.close("all")
    found[script] = [printed.getvalue() != "", shown.copy(), error]
print(json.dumps(found))
"""


def running_examples():
    scripts = [script for script in EXAMPLES if not missing(script)]
    return Process(RUN_EXAMPLES, *scripts, timeout=200)


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="needs matplotlib")
@pytest.mark.parametrize("script", EXAMPLES, ids=lambda script: script.name)
@waits_for(running_examples)
def test_examples_print_and_draw(script, ahead):
    if missing(script):
        pytest.skip(f"not installed: {', '.join(missing(script))}")
    prints, shown, error = json.loads(ahead.printed())[str(script)]
    assert not error, error
    assert prints
    assert shown == [1]


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


# ---- links -------------------------------------------------------------------------------------

FENCE = re.compile(r"^(`{3,}|:{3,}).*?^\1", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^```\{include\} (\S+)\n```\n", re.MULTILINE)


def anchors(page):
    """The anchors that GitHub and the site make of the headings of a page."""
    text = INCLUDE.sub(lambda found: (page.parent / found[1]).read_text(), page.read_text())
    found = []
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        name = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        found.append(f"{name}-{found.count(name)}" if name in found else name)
    return found


def links(page):
    """The targets of the links and pictures of a page that are not elsewhere."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    return [target for target in found if not re.match(r"[a-z]+:", target)]


def leads_nowhere(page, target):
    path, _, anchor = target.partition("#")
    goal = page.parent / path if path else page
    return not goal.exists() or (anchor and anchor not in anchors(goal))


ALL_PAGES = sorted({*PAGES, *ROOT.glob("*.md"), *ROOT.glob("bench/results/**/*.md")})


@pytest.mark.parametrize("page", ALL_PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    assert [target for target in links(page) if leads_nowhere(page, target)] == []


# ---- the site ----------------------------------------------------------------------------------

DOCS = ROOT / "docs"
WRITTEN_BY_THE_BUILD = {"auto_examples/index"}


@pytest.fixture
def site(monkeypatch):
    """A module of docs/ by its name, or the settings of the site as a dict."""
    monkeypatch.setattr(sys, "path", [str(DOCS), *sys.path])

    def load(name):
        return runpy.run_path(str(DOCS / f"{name}.py"))

    return load


def test_every_page_is_in_the_table_of_contents():
    text = (DOCS / "index.md").read_text()
    trees = re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    names = [re.sub(r"^.*<(.*)>$", r"\1", line) for tree in trees for line in tree.splitlines()]
    listed = [name for name in names if re.fullmatch(r"[\w/-]+", name)]
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in DOCS.glob("**/*.md")}
    assert len(listed) == len(set(listed))
    assert set(listed) == pages - {"index"} | WRITTEN_BY_THE_BUILD


@pytest.mark.parametrize(
    "folder, link, on_the_site",
    [
        ("docs", "[a](features.md#tables)", "[a](/features.md#tables)"),
        ("docs/guide", "[a](../features.md)", "[a](/features.md)"),
        ("docs/guide", "[a](../../examples/dropout.py)", "[a](/auto_examples/dropout.rst)"),
        ("docs", "[a](../examples)", "[a](/auto_examples/index.rst)"),
        ("docs", "[a](../CONTRIBUTING.md#add-a-loss)", "[a](/contributing.md#add-a-loss)"),
        ("", "[a](docs/design.md)", "[a](/design.md)"),
        ("docs", "![a](images/why-z.svg)", "![a](/images/why-z.svg)"),
        ("docs", "![a](../bench/results/compare.png)", "![a](/../bench/results/compare.png)"),
        ("docs", "[a](#here), [b](https://x.org/y.md)", "[a](#here), [b](https://x.org/y.md)"),
        ("docs", "```\n[a](b.md)\n```", "```\n[a](b.md)\n```"),
    ],
)
def test_links_of_the_repository_are_links_of_the_site(site, folder, link, on_the_site):
    assert site("_extension")["site_links"](link, folder) == on_the_site


@pytest.mark.parametrize("address, shown", [("https://x.org/y", "[a]({}/csrc/c.h)"), (None, "a")])
def test_files_that_the_site_does_not_have_are_in_the_repository(site, address, shown):
    extension = site("_extension")
    extension["site_links"].__globals__["repository"] = lambda: address
    assert extension["site_links"]("[a](../csrc/c.h)", "docs") == shown.format(address)


@pytest.mark.parametrize(
    "html, found",
    [
        ('<script src="https://x.org/a.js"></script>', 1),
        ('<link rel="stylesheet" href="//x.org/a.css">', 1),
        ('<a href="https://x.org">x</a><img src="a.png"><link rel="canonical" href="http:b">', 0),
    ],
)
def test_the_build_sees_what_a_page_fetches_from_elsewhere(site, tmp_path, html, found):
    (tmp_path / "page.html").write_text(html)
    assert site("_offline")["main"](tmp_path) == found


# ---- the reference -----------------------------------------------------------------------------

PUBLIC = [name for name in fastbp.__all__ if name != "__version__"]


@pytest.mark.parametrize(
    "docstring, in_the_reference",
    [
        ("As in `Network.loss`.", "As in :py:obj:`Network.loss <fastbp.Network.loss>`."),
        ("With `alpha`, ``Network``.", "With `alpha`, ``Network``."),
        ("The :math:`R^2`.", "The ``R^2``."),
        ("Weights. See :term:`Glossary <n_jobs>`\nfor more details.", "Weights."),
        ("A :term:`scorer <scoring>` or None.", "A scorer or None."),
        (".. [1] D. Misra, 2020", ".. [1] D\\. Misra, 2020"),
        ("Adam [R1-1]_.\n\nMore.", "Adam.\n\nSee [R1-1]_.\n\nMore."),
    ],
)
def test_docstrings_are_made_ready_for_the_site(site, docstring, in_the_reference):
    lines = docstring.split("\n")
    site("_extension")["on_docstring"](None, "class", "name", None, None, lines)
    assert "\n".join(lines) == in_the_reference


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "api" / "index.md").read_text()
    tables = re.findall(r"\.\. autosummary::\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    listed = [line.strip() for table in tables for line in table.splitlines()]
    assert sorted(line for line in listed if re.match(r"\w", line)) == sorted(PUBLIC)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_docstrings_are_complete(site, name):
    """By the checks that the build makes, without a build."""
    validate = pytest.importorskip("numpydoc.validate").validate
    conf, public = site("conf"), getattr(fastbp, name)
    checks, left_out = conf["numpydoc_validation_checks"], conf["autosummary_context"]["left_out"]
    members = []
    if inspect.isclass(public):
        members = [m for m in dir(public) if not m.startswith("_") and m not in left_out]
    for full_name in [
        f"fastbp.{name}",
        *(f"fastbp.{name}.{m}" for m in members if callable(getattr(public, m))),
    ]:
        if not any(re.search(one, full_name) for one in conf["numpydoc_validation_exclude"]):
            wrong = [error for error in validate(full_name)["errors"] if error[0] in checks]
            assert wrong == [], full_name


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
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        write_outputs()
