"""What a mended copy has otherwise than its source, listed by file."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Change:
    """One change: of which kind, in which file, and what exactly."""

    split: str
    file: str
    kind: str
    text: str


@dataclass
class Changes:
    """All changes of one split, in the order of the file."""

    split: str
    made: list[Change] = field(default_factory=list)

    def add(self, file: Any, kind: str, text: str) -> None:
        """Note a change; ``file`` is the picture's name, or empty."""
        self.made.append(Change(self.split, str(file or ""), kind, text))


def as_json(changes: list[Change]) -> dict[str, Any]:
    """Counts by kind, then every change."""
    return {
        "counts": dict(Counter(change.kind for change in changes)),
        "changes": [asdict(change) for change in changes],
    }


def as_lines(changes: list[Change]) -> list[str]:
    """Counts by kind, for a terminal."""
    return [f"  {count} x {kind}" for kind, count in Counter(change.kind for change in changes).items()]
