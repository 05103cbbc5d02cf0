"""From measurements to tables and a picture."""

import json
from pathlib import Path

COLUMNS = {
    "sklearn": "scikit-learn",
    "torch": "torch eager",
    "compile": "torch.compile",
    "jax": "JAX",
}
COLORS = {"sklearn": "#d98200", "torch": "#c03b2b", "compile": "#8a5fb0", "jax": "#2a78b8"}
MARKERS = {"sklearn": "o", "torch": "s", "compile": "D", "jax": "^"}
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
COMMAND = "make bench-peers compare ARGS=--page"
# What the folders of bench/results with a compare.json of their own were measured on.
MACHINES = {
    "intel": "Intel Xeon",
    "zen4": "AMD EPYC (Zen 4)",
    "skylakex": "Zen 5, OpenBLAS at AVX-512",
}


def table(head, rows, left=1):
    """Lines of a Markdown table, padded so that it can be read as plain text too."""
    lines = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(head))]

    def padded(line):
        cells = (
            cell.ljust(w) if i < left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        )
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * w if i < left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    return [padded(lines[0]), "| " + " | ".join(rule) + " |", *map(padded, lines[1:])]


def save(name, text, results):
    """Write a page and the measurements behind it into bench/results, as .md and .json."""
    folder = Path(__file__).parent / "results"
    (folder / f"{name}.md").write_text(text)
    (folder / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")


def number(x):
    """Format a positive number with about three digits."""
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def _layers(cell):
    return "-".join(map(str, cell["layers"]))


def _time(found, scale=1e6):
    if found is None:
        return ""
    low, middle, high = (found[key] * scale for key in ("q1", "median", "q3"))
    return f"{number(middle)} ({number(low)}..{number(high)})"


def _ratio(cell, name):
    found = cell["contenders"].get(name)
    if found is None or "ratio" not in found:
        return "failed" if any(key.startswith(name + " ") for key in cell["failures"]) else ""
    ratio = found["ratio"]["median"]
    return f"**{ratio:.2f}** ▼" if ratio < 1 else f"{ratio:.2f}" if ratio < 10 else f"{ratio:.0f}"


def _shown(cells):
    return [n for n in COLUMNS if any(n in cell["contenders"] for cell in cells)]


def ratio_table(results):
    """Peer's time over fastbp's.

    Returns
    -------
    list of str
        Lines of Markdown.
    """
    cells = results["cells"]
    names = _shown(cells)
    rows = []
    for cell in cells:
        own = cell["contenders"].get("fastbp") or cell["contenders"].get("fastbp-fit")
        if own:
            time = f"{number(own['median'] * 1e6)} µs/{cell['unit']}"
            what = [cell["case"], _layers(cell), str(cell["batch"]), cell["dtype"]]
            rows.append([*what, time, *(_ratio(cell, n) for n in names)])
    head = ["case", "layers", "batch", "dtype", "fastbp", *(COLUMNS[n] for n in names)]
    return table(head, rows, 2)


def machine_line(results):
    """Say in one line what the results were measured on and with."""
    machine = results["machine"]
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['fastbp_level']}; "
        f"Python {machine['python']}, {versions}; {machine['date']}."
    )


EXPLANATION = (
    "Time of the peer divided by the time of fastbp, for the same work from the same initial "
    "weights; above 1, fastbp is faster, and ▼ marks where it is not. Median over interleaved "
    "runs, the best number of threads (and of the peer's settings) for each side. scikit-learn is "
    "compared fit to fit, the others loop to loop."
)


def machines_table(others):
    """Ratios of several machines, a column each: those of all peers in one cell.

    Parameters
    ----------
    others : dict
        Name of the folder -> results.

    Returns
    -------
    list of str
        Lines of Markdown.
    """
    found = {
        name: {(c["case"], _layers(c), c["dtype"]): c for c in results["cells"]}
        for name, results in others.items()
    }
    # In the order of the longest table, which has them all.
    cases = max(found.values(), key=len)

    def ratios(cell):
        told = [_ratio(cell, peer) or "-" for peer in COLUMNS] if cell else []
        while told and told[-1] == "-":
            del told[-1]
        return " / ".join(told)

    rows = [[*case, *(ratios(cells.get(case)) for cells in found.values())] for case in cases]
    return table(["case", "layers", "dtype", *(MACHINES.get(n, n) for n in found)], rows, 2)


def page_part(results, others, picture):
    """What stands between the markers of docs/performance.md.

    Parameters
    ----------
    results : dict
        Of the machine of the picture.
    others : dict
        Name of the folder -> results of other machines; may be empty.
    picture : str
        Where the picture lies, as the page sees it.

    Returns
    -------
    str
    """
    quick = ["", "*A quick look, not a result: few runs of small work.*"]
    lines = [
        EXPLANATION,
        *(quick if results["settings"]["quick"] else []),
        "",
        f"![Time of each peer over the time of fastbp]({picture})",
        "",
        *ratio_table(results),
        "",
        machine_line(results),
        "",
        f"Reproduce with `{COMMAND}`.",
    ]
    if others:
        peers = " / ".join(COLUMNS.values())
        lines += ["", f"Other machines; in each cell {peers}:", "", *machines_table(others)]
    return "\n".join(lines)


def replace_part(text, part):
    """Put `part` between the markers of a text.

    Raises
    ------
    ValueError
        If the markers are not there, in order.
    """
    start, end = text.find(BEGIN), text.find(END)
    if start < 0 or end < start:
        raise ValueError(f"the page needs a line {BEGIN} and, after it, a line {END}")
    return f"{text[: start + len(BEGIN)]}\n{part}\n{text[end:]}"


def _times_section(cells):
    rows = []
    for cell in cells:
        for name, found in cell["contenders"].items():
            ratio = found.get("ratio")
            spread = (
                f"{ratio['median']:.2f} ({ratio['q1']:.2f}..{ratio['q3']:.2f})" if ratio else ""
            )
            error = cell["parity"]["error"].get(name)
            setting = f"{found['threads']} {found['variant']}".strip()
            rows.append(
                [cell["case"], cell["dtype"], name, setting, _time(found), found["runs"], spread]
                + ["" if error is None else f"{error:.1e}"]
            )
    head = ["case", "dtype", "contender", "threads", "µs (quartiles)", "runs", "ratio", "parity"]
    return table(head, rows, 4)


def _memory_section(memory):
    rows = []
    for entry in memory:
        for name, found in entry["contenders"].items():
            sizes = ["failed", ""]
            if "peak" in found:
                plan = found["planned"]
                sizes = [f"{b / 2**20:.1f}" if b is not None else "" for b in (found["peak"], plan)]
            rows.append([entry["case"], entry["dtype"], name, *sizes])
    return table(["case", "dtype", "contender", "peak MiB", "plan MiB"], rows, 3)


def _widths_section(sweep):
    rows = [
        [n, *(number(us) for us in found["us"]), f"{found['cliff']:.2f}"]
        for n, found in sweep["threads"].items()
    ]
    return table(["threads", *sweep["widths"], "cliff"], rows)


def full_report(results):
    """Everything that was measured, as one page of Markdown.

    Returns
    -------
    str
    """
    lines = ["# fastbp beside its peers", "", machine_line(results), ""]
    if results["settings"]["quick"]:
        lines += ["*A quick look, not a result: few runs of small work.*", ""]
    if results["missing"]:
        lines += [f"Not installed, so not compared: {', '.join(results['missing'])}.", ""]
    if results["cells"]:
        lines += ["## Ratios", "", EXPLANATION, "", *ratio_table(results), "", "## Times", ""]
        lines += [
            "Microseconds per unit of work. Parity: how far the loss after the same first steps "
            "(unshuffled) lies from fastbp's, as a fraction of what the steps gained; for "
            "gradients and predictions, the relative difference of the results.",
            "",
            *_times_section(results["cells"]),
            "",
        ]
    failures = [
        f"- {cell['case']} {cell['dtype']}: {who}: {why}"
        for cell in results["cells"]
        for who, why in cell["failures"].items()
    ]
    if failures:
        lines += ["## Left out", "", *failures, ""]
    if results["memory"]:
        lines += ["## Peak memory of a fit over its start, fresh process", ""]
        lines += [*_memory_section(results["memory"]), ""]
    if results["widths"]:
        lines += ["## Widths 10-w-w-10, microseconds per step", ""]
        lines += ["Cliff: the largest factor per weight between neighbouring widths.", ""]
        lines += [*_widths_section(results["widths"]), ""]
    if results["imports"]:
        rows = [[name, _time(found, 1e3)] for name, found in results["imports"].items()]
        lines += [
            "## Import, milliseconds",
            "",
            *table(["module", "median (quartiles)"], rows),
            "",
        ]
    return "\n".join(lines)


def draw(results, path):
    """Draw the ratios, one line per case, on a logarithmic scale.

    Parameters
    ----------
    results : dict
    path : path-like
        The picture, PNG.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    cells = [c for c in results["cells"] if any("ratio" in f for f in c["contenders"].values())]
    figure, axes = plt.subplots(figsize=(8, 1.3 + 0.36 * len(cells)), layout="constrained")
    for name in _shown(cells):
        points = [
            (cell["contenders"][name]["ratio"], y)
            for y, cell in enumerate(cells)
            if "ratio" in cell["contenders"].get(name, {})
        ]
        if not points:
            continue
        middle = [r["median"] for r, _ in points]
        spread = [
            [r["median"] - r["q1"] for r, _ in points],
            [r["q3"] - r["median"] for r, _ in points],
        ]
        axes.errorbar(
            middle,
            [y for _, y in points],
            xerr=spread,
            fmt=MARKERS[name],
            color=COLORS[name],
            markersize=6,
            elinewidth=1,
            label=COLUMNS[name],
        )
    axes.axvline(1, color="0.3", linewidth=1)
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, 0.8), max(high, 2))
    ticks = [t for t in (0.5, 1, 2, 5, 10, 20, 50, 100) if axes.get_xlim()[0] <= t <= high]
    axes.set_xticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([], minor=True)
    several = {cell["dtype"] for cell in cells} != {"float32"}
    axes.set_yticks(
        range(len(cells)),
        [f"{c['case']}, {c['dtype']}" if several else c["case"] for c in cells],
    )
    axes.invert_yaxis()
    axes.grid(axis="both", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(length=0)
    axes.set_xlabel("time of the peer / time of fastbp (right of 1: fastbp is faster)")
    figure.legend(loc="outside upper center", ncols=4, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
