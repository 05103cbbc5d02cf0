"""The contenders: fastbp, and every library that a Python user could train the same network with.

All have one interface. ``prepare`` builds, ``load`` sets the weights and makes a new optimizer
state (in memory when the clock starts, except within whole fits), ``run`` does the work that is
timed, ``weights`` or ``outcome`` tell what came of it. All minimise the same loss by Adam with the
same constants, without weight decay, over mini-batches gathered in the same orders of the rows.

Adam's epsilon: scikit-learn and fastbp add it to sqrt(v), as the paper's efficient form does [1]_;
JAX's rule is written out here in the same way. PyTorch adds it to the bias-corrected sqrt(v),
which matters where gradients are near 1e-8, as in wide networks. In the runs that compare results
(not in those that are timed) its epsilon is therefore rescaled at each step, after which both
rules are the same.

References
----------
.. [1] D. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015, section 2.
"""

import importlib
import importlib.util
import warnings

import numpy as np
from cases import LEARNING_RATE, make_data, make_orders

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8


class Contender:
    """What the measuring side knows of a contender.

    Attributes
    ----------
    name : str
        Key on the command line and in the results.
    title : str
        In tables.
    modules : tuple of str
        What must be installed; the first is the one whose version is noted.
    kinds : tuple of str
        Kinds of `Case` that it can do.
    against : str
        The contender of fastbp that does the same kind of work: a bare loop or a whole fit.
    variants : tuple of str
        Settings to try, of which the fastest counts.
    inner_threads : bool
        Whether BLAS and OpenMP may use the threads of the run, or stay at one.
    needs_weights : bool
        Whether it must be given weights, or draws its own if it has none.
    """

    name = title = against = ""
    modules = ()
    kinds = ("train",)
    variants = ("",)
    inner_threads = True
    needs_weights = True

    @classmethod
    def missing(cls):
        """Names of the modules that are not installed."""
        return [name for name in cls.modules if importlib.util.find_spec(name) is None]

    @classmethod
    def can(cls, case):
        """Whether this contender does this case."""
        return case.kind in cls.kinds and case.data != "sparse"

    def warm_up(self):
        """Import everything, so that neither times nor memory count it."""
        for name in self.modules:
            importlib.import_module(name)

    def prepare(self, case, dtype, n_threads, seed, variant=""):
        """Build data and model."""
        self.case, self.dtype, self.n_threads = case, dtype, n_threads
        self.seed, self.variant = seed, variant
        self.X, self.y = make_data(case, dtype)
        self.orders = make_orders(case) if case.kind == "train" else []
        self.build()

    def build(self):
        """Make the model from ``self.case``, ``self.X`` and ``self.y``."""
        raise NotImplementedError

    def load(self, coefs, intercepts):
        """Start anew from these weights."""
        raise NotImplementedError

    def run(self, repeats, shuffle=True):
        """Do the work: `repeats` epochs (calls, iterations).

        Returns
        -------
        float or None
            Mean loss of the last epoch where the contender knows it.
        """
        raise NotImplementedError

    def weights(self):
        """Return coefs, intercepts as lists of ndarray."""
        raise NotImplementedError

    def outcome(self):
        """Numbers that must agree between contenders, for work that leaves no weights."""
        return None

    def planned_bytes(self):
        """Bytes that the contender says it takes; None if it does not say."""
        return None


class FastbpLoop(Contender):
    """The engine of fastbp: one call per epoch, without the estimator around it."""

    name, title, modules, against = "fastbp", "fastbp", ("fastbp",), "fastbp"
    inner_threads = False

    def build(self):
        from fastbp import _core

        case = self.case
        hidden = (case.activation,) * (len(case.layers) - 2)
        self.trainer = _core.Trainer(
            case.layers, hidden, case.loss, self.dtype, case.batch, "adam", self.n_threads
        )
        target = self.y.astype(np.int32) if case.loss == "log_loss" else self.y
        self.data = _core.Data(self.X, target)

    def load(self, coefs, intercepts):
        from fastbp._params import Parameters, zeros

        self.parameters = Parameters.packed(coefs, intercepts, self.dtype)
        self.params = self.parameters.flat
        self.state = tuple(zeros(self.params.size, self.dtype) for _ in range(2))
        for moment in self.state:
            moment.fill(0)  # zeros are given out page by page at the first touch
        self.t = 0

    def run(self, repeats, shuffle=True):
        for i in range(repeats):
            order = self.orders[i % len(self.orders)] if shuffle else None
            loss, steps, _ = self.trainer.train_epoch(
                self.params,
                self.state,
                self.data,
                order,
                self.case.batch,
                alpha=0.0,
                learning_rate=LEARNING_RATE,
                t=self.t,
            )
            self.t += steps
        return loss

    def weights(self):
        return self.parameters.coefs, self.parameters.intercepts


class Fit(Contender):
    """An estimator with scikit-learn's interface: whole fits, from one call to its return.

    ``warm_start`` lets fits begin from given weights; the optimizer starts anew each time.
    """

    kinds = ("train", "predict", "lbfgs")
    against = "fastbp-fit"
    package = ""
    needs_weights = False

    @classmethod
    def can(cls, case):
        return case.kind in cls.kinds

    def extra_arguments(self):
        """Constructor arguments of this library alone."""
        return {}

    def build(self):
        # Both libraries say that an epoch was the last one, and that no progress was asked for.
        warnings.simplefilter("ignore")
        case, module = self.case, importlib.import_module(self.package)
        classifies = case.loss == "log_loss"
        estimator = module.MLPClassifier if classifies else module.MLPRegressor
        self.estimator = estimator(
            hidden_layer_sizes=case.layers[1:-1],
            activation=case.activation,
            alpha=0.0,
            batch_size=min(case.batch, case.rows),
            learning_rate_init=LEARNING_RATE,
            random_state=self.seed,
            tol=0.0,
            n_iter_no_change=np.inf,
            beta_1=BETA_1,
            beta_2=BETA_2,
            epsilon=EPSILON,
            max_iter=1,
            **self.extra_arguments(),
        )
        self.target = self.y[:, 0] if not classifies and self.y.shape[1] == 1 else self.y

    def load(self, coefs, intercepts):
        model = self.estimator
        if not hasattr(model, "coefs_"):
            classes = {"classes": range(self.case.layers[-1])} if self.y.ndim == 1 else {}
            model.partial_fit(self.X[:64], self.target[:64], **classes)
            model.set_params(warm_start=True)
        for own, given in ((model.coefs_, coefs), (model.intercepts_, intercepts)):
            for to, values in zip(own, given, strict=True):
                to[...] = values
        if self.case.kind == "lbfgs":
            model.set_params(solver="lbfgs")

    def run(self, repeats, shuffle=True):
        model = self.estimator
        if self.case.kind == "predict":
            for _ in range(repeats):
                self.output = model.predict_proba(self.X)
            return None
        model.set_params(max_iter=repeats, shuffle=shuffle)
        model.fit(self.X, self.target)
        if self.case.kind == "lbfgs" and model.n_iter_ != repeats:
            raise RuntimeError(f"{model.n_iter_} iterations instead of {repeats}")
        return model.loss_

    def weights(self):
        return self.estimator.coefs_, self.estimator.intercepts_

    def outcome(self):
        return [float(np.square(self.output).sum())] if self.case.kind == "predict" else None


class FastbpFit(Fit):
    """``fastbp.MLPClassifier`` and ``fastbp.MLPRegressor``."""

    name, title, package, modules = "fastbp-fit", "fastbp fit", "fastbp", ("fastbp",)

    def extra_arguments(self):
        return {"dtype": self.dtype, "n_threads": self.n_threads}

    def planned_bytes(self):
        plan = getattr(self.estimator, "memory_plan_", None)
        return plan and plan.total_bytes


class SklearnFit(Fit):
    """scikit-learn's own multilayer perceptrons."""

    name, title = "sklearn", "scikit-learn"
    package, modules = "sklearn.neural_network", ("sklearn",)


class FastbpNetwork(Contender):
    """``fastbp.Network``: loss and gradient for a loop of one's own."""

    name, title, modules, against = "fastbp", "fastbp", ("fastbp",), "fastbp"
    kinds = ("gradient",)
    inner_threads = False

    def build(self):
        import fastbp

        case = self.case
        self.net = fastbp.Network(
            case.layers,
            activation=case.activation,
            loss=case.loss,
            dtype=self.dtype,
            batch_size=case.batch,
            n_threads=self.n_threads,
        )

    def load(self, coefs, intercepts):
        self.params = np.concatenate([p.ravel() for p in (*coefs, *intercepts)])
        self.grad = np.empty_like(self.params)

    def run(self, repeats, shuffle=True):
        for _ in range(repeats):
            loss, _ = self.net.value_and_grad(self.params, self.X, self.y, out=self.grad)
        self.loss = loss
        return loss

    def outcome(self):
        return [float(self.loss), float(np.square(self.grad).sum())]


def contenders():
    """All classes, fastbp's first.

    Returns
    -------
    tuple of type
        Two may share a name if they do different kinds of work.
    """
    from peers_jax import Jax
    from peers_torch import TorchCompile, TorchEager

    return (FastbpLoop, FastbpNetwork, FastbpFit, SklearnFit, TorchEager, TorchCompile, Jax)
