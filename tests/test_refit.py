"""Python threads that predict while the estimator is fitted again: the old net or the new one."""

import sys
import threading
import time

import numpy as np
import pytest
from scipy import sparse

from fastbp import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

SECONDS = 1.0
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 8))
# No two fits have a label, or a number of columns, in common.
LABELS = (
    np.array([0, 1]),
    np.array(["ten", "eleven", "twelve"]),
    np.arange(20, 25),
    np.array([7]),
)
MULTILABEL = RNG.integers(0, 2, (300, 4))
WIDTHS = ((5,), (40, 3), (9, 9, 9), ())


@pytest.fixture
def many_switches():
    """Python threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_beside(refit, calls):
    """Run `refit(i)` for i = 0, 1, ... in this thread and the calls in threads; their errors."""
    stop, errors = threading.Event(), []
    counts = [0] * len(calls)

    def go_on(i):
        try:
            while not stop.is_set():
                calls[i]()
                counts[i] += 1
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=go_on, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    end, n_fits = time.monotonic() + SECONDS, 0
    while time.monotonic() < end and not errors:
        refit(n_fits)
        n_fits += 1
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not errors, errors[0]
    assert n_fits >= 10 and min(counts) >= 10, (n_fits, counts)


def labels_of_one_fit(labels, n):
    if labels.ndim == 2:
        return labels.shape == (n, 4) and set(labels.ravel()) <= {0, 1}
    return len(labels) == n and any(set(labels) <= set(known.tolist()) for known in LABELS)


def sums_to_one(proba, n):
    if proba.shape[1] == 4:
        return len(proba) == n and ((proba >= 0) & (proba <= 1)).all()
    return proba.shape in [(n, len(known)) for known in LABELS] and np.allclose(proba.sum(1), 1)


def check(condition):
    assert condition


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("n", [3, 100])
def test_a_classifier_never_mixes_two_fits(n, many_switches):
    est = MLPClassifier(hidden_layer_sizes=(5,), max_iter=1, random_state=0)
    targets = [RNG.choice(known, 300) for known in LABELS] + [MULTILABEL]
    rows, thin = X[:n], sparse.csr_array(X[:n])

    def refit(i):
        est.set_params(hidden_layer_sizes=WIDTHS[i % len(WIDTHS)])
        est.fit(X[:50], targets[i % len(targets)][:50])

    def log_proba():
        found = np.exp(est.predict_log_proba(rows))
        assert sums_to_one(found, n), found[:3]

    refit(0)
    run_beside(
        refit,
        [
            lambda: check(labels_of_one_fit(est.predict(rows), n)),
            lambda: check(sums_to_one(est.predict_proba(rows), n)),
            lambda: check(labels_of_one_fit(est.predict(thin), n)),
            log_proba,
        ],
    )


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_regressor_never_mixes_two_fits(many_switches):
    est = MLPRegressor(max_iter=1, random_state=0, solver="lbfgs", alpha=0)

    def refit(i):
        est.set_params(hidden_layer_sizes=WIDTHS[i % len(WIDTHS)])
        est.fit(X[:50], X[:50, : 1 + i % 3].squeeze())

    def predict():
        found = est.predict(X[:9])
        assert found.shape in ((9,), (9, 2), (9, 3)) and np.isfinite(found).all()

    def hidden():
        layers = est.hidden_activations(X[:9])
        assert tuple(a.shape[1] for a in layers) in WIDTHS

    refit(0)
    run_beside(refit, [predict, hidden, predict])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_another_number_of_features_is_an_error_that_says_so(many_switches):
    est = MLPClassifier(hidden_layer_sizes=(5,), max_iter=1, random_state=0)
    seen = set()

    def refit(i):
        n_features = 8 - i % 2
        est.fit(X[:50, :n_features], RNG.choice(LABELS[i % 2], 50))

    def predict():
        for n_features, labels in ((8, LABELS[0]), (7, LABELS[1])):
            try:
                found = est.predict(X[:9, :n_features])
            except ValueError as error:
                assert "features" in str(error)
                seen.add("error")
            else:
                assert set(found) <= set(labels.tolist())
                seen.add("labels")

    refit(0)
    run_beside(refit, [predict, predict])
    assert seen == {"error", "labels"}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_predictions_beside_partial_fit(many_switches):
    est = MLPClassifier(hidden_layer_sizes=(20,), random_state=0)
    y = RNG.choice(LABELS[1], 300)

    def step(i):
        if i % 50 == 0:
            est.set_params(hidden_layer_sizes=WIDTHS[i // 50 % len(WIDTHS)]).fit(X, y)
        est.partial_fit(X[:32], y[:32])

    def proba():
        assert sums_to_one(est.predict_proba(X[:9]), 9)

    step(0)
    run_beside(step, [proba, proba])
