"""ONNX models, with the encoding of a table as operators.

The model of a plain estimator takes one matrix, "X". That of a tabular one takes an input for each
column, of shape (n, 1): string for text, "" where a cell is missing, double for all else, NaN where
a cell is missing.
"""

import numpy as np

from .._version import __version__
from . import operators
from .checks import check_text, label_array
from .columns import add_first_layers, inputs_of
from .description import describe
from .operators import add_constant, add_function, add_labels, add_layers, add_probabilities

# Of ONNX, of its operators for machine learning, and of the file: those that every runtime of the
# last years has.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
# Bytes of constants and nodes. Protobuf ends at 2**31 bytes, and what else a model has is short.
LARGEST = 2 * 10**9
_ML_DOMAIN = "ai.onnx.ml"


def model_of(estimator, names=None):
    """The ``onnx.ModelProto`` of a fitted estimator; `names` as of `describe`."""
    described = describe(estimator, names)
    graph = Graph(described.dtype, described.names)
    if described.columns is None:
        _write_plain(graph, described)
    else:
        _write_tabular(graph, described)
    return graph.model(described.name)


class Graph:
    """Nodes, constants, inputs and outputs of a model that is being made.

    Parameters
    ----------
    dtype : dtype
        float32 or float64, of the arithmetic; may be set anew.
    taken : sequence of str
        Names of the inputs, which no other value may have.
    """

    opset = OPSET

    def __init__(self, dtype, taken=()):
        self.dtype = dtype
        self._names, self._count = set(taken), 0
        self._nodes, self._constants, self._bytes = [], {}, 0
        self._inputs, self._outputs = [], []

    def __call__(self, operator, *inputs, domain="", **attributes):
        """Add a node; its result has the name that is returned."""
        from onnx import helper

        inputs = [self._constant(i) if isinstance(i, np.ndarray) else i for i in inputs]
        result = self._new_name(operator.lower())
        node = helper.make_node(operator, inputs, [result], result, domain=domain, **attributes)
        self._nodes.append(node)
        self._grow(node.ByteSize())
        return result

    def _grow(self, n_bytes):
        """Count the bytes of the model, before memory is taken for those of a constant."""
        self._bytes += n_bytes
        if self._bytes > LARGEST:
            raise ValueError(
                f"The model has {self._bytes:,} bytes or more: an ONNX model takes up to "
                f"{LARGEST:,}. dtype='float32' and narrower layers make a smaller one."
            )

    def _new_name(self, stem):
        self._count += 1
        return self._free(f"{stem}_{self._count}")

    def _free(self, name):
        while name in self._names:
            name += "_"
        self._names.add(name)
        return name

    def _constant(self, array):
        """The name of a constant; one that was there before is not stored twice."""
        from onnx import numpy_helper

        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            self._grow(array.nbytes)
            array = array.astype(object) if array.dtype.kind == "U" else array
            name = self._new_name("constant")
            self._constants[key] = numpy_helper.from_array(array, name)
        return self._constants[key].name

    def input(self, name, kind, width, doc=""):
        """Declare an input (n, width) of numbers or text; its name is one of those taken."""
        self._inputs.append(_value(name, kind, [None, width], doc))
        return name

    def output(self, value, name, kind, shape):
        """Let a value be an output (n, *shape), of this name if no input has it."""
        from onnx import helper

        name = self._free(name)
        self._nodes.append(helper.make_node("Identity", [value], [name], name))
        self._outputs.append(_value(name, kind, [None, *shape]))

    def model(self, name):
        """The model, checked."""
        from onnx import checker, helper

        graph = helper.make_graph(
            self._nodes, name, self._inputs, self._outputs, [*self._constants.values()]
        )
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                helper.make_opsetid(_ML_DOMAIN, ML_OPSET),
            ],
            ir_version=IR_VERSION,
            producer_name="fastbp",
            producer_version=__version__,
        )
        checker.check_model(model)
        return model


def _value(name, kind, shape, doc=""):
    from onnx import TensorProto, helper

    types = {
        "float32": TensorProto.FLOAT,
        "float64": TensorProto.DOUBLE,
        "int64": TensorProto.INT64,
        "text": TensorProto.STRING,
    }
    shape = ["n" if size is None else size for size in shape]
    return helper.make_tensor_value_info(name, types[kind], shape, doc)


# ---- plain estimators ----


def _write_plain(graph, described):
    output = described.output
    kind = described.dtype.name
    for name in described.names:
        check_text("The name of a feature", name)
    x = graph.input("X", kind, len(described.names), ", ".join(described.names))
    if output.constant is not None:
        _write_output(graph, add_constant(graph, x, output.constant), output)
        return
    (layers,) = described.members
    z = add_layers(graph, x, layers)
    if output.function == "mean_and_std":
        _write_means_and_deviations(graph, z, output.n // 2)
        return
    outputs = add_function(graph, z, output.function)
    _write_output(graph, add_probabilities(graph, outputs, output), output)


def _write_means_and_deviations(graph, z, n):
    means = graph("Gather", z, operators.indices(range(n)), axis=1)
    raw = graph("Gather", z, operators.indices(range(n, 2 * n)), axis=1)
    deviations = _add_deviations(graph, graph("Cast", raw, to=operators.type_of(np.float64)))
    deviations = graph("Cast", deviations, to=operators.type_of(graph.dtype))
    graph.output(means, "predictions", graph.dtype.name, [n])
    graph.output(deviations, "deviations", graph.dtype.name, [n])


def _add_deviations(graph, z):
    """sqrt(exp(z) + 1e-6) in float64, also where exp(z) is infinite and its root is not.

    From t = 2000 on it is.
    """
    t = graph("Min", graph("Max", z, np.array([0.0])), np.array([2000.0]))
    least = graph("Mul", graph("Exp", graph("Neg", t)), np.array([1e-6]))
    root = graph("Sqrt", graph("Add", graph("Exp", graph("Sub", z, t)), least))
    return graph("Mul", graph("Exp", graph("Mul", t, np.array([0.5]))), root)


def _write_output(graph, outputs, output):
    """Predictions; or labels and probabilities."""
    if output.kind == "numbers":
        graph.output(outputs, "predictions", graph.dtype.name, [output.n])
        return
    if output.kind == "labels":
        kind, shape, classes = "int64", [output.n], None
    else:
        classes, shape = label_array(output.classes), []
        kind = "text" if classes.dtype.kind == "U" else "int64"
    labels = add_labels(graph, outputs, output, classes)
    graph.output(labels, "label", kind, shape)
    graph.output(outputs, "probabilities", graph.dtype.name, [output.n])


# ---- tabular estimators ----


def _write_tabular(graph, described):
    inputs = inputs_of(graph, described.columns)
    output = described.output
    if output.constant is None:
        first = add_first_layers(graph, described, inputs)
        z = [
            add_layers(graph, add_function(graph, z, layers[0].activation), layers[1:])
            for z, layers in zip(first, described.members, strict=True)
        ]
        z = [graph("Cast", one, to=operators.type_of(np.float64)) for one in z]
    graph.dtype = np.dtype(np.float64)  # as predictions of tables are, whatever the net is
    if output.constant is not None:
        outputs = add_constant(graph, inputs.names[0], output.constant)
    elif output.kind == "numbers":
        outputs = _add_mean_of_numbers(graph, z, output)
    else:
        outputs = _add_mean_of_probabilities(graph, z, output)
    _write_output(graph, outputs, output)


def _add_mean_of_numbers(graph, z, output):
    total = z[0] if len(z) == 1 else graph("Sum", *z)
    factor, mean = output.deviation / len(z), output.mean
    outputs = operators.scaled(graph, "Mul", total, factor.reshape(1, -1))
    return operators.plus(graph, outputs, mean.reshape(1, -1))


def _add_mean_of_probabilities(graph, z, output):
    """Of all members, by the temperature: see `tabular._targets.log_probabilities`."""
    if output.kind == "labels":  # each of them is two classes, with 0 as the z of the first
        z = [graph("Unsqueeze", one, operators.indices([2])) for one in z]
        z = [graph("Concat", graph("Sub", one, one), one, axis=2) for one in z]
    logs = [graph("LogSoftmax", one, axis=-1) for one in z]
    mean = logs[0]
    if len(logs) > 1:
        logs = [graph("Unsqueeze", one, operators.indices([0])) for one in logs]
        total = graph("ReduceLogSumExp", graph("Concat", *logs, axis=0), axes=[0], keepdims=0)
        mean = graph("Sub", total, operators.number(graph, np.log(len(logs))))
    if output.temperature != 1:
        temperature = operators.number(graph, output.temperature)
        mean = operators.scaled(graph, "Div", mean, temperature)
        mean = graph("LogSoftmax", mean, axis=-1)
    probabilities = graph("Exp", mean)
    if output.kind == "labels":
        return graph("Gather", probabilities, operators.indices(1), axis=2)
    return probabilities
