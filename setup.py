"""Builds the C core and its Cython interface. Everything else about the package is in pyproject.toml."""
import os
import platform

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup

SOURCES = ["arena", "net", "dense_blas", "dense_packed",
           "kernels_f32", "kernels_f64", "dispatch", "pool", "trainer"]
HEADERS = ["fastbp.h", "kernels.h", "kernels_template.h", "packed_template.h",
           "target_avx2.h", "target_avx512.h", "target_end.h"]

# No instruction set beyond the platform's baseline: higher levels are chosen at run time.
FLAGS = ["-std=gnu11", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast",
         "-fvisibility=hidden", "-pthread"]
if os.environ.get("FASTBP_DEBUG"):
    FLAGS += ["-O1", "-g", "-UNDEBUG", "-DFBP_DEBUG"]
if platform.system() == "Windows":
    raise SystemExit("fastbp needs a POSIX system (pthreads); Windows is not supported")

MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_22_API_VERSION")]


def extension(name, c_sources=()):
    return Extension(
        f"fastbp.{name}",
        [f"src/fastbp/{name}.pyx", *(f"csrc/{source}.c" for source in c_sources)],
        depends=[f"csrc/{header}" for header in HEADERS] if c_sources else ["csrc/fastbp.h"],
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
