"""The line that shows how far a fit has come."""

import functools
import io
import os
import signal

import numpy as np
import pytest
from estimator_problems import X_REG, Y_REG, assert_equal_params, both, inputs, small, targets

from fastbp import MLPRegressor, _fit
from fastbp._progress import Progress

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Terminal(io.StringIO):
    def isatty(self):
        return True

    def lines(self):
        """What stands on each line at the end, and stood on it before."""
        return [line.split("\r")[1:] for line in self.getvalue().split("\n")]


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def bar(stream, max_iter=100, max_time=None):
    clock = Clock()
    return Progress("epoch", max_iter, max_time, 0.0, stream, clock), clock


@pytest.fixture
def columns(monkeypatch):
    """Sets the width of the terminal."""

    def wide(n):
        monkeypatch.setenv("COLUMNS", str(n))

    wide(200)
    return wide


def test_line_of_a_terminal(columns):
    progress, clock = bar(Terminal())
    clock.now = 3661.0
    progress.update(25, 0.123456789, 0.75)
    assert progress._stream.getvalue() == (
        "\repoch 25/100 [=====...............] loss 0.12346  validation 0.75  "
        "1:01:01 elapsed, 3:03:03 left"
    )


def test_a_terminal_has_one_line_and_few_updates(columns):
    progress, clock = bar(Terminal(), max_iter=1000)
    for k in range(1, 1001):
        clock.now = k * 0.001
        progress.update(k, 1.0 / k)
    progress.close()
    written, rest = progress._stream.lines()
    assert rest == [] and 10 <= len(written) <= 12
    assert written[0].startswith("epoch 1/1000 ") and written[-1].startswith("epoch 1000/1000 ")
    assert "[====================]" in written[-1]
    assert written[-1].rstrip().endswith("0:00:01 elapsed, 0:00:00 left")


def test_a_shorter_line_covers_a_longer_one(columns):
    progress, clock = bar(Terminal())
    for loss in (0.123456, 1.0):
        clock.now += 1
        progress.update(5, loss)
    ((long, short),) = progress._stream.lines()
    assert len(short) == len(long) and short.endswith("left      ")


def test_a_line_fits_the_terminal(columns):
    columns(30)
    progress, clock = bar(Terminal())
    progress.update(5, 0.5)
    assert len(progress._stream.getvalue()) == 1 + 29


def test_time_left_is_that_to_the_nearer_end(columns):
    for max_time, left, done in ((40.0, "0:00:10", 15), (1e6, "0:04:30", 2), (20.0, "0:00:00", 20)):
        progress, clock = bar(Terminal(), max_time=max_time)
        clock.now = 30.0
        progress.update(10, 0.5)
        text = progress._stream.getvalue()
        assert f"{left} left" in text and text.count("=") == done


@pytest.mark.parametrize("max_iter", [1, 7, 10, 200])
def test_a_file_gets_a_line_for_every_tenth(max_iter):
    progress, clock = bar(io.StringIO(), max_iter=max_iter)
    for k in range(1, max_iter + 1):
        progress.update(k, 0.5)
    progress.close()
    lines = progress._stream.getvalue().splitlines()
    assert len(lines) == min(max_iter, 10)
    assert lines[-1].startswith(f"epoch {max_iter}/{max_iter} ")
    assert "\r" not in progress._stream.getvalue()


def test_a_file_gets_the_last_state_of_a_fit_that_ends_before():
    progress, clock = bar(io.StringIO())
    for k in range(1, 14):
        progress.update(k, 0.5)
    progress.close()
    lines = progress._stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["10/100", "13/100"]


def closed():
    stream = Terminal()
    stream.close()
    return stream


class Full(Terminal):
    def write(self, text):
        raise OSError("no space left")


@pytest.mark.parametrize("stream", [closed(), Full(), object()], ids=["closed", "full", "none"])
def test_a_stream_that_fails_is_left_alone(stream):
    progress, _ = bar(stream)
    if type(stream) is object:
        progress._stream = None  # as sys.stderr of a program without one
    progress.update(50, 0.5)
    progress.close()


class WritesOnly:
    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text


class Strange(Terminal):
    def isatty(self):
        raise RuntimeError("nobody knows")

    def write(self, text):
        raise RuntimeError("not today")


def test_a_stream_that_only_writes_is_written_to():
    progress, _ = bar(WritesOnly())
    stream = progress._stream
    progress.update(50, 0.5)
    progress.update(70, 0.5)
    progress.close()
    assert [line.split()[1] for line in stream.text.splitlines()] == ["50/100", "70/100"]


@pytest.mark.parametrize("stream", [object(), Strange()], ids=["writes not", "strange"])
def test_no_fit_is_lost_for_its_progress_line(stream, monkeypatch):
    monkeypatch.setattr(_fit, "Progress", functools.partial(Progress, stream=stream))
    est = small(MLPRegressor, verbose="progress").fit(X_REG, Y_REG)
    assert est.n_iter_ == 5


# ---- in a fit ----


@pytest.fixture
def stderr(monkeypatch, columns):
    # pytest has a standard error of its own in each phase of a test.
    stream = Terminal()
    monkeypatch.setattr(_fit, "Progress", functools.partial(Progress, stream=stream))
    return stream


@both
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_fit_shows_its_progress(cls, solver, stderr, capsys):
    est = small(cls, verbose="progress", solver=solver)
    est.fit(inputs(cls), targets(cls))
    shown, rest = stderr.lines()
    unit = "iteration" if solver == "lbfgs" else "epoch"
    assert rest == [] and shown[-1].startswith(f"{unit} 5/5 [====================] ")
    assert f"loss {est.loss_:.5g}  0:" in shown[-1]
    assert capsys.readouterr().out == ""
    assert_equal_params(est, small(cls, solver=solver).fit(inputs(cls), targets(cls)))


def test_progress_shows_the_validation_score(stderr):
    est = small(MLPRegressor, verbose="progress", early_stopping=True).fit(X_REG, Y_REG)
    assert f"validation {est.validation_scores_[-1]:.5g}  " in stderr.lines()[0][-1]


@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "learning_rate": "adaptive"}])
def test_progress_prints_no_other_lines(settings, stderr, capsys):
    small(MLPRegressor, verbose="progress", tol=100.0, n_iter_no_change=1, max_iter=20).set_params(
        **settings
    ).fit(X_REG, Y_REG)
    assert capsys.readouterr().out == ""


class ScorerError(Exception):
    pass


def test_the_line_ends_after_an_error(stderr):
    scores = iter([1.0, 2.0])

    def failing(*_):
        try:
            return next(scores)
        except StopIteration:
            raise ScorerError from None

    est = small(MLPRegressor, verbose="progress", early_stopping=True, scoring=failing)
    with pytest.raises(ScorerError):
        est.fit(X_REG, Y_REG)
    assert stderr.getvalue().endswith("\n") and "epoch 2/5" in stderr.getvalue()


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_line_ends_after_ctrl_c(solver, stderr):
    calls = []

    def interrupting(*_):
        calls.append(1)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.0

    est = small(MLPRegressor, verbose="progress", solver=solver, scoring=interrupting)
    ends = (
        pytest.warns(UserWarning, match="interrupted")
        if solver == "adam"
        else pytest.raises(KeyboardInterrupt)
    )
    with ends:
        est.fit(X_REG, Y_REG, X_val=X_REG, y_val=Y_REG)
    assert stderr.getvalue().endswith("\n")
    assert np.isfinite(est.predict(X_REG)).all()


def test_partial_fit_shows_no_progress(stderr, capsys):
    est = small(MLPRegressor, verbose="progress")
    for _ in range(3):
        est.partial_fit(X_REG, Y_REG)
    assert stderr.getvalue() == "" == capsys.readouterr().out


def test_verbose_takes_no_other_text():
    with pytest.raises(ValueError, match="'verbose' parameter.*'progress'"):
        small(MLPRegressor, verbose="bar").fit(X_REG, Y_REG)
