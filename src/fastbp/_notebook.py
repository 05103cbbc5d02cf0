"""What notebooks show: a memory plan as a table with bars, an estimator with the plan of its fit.

Colours are those of the page, so that dark pages are readable; nothing is loaded from elsewhere.
"""

from html import escape

from .memory import human_bytes, pass_summary, table_line

_CELL = "padding:1px 8px;text-align:{};border:none;background:none;color:inherit"
_TABLE = "border-collapse:collapse;border:none;font-size:90%;color:inherit;background:none"


class ShowsPlan:
    """Base of estimators: after scikit-learn's diagram, the memory plan of the last fit.

    To stand before BaseEstimator, whose diagram it extends. Inside of another estimator, such as a
    pipeline, scikit-learn draws the diagram without it.
    """

    def _repr_html_inner(self):
        return super()._repr_html_inner() + _fitted_plan_html(self)

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle:  # scikit-learn is set to diagrams
            bundle["text/html"] += _fitted_plan_html(self)
        return bundle


def _fitted_plan_html(estimator):
    plan = getattr(estimator, "memory_plan_", None)
    if plan is None:
        return ""
    summary = f"Memory of the last fit: {human_bytes(plan.total_bytes)}"
    return f"<details><summary>{summary}</summary>{plan._repr_html_()}</details>"


def plan_html(plan):
    """A memory plan as an HTML table.

    The bar of a row of the arena is where it lies there, between start and end of the arena; that
    of another row is its share of what lives outside.

    Parameters
    ----------
    plan : MemoryPlan

    Returns
    -------
    str
    """
    inside = [row for row in plan.rows if row.offset is not None]
    outside = [row for row in plan.rows if row.offset is None]
    outside_bytes = sum(row.bytes for row in outside)
    lines = [_line("th", "name", "shape", "offset", "bytes", "")]
    lines += [_row(row, row.offset, plan.arena_bytes) for row in inside]
    lines.append(_sum("arena", plan.arena_bytes))
    lines += [_row(row, 0, outside_bytes) for row in outside]
    lines.append(_sum("total", plan.total_bytes))
    note = f"<small>{escape(pass_summary(plan))}</small>"
    return f'<div><table style="{_TABLE}">{"".join(lines)}</table>{note}</div>'


def _row(row, start, whole):
    *texts, _ = table_line(row)
    return _line("td", *texts, _bar(start, row.bytes, whole))


def _sum(name, n_bytes):
    return _line("th", name, "", "", f"{n_bytes:,}", human_bytes(n_bytes))


def _line(tag, name, shape, offset, n_bytes, last):
    """A line of the table; `last` is HTML, the rest is text."""
    texts = zip((name, shape, offset, n_bytes), ("left", "left", "right", "right"), strict=True)
    cells = [f'<{tag} style="{_CELL.format(side)}">{escape(text)}</{tag}>' for text, side in texts]
    cells.append(f'<{tag} style="{_CELL.format("left")}">{last}</{tag}>')
    return f'<tr style="background:none">{"".join(cells)}</tr>'


def _bar(start, length, whole):
    """From start to start + length on a line of `whole`; at least a pixel long."""
    whole = max(whole, 1)
    return (
        '<div style="width:16em;border-left:1px solid;border-right:1px solid">'
        f'<div style="margin-left:{min(100 * start / whole, 99.5):.2f}%;'
        f"width:{100 * length / whole:.2f}%;min-width:1px;height:0.8em;"
        'background:currentColor;opacity:0.45"></div></div>'
    )
