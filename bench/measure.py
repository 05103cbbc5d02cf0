"""Measuring contenders beside each other: parity first, then interleaved runs."""

import statistics
import subprocess
import sys
import time

from cases import WIDTHS
from peers import FastbpLoop, contenders
from worker import Worker, WorkerError

# How far the losses of two contenders may lie apart after the same ten steps, as a fraction of
# what those steps gained; for work without steps, of the result. A step more or less is a tenth of
# the gain. Rounding makes about 1e-7 in float32, but 4e-3 in the widest network: Adam's first steps
# follow the sign of the gradient alone, which rounding decides where it is tiny.
TOLERANCE = {"float32": 1e-2, "float64": 1e-6}
TOLERANCE_OF_RESULTS = {"float32": 1e-4, "float64": 1e-9}
# A variant so much slower than the contender's best after two rounds is not run again.
HOPELESS = 1.25
# Idle threads of BLAS and OpenMP libraries spin for a while after a run.
REST_SECONDS = 0.05
IMPORTS = {
    "fastbp": ("", "import fastbp"),
    "fastbp after sklearn.base": ("import sklearn.base", "import fastbp"),
    "scikit-learn": ("", "from sklearn.neural_network import MLPClassifier"),
    "torch": ("", "import torch"),
    "JAX": ("", "import jax.numpy"),
}


def summary(samples):
    """Median and quartiles.

    Returns
    -------
    dict
        ``median``, ``q1``, ``q3`` and ``runs``, the number of samples.
    """
    if len(samples) < 2:
        q1 = q3 = samples[0]
    else:
        q1, _, q3 = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": statistics.median(samples), "q1": q1, "q3": q3, "runs": len(samples)}


def compare_case(case, dtype, peers, threads, seconds, min_rounds):
    """Measure one case with every contender that does it.

    Parameters
    ----------
    case : Case
    dtype : str
    peers : collection of str
        Names of the contenders wanted.
    threads : sequence of int
        Thread counts, of which each contender's best counts.
    seconds : float
        About so long for the timed runs of all contenders together.
    min_rounds : int
        Runs of each contender at least.

    Returns
    -------
    dict
        One cell of the results.
    """
    classes = [c for c in contenders() if c.name in peers and c.can(case) and not c.missing()]
    workers, failures = [], {}
    try:
        for contender in classes:
            variants = contender.variants if case.kind == "train" else contender.variants[:1]
            for n in case.threads or threads:
                workers += [Worker(contender, case, dtype, n, v) for v in variants]
        workers, parity = _check_parity(workers, case, dtype, failures)
        samples = _interleave(workers, seconds, min_rounds, failures) if workers else {}
    finally:
        for worker in workers:
            worker.close()
    cell = {
        "case": case.name,
        "dtype": dtype,
        "layers": list(case.layers),
        "batch": case.batch,
        "unit": case.unit,
        "parity": parity,
        "failures": failures,
        "contenders": _best_of(samples),
    }
    _add_ratios(cell, samples, classes)
    return cell


def _key(worker):
    return worker.contender.name, worker.variant, worker.n_threads


def _drop(worker, failures, error):
    name, variant, n = _key(worker)
    failures[f"{name} {variant} {n} threads".replace("  ", " ")] = str(error)
    worker.close()


def _check_parity(workers, case, dtype, failures):
    """Let all do the same little work; those that come to something else are out."""
    by_result = case.kind in ("gradient", "predict")
    tolerance = (TOLERANCE_OF_RESULTS if by_result else TOLERANCE)[dtype]
    parity = {"tolerance": tolerance, "of": "result" if by_result else "gain", "error": {}}
    good, expected, scale = [], None, None
    for worker in workers:
        name = worker.contender.name
        try:
            found, start = worker.ask("parity")
            if expected is None:
                expected, scale = found, [abs(x) for x in found]
                if not by_result:
                    scale = [abs(start - found[0])]
                    parity["loss"] = [start, found[0]]
                parity["reference"] = name
            error = max(
                abs(a - b) / max(s, 1e-300) for a, b, s in zip(found, expected, scale, strict=True)
            )
            parity["error"][name] = max(error, parity["error"].get(name, 0.0))
            if not error <= tolerance:
                raise WorkerError(f"not the same work: differs by {error:.2g} of the gain")
        except WorkerError as error:
            _drop(worker, failures, error)
        else:
            good.append(worker)
    return good, parity


def _interleave(workers, seconds, min_rounds, failures):
    """A B C A B C ...: one run of each per round, so that drift of the machine hits all."""
    samples, running = {_key(worker): [] for worker in workers}, list(workers)
    rounds, start = 0, None
    while rounds <= min_rounds or time.perf_counter() - start < seconds:
        for worker in list(running):
            time.sleep(REST_SECONDS)
            try:
                taken = worker.ask("seconds")
            except WorkerError as error:
                _drop(worker, failures, error)
                running.remove(worker)
                samples.pop(_key(worker))
                continue
            if rounds:  # the first round warms up
                samples[_key(worker)].append(taken)
        rounds += 1
        if start is None:
            start = time.perf_counter()
        if rounds == 3:
            _retire(running, samples)
    return samples


def _retire(running, samples):
    for worker in list(running):
        rivals = [min(s) for key, s in samples.items() if key[0] == worker.contender.name]
        if min(samples[_key(worker)]) > HOPELESS * min(rivals):
            running.remove(worker)
            worker.close()


def _best_of(samples):
    best = {}
    for (name, variant, n), times in samples.items():
        found = {"threads": n, "variant": variant, **summary(times)}
        others = best.setdefault(name, {"median": float("inf"), "tried": {}})
        tried = {**others.pop("tried"), f"{variant or 'as is'}, {n} threads": found["median"]}
        if found["median"] < others["median"]:
            others = found
        best[name] = {**others, "tried": tried}
    return best


def _add_ratios(cell, samples, classes):
    """Peer's time over fastbp's, round by round: the machine drifts less within a round."""
    of_fastbp = {name: _times(cell, samples, name) for name in ("fastbp", "fastbp-fit")}
    for contender in classes:
        if contender.name in of_fastbp or contender.name not in cell["contenders"]:
            continue
        other = "fastbp" if contender.against == "fastbp-fit" else "fastbp-fit"
        against = contender.against if of_fastbp[contender.against] else other
        if not of_fastbp[against]:
            continue
        pairs = zip(_times(cell, samples, contender.name), of_fastbp[against], strict=False)
        found = cell["contenders"][contender.name]
        found["ratio"] = {"against": against, **summary([a / b for a, b in pairs])}


def _times(cell, samples, name):
    best = cell["contenders"].get(name)
    return samples[name, best["variant"], best["threads"]] if best else []


def sweep_widths(dtype, seconds, min_rounds, short):
    """Time a step of fastbp for one width after the other.

    Returns
    -------
    dict
        ``widths``, and for each thread count the microseconds ``us`` per width and the largest
        factor ``cliff`` between neighbours, per weight.
    """
    cases = [case.short() if short else case for case in WIDTHS]
    found = {"widths": [case.layers[1] for case in cases], "dtype": dtype, "threads": {}}
    for n in cases[0].threads:
        workers = [Worker(FastbpLoop, case, dtype, n) for case in cases]
        try:
            for worker in workers:
                worker.ask("parity")
                worker.ask("seconds")  # warms up
            times = [[] for _ in workers]
            start = time.perf_counter()
            while len(times[0]) < min_rounds or time.perf_counter() - start < seconds / 3:
                for worker, of_width in zip(workers, times, strict=True):
                    of_width.append(worker.ask("seconds"))
        finally:
            for worker in workers:
                worker.close()
        us = [1e6 * statistics.median(t) for t in times]
        each = [t / case.n_weights for t, case in zip(us, cases, strict=True)]
        cliff = max(max(a / b, b / a) for a, b in zip(each, each[1:], strict=False))
        found["threads"][n] = {"us": us, "cliff": cliff}
    return found


def peak_memory(case, dtype, peers, n_threads):
    """Peak resident memory of one fit in a fresh process, over its start.

    Returns
    -------
    dict
        Of dicts with ``peak`` and ``planned`` bytes, or ``error``, by contender.
    """
    found = {}
    for contender in contenders():
        if contender.name not in peers or not contender.can(case) or contender.missing():
            continue
        with Worker(contender, case, dtype, n_threads, contender.variants[0]) as worker:
            try:
                peak, planned = worker.ask("memory")
                found[contender.name] = {"peak": peak, "planned": planned}
            except WorkerError as error:
                found[contender.name] = {"error": str(error)}
    return found


def import_times(rounds):
    """Seconds to import each library, in fresh processes, interleaved.

    Returns
    -------
    dict
        Of `summary` by name; libraries that cannot be imported are left out.
    """
    times = {name: [] for name in IMPORTS}
    for i in range(rounds + 1):
        for name, (before, statement) in IMPORTS.items():
            program = (
                f"import time; {before or 'pass'}; t = time.perf_counter(); {statement}; "
                "print(time.perf_counter() - t)"
            )
            done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
            if i and done.returncode == 0:  # the first round fills the page cache
                times[name].append(float(done.stdout.split()[-1]))
    return {name: summary(samples) for name, samples in times.items() if samples}
