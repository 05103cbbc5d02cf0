"""`Network`: its interface, its views, awkward arrays, bad input, shared use."""

import copy
import pickle
import threading

import numpy as np
import pytest
import reference
from conftest import TOLERANCE, core_name, make_targets, n_outputs_of, relative_error
from scipy import sparse

import fastbp
from fastbp import _core

# ---- interface ----


def test_attributes_tell_what_was_asked_for():
    net = fastbp.Network([4, 8, 6, 2], ["relu", "tanh"], "poisson", np.float64, batch_size=50)
    assert net.layer_sizes == (4, 8, 6, 2)
    assert net.activations == ("relu", "tanh")
    assert net.dtype == np.float64 and net.n_outputs == 2 and net.batch_size == 50
    assert net.n_params == 4 * 8 + 8 * 6 + 6 * 2 + 8 + 6 + 2
    assert isinstance(net.memory_plan, fastbp.MemoryPlan)
    assert repr(net).startswith("Network((4, 8, 6, 2), activation=['relu', 'tanh']")


def test_views_are_zero_copy_and_in_order(net):
    params = np.arange(net.n_params, dtype=float)
    coefs, intercepts = net.views(params)
    assert [W.shape for W in coefs] == [(12, 9), (9, 5), (5, 3)]
    assert [b.shape for b in intercepts] == [(9,), (5,), (3,)]
    np.testing.assert_array_equal(
        np.concatenate([v.ravel() for v in coefs + intercepts]), np.arange(net.n_params)
    )
    assert all(np.shares_memory(v, params) for v in coefs + intercepts)
    coefs[1][2, 3] = -1
    assert params[12 * 9 + 2 * 5 + 3] == -1


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_parameters_are_those_of_scikit_learn(activation, dtype):
    from sklearn.neural_network import MLPRegressor

    X, y = np.zeros((2, 7), dtype), np.zeros((2, 3), dtype)
    # A learning rate of this size moves no parameter.
    peer = MLPRegressor(hidden_layer_sizes=(5, 4), activation=activation, random_state=11)
    peer.set_params(max_iter=1, solver="sgd", learning_rate_init=1e-300, alpha=0).fit(X, y)
    net = fastbp.Network((7, 5, 4, 3), activation, dtype=dtype)
    coefs, intercepts = net.views(net.init_params(random_state=11))
    expected = peer.coefs_ + peer.intercepts_
    for ours, theirs in zip(coefs + intercepts, expected, strict=True):
        assert ours.dtype == theirs.dtype == dtype
        np.testing.assert_array_equal(ours, theirs)


def test_out_takes_the_gradient(net, data):
    X, y, w = data
    params = net.init_params(0)
    out = np.full(net.n_params, np.nan)
    value, grad = net.value_and_grad(params, X, y, w, out=out)
    assert grad is out
    expected, fresh = net.value_and_grad(params, X, y, w)
    assert value == expected
    np.testing.assert_array_equal(out, fresh)


def test_inputs_are_left_alone(net, data):
    X, y, w = data
    params = net.init_params(0)
    before = [a.copy() for a in (params, X, y, w)]
    net.value_and_grad(params, X, y, w, 0.1)
    net.loss(params, X, y, w, 0.1)
    net.forward(params, X)
    for array, copied in zip((params, X, y, w), before, strict=True):
        np.testing.assert_array_equal(array, copied)


def test_a_copy_computes_the_same(net, data):
    X, y, _ = data
    params = net.init_params(0)
    for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert other.layer_sizes == net.layer_sizes
        assert other.loss(params, X, y) == net.loss(params, X, y)


@pytest.mark.parametrize("loss", _core.LOSSES)
@pytest.mark.parametrize("n_outputs", [1, 4])
def test_forward_is_after_the_output_activation(loss, n_outputs):
    n_outputs = n_outputs_of(loss, n_outputs)
    net = fastbp.Network((6, n_outputs), loss=loss, dtype="float64", batch_size=8)
    params = net.init_params(0)
    X = np.random.default_rng(0).normal(size=(21, 6))
    output = net.forward(params, X)
    name = core_name(loss, n_outputs)
    expected = reference.forward(params, (6, n_outputs), (), name, X)
    assert relative_error(output, expected) <= TOLERANCE["twin", "float64"]
    if loss == "log_loss" and n_outputs > 1:
        np.testing.assert_allclose(output.sum(axis=1), 1, rtol=1e-14)


def test_forward_of_no_rows_is_empty(net):
    assert net.forward(net.init_params(0), np.empty((0, 12))).shape == (0, 3)


def test_one_hot_rows_equal_class_indices():
    net = fastbp.Network((5, 7, 4), loss="log_loss", dtype="float64")
    rng = np.random.default_rng(0)
    params, X, y = net.init_params(0), rng.normal(size=(30, 5)), rng.integers(0, 4, 30)
    value, grad = net.value_and_grad(params, X, y)
    for same in (np.eye(4)[y], np.eye(4, dtype=bool)[y], np.eye(4, dtype="float32")[y]):
        other, other_grad = net.value_and_grad(params, X, same)
        assert other == pytest.approx(value, rel=1e-14)
        assert relative_error(other_grad, grad) <= TOLERANCE["twin", "float64"]


@pytest.mark.parametrize("kind", [np.int8, np.uint8, np.int64, np.uint64, bool])
def test_class_indices_of_any_integer_type(kind):
    net = fastbp.Network((5, 2), loss="log_loss", dtype="float64")
    y = np.array([0, 1, 1, 0])
    params, X = net.init_params(0), np.random.default_rng(0).normal(size=(4, 5))
    assert net.loss(params, X, y.astype(kind)) == net.loss(params, X, y)


@pytest.mark.parametrize("loss", _core.LOSSES)
def test_one_column_is_taken_as_a_vector_too(loss):
    net = fastbp.Network((5, n_outputs_of(loss, 1)), loss=loss, dtype="float64")
    y = make_targets(loss, 9, 1, np.random.default_rng(0))
    params, X = net.init_params(0), np.random.default_rng(0).normal(size=(9, 5))
    value = net.loss(params, X, y)
    assert net.loss(params, X, y.ravel()) == value
    assert net.loss(params, X, y.ravel().tolist()) == value


def test_one_output_of_log_loss_is_the_logistic_loss():
    y = np.array([0, 1, 1, 0, 1])
    X = np.random.default_rng(0).normal(size=(5, 3))
    nets = [fastbp.Network((3, 1), loss=name) for name in ("log_loss", "binary_log_loss")]
    params = nets[0].init_params(0)
    assert nets[0].loss(params, X, y) == nets[1].loss(params, X, y)


def test_constant_weights_are_no_weights(net, data):
    X, y, _ = data
    params = net.init_params(0)
    value, grad = net.value_and_grad(params, X, y)
    weighted, weighted_grad = net.value_and_grad(params, X, y, np.full(40, 3.0))
    assert weighted == pytest.approx(value, rel=1e-14)
    assert relative_error(weighted_grad, grad) <= TOLERANCE["twin", "float64"]


def test_a_row_of_weight_two_is_two_rows(net, data):
    X, y, _ = data
    params = net.init_params(0)
    value, grad = net.value_and_grad(params, X, y, np.r_[2.0, np.ones(39)], 0.5)
    rows = np.r_[0, np.arange(40)]
    twice, twice_grad = net.value_and_grad(params, X[rows], y[rows], None, 0.5)
    assert value == pytest.approx(twice, rel=1e-14)
    assert relative_error(grad, twice_grad) <= TOLERANCE["twin", "float64"]


# ---- several Python threads ----


def test_two_threads_may_share_a_network(net, data):
    X, y, w = data
    S = sparse.csr_array(X)
    vectors = [net.init_params(seed) for seed in range(4)]
    expected = [net.value_and_grad(p, X, y, w) for p in vectors]
    outputs = [net.forward(p, X) for p in vectors]
    failures = []

    def work(i):
        try:
            for repeat in range(100):
                value, grad = net.value_and_grad(vectors[i], X if repeat % 3 else S, y, w)
                assert value == pytest.approx(expected[i][0], rel=1e-13)
                assert relative_error(grad, expected[i][1]) <= TOLERANCE["twin", "float64"]
                np.testing.assert_array_equal(net.forward(vectors[i], X), outputs[i])
        except BaseException as error:
            failures.append(error)

    team = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in team:
        thread.start()
    for thread in team:
        thread.join()
    assert not failures, failures[0]


def test_a_network_keeps_one_trainer(net):
    """Calls at once have one each; that of the first to end stays."""
    with net._trainer(10) as outer:
        with net._trainer(10) as inner:
            assert inner is not outer
    assert list(net._idle.values()) == [inner]
