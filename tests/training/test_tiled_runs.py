"""Whole runs in tiles: resumed exactly, scored on whole images as they are predicted, and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.geometry import boxes_and_areas_of_segments, boxes_xywh_to_xyxy
from detr_hf.inference import Predictor, TiledPredictor
from detr_hf.modeling.predictions import Detections, PanopticPrediction, Segment
from detr_hf.modeling.task import PanopticTask
from detr_hf.modeling.tile_record import RECORD, TileGrid, read_tiles, write_tiles
from detr_hf.recipe import Data, Recipe, Split
from detr_hf.training.engine import evaluate, predict_one
from detr_hf.training.finish import evaluate_model
from detr_hf.training.fit import refuse_unfit
from detr_hf.training.loop import train
from detr_hf.training.start_report import report_start
from tests.commands import refusal, told
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.stream_factories import write_parquet
from tests.tiny_runs import (
    ALL_LABELS,
    NO_DROPOUT,
    assembled,
    detection_recipe,
    killed_after_checkpoints,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
    weights,
)
from tests.training.test_two_processes import run_on

SIZES = [(96, 128), (60, 64)]
TILES = "data.tiles={size: 64, overlap: 0.3, keep_empty: 0.5}"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiled")
    write_coco_detection(folder / "boxes", count=4, sizes_hw=SIZES)
    write_coco_panoptic(folder / "masks", count=4, sizes_hw=SIZES, crowd=True)
    save_detector(folder / "start")
    save_detector(folder / "stage1", ALL_LABELS)
    save_segmenter(folder / "head")
    return folder


def split_of(home: Path, stage: str) -> Split:
    if stage == "detection":
        write = write_coco_detection
        return write(home / "boxes", count=4, sizes_hw=SIZES)
    return write_coco_panoptic(home / "masks", count=4, sizes_hw=SIZES, crowd=True)


def tiled_recipe(stage: str, home: Path, output: Path, *overrides: str) -> Recipe:
    split = split_of(home, stage)
    changes = [TILES, "optim.max_steps=6", *overrides]
    if stage == "detection":
        return detection_recipe(output, split, home / "start", *changes)
    threshold = "evaluation.score_threshold=0.2"
    return panoptic_recipe(output, split, home / "stage1", home / "head", threshold, *changes)


@pytest.mark.parametrize("stage", ["detection", pytest.param("panoptic", marks=pytest.mark.slow)])
def test_a_run_cut_inside_an_epoch_ends_with_the_same_weights(
    stage: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = assembled(tiled_recipe(stage, home, tmp_path / "whole"))
    train(whole)
    recipe = tiled_recipe(stage, home, tmp_path / "cut", "checkpoint.every_steps=1")
    killed_after_checkpoints(recipe, 3, monkeypatch)
    resumed = assembled(recipe)
    assert resumed.state.step == 3
    train(resumed)
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())
    scores = [line for line in lines_of(whole.folder) if line["kind"] == "validation"]
    assert scores[-1]["detection"] == lines_of(resumed.folder)[-1]["detection"]
    with pytest.raises(UserError, match=r"its data.tiles is .*'size': 64.*, this run's is .*'size': 48"):
        assembled(tiled_recipe(stage, home, tmp_path / "cut", "data.tiles.size=48"))


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_an_evaluation_predicts_as_tiles_are_predicted(stage: str, home: Path, tmp_path: Path) -> None:
    """Guards: scores of windows, in pixels of windows; training that tells of other boxes than prediction."""
    run = assembled(tiled_recipe(stage, home, tmp_path / "run"))
    run.task.eval()
    result = evaluate(run.accelerator, run.task, run.validation_loader, run.truth)
    assert result.per_image is not None
    entries = {entry.image_id: entry.content for entry in result.per_image.boxes}
    assert set(entries) == set(run.truth.row_of)
    tiled = TiledPredictor(Predictor(run.task, run.processor, 0.0), 64, 0.3)
    for row, image_id in enumerate(run.truth.row_of):
        path = run.truth.row(image_id)["image"]["path"]
        [expected] = tiled.stream([path])
        found = entries[image_id]
        order = np.argsort(-found.scores, kind="stable")
        boxes = boxes_xywh_to_xyxy(found.boxes[order])
        np.testing.assert_allclose(boxes, expected.detections.boxes_xyxy_px, atol=1e-3)
        np.testing.assert_allclose(found.scores[order], expected.detections.scores, atol=1e-5)
        assert boxes.max() > 64 or row % 2, "in pixels of the whole image"
        if isinstance(expected, PanopticPrediction):
            run.task.merge = replace(run.task.merge, score_threshold=0.0)  # type: ignore[union-attr]
            drawn = predict_one(run.task, run.validation_loader.dataset, row)
            assert isinstance(drawn, PanopticPrediction)
            np.testing.assert_array_equal(drawn.id_map > 0, expected.id_map > 0)
            assert len(drawn.segments) == len(expected.segments)


class KnowsTheTruth(PanopticTask):
    """Predicts the truth of each window, cut things as they are seen."""

    def __init__(self, task: PanopticTask, truth: Any):
        super().__init__(task.model, task.labels, task.criterion.settings, task.merge, task.mask_chunk)
        self.truth = truth

    def predict(self, pixel_values: Any, pixel_mask: Any, targets: Sequence[Any]) -> list[PanopticPrediction]:
        return [self._perfect(target) for target in targets]

    def _perfect(self, target: Any) -> PanopticPrediction:
        masks, (left, top, right, bottom) = self.truth.panoptic(target["image_id"]), target["window"]
        part = masks["id_map"][top:bottom, left:right]
        seen = [s for s in masks["segments"] if not s["iscrowd"] and (part == s["id"]).any()]
        ids = np.array([s["id"] for s in seen], np.int64)
        classes = np.array([s["category_id"] for s in seen], np.int64)
        scores = np.ones(len(ids), np.float32)
        boxes = Detections(target["image_id"], boxes_and_areas_of_segments(part, ids)[0], scores, classes)
        segments = [Segment(int(i), int(c), 1.0) for i, c in zip(ids, classes, strict=True)]
        return PanopticPrediction(target["image_id"], np.where(np.isin(part, ids), part, 0), segments, boxes)


def test_whoever_knows_the_truth_of_every_window_knows_that_of_the_images(home: Path, tmp_path: Path) -> None:
    run = assembled(tiled_recipe("panoptic", home, tmp_path / "run", "data.tiles.overlap=0.6"))
    assert isinstance(run.task, PanopticTask)
    result = evaluate(run.accelerator, KnowsTheTruth(run.task, run.truth), run.validation_loader, run.truth)
    assert result.metrics["panoptic"]["All"]["pq"] > 0.9
    assert result.metrics["detection"]["AP50"] > 0.9


def test_the_model_remembers_its_tiles_until_it_learns_whole_images(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = assembled(tiled_recipe("detection", home, tmp_path / "run", "optim.max_steps=1"))
    report_start(run, build_bundle(run.recipe.data, run.folder), str(load_report()))
    said = capsys.readouterr().out
    assert "data: 4 training and 4 validation images" in said
    assert "  tiles: 14 windows of 64 px, " in said and "an epoch shows 8" in said
    assert (run.folder / "train_samples.jpg").is_file()
    train(run)
    best = run.folder / "best"
    predictor = Predictor.from_pretrained(best)
    assert predictor.tiles == TileGrid(64, 0.3)
    tiled = TiledPredictor(predictor)
    assert (tiled.tile, tiled.overlap) == (64, 0.3) and TiledPredictor(predictor, 32).overlap == 0.3
    image, out = str(home / "boxes" / "images" / "002.jpg"), str(tmp_path / "out")
    command = ["predict", str(best), image, "--out", out, "--threshold", "0"]
    assert "in tiles of 64 px, as the model was trained" in told(command, capsys)
    assert "in tiles" not in told([*command, "--tile", "0"], capsys)
    assert "add --tile 0" in refusal([*command, "--explain"], capsys)
    assert "no effect without tiles" in refusal([*command, "--tile", "0", "--tile-overlap", "0.1"], capsys)
    data = build_bundle(run.recipe.data, run.folder)
    numbers = evaluate_model(run.recipe, data, str(best), tmp_path / "out")
    assert numbers["detection"] == lines_of(run.folder)[-1]["detection"]
    after = assembled(detection_recipe(tmp_path / "after", split_of(home, "detection"), best))
    assert not hasattr(after.task.model.config, RECORD)


def load_report() -> Any:
    return "loaded"


@pytest.mark.parametrize(
    "record",
    [None, 800, {"size": 0, "overlap": 0.2}, {"size": True, "overlap": 0.2}, {"size": 9, "overlap": 1}],
)
def test_a_record_that_makes_no_sense_counts_as_none(record: Any) -> None:
    config = type("Config", (), {RECORD: record})()
    assert read_tiles(config) is None
    write_tiles(config, TileGrid(9, 0.0))
    assert read_tiles(config) == TileGrid(9, 0.0)


def test_queries_are_counted_by_window(home: Path, tmp_path: Path) -> None:
    """Guards: an image with a hundred objects, of which a window shows three, refused for its hundred."""
    recipe = tiled_recipe(
        "detection", home, tmp_path / "run", "model.num_queries=3", "data.tiles={size: 40, min_share: 0.9}"
    )
    data = build_bundle(recipe.data, tmp_path / "run")
    refuse_unfit(recipe, data)
    with pytest.raises(UserError, match=r"model.num_queries: 3 .* have more, up to 4"):
        refuse_unfit(replace(recipe, data=replace(recipe.data, tiles=None)), data)


def test_no_window_with_a_thing_is_refused(home: Path, tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "stuff alone", count=3, empty=3)
    changes = ["data.tiles={size: 64, keep_empty: false}"]
    with pytest.raises(UserError, match=r"data\.tiles\.keep_empty: 0 leaves no window"):
        assembled(detection_recipe(tmp_path / "run", split, home / "stage1", *changes))


@pytest.mark.slow
def test_a_streamed_run_in_tiles_is_cut_and_goes_on_exactly(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_parquet(tmp_path / "stream")

    def recipe_of(output: str, *overrides: str) -> Recipe:
        files = Split(annotations="none", images="none")
        recipe = detection_recipe(tmp_path / output, files, home / "start", TILES, *overrides)
        data = Data(dataset=str(tmp_path / "stream"), streaming=True, shuffle_buffer=8, workers=0)
        return replace(recipe, data=replace(data, tiles=recipe.data.tiles))

    whole = assembled(recipe_of("whole"))
    report_start(whole, build_bundle(whole.recipe.data, whole.folder), str(load_report()))
    assert "tiles: one window of 64 px of each image that streams by" in capsys.readouterr().out
    assert whole.total_steps == 4, "an epoch counts images"
    train(whole)
    recipe = recipe_of("cut", "checkpoint.every_steps=1")
    killed_after_checkpoints(recipe, 3, monkeypatch)
    resumed = assembled(recipe)
    assert resumed.state.step == 3
    train(resumed)
    expected = weights(whole)
    assert all(torch.equal(value, expected[name]) for name, value in weights(resumed).items())


@pytest.mark.slow
def test_two_processes_learn_and_score_what_one_does(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=3, sizes_hw=SIZES)
    save_detector(tmp_path / "start", **NO_DROPOUT)
    found = {}
    for processes in (1, 2):
        changes = ["optim.lr=1e-5", "optim.micro_batch_size=1", "optim.schedule.warmup_steps=0", TILES]
        recipe = detection_recipe(tmp_path / f"run{processes}", split, tmp_path / "start", *changes)
        done = run_on(processes, recipe, tmp_path)
        assert done.returncode == 0, done.stderr
        found[processes] = [
            one for one in lines_of(tmp_path / f"run{processes}") if one["kind"] == "validation"
        ]
    for one, two in zip(found[1], found[2], strict=True):
        assert one["detection"]["AR"] == pytest.approx(two["detection"]["AR"], abs=1e-3)
