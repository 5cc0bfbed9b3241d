"""Predictions as plain JSON and in COCO's files, and the names of files for them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.files import write_json
from detr_hf.foreign_files import harmless_name, own_file
from detr_hf.geometry import id_to_rgb
from detr_hf.images import save_image
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction

RESULTS, IMAGES, PANOPTIC = "results.json", "images.json", "panoptic.json"


def as_record(predicted: Prediction, labels: LabelMap, score_threshold: float) -> dict[str, Any]:
    """A prediction as plain JSON: boxes as x min, y min, x max, y max in pixels, segments with their area."""
    sure = predicted.detections.above(score_threshold)
    record: dict[str, Any] = {
        "objects": [
            {
                "label": labels.names[label],
                "score": round(float(score), 4),
                "box_xyxy_px": box.astype(float).round(2).tolist(),
            }
            for label, score, box in zip(sure.labels.tolist(), sure.scores, sure.boxes_xyxy_px, strict=True)
        ]
    }
    if isinstance(predicted, PanopticPrediction):
        counts = np.bincount(predicted.id_map.ravel(), minlength=len(predicted.segments) + 1)
        record["segments"] = [
            {
                "id": segment.id,
                "label": labels.names[segment.category_id],
                "is_thing": labels.is_thing(segment.category_id),
                "score": round(segment.score, 4),
                "area_px": int(counts[segment.id]),
            }
            for segment in predicted.segments
        ]
    return record


def result_names(sources: Sequence[Path]) -> list[str]:
    """A name for the results of each file: its stem, or more of it where two would be named alike."""
    names = [harmless_name(path.name) for path in sources]
    for choice in ([harmless_name(path.stem) for path in sources], names):
        if len(set(choice)) == len(choice):
            return choice
    return [f"{index:05d}_{name}" for index, name in enumerate(names)]


def save_id_map(predicted: PanopticPrediction, file: Path) -> None:
    """The id map as a PNG in COCO's colors."""
    save_image(Image.fromarray(id_to_rgb(predicted.id_map)), file)


class CocoFiles:
    """Collects predictions; ``write`` puts these files into a folder:

    - ``results.json``, COCO's results list: boxes, and for segments their masks as run lengths;
    - ``images.json``, which image each ``image_id`` is, and the categories;
    - of stage 2 ``panoptic.json`` and the folder ``panoptic/`` of PNG id maps, COCO's panoptic format.

    Category ids are those of the data that the model was trained on.
    """

    def __init__(self, folder: Path, labels: LabelMap, score_threshold: float) -> None:
        self._folder, self._labels, self._score_threshold = folder, labels, score_threshold
        self._images: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []
        self._panoptic: list[dict[str, Any]] = []

    def add(self, name: str, path: Path, size_hw: tuple[int, int], predicted: Prediction) -> None:
        """One image more, with ids that count from 1; its id map is written at once, as ``name``.png."""
        image_id = len(self._images) + 1
        if isinstance(predicted, PanopticPrediction):
            entries = predicted.to_coco(self._labels)
            file_name = f"{name}.png"
            file = own_file(self._folder, f"panoptic/{file_name}")
            file.parent.mkdir(exist_ok=True)
            save_id_map(predicted, file)
            segments = [
                {"id": segment.id, "iscrowd": 0}
                | {key: entry[key] for key in ("category_id", "bbox", "area", "score")}
                for segment, entry in zip(predicted.segments, entries, strict=True)
            ]
            self._panoptic.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})
        else:
            entries = predicted.detections.above(self._score_threshold).to_coco(self._labels)
        height, width = size_hw
        self._images.append({"id": image_id, "file_name": path.name, "width": width, "height": height})
        self._results += [{**entry, "image_id": image_id} for entry in entries]

    def write(self) -> None:
        """Write the JSON files."""
        about = {"images": self._images, "categories": self._labels.to_coco_categories()}
        files: dict[str, Any] = {RESULTS: self._results, IMAGES: {**about, "annotations": []}}
        if self._panoptic:
            files[PANOPTIC] = {**about, "annotations": self._panoptic}
        for name, content in files.items():
            write_json(own_file(self._folder, name), content, indent=None)
