"""`Repair`: one sample put right, with every change and every loss listed.

Training, `check`, `check --fix`, `convert` and `prepare` all call this, so that an annotation means the same
to each of them. What differs is what they do with errors: training stops at them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.data.boxes import COCO_BOXES, BoxFormat, is_box
from detr_hf.data.frames import Frame, frame_of
from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_coordinate
from detr_hf.data.repair_id_map import repair_id_map
from detr_hf.data.repair_objects import ObjectRepair
from detr_hf.data.sample import Annotation, Sample
from detr_hf.errors import UserError
from detr_hf.images import ImageFacts, look_at_image

SLACK_PX = 1.0  # an overshoot that no wrong size of the image explains


@dataclass(frozen=True)
class Repaired:
    """What became of a sample."""

    sample: Sample | None  # put right, in pixels of the upright image; None where the image is dropped
    issues: list[Issue]  # all that was found, the door's first
    facts: ImageFacts | None = None  # of the image's file; None where it cannot be opened


@dataclass(frozen=True)
class Repair:
    """Puts samples right; thread safe, picklable, and never raises for what is wrong with one."""

    box_format: BoxFormat = COCO_BOXES  # of the source, see :func:`detr_hf.data.boxes.judge_format`
    decode: bool = True  # look at the pixels too (damaged files, hashes), not at the file's header alone
    outlines: bool = True  # put outlines right, too; without, they serve only where a box is none

    def __call__(self, sample: Sample) -> Repaired:
        """The repaired sample, with all that was found."""
        issues = list(sample.issues)
        if sample.image is None or any(issue.kind.effect == "image dropped" for issue in issues):
            return Repaired(None, issues)
        try:
            facts = None if self.decode else sample.facts
            facts = facts or look_at_image(sample.image, sample.file_name, self.decode)
        except UserError as error:
            return Repaired(None, [*issues, _unreadable(sample, error)])
        issues += _about_file(facts, sample.file_name)
        frame = frame_of(sample.declared_hw, facts.size_hw, facts.orientation)
        if sample.id_map is not None:
            made, found = repair_id_map(sample, facts)
        else:
            made, found = self._repaired_objects(sample, facts, frame)
        if frame.issue is not None and made is not None:
            code = frame.issue
            # Without a box or outline that depends on it, a wrong size changes nothing.
            if frame.issue in ("size-scaled", "exif-boxes") and (sample.id_map or not sample.objects):
                code = "size-differs"
            issues.append(Issue(code, _sizes(sample, frame), sample.file_name))
        issues += found
        if made is not None and not made.objects:
            issues.append(Issue("no-objects", "", sample.file_name))
        return Repaired(made, issues, facts)

    def _repaired_objects(
        self, sample: Sample, facts: ImageFacts, frame: Frame
    ) -> tuple[Sample | None, list[Issue]]:
        if frame.issue == "size-differs" and any(self._is_beyond(one, frame) for one in sample.objects):
            return None, [Issue("size-boxes", _sizes(sample, frame), sample.file_name)]
        repair = ObjectRepair(sample.file_name, frame, self.box_format, self.outlines)
        objects = [made for one in sample.objects if (made := repair(one)) is not None]
        objects = _numbered(_without_repeats(objects, sample.file_name, repair.issues))
        return replace(sample, objects=objects, size_hw=facts.size_hw, issues=()), repair.issues

    def _is_beyond(self, found: Annotation, frame: Frame) -> bool:
        """Whether a box, or an outline without one, reaches further out of the image than by rounding."""
        limit = np.array(frame.upright_hw[::-1], float) + SLACK_PX
        if is_box(found.bbox):
            x, y, w, h = self.box_format.to_xywh(found.bbox, frame.drawn_hw)
            return bool(x + w > limit[0] or y + h > limit[1])
        shape = found.segmentation
        parts = [part for part in shape if isinstance(part, list)] if isinstance(shape, list) else []
        values = [part for part in parts if len(part) % 2 == 0 and all(map(is_coordinate, part))]
        return any((np.array(part, float).reshape(-1, 2) > limit).any() for part in values if part)


def _unreadable(sample: Sample, error: UserError) -> Issue:
    text = str(error).removeprefix(f"{sample.file_name}: ")
    if isinstance(sample.image, Path) and not sample.image.exists():
        return Issue("image-missing", text, sample.file_name)
    code = "image-damaged" if "damaged or cut off" in text else "image-unreadable"
    return Issue(code, text, sample.file_name)


def _about_file(facts: ImageFacts, file: str) -> Iterable[Issue]:
    if facts.mode != "RGB":
        yield Issue("not-rgb", facts.mode, file)
    if facts.orientation != 1:
        yield Issue("exif-turned", f"orientation {facts.orientation}", file)
    if facts.is_dark:
        yield Issue("image-dark", "", file)


def _sizes(sample: Sample, frame: Frame) -> str:
    """Width x height, as sizes are usually written."""
    height, width = frame.upright_hw
    declared = sample.declared_hw
    said = "none" if declared is None else f"{str(declared[1])[:20]}x{str(declared[0])[:20]}"
    return f"declared {said}, the upright file is {width}x{height}"


def _without_repeats(objects: list[Annotation], file: str, issues: list[Issue]) -> list[Annotation]:
    """Objects but for those that repeat another one in everything."""
    first: dict[tuple[Any, ...], list[Annotation]] = {}
    kept = []
    for found in objects:
        alike = first.setdefault((found.category, *found.bbox, found.iscrowd), [])
        known = next((one for one in alike if one.segmentation == found.segmentation), None)
        if known is None:
            alike.append(found)
            kept.append(found)
        else:
            issues.append(Issue("object-twice", f"{found.where} repeats {known.where}", file))
    return kept


def _numbered(objects: list[Annotation]) -> list[Annotation]:
    """Each with an id of its own within the image; sinks number again over all images."""
    used: set[int] = set()
    made = []
    for position, found in enumerate(objects, start=1):
        number = found.id if type(found.id) is int and found.id not in used else position
        while number in used:
            number += 1
        used.add(number)
        made.append(found if found.id == number else replace(found, id=number))
    return made
