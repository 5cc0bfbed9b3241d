"""README.md of a written data set: its card, which says what people drew and what a machine drew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from detr_hf.data.sample import Annotation
from detr_hf.data.split import VALIDATION, Splits
from detr_hf.labels import LabelMap
from detr_hf.sanitize import printable
from detr_hf.templating import render_markdown

CARD_FILE = "README.md"
UNNAMED = "Images with panoptic masks"
TRUTH_HEADING = "## Who drew the masks"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")


@dataclass
class SplitSummary:
    """What a split holds: images in all and by class, segments by class, and what a machine drew.

    ``pseudo`` counts machine-made segments by class, ``scored`` those among them with a score, ``score_sum``
    adds these scores up.
    """

    images: int = 0
    images_of: Counter[str] = field(default_factory=Counter)
    segments_of: Counter[str] = field(default_factory=Counter)
    pseudo: Counter[str] = field(default_factory=Counter)
    scored: Counter[str] = field(default_factory=Counter)
    score_sum: Counter[str] = field(default_factory=Counter)

    def count(self, objects: Sequence[Annotation]) -> None:
        self.images += 1
        self.images_of.update({found.category or "" for found in objects})
        for found in objects:
            name = found.category or ""
            self.segments_of[name] += 1
            self.pseudo[name] += bool(found.extra.get("pseudo"))
            if found.score is not None:
                self.scored[name] += 1
                self.score_sum[name] += found.score  # type: ignore[assignment]


@dataclass(frozen=True)
class CardFacts:
    """What the card tells, beside the classes."""

    title: str
    license: str  # as the Hub spells licenses
    teacher: str | None  # the model that drew the stuff; None where none was used or its name is not known
    splits: Splits
    summaries: Mapping[str, SplitSummary]  # by folder, as ``write_dataset`` gives them


def title_of(source: Path) -> str:
    """A title from the name of the source's file or folder, as in ``yard_photos.zip``."""
    name = source.resolve().name  # `.` has a name, too
    words = " ".join(printable(name if source.is_dir() else name.partition(".")[0]).replace("_", " ").split())
    return f"{words}: images with panoptic masks" if words else UNNAMED


def card_text(labels: LabelMap, facts: CardFacts) -> str:
    """The card: metadata as the Hub reads it, then text."""
    parts = _parts(facts)
    whole = _sum(parts)
    by_machine = whole.pseudo.total()
    by_people = whole.segments_of.total() - by_machine
    creators = {"expert-generated": by_people, "machine-generated": by_machine}
    metadata = {
        "pretty_name": facts.title,
        "license": facts.license,
        "task_categories": ["object-detection", "image-segmentation"],
        "task_ids": ["panoptic-segmentation"],
        "annotations_creators": [name for name, count in creators.items() if count] or ["no-annotation"],
        "size_categories": [SIZE_NAMES[sum(whole.images >= size for size in SIZES)]],
        "tags": ["detr", "coco", "panoptic"],
    }
    kinds = Counter(found.code for found in facts.splits.issues)
    return render_markdown(
        "dataset_card.md",
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip(),
        title=facts.title,
        labels=labels,
        parts=parts,
        truth_heading=TRUTH_HEADING,
        by_people=by_people,
        by_machine=by_machine,
        teacher=facts.teacher,
        is_folds=facts.splits.is_folds,
        is_own=facts.splits.is_own,
        seed=facts.splits.seed,
        not_everywhere=kinds["not-everywhere"],
        torn=kinds["torn"],
        class_heads=[
            *("class", "kind", *(f"{name} images" for name, _ in parts)),
            *("segments", "machine-made", "mean score"),
        ],
        classes=_class_rows(labels, parts),
    )


def _parts(facts: CardFacts) -> list[tuple[str, SplitSummary]]:
    """Parts that together hold each picture once: train and validation, or the folds."""
    if not facts.splits.is_folds:
        return [(name, facts.summaries[name]) for name in facts.splits.names]
    return [(name, facts.summaries[f"{name}/{VALIDATION}"]) for name in facts.splits.names]


def _sum(parts: Iterable[tuple[str, SplitSummary]]) -> SplitSummary:
    whole = SplitSummary()
    for _, summary in parts:
        whole.images += summary.images
        whole.segments_of += summary.segments_of
        whole.pseudo += summary.pseudo
        whole.scored += summary.scored
        whole.score_sum += summary.score_sum
    return whole


def _class_rows(labels: LabelMap, parts: list[tuple[str, SplitSummary]]) -> list[list[Any]]:
    """Every class of the label map, with what is machine-made of it."""
    whole = _sum(parts)
    rows = []
    for name in labels.names:
        images = [summary.images_of[name] for _, summary in parts]
        mean = f"{whole.score_sum[name] / whole.scored[name]:.3f}" if whole.scored[name] else ""
        rows.append([name, labels.kind(name), *images, whole.segments_of[name], whole.pseudo[name], mean])
    return rows
