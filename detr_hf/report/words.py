"""Sentences that the page and the Markdown file share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SIZES = "Sizes are areas in pixels of the original photograph, as COCO has them."

CONFUSION = (
    "Boxes of things with a score above {score_threshold:g}, matched with the truth from IoU {iou:g} on "
    "whatever their class, the surest first. Rows are the truth, columns the prediction; the last column "
    "counts objects that were missed, the last row boxes on nothing."
)
QUALITY = (
    "Quality is the sum of the IoUs of all matches, divided by matched + half of the false + half of the "
    "missed: PQ's formula over all objects of one image, from 0 to 1."
)
RANKED_BY = {
    "boxes": "Images are ranked by their boxes with a score above {threshold:g}, matched within a class from "
    "IoU 0.5 on.",
    "segments": "Images are ranked by their segments, matched within a class above IoU 0.5.",
}


def subtitle(numbers: Mapping[str, Any]) -> str:
    """What the page is about, in one line."""
    facts = numbers["facts"]
    return (
        f"Stage {facts['stage']}. Best model: epoch {facts['best epoch']}, on {facts['validation images']} "
        f"validation images; trained on {facts['training images']}."
    )
