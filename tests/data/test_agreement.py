"""Valid sets of every format, mutated: check, repaired copy and training understand each mutant alike."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from detr_hf.data.check import check, fix, open_target
from detr_hf.data.issues import KINDS
from detr_hf.data.reading import checked_rows
from detr_hf.data.report import Report
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import LabelMap

SIZE_WH = (64, 48)
BOXES = {"cat": (5, 6, 20, 18), "dog": (34, 20, 22, 15)}  # x, y, width, height
IMAGES = 3
SEEN_IN_PIXELS = {"image-damaged", "leak"}
"""What a check finds in decoded pixels and by comparing splits, and training meets later or not at all."""


def images(folder: Path) -> list[Path]:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    made = []
    for at in range(IMAGES):
        path = folder / f"p{at}.png"
        Image.fromarray(rng.integers(60, 200, (*SIZE_WH[::-1], 3), dtype=np.uint8)).save(path)
        made.append(path)
    return made


def flat(box: tuple[int, int, int, int]) -> list[int]:
    return [value for point in outline(box) for value in point]


def outline(box: tuple[int, int, int, int]) -> list[list[int]]:
    x, y, w, h = box
    return [[x, y], [x + w, y], [x + w, y + h], [x, y + h]]


# ---- one valid set of each format: returns the path to open and the files to mutate


def coco(folder: Path) -> tuple[Path, list[Path]]:
    found = images(folder / "images")
    names = list(BOXES)
    objects = [
        {"bbox": list(BOXES[name]), "category_id": names.index(name) + 1, "image_id": at + 1, "iscrowd": 0}
        | {
            "area": BOXES[name][2] * BOXES[name][3],
            "segmentation": [flat(BOXES[name])],
        }
        for at in range(IMAGES)
        for name in names
    ]
    content = {
        "images": [
            {"id": at + 1, "file_name": path.name, "width": SIZE_WH[0], "height": SIZE_WH[1]}
            for at, path in enumerate(found)
        ],
        "annotations": [{"id": at + 1} | one for at, one in enumerate(objects)],
        "categories": [{"id": at + 1, "name": name} for at, name in enumerate(names)],
    }
    file = folder / "annotations.json"
    file.write_text(json.dumps(content))
    return file, [file]


def coco_panoptic(folder: Path) -> tuple[Path, list[Path]]:
    found = images(folder / "images")
    (folder / "panoptic").mkdir()
    id_map = np.zeros(SIZE_WH[::-1], np.int32)
    segments = []
    for at, (x, y, w, h) in enumerate(BOXES.values(), start=1):
        id_map[y : y + h, x : x + w] = at * 1000
        segments.append(
            {"id": at * 1000, "category_id": at, "iscrowd": 0, "bbox": [x, y, w, h], "area": w * h}
        )
    content: dict[str, Any] = {"images": [], "annotations": [], "categories": []}
    for at, path in enumerate(found):
        size = {"width": SIZE_WH[0], "height": SIZE_WH[1]}
        content["images"].append({"id": at + 1, "file_name": path.name} | size)
        content["annotations"].append(
            {"image_id": at + 1, "file_name": path.name, "segments_info": [dict(one) for one in segments]}
        )
        Image.fromarray(id_to_rgb(id_map)).save(folder / "panoptic" / path.name)
    content["categories"] = [
        {"id": at, "name": name, "isthing": 1, "color": [at, 0, 0]} for at, name in enumerate(BOXES, start=1)
    ]
    file = folder / "annotations.json"
    file.write_text(json.dumps(content))
    return file, [file]


def yolo(folder: Path) -> tuple[Path, list[Path]]:
    (folder / "labels").mkdir(parents=True)
    (folder / "data.yaml").write_text("path: .\ntrain: images\nnames: [cat, dog]\n")
    lines = [
        f"{at} {(x + w / 2) / SIZE_WH[0]} {(y + h / 2) / SIZE_WH[1]} {w / SIZE_WH[0]} {h / SIZE_WH[1]}"
        for at, (x, y, w, h) in enumerate(BOXES.values())
    ]
    files = []
    for path in images(folder / "images"):
        files.append(folder / "labels" / f"{path.stem}.txt")
        files[-1].write_text("\n".join(lines) + "\n")
    return folder, files


def voc(folder: Path) -> tuple[Path, list[Path]]:
    (folder / "Annotations").mkdir(parents=True)
    files = []
    for path in images(folder / "JPEGImages"):
        root = ElementTree.Element("annotation")
        ElementTree.SubElement(root, "filename").text = path.name
        size = ElementTree.SubElement(root, "size")
        for tag, value in (("width", SIZE_WH[0]), ("height", SIZE_WH[1]), ("depth", 3)):
            ElementTree.SubElement(size, tag).text = str(value)
        for name, (x, y, w, h) in BOXES.items():
            found = ElementTree.SubElement(root, "object")
            ElementTree.SubElement(found, "name").text = name
            box = ElementTree.SubElement(found, "bndbox")
            for tag, value in (("xmin", x), ("ymin", y), ("xmax", x + w), ("ymax", y + h)):
                ElementTree.SubElement(box, tag).text = str(value)
        files.append(folder / "Annotations" / f"{path.stem}.xml")
        ElementTree.ElementTree(root).write(files[-1])
    return folder, files


def labelme(folder: Path) -> tuple[Path, list[Path]]:
    files = []
    for path in images(folder):
        shapes = [
            {"label": name, "points": outline(box), "shape_type": "polygon", "group_id": None}
            for name, box in BOXES.items()
        ]
        content = {"version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": path.name}
        content |= {"imageData": None, "imageWidth": SIZE_WH[0], "imageHeight": SIZE_WH[1]}
        files.append(path.with_suffix(".json"))
        files[-1].write_text(json.dumps(content))
    return folder, files


def cvat_xml(folder: Path) -> tuple[Path, list[Path]]:
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name in BOXES:
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    for at, path in enumerate(images(folder / "images")):
        size = {"width": str(SIZE_WH[0]), "height": str(SIZE_WH[1])}
        image = ElementTree.SubElement(root, "image", {"id": str(at), "name": path.name} | size)
        for name, (x, y, w, h) in BOXES.items():
            place = {"xtl": x, "ytl": y, "xbr": x + w, "ybr": y + h}
            ElementTree.SubElement(
                image,
                "box",
                {"label": name, "occluded": "0"} | {key: str(value) for key, value in place.items()},
            )
    file = folder / "annotations.xml"
    ElementTree.ElementTree(root).write(file)
    return folder, [file]


def class_folders(folder: Path) -> tuple[Path, list[Path]]:
    files = []
    for name, box in BOXES.items():
        file, _ = coco(folder / name)
        content = json.loads(file.read_text())
        content["annotations"] = [one for one in content["annotations"] if one["bbox"] == list(box)]
        files.append(folder / name / "coco.json")
        files[-1].write_text(json.dumps(content))
        file.unlink()
    return folder, files


FORMATS: dict[str, Callable[[Path], tuple[Path, list[Path]]]] = {
    "coco": coco,
    "coco-panoptic": coco_panoptic,
    "yolo": yolo,
    "voc": voc,
    "labelme": labelme,
    "cvat-xml": cvat_xml,
    # "class-folders": class_folders,
}

# ---- mutations

ODD: list[Any] = [
    *(None, True, 0, -1, 2.5, 10**30, float("nan"), 1e300, "", "3", "x", "../a", "p1.png", "p0.PNG"),
    *([], [1], [[]], {}, [1, 2, 3, 4], [50, 40, 60, 60], [0.1, 0.2, 0.3, 0.4], "\ud800", "a\x1b[2J"),
]
ODD_TEXT = ["", "0", "-1", "1e9", "nan", "x", "70", "2.5", "../a", "p1.png", "cat", "5" * 400]


def places(value: Any) -> list[tuple[Any, Any]]:
    """(holder, key) of everything in nested JSON."""
    found = []
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        found.append((value, key))
        if isinstance(value[key], dict | list):
            found += places(value[key])
    return found


def mutate_json(file: Path, draw: st.DataObject) -> None:
    content = json.loads(file.read_text())
    holder, key = draw.draw(st.sampled_from([place for place in places(content) if place[0] is not content]))
    what = draw.draw(st.sampled_from(["change", "remove", "repeat"]))
    if what == "change":
        holder[key] = draw.draw(st.sampled_from(ODD))
    elif what == "remove":
        del holder[key]
    elif isinstance(holder, list):
        holder.append(holder[key])
    file.write_text(json.dumps(content))


def mutate_xml(file: Path, draw: st.DataObject) -> None:
    tree = ElementTree.parse(file)
    element = draw.draw(st.sampled_from(list(tree.iter())))
    if element.attrib:
        key = draw.draw(st.sampled_from(sorted(element.attrib)))
        element.attrib[key] = draw.draw(st.sampled_from(ODD_TEXT))
    elif len(element) and draw.draw(st.booleans()):
        element.remove(draw.draw(st.sampled_from(list(element))))
    else:
        element.text = draw.draw(st.sampled_from(ODD_TEXT))
    tree.write(file)


def mutate_text(file: Path, draw: st.DataObject) -> None:
    lines = [line.split() for line in file.read_text().splitlines()]
    line = draw.draw(st.sampled_from(lines))
    line[draw.draw(st.integers(0, len(line) - 1))] = draw.draw(st.sampled_from(ODD_TEXT))
    file.write_text("\n".join(" ".join(line) for line in lines))


MUTATE = {".json": mutate_json, ".xml": mutate_xml, ".txt": mutate_text}


def mutate(folder: Path, files: list[Path], draw: st.DataObject) -> None:
    if draw.draw(st.integers(0, 9)) == 0:  # now and then it is an image that is broken
        image = draw.draw(st.sampled_from(sorted(folder.rglob("*.png"))))
        how = draw.draw(st.sampled_from(["cut", "gone", "text"]))
        if how == "gone":
            image.unlink()
        else:
            image.write_bytes(image.read_bytes()[:300] if how == "cut" else b"no image")
        return
    file = draw.draw(st.sampled_from(files))
    MUTATE[file.suffix](file, draw)


# ---- what must agree


def rows_of(path: Path) -> dict[str, list[list[float]]] | None:
    """Boxes by image as training reads them; None where it refuses."""
    rows: dict[str, list[list[float]]] = {}
    try:
        target = open_target(str(path))
        if target.fault is not None:
            return None
        for source in target.splits.values():
            labels = target.labels or LabelMap.from_coco(source.categories())
            for row in checked_rows(source, labels, Report(source.name)):
                rows[Path(row["file_name"]).as_posix()] = sorted(row["objects"]["bbox"])
    except UserError:
        return None
    return rows


def same_boxes(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.shape(one[name]) == np.shape(other[name]) and np.allclose(one[name], other[name], atol=0.01)
        for name in one
    )


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(draw=st.data())
def test_check_repair_and_training_agree_on_every_mutant(name: str, draw: st.DataObject) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        path, files = FORMATS[name](folder / "set")
        for _ in range(draw.draw(st.integers(1, 2))):
            mutate(folder / "set", files, draw)
        agree(path, folder / "repaired")
    finally:
        shutil.rmtree(folder)


def agree(path: Path, out: Path) -> None:
    try:
        target = open_target(str(path))
    except UserError:
        return  # the mutant is of no known format any more, and is refused by name
    result = check(target, threads=1)
    codes = {kind.code for kind in result.report.kinds()}
    errors = {code for code in codes if KINDS[code].severity == "error"}
    trained = rows_of(path)
    assert (trained is None) <= bool(errors), "training refuses what the check lets pass"
    assert bool(errors - SEEN_IN_PIXELS) <= (trained is None), f"training takes what is an error: {errors}"
    try:
        fix(target, out, threads=1)
    except UserError:
        assert errors, "a repair is refused where nothing is wrong"
        return
    again = check(open_target(str(out)), threads=1)
    assert again.exit_code() == 0, [issue.code for issue in again.report.kinds()]
    repaired = rows_of(out)
    assert repaired is not None, "training refuses the repaired copy"
    if trained is not None:
        dropped = errors & SEEN_IN_PIXELS
        kept = {file: boxes for file, boxes in trained.items() if not dropped or file in repaired}
        assert same_boxes(kept, repaired)
    read = sum(len(source) for source in target.splits.values())
    listed = sum(
        result.report.count(code) > 0 and len(result.report.places(code))
        for code in codes
        if KINDS[code].effect == "image dropped"
    )
    assert len(repaired) <= read <= len(repaired) + listed, "an image is lost in silence"


@pytest.mark.parametrize("name", FORMATS)
def test_the_valid_set_of_each_format_is_sound(name: str, tmp_path: Path) -> None:
    path, _ = FORMATS[name](tmp_path / "set")
    result = check(open_target(str(path)), threads=1)
    assert result.exit_code(strict=name != "class-folders") == 0, result.report.sentences()
    assert sum(held.objects for held in result.splits.values()) == len(BOXES) * IMAGES
