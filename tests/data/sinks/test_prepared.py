"""The written data set: read by the official tools, counted by hand, the same bytes after any kill."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from panopticapi.evaluation import pq_compute_single_core
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detr_hf.data.card import SplitSummary
from detr_hf.data.records import issues_in
from detr_hf.data.sinks.prepared import ISSUES_FILE, WriteSettings, write_dataset
from detr_hf.data.split import Splits
from detr_hf.data.workers import FEW
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data.record_factories import LABELS, Prepared, bytes_of, prepared

SQUARE, SKY, GROUND = 100, 480 - 70, 720 - 30
"""Pixels by hand: the square's rows 5 to 14 hide 7 x 10 of the sky (rows 0 to 11), 3 x 10 of the ground."""


@pytest.fixture
def given(tmp_path: Path) -> Prepared:
    return prepared(tmp_path)


def write(given: Prepared, out: Path, labels: LabelMap = LABELS, **settings: Any) -> dict[str, SplitSummary]:
    return write_dataset(
        given.records, given.raw, given.stuff, given.splits, labels, out, WriteSettings(**settings)
    )


def content(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(encoding="utf-8"))


def test_panopticapi_reads_it_and_scores_it_against_itself_as_perfect(
    given: Prepared, tmp_path: Path
) -> None:
    write(given, tmp_path / "out")
    for name, images in (("train", 6), ("validation", 2)):
        truth = content(tmp_path / "out" / name / "panoptic.json")
        folder = str(tmp_path / "out" / name / "panoptic")
        found = json.loads(json.dumps(truth["annotations"]))
        categories = {entry["id"]: entry for entry in truth["categories"]}
        pairs = list(zip(truth["annotations"], found, strict=True))
        stat = pq_compute_single_core(0, pairs, folder, folder, categories)
        assert len(pairs) == images
        assert stat.pq_average(categories, isthing=None)[0]["pq"] == 1
        assert sum(one.tp for one in stat.pq_per_cat.values()) == sum(
            len(entry["segments_info"]) for entry in truth["annotations"]
        )


def test_pycocotools_reads_it_and_scores_its_own_boxes_as_perfect(given: Prepared, tmp_path: Path) -> None:
    write(given, tmp_path / "out")
    truth = COCO(str(tmp_path / "out" / "train" / "detection.json"))
    boxes = truth.loadAnns(truth.getAnnIds())
    assert len(boxes) == 19, "6 images: 4 of 3 segments, one of 5, one of 2 with its own id map"
    found = truth.loadRes(
        [{k: box[k] for k in ("image_id", "category_id", "bbox")} | {"score": 1} for box in boxes]
    )
    judge = COCOeval(truth, found, "bbox")
    judge.evaluate()
    judge.accumulate()
    judge.summarize()
    assert judge.stats[0] == 1


def test_boxes_areas_and_marks_are_as_counted_by_hand(given: Prepared, tmp_path: Path) -> None:
    write(given, tmp_path / "out")
    panoptic = content(tmp_path / "out" / "validation" / "panoptic.json")
    assert panoptic["images"][0] == {
        "id": 1,
        "file_name": "brick/images/0 (1).png",
        "width": 40,
        "height": 30,
    }
    expected = [
        {"category_id": 3, "bbox": [5, 5, 10, 10], "area": SQUARE, "iscrowd": 0},
        {
            "category_id": 105,
            "bbox": [0, 12, 40, 18],
            "area": GROUND,
            "iscrowd": 0,
            "pseudo": True,
            "score": 0.9,
        },
        {
            "category_id": 101,
            "bbox": [0, 0, 40, 12],
            "area": SKY,
            "iscrowd": 0,
            "pseudo": True,
            "score": 0.95,
        },
    ]
    assert panoptic["annotations"][0] == {
        "image_id": 1,
        "file_name": "000000000001.png",
        "segments_info": [{"id": at} | entry for at, entry in enumerate(expected, start=1)],
    }
    detection = content(tmp_path / "out" / "validation" / "detection.json")
    assert detection["annotations"][:3] == [
        {"id": at, "image_id": 1} | entry for at, entry in enumerate(expected, start=1)
    ]
    assert detection["images"] == panoptic["images"]
    assert detection["categories"] == panoptic["categories"] == LABELS.to_coco_categories()


def test_a_given_id_map_keeps_its_ids_and_its_stuff_is_marked(given: Prepared, tmp_path: Path) -> None:
    write(given, tmp_path / "out")
    last = content(tmp_path / "out" / "train" / "panoptic.json")["annotations"][-1]
    assert last["segments_info"] == [
        {"id": 70_000, "category_id": 101, "bbox": [0, 0, 40, 10], "area": 400, "iscrowd": 0, "pseudo": True},
        {"id": 300, "category_id": 7, "bbox": [0, 10, 40, 20], "area": 800, "iscrowd": 0},
    ]


def test_hidden_objects_are_listed_and_what_was_written_is_counted(given: Prepared, tmp_path: Path) -> None:
    """Of the cone's 40 pixels the brick of 36 hides all but 4: nine tenths, which the default just allows."""
    written = write(given, tmp_path / "a")
    assert list(issues_in(tmp_path / "a" / "steps" / "write" / ISSUES_FILE)) == []
    assert written["train"].images == 6
    assert written["train"].segments_of == {"brick": 3, "cone": 5, "sky": 6, "ground": 5}
    assert written["train"].pseudo == {"brick": 0, "cone": 0, "sky": 6, "ground": 5}
    assert written["train"].scored == {"sky": 5, "ground": 5}
    written = write(given, tmp_path / "b", most_hidden=0.8)
    assert [
        (found.code, found.file) for found in issues_in(tmp_path / "b" / "steps" / "write" / ISSUES_FILE)
    ] == [("hidden", "brick/images/2 (1).png")]
    assert written["train"].segments_of["cone"] == 4


def test_without_stuff_only_objects_and_given_id_maps_are_painted(given: Prepared, tmp_path: Path) -> None:
    write_dataset(given.records, given.raw, None, given.splits, LABELS, tmp_path / "out")
    annotations = content(tmp_path / "out" / "train" / "panoptic.json")["annotations"]
    assert [len(entry["segments_info"]) for entry in annotations] == [1, 3, 1, 1, 1, 2]


def test_numbers_are_plain_and_text_is_ascii(given: Prepared, tmp_path: Path) -> None:
    """Guards: numpy numbers are no JSON, and pycocotools opens files in the platform's encoding."""
    records = given.records
    file = given.raw / "brick" / "images" / "größe.png"
    (given.raw / records[0].image).rename(file)
    records[0] = replace(records[0], image=file.relative_to(given.raw))
    write(given, tmp_path / "out")
    for name in ("panoptic.json", "detection.json"):
        text = (tmp_path / "out" / "validation" / name).read_bytes().decode("ascii")
        values = json.loads(text)
        assert values["images"][0]["file_name"] == "brick/images/größe.png"
        entries = (
            values["annotations"] if name == "detection.json" else values["annotations"][0]["segments_info"]
        )
        for entry in entries:
            assert all(
                type(number) is int for number in [*entry["bbox"], entry["area"], entry["category_id"]]
            )


def test_nothing_in_raw_is_written(given: Prepared, tmp_path: Path) -> None:
    before = bytes_of(given.raw)
    write(given, tmp_path / "out", copy_images=True)
    assert bytes_of(given.raw) == before


@pytest.mark.slow
def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    given = prepared(tmp_path, 2 * FEW)
    write(given, tmp_path / "out")
    one = bytes_of(tmp_path / "out")
    (tmp_path / "out").rename(tmp_path / "aside")
    write(given, tmp_path / "out", num_proc=2)
    assert bytes_of(tmp_path / "out") == one


def in_folds(given: Prepared, folds: int) -> Prepared:
    names = tuple(f"fold_{number}" for number in range(1, folds + 1))
    of = {name: names[at % folds] for at, name in enumerate(given.splits.of)}
    return replace(given, splits=Splits(of, names, seed=0))


def test_each_fold_is_a_data_set_and_every_image_is_validated_once(given: Prepared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(given, out)
    write(in_folds(given, 3), out)
    assert not (out / "train").exists(), "the older layout is gone"
    assert not (out / "data.yaml").exists()
    validated: Counter[int] = Counter()
    for fold in ("fold_1", "fold_2", "fold_3"):
        parts = {
            name: {image["id"] for image in content(out / fold / name / "panoptic.json")["images"]}
            for name in ("train", "validation")
        }
        assert parts["train"] | parts["validation"] == set(range(1, 9))
        assert not parts["train"] & parts["validation"]
        validated.update(parts["validation"])
        data = yaml.safe_load((out / fold / "data.yaml").read_text())["data"]
        assert data["train"]["annotations"] == (out / fold / "train" / "panoptic.json").as_posix()
    assert set(validated.values()) == {1}
    assert "| cone   | thing | " in (out / "README.md").read_text()
    write(in_folds(given, 2), out)
    assert not (out / "fold_3").exists()


def test_images_are_copied_on_request_and_compared(given: Prepared, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(given, out, copy_images=True)
    for record in given.records:
        assert (out / "images" / record.file_name).read_bytes() == (given.raw / record.image).read_bytes()
    data = yaml.safe_load((out / "data.yaml").read_text())["data"]
    assert data["train"]["images"] == (out / "images").as_posix()
    (given.raw / "brick" / "images" / "0 (1).png").write_bytes(b"another")
    write(given, out, copy_images=True)
    (out / "images" / "brick" / "images" / "0 (1).png").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"0 \(1\)\.png: changed since it was read"):
        write(given, out, copy_images=True)


def test_a_class_outside_the_label_map_and_a_image_outside_the_split_are_refused(
    given: Prepared, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"brick/images/0 \(1\)\.png: class 'ground' is not in the label map"):
        write(given, tmp_path / "a", LabelMap.from_names(["brick", "cone"], ["sky"]))
    of = dict(given.splits.of)
    of.pop("cone/images/3 (1).png")
    with pytest.raises(UserError, match=r"cone/images/3 \(1\)\.png is in no split"):
        write(replace(given, splits=Splits(of, given.splits.names, 0)), tmp_path / "b")
    assert not (tmp_path / "b" / "train").exists(), "nothing half done takes its place"
