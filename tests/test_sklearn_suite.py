"""scikit-learn's own tests, run on fastbp's estimators.

Its MLP test module is loaded a second time with the two class names replaced, and every test
function in it becomes one here. The general estimator checks run on the default parameters.
"""

import importlib.util
import inspect
import types

import pytest
import sklearn
import sklearn.neural_network
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.fixes import parse_version

import fastbp

# Tests that look at private attributes of scikit-learn's implementation.
EXCLUDED = {
    "test_gradient": "calls the private method _loss_grad_lbfgs; see the gradient tests of Network",
}


def following_x(cls):
    """The class with ``dtype="auto"`` as its default: what scikit-learn's classes do."""
    init = cls.__init__
    copy = types.FunctionType(
        init.__code__, init.__globals__, init.__name__, init.__defaults__, init.__closure__
    )
    copy.__kwdefaults__ = {**init.__kwdefaults__, "dtype": "auto"}
    return type(cls.__name__, (cls,), {"__init__": copy, "__module__": __name__})


def load_suite():
    """scikit-learn's test module under a fresh name, importing our classes instead of its own."""
    spec = importlib.util.find_spec("sklearn.neural_network.tests.test_mlp")
    fresh = importlib.util.spec_from_file_location("sklearn_mlp_suite", spec.origin)
    module = importlib.util.module_from_spec(fresh)
    originals = {name: getattr(sklearn.neural_network, name) for name in REPLACED}
    try:
        # The names are imported, and used in decorators, while the module is executed.
        for name, cls in REPLACED.items():
            setattr(sklearn.neural_network, name, cls)
        fresh.loader.exec_module(module)
    finally:
        for name, cls in originals.items():
            setattr(sklearn.neural_network, name, cls)
    return module


REPLACED = {
    "MLPClassifier": following_x(fastbp.MLPClassifier),
    "MLPRegressor": following_x(fastbp.MLPRegressor),
}
# Pickling, which one of the tests does, looks the classes up by name.
globals().update(REPLACED)
SUITE = load_suite()
FUNCTIONS = {
    name: function
    for name, function in vars(SUITE).items()
    if name.startswith("test_") and inspect.isfunction(function)
}
globals().update({name: f for name, f in FUNCTIONS.items() if name not in EXCLUDED})


@pytest.fixture
def global_random_seed():
    """scikit-learn's fixture of that name, at its default value."""
    return 42


def test_suite_is_ours_and_complete():
    assert SUITE.MLPClassifier is REPLACED["MLPClassifier"]
    assert SUITE.MLPRegressor is REPLACED["MLPRegressor"]
    assert sklearn.neural_network.MLPClassifier.__module__.startswith("sklearn.")
    assert set(EXCLUDED) <= set(FUNCTIONS)
    # Earlier releases have fewer tests.
    if parse_version(sklearn.__version__) >= parse_version("1.9"):
        assert len(FUNCTIONS) - len(EXCLUDED) >= 40


@parametrize_with_checks(
    [
        fastbp.MLPClassifier(),
        fastbp.MLPRegressor(),
        fastbp.MLPClassifier(dtype="float64"),
        fastbp.MLPRegressor(dtype="float64"),
    ]
)
def test_estimator_checks(estimator, check):
    check(estimator)
