"""The flat parameter vector: the table that cuts it, its views, and packing."""

import pickle

import numpy as np
import pytest

from fastbp import _core
from fastbp._input.arguments import generator_of
from fastbp._params import CACHE_LINE, Parameters, count, draw, views, zeros


def test_the_table_is_in_the_order_of_the_vector():
    assert _core.parameters([4, 3, 2]) == (
        ("W[0]", 0, (4, 3), 1.0, 1.0),
        ("W[1]", 12, (3, 2), 1.0, 1.0),
        ("b[0]", 18, (3,), 1.0, 0.0),
        ("b[1]", 21, (2,), 1.0, 0.0),
    )
    assert count(_core.parameters((4, 3, 2))) == 23
    assert _core.parameters((4, 2))[0]._fields == ("name", "offset", "shape", "rate", "decay")


@pytest.mark.parametrize("sizes", [(1, 1), (7, 13, 5, 3), (20, 3), (5, 8, 2)])
def test_the_table_counts_what_the_trainer_takes(sizes):
    trainer = _core.Trainer(sizes, ("tanh",) * (len(sizes) - 2), "squared_error", "float32", 4)
    assert count(_core.parameters(sizes)) == trainer.n_params


@pytest.mark.parametrize(
    "sizes", [(2**31, 1), (1, 2**62), (0, 1), (2**31 - 1, 2**31 - 1), (2**30, 2**30, 2**30)]
)
def test_sizes_beyond_a_machine_word_are_refused(sizes):
    with pytest.raises(OverflowError, match="layer_sizes"):
        _core.parameters(sizes)


def test_views_cover_the_vector_once():
    table = _core.parameters((7, 13, 5, 3))
    flat = np.zeros(count(table))
    for piece in sum(views(flat, table), []):
        piece += 1
    np.testing.assert_array_equal(flat, 1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_packing_copies_and_converts(dtype):
    rng = np.random.default_rng(0)
    coefs, intercepts = [rng.normal(size=(3, 2)), rng.normal(size=(2, 1))], [np.ones(2), np.ones(1)]
    packed = Parameters.packed(coefs, intercepts, dtype)
    assert packed.flat.dtype == dtype and packed.layer_sizes == (3, 2, 1)
    for view, array in zip(packed.coefs + packed.intercepts, coefs + intercepts, strict=True):
        np.testing.assert_array_equal(view, array.astype(dtype))
        assert np.shares_memory(view, packed.flat) and not np.shares_memory(view, array)
    assert packed.as_dtype(dtype) is packed
    assert packed.as_dtype(np.float16).flat.dtype == np.float16


@pytest.mark.parametrize("n", [1, 15, 1000])
def test_vectors_start_at_a_cache_line(n):
    assert zeros(n, "float32").ctypes.data % CACHE_LINE == 0


def test_arrays_that_do_not_fit_are_named():
    W = np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"intercepts_\[0\] has shape \(3,\), expected \(2,\)"):
        Parameters.packed([W], [np.zeros(3)])
    with pytest.raises(ValueError, match="coefs_ must hold one 2-D array per layer"):
        Parameters.packed([W], [])


def test_one_wide_array_keeps_all_wide():
    coefs = [np.ones((2, 3), "float32"), np.full((3, 1), 0.1)]
    intercepts = [np.ones(3, "float32"), np.ones(1, "float32")]
    assert Parameters.packed(coefs, intercepts).flat.dtype == np.float64
    coefs[1] = coefs[1].astype("float32")
    assert Parameters.packed(coefs, intercepts).flat.dtype == np.float32


def test_large_weights_are_drawn_whole():
    """In parts, with the stream that one draw of the whole would take."""
    W, b = np.zeros((300, 400), "float32"), np.zeros(400, "float32")
    draw([W], [b], ["relu"], np.random.RandomState(0))
    twin, bound = np.random.RandomState(0), np.sqrt(6 / 700)
    np.testing.assert_array_equal(W, twin.uniform(-bound, bound, W.shape).astype("float32"))
    np.testing.assert_array_equal(b, twin.uniform(-bound, bound, b.shape).astype("float32"))


@pytest.mark.parametrize("seed", [0, 1, np.int64(12345), 2**32 - 1])
def test_a_number_makes_the_generator_of_numpy(seed):
    ours, theirs = generator_of(seed), np.random.RandomState(seed)
    for a, b in zip(ours.get_state(), theirs.get_state(), strict=True):
        np.testing.assert_array_equal(a, b)
    again = pickle.loads(pickle.dumps(ours))
    np.testing.assert_array_equal(again.uniform(size=5), theirs.uniform(size=5))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_number_out_of_range_is_an_error(seed):
    with pytest.raises(ValueError, match="[Ss]eed"):
        generator_of(seed)
