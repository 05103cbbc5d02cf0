"""Builds the C core and its Cython interface; all else about the package is in pyproject.toml."""

import os
import platform
import sys
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))  # a build backend does not add it
from compile_flags import compiler, core_flags  # noqa: E402

SOURCES = sorted(glob("csrc/**/*.c", recursive=True))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

DEBUG = ["-O1", "-g", "-UNDEBUG", "-DFBP_DEBUG"] if os.environ.get("FASTBP_DEBUG") else ["-g0"]
if platform.system() == "Windows":
    raise SystemExit("fastbp needs a POSIX system (pthreads); Windows is not supported")

MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_22_API_VERSION")]


def extension(name, c_sources=()):
    return Extension(
        f"fastbp.{name}",
        [f"src/fastbp/{name}.pyx", *c_sources],
        depends=HEADERS,
        include_dirs=["csrc", numpy.get_include()],
        define_macros=MACROS,
        extra_link_args=["-pthread"],
    )


class BuildWithCoreFlags(build_ext):
    """Gives the compiler those flags that it accepts; it is asked only where something is built."""

    def build_extensions(self):
        flags = core_flags(compiler()) + DEBUG
        for ext in self.extensions:
            ext.extra_compile_args = flags
        super().build_extensions()


setup(
    cmdclass={"build_ext": BuildWithCoreFlags},
    ext_modules=cythonize(
        [extension("_blas"), extension("_core", SOURCES)],
        include_path=["src"],
        build_dir="build/cython",
    ),
)
