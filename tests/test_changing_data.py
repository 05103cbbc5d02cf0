"""Another thread rewrites the data of a call: wrong numbers or an error, no hang, no crash."""

import pytest
from ahead import Process, waits_for

# The first two mini-batches have weight at one time and none at another.
WEIGHTS = """
import threading
import numpy as np
from conftest import make_params
from fastbp import _core

rng, sizes = np.random.default_rng(0), (8, 128, 128, 1)
X = rng.normal(size=(512, 8)).astype(np.float32)
weight = np.ones(512)
data = _core.Data(X, X[:, :1].copy(), weight)
trainer = _core.Trainer(sizes, ("relu", "relu"), "squared_error", "float32", 128, "sgd", 4)
assert trainer.n_threads == 4
params = make_params(sizes, rng, "float32")
state = (np.zeros_like(params),)
order = np.tile(np.arange(512), 10)
done = threading.Event()

def rewrite():
    while not done.is_set():
        weight[:256] = 0.0
        weight[:256] = 1.0

thread = threading.Thread(target=rewrite, daemon=True)
thread.start()
for _ in range(40):
    trainer.train_epoch(params, state, data, order, 128, alpha=0.0, learning_rate=1e-4)
done.set()
thread.join()
print("done")
"""


@waits_for(lambda: Process(WEIGHTS))
def test_threads_agree_on_mini_batches_whose_weights_change(ahead):
    assert ahead.printed() == "done\n"


# The arrays are spoilt after they were checked, as another thread may do at any moment of a call.
SPOILT = """
import sys
import numpy as np
from conftest import make_params, random_csr
from fastbp import _core

sparse = sys.argv[1] == "sparse"
rng, sizes = np.random.default_rng(0), (60, 64, 3)
X = random_csr((400, 60), 0.1, rng, np.float32)
X.indices, X.indptr = X.indices.astype(np.int32), X.indptr.astype(np.int32)
y = rng.integers(0, 3, 400).astype(np.int32)
trainer = _core.Trainer(sizes, ("relu",), "log_loss", "float32", 50, "none", 2, 0, sparse)
params = make_params(sizes, rng, "float32")
data, grad = _core.Data(X, y), np.empty_like(params)
expected = trainer.value_and_grad(params, data, grad)
for part, array in (("indices", X.indices), ("indptr", X.indptr), ("y", y)):
    print(part, flush=True)
    good = array.copy()
    for bad in (10**8, -(10**8), 2**31 - 1, -(2**31)):
        array[50:] = bad
        loss = trainer.value_and_grad(params, data, grad)
        assert np.isnan(loss) if part == "y" else np.isfinite(loss) and loss != expected, loss
        array[:] = good
        assert trainer.value_and_grad(params, data, grad) == expected
print("done")
"""


@pytest.mark.parametrize("layer", ["sparse", "dense"])
@waits_for(lambda layer: Process(SPOILT, layer))
def test_what_points_outside_is_left_out(layer, ahead):
    assert ahead.printed().endswith("done\n")
