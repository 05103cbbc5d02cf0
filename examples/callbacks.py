"""
Callbacks in a grid search
==========================

scikit-learn's callbacks work on fastbp's estimators: here they note a score of every epoch of every
fit of a search. They came with scikit-learn 1.9.
"""

import warnings
from importlib.util import find_spec

import matplotlib.pyplot as plt
import numpy as np
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPRegressor

# %%
# The monitor is set on the estimator, wherever that stands: here in a pipeline in a search. With
# the package rich there is a progress bar of the whole search, too.

warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
X, y = load_diabetes(return_X_y=True)
y = (y - y.mean()) / y.std()
monitor = ScoringMonitor(scoring="r2")
reg = MLPRegressor(max_iter=25, random_state=0).set_callbacks(monitor)
rates, n_splits = [0.001, 0.003, 0.01], 3
search = GridSearchCV(
    make_pipeline(StandardScaler(), reg),
    {"mlpregressor__learning_rate_init": rates},
    cv=n_splits,
    refit=False,
)
if find_spec("rich"):
    search.set_callbacks(ProgressBar())
_ = search.fit(X, y)

# %%
# Each score comes with the path to its epoch: search, candidates, fit, step of the pipeline, epoch.

rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
print(f"{len(rows)} scores: {len(rates)} rates x {n_splits} splits x 25 epochs")
scores = np.empty((len(rates), n_splits, 25))
for row in rows:
    fit, epoch = row["task_id_path"][2], row["task_id"]
    scores[fit // n_splits, fit % n_splits, epoch] = row["r2"]
curves = scores.mean(axis=1)
for rate, curve in zip(rates, curves, strict=True):
    shown = ", ".join(f"{score:.2f}" for score in curve[4::5])
    print(f"learning_rate_init={rate:<5}  training R2 after 5, 10, ... epochs: {shown}")

# %%
# A line for each fit, and a strong one for the mean over the splits.

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
for rate, each, curve in zip(rates, scores, curves, strict=True):
    (line,) = ax.plot(range(1, 26), curve, label=f"learning_rate_init={rate}")
    ax.plot(range(1, 26), each.T, color=line.get_color(), alpha=0.3)
ax.set(xlabel="epoch", ylabel="training R²", title="Every fit of a grid search")
ax.legend()
plt.show()
