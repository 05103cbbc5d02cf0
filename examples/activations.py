"""
The eleven activations
======================

Their curves, and how well each learns to read digits. The hidden layers of a net may have one
activation, or each layer its own.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

import fastbp

NAMES = (
    *("identity", "logistic", "tanh", "relu", "leaky_relu", "elu"),
    *("selu", "gelu", "silu", "mish", "softplus"),
)

# %%
# A name for all hidden layers, or one for each: the last net has GELU, then tanh.

warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, random_state=0)
for names in [*((name,) for name in NAMES), ("gelu", "tanh")]:
    clf = fastbp.MLPClassifier((32,) * len(names), names, max_iter=20, batch_size=32)
    clf.set_params(learning_rate_init=0.005, random_state=0).fit(X_train, y_train)
    print(f"{' then '.join(names):14} accuracy {clf.score(X_test, y_test):.3f}")

# %%
# f and f' are drawn by a net that is nothing but one activation: its forward pass is f, its
# gradient by the input is f'.


def curves(name, x):
    """f and f' of an activation at the numbers x."""
    net = fastbp.Network((1, 1, 1), activation=name, dtype="float64")
    params = np.array([1.0, 1.0, 0.0, 0.0])  # two weights, then two biases
    f, _, slope = net.vjp(params, x[:, None], np.ones((len(x), 1)), input_grad=True)
    return f[:, 0], slope[:, 0]


x = np.linspace(-4, 4, 401)
figure, axes = plt.subplots(3, 4, sharex=True, sharey=True, figsize=(10, 7), layout="constrained")
for ax, name in zip(axes.flat, NAMES, strict=False):
    f, slope = curves(name, x)
    ax.plot(x, f, label="f(z)")
    ax.plot(x, slope, "--", label="f'(z)")
    ax.set_title(name)
    ax.grid(alpha=0.3)
ax.set(ylim=(-1.5, 3), xticks=range(-4, 5, 2))  # of all
axes[-1, -1].set_axis_off()
axes[-1, -1].legend(*ax.get_legend_handles_labels(), loc="center", fontsize=12)
plt.show()
