"""The environment variables of fastbp: the one place that knows what they take.

They are looked at in every call of an estimator, when a `Network` is made and when it needs another
trainer, and by ``memory_plan``; nothing is remembered from the import. The compiled core reads
FASTBP_DISABLE_CPU and FASTBP_DENSE itself, when a trainer is built, and takes no notice of a wrong
value: whoever builds one asks for the `settings` before.
"""

import functools
import re
from typing import NamedTuple

from . import _core

# The instruction sets that can be left out. They may be named on every processor, so that one
# setting serves several machines.
INSTRUCTION_SETS = ("avx512", "avx2")
PRODUCTS = ("blas", "packed")


class Settings(NamedTuple):
    """What the variables say, in the order of `NAMES`.

    Attributes
    ----------
    n_threads : int or None
        The most threads of a call whose ``n_threads`` is None; None for no limit.
    disabled : tuple of str
        Instruction sets that are not to be used.
    products : str or None
        "blas" or "packed": how matrix products are done; None for the faster of the two.
    """

    n_threads: int | None
    disabled: tuple
    products: str | None


NAMES = ("FASTBP_NUM_THREADS", "FASTBP_DISABLE_CPU", "FASTBP_DENSE")


def settings():
    """What the variables say now.

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        Naming the variable, its value and what it takes, if one of them is not understood.
    """
    return _understood(*_core.environment(*NAMES))


@functools.lru_cache(maxsize=16)
def _understood(n_threads, disabled, products):
    return Settings(_n_threads(n_threads), _disabled(disabled), _products(products))


def _n_threads(text):
    text = (text or "").strip()
    if not text:
        return None
    if not re.fullmatch("0*[1-9][0-9]{0,8}", text):
        raise _wrong("FASTBP_NUM_THREADS", "an integer from 1 to 999999999", text)
    return int(text)


def _disabled(text):
    names = [name for name in re.split("[, ]", text or "") if name]  # as the core does
    if not set(names) <= set(INSTRUCTION_SETS):
        takes = f"names of instruction sets separated by commas, of {_listed(INSTRUCTION_SETS)}"
        raise _wrong("FASTBP_DISABLE_CPU", takes, text)
    return tuple(name for name in INSTRUCTION_SETS if name in names)


def _products(text):
    if not text:
        return None
    if text not in PRODUCTS:
        raise _wrong("FASTBP_DENSE", f"one of {_listed(PRODUCTS)}", text)
    return text


def _listed(names):
    return " and ".join(map(repr, names))


def _wrong(name, takes, text):
    return ValueError(f"The environment variable {name} must hold {takes}, got {text!r}.")
