"""Builds the C core and its Cython interface; all else about the package is in pyproject.toml."""

import os
import platform
from glob import glob

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = sorted(glob("csrc/*.c"))
HEADERS = sorted(glob("csrc/*.h"))

# No instruction set beyond the platform's baseline: higher levels are chosen at run time.
FLAGS = "-std=gnu11 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast".split()
FLAGS += ["-fvisibility=hidden", "-pthread", "-g0"]
FLAGS += ["-falign-loops=64", "-fno-wrapv"]  # 2% of a small net's step; Python builds with -fwrapv
if os.environ.get("FASTBP_DEBUG"):
    FLAGS += ["-O1", "-g", "-UNDEBUG", "-DFBP_DEBUG"]
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
        extra_compile_args=FLAGS,
        extra_link_args=["-pthread"],
    )


setup(
    ext_modules=cythonize(
        [extension("_blas"), extension("_core", SOURCES)],
        include_path=["src"],
        build_dir="build/cython",
    )
)
