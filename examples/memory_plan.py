"""
What lives where in the arena
=============================

The memory of a training step is planned before anything is allocated: what is in it, from forward
to backward, and how many bytes.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

import fastbp

plan = fastbp.memory_plan((64, 256, 128, 10), batch_size=64, n_threads=1)
print(plan)

# %%
# A rectangle is as high as its buffer, and as wide as the time for which its content is needed:

plan.plot()
plt.show()

# %%
# What a fit allocates is what was planned, to the byte. ``max_memory`` makes the arena smaller: a
# mini-batch that does not fit is processed in parts.

X, y = load_digits(return_X_y=True)
clf = fastbp.MLPClassifier((256, 128), batch_size=64, n_threads=1, early_stopping=True)
clf.fit(X / 16, y)
allocated = clf.memory_plan_.arena_bytes
print(f"bytes of the arena: {plan.arena_bytes:,} planned, {allocated:,} after a fit")

capped = fastbp.memory_plan((64, 256, 128, 10), batch_size=64, n_threads=1, max_memory="200KB")
print(f'with max_memory="200KB": {capped.arena_bytes:,}, {capped.batch_rows} rows a pass')
