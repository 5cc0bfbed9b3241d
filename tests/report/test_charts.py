"""Axes with round ticks, lines in their place, and no drawing of what is not there."""

from __future__ import annotations

import re

import pytest

from detr_hf.report.charts import MOST_POINTS, Axis, Chart, Dots, Line, bar_chart, dot_chart, line_chart
from tests.html_reader import Page

SHARE = Axis("share", 0.0, 1.0)


def points_of(chart: Chart) -> list[list[tuple[float, float]]]:
    """The points of every colored line, in pixels of the drawing."""
    lines = [
        attributes["d"] or ""
        for attributes in Page(str(chart.svg)).all("path")
        if re.search(r"fill: none; .*stroke: var\(--(c|faint)", attributes.get("style") or "")
    ]
    return [[(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", line)] for line in lines]


def words_of(chart: Chart) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)


def test_a_line_goes_from_corner_to_corner() -> None:
    ((start, end),) = points_of(line_chart("t", [Line("a", [[0, 0], [10, 1]])], Axis("step"), SHARE))
    assert start == (50.0, 200.0) and end == (382.0, 8.0), "left below and right above: y grows upwards"


@pytest.mark.parametrize(
    ("points", "ticks"),
    [
        ([[0, 0.0], [600, 1.0]], ["0", "200", "400", "600"]),
        ([[0, 0.0], [3, 1.0]], ["0", "1", "2", "3"]),
        ([[0, 0.0], [4e-4, 1.0]], ["0", "1e-4", "2e-4", "3e-4", "4e-4"]),
        ([[0, 0.0], [60_000, 1.0]], ["0", "20k", "40k", "60k"]),
    ],
)
def test_ticks_are_round(points: list[list[float]], ticks: list[str]) -> None:
    words = words_of(line_chart("t", [Line("a", points)], Axis("x label"), SHARE))
    assert words[: len(ticks) + 1] == [*ticks, "x label"] and words[-1] == "share"


@pytest.mark.parametrize(("highest", "left"), [(1.0, 50.0), (0.0018, 66.0)])
def test_long_ticks_leave_room_for_the_label_of_the_axis(highest: float, left: float) -> None:
    chart = line_chart("t", [Line("a", [[0, 0], [10, highest]])], Axis("step"), Axis("rate", low=0))
    assert points_of(chart)[0][0][0] == left


def test_names_are_text_and_unknown_values_are_no_bars() -> None:
    chart = line_chart('<b>"', [Line("<i>x\x1b", [[0, 1], [1, 1]]), Line("y", [[0, 0]])], SHARE, SHARE)
    page = Page(str(chart.svg))
    assert {"b", "i"}.isdisjoint(tag for tag, _ in page.tags) and "<i>x" in page.words
    assert page.all("svg")[0]["aria-label"] == '<b>"' and "\x1b" not in chart.svg
    assert [name for name, _, _ in chart.legend] == ["<i>x\x1b", "y"], "the page's template escapes these"
    bars = bar_chart("sizes", [("small", None, "0 objects"), ("large", 0.5, "3 objects")], SHARE)
    heights = [
        [float(y) for _, y in re.findall(r"([\d.]+) ([\d.]+)", bar["d"] or "")]
        for bar in Page(str(bars.svg)).all("path")
        if "fill: var(--c0)" in (bar.get("style") or "")
    ]
    assert [max(ys) - min(ys) for ys in heights] == [0.0, 96.0] and {"-", "0.500"} < set(words_of(bars))


def test_a_line_without_points_keeps_its_color() -> None:
    chart = line_chart("t", [Line("none", []), Line("some", [[0, 0], [1, 1]])], SHARE, SHARE)
    assert chart.legend == [("some", 1, "7 3")] and "stroke: var(--c1)" in chart.svg
    assert line_chart("t", [Line("none", [])], SHARE, SHARE).svg == ""


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    (points,) = points_of(line_chart("t", [Line("a", [[i, i] for i in range(5001)])], Axis("x"), Axis("y")))
    assert len(points) <= MOST_POINTS + 2 and points[-1][0] == 382.0


def test_a_chart_belongs_to_its_page_and_to_no_moment() -> None:
    """guards: a style for the whole page, fonts and colors of its own, ids that occur twice, dates."""
    charts = [line_chart("t", [Line("a", [[0, 0], [1, 1]])], SHARE, SHARE, marks=[0.5]).svg for _ in "ab"]
    assert charts[0] == charts[1] and len(charts[0]) < 6000
    assert not re.search(r"<style|font-family|#[0-9a-f]{6}|<\?xml|metadata|xmlns", charts[0])
    assert not re.findall(r"<g id=", charts[0])


def test_a_row_of_dots_has_its_values_its_mean_and_its_interval() -> None:
    rows = [
        Dots("base", [0.4, 0.6], 0.5),
        Dots("up", [0.8], 0.8, 0.7, 0.9),
        Dots("far", [0.5], 0.5, -9.0, 0.4),
    ]
    chart = dot_chart("t", rows, Axis("AP"), origin=0.5)
    page = Page(str(chart.svg))
    assert [word for word in words_of(chart) if word in ("base", "up", "far")] == ["base", "up", "far"]
    dots = [dot for dot in page.all("use") if "fill: var(--c0)" in (dot.get("style") or "")]
    assert len(dots) == 4, "one for each value"
    assert "stroke: var(--c2); stroke-width: 5" in chart.svg, "right of the origin"
    orange = [p for p in page.all("path") if "var(--c1); stroke-width: 5" in (p.get("style") or "")]
    xs = [float(x) for x, _ in re.findall(r"(-?[\d.]+) ([\d.]+)", orange[0]["d"] or "")]
    assert min(xs) >= 18, "what is far longer than the values are apart is cut at the edge"
    assert dot_chart("t", [Dots("none", [])], Axis("AP"), None).svg == ""
