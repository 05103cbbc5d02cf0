"""
Label smoothing
===============

A net that is less sure of itself where it has no reason to be. One label in five is wrong here. A
net that trains long learns them by heart, and is surer than it is right. Smoothing pulls its
confidence down; too much of it makes the net less sure than it could be.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import calibration_curve
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

from fastbp import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
X, y = load_digits(return_X_y=True)
rng = np.random.default_rng(0)
y = np.where(rng.random(len(y)) < 0.2, rng.integers(10, size=len(y)), y)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.5, random_state=0)

# %%
# Confidence is the largest of a row's probabilities. It should be the share of rows that are right.

curves = {}
for smoothing in (0.0, 0.1, 0.3):
    clf = MLPClassifier((32,), label_smoothing=smoothing, batch_size=32)
    clf.set_params(learning_rate_init=0.005, max_iter=100, random_state=0)
    proba = clf.fit(X_train, y_train).predict_proba(X_test)
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y_test
    curves[smoothing] = calibration_curve(right, confidence, n_bins=6, strategy="quantile")
    print(
        f"label_smoothing={smoothing}: accuracy {right.mean():.3f}, mean confidence "
        f"{confidence.mean():.3f}, log loss {log_loss(y_test, proba):.3f}"
    )

# %%

figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.plot([0, 1], [0, 1], "k--", label="as sure as it should be")
for smoothing, (share, sure) in curves.items():
    ax.plot(sure, share, "o-", label=f"label_smoothing={smoothing}")
ax.set(xlabel="confidence", ylabel="share of right predictions", title="Test rows")
ax.legend()
plt.show()
