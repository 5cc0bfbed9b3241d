"""What goes wrong in real raw folders, done to the yard's on purpose: names, files and annotations."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

_QUALITY = 92
_TURNED_LEFT = 6  # the EXIF orientation of an image that is stored lying on its left side


def write_untidily(folder: Path, class_name: str, index: int, image: np.ndarray) -> tuple[str, Path]:
    """Write an image ``uint8 [H, W, 3]`` in one of eight ways, chosen by its number.

    Returns:
        The name in the annotations, and the file, which may be another.
    """
    stem, pixels = f"{class_name}_{index:04d}", Image.fromarray(image)
    spaced, percent = f"{class_name} ({index}).jpg", f"50% {stem}.jpeg"
    ways = (  # the name in the annotations, and the file
        (f"{stem}.jpg", f"{stem}.jpg"),
        (f"{stem}.jpg", f"{stem}.png"),
        (f"{stem}.png", f"{stem}.jpg"),
        (f"{stem}.jpg", f"{stem}.JPG"),
        (spaced, spaced),
        (percent, percent),
        (f"{stem}.jpg", f"{stem}.jpg"),
        (f"{stem}.png", f"{stem}.png"),
    )
    way = index % len(ways)
    listed, name = ways[way]
    options: dict[str, Any] = {} if name.endswith(".png") else {"quality": _QUALITY}
    if way == 6:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = _TURNED_LEFT
        pixels, options["exif"] = pixels.transpose(Image.Transpose.ROTATE_90), exif
    elif way == 7:
        pixels = pixels.convert("L" if index % 16 == 7 else "RGBA")
    pixels.save(folder / name, **options)
    return listed, folder / name


def add_faults(class_folder: Path, content: dict[str, Any]) -> str:
    """Damage the annotations of a class folder, and add files that do not belong.

    Returns:
        The file name of the one image that is there twice, a copy of the first.
    """
    images, annotations = content["images"], content["annotations"]
    (class_folder / "class_details.txt").write_text("80 % annotated\n", encoding="utf-8")
    (class_folder / "images" / "Thumbs.db").write_bytes(b"\0" * 64)
    _spoil_outlines(annotations, len(images))
    _halve(images[-1], annotations)
    images.append({**images[0], "id": len(images) + 1, "file_name": "never uploaded.jpg"})
    return _copy_first(class_folder, content)


def _spoil_outlines(annotations: list[dict[str, Any]], image_count: int) -> None:
    """Two useless outlines more; of the others one reaches out, one crosses itself, one is a rectangle."""
    last = {"category_id": annotations[0]["category_id"], "iscrowd": 0, "area": 0.0, "bbox": [0, 0, 0, 0]}
    useless = ([10.0, 10.0, 30.0, 12.0], [9000.0, 9000.0, 9100.0, 9000.0, 9100.0, 9100.0])
    for outline in useless:
        image_id = min(2, image_count)
        annotations.append(
            {**last, "id": len(annotations) + 1, "image_id": image_id, "segmentation": [outline]}
        )
    touching = (entry for entry in annotations[:-2] if entry["bbox"][0] < 1)
    for entry in list(touching)[:1]:
        outline = entry["segmentation"][0]
        entry["segmentation"][0] = [v - 25 if at % 2 == 0 and v < 1 else v for at, v in enumerate(outline)]
    long = [entry for entry in annotations[:-2] if len(entry["segmentation"][0]) >= 12]
    for entry in long[1:2]:
        outline = entry["segmentation"][0]
        outline[2:4], outline[4:6] = outline[4:6], outline[2:4]
    for entry in long[4:5]:
        entry["segmentation"] = []


def _halve(image: dict[str, Any], annotations: list[dict[str, Any]]) -> None:
    """As if the image had been annotated at half its size."""
    image["width"], image["height"] = image["width"] // 2, image["height"] // 2
    for entry in annotations:
        if entry["image_id"] == image["id"]:
            entry["segmentation"] = [[v / 2 for v in outline] for outline in entry["segmentation"]]
            entry["bbox"] = [v / 2 for v in entry["bbox"]]


def _copy_first(class_folder: Path, content: dict[str, Any]) -> str:
    first = content["images"][0]
    source = class_folder / "images" / first["file_name"]
    copied = {**first, "id": len(content["images"]) + 1, "file_name": f"copy of {source.name}"}
    shutil.copyfile(source, source.with_name(copied["file_name"]))
    content["images"].append(copied)
    for entry in [entry for entry in content["annotations"] if entry["image_id"] == first["id"]]:
        number = len(content["annotations"]) + 1
        content["annotations"].append({**entry, "id": number, "image_id": copied["id"]})
    return str(copied["file_name"])
