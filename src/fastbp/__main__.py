"""The command line: ``python -m fastbp demo | fit | predict | info | plan``."""

import argparse
import os
import platform
import sys
import time
import warnings

from ._commands import fit, predict
from ._optim import SOLVERS


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0; 2 if the arguments ask for something impossible; 130 after Ctrl-C.
    """
    parser = _parser()
    arguments = parser.parse_args(argv)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments) or 0
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        message = " ".join(str(error).split())
        print(f"{parser.prog} {arguments.command}: error: {message}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{parser.prog} {arguments.command}: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of a pipe (head, less) left: what is buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"note: {' '.join(str(message).split())}", file=sys.stderr)


def _parser():
    parser = argparse.ArgumentParser(
        prog="fastbp", description="Multilayer perceptrons on the CPU, fast and in little memory."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    demo = commands.add_parser(
        "demo", help="train on the digits data, beside scikit-learn's own estimator"
    )
    demo.set_defaults(run=_demo)

    fit.add(commands)
    predict.add(commands)

    info = commands.add_parser("info", help="instruction sets, BLAS, threads and versions")
    info.set_defaults(run=_info)

    plan = commands.add_parser("plan", help="the memory of a fit, before the fit")
    plan.add_argument(
        "layer_sizes",
        type=int,
        nargs="+",
        metavar="width",
        help="widths of the layers, input and output included, e.g. 784 512 10",
    )
    plan.add_argument("--batch-size", type=int, default=200)
    plan.add_argument("--dtype", default="float32", help="float32 or float64")
    plan.add_argument("--solver", default="adam", help=f"{', '.join(SOLVERS)} or none")
    plan.add_argument("--n-threads", type=int, default=None)
    plan.add_argument("--activation", default="relu", help="of the hidden layers")
    plan.add_argument("--max-memory", default=None, help="cap on the arena: 64MB, 1.5GiB or bytes")
    plan.set_defaults(run=_plan)
    return parser


def _plan(arguments):
    from .memory import memory_plan

    print(
        memory_plan(
            arguments.layer_sizes,
            batch_size=arguments.batch_size,
            dtype=arguments.dtype,
            solver=arguments.solver,
            n_threads=arguments.n_threads,
            activation=arguments.activation,
            max_memory=arguments.max_memory,
        )
    )


def _info(_):
    import numpy
    import scipy
    import sklearn
    import threadpoolctl

    import fastbp

    from . import _core
    from ._threads import resolve_n_threads

    levels = ", ".join(_core.cpu_levels())
    lines = [
        ("fastbp", fastbp.__version__),
        ("instruction set", f"{_core.cpu_level()} (of {levels})"),
        ("threads", f"{resolve_n_threads(None)} by default, {os.cpu_count()} cores"),
    ]
    for library in threadpoolctl.threadpool_info():
        if library["user_api"] == "blas":
            name = f"{library['internal_api']} {library['version']}"
            kernels = library.get("architecture")
            where = "/".join(library["filepath"].split(os.sep)[-2:])
            lines.append(("BLAS", f"{name}{f' ({kernels})' if kernels else ''}, {where}"))
    lines += [
        ("activations", ", ".join(_core.ACTIVATIONS)),
        ("losses", ", ".join(_core.LOSSES)),
        ("numpy", numpy.__version__),
        ("scipy", scipy.__version__),
        ("scikit-learn", sklearn.__version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
    ]
    width = max(len(name) for name, _ in lines)
    for name, text in lines:
        print(f"{name.ljust(width)}  {text}")


_DEMO = dict(
    hidden_layer_sizes=(64,), batch_size=32, learning_rate_init=0.003, max_iter=40, random_state=0
)


def _demo(_):
    from sklearn.datasets import load_digits
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import train_test_split
    from sklearn.neural_network import MLPClassifier as SklearnMLP

    import fastbp

    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(
        X / 16.0, y, test_size=0.25, random_state=0, stratify=y
    )
    print(
        f"digits: {len(X_train)} images to train on, {len(X_test)} to test, "
        f"{X.shape[1]} pixels, 10 classes\n"
    )

    def timed_fit(estimator):
        with warnings.catch_warnings():
            # The number of epochs is fixed on purpose, for two fits of equal work.
            warnings.simplefilter("ignore", ConvergenceWarning)
            start = time.perf_counter()
            estimator.fit(X_train, y_train)
            return time.perf_counter() - start

    ours = fastbp.MLPClassifier(**_DEMO)
    seconds = timed_fit(ours)
    print(ours.memory_plan_)
    print()
    for epoch, loss in enumerate(ours.loss_curve_, start=1):
        if epoch == 1 or epoch % 10 == 0 or epoch == ours.n_iter_:
            print(f"epoch {epoch:3d}  loss {loss:.5f}")
    print()

    theirs = SklearnMLP(**_DEMO)
    sklearn_seconds = timed_fit(theirs)
    print(f"{'':14}{'epochs':>8}{'seconds':>10}{'test accuracy':>16}")
    for name, estimator, elapsed in (
        ("fastbp", ours, seconds),
        ("scikit-learn", theirs, sklearn_seconds),
    ):
        accuracy = estimator.score(X_test, y_test)
        print(f"{name:14}{estimator.n_iter_:8d}{elapsed:10.3f}{accuracy:16.4f}")
    print(f"\nfastbp took {sklearn_seconds / seconds:.1f} times less time.")


if __name__ == "__main__":
    sys.exit(main())
