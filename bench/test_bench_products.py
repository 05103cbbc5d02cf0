"""The products of one layer in isolation, as fractions of the peak of the machine."""

import pytest
from products import measure

SHAPES = [(32, 32, 64), (64, 64, 32), (784, 100, 200), (512, 512, 256), (1024, 1024, 256)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: "x".join(map(str, shape)))
def test_products(benchmark, shape, dtype):
    # The program interleaves its own rounds; what it found is in extra_info.
    found = benchmark.pedantic(measure, args=([shape], dtype), rounds=1)
    (only,) = found["shapes"]
    benchmark.group = f"products {dtype}"
    benchmark.extra_info["level"] = found["level"]
    benchmark.extra_info["peak_gflops"] = only["peak_gflops"]
    benchmark.extra_info["fraction_of_peak"] = only["fraction"]
