"""The one label map of all folders and splits of a source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from detr_hf.errors import UserError, listed, quantity
from detr_hf.labels import LabelMap, construction_labels, load_labels


def merged_labels(
    categories: Iterable[dict[str, Any]], wanted: str | None, stuff: Iterable[str], given: LabelMap | None
) -> LabelMap:
    """The label map of the data set.

    Args:
        categories: the classes of the data, as `Source.categories` gives them.
        wanted: the recipe's ``labels``; None takes the first that has every class: the one beside the data,
            the construction preset, and else one of the data: things by name, then stuff by name.
        stuff: classes that pseudo-labels may add.
        given: the label map that lies beside the data.

    Raises:
        UserError: classes are missing in the label map, or a class is called thing here and stuff there.
    """
    classes = _classes([*categories, *({"name": name, "isthing": 0} for name in stuff)])
    if wanted is not None:
        labels = load_labels(wanted)
        if unknown := _unknown(classes, labels):
            raise UserError(
                f"labels: the label map {wanted} lacks {quantity(len(unknown), 'class')} of the data: "
                f"{listed(unknown)}. Rename them, give a label map that has them, or take the classes of the "
                "data (labels=null)"
            )
        return labels
    for known in (given, construction_labels()):
        if known is None or _unknown(classes, known):
            continue
        if any(name in known.label2id for name in classes):  # else all objects would be void
            return known
    ordered = sorted(classes.values(), key=lambda entry: (-entry["isthing"], entry["name"]))
    return LabelMap.from_coco({**entry, "id": number} for number, entry in enumerate(ordered, start=1))


def _unknown(classes: Iterable[str], labels: LabelMap) -> list[str]:
    return [name for name in classes if name not in labels.label2id and name not in labels.void]


def _classes(entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    classes: dict[str, dict[str, Any]] = {}
    for entry in entries:
        isthing = int(bool(entry.get("isthing", 1)))
        known = classes.setdefault(entry["name"], {**entry, "isthing": isthing})
        if known["isthing"] != isthing:
            raise UserError(
                f"class {entry['name']} is a thing in one place and stuff in another (a split, or the stuff "
                "mapping); correct `isthing` in one of them"
            )
    if not classes:
        raise UserError("no annotation file has categories; there is nothing to prepare")
    return classes
