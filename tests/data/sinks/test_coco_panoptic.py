"""COCO panoptic files of repaired samples: id maps as they are, everything else painted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detr_hf.data.sample import Sample
from detr_hf.data.sinks import open_sink
from detr_hf.data.sinks.base import Sink
from detr_hf.images import decode_id_map
from tests.data.sinks.sink_factories import (
    CATEGORIES,
    SIZE_HW,
    boxes_sample,
    outlines_sample,
    panoptic_sample,
    thing,
)


def written(out: Path, *samples: Sample, categories: Any = CATEGORIES) -> Sink:
    with open_sink("coco-panoptic")(out, ["train"], categories) as sink:
        for sample in samples:
            sink.add("train", sample)
    return sink


def read(out: Path) -> tuple[dict[str, Any], list[Any]]:
    """The JSON, and the id map of each of its annotations."""
    content: dict[str, Any] = json.loads((out / "train" / "panoptic.json").read_bytes())
    names = [one["file_name"] for one in content["annotations"]]
    return content, [decode_id_map(out / "train" / "panoptic" / name) for name in names]


def test_an_id_map_stays_as_it_is(tmp_path: Path) -> None:
    sample = panoptic_sample(tmp_path / "in")
    written(tmp_path / "out", sample)
    content, _ = read(tmp_path / "out")
    assert content["categories"] == CATEGORIES
    assert content["annotations"] == [
        {
            "image_id": 12,
            "file_name": "000000000012.png",
            "segments_info": [
                {"id": 70000, "category_id": 9, "bbox": [0, 0, 64, 20], "area": 1280, "iscrowd": 0},
                {
                    **{"id": 300, "category_id": 3, "bbox": [10, 30, 50, 10], "area": 200, "iscrowd": 0},
                    "pseudo": True,
                },
            ],
        }
    ]
    assert (tmp_path / "out" / "train" / "panoptic" / "000000000012.png").read_bytes() == sample.id_map
    data = yaml.safe_load((tmp_path / "out" / "data.yaml").read_text())["data"]["train"]
    assert data["panoptic"] == (tmp_path / "out" / "train" / "panoptic").as_posix()


def test_outlines_and_boxes_are_painted(tmp_path: Path) -> None:
    sink = written(tmp_path / "out", outlines_sample(tmp_path / "in"))
    content, (id_map,) = read(tmp_path / "out")
    segments = content["annotations"][0]["segments_info"]
    assert [(one["category_id"], one["iscrowd"]) for one in segments] == [(3, 0), (7, 0), (3, 0), (7, 1)]
    assert segments[0]["tag"] == "x" and segments[2]["score"] == 0.5
    for one in segments:
        rows, columns = np.nonzero(id_map == one["id"])
        assert one["area"] == len(rows)
        x, y, w, h = one["bbox"]
        assert (x, y, x + w, y + h) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert segments[1]["area"] == 104 and segments[2]["bbox"] == [0, 0, 8, 4]
    assert sink.report.count("rectangle") == 2


def test_the_smaller_lies_above_and_the_hidden_is_told(tmp_path: Path) -> None:
    objects = [
        thing(1, [10.0, 10.0, 10.0, 10.0]),
        thing(2, [0.0, 0.0, 60.0, 40.0], "cone"),
        thing(3, [10.0, 10.0, 10.0, 9.5]),
        thing(4, [30.0, 30.0, 0.3, 0.3], "cone"),
    ]
    sink = written(tmp_path / "out", replace(boxes_sample(tmp_path / "in"), objects=objects))
    content, (id_map,) = read(tmp_path / "out")
    assert [one["category_id"] for one in content["annotations"][0]["segments_info"]] == [7, 3]
    assert id_map[15, 15] == 2 and id_map[5, 5] == 1
    (hidden,), (thin,) = sink.report.places("hidden"), sink.report.places("no-pixel")
    assert hidden.examples[0].startswith("brick, annotation 1: ")
    assert thin.examples[0].startswith("cone, annotation 4")
    assert sink.counts["train"]["objects"] == 2


def test_stuff_is_one_segment(tmp_path: Path) -> None:
    objects = [
        thing(1, [0.0, 0.0, 10.0, 10.0], "sky"),
        thing(2, [20.0, 20.0, 5.0, 5.0]),
        thing(3, [50.0, 0.0, 14.0, 10.0], "sky"),
    ]
    sink = written(tmp_path / "out", replace(boxes_sample(tmp_path / "in"), objects=objects))
    content, (id_map,) = read(tmp_path / "out")
    sky, brick = content["annotations"][0]["segments_info"]
    assert sky["bbox"] == [0, 0, 64, 10] and sky["area"] == 240 and brick["area"] == 25
    assert set(np.unique(id_map)) == {0, sky["id"], brick["id"]}
    assert sink.report.count("segment-stuff") == 1


def test_an_image_without_objects_is_void(tmp_path: Path) -> None:
    written(tmp_path / "out", replace(boxes_sample(tmp_path / "in"), objects=[]))
    content, (id_map,) = read(tmp_path / "out")
    assert content["annotations"][0]["segments_info"] == []
    assert id_map.shape == SIZE_HW and not id_map.any()


def test_classes_are_things_unless_they_say_otherwise(tmp_path: Path) -> None:
    categories = [{"id": 3, "name": "brick"}, {"id": 7, "name": "cone"}]
    written(tmp_path / "out", boxes_sample(tmp_path / "in"), categories=categories)
    content, _ = read(tmp_path / "out")
    assert [one["isthing"] for one in content["categories"]] == [1, 1]
    assert all(len(one["color"]) == 3 for one in content["categories"])
