"""Learning rates by the step: their values, and that each step of a fit uses its own."""

import pickle

import numpy as np
import pytest
from estimator_problems import X_REG, Y_REG, both, inputs, small, targets

import fastbp
from fastbp import MLPRegressor
from fastbp._schedules import factors


def test_ends_and_middle():
    for name, middle in (("cosine", 0.5), ("linear", 0.5)):
        found = factors(name, 0.0, 0, 101, 101)
        assert found[[0, 50, 100]] == pytest.approx([1, middle, 0], abs=1e-15)
        assert (np.diff(found) < 0).all()
    assert factors("constant", 0.0, 0, 5, 5) is None


def test_parts_of_a_schedule_are_the_schedule():
    for name in ("cosine", "linear", "one_cycle", lambda progress: 1 - progress**2):
        for warmup in (0.0, 0.25):
            whole = factors(name, warmup, 0, 60, 60)
            parts = [factors(name, warmup, first, 20, 60) for first in (0, 20, 40)]
            np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_warmup_rises_in_equal_steps_and_hands_over_the_whole_schedule():
    found = factors("linear", 0.1, 0, 100, 100)
    np.testing.assert_allclose(found[:10], np.arange(1, 11) / 10)
    np.testing.assert_allclose(found[10:], np.linspace(1, 0, 90), atol=1e-15)
    np.testing.assert_allclose(factors("constant", 0.5, 0, 4, 4), [0.5, 1, 1, 1])
    np.testing.assert_allclose(factors("constant", 0.07, 0, 9, 100)[5:], [6 / 7, 1, 1, 1])


def test_one_cycle_rises_and_falls():
    found = factors("one_cycle", 0.0, 0, 1000, 1000)
    assert found[0] == pytest.approx(1 / 25)
    assert found.argmax() == 299 and found.max() == pytest.approx(1)
    assert found[-1] == pytest.approx(1 / 25e4)
    assert factors("one_cycle", 0.5, 0, 1000, 1000).argmax() == 499


def test_a_function_gets_progress_from_0_to_1():
    seen = []
    factors(lambda p: seen.append(p) or p, 0.0, 0, 11, 11)
    np.testing.assert_allclose(seen[0], np.linspace(0, 1, 11))


@pytest.mark.parametrize(
    "function",
    [lambda p: p[:-1], lambda p: -p - 1, lambda p: np.nan * p, lambda p: "fast", lambda p: None],
)
def test_wrong_functions_are_named(function):
    before = small(MLPRegressor).fit(X_REG, Y_REG)
    est = before.set_params(learning_rate=function)
    with pytest.raises(ValueError, match=r"learning_rate=.*it takes a function from an array"):
        est.fit(X_REG, Y_REG)
    assert np.isfinite(est.predict(X_REG)).all()


@pytest.mark.parametrize("solver", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("warmup", [0.0, 0.3])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "linear", "one_cycle"])
def test_a_fit_takes_each_step_at_its_rate(schedule, warmup, solver):
    """The same steps by an optimizer whose rate is set by hand."""
    X, y = X_REG[:100], Y_REG[:100]
    settings = dict(dtype="float64", batch_size=30, shuffle=False, max_iter=3, random_state=0)
    est = MLPRegressor(
        hidden_layer_sizes=(12,),
        solver=solver,
        learning_rate=schedule,
        learning_rate_init=0.01,
        warmup=warmup,
        **settings,
    ).fit(X, y)
    net = fastbp.Network((6, 12, 1), dtype="float64", batch_size=30)
    params = net.init_params(0)
    optimizer = {"sgd": fastbp.SGD, "adam": fastbp.Adam, "adamw": fastbp.AdamW}[solver](net)
    rates = factors(schedule, warmup, 0, 12, 12)
    for step in range(12):
        optimizer.learning_rate = 0.01 * (1.0 if rates is None else rates[step])
        rows = slice(step % 4 * 30, step % 4 * 30 + 30)
        optimizer.step(params, X[rows], y[rows], alpha=est.alpha)
    np.testing.assert_array_equal(params, est._params.flat)


@both
@pytest.mark.parametrize(
    ("name", "value"),
    [("learning_rate", "cosine"), ("learning_rate", lambda p: p), ("warmup", 0.1)],
)
def test_partial_fit_knows_no_last_step(cls, name, value):
    est = small(cls, **{name: value})
    with pytest.raises(ValueError, match=f"partial_fit does not support {name}="):
        est.partial_fit(inputs(cls), targets(cls))
    assert not hasattr(est, "coefs_")


def test_the_last_step_has_the_last_rate_whatever_the_warm_up():
    assert factors("cosine", 0.3, 0, 2, 2)[-1] == 0
    assert factors("linear", 0.9, 0, 10, 10)[-1] == 0
    est = MLPRegressor(
        learning_rate="linear", batch_size=60, shuffle=False, max_iter=3, random_state=0
    )
    est.fit(X_REG, Y_REG, sample_weight=np.arange(120) >= 60)  # the first mini-batch has no weight
    assert est.learning_rates_[-1] == 0


def test_a_function_of_before_does_not_hinder_a_pickle():
    est = small(MLPRegressor, learning_rate=lambda p: 1 - p).fit(X_REG, Y_REG)
    est.set_params(learning_rate="constant")
    assert pickle.loads(pickle.dumps(est)).partial_fit(X_REG, Y_REG).t_ > 0
