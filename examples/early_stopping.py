"""
Early stopping on rows of your own
==================================

Rows of your own to validate on, in a pipeline: they are scaled as the training rows are. The first
fit only watches them; the second stops where their loss is best; the third where a metric of one's
choice is.
"""

import warnings

import matplotlib.pyplot as plt
import sklearn
from sklearn.datasets import load_breast_cancer
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier, TrainingCurveDisplay

warnings.simplefilter("ignore", ConvergenceWarning)  # of the fit that only watches
X, y = load_breast_cancer(return_X_y=True)
X, X_val, y, y_val = train_test_split(X, y, test_size=0.5, stratify=y, random_state=0)

# %%
# scikit-learn's metadata routing hands ``X_val`` and ``y_val`` on to the last step of the pipeline.

fits = {}
for name, settings in (
    ("watched only", dict(early_stopping=False)),
    ('scoring="loss"', dict(early_stopping=True, scoring="loss")),
    ('scoring="roc_auc"', dict(early_stopping=True, scoring="roc_auc")),
):
    clf = MLPClassifier((64, 64), batch_size=32, max_iter=100, random_state=0, **settings)
    with sklearn.config_context(enable_metadata_routing=True):
        clf.set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), clf, transform_input=["X_val"])
        fits[name] = pipeline.fit(X, y, X_val=X_val, y_val=y_val)[-1]
    print(
        f"{name:18} {clf.n_iter_:3} epochs, weights of epoch {clf.best_iter_:3}, "
        f"smallest validation loss {min(clf.validation_loss_curve_):.4f}"
    )

# %%
# The curves of each fit, and the epoch whose weights it kept:

figure, axes = plt.subplots(1, 3, figsize=(14, 5), layout="constrained")
for ax, (name, clf) in zip(axes, fits.items(), strict=True):
    display = TrainingCurveDisplay.from_estimator(clf, ax=ax)
    legend = display.score_ax_.get_legend()
    legend.set(loc="upper center", bbox_to_anchor=(0.5, -0.12))  # below the curves
    ax.set_title(name)
plt.show()
