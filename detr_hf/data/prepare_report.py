"""`prepare_report.json` and `.md`: how many images were kept; every repair and every drop with its file."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from detr_hf.data.issues import KINDS, Effect, Issue
from detr_hf.data.records import Outcomes, Record, folder_of, issues_to_lists
from detr_hf.data.sample_sheets import sample_sheet
from detr_hf.data.split import Splits
from detr_hf.data.statistics import OBJECT_SIZES, Statistics
from detr_hf.errors import listed, quantity
from detr_hf.files import whole_file, write_text
from detr_hf.labels import LabelMap
from detr_hf.templating import render_markdown

REPORT_JSON = "prepare_report.json"
REPORT_MD = "prepare_report.md"
SAMPLES = "report"
PLACES_SHOWN = 50  # of each kind of issue, in the readable report
EFFECTS: tuple[Effect, ...] = ("image dropped", "object dropped", "repaired", "noted")


@dataclass
class PrepareReport:
    """All that the report tells."""

    root: Path  # the source's folder, for the sample images
    outcomes: Outcomes  # what the step `repair` left
    issues: Callable[[], Iterable[Issue]]  # gives all issues, anew on each call
    statistics: Statistics  # of the records
    labels: LabelMap | None  # None where no class is known, because nothing is left
    # what steps tell, by heading: sentences each
    sections: dict[str, list[str]] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Write both reports and the sample images into ``out``; the same content gives the same bytes."""
        came_in, dropped = Counter[str](), Counter[str]()
        for name, record, _ in self.outcomes.all():
            came_in[folder_of(name)] += 1
            dropped[folder_of(name)] += record is None
        counts = Counter[str]()
        first: dict[str, list[str]] = defaultdict(list)
        for issue in self.issues():
            counts[issue.code] += 1
            dropped[folder_of(issue.file)] += issue.code == "leak"  # though it has a record
            if len(first[issue.code]) < PLACES_SHOWN:
                first[issue.code].append(": ".join(part for part in (issue.file, issue.text) if part))
        folders = {
            name: {"in": number, "out": number - dropped[name], "dropped": dropped[name]}
            for name, number in sorted(came_in.items())
        }
        images = {key: sum(folder[key] for folder in folders.values()) for key in ("in", "out", "dropped")}
        kinds = {code: kind for code, kind in KINDS.items() if counts[code]}
        told: dict[str, Any] = {"images": images, "folders": folders}
        told["issues"] = {
            code: {"count": counts[code], "effect": kind.effect, "title": kind.title}
            for code, kind in kinds.items()
        }
        if self.labels is not None:
            told |= self.statistics.to_dict(self.labels)
        with whole_file(out / REPORT_JSON) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            self._write_json(file, told | self.sections)
        places = {
            effect: [(counts[c], kind.title, first[c]) for c, kind in kinds.items() if kind.effect == effect]
            for effect in EFFECTS
        }
        text = render_markdown(
            "prepare_report.md",
            images=images,
            folders=[[name or "-", *row.values()] for name, row in (folders | {"in all": images}).items()],
            sections=self.sections,
            issues={effect: found for effect, found in places.items() if found},
            json_name=REPORT_JSON,
            samples=self._samples(out),
            **self._tables(told),
        )
        write_text(out / REPORT_MD, text)

    def _write_json(self, file: TextIO, content: dict[str, Any]) -> None:
        """The issues are streamed: there may be more of them than fit into memory."""
        head = json.dumps(content, indent=1)
        file.write(f'{head.removesuffix("}").rstrip()},\n "files": [')
        for at, entry in enumerate(issues_to_lists([issue])[0] for issue in self.issues()):
            file.write(f"{',' if at else ''}\n  {json.dumps(entry)}")
        file.write("\n ]\n}\n")

    def _tables(self, told: dict[str, Any]) -> dict[str, Any]:
        """What is known of the classes; a class without an object is named apart."""
        classes = told.get("classes", {})
        used = {name: facts for name, facts in classes.items() if facts["objects"]}
        ranges = {key: told.get(key, {}).items() for key in ("short_edges_px", "objects_per_image")}
        return {
            "classes": [
                [name, facts["kind"], facts["images"], facts["objects"], *facts["sizes"].values()]
                for name, facts in used.items()
            ],
            "unused": [name for name in classes if name not in used],
            "sizes": list(OBJECT_SIZES),
            "imbalance": told.get("imbalance"),
            "short_edges": [row for row in ranges["short_edges_px"] if row[1]],
            "objects_per_image": list(ranges["objects_per_image"]),
        }

    def _samples(self, out: Path) -> dict[str, str]:
        """Sample images by class: paths relative to ``out``."""
        shutil.rmtree(out / SAMPLES, ignore_errors=True)
        made: dict[str, str] = {}
        if self.labels is None:
            return made
        for category in self.labels.categories:
            if records := self.statistics.samples(category.name):
                slug = re.sub(r"[^a-z0-9]+", "_", category.name.lower()).strip("_")[:60]
                file = out / SAMPLES / f"{category.id:03d}_{slug}.jpg"
                file.parent.mkdir(exist_ok=True)
                sample_sheet(self.root, records, category.name, self.labels).save(file, quality=85)
                made[category.name] = f"{SAMPLES}/{file.name}"
        return made


def about_rectangles(records: Iterable[Record]) -> str | None:
    """How many objects have no outline and what that means; None where all have one."""
    objects = images = without = images_without = 0
    for record in records:
        shapeless = sum(not found.segmentation for found in record.objects) if record.id_map is None else 0
        objects, images = objects + len(record.objects), images + 1
        without, images_without = without + shapeless, images_without + (shapeless > 0)
    if not without:
        return None
    return (
        f"warning: {without} of {quantity(objects, 'object')} ({images_without} of "
        f"{quantity(images, 'image')}) have no outline; their mask is the whole box. Stage 1 (boxes) is "
        "not affected. Stage 2 (masks) would learn rectangles: annotate outlines for it"
    )


def about_classes(labels: LabelMap, written: LabelMap, limit: int = 20) -> list[str]:
    """Which classes of the data and the stuff mapping the written label map lacks, in sentences."""
    missing = [name for name in labels.names if name not in written.label2id]
    found = f"{quantity(len(missing), 'class')} without a segment: {listed(missing, limit)}"
    return [f"left out of the label map: {found}"] if missing else []


def about_split(splits: Splits) -> list[str]:
    """What the split step did, in sentences."""
    sizes = Counter(splits.of.values())
    counted = ", ".join(f"{quantity(sizes[name], 'image')} in {name}" for name in splits.names)
    how = "as the source has them" if splits.is_own else f"drawn with seed {splits.seed}"
    return [f"{counted}, {how}"]
