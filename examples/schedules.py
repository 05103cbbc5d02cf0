"""
Schedules of the learning rate
==============================

With AdamW, warm-up, a moving average and gradient clipping. The rate changes from step to step;
``learning_rates_`` has that of the last step of each epoch.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp import MLPClassifier


def waves(progress):
    """A schedule of your own: three falls of a cosine, each from half of the height before."""
    wave = np.minimum(np.floor(3 * progress), 2)
    return 0.5**wave * (1 + np.cos(np.pi * (3 * progress - wave))) / 2


SCHEDULES = {
    "constant": dict(),
    "constant, ema_decay=0.98": dict(ema_decay=0.98),
    "linear, warmup=0.1": dict(learning_rate="linear", warmup=0.1),
    "cosine": dict(learning_rate="cosine"),
    "one_cycle": dict(learning_rate="one_cycle"),
    "waves, a function": dict(learning_rate=waves),
}

# %%
# Without ``n_iter_no_change=numpy.inf`` a fit whose loss stalls would stop before the end of its
# schedule.

warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
X, y = load_digits(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X / 16, y, test_size=0.4, random_state=0)
settings = dict(hidden_layer_sizes=(64,), solver="adamw", weight_decay=0.05, alpha=0)
settings |= dict(max_grad_norm=1.0, learning_rate_init=0.02, batch_size=32, max_iter=30)
settings |= dict(n_iter_no_change=np.inf, random_state=0)

fits = {}
for name, schedule in SCHEDULES.items():
    clf = MLPClassifier(**settings, **schedule)
    fits[name] = clf.fit(X_train, y_train, X_val=X_val, y_val=y_val)
    loss, score = clf.validation_loss_curve_[-1], clf.validation_scores_[-1]
    print(f"{name:25} last validation loss {loss:.4f}, accuracy {score:.3f}")

# %%

figure, axes = plt.subplots(2, 1, sharex=True, figsize=(8, 7), layout="constrained")
for name, clf in fits.items():
    epochs = clf.history_["iteration"]
    axes[0].plot(epochs, clf.learning_rates_, label=name)
    axes[1].semilogy(epochs, clf.validation_loss_curve_, label=name)
axes[0].set(ylabel="learning rate")
axes[1].set(xlabel="epoch", ylabel="validation loss")
axes[1].legend()
plt.show()
