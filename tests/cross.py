"""Builds the C core and tests/c for other systems, and runs them where something here can.

``python tests/cross.py [TARGET ...]``; without names, all of TARGETS. A warning is an error. Where
a tool is missing, what needs it is skipped, and the table at the end says which package brings it.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build" / "cross"
sys.path.insert(0, str(ROOT))

from compile_flags import WARNINGS, core_flags  # noqa: E402

CORE, TESTS = ROOT / "csrc", ROOT / "tests" / "c"
# Those that take longest come first.
SOURCES = sorted(CORE.glob("*/*.c"), key=lambda path: not path.stem.startswith("kernels"))
PROGRAMS = sorted(TESTS.glob("test_*.c"), key=lambda path: path.stem != "test_dense")
MINGW = ("x86_64-w64-mingw32-gcc-posix", "x86_64-w64-mingw32-gcc")  # Debian's name, and others'
MINUTES = 30  # for a program: an emulator is slow, and machines are busy
# Of the most numerous problems so small a share (see check.h): an emulator takes 20 times as long.
QEMU_SHARE = "32"


class Target(NamedTuple):
    """A kind of machine, and a compiler for it."""

    system: str
    machine: str
    libc: str
    compilers: tuple = ()  # their names, any of which will do; empty: zig, which has all targets
    package: str = "PyPI: ziglang"

    @property
    def name(self):
        parts = [self.machine, self.system, self.libc]
        return "-".join(part for part in parts if part)

    def compiler(self):
        """Its words, or None."""
        if self.compilers:
            found = filter(shutil.which, self.compilers)
            return [first] if (first := next(found, None)) else None
        zig = [sys.executable, "-m", "ziglang", "cc"]
        has = subprocess.run([*zig[:-1], "version"], capture_output=True).returncode == 0
        return [*zig, "-target", self.name] if has else None

    def runner(self):
        """The words before a program that run it here, and the reason if there are none."""
        if self.system == "macos":
            return None, "only macOS runs it"
        if self.system == "windows":
            return _tool(["wine", "wine64"], "wine")
        if (platform.system(), platform.machine()) == ("Linux", self.machine):
            return [], ""
        return _tool([f"qemu-{self.machine}", f"qemu-{self.machine}-static"], "qemu-user")


def _name(compiler):
    return "zig" if "ziglang" in compiler else Path(compiler[0]).name


def _tool(names, package):
    found = next(filter(shutil.which, names), None)
    return ([found], "") if found else (None, f"needs {names[0]} (Debian: {package})")


TARGETS = (
    Target("linux", "x86_64", "musl", ("musl-gcc",), "Debian: musl-tools"),
    Target("linux", "x86_64", "musl"),
    Target("linux", "aarch64", "gnu", ("aarch64-linux-gnu-gcc",), "Debian: gcc-aarch64-linux-gnu"),
    Target("linux", "aarch64", "musl"),
    Target("windows", "x86_64", "gnu", MINGW, "Debian: gcc-mingw-w64-x86-64"),
    Target("windows", "x86_64", "gnu"),
    Target("macos", "x86_64", ""),
    Target("macos", "aarch64", ""),
)


class Failure(Exception):
    """What a compiler or a program said."""


def run(*words, **environment):
    """Run a command; returns what it printed, without its errors and warnings."""
    words = [*map(str, words)]
    environment = {**os.environ, **environment}
    # Not pipes: what wine leaves running in the background would keep them open.
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as errors:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=errors,
            timeout=60 * MINUTES,
            env=environment,
        )
        said.seek(0)
        errors.seek(0)
        if done.returncode:
            command = " ".join(words)
            raise Failure(f"{command}\nended with {done.returncode}\n{said.read()}{errors.read()}")
        return said.read()


def build(target, compiler, pool):
    """Compile and link what is older than any source; returns the programs."""
    folder = BUILD / f"{target.name}-{_name(compiler)}"
    folder.mkdir(parents=True, exist_ok=True)
    static = [] if target.system == "macos" else ["-static"]  # nothing of the target is installed
    flags = [*core_flags(compiler), *WARNINGS, f"-I{CORE}", f"-I{TESTS}"]
    core = [ROOT / "compile_flags.py", *CORE.rglob("*.[ch]")]

    def make(made, sources, *words):
        newest = max(source.stat().st_mtime for source in sources)
        if not made.exists() or made.stat().st_mtime < newest:
            run(*compiler, *flags, *words, "-o", made)
        return made

    def compiled(source):
        return make(folder / f"{source.parent.name}-{source.stem}.o", core, "-c", source)

    def linked(program):
        binary = folder / (program.stem + ".exe" * (target.system == "windows"))
        return make(binary, [*core, *TESTS.iterdir()], *static, program, *objects, "-lm")

    objects = list(pool.map(compiled, SOURCES))
    return list(pool.map(linked, PROGRAMS))


def try_target(target, pool):
    """Build and run; returns the compiler, what was built, and what was run, in words."""
    compiler = target.compiler()
    if not compiler:
        wanted = (target.compilers or ("zig",))[0]
        return wanted, "skipped", f"needs {wanted} ({target.package})"
    programs = build(target, compiler, pool)
    runner, reason = target.runner()
    if runner is None:
        return _name(compiler), f"{len(programs)} programs", f"not run: {reason}"
    # Wine says no word of what it lacks.
    environment = {"WINEPREFIX": str(BUILD / "wine"), "WINEDEBUG": "-all"}
    if "qemu" in "".join(runner):
        environment["CHECK_SHARE"] = QEMU_SHARE
    for program in programs:  # one at a time: some look at where their threads are
        words = run(*runner, program, **environment)
        print("".join(f"    {line}\n" for line in words.splitlines()), end="", flush=True)
    how = f"by {runner[0]}" if runner else "directly"
    return _name(compiler), f"{len(programs)} programs", f"passed, {how}"


def main(names):
    """Try all of these names."""
    unknown = set(names) - {target.name for target in TARGETS}
    if unknown:
        takes = ", ".join(dict.fromkeys(target.name for target in TARGETS))
        raise SystemExit(f"{', '.join(sorted(unknown))}: unknown; it takes {takes}")
    table, failed = [("target", "compiler", "built", "run")], False
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for target in TARGETS:
            if names and target.name not in names:
                continue
            print(target.name, flush=True)
            begin = time.monotonic()
            try:
                row = try_target(target, pool)
            except (Failure, subprocess.TimeoutExpired) as error:
                print(error, file=sys.stderr)
                row, failed = ("", "FAILED", ""), True
            table.append((target.name, *row))
            print(f"    {time.monotonic() - begin:.0f} s", flush=True)
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        print("  ".join(map(str.ljust, row, widths)).rstrip())
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
