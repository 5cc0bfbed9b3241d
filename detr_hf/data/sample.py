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
    """One object. A door gives what its source holds; after `repair` every value is sound.

    Attributes:
        id: the source's own; of a segment, its color R + 256 G + 65536 B in the id map. After repair an int.
        category: class name; None where the source names none that it lists.
        bbox: x, y, width, height in pixels; None where the source has an outline alone. After repair it lies
            inside the upright image.
        segmentation: polygons ``[[x0, y0, x1, y1, ...], ...]`` in pixels, COCO's run lengths ``{"size":
            [height, width], "counts": ...}``, or None. After repair counts are compressed text.
        area: square pixels as the source says; after repair a positive number or None.
        iscrowd: whether it stands for a group that is not told apart.
        where: for messages: "annotation 12", "line 3", "shape 2".
        category_id: what the source wrote for the class, for messages.
        score: of machine-made annotations, 0 to 1.
        extra: further values of the source, which sinks of the same format write back.
    """

    id: Any
    category: str | None
    bbox: Any = None
    segmentation: Any = None
    area: Any = None
    iscrowd: bool = False
    where: str = ""
    category_id: Any = None
    score: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sample:
    """One image with its annotations, in pixels of the image as it was annotated; after repair, upright.

    Attributes:
        image: its file, or a file's bytes; None where the source names no file that may be opened (``issues``
            say why).
        file_name: relative to the source's root, "/"-separated; unique within the source.
        image_id: a whole number of 64 bits, unique within the source.
        objects: annotations; in panoptic sources the segments of ``id_map``.
        declared_hw: height and width that the source declares, unchecked; None where its format has none.
        id_map: the PNG of a panoptic image, or what makes its bytes when called (picklable: a
            ``functools.partial`` of a module's function).
        size_hw: height and width in pixels of the upright image; None until repaired.
        issues: what the door found wrong with this image or repaired in it.
        facts: of the image's file, without pixels, where the door had to open it.
        extra: further values of the source, which sinks of the same format write back.
    """

    image: Path | bytes | None
    file_name: str
    image_id: int
    objects: list[Annotation]
    declared_hw: tuple[Any, Any] | None = None
    id_map: Path | bytes | Callable[[], bytes] | None = None
    size_hw: tuple[int, int] | None = None
    issues: tuple[Issue, ...] = ()
    facts: ImageFacts | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """For messages."""
        return f"image {self.image_id} '{self.file_name}'"
