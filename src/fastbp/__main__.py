"""The command line: ``python -m fastbp demo | fit | predict | export | info | plan``."""

import contextlib
import os
import sys
import warnings

from ._commands import demo, export, fit, info, plan, predict
from ._commands.options import Parser
from ._version import __version__

_DESCRIPTION = """\
Multilayer perceptrons on the CPU, fast and in little memory.

For tables in files: `fit` trains and saves a model, `predict` uses it, `export`
makes a file of C or an ONNX model of it.
For programs: `info` shows what fastbp runs on, `plan` the memory of a fit.
"""
_EPILOG = """\
examples:
  fastbp fit cancer.csv --target target
  fastbp predict cancer.fastbp cancer.csv --out predictions.csv
  fastbp export cancer.fastbp --c cancer.c
  fastbp plan --help

exit codes: 0 done; 2 wrong arguments, or a file that cannot be read or
written; 130 after Ctrl-C; 141 if the reader of a pipe left
"""
_INTERRUPTED, _NOBODY_READS = 130, 141  # as the shell tells of programs that signals ended


def main(argv=None):
    """Run the command line.

    Parameters
    ----------
    argv : list of str or None, default=None
        Arguments without the program name; None takes those of the process.

    Returns
    -------
    int
        Exit code: 0; 2 if the arguments ask for something impossible; 130 after Ctrl-C; 141 if
        who reads the output went away.

    Raises
    ------
    SystemExit
        By the parser, with code 0 after --help and --version, and 2 after what it cannot parse.
    """
    try:
        try:
            return _run(argv)
        finally:
            sys.stdout.flush()  # what goes wrong here is told here, not when Python ends
    except BrokenPipeError:  # the reader of a pipe (head, less) left
        _drop_output()
        return _NOBODY_READS
    except OSError as error:
        what = error.filename or "the output cannot be written"
        print(f"fastbp: error: {what}: {error.strerror}", file=sys.stderr)
        _drop_output()
        return 2


def _run(argv):
    arguments = parser().parse_args(argv)
    name = f"fastbp {arguments.command}"
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return arguments.run(arguments) or 0
    except (ValueError, TypeError, OverflowError, MemoryError) as error:
        message = " ".join(str(error).split())
        print(f"{name}: error: {message or 'there is not enough memory'}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{name}: interrupted", file=sys.stderr)
        _drop_output()  # which may be what was being waited for
        return _INTERRUPTED


def _drop_output():
    """Let what is buffered go nowhere, so that nothing complains when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for file in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # what takes its place may be no file
            os.dup2(nowhere, file.fileno())
    os.close(nowhere)


def _show_warning(message, category, filename, lineno, file=None, line=None):
    print(f"note: {' '.join(str(message).split())}", file=sys.stderr)


def parser():
    """The parser of the whole command line.

    Returns
    -------
    Parser
        Its commands are the choices of its last action.
    """
    top = Parser(prog="fastbp", description=_DESCRIPTION, epilog=_EPILOG)
    text = "print the version of fastbp and end"
    top.add_argument("--version", action="version", version=f"fastbp {__version__}", help=text)
    commands = top.add_subparsers(
        dest="command",
        required=True,
        metavar="COMMAND",
        title="commands",
        description="`fastbp COMMAND --help` tells more",
    )
    for command in (demo, fit, predict, export, info, plan):
        command.add(commands)
    return top


if __name__ == "__main__":
    sys.exit(main())
