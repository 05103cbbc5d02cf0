"""Pictures: the lifetimes behind the picture of a plan, what is drawn, what notebooks show."""

import itertools
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sklearn
from ahead import Process, waits_for
from hypothesis import given
from hypothesis import strategies as st
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier as SklearnClassifier
from sklearn.pipeline import make_pipeline

from fastbp import MLPClassifier, MLPRegressor, TrainingCurveDisplay, _core
from fastbp._lifetimes import lifetimes, phases
from fastbp.memory import MemoryPlan, PlanRow, human_bytes, memory_plan
from fastbp.plot import _spread

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.text import Text  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
ROOT = Path(__file__).resolve().parents[1]
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6))
Y = X[:, 0] + X[:, 1] > 0


@pytest.fixture(autouse=True)
def no_figure_stays():
    yield
    plt.close("all")


# ---- lifetimes ----

DEPTHS = [(9, 2), (9, 7, 2), (9, 7, 8, 2), (9, 7, 8, 6, 1), (9, 7, 8, 6, 5, 4, 3, 2)]
KINDS = [{}, {"sparse": True}, {"forward_only": True}]


def core_plan(sizes, optimizer="adam", **more):
    hidden = ("relu",) * (len(sizes) - 2)
    plan = _core.plan(sizes, hidden, "squared_error", "float64", 40, optimizer, 2, **more)
    return MemoryPlan.from_core(plan)


@pytest.fixture(params=["packed", "blas"])
def products(request, monkeypatch):
    monkeypatch.setenv("FASTBP_DENSE", request.param)
    return request.param


def spans(plan):
    """(first phase, last phase) by label."""
    names = phases(plan)
    return {life.label: (names[life.first], names[life.last]) for life in lifetimes(plan)}


@pytest.mark.parametrize("sizes", DEPTHS, ids=str)
@pytest.mark.parametrize("optimizer", ["adam", "none"])
@pytest.mark.parametrize("more", KINDS, ids=str)
def test_what_is_alive_at_once_never_overlaps(sizes, optimizer, more, products):
    lives = [life for life in lifetimes(core_plan(sizes, optimizer, **more)) if life.row.bytes]
    inside = [life for life in lives if life.row.offset is not None]
    assert len(inside) >= len(sizes)
    for one, other in itertools.combinations(inside, 2):
        at_once = one.first <= other.last and other.first <= one.last
        apart = (
            one.row.offset + one.row.bytes <= other.row.offset
            or other.row.offset + other.row.bytes <= one.row.offset
        )
        assert apart or not at_once, (one, other)


@pytest.mark.parametrize("sizes", DEPTHS, ids=str)
def test_every_row_lives_within_the_mini_batch(sizes, products):
    for more in KINDS:
        plan = core_plan(sizes, **more)
        names, lives = phases(plan), lifetimes(plan)
        assert len(set(names)) == len(names)
        assert [row for row in plan.rows if row not in [life.row for life in lives]] == []
        assert all(0 <= life.first <= life.last < len(names) for life in lives)
        assert len({life.label for life in lives}) == len(lives)


@pytest.mark.parametrize("sizes", DEPTHS, ids=str)
def test_z_lives_until_the_gradients_above_it_are_made(sizes, products):
    plan, top = core_plan(sizes), len(sizes) - 2
    names, found = phases(plan), spans(plan)
    for layer in range(top):
        first, last = found[f"z[{layer}]"]
        assert first == f"z[{layer}]"
        readers = [f"z[{layer + 1}]", f"dz[{layer}]", f"dW[{layer + 1}]"]
        assert names.index(last) == max(names.index(reader) for reader in readers)
    if products == "blas":  # the loss puts dz in the place of z
        assert found[f"z[{top}], dz[{top}]"] == (f"z[{top}]", f"dW[{top}]")
    else:
        assert found[f"z[{top}]"] == (f"z[{top}]", "loss")


@pytest.mark.parametrize("sizes", DEPTHS, ids=str)
def test_dz_lives_from_its_making_to_its_last_reader(sizes):
    plan, top = core_plan(sizes), len(sizes) - 2
    names, found = phases(plan), spans(plan)
    for layer in range(top):
        assert found[f"dz[{layer}]"] == (f"dz[{layer}]", f"dW[{layer}]")
        assert names.index(f"dz[{layer}]") > names.index("loss")
        if layer:
            assert names.index(f"dz[{layer - 1}]") < names.index(f"dW[{layer}]")
    assert found["x"] == ("fetch", "dW[0]")
    assert found["y"] == found["weight"] == ("loss", "loss")


def test_hidden_layers_take_the_two_buffers_in_turn():
    lives = lifetimes(core_plan((9, 7, 8, 6, 5, 4, 2)))
    held = {i: [v.label for v in lives if v.row.name == f"dz[{i}]"] for i in (0, 1)}
    assert held == {0: ["dz[4]", "dz[2]", "dz[0]"], 1: ["dz[3]", "dz[1]"]}


def test_a_forward_plan_ends_after_the_last_layer():
    plan = core_plan((9, 7, 8, 2), "none", forward_only=True)
    assert phases(plan) == ("fetch", "z[0]", "z[1]", "z[2]", "reset")
    found = spans(plan)
    assert found["x"] == ("fetch", "z[0]")
    assert found["z[0]"] == ("z[0]", "z[1]")
    assert found["z[2]"] == ("z[2]", "reset")


def test_rows_of_unknown_names_live_throughout():
    plan = memory_plan((9, 7, 2), n_threads=1)
    more = PlanRow("extra", (200, 1), plan.arena_bytes, 1600), PlanRow("a b?", (1,), None, 4)
    plan = plan._replace(rows=(*plan.rows, *more), arena_bytes=plan.arena_bytes + 1600)
    found = spans(plan)
    assert found["extra"] == found["a b?"] == found["params"] == ("fetch", "reset")
    assert len(plan.plot().patches) == sum(row.offset is not None for row in plan.rows)


@pytest.mark.parametrize("rows", [(), (PlanRow("x", (3, 4), 0, 48),)])
def test_a_plan_without_layers_has_no_phase_between(rows):
    plan = MemoryPlan(rows, 48, 48, 3, 1, ())
    assert phases(plan) == ("fetch", "reset")
    assert spans(plan) == {row.name: ("fetch", "reset") for row in rows}
    plan.plot()


# ---- the picture of a plan ----


def texts(ax):
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize("sizes", DEPTHS, ids=str)
@pytest.mark.parametrize("solver", ["adam", "none", "lbfgs"])
def test_a_plan_is_drawn_as_one_rectangle_for_each_content(sizes, solver):
    plan = memory_plan(sizes, solver=solver, n_threads=1)
    ax = plan.plot()
    inside = [life for life in lifetimes(plan) if life.row.offset is not None]
    drawn = [(p.get_x(), p.get_width(), p.get_y(), p.get_height()) for p in ax.patches]
    assert drawn == [
        (life.first, life.last + 1 - life.first, life.row.offset, life.row.bytes) for life in inside
    ]
    assert [patch.get_label() for patch in ax.patches] == [life.label for life in inside]
    assert ax.get_ylim() == (0, plan.arena_bytes)


def test_contents_are_labelled_with_readable_sizes():
    plan = memory_plan((784, 512, 300, 10), batch_size=256, n_threads=1)
    ax = plan.plot()
    said = " ".join(" ".join(texts(ax)).split())
    for life in lifetimes(plan):
        if life.row.offset is not None:
            assert f"{life.label} {human_bytes(life.row.bytes)}" in said
    assert human_bytes(plan.arena_bytes) in said
    assert [tick.get_text() for tick in ax.get_xticklabels()] == list(phases(plan))
    assert all(re.fullmatch(r"0|[\d.]+ \w+", tick.get_text()) for tick in ax.get_yticklabels())


def test_what_lives_outside_of_the_arena_is_a_column():
    plan = memory_plan((64, 32, 32, 10), n_threads=1)
    (column,) = plan.plot().child_axes
    outside = [row for row in plan.rows if row.offset is None]
    assert sum(patch.get_height() for patch in column.patches) == sum(r.bytes for r in outside)
    for kind in ("params", "m", "v"):
        size = next(row.bytes for row in outside if row.name == kind)
        assert f"{kind}  {human_bytes(size)}" in texts(column)
    assert plan.plot(outside=False).child_axes == []


def test_a_plan_is_drawn_where_it_is_asked_for():
    plan = memory_plan((64, 32, 10))
    figure, axes = plt.subplots(1, 2)
    assert plan.plot(axes[1]) is axes[1] and plan.plot(ax=axes[1]).figure is figure
    assert not axes[0].patches and plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    "sizes",
    [(784, 512, 10), (9, 7, 8, 6, 1), (64, *[128] * 20, 10), (9, *[7] * 150, 2)],
    ids=lambda sizes: f"{len(sizes) - 1} layers",
)
def test_no_label_lies_on_another_or_outside(sizes):
    ax = memory_plan(sizes, batch_size=256, n_threads=1).plot()
    ax.figure.draw_without_rendering()
    for axes in (ax, *ax.child_axes):
        # Of the text alone: that of an annotation has its line in it.
        boxes = [Text.get_window_extent(text) for text in axes.texts]
        assert not [a for a, b in itertools.combinations(boxes, 2) if a.overlaps(b)]
        assert all(0 <= box.y0 and box.y1 <= ax.figure.bbox.height for box in boxes)


@given(
    st.lists(st.floats(0, 100) | st.sampled_from([0, 50, 100]), max_size=12).map(sorted),
    st.floats(0.1, 100 / 12, exclude_max=True),
)
def test_labels_are_spread_within_their_room(wanted, gap):
    places = _spread(wanted, gap, 0, 100)
    assert all(b - a >= gap * (1 - 1e-9) for a, b in itertools.pairwise(places))
    assert all(-1e-9 <= place <= 100 for place in places)
    alone = [b - a > 2 * gap for a, b in itertools.pairwise([-200, *wanted, 300])]
    if all(alone):  # nobody has to move
        assert places == wanted


def svg_texts(path):
    """The texts of a picture, which matplotlib notes in comments, but for sizes."""
    found = re.findall(r"<!-- (.*?) -->", path.read_text(), re.DOTALL)
    return {re.sub(r"[\d.]+ [KM]?i?B", "", text).strip() for text in found}


def test_the_picture_of_the_documentation_can_be_drawn_again(tmp_path):
    script = ROOT / "docs" / "images" / "why_z.py"
    if not script.exists():
        pytest.skip("not a source tree")
    drawn = tmp_path / "drawn.svg"
    drawing = runpy.run_path(str(script))
    drawing["draw"](drawn)
    plan = memory_plan(**drawing["PLAN"])
    assert {*phases(plan), *(life.label for life in lifetimes(plan))} <= svg_texts(drawn) | {
        row.name for row in plan.rows if row.offset is None
    }
    if set(plan.dense) == {"packed"}:  # as where the one in the repository was drawn
        assert svg_texts(drawn) == svg_texts(script.with_name("why-z.svg")), "make pictures"


# ---- training curves ----


def fitted(**curves):
    """An estimator with these attributes, as after a fit."""
    scoring = curves.pop("scoring", None)
    return type("MLPRegressor", (MLPRegressor,), {"coefs_": [], **curves})(scoring=scoring)


HISTORY = {
    "iteration": [1, 2, 3, 4],
    "seconds": [0.1, 0.2, 0.3, 0.4],
    "loss": [8.0, 4.0, 2.0, 0.5],
    "validation_loss": [9.0, 5.0, None, 1.0],
    "validation_score": [0.1, 0.5, 0.8, 0.7],
    "learning_rate": [0.1] * 4,
}


def curves(display):
    return {line.get_label(): line.get_ydata().tolist() for line in display.lines_}


@pytest.mark.parametrize("kind", [MLPClassifier, SklearnClassifier])
def test_the_curves_of_a_fit_are_drawn(kind):
    clf = kind(max_iter=5, early_stopping=True, random_state=0).fit(X, Y)
    display = TrainingCurveDisplay.from_estimator(clf)
    drawn = curves(display)
    assert drawn["loss"] == clf.loss_curve_
    assert drawn["validation accuracy"] == clf.validation_scores_
    assert display.lines_[0].axes is display.ax_
    assert display.lines_[-1].axes is display.score_ax_
    assert display.figure_ is display.ax_.figure
    assert display.lines_[0].get_xdata().tolist() == list(range(1, clf.n_iter_ + 1))


def test_the_history_comes_first_and_the_best_iteration_is_marked():
    reg = fitted(history_=HISTORY | {"iteration": [3, 4, 5, 6]}, loss_curve_=[7.0], best_iter_=5)
    display = TrainingCurveDisplay.from_estimator(reg)
    assert list(curves(display)) == ["loss", "validation loss", "validation R²"]
    assert curves(display)["loss"] == HISTORY["loss"]
    assert display.lines_[0].get_xdata().tolist() == [3, 4, 5, 6]
    assert np.isnan(display.lines_[1].get_ydata()[2])
    assert list(display.best_line_.get_xdata()) == [5, 5]
    assert display.ax_.get_yscale() == "log"
    assert len(display.score_ax_.get_legend().get_texts()) == 4


@pytest.mark.parametrize("nothing", [[], [None] * 4, [float("nan")] * 4, None])
def test_what_was_not_recorded_is_not_drawn(nothing):
    history = HISTORY | {"validation_loss": nothing, "validation_score": nothing}
    display = TrainingCurveDisplay.from_estimator(fitted(history_=history))
    assert list(curves(display)) == ["loss"]
    assert display.score_ax_ is None and display.best_line_ is None
    # An attribute has it although the history does not.
    reg = fitted(history_=history, validation_scores_=[0.5, 0.6], validation_loss_curve_=None)
    display = TrainingCurveDisplay.from_estimator(reg)
    assert curves(display) == {"loss": HISTORY["loss"], "validation R²": [0.5, 0.6]}
    assert display.lines_[1].get_xdata().tolist() == [1, 2]


@pytest.mark.parametrize(
    "losses, log_scale, scale",
    [
        ([20.0, 1.0], "auto", "log"),
        ([5.0, 1.0], "auto", "linear"),
        ([20.0, -1.0], "auto", "linear"),
        ([20.0, 0.0], "auto", "linear"),
        ([5.0, 1.0], True, "log"),
        ([20.0, 1.0], False, "linear"),
    ],
)
def test_the_scale_of_the_losses(losses, log_scale, scale):
    reg = fitted(loss_curve_=losses)
    display = TrainingCurveDisplay.from_estimator(reg, log_scale=log_scale)
    assert display.ax_.get_yscale() == scale
    display.figure_.draw_without_rendering()


def test_an_unknown_scale_is_named():
    with pytest.raises(ValueError, match="log_scale='yes' is not understood"):
        TrainingCurveDisplay.from_estimator(fitted(loss_curve_=[1.0]), log_scale="yes")


def test_several_fits_share_the_axes():
    first = TrainingCurveDisplay.from_estimator(fitted(history_=HISTORY), name="one")
    second = TrainingCurveDisplay.from_estimator(
        fitted(history_=HISTORY), ax=first.ax_, name="other"
    )
    assert second.ax_ is first.ax_ and second.score_ax_ is first.score_ax_
    assert len(first.figure_.axes) == 2
    lines = first.lines_ + second.lines_
    assert len({line.get_color() for line in lines}) == len(lines) == 6
    legends = [ax.get_legend() for ax in first.figure_.axes if ax.get_legend()]
    (legend,) = legends
    assert {text.get_text() for text in legend.get_texts()} == {line.get_label() for line in lines}
    assert all(line.get_label().startswith(("one: ", "other: ")) for line in lines)


def test_a_display_with_scores_takes_over_the_legend():
    first = TrainingCurveDisplay.from_estimator(fitted(loss_curve_=[3.0, 2.0]), name="one")
    assert first.score_ax_ is None and first.ax_.get_legend()
    second = TrainingCurveDisplay.from_estimator(fitted(history_=HISTORY), ax=first.ax_)
    assert first.ax_.get_legend() is None
    assert len(second.score_ax_.get_legend().get_texts()) == 4


def test_keywords_reach_their_lines():
    display = TrainingCurveDisplay.from_estimator(
        fitted(history_=HISTORY, best_iter_=3),
        loss_kw={"color": "red", "label": "L"},
        validation_kw={"linestyle": ":"},
        score_kw={"linewidth": 4},
        best_kw={"color": "green"},
    )
    loss, validation, score = display.lines_
    assert (loss.get_color(), loss.get_label()) == ("red", "L")
    assert validation.get_linestyle() == ":" and score.get_linewidth() == 4
    assert display.best_line_.get_color() == "green"


def test_a_single_iteration_is_visible():
    display = TrainingCurveDisplay.from_estimator(fitted(loss_curve_=[1.0]))
    assert display.lines_[0].get_marker() == "o"


@pytest.mark.parametrize(
    "scoring, name",
    [(None, "R²"), ("max_error", "max_error"), ("loss", "score"), (SimpleNamespace(), "score")],
)
def test_the_score_has_its_name(scoring, name):
    reg = fitted(validation_scores_=[0.5, 0.6], scoring=scoring)
    assert list(curves(TrainingCurveDisplay.from_estimator(reg))) == [f"validation {name}"]


def test_before_fit_there_is_nothing_to_draw():
    with pytest.raises(NotFittedError):
        TrainingCurveDisplay.from_estimator(MLPClassifier())


def test_an_estimator_without_curves_is_named():
    with pytest.raises(TypeError, match="loss_curve_.*LinearRegression"):
        TrainingCurveDisplay.from_estimator(LinearRegression().fit(X, Y))
    pipeline = make_pipeline(MLPClassifier(max_iter=2)).fit(X, Y)
    with pytest.raises(TypeError, match=r"Pipeline.*pipeline\[-1\]"):
        TrainingCurveDisplay.from_estimator(pipeline)
    TrainingCurveDisplay.from_estimator(pipeline[-1])


def test_without_matplotlib_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"MemoryPlan.plot .*pip install fastbp\[plot\]"):
        memory_plan((3, 2)).plot()
    with pytest.raises(ImportError, match=r"TrainingCurveDisplay.*pip install fastbp\[plot\]"):
        TrainingCurveDisplay.from_estimator(fitted(loss_curve_=[1.0]))


@waits_for(lambda: Process("import sys, fastbp; print('matplotlib' in sys.modules)"))
def test_importing_the_package_does_not_import_matplotlib(ahead):
    assert ahead.printed() == "False\n"


@pytest.mark.parametrize("ax", [3, "ax", []])
def test_axes_of_another_kind_are_named(ax):
    est = MLPRegressor(hidden_layer_sizes=(4,), max_iter=2).fit(X, Y)
    wanted = rf"^ax is of type {type(ax).__name__}: it takes a matplotlib Axes or None"
    for draw in (
        lambda: TrainingCurveDisplay.from_estimator(est, ax=ax),
        lambda: TrainingCurveDisplay(loss=[1.0]).plot(ax),
        lambda: est.memory_plan_.plot(ax=ax),
    ):
        with pytest.raises(TypeError, match=wanted):
            draw()


# ---- notebooks ----


def test_the_html_of_a_plan_has_every_row_and_loads_nothing():
    plan = memory_plan((64, 32, 10), n_threads=1)
    html = plan._repr_html_()
    cells = re.findall(r"<t[dh][^>]*>([^<]*)</t[dh]>", html)
    for row in plan.rows:
        assert row.name in cells and f"{row.bytes:,}" in cells
    assert {f"{plan.arena_bytes:,}", f"{plan.total_bytes:,}"} <= set(cells)
    assert human_bytes(plan.total_bytes) in cells
    assert f"{plan.batch_rows} rows a pass, 1 thread" in html
    assert not re.search(r"https?:|<script|<link|@import|url\(", html)
    assert not re.search(r"color:\s*(#|black|white)", html), "the page's colours"


def test_the_html_of_a_plan_is_escaped_and_well_formed():
    from xml.etree import ElementTree

    plan = memory_plan((64, 32, 10))
    rows = (*plan.rows, PlanRow("<b>&", (1,), None, 4))
    html = plan._replace(rows=rows, dense=("<i>",))._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;&amp;" in html and "<i>" not in html
    ElementTree.fromstring(html)


def html_of(estimator):
    """By both ways that notebooks have."""
    one, other = estimator._repr_html_(), estimator._repr_mimebundle_()["text/html"]
    numbered = re.compile(r"sk-[\w-]*\d+")  # of scikit-learn, other ones in every diagram
    assert numbered.sub("", one) == numbered.sub("", other)
    return one


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_fitted_estimator_shows_its_plan_after_the_diagram(kind):
    estimator = kind(max_iter=2, random_state=0)
    before = html_of(estimator)
    assert "sk-container" in before and "<summary>Memory" not in before
    estimator.fit(X, Y)
    plan = estimator.memory_plan_._repr_html_()
    html = html_of(estimator)
    assert "sk-container" in html and html.endswith(f"{plan}</details>")
    size = human_bytes(estimator.memory_plan_.total_bytes)
    assert f"<summary>Memory of the last fit: {size}</summary>" in html
    # Closed, until somebody opens it.
    assert html[html.index("<summary>Memory") - len("<details>") :].startswith("<details>")


def test_diagrams_can_be_turned_off():
    estimator = MLPClassifier(max_iter=2).fit(X, Y)
    with sklearn.config_context(display="text"):
        assert not hasattr(estimator, "_repr_html_")
        assert estimator._repr_mimebundle_() == {"text/plain": repr(estimator)}


def test_within_other_estimators_the_diagram_is_scikit_learns():
    inner = MLPClassifier(max_iter=2, random_state=0)
    search = GridSearchCV(make_pipeline(inner), {"mlpclassifier__alpha": [0.1]}, cv=2).fit(X, Y)
    assert "MLPClassifier" in search._repr_html_()
    assert "<summary>Memory" not in search._repr_html_()
