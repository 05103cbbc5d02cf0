"""Building C for the tests, with the compiler and the flags that build the package."""

import os
import re
import shlex
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest

C = Path(__file__).parent / "c"
ROOT = Path(__file__).parents[1]
CORE = ROOT / "csrc"


def compiler():
    """The C compiler as a list of words; skips the test where there is none."""
    for words in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc"):
        words = shlex.split(words or "")
        if words and shutil.which(words[0]):
            return words
    pytest.skip("no C compiler: neither $CC, nor that of Python, nor cc")


def core_flags():
    """Those of setup.py: what is tested is what is shipped."""
    text = (ROOT / "setup.py").read_text()
    return [*re.search(r'^FLAGS = "(.+)"\.split', text, re.MULTILINE)[1].split(), "-pthread"]


def start(*words):
    """A compiler that runs beside us; `finish` waits for it."""
    return subprocess.Popen(
        [*compiler(), *map(str, words)], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def finish(process):
    """Wait; the test fails with the compiler's words if it did."""
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, f"{shlex.join(process.args)}\n{errors}"
