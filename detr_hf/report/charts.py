"""Small charts as inline SVG, drawn by matplotlib: lines and bars in colors of the page's style.

Colors are variables of `base.html`, so that one chart serves light and dark; they follow Okabe and Ito's
palette, which people with any color vision tell apart, and lines differ in their dashes besides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from detr_hf.sanitize import printable

WIDTH, HEIGHT = 400, 240  # pixels of the drawing, which grows and shrinks with the page
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 8, 40  # room for the axes
AXIS_LABEL, TICK_LETTER = 24, 7  # the upright label with its gap, and a letter of a tick
ROW_HEIGHT = 34  # of a chart of dots
MOST_POINTS = 400  # of one line; more would not be seen
LARGEST_MARK = 26  # pixels across
MOST_DOTS = 25  # lines of so few points show each of them
INKS = ("#0072b2", "#d55e00", "#009e73", "#b3488a", "#8a6d00", "#3f9bd6", "#444b5a", "#a34a28")
FAINT, DIM, LINE = "#b9c0cc", "#5a6375", "#e3e6ec"
VARIABLES = {ink: f"var(--c{slot})" for slot, ink in enumerate(INKS)} | {
    FAINT: "var(--faint)",
    DIM: "var(--dim)",
    LINE: "var(--line)",
}
DASHES: tuple[tuple[int, ...], ...] = (
    *((), (7, 3), (2, 3), (9, 3, 2, 3)),
    *((5, 2), (1, 2), (12, 3), (4, 4, 1, 4)),
)
SETTINGS: Any = {
    "svg.fonttype": "none",  # letters stay letters, in the page's font
    "svg.hashsalt": "detr-hf",  # the same chart gives the same bytes
    "font.size": 11.5,
    "axes.autolimit_mode": "round_numbers",
    "axes.xmargin": 0,
    "axes.ymargin": 0,
    "lines.scale_dashes": False,
}


@dataclass(frozen=True)
class Line:
    """A line of a chart: points (x, y) from left to right; ``faint`` ones stay behind and have no legend."""

    name: str
    points: Sequence[Sequence[float]]
    faint: bool = False

    @classmethod
    def of(
        cls, name: str, xs: Sequence[float], ys: Sequence[float | None] | None, faint: bool = False
    ) -> Line:
        """From columns; where a y is not known there is no point."""
        points = [[x, y] for x, y in zip(xs, ys or [], strict=False) if y is not None]
        return cls(name, points, faint)


@dataclass(frozen=True)
class Axis:
    """An axis: its label with the unit, and its ends where the data shall not decide them."""

    label: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Mark:
    """A mark of a chart: what it is, its place, and its area from 0 (faint and small) to 1."""

    name: str
    x: float
    y: float
    size: float


@dataclass(frozen=True)
class Chart:
    """What `macros.html` shows of a chart.

    Attributes:
        title, note: above the drawing.
        svg: the drawing; empty where there is nothing to draw.
        legend: (name, number of the color, dashes as SVG has them) of each line, where there are several.
    """

    title: str
    note: str = ""
    svg: str = ""
    legend: list[tuple[str, int, str]] = field(default_factory=list)


def line_chart(
    title: str, lines: Sequence[Line], x: Axis, y: Axis, note: str = "", marks: Sequence[float] = ()
) -> Chart:
    """A line for each of ``lines``; ``marks`` are places on the x axis with an upright line.

    A line without points is left out, and keeps its color for itself.
    """
    if not any(line.points for line in lines):
        return Chart(title, note)
    shown = [line for line in lines if not line.faint]
    slots = {id(line): slot % len(INKS) for slot, line in enumerate(shown)}

    def draw(axes: Any) -> None:
        for line in (*(line for line in lines if line.faint), *shown):
            if line.points:
                columns = zip(*_thinned(line.points), strict=True)
                look = _look(slots.get(id(line)), len(line.points))
                axes.plot(*columns, gid=f"line {printable(line.name)}", clip_on=False, **look)
        for place in marks:
            axes.axvline(place, color=DIM, linewidth=1, linestyle=(0, (3, 3)))

    legend = [
        (line.name, slots[id(line)], " ".join(map(str, DASHES[slots[id(line)]])))
        for line in shown
        if line.points
    ]
    return Chart(title, note, _drawn(title, x, y, draw), legend if len(shown) > 1 else [])


def bar_chart(title: str, bars: Sequence[tuple[str, float | None, str]], y: Axis, note: str = "") -> Chart:
    """An upright bar for each (name, value or None, words below the name)."""

    def draw(axes: Any) -> None:
        drawn = axes.bar(range(len(bars)), [value or 0.0 for _, value, _ in bars], width=0.56, color=INKS[0])
        axes.bar_label(drawn, ["-" if v is None else f"{v:.3f}" for _, v, _ in bars], padding=3, color=DIM)
        axes.set_xticks(range(len(bars)), [f"{name}\n{below}" for name, _, below in bars], linespacing=1.3)
        axes.tick_params(axis="x", length=0)

    return Chart(title, note, _drawn(title, Axis("", -0.5, len(bars) - 0.5), y, draw))


def mark_chart(title: str, marks: Sequence[Mark], x: Axis, y: Axis, note: str = "") -> Chart:
    """A round mark for each of ``marks``, the large ones behind; pointing at one shows its name."""
    if not marks:
        return Chart(title, note)

    def draw(axes: Any) -> None:
        for mark in sorted(marks, key=lambda mark: -mark.size):
            look = {"color": INKS[0], "alpha": 0.55} if mark.size else {"color": FAINT}
            side = max(4.0, LARGEST_MARK * mark.size**0.5)
            axes.plot(
                *([mark.x], [mark.y], "o"),
                gid=f"line {printable(mark.name)}",
                markersize=side,
                markeredgewidth=0,
                clip_on=False,
                **look,
            )

    return Chart(title, note, _drawn(title, x, y, draw))


@dataclass(frozen=True)
class Dots:
    """A row of ``dot_chart``: values as dots, their mean, and an interval; None where they are not known."""

    name: str
    values: Sequence[float]
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def dot_chart(title: str, rows: Sequence[Dots], x: Axis, origin: float | None) -> Chart:
    """A row for each of ``rows``, downwards, its name above it; an upright line at ``origin``.

    An interval that does not reach the line is orange on its left and green on its right. One that is far
    longer than the values are apart is cut at the edge.
    """
    known = [value for row in rows for value in row.values]
    if not known:
        return Chart(title)
    reach = max(max(known) - min(known), 1e-3)
    edges = min(known) - reach, max(known) + reach
    spans = [(row.low, row.high) for row in rows if row.low is not None and row.high is not None]
    ends = [min(max(end, edges[0]), edges[1]) for span in spans for end in span]
    low, high = min([*known, *ends]), max([*known, *ends])
    room = 0.03 * max(high - low, reach)
    axis = Axis(x.label, low - room, high + room)

    def draw(axes: Any) -> None:
        axes.set_yticks([])
        axes.grid(axis="x", color=LINE, linewidth=1)
        if origin is not None:
            axes.axvline(origin, color=DIM, linewidth=1, linestyle=(0, (3, 3)))
        for place, row in enumerate(rows):
            axes.text(axis.low, place - 0.08, printable(row.name), color=DIM)
            _draw_row(axes, row, place, origin, (low, high))

    height = TOP + BOTTOM + ROW_HEIGHT * len(rows)
    return Chart(title, "", _drawn(title, axis, Axis("", len(rows) - 0.5, -0.5), draw, RIGHT, height))


def _draw_row(axes: Any, row: Dots, place: float, origin: float | None, ends: tuple[float, float]) -> None:
    place += 0.2  # below its name
    if row.low is not None and row.high is not None:
        color = FAINT
        if origin is not None and not row.low <= origin <= row.high:
            color = INKS[2] if row.low > origin else INKS[1]
        span = [min(max(end, ends[0]), ends[1]) for end in (row.low, row.high)]
        axes.plot(span, [place, place], color=color, linewidth=5, solid_capstyle="butt")
    if row.mean is not None:
        axes.plot([row.mean] * 2, [place - 0.2, place + 0.2], color=INKS[6], linewidth=2)
    look = {"color": INKS[0], "alpha": 0.75, "markersize": 6, "markeredgewidth": 0}
    axes.plot(row.values, [place] * len(row.values), "o", clip_on=False, **look)


def _look(slot: int | None, points: int) -> dict[str, Any]:
    if slot is None:
        return {"color": FAINT, "linewidth": 1}
    dots = {"marker": "o", "markersize": 5, "markeredgewidth": 0} if points <= MOST_DOTS else {}
    dashes = {"linestyle": (0, DASHES[slot])} if DASHES[slot] else {"solid_capstyle": "round"}
    return {"color": INKS[slot], "linewidth": 2, **dots, **dashes}


def _thinned(points: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Every so manieth point of a long line, and the last."""
    stride = -(-len(points) // MOST_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]]


def _drawn(
    title: str, x: Axis, y: Axis, draw: Callable[[Any], None], left: int = LEFT, height: int = HEIGHT
) -> Markup:
    """What ``draw`` puts into axes with round ends and ticks, as an element of a page.

    The figure is on its own, without the state that pyplot keeps for a whole process.
    """
    # imported here: it takes a while, and only pages with charts need it
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with matplotlib.rc_context(SETTINGS):
        figure = Figure(figsize=(WIDTH / 72, height / 72))
        axes = figure.add_axes((0, 0, 1, 1))
        for axis, asked in ((axes.xaxis, x), (axes.yaxis, y)):
            axis.set_major_locator(MaxNLocator(5, steps=(1, 2, 5, 10), min_n_ticks=2))
            axis.set_major_formatter(lambda value, _: _tick(value))
            axis.label.set(text=asked.label, color=DIM)
        axes.tick_params(color=DIM, labelcolor=DIM)
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="y", color=LINE, linewidth=1)
        axes.spines[["left", "right", "top"]].set_visible(False)
        axes.spines["bottom"].set_color(DIM)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        draw(axes)
        axes.set_xlim(x.low, x.high)
        axes.set_ylim(y.low, y.high)
        low, high = axes.yaxis.get_major_locator().view_limits(*axes.get_ylim())  # round ones
        axes.set_ylim(low if y.low is None else y.low, high if y.high is None else y.high)
        _place(axes, max(left, _room_of_ticks(axes)), height)
        stream = StringIO()
        empty = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        FigureCanvasSVG(figure).print_svg(stream, metadata=empty)
    return _inline(stream.getvalue(), title, height)


def _room_of_ticks(axes: Any) -> float:
    """Pixels that the label of the y axis and its longest tick need."""
    low, high = axes.get_ylim()
    ticks = [_tick(value) for value in axes.get_yticks() if min(low, high) <= value <= max(low, high)]
    return AXIS_LABEL + TICK_LETTER * max(map(len, ticks), default=0)


def _place(axes: Any, left: float, height: int) -> None:
    """Put the axes and their labels into the figure, with ``left`` pixels beside them."""
    across, down = WIDTH - left - RIGHT, height - TOP - BOTTOM
    axes.set_position((left / WIDTH, BOTTOM / height, across / WIDTH, down / height))
    axes.yaxis.set_label_coords(14 / WIDTH, (BOTTOM + down / 2) / height, axes.figure.transFigure)
    axes.xaxis.set_label_coords((left + across / 2) / WIDTH, 14 / height, axes.figure.transFigure)


def _tick(value: float) -> str:
    """A number in the room that there is beside an axis: 0.0002 as 2e-4, 20000 as 20k."""
    if abs(value) >= 10_000:
        return f"{value / 1000:g}k"
    if 0 < abs(value) < 1e-3:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-")
    return f"{value:.6g}"


def _inline(svg: str, title: str, height: int) -> Markup:
    """An element of a page: no ids, fonts or colors of its own, and a name for each line."""
    root = ElementTree.fromstring(svg)
    for child in [child for child in root if child.tag.endswith("defs")]:
        root.remove(
            child
        )  # a style that would be the whole page's, and clips, which the limits make needless
    for element in list(root.iter()):
        element.tag = element.tag.rpartition("}")[2]
        element.text = element.text if element.tag == "text" else None
        element.tail = None
        given = dict(element.attrib)
        element.attrib.clear()
        for name, value in given.items():
            element.attrib |= _attribute(element.tag, name.rpartition("}")[2], value)
        if given.get("id", "").startswith("line "):
            element.insert(0, ElementTree.Element("title"))
            element[0].text = given["id"].removeprefix("line ")
    root.attrib = {"viewBox": f"0 0 {WIDTH} {height}", "role": "img", "aria-label": title}
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _attribute(tag: str, name: str, value: str) -> dict[str, str]:
    """One attribute as the page needs it; none where it does not."""
    match name:
        case "id" if tag != "path":  # a path may be what `use` refers to
            return {}
        case "clip-path":
            return {}
        case "style":
            value = re.sub(r"font-family: [^;]*;? ?", "", value)
            value = re.sub(r"#[0-9a-f]{6}", lambda ink: VARIABLES.get(ink[0], ink[0]), value)
        case "transform" if value.startswith("rotate(-0 "):
            return {}
        case "d" | "x" | "y" | "transform":
            value = re.sub(r"\d+\.\d{2,}", lambda found: f"{float(found[0]):.1f}", " ".join(value.split()))
    return {name: value}
