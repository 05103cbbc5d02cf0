"""`Network`: loss, gradient and forward pass for people who write their own training loop."""

from contextlib import contextmanager
from functools import partial
from itertools import pairwise

import numpy as np

from . import _core
from ._input.arguments import (
    check_activation,
    check_alpha,
    check_dtype,
    check_huber_delta,
    check_label_smoothing,
    check_layer_sizes,
    check_positive_int,
    check_quantile,
    core_loss,
    generator_of,
    loss_params,
    parse_max_memory,
)
from ._input.arrays import check_out, check_rows, check_sample_weight, check_vector
from ._input.targets import CHECK_TARGET
from ._own_loss import ask_for, ask_for_cotangent, numbers
from ._params import draw, layer_activations, views, zeros
from ._threads import blas_guard, resolve_n_threads
from ._trainers import Arguments, make
from .memory import MemoryPlan

# rows x in x out of a product above which OpenBLAS starts its own threads.
_BLAS_THREADS_ABOVE = 2**18
# Arguments of a loss, of which `repr` tells those that are others.
_DEFAULTS = {"huber_delta": 1.0, "quantile": 0.5, "label_smoothing": 0.0}


class Network:
    """A multilayer perceptron as a function of one flat parameter vector.

    The network owns an arena, sized once for ``batch_size`` rows, and nothing else: parameters,
    gradients and data belong to the caller, who brings the training loop. ``X`` and ``y`` are
    read in place; more rows than ``batch_size`` run in several passes over the same bytes.

    Parameters
    ----------
    layer_sizes : sequence of int
        Widths of the layers, input and output included; no hidden layer is allowed.
    activation : str or sequence of str, default="relu"
        "identity", "logistic", "tanh", "relu", "leaky_relu" (slope 0.01), "elu", "selu", "gelu"
        (exact), "silu", "mish" or "softplus": one name for all hidden layers, or one per hidden
        layer.
    loss : str or callable, default="squared_error"
        The sample-weighted mean over rows of the sum over outputs of

        - "squared_error": 0.5 * (output - y)**2;
        - "log_loss": softmax cross-entropy, y as class indices (n,) or as rows of
          probabilities (n, n_outputs); with one output the logistic loss, y in {0, 1};
        - "binary_log_loss": one logistic output per column of y, y in [0, 1];
        - "poisson": half the Poisson deviance with output exp(z), y >= 0;
        - "absolute_error": abs(output - y), its slope 0 at 0;
        - "huber": 0.5 * e**2 of the error e = output - y, or where abs(e) is above `huber_delta`
          ``huber_delta * (abs(e) - 0.5 * huber_delta)``;
        - "log_cosh": log(cosh(output - y));
        - "quantile": the pinball loss ``max(q * (y - output), (q - 1) * (y - output))`` with q
          from `quantile`;
        - "gamma": half the gamma deviance, y / output - log(y / output) - 1, with output exp(z),
          y > 0;
        - "gaussian_nll": ``0.5 * (log(v) + (y - mean)**2 / v)`` with two outputs for each column
          of y: the first half of the outputs are the means, the second half the standard
          deviations sqrt(v), v = exp(z) + 1e-6;
        - a function ``(output, y, sample_weight) -> (loss_per_row, d_output)`` of arrays of shape
          (n, n_outputs), (n, n_outputs) and (n,) or None: the losses of the rows, (n,), and their
          derivatives by the output, (n, n_outputs), both without weights and the mean, which are
          the network's. It is called once per pass over the arena, with copies.
    dtype : {"float32", "float64"}, default="float32"
        Of parameters, gradient and arithmetic. Losses accumulate in float64.
    batch_size : int, default=200
        Rows in one pass over the arena, at most: see ``batch_rows`` of `MemoryPlan`.
    n_threads : int or None, default=None
        Threads of one call; None: from shapes, the cores allowed to the process,
        ``FASTBP_NUM_THREADS`` and ``OMP_NUM_THREADS``.
    max_memory : int, str or None, default=None
        Cap on the arena in bytes, or "64MB". A pass then takes fewer rows.
    huber_delta : float, default=1.0
        Of the loss "huber": the error up to which it is squared. Other losses do not use it.
    quantile : float or sequence of float, default=0.5
        Of the loss "quantile": q in (0, 1) for all outputs, or one per output.
    label_smoothing : float, default=0.0
        Of the log losses: s in [0, 1). Targets are (1 - s) y + s / n_outputs; of logistic outputs,
        each of which tells two classes apart, (1 - s) y + s / 2.

    Attributes
    ----------
    layer_sizes : tuple of int
    activations : tuple of str
        One name per hidden layer.
    loss_name : str or callable
        The loss asked for.
    dtype : numpy.dtype
    batch_size : int
    n_params : int
        Length of the flat parameter vector: every W, row-major and layer by layer, then every b.
    memory_plan : MemoryPlan

    Notes
    -----
    Several Python threads, and signal handlers, may share one network: a call that finds the arena
    in use makes another for itself. Where products are done by BLAS it is held to one thread during
    a call whose products are large enough for BLAS to start its own.

    The gradient is that of back-propagation [1]_.

    References
    ----------
    .. [1] Goodfellow, Bengio and Courville, "Deep Learning", section 6.5, MIT Press, 2016.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> net = fastbp.Network((2, 8, 1), activation="tanh", dtype="float64")
    >>> params = net.init_params(random_state=0)
    >>> X, y = np.eye(2), np.array([0.0, 1.0])
    >>> loss, grad = net.value_and_grad(params, X, y)
    >>> grad.shape == (net.n_params,)
    True
    """

    def __init__(
        self,
        layer_sizes,
        activation="relu",
        loss="squared_error",
        dtype="float32",
        batch_size=200,
        n_threads=None,
        max_memory=None,
        *,
        huber_delta=1.0,
        quantile=0.5,
        label_smoothing=0.0,
    ):
        self.layer_sizes = check_layer_sizes(layer_sizes)
        self.activations = check_activation(activation, len(self.layer_sizes) - 2)
        self.loss_name = loss
        self.dtype = np.dtype(check_dtype(dtype))
        self.batch_size = check_positive_int("batch_size", batch_size)
        self._arguments = (layer_sizes, activation, loss, self.dtype.name, batch_size)
        self._arguments += (n_threads, max_memory)
        self._ask = ask_for(loss) if callable(loss) else None
        self._loss_arguments = {
            "huber_delta": check_huber_delta(huber_delta),
            "quantile": check_quantile(quantile),
            "label_smoothing": check_label_smoothing(label_smoothing),
        }
        name, n_outputs = core_loss(loss, self.layer_sizes[-1]), self.layer_sizes[-1]
        delta, quantile, smoothing = self._loss_arguments.values()
        if smoothing and name not in ("log_loss", "binary_log_loss"):
            raise ValueError(
                f"label_smoothing={label_smoothing!r} with loss={loss!r}: it takes 0, or goes with "
                "'log_loss' and 'binary_log_loss'."
            )
        self._trainer_arguments = Arguments(
            layer_sizes=self.layer_sizes,
            activations=self.activations,
            loss=name,
            dtype=self.dtype.name,
            batch_size=self.batch_size,
            n_threads=resolve_n_threads(n_threads),
            max_memory=parse_max_memory(max_memory),
            asks=callable(loss),
            loss_params=loss_params(name, n_outputs, delta, quantile),
            label_smoothing=smoothing,
        )
        trainer = make(self._trainer_arguments._replace(measure=self._measures))
        # Ours, one for each kind of call that there was, unless a call is using it.
        self._idle = {} if self._measures else {self._trainer_arguments: trainer}
        self._plan = MemoryPlan.from_core(trainer.plan())
        self._table = _core.parameters(self.layer_sizes)
        self.n_params = trainer.n_params
        self._weights_of_blas = max(
            (
                n_in * n_out
                for (n_in, n_out), dense in zip(
                    pairwise(self.layer_sizes), self._plan.dense, strict=True
                )
                if dense == "blas"
            ),
            default=0,
        )

    _measures = False  # instead of making an arena

    @classmethod
    def _without_arena(cls, **arguments):
        """A network whose arena the first call makes, for one that comes out of a file."""
        net = object.__new__(cls)
        net._measures = True
        net.__init__(**arguments)
        del net._measures
        return net

    @property
    def memory_plan(self):
        """The `MemoryPlan` of the arena and of the vectors that go with it."""
        return self._plan

    @property
    def n_outputs(self):
        """Width of the output layer."""
        return self.layer_sizes[-1]

    def __repr__(self):
        told = "".join(
            f", {name}={value!r}"
            for name, value in self._loss_arguments.items()
            if value != _DEFAULTS[name]
        )
        return (
            f"Network({self.layer_sizes}, activation={self._arguments[1]!r}, "
            f"loss={self.loss_name!r}, dtype={self.dtype.name!r}, batch_size={self.batch_size}"
            f"{told})"
        )

    def __reduce__(self):
        # The arena holds nothing between calls: a copy is built from the arguments.
        return partial(type(self), **self._loss_arguments), self._arguments

    # ---- parameters ----

    def init_params(self, random_state=None):
        """Draw initial parameters as the estimators and scikit-learn do.

        Layer by layer, W then b from ``uniform(-bound, bound)`` with ``bound = sqrt(factor /
        (in + out))`` [1]_, factor 2 for a logistic layer and 6 otherwise. The output layer
        takes the factor of the last hidden layer. The draws are float64 whatever the dtype.

        Parameters
        ----------
        random_state : int, numpy.random.RandomState or None, default=None
            Source of the draws; an int gives the same ones each time.

        Returns
        -------
        ndarray of shape (n_params,)
            The parameters, of the dtype of the network.

        References
        ----------
        .. [1] Glorot and Bengio, "Understanding the difficulty of training deep feedforward
           neural networks", AISTATS 2010.
        """
        params = zeros(self.n_params, self.dtype)
        names = layer_activations(self.activations, len(self.layer_sizes) - 1)
        draw(*views(params, self._table), names, generator_of(random_state))
        return params

    def views(self, params):
        """The weights and biases of every layer as views: writing to one writes to params.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            A parameter vector, or a gradient.

        Returns
        -------
        coefs : list of ndarray of shape (in, out)
            Weights W, one array per layer.
        intercepts : list of ndarray of shape (out,)
            Biases b, one array per layer.
        """
        self._check_params(params)
        return views(params, self._table)

    # ---- the three functions ----

    def loss(self, params, X, y, sample_weight=None, alpha=0.0):
        """Weighted mean loss over the rows of X, with the L2 penalty.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            Of the dtype of the network, contiguous; may be read-only.
        X : array-like or sparse matrix of shape (n, layer_sizes[0])
            float32 and float64 arrays of any strides and CSR matrices are read in place;
            anything else is converted. A NaN in X comes out as a NaN.
        y : array-like of shape (n,) or (n, n_outputs)
            What the loss takes, see the class; (n, n_outputs / 2) for "gaussian_nll".
        sample_weight : array-like of shape (n,) or None, default=None
            Finite, with a positive sum.
        alpha : float, default=0.0
            Adds ``0.5 * alpha * sum(W**2) / sum(sample_weight)``.

        Returns
        -------
        float
            The loss; with an L2 penalty if `alpha` is above 0.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what it got and what it takes.
        """
        self._check_params(params)
        X, y, sample_weight, alpha = self._check_data(X, y, sample_weight, alpha)
        data = _core.Data(X, y, sample_weight)
        with self._trainer(X.shape[0]) as trainer:
            return trainer.loss(params, data, alpha=alpha, ask=self._ask)

    def value_and_grad(
        self, params, X, y, sample_weight=None, alpha=0.0, out=None, *, input_grad=False
    ):
        """Loss as in `loss`, and its exact gradient.

        Parameters
        ----------
        params, X, y, sample_weight, alpha
            As in `loss`.
        out : ndarray of shape (n_params,) or None, default=None
            Where the gradient goes; a new array if None.
        input_grad : bool, default=False
            Return the gradient by X, too.

        Returns
        -------
        loss : float
            As `loss` gives it.
        grad : ndarray of shape (n_params,)
            In the order of params; `views` cuts it into layers.
        grad_X : ndarray of shape (n, layer_sizes[0])
            With `input_grad`; dense also for a sparse X.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what it got and what it takes.
        """
        self._check_params(params)
        X, y, sample_weight, alpha = self._check_data(X, y, sample_weight, alpha)
        if out is None:
            out = np.empty(self.n_params, self.dtype)
        else:
            check_out(out, params)
        data = _core.Data(X, y, sample_weight)
        if not input_grad:
            with self._trainer(X.shape[0]) as trainer:
                return trainer.value_and_grad(params, data, out, alpha=alpha, ask=self._ask), out
        grad_X = np.empty(X.shape, self.dtype)
        with self._trainer(X.shape[0], input_grad=True) as trainer:
            loss = trainer.value_and_grad(
                params, data, out, alpha=alpha, ask=self._ask, grad_x=grad_X
            )
        return loss, out, grad_X

    def vjp(self, params, X, cotangent, *, input_grad=False):
        """Output of the network, and the product of a vector with its Jacobian.

        For a loss that is a function of the output of all rows at once, or of several networks:
        with the derivatives of such a loss by the output as `cotangent`, the result is its
        gradient.

        Parameters
        ----------
        params, X
            As in `loss`.
        cotangent : array-like of shape (n, n_outputs) or callable
            A number for each number of the output; or a function that makes them from the output
            of all rows, after the output activation.
        input_grad : bool, default=False
            Return the product with the Jacobian by X, too.

        Returns
        -------
        output : ndarray of shape (n, n_outputs)
            As `forward` gives it.
        grad : ndarray of shape (n_params,)
            Sum over rows i and outputs j of ``cotangent[i, j] * d output[i, j] / d params``.
        grad_X : ndarray of shape (n, layer_sizes[0])
            With `input_grad`: sum over j of ``cotangent[i, j] * d output[i, j] / d X[i]``.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what it got and what it takes.

        Examples
        --------
        >>> import numpy as np
        >>> import fastbp
        >>> net = fastbp.Network((2, 8, 1), activation="tanh", dtype="float64")
        >>> params = net.init_params(random_state=0)
        >>> output, grad = net.vjp(params, np.eye(2), lambda output: output - output.mean())
        >>> output.shape, grad.shape
        ((2, 1), (33,))
        """
        self._check_params(params)
        X = check_rows(X, self.layer_sizes, self.dtype)
        n = X.shape[0]
        shape = (n, self.layer_sizes[-1])
        output, grad = np.empty(shape, self.dtype), np.zeros(self.n_params, self.dtype)
        grad_X = np.empty(X.shape, self.dtype) if input_grad else None
        if not callable(cotangent):
            cotangent = numbers("cotangent", cotangent, shape, "numbers")
        elif n > self._plan.batch_rows or not n:
            made = cotangent(self.forward(params, X))
            cotangent = numbers("What cotangent returned", made, shape, "numbers")
        if n:
            with self._trainer(n, input_grad=bool(input_grad), asks=True) as trainer:
                if callable(cotangent) and n > trainer.batch_rows:  # its arena holds more
                    made = cotangent(self.forward(params, X))
                    cotangent = numbers("What cotangent returned", made, shape, "numbers")
                trainer.value_and_grad(
                    params,
                    _core.Data(X),
                    grad,
                    grad_x=grad_X,
                    ask=ask_for_cotangent(cotangent, output),
                    total=True,
                )
        return (output, grad, grad_X) if input_grad else (output, grad)

    def forward(self, params, X):
        """Output for every row of X, after the output activation.

        Parameters
        ----------
        params, X
            As in `loss`.

        Returns
        -------
        ndarray of shape (n, n_outputs)
            Predictions, or probabilities for the log losses, or means and then deviations for
            "gaussian_nll", of the dtype of the network.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what it got and what it takes.
        """
        self._check_params(params)
        X = check_rows(X, self.layer_sizes, self.dtype)
        out = np.empty((X.shape[0], self.layer_sizes[-1]), self.dtype)
        if X.shape[0]:
            data = _core.Data(X)
            with self._trainer(X.shape[0]) as trainer:
                trainer.forward(params, data, out)
        return out

    # ---- machinery ----

    @contextmanager
    def _trainer(self, n_rows, **kind):
        """Our trainer for a kind of call, or one for this call where it is in use.

        `kind` is what differs from the `Arguments` of the first of them.

        That happens when another Python thread, or a signal handler that interrupts a call, calls
        the same network. Nobody waits, so nobody waits for a thread that is not there any more.
        """
        arguments = self._trainer_arguments._replace(**kind) if kind else self._trainer_arguments
        trainer = self._idle.pop(arguments, None) or make(arguments)
        try:
            with blas_guard(self._blas_would_start_threads(n_rows)):
                yield trainer
        finally:
            self._idle.setdefault(arguments, trainer)

    def _blas_would_start_threads(self, n_rows):
        rows = min(n_rows, self._plan.batch_rows)
        return rows * self._weights_of_blas > _BLAS_THREADS_ABOVE

    def _check_params(self, params):
        check_vector("params", params, self.n_params, self.dtype)

    def _check_data(self, X, y, sample_weight, alpha):
        X = check_rows(X, self.layer_sizes, self.dtype)
        n = X.shape[0]
        if n == 0:
            raise ValueError("X has 0 rows: it takes at least 1.")
        check = CHECK_TARGET["squared_error" if callable(self.loss_name) else self.loss_name]
        y = check(y, n, self.layer_sizes[-1])
        if sample_weight is not None:
            sample_weight = check_sample_weight(sample_weight, n)
        return X, y, sample_weight, check_alpha(alpha)
