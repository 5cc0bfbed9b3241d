"""A trained model and photographs in, typed predictions in original pixels out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import tqdm
from PIL import Image, ImageOps
from torch import Tensor
from transformers import DetrForSegmentation, DetrImageProcessor

from detr_hf.draw import draw_detections, draw_panoptic
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_image
from detr_hf.labels import LabelMap
from detr_hf.loading.collate import Target, collate
from detr_hf.loading.transforms import Augmentation, build_transforms
from detr_hf.modeling.detection_task import DetectionTask
from detr_hf.modeling.panoptic_task import PanopticTask
from detr_hf.modeling.predictions import Detections, PanopticPrediction
from detr_hf.modeling.pretrained import load_finished, load_label_map, load_processor
from detr_hf.recipe import DetectionLoss, MaskLoss, PanopticEvaluation

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
MASK_CHUNK = 16

Prediction = Detections | PanopticPrediction


class Predictor:
    """A model of either stage, ready to predict.

    Args:
        task: stage 1 or stage 2, with its label map.
        processor: gives the size and the colour statistics that the model expects.
        score_threshold: queries must be surer than this (0 to 1) to become a segment, and to be drawn or
            listed.
        device: where to run; the GPU when there is one.
    """

    def __init__(
        self,
        task: DetectionTask | PanopticTask,
        processor: DetrImageProcessor,
        score_threshold: float = 0.85,
        device: str | torch.device | None = None,
    ):
        self.device = usable_device(device)
        self.task = task.to(self.device).eval()
        self.processor = processor
        self.score_threshold = score_threshold
        self.resize = resize_as(processor)

    @classmethod
    def from_pretrained(
        cls, source: str | Path, score_threshold: float = 0.85, device: str | torch.device | None = None
    ) -> Predictor:
        """Load a folder (a run's ``best/``, for example) or a Hub id of either stage.

        Raises:
            UserError: there is no DETR, or one of its files is missing or does not fit.
        """
        source = str(source)
        model = load_finished(source)
        labels = load_label_map(source, model.config)
        task: DetectionTask | PanopticTask
        if isinstance(model, DetrForSegmentation):
            evaluation = PanopticEvaluation(score_threshold=score_threshold)
            task = PanopticTask(model, labels, MaskLoss(), evaluation, MASK_CHUNK)
        else:
            task = DetectionTask(model, labels, DetectionLoss())
        return cls(task, load_processor(source), score_threshold, device)

    @property
    def labels(self) -> LabelMap:
        """The classes that predictions count."""
        return self.task.labels

    def predict(self, images: Iterable[str | Path | np.ndarray | Image.Image]) -> list[Prediction]:
        """One prediction an image, in order; ``image_id`` counts them from 0.

        Each image passes alone, without padding, so a result does not depend on its neighbours. Detections
        hold all queries, best first; call ``above`` on them to keep the sure ones.

        Args:
            images: files, ``uint8 [H, W, 3]`` RGB arrays or PIL images.

        Raises:
            UserError: an image cannot be read; its file is named.
        """
        return [self._one(index, image) for index, image in enumerate(images)]

    def _one(self, index: int, image: str | Path | np.ndarray | Image.Image) -> Prediction:
        sample = sample_of(index, as_rgb(image), self.resize, self.processor)
        batch = collate([sample]).to(self.device)
        return self.task.predict(batch.pixel_values, batch.pixel_mask, batch.targets)[0]


def sample_of(
    index: int, image: np.ndarray, resize: Augmentation, processor: DetrImageProcessor
) -> tuple[Tensor, Target]:
    """One picture ``uint8 [H, W, 3]`` as the model takes it: resized, in the processor's colours."""
    resized = resize(image, np.zeros((0, 4), np.float32), None, 0).image
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).permute(2, 0, 1).float() / 255
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    target: Target = {
        "image_id": index,
        "size_hw": (resized.shape[0], resized.shape[1]),
        "original_size_hw": (image.shape[0], image.shape[1]),
        "class_labels": torch.zeros(0, dtype=torch.int64),
        "boxes_cxcywh_norm": torch.zeros(0, 4),
    }
    return (pixels - mean[:, None, None]) / std[:, None, None], target


def as_rgb(image: str | Path | np.ndarray | Image.Image) -> np.ndarray:
    """A file, array or PIL image as ``uint8 [H, W, 3]`` RGB."""
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise UserError(
                f"an image array must be uint8 [H, W, 3] RGB; this one is {image.dtype} {image.shape}."
            )
        return image
    if isinstance(image, Image.Image):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    return decode_image(image)


def predict_to_folder(predictor: Predictor, sources: Sequence[Path], out: Path) -> list[dict[str, Any]]:
    """Predict files and write for each a drawn picture, a JSON file and, in stage 2, a PNG id map.

    Returns:
        What the JSON files hold.

    Raises:
        UserError: an image cannot be read (the others before it are written), or lies in ``out`` itself.
    """
    if any(path.resolve().parent == out.resolve() for path in sources):
        raise UserError(f"{out} holds the images themselves; results of the same name would replace them.")
    out.mkdir(parents=True, exist_ok=True)
    records = []
    for path, name in tqdm(list(zip(sources, _result_names(sources), strict=True)), desc="predict"):
        photograph = as_rgb(path)
        predicted = predictor.predict([photograph])[0]
        record = as_record(predicted, predictor.labels, predictor.score_threshold)
        record = {"file": str(path), "width": photograph.shape[1], "height": photograph.shape[0], **record}
        if isinstance(predicted, PanopticPrediction):
            record["panoptic_png"] = f"{name}.panoptic.png"
            Image.fromarray(id_to_rgb(predicted.id_map)).save(out / record["panoptic_png"])
        (out / f"{name}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        drawn = draw_prediction(photograph, predicted, predictor.labels, predictor.score_threshold)
        drawn.convert("RGB").save(out / f"{name}.jpg")
        records.append(record)
    return records


def draw_prediction(
    photograph: np.ndarray, predicted: Prediction, labels: LabelMap, score_threshold: float
) -> Image.Image:
    """Boxes above ``score_threshold``, or the panoptic overlay, over a photograph ``uint8 [H, W, 3]``."""
    if isinstance(predicted, PanopticPrediction):
        segments = [(segment.id, segment.category_id, segment.score) for segment in predicted.segments]
        return draw_panoptic(photograph, predicted.id_map, segments, labels)
    return draw_detections(photograph, predicted.above(score_threshold), labels)


def as_record(predicted: Prediction, labels: LabelMap, score_threshold: float) -> dict[str, Any]:
    """A prediction as plain JSON: boxes as x min, y min, x max, y max in pixels, segments with their area."""
    boxes = predicted.detections if isinstance(predicted, PanopticPrediction) else predicted
    sure = boxes.above(score_threshold)
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


def find_images(source: Path) -> list[Path]:
    """The image file itself, or all image files directly in a folder, sorted.

    Raises:
        UserError: nothing is there.
    """
    if source.is_file():
        return [source]
    found = sorted(path for path in source.glob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not found:
        what = "holds no image" if source.is_dir() else "does not exist"
        raise UserError(f"{source} {what}; give an image file or a folder of images.")
    return found


def _result_names(sources: Sequence[Path]) -> list[str]:
    """A name for the results of each file: its stem, or more of it where two would be named alike."""
    for names in ([path.stem for path in sources], [path.name for path in sources]):
        if len(set(names)) == len(names):
            return names
    return [f"{index:05d}_{path.name}" for index, path in enumerate(sources)]


def usable_device(wanted: str | torch.device | None) -> torch.device:
    """The device wanted, or the GPU when there is one."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"the device {wanted} cannot be used here ({str(error).splitlines()[0]}).") from error
    return device


def resize_as(processor: DetrImageProcessor, short_edge: int | None = None) -> Augmentation:
    """The resize that a model expects; another ``short_edge`` (px) moves the bound of the long edge along.

    Raises:
        UserError: the processor resizes otherwise than by the short edge.
    """
    size = processor.size
    if size is None or size.get("shortest_edge") is None:
        raise UserError(f"the image processor resizes to {size}; a DETR model needs a shortest_edge.")
    own, longest = size["shortest_edge"], size.get("longest_edge")
    if short_edge is not None and longest is not None:
        longest = round(longest * short_edge / own)
    entry = {"name": "ShortEdgeResize", "short_edges": [short_edge or own], "max_long_edge": longest}
    return build_transforms([entry], "preprocessor_config.json: size")
