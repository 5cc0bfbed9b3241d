"""One sample put right: what is kept, what is changed, what is dropped, and how each is listed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from detr_hf.data.boxes import CORNERS, BoxFormat
from detr_hf.data.frames import Frame
from detr_hf.data.repair import Repair, Repaired
from detr_hf.data.repair_objects import decoded_mask
from detr_hf.data.sample import Annotation, Sample
from detr_hf.images import ImageFacts, decode_image

SIZE_HW = (48, 64)
SQUARE = [5, 6, 25, 6, 25, 24, 5, 24]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    file = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 255, (*SIZE_HW, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def thing(**values: Any) -> Annotation:
    return Annotation(**({"id": 1, "category": "cat", "where": "annotation 1"} | values))


def repaired(
    image: Path, *objects: Annotation, declared: Any = SIZE_HW, repair: Repair | None = None
) -> Repaired:
    return (repair or Repair())(Sample(image, image.name, 1, list(objects), declared))


def codes(result: Repaired) -> list[str]:
    return [issue.code for issue in result.issues]


def boxes(result: Repaired) -> list[list[float]]:
    assert result.sample is not None
    return [found.bbox for found in result.sample.objects]


def test_a_sound_object_stays_as_it_is(image: Path) -> None:
    result = repaired(image, thing(bbox=[5, 6, 20, 18], area=300.5))
    assert boxes(result) == [[5, 6, 20, 18]]
    assert result.sample is not None and result.sample.objects[0].area == 300.5
    assert codes(result) == []


@pytest.mark.parametrize("declared", [(None, None), (-1, -1), (0, 0), ("?", "?"), (float("nan"), 3)])
def test_a_size_that_is_none_is_the_size_of_the_file(image: Path, declared: Any) -> None:
    result = repaired(image, thing(bbox=[50, 6, 20, 18]), declared=declared)
    assert boxes(result) == [[50, 6, 14, 18]]
    assert codes(result) == ["size-missing", "box-clipped"]


@pytest.mark.parametrize(
    "bbox", [[0, 0, 0, 0], [float("nan"), 1, 2, 3], [1, 2, 3], "box", [1, 2, 10**400, 3]]
)
@pytest.mark.parametrize("outlines", [True, False])
def test_a_box_that_is_none_is_taken_from_a_good_outline(image: Path, bbox: Any, outlines: bool) -> None:
    found = thing(bbox=bbox, segmentation=[SQUARE], area=360)
    result = repaired(image, found, repair=Repair(outlines=outlines))
    assert boxes(result) == [[5, 6, 20, 18]]
    assert codes(result) == ["box-from-outline"]
    assert any(issue.is_error for issue in result.issues)


def test_an_outline_alone_needs_no_remark(image: Path) -> None:
    result = repaired(image, thing(segmentation=[SQUARE]))
    assert boxes(result) == [[5, 6, 20, 18]]
    assert codes(result) == []


@pytest.mark.parametrize(
    ("bbox", "code"),
    [
        ([0, 0, 0, 0], "box-empty"),
        ([70, 6, 5, 5], "box-outside"),
        ("x", "box-malformed"),
        ([1, 2, float("inf"), 3], "box-malformed"),
        (None, "no-shape"),
        ([], "no-shape"),
    ],
)
def test_a_box_that_is_none_is_dropped_by_name(image: Path, bbox: Any, code: str) -> None:
    assert codes(repaired(image, thing(bbox=bbox))) == [code, "no-objects"]


def test_corners_become_boxes_and_are_clipped(image: Path) -> None:
    result = repaired(image, thing(bbox=[30, 35, 50, 50]), repair=Repair(BoxFormat(CORNERS, "seen")))
    assert boxes(result) == [[30, 35, 20, 13]]


def test_an_image_at_another_scale_has_its_shapes_scaled(image: Path) -> None:
    found = thing(bbox=[10, 12, 40, 36], segmentation=[[2 * value for value in SQUARE]], area=1440)
    result = repaired(image, found, declared=(96, 128))
    assert boxes(result) == [[5, 6, 20, 18]]
    assert result.sample is not None and result.sample.objects[0].segmentation == [SQUARE]
    assert result.sample.objects[0].area == 360
    assert codes(result) == ["size-scaled"]


def test_a_size_off_by_rounding_scales_nothing(image: Path) -> None:
    result = repaired(image, thing(bbox=[10, 12, 30, 30]), declared=(49, 65))
    assert boxes(result) == [[10, 12, 30, 30]]
    assert codes(result) == ["size-differs"]


def test_another_shape_is_refused_where_boxes_leave_the_image(image: Path) -> None:
    assert codes(repaired(image, thing(bbox=[10, 12, 30, 30]), declared=(50, 128))) == ["size-differs"]
    result = repaired(image, thing(bbox=[50, 12, 40, 30]), declared=(50, 128))
    assert result.sample is None
    assert codes(result) == ["size-boxes"]


def test_boxes_drawn_before_the_exif_rotation_are_turned(tmp_path: Path) -> None:
    file = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (64, 48)).save(file, exif=exif)
    result = repaired(file, thing(bbox=[0, 0, 10, 20]), declared=(48, 64))
    assert boxes(result) == [[28, 0, 20, 10]]
    assert codes(result) == ["exif-turned", "exif-boxes"]
    assert codes(repaired(file, thing(bbox=[28, 0, 20, 10]), declared=(64, 48))) == ["exif-turned"]


def test_an_outline_that_crosses_itself_becomes_a_mask_of_all_it_encloses(image: Path) -> None:
    result = repaired(image, thing(segmentation=[[0, 0, 10, 10, 10, 0, 0, 10]]))
    assert codes(result) == ["outline-crossing"]
    assert result.sample is not None
    mask = decoded_mask(result.sample.objects[0].segmentation, SIZE_HW)
    assert mask is not None and mask[1, 0] and mask[1, 9] and not mask[0, 5]


def test_damaged_run_lengths_are_left_out(image: Path) -> None:
    bad = {"size": [48, 64], "counts": [1, 2]}
    result = repaired(image, thing(bbox=[5, 6, 20, 18], segmentation=bad))
    assert boxes(result) == [[5, 6, 20, 18]]
    assert codes(result) == ["rle-invalid"]


def test_repeats_are_dropped_and_near_repeats_stay(image: Path) -> None:
    one, again = thing(bbox=[5, 6, 20, 18]), thing(id=2, bbox=[5, 6, 20, 18], where="annotation 2")
    near = thing(id=3, bbox=[5, 6, 20, 18.5])
    result = repaired(image, one, again, near)
    assert len(boxes(result)) == 2
    assert codes(result) == ["object-twice"]
    assert result.issues[0].text == "annotation 2 repeats annotation 1"


def test_objects_are_numbered_by_whole_numbers_of_64_bits(image: Path) -> None:
    found = [thing(id=number, bbox=[at, 1, 5, 5]) for at, number in enumerate([2**64, "a", 7, 7, None])]
    result = repaired(image, *found)
    assert result.sample is not None
    numbers = [one.id for one in result.sample.objects]
    assert len(set(numbers)) == 5 and all(type(number) is int and number < 2**63 for number in numbers)
    assert 7 in numbers


def test_a_file_that_is_none_is_an_issue_of_its_image(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(broken)
    broken.write_bytes(broken.read_bytes()[:500])
    text = tmp_path / "text.png"
    text.write_text("no image")
    for file, code in (
        (broken, "image-damaged"),
        (text, "image-unreadable"),
        (tmp_path / "no", "image-missing"),
    ):
        result = repaired(file, thing(bbox=[1, 1, 5, 5]))
        assert result.sample is None
        assert codes(result) == [code]


def test_sixteen_bits_with_a_small_range_are_noted_as_dark(tmp_path: Path) -> None:
    file = tmp_path / "dark.png"
    gray = np.random.default_rng(0).integers(0, 4096, SIZE_HW).astype(np.uint16)
    Image.fromarray(gray).save(file)
    assert "image-dark" in codes(repaired(file, thing(bbox=[1, 1, 5, 5])))
    Image.fromarray(gray * 16).save(file)
    assert "image-dark" not in codes(repaired(file, thing(bbox=[1, 1, 5, 5])))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_are_those_of_the_decoder(tmp_path: Path, orientation: int) -> None:
    """A white block in a black image, turned by the decoder, and its box and mask turned by a frame."""
    mask = np.zeros((30, 50), bool)
    mask[4:10, 7:30] = True
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = tmp_path / "turned.png"
    Image.fromarray((mask * 255).astype(np.uint8)).convert("RGB").save(path, exif=exif)
    seen = decode_image(path)[..., 0] > 0
    frame = Frame((30, 50), (seen.shape[0], seen.shape[1]), orientation)
    np.testing.assert_array_equal(frame.mask(mask), seen)
    rows, columns = np.nonzero(seen)
    corners = frame.points(np.array([[7.0, 4.0], [30.0, 10.0]]))
    assert corners.min(0).tolist() == [columns.min(), rows.min()]
    assert corners.max(0).tolist() == [columns.max() + 1, rows.max() + 1]


def test_an_image_that_its_door_opened_is_not_opened_again_for_its_header(tmp_path: Path) -> None:
    facts = ImageFacts((40, 60), 1, "RGB")
    gone = Sample(tmp_path / "gone.jpg", "gone.jpg", 1, [], (40, 60), facts=facts)
    assert Repair(decode=False)(gone).facts is facts
    assert Repair(decode=True)(gone).sample is None, "its pixels are wanted, so it is opened"
