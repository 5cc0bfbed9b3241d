"""A source of samples made by hand, for tests of what comes behind the doors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Source


@dataclass
class MadeSource(Source):
    """One split."""

    made: list[Sample]
    classes: list[dict[str, Any]]
    xywh_px: bool = True
    found: list[Issue] = field(default_factory=list)
    name: str = "made"

    @property
    def is_panoptic(self) -> bool:  # type: ignore[override]
        return bool(self.made) and all(sample.id_map is not None for sample in self.made)

    @property
    def key(self) -> str:
        return repr(self.made)

    def categories(self) -> list[dict[str, Any]]:
        return self.classes

    def issues(self) -> Iterable[Issue]:
        return self.found

    def samples(self) -> Iterator[Sample]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)
