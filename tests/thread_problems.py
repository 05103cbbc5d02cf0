"""Nets that are worth several threads, and fits that tell what they did."""

import hashlib
import os
import threading
import time
from pathlib import Path

import numpy as np
import reference
from conftest import make_params, make_targets
from scipy import sparse
from threadpoolctl import threadpool_info

from fastbp import MLPClassifier, _core

# Scaled down from the cases of the benchmarks, yet with work for at least 7 threads in a step, and
# a short last mini-batch: layer sizes, rows of a mini-batch, rows, loss.
CASES = {
    "sciml": ((4, 32, 32, 1), 3000, 3500, "squared_error"),
    "digits": ((64, 64, 10), 600, 1000, "log_loss"),
    "mnist100": ((784, 100, 10), 200, 500, "log_loss"),
    "mnist512": ((784, 160, 160, 10), 128, 300, "log_loss"),
    "tabular": ((54, 64, 64, 64, 7), 256, 700, "log_loss"),
    "wide": ((256, 300, 300, 300, 10), 96, 250, "log_loss"),
    "uneven": ((37, 53, 29, 41, 5), 613, 1500, "binary_log_loss"),
}


def digest(*arrays):
    """A hash of the bytes of the arrays."""
    sha = hashlib.sha256()
    for a in arrays:
        sha.update(np.ascontiguousarray(a).tobytes())
    return sha.hexdigest()


def make_rows(case, dtype="float32", csr=False):
    """X and y of a case; as CSR with one entry in ten."""
    sizes, _, n, loss = CASES[case]
    rng = np.random.default_rng(3)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    y = make_targets(loss, n, sizes[-1], rng)
    if csr:
        X = sparse.csr_matrix(np.where(rng.random(X.shape) < 0.1, X, 0).astype(dtype))
    return X, y.astype(np.int32) if y.ndim == 1 else y


def make_trainer(case, activation, dtype, n_threads, optimizer="adam", **more):
    sizes, batch, _, loss = CASES[case]
    activations = (activation,) * (len(sizes) - 2)
    return _core.Trainer(sizes, activations, loss, dtype, batch, optimizer, n_threads, **more)


def train(trainer, case, data, n_rows, optimizer="adam", epochs=5):
    """Hash of parameters and optimizer state, and the losses, after some epochs."""
    sizes, batch, _, _ = CASES[case]
    rng = np.random.default_rng(11)
    params = make_params(sizes, rng, trainer.dtype)
    count = reference.OPTIMIZERS[optimizer].n_states
    state = tuple(np.zeros_like(params) for _ in range(count))
    losses, t = [], 0
    for _ in range(epochs):
        loss, steps, finite = trainer.train_epoch(
            params,
            state,
            data,
            rng.permutation(n_rows),
            batch,
            alpha=1e-3,
            learning_rate=1e-3,
            t=t,
        )
        assert finite
        losses.append(loss)
        t += steps
    return digest(params, *state), losses


def classifier(n_threads, **params):
    """An estimator whose steps are worth more than one thread."""
    settings = dict(hidden_layer_sizes=(128, 128), batch_size=256, max_iter=5, tol=0.0)
    settings |= dict(n_iter_no_change=np.inf, random_state=0, n_threads=n_threads)
    return MLPClassifier(**{**settings, **params})


def classification(seed=0, n=1000):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 100)).astype("float32"), rng.integers(0, 10, n)


def fit_digest(n_threads, seed=0):
    """Hash of the fitted parameters."""
    est = classifier(n_threads, random_state=seed).fit(*classification(seed))
    return digest(*est.coefs_, *est.intercepts_)


# Of a thread that has come to its end, in the flags that the kernel shows of it.
_EXITING = 4


def threads():
    """Ids of the threads of this process that the kernel lists."""
    return set(os.listdir("/proc/self/task"))


def _runs(thread):
    """Whether a listed thread has not ended: one that was joined stays in the list for a moment."""
    try:
        stat = Path(f"/proc/self/task/{thread}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    after_the_name = stat.rpartition(")")[2].split()
    return not int(after_the_name[6]) & _EXITING


def new_threads(before):
    """Threads that run and are not among `before`, other than the one that asks."""
    listed = threads() - before - {str(threading.get_native_id())}
    return {thread for thread in listed if _runs(thread)}


def threads_left(before):
    """New threads that do not end within some seconds."""
    deadline = time.monotonic() + 5
    while (left := new_threads(before)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def blas_threads():
    """Threads that every BLAS of the process may use, by the file of the library."""
    return {i["filepath"]: i["num_threads"] for i in threadpool_info() if i["user_api"] == "blas"}


class Watch:
    """Calls `look` again and again in a Python thread while the ``with`` block runs.

    Attributes
    ----------
    seen : list
        What `look` returned.
    thread : str
        Id of the thread that looks.
    """

    def __init__(self, look, every=0.002):
        self._look, self._every = look, every
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.seen = []

    def _run(self):
        while not self._stop.is_set():
            self.seen.append(self._look())
            self._stop.wait(self._every)

    def __enter__(self):
        self._thread.start()
        self.thread = str(self._thread.native_id)
        while not self.seen:
            time.sleep(self._every)
        return self

    def __exit__(self, *exception):
        self._stop.set()
        self._thread.join()


def most_new_threads(work):
    """The most threads at once that `work` starts, and how many it leaves behind."""
    before = threads()
    with Watch(lambda: new_threads(before)) as watch:
        work()
        watch.seen.append(new_threads(before) - {watch.thread})
    return max(map(len, watch.seen)), len(threads_left(before))


def fit_report(seed, n_threads):
    """Of a fit in a worker: hash, threads planned, most threads started at once, process."""
    est = classifier(n_threads, random_state=seed, max_iter=60)
    most, left = most_new_threads(lambda: est.fit(*classification(seed)))
    plan = est.memory_plan_.n_threads
    return digest(*est.coefs_, *est.intercepts_), plan, most, left, os.getpid()


def run_at_once(tasks):
    """Results of the tasks, each in a Python thread of its own, started together."""
    start = threading.Barrier(len(tasks))
    results = [None] * len(tasks)

    def run(i):
        start.wait()
        results[i] = tasks[i]()

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not any(thread.is_alive() for thread in threads), "a fit hangs"
    return results
