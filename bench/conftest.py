"""``pytest bench`` writes bench/results/bench.json, with a record of the machine.

A run that fails or is cut short leaves the old file as it was. ``--benchmark-json`` writes all the
samples to a file of one's own besides.
"""

import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parent / "results"


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config, machine_info):
    from machine import machine_record

    machine_info.clear()
    machine_info.update(machine_record())


def pytest_sessionfinish(session, exitstatus):
    benchmarks = getattr(session.config, "_benchmarksession", None)
    if exitstatus or benchmarks is None or not benchmarks.benchmarks:
        return
    from machine import machine_record

    found = [
        {
            "name": one.name,
            "group": one.group,
            "seconds": {key: one[key] for key in ("median", "q1", "q3", "min", "rounds")},
            **one.extra_info,
        }
        for one in benchmarks.benchmarks
        if one.stats.data
    ]
    if found:
        RESULTS.mkdir(exist_ok=True)
        text = json.dumps({"machine": machine_record(), "benchmarks": found}, indent=1)
        (RESULTS / "bench.json").write_text(text + "\n")
