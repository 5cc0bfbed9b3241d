"""Exports as Roboflow, a YOLO tool and CVAT write them, of a few drawn yards: things alone."""

from __future__ import annotations

import json
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np

from detr_hf.demo.dataset import write_dataset
from detr_hf.images import decode_id_map


@dataclass(frozen=True)
class Yard:
    """One image with its objects: class name, box (x, y, width, height in pixels), mask ``bool [H, W]``."""

    file: Path
    size_hw: tuple[int, int]
    objects: list[tuple[str, list[int], np.ndarray]]


def yards(folder: Path, count: int, seed: int) -> list[Yard]:
    """Drawn into ``folder``."""
    write_dataset(folder, {"train": count}, seed)
    said = json.loads((folder / "train" / "panoptic.json").read_text())
    names = {one["id"]: one["name"] for one in said["categories"] if one["isthing"]}
    made = []
    for image, annotation in zip(said["images"], said["annotations"], strict=True):
        id_map = decode_id_map(folder / "train" / "panoptic" / annotation["file_name"])
        objects = [
            (names[one["category_id"]], one["bbox"], id_map == one["id"])
            for one in annotation["segments_info"]
            if one["category_id"] in names
        ]
        file = folder / "train" / "images" / image["file_name"]
        made.append(Yard(file, (image["height"], image["width"]), objects))
    return made


def class_names(images: list[Yard]) -> list[str]:
    return sorted({name for image in images for name, _, _ in image.objects})


def roboflow(folder: Path, images: list[Yard]) -> None:
    """Roboflow's "COCO": a file beside the images of each split; category 0 has no object, as there."""
    names = class_names(images)
    categories = [{"id": 0, "name": "yard", "supercategory": "none"}]
    categories += [
        {"id": at, "name": name, "supercategory": "yard"} for at, name in enumerate(names, start=1)
    ]
    for split, part in (("train", images[:-4]), ("valid", images[-4:-1]), ("test", images[-1:])):
        (folder / split).mkdir(parents=True)
        listed, annotations = [], []
        for number, image in enumerate(part):
            name = f"{image.file.stem}_jpg.rf.{number:032x}.jpg"
            shutil.copy(image.file, folder / split / name)
            height, width = image.size_hw
            listed.append({"id": number, "license": 1, "file_name": name, "height": height, "width": width})
            for category, box, _ in image.objects:
                one = {"id": len(annotations), "image_id": number, "category_id": names.index(category) + 1}
                annotations.append(
                    one | {"bbox": box, "area": box[2] * box[3], "segmentation": [], "iscrowd": 0}
                )
        content = {"info": {}, "licenses": [], "categories": categories, "images": listed}
        file = folder / split / "_annotations.coco.json"
        file.write_text(json.dumps(content | {"annotations": annotations}))


def yolo(folder: Path, images: list[Yard]) -> None:
    """`images/` and `labels/` with a folder a split, and `data.yaml`."""
    names = class_names(images)
    for split, part in (("train", images[:-3]), ("val", images[-3:])):
        (folder / "images" / split).mkdir(parents=True)
        (folder / "labels" / split).mkdir(parents=True)
        for image in part:
            shutil.copy(image.file, folder / "images" / split)
            height, width = image.size_hw
            lines = [
                f"{names.index(name)} {(x + w / 2) / width:.6f} {(y + h / 2) / height:.6f} "
                f"{w / width:.6f} {h / height:.6f}\n"
                for name, (x, y, w, h), _ in image.objects
            ]
            (folder / "labels" / split / f"{image.file.stem}.txt").write_text("".join(lines))
    listed = "".join(f"  {at}: {name}\n" for at, name in enumerate(names))
    (folder / "data.yaml").write_text(f"path: .\ntrain: images/train\nval: images/val\nnames:\n{listed}")


def cvat_zip(file: Path, images: list[Yard]) -> None:
    """With images, as "CVAT for images 1.1": `annotations.xml` with polygons, and `images/`."""
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    labels = ElementTree.SubElement(
        ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task"), "labels"
    )
    for name in class_names(images):
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    with zipfile.ZipFile(file, "w") as archive:
        for number, image in enumerate(images):
            height, width = image.size_hw
            size = {"width": str(width), "height": str(height)}
            entry = ElementTree.SubElement(root, "image", {"id": str(number), "name": image.file.name} | size)
            for name, _, mask in image.objects:
                found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
                outline = max(found, key=cv2.contourArea)[:, 0]
                if len(outline) < 3:
                    continue
                points = ";".join(f"{x:.2f},{y:.2f}" for x, y in outline)
                shape = {"label": name, "source": "manual", "occluded": "0", "points": points, "z_order": "0"}
                ElementTree.SubElement(entry, "polygon", shape)
            archive.write(image.file, f"images/{image.file.name}")
        archive.writestr("annotations.xml", ElementTree.tostring(root, encoding="unicode"))
