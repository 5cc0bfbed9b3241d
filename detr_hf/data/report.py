"""`Report`: issues counted by kind and place, as training, checks and repairs list them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from detr_hf.data.issues import ERROR, KINDS, SEVERITIES, Issue, Kind, Severity
from detr_hf.errors import UserError

EXAMPLES_SHOWN = 3
EXAMPLES_KEPT = 3  # texts for each kind and file; all files are kept
WITHOUT_FILE_KEPT = 1000  # texts of each kind that concern no file: categories, orphans
ERRORS_SHOWN = 20


@dataclass
class Place:
    """What was found of one kind in one file of a split."""

    split: str
    file: str
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Report:
    """Issues counted by kind and place. Memory grows with the number of faulty files, not of issues."""

    source: str  # for messages
    totals: Counter[str] = field(default_factory=Counter)  # of what is sound: images, objects,
    # places by code, then by split and file
    found: dict[str, dict[tuple[str, str], Place]] = field(default_factory=dict)

    def add(self, issues: Iterable[Issue], split: str = "") -> None:
        """Count issues."""
        for issue in issues:
            places = self.found.setdefault(issue.code, {})
            place = places.setdefault((split, issue.file), Place(split, issue.file))
            place.count += 1
            if len(place.examples) < (EXAMPLES_KEPT if issue.file else WITHOUT_FILE_KEPT):
                place.examples.append(issue.text)

    def count(self, code: str) -> int:
        """How often a kind was found."""
        return sum(place.count for place in self.found.get(code, {}).values())

    def count_of(self, severity: Severity) -> int:
        """How many issues of a severity were found."""
        return sum(self.count(code) for code in self.found if KINDS[code].severity == severity)

    def kinds(self) -> list[Kind]:
        """The kinds that were found: errors, warnings, info; of each the most frequent first."""
        found = [KINDS[code] for code in self.found]
        return sorted(found, key=lambda kind: (SEVERITIES.index(kind.severity), -self.count(kind.code)))

    @property
    def is_to_repair(self) -> bool:
        """Whether repair would change or drop something."""
        return any(KINDS[code].effect != "noted" for code in self.found)

    def places(self, code: str) -> list[Place]:
        """Where a kind was found, in the order of the data."""
        return list(self.found.get(code, {}).values())

    def texts(self, code: str) -> list[str]:
        """The examples of a kind, each with its file."""
        return [text for place in self.places(code) for text in _texts_of(place)]

    def sentences(self) -> list[str]:
        """One sentence a kind, with its count and the first places; errors first."""
        return [self._sentence(kind) for kind in self.kinds()]

    def _sentence(self, kind: Kind) -> str:
        count = self.count(kind.code)
        shown = self.texts(kind.code)[:EXAMPLES_SHOWN]
        rest = "; ..." if count > len(shown) else ""
        places = f" ({'; '.join(shown)}{rest})" if any(shown) else ""
        return f"{self.source}: {kind.counted(count)}; {kind.remedy}{places}"

    def raise_errors(self) -> None:
        """Refuse data with errors.

        Raises:
            UserError: one line a kind, with its first places and what to do.
        """
        kinds = [kind for kind in self.kinds() if kind.severity == ERROR]
        if kinds:
            lines = [f"{self.source}: the data cannot be used as it is:"]
            for kind in kinds:
                lines.append(f"  - {kind.counted(self.count(kind.code))}; {kind.remedy}")
                lines += [f"      {text}" for text in self.texts(kind.code)[:EXAMPLES_SHOWN] if text]
            raise UserError("\n".join(lines[: 3 * ERRORS_SHOWN]))

    @classmethod
    def from_dict(cls, source: str, values: dict[str, Any]) -> Report:
        """The report of which ``as_dict`` gave the values, under another name."""
        places = {code: [Place(**place) for place in found] for code, found in values["places"].items()}
        found = {code: {(one.split, one.file): one for one in all_of} for code, all_of in places.items()}
        return cls(source, Counter(values["totals"]), found)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: totals, counts by code, and every place."""
        return {
            "totals": dict(self.totals),
            "counts": {code: self.count(code) for code in self.found},
            "places": {code: [asdict(place) for place in self.places(code)] for code in self.found},
        }


def _texts_of(place: Place) -> list[str]:
    name = f"{place.split} {place.file}".strip()
    return [
        text if not name or (place.file and place.file in text) else f"{name}: {text}".removesuffix(": ")
        for text in place.examples
    ]
