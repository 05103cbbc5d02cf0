"""What is shipped: the stub, the version, the symbols, the files of the source distribution."""

import ast
import importlib.metadata
import inspect
import shutil
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest

import fastbp
from fastbp import _blas, _core

ROOT = Path(__file__).resolve().parents[1]
STUB = ast.parse(files("fastbp").joinpath("_core.pyi").read_text())


def public(names):
    return {name for name in names if not name.startswith("_")}


def stubbed(body):
    """Public names that the statements define, with their nodes."""
    found = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = node
    return {name: found[name] for name in public(found)}


def defaults(function):
    """Parameter names of a stubbed function with their defaults; ... for none."""
    arguments = function.args
    names = [argument.arg for argument in arguments.args]
    given = [..., *[...] * len(names)][len(arguments.defaults) + 1 :]
    values = given + [ast.literal_eval(default) for default in arguments.defaults]
    found = dict(zip(names, values, strict=True))
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found[argument.arg] = ... if default is None else ast.literal_eval(default)
    return found


def compiled(function):
    """The same of a compiled function."""
    return {
        name: ... if parameter.default is inspect.Parameter.empty else parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
    }


def test_the_stub_has_the_names_of_the_compiled_core():
    module = {name for name, value in vars(_core).items() if not inspect.ismodule(value)}
    assert set(stubbed(STUB.body)) == public(module)


@pytest.mark.parametrize("name", ["Data", "Trainer"])
def test_the_stub_has_the_members_of_the_compiled_classes(name):
    members = set(stubbed(stubbed(STUB.body)[name].body))
    assert members == public(vars(getattr(_core, name)))


def test_the_stub_has_the_signatures_of_the_compiled_functions():
    top = stubbed(STUB.body)
    pairs = [
        (top[name], getattr(_core, name))
        for name in ("cpu_level", "cpu_levels", "parameters", "plan")
    ]
    for name, node in stubbed(top["Trainer"].body).items():
        if not node.decorator_list:
            pairs.append((node, getattr(_core.Trainer, name)))
    assert len(pairs) > 6
    for node, function in pairs:
        assert defaults(node) == compiled(function), node.name


def test_the_package_says_that_it_is_typed():
    assert files("fastbp").joinpath("py.typed").is_file()


def test_the_version_stands_in_one_place():
    try:
        assert importlib.metadata.version("fastbp") == fastbp.__version__
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("not installed")
    sources = [ROOT / "pyproject.toml", ROOT / "setup.py", *ROOT.glob("src/fastbp/*.py")]
    holders = [path.name for path in sources if f'"{fastbp.__version__}"' in path.read_text()]
    assert holders == ["_version.py"]
    assert f"## [{fastbp.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("module", [_core, _blas], ids=lambda module: module.__name__)
def test_the_extensions_export_their_init_function_only(module):
    if shutil.which("nm") is None or sys.platform != "linux":
        pytest.skip("no nm here that lists dynamic symbols")
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", module.__file__], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert names == {f"PyInit_{module.__name__.rpartition('.')[2]}"}


def test_the_source_distribution_has_every_source(tmp_path):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    if not (ROOT / "setup.py").exists():
        pytest.skip("not a source tree")
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", tmp_path],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    listed = set((tmp_path / "fastbp.egg-info" / "SOURCES.txt").read_text().split())
    wanted = ["csrc/**/*.[ch]", "src/fastbp/*.p*", "src/fastbp/py.typed", "tests/*.py"]
    wanted += [
        "tests/c/*.[ch]",
        "bench/*.py",
        "bench/*.c",
        "docs/*.md",
        "docs/images/*.*",
        "examples/*.py",
        "*.md",
        "*.toml",
        "Makefile",
        "LICENSE",
    ]
    present = {str(path.relative_to(ROOT)) for pattern in wanted for path in ROOT.glob(pattern)}
    some = {"csrc/fastbp.h", "csrc/net/net.c", "src/fastbp/_core.pyx", "src/fastbp/py.typed"}
    assert some <= present
    assert present - listed == set()
