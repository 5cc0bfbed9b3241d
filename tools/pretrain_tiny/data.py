"""Scenes of the street world in memory, cut into random views: what the tiny checkpoint is pretrained on."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_xyxy_to_cxcywh,
    normalize_boxes,
    rgb_to_id,
)
from detr_hf.labels import LabelMap

IMAGE_MEAN = (0.485, 0.456, 0.406)
IMAGE_STD = (0.229, 0.224, 0.225)
STORED_SHORT_EDGE = 176
VIEW_SIZES_HW = ((128, 160), (128, 176), (144, 176), (144, 192), (160, 208), (160, 128))
SMALLEST_SEGMENT_PX = 12


def _read_rgb(path: Path) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise UserError(f"{path}: cannot be read; remove the data folder, and it is drawn again.")
    return image[:, :, ::-1].astype(np.uint8)


class SceneMemory:
    """One split of a COCO panoptic set as small arrays: 6,000 scenes take about 1.5 GB.

    Attributes:
        images: ``uint8 [H, W, 3]`` each; id_maps: ``int32 [H, W]`` each; classes: dict segment id -> class
            id, each.
    """

    def __init__(self, split_folder: Path, labels: LabelMap):
        annotations = json.loads((split_folder / "panoptic.json").read_text())
        names = {image["id"]: image["file_name"] for image in annotations["images"]}
        self.images: list[np.ndarray] = []
        self.id_maps: list[np.ndarray] = []
        self.classes: list[dict[int, int]] = []
        for annotation in annotations["annotations"]:
            image = _read_rgb(split_folder / "images" / names[annotation["image_id"]])
            id_map = rgb_to_id(_read_rgb(split_folder / "panoptic" / annotation["file_name"]))
            size_wh = _shrunk_wh(image.shape[:2])
            self.images.append(cv2.resize(image, size_wh, interpolation=cv2.INTER_AREA))
            self.id_maps.append(cv2.resize(id_map, size_wh, interpolation=cv2.INTER_NEAREST))
            self.classes.append(
                {s["id"]: labels.source_to_class[s["category_id"]] for s in annotation["segments_info"]}
            )

    def __len__(self) -> int:
        return len(self.images)

    def view(
        self, index: int, size_hw: tuple[int, int], random: np.random.Generator | None
    ) -> tuple[np.ndarray, dict]:
        """One scene as an image ``uint8 [h, w, 3]`` and a target: a random view, or the whole."""
        image, id_map = self.images[index], self.id_maps[index]
        if random is not None:
            image, id_map = _random_view(image, id_map, random)
        height, width = size_hw
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
        id_map = cv2.resize(id_map, (width, height), interpolation=cv2.INTER_NEAREST)
        return image, _target(index, id_map, self.classes[index])

    def batch(
        self, indices: np.ndarray, random: np.random.Generator | None, size_hw: tuple[int, int] | None = None
    ) -> tuple[Tensor, Tensor, list[dict]]:
        """pixel_values ``[B, 3, h, w]``, pixel_mask ``[B, h, w]`` and targets; all views have one size."""
        if size_hw is None:
            assert random is not None
            size_hw = VIEW_SIZES_HW[random.integers(len(VIEW_SIZES_HW))]
        views = [self.view(int(index), size_hw, random) for index in indices]
        pixels = torch.from_numpy(np.stack([image for image, _ in views])).permute(0, 3, 1, 2).float() / 255
        mean, std = torch.tensor(IMAGE_MEAN)[:, None, None], torch.tensor(IMAGE_STD)[:, None, None]
        return (
            (pixels - mean) / std,
            torch.ones(len(views), *size_hw, dtype=torch.int64),
            [t for _, t in views],
        )


def _shrunk_wh(size_hw: tuple[int, int]) -> tuple[int, int]:
    scale = STORED_SHORT_EDGE / min(size_hw)
    return round(size_hw[1] * scale), round(size_hw[0] * scale)


def _random_view(
    image: np.ndarray, id_map: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """A flip (half of the time), a crop of 60 to 100 % a side (two thirds of the time), another light."""
    if random.random() < 0.5:
        image, id_map = image[:, ::-1], id_map[:, ::-1]
    if random.random() < 0.67:
        height, width = id_map.shape
        crop_h, crop_w = (int(side * random.uniform(0.6, 1.0)) for side in (height, width))
        top, left = random.integers(height - crop_h + 1), random.integers(width - crop_w + 1)
        image, id_map = (a[top : top + crop_h, left : left + crop_w] for a in (image, id_map))
    light = random.uniform(0.8, 1.2) * random.uniform(0.93, 1.07, 3)
    image = np.clip(image.astype(np.float32) * light.astype(np.float32), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(image), np.ascontiguousarray(id_map)


def _target(index: int, id_map: np.ndarray, classes: dict[int, int]) -> dict:
    ids = np.array(list(classes), np.int32)
    boxes, areas = boxes_and_areas_of_segments(id_map, ids)
    keep = areas >= SMALLEST_SEGMENT_PX
    boxes_xyxy = torch.from_numpy(normalize_boxes(boxes[keep], id_map.shape))
    return {
        "image_id": index,
        "size_hw": id_map.shape,
        "original_size_hw": id_map.shape,
        "class_labels": torch.tensor([classes[int(i)] for i in ids[keep]], dtype=torch.int64),
        "boxes_cxcywh_norm": boxes_xyxy_to_cxcywh(boxes_xyxy),
        "segment_ids": torch.from_numpy(ids[keep]),
        "id_map": torch.from_numpy(np.ascontiguousarray(id_map)),
    }
