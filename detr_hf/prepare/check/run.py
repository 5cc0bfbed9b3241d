"""The check itself: every split, every picture, once; whatever is wrong is written down and passed by."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.prepare.check.entries import (
    category_fault,
    category_faults,
    doubled_annotations,
    painted_share,
    type_faults,
)
from detr_hf.prepare.check.ledger import CheckResult, Ledger, Sample, SplitCount, Tally
from detr_hf.prepare.check.pictures import NO_CLASS, Inspection, Inspector
from detr_hf.prepare.check.rules import ERROR, INFO, RULES, WARNING
from detr_hf.prepare.check.targets import Target
from detr_hf.prepare.coco import CocoFile, CocoPanoptic
from detr_hf.prepare.findings import Fault, Report
from detr_hf.prepare.reading import class_of_categories, count_row, in_threads, require_likely_boxes
from detr_hf.prepare.rows import CLIPPED, OUTSIDE
from detr_hf.prepare.source import Source

QUERIES = 100
SAMPLES = 24
PAINTED_SHARE = 0.05  # of run-length crowds among all objects; COCO itself has 0.012
RARE_OBJECTS = 10  # a class with fewer is named
IMBALANCE = 100  # and so is a class that another one outnumbers by this
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".jp2", ".avif"}
WEIGHTS = {ERROR: 100, WARNING: 10, INFO: 0}


class Check:
    """One check under way.

    Args:
        target: what to check.
        queries: objects that the model can find in one picture.
        samples: how many of the worst pictures to keep for the page.
        threads: None for as many as there are cores.
    """

    def __init__(
        self, target: Target, queries: int = QUERIES, samples: int = SAMPLES, threads: int | None = None
    ) -> None:
        self.target, self.queries, self.samples, self.threads = target, queries, samples, threads
        self.ledger = Ledger()
        self.splits: dict[str, SplitCount] = {}
        self._seen: dict[str, tuple[str, str]] = {}  # sha256 -> split and file
        self._listed: dict[Path, set[str]] = {}
        self._worst: list[tuple[int, int, Sample]] = []
        self._taken = 0
        self.faulty: dict[str, dict[int, str]] = {}

    def run(self) -> CheckResult:
        """Check everything; raises nothing for what is in the data."""
        sources = dict(self._opened())
        labels = self.target.labels or self._labels_of(sources)
        for split, source in sources.items():
            held = self.splits[split] = SplitCount()
            try:
                self._check_split(split, source, labels, held)
            except UserError as fault:
                self.ledger.add("data", split, "", str(fault))
        if labels is not None:
            self._compare_classes(labels)
        self._find_unlisted()
        worst = [sample for _, _, sample in sorted(self._worst, key=lambda entry: entry[:2], reverse=True)]
        return CheckResult(self.target.name, labels, self.splits, self.ledger, worst, self.faulty)

    def _opened(self) -> Iterator[tuple[str, Source]]:
        for split, opened in self.target.splits.items():
            try:
                source = opened()
                len(source)  # parses the file: a broken one is a finding here, and not met again
            except UserError as fault:
                self.ledger.add("data", split, "", str(fault))
                continue
            yield split, source

    def _labels_of(self, sources: dict[str, Source]) -> LabelMap | None:
        """The label map that a run would make of the first split, or of its sound categories."""
        for split, source in sources.items():
            try:
                return LabelMap.from_coco(source.categories())
            except UserError as fault:
                if not isinstance(source, CocoFile):
                    self.ledger.add("data", split, "", str(fault))
                    continue
                if sound := sound_categories(source.content["categories"]):
                    return LabelMap.from_coco(sound)
        return None

    def _check_split(self, split: str, source: Source, labels: LabelMap | None, held: SplitCount) -> None:
        tally = Tally(source=source.name, ledger=self.ledger, split=split)
        self._check_entries(split, source)
        if labels is None:
            return
        classes = self._classes(split, source, labels, tally)
        suspect = isinstance(source, CocoFile) and painted_share(source.content) > PAINTED_SHARE
        inspector = Inspector(classes, frozenset(labels.thing_ids), self.queries, suspect)
        with tqdm(total=len(source), desc=f"checking {split}", unit="image", leave=False) as bar:
            for inspection in in_threads(inspector, source.images(tally), self.threads):
                bar.update()
                self._take(split, inspection, held)
                _count_boxes(inspection, tally)
        if not source.is_panoptic and tally.totals:
            try:
                require_likely_boxes(tally)
            except UserError as fault:
                self.ledger.add("box-format", split, "", str(fault))
        if isinstance(source, CocoFile):
            self._list(source.folder, source.content["images"])
        if isinstance(source, CocoPanoptic):
            self._list(source.png_folder, source.content["annotations"])

    def _check_entries(self, split: str, source: Source) -> None:
        if isinstance(source, CocoFile):
            content = source.content
            for file, fault in (*type_faults(content), *doubled_annotations(content)):
                self.ledger.add(fault.code, split, file, fault.text)
            for fault in category_faults(content["categories"], source.is_panoptic):
                self.ledger.add(fault.code, split, "", fault.text)
        used = source.used_categories()
        for category in source.categories() if not isinstance(source, CocoFile) else content["categories"]:
            if type(category.get("id")) is int and category["id"] not in used:
                self.ledger.add("category-unused", split, "", str(category.get("name")))

    def _classes(self, split: str, source: Source, labels: LabelMap, tally: Tally) -> dict[int, int | None]:
        """As a run would match them; categories that are sound are kept where others are not."""
        try:
            return class_of_categories(source, labels, _Silent(source.name))
        except UserError as fault:
            if not self.ledger.has("category-invalid", split):
                tally.fault(str(fault), "class-not-in-label-map")
        listed = source.content["categories"] if isinstance(source, CocoFile) else source.categories()
        void = dict.fromkeys(labels.void)
        return {
            entry["id"]: labels.label2id.get(entry["name"], void.get(entry["name"], NO_CLASS))
            for entry in sound_categories(listed)
        }

    def _take(self, split: str, inspection: Inspection, held: SplitCount) -> None:
        source = inspection.source
        held.images += 1
        held.objects += sum(not known.iscrowd for known in source.objects)
        held.crowd += sum(known.iscrowd for known in source.objects)
        single = zip(inspection.classes, source.objects, strict=True)
        held.classes.update(index for index, known in single if index is not None and not known.iscrowd)
        found = inspection.found + list(self._doubled(split, inspection))
        for fault in found:
            self.ledger.add(fault.code, split, source.file_name, fault.text)
        errors = (fault.text for fault in found if RULES[fault.code].severity == ERROR)
        if (first := next(errors, None)) is not None:
            self.faulty.setdefault(split, {})[source.image_id] = first
        weight = sum(WEIGHTS[RULES[code].severity] for code in {fault.code for fault in found}) + len(found)
        if any(RULES[fault.code].severity != INFO for fault in found):
            entry = (weight, -self._taken, Sample(split, replace(inspection, found=found)))
            push = heapq.heappush if len(self._worst) < self.samples else heapq.heappushpop
            push(self._worst, entry)
        self._taken += 1

    def _doubled(self, split: str, inspection: Inspection) -> Iterator[Fault]:
        if not inspection.sha256:
            return
        name = inspection.source.name
        first_split, first = self._seen.setdefault(inspection.sha256, (split, name))
        if (first_split, first) != (split, name):
            code = "duplicate-picture" if first_split == split else "leak"
            yield Fault(code, f"{name} is the same file as {first} of {first_split}")

    def _compare_classes(self, labels: LabelMap) -> None:
        first, *others = self.splits.values() or [SplitCount()]
        counts = {name: first.classes[index] for index, name in enumerate(labels.names)}
        for index, name in enumerate(labels.names):
            elsewhere = sum(split.classes[index] for split in others)
            if elsewhere and not counts[name]:
                where = next(iter(self.splits))
                self.ledger.add(
                    "class-only-in-validation", where, "", f"'{name}': 0 here, {elsewhere} elsewhere"
                )
        most = max(counts.values(), default=0)
        for name, count in counts.items():
            if count and (count < RARE_OBJECTS or count * IMBALANCE <= most):
                said = f"'{name}': {count} object(s), the most frequent class has {most}"
                self.ledger.add("class-imbalance", next(iter(self.splits)), "", said)

    def _list(self, folder: Path, entries: list[dict[str, Any]]) -> None:
        names = {
            os.path.normpath(name) for entry in entries if isinstance(name := entry.get("file_name"), str)
        }
        self._listed.setdefault(folder, set()).update(names)

    def _find_unlisted(self) -> None:
        for folder, listed in self._listed.items():
            for parent, _, files in os.walk(folder):
                for file in files:
                    name = os.path.relpath(os.path.join(parent, file), folder)
                    if name not in listed and Path(file).suffix.lower() in PICTURES:
                        self.ledger.add("file-unlisted", "", name, f"{name} in {folder}")


class _Silent(Report):
    """Takes the reader's notes on categories, which the check has made for itself by then."""

    def note(self, kind: str, where: str) -> None:
        pass


def _count_boxes(inspection: Inspection, tally: Tally) -> None:
    """What `require_likely_boxes` judges the format of boxes by."""
    if inspection.row is not None:
        count_row(inspection.row, tally)
    for fault in inspection.found:
        if kind := {"box-clipped": CLIPPED, "box-outside": OUTSIDE}.get(fault.code):
            tally.counts[kind] = tally.counts.get(kind, 0) + 1


def sound_categories(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The categories without a fault; of those that share an id or a name, the first."""
    ids: set[int] = set()
    names: set[str] = set()
    sound = []
    for entry in entries:
        if not category_fault(entry) and entry["id"] not in ids and entry["name"] not in names:
            ids.add(entry["id"])
            names.add(entry["name"])
            sound.append(entry)
    return sound


def check_target(
    target: Target, queries: int = QUERIES, samples: int = SAMPLES, threads: int | None = None
) -> CheckResult:
    """Check a target; see :class:`Check`."""
    return Check(target, queries, samples, threads).run()
