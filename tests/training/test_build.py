"""What a run is built from, and what is refused before the first step."""

from __future__ import annotations

from pathlib import Path

import datasets
import pytest
from accelerate import Accelerator

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.recipe import Split
from detr_hf.training.build import build_accelerator, build_processor, build_run, build_task
from detr_hf.training.distributed import on_cpu
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.tiny_runs import THING_LABELS, assembled, detection_recipe, panoptic_recipe, save_detector


def test_a_label_outside_the_map_is_refused_by_image_and_class(tmp_path: Path) -> None:
    """Guards: a class id equal to the number of classes trains as "no object", without a word."""
    recipe = detection_recipe(
        tmp_path / "run", write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    )
    accelerator = build_accelerator(recipe)
    data = build_bundle(recipe.data, recipe.output_dir)
    task, _ = build_task(recipe, data)

    def one_too_high(row: dict) -> dict:
        if row["image_id"] == 12:
            row["objects"]["category"] = [3] * len(row["objects"]["category"])
        return row

    loose = data.dataset["train"].features.copy()
    loose["objects"] = {**loose["objects"], "category": datasets.List(datasets.Value("int64"))}
    data.dataset["train"] = data.dataset["train"].cast(loose).map(one_too_high)
    with pytest.raises(UserError, match=r"image 12 '002\.jpg' has an object of class 3.*classes 0 to 2"):
        build_run(recipe, accelerator, data, task)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


def test_boxes_alone_are_refused_in_stage_two(tmp_path: Path) -> None:
    boxes = write_coco_detection(tmp_path / "boxes")
    build_bundle(detection_recipe(tmp_path, boxes, tmp_path).data, tmp_path).save(tmp_path / "saved")
    start1 = save_detector(tmp_path / "stage1", THING_LABELS)
    stand_in = Split(annotations="a", images="i", panoptic="p")
    changes = [
        "data.train=null",
        "data.validation=null",
        "data.overfit=2",
        f"data.dataset={tmp_path / 'saved'}",
    ]
    with pytest.raises(UserError, match="stage 2 learns masks"):
        assembled(panoptic_recipe(tmp_path / "run", stand_in, start1, "fresh", *changes))


def test_a_detector_of_other_classes_is_refused_in_stage_two(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "data")
    other = save_detector(tmp_path / "stage1", THING_LABELS)
    with pytest.raises(UserError, match=r"model\.detector: .*stage1 was trained for other classes"):
        assembled(panoptic_recipe(tmp_path / "run", split, other, "fresh"))


@pytest.mark.parametrize(("processes", "expected"), [("1", False), ("2", True)])
def test_processes_without_a_gpu_are_of_one_run(
    processes: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: `torchrun` says nothing of CPUs; Accelerate then takes each process for a run."""
    monkeypatch.delenv("ACCELERATE_USE_CPU", raising=False)
    monkeypatch.setenv("WORLD_SIZE", processes)
    monkeypatch.setattr("torch.accelerator.is_available", lambda: False)
    assert on_cpu() is expected


def test_half_precision_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: Accelerate takes `fp16` on a CPU and computes in float32."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    recipe = detection_recipe(
        tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path, "mixed_precision=fp16"
    )
    with pytest.raises(UserError, match="mixed_precision: fp16 needs a GPU"):
        build_accelerator(recipe)


def test_an_output_folder_that_cannot_be_made_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = detection_recipe(tmp_path / "file", write_coco_detection(tmp_path / "data"), tmp_path)
    with pytest.raises(UserError, match=r"output_dir: .*file cannot be made"):
        build_accelerator(recipe)


def test_a_launchers_accumulation_does_not_shrink_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: `accelerate launch --gradient_accumulation_steps 4` makes `backward` divide by four."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert Accelerator().gradient_accumulation_steps == 4
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    assert build_accelerator(recipe).gradient_accumulation_steps == 1


def test_the_processor_resizes_as_the_evaluation_does(tmp_path: Path) -> None:
    recipe = detection_recipe(
        tmp_path, write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    )
    assert dict(build_processor(recipe).size) == {"shortest_edge": 64, "longest_edge": 128}
    other = ["transforms.validation.0.short_edges=[80]", "transforms.validation.0.max_long_edge=99"]
    recipe = detection_recipe(tmp_path, write_coco_detection(tmp_path / "data"), tmp_path / "start", *other)
    assert dict(build_processor(recipe).size) == {"shortest_edge": 80, "longest_edge": 99}


@pytest.mark.parametrize(
    "transforms",
    [
        "[]",
        "[{name: Resize, height: 64, width: 64}]",
        "[{name: ShortEdgeResize, short_edges: [64]}]",
        "[{name: ToGray}, {name: ShortEdgeResize, short_edges: [64], max_long_edge: 99}]",
    ],
)
def test_what_a_processor_cannot_repeat_is_refused(tmp_path: Path, transforms: str) -> None:
    recipe = detection_recipe(
        tmp_path,
        write_coco_detection(tmp_path / "data"),
        save_detector(tmp_path / "start"),
        f"transforms.validation={transforms}",
    )
    with pytest.raises(UserError, match=r"transforms\.validation: must be one ShortEdgeResize"):
        build_processor(recipe)
