"""The same bits for any number of threads, cores and cuts of the work."""

import os

import pytest
from thread_problems import (
    CASES,
    classification,
    classifier,
    digest,
    make_rows,
    make_trainer,
    train,
)

import fastbp
from fastbp import _core, _reference
from fastbp._threads import single_threaded_blas

TEAMS = (1, 2, 3, 4, 8)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_same_bits(case, dtype, activation, csr=False, optimizer="adam", teams=TEAMS, **more):
    X, y = make_rows(case, dtype, csr)
    data = _core.Data(X, y)
    found = {}
    for n_threads in teams:
        trainer = make_trainer(case, activation, dtype, n_threads, optimizer, **more)
        assert (trainer.n_threads > 1) == (n_threads > 1), "the case is too small for a team"
        with single_threaded_blas():
            found[n_threads] = train(trainer, case, data, X.shape[0], optimizer)
    assert len({bits for bits, _ in found.values()}) == 1, found
    assert len({tuple(losses) for _, losses in found.values()}) == 1, found


@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("case", CASES)
def test_weights_are_the_same_bits(case, activation, dtype, dense, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    assert make_trainer(case, activation, dtype, 1).plan()["dense"][0] == dense
    assert_same_bits(case, dtype, activation)


@pytest.mark.parametrize("sparse", [True, False], ids=["non-zeros", "gathered"])
@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["mnist100", "tabular", "uneven"])
def test_weights_from_csr_rows_are_the_same_bits(case, dtype, dense, sparse, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    assert_same_bits(case, dtype, "relu", csr=True, sparse=sparse)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", _core.ACTIVATIONS)
@pytest.mark.parametrize("level", _core.cpu_levels()[1:])
def test_weights_are_the_same_bits_at_every_level(level, activation, dtype, monkeypatch):
    levels = _core.cpu_levels()
    disabled = [os.environ.get("FASTBP_DISABLE_CPU", ""), *levels[: levels.index(level)]]
    monkeypatch.setenv("FASTBP_DISABLE_CPU", ",".join(disabled))
    monkeypatch.setenv("FASTBP_DENSE", "packed")
    assert _core.cpu_level() == level
    assert_same_bits("uneven", dtype, activation)


@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("optimizer", _reference.OPTIMIZERS)
def test_weights_are_the_same_bits_by_every_optimizer(optimizer, dense, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", dense)
    assert_same_bits("tabular", "float32", "tanh", optimizer=optimizer)


@pytest.mark.parametrize("case", ["tabular", "wide"])
def test_weights_of_micro_batches_are_the_same_bits(case):
    cap = make_trainer(case, "relu", "float32", 1).plan()["arena_bytes"] * 2 // 3
    assert_same_bits(case, "float32", "relu", max_memory=cap)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", ["tabular", "wide", "uneven"])
def test_gradients_and_outputs_are_the_same_bits(case, dtype):
    sizes, batch, n, loss = CASES[case]
    X, y = make_rows(case, dtype)
    found = {}
    for n_threads in TEAMS:
        net = fastbp.Network(
            sizes, "tanh", loss=loss, dtype=dtype, batch_size=batch, n_threads=n_threads
        )
        params = net.init_params(0)
        value, grad = net.value_and_grad(params, X, y, alpha=0.1)
        found[n_threads] = digest([value], grad, net.forward(params, X))
    assert len(set(found.values())) == 1, found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fits_and_predictions_are_the_same_bits(dtype):
    X, y = classification()
    found = {}
    for n_threads in TEAMS:
        est = classifier(n_threads, dtype=dtype, activation="logistic").fit(X, y)
        assert (est.memory_plan_.n_threads > 1) == (n_threads > 1)
        found[n_threads] = digest(*est.coefs_, *est.intercepts_, est.predict_proba(X))
    assert len(set(found.values())) == 1, found
