"""Building C for the tests, with the compiler and the flags that build the package."""

import shlex
import subprocess
import sys
import sysconfig
import tempfile
from functools import cache
from pathlib import Path

import pytest

C = Path(__file__).parent / "c"
ROOT = Path(__file__).parents[1]
CORE = ROOT / "csrc"
sys.path.insert(0, str(ROOT))


def compiler():
    """The C compiler as a list of words; skips the test where there is none."""
    compile_flags = pytest.importorskip("compile_flags", reason="the sources are not here")
    return compile_flags.compiler() or pytest.skip("no C compiler: $CC, Python's or cc")


@cache
def core_flags():
    """Those of setup.py, what is tested is what is shipped; and here a warning is an error."""
    import compile_flags

    return [*compile_flags.core_flags(compiler()), *compile_flags.WARNINGS, f"-I{CORE}"]


def shipped_object(source):
    """The object that the build of the package made of a file of the core; None if it is not newer
    than all that it may be made of."""
    folder = f"temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"
    made = (ROOT / "build" / folder / source.relative_to(ROOT)).with_suffix(".o")
    sources = [*CORE.rglob("*.[ch]"), ROOT / "compile_flags.py", ROOT / "setup.py"]
    newest = max(path.stat().st_mtime for path in sources)
    return made if made.exists() and made.stat().st_mtime > newest else None


def start(*words):
    """A compiler that runs beside us; `finish` waits for it."""
    return subprocess.Popen(
        [*compiler(), *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    """Wait; the test fails with the compiler's words if it did."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f"{shlex.join(process.args)}\n{errors}"


@cache
def _libraries():
    """A folder that is there until Python ends."""
    return tempfile.TemporaryDirectory()


@cache
def preloaded(name):
    """The library of a file in tests/c that stands in for functions of glibc, for LD_PRELOAD."""
    library = Path(_libraries().name, f"{name}.so")
    finish(start("-O2", "-shared", "-fPIC", C / f"{name}.c", "-o", library, "-ldl"))
    return str(library)
