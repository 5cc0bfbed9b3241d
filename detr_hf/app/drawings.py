"""Where a model looked, as pictures for a gallery."""

from __future__ import annotations

from PIL import Image

from detr_hf.inference import Explanation
from detr_hf.labels import LabelMap
from detr_hf.visualize.explanation import MOST_QUERIES, query_cells


def attention_pictures(explanation: Explanation, labels: LabelMap) -> list[tuple[Image.Image, str]]:
    """Of each kept query the mask it drew (stage 2) and where it looked, with titles; the surest first."""
    return [
        (picture, title)
        for view in explanation.queries[:MOST_QUERIES]
        for title, picture in query_cells(explanation.image, view, labels)
    ]
