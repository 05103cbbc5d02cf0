"""What lives where in the arena, from forward to backward, before anything is allocated.

Run ``python examples/memory_plan.py [FOLDER]``.
"""

from _picture import plt, save
from sklearn.datasets import load_digits

import fastbp


def main():
    plan = fastbp.memory_plan((64, 256, 128, 10), batch_size=64, n_threads=1)
    print(plan)
    X, y = load_digits(return_X_y=True)
    clf = fastbp.MLPClassifier((256, 128), batch_size=64, n_threads=1, early_stopping=True)
    clf.fit(X / 16, y)
    allocated = clf.memory_plan_.arena_bytes
    print(f"\nbytes of the arena: {plan.arena_bytes:,} planned, {allocated:,} after a fit")

    capped = fastbp.memory_plan((64, 256, 128, 10), batch_size=64, n_threads=1, max_memory="200KB")
    print(f'with max_memory="200KB": {capped.arena_bytes:,}, {capped.batch_rows} rows a pass')

    if plt:
        save(plan.plot().figure, __file__)


if __name__ == "__main__":
    main()
