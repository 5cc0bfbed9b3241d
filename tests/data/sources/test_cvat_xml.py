"""CVAT's XML: each shape, the zip, projects with subsets, videos, and what is not taken."""

from __future__ import annotations

import math
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import bounds_of, decoded_mask
from detr_hf.data.sample import Sample
from detr_hf.data.sources import cvat_xml, detect
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.shapes import placed_mask
from detr_hf.errors import UserError
from detr_hf.recipe.prepare import Reading

META = """<meta><task><name>site</name><labels>
  <label><name>crane</name><color>#ff0080</color><type>any</type></label>
  <label><name>truck</name><type>any</type></label>
  <label><name>left arm</name><type>points</type><parent>crane</parent></label>
</labels></task></meta>"""


def write_xml(folder: Path, body: str, meta: str = META, name: str = "annotations.xml") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    head = '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version>'
    text = f"{head}{meta}{body}</annotations>"
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def write_images(folder: Path, *names: str, size: tuple[int, int] = (40, 30)) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number * 20 % 256, 90, 30)).save(folder / name)


def image(name: str, shapes: str = "", more: str = "", size: str = 'width="40" height="30"') -> str:
    return f'<image id="0" name="{name}" {more} {size}>{shapes}</image>'


def opened(path: Path, **settings: Any) -> Opened:
    return cvat_xml.open_splits(Place(path, str(path), **settings))


def read(path: Path, split: str = "train", **settings: Any) -> list[Sample]:
    source = opened(path, **settings).splits[split]
    samples = list(source.samples())
    assert len(source) == len(samples)
    return samples


def codes(sample: Sample) -> list[str]:
    return [issue.code for issue in sample.issues]


def read_shapes(tmp_path: Path, shapes: str) -> Sample:
    write_images(tmp_path / "images", "a.png")
    (sample,) = read(write_xml(tmp_path, image("a.png", shapes)))
    return sample


def test_boxes_and_polygons_come_as_they_were_drawn(tmp_path: Path) -> None:
    shapes = """
      <box label="crane" source="manual" occluded="1" xtl="2.00" ytl="3.50" xbr="12.25" ybr="20.00"
           z_order="2" group_id="4"><attribute name="brand">A &amp; B</attribute></box>
      <polygon label="truck" occluded="0" points="1.00,2.00;11.50,2.00;11.50,9.25" z_order="0"></polygon>"""
    sample = read_shapes(tmp_path, shapes)
    box, polygon = sample.objects
    assert (box.category, box.bbox, box.segmentation) == ("crane", [2.0, 3.5, 10.25, 16.5], None)
    assert box.extra["attributes"] == {"brand": "A & B"}
    assert (box.extra["occluded"], box.extra["group_id"], box.extra["z_order"]) == (True, "4", "2")
    assert (polygon.bbox, polygon.segmentation) == (None, [[1.0, 2.0, 11.5, 2.0, 11.5, 9.25]])
    assert sample.declared_hw == (30, 40) and codes(sample) == []
    repaired = Repair()(sample)
    assert [one.bbox for one in repaired.sample.objects] == [[2.0, 3.5, 10.25, 16.5], [1.0, 2.0, 10.5, 7.25]]


def test_a_rotated_box_becomes_the_upright_one_around_it_and_is_told(tmp_path: Path) -> None:
    shapes = '<box label="crane" xtl="10" ytl="10" xbr="30" ybr="14" rotation="90.00"/>'
    shapes += '<box label="crane" xtl="10" ytl="10" xbr="20" ybr="20" rotation="45"/>'
    sample = read_shapes(tmp_path, shapes)
    half = 5 * math.sqrt(2)
    assert bounds_of(sample.objects[0].segmentation) == [18.0, 2.0, 4.0, 20.0]
    assert bounds_of(sample.objects[1].segmentation) == pytest.approx(
        [15 - half, 15 - half, 2 * half, 2 * half], abs=0.001
    )
    assert codes(sample) == ["box-rotated", "box-rotated"]


def test_a_box_turns_clockwise_as_cvat_shows_it(tmp_path: Path) -> None:
    sample = read_shapes(tmp_path, '<box label="crane" xtl="10" ytl="14" xbr="30" ybr="16" rotation="30"/>')
    points = np.array(sample.objects[0].segmentation[0]).reshape(-1, 2)
    right = points[points[:, 0].argmax()]
    assert right[1] > 15  # its right end goes down in the image


def test_an_ellipse_is_an_outline_that_fills_its_box(tmp_path: Path) -> None:
    sample = read_shapes(tmp_path, '<ellipse label="truck" cx="20" cy="15" rx="10" ry="5"/>')
    repaired = Repair()(sample).sample.objects[0]
    assert repaired.bbox == pytest.approx([10, 10, 20, 10], abs=0.01)
    assert repaired.area == pytest.approx(math.pi * 50, rel=0.01)


def test_a_painted_mask_is_a_single_object_with_these_pixels(tmp_path: Path) -> None:
    # Three columns and two rows at (5, 7): .XX / X.X
    shapes = '<mask label="crane" rle="1, 3, 1, 1" left="5" top="7" width="3" height="2"/>'
    sample = read_shapes(tmp_path, shapes)
    (found,) = sample.objects
    mask = decoded_mask(found.segmentation, (30, 40))
    assert mask is not None
    assert {(int(x), int(y)) for y, x in zip(*np.nonzero(mask), strict=True)} == {
        (6, 7),
        (7, 7),
        (5, 8),
        (7, 8),
    }
    assert found.iscrowd is False
    assert Repair()(sample).sample.objects[0].bbox == [5, 7, 3, 2]


@pytest.mark.parametrize("seed", range(5))
def test_run_lengths_agree_with_the_pixels_for_any_mask(seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width, left, top = 9, 7, int(random.integers(-3, 8)), int(random.integers(-3, 12))
    painted = random.random((height, width)) > 0.4
    whole = np.zeros((40, 40), bool)
    whole[10 + top : 19 + top, 10 + left : 17 + left] = painted
    expected = whole[10:23, 10:21]  # an image of 13 x 11
    decoded = decoded_mask(placed_mask(painted, left, top, (13, 11)), (13, 11))
    assert (decoded == expected).all()


@pytest.mark.parametrize(
    "rle", ["", "1, x", "1, 2", "-1, 7", "9223372036854775807, 9223372036854775807, 8", "6" * 30]
)
def test_a_damaged_mask_leaves_its_frame_and_is_told(tmp_path: Path, rle: str) -> None:
    sample = read_shapes(tmp_path, f'<mask label="crane" rle="{rle}" left="5" top="7" width="3" height="2"/>')
    assert codes(sample) == ["rle-invalid"]
    assert (sample.objects[0].bbox, sample.objects[0].segmentation) == ([5, 7, 3, 2], None)


def test_a_mask_as_large_as_no_image_is_refused_before_it_is_painted(tmp_path: Path) -> None:
    shapes = '<mask label="crane" rle="0, 1000000000000" left="0" top="0" width="1000000" height="1000000"/>'
    assert codes(read_shapes(tmp_path, shapes)) == ["rle-invalid"]


def test_every_shape_that_is_no_object_is_told_once(tmp_path: Path) -> None:
    shapes = """<polyline label="crane" points="1,2;3,4"/><points label="crane" points="1,2"/>
      <cuboid label="crane" xtl1="1"/><tag label="crane"/>
      <skeleton label="crane"><points label="left arm" outside="0" points="1,2"/></skeleton>"""
    sample = read_shapes(tmp_path, shapes)
    assert sample.objects == []
    assert [issue.text for issue in sample.issues] == [
        f"shape {number}: a {tag}"
        for number, tag in enumerate(["polyline", "points", "cuboid", "tag", "skeleton"], start=1)
    ]


def test_values_that_are_no_numbers_are_for_repair_to_judge(tmp_path: Path) -> None:
    shapes = """<box label="crane" xtl="nan" ytl="1" xbr="9" ybr="9"/><box label="crane" ytl="1"/>
      <polygon label="crane" points="1,2;x"/><polygon label="crane"/><ellipse label="crane" cx="1e400"/>
      <box label="bird" xtl="1" ytl="1" xbr="9" ybr="9"/><box xtl="1" ytl="1" xbr="9" ybr="9"/>"""
    repaired = Repair()(read_shapes(tmp_path, shapes))
    assert repaired.sample.objects == []
    found = [issue.code for issue in repaired.issues if issue.is_error]
    assert found == [
        "box-malformed",
        "box-malformed",
        "box-malformed",
        "category-unknown",
        "category-unknown",
    ]


def test_labels_without_objects_are_classes_and_points_of_a_skeleton_are_none(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png")
    source = opened(write_xml(tmp_path, image("a.png"))).splits["train"]
    assert source.categories() == [
        {"id": 1, "name": "crane", "color": [255, 0, 128]},
        {"id": 2, "name": "truck"},
    ]


def test_without_labels_the_classes_are_those_of_the_objects(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png")
    shapes = (
        '<box label="van" xtl="1" ytl="1" xbr="9" ybr="9"/><box label="bus" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    )
    folder = write_xml(tmp_path, image("a.png", shapes), meta="")
    assert [one["name"] for one in opened(folder).splits["train"].categories()] == ["bus", "van"]
    assert [one.category for one in read(folder)[0].objects] == ["van", "bus"]


def test_a_project_has_its_subsets_as_splits_and_their_folders(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "Train/a.png", "Validation/a.png")
    body = image("a.png", more='subset="Train" task_id="3"') + image("a.png", more='subset="Validation"')
    folder = write_xml(tmp_path, body)
    assert list(opened(folder).splits) == ["train", "validation"]
    (train,), (validation,) = read(folder), read(folder, "validation")
    assert (train.file_name, validation.file_name) == ("Train/a.png", "Validation/a.png")
    assert train.image_id != validation.image_id
    assert codes(train) == codes(validation) == []


def test_images_are_missing_unlisted_or_named_from_outside(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "sub/a.png", "b.png")
    folder = write_xml(tmp_path, image("sub/a.png") + image("gone.png") + image("../../etc/passwd"))
    samples = read(folder)
    assert [(one.file_name, codes(one), one.image is None) for one in samples] == [
        ("sub/a.png", [], False),
        ("gone.png", ["image-missing"], True),
        ("../../etc/passwd", ["file-name"], True),
        ("b.png", ["unlisted"], False),
    ]
    kept = read(folder, reading=Reading(unlisted_images="keep"))
    assert codes(kept[-1]) == ["unlisted-kept"]


def test_an_image_that_is_listed_twice_comes_once_with_all_objects(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png", "b.png")
    box = '<box label="crane" xtl="1" ytl="1" xbr="9" ybr="9"/>'
    folder = write_xml(tmp_path, image("a.png", box) + image("b.png") + image("a.png", box))
    samples = {one.file_name: one for one in read(folder)}
    assert codes(samples["a.png"]) == ["image-twice"]
    assert [one.id for one in samples["a.png"].objects] == [1, 2]
    assert codes(samples["b.png"]) == []


def zipped(folder: Path, target: Path, below: str = "") -> Path:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, below + file.relative_to(folder).as_posix())
    return target


@pytest.mark.parametrize("below", ["", "task/"])
def test_the_zip_gives_what_its_folder_gives(tmp_path: Path, below: str) -> None:
    write_images(tmp_path / "site/images", "a.png", "sub/b.png", "c.png")
    shapes = '<mask label="crane" rle="1, 3, 1, 1" left="5" top="7" width="3" height="2"/>'
    folder = write_xml(tmp_path / "site", image("a.png", shapes) + image("sub/b.png") + image("gone.png"))
    archive = zipped(folder, tmp_path / "site.zip", below)
    assert detect(archive) is cvat_xml and detect(folder) is cvat_xml
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    for here, there in zip(read(folder), read(archive), strict=True):
        assert (here.file_name, here.objects, codes(here)) == (there.file_name, there.objects, codes(there))
        assert there.image == (None if here.image is None else Path(str(here.image)).read_bytes())
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_members_of_a_zip_that_lead_out_or_are_damaged_are_told(tmp_path: Path) -> None:
    content = BytesIO()
    Image.new("RGB", (40, 30)).save(content, "PNG")
    write_xml(tmp_path, image("evil.png") + image("a.png"))
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.write(tmp_path / "annotations.xml", "annotations.xml")
        archive.writestr("images/../../evil.png", content.getvalue())
        archive.writestr("images/a.png", content.getvalue())
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[data.rindex(b"IDAT") + 5] ^= 255
    (tmp_path / "x.zip").write_bytes(bytes(data))
    assert [codes(one) for one in read(tmp_path / "x.zip")] == [["image-missing"], ["image-damaged"]]


TRACKS = """
  <track id="0" label="crane"><box frame="0" outside="0" keyframe="1" xtl="1" ytl="1" xbr="9" ybr="9"/>
    <box frame="1" outside="0" keyframe="0" xtl="2" ytl="1" xbr="10" ybr="9"/>
    <box frame="2" outside="1" keyframe="1" xtl="2" ytl="1" xbr="10" ybr="9"/></track>
  <track id="1" label="truck"><polygon frame="1" outside="0" keyframe="1" points="1,1;5,1;5,5"/></track>
  <track id="2" label="truck"><skeleton frame="1" keyframe="1"/></track>"""


def test_tracks_of_a_video_are_counted_and_their_frames_are_not_listed(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "frame_000000.PNG")
    folder = write_xml(tmp_path, TRACKS)
    assert [codes(sample) for sample in read(folder)] == [["unlisted"]]
    issues = list(opened(folder).splits["train"].issues())
    assert [issue.code for issue in issues] == ["not-taken"]
    assert issues[0].text.startswith("3 tracks")


def test_frames_of_a_video_that_was_exported_as_images_have_no_suffix_in_the_xml(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "frame_000000.PNG")
    (sample,) = read(write_xml(tmp_path, image("frame_000000")))
    assert (sample.file_name, codes(sample)) == ("frame_000000.PNG", [])


def test_images_may_lie_beside_the_xml_or_where_they_are_said_to_be(tmp_path: Path) -> None:
    write_images(tmp_path / "a", "a.png")
    write_images(tmp_path / "elsewhere", "a.png")
    folder = write_xml(tmp_path / "a", image("a.png"), name="task 7.xml")
    assert read(folder / "task 7.xml")[0].image == folder / "a.png"
    assert read(folder)[0].image == folder / "a.png"
    assert read(folder, images=tmp_path / "elsewhere")[0].image == tmp_path / "elsewhere/a.png"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<annotations><image", "not well-formed"),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotations>&x;</annotations>', "entity"),
        ("", "not well-formed"),
    ],
)
def test_an_xml_that_cannot_be_read_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "annotations.xml").write_text(text)
    with pytest.raises(UserError, match=says) as refused:
        opened(tmp_path)
    assert "annotations.xml" in str(refused.value)


def test_other_xml_and_other_zips_are_not_taken(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/x.xml").write_text("<annotation><folder>a</folder></annotation>")
    (tmp_path / "b.zip").write_bytes(b"no zip at all")
    zipped(tmp_path / "a", tmp_path / "c.zip")
    for path in (tmp_path, tmp_path / "a", tmp_path / "a/x.xml", tmp_path / "b.zip", tmp_path / "c.zip"):
        assert not cvat_xml.detect(path)


def test_several_files_are_splits_where_they_are_named_so(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "train/a.png", "b.png")
    write_xml(tmp_path, image("a.png"), name="train.xml")
    write_xml(tmp_path, image("b.png"), name="val.xml")
    found = {split: [one.file_name for one in read(tmp_path, split)] for split in opened(tmp_path).splits}
    assert found == {"train": ["train/a.png"], "val": ["b.png"]}
    (tmp_path / "val.xml").rename(tmp_path / "more.xml")
    assert not cvat_xml.detect(tmp_path)
    with pytest.raises(UserError, match=r"no annotations\.xml"):
        opened(tmp_path)


def test_the_key_changes_with_annotations_and_images(tmp_path: Path) -> None:
    write_images(tmp_path / "images", "a.png")
    folder = write_xml(tmp_path, image("a.png"))
    keys = [opened(folder).splits["train"].key, opened(folder).splits["train"].key]
    write_images(tmp_path / "images", "b.png")
    keys.append(opened(folder).splits["train"].key)
    write_xml(tmp_path, image("a.png") + " ")
    keys.append(opened(folder).splits["train"].key)
    assert keys[0] == keys[1] and len(set(keys)) == 3
