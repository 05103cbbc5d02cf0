"""
A training that goes on in another program
==========================================

The first half of the steps is saved with ``save``: net, parameters and optimizer, in a file that is
safe to open. A second program loads them and does the other half; it ends with the bits of a run
that was not interrupted. Then a bit of the file is flipped, which ``load`` notices.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp

STEPS = 300


def begin():
    """A net, its first parameters, its optimizer, and data."""
    net = fastbp.Network((1, 32, 32, 1), activation="tanh", n_threads=1)
    X = np.linspace(-1, 1, 200, dtype=np.float32).reshape(-1, 1)
    optimizer = fastbp.Adam(net, learning_rate=0.005, ema_decay=0.99)
    y = np.sin(7 * X) * X
    return {"net": net, "params": net.init_params(0), "optimizer": optimizer, "X": X, "y": y}


def train(state, steps):
    step = state["optimizer"].step
    return [step(state["params"], state["X"], state["y"]) for _ in range(steps)]


# %%
# In one run, and for half of it with a file at the end. A file takes a dict, so that what belongs
# together stays together.

whole = begin()
losses = train(whole, 2 * STEPS)

folder = Path(tempfile.mkdtemp())
state = begin()
first = train(state, STEPS)
fastbp.save(state, folder / "half.fastbp")
print(f"saved after {STEPS} steps: {(folder / 'half.fastbp').stat().st_size:,} bytes")

# %%
# The other program needs the file and nothing else.

OTHER_PROGRAM = """
import sys
import fastbp
state = fastbp.load(sys.argv[1])
step = state["optimizer"].step
losses = [step(state["params"], state["X"], state["y"]) for _ in range(int(sys.argv[2]))]
fastbp.save({"params": state["params"], "losses": losses}, sys.argv[3])
"""
arguments = folder / "half.fastbp", str(STEPS), folder / "rest.fastbp"
subprocess.run([sys.executable, "-c", OTHER_PROGRAM, *arguments], check=True)
ending = fastbp.load(folder / "rest.fastbp")
same = np.array_equal(ending["params"], whole["params"])
print(f"another program did {STEPS} more; the same bits as in one run: {same}")

# %%
# A file that was damaged is refused.

data = bytearray((folder / "half.fastbp").read_bytes())
data[-1] ^= 1
(folder / "half.fastbp").write_bytes(data)
try:
    fastbp.load(folder / "half.fastbp")
except ValueError as error:
    print(f"one bit flipped: {str(error).partition('loaded: ')[2]}")

# %%

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
steps = np.arange(1, 2 * STEPS + 1)
ax.semilogy(steps, losses, color="0.75", linewidth=5, label="in one run")
ax.semilogy(steps[:STEPS], first, label="until it was saved")
ax.semilogy(steps[STEPS:], ending["losses"], label="in another program")
ax.set(xlabel="step", ylabel="loss", title="Saved half-way, and gone on from there")
ax.legend()
plt.show()
