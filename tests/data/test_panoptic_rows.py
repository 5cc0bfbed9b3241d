"""Rows with id maps as training reads them: sound ones, and every error by file and segment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.row_reading import Content, message_of, read, turn_by_exif
from tests.factories import write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")


def test_boxes_and_areas_of_segments_are_counted_in_the_png(tmp_path: Path) -> None:
    """guards: areas and boxes taken from a panoptic JSON (the factory writes wrong ones), and the file name
    of an annotation, which is that of its PNG, taken for that of the image.
    """

    def only_two(content: Content) -> None:
        content["annotations"][0]["segments_info"] = [
            {"id": 5, "category_id": 7, "area": 1, "bbox": [0, 0, 1, 1]},
            {"id": 65536 + 2, "category_id": 101, "iscrowd": 1},
        ]

    split = write_coco_panoptic(tmp_path, mend=only_two)
    png = np.zeros((96, 128, 3), np.uint8)
    png[10:30, 40:45, 0] = 5
    png[29:40, 44:60] = (2, 0, 1)
    Image.fromarray(png).save(Path(str(split.panoptic)) / "10_map.png")
    rows, _ = read(split)
    objects = rows[0]["objects"]
    assert objects["bbox"] == [[40, 10, 5, 20], [44, 29, 16, 11]]
    assert objects["area"] == [20 * 5 - 1, 11 * 16]
    assert (
        objects["category"] == [1, 3] and objects["iscrowd"] == [False, True] and objects["id"] == [5, 65538]
    )


def _edit_segments(edit: Callable[[list[dict[str, Any]]], None]) -> Callable[[Content], None]:
    return lambda content: edit(content["annotations"][0]["segments_info"])


PANOPTIC_FAULTS = [
    (_edit_segments(lambda found: found.pop(0)), "PNGs hold ids that the JSON does not list"),
    (_edit_segments(lambda found: found[0].update(id=0)), "not a whole number from 1"),
    (_edit_segments(lambda found: found[0].update(id=found[1]["id"])), "segment id 70001 stands twice"),
    (_edit_segments(lambda found: found[0].update(category_id=55)), "segment 70000: category 55"),
    (lambda content: content["annotations"].pop(0), "images have no panoptic annotation"),
    (lambda content: content["annotations"][0].update(file_name="none.png"), "none.png"),
    (lambda content: content["annotations"][0].update(file_name="../a.png"), "a.png"),
    (
        lambda content: content["annotations"][0].update(file_name="11_map.png"),
        "000.jpg",
    ),
]


@pytest.mark.parametrize(("change", "said"), PANOPTIC_FAULTS)
def test_faults_of_panoptic_sets_are_refused(
    tmp_path: Path, change: Callable[[Content], None], said: str
) -> None:
    """guards: among others, a PNG of another size than its image; stock stretches predictions to it."""
    assert said in message_of(write_coco_panoptic(tmp_path, mend=change))


def test_a_segment_without_pixels_is_dropped_with_a_note(tmp_path: Path) -> None:
    """guards: segments that are not in the PNG: stock code gives them a box a hundred million pixels away."""
    add = _edit_segments(lambda found: found.append({"id": 999, "category_id": 7}))
    rows, report = read(write_coco_panoptic(tmp_path, mend=add))
    assert 999 not in rows[0]["objects"]["id"]
    said = "".join(report.sentences())
    assert "segments have no pixel in the PNG (1)" in said and "000.jpg: segment 999" in said


def test_a_png_drawn_on_the_lying_photo_is_refused(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path)
    turn_by_exif(Path(split.images or "") / "000.jpg")
    png = Path(str(split.panoptic)) / "10_map.png"
    with Image.open(png) as image:
        image.rotate(90, expand=True).save(png)
    text = message_of(split)
    assert "its PNG is 96x128, the image is 128x96" in text and "EXIF" in text
