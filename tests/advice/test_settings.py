"""The table of advice: facts of data sets as users have them, and what they lead to, with the reasons."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.advice.facts import GPUS, STARTS, TINY, Facts, Gpu
from detr_hf.advice.resize import resize_for
from detr_hf.advice.settings import (
    BY_SIZE,
    Setting,
    detection_settings,
    micro_batch,
    panoptic_settings,
    precision,
    tiles_for,
)
from detr_hf.cli import init
from detr_hf.demo.resolve import FOLDERS
from detr_hf.foreign_files import readable_json
from detr_hf.recipe import detr_training_transforms, detr_validation_transforms
from detr_hf.seen_sizes import stride_of_config


def facts(images: int = 1000, side: float = 100, size_hw: tuple[int, int] = (480, 640), **more: Any) -> Facts:
    """Of a set with three objects an image, all of one size, in images of one size."""
    sizes = np.tile(np.array(size_hw, float), (3 * images, 1))
    known = {"image_sizes_hw": sizes[:images], "most_objects": 10, "class_images": {"cell": images}}
    return Facts(images, np.full((3 * images, 2), float(side)), sizes, **(known | more))


def by_key(found: list[Setting]) -> dict[str, Setting]:
    return {setting.key: setting for setting in found}


def advice(of: Facts, family: str = "detr", gpu: str | Gpu = "l4") -> dict[str, Setting]:
    return by_key(detection_settings(of, STARTS[family], GPUS[gpu] if isinstance(gpu, str) else gpu))


def table(heading: str) -> list[list[str]]:
    """The rows below a heading of docs/choosing.md."""
    lines = (Path(__file__).parents[2] / "docs" / "choosing.md").read_text("utf-8").split(heading)[1]
    rows = [line.strip("| ").split("|") for line in lines.splitlines() if line.startswith("|")]
    return [[cell.strip(" `") for cell in row] for row in rows[2:]]


def test_the_tables_of_the_page_are_those_of_the_advice() -> None:
    by_size = table("## By the number of images")[: len(BY_SIZE)]
    for row, (images, epochs, batch, _, freeze, stage_2) in zip(BY_SIZE, by_size, strict=True):
        of_code = (row.epochs, row.batch, row.freeze, row.panoptic_epochs)
        assert (int(epochs), int(batch), freeze, int(stage_2)) == of_code
        assert images == ("more" if row.images > 1e6 else f"up to {row.images:,}")
    whole = resize_for(3000)
    gpus = {f"{gpu.name} {gpu.memory} GB": gpu for gpu in GPUS.values()}
    told = {f"{row[0]} {row[1]}": row for row in table("## By GPU")[: len(GPUS)]}
    assert set(gpus) - {"CPU 0 GB"} == set(told) - {"CPU, 2 cores "}
    assert tuple(GPUS) == init.GPUS
    for name in set(gpus) & set(told):
        starts = [STARTS["detr"], STARTS["deformable"]]
        assert [int(cell) for cell in told[name][3:5]] == [
            micro_batch(16, start, gpus[name], whole)[0] for start in starts
        ]
        assert told[name][2] == precision(STARTS["detr"], gpus[name]).value


def test_large_photographs_with_small_objects_are_cut_into_windows() -> None:
    photos = facts(300, side=30, size_hw=(3024, 4032))
    tiles = tiles_for(photos, STARTS["detr"])
    assert tiles is not None and tiles.value == {"size": 640, "overlap": 0.2, "keep_empty": 0.2}
    assert "the median object (30 px) is 8 px wide in the network, whose cells have 32" in tiles.reason
    assert "in windows of 640 px it is 38 px" in tiles.reason
    found = advice(replace(photos, windows=9000))
    assert found["optim.batch_size"].value == 16, "an epoch is one of windows"
    assert found["model.freeze_backbone"].value == "all", "but there are 300 photographs"
    assert found["transforms.validation"].value == detr_validation_transforms()


@pytest.mark.parametrize(
    "of", [facts(side=300, size_hw=(3024, 4032)), facts(side=10), facts(side=5, size_hw=(320, 320))]
)
def test_other_images_stay_whole(of: Facts) -> None:
    """Large objects in them; or images too small for windows."""
    assert tiles_for(of, STARTS["detr"]) is None


def test_the_fullest_image_decides_the_queries() -> None:
    found = advice(facts(most_objects=400))
    assert found["model.num_queries"].value == 450 and found["loss.eos_coefficient"].value == 0.022
    assert (
        "400 objects" in found["model.num_queries"].reason and "100 best" in found["model.num_queries"].reason
    )
    assert "1 / queries" in found["loss.eos_coefficient"].reason
    assert not {"model.num_queries", "loss.eos_coefficient"} & set(advice(facts(most_objects=100)))
    others = advice(facts(most_objects=400), "dab")
    assert others["model.num_queries"].value == 450 and "loss.eos_coefficient" not in others


@pytest.mark.parametrize(
    ("images", "batch", "epochs", "freeze"),
    [
        (5, 4, 300, "all"),
        (300, 8, 100, "all"),
        (9000, 16, 80, "stem_and_first_stage"),
        (30_000, 16, 50, "stem_and_first_stage"),
        (100_000, 16, 30, "stem_and_first_stage"),
    ],
)
def test_the_number_of_images_decides_the_length(images: int, batch: int, epochs: int, freeze: str) -> None:
    found = advice(facts(images, validation=1))
    assert found["optim.batch_size"].value == batch and found["optim.epochs"].value == epochs
    assert f"{epochs * (images // batch)} in all" in found["optim.epochs"].reason
    assert found["model.freeze_backbone"].value == freeze
    assert advice(facts(images, validation=1), "conditional")["optim.epochs"].value < epochs


@pytest.mark.parametrize(
    ("images", "key", "value"),
    [
        (2, "data.overfit", 2),
        (5, "data.validation_fraction", 0.2),
        (1000, "data.validation_fraction", 0.1),
        (100_000, "data.validation_fraction", 0.02),
    ],
)
def test_without_a_validation_split_images_are_held_out(images: int, key: str, value: float) -> None:
    found = advice(facts(images))
    assert found[key].value == value and str(images) in found[key].reason
    both = {"data.overfit", "data.validation_fraction"}
    assert len(both & set(found)) == 1 and not both & set(advice(facts(images, validation=3)))


@pytest.mark.parametrize(
    ("gpu", "precision", "micro"),
    [("t4", "fp16", 4), ("l4", "bf16", 8), ("h100", "bf16", 16), ("cpu", "no", 2)],
)
def test_the_gpu_decides_precision_and_memory(gpu: str, precision: str, micro: int) -> None:
    found = advice(facts(5000), gpu=gpu)
    assert found["mixed_precision"].value == precision and found["optim.micro_batch_size"].value == micro
    assert advice(facts(5000), "deformable", gpu)["optim.micro_batch_size"].value <= max(2, micro // 4)


def test_rare_classes_are_shown_more_often() -> None:
    found = advice(facts(1000, class_images={"car": 900, "crane": 8, "sky": 3, "ghost": 0}, stuff=("sky",)))
    assert found["data.repeat_threshold"].value == 0.01
    assert "crane 8" in found["data.repeat_threshold"].reason
    assert "ghost" not in found["data.repeat_threshold"].reason, "there is nothing to show"
    assert "data.repeat_threshold" not in advice(facts(1000, class_images={"car": 900, "crane": 400}))


def test_images_of_two_shapes_go_by_shape_where_several_go_at_once() -> None:
    sizes = np.tile([[480.0, 640.0], [640.0, 480.0]], (500, 1))
    assert advice(facts(image_sizes_hw=sizes))["data.batching"].value == "aspect"
    assert "data.batching" not in advice(facts(image_sizes_hw=sizes), gpu=Gpu("small", 6))
    assert "data.batching" not in advice(facts())


def test_images_are_not_made_much_larger_than_they_are() -> None:
    assert resize_for(480).train == detr_training_transforms(), "DETR's own policy"
    small = resize_for(200)
    assert small.largest == 512 and "200 px hold no more detail" in small.reason
    assert resize_for(480, has_gpu=False).largest == 480 and resize_for(64).largest == 320


def test_the_tiny_checkpoints_are_what_the_table_says() -> None:
    for start in TINY.values():
        config = readable_json(Path(FOLDERS[start.checkpoint]) / "config.json")
        assert config["num_queries"] == start.queries and stride_of_config(config) == start.stride


def test_offline_the_tiny_checkpoint_has_its_own_sizes_and_rates() -> None:
    found = by_key(detection_settings(facts(800), TINY["detr"], GPUS["t4"]))
    assert found["mixed_precision"].value == "no" and found["optim.lr"].value == 5e-4
    assert found["optim.epochs"].value == 23, "as many steps as the demo has"
    assert "the real one is facebook/detr-resnet-50" in found["model.pretrained"].reason
    assert found["loss.eos_coefficient"].value == 0.5 and found["optim.schedule"].value == {"name": "cosine"}
    [resize] = found["transforms.validation"].value
    assert resize["short_edges"] == [240] and resize["multiple_of"] == 16, "whole cells of its backbone"
    photographs = by_key(detection_settings(facts(800, size_hw=(3024, 4032)), TINY["detr"], GPUS["cpu"]))
    assert (found["data.workers"].value, photographs["data.workers"].value) == (0, 2), "by what reading costs"


def test_stage_2_learns_shorter_and_with_fewer_images_at_once() -> None:
    boxes = advice(facts(5000, is_panoptic=True))
    masks = by_key(panoptic_settings(facts(5000, is_panoptic=True), STARTS["detr"], GPUS["l4"]))
    assert masks["optim.epochs"].value == 25 < boxes["optim.epochs"].value
    assert masks["optim.micro_batch_size"].value == 4 < boxes["optim.micro_batch_size"].value
    assert not {"model.freeze_backbone", "optim.backbone_lr", "loss.eos_coefficient"} & set(masks)
