"""One C99 file of a fitted estimator: weights, encoding, forward pass; see `source_of`."""

import re
from string import Template

import numpy as np

from .._version import __version__
from . import c_code
from .c_comment import has_text, head_of, is_text, label_texts
from .c_text import array, braced, literal, quoted
from .checks import LARGEST_EXACT, form_of
from .description import Numbers, describe

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


def check_prefix(name):
    """Raise ValueError if names in C cannot begin with it."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r}: it takes a name that C can have, a letter and then letters of English, "
            "digits and _"
        )


def source_of(estimator, name="model", names=None):
    """The text of a C file that predicts as the estimator does.

    It allocates nothing, has no state and needs no library but libm. All text of the estimator
    (names, labels) is in quotes or comments, with what could end them written by numbers.

    Parameters
    ----------
    estimator : MLPClassifier, MLPRegressor, TabularClassifier or TabularRegressor
        Fitted.
    name : str
        What the names in the file begin with.
    names : list of str or None
        As of `describe`.

    Raises
    ------
    ValueError
        For what C cannot say, naming it.
    """
    check_prefix(name)
    described = describe(estimator, names)
    _check_finite(described)
    fill = _Filler(described, name)
    parts = [
        _opening(fill, described),
        *_tables(fill, described),
        *_functions(fill, described),
        "#ifdef __cplusplus\n}\n#endif\n",
    ]
    body = "\n".join(parts)
    return f"{head_of(described, name, __version__)}\n{body}"


class _Filler:
    """Fills in the blanks of a part."""

    def __init__(self, described, name):
        output, members = described.output, described.members
        is_narrow = described.dtype == np.float32
        widths = [len(layer.bias) for layers in members[:1] for layer in layers]
        self.name = name
        self._values = {
            "n": name,
            "real": "float" if is_narrow else "double",
            "f": "f" if is_narrow else "",
            "n_out": output.n,
            "width": widths[-1] if widths else output.n,
            "widest": max(widths, default=0),
            "n_layers": len(widths),
            "n_members": len(members),
            "temperature": literal(output.temperature),
            "first": "dense" if described.columns is None else "encoded",
        }

    def __call__(self, part, **more):
        return Template(part).substitute(self._values, **more)


def _check_finite(described):
    numbers = [part for layers in described.members for l in layers for part in (l.weights, l.bias)]
    output = described.output
    numbers += [part for part in (output.mean, output.deviation) if part is not None]
    if not all(np.isfinite(part).all() for part in numbers):
        raise ValueError(
            f"The {described.name} has weights that are no finite numbers: a C file takes finite "
            "ones."
        )


# ---- declarations ----


def _opening(fill, described):
    output = described.output
    n, has_labels = fill.name, output.classes is not None
    lines = ["#include <math.h>", "#include <stddef.h>", ""]
    lines += ["#ifdef __cplusplus", 'extern "C" {', "#endif", ""]
    lines += [f"enum {{ {n}_n_inputs = {len(described.names)}, {n}_n_outputs = {output.n} }};", ""]
    lines.append(f"extern const char *const {n}_inputs[{len(described.names)}];")
    if has_labels:
        lines.append(f"extern const char *const {n}_labels[{len(output.classes)}];")
    lines.append(f"void {n}_predict(const double *x, double *out);")
    if output.kind == "classes":
        lines.append(f"int {n}_class(const double *x);")
    if has_text(described):
        lines.append(f"int {n}_category(int input, const char *text);")
    return "\n".join(lines) + "\n"


# ---- tables ----


def _tables(fill, described):
    n, output = fill.name, described.output
    names = [quoted(f"The name of the input {name!r}", name) for name in described.names]
    yield braced(f"const char *const {n}_inputs[{len(names)}]", names)
    if output.classes is not None:
        labels = [quoted(f"classes_ holds {text!r}, which", text) for text in label_texts(output)]
        yield braced(f"const char *const {n}_labels[{len(labels)}]", labels)
    if output.constant is not None:
        yield array(f"static const double {n}_constant[]", output.constant.astype(np.float64))
        if has_text(described):
            yield from _column_tables(fill, described)
        return
    yield fill("typedef $real ${n}_real;\n")
    yield fill(c_code.LAYER)
    yield from _activations(fill, described)
    yield from _layer_tables(fill, described)
    if described.columns is not None:
        yield from _column_tables(fill, described)
        if output.kind == "numbers":
            for what in ("mean", "deviation"):
                values = getattr(output, what).astype(np.float64)
                yield array(f"static const double {n}_{what}[]", values)


def _activations(fill, described):
    layers = described.members[0]
    for name in sorted({layer.activation for layer in layers} - {"identity"}):
        formula = fill(form_of(name, c_code.ACTIVATIONS, "a C file"))
        yield fill(c_code.ACTIVATION, function=name, formula=formula)


def _layer_tables(fill, described):
    n, rows = fill.name, []
    for m, layers in enumerate(described.members):
        items = []
        for l, layer in enumerate(layers):
            of_both = (("w", layer.weights), ("b", layer.bias))
            for letter, values in of_both:
                values = values.astype(described.dtype, copy=False)
                yield array(f"static const {n}_real {n}_{letter}_{m}_{l}[]", values)
            n_in, n_out = layer.weights.shape
            function = "0" if layer.activation == "identity" else f"{n}_{layer.activation}"
            items.append(f"{{{n}_w_{m}_{l}, {n}_b_{m}_{l}, {n_in}, {n_out}, {function}}}")
        rows.append(f"{{{', '.join(items)}}}")
    shape = f"[{len(rows)}][{len(described.members[0])}]"
    yield braced(f"static const {n}_layer {n}_layers{shape}", rows)


def _column_tables(fill, described):
    n, rows = fill.name, []
    yield fill(c_code.COLUMN)
    for place, column in enumerate(described.columns):
        values, texts, n_knots, n_labels, scale = "0", "0", 0, 0, 1.0
        if isinstance(column, Numbers):
            n_knots, scale = len(column.knots), column.scale
            numbers = column.knots
        else:
            n_labels = len(column.labels)
            numbers = () if column.of_text else _label_numbers(column)
        if len(numbers):
            values = f"{n}_values_{place}"
            yield array(f"static const double {values}[]", np.asarray(numbers, np.float64))
        if is_text(column):
            texts = f"{n}_texts_{place}"
            what = f"The column {column.name!r} has a category that"
            items = [quoted(what, label) for label in column.labels]
            yield braced(f"static const char *const {texts}[]", items)
        rows.append(
            f"{{{column.first}, {column.rows}, {n_knots}, {n_labels}, {values}, {texts}, "
            f"{literal(scale)}, {literal(column.missing)}}}"
        )
    yield braced(f"static const {n}_column {n}_columns[{len(rows)}]", rows)


def _label_numbers(column):
    for label in column.labels:
        if not isinstance(label, (int, float)) or not abs(label) <= LARGEST_EXACT:
            raise ValueError(
                f"The column {column.name!r} has the category {label!r}, a "
                f"{type(label).__name__}: a C file takes columns whose categories are all text, or "
                "all numbers below 2**53, which float64 tells from all others."
            )
    return column.labels


# ---- functions ----


def _functions(fill, described):
    output = described.output
    if output.constant is not None:
        yield fill(c_code.CONSTANT)
    else:
        yield from _forward(fill, described)
    if output.kind == "classes":
        yield fill(c_code.CLASS)
    if has_text(described):
        yield fill(c_code.CATEGORY)


def _forward(fill, described):
    position = "x[i]"
    if described.columns is not None:
        yield fill(c_code.POSITION)
        yield fill(c_code.ENCODED)
        position = fill("${n}_position(&${n}_columns[i], x[i])")
    yield fill(c_code.DENSE)
    yield fill(c_code.NET)
    body = _body(described)
    for part in _helpers(body):
        yield fill(part)
    yield fill(c_code.PREDICT, position=position, body=fill(body))


def _body(described):
    """What `predict` does after the positions."""
    output, members = described.output, described.members
    if described.columns is not None and output.kind == "numbers":
        return c_code.MEAN_OF_NUMBERS
    if len(members) > 1:
        return c_code.MEAN_OF_CLASSES if output.kind == "classes" else c_code.MEAN_OF_LABELS
    both = c_code.BOTH if output.both else ""
    return c_code.ONE_NET + form_of(output.function, c_code.FUNCTIONS, "a C file") + both


def _helpers(body):
    """The functions that a body calls."""
    of_names = {
        "_softmax(": c_code.SOFTMAX,
        "_probability(": c_code.LOGISTIC,
        "_log_sum(": c_code.LOG_SUM,
        "_deviation_of(": c_code.DEVIATION,
    }
    return [part for name, part in of_names.items() if name in body]
