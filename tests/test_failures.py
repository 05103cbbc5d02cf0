"""Each allocation and thread that a call asks for fails once: an error that leaves no mark."""

import json
import platform
import sys

import pytest
from ahead import Process, waits_for
from c_programs import preloaded

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc" or sys.maxsize < 2**32,
    reason="the failures stand in for the functions of glibc on a machine of 64 bits",
)

# In a child of its own for each k, the k-th call fails, until there is no k-th.
COUNT_UP = """
import ctypes, json, os, pickle, signal, sys, traceback, warnings
import numpy as np
from fastbp import MLPClassifier, MLPRegressor

warnings.simplefilter("ignore")
kind = sys.argv[1]
library = ctypes.CDLL(None)
rng = np.random.default_rng(0)
X = rng.normal(size=(300, 40))
y = rng.integers(0, 3, 300) if kind == "MLPClassifier" else rng.normal(size=300)
settings = dict(hidden_layer_sizes=(128, 128), n_threads=2, random_state=0)
settings |= dict(max_iter=2, batch_size=150)
est = {"MLPClassifier": MLPClassifier, "MLPRegressor": MLPRegressor}[kind](**settings)
est.fit(X, y)
est.predict(X)
assert est.memory_plan_.n_threads == 2
before, trained = pickle.dumps(est), [c.tobytes() for c in est.coefs_]


def call():
    return est.predict(X) if method == "predict" else getattr(est, method)(X, y)


def bytes_of(result):
    return result.tobytes() if method == "predict" else pickle.dumps(result)


def outcome_in_a_child():
    child_end, parent_end = os.pipe()
    child = os.fork()
    if child:
        os.close(parent_end)
        with open(child_end) as words:
            said = words.read()
        os.waitpid(child, 0)
        return said or "died"
    signal.alarm(60)
    try:
        said = outcome()
    except BaseException:
        said = "outside: " + traceback.format_exc()
    os.write(parent_end, said.encode())
    os._exit(0)


def outcome():
    error = result = None
    assert library.fail_alloc_start(ctypes.c_long(k)), "nothing can fail"
    try:
        result = call()
    except BaseException as caught:
        error = caught
    failed = library.fail_alloc_stop()
    if not failed:
        return "none failed" if error is None else "an error of its own: " + repr(error)
    if error is None:
        return "done without" if bytes_of(result) == expected else "another result"
    text = "".join(traceback.format_exception(error))
    if not isinstance(error, (MemoryError, RuntimeError)):
        return "another error: " + text
    if pickle.dumps(est) != before:
        return "the estimator has changed: " + text
    del error
    est.fit(X, y)
    return "error" if [c.tobytes() for c in est.coefs_] == trained else "cannot go on: " + text


def result_of_a_child():
    r, w = os.pipe()
    if os.fork() == 0:
        with open(w, "wb") as pipe:
            pipe.write(bytes_of(call()))
        os._exit(0)
    os.close(w)
    with open(r, "rb") as pipe:
        return pipe.read()


outcomes = {}
for method in ("fit", "partial_fit", "predict"):
    k, expected, found = 0, result_of_a_child(), []
    while not found or found[-1] != "none failed":
        k += 1
        found.append(outcome_in_a_child())
    outcomes[method] = found
print(json.dumps(outcomes))
"""


def counting_up(kind):
    """What came of the failures of each method; the children of one process have them all."""
    return Process(COUNT_UP, kind, timeout=300, LD_PRELOAD=preloaded("fail_alloc"))


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
@pytest.mark.parametrize("method", ["fit", "partial_fit", "predict"])
@waits_for(counting_up)
def test_the_kth_failure_is_an_error_and_changes_nothing(method, kind, ahead):
    found = json.loads(ahead.printed())[method]
    right = ("error", "done without")
    wrong = {k: said for k, said in enumerate(found[:-1], 1) if said not in right}
    assert not wrong, f"{len(wrong)} of {len(found)}: " + "\n".join(
        f"{k}: {said}" for k, said in list(wrong.items())[:10]
    )
    assert found.count("error") >= 4  # the arena, what is kept, the team, a thread
