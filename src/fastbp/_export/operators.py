"""The arithmetic of a net as ONNX operators, for any graph.

A graph is a callable: ``graph(operator, *inputs, **attributes)`` adds a node, named as ONNX has it,
whose inputs are other nodes or arrays, which are constants; it returns the node. Its `dtype` is
float32 or float64, and its `opset` the version of ONNX.
"""

import numpy as np

from .checks import form_of


def number(graph, value):
    """A constant in the number type of the graph."""
    return np.array([value], graph.dtype)


def indices(values):
    """Indices, axes or sizes as ONNX has them: in int64, which NumPy's integers need not be."""
    return np.asarray(values, dtype=np.int64)


def type_of(dtype):
    """ONNX's number for a dtype."""
    from onnx import helper

    return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


# ---- by one constant ----
# ONNX Runtime reads a constant of one element in float32, whatever its type is, and drops what adds
# 0 or multiplies by 1.


def plus(graph, x, values):
    """x + values, where these may be 0 in float32."""
    return graph("Sum", x, values)


def scaled(graph, operator, x, values):
    """Mul or Div of x by values, which may be 1 in float32."""
    if values.size == 1 and 0 < abs(values.item() - 1) < 1e-7:
        x, two = graph("Mul", x, np.array([2], values.dtype)), values.dtype.type(2)
        values = values / two if operator == "Mul" else values * two
    return graph(operator, x, values)


# ---- functions of a layer ----
# Out of simple operators: runtimes have others in float32 only, and so are their attributes.


def _one_operator(name):
    return lambda graph, z: graph(name, z)


def _two_sides(graph, z, scale, negative):
    """scale * max(z, 0) + negative(min(z, 0))"""
    zero = number(graph, 0)
    below = negative(graph("Min", z, zero))
    return graph("Add", graph("Mul", graph("Max", z, zero), number(graph, scale)), below)


def _leaky_relu(graph, z):
    return _two_sides(graph, z, 1, lambda low: graph("Mul", low, number(graph, 0.01)))


def _elu(graph, z, scale=1, alpha=1):
    def negative(low):
        expm1 = graph("Sub", graph("Exp", low), number(graph, 1))
        return graph("Mul", expm1, number(graph, scale * alpha))

    return _two_sides(graph, z, scale, negative)


def _selu(graph, z):
    return _elu(graph, z, 1.0507009873554804934193349852946, 1.6732632423543772848170429916717)


def _softplus(graph, z):
    e = graph("Exp", graph("Neg", graph("Abs", z)))
    log1p = graph("Log", graph("Add", e, number(graph, 1)))
    return graph("Add", graph("Max", z, number(graph, 0)), log1p)


def _gelu(graph, z):
    # ONNX Runtime has it of float32 only.
    scaled = graph("Cast", graph("Mul", z, number(graph, np.sqrt(0.5))), to=type_of(np.float32))
    erf = graph("Cast", graph("Erf", scaled), to=type_of(graph.dtype))
    half = graph("Mul", z, number(graph, 0.5))
    return graph("Mul", half, graph("Add", erf, number(graph, 1)))


def _silu(graph, z):
    # Not z times Sigmoid(z), of which ONNX Runtime 1.26 makes an operator of float32 only.
    return graph("Div", z, graph("Add", graph("Exp", graph("Neg", z)), number(graph, 1)))


def _mish(graph, z):
    return graph("Mul", z, graph("Tanh", _softplus(graph, z)))


# For each function of a layer, hidden or last: (graph, z) -> its node.
OPERATORS = {
    "identity": _one_operator("Identity"),
    "logistic": _one_operator("Sigmoid"),
    "tanh": _one_operator("Tanh"),
    "relu": _one_operator("Relu"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
    "softmax": _one_operator("Softmax"),
    "exp": _one_operator("Exp"),
    "mean_and_std": _one_operator("Identity"),  # of the means, see `of_means`
}

# ---- layers and outputs ----


def add_layers(graph, a, layers):
    """Further layers: (n, n_in) -> (n, n_out)."""
    for layer in layers:
        weights, bias = layer.weights.astype(graph.dtype), layer.bias.astype(graph.dtype)
        a = add_function(graph, graph("Gemm", a, weights, bias), layer.activation)
    return a


def add_function(graph, z, name):
    """The function of a layer; none where it changes nothing."""
    return z if name == "identity" else form_of(name, OPERATORS, "an ONNX model")(graph, z)


def add_probabilities(graph, outputs, output):
    """Of classes or labels: what the function of the last layer gives, of two classes of both."""
    if output.both:
        one = number(graph, 1)
        return graph("Concat", graph("Sub", one, outputs), outputs, axis=1)
    return outputs


def add_constant(graph, x, values):
    """The same row for every row of x: (n, ...) -> (n, len(values))."""
    n = graph("Gather", graph("Shape", x), indices([0]), axis=0)
    shape = graph("Concat", n, indices([len(values)]), axis=0)
    return graph("Expand", np.asarray(values, graph.dtype).reshape(1, -1), shape)


def add_labels(graph, probabilities, output, classes):
    """The predicted labels: (n,), or of several at once 0 or 1 for each, (n, n_classes)."""
    if output.kind == "labels":
        is_there = graph("Greater", probabilities, number(graph, 0.5))
        return graph("Cast", is_there, to=type_of(np.int64))
    index = graph("ArgMax", probabilities, axis=1, keepdims=0)
    return graph("Gather", classes, index)


def of_means(layers):
    """Layers whose outputs are means and deviations, without the deviations."""
    *hidden, (weights, bias, activation) = layers
    n = len(bias) // 2
    return (*hidden, type(layers[-1])(weights[:, :n], bias[:n], activation))
