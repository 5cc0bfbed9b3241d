"""A sheet of augmented training samples with their truth drawn in: the check that only eyes can make."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from detr_hf.geometry import boxes_cxcywh_to_xyxy, denormalize_boxes
from detr_hf.labels import LabelMap
from detr_hf.loading.bad_samples import load_sample
from detr_hf.loading.collate import Target
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.panoptic import draw_panoptic
from detr_hf.visualize.sheets import contact_sheet

COLUMNS = 4


def save_training_grid(
    dataset: DetectionDataset, labels: LabelMap, path: str | Path, count: int = 16, skip_bad: bool = False
) -> Path:
    """Draw the first samples of epoch 0 as the model will see them, boxes and (in stage 2) masks over them.

    Args:
        dataset: the training split with its augmentation.
        labels: names and colors.
        path: of the picture; its folder is made when missing.
        count: samples, spread evenly over the split.
        skip_bad: show another one for a sample that cannot be loaded.

    Returns:
        The path of the picture.

    Raises:
        UserError: one of the samples cannot be loaded, and is not to be skipped.
    """
    pictures, titles = [], []
    for key in dataset.rows.preview_keys(count):
        sample = load_sample(dataset, key, skip_bad)
        target = sample.target
        pictures.append(draw_sample(_colors(sample.image, dataset), target, labels))
        height, width = target["size_hw"]
        titles.append(f"image {target['image_id']}, {width}x{height}, {len(target['class_labels'])} objects")
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(pictures, columns=COLUMNS, titles=titles).save(path)
    return path


def draw_sample(image: np.ndarray, target: Target, labels: LabelMap) -> Image.Image:
    """One augmented picture ``uint8 [h, w, 3]`` with its target: masks where it has them, then boxes."""
    classes = target["class_labels"].numpy()
    if "id_map" in target:
        ids = target["segment_ids"].tolist()
        segments = [(i, c, None) for i, c in zip(ids, classes.tolist(), strict=True)]
        image = np.asarray(draw_panoptic(image, target["id_map"].numpy(), segments, labels))
    boxes = denormalize_boxes(boxes_cxcywh_to_xyxy(target["boxes_cxcywh_norm"].numpy()), image.shape[:2])
    return draw_detections(image, UnscoredBoxes(boxes, classes), labels, truth=True)


def _colors(pixels: Tensor, dataset: DetectionDataset) -> np.ndarray:
    """Undo the normalization: ``float32 [3, h, w]`` to ``uint8 [h, w, 3]``."""
    colors = pixels.permute(1, 2, 0).numpy() * np.asarray(dataset.std) + np.asarray(dataset.mean)
    return np.clip(colors * 255 + 0.5, 0, 255).astype(np.uint8)
