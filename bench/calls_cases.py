"""The calls that are timed beside scikit-learn's, and how many times as fast each should be.

They are the short ones, in which the work around the network weighs most: predictions, online
updates, fits of little data.
"""

from dataclasses import dataclass

# Networks, the last with an output per class, and the dtype in which fastbp computes.
SMALL_NETS = (((4, 32, 32, 5), "float32"), ((64, 64, 5), "float64"))
LARGE_NETS = (((54, 256, 256, 256, 5), "float32"), ((784, 100, 5), "float32"))
ROWS = (1, 16, 33, 64, 100, 330, 1000, 3300, 10000)
# A few rows take microseconds, and a pause for threads that still spin milliseconds.
ROWS_AFTER_BLAS = (1, 16, 33)
# A prediction right after a threaded BLAS product may take so many times what it takes alone.
SLOWDOWN_ALLOWED = 3.0
SEARCH_FITS = 50


@dataclass(frozen=True)
class Call:
    """One cell of the table.

    Parameters
    ----------
    kind : {"predict", "predict after BLAS", "partial_fit", "fit", "search"}
    layers : tuple of int
        Widths, input and output included; without the hidden ones for a search, which varies them.
    rows : int
        Of X in one call.
    wanted : float
        Time of scikit-learn over time of fastbp, at least; for a prediction after BLAS, the
        allowed time over that of the same prediction alone.
    dtype : {"float32", "float64"}
        In which fastbp computes. X is float64 always, as users have it.
    """

    kind: str
    layers: tuple
    rows: int
    wanted: float
    dtype: str = "float32"

    @property
    def net(self):
        """The layers as one word."""
        return "-".join(map(str, self.layers)) if self.kind != "search" else "several"

    @property
    def name(self):
        """What ``--cells`` is matched against, such as ``predict 64-64-5 float64 33``."""
        return f"{self.kind} {self.net} {self.dtype} {self.rows}"

    @property
    def group(self):
        """Calls of one group take turns in one process, with one estimator."""
        return self.kind.split()[0], self.layers, self.dtype


def _wanted_of_predict(rows, large):
    if rows == 1:
        return 5.0
    if rows <= 33:
        return 2.5 if large else 5.0
    if rows <= 330:
        return 1.2 if large else 1.5
    return 1.0


def _predictions():
    nets = [(*net, large) for large, of in ((False, SMALL_NETS), (True, LARGE_NETS)) for net in of]
    alone = [
        Call("predict", layers, rows, _wanted_of_predict(rows, large), dtype)
        for layers, dtype, large in nets
        for rows in ROWS
    ]
    after = [
        Call("predict after BLAS", layers, rows, SLOWDOWN_ALLOWED, dtype)
        for layers, dtype, _ in nets
        for rows in ROWS_AFTER_BLAS
    ]
    return [*alone, *after]


CALLS = (
    *_predictions(),
    Call("partial_fit", (8, 32, 32, 1), 32, 12.0),
    Call("partial_fit", (8, 256, 256, 1), 32, 4.0),
    Call("fit", (8, 32, 32, 1), 100, 2.5),
    Call("search", (30, 1), 569, 2.0),
)
