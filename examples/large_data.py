"""
Data larger than memory
=======================

A folder of Parquet files is read block by block while the net trains on the blocks before; of all
rows only two buffers are in memory, and the rows that are held out.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from fastbp import MLPRegressor

# %%
# Eight files, as a program that collects data might leave them. Numbers are float32, without
# dictionaries, in row groups of some hundred rows, whose order is drawn in each epoch.


def write(path, seed):
    """A file of measurements: how far something flies."""
    rng = np.random.default_rng(seed)
    speed, angle, wind = rng.uniform(-1, 1, (3, 5_000)).astype(np.float32)
    distance = (1 + 0.5 * speed) ** 2 * np.cos(1.2 * angle) + 0.3 * wind
    table = pa.table({"speed": speed, "angle": angle, "wind": wind, "distance": distance})
    pq.write_table(table, path, row_group_size=500, use_dictionary=False)


folder = tempfile.TemporaryDirectory()
for number in range(8):
    write(Path(folder.name) / f"part-{number}.parquet", number)
dataset = ds.dataset(folder.name)
print(f"{dataset.count_rows():,} rows with the columns {dataset.schema.names}")

# %%
# ``max_memory`` counts all that the fit has: the arena, parameters, buffers, rows held out, and
# what pyarrow needs to read.

reg = MLPRegressor(
    hidden_layer_sizes=(32, 32),
    learning_rate_init=0.005,
    max_iter=60,
    tol=1e-3,
    n_iter_no_change=2,
    early_stopping=True,
    validation_fraction=0.05,
    max_memory="2MB",
    random_state=0,
)
reg.fit(dataset, "distance")
for row in reg.memory_plan_.rows[-4:]:
    print(f"{row.name:22} {row.bytes:>10,} bytes")
print(f"total {reg.memory_plan_.total_bytes:,} bytes, R2 {reg.best_validation_score_:.2f}")

# %%
# Predictions read the dataset in the same way.

predicted = reg.predict(dataset)
distance = dataset.to_table(columns=["distance"])["distance"].to_numpy()
plt.plot(distance[::100], predicted[::100], ".", markersize=3)
plt.xlabel("distance")
plt.ylabel("predicted")
plt.title(f"R2 of all rows: {reg.score(dataset, 'distance'):.3f}")
plt.show()
folder.cleanup()
