"""Suspicions as rows for people and programs: which file, which annotation, and a sentence that says why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from detr_hf.labels import LabelMap
from detr_hf.review.evidence import Evidence
from detr_hf.review.parts import Part
from detr_hf.review.suspicions import (
    CLASS,
    DUPLICATE,
    MISPLACED,
    MISSING,
    UNSUPPORTED,
    Suspicion,
    find_suspicions,
)

TITLES = {
    MISSING: "an object nobody annotated",
    UNSUPPORTED: "an annotation that nothing supports",
    CLASS: "another class",
    MISPLACED: "badly placed",
    DUPLICATE: "one object twice",
}
Box = list[float]
"""x, y, width, height in pixels."""


@dataclass(frozen=True)
class Row:
    """One suspected fault.

    Attributes:
        rank: 1 is the strongest.
        kind, score: see `suspicions`.
        part: name of the split, or of the run whose validation split it is.
        image_id, file_name: of the image.
        sentence: why.
        label: class of the annotation; of a missing object, the one that is seen.
        box: of the annotation; of a missing object, where it is seen.
        annotation_id: None where an object is missing.
        other_id, other_box: of a duplicate, the annotation that stays.
        seen_label, seen_box, seen_score, seen_mask: the detection that speaks against the annotation, if any;
            its mask as run lengths where a segmenter gave one.
        judge: folder of the run that judged.
    """

    rank: int
    kind: str
    score: float
    part: str
    image_id: int
    file_name: str
    sentence: str
    label: str
    box: Box
    annotation_id: int | None
    other_id: int | None
    other_box: Box | None
    seen_label: str | None
    seen_box: Box | None
    seen_score: float | None
    seen_mask: dict[str, Any] | None
    judge: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return asdict(self)


def rank_parts(parts: Sequence[Part], kinds: Sequence[str], least_score: float) -> list[Row]:
    """The suspicions of these kinds in all parts, the strongest first, from ``least_score`` on."""
    found = [(one, part) for part in parts for one in find_suspicions(part.evidence)]
    kept = [(one, part) for one, part in found if one.kind in kinds and one.score >= least_score]
    kept.sort(key=lambda pair: -pair[0].score)  # stable: equals stay in order
    evidence = {part.name: {one.image_id: one for one in part.evidence} for part in parts}
    return [
        _row(rank, one, part, evidence[part.name][one.image_id])
        for rank, (one, part) in enumerate(kept, start=1)
    ]


def _row(rank: int, one: Suspicion, part: Part, evidence: Evidence) -> Row:
    image, names, seen = part.truth.row(one.image_id), part.labels.names, one.detection
    ids = image["objects"]["id"]
    label = evidence.labels[seen] if one.truth is None else evidence.truth_labels[one.truth]
    box = evidence.boxes[seen] if one.truth is None else evidence.truth_boxes[one.truth]
    return Row(
        rank=rank,
        kind=one.kind,
        score=round(float(one.score), 4),
        part=part.name,
        image_id=one.image_id,
        file_name=image["file_name"],
        sentence=_sentence(one, evidence, part.labels, ids),
        label=names[label],
        box=_rounded(box),
        annotation_id=None if one.truth is None else ids[one.truth],
        other_id=None if one.other is None else ids[one.other],
        other_box=None if one.other is None else _rounded(evidence.truth_boxes[one.other]),
        seen_label=None if seen is None else names[evidence.labels[seen]],
        seen_box=None if seen is None else _rounded(evidence.boxes[seen]),
        seen_score=None if seen is None else round(float(evidence.scores[seen]), 4),
        seen_mask=None if seen is None else evidence.masks.get(seen),
        judge=part.judges[one.image_id],
    )


def _rounded(box: Any) -> Box:
    return [round(float(value), 2) for value in box]


def _sentence(one: Suspicion, evidence: Evidence, labels: LabelMap, ids: list[int]) -> str:
    names, score = labels.names, 0.0
    seen = ""
    if one.detection is not None:
        seen, score = names[evidence.labels[one.detection]], evidence.scores[one.detection]
    if one.kind == MISSING:
        return f"{seen} is seen here ({score:.2f}), and nothing is annotated."
    assert one.truth is not None
    label = names[evidence.truth_labels[one.truth]]
    if one.kind == UNSUPPORTED:
        return f"{label} is annotated, and nothing is seen here; of like objects {one.usual:.0%} are seen."
    if one.kind == CLASS:
        return f"{label} is annotated, and {seen} is seen here ({score:.2f}, IoU {one.iou:.2f})."
    if one.kind == MISPLACED:
        usual = f"{one.usual:.2f} is usual for its size"
        return f"{label} is seen elsewhere ({score:.2f}): its IoU with that is {one.iou:.2f}, and {usual}."
    assert one.other is not None
    pair = f"annotations {ids[one.truth]} and {ids[one.other]}"
    return f"{label} is annotated twice: {pair} have an IoU of {one.iou:.2f}."
