"""Pictures: the curves of a training, and what lives where in the arena.

matplotlib is optional, and imported when something is drawn.
"""

import math
from typing import NamedTuple

import numpy as np
from sklearn.base import is_classifier, is_regressor
from sklearn.utils.validation import check_is_fitted

from ._lifetimes import lifetimes, phases
from .memory import human_bytes

# ---- the curves of a training ----

_CURVES = ("loss", "validation_loss", "validation_score")
# Where an estimator has a curve if `history_` does not.
_ATTRIBUTE = {
    "loss": "loss_curve_",
    "validation_loss": "validation_loss_curve_",
    "validation_score": "validation_scores_",
}
# How a display finds again what an earlier one has drawn on the same axes.
_SCORES, _CURVE = "fastbp scores", "fastbp curve"


class TrainingCurveDisplay:
    """Loss and validation score by iteration.

    `from_estimator` makes a display from a fitted estimator; all parameters are attributes.

    Parameters
    ----------
    loss : array-like of shape (n_iterations,) or None, default=None
        Training loss of every iteration. NaN and None are gaps.
    validation_loss : array-like of shape (n_iterations,) or None, default=None
        Loss of the validation rows.
    validation_score : array-like of shape (n_iterations,) or None, default=None
        Score of the validation rows.
    iterations : array-like of shape (n_iterations,) or None, default=None
        What to draw against; None, and for curves of another length: 1, 2, ...
    best_iter : int or None, default=None
        The iteration whose weights were kept, counted as `iterations` are.
    score_name : str, default="score"
        What the validation score is: "accuracy".
    name : str or None, default=None
        Of the estimator, for the legend; None: the legend does not name it.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the losses.
    score_ax_ : matplotlib Axes or None
        With the scores: a twin of ``ax_`` with an axis of its own on the right. None if no display
        has had a score to draw there.
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        The curves that were drawn: loss, validation loss, validation score.
    best_line_ : matplotlib Line2D or None
        The vertical line at ``best_iter``.

    See Also
    --------
    MemoryPlan.plot : What lives where in the arena.

    Examples
    --------
    >>> import numpy as np
    >>> import fastbp
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> reg = fastbp.MLPRegressor(max_iter=5, random_state=0).fit(X, X[:, 0])
    >>> display = fastbp.TrainingCurveDisplay.from_estimator(reg)  # doctest: +SKIP
    >>> display.figure_.savefig("training.png")  # doctest: +SKIP
    """

    def __init__(
        self,
        *,
        loss=None,
        validation_loss=None,
        validation_score=None,
        iterations=None,
        best_iter=None,
        score_name="score",
        name=None,
    ):
        self.loss = loss
        self.validation_loss = validation_loss
        self.validation_score = validation_score
        self.iterations = iterations
        self.best_iter = best_iter
        self.score_name = score_name
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        ax=None,
        name=None,
        log_scale="auto",
        loss_kw=None,
        validation_kw=None,
        score_kw=None,
        best_kw=None,
    ):
        """Draw the curves of a fitted estimator.

        They are those of ``history_``, or else ``loss_curve_``, ``validation_loss_curve_`` and
        ``validation_scores_``, so scikit-learn's MLPClassifier and MLPRegressor have them, too.

        Parameters
        ----------
        estimator : estimator
            Fitted, with at least one of these attributes.
        ax : matplotlib Axes or None, default=None
            Where to draw; None: a new figure. Several displays may share one.
        name : str or None, default=None
            For the legend; None: the legend does not name the estimator.
        log_scale : bool or "auto", default="auto"
            Whether the axis of the losses is logarithmic; "auto": if all are positive and the
            largest is more than ten times the smallest.
        loss_kw, validation_kw, score_kw, best_kw : dict or None, default=None
            Keywords for ``matplotlib.axes.Axes.plot``: of the loss, the validation loss and the
            validation score; and for ``axvline``, of the line at the best iteration.

        Returns
        -------
        TrainingCurveDisplay

        Raises
        ------
        NotFittedError
            Before `fit`.
        TypeError
            If the estimator has no curve, or `ax` is no matplotlib Axes.
        ImportError
            Without matplotlib.
        """
        check_matplotlib(f"{cls.__name__}.from_estimator")
        curves, iterations = _curves_of(estimator, cls.__name__)
        display = cls(
            **curves,
            iterations=iterations,
            best_iter=getattr(estimator, "best_iter_", None),
            score_name=_score_name(estimator),
            name=name,
        )
        return display.plot(
            ax,
            log_scale=log_scale,
            loss_kw=loss_kw,
            validation_kw=validation_kw,
            score_kw=score_kw,
            best_kw=best_kw,
        )

    def plot(
        self,
        ax=None,
        *,
        name=None,
        log_scale="auto",
        loss_kw=None,
        validation_kw=None,
        score_kw=None,
        best_kw=None,
    ):
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes or None, default=None
            Where to draw; None: a new figure.
        name : str or None, default=None
            For the legend; None: that of the display.
        log_scale, loss_kw, validation_kw, score_kw, best_kw
            As in `from_estimator`.

        Returns
        -------
        TrainingCurveDisplay
            This one.

        Raises
        ------
        TypeError
            If `ax` is no matplotlib Axes.
        ValueError
            For a `log_scale` that is not understood.
        ImportError
            Without matplotlib.
        """
        check_matplotlib(f"{type(self).__name__}.plot")
        if not isinstance(log_scale, bool | np.bool_) and log_scale != "auto":
            raise ValueError(f'log_scale={log_scale!r} is not understood: True, False or "auto".')
        ax = _new_axes() if ax is None else _checked_axes(ax)
        self.ax_, self.figure_, self.lines_ = ax, ax.figure, []
        self.score_ax_, self.best_line_ = _scores_of(ax), None
        prefix = self.name if name is None else name
        prefix = "" if prefix is None else f"{prefix}: "

        losses = [_numbers(self.loss), _numbers(self.validation_loss)]
        score = _numbers(self.validation_score)
        self._draw(ax, losses[0], f"{prefix}loss", loss_kw or {})
        dashed = {"linestyle": "--"} | (validation_kw or {})
        self._draw(ax, losses[1], f"{prefix}validation loss", dashed)
        if np.isfinite(score).any():
            self.score_ax_ = self.score_ax_ or _new_scores(ax)
            self.score_ax_.set_ylabel(f"validation {self.score_name}")
            label = f"{prefix}validation {self.score_name}"
            self._draw(self.score_ax_, score, label, {"linestyle": "-."} | (score_kw or {}))
        if self.best_iter is not None:
            settings = {"color": "0.5", "linestyle": ":", "zorder": 0}
            settings["label"] = f"{prefix}best iteration: {self.best_iter}"
            self.best_line_ = ax.axvline(self.best_iter, **settings | (best_kw or {}))

        if _spans_a_decade(np.concatenate(losses)) if log_scale == "auto" else log_scale:
            _make_logarithmic(ax)
        ax.set_xlabel("iteration")
        ax.set_ylabel("loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        _one_legend(ax, self.score_ax_)
        return self

    def _draw(self, ax, values, label, settings):
        if not np.isfinite(values).any():
            return
        x = np.arange(1, len(values) + 1)
        if self.iterations is not None and len(self.iterations) == len(values):
            x = np.asarray(self.iterations)
        lines = [*self.ax_.lines, *(self.score_ax_.lines if self.score_ax_ else ())]
        drawn = sum(line.get_gid() == _CURVE for line in lines)
        # One point alone makes no line.
        marker = "o" if np.isfinite(values).sum() == 1 else None
        defaults = {"label": label, "color": f"C{drawn % 10}", "marker": marker}
        self.lines_ += ax.plot(x, values, **defaults | settings, gid=_CURVE)


def check_matplotlib(caller):
    """Raise an ImportError that says how to get matplotlib, if it is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{caller} draws with matplotlib, which is not installed: pip install fastbp[plot]"
        ) from error


def _new_axes(layout="constrained", **settings):
    import matplotlib.pyplot as plt

    return plt.subplots(layout=layout, **settings)[1]


def _checked_axes(ax):
    """`ax`, if it is one to draw on; else TypeError."""
    from matplotlib.axes import Axes

    if not isinstance(ax, Axes):
        raise TypeError(
            f"ax is of type {type(ax).__name__}: it takes a matplotlib Axes or None, for a new "
            f"figure; got {ax!r}."
        )
    return ax


def _curves_of(estimator, caller):
    """The curves of a fitted estimator by name, None for those that it has not; the iterations."""
    check_is_fitted(estimator)
    history = getattr(estimator, "history_", None) or {}
    curves = {}
    for name in _CURVES:
        values = history.get(name)
        if values is None or not np.isfinite(_numbers(values)).any():
            other = getattr(estimator, _ATTRIBUTE[name], None)
            values = values if other is None else other
        curves[name] = values
    if all(values is None for values in curves.values()):
        raise TypeError(
            f"{caller} needs an estimator with history_, loss_curve_ or validation_scores_, got "
            f"{type(estimator).__name__}. A solver without iterations of its own has none; of a "
            "pipeline or a search, pass the network: pipeline[-1], search.best_estimator_."
        )
    return curves, history.get("iteration")


def _score_name(estimator):
    """What its validation score is."""
    scoring = getattr(estimator, "scoring", None)
    if isinstance(scoring, str):
        return "score" if scoring == "loss" else scoring
    if scoring is not None:
        return getattr(scoring, "__name__", "score")
    return "accuracy" if is_classifier(estimator) else "R²" if is_regressor(estimator) else "score"


def _numbers(values):
    """A curve as float64, NaN where there is None."""
    return np.array([] if values is None else values, dtype=np.float64).reshape(-1)


def _spans_a_decade(losses):
    losses = losses[np.isfinite(losses)]
    return losses.size > 0 and losses.min() > 0 and bool(losses.max() > 10 * losses.min())


def _make_logarithmic(ax):
    """With plain numbers at 1, 2 and 5 of every decade: losses seldom span many."""
    from matplotlib.ticker import FuncFormatter

    def plain(value, _):
        leading = f"{value:e}"[0]
        return f"{value:g}" if leading in "125" else ""

    ax.set_yscale("log")
    ax.yaxis.set_major_formatter(FuncFormatter(plain))
    ax.yaxis.set_minor_formatter(FuncFormatter(plain))


def _scores_of(ax):
    """The twin of these axes that an earlier display has made for its scores, or None."""
    for other in ax.get_shared_x_axes().get_siblings(ax):
        if other.get_gid() == _SCORES and other.get_position().bounds == ax.get_position().bounds:
            return other
    return None


def _new_scores(ax):
    twin = ax.twinx()
    twin.set_gid(_SCORES)
    return twin


def _one_legend(ax, score_ax):
    """Of the curves on both axes: on the upper ones, or curves would run through it."""
    handles, labels = ax.get_legend_handles_labels()
    if score_ax is None:
        if handles:
            ax.legend(handles, labels)
        return
    for more, to in zip(score_ax.get_legend_handles_labels(), (handles, labels), strict=True):
        to += more
    if ax.get_legend() is not None:
        ax.get_legend().remove()
    # A loss ends low on the right, and a score high.
    score_ax.legend(handles, labels, loc="center right")


# ---- the arena over one mini-batch ----

_COLORS = {
    "x": "#8da0cb",
    "y": "#8da0cb",
    "weight": "#8da0cb",
    "z": "#66c2a5",
    "dz": "#fc8d62",
    "dz_top": "#fc8d62",
    "grad": "#fc8d62",
    "packed": "#cfcfe4",
    "packed_T": "#cfcfe4",
    "params": "#e5c494",
}
_OTHER_COLOR = "#d9d9d9"
_FONT = 8  # points
_LINE = 1.3 * _FONT  # from line to line
_CHARACTER = 0.5 * _FONT  # about the width of one
_GAP = 24  # between a box and the label beside it, and after that
_MOST_BESIDE = 16  # labels, or their lines are a thicket
_BAR = 30  # width of the column of what lives outside


class _Box(NamedTuple):
    """A rectangle to be drawn and labelled, in data coordinates."""

    x: float
    y: float
    width: float
    height: float
    label: str
    size: str
    kind: str


def plot_plan(plan, ax=None, *, outside=True):
    """Draw a memory plan; see `MemoryPlan.plot`."""
    check_matplotlib("MemoryPlan.plot")
    if ax is None:
        ax = _new_axes(figsize=(10, 5.5), layout=None)
        ax.figure.subplots_adjust(left=0.09, right=0.99, top=0.94, bottom=0.16)
    else:
        _checked_axes(ax)
    names, lives = phases(plan), lifetimes(plan)
    boxes = [_box_of(life) for life in lives if life.row.offset is not None]
    kept = _stacked([row for row in plan.rows if row.offset is None]) if outside else []

    # From left to right: phases, labels of what is too thin for its own, what lives outside.
    width = ax.get_window_extent().width * 72 / ax.figure.dpi
    column = (_BAR + _gap_and_width(kept)) / width if kept else 0
    share = max(1 - column - _gap_and_width(boxes) / width, 0.25)
    ax.set_xlim(0, len(names) / share)
    ax.set_ylim(0, max(plan.arena_bytes, 1))
    _draw_boxes(ax, boxes, label_x=len(names) * (1 + _GAP / 2 / width / share))
    _label_phases(ax, names)
    _label_bytes(ax)
    ax.set_ylabel("offset in the arena")
    head = f"arena {human_bytes(plan.arena_bytes)}, {plan.batch_rows} rows a pass"
    _head(ax, head if 1.5 * _width(head) < (1 - column) * width else head.replace(", ", ",\n"))
    if kept:
        _draw_outside(ax.inset_axes([1 - column, 0, column, 1]), kept, column * width)
    return ax


def _kind(name):
    return name.split("[")[0]


def _box_of(life):
    row = life.row
    return _Box(
        x=life.first,
        y=row.offset,
        width=life.last + 1 - life.first,
        height=row.bytes,
        label=life.label,
        size=human_bytes(row.bytes),
        kind=_kind(row.name),
    )


def _stacked(rows):
    """What lives outside of the arena, a box for each kind, one upon the other."""
    sizes = {}
    for row in rows:
        sizes[_kind(row.name)] = sizes.get(_kind(row.name), 0) + row.bytes
    boxes, bottom = [], 0
    for kind, size in sizes.items():
        boxes.append(_Box(0, bottom, 1, size, kind, human_bytes(size), kind))
        bottom += size
    return boxes


def _draw_outside(ax, boxes, width):
    """A column in a scale of its own, on axes so many points wide."""
    total = boxes[-1].y + boxes[-1].height
    ax.set_xlim(0, width / _BAR)
    ax.set_ylim(0, max(total, 1))
    _draw_boxes(ax, boxes, label_x=1 + _GAP / 2 / _BAR, all_beside=True)
    ax.set_axis_off()
    _head(ax, f"outside {human_bytes(total)}")


def _head(ax, text):
    ax.annotate(
        text,
        xy=(0, 1),
        xycoords="axes fraction",
        xytext=(0, 6),
        textcoords="offset points",
        fontsize=_FONT + 2,
        annotation_clip=False,
    )


def _draw_boxes(ax, boxes, label_x, all_beside=False):
    """Rectangles with their labels: inside where there is room, else at label_x, with a line."""
    from matplotlib.patches import Rectangle

    points = _points_per_unit(ax)
    beside = []
    for box in boxes:
        patch = Rectangle(
            (box.x, box.y),
            box.width,
            box.height,
            facecolor=_COLORS.get(box.kind, _OTHER_COLOR),
            edgecolor="black",
            linewidth=0.5,
            label=box.label,
        )
        ax.add_patch(patch)
        room = (box.width * points[0], box.height * points[1])
        text = None if all_beside else _text_that_fits(box, room)
        if text is None:
            beside.append(box)
        else:
            x, y = box.x + box.width / 2, box.y + box.height / 2
            rotation = 0 if room[0] >= _width(text) else 90
            ax.text(x, y, text, ha="center", va="center", fontsize=_FONT, rotation=rotation)
    _label_beside(ax, beside, label_x, points[1])


def _points_per_unit(ax):
    """Width and height of one unit of data, in points."""
    box, dpi = ax.get_window_extent(), ax.figure.dpi
    (left, right), (low, high) = ax.get_xlim(), ax.get_ylim()
    return box.width * 72 / dpi / (right - left), box.height * 72 / dpi / (high - low)


def _gap_and_width(boxes):
    """Points that labels take beside what they name."""
    return _GAP + max((_width(f"{box.label}  {box.size}") for box in boxes), default=0)


def _width(text):
    return _CHARACTER * max(map(len, text.splitlines()))


def _text_that_fits(box, room):
    """The fullest label that fits into so many points, upright or turned; None if none does.

    A narrow box has its name alone: where layers take turns, all are of one size.
    """
    for text in (f"{box.label}\n{box.size}", f"{box.label}  {box.size}"):
        width, height = _width(text), _LINE * (text.count("\n") + 1)
        if (width <= room[0] and height <= room[1]) or (height <= room[0] and width <= room[1]):
            return text
    return box.label if _width(box.label) <= room[0] and room[1] >= _LINE else None


def _label_beside(ax, boxes, x, points):
    """Labels one below the other, each as near to its box as the others let it."""
    low, high = ax.get_ylim()
    gap = _LINE / points
    most = min(int((high - low) / gap), _MOST_BESIDE)
    # Where not all have room, the largest are named.
    boxes = sorted(sorted(boxes, key=lambda box: -box.height)[:most], key=lambda box: box.y)
    wanted = [box.y + box.height / 2 for box in boxes]
    places = _spread(wanted, gap, low + gap / 2, high - gap / 2)
    for box, middle, place in zip(boxes, wanted, places, strict=True):
        ax.annotate(
            f"{box.label}  {box.size}",
            xy=(box.x + box.width, middle),
            xytext=(x, place),
            fontsize=_FONT,
            va="center",
            arrowprops={"arrowstyle": "-", "linewidth": 0.4, "color": "0.4"},
            annotation_clip=False,
        )


def _spread(wanted, gap, low, high):
    """Increasing places at least `gap` apart, within low..high if there is room for all."""
    places = []
    for place in wanted:
        places.append(max(place, places[-1] + gap if places else low))
    limit = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    return places


def _label_phases(ax, names):
    """A tick in the middle of every phase, or of every second, third ... if they are many."""
    width = _points_per_unit(ax)[0]
    step = max(1, math.ceil(_LINE / width))
    longest = max(map(_width, names))
    shown = range(0, len(names), step)
    turned = longest > step * width
    ax.set_xticks([i + 0.5 for i in shown], [names[i] for i in shown], fontsize=_FONT)
    ax.tick_params(axis="x", length=0, rotation=90 if turned else 0)
    for i in range(len(names) + 1):
        ax.axvline(i, color="0.9", linewidth=0.5, zorder=0)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines["bottom"].set_bounds(0, len(names))
    if "loss" not in names:
        return
    middle = names.index("loss")
    for first, last, text in ((1, middle, "forward"), (middle + 1, len(names) - 1, "backward")):
        ax.annotate(
            text,
            xy=((first + last) / 2, 0),
            xycoords=("data", "axes fraction"),
            xytext=(0, -_LINE * 2 if not turned else -_LINE - longest),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=_FONT + 1,
            annotation_clip=False,
        )


def _label_bytes(ax):
    """About six ticks, at multiples of a power of two, in units that people read."""
    high = int(ax.get_ylim()[1])
    step = 2 ** max(0, math.ceil(math.log2(max(high, 1) / 8)))
    ticks = range(0, high + 1, step)
    ax.set_yticks(ticks, [human_bytes(tick) if tick else "0" for tick in ticks], fontsize=_FONT)
