"""Processes that tests wait for run beside the tests before them.

A test with ``@waits_for(described)`` takes the fixture `ahead`, which is the `Process` that
`described` returns, at its end. `described` takes those parameters of the test that it names.
Processes are started in the order of their tests: one beside the tests that run, and two
while a test waits. Tests whose `described` gets the same parameters share one.

A test marked ``alone``, whose bounds in real time are tight, begins when none runs.
"""

import inspect
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def waits_for(described):
    """A mark for a test that takes the fixture `ahead`."""
    return pytest.mark.ahead.with_args(described)


class Process:
    """A Python script with arguments, in a process of its own that runs in this folder.

    Parameters
    ----------
    script : str
        What Python runs.
    *arguments : object
        In sys.argv, as text.
    timeout : float
        Seconds that a test waits for its end.
    **environment : str or None
        Variables that it gets beside those of this process; None for those that it must not have.
    """

    def __init__(self, script, *arguments, timeout=60, **environment):
        self.command = [sys.executable, "-c", script, *map(str, arguments)]
        self.timeout = timeout
        self.environment = {**os.environ, **environment}

    def start(self):
        self._out, self._err = (tempfile.TemporaryFile("w+", errors="replace") for _ in range(2))
        self._running = subprocess.Popen(
            self.command,
            env={name: value for name, value in self.environment.items() if value is not None},
            stdin=subprocess.DEVNULL,
            stdout=self._out,
            stderr=self._err,
            cwd=HERE,
            start_new_session=True,
        )

    def runs(self):
        return self._running.poll() is None

    def kill(self):
        """End it and all that it has started."""
        if hasattr(os, "killpg"):
            os.killpg(self._running.pid, signal.SIGKILL)
        else:
            self._running.kill()
        self._running.wait()

    def texts(self):
        """What it has written to its output and to that of errors."""
        for file in (self._out, self._err):
            file.seek(0)
        return self._out.read(), self._err.read()

    def printed(self):
        """Its output; the test fails if it did not end well."""
        out, errors = self.texts()
        assert self._running.returncode == 0, f"{self._running.returncode}\n{out}\n{errors}"
        return out


def may_be_skipped(test):
    """Whether a mark says so, or has a text for a condition, which pytest knows the meaning of."""
    marks = test.iter_markers("skipif")
    return any(any(mark.args) or mark.kwargs.get("condition", False) for mark in marks)


def process_of(test):
    """What tells the process of a test from others, and the parameters that describe it."""
    (described,) = test.get_closest_marker("ahead").args
    values = test.callspec.params if hasattr(test, "callspec") else {}
    named = {name: values[name] for name in inspect.signature(described).parameters}
    return (described, repr(named)), named


class Queue:
    """The processes of all tests that were chosen."""

    def __init__(self):
        self.waiting, self.started = {}, {}

    def add(self, test):
        """Put what a test is marked with, if anything, to the end; nothing if it may be skipped."""
        if test.get_closest_marker("ahead") and not may_be_skipped(test):
            key, named = process_of(test)
            self.waiting.setdefault(key, named)

    def start(self, key):
        described, _ = key
        try:
            process = described(**self.waiting.pop(key))
            process.start()
        except (Exception, pytest.skip.Exception) as error:  # of the test that asks for it
            process = error
        self.started[key] = process

    def running(self):
        return [p for p in self.started.values() if isinstance(p, Process) and p.runs()]

    def go_on(self, at_once):
        """Start the next ones until so many run."""
        while self.waiting and len(self.running()) < at_once:
            self.start(next(iter(self.waiting)))

    def ended(self, test):
        """Wait for the process of a test."""
        key, named = process_of(test)
        if key not in self.started:
            self.waiting.setdefault(key, named)
            self.start(key)
        process = self.started[key]
        if not isinstance(process, Process):
            raise process
        deadline = time.monotonic() + process.timeout
        while process.runs():
            if time.monotonic() > deadline:
                process.kill()
                pytest.fail("hangs after\n{}\n{}".format(*process.texts()))
            self.go_on(2)
            time.sleep(0.01)
        return process

    def rest(self, seconds=60):
        """Wait until none runs, or so long."""
        deadline = time.monotonic() + seconds
        while self.running() and time.monotonic() < deadline:
            time.sleep(0.01)

    def end(self):
        """Kill those that nobody waits for any more."""
        self.waiting.clear()
        for process in self.running():
            process.kill()
