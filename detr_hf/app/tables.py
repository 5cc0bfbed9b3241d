"""What was found, as HTML and JSON.

Names come from models and uploads and may be anything: all are escaped.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

from detr_hf.app.viewer import Prediction, Viewing
from detr_hf.inference import as_record
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction

MOST_ROWS = 200
"""Rows of a table in the page; the JSON file holds all."""


def record_of(
    viewing: Viewing, prediction: Prediction, labels: LabelMap, score_threshold: float
) -> dict[str, Any]:
    """What the JSON file holds: name and size of the picture, the threshold, objects and segments.

    Boxes and areas are in pixels of the picture as it was given, whatever size it was looked at.
    """
    height, width = viewing.size_hw
    record = as_record(prediction, labels, score_threshold)
    across, down = width / viewing.photograph.shape[1], height / viewing.photograph.shape[0]
    for one in record["objects"]:
        left, top, right, bottom = one["box_xyxy_px"]
        edges = (left * across, top * down, right * across, bottom * down)
        one["box_xyxy_px"] = [round(edge, 2) for edge in edges]
    for one in record.get("segments", []):
        one["area_px"] = round(one["area_px"] * across * down)
    return {
        "file": viewing.name,
        "width": width,
        "height": height,
        "score_threshold": score_threshold,
        **record,
    }


def table(record: dict[str, Any], labels: LabelMap) -> str:
    """A record's segments with their areas if it has them, else its objects with their boxes."""
    if "segments" in record:
        return _segments(record["segments"], labels, record["height"] * record["width"])
    return _objects(record["objects"], labels)


def legend(labels: LabelMap) -> str:
    """All classes with their colors: things, then stuff."""
    parts = []
    for title, ids in (("Things", labels.thing_ids), ("Stuff", labels.stuff_ids)):
        if ids:
            chips = "".join(f"<li>{_chip(labels, index)}</li>" for index in ids)
            parts.append(f"<h4>{title} <span>{len(ids)}</span></h4><ul>{chips}</ul>")
    return f'<div class="legend">{"".join(parts)}</div>'


def said(text: str, kind: str = "") -> str:
    """The line that tells how it went; ``kind`` is "bad", "welcome" or nothing."""
    role = "alert" if kind == "bad" else "status"
    return f'<p class="said {kind}" role="{role}">{escape(text)}</p>'


def summary(viewing: Viewing, prediction: Prediction, score_threshold: float) -> str:
    """One sentence on a picture."""
    height, width = viewing.size_hw
    if isinstance(prediction, PanopticPrediction):
        found = _counted(len(prediction.segments), "segment")
    else:
        found = _counted(len(prediction.above(score_threshold).scores), "object")
    return said(f"{viewing.name}, {width} × {height}: {found} above {score_threshold:.2f}")


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _objects(objects: list[dict[str, Any]], labels: LabelMap) -> str:
    rows = (
        [_named(labels, one["label"]), f"{one['score']:.2f}", *(f"{edge:.0f}" for edge in one["box_xyxy_px"])]
        for one in objects[:MOST_ROWS]
    )
    return _html(["object", "score", "left", "top", "right", "bottom, px"], rows, len(objects))


def _segments(segments: list[dict[str, Any]], labels: LabelMap, pixels: int) -> str:
    best_first = sorted(segments, key=lambda one: (not one["is_thing"], -one["score"]))
    rows = (
        [
            _named(labels, one["label"]),
            f"{one['score']:.2f}",
            "thing" if one["is_thing"] else "stuff",
            f"{one['area_px']:,}",
            f"{one['area_px'] / pixels:.1%}",
        ]
        for one in best_first[:MOST_ROWS]
    )
    return _html(["segment", "score", "kind", "area, px", "of the picture"], rows, len(segments))


def _named(labels: LabelMap, name: str) -> str:
    return _chip(labels, labels.label2id[name])


def _chip(labels: LabelMap, class_id: int) -> str:
    red, green, blue = labels.color(class_id)
    return f'<i style="background:rgb({red},{green},{blue})"></i>{escape(labels.names[class_id])}'


def _html(heads: list[str], rows: Iterable[list[str]], count: int) -> str:
    """A table whose first column is text and whose others are set right, as numbers are."""
    if not count:
        return '<p class="none">Nothing is surer than the threshold. Move it to the left to see more.</p>'

    def line(cells: list[str], tag: str) -> str:
        first, *others = cells
        return f"<tr><{tag}>{first}</{tag}>" + "".join(f'<{tag} class="n">{c}</{tag}>' for c in others)

    body = "".join(line(row, "td") for row in rows)
    rest = f'<p class="none">and {count - MOST_ROWS} more, in the JSON file</p>' if count > MOST_ROWS else ""
    table = f"<table><thead>{line(heads, 'th')}</thead><tbody>{body}</tbody></table>"
    return f'<div class="found">{table}{rest}</div>'
