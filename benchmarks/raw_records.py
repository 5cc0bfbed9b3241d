"""Made-up records as the step `repair` leaves them, with pseudo-labeled stuff, for any number of images."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

import numpy as np
from PIL import Image

from detr_hf.data.records import Outcomes, Record, record_values, to_line
from detr_hf.data.sample import Annotation
from detr_hf.files import link_or_copy
from detr_hf.geometry import id_to_rgb
from detr_hf.labels import construction_labels

SIZE_HW = (48, 64)
OBJECTS = 3
STUFF = ("ground", "sky")


def made_up_records(count: int, seed: int = 0) -> Iterator[Record]:
    """Records of id 0, spread over the construction preset's things; every 20th repeats the one before."""
    labels = construction_labels()
    things = [labels.names[number] for number in labels.thing_ids]
    digits = len(str(count))
    digest = ""
    for at in range(count):
        rng = np.random.default_rng([seed, at])
        folder = things[at * len(things) // count]
        name = f"{at:0{digits}d}.jpg"
        if at % 20 or not digest:
            digest = sha256(f"{seed} {at}".encode()).hexdigest()
        objects = [_polygon(rng, folder, number) for number in range(OBJECTS)]
        file = f"{folder}/images/{name}"
        yield Record(
            image=Path(file),
            file_name=file,
            image_id=0,
            size_hw=SIZE_HW,
            sha256=digest,
            dhash=digest[:16],
            objects=objects,
        )


def _polygon(rng: np.random.Generator, category: str, number: int) -> Annotation:
    height, width = SIZE_HW
    x, y = rng.uniform(0, width - 20), rng.uniform(0, height - 20)
    corners = [x, y, x + 18, y + 2, x + 15, y + 16, x + 1, y + 12]
    points = [round(float(value), 2) for value in corners]
    box = [points[0], points[1], 18.0, 16.0]
    return Annotation(number + 1, category, box, [points], 18 * 16.0, where=f"annotation {number + 1}")


def write_outcomes(file: Path, count: int) -> Outcomes:
    """The file of the step `repair`."""
    file.parent.mkdir(parents=True)
    with file.open("w", encoding="utf-8") as lines:
        for one in made_up_records(count):
            values = {"file": one.file_name, "record": record_values(one), "issues": []}
            lines.write(f"{to_line(values)}\n")
    return Outcomes(file, construction_labels())


def write_images(folder: Path, records: Iterable[Record]) -> None:
    """One gray image under all their names."""
    first = folder / "gray.jpg"
    Image.new("RGB", SIZE_HW[::-1], "gray").save(first)
    for record in records:
        (folder / record.image).parent.mkdir(parents=True, exist_ok=True)
        link_or_copy(first, folder / record.image)


def write_stuff(folder: Path, records: Iterable[Record]) -> None:
    """What `pseudo_label` would write for numbered records: sky over ground."""
    folder.mkdir(parents=True)
    for record in records:
        id_map = np.ones(record.size_hw, np.int32)
        id_map[: record.size_hw[0] // 2] = 2
        Image.fromarray(id_to_rgb(id_map)).save(folder / f"{record.image_id}.png")
        segments = [
            {"id": number, "category": name, "score": 0.9} for number, name in enumerate(STUFF, start=1)
        ]
        content = {"sha256": record.sha256, "segments": segments}
        (folder / f"{record.image_id}.json").write_text(json.dumps(content), encoding="utf-8")
