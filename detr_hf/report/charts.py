"""Small charts as SVG: lines and bars with axes, legends that wrap, colors of the page's style.

Colors are variables of ``STYLE``, so that one chart serves light and dark; they follow Okabe and Ito's
palette, which people with any color vision tell apart, and lines differ in their dashes besides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from detr_hf.html_page import text

WIDTH, HEIGHT = 400, 240
LEFT, RIGHT, TOP, BOTTOM = 50, 18, 8, 40  # room for the axes
MOST_POINTS = 400  # of one line; more would not be seen
DASHES = ("", "7 3", "2 3", "9 3 2 3", "5 2", "1 2", "12 3", "4 4 1 4")

STYLE = """
:root { --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #b3488a; --c4: #8a6d00; --c5: #3f9bd6;
        --c6: #444b5a; --c7: #a34a28; --faint: #b9c0cc; }
@media (prefers-color-scheme: dark) {
:root { --c0: #56b4e9; --c1: #f08a3c; --c2: #2cc79a; --c3: #e294c4; --c4: #e6d24a; --c5: #9fd3f5;
        --c6: #c9cfda; --c7: #e0a58a; --faint: #4a5261; } }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 340px), 1fr));
          gap: 1.4rem 1.6rem; }
.chart h3 { font-size: .95rem; margin: 0 0 .1rem; } .chart p { font-size: .82rem; margin: 0 0 .3rem; }
.chart svg { width: 100%; height: auto; display: block; font: 11.5px system-ui, sans-serif; }
.chart svg text { fill: var(--dim); } .chart .grid { stroke: var(--line); }
.chart .axis { stroke: var(--dim); } .chart .mark { stroke: var(--dim); stroke-dasharray: 3 3; }
.legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem .9rem; padding: 0; margin: 0 0 .2rem;
          font-size: .8rem; } .legend svg { display: inline; width: 26px; height: 10px; margin-right: .3rem; }
"""


@dataclass(frozen=True)
class Line:
    """A line of a chart: points (x, y) from left to right; ``faint`` ones stay behind and have no legend."""

    name: str
    points: Sequence[Sequence[float]]
    faint: bool = False


@dataclass(frozen=True)
class Axis:
    """An axis: its label with the unit, and its ends where the data shall not decide them."""

    label: str
    low: float | None = None
    high: float | None = None


def line_chart(
    title: str,
    lines: Sequence[Line],
    x: Axis,
    y: Axis,
    note: str = "",
    marks: Sequence[tuple[float, str]] = (),
) -> str:
    """A figure with a line for each of ``lines``; ``marks`` are upright lines (x, what is there).

    A line without points is left out, and keeps its color for itself.
    """
    lines = [Line(line.name, _thinned(line.points), line.faint) for line in lines]
    if not any(line.points for line in lines):
        return _figure(title, note, '<p class="none">nothing was recorded</p>')
    xs = _Scale([point[0] for line in lines for point in line.points], x, LEFT, WIDTH - RIGHT)
    ys = _Scale([point[1] for line in lines for point in line.points], y, HEIGHT - BOTTOM, TOP)
    shown = [line for line in lines if not line.faint]
    drawn = [_path(line, None, xs, ys) for line in lines if line.faint and line.points]
    drawn += [_path(line, slot, xs, ys) for slot, line in enumerate(shown) if line.points]
    upright = [
        f'<line class="mark" x1="{xs(at):.1f}" x2="{xs(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}">'
        f"<title>{text(what)}</title></line>"
        for at, what in marks
    ]
    body = _svg(title, _axes(x, y, xs, ys) + "".join(upright + drawn))
    return _figure(title, note, _legend(shown) + body)


def bar_chart(title: str, bars: Sequence[tuple[str, float | None, str]], y: Axis, note: str = "") -> str:
    """A figure with an upright bar for each (name, value or None, words below the name)."""
    ys = _Scale([value for _, value, _ in bars if value is not None], y, HEIGHT - BOTTOM, TOP)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    drawn = []
    for at, (name, value, below) in enumerate(bars):
        middle, top = LEFT + step * (at + 0.5), ys(value or 0.0)
        said = "-" if value is None else f"{value:.3f}"
        drawn.append(
            f'<rect x="{middle - step * 0.28:.1f}" y="{top:.1f}" width="{step * 0.56:.1f}" '
            f'height="{HEIGHT - BOTTOM - top:.1f}" fill="var(--c0)"/>'
            f'<text x="{middle:.1f}" y="{max(top - 4, TOP + 8):.1f}" text-anchor="middle">{said}</text>'
            f'<text x="{middle:.1f}" y="{HEIGHT - 24}" text-anchor="middle">{text(name)}</text>'
            f'<text x="{middle:.1f}" y="{HEIGHT - 8}" text-anchor="middle">{text(below)}</text>'
        )
    return _figure(title, note, _svg(title, _y_axis(y, ys) + "".join(drawn)))


def sparkline(values: Sequence[float] | None, width: int = 90, height: int = 22) -> str:
    """A line without axes for a table: values from 0 to 1."""
    if not values:
        return ""
    step = width / max(1, len(values) - 1)
    points = " ".join(f"{i * step:.1f},{(height - 1) * (1 - v) + 0.5:.1f}" for i, v in enumerate(values))
    return (
        f'<svg class="spark" viewBox="0 0 {width} {height}" aria-hidden="true"><polyline points="{points}" '
        'fill="none" stroke="var(--c0)" stroke-width="1.4"/></svg>'
    )


class _Scale:
    """From values to pixels of the drawing, with round ends and ticks."""

    def __init__(self, values: Sequence[float], axis: Axis, start_px: float, end_px: float) -> None:
        low = min(values, default=0.0) if axis.low is None else axis.low
        high = max(values, default=1.0) if axis.high is None else axis.high
        if high <= low:
            low, high = low - (abs(low) or 1) * 0.5, low + (abs(low) or 1) * 0.5
        self.step = _round_step((high - low) / 5)
        self.low = low if axis.low is not None else math.floor(low / self.step + 1e-9) * self.step
        self.high = high if axis.high is not None else math.ceil(high / self.step - 1e-9) * self.step
        self._start, self._factor = start_px, (end_px - start_px) / (self.high - self.low)

    def __call__(self, value: float) -> float:
        return self._start + (min(max(value, self.low), self.high) - self.low) * self._factor

    def ticks(self) -> list[float]:
        first, last = math.ceil(self.low / self.step - 1e-9), math.floor(self.high / self.step + 1e-9)
        return [at * self.step for at in range(first, last + 1)]


def _round_step(least: float) -> float:
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= least * (1 - 1e-9))


def _thinned(points: Sequence[Sequence[float]]) -> Sequence[Sequence[float]]:
    """Every so manieth point of a long line, and the last."""
    stride = -(-len(points) // MOST_POINTS)
    return points if stride <= 1 else [*points[:-1:stride], points[-1]]


def _path(line: Line, slot: int | None, xs: _Scale, ys: _Scale) -> str:
    places = [(xs(x), ys(y)) for x, y in line.points]
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    if slot is None:
        head, dots = 'stroke="var(--faint)" stroke-width="1"', ""
    else:
        head = f'stroke="var(--c{slot % 8})" stroke-width="2" stroke-dasharray="{DASHES[slot % 8]}"'
        few = places if len(places) <= 25 else []
        dots = "".join(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="var(--c{slot % 8})"/>' for x, y in few
        )
    return (
        f'<g><title>{text(line.name)}</title><polyline points="{points}" fill="none" {head} '
        f'stroke-linejoin="round"/>{dots}</g>'
    )


def _axes(x: Axis, y: Axis, xs: _Scale, ys: _Scale) -> str:
    below = HEIGHT - BOTTOM
    ticks = "".join(
        f'<line class="axis" x1="{xs(at):.1f}" x2="{xs(at):.1f}" y1="{below}" y2="{below + 4}"/>'
        f'<text x="{xs(at):.1f}" y="{below + 16}" text-anchor="middle">{_said(at, xs.step)}</text>'
        for at in xs.ticks()
    )
    label = (
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{text(x.label)}</text>'
    )
    return _y_axis(y, ys) + ticks + label


def _y_axis(y: Axis, ys: _Scale) -> str:
    ticks = "".join(
        f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{ys(at):.1f}" y2="{ys(at):.1f}"/>'
        f'<text x="{LEFT - 6}" y="{ys(at) + 4:.1f}" text-anchor="end">{_said(at, ys.step)}</text>'
        for at in ys.ticks()
    )
    below, middle = HEIGHT - BOTTOM, (TOP + HEIGHT - BOTTOM) / 2
    base = f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{below}" y2="{below}"/>'
    turned = f'text-anchor="middle" transform="rotate(-90 11 {middle})"'
    label = f'<text x="11" y="{middle}" {turned}>{text(y.label)}</text>'
    return ticks + base + label


def _said(value: float, step: float) -> str:
    """A tick's value with as many digits as its step needs."""
    if abs(value) < step / 1e6:
        return "0"
    largest = max(abs(value), step)
    if value and (largest >= 1e5 or step < 1e-3):
        return f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e").replace(".0e", "e")
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    digits += round(step * 10**digits, 6) != round(step * 10**digits)
    return f"{value:.{digits}f}"


def _legend(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    entries = [
        '<li><svg viewBox="0 0 26 10" aria-hidden="true">'
        f'<line x1="0" x2="26" y1="5" y2="5" stroke="var(--c{slot % 8})"'
        f' stroke-width="2.5" stroke-dasharray="{DASHES[slot % 8]}"/></svg>{text(line.name)}</li>'
        for slot, line in enumerate(lines)
        if line.points
    ]
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _svg(title: str, body: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{text(title)}">{body}</svg>'


def _figure(title: str, note: str, body: str) -> str:
    said = f'<p class="dim">{text(note)}</p>' if note else ""
    return f'<figure class="chart"><h3>{text(title)}</h3>{said}{body}</figure>\n'
