"""The C core tested without Python: every program of tests/c, built with the core and run."""

import subprocess

import pytest
from c_programs import CORE, C, core_flags, finish, start

PROGRAMS = sorted(path.stem for path in C.glob("test_*.c"))


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """The objects of the core, built once, two at a time."""
    if not CORE.is_dir():
        pytest.skip("the sources of the core are not here")
    folder = tmp_path_factory.mktemp("core")
    # The longest first.
    sources = sorted(CORE.glob("*/*.c"), key=lambda path: not path.stem.startswith("kernels"))
    # Files of two folders may have one name.
    objects = [folder / f"{source.parent.name}-{source.stem}.o" for source in sources]
    running = []
    for source, target in zip(sources, objects, strict=True):
        running.append(start(*core_flags(), "-c", source, "-o", target))
        if len(running) == 2:
            finish(running.pop(0))
    for process in running:
        finish(process)
    return objects


@pytest.mark.parametrize("program", PROGRAMS)
def test_core_without_python(core, program, tmp_path):
    binary = tmp_path / program
    finish(start(*core_flags(), C / f"{program}.c", *core, "-o", binary, "-lm"))
    done = subprocess.run([binary], capture_output=True, text=True, timeout=120)
    how = f"ended with {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
    assert done.returncode == 0, f"{program} {how}\n{done.stdout}\n{done.stderr}"
