"""The comment at the top of a C file: what to call with what, and what it takes."""

import textwrap

from .c_text import in_comment
from .description import Numbers

_MOST_LINES = 200  # for inputs, and for outputs
# Of the types in `c_code`, with addresses of 8 bytes.
_BYTES_OF_LAYER, _BYTES_OF_COLUMN = 32, 48
_UNITS = {
    "number": "a number",
    "date": "a date: seconds since 1970 in UTC",
    "duration": "a duration or time of day: seconds",
    "nothing": "not used",
}


def head_of(described, name, version):
    """The comment."""
    lines = [
        *_paragraph(
            f"{name}: {described.name} of fastbp {version} in C99, for any compiler of C or C++. "
            "It allocates nothing, has no state that changes, so that any thread may call it, and "
            "needs no library but libm."
        ),
        "",
        *_calls(described, name),
        "",
        f"Inputs, whose names are in {name}_inputs:",
        "",
        *_cut(_inputs(described, name)),
        "",
        *_paragraph(_about_inputs(described)),
        "",
        "Outputs:",
        "",
        *_cut(_outputs(described.output)),
        "",
        *_paragraph(_memory(described)),
        "",
        "Texts are UTF-8. What is not ASCII, or might end a text, is written in octal.",
    ]
    return "/* " + "\n".join(f" * {line}".rstrip() for line in lines)[3:] + "\n */"


def _paragraph(text):
    return textwrap.wrap(text, 96)


def has_text(described):
    """Whether there is a column of text."""
    return any(is_text(column) for column in described.columns or ())


def is_text(column):
    """Whether it is one."""
    return not isinstance(column, Numbers) and column.of_text


def label_texts(output):
    """The classes as text."""
    if output.classes.dtype.kind in "mM":  # those of nanoseconds are Python's integers
        return output.classes.astype(str).tolist()
    return [str(label) for label in output.classes.tolist()]


def _count(n, noun):
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _calls(described, name):
    output = described.output
    what = {
        "numbers": "the predictions",
        "classes": f"the probabilities of the classes in {name}_labels",
        "labels": f"for each of {name}_labels the probability that it is there, above 0.5 it is",
    }
    yield f"void {name}_predict(const double *x, double *out);"
    n_inputs, n_outputs = _count(len(described.names), "input"), _count(output.n, "number")
    yield f"    x: {n_inputs}; out: {n_outputs}, {what[output.kind]}"
    if output.kind == "classes":
        yield f"int {name}_class(const double *x);"
        yield f"    the place in {name}_labels of the most probable class"
    if has_text(described):
        yield f"int {name}_category(int input, const char *text);"
        yield "    what stands in x[input] for a text, and for a missing one, which is a null"
        yield "    pointer; -1 for a text that is not known, or where none belongs"


def _cut(lines):
    lines = list(lines)
    if len(lines) <= _MOST_LINES:
        return lines
    return [*lines[:_MOST_LINES], f"    and {len(lines) - _MOST_LINES:,} more"]


def _inputs(described, name):
    if described.columns is None:
        for place, text in enumerate(described.names):
            yield f"    x[{place}]  {in_comment(text)}"
        return
    for place, column in enumerate(described.columns):
        if isinstance(column, Numbers):
            what = _UNITS[column.unit]
        elif column.of_text:
            what = f"{name}_category({place}, text), of {_count(len(column.labels), 'text')}"
        else:
            what = f"a category that is a number, of {_count(len(column.labels), 'number')}"
        yield f"    x[{place}]  {in_comment(column.name)}: {what}"


def _about_inputs(described):
    if described.columns is None:
        dtype = described.dtype.name
        return f"They are finite in {dtype}, and so must be the sums that the layers make of them."
    return (
        "NaN stands for a missing cell. Numbers are finite. For a category any other number stands "
        "for one that is not known. A category that is a date is its seconds since 1970 in UTC, "
        "and a duration or time of day its seconds. Do not compile with -ffast-math, which has no "
        "NaN."
    )


def _outputs(output):
    if output.kind == "numbers":
        half = output.n // 2
        for place in range(output.n):
            if output.function != "mean_and_std":
                yield f"    out[{place}]  prediction {place}"
            elif place < half:
                yield f"    out[{place}]  mean {place}"
            else:
                yield f"    out[{place}]  standard deviation {place - half}"
        return
    for place, text in enumerate(label_texts(output)):
        yield f"    out[{place}]  probability of {in_comment(text)}"


def _memory(described):
    size = described.dtype.itemsize
    layers = [layer for layers in described.members for layer in layers]
    widest = max((len(layer.bias) for layer in layers), default=0)
    stack = (len(described.names) + 2 * widest) * size if layers else 0
    if described.output.kind == "classes":
        stack += described.output.n * 8  # of the function that tells the class
    elif described.output.kind == "labels" and len(described.members) > 1:
        stack += described.output.n * 8
    return (
        f"Memory: {_constants(described):,} bytes of constants, texts and addresses of 8 bytes "
        "included, which may stay in flash, and what a compiler leaves free between them; on the "
        f"stack {stack:,} bytes of arrays at most: the inputs, two of the widest layer "
        f"({_count(widest, 'number')} of {described.dtype.name}), and the outputs."
    )


def _constants(described):
    """Bytes of all tables, and of the texts in them."""
    output = described.output
    total = _bytes_of_texts(described.names)
    if output.classes is not None:
        total += _bytes_of_texts(label_texts(output))
    if output.constant is not None:
        total += 8 * len(output.constant)
    elif described.columns is not None and output.kind == "numbers":
        total += 8 * (len(output.mean) + len(output.deviation))
    for layer in (layer for layers in described.members for layer in layers):
        n_numbers = layer.weights.size + layer.bias.size
        total += n_numbers * described.dtype.itemsize + _BYTES_OF_LAYER
    if output.constant is None or has_text(described):  # else nothing looks at the inputs
        total += sum(map(_bytes_of_column, described.columns or ()))
    return total


def _bytes_of_column(column):
    if is_text(column):
        return _BYTES_OF_COLUMN + _bytes_of_texts(column.labels)
    values = column.knots if isinstance(column, Numbers) else column.labels
    return _BYTES_OF_COLUMN + 8 * len(values)


def _bytes_of_texts(texts):
    """Of the texts, and of a table of where they are, which has an item if there are none."""
    return 8 * max(len(texts), 1) + sum(len(text.encode()) + 1 for text in texts)
