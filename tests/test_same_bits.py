"""The same bits for any number of threads, cores and cuts of the work."""

import os

import numpy as np
import pytest
import reference
from conftest import covering, make_params
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
from fastbp import _core
from fastbp._threads import single_threaded_blas

TEAMS = (1, 2, 3, 4, 8)

# Every shape with an activation that the products apply and one that they do not; every activation
# with several outputs and with one, whose kernels are others.
EACH = [
    (case, activation)
    for case in CASES
    for activation in _core.ACTIVATIONS
    if activation in ("relu", "tanh") or case in ("uneven", "sciml")
]

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_same_bits(case, dtype, activation, csr=False, optimizer="adam", teams=TEAMS, **more):
    X, y = make_rows(case, dtype, csr)
    data = _core.Data(X, y)
    found = {}
    for n_threads in teams:
        trainer = make_trainer(case, activation, dtype, n_threads, optimizer, **more)
        assert (trainer.n_threads > 1) == (n_threads > 1), "the case is too small for a team"
        with single_threaded_blas():
            found[n_threads] = train(trainer, case, data, X.shape[0], optimizer, epochs=3)
    assert len({bits for bits, _ in found.values()}) == 1, found
    assert len({tuple(losses) for _, losses in found.values()}) == 1, found


@covering(2, each=EACH, dtype=("float32", "float64"), dense=("packed", "blas"))
def test_weights_are_the_same_bits(each, dtype, dense, monkeypatch):
    case, activation = each
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
@pytest.mark.parametrize("optimizer", reference.OPTIMIZERS)
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


@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize(
    "view",
    ["as it is", "every other row", "backwards", "some columns", "transposed", "other precision"],
)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_the_same_bits_wherever_they_are_read(dtype, view, n_threads, dense, monkeypatch):
    """Long rows are read where they are if nothing has to be converted, otherwise gathered.

    Rows copied in their order are neither.
    """
    monkeypatch.setenv("FASTBP_DENSE", dense)
    sizes, batch, rng = (300, 64, 5), 150, np.random.default_rng(3)
    big = rng.normal(size=(800, 420)).astype(dtype)
    other = "float64" if dtype == "float32" else "float32"
    X = {
        "as it is": np.ascontiguousarray(big[:400, :300]),
        "every other row": big[::2, :300],
        "backwards": big[399::-1, 7:307],
        "some columns": big[:400, 111:411],
        "transposed": np.ascontiguousarray(big[:400, :300].T).T,
        "other precision": np.repeat(big[:400, :300].astype(other), 2, axis=1)[:, ::2],
    }[view]
    y = rng.integers(0, 5, 400).astype(np.int32)
    order = rng.permutation(400)[:380]
    found = []
    for data, rows in (
        (_core.Data(X, y), order),
        (_core.Data(np.array(X[order], dtype, order="C"), y[order]), None),
    ):
        trainer = _core.Trainer(sizes, ("relu",), "log_loss", dtype, batch, "adam", n_threads)
        assert trainer.n_threads == n_threads
        params = make_params(sizes, np.random.default_rng(4), dtype)
        state = np.zeros_like(params), np.zeros_like(params)
        with single_threaded_blas():
            loss, steps, _ = trainer.train_epoch(
                params, state, data, rows, batch, alpha=1e-3, learning_rate=1e-3
            )
        assert steps == 3
        found.append(digest([loss], params, *state))
    assert found[0] == found[1]


@pytest.mark.parametrize("dense", ["packed", "blas"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_outputs_of_uneven_layers_are_the_same_bits(dtype, dense, monkeypatch):
    """Forward only, layers share memory: rows of one thread must not lie where another's are."""
    monkeypatch.setenv("FASTBP_DENSE", dense)
    sizes, rng = (200, 300, 17, 900, 30, 5), np.random.default_rng(5)
    X = rng.normal(size=(300, 200)).astype(dtype)
    params = make_params(sizes, rng, dtype)
    found = set()
    for n_threads in (1, 2, 3, 7) * 5:
        net = fastbp.Network(sizes, dtype=dtype, batch_size=300, n_threads=n_threads)
        found.add(digest(net.forward(params, X)))
    assert len(found) == 1


@pytest.mark.parametrize("rows", [750, 612, 512, 200])
def test_threads_of_a_forward_pass_agree_on_where_the_rows_lie(rows):
    """Threads may be in a whole pass and in the short last one at once, in the same buffer."""
    layer_sizes, rng = (1100, 32, 4), np.random.default_rng(7)
    X = rng.normal(size=(rows, 1100)).astype(np.float32)
    order = rng.permutation(rows)
    params = make_params(layer_sizes, rng, "float32")
    outputs = [np.empty((rows, 4), np.float32) for _ in range(2)]
    for out, n_threads, times in zip(outputs, (1, 3), (1, 400), strict=True):
        trainer = _core.Trainer(
            layer_sizes,
            ("relu",),
            "squared_error",
            "float32",
            256,
            n_threads=n_threads,
            forward_only=True,
        )
        for _ in range(times):
            trainer.forward(params, _core.Data(X), out, order=order)
            np.testing.assert_array_equal(out, outputs[0])


def test_losses_of_many_passes_are_the_same_bits():
    """A thread that sums the losses of a pass late must not find those of the next one."""
    sizes, rng = (32, 64, 64, 1), np.random.default_rng(8)
    X, y = rng.normal(size=(6400, 32)), rng.normal(size=(6400, 1))
    params = make_params(sizes, rng)
    found = set()
    net = sizes, ("relu", "relu"), "squared_error", "float64"
    cap = _core.plan(*net, 640, "none", 8)["arena_bytes"]
    for n_threads in (1, 2, 4, 8):
        trainer = _core.Trainer(*net, 6400, "none", n_threads, cap)
        assert trainer.batch_rows < 800 and trainer.n_threads == n_threads
        found |= {trainer.loss(params, _core.Data(X, y)) for _ in range(50)}
    assert len(found) == 1
