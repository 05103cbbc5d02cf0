"""``python -m fastbp info``: what this installation runs on and what it has."""

import os
import platform

_DESCRIPTION = """\
Print what fastbp runs on: the version, the instruction set in use and those
that could be, threads, how matrix products are done, the BLAS libraries, the
environment variables in effect, activations, losses and solvers, and the
versions of what it builds on. It has no options. Please add its output to a
report of a bug.
"""


def add(commands):
    """Add the command to the parser."""
    text = "instruction sets, BLAS, threads, environment variables and versions"
    parser = commands.add_parser("info", help=text, description=_DESCRIPTION)
    parser.set_defaults(run=run)


def run(_):
    """Do what the command line asks for."""
    lines = [*_machine(), *_environment(), *_names(), *_versions()]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name.ljust(width)}  {text}")


def _machine():
    import threadpoolctl

    from .. import _core
    from .._threads import resolve_n_threads
    from .._version import __version__
    from ..memory import memory_plan

    yield "fastbp", __version__
    yield "instruction set", f"{_core.cpu_level()} (of {', '.join(_core.cpu_levels())})"
    yield "threads", f"{resolve_n_threads(None)} by default, {os.cpu_count()} cores"
    yield "matrix products", ", ".join(dict.fromkeys(memory_plan((64, 64, 10)).dense))
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            name = f"{library['internal_api']} {library['version']}"
            kernels = library.get("architecture")
            where = "/".join(library["filepath"].split(os.sep)[-2:])
            yield "BLAS", f"{name}{f' ({kernels})' if kernels else ''}, {where}"


def _environment():
    """The variables that count, as they are."""
    from .._core import environment
    from .._environment import NAMES

    names = (*NAMES, "OMP_NUM_THREADS")
    for name, value in zip(names, environment(*names), strict=True):
        yield name, value or "not set"


def _names():
    from .. import _core
    from .._optim import SOLVERS

    yield "activations", ", ".join(_core.ACTIVATIONS)
    yield "losses", ", ".join(_core.LOSSES)
    yield "solvers", ", ".join(SOLVERS)


def _versions():
    import numpy
    import scipy
    import sklearn

    yield "numpy", numpy.__version__
    yield "scipy", scipy.__version__
    yield "scikit-learn", sklearn.__version__
    yield "python", f"{platform.python_version()} on {platform.platform()}"
