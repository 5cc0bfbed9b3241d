"""What was found, as HTML and JSON."""

from __future__ import annotations

from typing import Any

from detr_hf.app.viewer import Prediction, Viewing
from detr_hf.inference import as_record
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.templating import render_part

MOST_ROWS = 200
"""Rows of a table in the page; the JSON file holds all."""


def record_of(
    viewing: Viewing, prediction: Prediction, labels: LabelMap, score_threshold: float
) -> dict[str, Any]:
    """What the JSON file holds: name and size of the image, the threshold, objects and segments.

    Boxes and areas are in pixels of the image as it was given, whatever size it was looked at.
    """
    height, width = viewing.size_hw
    record = as_record(prediction, labels, score_threshold)
    across, down = width / viewing.image.shape[1], height / viewing.image.shape[0]
    for one in record["objects"]:
        left, top, right, bottom = one["box_xyxy_px"]
        edges = (left * across, top * down, right * across, bottom * down)
        one["box_xyxy_px"] = [round(edge, 2) for edge in edges]
    for one in record.get("segments", []):
        one["area_px"] = round(one["area_px"] * across * down)
    facts = {"file": viewing.name, "width": width, "height": height, "score_threshold": score_threshold}
    return facts | record


def table(record: dict[str, Any], labels: LabelMap) -> str:
    """A record's segments with their areas if it has them, else its objects with their boxes."""
    if "segments" in record:
        pixels = record["height"] * record["width"]
        found = sorted(record["segments"], key=lambda one: (not one["is_thing"], -one["score"]))
        heads = ["segment", "score", "kind", "area, px", "of the image"]
        rows = []
        for one in found[:MOST_ROWS]:
            kind, area = "thing" if one["is_thing"] else "stuff", one["area_px"]
            rows.append((one["label"], [f"{one['score']:.2f}", kind, f"{area:,}", f"{area / pixels:.1%}"]))
    else:
        found = record["objects"]
        heads = ["object", "score", "left", "top", "right", "bottom, px"]
        rows = [
            (one["label"], [f"{one['score']:.2f}", *(f"{edge:.0f}" for edge in one["box_xyxy_px"])])
            for one in found[:MOST_ROWS]
        ]
    return render_part("app.html", "table", heads, rows, labels, len(found) - len(rows))


def legend(labels: LabelMap) -> str:
    """All classes with their colors: things, then stuff."""
    return render_part("app.html", "legend", labels)


def status(text: str, kind: str = "") -> str:
    """The line that tells how it went; ``kind`` is "bad", "welcome" or nothing."""
    return render_part("app.html", "status", text, kind)


def summary(viewing: Viewing, prediction: Prediction, score_threshold: float) -> str:
    """One sentence on an image."""
    height, width = viewing.size_hw
    if isinstance(prediction, PanopticPrediction):
        number, noun = len(prediction.segments), "segment"
    else:
        number, noun = len(prediction.above(score_threshold).scores), "object"
    found = f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
    return status(f"{viewing.name}, {width} × {height}: {found} above {score_threshold:.2f}")
