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

from ._export import operators
from ._export.checks import is_multilabel, label_array, predicts_otherwise

CONVERTER = "skl2onnx"
# Options of skl2onnx that classifiers take, with their values; it acts on them by itself.
CLASSIFIER_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "output_class_labels": [False, True],
    "nocl": [True, False],
}

# ---- when classes are registered ----

_offered, _refused = weakref.WeakSet(), weakref.WeakSet()


def offer(cls):
    """Register an estimator class with skl2onnx, now or when that is imported.

    Not a subclass whose predictions are its own: our converters know nothing of them.
    """
    ours = (base for base in cls.__mro__[1:] if base in _offered)
    base = next(ours, None)
    if base is not None and predicts_otherwise(cls, base):
        return
    _remember(cls, _offered)


def refuse(cls):
    """Have skl2onnx say what exports an estimator class for which there is no converter."""
    _remember(cls, _refused)


def _remember(cls, where):
    where.add(cls)
    if sys.modules.get(CONVERTER) is not None:
        _register(cls)


def _register(cls):
    from skl2onnx import update_registered_converter

    if cls in _refused:
        name, options = "FastbpTabularRegressor", None
        if issubclass(cls, ClassifierMixin):
            name, options = "FastbpTabularClassifier", CLASSIFIER_OPTIONS
        # Shapes are asked for first, and the converter is not called.
        update_registered_converter(cls, name, refuse_shapes, convert_regressor, options=options)
    elif issubclass(cls, ClassifierMixin):
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
        for cls in [*_offered, *_refused]:
            _register(cls)


sys.meta_path.insert(0, _Finder)

# ---- shapes: called by skl2onnx with the operator, which holds the estimator ----


def classifier_shapes(operator):
    """Set types and shapes of the outputs: labels (n,) or (n, n_classes), and probabilities."""
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

    calculate_linear_classifier_output_shapes(operator)
    labels, probabilities = operator.outputs
    if is_multilabel(operator.raw_operator):
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


def refuse_shapes(operator):
    """Raise TypeError: the model of a table has an input for each column, not one for all."""
    name = type(operator.raw_operator).__name__
    raise TypeError(
        f"skl2onnx has no converter of {name}, whose model has an input for each column: "
        "fastbp.to_onnx(estimator) exports it, alone."
    )


# ---- converters: called by skl2onnx, add the nodes of one estimator to a graph ----


def convert_regressor(scope, operator, container):
    """Add the nodes of a regressor: X (n, n_features) -> predictions (n, n_outputs)."""
    from ._export.description import describe

    described, graph = describe(operator.raw_operator), _Graph(operator, container)
    (layers,) = described.members
    if described.output.function == "mean_and_std":
        layers = operators.of_means(layers)
    graph.write(graph.net(layers, described.output), 0).add_to(scope, container)


def convert_classifier(scope, operator, container):
    """Add the nodes of a classifier: X (n, n_features) -> labels, probabilities (n, n_classes)."""
    from ._export.description import describe

    described, graph = describe(operator.raw_operator), _Graph(operator, container)
    output = described.output
    if output.constant is not None:
        probabilities = operators.add_constant(graph, graph.x, output.constant)
    else:
        outputs = graph.net(*described.members, output)
        probabilities = operators.add_probabilities(graph, outputs, output)
    classes = None if output.kind == "labels" else _labels(scope, operator.raw_operator)
    labels = operators.add_labels(graph, probabilities, output, classes)
    graph.write(probabilities, 1).add_to(scope, container)
    graph.write(labels, 0).add_to(scope, container)


def _has_deviations(estimator):
    """Half of the outputs are means, which is what `predict` returns and what is exported."""
    return estimator.out_activation_ == "mean_and_std"


def _labels(scope, estimator):
    """The classes as ONNX has them."""
    from skl2onnx.common.utils_classifier import get_label_classes

    return label_array(get_label_classes(scope, estimator))


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
        """One node; skl2onnx has a class for each operator of ONNX."""
        from skl2onnx.algebra import onnx_ops

        return getattr(onnx_ops, f"Onnx{operator}")(*inputs, op_version=self.opset, **attributes)

    def net(self, layers, output):
        """The forward pass: X -> outputs (n, n_outputs)."""
        a = self.x
        if self.must_cast:
            a = self("Cast", a, to=operators.type_of(np.float32))
        z = operators.add_layers(self, a, layers)
        return operators.add_function(self, z, output.function)

    def write(self, node, place):
        """Let a node's result be the output of the estimator at this place."""
        return self("Identity", node, output_names=[self.operator.outputs[place]])
