"""scikit-learn's multilayer perceptrons made into fastbp's, and back.

Both have the same parameters and attributes; what differs is where the numbers lie (one vector
here, an array for each layer there) and what the optimizer is called.
"""

import copy

import numpy as np
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.neural_network import MLPRegressor as SklearnRegressor

from .._optim import SGD, Adam
from .._params import Parameters
from .._warnings import warn
from ..classifier import MLPClassifier
from ..regressor import MLPRegressor
from .estimators import parameter_names

# Functions of hidden layers and of the output that scikit-learn has.
_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
_OF_OUTPUT = ("identity", "logistic", "softmax", "exp")
_PAIRS = ((SklearnClassifier, MLPClassifier), (SklearnRegressor, MLPRegressor))
# Attributes that mean the same in both, and are copied where there are any.
_SAME = (
    "best_loss_",
    "best_validation_score_",
    "classes_",
    "feature_names_in_",
    "loss_",
    "n_features_in_",
    "n_iter_",
    "n_layers_",
    "n_outputs_",
    "out_activation_",
    "t_",
    "_no_improvement_count",
)
# Those that scikit-learn has none of with lbfgs.
_OF_EPOCHS = ("best_loss_", "best_validation_score_", "_no_improvement_count")
# Settings of training that scikit-learn has none of, and what it takes in their place.
_OF_TRAINING = (
    ("class_weight", lambda value: value is None),
    ("label_smoothing", lambda value: value == 0),
    ("dropout", lambda value: not np.any(value)),
    ("input_dropout", lambda value: value == 0),
    ("max_grad_norm", lambda value: value is None),
    ("warmup", lambda value: value == 0),
    ("ema_decay", lambda value: value is None),
    ("scoring", lambda value: value is None),
    ("max_time", lambda value: value is None),
)
_IN_PLACE_OF = {
    "solver": (("lbfgs", "sgd", "adam"), "adam"),
    "learning_rate": (("constant", "invscaling", "adaptive"), "constant"),
}
_GLOBAL = np.random.mtrand._rand


def from_sklearn(estimator):
    """Make a fastbp estimator of scikit-learn's `MLPClassifier` or `MLPRegressor`.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
        Fitted or not.

    Returns
    -------
    MLPClassifier or MLPRegressor
        With copies of its parameters and, if it is fitted, of its weights, curves and optimizer:
        predictions are the same to rounding (1e-12 in float64), and `partial_fit` goes on from
        where it was. So does a warm start, but for one after early stopping, for which scikit-learn
        trains its best weights in place. ``dtype="auto"``, so that the dtype follows from X, as it
        does in scikit-learn. `history_` has the losses and scores; `memory_plan_` comes with the
        next fit.

    Raises
    ------
    TypeError
        For another class, also one that is derived from these.

    See Also
    --------
    to_sklearn : The opposite.

    Examples
    --------
    >>> import fastbp
    >>> from sklearn.neural_network import MLPRegressor
    >>> fastbp.from_sklearn(MLPRegressor(hidden_layer_sizes=(20, 20), alpha=0.01))
    MLPRegressor(alpha=0.01, dtype='auto', hidden_layer_sizes=(20, 20))
    """
    cls = _other(estimator, _PAIRS)
    names = parameter_names(cls)
    settings, random_state = _settings(estimator)
    made = cls(**{name: v for name, v in settings.items() if name in names}, dtype="auto")
    if not hasattr(estimator, "coefs_"):
        return made
    state = _same_attributes(estimator) | {"_random_state": random_state, "_keeps_digits": False}
    params = Parameters.packed(estimator.coefs_, estimator.intercepts_)
    state["_x_dtype"] = params.flat.dtype
    if cls is MLPClassifier:
        binarizer = estimator._label_binarizer
        several = binarizer.y_type_.startswith("multilabel")
        state["_binarizer"] = copy.deepcopy(binarizer) if several else None
    else:
        state["_quantiles"] = None
    vars(made).update(state, **_curves(estimator))
    made._link(params)
    made._optimizer = _optimizer_of(made, getattr(estimator, "_optimizer", None), params)
    return made


def to_sklearn(estimator):
    """Make scikit-learn's `MLPClassifier` or `MLPRegressor` of a fastbp estimator.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
        Fitted or not.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
        With copies of its parameters and, if it is fitted, of its weights, curves and optimizer.
        Predictions are the same to rounding: to 1e-12 for a net of float64; one of float32 has the
        same weights, and the arithmetic is that of float64 if `fit` saw an X of float64.

    Raises
    ------
    ValueError
        For what scikit-learn computes in no way: an `activation` or a `loss` that it has none of.
    TypeError
        For another class, also one that is derived from these.

    Warns
    -----
    UserWarning
        Names the settings of training that scikit-learn has none of: `class_weight`,
        `label_smoothing`, `dropout`, `input_dropout`, `max_grad_norm`, `warmup`, `ema_decay`,
        `scoring` and `max_time` are left out, `solver` "adamw" becomes "adam" and a schedule by the
        step "constant". Predictions do not depend on them; a further fit does. `dtype`,
        `n_threads`, `max_memory` and `checkpoint` are left out without a warning.

    See Also
    --------
    from_sklearn : The opposite.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.to_sklearn(fastbp.MLPRegressor(hidden_layer_sizes=(20, 20), n_threads=1))
    MLPRegressor(hidden_layer_sizes=(20, 20))
    """
    cls = _other(estimator, [(ours, theirs) for theirs, ours in _PAIRS])
    settings, random_state = _settings(estimator)
    names = cls().get_params(deep=False)
    settings |= _functions_of(estimator, names)
    settings |= _of_training(estimator)
    settings["verbose"] = bool(settings["verbose"])  # "progress" is a text
    made = cls(**{name: value for name, value in settings.items() if name in names})
    if not hasattr(estimator, "coefs_"):
        return made
    if estimator.out_activation_ not in _OF_OUTPUT:
        raise _has_none(estimator, "out_activation_", estimator.out_activation_, _OF_OUTPUT)
    params = estimator._parameters()
    dtype = np.result_type(params.flat.dtype, getattr(estimator, "_x_dtype", np.float64))
    state = _same_attributes(estimator) | {"_random_state": random_state}
    if made.solver == "lbfgs":
        state = {name: value for name, value in state.items() if name not in _OF_EPOCHS}
    else:
        state |= _curves_of(estimator)
    if cls is SklearnClassifier:
        state["_label_binarizer"] = copy.deepcopy(estimator._label_binarizer)
    state["coefs_"] = [W.astype(dtype) for W in params.coefs]
    state["intercepts_"] = [b.astype(dtype) for b in params.intercepts]
    if estimator.early_stopping:
        state["_best_coefs"] = [W.copy() for W in state["coefs_"]]
        state["_best_intercepts"] = [b.copy() for b in state["intercepts_"]]
    optimizer = _sklearn_optimizer(made, getattr(estimator, "_optimizer", None), params, dtype)
    if optimizer is not None:
        state["_optimizer"] = optimizer
    vars(made).update(state)
    return made


# ---- parameters ----


def _other(estimator, pairs):
    for cls, other in pairs:
        if type(estimator) is cls:
            return other
    takes = " or ".join(f"{cls.__module__}.{cls.__name__}" for cls, _ in pairs)
    raise TypeError(f"estimator is of type {type(estimator).__qualname__}: it takes a {takes}.")


def _settings(estimator):
    """Copies of the parameters, and of the generator that the last fit drew from."""
    generator = vars(estimator).get("_random_state")
    values = [estimator.get_params(deep=False), generator]
    return copy.deepcopy(values, {id(_GLOBAL): _GLOBAL})


def _same_attributes(estimator):
    state = vars(estimator)
    return {name: copy.deepcopy(state[name]) for name in _SAME if name in state}


def _functions_of(estimator, names):
    """The activation and the loss, which scikit-learn must have."""
    activation = estimator.activation
    if not isinstance(activation, str):
        several = list(activation)
        activation = several[0] if several and several == several[:1] * len(several) else several
        activation = activation or "identity"
    if activation not in _ACTIVATIONS:
        raise _has_none(estimator, "activation", estimator.activation, _ACTIVATIONS)
    if isinstance(estimator, MLPRegressor):
        takes = ("squared_error", "poisson") if "loss" in names else ("squared_error",)
        if estimator.loss not in takes:
            raise _has_none(estimator, "loss", estimator.loss, takes)
    return {"activation": str(activation)}  # it may be one of NumPy


def _has_none(estimator, name, value, takes):
    return ValueError(
        f"{type(estimator).__name__} has {name}={value!r}, which scikit-learn's class has none of: "
        f"to_sklearn takes {', '.join(map(repr, takes))}."
    )


def _of_training(estimator):
    """Settings in the place of those that scikit-learn has none of, which a warning names."""
    left_out = [
        f"{name}={getattr(estimator, name)!r}"
        for name, is_none in _OF_TRAINING
        if hasattr(estimator, name) and not is_none(getattr(estimator, name))
    ]
    instead = {}
    for name, (takes, other) in _IN_PLACE_OF.items():
        value = getattr(estimator, name)
        if not isinstance(value, str) or value not in takes:
            instead[name] = other
            left_out.append(f"{name}={value!r} (now {other!r})")
    if left_out:
        warn(
            "scikit-learn's class has none of these settings of training, which predictions do not "
            f"depend on: {', '.join(left_out)}."
        )
    return instead


# ---- curves and optimizers ----


def _curves(estimator):
    """The curves of scikit-learn's estimator as attributes of ours."""
    losses = [float(loss) for loss in getattr(estimator, "loss_curve_", ())]
    scores = getattr(estimator, "validation_scores_", None)
    scores = [float(score) for score in scores] if scores else None
    nan = float("nan")
    rows = zip(losses, scores or [nan] * len(losses), strict=False)
    made = {
        "loss_curve_": losses,
        "validation_scores_": scores,
        "validation_loss_curve_": [nan] * len(scores) if scores else None,
        "_history": [(0.0, loss, nan, score, nan) for loss, score in rows],
        "best_iter_": 0,
    }
    if scores:
        made["_watched"] = (True, None)
    if losses:
        made["best_iter_"] = 1 + int(np.argmax(scores) if scores else np.argmin(losses))
    return made


def _curves_of(estimator):
    """The opposite."""
    scores = getattr(estimator, "validation_scores_", None)
    return {
        "loss_curve_": [*getattr(estimator, "loss_curve_", ())],
        "validation_scores_": [*scores] if estimator.early_stopping and scores else None,
    }


def _optimizer_of(made, theirs, params):
    """The state of scikit-learn's optimizer as ours; None if there is none."""
    kinds = {"AdamOptimizer": ("ms", "vs"), "SGDOptimizer": ("velocities",)}
    vectors = kinds.get(type(theirs).__name__)
    if vectors is None:
        return None
    optimizer = (Adam if len(vectors) == 2 else SGD)(made, params.flat)
    n_layers = len(params.coefs)
    for vector, name in zip(optimizer.state, vectors, strict=True):
        arrays = getattr(theirs, name)
        np.copyto(vector, Parameters.packed(arrays[:n_layers], arrays[n_layers:]).flat)
    optimizer.t = int(getattr(theirs, "t", 0))
    optimizer.learning_rate = float(theirs.learning_rate)
    optimizer._rates, optimizer.last_rate = None, float(made.learning_rate_init)
    return optimizer


def _sklearn_optimizer(made, optimizer, params, dtype):
    """The opposite; None where scikit-learn has no such optimizer, or begins anew."""
    from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

    kind = type(optimizer)
    if kind not in (Adam, SGD) or optimizer.trained is not None:
        return None
    pieces = [
        [array.astype(dtype) for part in _pieces(vector, params) for array in part]
        for vector in optimizer.state
    ]
    arrays = [*params.coefs, *params.intercepts]
    if kind is Adam:
        settings = (made.learning_rate_init, made.beta_1, made.beta_2, made.epsilon)
        theirs = AdamOptimizer(arrays, *settings)
        theirs.ms, theirs.vs = pieces
        theirs.t = optimizer.t
    else:
        settings = (made.learning_rate_init, made.learning_rate, made.momentum)
        theirs = SGDOptimizer(arrays, *settings, made.nesterovs_momentum, made.power_t)
        (theirs.velocities,) = pieces
    theirs.learning_rate = optimizer.learning_rate
    return theirs


def _pieces(vector, params):
    """The views of a vector of state, as those of the parameters."""
    cut = Parameters.around(params.layer_sizes, vector)
    return cut.coefs, cut.intercepts
