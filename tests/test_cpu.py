"""The level of instructions that is chosen is the best that the processor has."""

import os
import platform
import re
from pathlib import Path

import pytest

from fastbp import _core

NEEDS = {
    "avx512": {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx2", "fma"},
    "avx2": {"avx2", "fma"},
    "baseline": set(),
}


def test_the_levels_are_those_that_the_system_lists(monkeypatch):
    cpuinfo = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpuinfo.exists():
        pytest.skip("no /proc/cpuinfo of an x86-64 here")
    monkeypatch.delenv("FASTBP_DISABLE_CPU", raising=False)
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo.read_text(), re.MULTILINE)
    have = set(flags[1].split())
    assert _core.cpu_levels() == [level for level, needs in NEEDS.items() if needs <= have]


@pytest.mark.parametrize("level", _core.cpu_levels()[:-1])
def test_a_disabled_level_is_not_offered(level, monkeypatch):
    disabled = os.environ.get("FASTBP_DISABLE_CPU", "")
    monkeypatch.setenv("FASTBP_DISABLE_CPU", f"{disabled},{level}")
    assert level not in _core.cpu_levels()
