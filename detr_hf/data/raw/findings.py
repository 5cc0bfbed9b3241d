"""What was mended, dropped or is worth knowing about raw material, each with its file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detr_hf.errors import UserError

Action = Literal["picture dropped", "object dropped", "mended", "noted"]


@dataclass(frozen=True)
class Kind:
    """A kind of finding: what was done, and what it means, as the end of "17 ..."."""

    action: Action
    meaning: str


KINDS: dict[str, Kind] = {
    # -- pictures that are not in the result
    "no_file": Kind("picture dropped", "pictures are listed in the annotations, but there is no such file"),
    "ambiguous_file": Kind("picture dropped", "pictures are listed under a name that fits several files"),
    "refused_name": Kind("picture dropped", "pictures have a file_name that leaves its folder; not opened"),
    "refused_link": Kind("picture dropped", "files are links that lead out of the raw folder; not opened"),
    "id_twice": Kind("picture dropped", "pictures share their id, so their annotations cannot be told apart"),
    "unlisted": Kind("picture dropped", "pictures are in the folder, but not in its annotations"),
    "no_annotations": Kind("picture dropped", "pictures are in a class folder that has no annotation file"),
    "unreadable": Kind("picture dropped", "pictures cannot be read"),
    "size_conflict": Kind("picture dropped", "pictures have outlines drawn on a picture of another shape"),
    "bad_png": Kind("picture dropped", "pictures have an id map (PNG) that is missing or does not fit"),
    "empty_dropped": Kind("picture dropped", "pictures have no object, and such pictures are left out"),
    # -- objects that are not in the result
    "no_picture": Kind("object dropped", "annotations are for a picture that is not listed"),
    "not_a_record": Kind("object dropped", "entries of the annotation file are no objects of COCO"),
    "unknown_category": Kind("object dropped", "objects have a category id that the file does not list"),
    "void_class": Kind("object dropped", "objects are of a class that counts as void"),
    "few_points": Kind("object dropped", "outlines have fewer than three points"),
    "bad_numbers": Kind("object dropped", "shapes hold something other than finite coordinates in pairs"),
    "outside": Kind("object dropped", "objects lie wholly outside their picture"),
    "no_area": Kind("object dropped", "objects have a shape without area"),
    "no_shape": Kind("object dropped", "objects have neither outline, mask nor rectangle"),
    "bad_mask": Kind("object dropped", "painted masks do not fit their picture or are damaged"),
    "not_in_png": Kind("object dropped", "segments have no pixel in their PNG"),
    "no_pixel": Kind("object dropped", "objects are so small or thin that they cover no pixel"),
    "hidden": Kind("object dropped", "objects are hidden by others but for a rest"),
    # -- repairs
    "other_name": Kind("mended", "pictures have another file name than the annotations say"),
    "listed_twice": Kind("mended", "pictures are listed twice; their annotations were put together"),
    "size_missing": Kind("mended", "pictures are listed without a size; the file's is used"),
    "size_wrong": Kind("mended", "pictures are listed with a wrong size; the file's is used"),
    "scaled": Kind("mended", "pictures were annotated at another scale; the shapes were scaled to the file"),
    "turned": Kind("mended", "pictures were annotated before their EXIF rotation; the shapes were turned"),
    "clipped": Kind("mended", "objects reached over the edge of their picture and were clipped"),
    "crossing": Kind("mended", "objects have an outline that crosses itself; all it encloses is filled"),
    "class_spelling": Kind("mended", "class folders spell their class otherwise than their annotations"),
    "unlisted_ids": Kind("mended", "id maps hold ids without a segment; their pixels become void"),
    # -- worth knowing
    "other_class": Kind("noted", "class folders hold objects of a class that is not the folder's"),
    "painted": Kind("noted", "painted masks (RLE, iscrowd 1) are taken as objects"),
    "rectangle": Kind("noted", "objects are marked by a rectangle alone"),
    "empty": Kind("noted", "pictures have no object and stay as negatives"),
    "unlisted_kept": Kind("noted", "pictures are not in the annotations and stay as negatives"),
    "not_rgb": Kind("noted", "pictures are gray, palette, transparent or CMYK; they are read as RGB"),
    "rotated": Kind("noted", "pictures are turned upright by their EXIF tag; their shapes fit that"),
    "alike": Kind("noted", "pictures look the same as others (difference hash); one split gets all"),
    "alike_across": Kind(
        "noted", "photographs stand in several class folders; each annotates its class alone"
    ),
    "torn": Kind("noted", "duplicates are in several splits, because the split file says so"),
    "not_everywhere": Kind("noted", "classes have too few pictures to be in every split"),
    "not_in_split_file": Kind("noted", "pictures are not in the split file and were placed by the seed"),
    "not_in_data": Kind("noted", "pictures of the split file are not in the data"),
    "covered_stuff": Kind(
        "noted", "segments of pseudo-labeled stuff lie wholly under objects and are left out"
    ),
    "not_read": Kind("noted", "files and folders in the raw folder are no part of either layout"),
    "two_layouts": Kind("noted", "class folders hold outlines and id maps; one of the two was read"),
}


@dataclass(frozen=True)
class Finding:
    """One thing found: ``file`` is relative to RAW, "/"-separated; ``detail`` says more."""

    kind: str
    file: str
    detail: str = ""

    @property
    def action(self) -> Action:
        return KINDS[self.kind].action

    @property
    def is_fault(self) -> bool:
        """Whether something had to be changed or left out."""
        return self.action != "noted"

    def __str__(self) -> str:
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.file}: {self.action}: {KINDS[self.kind].meaning}{detail}"


def finding_to_list(finding: Finding) -> list[str]:
    """The finding as plain JSON."""
    return [finding.kind, finding.file, finding.detail]


def stop_at_fault(findings: Iterable[Finding]) -> None:
    """For strict runs.

    Raises:
        UserError: the first of the findings that is a fault.
    """
    for finding in findings:
        if finding.is_fault:
            raise UserError(f"{finding}; stopped at the first fault (--strict)")


def findings_in(path: Path) -> Iterator[Finding]:
    """The findings of a file whose JSON lines hold them under "findings", one line at a time."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            for entry in json.loads(line).get("findings", ()):
                yield Finding(*entry)
