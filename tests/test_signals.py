"""Signals: heard inside of every call, harmless to its result, not taken by the team's threads."""

import contextlib
import itertools
import os
import signal
import threading
import time
import traceback

import numpy as np
import pytest
from ahead import Process, waits_for
from conftest import make_params

from fastbp import _core

pytestmark = pytest.mark.skipif(
    threading.current_thread() is not threading.main_thread(), reason="signals go to main"
)

# A program that takes a signal by waiting for it blocks it in the threads that it knows of.
WAITS_FOR_A_SIGNAL = """
import os, signal
import numpy as np
import fastbp

rng = np.random.default_rng(0)
net = fastbp.Network((40, 128, 128, 3), loss="log_loss", n_threads=2, batch_size=500)
net.loss(net.init_params(0), rng.normal(size=(500, 40)), rng.integers(0, 3, 500))
assert net.memory_plan.n_threads == 2
assert not signal.pthread_sigmask(signal.SIG_BLOCK, []), "the caller's own mask has changed"
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
os.kill(os.getpid(), signal.SIGUSR1)
assert signal.sigtimedwait([signal.SIGUSR1], 5).si_signo == signal.SIGUSR1
"""


@pytest.mark.skipif(not hasattr(signal, "sigtimedwait"), reason="no sigtimedwait")
@waits_for(
    lambda: Process(WAITS_FOR_A_SIGNAL, OPENBLAS_NUM_THREADS="1")  # its threads would take it
)
def test_a_signal_that_the_program_waits_for_is_not_taken_by_the_team(ahead):
    ahead.printed()


# ---- calls that take long ----

SIZES = (100, 384, 384, 3)
ROWS = 1000  # of X, visited again and again
LATE = 0.5  # seconds; 0.1 on a machine that does nothing else


class Alarm(Exception):
    """What the handlers of these tests raise."""


class Call:
    """One call of a Trainer, of some tenths of a second: `run` returns all that it made."""

    def __init__(self, kind, n_threads, n_rows=None):
        rng = np.random.default_rng(0)
        X = rng.normal(size=(ROWS, SIZES[0])).astype(np.float32)
        self.kind = kind
        self.data = _core.Data(X, rng.integers(0, SIZES[-1], ROWS).astype(np.int32))
        self.order = np.resize(np.arange(ROWS), n_rows or self.n_rows[kind])
        self.batch_size = len(self.order) if kind in ("epoch", "passes") else 1024
        self.trainer = _core.Trainer(
            SIZES,
            ("relu", "tanh"),
            "log_loss",
            "float32",
            self.batch_size,
            "adam" if kind in ("epoch", "passes", "batches") else "none",
            n_threads,
            max_memory=10_000_000 if kind == "passes" else 0,
            forward_only=kind == "forward",
        )
        assert self.trainer.n_threads == n_threads
        self.first_params = make_params(SIZES, rng, "float32")
        self.clear()

    # one mini-batch in one pass, in several; many mini-batches; an evaluation; a prediction
    n_rows = dict(epoch=25_000, passes=30_000, batches=30_000, gradient=30_000, loss=80_000)
    n_rows |= dict(forward=80_000)

    def clear(self):
        self.params = self.first_params.copy()
        self.state = (np.zeros_like(self.params), np.zeros_like(self.params))

    def run(self):
        data, order = self.data, self.order
        if self.kind == "forward":
            out = np.empty((len(order), SIZES[-1]), np.float32)
            self.trainer.forward(self.params, data, out, order)
            return [out]
        if self.kind in ("gradient", "loss"):
            grad = np.empty_like(self.params) if self.kind == "gradient" else None
            value = self.trainer.value_and_grad(self.params, data, grad, order, alpha=0.1)
            return [np.float64(value), grad]
        loss, *_ = self.trainer.train_epoch(
            self.params, self.state, data, order, self.batch_size, alpha=1e-4, learning_rate=1e-3
        )
        return [np.float64(loss), self.params.copy(), *(s.copy() for s in self.state)]

    def is_as_after(self, steps):
        """Whether parameters and state are those of so many updates."""
        found = self.params.copy(), *(s.copy() for s in self.state)
        self.clear()
        if steps:
            self.order, kept = self.order[: steps * self.batch_size], self.order
            self.run()
            self.order = kept
        same = all(map(np.array_equal, found, (self.params, *self.state)))
        self.clear()
        return same


def same_bits(a, b):
    return all(
        np.asarray(x).tobytes() == np.asarray(y).tobytes() for x, y in zip(a, b, strict=True)
    )


def was_heard_inside(alarm):
    """Whether a call of the core ran the handler; otherwise Python did, after its end."""
    return any("_poll" in frame.name for frame in traceback.extract_tb(alarm.__traceback__))


class Handler:
    """`work` at SIGALRM after `delay` seconds, and then every `interval`."""

    def __init__(self, work, delay, interval=0.0):
        self.work, self.times = work, (delay, interval)

    def __enter__(self):
        self.before = signal.signal(signal.SIGALRM, lambda *_: self.work())
        signal.setitimer(signal.ITIMER_REAL, *self.times)

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self.before)


KINDS = list(Call.n_rows)


@pytest.fixture(
    scope="module",
    params=itertools.product(KINDS, (1, 2)),
    ids=lambda kind_and_threads: "{}-{}".format(*kind_and_threads),
)
def timed(request):
    """A call, what it makes and the seconds that it takes."""
    call = Call(*request.param)
    start = time.perf_counter()
    expected = call.run()
    took = time.perf_counter() - start
    call.clear()
    return call, expected, took


def test_a_handler_that_raises_ends_the_call_soon(timed):
    call, expected, took = timed
    kind, late = call.kind, []
    shares = [0.05, 0.25, 0.4, 0.55] * 3
    while shares and len(late) < 4:
        delay, inside = took * shares.pop(0), [True]

        def ring(inside=inside):
            if inside:
                raise Alarm

        start = time.perf_counter()
        with Handler(ring, delay):
            try:
                call.run()
                inside.clear()
                heard = False
            except Alarm as alarm:
                heard = was_heard_inside(alarm)
            seconds = time.perf_counter() - start
            if heard:
                late.append(seconds - delay)
            else:
                took = seconds  # this run was faster than the one before
            if inside:
                if heard and kind in ("epoch", "passes"):
                    assert call.trainer.updates == 0
                if kind in ("epoch", "passes", "batches"):
                    assert call.is_as_after(call.trainer.updates)
        call.clear()
    assert len(late) == 4 and sorted(late)[2] < LATE, (took, late)
    found = call.run()
    call.clear()
    assert same_bits(found, expected), "the next call"


def test_a_handler_that_returns_changes_nothing(timed):
    call, expected, _ = timed
    rings = []
    with Handler(lambda: rings.append(1), 0.01, 0.01):
        found = call.run()
    call.clear()
    assert len(rings) >= 2
    assert same_bits(found, expected)


def test_a_handler_may_use_another_trainer_but_not_the_one_that_runs():
    call, other = Call("gradient", 2), Call("gradient", 2, 2000)
    expected, expected_of_other = call.run(), other.run()
    found, refused = [], []

    def work():
        found.append(other.run())
        with pytest.raises(RuntimeError, match="running already"):
            call.run()
        refused.append(1)

    with Handler(work, 0.05):  # the call has begun, and takes longer
        assert same_bits(call.run(), expected)
    assert refused
    assert all(same_bits(one, expected_of_other) for one in found)
    assert same_bits(call.run(), expected)


def test_a_handler_finds_the_arithmetic_of_its_program():
    """The core takes numbers below the normal ones for zero; a handler must not."""
    smallest, halves = np.finfo(np.float64).tiny, []
    with Handler(lambda: halves.append(float(smallest) / 2), 0.05, 0.05):
        Call("gradient", 1).run()
    assert halves and all(half > 0 for half in halves)


def test_a_trainer_in_use_by_another_thread_is_refused():
    call = Call("gradient", 1)
    expected, order, found = call.run(), call.order, []

    def run():
        while not found:
            with contextlib.suppress(RuntimeError):
                found.append(call.run())

    thread = threading.Thread(target=run)
    thread.start()
    with pytest.raises(RuntimeError, match="running already"):
        while thread.is_alive():
            call.trainer.loss(call.params, call.data, order[:1])
    thread.join()
    assert same_bits(found[0], expected) and same_bits(call.run(), expected)


# ---- forks during a call ----


def ends_well(child, seconds=30):
    """Wait for a child; False if it hangs or says that something was wrong."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status) == 0
        time.sleep(0.01)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
forks_with_threads = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")


@fork
@forks_with_threads
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_child_may_use_a_trainer_that_was_busy_in_another_thread(n_threads):
    call = Call("gradient", n_threads)
    expected = call.run()
    thread = threading.Thread(target=call.run)
    thread.start()
    time.sleep(0.1)
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if same_bits(call.run(), expected) and same_bits(call.run(), expected) else 1)
    thread.join()
    assert ends_well(child)
    assert same_bits(call.run(), expected)


@fork
@forks_with_threads
@pytest.mark.parametrize("n_threads", [1, 2])
def test_a_handler_may_fork_and_the_child_is_told_that_its_call_is_over(n_threads):
    call = Call("gradient", n_threads)
    expected, children = call.run(), []

    def work():
        if not children:
            children.append(os.fork())

    with Handler(work, 0.1):
        try:
            found, error = call.run(), None
        except RuntimeError as caught:
            found, error = None, caught
    if children[0] == 0:
        signal.alarm(20)
        right = error is not None and "forked" in str(error) and same_bits(call.run(), expected)
        os._exit(0 if right else 1)
    assert same_bits(found, expected)
    assert ends_well(children[0])
