"""Predictions as files that annotation tools import, written as they come."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import TextIO

import numpy as np

from detr_hf.data.contours import drawn_outline
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.cvat_files import CvatXml, CvatZip, cvat_labels
from detr_hf.data.sinks.label_studio_files import LOCAL_FILES, LabelStudioTasks, label_config
from detr_hf.files import whole_file, write_json, write_text
from detr_hf.foreign_files import own_file
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xyxy_to_xywh
from detr_hf.inference.results import InputImage
from detr_hf.labels import LabelMap
from detr_hf.modeling.predictions import PanopticPrediction, Prediction

XML, ZIP, LABELS = "annotations.xml", "coco.zip", "labels.json"
TASKS, CONFIG = "tasks.json", "label_config.xml"

DIGITS = 2  # of a pixel, as CVAT writes them


def as_annotations(predicted: Prediction, labels: LabelMap, score_threshold: float) -> list[Annotation]:
    """What was found as people would draw it: boxes in stage 1, one polygon a segment in stage 2."""
    if isinstance(predicted, PanopticPrediction):
        return _polygons(predicted, labels)
    sure = predicted.detections.above(score_threshold)
    corners = np.round(sure.boxes_xyxy_px.astype(float), DIGITS)
    rows = zip(sure.labels.tolist(), sure.scores, boxes_xyxy_to_xywh(corners), strict=True)
    return [
        Annotation(
            id=number,
            category=labels.names[label],
            bbox=[round(float(value), DIGITS) for value in box],
            area=round(float(box[2] * box[3]), DIGITS),
            score=round(float(score), 4),
        )
        for number, (label, score, box) in enumerate(rows, start=1)
    ]


def _polygons(predicted: PanopticPrediction, labels: LabelMap) -> list[Annotation]:
    ids = np.array([segment.id for segment in predicted.segments], np.int64)
    frames, areas = boxes_and_areas_of_segments(predicted.id_map, ids)
    found = []
    for segment, frame, area in zip(predicted.segments, frames.astype(int), areas.tolist(), strict=True):
        x0, y0, x1, y1 = frame
        line = drawn_outline(predicted.id_map[y0:y1, x0:x1] == segment.id) + np.array([x0, y0])
        (left, top), (right, bottom) = line.min(0).tolist(), line.max(0).tolist()
        found.append(
            Annotation(
                id=segment.id,
                category=labels.names[segment.category_id],
                bbox=[left, top, right - left, bottom - top],
                segmentation=[line.ravel().tolist()],
                area=area,
                score=round(segment.score, 4),
            )
        )
    return found


Add = Callable[[InputImage, Prediction], None]


@contextmanager
def cvat_files(folder: Path, labels: LabelMap, score_threshold: float) -> Iterator[Add]:
    """Gives a function that takes one image more; when the block ends without a fault, these are whole:

    - ``annotations.xml``, "CVAT for images 1.1";
    - ``coco.zip``, CVAT's "COCO 1.0";
    - ``labels.json``, for the label editor of a new task.

    The function raises UserError for a name that XML cannot hold; nothing of that image is written.
    """
    categories = labels.to_coco_categories()
    with ExitStack() as stack:
        out = stack.enter_context(_text_file(folder, XML))
        xml = CvatXml(out, categories)
        archive = CvatZip(stack.enter_context(whole_file(own_file(folder, ZIP))), categories)
        stack.callback(archive.close)
        numbers = count(1)

        def add(image: InputImage, predicted: Prediction) -> None:
            sample = _sample(image, next(numbers), as_annotations(predicted, labels, score_threshold))
            xml.add(sample)
            archive.add(sample)

        yield add
        xml.finish()
        archive.finish()
        write_json(own_file(folder, LABELS), cvat_labels(categories))


@contextmanager
def label_studio_files(
    folder: Path,
    labels: LabelMap,
    score_threshold: float,
    is_panoptic: bool,
    url: str = LOCAL_FILES,
    model: str = "",
) -> Iterator[Add]:
    """As ``cvat_files``: ``tasks.json`` with a prediction for each image, and ``label_config.xml``.

    Args:
        folder: to be written into.
        labels, score_threshold, is_panoptic: of the predictor.
        url, model: see ``LabelStudioTasks``.
    """
    write_text(own_file(folder, CONFIG), label_config(labels.to_coco_categories(), is_panoptic))
    with _text_file(folder, TASKS) as out:
        tasks = LabelStudioTasks(out, url, model)
        numbers = count(1)

        def add(image: InputImage, predicted: Prediction) -> None:
            tasks.add(_sample(image, next(numbers), as_annotations(predicted, labels, score_threshold)))

        yield add
        tasks.finish()


def _sample(image: InputImage, number: int, objects: list[Annotation]) -> Sample:
    return Sample(image.path, image.file_name, number, objects, size_hw=image.size_hw)


@contextmanager
def _text_file(folder: Path, name: str) -> Iterator[TextIO]:
    """A file that is whole at the end, or as it was."""
    with (
        whole_file(own_file(folder, name)) as file,
        file.open("w", encoding="utf-8", newline="\n") as out,
    ):
        yield out
