"""`Sample`: one image with its annotations, as every door makes it and every sink writes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.images import ImageFacts


@dataclass(frozen=True)
class Annotation:
    """One object. A door gives what its source holds; after `repair` every value is sound."""

    # the source's own; of a segment, its color R + 256 G + 65536 B in the id map. After repair an int.
    id: Any
    category: str | None  # class name; None where the source names none that it lists
    # x, y, width, height in pixels; None where the source has an outline alone. After repair it lies inside
    # the upright image.
    bbox: Any = None
    # polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, COCO's run lengths ``{"size": [height, width],
    # "counts": ...}``, or None. After repair counts are compressed text.
    segmentation: Any = None
    area: Any = None  # square pixels as the source says; after repair a positive number or None
    iscrowd: bool = False  # whether it stands for a group that is not told apart
    where: str = ""  # for messages: "annotation 12", "line 3", "shape 2"
    category_id: Any = None  # what the source wrote for the class, for messages
    score: float | None = None  # of machine-made annotations, 0 to 1
    # further values of the source, which sinks of the same format write back
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One image with its annotations, in pixels of the image as it was annotated; after repair, upright."""

    # its file, or a file's bytes; None where the source names no file that may be opened (``issues`` say why)
    image: Path | bytes | None
    file_name: str  # relative to the source's root, "/"-separated; unique within the source
    image_id: int  # a whole number of 64 bits, unique within the source
    objects: list[Annotation]  # annotations; in panoptic sources the segments of ``id_map``
    # height and width that the source declares, unchecked; None where its format has none
    declared_hw: tuple[Any, Any] | None = None
    # the PNG of a panoptic image, or what makes its bytes when called (picklable: a ``functools.partial`` of
    # a module's function)
    id_map: Path | bytes | Callable[[], bytes] | None = None
    # height and width in pixels of the upright image; None until repaired
    size_hw: tuple[int, int] | None = None
    issues: tuple[Issue, ...] = ()  # what the door found wrong with this image or repaired in it
    facts: ImageFacts | None = None  # of the image's file, without pixels, where the door had to open it
    # further values of the source, which sinks of the same format write back
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        return f"image {self.image_id} '{self.file_name}'"
