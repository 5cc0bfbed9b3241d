"""Axes with round ticks, lines in their place, and no drawing of what is not there."""

from __future__ import annotations

import pytest

from detr_hf.report.charts import Axis, Line, bar_chart, line_chart, sparkline
from tests.html_reader import Page

SHARE = Axis("share", 0.0, 1.0)


def points_of(svg: str) -> list[list[tuple[float, float]]]:
    lines = [attributes["points"] or "" for attributes in Page(svg).all("polyline")]
    return [[(float(x), float(y)) for x, y in (pair.split(",") for pair in line.split())] for line in lines]


def test_a_line_goes_from_corner_to_corner() -> None:
    ((start, end),) = points_of(line_chart("t", [Line("a", [[0, 0], [10, 1]])], Axis("step"), SHARE))
    assert start == (50.0, 200.0) and end == (382.0, 8.0), "left below and right above: y grows upwards"


@pytest.mark.parametrize(
    ("points", "ticks"),
    [
        ([[0, 0.0], [600, 1.0]], ["0", "200", "400", "600"]),
        ([[0, 0.0], [3, 1.0]], ["0", "1", "2", "3"]),
        ([[1, 0.0], [1, 1.0]], ["0.6", "1.0", "1.4"]),
        ([[0, 0.0], [4e-4, 1.0]], ["0", "1e-4", "2e-4", "3e-4", "4e-4"]),
    ],
)
def test_ticks_are_round(points: list[list[float]], ticks: list[str]) -> None:
    page = Page(line_chart("t", [Line("a", points)], Axis("x label"), SHARE))
    words = page.words
    shown = words[words.index("1.0") + 3 :].removeprefix("share") if "share" in words else words
    assert all(tick in shown for tick in ticks), shown


def test_names_are_text_and_unknown_values_are_no_bars() -> None:
    page = Page(line_chart("<b>", [Line("<i>x", [[0, 1]]), Line("y", [[0, 0]])], SHARE, SHARE, note="&amp;"))
    assert {"b", "i"}.isdisjoint(tag for tag, _ in page.tags) and "<i>x" in page.words
    bars = bar_chart("sizes", [("small", None, "0 objects"), ("large", 0.5, "3 objects")], SHARE)
    assert [float(bar["height"] or 0) for bar in Page(bars).all("rect")] == [0.0, 96.0]


def test_a_line_without_points_keeps_its_color() -> None:
    chart = line_chart("t", [Line("none", []), Line("some", [[0, 0], [1, 1]])], SHARE, SHARE)
    assert "none" not in Page(chart).words and 'stroke="var(--c1)"' in chart
    assert "nothing was recorded" in line_chart("t", [Line("none", [])], SHARE, SHARE)
    assert sparkline(None) == ""


def test_a_long_line_is_thinned_and_keeps_its_end() -> None:
    ((*_, last),) = points_of(
        line_chart("t", [Line("a", [[i, i] for i in range(5001)])], Axis("x"), Axis("y"))
    )
    drawn = points_of(line_chart("t", [Line("a", [[i, i] for i in range(5001)])], Axis("x"), Axis("y")))[0]
    assert len(drawn) <= 402 and last[1] == 8.0
