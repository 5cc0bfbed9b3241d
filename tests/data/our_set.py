"""A small set as our own writers write it for annotation tools, which these tools have read once.

python -m tests.data.our_set tests/data/foreign/ours     # then tools/foreign_sets.py, see there
"""

from __future__ import annotations

import argparse
import zipfile
from io import StringIO
from pathlib import Path
from typing import Any

from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.cvat_files import ZIP_MEMBER, CvatXml, CvatZip
from detr_hf.data.sinks.label_studio_files import LabelStudioTasks, label_config
from detr_hf.labels import LabelMap

XML, COCO, TASKS, CONFIG = "annotations.xml", "instances_default.json", "tasks.json", "label_config.xml"
SIZES_HW = {"one.png": (40, 48), "sub/two 2.png": (40, 48), "none.png": (40, 48)}
LABELS = LabelMap.from_names(["cat", 'a <b> & "c"', "Straßenlaterne 路灯"])
FOUND: dict[str, list[dict[str, Any]]] = {  # as tools/foreign_sets.py has its truth, with scores
    "one.png": [
        {"class": "cat", "box": [2.25, 3.5, 12.5, 9.75], "score": 0.975},
        {"class": 'a <b> & "c"', "polygon": [20, 4, 44, 4, 44, 14, 30, 14, 30, 20, 20, 20], "score": 0.5},
    ],
    "sub/two 2.png": [{"class": "Straßenlaterne 路灯", "box": [30, 10, 18, 30], "score": 0.9}],
    "none.png": [],
}


def samples(only: str = "") -> list[Sample]:
    """The images, with all objects or only those with a "box" or a "polygon"."""
    made = []
    for number, (name, found) in enumerate(FOUND.items(), start=1):
        objects = [_annotation(at, one) for at, one in enumerate(found, start=1) if not only or only in one]
        made.append(Sample(None, name, number, objects, size_hw=SIZES_HW[name]))
    return made


def _annotation(number: int, one: dict[str, Any]) -> Annotation:
    shape = [[float(value) for value in one["polygon"]]] if "polygon" in one else None
    xs, ys = (one.get("polygon", [])[axis::2] for axis in (0, 1))
    box = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)] if shape else one["box"]
    area = 320.0 if shape else box[2] * box[3]
    return Annotation(number, one["class"], [float(v) for v in box], shape, area=area, score=one["score"])


def write(out: Path) -> None:
    """The files; of the zip what is in it, since its bytes depend on the machine's zlib."""
    out.mkdir(parents=True, exist_ok=True)
    categories = LABELS.to_coco_categories()
    text = StringIO()
    xml, archive = CvatXml(text, categories), CvatZip(out / "coco.zip", categories)
    for sample in samples():
        xml.add(sample)
        archive.add(sample)
    xml.finish()
    archive.finish()
    archive.close()
    (out / XML).write_text(text.getvalue(), encoding="utf-8")
    with zipfile.ZipFile(out / "coco.zip") as packed:
        (out / COCO).write_bytes(packed.read(ZIP_MEMBER))
    (out / "coco.zip").unlink()
    for kind in ("box", "polygon"):
        text = StringIO()
        tasks = LabelStudioTasks(text, model="runs/best")
        for sample in samples(kind):
            tasks.add(sample)
        tasks.finish()
        (out / f"{kind}_{TASKS}").write_text(text.getvalue(), encoding="utf-8")
        config = label_config(categories, polygons=kind == "polygon")
        (out / f"{kind}_{CONFIG}").write_text(config, encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    write(parser.parse_args().out)
