"""``make mutants``: small faults are put into the code, one at a time, and the tests must notice.

The table of the faults is in `table.py`. All this happens in a copy of the tree in build/mutants: a
mutant is written into it, what depends on it is compiled (objects are kept by the hash of all that
they are made of), its tests are run, and the text of before is restored. A mutant has died if a
test fails, does not end in time, or cannot be built. The exit code is 1 if fewer than 90% die or if
one survives that the table does not explain.
"""

import argparse
import contextlib
import functools
import hashlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from table import MUTANTS

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
from compile_flags import compiler, core_flags  # noqa: E402

WORK = ROOT / "build" / "mutants"
TREE, OBJECTS = WORK / "tree", WORK / "objects"
COPIED = ("csrc", "src", "tests", "bench", "examples", "docs")
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
WANTED = 0.9  # share of the mutants that must die
SECONDS = 60  # for the tests of one mutant; whoever takes longer hangs


class BuildError(Exception):
    """The compiler's words."""


class NotRun(Exception):
    """All tests that should notice are skipped here."""


# ---- what is compiled ----


def run(command, **settings):
    """Run a tool; BuildError with its words if it fails."""
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=TREE, **settings
    )
    if done.returncode:
        raise BuildError(f"{shlex.join(done.args)}\n{done.stdout}{done.stderr}")


def included(path, seen):
    """Add a file and all that it includes, directly or not, to `seen`."""
    if path in seen or not path.exists():
        return
    seen.add(path)
    for name in re.findall(r'^\s*#\s*include "(.+?)"', path.read_text(), re.MULTILINE):
        included(TREE / "csrc" / name, seen)
        included(path.parent / name, seen)


def made(name, sources, command):
    """The file that a command makes of these sources; it is run unless that is there already.

    `command` is a list of words, in which `made.OUT` stands for the file.
    """
    words = ["" if word is made.OUT else str(word) for word in command]
    sha = hashlib.sha256(repr(words).encode())
    for path in sorted(sources):
        sha.update(path.read_bytes())
    target = OBJECTS / f"{sha.hexdigest()[:16]}-{name}"
    if not target.exists():
        part = target.with_name(f"part-{target.name}")
        run([part if word is made.OUT else word for word in command])
        part.rename(target)
    made.used.add(target)
    return target


made.OUT = object()
made.used = set()


@functools.cache
def base_flags():
    return [*core_flags(compiler()), "-fPIC", "-w", f"-I{TREE / 'csrc'}"]


@functools.cache
def python_flags():
    import numpy

    return [f"-I{sysconfig.get_paths()['include']}", f"-I{numpy.get_include()}"]


def object_of(source, *flags):
    """The object of a file of C."""
    sources = set()
    included(source, sources)
    command = [*compiler(), *base_flags(), *flags, "-c", source, "-o", made.OUT]
    return made(f"{source.stem}.o", sources, command)


def core_objects():
    """The objects of the core, two at a time, the longest first."""
    sources = sorted(
        TREE.glob("csrc/*/*.c"), key=lambda path: (path.parent.name != "kernels", path)
    )
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(object_of, sources))


def build_extension(name, objects):
    """Put an extension module into the tree."""
    folder = TREE / "src" / "fastbp"
    sources = [path for kind in ("pyx", "pxd") for path in folder.glob(f"*.{kind}")]
    cython = [sys.executable, "-m", "cython", "-3", folder / f"{name}.pyx", "-I", TREE / "src"]
    c = made(f"{name}.c", [p for p in sources if p.suffix == ".pxd" or p.stem == name],
             [*cython, "-o", made.OUT])  # fmt: skip
    wrapper = object_of(c, *python_flags())
    link = [*compiler(), "-shared", "-pthread", *objects, wrapper, "-lm", "-o", made.OUT]
    module = made(f"{name}{SUFFIX}", [*objects, wrapper], link)
    shutil.copyfile(module, folder / f"{name}{SUFFIX}")


def build():
    """Compile what has changed and put it into the tree."""
    build_extension("_core", core_objects())
    build_extension("_blas", [])


def c_program(name):
    """A program of tests/c, linked with the core of the tree."""
    objects = core_objects()
    main = object_of(TREE / "tests" / "c" / f"{name}.c", f"-I{TREE / 'tests' / 'c'}")
    link = [*compiler(), "-pthread", main, *objects, "-lm", "-o", made.OUT]
    return made(name, [main, *objects], link)


# ---- what is run ----


def descendants(pid):
    """The processes that this one has started, and those have."""
    children = {}
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(status.parent.name))
    found = [pid]
    for parent in found:
        found += children.get(parent, [])
    return found[1:]


def ending(command, seconds):
    """How a program ends, "" if well, and what it printed. What hangs is killed whole."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(TREE / "src"),
        "PYTHONDONTWRITEBYTECODE": "1",  # a mutant may have the size and the second of another
    }
    process = subprocess.Popen(
        [str(word) for word in command],
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        kill(process)
        return "hangs", process.communicate()[0]
    except BaseException:
        kill(process)
        raise
    code = process.returncode
    return "" if code == 0 else f"signal {-code}" if code < 0 else f"exit {code}", out


def kill(process):
    """End a process with all that it has started, in its session or out of it."""
    for pid in [*descendants(process.pid), process.pid]:
        with contextlib.suppress(OSError):
            os.killpg(os.getpgid(pid), signal.SIGKILL)


def notice(tests, seconds):
    """The first of these tests that notices, how, and what it printed; None if all pass."""
    programs = [test for test in tests if test.startswith("c/")]
    for program in programs:
        how, out = ending([c_program(program.removeprefix("c/"))], seconds)
        if how:
            return program, how, out
    pytest = [test for test in tests if test not in programs]
    if pytest:
        command = [sys.executable, "-m", "pytest", "-o", "addopts=", "-m", "not every_combination",
                   "-x", "-q", "-p", "no:cacheprovider", "--tb=short"]  # fmt: skip
        how, out = ending([*command, *words(pytest)], seconds)
        if how == "exit 5" or not (how or re.search(r"\d+ passed", out)):
            raise NotRun
        if how:
            failed = re.search(r"^(?:FAILED|ERROR) (\S+)", out, re.MULTILINE)
            return failed[1] if failed else "pytest", how, out
    return None


def words(tests):
    """Arguments of pytest: test files of the folder tests, or tests in them."""
    return [word if word.startswith("-") else f"tests/{word}" for word in tests]


# ---- the copy of the tree ----


def copy_tree():
    """Copy what the tests need; nothing compiled, and none of ours."""
    shutil.rmtree(TREE, ignore_errors=True)
    skip = shutil.ignore_patterns("*.so", "__pycache__", "*.pyc", "mutants", "test_mutants.py")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, TREE / name, ignore=skip)
    for path in ROOT.iterdir():
        if path.is_file() and not path.name.startswith("."):
            shutil.copy2(path, TREE)
    OBJECTS.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def mutated(mutant):
    """The tree with this mutant in it."""
    path = TREE / mutant.file
    before = path.read_text()
    if before.count(mutant.old) != 1:
        raise SystemExit(
            f"{mutant.name}: the old text stands {before.count(mutant.old)} times in "
            f"{mutant.file}, not once: bring tests/mutants/table.py up to date"
        )
    path.write_text(before.replace(mutant.old, mutant.new))
    try:
        yield
    finally:
        path.write_text(before)


def is_compiled(mutant):
    return mutant.file.endswith((".c", ".h", ".pyx", ".pxd"))


def outcome(mutant, seconds):
    """Who notices a mutant, how, and what was printed; None if nobody does."""
    with mutated(mutant):
        if is_compiled(mutant):
            try:
                build()
            except BuildError as error:
                return "compiler", "fails", str(error)
        return notice(mutant.tests, seconds)


# ---- the run ----


def chosen(patterns):
    """The mutants whose name or file one of the patterns finds; all without a pattern."""
    return [
        mutant
        for mutant in MUTANTS
        if not patterns or any(re.search(p, f"{mutant.file} {mutant.name}") for p in patterns)
    ]


def check_unmutated(mutants):
    """The tests must pass before they can notice anything."""
    tests = sorted({test for mutant in mutants for test in mutant.tests})
    started = time.monotonic()
    build()
    where = "import fastbp, sys; sys.exit(not fastbp.__file__.startswith(sys.argv[1]))"
    how, out = ending([sys.executable, "-c", where, TREE], 60)
    if how:
        raise SystemExit(f"another fastbp than that of {TREE} is imported\n{out}")
    try:
        found = notice(tests, 20 * SECONDS)
    except NotRun:
        found = None
    if found:
        raise SystemExit(f"{found[0]} {found[1]} without a mutant\n{found[2]}")
    print(
        f"{len(tests)} tests pass without a mutant, {time.monotonic() - started:.0f} s", flush=True
    )


def report(mutant, found, seconds):
    """One line of the table."""
    if found:
        text = f"died      {seconds:4.0f} s  {mutant.name}: {found[0]} {found[1]}"
    else:
        text = f"SURVIVED  {seconds:4.0f} s  {mutant.name} ({mutant.file})"
    print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pattern", nargs="*", help="only mutants whose file and name it finds")
    parser.add_argument("--list", action="store_true", help="print the mutants and end")
    parser.add_argument("--show", action="store_true", help="print what the tests said")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="for the tests of one mutant"
    )
    arguments = parser.parse_args()
    mutants = chosen(arguments.pattern)
    if arguments.list:
        for mutant in mutants:
            print(f"{mutant.file}: {mutant.name}{' (survives)' if mutant.reason else ''}")
        return 0
    started = time.monotonic()
    copy_tree()
    check_unmutated(mutants)
    for path in set(OBJECTS.iterdir()) - made.used:
        path.unlink()  # of an older tree
    base = set(OBJECTS.iterdir())
    alive, skipped = [], []
    for mutant in mutants:
        begun = time.monotonic()
        try:
            found = outcome(mutant, arguments.seconds)
        except NotRun:
            print(f"not run: its tests are skipped here  {mutant.name}", flush=True)
            skipped.append(mutant)
            continue
        report(mutant, found, time.monotonic() - begun)
        if found and arguments.show:
            print(found[2])
        if not found:
            alive.append(mutant)
        for path in set(OBJECTS.iterdir()) - base:
            path.unlink()
    mutants = [mutant for mutant in mutants if mutant not in skipped]
    return summary(mutants, alive, time.monotonic() - started)


def summary(mutants, alive, seconds):
    """Print the survivors with their reasons; the exit code."""
    died = len(mutants) - len(alive)
    print(f"\n{died} of {len(mutants)} mutants died, {died / max(len(mutants), 1):.0%}, "
          f"in {seconds / 60:.0f} minutes")  # fmt: skip
    for mutant in alive:
        print(f"  survived: {mutant.name} ({mutant.file})\n    {mutant.reason or 'UNEXPLAINED'}")
    for mutant in mutants:
        if mutant.reason and mutant not in alive:
            print(f"  died, although the table has a reason why it would not: {mutant.name}")
    bad = died < WANTED * len(mutants) or any(not mutant.reason for mutant in alive)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
