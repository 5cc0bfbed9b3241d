"""Ultralytics' layout of repaired samples: label files, names, and what the format cannot hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detr_hf.data.sample import Sample
from detr_hf.data.sinks import open_sink
from detr_hf.data.sinks.base import Sink
from detr_hf.labels import LabelMap
from tests.data.sinks.sink_factories import (
    CATEGORIES,
    boxes_sample,
    outlines_sample,
    panoptic_sample,
    thing,
)


def written(out: Path, samples: dict[str, list[Sample]], **options: Any) -> Sink:
    with open_sink("yolo")(out, samples, CATEGORIES, **options) as sink:
        for split, found in samples.items():
            for sample in found:
                sink.add(split, sample)
    return sink


def rows_of(file: Path) -> list[list[float]]:
    return [[float(value) for value in line.split()] for line in file.read_text().splitlines()]


def test_boxes_are_centers_and_sizes_in_shares(tmp_path: Path) -> None:
    out = tmp_path / "out"
    written(out, {"train": [boxes_sample(tmp_path / "in")]})
    rows = rows_of(out / "labels" / "train" / "a" / "0.txt")
    expected = [
        [0, (5.25 + 10.25) / 64, 15 / 48, 20.5 / 64, 18 / 48],
        [1, 52 / 64, 29 / 48, 24 / 64, 38 / 48],
    ]
    np.testing.assert_allclose(rows, expected, atol=1e-8)
    image = out / "images" / "train" / "a" / "0.png"
    assert image.read_bytes() == (tmp_path / "in" / "a" / "0.png").read_bytes()


def test_data_yaml_names_splits_as_ultralytics_does(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    written(tmp_path / "out", {split: [sample] for split in ("training", "valid", "test")})
    assert yaml.safe_load((tmp_path / "out" / "data.yaml").read_text()) == {
        **{"train": "images/training", "val": "images/valid", "test": "images/test"},
        "names": {0: "brick", 1: "cone", 2: "sky"},
    }


def test_two_splits_keep_apart(tmp_path: Path) -> None:
    sample = boxes_sample(tmp_path / "in")
    written(tmp_path / "out", {split: [sample] for split in ("train", "valid", "val")})
    values = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())
    assert (values["val"], values["valid"]) == ("images/val", "images/valid")


def test_among_outlines_every_object_has_one(tmp_path: Path) -> None:
    """Ultralytics refuses boxes among outlines, and reads four values beside outlines as two points."""
    out = tmp_path / "out"
    samples = {"train": [boxes_sample(tmp_path / "in"), outlines_sample(tmp_path / "in")]}
    sink = written(out, samples)
    triangle, corner, box = rows_of(out / "labels" / "train" / "b.txt")
    np.testing.assert_allclose(triangle[1:], [5 / 64, 6 / 48, 25 / 64, 6 / 48, 15 / 64, 0.5], atol=1e-7)
    assert len(corner) == 1 + 2 * 6
    np.testing.assert_allclose(box[1:], [0, 0, 8 / 64, 0, 8 / 64, 4 / 48, 0, 4 / 48], atol=1e-7)
    assert all(len(row) == 9 for row in rows_of(out / "labels" / "train" / "a" / "0.txt"))
    assert sink.report.count("rectangle") == 2


def test_crowds_are_left_out_and_told(tmp_path: Path) -> None:
    sink = written(tmp_path / "out", {"train": [outlines_sample(tmp_path / "in")]})
    assert sink.report.count("crowd-dropped") == 1
    assert sink.counts["train"] == {"images": 1, "objects": 3}


def test_parts_are_joined_and_told(tmp_path: Path) -> None:
    sink = written(tmp_path / "out", {"train": [panoptic_sample(tmp_path / "in")]})
    (place,) = sink.report.places("outline-joined")
    assert place.examples == ["annotation 300: 2 outlines"]
    sky, brick = rows_of(tmp_path / "out" / "labels" / "train" / "c.txt")
    assert (sky[0], brick[0]) == (2, 0)
    points = np.array(brick[1:]).reshape(-1, 2) * [64, 48]
    np.testing.assert_allclose([*points.min(0), *points.max(0)], [10, 30, 60, 40], atol=1e-5)


def test_a_box_that_is_not_that_of_its_outline_is_told(tmp_path: Path) -> None:
    sample = outlines_sample(tmp_path / "in")
    found = thing(1, [5.0, 6.0, 30.0, 18.0], segmentation=sample.objects[0].segmentation)
    sink = written(tmp_path / "out", {"train": [replace(sample, objects=[found])]})
    assert sink.report.count("box-of-outline") == 1


def test_negatives_have_an_empty_label_file(tmp_path: Path) -> None:
    written(tmp_path / "out", {"train": [replace(boxes_sample(tmp_path / "in"), objects=[])]})
    assert (tmp_path / "out" / "labels" / "train" / "a" / "0.txt").read_text() == ""


def test_images_that_would_share_a_label_file_get_names_of_their_own(tmp_path: Path) -> None:
    names = ("a.png", "a.bmp", "A.png", "a_1.png")
    samples = [boxes_sample(tmp_path / "in", name, at) for at, name in enumerate(names)]
    sink = written(tmp_path / "out", {"train": samples})
    labels = sorted(path.name for path in (tmp_path / "out" / "labels" / "train").iterdir())
    assert labels == ["A_2.txt", "a.txt", "a_1.txt", "a_1_1.txt"]
    assert len(list((tmp_path / "out" / "images" / "train").iterdir())) == 4
    assert sink.report.count("file-written-as") == 3


def test_labels_are_beside_the_last_folder_called_images(tmp_path: Path) -> None:
    samples = [
        boxes_sample(tmp_path / "in", "images/train/a.png", 1),
        boxes_sample(tmp_path / "in", "set/images/b.png", 2),
    ]
    sink = written(tmp_path / "out", {"train": samples})
    out = tmp_path / "out" / "images"
    assert sorted(path.relative_to(out).as_posix() for path in out.rglob("*.png")) == [
        *("train/a.png", "train/b.png"),
    ]
    assert sink.report.found == {}, "another folder is no other name"


def test_classes_are_those_of_the_label_map(tmp_path: Path) -> None:
    labels = LabelMap.from_coco(CATEGORIES, void=["brick"])
    sink = written(tmp_path / "out", {"train": [boxes_sample(tmp_path / "in")]}, labels=labels)
    assert [row[0] for row in rows_of(tmp_path / "out" / "labels" / "train" / "a" / "0.txt")] == [0]
    assert sink.report.count("class-void") == 1
