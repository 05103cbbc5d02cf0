"""The C core tested without Python: every program of tests/c, built with the core and run."""

import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from c_programs import CORE, C, core_flags, finish, shipped_object, start

PROGRAMS = sorted(path.stem for path in C.glob("test_*.c"))


@pytest.fixture(scope="session")
def core(tmp_path_factory):
    """The objects of the core, built once, two at a time.

    The kernels take most of a minute. Those that the package was built from are used if there are
    such, and a compiler reads the source for warnings; `make test-c` builds everything anew.
    """
    if not CORE.is_dir():
        pytest.skip("the sources of the core are not here")
    folder = tmp_path_factory.mktemp("core")
    # The longest first.
    sources = sorted(CORE.glob("*/*.c"), key=lambda path: not path.stem.startswith("kernels"))
    # Files of two folders may have one name.
    objects = [folder / f"{source.parent.name}-{source.stem}.o" for source in sources]
    running = []
    for i, source in enumerate(sources):
        shipped = shipped_object(source) if source.stem.startswith("kernels") else None
        task = ["-fsyntax-only"] if shipped else ["-o", objects[i]]
        objects[i] = shipped or objects[i]
        running.append(start(*core_flags(), "-c", source, *task))
        if len(running) == 2:
            finish(running.pop(0))
    for process in running:
        finish(process)
    return objects


@pytest.fixture(scope="session")
def outcomes(core, tmp_path_factory):
    """Every program, being built and run: two at a time."""
    folder = tmp_path_factory.mktemp("programs")

    def outcome(program):
        binary = folder / program
        finish(start(*core_flags(), C / f"{program}.c", *core, "-o", binary, "-lm"))
        return subprocess.run([binary], capture_output=True, text=True, timeout=200)

    with ThreadPoolExecutor(max_workers=2) as pool:
        longest_first = sorted(PROGRAMS, key=lambda program: program != "test_dense")
        yield {program: pool.submit(outcome, program) for program in longest_first}


@pytest.mark.parametrize("program", PROGRAMS)
def test_core_without_python(outcomes, program):
    done = outcomes[program].result()
    how = f"ended with {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
    assert done.returncode == 0, f"{program} {how}\n{done.stdout}\n{done.stderr}"
