"""What a loader worker makes of a panoptic PNG and its list of segments.

Ours stays one id map with boxes from one pass over it; stock is a pile of full-size masks and boxes from
these. Compared are boxes, classes, areas and masks, ours cut out of the id map. (A stock box ends at the
last pixel, ours behind it.)
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers.models.detr.image_processing_detr import prepare_coco_panoptic_annotation

from benchmarks.cases import Side
from benchmarks.inputs import scene_of
from benchmarks.settings import Settings
from detr_hf.geometry import boxes_and_areas_of_segments, id_to_rgb, masks_of_segments
from detr_hf.images import decode_id_map

LAST_PIXEL = torch.tensor([0.0, 0.0, 1.0, 1.0])


class _Annotations:
    """PNG files, and which segments they hold, for as long as the object lives."""

    def __init__(self, settings: Settings):
        self._folder = TemporaryDirectory()
        self.folder = Path(self._folder.name)
        self.rows: list[dict[str, Any]] = []
        for image, objects in enumerate(settings.objects_of_images):
            id_map, ids, classes = scene_of(settings, image, objects)
            name = f"{image}.png"
            Image.fromarray(id_to_rgb(id_map)).save(self.folder / name)
            segments = [
                {"id": int(i), "category_id": int(c), "iscrowd": 0, "area": int((id_map == i).sum())}
                for i, c in zip(ids, classes, strict=True)
            ]
            self.rows.append({"image_id": image, "file_name": name, "segments_info": segments})


def ours(settings: Settings) -> Side:
    """Id map, boxes and areas; variant: the masks besides, which else the loss cuts out where needed."""
    annotations = _Annotations(settings)
    found: list[dict[str, Tensor]] = []

    def targets() -> None:
        found.clear()
        for row in annotations.rows:
            id_map = decode_id_map(annotations.folder / row["file_name"])
            ids = np.array([segment["id"] for segment in row["segments_info"]], np.int32)
            boxes_xyxy_px, areas = boxes_and_areas_of_segments(id_map, ids)
            found.append(
                {
                    "classes": torch.tensor([segment["category_id"] for segment in row["segments_info"]]),
                    "boxes": torch.from_numpy(boxes_xyxy_px),
                    "areas": torch.from_numpy(areas),
                    "ids": torch.from_numpy(ids),
                    "id map": torch.from_numpy(id_map),
                }
            )

    def masks() -> list[Tensor]:
        targets()
        return [masks_of_segments(target["id map"], target["ids"]) for target in found]

    def outcome() -> dict[str, Tensor]:
        names = ("classes", "boxes", "areas")
        equal = {name: torch.cat([target[name] for target in found]) for name in names}
        return {**equal, "masks": torch.cat(masks())}

    return Side(targets, outcome, {"with masks cut out": masks})


def stock(settings: Settings) -> Side:
    """``prepare_coco_panoptic_annotation``, which the stock image processor calls."""
    annotations = _Annotations(settings)
    image = torch.zeros(3, *settings.size, dtype=torch.uint8)
    found: list[dict[str, Tensor]] = []

    def targets() -> None:
        found.clear()
        for row in annotations.rows:
            target = prepare_coco_panoptic_annotation(
                image, row, annotations.folder, input_data_format="channels_first"
            )
            found.append(target)

    def outcome() -> dict[str, Tensor]:
        names = {"classes": "class_labels", "boxes": "boxes", "areas": "area", "masks": "masks"}
        equal = {name: torch.cat([target[theirs] for target in found]) for name, theirs in names.items()}
        return {**equal, "boxes": equal["boxes"] + LAST_PIXEL}

    return Side(targets, outcome, {})
