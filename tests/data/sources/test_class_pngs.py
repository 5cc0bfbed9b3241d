"""Class PNGs: layouts, spellings of classes, values, palettes and colors, things by parts or instances."""

from __future__ import annotations

import os
import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.data.sources import class_pngs, detect
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.class_tables import ClassRow, cityscapes_table, read_table
from detr_hf.errors import UserError
from detr_hf.images import decode_id_map
from detr_hf.recipe.prepare import Reading

VALUES = np.zeros((12, 16), np.uint8)  # void, with a road and two cars
VALUES[8:] = 1
VALUES[2:5, 2:5] = VALUES[2:5, 9:14] = 2
COLORS = np.array([[0, 0, 0], [128, 64, 128], [0, 0, 142], [9, 9, 9]], np.uint8)
CLASS_DICT = "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n"


def save(file: Path, pixels: np.ndarray | None = None, mode: str | None = None) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    made = Image.new("RGB", (16, 12), (9, 99, 9)) if pixels is None else Image.fromarray(pixels)
    if mode == "P":
        made.putpalette(COLORS.ravel().tolist())
    made.save(file)
    return file


def write(folder: Path, table: str = "void\nroad\ncar\n", name: str = "classes.txt") -> Path:
    save(folder / "images/a.jpg")
    save(folder / "masks/a.png", VALUES)
    (folder / name).write_text(table)
    return folder


def opened(path: Path, **reading: Any) -> Opened:
    return class_pngs.open_splits(Place(path, str(path), reading=Reading(**reading)))


def read(path: Path, split: str = "train", **reading: Any) -> list[Sample]:
    source = opened(path, **reading).splits[split]
    samples = list(source.samples())
    assert len(samples) == len(source) and source.is_panoptic
    return samples


def repaired(sample: Sample) -> Sample:
    made = Repair()(pickle.loads(pickle.dumps(sample)))
    assert made.sample is not None, made.issues
    return made.sample


def areas(sample: Sample) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for one in repaired(sample).objects:
        found.setdefault(str(one.category), []).append(one.area)
    return found


EXPECTED = {"road": [64.0], "car": [9.0 + 15.0]}


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("classes.txt", "void\nroad\ncar\n"),
        ("labels.csv", "id,name\n1,road\n2,car\n"),
        ("_classes.csv", "Pixel Value, Class\n0, background\n1, road\n2, car\n"),
        ("classes.json", '{"1": "road", "2": "car"}'),
        ("id2label.json", '{"road": 1, "car": 2}'),
        ("classes.json", '["void", "road", "car"]'),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nbackground:0,0,0::\nroad:1,1,1::\ncar:2,2,2::\n"),
    ],
)
def test_gray_values_are_classes_by_each_kind_of_table(tmp_path: Path, name: str, table: str) -> None:
    folder = write(tmp_path, table, name)
    (sample,) = read(folder)
    assert detect(folder) is class_pngs
    assert areas(sample) == EXPECTED and sample.issues == ()
    assert [(one["name"], one["isthing"]) for one in opened(folder).splits["train"].categories()] == [
        ("road", 0),
        ("car", 0),
    ]


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("class_dict.csv", CLASS_DICT),
        ("class_dict.csv", CLASS_DICT.partition("\n")[2]),
        (
            "labelmap.txt",
            "# label:color_rgb:parts\nbackground:0,0,0::\nroad:128,64,128::\ncar:0,0,142::\n",
        ),
    ],
)
def test_colors_are_classes_in_rgb_and_in_palette_pngs(tmp_path: Path, name: str, table: str) -> None:
    folder = write(tmp_path, table, name)
    for pixels, mode in ((COLORS[VALUES], None), (VALUES, "P")):
        save(folder / "masks/a.png", pixels, mode)
        assert areas(read(folder)[0]) == EXPECTED
        assert detect(folder) is class_pngs


def test_a_palette_png_goes_by_its_index_where_the_table_has_no_such_colors(tmp_path: Path) -> None:
    folder = write(tmp_path)
    save(folder / "masks/a.png", VALUES, "P")
    assert areas(read(folder)[0]) == EXPECTED
    (folder / "classes.txt").unlink()
    (folder / "class_dict.csv").write_text("name,r,g,b\nvoid,7,7,7\nroad,1,2,3\ncar,4,5,6\n")
    assert areas(read(folder)[0]) == EXPECTED


def test_values_written_as_gray_rgb_are_values(tmp_path: Path) -> None:
    folder = write(tmp_path)
    save(folder / "masks/a.png", np.repeat(VALUES[..., None], 3, axis=2))
    assert areas(read(folder)[0]) == EXPECTED


def test_what_is_not_in_the_table_is_void_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    values = VALUES.copy()
    values[0, :5], values[1, :4] = 77, 255  # 255 is void by custom
    save(folder / "masks/a.png", values)
    (sample,) = read(folder)
    assert [(one.code, one.text) for one in sample.issues] == [
        ("png-unknown-ids", "a.png: 5 pixels of values 77")
    ]
    assert areas(sample) == EXPECTED
    folder = write(tmp_path / "colors", CLASS_DICT, "class_dict.csv")
    save(folder / "masks/a.png", COLORS[np.where(values == 77, 3, VALUES)])
    assert read(folder)[0].issues[0].text == "a.png: 5 pixels of colors (9, 9, 9)"


def test_things_are_split_into_connected_parts_only_if_asked_for_and_told(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (sample,) = read(folder, things=["car"])
    assert [(one.code, one.text) for one in sample.issues] == [("things-split", "2 parts of 'car'")]
    assert areas(sample) == {"road": [64.0], "car": [9.0, 15.0]}
    categories = opened(folder, things=["car"]).splits["train"].categories()
    assert [one["isthing"] for one in categories] == [0, 1]
    with pytest.raises(UserError, match="'bus' is no class of road, car"):
        opened(folder, things=["bus"])


def test_the_id_map_has_the_segments_that_the_sample_lists(tmp_path: Path) -> None:
    (sample,) = read(write(tmp_path), things=["car"])
    assert callable(sample.id_map)
    id_map = decode_id_map(sample.id_map())
    assert sorted(np.unique(id_map)) == [0, *sorted(one.id for one in sample.objects)]
    assert ((id_map > 0) == (VALUES > 0)).all()


def test_cityscapes_needs_no_table(tmp_path: Path) -> None:
    values = np.select([VALUES == 1, VALUES == 2], [7, 26], 0).astype(np.uint8)
    for split, city in (("train", "ulm"), ("val", "lindau")):
        stem = f"{split}/{city}/{city}_000001_000019"
        save(tmp_path / f"leftImg8bit/{stem}_leftImg8bit.png")
        save(tmp_path / f"gtFine/{stem}_gtFine_labelIds.png", values)
        save(tmp_path / f"gtFine/{stem}_gtFine_color.png", COLORS[VALUES])
        save(tmp_path / f"gtFine/{stem}_gtFine_instanceIds.png", values.astype(np.uint16) * 1000)
    assert detect(tmp_path) is class_pngs
    assert list(opened(tmp_path).splits) == ["train", "val"]
    (sample,) = read(tmp_path, "val")
    assert sample.file_name == "leftImg8bit/val/lindau/lindau_000001_000019_leftImg8bit.png"
    assert areas(sample) == EXPECTED
    assert not any(one["isthing"] for one in opened(tmp_path).splits["train"].categories())
    issues = list(opened(tmp_path).splits["train"].issues())
    unread = [one.text for one in issues if one.code == "not-read"]
    assert "4 files, such as gtFine/train/ulm/ulm_000001_000019_gtFine_color.png" in unread
    assert {one.text for one in issues if one.code == "class-void"} >= {"'ground'", "'unlabeled'"}


def test_the_ids_of_cityscapes() -> None:
    rows = cityscapes_table().rows
    assert [row.value for row in rows] == list(range(34))
    assert rows[9] == ClassRow("parking", 9, (250, 170, 160))
    assert [row.name for row in rows if row.is_void][-1] == "ground" and len(cityscapes_table().names) == 27


@pytest.mark.parametrize(
    ("image", "png", "split"),
    [
        ("train/0001.png", "train_labels/0001_L.png", "train"),
        ("val/0001.png", "valannot/0001.png", "val"),
        ("images/validation/ADE_1.jpg", "annotations/validation/ADE_1.png", "validation"),
        ("images/training/ADE_1.jpg", "annotations/training/ADE_1.png", "train"),
        ("img_dir/val/a.jpg", "ann_dir/val/a.png", "val"),
        ("test/a_jpg.rf.12.jpg", "test/a_jpg.rf.12_mask.png", "test"),
        ("valid/images/a.jpg", "valid/masks/a.png", "valid"),
        ("JPEGImages/a.jpg", "SegmentationClass/a.png", "train"),
        ("images/left_L.jpg", "labels/left_L.png", "train"),
        ("images/my_mask.png", "masks/my_mask.png", "train"),
        ("train_images/a.jpg", "train_masks/a.png", "train"),
    ],
)
def test_layouts_in_use_are_paired(tmp_path: Path, image: str, png: str, split: str) -> None:
    save(tmp_path / image)
    save(tmp_path / png, VALUES)
    (tmp_path / "classes.txt").write_text("void\nroad\ncar\n")
    (sample,) = read(tmp_path, split)
    assert sample.file_name == image and areas(sample) == EXPECTED


def test_no_image_is_lost(tmp_path: Path) -> None:
    folder = write(tmp_path)
    save(folder / "images/b.jpg")
    save(folder / "images/a.bmp")
    save(folder / "masks/c.png", VALUES)
    save(folder / "images/d.jpg")
    (folder / "masks/d.png").write_bytes(BytesIO(b"\x89PNG no").getvalue())
    save(folder / "images/e.jpg")
    os.mkfifo(folder / "masks/e.png")
    assert {one.file_name: [issue.code for issue in one.issues] for one in read(folder)} == {
        "images/a.bmp": [],
        "images/a.jpg": ["no-annotations"],
        "images/b.jpg": ["no-annotations"],
        "images/d.jpg": ["png-unreadable"],
        "images/e.jpg": ["png-unreadable"],
        "masks/c.png": ["image-missing"],
    }


def test_what_others_mean_by_such_folders_is_not_taken(tmp_path: Path) -> None:
    # YOLO's labels are text; COCO panoptic has no table.
    save(tmp_path / "yolo/images/a.jpg")
    (tmp_path / "yolo/labels").mkdir()
    (tmp_path / "yolo/labels/a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (tmp_path / "yolo/classes.txt").write_text("car\n")
    save(tmp_path / "coco/train/a.jpg")
    save(tmp_path / "coco/annotations/train/a.png", COLORS[VALUES])
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder in (tmp_path / "yolo", tmp_path / "coco", empty, tmp_path / "yolo/classes.txt"):
        assert not class_pngs.detect(folder)
    with pytest.raises(UserError, match="no file says which class"):
        opened(tmp_path / "coco")
    with pytest.raises(UserError, match="no image has a PNG"):
        opened(empty)


@pytest.mark.parametrize(
    ("name", "text"), [("classes.txt", "\n"), ("classes.json", "7"), ("classes.csv", "")]
)
def test_a_table_without_classes_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match="lists no class"):
        read_table(tmp_path / name, name)


def test_nothing_is_written_into_the_source_and_the_key_follows_it(tmp_path: Path) -> None:
    folder = write(tmp_path)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    key = opened(folder).splits["train"].key
    repaired(read(folder)[0])
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    assert opened(folder).splits["train"].key == key
    assert opened(folder, things=["car"]).splits["train"].key != key
    save(folder / "masks/b.png", VALUES)
    assert opened(folder).splits["train"].key != key


def test_a_table_of_one_endless_word_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("id,name\n1," + "x" * 200_000)
    with pytest.raises(UserError, match=r"labels\.csv: is no CSV file"):
        read_table(tmp_path / "labels.csv", "labels.csv")
