"""The messes of `tests.data.messes` as COCO, as class folders and as YOLO, with the issues there must be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.geometry import id_to_rgb
from tests.data.messes import GROUPS, ODD_FOLDER, SAME, UNLISTED, Expected, Mess
from tests.raw_factories import BOX, SIZE_HW, SOURCE_IDS, SQUARE, bounds, photo


def _save(group: str, folder: Path, messes: list[Mess]) -> None:
    """Whatever lies where the images of a group are."""
    first_seed = 100 * list(GROUPS).index(group)
    for seed, mess in enumerate(messes, start=first_seed):
        if mess.save is not None and mess.name:
            path = folder / mess.name
            path.parent.mkdir(parents=True, exist_ok=True)
            mess.save(photo(seed), path)


# ---- COCO, and class folders, each of which holds a COCO file


def _coco(file: Path, groups: Mapping[str, str], shown: str, spelled: Mapping[str, str]) -> Expected:
    """Write one COCO file of these groups, whose names begin with a folder each; ``shown`` is what issues
    begin with."""
    images: list[dict[str, Any]] = []
    objects: list[Any] = []
    made: Expected = set()
    for group, folder in groups.items():
        category, messes = GROUPS[group]
        for mess in messes:
            if mess.said is UNLISTED:
                continue
            said = mess.said_below(folder)
            entry = {"id": len(images) + 1, "file_name": said}
            if mess.hw is not None:
                entry |= dict(zip(("height", "width"), mess.hw, strict=True))
            images.append(entry | mess.entry)
            for changes in mess.objects:
                one = {"id": len(objects) + 1, "image_id": images[-1]["id"], "iscrowd": 0}
                one |= {"category_id": SOURCE_IDS[category], "segmentation": [SQUARE]} | changes
                objects.append({"bbox": bounds(one["segmentation"])} | one)
            name = said[:200] if isinstance(said, str) else f"image {entry['id']}"
            made |= mess.expected(mess.codes, f"{shown}{folder}", f"{shown}{name}")
    if "marble" in groups:
        objects += [{"id": 4711, "image_id": 4711, "category_id": 26, "bbox": [1, 1, 9, 9]}, "not an object"]
        title = f"{shown.removesuffix('images/')}coco.json" if shown else "annotations/instances_default.json"
        made |= {("annotation-orphan", title), ("entry-invalid", title)}
    classes = dict.fromkeys(GROUPS[group][0] for group in groups)
    categories = [{"id": SOURCE_IDS[name], "name": spelled.get(name, name)} for name in classes]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "annotations": objects, "categories": categories}))
    return made


def _unlisted(folder: str, messes: list[Mess], renamed: Mapping[str, str]) -> Expected:
    unlisted = (mess for mess in messes if mess.said is UNLISTED)
    return {(renamed.get(mess.codes, mess.codes), f"{folder}{mess.name}") for mess in unlisted}


def write_coco(root: Path) -> Expected:
    """One file for all; the images of each group in a folder."""
    made = _coco(
        root / "annotations" / "instances_default.json", {group: f"{group}/" for group in GROUPS}, "", {}
    )
    for group, (_, messes) in GROUPS.items():
        _save(group, root / "images" / group, messes)
        made |= _unlisted(f"{group}/", messes, dict.fromkeys(("unlisted", "image-link"), "file-unlisted"))
    return made | {("alike-across", "chiller/001.jpg")}


def write_class_folders(root: Path) -> Expected:
    """A folder for each group, and what only class folders hold: notes, id maps, folders without a class."""
    made: Expected = set()
    for group, (_, messes) in GROUPS.items():
        _save(group, root / group / "images", messes)
        made |= _coco(root / group / "coco.json", {group: ""}, f"{group}/images/", {"lime": "Lime"})
        made |= _unlisted(f"{group}/images/", messes, {})
    (root / "export.zip").write_bytes(b"PK")
    (root / "chiller" / "images" / "Thumbs.db").write_bytes(b"\0")
    (root / "chiller" / "class_details.txt").write_text("80 % done", encoding="utf-8")
    (root / "grader" / "images").mkdir(parents=True)
    photo(500).save(root / "grader" / "images" / "001.jpg")
    return (
        made
        | _id_maps(root)
        | {
            ("not-read", "export.zip"),
            ("not-read", "chiller/images/Thumbs.db"),
            ("folder-note", "chiller"),
            ("class-spelling", "lime_(todo)"),
            ("no-annotations", "grader/images/001.jpg"),
            ("layouts-mixed", ""),
            ("alike-across", "chiller/images/001.jpg"),
        }
    )


def _id_maps(root: Path) -> Expected:
    """The second layout, with stuff and with faults of its own."""
    folder = root / "lime"
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    images, annotations = [], []
    for number, name in enumerate(("fine", "strange", "other_size", "no_png"), start=1):
        photo(90 + number).save(folder / "images" / f"{name}.jpg")
        id_map = np.full(SIZE_HW, 300, np.int32)
        id_map[20:, :30] = 70_000
        id_map[20:, 30:] = 9
        if name == "strange":
            id_map[:5] = 1234
        if name != "no_png":
            size = (10, 10) if name == "other_size" else SIZE_HW[::-1]
            Image.fromarray(id_to_rgb(id_map)).resize(size, 0).save(folder / "annotations" / f"{name}.png")
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE_HW[0], "width": SIZE_HW[1]})
        segments = [
            {"id": 300, "category_id": 103, "iscrowd": 0},
            {"id": 70_000, "category_id": 25, "iscrowd": 0},
            {"id": 9, "category_id": 115, "iscrowd": 0},
        ]
        if name == "strange":
            segments.append({"id": 5, "category_id": 25, "iscrowd": 0})
        annotations.append({"image_id": number, "file_name": f"{name}.png", "segments_info": segments})
    kinds = {"sky": 0, "lime": 1, "thing": 0}
    categories = [{"id": SOURCE_IDS[name], "name": name, "isthing": kind} for name, kind in kinds.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (folder / "annotations" / "lime.json").write_text(json.dumps(content), encoding="utf-8")
    kinds_of = {
        "fine": ["class-void"],
        "strange": ["class-void", "segment-not-in-png", "png-unknown-ids"],
        "other_size": ["png-size"],
        "no_png": ["png-missing"],
    }
    found = {(kind, f"lime/images/{name}.jpg") for name, kinds in kinds_of.items() for kind in kinds}
    return found | {("color-missing", "lime/annotations/lime.json")}


# ---- YOLO


def _line(changes: dict[str, Any], category: int, size_hw: tuple[int, int]) -> str:
    """An object in shares of its image: its outline, or its box where there is none."""
    shape = changes.get("segmentation", [SQUARE])
    category = changes.get("category_id", category)
    size_wh = np.array(size_hw[::-1], float)
    if shape:
        values = (np.array(shape[0], float).reshape(-1, 2) / size_wh).ravel()
    else:
        x, y, w, h = changes.get("bbox", BOX)
        values = np.array([(x + w / 2), (y + h / 2), w, h]) / np.tile(size_wh, 2)
    return " ".join(map(str, [category, *values.tolist()]))


def write_yolo(root: Path) -> Expected:
    """Ultralytics' folders with a list of images, and what only label files hold."""
    made: Expected = set()
    listed: list[str] = []
    classes = list(dict.fromkeys(category for category, _ in GROUPS.values()))
    for group, (category, messes) in GROUPS.items():
        held = [mess for mess in messes if mess.yolo is not None]
        _save(group, root / "images" / group, held)
        made |= _unlisted(f"images/{group}/", held, {"unlisted": "file-unlisted"})
        for mess in held:
            if mess.said is UNLISTED:
                continue
            said = mess.said_below(f"images/{group}/")
            if group != ODD_FOLDER:
                listed.append(said)
            codes = mess.codes if mess.yolo in (SAME, None) else mess.yolo
            made |= mess.expected(codes or "", f"images/{group}/", said[:200])
            if mess.save is None:
                continue
            assert mess.hw is not None
            drawn = mess.objects if mess.lines is None else mess.objects[:-1]
            lines = [_line(changes, classes.index(category), mess.hw) for changes in drawn]
            lines += [] if mess.lines is None else [mess.lines]
            label = root / "labels" / group / f"{mess.name.rpartition('.')[0]}.txt"
            label.parent.mkdir(parents=True, exist_ok=True)
            with label.open("a") as file:
                file.writelines(f"{line}\n" for line in lines)
    made |= _labels_alone(root, listed)
    (root / "train.txt").write_text("".join(f"{said}\n" for said in listed))
    train = ["train.txt", f"images/{ODD_FOLDER}"]
    (root / "data.yaml").write_text(f"path: .\ntrain: {train}\nnames: {classes}\n")
    return made


def _labels_alone(root: Path, listed: list[str]) -> Expected:
    images, labels = root / "images" / "labels", root / "labels" / "labels"
    images.mkdir()
    labels.mkdir()
    names = {
        "none": "label-missing no-objects",
        "pipe": "annotation-unreadable",
        "bytes": "entry-invalid rectangle",
    }
    for seed, name in enumerate(names, start=600):
        photo(seed).save(images / f"{name}.jpg")
        listed.append(f"images/labels/{name}.jpg")
    os.mkfifo(labels / "pipe.txt")
    (labels / "bytes.txt").write_bytes(bytes(range(14, 256)) + b"\n0 0.5 0.5 0.25 0.5\n")
    (labels / "gone.txt").write_text("0 0.5 0.5 0.25 0.5\n")
    found = {(code, f"images/labels/{name}.jpg") for name, codes in names.items() for code in codes.split()}
    return found | {("annotation-orphan", "labels/labels/gone.txt")}


WRITE: dict[str, Callable[[Path], Expected]] = {
    "class-folders": write_class_folders,
    "coco": write_coco,
    "yolo": write_yolo,
}
