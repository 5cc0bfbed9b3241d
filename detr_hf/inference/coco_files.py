"""Predictions of many images in COCO's own files, as its evaluation code reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from detr_hf.geometry import id_to_rgb
from detr_hf.inference.files import own_file
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction

RESULTS, IMAGES, PANOPTIC = "results.json", "images.json", "panoptic.json"


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
        image = {"id": image_id, "file_name": path.name, "width": size_hw[1], "height": size_hw[0]}
        self._images.append(image)
        if isinstance(predicted, PanopticPrediction):
            entries = predicted.to_coco(self._labels)
            self._add_panoptic(f"{name}.png", image_id, predicted, entries)
        else:
            entries = predicted.above(self._score_threshold).to_coco(self._labels)
        self._results += [{**entry, "image_id": image_id} for entry in entries]

    def _add_panoptic(
        self, file_name: str, image_id: int, predicted: PanopticPrediction, entries: list[dict[str, Any]]
    ) -> None:
        folder = self._folder / "panoptic"
        folder.mkdir(exist_ok=True)
        Image.fromarray(id_to_rgb(predicted.id_map)).save(own_file(folder / file_name))
        segments = [
            {"id": segment.id, "iscrowd": 0}
            | {key: entry[key] for key in ("category_id", "bbox", "area", "score")}
            for segment, entry in zip(predicted.segments, entries, strict=True)
        ]
        self._panoptic.append({"image_id": image_id, "file_name": file_name, "segments_info": segments})

    def write(self) -> None:
        """Write the JSON files."""
        about = {"images": self._images, "categories": self._labels.to_coco_categories()}
        files: dict[str, Any] = {RESULTS: self._results, IMAGES: {**about, "annotations": []}}
        if self._panoptic:
            files[PANOPTIC] = {**about, "annotations": self._panoptic}
        for name, content in files.items():
            own_file(self._folder / name).write_text(json.dumps(content), encoding="utf-8")
