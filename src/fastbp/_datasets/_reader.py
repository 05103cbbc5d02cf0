"""One thread that fills buffers with the next rows while the caller trains on others."""

import queue
import threading

# Of the thread, for those who list threads.
NAME = "fastbp-reader"
# Seconds after which a waiting caller looks whether the thread is there.
_PATIENCE = 1.0


class Reader:
    """A thread that calls ``fill(buffer, stop)`` for one free buffer after the other.

    Parameters
    ----------
    fill : callable
        It returns what `take` then gives. `stop` is an event: where it is set, `fill` may end early
        with anything. What it raises is raised by `take`, and ends the thread.
    buffers : sequence
        All are free in the beginning.
    """

    def __init__(self, fill, buffers):
        self._fill = fill
        self._free, self._filled = queue.SimpleQueue(), queue.SimpleQueue()
        self._stop = threading.Event()
        for buffer in buffers:
            self._free.put(buffer)
        self._thread = threading.Thread(target=self._run, name=NAME, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._stop.is_set():
                buffer = self._free.get()
                if self._stop.is_set():
                    return
                self._filled.put((self._fill(buffer, self._stop), None))
        except BaseException as error:  # the caller has it to deal with
            self._filled.put((None, error))

    def take(self):
        """What the next call of `fill` returned, as soon as it has."""
        while True:
            try:
                result, error = self._filled.get(timeout=_PATIENCE)
                break
            except queue.Empty:
                if not self._thread.is_alive() and self._filled.empty():
                    raise RuntimeError("The thread that reads the dataset has ended.") from None
        if error is not None:
            raise error
        return result

    def give_back(self, buffer):
        """Let this buffer be filled again."""
        self._free.put(buffer)

    def close(self):
        """End the thread, and wait until it has ended."""
        self._stop.set()
        self._free.put(None)
        self._thread.join()
