"""Raw folders as annotators leave them: one tidy, and one with every kind of mess, each fault named."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from pycocotools import mask as coco_mask

from detr_hf.geometry import id_to_rgb

SIZE_HW = (48, 64)
SQUARE = [10.0, 10.0, 40.0, 10.0, 40.0, 30.0, 10.0, 30.0]
FAR_SQUARE = [44.0, 34.0, 60.0, 34.0, 60.0, 46.0, 44.0, 46.0]
BOX = [10.0, 10.0, 30.0, 20.0]
SOURCE_IDS = {"chiller": 5, "concrete_pump": 7, "marble": 26, "lime": 25, "sky": 103, "thing": 115}
LYING_ON_ITS_SIDE = 6  # the EXIF orientation of an image that is to be turned clockwise


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
                "bbox": _bounds(shape),
                "area": 1.0,
                "iscrowd": 0,
            }
            | changes
        )

    def close(self) -> None:
        content = {"images": self.images, "annotations": self.annotations, "categories": self.categories}
        file = self.root / self.folder / "coco.json"
        file.write_text(json.dumps(content), encoding="utf-8")


def _bounds(shape: Any) -> list[float]:
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


Expected = set[tuple[str, str]]
"""(kind of finding, file)"""


def write_messy_raw(root: Path) -> Expected:
    """Every kind of mess; returns every finding there must be, and no other."""
    root.mkdir(parents=True)
    (root / "export.zip").write_bytes(b"PK")
    made: Expected = {("not-read", "export.zip"), ("layouts-mixed", "")}
    for part in (_names, _hostile, _sizes, _shapes, _id_maps, _without_annotations):
        made |= part(root)
    return made


def _names(root: Path) -> Expected:
    """Files that are called otherwise than the annotations say, and kinds of pixels."""
    made = ClassFolder(root, "chiller", "chiller")
    for seed, (said, name) in enumerate(
        [
            ("chiller (27).jpg", "chiller (27).jpg"),
            ("001.jpg", "001.jpg"),
            ("a.jpg", "a.png"),
            ("b.png", "b.jpg"),
            ("c.jpg", "c.JPG"),
            ("d.jpg", "d.jpeg"),
            ("50% [done].jpg", "50% [done].jpg"),
            ("images/e.jpg", "e.jpg"),
        ]
    ):
        made.save(name, seed)
        made.outlined(made.listed(said))
    for seed, mode in enumerate(("L", "P", "RGBA"), start=20):
        photo(seed).convert(mode).save(made.pictures / f"{mode}.png")
        made.outlined(made.listed(f"{mode}.png"))
    made.save("nothing.jpg", 30)
    made.listed("nothing.jpg")
    made.listed("never uploaded.jpg")
    made.save("unknown.jpg", 31)
    for ending in ("png", "bmp"):
        made.save(f"two.{ending}", 32)
    made.listed("two.jpg")
    (made.pictures / "Thumbs.db").write_bytes(b"\0")
    (root / "chiller" / "class_details.txt").write_text("80 % done", encoding="utf-8")
    made.close()
    renamed = {
        ("file-renamed", f"chiller/images/{name}") for name in ("a.png", "b.jpg", "c.JPG", "d.jpeg", "e.jpg")
    }
    modes = {("not-rgb", f"chiller/images/{name}.png") for name in ("L", "P", "RGBA")}
    return (
        renamed
        | modes
        | {
            ("no-objects", "chiller/images/nothing.jpg"),
            ("image-missing", "chiller/images/never uploaded.jpg"),
            ("unlisted", "chiller/images/unknown.jpg"),
            ("image-ambiguous", "chiller/images/two.jpg"),
            ("unlisted", "chiller/images/two.png"),
            ("unlisted", "chiller/images/two.bmp"),
            ("folder-note", "chiller"),
            ("not-read", "chiller/images/Thumbs.db"),
        }
    )


def _hostile(root: Path) -> Expected:
    """Names and files that are not to be opened, or cannot be."""
    made = ClassFolder(root, "lime_(todo)", "lime")
    made.categories[0]["name"] = "Lime"
    secret = root.parent / "secret.jpg"
    photo(40).save(secret)
    (made.pictures / "link.jpg").symlink_to(secret)
    made.save("good.jpg", 41)
    whole = made.save("half.jpg", 42).read_bytes()
    (made.pictures / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (made.pictures / "text.jpg").write_text("no picture")
    (made.pictures / "bomb.png").write_bytes(png_header(100_000, 100_000))
    made.save("second.jpg", 43)
    made.outlined(made.listed("second.jpg"))
    names = ["../secret.jpg", "/etc/passwd", 17, "link.jpg", "good.jpg", "half.jpg", "text.jpg", "bomb.png"]
    for name in names:
        made.outlined(made.listed(name))
    made.close()
    return {
        ("image-damaged", "lime_(todo)/images/half.jpg"),
        ("image-unreadable", "lime_(todo)/images/text.jpg"),
        ("image-unreadable", "lime_(todo)/images/bomb.png"),
        ("file-name", "lime_(todo)/images/../secret.jpg"),
        ("file-name", "lime_(todo)/images/image 4"),
        ("image-missing", "lime_(todo)/images//etc/passwd"),
        ("image-link", "lime_(todo)/images/link.jpg"),
        ("class-spelling", "lime_(todo)"),
    }


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


def _sizes(root: Path) -> Expected:
    """Declared sizes that are not the file's, and EXIF rotation."""
    folder = "concrete_pump_(50%)"
    made = ClassFolder(root, folder, "concrete_pump")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = LYING_ON_ITS_SIDE
    made.save("001.jpg", 50)
    made.save("measured.jpg", 51)
    made.save("wrong.jpg", 52)
    made.save("half.jpg", 53)
    made.save("conflict.jpg", 54)
    for name, seed in (("upright.jpg", 55), ("stored.jpg", 56)):
        made.save(name, seed, exif=exif)
    made.outlined(made.listed("001.jpg"))
    made.outlined(made.listed("measured.jpg", None))
    made.outlined(made.listed("wrong.jpg", (48, 50)))
    made.outlined(made.listed("half.jpg", (24, 32)), [[value / 2 for value in SQUARE]])
    made.outlined(made.listed("conflict.jpg", (300, 200)), [[100.0, 100.0, 190.0, 100.0, 190.0, 290.0]])
    made.outlined(made.listed("upright.jpg", (64, 48)), [[10.0, 20.0, 30.0, 20.0, 30.0, 60.0]])
    made.outlined(made.listed("stored.jpg", (48, 64)))
    made.close()
    kinds = {
        "measured": "size-missing",
        "wrong": "size-differs",
        "half": "size-scaled",
        "conflict": "size-boxes",
    }
    kinds |= {"upright": "exif-turned", "stored": "exif-boxes"}
    found = {(kind, f"{folder}/images/{name}.jpg") for name, kind in kinds.items()}
    return found | {("exif-turned", f"{folder}/images/stored.jpg")}


def _shapes(root: Path) -> Expected:
    """Every fault of an annotation, each in an image of its own."""
    made = ClassFolder(root, "marble", "marble")
    cases: dict[str, Any] = {
        "few_points": ({"segmentation": [[1.0, 1.0, 9.0, 9.0]]}, "outline-invalid rectangle"),
        "bad_numbers": (
            {"segmentation": [[1.0, 1.0, 9.0, float("nan"), 5.0, 5.0]]},
            "outline-invalid rectangle",
        ),
        "outside": (
            {"segmentation": [[900.0, 900.0, 950.0, 900.0, 950.0, 950.0]]},
            "outline-invalid box-outside",
        ),
        "no_area": ({"segmentation": [[1.0, 1.0, 5.0, 5.0, 9.0, 9.0]]}, "outline-invalid rectangle"),
        "no_shape": ({"segmentation": [], "bbox": []}, "no-shape"),
        "bad_mask": (
            {"segmentation": {"size": list(SIZE_HW), "counts": [5, 1]}, "iscrowd": 1},
            "painted rle-invalid rectangle",
        ),
        "unknown_category": ({"category_id": 99}, "category-unknown"),
        "clipped": (
            {"segmentation": [[-20.0, 10.0, 30.0, 10.0, 30.0, 30.0, -20.0, 30.0]]},
            "box-clipped outline-clipped",
        ),
        "crossing": (
            {"segmentation": [[10.0, 10.0, 40.0, 40.0, 40.0, 10.0, 10.0, 40.0]]},
            "outline-crossing",
        ),
        "painted": (
            {"segmentation": painted_square(), "iscrowd": 1, "bbox": [20.0, 10.0, 20.0, 20.0], "area": 400.0},
            "painted",
        ),
        "rectangle": ({"segmentation": []}, "rectangle"),
    }
    expected: Expected = set()
    for seed, (title, (changes, codes)) in enumerate(cases.items(), start=60):
        name = made.save(f"{title}.jpg", seed).name
        image_id = made.listed(name)
        made.outlined(image_id, [FAR_SQUARE], area=192.0)
        made.outlined(image_id, **changes)
        expected |= {(code, f"marble/images/{name}") for code in codes.split()}
    name = made.save("twice.jpg", 80).name
    for outline in (SQUARE, FAR_SQUARE):
        made.outlined(made.listed(name), [outline])
    for seed in (81, 82):
        contested = made.save(f"contested_{seed}.jpg", seed).name
        made.listed(contested, number=777)
        expected.add(("image-id", f"marble/images/{contested}"))
    made.outlined(image_id=4711)
    made.annotations.append("not an object")  # type: ignore[arg-type]
    copy = made.pictures / "copy.jpg"
    copy.write_bytes((root / "chiller" / "images" / "001.jpg").read_bytes())
    made.outlined(made.listed(copy.name))
    made.close()
    expected |= {("image-twice", "marble/images/twice.jpg"), ("annotation-orphan", "marble/coco.json")}
    return expected | {("entry-invalid", "marble/coco.json"), ("alike-across", "chiller/images/001.jpg")}


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


def _without_annotations(root: Path) -> Expected:
    (root / "grader" / "images").mkdir(parents=True)
    photo(100).save(root / "grader" / "images" / "001.jpg")
    return {("no-annotations", "grader/images/001.jpg")}
