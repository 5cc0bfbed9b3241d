"""What a recipe names as its data, opened: the source of each role, and the label map beside it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place, Source
from detr_hf.data.sources.splits import SPELLINGS, TRAIN, VALIDATION
from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such
from detr_hf.labels import CONSTRUCTION, LabelMap, load_labels
from detr_hf.recipe import Data, Split
from detr_hf.recipe.prepare import Reading


@dataclass(frozen=True)
class OpenedData:
    """The data of a recipe."""

    splits: dict[str, Source]  # by role, "train" and maybe "validation"
    labels: LabelMap | None = None  # the label map that lies beside the data, if any
    # one sentence for each thing that was recognized or chosen
    remarks: list[str] = field(default_factory=list)


def open_data(data: Data) -> OpenedData:
    """Open what ``train``, ``validation``, ``source`` or ``dataset`` name.

    A path with splits of its own gives both: training reads its "train", validation its "validation", "valid"
    or "val", unless the recipe names another path for it, or other splits.

    Raises:
        UserError: no door knows a path, a split is missing, or one split has id maps and the other has none.
    """
    whole = data.train or data.source or _dataset(data)
    key = "train" if data.train else "source" if data.source else "dataset"
    names = load_labels(data.labels) if data.labels not in (None, CONSTRUCTION) else None
    opened, remark = open_split(whole, f"data.{key}", data.revision, labels=names)
    remarks = [remark] if remark else []
    train = split_of_role(opened, TRAIN, data.train_split, f"data.{key}")
    assert train is not None
    splits, labels = {TRAIN: train}, opened.labels
    if data.overfit is None and data.fold is None:
        if data.validation is not None:
            other, remark = open_split(data.validation, "data.validation", labels=names)
            remarks += [remark] if remark else []
            found = split_of_role(other, VALIDATION, data.validation_split, "data.validation")
            labels = labels or other.labels
        else:
            found = split_of_role(opened, VALIDATION, data.validation_split, f"data.{key}", is_needed=False)
            if found is None and len(opened.splits) > 1:
                remarks.append(f"data.{key} has no validation split among {', '.join(opened.splits)}")
        if found is not None:
            splits[VALIDATION] = found
            if found.key == train.key:
                remarks.append(
                    "validation uses the training images: its score shows overfitting, not quality"
                )
    for role, source in splits.items():  # of the data set, the first split may be one that is not read
        source.has_set_issues = role == TRAIN or data.validation not in (None, whole)
    _require_one_kind(splits)
    return OpenedData(splits, labels, remarks)


def open_split(
    split: Split,
    name: str,
    revision: str | None = None,
    reading: Reading | None = None,
    labels: LabelMap | None = None,
) -> tuple[Opened, str]:
    """Open one entry of a recipe's data, and the sentence that names its format (none for COCO by name).

    ``labels`` names classes that the data writes as numbers.

    Raises:
        UserError: no door knows the path, or it cannot be read.
    """
    reading = reading or Reading()
    images = Path(split.images) if split.images else None
    panoptic = Path(split.panoptic) if split.panoptic else None
    if split.path is None:
        assert split.annotations is not None, "the recipe makes sure that there is one"
        for key, folder in (("images", images), ("panoptic", panoptic)):
            if folder is not None and not folder.is_dir():
                raise UserError(f"{name}.{key} {folder}: {no_such(folder, 'folder')}")
        if not Path(split.annotations).is_file():
            raise UserError(f"{name}.annotations {split.annotations}: {no_such(split.annotations, 'file')}")
        place = Place(Path(split.annotations), name, images, panoptic, reading)
        return open_place(place, "coco-panoptic" if panoptic else "coco")[1], ""
    place = Place(
        Path(split.path),
        name if name == split.path else f"{name} {split.path}",
        images,
        panoptic,
        reading,
        revision,
        labels,
    )
    door, opened = open_place(place, split.format)
    found = ", ".join(f"{split} {len(source)}" for split, source in opened.splits.items())
    return opened, f"{split.path}: {door.TITLE} (format: {door.FORMAT}); images: {found}"


def _dataset(data: Data) -> Split:
    assert data.dataset is not None, "the recipe makes sure that there is a source"
    return Split(path=data.dataset, format=None if Path(data.dataset).exists() else "hub")


def split_name(known: Iterable[str], role: str) -> str | None:
    """What a data set calls the split of a role, by the usual spellings in any case."""
    by_key = {name.casefold(): name for name in reversed(list(known))}
    return next((by_key[spelling] for spelling in SPELLINGS[role] if spelling in by_key), None)


def split_of_role(opened: Opened, role: str, name: str, where: str, is_needed: bool = True) -> Source | None:
    """The split of a role: the one that is named, one under a usual name, or the only one.

    Raises:
        UserError: there is none, where one is needed or named.
    """
    known: Mapping[str, Source] = opened.splits
    called = name if name in known or name != role else split_name(known, role)
    found = known.get(called) if called is not None else None
    if found is None and len(known) == 1 and name == role and (role == TRAIN or is_needed):
        found = next(iter(known.values()))
    if found is None and (is_needed or name != role):
        raise UserError(
            f"{where}: there is no split '{name}'; it has {', '.join(known)}. Name one with data.{role}_split"
            + (", or --split" if role == VALIDATION else "")
        )
    return found


def _require_one_kind(splits: Mapping[str, Source]) -> None:
    with_maps = [role for role, source in splits.items() if source.is_panoptic]
    if 0 < len(with_maps) < len(splits):
        raise UserError(
            f"data: only {with_maps[0]} has panoptic id maps; both splits need them, or neither. "
            "`detr-hf convert PATH OUT --to coco-panoptic` paints them from outlines"
        )
