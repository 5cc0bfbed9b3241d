"""The one label map of all folders and splits of a source."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from detr_hf.errors import UserError, listed, quantity
from detr_hf.labels import LabelMap, load_labels


class MergedLabels(NamedTuple):
    """A label map, and whether the recipe or the source gave it; else it was made of the data's classes."""

    labels: LabelMap
    is_given: bool


def merged_labels(
    categories: Iterable[dict[str, Any]],
    wanted: str | None,
    stuff: Iterable[str] = (),
    given: LabelMap | None = None,
    preset: str | None = None,
) -> MergedLabels:
    """The label map of the data set.

    Args:
        categories: the classes of the data, as `Source.categories` gives them.
        wanted: the recipe's ``labels``; None takes the first that has every class: the one beside the data,
            that of the ``preset``, and else one of the data: things by name, then stuff by name.
        stuff: classes that pseudo-labels may add.
        given: the label map that lies beside the data.
        preset: the recipe's ``preset``.

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
        return MergedLabels(labels, True)
    for known in (given, load_labels(preset) if preset is not None else None):
        if known is None or _unknown(classes, known):
            continue
        if any(name in known.label2id for name in classes):  # else all objects would be void
            return MergedLabels(known, True)
    ordered = sorted(classes.values(), key=lambda entry: (-entry["isthing"], entry["name"]))
    made = LabelMap.from_coco({**entry, "id": number} for number, entry in enumerate(ordered, start=1))
    return MergedLabels(made, False)


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
