"""From the times of `calls.py` to its two tables."""

from report import machine_line, number, table

MISSED = "▼"
EXPLANATION = (
    "Time of one call of scikit-learn divided by that of fastbp, with X in float64 and default "
    f"settings, but for a dtype of float64; {MISSED} marks what is below the wanted ratio. Each "
    "side has processes of its own; they take turns, and the time of a round is the median of "
    "single calls. Ratios: the median over the rounds, with quartiles. Parity: the largest "
    "difference of the results over the largest result. The search is RandomizedSearchCV on the "
    "breast cancer data: 10 candidates in 5 folds, 5 epochs each."
)
EXPLANATION_AFTER = (
    "`predict` right after `A @ A` of 600 x 600 numbers in float64 in the same process, which "
    "wakes the threads of OpenBLAS: its time over that of the same call alone, wanted at most "
)


def misses(cell):
    """Whether a cell was measured and is worse than what is wanted."""
    if "error" in cell:
        return False
    ratio, wanted = cell["ratio"]["median"], cell["wanted"]
    return ratio > wanted if cell["kind"] == "predict after BLAS" else ratio < wanted


def report(results):
    """Everything that was measured.

    Returns
    -------
    str
        A page of Markdown.
    """
    settings, cells = results["settings"], results["cells"]
    lines = ["# Single calls beside scikit-learn", "", machine_line(results), ""]
    if settings["quick"]:
        lines += ["*A quick look, not a result: few calls in few rounds.*", ""]
    after = [cell for cell in cells if cell["kind"] == "predict after BLAS"]
    plain = [cell for cell in cells if cell not in after]
    if plain:
        lines += [EXPLANATION, "", *_plain_table(plain), ""]
    if after:
        lines += ["## Right after a threaded BLAS product", ""]
        lines += [f"{EXPLANATION_AFTER}{after[0]['wanted']:g}.", "", *_after_table(after), ""]
    failed = [f"- {cell['name']}: {cell['error']}" for cell in cells if "error" in cell]
    if failed:
        lines += ["## Failed", "", *failed, ""]
    missed = [cell["name"] for cell in cells if misses(cell)]
    lines.append(f"{len(missed)} of {len(cells)} calls miss what is wanted, {len(failed)} failed.")
    return "\n".join(lines) + "\n"


def _plain_table(cells):
    head = ["call", "layers", "dtype", "rows", "scikit-learn µs", "fastbp µs"]
    head += ["ratio", "quartiles", "wanted", "parity"]
    return table(head, [[*_what(cell), *_plain_values(cell)] for cell in cells], 3)


def _plain_values(cell):
    if "error" in cell:
        return ["", "", "FAILED", "", f"{cell['wanted']:g}", ""]
    theirs, ours = (_us(cell["sides"][side]["alone"]) for side in ("sklearn", "fastbp"))
    return [theirs, ours, *_ratio(cell), f"{cell['wanted']:g}", f"{cell['parity']['error']:.0e}"]


def _after_table(cells):
    head = ["call", "layers", "dtype", "rows", "fastbp alone µs", "after µs"]
    head += ["after/alone", "quartiles", "scikit-learn's"]
    return table(head, [[*_what(cell), *_after_values(cell)] for cell in cells], 3)


def _after_values(cell):
    if "error" in cell:
        return ["", "", "FAILED", "", ""]
    ours = cell["sides"]["fastbp"]
    return [_us(ours["alone"]), _us(ours["after"]), *_ratio(cell), f"{cell['peer']['median']:.2f}"]


def _what(cell):
    return [cell["kind"].split()[0], cell["net"], cell["dtype"], cell["rows"]]


def _us(found):
    return number(1e6 * found["median"])


def _ratio(cell):
    found = cell["ratio"]
    text = f"{found['median']:.2f}"
    marked = f"**{text}** {MISSED}" if misses(cell) else text
    return [marked, f"{found['q1']:.2f}..{found['q3']:.2f}"]
