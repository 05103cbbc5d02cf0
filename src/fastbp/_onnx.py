"""Export to ONNX: skl2onnx is told how to convert the estimators, as soon as it is imported.

skl2onnx looks an estimator's converter up by its exact class, in a table that exists once it is
imported. It also asks the estimator for a method that returns a converter, but not if the
estimator is part of an ensemble, and then it refuses options such as ``zipmap``. So the classes
have to be in the table: `offer` remembers each of them, and a finder in ``sys.meta_path`` sees the
import of skl2onnx and has them registered after it. fastbp does not import skl2onnx by itself,
because that takes more than a second.
"""

import sys
import weakref

import numpy as np
from sklearn.base import ClassifierMixin, RegressorMixin

from ._input.arguments import check_activation

CONVERTER = "skl2onnx"
# Options of skl2onnx that classifiers take, with their values; it acts on them by itself.
CLASSIFIER_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "nocl": [True, False],
}


def _one_operator(name):
    return lambda graph, z: graph(name, z)


# Out of simple operators: runtimes have others in float32 only, and so are their attributes.


def _two_sides(graph, z, scale, negative):
    """scale * max(z, 0) + negative(min(z, 0))"""
    zero = graph.number(0)
    below = negative(graph("OnnxMin", z, zero))
    return graph("OnnxAdd", graph("OnnxMul", graph("OnnxMax", z, zero), graph.number(scale)), below)


def _leaky_relu(graph, z):
    return _two_sides(graph, z, 1, lambda low: graph("OnnxMul", low, graph.number(0.01)))


def _elu(graph, z, scale=1, alpha=1):
    def negative(low):
        expm1 = graph("OnnxSub", graph("OnnxExp", low), graph.number(1))
        return graph("OnnxMul", expm1, graph.number(scale * alpha))

    return _two_sides(graph, z, scale, negative)


def _selu(graph, z):
    return _elu(graph, z, 1.0507009873554804934193349852946, 1.6732632423543772848170429916717)


def _softplus(graph, z):
    e = graph("OnnxExp", graph("OnnxNeg", graph("OnnxAbs", z)))
    log1p = graph("OnnxLog", graph("OnnxAdd", e, graph.number(1)))
    return graph("OnnxAdd", graph("OnnxMax", z, graph.number(0)), log1p)


def _gelu(graph, z):
    from onnx import TensorProto

    # ONNX Runtime has it of float32 only.
    scaled = graph(
        "OnnxCast", graph("OnnxMul", z, graph.number(np.sqrt(0.5))), to=TensorProto.FLOAT
    )
    wide = TensorProto.FLOAT if graph.dtype == np.float32 else TensorProto.DOUBLE
    erf = graph("OnnxCast", graph("OnnxErf", scaled), to=wide)
    half = graph("OnnxMul", z, graph.number(0.5))
    return graph("OnnxMul", half, graph("OnnxAdd", erf, graph.number(1)))


def _silu(graph, z):
    return graph("OnnxMul", z, graph("OnnxSigmoid", z))


def _mish(graph, z):
    return graph("OnnxMul", z, graph("OnnxTanh", _softplus(graph, z)))


# For each function of a layer, hidden or last: (graph, z) -> its node.
OPERATORS = {
    "identity": _one_operator("OnnxIdentity"),
    "logistic": _one_operator("OnnxSigmoid"),
    "tanh": _one_operator("OnnxTanh"),
    "relu": _one_operator("OnnxRelu"),
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "silu": _silu,
    "mish": _mish,
    "softplus": _softplus,
    "softmax": _one_operator("OnnxSoftmax"),
    "exp": _one_operator("OnnxExp"),
    "mean_and_std": _one_operator("OnnxIdentity"),  # of the means, see `_has_deviations`
}

# ---- when classes are registered ----

_offered = weakref.WeakSet()


def offer(cls):
    """Register an estimator class with skl2onnx, now or when that is imported.

    Not a subclass whose predictions are its own: our converters know nothing of them.
    """
    ours = (base for base in cls.__mro__[1:] if base in _offered)
    base = next(ours, None)
    if base is not None and any(
        getattr(cls, name, None) is not getattr(base, name, None)
        for name in ("predict", "predict_proba")
    ):
        return
    _offered.add(cls)
    if sys.modules.get(CONVERTER) is not None:
        _register(cls)


def _register(cls):
    from skl2onnx import update_registered_converter

    if issubclass(cls, ClassifierMixin):
        update_registered_converter(
            cls,
            "FastbpMLPClassifier",
            classifier_shapes,
            convert_classifier,
            options=CLASSIFIER_OPTIONS,
        )
    elif issubclass(cls, RegressorMixin):
        update_registered_converter(cls, "FastbpMLPRegressor", regressor_shapes, convert_regressor)


class _Finder:
    """Finds skl2onnx for the import system as others do, and has the classes registered after."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != CONVERTER:
            return None
        others = [f for f in sys.meta_path if f is not cls and hasattr(f, "find_spec")]
        specs = (finder.find_spec(name, path, target) for finder in others)
        spec = next((spec for spec in specs if spec is not None), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)
        return spec


class _Loader:
    """Stands in for a loader until the module runs; leaves the loader itself in the module."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        for cls in list(_offered):
            _register(cls)


sys.meta_path.insert(0, _Finder)

# ---- shapes: called by skl2onnx with the operator, which holds the estimator ----


def classifier_shapes(operator):
    """Set types and shapes of the outputs: labels (n,) or (n, n_classes), and probabilities."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    calculate_linear_classifier_output_shapes(operator)
    labels, probabilities = operator.outputs
    if _is_multilabel(operator.raw_operator):
        labels.type.shape = probabilities.type.shape


def regressor_shapes(operator):
    """Set type and shape of the output: predictions (n, n_outputs)."""
    from skl2onnx.common.shape_calculator import calculate_linear_regressor_output_shapes

    calculate_linear_regressor_output_shapes(operator)
    (predictions,) = operator.outputs
    n = operator.inputs[0].get_first_dimension()
    estimator = operator.raw_operator
    share = 2 if _has_deviations(estimator) else 1
    predictions.type.shape = [n, estimator.n_outputs_ // share]


# ---- converters: called by skl2onnx, add the nodes of one estimator to a graph ----


def convert_regressor(scope, operator, container):
    """Add the nodes of a regressor: X (n, n_features) -> predictions (n, n_outputs)."""
    graph = _Graph(operator, container)
    graph.write(graph.net(), 0).add_to(scope, container)


def convert_classifier(scope, operator, container):
    """Add the nodes of a classifier: X (n, n_features) -> labels, probabilities (n, n_classes)."""
    from onnx import TensorProto

    estimator = operator.raw_operator
    graph = _Graph(operator, container)
    probabilities = graph.net()
    if _is_multilabel(estimator):
        is_true = graph("OnnxGreater", probabilities, np.array([0.5], graph.dtype))
        labels = graph("OnnxCast", is_true, to=TensorProto.INT64)
    else:
        if estimator.n_outputs_ == 1:
            probabilities = graph.both(probabilities, len(estimator.classes_))
        index = graph("OnnxArgMax", probabilities, axis=1, keepdims=0)
        labels = graph("OnnxGather", _labels(scope, estimator), index)
    graph.write(probabilities, 1).add_to(scope, container)
    graph.write(labels, 0).add_to(scope, container)


def _has_deviations(estimator):
    """Half of the outputs are means, which is what `predict` returns and what is exported."""
    return estimator.out_activation_ == "mean_and_std"


def _is_multilabel(estimator):
    binarizer = getattr(estimator, "_binarizer", None)
    multilabel = getattr(binarizer, "y_type_", "").startswith("multilabel")
    if binarizer is not None and not multilabel:
        raise ValueError(
            f"{type(estimator).__name__} has a _label_binarizer of its own, {binarizer!r}: only "
            "the labels in classes_ can be exported."
        )
    return multilabel


def _labels(scope, estimator):
    """The classes as an array of int64 or text, which is what ONNX has for labels."""
    from skl2onnx.common.utils_classifier import get_label_classes

    classes = np.asarray(get_label_classes(scope, estimator))
    if classes.dtype.kind in "OU":
        return classes.astype(str)
    return classes.astype(np.int64)  # a fit takes no floats but whole ones


class _Graph:
    """Nodes for one estimator, in the number type of its input (float32 unless that is float64)."""

    def __init__(self, operator, container):
        from skl2onnx.common.data_types import guess_numpy_type

        self.operator = operator
        self.opset = container.target_opset
        (self.x,) = operator.inputs
        given = guess_numpy_type(self.x.type)
        self.must_cast = given not in (np.float32, np.float64)
        self.dtype = np.float32 if self.must_cast else given

    def __call__(self, operator, *inputs, **attributes):
        """One node; `operator` is a name in skl2onnx.algebra.onnx_ops."""
        from skl2onnx.algebra import onnx_ops

        return getattr(onnx_ops, operator)(*inputs, op_version=self.opset, **attributes)

    def net(self):
        """The forward pass: X -> outputs (n, n_outputs)."""
        from onnx import TensorProto

        estimator = self.operator.raw_operator
        a = self("OnnxCast", self.x, to=TensorProto.FLOAT) if self.must_cast else self.x
        last = len(estimator.coefs_) - 1
        names = check_activation(estimator.activation, last)
        for l, (W, b) in enumerate(zip(estimator.coefs_, estimator.intercepts_, strict=True)):
            if l == last and _has_deviations(estimator):
                W, b = W[:, : len(b) // 2], b[: len(b) // 2]
            z = self("OnnxGemm", a, W.astype(self.dtype), b.astype(self.dtype))
            if l == last:
                a = _operator_of(estimator, "out_activation_", estimator.out_activation_)(self, z)
            else:
                a = _operator_of(estimator, "activation", names[l])(self, z)
        return a

    def number(self, value):
        """A constant in the number type of the graph."""
        return np.array([value], self.dtype)

    def both(self, p, n_classes):
        """From the probability p (n, 1) of the second class those of both; of an only class, 1."""
        one = np.array([1], self.dtype)
        if n_classes == 1:
            return self("OnnxAdd", self("OnnxMul", p, np.array([0], self.dtype)), one)
        return self("OnnxConcat", self("OnnxSub", one, p), p, axis=1)

    def write(self, node, place):
        """Let a node's result be the output of the estimator at this place."""
        return self("OnnxIdentity", node, output_names=[self.operator.outputs[place]])


def _operator_of(estimator, parameter, name):
    """What makes the node of the function of this name, which a parameter holds."""
    if name not in OPERATORS:
        raise ValueError(
            f"{type(estimator).__name__} has {parameter}={name!r}, which cannot be converted to "
            f"ONNX: it takes one of {', '.join(map(repr, OPERATORS))}."
        )
    return OPERATORS[name]
