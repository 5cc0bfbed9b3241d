"""What a set of records holds, counted in one pass: classes, sizes, objects per image, and samples."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from detr_hf.data.records import Record
from detr_hf.labels import LabelMap

SAMPLES_PER_CLASS = 4
OBJECT_SIZES = ("small", "medium", "large")  # COCO's: areas below 32 x 32 and 96 x 96 pixels, and above
EDGES = (120, 240, 360, 480, 600, 800, 1080, 1440, 2160)  # short edges that part the histogram of images


@dataclass
class Statistics:
    """Counts over records. Areas are those of the annotations, one over another.

    Attributes:
        sizes: objects (not segments of an id map) by class and COCO size.
        samples: a few records of each class, whichever come first by the hash of their name.
    """

    records: int = 0
    images: Counter[str] = field(default_factory=Counter)  # images with an object of the class, by class
    objects: Counter[str] = field(default_factory=Counter)  # objects and segments, by class
    sizes: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    short_edges: Counter[str] = field(default_factory=Counter)  # images by the range of their short edge
    objects_per_image: Counter[int] = field(default_factory=Counter)  # images by their number of objects
    _samples: dict[str, list[tuple[int, int, Record]]] = field(default_factory=lambda: defaultdict(list))

    @classmethod
    def of(cls, records: Iterable[Record]) -> Statistics:
        made = cls()
        for record in records:
            made.add(record)
        return made

    def add(self, record: Record) -> None:
        names = record.categories
        self.records += 1
        self.short_edges[_edge_range(min(record.size_hw))] += 1
        self.objects_per_image[len(names)] += 1
        self.objects.update(names)
        self.images.update(set(names))
        if record.id_map is None:
            for found in record.objects:
                self.sizes[found.category or ""][_size_name(found.area)] += 1
        rank = -int(sha256(record.file_name.encode("utf-8", "surrogateescape")).hexdigest(), 16)
        for name in set(names):
            heap = self._samples[name]
            heapq.heappush(heap, (rank, record.image_id, record))
            if len(heap) > SAMPLES_PER_CLASS:
                heapq.heappop(heap)

    def samples(self, name: str) -> list[Record]:
        """A few records with objects of a class, in the order of their ids."""
        return sorted(
            (record for _, _, record in self._samples.get(name, [])), key=lambda found: found.image_id
        )

    def imbalance(self) -> dict[str, Any]:
        """The classes with most and fewest objects, and how many times more the first has."""
        if not self.objects:
            return {}
        ranked = sorted(self.objects.items(), key=lambda item: (-item[1], item[0]))
        (most, many), (least, few) = ranked[0], ranked[-1]
        return {"most": most, "objects_of_most": many, "least": least, "objects_of_least": few} | {
            "ratio": round(many / few, 2)
        }

    def to_dict(self, labels: LabelMap) -> dict[str, Any]:
        """As plain JSON, classes in the order of the label map."""
        classes = {
            category.name: {
                "kind": labels.kind(category.name),
                "images": self.images[category.name],
                "objects": self.objects[category.name],
                "sizes": {size: self.sizes[category.name][size] for size in OBJECT_SIZES},
            }
            for category in labels.categories
        }
        edges = {_edge_range(edge): self.short_edges[_edge_range(edge)] for edge in (0, *EDGES)}
        counts = {str(number): self.objects_per_image[number] for number in sorted(self.objects_per_image)}
        return {
            "classes": classes,
            "imbalance": self.imbalance(),
            "short_edges_px": edges,
            "objects_per_image": counts,
        }


def _size_name(area: float) -> str:
    return OBJECT_SIZES[(area >= 32**2) + (area >= 96**2)]


def _edge_range(edge: int) -> str:
    at = bisect_right(EDGES, edge)
    start = EDGES[at - 1] if at else 0
    return f"{start}+" if at == len(EDGES) else f"{start}-{EDGES[at] - 1}"
