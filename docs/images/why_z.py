"""Draws the arena of docs/why-z.md: python docs/images/why_z.py [FILE.svg]"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import fastbp  # noqa: E402

PLAN = dict(layer_sizes=(96, 160, 128, 96, 10), batch_size=128, n_threads=1)


def draw(path):
    # The same file in every run: no date, and names that are not random.
    with matplotlib.rc_context({"svg.hashsalt": "why-z"}):
        ax = fastbp.memory_plan(**PLAN).plot(outside=False)
        ax.figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("why-z.svg"))
