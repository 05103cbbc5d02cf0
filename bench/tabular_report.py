"""From the runs of `tabular.py` to its tables and its picture."""

import statistics

from report import machine_line, number, table
from tabular_methods import METHODS

TITLES = {"accuracy": "accuracy", "log_loss": "log loss", "roc_auc": "ROC AUC", "rmse": "RMSE"}
EXPLANATION = (
    "Of the test rows (20%), mean over the seeds and in brackets the standard deviation; 64% of "
    "the rows are to train, 16% to validate (early stopping), with the same split for all. Every "
    "method has its default settings, but that the boosted trees stop early. CPU seconds are those "
    "of a fit, of all threads; MiB is the highest resident memory of the process, libraries "
    "included."
)
COLORS = ("#111111", "#777777", "#d98200", "#8a5fb0", "#2a78b8", "#3a9a5b", "#c03b2b", "#e07ba0")
COLORS += ("#9c8a3c",)
MARKERS = "*PosD^vXd"


def grouped(results):
    """Runs by table and method.

    Returns
    -------
    dict of dict of list
    """
    found = {}
    for run in results["runs"]:
        found.setdefault(run["table"], {}).setdefault(run["method"], []).append(run)
    return found


def _mean(values):
    return statistics.fmean(values)


def _spread(values, digits=4):
    text = f"{_mean(values):.{digits}f}"
    return f"{text} ({statistics.stdev(values):.{digits}f})" if len(values) > 1 else text


def page(results):
    """All tables as a page of Markdown."""
    lines = ["# Tables: error and cost", "", machine_line(results), "", EXPLANATION, ""]
    versions = {METHODS[r["method"]].title: r["version"] for r in results["runs"]}
    lines += [", ".join(f"{title} {v}" for title, v in versions.items()) + ".", ""]
    for name, methods in grouped(results).items():
        first = next(iter(methods.values()))[0]
        classes = f", {first['n_classes']} classes" if first["n_classes"] else ""
        lines += [f"## {name}", ""]
        lines += [f"{first['rows']:,} rows, {first['columns']} columns{classes}.", ""]
        lines += [*_table_of(methods), ""]
    return "\n".join(lines)


def _table_of(methods):
    scores = list(next(iter(methods.values()))[0]["scores"])
    head = ["method", *(TITLES[s] for s in scores), "seeds", "CPU s", "wall s", "MiB"]
    rows = []
    for method, runs in methods.items():
        row = [METHODS[method].title]
        for name in scores:
            values = [run["scores"][name] for run in runs if name in run["scores"]]
            row.append(_spread(values) if values else "")
        row.append(len(runs))
        row += [
            number(_mean([run[key] for run in runs])) for key in ("cpu_seconds", "wall_seconds")
        ]
        row.append(f"{max(run['peak_bytes'] for run in runs) / 2**20:,.0f}")
        rows.append(row)
    return table(head, rows, 1)


def error_of(run):
    """The one error of the picture: RMSE, or log loss."""
    scores = run["scores"]
    return scores["rmse"] if "rmse" in scores else scores["log_loss"]


def relative_errors(methods):
    """Errors of each method over those of the best one with the same seed, on the same rows.

    Parameters
    ----------
    methods : dict of list
        Runs on one table by method.

    Returns
    -------
    dict of dict
        By method and seed. The best method has the lowest mean among those with the most seeds.
    """
    errors = {
        method: {run["seed"]: error_of(run) for run in runs} for method, runs in methods.items()
    }
    most = max(map(len, errors.values()))
    complete = [by_seed for by_seed in errors.values() if len(by_seed) == most]
    best = min(complete, key=lambda by_seed: _mean(by_seed.values()))
    return {
        method: {seed: error / best[seed] for seed, error in by_seed.items() if seed in best}
        for method, by_seed in errors.items()
    }


def draw(results, path):
    """Draw error over CPU seconds, a panel for each table.

    The error is a multiple of that of the best method of the table, see `relative_errors`.

    Parameters
    ----------
    results : dict
    path : path-like
        The picture, PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    tables = grouped(results)
    n_columns = min(4, len(tables))
    n_rows = -(-len(tables) // n_columns)
    size = (max(6.5, 3.1 * n_columns), 2.6 * n_rows + 0.9)
    figure, axes = plt.subplots(
        n_rows, n_columns, figsize=size, layout="constrained", squeeze=False, sharex=True
    )
    for ax in axes.flat[len(tables) :]:
        ax.set_axis_off()
    for ax, (name, methods) in zip(axes.flat, tables.items(), strict=False):
        _panel(ax, methods)
        kind = "RMSE" if next(iter(methods.values()))[0]["task"] == "regression" else "log loss"
        ax.set_title(f"{name}, {kind}", fontsize=10)
    low, high = axes[0, 0].get_xlim()
    ticks = [10.0**n for n in range(-3, 6) if low <= 10.0**n <= high]
    axes[0, 0].set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes[0, 0].minorticks_off()
    figure.supxlabel("CPU seconds of a fit", fontsize=10)
    figure.supylabel("test error over that of the best method", fontsize=10)
    handles = {}
    for ax in axes.flat:
        handles |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    titles = [kind.title for kind in METHODS.values() if kind.title in handles]
    figure.legend(
        [handles[title] for title in titles],
        titles,
        loc="outside upper center",
        ncols=5,
        frameon=False,
    )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _panel(ax, methods):
    """A large mark for the mean of a method, small ones for the seeds."""
    highest, relative = 1.0, relative_errors(methods)
    for i, (method, kind) in enumerate(METHODS.items()):
        if not relative.get(method):
            continue
        runs = [run for run in methods[method] if run["seed"] in relative[method]]
        errors = [relative[method][run["seed"]] for run in runs]
        seconds = [run["cpu_seconds"] for run in runs]
        style = {"color": COLORS[i], "marker": MARKERS[i], "linestyle": "none"}
        ax.plot(seconds, errors, markersize=3, alpha=0.35, **style)
        ax.plot(_mean(seconds), _mean(errors), markersize=8, label=kind.title, **style)
        highest = max(highest, *errors)
    ax.set_xscale("log")
    # A method that is far off may leave the panel, but not press the others together.
    ax.set_ylim(top=min(1 + 1.1 * (highest - 1) + 0.01, 1.5))
    ax.grid(color="0.9", linewidth=0.8)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.tick_params(length=0, labelsize=8)
