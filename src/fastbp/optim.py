"""Optimizers for `Network`: updates of a parameter vector in place, by the estimators' engine.

The same mini-batches give the same bits as a fit of an estimator.
"""

from numbers import Real

import numpy as np

from . import _core
from ._input.arrays import check_vector
from ._params import zeros
from .network import Network

# Rows at most of a mini-batch that runs in several passes over the arena.
_MOST_ROWS = 1 << 40

# What a setting takes, and whether a number is that.
_TAKES = {
    "learning_rate": ("a finite number of 0 or more", lambda x: 0 <= x < np.inf),
    "momentum": ("a number from 0 to 1", lambda x: 0 <= x <= 1),
    "beta_1": ("a number of 0 or more below 1", lambda x: 0 <= x < 1),
    "beta_2": ("a number of 0 or more below 1", lambda x: 0 <= x < 1),
    "epsilon": ("a finite number above 0", lambda x: 0 < x < np.inf),
    "weight_decay": ("a finite number of 0 or more", lambda x: 0 <= x < np.inf),
    "max_grad_norm": ("None or a number above 0", lambda x: x > 0),
    "ema_decay": ("None or a number of 0 or more below 1", lambda x: 0 <= x < 1),
}
_FLAGS = ("nesterovs_momentum",)
_MAY_BE_NONE = ("max_grad_norm", "ema_decay")


def _checked(name, value):
    """A setting as the core takes it; ValueError if it is not one."""
    if name in _FLAGS:
        if not isinstance(value, (bool, np.bool_)):
            raise ValueError(f"{name}={value!r}: it takes True or False.")
        return bool(value)
    takes, fits = _TAKES[name]
    if value is None and name in _MAY_BE_NONE:
        return 0.0
    if not isinstance(value, Real) or isinstance(value, bool) or not fits(value):
        raise ValueError(f"{name}={value!r}: it takes {takes}.")
    return float(value)


class _Optimizer:
    """What all have: settings, which are attributes, vectors of the state, a count of updates."""

    _n_states: int
    _names: tuple  # of the settings

    def __init__(self, net, **settings):
        if not isinstance(net, Network):
            raise TypeError(f"net is of type {type(net).__name__}: it takes a fastbp.Network.")
        self.net = net
        vars(self).update(settings)
        self._names = tuple(settings)
        self._arguments()
        self.t = 0
        self.state = tuple(zeros(net.n_params, net.dtype) for _ in range(self._n_states))
        self.ema = None

    def _arguments(self):
        """The settings, as keyword arguments of ``Trainer.train_epoch``."""
        return {name: _checked(name, getattr(self, name)) for name in self._names}

    def __repr__(self):
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({self.net!r}, {settings})"

    def step(self, params, X, y, sample_weight=None, alpha=0.0):
        """One update of the parameters from one mini-batch.

        Nothing is allocated for it but an arena, once: one for mini-batches of at most
        ``net.batch_size`` rows, and one for larger ones, which run in several passes over it.

        Parameters
        ----------
        params : ndarray of shape (n_params,)
            Of the dtype of the network, contiguous and writeable; changed in place.
        X, y, sample_weight, alpha
            As in `Network.loss`.

        Returns
        -------
        float
            Loss of the mini-batch before the update, with the L2 penalty. If it is not finite, the
            update was not made.

        Raises
        ------
        ValueError, TypeError
            Naming the argument, what it got and what it takes.
        """
        net = self.net
        check_vector("params", params, net.n_params, net.dtype)
        if not params.flags.writeable:
            raise ValueError("params is read-only: it takes an array that can be written.")
        X, y, sample_weight, alpha = net._check_data(X, y, sample_weight, alpha)
        data, n = _core.Data(X, y, sample_weight), X.shape[0]
        arguments = self._arguments()
        if self.ema_decay is not None:
            arguments["ema"] = self._average_from(params)
        with net._trainer(n, **self._kind(n, arguments)) as trainer:
            try:
                loss, _, _ = trainer.train_epoch(
                    params,
                    self.state,
                    data,
                    None,
                    n,
                    alpha=alpha,
                    t=self.t,
                    ask=net._ask,
                    **arguments,
                )
            finally:
                self.t += trainer.updates
        return loss

    def _kind(self, n, arguments):
        """What the trainer of a step of n rows has other than that of the network."""
        kind = {"optimizer": self._core_name, "keep_grad": arguments["max_grad_norm"] > 0}
        if n > self.net.batch_size:
            kind |= {"batch_size": _MOST_ROWS, "max_rows": self.net.batch_size}
        return kind

    def _average_from(self, params):
        """The moving average, which begins as the first parameters that there are."""
        if self.ema is None:
            self.ema = zeros(params.size, params.dtype)
            np.copyto(self.ema, params)
        return self.ema


class SGD(_Optimizer):
    """Stochastic gradient descent with (Nesterov's) momentum.

    ``v = momentum * v - learning_rate * grad``, then ``params += v``, or with Nesterov's momentum
    ``params += momentum * v - learning_rate * grad`` [1]_.

    Parameters
    ----------
    net : Network
        Whose parameters are updated; its loss is what falls.
    learning_rate : float, default=1e-3
        Step size.
    momentum : float, default=0.9
        In [0, 1].
    nesterovs_momentum : bool, default=True
        Look ahead along the momentum; has no effect if that is 0.
    max_grad_norm : float or None, default=None
        A longer gradient is shortened to this length.
    ema_decay : float or None, default=None
        Keep a moving average of the parameters, in [0, 1).

    Attributes
    ----------
    t : int
        Updates done.
    state : tuple of ndarray of shape (n_params,)
        The velocity v.
    ema : ndarray of shape (n_params,) or None
        With `ema_decay`: ``ema = ema_decay * ema + (1 - ema_decay) * params`` after each update,
        from the parameters of before the first one.

    Notes
    -----
    All settings are attributes that may be changed between steps, as a schedule does. An optimizer
    can be pickled, and goes on from there to the bit.

    References
    ----------
    .. [1] I. Sutskever, J. Martens, G. Dahl and G. Hinton, "On the importance of initialization and
       momentum in deep learning", ICML 2013.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> net = fastbp.Network((1, 8, 1), activation="tanh")
    >>> params = net.init_params(random_state=0)
    >>> optimizer = fastbp.SGD(net, learning_rate=0.1)
    >>> X = np.linspace(-1, 1, 100, dtype=np.float32).reshape(-1, 1)
    >>> losses = [optimizer.step(params, X, X**2) for _ in range(200)]
    >>> bool(losses[-1] < 0.1 * losses[0])
    True
    """

    _n_states = 1

    def __init__(
        self,
        net,
        learning_rate=1e-3,
        momentum=0.9,
        nesterovs_momentum=True,
        *,
        max_grad_norm=None,
        ema_decay=None,
    ):
        super().__init__(
            net,
            learning_rate=learning_rate,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            max_grad_norm=max_grad_norm,
            ema_decay=ema_decay,
        )

    @property
    def _core_name(self):
        return "nesterov" if self.nesterovs_momentum and self.momentum > 0 else "sgd"

    def _arguments(self):
        arguments = super()._arguments()
        del arguments["nesterovs_momentum"]  # the rule is another one
        return arguments


class Adam(_Optimizer):
    """Adam, as the estimators have it.

    The method is that of [1]_. As in scikit-learn `epsilon` is added to the root of the second
    moment before its bias is corrected.

    Parameters
    ----------
    net : Network
        Whose parameters are updated; its loss is what falls.
    learning_rate : float, default=1e-3
        Step size.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the moment estimates, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.
    max_grad_norm : float or None, default=None
        A longer gradient is shortened to this length.
    ema_decay : float or None, default=None
        Keep a moving average of the parameters, in [0, 1).

    Attributes
    ----------
    t : int
        Updates done.
    state : tuple of ndarray of shape (n_params,)
        First and second moment.
    ema : ndarray of shape (n_params,) or None
        As in `SGD`.

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: a method for stochastic optimization", ICLR 2015.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> net = fastbp.Network((2, 8, 1), activation="tanh")
    >>> params = net.init_params(random_state=0)
    >>> optimizer = fastbp.Adam(net, learning_rate=0.01)
    >>> loss = optimizer.step(params, np.eye(2), [0, 1])
    >>> optimizer.t
    1
    """

    _n_states = 2
    _core_name = "adam"

    def __init__(
        self,
        net,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        *,
        max_grad_norm=None,
        ema_decay=None,
    ):
        super().__init__(
            net,
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            max_grad_norm=max_grad_norm,
            ema_decay=ema_decay,
        )


class AdamW(_Optimizer):
    """Adam with decoupled weight decay.

    ``W -= learning_rate * weight_decay * W`` [1]_ and an update of Adam; biases do not decay.
    `epsilon` is added to the corrected root of the second moment, as in the paper and in PyTorch.

    Parameters
    ----------
    net : Network
        Whose parameters are updated; its loss is what falls.
    learning_rate : float, default=1e-3
        Step size.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the moment estimates, in [0, 1).
    epsilon : float, default=1e-8
        Added to the denominator.
    weight_decay : float, default=0.01
        Decay of the weights, times the learning rate.
    max_grad_norm : float or None, default=None
        A longer gradient is shortened to this length.
    ema_decay : float or None, default=None
        Keep a moving average of the parameters, in [0, 1).

    Attributes
    ----------
    t : int
        Updates done.
    state : tuple of ndarray of shape (n_params,)
        First and second moment.
    ema : ndarray of shape (n_params,) or None
        As in `SGD`.

    References
    ----------
    .. [1] I. Loshchilov and F. Hutter, "Decoupled weight decay regularization", ICLR 2019,
       algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> net = fastbp.Network((2, 8, 1), activation="tanh")
    >>> params = net.init_params(random_state=0)
    >>> optimizer = fastbp.AdamW(net, weight_decay=0.1, max_grad_norm=1.0)
    >>> loss = optimizer.step(params, np.eye(2), [0, 1])
    """

    _n_states = 2
    _core_name = "adamw"

    def __init__(
        self,
        net,
        learning_rate=1e-3,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        weight_decay=0.01,
        *,
        max_grad_norm=None,
        ema_decay=None,
    ):
        super().__init__(
            net,
            learning_rate=learning_rate,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            ema_decay=ema_decay,
        )
