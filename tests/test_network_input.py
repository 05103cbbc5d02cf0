"""`Network`: arrays of every layout and type, sparse rows, and bad input."""

import numpy as np
import pytest
from conftest import AWKWARD, NET_SIZES, TOLERANCE, relative_error
from scipy import sparse

import fastbp

# ---- arrays of every layout ----


@pytest.mark.parametrize("which", ["X", "y", "sample_weight", "params"])
@pytest.mark.parametrize("kind", AWKWARD)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layout_of_an_array_changes_nothing(dtype, kind, which, tmp_path, data):
    net = fastbp.Network(NET_SIZES, "relu", dtype=dtype, batch_size=16)
    X, y, w = data
    arguments = {"params": net.init_params(0), "X": X.astype(dtype), "y": y.astype(dtype)}
    arguments["sample_weight"] = w
    value, grad = net.value_and_grad(**arguments)
    plain = arguments[which]
    arguments[which] = AWKWARD[kind](plain, tmp_path)
    np.testing.assert_array_equal(arguments[which], plain)
    strict = ("strided", "reversed", "one byte off", "big-endian")
    if which == "params" and kind in strict:
        with pytest.raises(ValueError, match="params has shape"):
            net.value_and_grad(**arguments)
    else:
        other, other_grad = net.value_and_grad(**arguments)
        assert other == value
        np.testing.assert_array_equal(other_grad, grad)


@pytest.mark.parametrize("kind", ["float16", "int8", "int64", "uint8", "bool", "longdouble", "O"])
def test_numbers_of_other_types_are_converted(net, kind):
    rng = np.random.default_rng(0)
    X, y = rng.integers(0, 2, (20, 12)), rng.integers(0, 2, (20, 3))
    params = net.init_params(0)
    value = net.loss(params, X.astype(float), y.astype(float))
    assert net.loss(params, X.astype(kind), y.astype(kind)) == value
    assert net.loss(params, X.tolist(), y.tolist()) == value


@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_x_of_either_precision(dtype, x_dtype, data):
    net = fastbp.Network(NET_SIZES, "tanh", dtype=dtype, batch_size=16)
    X = data[0].astype("float32")
    params = net.init_params(0)
    value, grad = net.value_and_grad(params, X.astype(x_dtype), data[1])
    expected, expected_grad = net.value_and_grad(params, X.astype(dtype), data[1])
    assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
    assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]


def test_rows_repeated_by_a_stride_of_zero(net, data):
    X = np.broadcast_to(data[0][0], (40, 12))
    params = net.init_params(0)
    assert net.loss(params, X, data[1]) == net.loss(params, X.copy(), data[1])


@pytest.mark.parametrize("make", [sparse.csr_matrix, sparse.csr_array, sparse.coo_array])
@pytest.mark.parametrize("index", ["int32", "int64"])
@pytest.mark.parametrize("x_dtype", ["float32", "float64", "int32"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sparse_rows_equal_dense_rows(dtype, x_dtype, index, make):
    rng = np.random.default_rng(0)
    X = np.round(rng.normal(size=(37, 12)) * 3) * (rng.random((37, 12)) < 0.3)
    X[[0, 5, 36]] = 0
    S = make(X.astype(x_dtype))
    if S.format == "csr":
        S.indices, S.indptr = S.indices.astype(index), S.indptr.astype(index)
    net = fastbp.Network(NET_SIZES, "tanh", "log_loss", dtype, batch_size=10)
    params, y, w = net.init_params(0), rng.integers(0, 3, 37), rng.uniform(0.1, 1, 37)
    value, grad = net.value_and_grad(params, S, y, w, 0.1)
    expected, expected_grad = net.value_and_grad(params, X, y, w, 0.1)
    assert value == pytest.approx(expected, rel=TOLERANCE["twin", dtype])
    assert relative_error(grad, expected_grad) <= TOLERANCE["twin", dtype]
    assert net.loss(params, S, y, w, 0.1) == pytest.approx(value, rel=TOLERANCE["twin", dtype])
    error = relative_error(net.forward(params, S), net.forward(params, X))
    assert error <= TOLERANCE["twin", dtype]


def test_sparse_duplicates_add_up(net, data):
    S = sparse.csr_array(
        (np.array([1.0, 2.0, 4.0]), np.array([3, 3, 0]), np.array([0, 2, 3])), shape=(2, 12)
    )
    params, y = net.init_params(0), data[1][:2]
    assert net.loss(params, S, y) == pytest.approx(net.loss(params, S.toarray(), y), rel=1e-14)


@pytest.mark.parametrize("which", ["indices", "indptr"])
@pytest.mark.parametrize("value", [-1, 12, 10**6])
def test_a_broken_csr_matrix_is_refused(net, which, value):
    S = sparse.csr_array(np.eye(4, 12))
    getattr(S, which)[2] = value
    with pytest.raises(ValueError, match="X is not a valid CSR matrix"):
        net.forward(net.init_params(0), S)


# ---- bad input ----


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(layer_sizes=5), r"layer_sizes=5: it takes at least two integers"),
        (dict(layer_sizes=(5,)), r"layer_sizes=\(5,\)"),
        (dict(layer_sizes=(5, 0, 2)), r"layer_sizes=\(5, 0, 2\)"),
        (dict(layer_sizes=(5, 2.0)), r"layer_sizes=\(5, 2.0\)"),
        (dict(layer_sizes=(5, True)), r"layer_sizes=\(5, True\)"),
        (dict(layer_sizes="ab"), r"layer_sizes='ab'"),
        (dict(activation="swish"), r"activation='swish' is unknown.*'relu'"),
        (dict(activation=["relu", "tanh"]), r"activation=\['relu', 'tanh'\] has 2 entries.*1\."),
        (dict(activation=[None]), r"activation=None is unknown"),
        (dict(loss="hinge"), r"loss='hinge' is unknown.*'squared_error'"),
        (dict(dtype="float16"), r"dtype='float16' is unknown.*'float32', 'float64'"),
        (dict(dtype=None), r"dtype=None is unknown"),
        (dict(batch_size=0), r"batch_size=0: it takes an integer of 1 or more"),
        (dict(batch_size=1.5), r"batch_size=1.5"),
        (dict(max_memory="lots"), r"max_memory='lots' is not a size"),
        (dict(max_memory=8), r"max_memory"),
        (dict(n_threads=0), r"n_threads"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        fastbp.Network(**{"layer_sizes": (5, 4, 2), **arguments})


@pytest.mark.parametrize(
    "change, error, message",
    [
        (dict(params=[0.0]), TypeError, r"params is of type list"),
        (dict(params=np.zeros(3)), ValueError, r"params has shape \(3,\).*\(185,\)"),
        (dict(params=np.zeros(185, "f4")), ValueError, r"params has .*float32.*dtype float64"),
        (dict(params=np.zeros((185, 1))), ValueError, r"params has shape \(185, 1\)"),
        (dict(params=np.zeros(370)[::2]), ValueError, r"params .*not contiguous"),
        (dict(X=np.zeros((40, 11))), ValueError, r"X has shape \(40, 11\): it takes \(n, 12\)"),
        (dict(X=np.zeros(12)), ValueError, r"X has shape \(12,\)"),
        (dict(X=np.zeros((0, 12))), ValueError, r"^X has 0 rows"),
        (dict(X=np.zeros((40, 12), complex)), TypeError, r"X has dtype complex128"),
        (dict(X=[["a"] * 12] * 40), TypeError, r"X has dtype <U1"),
        (dict(X=[[None, "a"] * 6] * 40), ValueError, r"X holds values"),
        (dict(X=[[1.0], [1.0, 2.0]]), ValueError, r"X is not an array of numbers"),
        (dict(X=sparse.csr_array((40, 11))), ValueError, r"X has shape \(40, 11\)"),
        (dict(X=sparse.csr_array((40, 12), dtype=complex)), TypeError, r"X has dtype complex"),
        (dict(y=np.zeros((39, 3))), ValueError, r"y has shape \(39, 3\): it takes \(40, 3\)"),
        (dict(y=np.zeros(40)), ValueError, r"y has shape \(40,\): it takes \(40, 3\)"),
        (dict(y=None), ValueError, r"y"),
        (dict(sample_weight=np.ones(39)), ValueError, r"sample_weight has shape \(39,\)"),
        (dict(sample_weight=np.ones((40, 1))), ValueError, r"sample_weight has shape"),
        (dict(sample_weight=np.zeros(40)), ValueError, r"sample_weight has sum 0.0"),
        (dict(sample_weight=np.full(40, np.nan)), ValueError, r"sample_weight has sum nan"),
        (dict(sample_weight=np.full(40, np.inf)), ValueError, r"sample_weight has sum inf"),
        (dict(alpha=-1.0), ValueError, r"alpha=-1.0: it takes"),
        (dict(alpha=np.nan), ValueError, r"alpha=nan"),
        (dict(alpha="much"), ValueError, r"alpha='much'"),
    ],
)
@pytest.mark.parametrize("method", ["loss", "value_and_grad"])
def test_bad_data_is_named(net, data, method, change, error, message):
    assert net.n_params == 185
    X, y, _ = data
    arguments = {"params": net.init_params(0), "X": X, "y": y, **change}
    with pytest.raises(error, match=message):
        getattr(net, method)(**arguments)


@pytest.mark.parametrize(
    "loss, n_outputs, y, message",
    [
        ("log_loss", 3, [0, 1, 3, 2], r"class indices from 0 to 3: they go from 0 to 2"),
        ("log_loss", 3, [0, 1, -1, 2], r"class indices from -1 to 2"),
        ("log_loss", 3, [2**33, 1, 1, 2], r"class indices from 1 to 8589934592"),
        ("log_loss", 3, [0.0, 1.0, 1.0, 2.0], r"integer class indices"),
        ("log_loss", 3, [0, 1, 2], r"y has shape \(3,\)"),
        ("log_loss", 3, [[0, 2, 0]] * 4, r"y has values from 0.0 to 2.0.*\[0, 1\]"),
        ("log_loss", 3, [[0, 1, 1]] * 4, r"y has rows that do not sum to 1"),
        ("log_loss", 3, [[0, 1]] * 4, r"y has shape \(4, 2\)"),
        ("log_loss", 1, [0, 1, 2, 1], r"y: loss='log_loss' with one output takes"),
        ("log_loss", 1, [0.5, 1, 0, 1], r"y: loss='log_loss' with one output takes"),
        ("binary_log_loss", 2, [[0, -0.1]] * 4, r"y has values from -0.1"),
        ("binary_log_loss", 2, [[0, np.nan]] * 4, r"y has values from nan"),
        ("poisson", 1, [0, 1, -2, 3], r"y has values from -2.0.*poisson"),
        ("poisson", 1, [0, 1, np.inf, 3], r"y has values from 0.0 to inf.*poisson"),
        ("gamma", 1, [0, 1, 2, 3], r"y has values from 0.0 to 3.0: loss='gamma'.*above 0"),
        ("gamma", 1, [1, np.inf, 2, 3], r"y has values from 1.0 to inf.*gamma"),
        ("gamma", 1, [1, np.nan, 2, 3], r"y has values from nan.*gamma"),
        ("gaussian_nll", 4, [[0, 1, 2, 3]] * 4, r"shape \(4, 4\): it takes \(4, 2\).*takes 2 col"),
        ("gaussian_nll", 2, [[0, 1]] * 4, r"shape \(4, 2\): it takes \(4, 1\) or \(4,\)"),
        ("huber", 2, [0, 1, 2, 3], r"y has shape \(4,\): it takes \(4, 2\)"),
    ],
)
def test_bad_targets_are_named(loss, n_outputs, y, message):
    net = fastbp.Network((2, n_outputs), loss=loss)
    with pytest.raises(ValueError, match=message):
        net.loss(net.init_params(0), np.zeros((4, 2)), y)


def test_bad_out_is_named(net, data):
    X, y, _ = data
    params = net.init_params(0)
    read_only = np.empty(net.n_params)
    read_only.flags.writeable = False
    for out, message in (
        (np.empty(3), r"out has shape \(3,\)"),
        (np.empty(net.n_params, "f4"), r"out has .*float32"),
        (read_only, r"out is read-only"),
        (params, r"out shares memory with params"),
    ):
        with pytest.raises(ValueError, match=message):
            net.value_and_grad(params, X, y, out=out)
