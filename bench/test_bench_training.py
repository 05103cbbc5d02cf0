"""An epoch of each case in the engine alone; ``us_per_step`` is what one mini-batch takes."""

import pytest
from cases import MAIN, make_weights
from peers import FastbpLoop


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    ("case", "dtype"),
    [pytest.param(c, dtype, id=f"{c.name}-{dtype}") for c in MAIN for dtype in c.dtypes],
)
def test_training_step(benchmark, case, dtype, n_threads):
    loop = FastbpLoop()
    loop.prepare(case, dtype, n_threads, seed=0)
    weights = make_weights(case, dtype)
    benchmark.group = f"{case.name} {dtype}"
    # Each round begins with the initial weights, so that all do the same arithmetic.
    benchmark.pedantic(
        loop.run,
        args=(1,),
        setup=lambda: loop.load(*weights),
        rounds=7,
        warmup_rounds=1,
    )
    benchmark.extra_info["threads"] = loop.trainer.n_threads
    benchmark.extra_info["us_per_step"] = 1e6 * benchmark.stats["median"] / case.steps
