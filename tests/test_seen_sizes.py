"""How large objects are for a network: the resizes of a recipe, and what is said of small classes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from detr_hf.demo.resolve import CHECKPOINT, DEFORMABLE_CHECKPOINT
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.loading.transforms import build_transforms
from detr_hf.modeling.backbones import map_stride
from detr_hf.modeling.families.registry import detector_of, family_of
from detr_hf.modeling.pretrained import load_finished
from detr_hf.recipe.data import detr_training_transforms, detr_validation_transforms
from detr_hf.seen_sizes import (
    NetworkInput,
    largest_input,
    network_inputs,
    small_class,
    small_classes,
    stride_of_config,
)


@pytest.mark.parametrize("size_hw", [(300, 400), (900, 400), (100, 400)])
def test_sides_are_those_after_the_resize(size_hw: tuple[int, int]) -> None:
    boxes_xywh = np.array([[10, 10, 20, 80], [0, 0, 64, 32]], np.float64)
    seen = NetworkInput(200, 333)
    entries = [{"name": "ShortEdgeResize", "short_edges": [200], "max_long_edge": 333}]
    image = np.zeros((*size_hw, 3), np.uint8)
    resized = build_transforms(entries, "transforms.validation")(
        image, boxes_xywh_to_xyxy(boxes_xywh).astype(np.float32), None, seed=0
    )
    boxes = resized.boxes_xyxy_px
    sides = (boxes[:, 2:] - boxes[:, :2]).min(1)
    assert seen.sides_px(boxes_xywh[:, 2:], np.array([size_hw])) == pytest.approx(sides, rel=0.02)


def test_in_tiles_it_is_the_window_that_is_resized() -> None:
    seen, sizes = NetworkInput(200, 333, tile=100), np.array([(400, 900), (50, 900)])
    assert seen.sides_px(np.array([[20.0, 80.0], [5.0, 9.0]]), sizes).tolist() == [40.0, 5 * 3.33]
    [found] = network_inputs(detr_validation_transforms(), 16, tile=100)
    assert found == NetworkInput(800, 1333, 16, 100)


def test_the_sizes_of_a_recipe_are_its_last_resizes() -> None:
    edges = [one.short_edge for one in network_inputs(detr_training_transforms(), 32)]
    assert edges == list(range(480, 801, 32)), "without the sizes before the crop"
    assert network_inputs(detr_validation_transforms(), 16) == [NetworkInput(800, 1333, 16)]
    assert network_inputs([{"name": "Resize", "height": 8, "width": 8}], 32) == []
    lists = (detr_training_transforms(), [{"name": "ShortEdgeResize", "short_edges": [900]}])
    assert largest_input(lists, 32) == NetworkInput(900, None) and largest_input(([],), 32) is None


def test_a_small_class_is_named_with_what_to_set() -> None:
    seen = NetworkInput(192, 256, 16)
    assert small_class("person", np.array([6.0] * 14 + [20.0]), seen) == (
        "93% of person objects are narrower than one 16-px cell at short edge 192 "
        "(half of them fill one at 512): raise transforms.*.short_edges and max_long_edge, or train in tiles "
        "(data.tiles)"
    )
    assert small_class("person", np.array([6.0] * 4), seen) is None, "too few to judge"
    assert small_class("car", np.array([6.0] * 4 + [16.0] * 6), seen) is None
    small = np.array([5.0] * 8)
    said = small_classes({"bolt": small, "car": np.full(9, 40.0), "nut": np.append(small, 5.0)}, seen)
    assert [text.split()[2] for text in said] == ["nut", "bolt"]


@pytest.mark.parametrize("folder", [CHECKPOINT, DEFORMABLE_CHECKPOINT], ids=lambda folder: folder.name)
def test_the_stride_of_a_config_is_that_of_the_network(folder: Path) -> None:
    detector = detector_of(load_finished(str(folder)))
    measured = map_stride(family_of(detector).backbone(detector), detector.config)
    assert stride_of_config(json.loads((folder / "config.json").read_text())) == measured
    assert stride_of_config({}) == 32 and stride_of_config({"dilation": True}) == 16
