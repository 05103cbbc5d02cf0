"""The arena: measured is carved, addresses stay, and the hidden layers cost rows x neurons."""

import itertools
import tracemalloc

import numpy as np
import pytest
import reference

import fastbp
from fastbp import _core
from fastbp.memory import MemoryPlan

CASES = {
    "small": ((4, 32, 32, 1), 64),
    "odd": ((7, 13, 5, 3), 33),
    "no hidden layer": ((20, 3), 10),
    "one row": ((5, 8, 2), 1),
    "wide": ((100, 300, 200, 10), 128),
}


def setup(case, dtype="float32", optimizer="adam", n_threads=1, **more):
    sizes, batch = CASES[case]
    activations = ("relu",) * (len(sizes) - 2)
    return (sizes, activations, "squared_error", dtype, batch, optimizer, n_threads), more


def carved(rows):
    return [row for row in rows if row.offset is not None]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["none", *reference.OPTIMIZERS])
@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("more", [{}, {"sparse": True}, {"forward_only": True}], ids=str)
def test_measured_is_carved(case, dtype, optimizer, n_threads, more):
    arguments, more = setup(case, dtype, optimizer, n_threads, **more)
    plan = _core.plan(*arguments, **more)
    trainer = _core.Trainer(*arguments, **more)
    assert trainer.plan() == plan
    assert trainer.batch_rows == plan["batch_rows"] and trainer.n_threads == plan["n_threads"]
    assert trainer.n_params == sum(i * o + o for i, o in itertools.pairwise(arguments[0]))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_plan_tells_the_addresses_and_bytes_that_were_carved(case, n_threads):
    arguments, _ = setup(case, n_threads=n_threads)
    trainer = _core.Trainer(*arguments)
    plan = MemoryPlan.from_core(trainer.plan())
    buffers = trainer.buffers()
    rows = carved(plan.rows)
    assert [(name, size) for name, _, size in buffers] == [(row.name, row.bytes) for row in rows]
    base = buffers[0][1] - rows[0].offset
    assert [address - base for _, address, _ in buffers] == [row.offset for row in rows]
    # Neighbours touch, nothing overlaps, the last one ends where the arena ends.
    end = 0
    for row in rows:
        assert row.offset == end
        assert row.offset % 64 == 0
        end = row.offset + row.bytes
    assert end == plan.arena_bytes
    assert base % 64 == 0


def test_addresses_repeat_from_batch_to_batch():
    (sizes, *rest), _ = setup("odd")
    trainer = _core.Trainer(sizes, *rest)
    before = trainer.buffers()
    params = np.zeros(trainer.n_params, "float32")
    state = (np.zeros_like(params), np.zeros_like(params))
    data = _core.Data(np.ones((200, sizes[0])), np.ones((200, sizes[-1])))
    order = np.arange(200)
    for epoch in range(3):
        trainer.train_epoch(
            params, state, data, order, 33, alpha=0.1, learning_rate=0.01, t=7 * epoch
        )
        assert trainer.buffers() == before


def test_a_second_network_of_the_same_shape_has_the_same_plan():
    assert (
        fastbp.Network((9, 8, 7)).memory_plan
        == fastbp.Network((9, 8, 7)).memory_plan
        == fastbp.memory_plan((9, 8, 7), solver="none")
    )


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_every_neuron_costs_one_number_per_row(case, dtype, n_threads):
    """N*H: z of every layer, and nothing else per layer."""
    arguments, _ = setup(case, dtype, n_threads=n_threads)
    sizes, batch = CASES[case]
    plan = MemoryPlan.from_core(_core.plan(*arguments))
    z = [row for row in plan.rows if row.name.startswith("z")]
    item = np.dtype(dtype).itemsize
    assert [row.shape for row in z] == [(batch, width) for width in sizes[1:]]
    for row in z:
        assert 0 <= row.bytes - batch * row.shape[1] * item < 64, "rounded up to a cache line"


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("width", [16, 100])
def test_other_buffers_do_not_grow_with_depth(width, n_threads):
    def others(depth):
        sizes = (10, *(width,) * depth, 3)
        activations = ("tanh",) * depth
        plan = _core.plan(sizes, activations, "log_loss", "float32", 128, "adam", n_threads)
        rows = carved(MemoryPlan.from_core(plan).rows)
        return [row for row in rows if not row.name.startswith("z")]

    few, many = others(4), others(12)
    assert [row.name for row in few] == [row.name for row in many]
    # All buffers but those that count tiles (a few numbers per weight tile) have one size.
    data = 128 * width * 4
    for row, deeper in zip(few, many, strict=True):
        assert deeper.bytes - row.bytes < data / 4, row.name


def test_an_epoch_leaves_no_python_memory_behind():
    (sizes, *rest), _ = setup("wide")
    trainer = _core.Trainer(sizes, *rest)
    rng = np.random.default_rng(0)
    params = rng.normal(size=trainer.n_params).astype("float32") * 0.01
    state = (np.zeros_like(params), np.zeros_like(params))
    data = _core.Data(rng.normal(size=(1000, sizes[0])), rng.normal(size=(1000, sizes[-1])))
    order = np.arange(1000)

    def epoch():
        trainer.train_epoch(params, state, data, order, 128, alpha=0.0, learning_rate=1e-3)

    epoch()
    tracemalloc.start()
    try:
        epoch()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4096


def test_the_resident_memory_grows_by_the_plan():
    """A Trainer costs what its plan says: threads of one fit aside, to a few pages."""
    resource = pytest.importorskip("resource")
    page = resource.getpagesize()

    def resident():
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * page

    try:
        resident()
    except OSError:
        pytest.skip("no /proc")
    sizes = (512, 2048, 2048, 10)
    n = 4096
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, 512)).astype("float32"), rng.integers(0, 10, n)
    _warm_up_blas(sizes)
    before = resident()
    net = fastbp.Network(sizes, loss="log_loss", batch_size=n, n_threads=1)
    params = net.init_params(0)
    _, grad = net.value_and_grad(params, X, y)
    grown = resident() - before
    assert net.memory_plan.total_bytes > 60 * 2**20
    assert grown <= net.memory_plan.total_bytes + 16 * 2**20


def _warm_up_blas(sizes):
    """BLAS keeps work space of its own from its first large product on."""
    net = fastbp.Network(sizes, loss="log_loss", batch_size=64, n_threads=1)
    net.value_and_grad(net.init_params(0), np.zeros((64, sizes[0])), np.zeros(64, int))
