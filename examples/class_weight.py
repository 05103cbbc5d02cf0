"""
Rare classes
============

``class_weight="balanced"`` makes all classes count the same. Nine rows in ten are of class 0 here:
without weights the net prefers it where it is in doubt, and misses most of the others.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_classification
from sklearn.metrics import balanced_accuracy_score, confusion_matrix

from fastbp import MLPClassifier

X, y = make_classification(
    6000, n_informative=8, n_classes=3, weights=[0.9, 0.07], class_sep=1.3, random_state=0
)
train, test = slice(3000), slice(3000, None)
print(f"rows of each class: {np.bincount(y[train])}")

# %%
# No weights, balanced ones, and weights of your own: the better the rare classes are found, the
# more rows of the common one are taken for them.

shares = {}
for weight in (None, "balanced", {0: 1, 1: 3, 2: 3}):
    clf = MLPClassifier((50,), class_weight=weight, early_stopping=True)
    clf.set_params(scoring="loss", learning_rate_init=0.005, max_iter=500, random_state=0)
    predicted = clf.fit(X[train], y[train]).predict(X[test])
    shares[str(weight)] = confusion_matrix(y[test], predicted, normalize="true")
    print(
        f"class_weight={weight!s:18} accuracy {np.mean(predicted == y[test]):.3f}, "
        f"mean recall of the classes {balanced_accuracy_score(y[test], predicted):.3f}"
    )

# %%
# What becomes of the rows of each class:

figure, axes = plt.subplots(1, 3, sharey=True, figsize=(10, 3.8), layout="constrained")
axes[0].set_ylabel("true class")
for ax, (weight, table) in zip(axes, shares.items(), strict=True):
    ax.imshow(table, cmap="Blues", vmin=0, vmax=1)
    for (row, column), share in np.ndenumerate(table):
        color = "white" if share > 0.5 else "black"
        ax.text(column, row, f"{share:.2f}", ha="center", va="center", color=color)
    ax.set(title=f"class_weight={weight}", xlabel="predicted class")
    ax.set_xticks(range(3))
    ax.set_yticks(range(3))
plt.show()
