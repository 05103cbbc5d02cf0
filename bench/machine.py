"""What the measurements were made on: a record to keep beside them."""

import datetime
import importlib.metadata
import os
import platform
import re

FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512dq",
    "avx512vl",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
)
PACKAGES = ("fastbp", "numpy", "scipy", "scikit-learn", "torch", "jax", "jaxlib")


def _cpuinfo():
    try:
        with open("/proc/cpuinfo") as lines:
            text = lines.read()
    except OSError:
        return platform.processor(), []
    model = re.search(r"^model name\s*:\s*(.*)$", text, re.M)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", text, re.M)
    have = set(flags.group(1).split()) if flags else set()
    return (model.group(1) if model else platform.machine()), [f for f in FLAGS if f in have]


def _caches():
    base, found = "/sys/devices/system/cpu/cpu0/cache", {}
    for index in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        try:
            level, kind, size = (
                open(f"{base}/{index}/{name}").read().strip() for name in ("level", "type", "size")
            )
        except OSError:
            continue
        if kind != "Instruction":
            found[f"L{level}"] = size
    return found


def _versions():
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if "fastbp" not in found:  # a source tree on the path is not installed
        from fastbp import __version__

        found["fastbp"] = __version__
    return found


def _blas():
    import scipy.linalg  # noqa: F401  (loads its BLAS)
    from threadpoolctl import threadpool_info

    keep = ("user_api", "internal_api", "version", "threading_layer", "architecture", "prefix")
    return [{key: pool[key] for key in keep if key in pool} for pool in threadpool_info()]


def machine_record(threads=()):
    """Describe the machine and the software.

    Parameters
    ----------
    threads : sequence of int
        Thread counts that are tried.

    Returns
    -------
    dict
        Ready for JSON; it names no host, user or path.
    """
    from fastbp import _core

    model, flags = _cpuinfo()
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "cpu": model,
        "cpu_flags": flags,
        "caches": _caches(),
        "cores": len(os.sched_getaffinity(0)),
        "threads_tried": list(threads),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": _versions(),
        "blas": _blas(),
        "fastbp_level": _core.cpu_level(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith("FASTBP_")},
    }
