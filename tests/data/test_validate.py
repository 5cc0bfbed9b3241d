"""Advice about images, objects and classes that can be read and are probably wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.validate import SAME_IOU, same_boxes, validate, validate_classes
from detr_hf.geometry import boxes_xywh_to_xyxy, pairwise_iou
from detr_hf.labels import LabelMap

LABELS = LabelMap.from_names(["cat", "dog"], stuff=["sky"])


def advice(*objects: Annotation, id_map: Path | None = None, queries: int = 100) -> list[str]:
    sample = Sample(Path("a.png"), "a.png", 1, list(objects), size_hw=(48, 64), id_map=id_map)
    return [issue.code for issue in validate(sample, LABELS, queries)]


def thing(number: int, bbox: list[float], category: str = "cat", **more: Any) -> Annotation:
    return Annotation(number, category, bbox, where=f"annotation {number}", **more)


def test_boxes_on_each_other_are_named_by_their_classes() -> None:
    one = thing(1, [5, 6, 20, 18])
    assert advice(one, thing(2, [5, 6, 20, 18.2])) == ["box-twin"]
    assert advice(one, thing(2, [5, 6, 20, 18.2], "dog")) == ["box-two-classes"]
    assert advice(one, thing(2, [9, 6, 20, 18])) == []
    assert advice(one, thing(2, [5, 6, 20, 18.2], iscrowd=True)) == ["crowd"]


def test_objects_beyond_the_queries_and_slivers_are_named() -> None:
    assert advice(thing(1, [5, 6, 20, 18]), thing(2, [30, 6, 1.5, 18]), queries=1) == [
        "too-many-objects",
        "box-tiny",
    ]


def test_stuff_in_several_segments_of_one_image_is_named() -> None:
    parts = [thing(number, [number, 0, 9, 9], "sky") for number in (1, 2)]
    assert advice(*parts, id_map=Path("a.png")) == ["segment-stuff"]
    assert advice(thing(1, [1, 0, 9, 9]), thing(2, [2, 0, 9, 9]), id_map=Path("a.png")) == []


def test_classes_are_compared_by_name_and_number() -> None:
    counts = {"train": {"cone": 500, "Cone": 4, "plank": 40}, "validation": {"crane": 3}}
    found = list(
        validate_classes(counts, ["cone", "Cone", "plank", "crane", "dump truck", "dump_trucks"], 0.1)
    )
    codes = [(split, issue.code, issue.text) for split, issue in found]
    assert ("train", "class-similar", "'cone', 'Cone'") in codes
    assert ("train", "class-similar", "'dump truck', 'dump_trucks'") in codes
    assert ("train", "class-only-in-validation", "'crane': 0 here, 3 elsewhere") in codes
    assert [code for _, code, _ in codes].count("class-imbalance") == 1
    alone = list(validate_classes({"train": {"cone": 500, "plank": 4}}, ["cone", "plank"], 0.1))
    assert [issue.code for _, issue in alone] == ["class-imbalance", "class-few"]


def test_gray_images_and_outlines_over_the_edge_are_noted(tmp_path: Path) -> None:
    file = tmp_path / "gray.png"
    Image.fromarray(np.zeros((48, 64), np.uint8)).save(file)
    over = Annotation(1, "cat", segmentation=[[-5, 6, 25, 6, 25, 24, -5, 24]], where="annotation 1")
    result = Repair()(Sample(file, "gray.png", 1, [over], (48, 64)))
    assert [issue.code for issue in result.issues] == ["not-rgb", "outline-clipped"]
    assert result.sample is not None and result.sample.objects[0].bbox == [0, 6, 25, 18]


def test_pairs_of_boxes_are_those_of_the_slow_way() -> None:
    rng = np.random.default_rng(1)
    base = np.concatenate([rng.uniform(0, 300, (60, 2)), rng.uniform(5, 90, (60, 2))], 1)
    boxes = np.concatenate([base, base + rng.normal(0, 0.6, base.shape), base[:9]])
    slow = pairwise_iou(*[torch.from_numpy(boxes_xywh_to_xyxy(boxes))] * 2).numpy()
    expected = {(i, j) for i, j in np.argwhere(slow >= SAME_IOU).tolist() if i < j}
    assert len(expected) > 20
    assert set(same_boxes(boxes)) == expected
    assert list(same_boxes(np.zeros((0, 4)))) == []
