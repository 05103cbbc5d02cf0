"""fastbp: multilayer perceptrons on the CPU, in one arena of memory.

`MLPClassifier` and `MLPRegressor` are drop-in for scikit-learn's; `Network` is the engine beneath
them for people who write their own loop, with `Adam`, `AdamW` and `SGD`;
`memory_plan` tells what a fit will allocate; `save` and `load` keep what was trained;
`distributed` lets several machines train one net.
"""

from sklearn.inspection import permutation_importance

from fastbp._distributed import distributed
from fastbp._version import __version__
from fastbp.classifier import MLPClassifier
from fastbp.io import from_sklearn, load, save, to_onnx, to_sklearn
from fastbp.memory import MemoryPlan, memory_plan
from fastbp.network import Network
from fastbp.optim import SGD, Adam, AdamW
from fastbp.plot import TrainingCurveDisplay
from fastbp.regressor import MLPRegressor
from fastbp.tabular import TabularClassifier, TabularRegressor

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "MLPClassifier",
    "MLPRegressor",
    "MemoryPlan",
    "Network",
    "TabularClassifier",
    "TabularRegressor",
    "TrainingCurveDisplay",
    "__version__",
    "distributed",
    "from_sklearn",
    "load",
    "memory_plan",
    "permutation_importance",
    "save",
    "to_onnx",
    "to_sklearn",
]
