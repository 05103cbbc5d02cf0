"""Files: `save` and `load`; to and from scikit-learn's estimators; models in ONNX."""

import importlib.util
import os
import platform
from typing import NamedTuple

import numpy as np
import sklearn

from ._files import (
    arrays,
    container,
    dates,
    estimators,
    networks,
    parts,
    plain,
    tables,
    values,
)
from ._files.container import FileError
from ._files.convert import from_sklearn, to_sklearn
from ._files.functions import MAY_BE_FUNCTIONS
from ._version import __version__

__all__ = ["FileError", "from_sklearn", "load", "save", "to_onnx", "to_sklearn"]

# All that a file can hold.
_ROOMS = (plain, arrays, dates, parts, estimators, tables, networks)
_KINDS = tuple(kind for room in _ROOMS for kind in room.KINDS)


class Loaded(NamedTuple):
    """What a file holds.

    Attributes
    ----------
    value : object
    versions : dict of str
        Of "fastbp", "numpy", "scikit-learn" and "python" that wrote it.
    """

    value: object
    versions: dict


def save(obj, path):
    """Write an estimator, a network, an optimizer, or a dict of them to a file.

    The file is in the format safetensors, with a text in JSON that says what its tensors are. It
    holds no code, and `load` runs none. It is written beside its place, synced to the disk and
    renamed: a save that fails or is interrupted leaves what was there. The folder must be one that
    can be written to.

    Parameters
    ----------
    obj : object
        A `MLPClassifier`, `MLPRegressor`, `TabularClassifier`, `TabularRegressor`, fitted or not;
        a `Network`, or one of its optimizers, which bring their net; an array, such as the
        parameters of a net; numbers, texts, None; or a dict, list or tuple of these.
    path : str, bytes or path-like
        The file, by habit with the ending ``.fastbp``; not a folder, a device or a pipe.

    Raises
    ------
    TypeError
        For what a file cannot hold, naming the attribute: a class derived from one of ours, an
        attribute of your own, callbacks. Of functions (`loss`, `learning_rate`, `scoring`) it
        notes the names, and `load` asks for them. Parameters of types derived from Python's, and
        those of pandas, become what they equal.
    ValueError
        For parameters or attributes that `load` would refuse, and a path with the character NUL.
    OSError
        If the file cannot be written; it names `path`.

    See Also
    --------
    load : The opposite.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastbp
    >>> net = fastbp.Network((2, 8, 1))
    >>> path = os.path.join(tempfile.mkdtemp(), "net.fastbp")
    >>> fastbp.save({"net": net, "params": net.init_params(random_state=0)}, path)
    >>> sorted(fastbp.load(path))
    ['net', 'params']
    """
    encoder = values.Encoder(_KINDS)
    written = {"value": encoder.encode(obj, ""), "versions": _versions()}
    container.write(os.fsdecode(path), values.text_of(written), encoder.tensors)


def load(path, **replacements):
    """Read what `save` has written.

    Nothing in a file is executed, imported or called, what memory it takes follows from its size,
    and all is checked: a file from anywhere gives an object or an error.

    Parameters
    ----------
    path : str, bytes or path-like
        The file.
    **replacements : callable
        Functions, which a file does not hold: ``loss``, ``learning_rate`` and ``scoring`` for what
        had a function there. They take the place of all of this name in the file.

    Returns
    -------
    object
        It has the same bits as the one that was saved: parameters, predictions, and the state that
        training goes on from. Arrays are C-contiguous and share no memory. A generator that is
        NumPy's global one is that of this process.

    Raises
    ------
    FileError
        A ValueError. It names the path and says what is wrong: no file of `save`, damaged, cut
        short, written by a later version, or a function is missing. Where the system refuses to
        read it, also an OSError; where there is no file, also a FileNotFoundError.
    TypeError
        For a replacement that nothing in the file lacks.

    See Also
    --------
    save : The opposite.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastbp
    >>> path = os.path.join(tempfile.mkdtemp(), "model.fastbp")
    >>> fastbp.save(fastbp.MLPRegressor(loss=max), path)  # any function
    >>> fastbp.load(path, loss=max)
    MLPRegressor(loss=<built-in function max>)
    """
    return load_with_versions(path, replacements).value


def load_to_predict(path):
    """The same, with a function in the place of all that a file lacks, which no prediction calls.

    `loss` decides the output activation, which the file has, and all else what a fit does.
    """
    loaded, _ = _load(path, dict.fromkeys(MAY_BE_FUNCTIONS, _never_called))
    return loaded.value


def _never_called(*arguments, **keywords):
    raise RuntimeError("a file of fastbp does not hold functions, and this one was called")


def load_with_versions(path, replacements):
    """The same, as a `Loaded`."""
    for name in replacements:
        if name not in MAY_BE_FUNCTIONS:
            takes = ", ".join(MAY_BE_FUNCTIONS)
            raise TypeError(
                f"load got {name!r} to put in the place of a function: it takes {takes}."
            )
    loaded, replaced = _load(path, replacements)
    for function in replacements:
        if function not in replaced:
            name = os.fsdecode(path)
            raise TypeError(f"load got {function!r}, but nothing in {name} lacks a function there.")
    return loaded


def _load(path, replacements):
    """What a file holds, a `Loaded`, and which replacements there was a place for."""

    def decode(content, tensors):
        written = values.value_of(content)
        if type(written) is dict and "checkpoint" in written:
            raise FileError(
                "it is the checkpoint of a fit that has not ended, not a model: the same call of "
                "fit, with this path as the parameter checkpoint, goes on with it"
            )
        if type(written) is not dict or written.keys() != {"value", "versions"}:
            raise FileError("its content is not that of fastbp.save")
        decoder = values.Decoder(_KINDS, tensors, replacements)
        value = decoder.decode(written["value"], "")
        decoder.finish()
        versions = written["versions"]
        if type(versions) is not dict or not all(type(v) is str for v in versions.values()):
            raise FileError("it does not say which versions wrote it")
        return Loaded(value, versions), decoder.replaced

    return container.read(os.fsdecode(path), decode)


def to_onnx(estimator):
    """Make an ONNX model of a fitted estimator, which needs no Python to predict.

    Its predictions are the estimator's up to rounding. A tabular estimator comes with the encoding
    of its columns. In pipelines and ensembles of scikit-learn, ``skl2onnx.to_onnx`` knows the plain
    estimators.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, TabularClassifier or TabularRegressor
        Fitted.

    Returns
    -------
    onnx.ModelProto
        With these inputs:

        - of a plain estimator "X", of shape (n, n_features), in the `dtype` of the parameters;
        - of a tabular one an input for each column, with the column's name and of shape (n, 1):
          text for categories that are text, where "" is a missing cell (unless "" is a category),
          though for `predict` it is a text that was not seen; float64 for all else, NaN where a
          cell is missing (dates are seconds since 1970 in UTC, durations and times of day are
          seconds, booleans 0 and 1).

        and these outputs, to which ``_`` is added where a column has that name:

        - of a classifier "label", the labels as int64 or text, (n,), of multilabel targets 0 and 1,
          (n, n_classes); and "probabilities", (n, n_classes), a column for each of ``classes_``;
        - of a regressor "predictions", (n, n_outputs); after ``loss="gaussian_nll"`` also
          "deviations".

    Raises
    ------
    ImportError
        Without the package onnx, which ``pip install fastbp[onnx]`` brings.
    TypeError, NotFittedError
        For other estimators, or those not fitted.
    ValueError
        For what ONNX cannot say, naming it: a column whose categories are neither text nor numbers,
        or labels that are neither text nor integers; and for a model above 2 GB.

    Examples
    --------
    >>> import fastbp
    >>> X = [["red", 1.5], ["blue", None], ["red", 2.5], ["blue", 0.5]] * 30
    >>> reg = fastbp.TabularRegressor(max_iter=1, random_state=0).fit(X, [10, 2, 11, 1] * 30)
    >>> model = fastbp.to_onnx(reg)  # doctest: +SKIP
    >>> [column.name for column in model.graph.input]  # doctest: +SKIP
    ['x0', 'x1']
    """
    return onnx_model(estimator)


def onnx_model(estimator, names=None):
    """The same; `names` are those of the inputs, in the place of those that it knows."""
    if importlib.util.find_spec("onnx") is None:
        raise ImportError(
            "to_onnx needs the package onnx, which is not installed: pip install fastbp[onnx]"
        )
    from ._export.onnx import model_of

    return model_of(estimator, names)


def _versions():
    return {
        "fastbp": __version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "python": platform.python_version(),
    }
