"""Where the pictures of the examples go: `save` writes them into a folder.

It is the first argument of the command line, or without one the current directory. Without
matplotlib, which is optional, `plt` is None: the example prints its numbers and draws nothing.
"""

import sys
from pathlib import Path

try:
    import matplotlib.pyplot as plt
except ImportError:
    plt = None
    print("matplotlib is not installed, so there will be no picture: pip install fastbp[plot]")


def save(figure, script):
    """Write the picture of an example, under the name of its script."""
    path = Path(*sys.argv[1:2]) / Path(script).with_suffix(".png").name
    figure.savefig(path, dpi=100)
    print(f"picture: {path}")
