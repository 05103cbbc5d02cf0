"""Builds the C core and its Cython interface; all else about the package is in pyproject.toml."""

import os
import platform
import sys
import sysconfig
from glob import glob
from pathlib import Path

import numpy
from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

sys.path.insert(0, str(Path(__file__).parent))  # a build backend does not add it
from compile_flags import accepts, compiler, core_flags  # noqa: E402

SOURCES = sorted(glob("csrc/**/*.c", recursive=True))
HEADERS = sorted(glob("csrc/**/*.h", recursive=True))

DEBUG = ["-O1", "-g", "-UNDEBUG", "-DFBP_DEBUG"] if os.environ.get("FASTBP_DEBUG") else ["-g0"]
WINDOWS = platform.system() == "Windows"

# One build for Python 3.11 and all later ones. A free-threaded Python has no such interface.
ABI3 = not sysconfig.get_config_var("Py_GIL_DISABLED")
MACROS = [("NPY_NO_DEPRECATED_API", "NPY_1_22_API_VERSION")]
if ABI3:
    MACROS.append(("Py_LIMITED_API", "0x030B0000"))

INSTALL = {
    "Windows": "a mingw-w64 GCC, such as MSYS2's (pacman -S mingw-w64-ucrt-x86_64-gcc), and put its"
    " folder on the PATH. Microsoft's compiler cannot build fastbp",
    "Darwin": "Apple's clang: xcode-select --install",
}.get(platform.system(), "GCC, such as by apt-get install gcc")


def extension(name, c_sources=()):
    return Extension(
        f"fastbp.{name}",
        [f"src/fastbp/{name}.pyx", *c_sources],
        depends=HEADERS,
        include_dirs=["csrc", numpy.get_include()],
        define_macros=MACROS,
        # On Windows the compiler's own libraries are not there where the package is installed.
        extra_link_args=["-static", "-s"] if WINDOWS else ["-pthread"],
        py_limited_api=ABI3,
    )


class BuildWithCoreFlags(build_ext):
    """Gives the compiler those flags that it accepts; it is asked only where something is built."""

    def finalize_options(self):
        super().finalize_options()
        if WINDOWS:
            self.compiler = "mingw32"  # setuptools' name of a compiler with GCC's options
            os.environ["CC"] = os.environ.get("CC") or "gcc"

    def build_extensions(self):
        words = compiler()
        if not words or not accepts(words, "-std=gnu11"):
            raise SystemExit(
                "fastbp needs a C compiler that takes GCC's options, got "
                f"CC={os.environ.get('CC', '')!r}. Install {INSTALL}; or name one by CC."
            )
        flags = core_flags(words) + DEBUG
        for ext in self.extensions:
            ext.extra_compile_args = flags
        super().build_extensions()

    def get_libraries(self, ext):
        libraries = super().get_libraries(ext)
        if WINDOWS and ABI3:  # the library of one version would tie the build to it
            own = f"python{sys.version_info.major}{sys.version_info.minor}"
            libraries = ["python3" if name == own else name for name in libraries]
        return libraries


setup(
    cmdclass={"build_ext": BuildWithCoreFlags},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if ABI3 else {},
    ext_modules=cythonize(
        [extension("_blas"), extension("_core", SOURCES)],
        include_path=["src"],
        build_dir="build/cython",
    ),
)
