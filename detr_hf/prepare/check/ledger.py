"""Findings added up by kind and file, and the result of a whole check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from detr_hf.labels import LabelMap
from detr_hf.prepare.check.pictures import Inspection
from detr_hf.prepare.check.rules import CODE_OF_NOTE, ERROR, RULES, SEVERITIES, WARNING, Rule
from detr_hf.prepare.findings import Report

EXAMPLES_KEPT = 3  # messages for each kind and file; all files are kept
WITHOUT_FILE_KEPT = 1000  # messages of each kind that concern no file: categories, orphans

OK, FAULTY, NOT_RUN = 0, 1, 2
"""Exit codes: no error (or, with ``--strict``, no warning either); faults; the check could not be run."""


@dataclass
class Place:
    """What was found of one kind in one file."""

    split: str
    file: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Kind:
    """All findings of one kind."""

    rule: Rule
    places: list[Place]

    @property
    def count(self) -> int:
        return sum(place.count for place in self.places)


class Ledger:
    """Findings by kind and file. Memory grows with the number of faulty files, not of faults."""

    def __init__(self) -> None:
        self._found: dict[str, dict[tuple[str, str], Place]] = {}

    def add(self, code: str, split: str, file: str, text: str, count: int = 1) -> None:
        """Count a finding; ``code`` is one of :data:`RULES`."""
        place = self._found.setdefault(RULES[code].code, {}).setdefault((split, file), Place(split, file))
        place.count += count
        if len(place.examples) < (EXAMPLES_KEPT if file else WITHOUT_FILE_KEPT):
            place.examples.append(text)

    def files(self, code: str, split: str) -> list[str]:
        """The files of a split in which this kind was found."""
        return [file for place_split, file in self._found.get(code, ()) if place_split == split]

    def has(self, code: str, split: str) -> bool:
        """Whether anything of this kind was found in the split."""
        return any(place_split == split for place_split, _ in self._found.get(code, ()))

    def kinds(self) -> list[Kind]:
        """Errors first, then warnings, then info; the most frequent first."""
        kinds = [Kind(RULES[code], list(places.values())) for code, places in self._found.items()]
        return sorted(kinds, key=lambda kind: (SEVERITIES.index(kind.rule.severity), -kind.count))

    def count_of(self, severity: str) -> int:
        """The number of findings of this severity."""
        return sum(kind.count for kind in self.kinds() if kind.rule.severity == severity)


@dataclass
class Tally(Report):
    """The reader's report for one split, which writes everything to the ledger and never stops."""

    ledger: Ledger = field(default_factory=Ledger)
    split: str = ""

    def fault(self, sentence: str, code: str = "data", file: str = "") -> None:
        self.ledger.add(code, self.split, file, sentence)

    def note(self, kind: str, where: str) -> None:
        super().note(kind, where)
        self.ledger.add(CODE_OF_NOTE[kind], self.split, "", where)


@dataclass
class SplitCount:
    """What a split holds."""

    images: int = 0
    objects: int = 0
    crowd: int = 0
    classes: Counter[int] = field(default_factory=Counter)


@dataclass
class Sample:
    """One of the worst pictures, with the split it is in."""

    split: str
    inspection: Inspection


@dataclass
class CheckResult:
    """All that a check found.

    Attributes:
        target: what was checked, for people.
        labels: the classes that the counts are keyed by; None where no category could be read.
        splits: counts of each split.
        samples: the worst pictures, the worst first.
        faulty: for each split, the first error of each picture that has one, by image number.
    """

    target: str
    labels: LabelMap | None
    splits: dict[str, SplitCount]
    ledger: Ledger
    samples: list[Sample] = field(default_factory=list)
    faulty: dict[str, dict[int, str]] = field(default_factory=dict)

    def exit_code(self, strict: bool = False) -> int:
        """0 without errors, else 1; ``strict`` counts warnings as well."""
        grave = self.ledger.count_of(ERROR) + (self.ledger.count_of(WARNING) if strict else 0)
        return FAULTY if grave else OK

    def class_counts(self) -> Iterator[tuple[str, dict[str, int]]]:
        """(class name, objects in each split), in the order of the label map."""
        for index, name in enumerate(self.labels.names if self.labels else ()):
            yield name, {split: held.classes[index] for split, held in self.splits.items()}

    def as_dict(self) -> dict[str, Any]:
        """Everything but the samples, for ``--json``."""
        return {
            "target": self.target,
            "errors": self.ledger.count_of(ERROR),
            "warnings": self.ledger.count_of(WARNING),
            "splits": {
                name: {"images": held.images, "objects": held.objects, "crowd": held.crowd}
                for name, held in self.splits.items()
            },
            "classes": dict(self.class_counts()),
            "findings": [_kind_as_dict(kind) for kind in self.ledger.kinds()],
        }


def _kind_as_dict(kind: Kind) -> dict[str, Any]:
    return vars(kind.rule) | {"count": kind.count, "files": [vars(place) for place in kind.places]}
