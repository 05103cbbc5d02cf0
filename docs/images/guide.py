"""Draws the pictures of getting-started.md and guide/: python docs/images/guide.py [FOLDER]"""

import sys
import warnings
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from sklearn.datasets import load_digits  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402
from sklearn.model_selection import train_test_split  # noqa: E402

import fastbp  # noqa: E402
from fastbp import MLPClassifier, MLPRegressor, TabularRegressor  # noqa: E402


def training_curve():
    """Of getting-started.md: a fit that stops early."""
    X, y = load_digits(return_X_y=True)
    X_train, _, y_train, _ = train_test_split(X / 16, y, random_state=0)
    clf = MLPClassifier((64,), learning_rate_init=0.01, early_stopping=True, random_state=0)
    figure, ax = plt.subplots(figsize=(7, 4.2), layout="constrained")
    display = fastbp.TrainingCurveDisplay.from_estimator(clf.fit(X_train, y_train), ax=ax)
    display.score_ax_.get_legend().set(loc="center", bbox_to_anchor=(0.55, 0.62))
    return figure


def flats(n):
    """A table of flats, with text and gaps, and their rents."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "area": rng.gamma(8, 10, size=n),
            "city": rng.choice(["Bern", "Lyon", "Turku"], size=n),
            "built": rng.integers(1900, 2025, size=n).astype(float),
            "lift": rng.random(n) < 0.3,
        }
    )
    per_metre = table["city"].map({"Bern": 24, "Lyon": 16, "Turku": 13})
    rent = table["area"] * (per_metre + (table["built"] > 1990) * 4)
    table.loc[::10, "built"] = np.nan
    return table, rent * rng.lognormal(sigma=0.05, size=n)


def columns():
    """Of getting-started.md: what the columns of a table are worth to a prediction."""
    table, rent = flats(1000)
    reg = TabularRegressor(random_state=0).fit(table[:800], rent[:800])
    worth = fastbp.permutation_importance(reg, table[800:], rent[800:], random_state=0)
    order = worth.importances_mean.argsort()
    figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
    names = table.columns[order]
    ax.barh(names, worth.importances_mean[order], xerr=worth.importances_std[order])
    ax.set_xlabel("how much R² falls when the column is shuffled")
    return figure


def online():
    """Of getting-started.md: rows that arrive one batch at a time, and change their meaning."""
    rng = np.random.default_rng(0)
    clf = MLPClassifier((32,), learning_rate_init=0.01, random_state=0)
    right = []
    for step in range(400):
        X = rng.normal(size=(20, 4))
        turn = -1 if step >= 200 else 1
        y = X[:, 0] * X[:, 1] + turn * X[:, 2] > 0
        right.append(np.mean(clf.predict(X) == y) if step else 0.5)
        clf.partial_fit(X, y, classes=[False, True])
    smooth = np.convolve(right, np.ones(20) / 20, mode="valid")
    figure, ax = plt.subplots(figsize=(7, 3.2), layout="constrained")
    ax.plot(np.arange(19, 400), smooth)
    ax.axvline(200, color="0.5", linestyle="--")
    ax.text(203, 0.52, "the rule changes", color="0.3")
    ax.set(xlabel="batch", ylabel="accuracy before it is learnt from", ylim=(0.45, 1.0))
    return figure


def noisy_sine(n):
    """x, and sin(x) with a noise that grows with x."""
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 6, size=(n, 1))
    return x, np.sin(x[:, 0]) + rng.normal(scale=0.05 + 0.1 * x[:, 0])


SETTINGS = dict(
    hidden_layer_sizes=(32, 32),
    activation="silu",
    learning_rate_init=0.005,
    batch_size=50,
    max_iter=200,
    random_state=0,
)


def outliers():
    """Of guide/regression.md: four losses and some targets that are far off."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-3, 3, size=(400, 1))
    y = np.sin(x[:, 0]) + rng.normal(scale=0.1, size=400)
    y[rng.random(400) < 0.1] += 4
    grid = np.linspace(-3, 3, 200)[:, None]
    figure, ax = plt.subplots(figsize=(7, 4), layout="constrained")
    ax.plot(x, y, ".", color="0.75")
    for loss in ("squared_error", "log_cosh", "huber", "absolute_error"):
        reg = MLPRegressor(loss, huber_delta=0.2, **SETTINGS).fit(x, y)
        ax.plot(grid, reg.predict(grid), label=loss)
    ax.set(xlabel="x", ylabel="y")
    ax.legend()
    return figure


def bands():
    """Of guide/regression.md: quantiles, and a mean with its standard deviation."""
    x, y = noisy_sine(400)
    grid = np.linspace(0, 6, 200)[:, None]
    low, middle, high = (
        MLPRegressor("quantile", quantile=[0.1, 0.5, 0.9], **SETTINGS).fit(x, y).predict(grid).T
    )
    mean, std = MLPRegressor("gaussian_nll", **SETTINGS).fit(x, y).predict(grid, return_std=True)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for ax, title, line, lower, upper in (
        (axes[0], "quantiles 0.1, 0.5 and 0.9", middle, low, high),
        (axes[1], "mean and one standard deviation", mean, mean - std, mean + std),
    ):
        ax.plot(x, y, ".", color="0.75", markersize=2)
        ax.fill_between(grid[:, 0], lower, upper, alpha=0.35)
        ax.plot(grid, line)
        ax.set(title=title, xlabel="x")
    axes[0].set_ylabel("y")
    return figure


def schedules():
    """Of guide/classification.md: learning rates by the step of a fit."""
    X, y = load_digits(return_X_y=True)
    figure, ax = plt.subplots(figsize=(8, 3.4), layout="constrained")
    for name, schedule in (
        ("constant", dict()),
        ("linear", dict(learning_rate="linear")),
        ("cosine, warmup=0.1", dict(learning_rate="cosine", warmup=0.1)),
        ("one_cycle", dict(learning_rate="one_cycle")),
        ("a function", dict(learning_rate=lambda progress: 0.5 ** np.floor(4 * progress))),
    ):
        clf = MLPClassifier(
            (8,), learning_rate_init=0.01, max_iter=50, n_iter_no_change=np.inf, **schedule
        )
        ax.plot(range(1, 51), clf.fit(X, y).learning_rates_, label=name)
    ax.set(xlabel="epoch", ylabel="learning rate")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


PICTURES = {
    "training-curve": training_curve,
    "columns": columns,
    "online": online,
    "outliers": outliers,
    "bands": bands,
    "schedules": schedules,
}


def draw(folder):
    warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is meant
    for name, picture in PICTURES.items():
        # The same file in every run: no date, and names that are not random.
        with matplotlib.rc_context({"svg.hashsalt": name}):
            figure = picture()
            figure.savefig(Path(folder) / f"{name}.svg", metadata={"Date": None})
            plt.close(figure)


if __name__ == "__main__":
    draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent)
