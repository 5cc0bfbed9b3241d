"""One valid set of each format: the path to open, and the files to mutate."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from detr_hf.geometry import id_to_rgb

SIZE_WH = (64, 48)
BOXES = {"cat": (5, 6, 20, 18), "dog": (34, 20, 22, 15)}  # x, y, width, height
IMAGES = 3


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


def label_studio(folder: Path) -> tuple[Path, list[Path]]:
    tasks = []
    for at, path in enumerate(images(folder / "images")):
        results = []
        for name, (x, y, w, h) in BOXES.items():
            value = {"x": 100 * x / SIZE_WH[0], "y": 100 * y / SIZE_WH[1], "rotation": 0}
            value |= {"width": 100 * w / SIZE_WH[0], "height": 100 * h / SIZE_WH[1]}
            results.append(
                {"id": name, "type": "rectanglelabels", "from_name": "label", "to_name": "image"}
                | {"original_width": SIZE_WH[0], "original_height": SIZE_WH[1], "image_rotation": 0}
                | {"value": value | {"rectanglelabels": [name]}}
            )
        annotations = [{"id": 1, "completed_by": 1, "was_cancelled": False, "result": results}]
        data = {"image": f"/data/upload/3/{path.name}"}
        tasks.append({"id": at + 1, "annotations": annotations, "predictions": [], "data": data})
    file = folder / "project-1-at-2024.json"
    file.write_text(json.dumps(tasks))
    return folder, [file]


def class_pngs(folder: Path) -> tuple[Path, list[Path]]:
    (folder / "masks").mkdir(parents=True)
    values = np.zeros(SIZE_WH[::-1], np.uint8)
    for at, (x, y, w, h) in enumerate(BOXES.values(), start=1):
        values[y : y + h, x : x + w] = at
    for path in images(folder / "images"):
        Image.fromarray(values).save(folder / "masks" / path.name)
    table = folder / "labels.csv"
    table.write_text("id,name\n1,cat\n2,dog\n")
    return folder, [table]


def image_folder(folder: Path) -> tuple[Path, list[Path]]:
    rows = [
        {"file_name": path.name, "objects": {"bbox": list(BOXES.values()), "categories": list(BOXES)}}
        for path in images(folder)
    ]
    file = folder / "metadata.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    return folder, [file]


def voc_panoptic(folder: Path) -> tuple[Path, list[Path]]:
    for name in ("SegmentationClass", "SegmentationObject", "ImageSets/Segmentation"):
        (folder / name).mkdir(parents=True)
    values = np.zeros(SIZE_WH[::-1], np.uint8)
    for at, (x, y, w, h) in enumerate(BOXES.values(), start=1):
        values[y : y + h, x : x + w] = at
    found = images(folder / "JPEGImages")
    for path in found:
        for name in ("SegmentationClass", "SegmentationObject"):
            Image.fromarray(values).save(folder / name / path.name)
    (folder / "class_names.txt").write_text("_background_\ncat\ndog\n")
    sets = folder / "ImageSets" / "Segmentation" / "train.txt"
    sets.write_text("\n".join(path.stem for path in found))
    return folder, [sets, folder / "class_names.txt"]


FORMATS: dict[str, Callable[[Path], tuple[Path, list[Path]]]] = {
    "coco": coco,
    "coco-panoptic": coco_panoptic,
    "yolo": yolo,
    "voc": voc,
    "labelme": labelme,
    "cvat-xml": cvat_xml,
    "class-folders": class_folders,
    "label-studio": label_studio,
    "class-pngs": class_pngs,
    "voc-panoptic": voc_panoptic,
    "imagefolder": image_folder,
}
