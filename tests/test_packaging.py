"""What is shipped: the stub, the version, the symbols, the files of the source distribution.

And the files that say so to others: metadata, citation, workflows.
"""

import ast
import importlib.metadata
import inspect
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
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
    assert f"\nversion: {fastbp.__version__}\n" in (ROOT / "CITATION.cff").read_text()


@pytest.mark.parametrize("module", [_core, _blas], ids=lambda module: module.__name__)
def test_the_extensions_are_for_every_version_of_python(module):
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("a free-threaded Python has no limited API")
    suffix = ".pyd" if sys.platform == "win32" else ".abi3.so"
    name = module.__name__.rpartition(".")[2]
    assert Path(module.__file__).name == name + suffix


@pytest.mark.parametrize("module", [_core, _blas], ids=lambda module: module.__name__)
def test_the_extensions_export_their_init_function_only(module):
    if shutil.which("nm") is None or sys.platform != "linux":
        pytest.skip("no nm here that lists dynamic symbols")
    listing = subprocess.run(
        ["nm", "-D", "--defined-only", module.__file__], capture_output=True, text=True, check=True
    )
    names = {line.split()[-1] for line in listing.stdout.splitlines()}
    assert names == {f"PyInit_{module.__name__.rpartition('.')[2]}"}


@pytest.fixture(scope="module")
def egg_info(tmp_path_factory):
    """The metadata of the package, as a build writes them."""
    pytest.importorskip("Cython", reason="Cython is not installed")
    pytest.importorskip("setuptools", reason="setuptools is not installed")
    if not (ROOT / "setup.py").exists():
        pytest.skip("not a source tree")
    folder = tmp_path_factory.mktemp("metadata")
    subprocess.run(
        [sys.executable, "setup.py", "--quiet", "egg_info", "--egg-base", folder],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    return folder / "fastbp.egg-info"


def test_the_source_distribution_has_every_source(egg_info):
    listed = set((egg_info / "SOURCES.txt").read_text().split())
    wanted = ["csrc/**/*.[ch]", "src/fastbp/*.p*", "src/fastbp/py.typed", "tests/*.py"]
    wanted += [
        "tests/c/*.[ch]",
        "tools/*.py",
        "bench/*.py",
        "bench/*.c",
        "docs/**/*.md",
        "docs/images/*.*",
        "examples/*.py",
        "*.md",
        "*.cff",
        "*.toml",
        "Makefile",
        "LICENSE",
    ]
    present = {str(path.relative_to(ROOT)) for pattern in wanted for path in ROOT.glob(pattern)}
    some = {"csrc/fastbp.h", "csrc/net/net.c", "src/fastbp/_core.pyx", "src/fastbp/py.typed"}
    assert some <= present
    assert present - listed == set()


def test_the_metadata_are_valid(egg_info):
    metadata = pytest.importorskip("packaging.metadata", reason="packaging is not installed")
    said = metadata.Metadata.from_email((egg_info / "PKG-INFO").read_bytes())
    assert str(said.version) == fastbp.__version__
    assert {"Homepage", "Documentation", "Changelog", "Issues"} <= set(said.project_urls)
    assert all(url.startswith("https://") for url in said.project_urls.values())


def test_the_oldest_dependencies_are_exact_versions():
    tool = ROOT / "tools" / "oldest.py"
    if not tool.exists():
        pytest.skip("not a source tree")
    done = subprocess.run([sys.executable, tool], capture_output=True, text=True, check=True)
    printed = done.stdout.split()
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert printed[: len(needed)] == [text.replace(">=", "==") for text in needed]
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", text) for text in printed[: len(needed)])
    assert "hypothesis" in printed


def make_targets():
    """The targets of the Makefile."""
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_the_workflows_run_make_targets_that_exist():
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    if not workflows:
        pytest.skip("no workflows here")
    called = set()
    for path in workflows:
        text = path.read_text()
        commands = re.findall(r"^\s+(?:- )?run: (.+)$", text, re.MULTILINE)
        assert all(command.startswith("make ") for command in commands), path.name
        called |= {command.split()[1] for command in commands} - {'"$TARGET"'}
        for listed in re.findall(r"^\s+target: \[(.+)\]$", text, re.MULTILINE):
            called |= set(listed.split(", "))
    assert {"test", "lint", "wheels", "sdist"} <= called
    assert called - make_targets() == set()


def test_the_workflows_name_actions_by_their_commit():
    used = [
        line
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
        for line in path.read_text().splitlines()
        if "uses:" in line
    ]
    if not used:
        pytest.skip("no workflows here")
    wrong = [line for line in used if not re.search(r"@[0-9a-f]{40} # v[\d.]+$", line)]
    assert wrong == []
