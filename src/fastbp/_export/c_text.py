"""Numbers and text as C has them: exact, and nothing that a text holds is ever code."""

import string

import numpy as np

from .checks import check_text

# Others are written by their octal numbers. Without ``*`` no comment ends, without ``?`` there are
# no trigraphs, and without ``\\`` and ``"`` no text ends.
_PLAIN = {*map(ord, string.ascii_letters + string.digits + " _-+.,:;=<>()[]{}/|%&!#@^~'$`")}
# C99 promises no more of a text in quotes.
_LONGEST = 4095
_LONGEST_IN_COMMENT = 60
_WIDTH = 100


def quoted(what, text):
    """A text in quotes; ValueError, which says what it is, for one that C cannot hold."""
    check_text(what, text)
    data = text.encode()
    if len(data) > _LONGEST:
        raise ValueError(
            f"{what} has {len(data):,} bytes: a C file takes text of up to {_LONGEST:,} bytes."
        )
    return '"' + _escaped(data) + '"'


def _escaped(data):
    return "".join(chr(byte) if byte in _PLAIN else f"\\{byte:03o}" for byte in data)


def in_comment(text):
    """A text in quotes for a comment, cut short if it is long."""
    data = text.encode(errors="backslashreplace")
    more = "..." if len(data) > _LONGEST_IN_COMMENT else ""
    return f'"{_escaped(data[:_LONGEST_IN_COMMENT])}"{more}'


def literal(value):
    """A number as a double that has the same bits."""
    return repr(float(value))


def array(declaration, values):
    """The definition of an array of numbers of float32 or float64.

    Parameters
    ----------
    declaration : str
        With the type and the name, such as ``static const float w[]``.
    values : ndarray
        Finite.
    """
    return braced(declaration, _literals(values))


def _literals(values):
    values = np.asarray(values).ravel()
    if values.dtype != np.float32:
        return [repr(value) for value in values.tolist()]
    texts = [f"{value:.9g}" for value in values.tolist()]  # that many tell a float from all others
    return [f"{text}f" if "." in text or "e" in text else f"{text}.0f" for text in texts]


def braced(declaration, items):
    """``declaration = {items};`` in lines; an item for an array that would have none."""
    lines, line = [], ""
    for item in items or ["0"]:
        if len(line) + len(item) + 2 > _WIDTH:
            lines.append(line)
            line = ""
        line += f" {item}," if line else f"    {item},"
    lines.append(line)
    return f"{declaration} = {{\n" + "\n".join(lines) + "\n};\n"
