"""Validation photographs drawn twice: the truth, and what the model finds."""

from __future__ import annotations

from pathlib import Path

from detr_hf.draw import contact_sheet, draw_detections, draw_panoptic
from detr_hf.images import decode_image
from detr_hf.inference import draw_prediction
from detr_hf.loading.collate import collate
from detr_hf.loading.dataset import PreparedImages
from detr_hf.loading.truth import TruthOfSplit
from detr_hf.modeling.predictions import PanopticPrediction
from detr_hf.training.sample_grid import TrueBoxes
from detr_hf.training.setup import Task


def save_pictures(
    task: Task, images: PreparedImages, truth: TruthOfSplit, folder: Path, count: int, score_threshold: float
) -> list[Path]:
    """Draw the first ``count`` images of a split, truth at the left and prediction at the right.

    Args:
        task: in eval mode, on any device.
        images: of the split, with transforms that are not random.
        truth: of the same split.
        folder: made when missing; one JPEG an image.
        count: how many images.
        score_threshold: boxes with a lower score are not drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    device = next(task.parameters()).device
    paths = []
    for index in range(min(count, len(images))):
        batch = collate([images[(0, index)]]).to(device)
        predicted = task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]
        row = images.rows[index]
        photograph = decode_image(row["image"])
        if isinstance(predicted, PanopticPrediction):
            reference = truth.panoptic(predicted.image_id)
            real = [(s["id"], s["category_id"], None) for s in reference["segments"] if not s["iscrowd"]]
            left = draw_panoptic(photograph, reference["id_map"], real, task.labels)
        else:
            boxes = truth.detection(predicted.image_id)
            left = draw_detections(
                photograph, TrueBoxes(boxes["boxes_xyxy_px"], boxes["labels"]), task.labels, truth=True
            )
        right = draw_prediction(photograph, predicted, task.labels, score_threshold)
        path = folder / f"{index:03d}_{Path(row['file_name']).stem}.jpg"
        contact_sheet([left, right], columns=2, titles=["truth", "prediction"]).convert("RGB").save(path)
        paths.append(path)
    return paths
