"""BLAS has one thread while a fit runs and is left as it was found."""

import threading
import time

import pytest
from thread_problems import (
    Watch,
    blas_threads,
    classification,
    classifier,
    run_at_once,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def two_blas_threads():
    """BLAS as on a machine with two cores; what it had before comes back afterwards."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(2, user_api="blas"):
        if 2 not in blas_threads().values():
            pytest.skip("BLAS has one thread")
        yield blas_threads()


def test_blas_has_one_thread_during_a_fit(two_blas_threads):
    X, y = classification()
    with Watch(blas_threads) as watch:
        classifier(2, max_iter=100).fit(X, y)
    assert {name: 1 for name in two_blas_threads} in watch.seen
    assert blas_threads() == two_blas_threads


def test_blas_has_one_thread_during_a_fit_in_any_python_thread(two_blas_threads):
    X, y = classification()
    classifier(2).fit(X, y)
    for _ in range(2):
        with Watch(blas_threads) as watch:
            run_at_once([lambda: classifier(2, max_iter=100).fit(X, y)])
        assert {name: 1 for name in two_blas_threads} in watch.seen
        assert blas_threads() == two_blas_threads


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_blas_is_restored_after_a_fit(two_blas_threads, solver):
    X, y = classification()
    est = classifier(2, solver=solver).fit(X, y)
    assert blas_threads() == two_blas_threads
    est.predict_proba(X)
    assert blas_threads() == two_blas_threads


def test_blas_is_restored_after_a_fit_that_fails(two_blas_threads):
    X, y = classification()
    with pytest.raises(ValueError, match="non-finite"):
        classifier(2, solver="sgd", learning_rate_init=1e30).fit(X, y)
    assert blas_threads() == two_blas_threads


def test_blas_is_restored_when_the_last_of_several_fits_ends(two_blas_threads):
    X, y = classification()
    after_the_short_one = []
    long_fit = threading.Thread(target=classifier(1, max_iter=400).fit, args=(X, y))
    long_fit.start()
    while set(blas_threads().values()) != {1} and long_fit.is_alive():
        time.sleep(0.001)
    classifier(2).fit(X, y)
    after_the_short_one = blas_threads()
    assert long_fit.is_alive(), "the long fit was too short"
    assert set(after_the_short_one.values()) == {1}
    long_fit.join()
    assert blas_threads() == two_blas_threads


def test_blas_keeps_what_the_user_sets_between_fits(two_blas_threads):
    from threadpoolctl import threadpool_limits

    X, y = classification()
    classifier(2).fit(X, y)
    with threadpool_limits(1, user_api="blas"):
        classifier(2).fit(X, y)
        assert set(blas_threads().values()) == {1}
    classifier(2).fit(X, y)
    assert blas_threads() == two_blas_threads
