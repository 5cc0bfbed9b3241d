"""Predictions in COCO's files, written as they come."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.data.sinks.coco_files import JsonList, write_coco
from detr_hf.errors import UserError
from detr_hf.files import whole_file
from detr_hf.foreign_files import own_file
from detr_hf.inference.results import InputImage, save_id_map
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction

RESULTS, IMAGES, PANOPTIC = "results.json", "images.json", "panoptic.json"
DATA_SET = "annotations/instances_predictions.json"


@dataclass(frozen=True)
class Ids:
    """Under which ids images and classes are written.

    Attributes:
        categories: COCO's categories of the results.
        by_class: class id of the model -> category id; objects of other classes are left out.
        images: entries ``id``, ``file_name`` and maybe ``width`` and ``height`` by the names of images; ids
            count from 1 where there are none.
        file: where the ids are from, for messages.
    """

    categories: list[Mapping[str, Any]]
    by_class: Mapping[int, Any]
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    file: str = ""

    @classmethod
    def of_model(cls, labels: LabelMap) -> Ids:
        """Those of the data that the model was trained on."""
        return cls([*labels.to_coco_categories()], {one.id: one.source_id for one in labels.categories})


class CocoFiles:
    """Writes these files into a folder; used as a context, whose end completes them:

    - ``results.json``, COCO's results list: boxes, and for segments their masks as run lengths;
    - ``images.json``, which image each ``image_id`` is, and the categories;
    - ``annotations/instances_predictions.json``, the same as a COCO data set, with scores;
    - of stage 2 ``panoptic.json`` and the folder ``panoptic/`` of PNG id maps, COCO's panoptic format.
    """

    def __init__(
        self, folder: Path, labels: LabelMap, score_threshold: float, is_panoptic: bool, ids: Ids
    ) -> None:
        self._folder, self._labels, self._score_threshold = folder, labels, score_threshold
        self._is_panoptic, self._ids = is_panoptic, ids
        self._class_of = {one.source_id: one.id for one in labels.categories}
        self._stack = ExitStack()

    def __enter__(self) -> CocoFiles:
        names = ("images", "results", "annotations", "segments", "none")
        lists = [JsonList(own_file(self._folder, f"{name}.part")) for name in names]
        for one in lists:
            self._stack.callback(one.close)
        self._images, self._results, self._annotations, self._segments, self._none = lists
        return self

    def add(self, image: InputImage, predicted: Prediction) -> None:
        """One image more; its id map is written at once.

        Raises:
            UserError: the given size of the image is another; nothing of it is written.
        """
        entry = self._image_entry(image)
        if isinstance(predicted, PanopticPrediction):
            found = predicted.to_coco(self._labels)
            self._add_segments(image, entry["id"], predicted, found)
        else:
            sure = predicted.detections.above(self._score_threshold)
            found = sure.to_coco(self._labels)
        self._images.add(entry)
        for one in found:
            category_id = self._category_id(one)
            if category_id is None:
                continue
            result = {**one, "image_id": entry["id"], "category_id": category_id}
            self._results.add(result)
            number = self._annotations.length + 1
            shape = {"iscrowd": 0, "area": round(one["bbox"][2] * one["bbox"][3], 2), "segmentation": []}
            self._annotations.add({"id": number, **shape, **result})

    def _image_entry(self, image: InputImage) -> dict[str, Any]:
        height, width = image.size_hw
        given = self._ids.images.get(image.file_name)
        if given is None:
            number = self._images.length + 1
            return {"id": number, "file_name": image.file_name, "width": width, "height": height}
        said = given.get("width"), given.get("height")
        if said != (None, None) and said != (width, height):
            raise UserError(
                f"it has {width}x{height} pixels upright, {self._ids.file} says {said[0]}x{said[1]}; "
                "so its boxes do not fit. `detr-hf check --fix` repairs that file."
            )
        entry = {"id": given["id"], "file_name": given["file_name"]}
        return {**entry, "width": width, "height": height}

    def _category_id(self, entry: Mapping[str, Any]) -> Any:
        return self._ids.by_class.get(self._class_of[entry["category_id"]])

    def _add_segments(
        self, image: InputImage, image_id: Any, predicted: PanopticPrediction, found: list[dict[str, Any]]
    ) -> None:
        file_name = f"{image.name}.png"
        file = own_file(self._folder, f"panoptic/{file_name}")
        file.parent.mkdir(exist_ok=True)
        kept = [
            (segment, {**entry, "category_id": self._category_id(entry)})
            for segment, entry in zip(predicted.segments, found, strict=True)
            if self._category_id(entry) is not None
        ]
        if len(kept) < len(predicted.segments):
            is_kept = np.isin(predicted.id_map, [segment.id for segment, _ in kept])
            predicted = replace(predicted, id_map=np.where(is_kept, predicted.id_map, 0))
        save_id_map(predicted, file)
        segments = [
            {"id": segment.id, "iscrowd": 0}
            | {key: entry[key] for key in ("category_id", "bbox", "area", "score")}
            for segment, entry in kept
        ]
        self._segments.add({"image_id": image_id, "file_name": file_name, "segments_info": segments})

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._stack:
            if kind is not None:
                return
            with whole_file(own_file(self._folder, RESULTS)) as file, file.open("w", encoding="ascii") as out:
                self._results.copy_to(out)
                out.write("\n")
            files = {IMAGES: self._none, DATA_SET: self._annotations}
            for name, entries in (files | ({PANOPTIC: self._segments} if self._is_panoptic else {})).items():
                with whole_file(own_file(self._folder, name)) as file:
                    write_coco(file, self._ids.categories, self._images, entries)
