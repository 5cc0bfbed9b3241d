"""Repaired samples as rows of the data set that training reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from detr_hf.data.issues import Issue
from detr_hf.data.repair import Repair
from detr_hf.data.sample import Sample
from detr_hf.labels import LabelMap

Holder = TypeVar("Holder", bound=Sample)


def with_classes(sample: Holder, labels: LabelMap, keep_void: bool = False) -> tuple[Holder, list[Issue]]:
    """The sample without the objects that are of no class of the label map, and what was left out.

    Args:
        keep_void: objects of void classes stay: a copy of the data holds what the data holds.
    """
    kept, issues = [], []
    for found in sample.objects:
        is_void = found.category in labels.void
        if found.category in labels.label2id or (is_void and keep_void):
            kept.append(found)
            continue
        code = "class-void" if is_void else "class-not-in-label-map"
        issues.append(Issue(code, f"{found.where}: '{found.category}'", sample.file_name))
    return (replace(sample, objects=kept) if issues else sample), issues


def to_row(sample: Sample, labels: LabelMap, with_images: bool = True) -> dict[str, Any]:
    """A repaired sample, all of its objects of the label map, with the columns of ``dataset_features``."""
    assert sample.size_hw is not None, "the sample has been repaired"
    row: dict[str, Any] = {
        "image_id": sample.image_id,
        "file_name": sample.file_name,
        "height": sample.size_hw[0],
        "width": sample.size_hw[1],
        "objects": {
            "id": [found.id for found in sample.objects],
            "bbox": [found.bbox for found in sample.objects],
            "category": [labels.label2id[found.category or ""] for found in sample.objects],
            "area": [found.area for found in sample.objects],
            "iscrowd": [found.iscrowd for found in sample.objects],
        },
    }
    if with_images:
        row["image"] = _stored(sample.image, sample.file_name)
        if sample.id_map is not None:
            row["panoptic"] = _stored(sample.id_map, f"{sample.file_name}.png")
    return row


def _stored(content: Any, name: str) -> Any:
    """A file by its path, anything else by its bytes, as ``datasets`` keeps images."""
    if isinstance(content, Path):
        return str(content)
    return {"bytes": content() if callable(content) else content, "path": name}


@dataclass(frozen=True)
class RowMaker:
    """A sample to a row, or to None where training must not see it; picklable, thread safe."""

    repair: Repair  # of the source
    labels: LabelMap  # of the run
    # whether rows hold ``image`` and ``panoptic``; not where they stay in a saved data set
    with_images: bool = True

    def __call__(self, sample: Sample) -> tuple[dict[str, Any] | None, list[Issue]]:
        """The row; None where there is an error or the image is dropped. And all that was found."""
        repaired = self.repair(sample)
        if repaired.sample is None:
            return None, repaired.issues
        kept, left_out = with_classes(repaired.sample, self.labels)
        issues = repaired.issues + left_out
        if any(issue.is_error for issue in issues):
            return None, issues
        return to_row(kept, self.labels, self.with_images), issues
