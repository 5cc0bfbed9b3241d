"""Step `merge`: the records of all class folders in one file, numbered, under one label map."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from detr_hf.data.raw.findings import Finding, finding_to_list
from detr_hf.data.raw.reading.folders import FolderFacts
from detr_hf.data.records import RawPanoptic, Record, write_records
from detr_hf.errors import UserError, listed
from detr_hf.labels import LabelMap, construction_labels, load_labels


def merged_labels(folders: Iterable[FolderFacts], wanted: str | None, stuff: Iterable[str]) -> LabelMap:
    """The label map of the data set.

    Args:
        folders: their categories are the classes of the data.
        wanted: the recipe's ``labels``; None takes the construction preset when every class is in it, and
            makes a label map of the data otherwise: things by name, then stuff by name.
        stuff: classes that pseudo-labels may add.

    Raises:
        UserError: classes are missing in the label map, or a class is called thing here and stuff there.
    """
    classes = _classes(folders, stuff)
    preset = construction_labels() if wanted is None else load_labels(wanted)
    unknown = [name for name in classes if name not in preset.label2id and name not in preset.void]
    if wanted is not None and unknown:
        raise UserError(
            f"labels: {len(unknown)} classes of the raw folder are not in the label map {wanted}: "
            f"{listed(unknown)}. Rename them, or give a label map that has them"
        )
    if not unknown:
        return preset
    ordered = sorted(classes.values(), key=lambda entry: (-entry["isthing"], entry["name"]))
    return LabelMap.from_coco({"id": number, **entry} for number, entry in enumerate(ordered, start=1))


def _classes(folders: Iterable[FolderFacts], stuff: Iterable[str]) -> dict[str, dict[str, Any]]:
    classes: dict[str, dict[str, Any]] = {}
    first: dict[str, str] = {}
    entries = [(facts.class_folder, entry) for facts in folders for entry in facts.categories]
    entries += [("the stuff mapping", {"name": name, "isthing": 0}) for name in stuff]
    for where, entry in entries:
        known = classes.setdefault(entry["name"], entry)
        first.setdefault(entry["name"], where)
        if known["isthing"] != entry["isthing"]:
            kinds = ["stuff", "a thing"]
            raise UserError(
                f"class {entry['name']} is {kinds[known['isthing']]} in {first[entry['name']]} and "
                f"{kinds[entry['isthing']]} in {where}; correct `isthing` in one of them"
            )
    if not classes:
        raise UserError("no class folder has an annotation file with categories; there is nothing to prepare")
    return classes


def merge_records(records: Iterable[Record], labels: LabelMap, out: Path) -> int:
    """Write ``records.jsonl``, ``findings.jsonl`` and ``label_map.json`` into ``out``.

    Records come in the order of their class folders and names, and are numbered from 1. Objects of void
    classes are left out. One record is in memory at a time. Returns the number of records.
    """
    out.mkdir(parents=True, exist_ok=True)
    labels.save(out)
    with (out / "findings.jsonl").open("w", encoding="utf-8", newline="\n") as lines:

        def numbered() -> Iterator[Record]:
            for number, record in enumerate(records, start=1):
                made, findings = _labeled(replace(record, id=number), labels)
                if findings:
                    line = {"findings": [finding_to_list(finding) for finding in findings]}
                    lines.write(f"{json.dumps(line)}\n")
                yield made

        count = write_records(out / "records.jsonl", numbered())
    return count


def _labeled(record: Record, labels: LabelMap) -> tuple[Record, list[Finding]]:
    """The record without what counts as void, and with things and stuff as the label map has them."""
    objects = [found for found in record.objects if found.category in labels.label2id]
    void = [f"annotation {found.source_id}" for found in record.objects if found not in objects]
    panoptic = record.panoptic
    if panoptic is not None:
        kept = [
            replace(segment, isthing=labels.kind(segment.category) == "thing")
            for segment in panoptic.segments
            if segment.category in labels.label2id
        ]
        ids = {segment.id for segment in kept}
        void += [f"segment {segment.id}" for segment in panoptic.segments if segment.id not in ids]
        panoptic = RawPanoptic(panoptic.png, kept)
    findings = [Finding("void_class", record.file, where) for where in void]
    return replace(record, objects=objects, panoptic=panoptic), findings
