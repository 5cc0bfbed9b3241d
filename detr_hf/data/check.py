"""`detr-hf check`: the way of training with every issue listed, and advice besides."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.data.boxes import box_format_of
from detr_hf.data.convert import Converted, convert
from detr_hf.data.issues import ERROR, INFO, KINDS, WARNING, Issue, Kind
from detr_hf.data.largest import Largest
from detr_hf.data.open_data import open_data, open_split, split_of_role
from detr_hf.data.repair import Repair, Repaired
from detr_hf.data.report import Report
from detr_hf.data.rows import with_classes
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Source
from detr_hf.data.sources.splits import TRAIN
from detr_hf.data.validate import validate, validate_classes
from detr_hf.data.workers import in_threads
from detr_hf.errors import UserError, quantity
from detr_hf.labels import LabelMap, load_labels
from detr_hf.progress import progress
from detr_hf.recipe import Data, Split
from detr_hf.recipe.data import MAX_LONG_EDGE, SHORT_EDGES
from detr_hf.seen_sizes import NetworkInput, small_classes

QUERIES = 100
DEFAULT_INPUT = NetworkInput(SHORT_EDGES[-1], MAX_LONG_EDGE)  # of a recipe that says nothing else
SAMPLES, TYPICAL = 24, 6  # images on the page: the worst ones, and some without a fault
WEIGHTS = {ERROR: 100, WARNING: 10, INFO: 0}
OK, FAULTY = 0, 1
"""Exit codes: no error (or, with ``--strict``, no warning either); faults."""


@dataclass(frozen=True)
class Target:
    """What to check."""

    name: str  # for people
    splits: Mapping[str, Source]  # the sources, training first
    labels: LabelMap | None = None  # the label map; None where it is to come from the data
    remarks: tuple[str, ...] = ()  # what format was recognized
    # why the data cannot be opened, or which of its splits to train on is not known
    fault: Issue | None = None
    fraction: float = 0.1  # of the images that would be held out for validation
    # how the network will see the images; None where that is not known
    seen: NetworkInput | None = DEFAULT_INPUT


def open_target(
    path: str,
    images: str | None = None,
    panoptic: str | None = None,
    format: str | None = None,
) -> Target:
    """A path of any format; what is wrong with files of a known format is a fault of the target.

    Raises:
        UserError: there is no such path, or no door knows it.
    """
    from detr_hf.data.sources import require_door

    door = require_door(Path(path), path, format)
    split = Split(path=path, format=door.FORMAT, images=images, panoptic=panoptic)
    try:
        opened, remark = open_split(split, path)
    except UserError as error:
        return Target(path, {}, fault=Issue("data", str(error)))
    fault = None
    try:
        split_of_role(opened, TRAIN, TRAIN, path)
    except UserError as error:
        fault = Issue("split-train", str(error))
    return Target(path, opened.splits, opened.labels, (remark,), fault)


def target_of_data(data: Data, name: str, seen: NetworkInput | None = DEFAULT_INPUT) -> Target:
    """The data of a recipe, without ``demo``, as a network sees it.

    Raises:
        UserError: the data set is streamed.
    """
    if data.streaming:
        raise UserError(
            "data.streaming: a stream cannot be checked as a whole; training checks each image "
            "when it reads it"
        )
    labels = load_labels(data.labels) if data.labels is not None else None
    try:
        opened = open_data(data)
    except UserError as error:
        return Target(name, {}, fault=Issue("data", str(error)))
    remarks, fraction = tuple(opened.remarks), data.validation_fraction
    return Target(name, opened.splits, labels or opened.labels, remarks, fraction=fraction, seen=seen)


@dataclass
class SplitCount:
    """What a split holds."""

    images: int = 0
    objects: int = 0  # but for crowds
    crowd: int = 0
    classes: Counter[str] = field(default_factory=Counter)  # of these objects
    used: set[str | None] = field(default_factory=set)  # by crowds, too
    to_learn: int = 0  # objects that repair leaves
    key: str = ""  # of its source
    # shorter sides of these objects as the network sees them, in pixels
    sides: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True)
class Seen:
    """One image as it was checked."""

    split: str
    sample: Sample  # as the source gives it
    repaired: Repaired  # what became of it
    issues: list[Issue]  # all that was found, the repair's first
    to_learn: int = 0  # objects that are left, but for crowds


@dataclass
class CheckResult:
    """All that a check found."""

    target: Target  # what was checked, for people
    labels: LabelMap | None  # None where no class could be read
    splits: dict[str, SplitCount]  # counts of each split
    report: Report
    samples: list[Seen]  # the worst images, the worst first
    typical: list[Seen]  # some with objects and without a fault, drawn by lot that is the same every time

    def exit_code(self, strict: bool = False) -> int:
        """0 without errors, else 1; ``strict`` counts warnings as well."""
        grave = self.report.count_of(ERROR) + (self.report.count_of(WARNING) if strict else 0)
        return FAULTY if grave else OK

    def class_counts(self) -> Iterator[tuple[str, dict[str, int]]]:
        """(class name, objects in each split), in the order of the label map."""
        for name in self.labels.names if self.labels else ():
            yield name, {split: held.classes[name] for split, held in self.splits.items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the samples, for ``--json``."""
        return {
            "target": self.target.name,
            "errors": self.report.count_of(ERROR),
            "warnings": self.report.count_of(WARNING),
            "splits": {
                name: {"images": held.images, "objects": held.objects, "crowd": held.crowd}
                for name, held in self.splits.items()
            },
            "classes": dict(self.class_counts()),
            "findings": [self._finding(kind) for kind in self.report.kinds()],
        }

    def _finding(self, kind: Kind) -> dict[str, Any]:
        places = [vars(place) for place in self.report.places(kind.code)]
        return vars(kind) | {"count": self.report.count(kind.code), "files": places}


def check(
    target: Target, queries: int = QUERIES, samples: int = SAMPLES, threads: int | None = None
) -> CheckResult:
    """Check everything; raises nothing for what is in the data.

    Args:
        queries: objects that the model can find in one image.
        samples: how many of the worst images to keep for the page.
        threads: None for as many as there are cores.
    """
    return _Check(target, queries, samples, threads).run()


@dataclass
class _Check:
    """One check under way."""

    target: Target
    queries: int
    samples: int
    threads: int | None
    splits: dict[str, SplitCount] = field(default_factory=dict)
    _first: dict[str, tuple[str, str]] = field(default_factory=dict)  # sha256 -> split and file
    _typical: Largest[Seen] = field(default_factory=lambda: Largest(TYPICAL))
    _unlisted: list[tuple[str, Issue]] = field(default_factory=list)
    _names: set[str] = field(default_factory=set)
    _refusals: set[str] = field(default_factory=set)

    def run(self) -> CheckResult:
        self.report, self._worst = Report(self.target.name), Largest[Seen](self.samples)
        if self.target.fault is not None:
            self.report.add([self.target.fault])
        labels = self.target.labels or self._labels()
        for split, source in self.target.splits.items():
            held = self.splits[split] = SplitCount(key=source.key)
            try:
                self._check_split(split, source, labels, held)
            except UserError as error:
                self._refuse(split, error)
        for split, issue in {issue.file: (split, issue) for split, issue in self._unlisted}.values():
            if issue.file not in self._names:
                self.report.add([issue], split)
        if labels is not None and self.splits:
            first, held = next(iter(self.splits.items()))
            if held.images and not held.to_learn:
                counted = f"{quantity(held.objects, 'object')} and {quantity(held.crowd, 'crowd')}"
                text = f"of {counted}; crowds are not trained on"
                self.report.add([Issue("nothing-to-learn", text)], first)
            counts = {split: held.classes for split, held in self.splits.items()}
            for split, issue in validate_classes(counts, labels.names, self.target.fraction):
                self.report.add([issue], split)
            if self.target.seen is not None:
                small = small_classes(
                    {name: np.array(held.sides[name]) for name in held.sides}, self.target.seen
                )
                self.report.add([Issue("class-small", text) for text in small], first)
        kept = self._worst.items(), self._typical.items()
        return CheckResult(self.target, labels, self.splits, self.report, *kept)

    def _refuse(self, split: str, error: UserError) -> None:
        """What cannot be read is an issue, once."""
        if str(error) not in self._refusals:
            self._refusals.add(str(error))
            self.report.add([Issue("data", str(error))], split)

    def _labels(self) -> LabelMap | None:
        """The label map that a run would make of the first split that has classes."""
        for split, source in self.target.splits.items():
            try:
                if categories := source.categories():
                    return LabelMap.from_coco(categories)
                raise UserError(f"{source.name}: there is no class, so there is nothing to learn")
            except UserError as error:
                self._refuse(split, error)
        return None

    def _check_split(self, split: str, source: Source, labels: LabelMap | None, held: SplitCount) -> None:
        box_format = box_format_of(source)
        if box_format.issue is not None:
            self.report.add([box_format.issue], split)
        for issue in source.issues():
            # Splits often share one folder of images: what another one lists is not unlisted.
            if issue.code == "file-unlisted":
                self._unlisted.append((split, issue))
            else:
                self.report.add([issue], split)
        if labels is None:
            return
        work = _Work(split, labels, self.queries, Repair(box_format))
        seen_images = in_threads(work, source.samples(), self.threads)
        for seen in progress(seen_images, len(source), f"checking {split}"):
            self._take(seen, held)
        unused = [entry["name"] for entry in source.categories() if entry["name"] not in held.used]
        self.report.add([Issue("category-unused", str(name)) for name in unused], split)

    def _take(self, seen: Seen, held: SplitCount) -> None:
        sample = seen.sample
        self._names.add(sample.file_name)
        held.images += 1
        single = [found for found in sample.objects if not found.iscrowd]
        held.objects += len(single)
        held.crowd += len(sample.objects) - len(single)
        held.classes.update(found.category for found in single if found.category is not None)
        held.to_learn += seen.to_learn
        held.used.update(found.category for found in sample.objects)
        self._add_sides(seen, held)
        issues = seen.issues + list(self._repeated(seen))
        self.report.add(issues, seen.split)
        severities = [KINDS[issue.code].severity for issue in issues]
        if any(severity != INFO for severity in severities):
            weight = sum(WEIGHTS[KINDS[code].severity] for code in {issue.code for issue in issues})
            self._worst.add(weight + len(issues), seen)
        elif seen.to_learn:
            self._typical.add(
                zlib.crc32(f"{seen.split} {sample.file_name}".encode("utf-8", "surrogateescape")), seen
            )

    def _add_sides(self, seen: Seen, held: SplitCount) -> None:
        sample, size = seen.repaired.sample, self.target.seen
        if sample is None or sample.size_hw is None or size is None:
            return
        found = [one for one in sample.objects if not one.iscrowd and one.category is not None]
        boxes = np.array([one.bbox for one in found], np.float64).reshape(-1, 4)
        sides = size.sides_px(boxes[:, 2:], np.array([sample.size_hw]))
        for one, side in zip(found, sides.tolist(), strict=True):
            held.sides[one.category or ""].append(side)

    def _repeated(self, seen: Seen) -> Iterator[Issue]:
        """Whether the same file was there before, in this split or another."""
        if not (digest := seen.repaired.facts.sha256 if seen.repaired.facts is not None else ""):
            return
        here = (seen.split, seen.sample.file_name)
        split, file = self._first.setdefault(digest, here)
        text = f"the same file as {file} of {split}"
        if split == seen.split and (split, file) != here:
            yield Issue("image-duplicate", text, seen.sample.file_name)
        elif self.splits[split].key != self.splits[seen.split].key:  # else one was named for both
            yield Issue("leak", text, seen.sample.file_name)


@dataclass(frozen=True)
class _Work:
    """What is done with one sample, in a thread."""

    split: str
    labels: LabelMap
    queries: int
    repair: Repair

    def __call__(self, sample: Sample) -> Seen:
        repaired = self.repair(sample)
        issues, to_learn = list(repaired.issues), 0
        if repaired.sample is not None:
            kept, left_out = with_classes(repaired.sample, self.labels)
            issues += left_out + validate(kept, self.labels, self.queries)
            to_learn = sum(not found.iscrowd for found in kept.objects)
        facts = repaired.facts
        if facts is not None and facts.pixels is not None:  # the worst images are kept, not their pixels
            repaired = Repaired(repaired.sample, repaired.issues, facts.without_pixels())
        return Seen(self.split, sample, repaired, issues, to_learn)


def fix(target: Target, out: str | Path, threads: int | None = None) -> Converted:
    """Write a repaired copy in the data's own kind of format, readable as a target again.

    COCO, or COCO panoptic where there are id maps; a saved data set is saved again. Images stay where they
    are, but for those of a saved data set.

    Raises:
        UserError: the data cannot be opened, ``out`` is in use, or nothing is left; see ``convert``.
    """
    if target.fault is not None and not target.splits:
        raise UserError(target.fault.text)
    sources = list(target.splits.values())
    to = "hf" if sources[0].images_apart else "coco-panoptic" if sources[0].is_panoptic else "coco"
    return convert(Opened(target.splits, target.labels), out, to, threads=threads)
