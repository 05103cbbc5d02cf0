"""
A grid search over a pipeline
=============================

fastbp's classifier stands where scikit-learn's would: in a pipeline with a scaler, and in a search
over its width and its L2 penalty.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
pipeline = make_pipeline(
    StandardScaler(),
    MLPClassifier(learning_rate_init=0.003, max_iter=400, batch_size=64, random_state=0),
)

# %%
# Three shapes of the net and three penalties, five fits for each pair:

hidden, alphas = [(16,), (64,), (32, 32)], [1e-4, 1e-1, 1.0]
grid = {"mlpclassifier__hidden_layer_sizes": hidden, "mlpclassifier__alpha": alphas}
search = GridSearchCV(pipeline, grid, cv=5).fit(X_train, y_train)

results = search.cv_results_
for params, mean, seconds in zip(
    results["params"], results["mean_test_score"], results["mean_fit_time"], strict=True
):
    sizes, alpha = params["mlpclassifier__hidden_layer_sizes"], params["mlpclassifier__alpha"]
    print(f"{sizes!s:9} alpha {alpha:<7} accuracy {mean:.3f}  {1e3 * seconds:4.0f} ms a fit")

# %%
# The best pair, fitted again on all training rows:

network = search.best_estimator_[-1]
print(f"best: hidden {network.hidden_layer_sizes}, alpha {network.alpha}")
print(f"accuracy on {len(y_test)} rows kept aside: {search.score(X_test, y_test):.3f}")
print(f"memory of its fit: {network.memory_plan_.total_bytes:,} bytes")

# %%

scores = results["mean_test_score"].reshape(len(alphas), len(hidden))
figure, ax = plt.subplots(figsize=(6, 4.2), layout="constrained")
image = ax.imshow(scores, cmap="viridis")
middle = (scores.min() + scores.max()) / 2
for (row, column), score in np.ndenumerate(scores):
    color = "black" if score > middle else "white"
    ax.text(column, row, f"{score:.3f}", ha="center", va="center", color=color)
ax.set_xticks(range(len(hidden)), [str(sizes) for sizes in hidden])
ax.set_yticks(range(len(alphas)), alphas)
ax.set(xlabel="hidden_layer_sizes", ylabel="alpha", title="Mean accuracy of five splits")
figure.colorbar(image)
plt.show()
