"""Writes the files of this folder: one of each kind, which every later version must load.

``python tests/files/write.py NAME...`` writes those of these names, and what they predict into
``expected.json``; without names it writes those that are not there. Files that have been released
are not written again: a new format gets new names.
"""

import datetime
import json
import sys
import uuid
import warnings
from pathlib import Path

import numpy as np

import fastbp

HERE = Path(__file__).parent
NET = {"hidden_layer_sizes": (5,), "max_iter": 6, "random_state": 0}
TABLE = {"hidden_layer_sizes": (6,), "n_estimators": 2, "n_bins": 4, "batch_size": 16}
TABLE |= {"max_iter": 3, "n_iter_no_change": 9, "random_state": 0}


def rows(n=60, seed=0):
    return np.random.RandomState(seed).uniform(-1, 1, (n, 4))


def labels(X):
    return np.select([X[:, 0] < -0.3, X[:, 0] < 0.4], ["low", "middle"], "top")


def table(n=60, seed=0):
    """Numbers with gaps, text, whole numbers with a boolean, and dates."""
    X = np.empty((n, 4), dtype=object)
    X[:, 0] = rows(n, seed)[:, 0]
    X[::7, 0] = None
    X[:, 1] = np.array(["red", "grün", "blue"], dtype=object)[np.arange(n) % 3]
    X[:, 2] = np.arange(n) % 4
    X[:, 3] = [datetime.date(2020, 1, 1) + datetime.timedelta(days=i) for i in range(n)]
    return X


def with_early_stopping():
    X = rows()
    est = fastbp.MLPClassifier(**NET, early_stopping=True, activation=["gelu"], dropout=0.1)
    return est.set_params(max_iter=20).fit(X, labels(X))


def of_two_classes():
    X = rows()
    est = fastbp.MLPClassifier(**NET, solver="sgd", class_weight={False: 1.0, True: 2.0})
    for _ in range(3):
        est.partial_fit(X, X[:, 0] > 0, classes=[False, True])
    return est


def of_several_labels():
    X = rows()
    return fastbp.MLPClassifier(**NET, dtype="float64").fit(X, X[:, :3] > 0)


def with_average():
    X = rows()
    est = fastbp.MLPRegressor(**NET, solver="adamw", ema_decay=0.9, n_iter_no_change=np.inf)
    return est.partial_fit(X, X[:, 0]).partial_fit(X, X[:, 0])


def of_quantiles():
    X = rows()
    return fastbp.MLPRegressor("quantile", **NET, quantile=[0.1, 0.5, 0.9]).fit(X, X[:, 0])


def of_deviations():
    X = rows()
    random_state = np.random.RandomState(3)
    est = fastbp.MLPRegressor("gaussian_nll", **{**NET, "random_state": random_state})
    return est.fit(X, X[:, :2], X_val=X[:9], y_val=X[:9, :2])


def by_lbfgs():
    X = rows()
    return fastbp.MLPRegressor(**NET, solver="lbfgs", activation="tanh").fit(X, X[:, :2])


def half_square(output, y, sample_weight):
    error = output - y
    return 0.5 * (error**2).sum(axis=1), error


def of_own_loss():
    X = rows()
    return fastbp.MLPRegressor(half_square, **NET, learning_rate=np.sqrt).fit(X, X[:, 0])


def not_fitted():
    return fastbp.MLPClassifier((7, np.int64(3)), "tanh", random_state=5, max_memory="64MB")


def of_table_with_classes():
    X = table()
    return fastbp.TabularClassifier(**TABLE).fit(X, np.arange(60) % 3 == 0)


def of_table_with_numbers():
    X = table()
    est = fastbp.TabularRegressor(**TABLE, categorical_features=[1, 2, 3], dtype="float64")
    return est.fit(X, np.c_[np.arange(60.0), -np.arange(60.0)])


def of_table_with_several_labels():
    X = table()
    return fastbp.TabularClassifier(**TABLE).fit(X[:, :2], np.arange(180).reshape(60, 3) % 2)


def of_table_with_one_answer():
    return fastbp.TabularRegressor(**TABLE).fit(table()[:, 1:2], np.full(60, 2.5))


def network():
    net = fastbp.Network((4, 6, 2), "silu", loss="huber", huber_delta=0.5)
    params = net.init_params(random_state=0)
    X = rows()
    made = {"net": net, "params": params}
    for cls in (fastbp.SGD, fastbp.Adam, fastbp.AdamW):
        optimizer = made[cls.__name__] = cls(net, ema_decay=0.9)
        optimizer.step(params, X, X[:, :2])
    return made


def values():
    return {
        "plain": [None, True, 3, -0.5, "grün", float("nan"), [float("inf")] * 2],
        "many": [i / 8 for i in range(20)],
        "rows": [(i / 8, float("nan")) for i in range(20)],
        ("a", 1): {2: range(3), frozenset([1, 2]): b"bytes"},
        "arrays": [
            np.arange(3, dtype=">i4"),
            np.array(["a", "bcd"]),
            np.array([b"a", b"bcd"]),
            np.array(["2020-01-01", "NaT"], dtype="datetime64[D]"),
            np.array([1, "a", None], dtype=object),
            np.ones((2, 3), np.float16),
            np.array(True),
        ],
        "scalars": [np.float32(0.1), np.int8(3), np.datetime64("2020-01-01"), np.str_("a")],
        "dtype": np.dtype("float32"),
        "dates": [
            datetime.date(2020, 2, 29),
            datetime.datetime(2020, 2, 29, 1, 2, 3, 4),
            datetime.datetime(2020, 2, 29, tzinfo=datetime.UTC),
            datetime.time(1, 2, 3),
            datetime.timedelta(days=-1, microseconds=5),
            uuid.UUID(int=5),
        ],
    }


MAKERS = (
    with_early_stopping,
    of_two_classes,
    of_several_labels,
    with_average,
    of_quantiles,
    of_deviations,
    by_lbfgs,
    of_own_loss,
    not_fitted,
    of_table_with_classes,
    of_table_with_numbers,
    of_table_with_several_labels,
    of_table_with_one_answer,
    network,
    values,
)
FUNCTIONS = {"of_own_loss": {"loss": half_square, "learning_rate": np.sqrt}}


def predictions(made):
    """What is predicted for a few rows, as lists; None for what predicts nothing."""
    if isinstance(made, dict):
        if "net" not in made:
            return None
        return made["net"].forward(made["params"], rows(5, seed=1)).tolist()
    if not hasattr(made, "n_features_in_"):
        return None
    tabular = type(made).__name__.startswith("Tabular")
    X = table(5, seed=1) if tabular else rows(5, seed=1)
    X = X[:, 1:2] if made.n_features_in_ == 1 else X[:, : made.n_features_in_]
    probabilities = hasattr(made, "predict_proba")
    return (made.predict_proba(X) if probabilities else made.predict(X)).tolist()


def main(names):
    place = HERE / "expected.json"
    expected = json.loads(place.read_text()) if place.exists() else {}
    for make in MAKERS:
        path = HERE / f"{make.__name__}.fastbp"
        if make.__name__ in names or not (names or path.exists()):
            made = make()
            fastbp.save(made, path)
            expected[path.stem] = predictions(made)
    lines = (f"{json.dumps(name)}: {json.dumps(expected[name])}" for name in sorted(expected))
    place.write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main(sys.argv[1:])
