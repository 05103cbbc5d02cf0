"""
Dropout against learning by heart
=================================

A wide net, few rows, and labels of which some are wrong. Hidden units are left out at random in
each step of training, never in a prediction.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastbp import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
X, y = load_digits(return_X_y=True)
X_train, X_val, y_train, y_val = train_test_split(X / 16, y, train_size=500, random_state=0)
rng = np.random.default_rng(0)
y_train = np.where(rng.random(500) < 0.2, rng.integers(10, size=500), y_train)

# %%
# The same probability for all hidden layers, or one for each, and one for the numbers of X. The
# validation rows are watched, no more: without ``early_stopping`` nothing follows from them.

fits = {}
for name, dropout in (
    ("no dropout", dict(dropout=0.0)),
    ("dropout=0.5", dict(dropout=0.5)),
    ("dropout=[0.3, 0.6], input_dropout=0.1", dict(dropout=[0.3, 0.6], input_dropout=0.1)),
):
    clf = MLPClassifier((128, 128), batch_size=50, max_iter=100, random_state=0, **dropout)
    fits[name] = clf.fit(X_train, y_train, X_val=X_val, y_val=y_val)
    loss, score = clf.validation_loss_curve_[-1], clf.validation_scores_[-1]
    print(f"{name:38} validation loss {loss:.2f}, accuracy {score:.3f}")

# %%

figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained")
for name, clf in fits.items():
    (line,) = axes[0].plot(clf.validation_loss_curve_, label=name)
    axes[0].plot(clf.loss_curve_, ":", color=line.get_color())
    axes[1].plot(clf.validation_scores_, label=name)
axes[0].set(xlabel="epoch", ylabel="loss", title="validation loss (dotted: training)")
axes[1].set(xlabel="epoch", ylabel="accuracy", title="validation accuracy")
axes[1].legend()
plt.show()
