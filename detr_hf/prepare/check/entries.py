"""An annotation file as JSON: types, doubled ids and categories that COCO tools refuse or take otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from detr_hf.prepare.findings import Fault

WHOLE = {"image_id": False, "category_id": True, "width": True, "height": True, "id": False}
"""Keys that hold whole numbers; True where text is wrong too (ids of images and annotations may be text)."""


def type_faults(content: dict[str, Any]) -> Iterator[tuple[str, Fault]]:
    """(file name, fault) for values of another type than COCO's, which readers misread or refuse."""
    for entry in content["images"]:
        for said in _odd(entry, ("id", "width", "height")):
            yield str(entry.get("file_name", "")), Fault("odd-type", f"image {entry.get('id')!r}: {said}")
    names = {str(entry.get("id")): str(entry.get("file_name", "")) for entry in content["images"]}
    for entry in content["annotations"]:
        file = names.get(str(entry.get("image_id")), "")
        for said in _odd(entry, ("image_id", "category_id", "iscrowd", "bbox", "area")):
            yield file, Fault("odd-type", f"annotation {entry.get('id')!r}: {said}")
        for segment in _segments(entry):
            for said in _odd(segment, ("category_id", "iscrowd", "bbox", "area")):
                yield file, Fault("odd-type", f"image {entry.get('image_id')}, {said}")


def _segments(entry: dict[str, Any]) -> list[dict[str, Any]]:
    segments = entry.get("segments_info")
    return [one for one in segments if isinstance(one, dict)] if isinstance(segments, list) else []


def _odd(entry: dict[str, Any], keys: Iterable[str]) -> Iterator[str]:
    for key in keys:
        value = entry.get(key)
        if value is None:
            continue
        if key in WHOLE:
            odd = not (type(value) is int or (isinstance(value, str) and not WHOLE[key]))
        elif key == "iscrowd":
            odd = value not in (0, 1) or isinstance(value, float)
        elif key == "bbox":
            odd = isinstance(value, list) and any(isinstance(part, str) for part in value)
        else:
            odd = isinstance(value, str | bool)
        if odd:
            yield f"{key} is {value!r}"


def doubled_annotations(content: dict[str, Any]) -> Iterator[tuple[str, Fault]]:
    """(file name, fault) for every annotation whose id another one has already."""
    names = {str(entry.get("id")): str(entry.get("file_name", "")) for entry in content["images"]}
    seen: set[Any] = set()
    for entry in content["annotations"]:
        number = entry.get("id")
        if isinstance(number, int | str):
            if number in seen:
                yield names.get(str(entry.get("image_id")), ""), Fault("annotation-id", f"id {number!r}")
            seen.add(number)


def painted_share(content: dict[str, Any]) -> float:
    """The share of objects that are run-length masks marked as crowd, as CVAT exports what was painted."""
    found = content["annotations"]
    painted = sum(bool(one.get("iscrowd")) and isinstance(one.get("segmentation"), dict) for one in found)
    return painted / max(1, len(found))


def category_faults(categories: list[dict[str, Any]], is_panoptic: bool) -> Iterator[Fault]:
    """Malformed and doubled categories; in panoptic files also missing `isthing` and `color`."""
    ids: set[Any] = set()
    names: set[Any] = set()
    for entry in categories:
        number, name = entry.get("id"), entry.get("name")
        if said := category_fault(entry):
            yield Fault("category-invalid", said)
            continue
        if number in ids or name in names:
            yield Fault("category-invalid", f"category {number} '{name}': id or name stands twice")
        ids.add(number)
        names.add(name)
        if is_panoptic and "isthing" not in entry:
            yield Fault("isthing-missing", f"category {number} '{name}'")
        if is_panoptic and entry.get("color") is None:
            yield Fault("color-missing", f"category {number} '{name}'")


def category_fault(entry: dict[str, Any]) -> str:
    """What is wrong with one category by itself; empty when nothing is."""
    number, name, color = entry.get("id"), entry.get("name"), entry.get("color")
    if type(number) is not int:
        return f"category {name!r}: id {number!r} is not a whole number"
    if not isinstance(name, str) or not name.strip():
        return f"category {number}: name {name!r} is no text"
    if entry.get("isthing", 1) not in (0, 1):
        return f"category {number} '{name}': isthing {entry['isthing']!r} is neither 0 nor 1"
    levels = color if isinstance(color, list) else []
    if color is not None and not (
        len(levels) == 3 and all(isinstance(one, int) and 0 <= one <= 255 for one in levels)
    ):
        return f"category {number} '{name}': color {color!r} is not three numbers from 0 to 255"
    return ""
