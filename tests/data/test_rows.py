"""Rows as training reads them: sound ones, repaired ones, and every error by file and annotation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data.open_data import open_data
from detr_hf.errors import UserError
from detr_hf.recipe import Data, Split
from tests.data.row_reading import Content, message_of, read, turn_by_exif
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")


def one_box(bbox: Any, **more: Any) -> Callable[[Content], None]:
    """Leave the set with a single annotation, 77 of image 11 (90 wide, 120 high), with this box."""

    def change(content: Content) -> None:
        content["annotations"] = [{"id": 77, "image_id": 11, "category_id": 7, "bbox": bbox} | more]

    return change


def test_detection_rows_hold_what_the_file_says(tmp_path: Path) -> None:
    rows, report = read(write_coco_detection(tmp_path, mend=one_box([5, 6, 30, 40], area=999.0, iscrowd=1)))
    assert [row["image_id"] for row in rows] == [10, 11, 12, 13, 14, 15]
    assert (rows[1]["width"], rows[1]["height"], rows[1]["file_name"]) == (90, 120, "001.jpg")
    objects = rows[1]["objects"]
    assert objects == {
        "id": [77],
        "bbox": [[5, 6, 30, 40]],
        "category": [1],
        "area": [999],
        "iscrowd": [True],
    }
    assert report.totals == {
        "images": 6,
        "objects": 1,
        "crowd_objects": 1,
        "most_objects_in_one_image": 1,
    }


def test_missing_area_and_iscrowd_are_filled_in(tmp_path: Path) -> None:
    """guards: annotations without an area, at which the stock processor stops."""
    rows, _ = read(write_coco_detection(tmp_path, mend=one_box([5, 6, 30, 40])))
    assert rows[1]["objects"]["area"] == [1200] and rows[1]["objects"]["iscrowd"] == [False]


def test_images_without_objects_stay_and_are_counted(tmp_path: Path) -> None:
    rows, report = read(write_coco_detection(tmp_path, mend=one_box([5, 6, 30, 40])))
    assert [len(row["objects"]["id"]) for row in rows] == [0, 1, 0, 0, 0, 0]
    assert report.sentences() == [
        "data.train: images have no objects (5); they stay as negatives: make sure that they are "
        "(000.jpg; 002.jpg; 003.jpg; ...)"
    ]


@pytest.mark.parametrize(
    ("bbox", "kept", "said"),
    [
        ([-10, 20, 30, 30], [0, 20, 20, 30], "boxes reach over the edge of their image (1)"),
        ([80, 110, 20, 20], [80, 110, 10, 10], "boxes reach over the edge of their image (1)"),
        ([89.995, 0, 5, 5], None, "wholly outside"),
        ([200, 20, 30, 30], None, "wholly outside"),
        ([5, 6, 0, 40], None, "no width or no height"),
        ([5, 6, 30, -4], None, "no width or no height"),
        ([60, 80, 30.004, 40], [60, 80, 30, 40], None),
    ],
)
def test_boxes_at_the_edge_are_clipped_or_dropped_with_a_note(
    tmp_path: Path, bbox: list[float], kept: list[float] | None, said: str | None
) -> None:
    """guards: boxes without area, which stock code trains on, or of negative width, at which it stops."""
    rows, report = read(write_coco_detection(tmp_path, mend=one_box(bbox)))
    assert rows[1]["objects"]["bbox"] == ([kept] if kept else [])
    notes = [line for line in report.sentences() if "negatives" not in line]
    assert len(notes) == (said is not None)
    if said:
        assert said in notes[0] and "001.jpg: annotation 77" in notes[0]


@pytest.mark.parametrize("raw", ["NaN", "Infinity"])
def test_a_box_that_is_no_number_is_refused(tmp_path: Path, raw: str) -> None:
    split = write_coco_detection(tmp_path, mend=one_box([5, 6, float(raw), 40]))
    assert raw in Path(split.place).read_text()  # JSON of some exporters does hold such words
    text = message_of(split)
    assert "001.jpg: annotation 77" in text and "boxes are not four finite numbers" in text


@pytest.mark.parametrize("bbox", [[1, 2, 3], "1 2 3 4", [1, 2, 3, "x"], [True, 1, 2, 3]])
def test_a_box_that_is_not_four_numbers_is_refused(tmp_path: Path, bbox: Any) -> None:
    assert "annotation 77: box" in message_of(write_coco_detection(tmp_path, mend=one_box(bbox)))


def _duplicate_id(content: Content) -> None:
    content["images"][2]["id"] = content["images"][1]["id"]


def _unknown_image(content: Content) -> None:
    content["annotations"][0] |= {"id": 5, "image_id": 4711}


def _climbing(content: Content) -> None:
    content["images"][1]["file_name"] = "../../secret.jpg"


def _absolute(content: Content) -> None:
    content["images"][1]["file_name"] = "/etc/hostname"


def _no_name(content: Content) -> None:
    del content["images"][1]["file_name"]


def _no_images(content: Content) -> None:
    content["images"], content["annotations"] = [], []


def _no_categories(content: Content) -> None:
    content["categories"] = []


def _no_annotations_key(content: Content) -> None:
    del content["annotations"]


def _bad_image_id(content: Content) -> None:
    content["images"][1]["id"] = 1.5


FAULTS = [
    (one_box([1, 1, 9, 9], category_id=99), "001.jpg: annotation 77: category 99"),
    (_duplicate_id, "image ids are duplicate"),
    (_unknown_image, "annotations belong to no listed image"),
    (_climbing, "leaves"),
    (_absolute, "/etc/hostname"),
    (_no_name, "file names are missing or lead out of the folder"),
    (_no_images, "no image"),
    (_no_categories, "categor"),
    (_no_annotations_key, "annotations"),
    (_bad_image_id, "image ids are duplicate or invalid"),
]


@pytest.mark.parametrize(("change", "said"), FAULTS)
def test_faults_of_the_file_are_listed(tmp_path: Path, change: Callable[[Content], None], said: str) -> None:
    assert said in message_of(write_coco_detection(tmp_path, mend=change))


def test_all_faults_come_in_one_message(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path)
    for name in ("001.jpg", "003.jpg"):
        (Path(split.images or "") / name).unlink()
    text = message_of(split)
    assert "listed images have no file (2)" in text and "001.jpg" in text and "003.jpg" in text


def test_reading_stops_after_twenty_images_with_errors(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path, count=30, empty=30)
    for file in Path(split.images or "").iterdir():
        file.write_text("no image")
    assert "images cannot be opened (20)" in message_of(split)


def test_a_file_that_is_no_image_or_breaks_off_in_its_header_is_named(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path)
    image = Path(split.images or "") / "001.jpg"
    image.write_bytes(image.read_bytes()[:40])
    (Path(split.images or "") / "002.jpg").write_text("not a image")
    text = message_of(split)
    assert "001.jpg" in text and "002.jpg" in text


def test_broken_json_is_refused_with_its_place(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path)
    Path(split.place).write_text('{"images": [,]}')
    text = message_of(split)
    assert "annotations.json is not valid JSON" in text and "column" in text
    Path(split.place).write_text("[]")
    assert "annotations.json" in message_of(split)


def test_missing_files_and_folders_are_named_by_recipe_key(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path)
    for given, said in (
        (
            Split(annotations="nowhere.json", images=split.images),
            "data.train.annotations nowhere.json: there is no such file, seen from",
        ),
        (
            Split(annotations=split.annotations, images="nowhere"),
            "data.train.images nowhere: there is no such folder",
        ),
        (
            Split(annotations=split.annotations, images=split.images, panoptic="nowhere"),
            "data.train.panoptic nowhere: there",
        ),
    ):
        with pytest.raises(UserError, match=said):
            open_data(Data(train=given))


def test_detection_and_panoptic_files_are_not_mixed_up(tmp_path: Path) -> None:
    boxes, maps = write_coco_detection(tmp_path / "boxes"), write_coco_panoptic(tmp_path / "maps")
    assert "panoptic" in message_of(Split(annotations=maps.annotations, images=maps.images))
    wrong = Split(annotations=boxes.annotations, images=boxes.images, panoptic=maps.panoptic)
    assert "segments_info" in message_of(wrong)


def test_text_image_ids_become_numbers_with_a_note(tmp_path: Path) -> None:
    """guards: image ids that are text, at which the stock processor stops."""

    def to_text(content: Content) -> None:
        for entry in content["images"]:
            entry["id"] = f"frame-{entry['id']}"
        for entry in content["annotations"]:
            entry["image_id"] = f"frame-{entry['image_id']}"

    plain, _ = read(write_coco_detection(tmp_path / "a"))
    rows, report = read(write_coco_detection(tmp_path / "b", mend=to_text))
    assert [row["image_id"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [row["objects"] for row in rows] == [row["objects"] for row in plain]
    assert report.count("text-ids") == 6
    assert "frame-10" in "".join(report.sentences())


def test_a_wrong_declared_size_is_replaced_where_the_boxes_fit(tmp_path: Path) -> None:
    def shrink(content: Content) -> None:
        content["images"][1] |= {"width": 91, "height": 120}
        del content["images"][2]["width"]

    rows, report = read(write_coco_detection(tmp_path, mend=shrink))
    assert (rows[1]["width"], rows[1]["height"]) == (90, 120)
    assert (rows[2]["width"], rows[2]["height"]) == (128, 96)
    notes = "\n".join(report.sentences())
    assert "declared 91x120, the upright file is 90x120" in notes and "images declare no size (1)" in notes


def test_boxes_of_a_image_of_another_size_are_refused(tmp_path: Path) -> None:
    def enlarge(content: Content) -> None:
        one_box([100, 150, 60, 60])(content)
        content["images"][1] |= {"width": 180, "height": 240}

    text = message_of(write_coco_detection(tmp_path, mend=enlarge))
    assert "declared 180x240, the upright file is 90x120" in text and "annotated at another scale" in text


def test_boxes_in_the_upright_frame_of_a_turned_photo_are_taken_as_given(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path)
    plain, _ = read(split)
    turn_by_exif(Path(split.images or "") / "001.jpg")
    rows, report = read(split)
    assert rows == plain and not any("size" in code for code in report.found)


def test_boxes_in_the_lying_frame_of_a_turned_photo_are_refused(tmp_path: Path) -> None:
    split = write_coco_detection(
        tmp_path, mend=lambda content: content["images"][1].update(width=120, height=90)
    )
    turn_by_exif(Path(split.images or "") / "001.jpg")
    text = message_of(split)
    assert "001.jpg" in text and "boxes were drawn before the EXIF rotation" in text and "--fix" in text


def _as(mode: str, suffix: str) -> Callable[[Path], str]:
    def change(path: Path) -> str:
        new = path.with_suffix(suffix)
        with Image.open(path) as image:
            image.convert(mode).save(new)
        return new.name

    return change


@pytest.mark.parametrize(
    "change", [_as("L", ".png"), _as("CMYK", ".jpg"), _as("P", ".png"), _as("RGBA", ".png")]
)
def test_images_of_other_kinds_go_through(tmp_path: Path, change: Callable[[Path], str]) -> None:
    split = write_coco_detection(tmp_path)
    plain, _ = read(split)
    name = change(Path(split.images or "") / "001.jpg")
    content = json.loads(Path(split.place).read_text())
    content["images"][1]["file_name"] = name
    Path(split.place).write_text(json.dumps(content))
    rows, _ = read(split)
    assert rows == [row | {"file_name": name} if row["image_id"] == 11 else row for row in plain]
