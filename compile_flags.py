"""The compiler of the core and its flags, for setup.py, the Makefile, tests and benchmarks.

``python compile_flags.py compiler|flags|warnings`` prints what the Makefile needs.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

# No instruction set beyond the platform's baseline: higher levels are chosen at run time.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -fvisibility=hidden -pthread".split()
# Sums must not depend on what a function is inlined into. Clang keeps to that if it fuses what
# stands in one expression; told to fuse all it can, it does so within a basic block only, and
# blocks differ. GCC before 14 takes "on" for "off".
CONTRACT = ("-ffp-contract=fast", "-ffp-contract=on")
# Each only if the compiler takes it without a word.
WANTED = (
    "-falign-loops=64",  # with the next: 2% of a small net's step
    "-fno-wrapv",  # Python builds with -fwrapv
    "-mcpu=baseline",  # of zig, which compiles for the processor that it runs on
)
# GCC for Windows keeps vectors of 32 and 64 bytes on a stack that is aligned to 16, and moves them
# as if it were aligned to theirs (GCC's bug 54412): the assembler is told to take the other moves.
WINDOWS_GCC = "-Wa,-muse-unaligned-vector-move"
WARNINGS = "-Wall -Wextra -Werror".split()  # of the tests: what is shipped is not to fail for one


def compiler():
    """Name the C compiler: $CC, the one that built Python, cc, or gcc.

    Returns
    -------
    list of str
        Its words; empty if there is none.
    """
    for words in (os.environ.get("CC"), sysconfig.get_config_var("CC"), "cc", "gcc"):
        words = shlex.split(words or "")
        if words and shutil.which(words[0]):
            return words
    return []


def accepts(words, *flags, text="extern int nothing;"):
    """Say whether the compiler takes the flags, and a file of C, without a warning."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "probe.c")
        source.write_text(f"{text}\n")
        command = [*words, "-Werror", *flags, "-c", source, "-o", Path(folder, "probe.o")]
        done = subprocess.run(command, capture_output=True)
    return done.returncode == 0 and not done.stderr


def core_flags(words):
    """List the flags that the compiler is to be given.

    Parameters
    ----------
    words : list of str
        The compiler.

    Returns
    -------
    list of str
    """
    is_clang = _defines(words, "__clang__")
    wanted = [CONTRACT[is_clang], *WANTED]
    flags = FLAGS + [flag for flag in wanted if accepts(words, flag)]
    if not is_clang and _defines(words, "__MINGW64__"):
        if not accepts(words, WINDOWS_GCC):
            raise SystemExit(f"{shlex.join(words)}: it takes binutils 2.38 or later")
        flags.append(WINDOWS_GCC)
    return flags


def _defines(words, macro):
    return accepts(words, text=f"#ifndef {macro}\n#error\n#endif\nextern int nothing;")


if __name__ == "__main__":
    answer = {
        "compiler": compiler,
        "flags": lambda: core_flags(compiler()),
        "warnings": lambda: WARNINGS,
    }
    print(shlex.join(answer[sys.argv[1]]()))
