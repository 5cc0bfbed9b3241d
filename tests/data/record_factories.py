"""A small RAW folder with its records and pseudo-labeled stuff, as the steps before `write` leave them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from detr_hf.data.records import Record
from detr_hf.data.sample import Annotation
from detr_hf.data.split import Splits
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import LabelMap

SIZE_HW = (30, 40)
LABELS = LabelMap.from_coco(
    [
        {"id": 3, "name": "brick"},
        {"id": 7, "name": "cone"},
        {"id": 101, "name": "sky", "isthing": 0},
        {"id": 105, "name": "ground", "isthing": 0},
    ]
)


@dataclass(frozen=True)
class Prepared:
    """What `write_dataset` gets."""

    records: list[Record]
    raw: Path
    stuff: Path
    splits: Splits


def prepared(folder: Path, count: int = 8) -> Prepared:
    """``count`` pictures in turn in the folders brick and cone; the last came with an id map of its own.

    Every picture has a square of 10 x 10 at (5, 5), over sky (12 rows) and ground; the third has two objects
    more, of which the larger shows 4 of its 40 pixels. Pictures 0, 4, 8, ... are for validation.
    """
    raw, stuff = folder / "raw", folder / "stuff"
    records = [_record(raw, at) for at in range(count)]
    records[2] = replace(records[2], objects=[*records[2].objects, _object("cone", 5, 12, 10, 4)])
    records[2].objects.append(_object("brick", 5, 12, 9, 4))
    records[-1] = _with_id_map(raw, records[-1])
    stuff.mkdir()
    for record in records[:-1]:
        _write_stuff(stuff, record)
    places = ["validation" if at % 4 == 0 else "train" for at in range(count)]
    of = {record.file_name: place for record, place in zip(records, places, strict=True)}
    return Prepared(records, raw, stuff, Splits(of, ("train", "validation"), seed=0))


def outlined(category: str, *outlines: list[float], number: int = 9, iscrowd: bool = False) -> Annotation:
    """An object of these outlines, as repair leaves it."""
    points = np.concatenate([np.array(part, float).reshape(-1, 2) for part in outlines])
    (x, y), (right, bottom) = points.min(0).tolist(), points.max(0).tolist()
    box = [x, y, right - x, bottom - y]
    where = f"annotation {number}"
    return Annotation(number, category, box, list(outlines), box[2] * box[3], iscrowd, where)


def _object(category: str, x: int, y: int, w: int, h: int) -> Annotation:
    return outlined(category, [x, y, x + w, y, x + w, y + h, x, y + h])


def _record(raw: Path, at: int) -> Record:
    name = ("brick", "cone")[at % 2]
    file = raw / name / "images" / f"{at} (1).png"
    file.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(at).integers(0, 255, (*SIZE_HW, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    below = file.relative_to(raw).as_posix()
    return Record(
        image=Path(below),
        file_name=below,
        image_id=at + 1,
        size_hw=SIZE_HW,
        sha256=sha256(file.read_bytes()).hexdigest(),
        dhash=sha256(str(at).encode()).hexdigest()[:16],
        objects=[_object(name, 5, 5, 10, 10)],
    )


def _with_id_map(raw: Path, record: Record) -> Record:
    id_map = np.full(SIZE_HW, 70_000, np.int32)
    id_map[10:, :] = 300
    Image.fromarray(id_to_rgb(id_map)).save(raw / "map.png")
    sky = Annotation(70_000, "sky", [0, 0, 40, 10], area=400.0, extra={"pseudo": True})
    thing = Annotation(300, record.folder, [0, 10, 40, 20], area=800.0)
    return replace(record, objects=[sky, thing], id_map=Path("map.png"))


def _write_stuff(folder: Path, record: Record) -> None:
    id_map = np.ones(SIZE_HW, np.int32)
    id_map[:12] = 2
    Image.fromarray(id_to_rgb(id_map)).save(folder / f"{record.image_id}.png")
    segments = [
        {"id": 1, "category": "ground", "score": 0.9, "area": 720},
        {"id": 2, "category": "sky", "score": 0.95, "area": 480},
    ]
    content = {"sha256": record.sha256, "segments": segments}
    (folder / f"{record.image_id}.json").write_text(json.dumps(content), encoding="utf-8")


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, but for what steps keep for themselves."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    names = {file.relative_to(folder).as_posix(): file for file in files}
    return {name: file.read_bytes() for name, file in names.items() if not name.startswith("steps/")}
