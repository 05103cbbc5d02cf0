"""``python -m fastbp export``: a saved model as a file of C or an ONNX model."""

import sys

from .._export.c import check_prefix, source_of
from .._version import __version__
from ..io import onnx_model
from . import models
from .files import check_writable, replacing
from .options import paragraph

_NAME = "model"
_DESCRIPTION = paragraph(
    "Write a model that `fit` has saved, or a file of fastbp.save with one fitted estimator, as a "
    "program that needs neither fastbp nor Python: one file of C99, which allocates nothing and "
    "needs no library but libm, or an ONNX model. The comment at the top of the C file says how it "
    f"is called and what it takes. A saved model {models.TRUST}."
)
_EPILOG = """\
examples:
  fastbp export cancer.fastbp --c cancer.c --name cancer
  fastbp export cancer.fastbp --onnx cancer.onnx
"""


def add(commands):
    """Add the command to the parser."""
    text = "a saved model as a file of C or an ONNX model"
    parser = commands.add_parser("export", help=text, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument("model", metavar="MODEL", help="a file that `fit` has saved")
    one = parser.add_mutually_exclusive_group(required=True)
    text = "write this file of C99 (default: none, which takes --onnx)"
    one.add_argument("--c", metavar="FILE", help=text)
    text = "write this ONNX model, which takes the package onnx (default: none, which takes --c)"
    one.add_argument("--onnx", metavar="FILE", help=text)
    text = f"what the names in the C file begin with, such as NAME_predict (default: {_NAME})"
    parser.add_argument("--name", metavar="NAME", help=text)
    parser.set_defaults(run=run)


def run(arguments):
    """Do what the command line asks for."""
    option, out = ("--c", arguments.c) if arguments.onnx is None else ("--onnx", arguments.onnx)
    name = _checked_name(arguments, option)
    check_writable(out, option, arguments.model)
    found = models.load_estimator(arguments.model)
    if found.version not in (None, __version__):
        text = f"note: the model was saved by fastbp {found.version!r}, this is {__version__!r}"
        print(text, file=sys.stderr)
    if option == "--c":
        data = source_of(found.estimator, name, found.columns).encode("ascii")
    else:
        data = _onnx(found)
    with replacing(out, "b") as file:
        file.write(data)
    print(f"{len(data):,} bytes: {out}", file=sys.stderr)


def _checked_name(arguments, option):
    if arguments.name is None:
        return _NAME
    if option == "--onnx":
        raise ValueError(f"--name: {arguments.name!r} names nothing in an ONNX model: it takes --c")
    try:
        check_prefix(arguments.name)
    except ValueError as error:
        raise ValueError(f"--name: {error}") from None
    return arguments.name


def _onnx(found):
    try:
        return onnx_model(found.estimator, found.columns).SerializeToString()
    except ImportError as error:
        raise ValueError(f"--onnx: {error}") from error
