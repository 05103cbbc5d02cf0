"""What the parsers share: how help looks, how errors are told, and what values are taken."""

import argparse
import textwrap

from .._input.arguments import parse_max_memory


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that shows the default of every option whose text does not tell it."""

    def _get_help_string(self, action):
        text = action.help
        if not action.option_strings or action.nargs == 0 or "(default: " in text:
            return text
        return f"{text} (required)" if action.required else f"{text} (default: %(default)s)"


def paragraph(text):
    """Break a description into lines."""
    return textwrap.fill(text, 80)


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def __init__(self, **kwargs):
        super().__init__(formatter_class=_Help, **kwargs)

    def error(self, message):
        """Print it and end with exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


# ---- types of values: each takes the text of an option, and says what it takes otherwise ----


def one_of(*names):
    """One of these names."""

    def read(text):
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text!r}: it takes one of {', '.join(names)}")
        return text

    return read


def names_of(names):
    """A name, or several of them separated by commas, which make a list."""
    read = one_of(*names)

    def read_all(text):
        several = [read(name) for name in text.split(",")]
        return several if "," in text else several[0]

    return read_all


def integer(least, most=None):
    """An integer in a range; None for no upper bound."""
    takes = f"an integer of {least} or more" if most is None else f"an integer, {least} to {most}"

    def read(text):
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"{text!r}: it takes {takes}")
        return value

    return read


def number(takes, is_right):
    """A number of which `is_right` is true; `takes` says in words which are."""

    def read(text):
        try:
            value = float(text)
        except ValueError:
            value = None
        if value is None or not is_right(value):
            raise argparse.ArgumentTypeError(f"{text!r}: it takes {takes}")
        return value

    return read


def size(text):
    """Bytes, as a number or with a unit."""
    try:
        parse_max_memory(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r}: it takes a number of bytes, or one with a unit, such as 64MB or 1.5GiB"
        ) from None
    return text
