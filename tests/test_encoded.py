"""The first layer of encoded tables, beside a dense one on the rows that the cells stand for."""

import numpy as np
import pytest
from conftest import make_targets

from fastbp import _core

# (rows of W, raw numbers at the knots) of each column: numeric with and without a row for what is
# missing, categories, a single bin, many bins, a column of one category. The last begins within 128
# rows of W, which are a tile of it, and ends beyond them.
COLUMNS = (
    (6, (-1.0, -0.2, 0.3, 1.1, 1.5)),
    (5, (-2.0, 0.0, 0.5, 0.7, 3.0)),
    (4, None),
    (2, (0.0, 1.0)),
    (41, tuple(np.tanh(np.linspace(-1, 2, 40)))),
    (1, None),
    (300, None),
    (40, tuple(np.linspace(-2, 1, 39))),
)
N_INPUTS = sum(rows for rows, _ in COLUMNS)
BATCH = 50


def make_positions(n, seed=0, dtype=np.float64):
    """Cells of every sort: inside a bin, on a knot, missing, unknown."""
    rng = np.random.default_rng(seed)
    positions = np.empty((n, len(COLUMNS)), dtype)
    for c, (rows, raw) in enumerate(COLUMNS):
        if raw is None:
            positions[:, c] = rng.integers(-1, rows, n)
        else:
            bins = len(raw) - 1
            positions[:, c] = rng.uniform(0, bins, n)
            positions[: n // 4, c] = rng.integers(0, rows, n // 4)
    positions[rng.random(n) < 0.02] = np.nan
    return positions


def make_dense(positions, columns=COLUMNS):
    """The inputs that the cells stand for, cell by cell, from their definition."""
    blocks = []
    for p, (rows, raw) in zip(positions.T, columns, strict=True):
        block = np.zeros((len(p), rows))
        for row, value in zip(block, p, strict=True):
            if np.isnan(value) or value < 0:
                continue
            k = int(value)
            if raw is None or k >= len(raw):
                row[k] = 1
                continue
            row[0] = np.interp(value, np.arange(len(raw)), raw)
            for i in range(len(raw) - 1):
                row[1 + i] = np.clip(value - i, 0, 1)
        blocks.append(block)
    return np.hstack(blocks)


SIZES = {"wide": (N_INPUTS, 70, 33, 3), "small": (N_INPUTS, 5, 2), "no hidden layer": (N_INPUTS, 3)}


def make_trainer(
    sizes, loss="squared_error", dtype="float64", batch_size=64, encoded=True, **kwargs
):
    if encoded:
        kwargs["encoding"] = _core.Encoding(COLUMNS)
    return _core.Trainer(sizes, ("mish",) * (len(sizes) - 2), loss, dtype, batch_size, **kwargs)


def make_params(sizes, scale=False, dtype=np.float64, seed=1):
    table = _core.parameters(sizes, scale)
    count = table[-1].offset + int(np.prod(table[-1].shape))
    params = np.random.default_rng(seed).normal(0, 0.3, count)
    if scale:
        params[table[-1].offset :] += 1
    return params.astype(dtype)


def folded(params, sizes):
    """The parameters of a net without scales that is the same function."""
    table = _core.parameters(sizes, True)
    end, flat = table[-1].offset, params.copy()
    W = flat[: sizes[0] * sizes[1]].reshape(sizes[0], sizes[1])
    W *= params[end:, np.newaxis]
    return flat[:end]


def data_of(n, loss="squared_error", outputs=3, seed=0, dtype=np.float64, **kwargs):
    positions = make_positions(n, seed)
    y = make_targets(loss, n, outputs, np.random.default_rng(seed))
    y = y.astype(np.int32) if y.ndim == 1 else y
    return (
        _core.Data(positions.astype(dtype), y, **kwargs),
        _core.Data(make_dense(positions), y, **kwargs),
    )


@pytest.mark.parametrize("products", ["packed", "blas"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_value_gradient_and_output_are_those_of_the_dense_twin(sizes, products, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", products)
    encoded, dense = data_of(200, outputs=sizes[-1])
    params = make_params(sizes)
    found = []
    for data, is_encoded in ((encoded, True), (dense, False)):
        trainer = make_trainer(sizes, batch_size=150, encoded=is_encoded)
        grad, out = np.empty_like(params), np.empty((200, sizes[-1]))
        value = trainer.value_and_grad(params, data, grad, alpha=0.1)
        trainer.forward(params, data, out)
        found.append((value, grad, out))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-13)
    np.testing.assert_allclose(found[0][1], found[1][1], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(found[0][2], found[1][2], rtol=1e-12, atol=1e-13)


def test_scales_multiply_the_rows_of_the_weights():
    sizes = SIZES["wide"]
    encoded, dense = data_of(150)
    params = make_params(sizes, scale=True)
    flat = folded(params, sizes)
    grad, folded_grad = np.empty_like(params), np.empty_like(flat)
    value = make_trainer(sizes, input_scale=True).value_and_grad(params, encoded, grad)
    expected = make_trainer(sizes, encoded=False).value_and_grad(flat, dense, folded_grad)
    assert value == pytest.approx(expected, rel=1e-13)
    end, cut = len(flat), sizes[0] * sizes[1]
    G, W = (a[:cut].reshape(sizes[0], -1) for a in (folded_grad, params))
    s = params[end:, np.newaxis]
    np.testing.assert_allclose(grad[:cut], (s * G).ravel(), rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(grad[cut:end], folded_grad[cut:], rtol=1e-11, atol=1e-13)
    np.testing.assert_allclose(grad[end:], (W * G).sum(axis=1), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_the_gradient_is_that_of_finite_differences(sizes):
    encoded, _ = data_of(40, outputs=sizes[-1])
    params = make_params(sizes, scale=True)
    trainer = make_trainer(sizes, input_scale=True)
    grad = np.empty_like(params)
    trainer.value_and_grad(params, encoded, grad)
    rng = np.random.default_rng(3)
    for _ in range(8):
        direction = rng.normal(size=len(params))
        step = 1e-5 * direction
        slope = (trainer.loss(params + step, encoded) - trainer.loss(params - step, encoded)) / 2e-5
        assert slope == pytest.approx(grad @ direction, rel=1e-7, abs=1e-8)


def train(trainer, data, params, epochs=1, **kwargs):
    """Epochs of AdamW; the losses, the parameters and their moving average."""
    params = params.copy()
    state, ema, t, losses = [np.zeros_like(params) for _ in range(2)], params.copy(), 0, []
    for epoch in range(epochs):
        order = np.random.default_rng(epoch).permutation(data.n_rows)
        loss, steps, finite = trainer.train_epoch(
            params, state, data, order, BATCH, alpha=0.0, learning_rate=0.01, t=t, ema=ema,
            ema_decay=0.9, weight_decay=0.05, seed=7, **kwargs,
        )  # fmt: skip
        assert finite
        t += steps
        losses.append(loss)
    return losses, params, ema


@pytest.mark.parametrize("loss", ["squared_error", "log_loss"])
def test_fifty_steps_are_those_of_the_dense_twin(loss):
    sizes = SIZES["wide"]
    encoded, dense = data_of(500, loss)
    params = make_params(sizes)
    table = _core.parameters(sizes)
    kwargs = {
        "optimizer": "adamw",
        "rates": [0.1 * (i + 1) for i in range(len(table))],
        "decays": [1, 0.5, 2, 0, 1, 0],
        "dropout": (0, 0.2, 0),
        "loss": loss,
    }
    ours = train(make_trainer(sizes, **kwargs), encoded, params, 5)
    twin = train(make_trainer(sizes, encoded=False, **kwargs), dense, params, 5)
    for a, b in zip(ours, twin, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
    assert ours[0][-1] < ours[0][0]


def adamw_step(params, grad, rates, decays, table, rate=0.01, weight_decay=0.05):
    """The first step of AdamW, of every piece by its own rate and decay."""
    new = params.copy()
    for (_, offset, shape, *_), r, d in zip(table, rates, decays, strict=True):
        piece = slice(offset, offset + int(np.prod(shape)))
        direction = grad[piece] / (np.abs(grad[piece]) + 1e-8)
        new[piece] -= rate * r * weight_decay * d * params[piece] + rate * r * direction
    return new


@pytest.mark.parametrize("keep_grad", [False, True])
def test_every_piece_has_its_own_rate_and_decay(keep_grad):
    sizes = SIZES["wide"]
    encoded, _ = data_of(BATCH)
    params = make_params(sizes, scale=True)
    table = _core.parameters(sizes, True)
    rates, decays = [1, 2, 0.5, 0.1, 0.2, 0.3, 6], [1, 0, 3, 0, 0.5, 0, 0.7]
    grad = np.empty_like(params)
    make_trainer(sizes, input_scale=True).value_and_grad(params, encoded, grad)
    trainer = make_trainer(sizes, input_scale=True, optimizer="adamw", rates=rates, decays=decays,
                           keep_grad=keep_grad)  # fmt: skip
    _, new, ema = train(trainer, encoded, params)
    expected = adamw_step(params, grad, rates, decays, table)
    np.testing.assert_allclose(new, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ema, params + 0.1 * (new - params), rtol=1e-9, atol=1e-12)


def test_a_clipped_gradient_counts_the_scales():
    sizes = SIZES["wide"]
    encoded, _ = data_of(BATCH)
    params = make_params(sizes, scale=True)
    grad = np.empty_like(params)
    make_trainer(sizes, input_scale=True).value_and_grad(params, encoded, grad)
    trainer = make_trainer(sizes, input_scale=True, optimizer="sgd", keep_grad=True)
    new, velocity = params.copy(), [np.zeros_like(params)]
    limit = np.linalg.norm(grad) / 3
    trainer.train_epoch(new, velocity, encoded, None, BATCH, alpha=0.0, learning_rate=0.1,
                        max_grad_norm=limit)  # fmt: skip
    np.testing.assert_allclose(new, params - 0.1 / 3 * grad, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("keep_grad", [False, True])
def test_bits_do_not_depend_on_threads(dtype, keep_grad):
    sizes = (N_INPUTS, 200, 130, 3)
    encoded, _ = data_of(600, dtype=dtype)
    params = make_params(sizes, scale=True, dtype=dtype)
    results = []
    for n_threads in (1, 2, 5):
        kwargs = {"optimizer": "adamw", "input_scale": True, "keep_grad": keep_grad}
        trainer = make_trainer(sizes, dtype=dtype, batch_size=200, n_threads=n_threads, **kwargs)
        assert trainer.n_threads == n_threads
        results.append(train(trainer, encoded, params, 2))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def test_several_passes_add_up():
    sizes = SIZES["wide"]
    encoded, _ = data_of(300)
    params = make_params(sizes, scale=True)
    whole = make_trainer(sizes, batch_size=300, input_scale=True)
    parts = make_trainer(sizes, batch_size=300, input_scale=True, max_rows=64)
    assert parts.batch_rows == 64
    grads = [np.empty_like(params) for _ in range(2)]
    values = [
        t.value_and_grad(params, encoded, g) for t, g in zip((whole, parts), grads, strict=True)
    ]
    assert values[0] == pytest.approx(values[1], rel=1e-13)
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-10, atol=1e-13)


def test_float32_is_near_float64():
    sizes = SIZES["wide"]
    positions, y = make_positions(200), np.random.default_rng(0).normal(size=(200, 3))
    params = make_params(sizes)
    grads = []
    for dtype in ("float32", "float64"):
        own, grad = params.astype(dtype), np.empty_like(params, dtype)
        make_trainer(sizes, dtype=dtype).value_and_grad(own, _core.Data(positions, y), grad)
        grads.append(grad)
    np.testing.assert_allclose(grads[0], grads[1], rtol=1e-3, atol=1e-5)


def test_the_plan_has_the_table():
    trainer = make_trainer(SIZES["wide"], optimizer="adamw")
    rows = {name: (shape, size) for name, shape, _, size in trainer.plan()["rows"]}
    assert rows["table[0]"] == ((N_INPUTS, 70), -(-N_INPUTS * 70 * 8 // 64) * 64)
    assert rows["x"][0] == (64, len(COLUMNS))


def test_wrong_cells_touch_nothing():
    sizes = SIZES["small"]
    encoded = _core.Data(np.full((9, len(COLUMNS)), 1e30), np.zeros((9, 2)))
    params, out = make_params(sizes), np.empty((9, 2))
    nothing = _core.Data(np.full((9, len(COLUMNS)), -1.0), np.zeros((9, 2)))
    expected = np.empty((9, 2))
    trainer = make_trainer(sizes)
    trainer.forward(params, encoded, out)
    trainer.forward(params, nothing, expected)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"sparse": True}, "sparse=True"),
        ({"input_grad": True}, "input_grad=True"),
        ({"dropout": (0.1, 0, 0)}, r"dropout\[0\]=0.1"),
        ({"rates": (1, 2)}, "rates needs one number per row of the table of parameters, 6"),
        ({"decays": (1,) * 7}, "decays needs .* 6; got 7"),
    ],
)
def test_what_an_encoding_does_not_go_with_is_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(SIZES["wide"], **kwargs)


def test_wrong_descriptions_are_named():
    with pytest.raises(ValueError, match="input_scale"):
        make_trainer(SIZES["wide"], encoded=False, input_scale=True)
    with pytest.raises(ValueError, match="number of inputs of the encoding, 399"):
        make_trainer((5, 3), encoded=True)
    for column in ((0, None), (3, (1.0,)), (2, (1.0, 2.0, 3.0))):
        with pytest.raises(ValueError, match="column of"):
            _core.Encoding([column])
    with pytest.raises(ValueError, match="at least one column"):
        _core.Encoding([])
    with pytest.raises(OverflowError, match="inputs"):
        _core.Encoding([(2**31 - 1, None), (2, None)])
    with pytest.raises(ValueError, match="X has 3 features, the net takes 8"):
        trainer = make_trainer(SIZES["small"])
        trainer.loss(make_params(SIZES["small"]), _core.Data(np.zeros((4, 3)), np.zeros((4, 2))))
