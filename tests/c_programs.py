"""Building C for the tests, with the compiler and the flags that build the package."""

import shlex
import subprocess
import sys
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


def start(*words):
    """A compiler that runs beside us; `finish` waits for it."""
    return subprocess.Popen(
        [*compiler(), *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    """Wait; the test fails with the compiler's words if it did."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f"{shlex.join(process.args)}\n{errors}"
