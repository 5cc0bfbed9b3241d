"""Sound tiny sets, and one way of spoiling them for each kind of fault."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.data.check import CheckResult, Target, check, target_of_data
from detr_hf.data.issues import INFO
from detr_hf.recipe import Data, Split
from tests.factories import write_coco_detection, write_coco_panoptic

Content = dict[str, Any]
Plant = Callable[[Content, Path], None]


def codes(result: CheckResult, but_info: bool = True) -> dict[str, int]:
    kinds = result.report.kinds()
    return {
        kind.code: result.report.count(kind.code) for kind in kinds if not but_info or kind.severity != INFO
    }


def detection(folder: Path, plant: Plant | None = None) -> Split:
    """Four images (128x96 and 90x120 in turn), one object each, with a polygon; then the fault."""

    def one_each(content: Content) -> None:
        content["annotations"] = [
            {
                "id": 1 + at,
                "image_id": image["id"],
                "category_id": (3, 7, 12)[at % 3],
                "bbox": [10.0, 20.0, 30.0, 40.0],
                "area": 1200.0,
                "iscrowd": 0,
                "segmentation": [[10, 20, 40, 20, 40, 60, 10, 60]],
            }
            for at, image in enumerate(content["images"])
        ]

    split = write_coco_detection(folder, count=4, empty=0, mend=one_each)
    return planted(split, plant)


def panoptic(folder: Path, plant: Plant | None = None) -> Split:
    """Three images whose JSON agrees with the PNGs, with colors; then the fault."""

    def fields(content: Content) -> None:
        for entry in content["categories"]:
            entry["color"] = [10, 20, 30]
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                del segment["bbox"], segment["area"]

    return planted(write_coco_panoptic(folder, count=3, mend=fields), plant)


def planted(split: Split, plant: Plant | None) -> Split:
    file = Path(split.place)
    content = json.loads(file.read_text())
    if plant is not None:
        plant(content, file.parent)
    file.write_text(json.dumps(content))
    return split


def checked(split: Split) -> CheckResult:
    return check(target_of(split), threads=1)


def target_of(split: Split) -> Target:
    return target_of_data(Data(train=split), "data")


def set_to(place: str, *keys_and_value: Any) -> Plant:
    """Give a value to a nested place of the second entry of a list: set_to("images", "width", 3)."""
    *keys, last, value = keys_and_value

    def plant(content: Content, _: Path) -> None:
        target: Any = content[place][1]
        for key in keys:
            target = target[key]
        target[last] = value

    return plant


def box_alone(bbox: Any) -> Plant:
    """An object with this box and no outline."""
    return lambda content, _: content["annotations"][1].update(bbox=bbox, segmentation=[])


def repeat(place: str, **changed: Any) -> Plant:
    return lambda content, _: content[place].append(content[place][1] | changed)


def rewrite(name: str, change: Callable[[Path], None]) -> Plant:
    return lambda _, folder: change(folder / name)


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-400])


def copied(content: Content, folder: Path) -> None:
    (folder / "images" / "003.jpg").write_bytes((folder / "images" / "001.jpg").read_bytes())


def sideways(content: Content, folder: Path) -> None:
    """The image lies on its side in the file; size and box are those of the file as it lies."""
    path = folder / "images" / "001.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.load()
        image.save(path, exif=exif)


def half_size(content: Content, folder: Path) -> None:
    path = folder / "images" / "001.jpg"
    with Image.open(path) as image:
        small = image.resize((45, 60))
    small.save(path)
    content["annotations"][1]["bbox"] = [10, 20, 70, 90]
    content["annotations"][1]["segmentation"] = []


def other_shape(content: Content, folder: Path) -> None:
    path = folder / "images" / "001.jpg"
    with Image.open(path) as image:
        small = image.resize((45, 90))
    small.save(path)
    content["annotations"][1].update(bbox=[10, 20, 70, 90], segmentation=[])


def many(content: Content, _: Path) -> None:
    """101 boxes of two pixels each, none on another."""
    one = content["annotations"].pop(1)
    for at in range(101):
        place = {"id": 100 + at, "bbox": [3 * (at % 25), 3 * (at // 25), 2, 2], "area": 4, "segmentation": []}
        content["annotations"].append(one | place)


def link_out(content: Content, folder: Path) -> None:
    path = folder / "images" / "001.jpg"
    path.rename(folder / "elsewhere.jpg")
    path.symlink_to(folder / "elsewhere.jpg")


def other_extension(content: Content, folder: Path) -> None:
    content["images"][1]["file_name"] = "001.PNG"


BOX = ("annotations", "bbox")
OUTLINE = ("annotations", "segmentation")
RLE = {"size": [120, 90], "counts": [100, 50, 120 * 90 - 150]}

DETECTION: list[tuple[str, Plant]] = [
    ("box-from-outline", set_to(*BOX, [1.0, 2.0, float("nan"), 4.0])),
    ("box-from-outline", set_to(*BOX, [1.0, 2.0, 4.0])),
    ("box-from-outline", set_to(*BOX, [500, 2, 30, 40])),
    ("box-from-outline", set_to(*BOX, [10, 20, 0, 40])),
    ("box-from-outline", set_to(*BOX, [10, 20, -5, 40])),
    ("box-malformed", box_alone([1.0, 2.0, float("nan"), 4.0])),
    ("box-malformed", box_alone([1.0, 2.0, 4.0])),
    ("box-malformed", box_alone([1.0, 2.0, 10**400, 4.0])),
    ("no-shape", box_alone(None)),
    ("box-outside", box_alone([500, 2, 30, 40])),
    ("box-empty", box_alone([10, 20, 0, 40])),
    ("box-empty", box_alone([10, 20, -5, 40])),
    ("box-clipped", set_to(*BOX, [9, 20, 100, 40])),
    ("box-tiny", set_to(*BOX, [10, 20, 30, 1.5])),
    ("box-polygon", set_to(*BOX, [10, 20, 50, 40])),
    ("object-twice", repeat("annotations", id=50)),
    ("box-twin", repeat("annotations", id=50, bbox=[10.5, 20, 30, 40])),
    ("box-two-classes", repeat("annotations", id=50, category_id=12)),
    ("area-wrong", set_to("annotations", "area", -3)),
    ("area-wrong", set_to("annotations", "area", 5000)),
    ("outline-invalid", set_to(*OUTLINE, [[10, 20, 40, 60]])),
    ("outline-invalid", set_to(*OUTLINE, [[10, 20, 40, 20, 40, 60, 10]])),
    ("outline-invalid", set_to(*OUTLINE, [[10, 20, 40, 20, 40, 60, 10, "60"]])),
    ("outline-invalid", set_to(*OUTLINE, [[10, 20, 40, 60, 40, 60]])),
    ("outline-invalid", set_to(*OUTLINE, [[10, 20, 40, 20, 40, 60, 10, 60], [99, 1, 120, 1, 120, 9]])),
    ("rle-invalid", set_to(*OUTLINE, RLE | {"size": [90, 120]})),
    ("rle-invalid", set_to(*OUTLINE, RLE | {"counts": [100, 50]})),
    ("rle-invalid", set_to(*OUTLINE, RLE | {"counts": [100, -50, 120 * 90 - 50]})),
    ("rle-invalid", set_to(*OUTLINE, RLE | {"counts": "d3b2~"})),
    ("painted", lambda c, _: c["annotations"][1].update(iscrowd=1, segmentation=RLE)),
    ("category-unknown", set_to("annotations", "category_id", 99)),
    ("odd-type", set_to("annotations", "category_id", "7")),
    ("odd-type", set_to("annotations", "category_id", 7.0)),
    ("odd-type", set_to("annotations", "iscrowd", "0")),
    ("odd-type", set_to(*BOX, ["10", "20", "30", "40"])),
    ("odd-type", set_to("annotations", "area", "1200")),
    ("odd-type", set_to("images", "width", "90")),
    ("annotation-orphan", set_to("annotations", "image_id", 999)),
    ("annotation-id", set_to("annotations", "id", 1)),
    ("image-twice", repeat("images", file_name="001.jpg")),
    ("image-id", repeat("images", file_name="000.jpg")),
    ("image-id", set_to("images", "id", None)),
    ("category-invalid", repeat("categories", name="other")),
    ("category-invalid", repeat("categories", id=40)),
    ("category-invalid", set_to("categories", "name", "")),
    ("odd-type", set_to("categories", "id", "7")),
    ("category-invalid", set_to("categories", "color", [300, 0, 0])),
    ("category-invalid", set_to("categories", "isthing", "yes")),
    ("file-renamed", set_to("images", "file_name", "../001.jpg")),
    ("file-name", set_to("images", "file_name", "../none.jpg")),
    ("file-name", set_to("images", "file_name", 7)),
    ("image-link", link_out),
    ("image-missing", set_to("images", "file_name", "none.jpg")),
    ("file-renamed", other_extension),
    ("image-unreadable", rewrite("images/001.jpg", lambda path: path.write_bytes(b""))),
    ("image-unreadable", rewrite("images/001.jpg", lambda path: path.write_text("no image"))),
    ("image-damaged", rewrite("images/001.jpg", cut_off)),
    ("image-duplicate", copied),
    ("size-differs", set_to("images", "width", 91)),
    ("exif-boxes", sideways),
    ("size-scaled", half_size),
    ("size-boxes", other_shape),
    ("too-many-objects", many),
]


def gray(content: Content, folder: Path) -> None:
    """A PNG with small ids written as one gray channel: the usual slip of `Image.fromarray(id_map)`."""
    entry = content["annotations"][1]
    path = folder / "panoptic" / entry["file_name"]
    rgb = np.array(Image.open(path)).astype(np.int64)
    id_map = rgb @ [1, 256, 65536]
    small = np.zeros(id_map.shape, np.uint8)
    for at, segment in enumerate(entry["segments_info"], start=1):
        small[id_map == segment["id"]] = at
        segment["id"] = at
    Image.fromarray(small).save(path)


def palette(content: Content, folder: Path) -> None:
    path = folder / "panoptic" / content["annotations"][1]["file_name"]
    Image.open(path).quantize(256).save(path)


def shrunk_png(content: Content, folder: Path) -> None:
    path = folder / "panoptic" / content["annotations"][1]["file_name"]
    image = Image.open(path)
    image.resize((image.width // 2, image.height // 2), Image.Resampling.NEAREST).save(path)


def squeezed_png(content: Content, folder: Path) -> None:
    path = folder / "panoptic" / content["annotations"][1]["file_name"]
    image = Image.open(path)
    image.resize((image.width // 2, image.height), Image.Resampling.NEAREST).save(path)


def no_png_at_all(content: Content, folder: Path) -> None:
    (folder / "panoptic" / content["annotations"][1]["file_name"]).write_text("no image")


def stray_id(content: Content, folder: Path) -> None:
    path = folder / "panoptic" / content["annotations"][1]["file_name"]
    pixels = np.array(Image.open(path))
    pixels[:3, :3] = (9, 9, 9)
    Image.fromarray(pixels).save(path)


def no_png(content: Content, folder: Path) -> None:
    (folder / "panoptic" / content["annotations"][1]["file_name"]).unlink()


def segment(at: int, **changed: Any) -> Plant:
    return lambda content, _: content["annotations"][1]["segments_info"][at].update(changed)


def one_segment_more(**fields: Any) -> Plant:
    return lambda content, _: content["annotations"][1]["segments_info"].append(fields)


PANOPTIC: list[tuple[str, Plant]] = [
    ("png-not-rgb", gray),
    ("png-not-rgb", palette),
    ("png-unreadable", no_png_at_all),
    ("png-resized", shrunk_png),
    ("png-size", squeezed_png),
    ("png-unknown-ids", stray_id),
    ("png-missing", no_png),
    ("png-annotation", lambda content, _: content["annotations"].pop(1)),
    ("png-annotation", lambda content, _: content["annotations"].append(content["annotations"][1])),
    ("segment-id", segment(0, id=0)),
    ("segment-id", segment(0, id="x")),
    (
        "segment-id",
        lambda c, _: c["annotations"][1]["segments_info"].append(c["annotations"][1]["segments_info"][0]),
    ),
    ("segment-not-in-png", one_segment_more(id=5, category_id=3, iscrowd=0)),
    ("png-area", segment(0, area=3)),
    ("png-box", segment(0, bbox=[0, 0, 1, 1])),
    ("category-unknown", segment(0, category_id=99)),
    ("odd-type", segment(0, category_id="101")),
    ("isthing-missing", lambda content, _: content["categories"][0].pop("isthing")),
    ("file-name", lambda content, _: content["annotations"][1].update(file_name="../x.png")),
]

ALLOWED_BESIDE = {  # what one planted fault brings with it
    "box-malformed": {"odd-type"},
    "box-empty": {"box-polygon"},
    "box-outside": {"box-polygon"},
    "box-clipped": {"box-polygon", "area-wrong"},
    "box-tiny": {"box-polygon", "area-wrong"},
    "outline-invalid": {"box-polygon"},
    "painted": {"box-polygon"},
    "odd-type": {"category-unknown", "box-malformed", "area-wrong", "size-differs", "annotation-orphan"},
    "image-id": {"annotation-orphan"},
    "category-invalid": {"category-unknown"},
    "size-boxes": {"area-wrong"},
    "file-name": {"annotation-orphan"},
    "category-unknown": {"png-unknown-ids"},
    "segment-id": {"png-unknown-ids", "odd-type"},
    "too-many-objects": {"class-small"},
}
