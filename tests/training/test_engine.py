"""Scores that do not depend on batches or processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.loading.loaders import BatchLoader, evaluation_loader
from detr_hf.loading.truth import GroundTruth
from detr_hf.metrics.tables import score_of
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from detr_hf.modeling.task import PanopticTask
from detr_hf.training import engine
from detr_hf.training.engine import EvaluationResult, evaluate
from detr_hf.training.state import Run
from tests.factories import write_coco_panoptic
from tests.tiny_runs import ALL_LABELS, assembled, panoptic_recipe, save_detector, save_segmenter

SIZES = [(96, 128), (120, 90), (100, 100)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    split = write_coco_panoptic(tmp_path / "data", count=10, sizes_hw=SIZES, crowd=True)
    detector = save_detector(tmp_path / "stage1", ALL_LABELS)
    head = save_segmenter(tmp_path / "head")
    return assembled(
        panoptic_recipe(tmp_path / "run", split, detector, head, "evaluation.score_threshold=0.3")
    )


def loader_of(run: Run, batch_size: int, rank: int = 0, world_size: int = 1) -> BatchLoader:
    return evaluation_loader(run.validation_loader.dataset, batch_size, 0, rank, world_size)


class KnowsTheTruth(PanopticTask):
    """A task that predicts the truth, in the form of real predictions."""

    def __init__(self, task: PanopticTask, truth: GroundTruth):
        super().__init__(task.model, task.labels, task.criterion.settings, task.merge, task.mask_chunk)
        self.truth, self.seen = truth, []  # type: ignore[var-annotated]

    def predict(self, pixel_values: Any, pixel_mask: Any, targets: Sequence[Any]) -> list[PanopticPrediction]:
        self.seen += [target["image_id"] for target in targets]
        return [self._perfect(target["image_id"]) for target in targets]

    def _perfect(self, image_id: int) -> PanopticPrediction:
        boxes, masks = self.truth.detection(image_id), self.truth.panoptic(image_id)
        segments = [Segment(s["id"], s["category_id"], 1.0) for s in masks["segments"] if not s["iscrowd"]]
        known = np.isin(masks["id_map"], [segment.id for segment in segments])
        keep = ~boxes["iscrowd"]
        found = Detections(
            image_id,
            boxes["boxes_xyxy_px"][keep].astype(np.float32),
            np.ones(int(keep.sum()), np.float32),
            boxes["labels"][keep],
        )
        return PanopticPrediction(image_id, np.where(known, masks["id_map"], 0), segments, found)


def test_the_truth_as_prediction_scores_one(run: Run) -> None:
    perfect = KnowsTheTruth(run.task, run.truth)  # type: ignore[arg-type]
    results = evaluate(run.accelerator, perfect, loader_of(run, 3), run.truth).metrics
    assert sorted(perfect.seen) == list(range(10, 20)), "every image once"
    assert results["detection"]["AP"] == pytest.approx(1.0)
    assert results["detection"]["AR"] == pytest.approx(1.0)
    for part in ("All", "Things", "Stuff"):
        assert results["panoptic"][part]["pq"] == pytest.approx(1.0)
    assert score_of(results, "PQ") == pytest.approx(1.0) and score_of(results, "AP") == pytest.approx(1.0)


class TruthFromPredictions:
    """What a model found at one batch size as the truth for another: any change then costs score."""

    def __init__(self, found: list[PanopticPrediction]):
        self.found = {prediction.image_id: prediction for prediction in found}

    def detection(self, image_id: int) -> dict[str, Any]:
        boxes = self.found[image_id].detections
        areas = np.prod(boxes.boxes_xyxy_px[:, 2:] - boxes.boxes_xyxy_px[:, :2], axis=1)
        return {
            "image_id": image_id,
            "boxes_xyxy_px": boxes.boxes_xyxy_px,
            "labels": boxes.labels,
            "areas": areas,
            "iscrowd": np.zeros(len(areas), bool),
        }

    def panoptic(self, image_id: int) -> dict[str, Any]:
        found = self.found[image_id]
        segments = [{"id": s.id, "category_id": s.category_id, "iscrowd": False} for s in found.segments]
        return {"image_id": image_id, "id_map": found.id_map, "segments": segments}


def test_scores_are_the_same_at_any_batch_size(run: Run) -> None:
    """Guards: padding a batch changes what the convolutions see, and with it the score."""
    alone = []
    for batch in loader_of(run, 1):
        alone += run.task.eval().predict(batch.pixel_values, batch.pixel_mask, batch.targets)
    assert sum(len(prediction.segments) for prediction in alone) > 10
    reference = TruthFromPredictions(alone)
    scores = {
        size: evaluate(run.accelerator, run.task, loader_of(run, size), reference).metrics  # type: ignore[arg-type]
        for size in (1, 4, 8)
    }
    for size in (1, 4, 8):
        for name in ("AP", "PQ"):
            assert score_of(scores[size], name) == pytest.approx(score_of(scores[1], name), abs=1e-4)
    assert score_of(scores[1], "AP") > 0.99 and score_of(scores[1], "PQ") > 0.99


@pytest.mark.parametrize("world_size", [2, 8])
def test_processes_share_the_images_and_count_each_once(
    world_size: int, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On eight processes two have no image at all, and take part all the same."""
    alone = evaluate(run.accelerator, run.task, loader_of(run, 2), run.truth)
    states: list[list[Any]] = []
    shares = [loader_of(run, 2, rank, world_size) for rank in range(world_size)]
    assert sum(len(share) for share in shares) == 6 and (len(shares[-1]) == 0) == (world_size == 8)

    def keep(state: list[Any]) -> list[Any]:
        states[-1] += state
        return states[0][len(states[-1]) - 1 : len(states[-1])]  # anything with an image in it

    monkeypatch.setattr(engine, "gather_object", keep)
    for share in shares:
        states.append([])
        evaluate(run.accelerator, run.task, share, run.truth)
    gathered = iter(zip(*states, strict=True))
    monkeypatch.setattr(engine, "gather_object", lambda state: list(next(gathered)))
    together = evaluate(run.accelerator, run.task, shares[0], run.truth)
    assert together.metrics == alone.metrics
    assert image_ids(together) == image_ids(alone) == list(range(10, 20))


def image_ids(result: EvaluationResult) -> list[int]:
    assert result.per_image is not None and result.per_image.segments is not None
    ids = [entry.image_id for entry in result.per_image.boxes]
    assert ids == [entry.image_id for entry in result.per_image.segments]
    return ids


def test_other_processes_have_the_numbers_but_not_the_images(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = evaluate(run.accelerator, run.task, loader_of(run, 2), run.truth)
    monkeypatch.setattr(type(run.accelerator), "is_main_process", property(lambda _: False))
    monkeypatch.setattr(engine, "broadcast_object_list", lambda _: [alone.metrics["detection"]])
    result = evaluate(run.accelerator, run.task, loader_of(run, 2), run.truth)
    assert result.per_image is None and result.metrics["detection"] == alone.metrics["detection"]
