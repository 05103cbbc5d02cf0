"""Each product of a dense layer as a fraction of the machine's peak of multiply-adds.

Compiles ``products.c`` with the core, hands it the BLAS that SciPy uses, and prints what it
measures on one thread: packed kernels and BLAS as a training step calls them (activation,
derivative and bias included), and the bare BLAS product of the same shape.
"""

import argparse
import ctypes
import json
import os
import re
import subprocess
import sys
from pathlib import Path

from worker import THREAD_VARIABLES

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"
CORE = ROOT / "csrc"
SYMBOLS = (("sgemm_", "dgemm_"), ("scipy_sgemm_", "scipy_dgemm_"), ("sgemm", "dgemm"))
PRODUCTS = ("forward", "input_grad", "weight_grad")
# At least so much of the peak is wanted for widths from 256 and 128 rows on, float32, AVX-512.
WANTED = {"forward": 0.85, "input_grad": 0.85, "weight_grad": 0.8}
# Packed and BLAS must agree to so much of the largest number.
TOLERANCE = {"float32": 1e-4, "float64": 1e-12}

# (in, out, rows): square layers, then layers of the cases.
LARGE = tuple((w, w, n) for w in (256, 512, 1024, 2048) for n in (128, 256, 1024))
LARGE += ((784, 512, 256), (1024, 2048, 1024))
SMALL = (
    (32, 32, 64), (64, 64, 32), (64, 10, 32), (54, 256, 256), (784, 100, 200), (100, 10, 200),
    (512, 10, 256), (63, 65, 67),
)  # fmt: skip


def build():
    """Compile the program unless it is newer than all of its sources.

    Returns
    -------
    Path
        The program.
    """
    sys.path.insert(0, str(ROOT))
    from compile_flags import compiler, core_flags

    sources = [Path(__file__).with_suffix(".c"), *sorted(CORE.rglob("*.c"))]
    headers = [*CORE.rglob("*.h"), ROOT / "compile_flags.py"]
    program = BUILD / f"products{re.sub('[^a-z0-9]+', '_', str(compiler()))}"
    newest = max(path.stat().st_mtime for path in (*sources, *headers))
    if not program.exists() or program.stat().st_mtime < newest:
        BUILD.mkdir(parents=True, exist_ok=True)
        command = [*compiler(), *core_flags(compiler()), f"-I{CORE}", *map(str, sources)]
        subprocess.run([*command, "-o", str(program), "-lm", "-ldl"], check=True)
    return program


def scipy_blas():
    """Find the BLAS that SciPy uses and the names of its products, with 32-bit integers.

    Returns
    -------
    tuple of str
        Path of the library, names of its sgemm and dgemm.

    Raises
    ------
    RuntimeError
        If no loaded BLAS has them.
    """
    import scipy.linalg  # noqa: F401  (loads its BLAS)
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    for pool in sorted(pools, key=lambda pool: "scipy" not in Path(pool["filepath"]).parent.name):
        library = ctypes.CDLL(pool["filepath"])
        for names in SYMBOLS:
            if all(hasattr(library, name) for name in names):
                return pool["filepath"], *names
    raise RuntimeError("no BLAS with 32-bit integers is loaded, so there is nothing to compare")


def measure(shapes, dtype, seconds=0.5):
    """Time the products of layers, one thread.

    Parameters
    ----------
    shapes : sequence of (in, out, rows)
    dtype : {"float32", "float64"}
    seconds : float
        For each shape.

    Returns
    -------
    dict
        What products.c prints, and with each time the ``fraction`` of the peak.
    """
    command = [str(build()), *scipy_blas(), dtype, str(seconds)]
    command += [",".join(map(str, shape)) for shape in shapes]
    environment = {**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1")}
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout)
    for shape in found["shapes"]:
        if not shape["error"] <= TOLERANCE[dtype]:
            raise RuntimeError(f"packed and BLAS differ: {shape}")
        flops = 2 * shape["in"] * shape["out"] * shape["n"]
        shape["fraction"] = {
            product: {
                way: 1e-3 * flops / us / shape["peak_gflops"] for way, us in shape[product].items()
            }
            for product in PRODUCTS
        }
    return found


def below(found, shape):
    """Name the products of a shape that reach less of the peak than wanted."""
    if found["level"] != "avx512" or found["dtype"] != "float32":
        return []
    if min(shape["in"], shape["out"]) < 256 or shape["n"] < 128:
        return []
    return [p for p in PRODUCTS if shape["fraction"][p]["packed"] < WANTED[p]]


def table(found):
    """Lines of Markdown: fractions of the peak, packed / BLAS / bare gemm."""
    lines = [
        f"{found['dtype']}, {found['level']}, one thread: fraction of the peak, "
        "packed / BLAS / bare gemm; ▼ where packed is slower than BLAS or below what is wanted.",
        "",
        "| in x out, rows | peak GFLOP/s | forward | input gradient | weight gradient |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for shape in found["shapes"]:
        cells = []
        for product in PRODUCTS:
            packed, blas, gemm = (shape["fraction"][product][k] for k in ("packed", "blas", "gemm"))
            mark = " ▼" if packed < blas or product in below(found, shape) else ""
            cells.append(f"{packed:.2f} / {blas:.2f} / {gemm:.2f}{mark}")
        name = f"{shape['in']} x {shape['out']}, {shape['n']}"
        lines.append(f"| {name} | {shape['peak_gflops']:.0f} | {' | '.join(cells)} |")
    return lines


def _shape(text):
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 3 or min(numbers) < 1:
        raise argparse.ArgumentTypeError(f"a shape is in,out,rows; got {text!r}")
    return numbers


def main(argv=None):
    """Measure, print, and write ``products.json`` and ``products.md``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float64"], metavar="DTYPE")
    parser.add_argument("--shapes", nargs="+", type=_shape, default=LARGE + SMALL, metavar="I,O,N")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each shape")
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "results", metavar="DIR")
    options = parser.parse_args(argv)

    from machine import machine_record

    found = [measure(options.shapes, dtype, options.seconds) for dtype in options.dtypes]
    lines = [line for one in found for line in [*table(one), ""]]
    print("\n".join(lines))
    options.output.mkdir(parents=True, exist_ok=True)
    results = {"machine": machine_record([1]), "products": found}
    (options.output / "products.json").write_text(json.dumps(results, indent=1) + "\n")
    page = ["# Products of a dense layer", "", *lines]
    (options.output / "products.md").write_text("\n".join(page), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
