"""Label Studio's tasks with predictions, and the labeling interface that shows them; image by image.

Formats: https://labelstud.io/guide/predictions and https://labelstud.io/guide/task_format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TextIO
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.coco_files import json_text
from detr_hf.data.sinks.cvat_files import xml_text

LOCAL_FILES = "/data/local-files/?d="
"""What stands before the names of files that a Label Studio server reads from its own disk."""

DIGITS = 6  # of a percent
_BOX, _POLYGON = "boxes", "polygons"


def label_config(categories: Iterable[Mapping[str, Any]], polygons: bool) -> str:
    """The labeling interface: one tag of boxes or polygons, with the classes and their colors.

    Raises:
        UserError: XML cannot hold a class name.
    """
    tag, name = ("PolygonLabels", _POLYGON) if polygons else ("RectangleLabels", _BOX)
    labels = "".join(
        "    <Label value={} background={}/>\n".format(
            quoteattr(xml_text(one["name"], "class")), quoteattr("#{:02x}{:02x}{:02x}".format(*one["color"]))
        )
        for one in categories
    )
    return (
        '<View>\n  <Image name="image" value="$image"/>\n'
        f'  <{tag} name="{name}" toName="image">\n{labels}  </{tag}>\n</View>\n'
    )


class LabelStudioTasks:
    """Writes a list of tasks, each with one prediction.

    Args:
        out: a text file.
        url: what stands before the names of images, which are percent-encoded behind "/" and "http".
        model: its name, as Label Studio shows it.
    """

    def __init__(self, out: TextIO, url: str = LOCAL_FILES, model: str = "") -> None:
        self._out, self._url, self._model, self._tasks = out, url, model, 0
        out.write("[")

    def add(self, sample: Sample) -> None:
        """One image, whose shapes become percent of its sides. A task's score is the mean of its objects'."""
        assert sample.size_hw is not None
        results = [_result(found, sample.size_hw) for found in sample.objects]
        scores = [found.score for found in sample.objects if found.score is not None]
        mean = {"score": round(sum(scores) / len(scores), 4)} if scores else {}
        name = sample.file_name
        if self._url.startswith(("/", "http")):  # names in a bucket ("s3://...") stay as they are
            name = quote(name, errors="surrogateescape")
        task = {
            "data": {"image": self._url + name},
            "predictions": [{"model_version": self._model, **mean, "result": results}],
        }
        self._out.write(f"{',' if self._tasks else ''}\n{json_text(task)}")
        self._tasks += 1

    def finish(self) -> None:
        """The end of the list."""
        self._out.write("\n]\n")


def _result(found: Annotation, size_hw: tuple[int, int]) -> dict[str, Any]:
    height, width = size_hw
    value: dict[str, Any]
    if found.segmentation:
        (points,) = found.segmentation
        pairs = zip(points[::2], points[1::2], strict=True)
        value = {"points": [[_percent(x, width), _percent(y, height)] for x, y in pairs], "closed": True}
        kind, name = "polygonlabels", _POLYGON
    else:
        sides = zip(("x", "y", "width", "height"), found.bbox, (width, height) * 2, strict=True)
        value = {key: _percent(length, side) for key, length, side in sides} | {"rotation": 0}
        kind, name = "rectanglelabels", _BOX
    return {
        "id": str(found.id),
        "type": kind,
        "from_name": name,
        "to_name": "image",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [found.category]},
        **({} if found.score is None else {"score": found.score}),
    }


def _percent(length: float, side: int) -> float:
    return round(100 * length / side, DIGITS)
