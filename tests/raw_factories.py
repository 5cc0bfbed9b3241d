"""Class folders as annotators leave them, images and masks; `tests.data.messes` has all that can be wrong."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco_mask

SIZE_HW = (48, 64)
SQUARE = [10.0, 10.0, 40.0, 10.0, 40.0, 30.0, 10.0, 30.0]
FAR_SQUARE = [44.0, 34.0, 60.0, 34.0, 60.0, 46.0, 44.0, 46.0]
BOX = [10.0, 10.0, 30.0, 20.0]
SOURCE_IDS = {"chiller": 5, "concrete_pump": 7, "marble": 26, "lime": 25, "sky": 103, "thing": 115}


def photo(seed: int, size_hw: tuple[int, int] = SIZE_HW) -> Image.Image:
    """A picture that no other seed gives, with broad features, so that its hash is its own."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3)).astype(np.uint8))
    return coarse.resize(size_hw[::-1], Image.Resampling.BICUBIC)


@dataclass
class ClassFolder:
    """One class folder while it is filled; ids start at 1, as in every export."""

    root: Path
    folder: str
    category: str
    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pictures = self.root / self.folder / "images"
        self.pictures.mkdir(parents=True)
        self.categories.append({"id": SOURCE_IDS[self.category], "name": self.category, "supercategory": ""})

    def save(self, name: str, seed: int, size_hw: tuple[int, int] = SIZE_HW, **options: Any) -> Path:
        path = self.pictures / name
        photo(seed, size_hw).save(path, **options)
        return path

    def listed(self, name: Any, declared_hw: tuple[int, int] | None = SIZE_HW, number: int = 0) -> int:
        """An entry for an image; returns its id."""
        entry: dict[str, Any] = {"id": number or len(self.images) + 1, "file_name": name}
        if declared_hw is not None:
            entry |= {"height": declared_hw[0], "width": declared_hw[1]}
        self.images.append(entry)
        return int(entry["id"])

    def outlined(self, image_id: Any, segmentation: Any = None, **changes: Any) -> None:
        """An annotation of the folder's class, a square unless said otherwise."""
        shape = [SQUARE] if segmentation is None else segmentation
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image_id,
                "category_id": SOURCE_IDS[self.category],
                "segmentation": shape,
                "bbox": bounds(shape),
                "area": 1.0,
                "iscrowd": 0,
            }
            | changes
        )

    def close(self) -> None:
        content = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        file = self.root / self.folder / "coco.json"
        file.write_text(json.dumps(content), encoding="utf-8")


def bounds(shape: Any) -> list[float]:
    """The box around polygons; ``BOX`` where they are none."""
    points = [value for part in shape for value in part] if isinstance(shape, list) else []
    if len(points) < 6 or not np.isfinite(points).all():
        return BOX
    x, y = points[::2], points[1::2]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def write_tidy_raw(root: Path, per_class: int = 3, classes: tuple[str, ...] = ("chiller", "marble")) -> Path:
    """Class folders without a fault: every picture with one square; returns ``root``."""
    for at, name in enumerate(classes):
        made = ClassFolder(root, name, name)
        for number in range(per_class):
            file = made.save(f"{number:03d}.png", seed=1000 * at + number)
            made.outlined(made.listed(file.name))
        made.close()
    return root


def png_header(width: int, height: int) -> bytes:
    """A PNG that says it is this large, and holds nothing."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", b""),
        (b"IEND", b""),
    ]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def painted_square(size_hw: tuple[int, int] = SIZE_HW) -> dict[str, Any]:
    """CVAT's run lengths of a painted square of 20 x 20 pixels, listed column by column."""
    mask = np.zeros(size_hw, np.uint8)
    mask[10:30, 20:40] = 1
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": list(size_hw), "counts": np.diff([0, *edges.tolist(), flat.size]).tolist()}


def compressed_square() -> dict[str, Any]:
    """The same as COCO compresses it."""
    encoded = coco_mask.frPyObjects(painted_square(), *SIZE_HW)
    return {"size": list(SIZE_HW), "counts": encoded["counts"].decode()}
