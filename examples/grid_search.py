"""A grid search over a pipeline: fastbp's classifier where scikit-learn's would stand.

Run ``python examples/grid_search.py``.
"""

from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import MLPClassifier


def main():
    X, y = load_breast_cancer(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

    pipeline = make_pipeline(
        StandardScaler(),
        MLPClassifier(learning_rate_init=0.003, max_iter=400, batch_size=64, random_state=0),
    )
    grid = {
        "mlpclassifier__hidden_layer_sizes": [(16,), (64,), (32, 32)],
        "mlpclassifier__alpha": [1e-4, 1e-1, 1.0],
    }
    search = GridSearchCV(pipeline, grid, cv=5).fit(X_train, y_train)

    results = search.cv_results_
    for params, mean, seconds in zip(
        results["params"], results["mean_test_score"], results["mean_fit_time"], strict=True
    ):
        sizes, alpha = params["mlpclassifier__hidden_layer_sizes"], params["mlpclassifier__alpha"]
        print(f"{sizes!s:9} alpha {alpha:<7} accuracy {mean:.3f}  {1e3 * seconds:4.0f} ms a fit")
    network = search.best_estimator_[-1]
    print(f"\nbest: hidden {network.hidden_layer_sizes}, alpha {network.alpha}")
    print(f"accuracy on {len(y_test)} rows kept aside: {search.score(X_test, y_test):.3f}")
    print(f"memory of its fit: {network.memory_plan_.total_bytes:,} bytes")


if __name__ == "__main__":
    main()
