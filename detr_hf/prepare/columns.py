"""Where a saved data set keeps what: the usual spellings and nestings of columns, recognized."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import datasets

from detr_hf.errors import UserError
from detr_hf.prepare.findings import listed

IMAGE_NAMES = ("image", "img", "images", "photo", "picture")
PANOPTIC_NAMES = ("panoptic", "panoptic_png", "panoptic_image", "panoptic_map")
OBJECTS_NAMES = ("objects", "segments_info", "segments", "annotations", "object")
CATEGORY_NAMES = (
    "category",
    "category_id",
    "label",
    "labels",
    "class",
    "class_id",
    "categories",
    "class_labels",
)
SPELLINGS = {
    "id": ("id", "bbox_id", "annotation_id", "segment_id", "ids"),
    "bbox": ("bbox", "bboxes", "box", "boxes"),
    "category": CATEGORY_NAMES,
    "area": ("area", "areas"),
    "iscrowd": ("iscrowd", "is_crowd"),
}

# Beside a list of segments, a second picture of these names is their id map; beside boxes it may be anything.
MAP_OF_SEGMENTS = {
    "segments_info": ("label", "mask", "annotation"),
    "segments": ("label", "mask", "annotation"),
}


@dataclass(frozen=True)
class Columns:
    """Where a data set keeps what; ``objects`` None means that the lists stand at the top of the row."""

    image: str
    panoptic: str | None
    objects: str | None
    fields: dict[str, str]
    category: Any

    @property
    def tells_names(self) -> bool:
        """Whether the classes of objects are told by name, as text."""
        return isinstance(self.category, datasets.Value) and self.category.dtype in ("string", "large_string")

    @staticmethod
    def of(features: datasets.Features, name: str) -> Columns:
        """Recognize the layout.

        Raises:
            UserError: there is no image column, or no objects with boxes (or segments) and categories.
        """
        pictures = [column for column, kind in features.items() if isinstance(kind, datasets.Image)]
        image = first_of(IMAGE_NAMES, pictures) or (pictures[0] if len(pictures) == 1 else None)
        if image is None:
            raise UserError(f"{name}: no column of type Image is called 'image'; columns: {listed(features)}")
        objects = next((c for c in OBJECTS_NAMES if c in features and _inner(features[c])), None)
        known_maps = PANOPTIC_NAMES + MAP_OF_SEGMENTS.get(objects or "", ())
        panoptic = first_of(known_maps, [column for column in pictures if column != image])
        inner = _inner(features[objects]) if objects else _lists(features)
        fields = {role: found for role, names in SPELLINGS.items() if (found := first_of(names, inner))}
        missing = [role for role in ("category", "id" if panoptic else "bbox") if role not in fields]
        if missing:
            raise UserError(
                f"{name}: no column holds {listed(missing)} of the objects; expected 'objects' with bbox "
                f"(x, y, width, height in pixels) and category, as lists; columns: {listed(features)}"
            )
        return Columns(image, panoptic, objects, fields, _item(inner[fields["category"]]))


def first_of(names: tuple[str, ...], known: Any) -> str | None:
    """The first of the spellings that occurs."""
    return next((name for name in names if name in known), None)


def _item(kind: Any) -> Any:
    """The feature of one entry of a list feature."""
    if isinstance(kind, (datasets.List, datasets.LargeList)):
        return kind.feature
    return kind[0] if isinstance(kind, list) else kind


def _lists(features: datasets.Features) -> dict[str, Any]:
    return {column: kind for column, kind in features.items() if _item(kind) is not kind}


def _inner(kind: Any) -> dict[str, Any]:
    """The fields of a dict of lists or of a list of dicts; empty for anything else."""
    item = _item(kind)
    return dict(item) if isinstance(item, Mapping) else {}
