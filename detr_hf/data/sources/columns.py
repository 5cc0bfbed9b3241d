"""Where a table of images keeps what: the usual spellings and nestings of columns, recognized."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detr_hf.errors import UserError

if TYPE_CHECKING:
    import datasets

IMAGE_NAMES = ("image", "img", "images", "photo", "picture")
PANOPTIC_NAMES = ("panoptic", "panoptic_png", "panoptic_image", "panoptic_map")
OBJECTS_NAMES = ("objects", "segments_info", "segments", "annotations", "object")
ID_NAMES = ("image_id", "id")
FILE_NAMES = ("file_name", "filename")
SPELLINGS = {
    "id": ("id", "bbox_id", "annotation_id", "segment_id", "ids"),
    "bbox": ("bbox", "bboxes", "box", "boxes"),
    "category": (
        *("category", "category_id", "label", "labels", "class", "class_id", "categories", "class_labels"),
        *("category_ids", "class_ids"),
    ),
    "area": ("area", "areas"),
    "iscrowd": ("iscrowd", "is_crowd"),
    "segmentation": ("segmentation", "segmentations", "polygon", "polygons"),
}
# Beside a list of segments, a second image of these names is their id map; beside boxes it may be anything.
MAP_OF_SEGMENTS = dict.fromkeys(("segments_info", "segments"), ("label", "mask", "annotation"))


@dataclass(frozen=True)
class Columns:
    """Where a table keeps what.

    Attributes:
        image, panoptic: columns of images and of id maps; ``image`` is empty where rows name files instead.
        objects: the column of a dict of lists or a list of dicts; None where lists are columns themselves.
        fields: spellings of "bbox", "category", ... within ``objects``.
        class_names: by number, where the table declares them.
        has_text: whether classes are written as text.
        image_id: the column of the image's id.
    """

    image: str
    panoptic: str | None
    objects: str | None
    fields: dict[str, str]
    class_names: tuple[str, ...] | None = None
    has_text: bool = False
    image_id: str | None = None

    @property
    def images(self) -> list[str]:
        """The columns of images."""
        return [column for column in (self.image, self.panoptic) if column]

    @property
    def of_objects(self) -> list[str]:
        """The columns of objects."""
        return [self.objects] if self.objects else list(self.fields.values())


def columns_of(features: datasets.Features, name: str) -> Columns:
    """Recognize the layout of a `datasets` table.

    Raises:
        UserError: there is no image column, or no objects with boxes (or segments) and categories.
    """
    import datasets

    images = [column for column, kind in features.items() if _holds_images(column, kind)]
    image = first_of(IMAGE_NAMES, images) or (images[0] if len(images) == 1 else None)
    if image is None:
        raise UserError(f"{name}: no column of images is called 'image'; columns: {', '.join(features)}")
    nested = {column: _inner(kind) for column, kind in features.items() if column not in images}
    lists = {column: kind for column, kind in features.items() if _item(kind) is not kind}
    objects, fields = fields_of(nested, lists)
    known_maps = PANOPTIC_NAMES + MAP_OF_SEGMENTS.get(objects or "", ())
    panoptic = first_of(known_maps, [column for column in images if column != image])
    require_fields(fields, panoptic is not None, name, features)
    kind = _item((nested[objects] if objects else lists)[fields["category"]])
    is_text = isinstance(kind, datasets.Value) and kind.dtype in ("string", "large_string", "string_view")
    names = tuple(kind.names) if isinstance(kind, datasets.ClassLabel) and kind.names else None
    plain = [column for column, kind in features.items() if isinstance(kind, datasets.Value)]
    return Columns(image, panoptic, objects, fields, names, is_text, first_of(ID_NAMES, plain))


def fields_of(
    nested: Mapping[str, Collection[str]], lists: Collection[str]
) -> tuple[str | None, dict[str, str]]:
    """The column of objects and the spellings of their fields.

    Args:
        nested: the fields within each column; empty for a column without.
        lists: columns that may hold lists of boxes and categories themselves.
    """
    objects = next((column for column in OBJECTS_NAMES if nested.get(column)), None)
    inner = nested[objects] if objects else lists
    return objects, {role: found for role, names in SPELLINGS.items() if (found := first_of(names, inner))}


def require_fields(fields: Mapping[str, str], is_panoptic: bool, name: str, columns: Collection[str]) -> None:
    """Refuse a table without objects.

    Raises:
        UserError: classes, or boxes (ids of segments) are missing.
    """
    missing = [] if "category" in fields else ["category"]
    if is_panoptic and "id" not in fields:
        missing.append("id")
    if not is_panoptic and "bbox" not in fields and "segmentation" not in fields:
        missing.append("bbox")
    if missing:
        raise UserError(
            f"{name}: no column holds {' or '.join(map(repr, missing))} of the objects; expected 'objects' "
            "with bbox (x, y, width, height in pixels) and category, as lists; columns: "
            f"{', '.join(columns)}"
        )


def first_of(names: tuple[str, ...], known: Collection[str]) -> str | None:
    """The first of the spellings that occurs."""
    return next((name for name in names if name in known), None)


def _holds_images(column: str, kind: Any) -> bool:
    """Whether it is declared so, or is what an undeclared one looks like in a Parquet file."""
    import datasets

    if isinstance(kind, datasets.Image):
        return True
    is_known = column in IMAGE_NAMES + PANOPTIC_NAMES
    if isinstance(kind, datasets.Value):
        return is_known and kind.dtype in ("binary", "large_binary")
    return is_known and isinstance(kind, Mapping) and set(kind) == {"bytes", "path"}


def _item(kind: Any) -> Any:
    """The feature of one entry of a list feature; another feature as it is."""
    import datasets

    if isinstance(kind, datasets.List | datasets.LargeList):
        return kind.feature
    return kind[0] if isinstance(kind, list) else kind


def _inner(kind: Any) -> dict[str, Any]:
    """The fields of a dict of lists or of a list of dicts; empty for anything else."""
    item = _item(kind)
    return dict(item) if isinstance(item, Mapping) else {}
