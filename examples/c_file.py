"""
A model as a C file
===================

A net with 16 units learns the voltage of a battery by its charge, for a device that has no Python.
``python -m fastbp export`` writes it as one file of C99; the dots are what a C program makes of it.
"""

import shutil
import subprocess
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastbp
from fastbp.__main__ import main

rng = np.random.default_rng(0)
charge = rng.uniform(0, 1, 400)
voltage = 3.3 + 0.5 * charge + 0.15 * np.tanh(40 * (charge - 0.05)) + 0.3 * charge**8
measured = voltage + rng.normal(0, 0.02, 400)
net = fastbp.MLPRegressor(
    hidden_layer_sizes=(16,),
    activation="tanh",
    solver="lbfgs",
    alpha=0,
    tol=1e-7,
    max_iter=5000,
    random_state=0,
)
net.fit(charge[:, np.newaxis], measured)

# %%
# From a file of ``save`` the command makes the C file.

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)
fastbp.save(net, folder / "battery.fastbp")
main(
    [
        "export",
        str(folder / "battery.fastbp"),
        "--c",
        str(folder / "battery.c"),
        "--name",
        "battery",
    ]
)
text = (folder / "battery.c").read_text()
print(text[text.index("Memory") : text.index("Texts are")].replace("\n *", "").strip())

# %%
# A program that uses it, if there is a compiler.

PROGRAM = r"""
#include <stdio.h>
void battery_predict(const double *x, double *out);
int main(void) {
    for (int i = 0; i <= 20; i++) {
        double charge = i / 20.0, voltage;
        battery_predict(&charge, &voltage);
        printf("%.9g\n", voltage);
    }
    return 0;
}
"""
(folder / "main.c").write_text(PROGRAM)
grid = np.arange(21) / 20
expected = net.predict(grid[:, np.newaxis])
found = None
compiler = next(filter(shutil.which, ("cc", "gcc", "clang")), None)
if compiler is not None:
    command = [compiler, "-std=c99", "-O2", "main.c", "battery.c", "-lm", "-o", "battery"]
    subprocess.run(command, cwd=folder, check=True)
    printed = subprocess.run([folder / "battery"], capture_output=True, text=True, check=True)
    found = np.array(printed.stdout.split(), dtype=float)
    print("the same up to rounding:", np.allclose(found, expected, rtol=1e-5))
temporary.cleanup()

# %%

figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
ax.plot(charge, measured, ".", color="0.8", label="measured")
fine = np.linspace(0, 1, 200)
ax.plot(fine, net.predict(fine[:, np.newaxis]), label="predict")
if found is not None:
    ax.plot(grid, found, "o", color="C1", label="the C program")
ax.set(xlabel="charge", ylabel="volt", title="The same net in Python and in C")
ax.legend()
plt.show()
