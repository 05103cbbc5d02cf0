"""scikit-learn's checks of estimators, on those of tables."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import TabularClassifier, TabularRegressor

SMALL = {
    "hidden_layer_sizes": (24,),
    "max_iter": 30,
    "batch_size": 16,
    "n_bins": 16,
    "n_threads": 1,
}

# Checks that these estimators cannot pass, and why.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "mini-batches of rows that stand twice are "
    "not those of rows of weight 2"
}


@parametrize_with_checks(
    [
        TabularClassifier(**SMALL),
        TabularRegressor(**SMALL, n_estimators=2, early_stopping=False, dtype="float64"),
    ],
    expected_failed_checks=lambda estimator: EXPECTED,
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_estimator_checks(estimator, check):
    check(estimator)
