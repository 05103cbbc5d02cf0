"""Draws the rooms of the source in docs/design.md: python docs/images/rooms.py [FILE.svg]"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

# From top to bottom: what uses stands above what is used.
FLOORS = [
    ("Python", "estimators", "fit: check, prepare, commit, train; Network and its optimizers"),
    ("Cython", "_core.pyx", "owns the life of the arena, releases the GIL"),
    ("C", "train", "the trainer, the loop over mini-batches, the sinks of the gradient"),
    ("C", "net", "parameters; layers, a file for each kind; what a pass does"),
    ("C", "data", "rows, and how they are read"),
    ("C", "gemm", "products of matrices"),
    ("C", "kernels", "all other arithmetic, a copy for each instruction set"),
    ("C", "runtime", "arena, pool of threads, processor, operating system"),
]
COLORS = {"Python": "#dbe9f6", "Cython": "#e6e2f3", "C": "#fbe7d0"}
WIDTH, HEIGHT, STEP = 10.0, 0.75, 1.0


def draw(path):
    # The same file in every run: no date, and names that are not random.
    with matplotlib.rc_context({"svg.hashsalt": "rooms"}):
        figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
        for floor, (language, name, what) in enumerate(FLOORS):
            y = -floor * STEP
            color = COLORS[language]
            ax.add_patch(plt.Rectangle((0, y), WIDTH, HEIGHT, facecolor=color, edgecolor="0.5"))
            middle = y + HEIGHT / 2
            ax.text(-0.15, middle, language, ha="right", va="center", color="0.4")
            ax.text(0.2, middle, name, va="center", weight="bold")
            ax.text(2.2, middle, what, va="center", fontsize=9)
        x = WIDTH + 0.25
        ax.annotate("", (x, y), (x, HEIGHT), arrowprops=dict(arrowstyle="-|>", color="0.4"))
        ax.text(x + 0.1, (y + HEIGHT) / 2, "uses", rotation=-90, va="center", color="0.4")
        ax.set(xlim=(-1.1, x + 0.5), ylim=(y - 0.1, HEIGHT + 0.1))
        ax.set_axis_off()
        figure.savefig(path, metadata={"Date": None} if str(path).endswith(".svg") else None)
        plt.close(figure)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).with_name("rooms.svg"))
