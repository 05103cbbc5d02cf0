"""A line that shows how far a fit has come, and when it will have ended."""

import shutil
import sys
from time import monotonic

from ._distributed import active, is_first

NAME = "progress"  # the `verbose` that asks for it
SECONDS = 0.1  # between two updates of the line
WIDTH = 20  # characters of the bar
PARTS = 10  # lines of a fit where a line cannot be written anew


def prints_lines(estimator):
    """Tell whether a line for each epoch is asked for, and asked of this rank."""
    return estimator.verbose and estimator.verbose != NAME and is_first()


def print_line(text):
    """Print a line; while other ranks go on, a stream that fails is no reason to leave them."""
    try:
        print(text)
    except Exception:  # of whatever stands in for standard output
        if active() is None:
            raise


def _clock_time(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"


def _is_terminal(stream):
    try:
        return stream.isatty()
    except Exception:  # of whatever stands in for standard error
        return False


class Progress:
    """Progress of one fit, on one line that is written anew, or on a few lines if there is none.

    The end is `max_iter` or `max_time`, whichever comes first; a fit may end before. A stream that
    fails is left alone from then on: no fit is lost for it.

    Parameters
    ----------
    unit : str
        What is counted: "epoch" or "iteration".
    max_iter : int
    max_time : float or None
        Seconds.
    began : float
        When the fit began, by the clock.
    stream : text file or None
        None: standard error.
    clock : callable
        Gives seconds.
    """

    def __init__(self, unit, max_iter, max_time, began, stream=None, clock=monotonic):
        self._unit, self._max_iter, self._max_time = unit, max_iter, max_time
        self._began, self._clock = began, clock
        self._stream = sys.stderr if stream is None else stream
        self._is_terminal = _is_terminal(self._stream)
        self._drawn_at = -float("inf")
        self._last = ""  # what stands on the line
        self._text = None  # of the last update, if it is not written yet
        self._part = 0

    def update(self, n_iter, loss, score=None):
        """So many epochs are done."""
        now = self._clock()
        elapsed = now - self._began
        done = n_iter / self._max_iter
        left = elapsed / n_iter * (self._max_iter - n_iter)
        if self._max_time is not None:
            done = min(max(done, elapsed / self._max_time), 1.0)
            left = max(min(left, self._max_time - elapsed), 0.0)
        part = int(PARTS * done)
        due = now - self._drawn_at >= SECONDS if self._is_terminal else part > self._part
        self._text = self._line(n_iter, loss, score, done, elapsed, left)
        if due:
            self._drawn_at, self._part = now, part
            self._write()

    def close(self):
        """Write what is not written yet, and end the line."""
        self._write()
        if self._last:
            self._put("\n")

    def _line(self, n_iter, loss, score, done, elapsed, left):
        bar = ("=" * int(WIDTH * done)).ljust(WIDTH, ".")
        scored = "" if score is None else f"  validation {score:.5g}"
        return (
            f"{self._unit} {n_iter}/{self._max_iter} [{bar}] loss {loss:.5g}{scored}  "
            f"{_clock_time(elapsed)} elapsed, {_clock_time(left)} left"
        )

    def _write(self):
        text, self._text = self._text, None
        if text is None:
            return
        if self._is_terminal:
            text = text[: max(shutil.get_terminal_size().columns - 1, 1)]
            # A carriage return goes back to the beginning; spaces cover what stood there.
            self._put("\r" + text.ljust(len(self._last)))
            self._last = text
        else:
            self._put(text + "\n")

    def _put(self, text):
        try:
            if self._stream is not None:
                self._stream.write(text)
                if hasattr(self._stream, "flush"):
                    self._stream.flush()
        except Exception:  # a full disk, a closed file, whatever a program puts in its place
            self._stream = None
