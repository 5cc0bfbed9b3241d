"""Validation photographs drawn twice: the truth, and what the model finds."""

from __future__ import annotations

from pathlib import Path

from detr_hf.images import decode_image
from detr_hf.loading.collate import collate
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.truth import GroundTruth
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.predictions import Prediction
from detr_hf.training.setup import Task
from detr_hf.visualize.panoptic import draw_prediction
from detr_hf.visualize.sheets import contact_sheet
from detr_hf.visualize.truth import draw_truth


def save_pictures(
    task: Task,
    dataset: DetectionDataset,
    truth: GroundTruth,
    folder: Path,
    count: int,
    score_threshold: float,
) -> list[Path]:
    """Draw the first ``count`` images of a split, truth at the left and prediction at the right.

    Args:
        task: in eval mode, on any device.
        dataset: of the split, with transforms that are not random.
        truth: of the same split.
        folder: made when missing; one JPEG an image.
        count: how many images.
        score_threshold: boxes with a lower score are not drawn.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(min(count, len(dataset))):
        predicted = predicted_of(task, dataset, index)
        row = dataset.rows.row((0, index))
        photograph = decode_image(row["image"])
        left = draw_truth(photograph, row["image_id"], truth, task.labels, isinstance(task, PanopticTask))
        right = draw_prediction(photograph, predicted, task.labels, score_threshold)
        path = folder / f"{index:03d}_{Path(row['file_name']).stem}.jpg"
        contact_sheet([left, right], columns=2, titles=["truth", "prediction"]).convert("RGB").save(path)
        paths.append(path)
    return paths


def predicted_of(task: Task, dataset: DetectionDataset, index: int) -> Prediction:
    """What a task in eval mode finds in one image of a split.

    Raises:
        UserError: the picture cannot be loaded.
    """
    device = next(task.parameters()).device
    batch = collate([dataset[0, index]]).to(device)
    return task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]
