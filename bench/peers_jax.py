"""JAX as a contender: one jitted call per epoch, a ``lax.scan`` over its mini-batches.

That is the fastest form that JAX has on the CPU: no Python between steps, buffers donated. XLA
takes its number of threads from the cores that the process may use.
"""

import math
from functools import partial

import numpy as np
from cases import LEARNING_RATE
from peers import BETA_1, BETA_2, EPSILON, Contender


class Jax(Contender):
    """Plain functions of (W, b) pairs."""

    name, title, modules, against = "jax", "JAX", ("jax", "jaxlib"), "fastbp"
    kinds = ("train", "gradient", "predict")

    def build(self):
        import jax
        import jax.numpy as jnp

        if self.dtype == "float64":
            jax.config.update("jax_enable_x64", True)
        case = self.case
        self.inputs, self.target = jnp.asarray(self.X), jnp.asarray(self.y)
        activation = {"relu": jax.nn.relu, "tanh": jnp.tanh}[case.activation]

        def scores(params, x):
            for W, b in params[:-1]:
                x = activation(x @ W + b)
            W, b = params[-1]
            return x @ W + b

        def loss_of(params, x, y):
            z = scores(params, x)
            if case.loss == "squared_error":
                return 0.5 * jnp.sum((z - y) ** 2) / len(y)
            # One-hot rows: selecting by index would make a slow scatter of the gradient.
            picked = jnp.sum(z * jax.nn.one_hot(y, z.shape[1], dtype=z.dtype), axis=1)
            return jnp.mean(jax.nn.logsumexp(z, axis=1) - picked)

        def step(X, Y, carry, rows):
            params, m, v, t = carry
            x, y = (a.at[rows].get(mode="promise_in_bounds") for a in (X, Y))
            loss, grad = jax.value_and_grad(loss_of)(params, x, y)
            t = t + 1
            # 1 - beta**t, without its cancellation in float32
            bias_1, bias_2 = (-jnp.expm1(t * math.log(beta)) for beta in (BETA_1, BETA_2))
            rate = LEARNING_RATE * jnp.sqrt(bias_2) / bias_1
            m = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, m, grad)
            v = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g * g, v, grad)
            params = jax.tree.map(
                lambda p, m, v: p - rate * m / (jnp.sqrt(v) + EPSILON), params, m, v
            )
            return (params, m, v, t), loss

        def epoch(carry, X, Y, order):
            carry, losses = jax.lax.scan(partial(step, X, Y), carry, order)
            return carry, jnp.mean(losses)

        self.epoch = jax.jit(epoch, donate_argnums=0)
        self.gradient = jax.jit(jax.value_and_grad(loss_of))
        self.predict = jax.jit(lambda params, x: jax.nn.softmax(scores(params, x), axis=1))
        shape = (-1, case.batch)
        identity = np.arange(case.rows, dtype=np.int32)
        self.straight = jnp.asarray(identity.reshape(shape)) if case.kind == "train" else None
        self.shuffled = [jnp.asarray(o.astype(np.int32).reshape(shape)) for o in self.orders]

    def load(self, coefs, intercepts):
        import jax
        import jax.numpy as jnp

        pairs = zip(coefs, intercepts, strict=True)
        params = [(jnp.array(W), jnp.array(b)) for W, b in pairs]
        zeros = [jax.tree.map(jnp.zeros_like, params) for _ in range(2)]
        self.carry = (params, *zeros, jnp.zeros((), self.dtype))
        jax.block_until_ready(self.carry)

    def run(self, repeats, shuffle=True):
        import jax

        if self.case.kind == "predict":
            for _ in range(repeats):
                self.output = np.asarray(self.predict(self.carry[0], self.X))
            return None
        for i in range(repeats):
            if self.case.kind == "gradient":
                self.result = self.gradient(self.carry[0], self.inputs, self.target)
                jax.block_until_ready(self.result)
            else:
                order = self.shuffled[i % len(self.shuffled)] if shuffle else self.straight
                self.carry, loss = self.epoch(self.carry, self.inputs, self.target, order)
        return None if self.case.kind == "gradient" else float(jax.block_until_ready(loss))

    def weights(self):
        params = self.carry[0]
        return [np.asarray(W) for W, _ in params], [np.asarray(b) for _, b in params]

    def outcome(self):
        import jax

        if self.case.kind == "predict":
            return [float(np.square(self.output).sum())]
        if self.case.kind == "gradient":
            loss, grad = self.result
            return [float(loss), sum(float((g * g).sum()) for g in jax.tree.leaves(grad))]
        return None
