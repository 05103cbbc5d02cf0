"""What a fit is of: a few texts for its parameters, its data, where it starts, and its versions.

A fit goes on from a checkpoint if all of them are the same; each that is not is named.
"""

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from types import CodeType, FunctionType

import numpy as np
import scipy
from scipy import sparse

from .. import _core
from .._history import ATTRIBUTES
from .._threads import _libraries, resolve_n_threads
from .._version import __version__

# Parameters that change no bit of the result.
FREE = ("checkpoint", "checkpoint_interval", "n_threads", "verbose")
# Data of which each of several ranks has its own; that of several numbers of ranks do not compare.
OF_ROWS = ("X", "y", "sample_weight", "X_val", "y_val", "sample_weight_val")
_LONGEST = 100  # characters of a text that a message shows
_BLOCK = 1 << 23  # bytes
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DEEPEST = 3
_MOST_OF_A_TEXT = 500  # numbers of an array that a text has one by one


# ---- texts of parameters ----


def text_of(value, depth=_DEEPEST):
    """A text that is the same for the same parameter in any process."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.random.RandomState):
        return "a RandomState"  # whose state the checkpoint has
    if isinstance(value, np.ma.MaskedArray):
        value = [value.data, np.ma.getmaskarray(value)]
    if isinstance(value, np.ndarray):
        if value.size > _MOST_OF_A_TEXT and value.itemsize:
            return " ".join(digest_of(value))
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(text_of(item, depth) for item in value)}]"
    if isinstance(value, (set, frozenset)):  # whose order is another in each process
        return f"set({', '.join(sorted(text_of(item, depth) for item in value))})"
    if isinstance(value, dict):
        items = (f"{text_of(key, depth)}: {text_of(item, depth)}" for key, item in value.items())
        return f"{{{', '.join(items)}}}"
    if isinstance(value, FunctionType) and depth:
        return _of_function(value, depth - 1)
    if sparse.issparse(value):
        rows = (value if value.ndim == 2 else value.reshape((1, -1))).tocsr()
        return f"{value.format} of shape {value.shape}: {' '.join(digest_of(rows))}"
    table = _of_table(value, depth) if hasattr(type(value), "__array__") else ""
    if table and _is_shown_by_options(value):
        return f"{type(value).__module__}.{type(value).__qualname__} {table}"
    return _ADDRESS.sub("", repr(value)) + table


def _of_table(value, depth):
    """Labels, types and values of a table, such as a DataFrame, of which a repr has only some."""
    try:
        labels = [getattr(value, name, None) for name in ("columns", "index", "name", "names")]
        types = getattr(value, "dtypes", getattr(value, "dtype", None))
        types = [[str(kind), getattr(kind, "categories", None)] for kind in np.ravel(types)]
        parts = [*(label for label in labels if not callable(label)), types, np.asarray(value)]
    except Exception:  # it makes no array of itself
        return ""
    return text_of(parts, depth)


def _is_shown_by_options(value):
    """Whether the repr is another one in a narrower terminal, or after an option was set."""
    modules = {cls.__module__.partition(".")[0] for cls in type(value).__mro__}
    return not modules.isdisjoint(("pandas", "polars"))


def _of_function(function, depth):
    """Its name, and a digest of its code, its defaults and what it holds of where it was made."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_full(cell)]
    parts = [function.__defaults__ or (), function.__kwdefaults__ or {}, *cells]
    texts = [text_of(part, depth) for part in parts]
    digest = _digest("".join([*_of_code(function.__code__), *texts]).encode())
    return f"{function.__module__}.{function.__qualname__} of code {digest[:8]}"


def _is_full(cell):
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _of_code(code):
    """Everything of code that decides what it does."""
    yield f"{code.co_code.hex()} {code.co_names} {code.co_varnames}"
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _of_code(constant)
        else:
            yield repr(sorted(constant, key=repr) if type(constant) is frozenset else constant)


def _shortened(text):
    """The text, or its beginning with a digest of all of it."""
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST]}... (digest {_digest(text.encode())[:8]})"


# ---- digests of data ----


def _digest(data):
    return hashlib.sha256(data, usedforsecurity=False).hexdigest()


def digest_of(array, n_threads=1):
    """What an array is: its dtype and shape, and a digest of its numbers; of CSR of all parts.

    Blocks of rows are digested by several threads. Only rows that are not contiguous are copied,
    a block at a time.
    """
    if array is None:
        return "none", ""
    if sparse.issparse(array):
        n = array.indptr[-1]
        parts = (array.indptr, array.indices[:n], array.data[:n])
        digests = [digest_of(part, n_threads)[1] for part in parts]
        return f"CSR {array.dtype} of shape {array.shape}", _digest("".join(digests).encode())
    array = np.asarray(array)
    what = f"{array.dtype} of shape {array.shape}"
    rows = max(1, _BLOCK // max(1, array.nbytes // max(1, len(array)))) if array.ndim else 1
    blocks = [array[i : i + rows] for i in range(0, len(array), rows)] if array.ndim else [array]
    if n_threads == 1 or len(blocks) < 2:
        digests = [*map(_of_block, blocks)]
    else:
        with ThreadPoolExecutor(n_threads) as pool:
            digests = [*pool.map(_of_block, blocks)]
    return what, _digest("".join(digests).encode())


def _of_block(block):
    if block.dtype.hasobject:
        return _digest(text_of(block.tolist()).encode())
    return _digest(memoryview(np.ascontiguousarray(block).reshape(-1).view(np.uint8)))


def _of_curves(state):
    """Of the curves that a fit goes on with, but for seconds, which are others in each run."""
    curves = {name: state.get(name) for name in ATTRIBUTES if name != "_watched"}
    curves["_history"] = [row[1:] for row in curves["_history"] or ()]
    text = text_of([*curves.values(), state.get("t_")])
    return f"of {len(curves['_history'])} epochs", _digest(text.encode())


def start_of(estimator):
    """Where a fit with ``warm_start`` begins."""
    return {
        "the weights to start from": digest_of(estimator._parameters().flat),
        "the curves to go on with": _of_curves(vars(estimator)),
    }


# ---- all of it ----


def fingerprint(estimator, data, trainer, by_scipy=False):
    """What a fit is of.

    Parameters
    ----------
    estimator : BaseEstimator
        With the parameters.
    data : dict
        Arrays by their names; or pairs of texts, as `digest_of` gives them.
    trainer : _core.Trainer
    by_scipy : bool
        SciPy's L-BFGS has a part in the result.

    Returns
    -------
    dict of dict
    """
    parameters = estimator.get_params(deep=False)
    n_threads = resolve_n_threads(estimator.n_threads)
    cls = type(estimator)
    return {
        "class": {"class": f"{cls.__module__}.{cls.__qualname__}"},
        "parameters": {
            name: _shortened(text_of(value))
            for name, value in parameters.items()
            if name not in FREE
        },
        "data": {
            name: [*(a if isinstance(a, tuple) else digest_of(a, n_threads))]
            for name, a in data.items()
        },
        "versions": _versions(trainer, by_scipy),
    }


def _versions(trainer, by_scipy):
    """Whose other version may give other bits."""
    products = ", ".join(trainer.plan()["dense"])
    versions = {
        "fastbp": __version__,
        "numpy": np.__version__,
        "instruction set": _core.cpu_level(),
        "products of the layers": products,
    }
    if by_scipy:
        versions["scipy"] = scipy.__version__
    if by_scipy or trainer.uses_blas:
        versions["BLAS"] = _blas()
    return versions


def _blas():
    """Name, version and kernels of the BLAS that SciPy brings, which is the one that is used."""
    every = [library.info() for library in _libraries() if library.user_api == "blas"]
    of_scipy = [info for info in every if "scipy" in info["filepath"]]
    names = ("internal_api", "version", "architecture")
    texts = {" ".join(str(info.get(n)) for n in names) for info in of_scipy or every}
    return ", ".join(sorted(texts))


def differences(this, that):
    """What differs between two fingerprints, as a list of texts; `that` is the checkpoint's."""
    if this["class"] != that.get("class"):
        return [f"this fit is of {this['class']['class']}, the checkpoint of {_class_of(that)}"]
    found = []
    same_ranks = this.get("ranks", 1) == that.get("ranks", 1)
    for part in ("parameters", "data", "versions"):
        ours, theirs = this[part], that.get(part, {})
        names = {*ours, *theirs}
        if not same_ranks:
            names = {name for name in names if not name.startswith(OF_ROWS)}
        for name in sorted(names):
            a, b = ours.get(name, _ABSENT[part]), theirs.get(name, _ABSENT[part])
            if a != b:
                found.append(_SAID[part](name, a, b))
    return found


def _class_of(that):
    return that.get("class", {}).get("class")


def _of_data(name, a, b):
    if a[0] == b[0]:
        return f"{name}: other values ({a[0]})"
    return f"{name}: this fit has {a[0]}, the checkpoint {b[0]}"


_ABSENT = {"parameters": "no such parameter", "data": ["none", ""], "versions": "none"}
_SAID = {
    "parameters": lambda name, a, b: f"{name}: this fit has {a}, the checkpoint {b}",
    "data": _of_data,
    "versions": lambda name, a, b: f"{name}: here {a}, of the checkpoint {b}",
}
