"""What `detr-hf check` is pointed at, as splits: an annotation file, a prepared folder, a saved data set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import read_json
from detr_hf.labels import LabelMap, load_labels
from detr_hf.prepare.build import coco_source
from detr_hf.prepare.hf import SavedSplit, open_saved
from detr_hf.prepare.source import MAX_JSON_BYTES, Source
from detr_hf.recipe import Data, Split, recipe_from_text
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import read_yaml, write_yaml

SAVED_MARKS = ("dataset_dict.json", "state.json")
USUAL_IMAGES = ("images", "")
USUAL_PNGS = ("panoptic", "{stem}", "")


@dataclass(frozen=True)
class Target:
    """What to check.

    Attributes:
        name: for people.
        splits: how to open each split's source; opening may raise UserError, which is a finding like others.
        labels: the label map, where it does not come from the data.
        data: the same as a recipe names it.
    """

    name: str
    splits: dict[str, Callable[[], Source]]
    labels: LabelMap | None
    data: Data


def open_target(target: str, images: str | None = None, panoptic: str | None = None) -> Target:
    """A COCO JSON with its folders, a folder that `detr-hf prepare` wrote, or a saved DatasetDict.

    Args:
        target: the file or folder.
        images, panoptic: folders of a JSON; where left out, the usual places beside it are tried.

    Raises:
        UserError: it is none of these, or a folder is missing.
    """
    path = Path(target)
    if path.is_file():
        return target_of_data(Data(train=_split_of_json(path, images, panoptic)), target, only="train")
    if images or panoptic:
        raise UserError(f"{target}: --images and --panoptic belong to a COCO JSON file")
    if not path.is_dir():
        raise UserError(f"{target}: there is no such file or folder")
    if (path / DATA_FILE).is_file():
        return target_of_data(data_of_folder(path), target)
    if any((path / mark).is_file() for mark in SAVED_MARKS):
        return _whole_saved(path)
    raise UserError(
        f"{target}: the folder holds no {DATA_FILE} (of `detr-hf prepare`) and no saved data set; "
        "give the COCO JSON, or a recipe"
    )


def target_of_data(data: Data, name: str, only: str | None = None) -> Target:
    """The data of a recipe, without ``demo``. ``only`` names the one split that a single file stands for.

    Raises:
        UserError: the data set is streamed, or see ``open_saved``.
    """
    if data.streaming:
        raise UserError(
            "data.streaming: a check reads a data set whole, which a stream is not made for; its images are "
            "checked one by one as the training reads them"
        )
    if data.dataset is not None:
        wanted = (data.train_split, data.validation_split)
        return _saved_target(data, name, wanted)
    labels = load_labels(data.labels) if data.labels is not None else None
    given = {"train": data.train, "validation": data.validation}
    if only:
        assert data.train is not None
        return Target(name, {Path(name).stem: _opener(data.train, name)}, labels, data)
    splits = {role: _opener(split, f"data.{role}") for role, split in given.items() if split is not None}
    return Target(name, splits, labels, data)


def _opener(split: Split, name: str) -> Callable[[], Source]:
    return lambda: coco_source(split, name)


def _whole_saved(folder: Path) -> Target:
    return _saved_target(Data(dataset=str(folder)), str(folder), None)


def _saved_target(data: Data, name: str, wanted: tuple[str, ...] | None) -> Target:
    assert data.dataset is not None
    saved = open_saved(data.dataset, data.revision)
    labels = load_labels(data.labels) if data.labels is not None else saved.labels
    chosen = [split for split in saved.splits if wanted is None or split in wanted]
    if not chosen:
        raise UserError(f"{name}: the data set has no split {' or '.join(wanted or ())}")

    def opener(split: str) -> Callable[[], Source]:
        return lambda: SavedSplit(saved.splits[split], f"{name}, split '{split}'", saved.roots, labels)

    return Target(name, {split: opener(split) for split in chosen}, labels, data)


def data_of_folder(folder: Path) -> Data:
    """The data section that `detr-hf prepare` (or ``--fix``) left in a folder.

    Paths are taken as they are, or, where there is nothing, as relative to the folder.

    Raises:
        UserError: the file is no data section.
    """
    file = folder / DATA_FILE
    values, faults = read_yaml(file.read_text(encoding="utf-8"), str(file))
    if faults:
        raise UserError("\n  ".join([f"{file}:", *map(str, faults)]))
    section = values.get("data", values) if isinstance(values, dict) else None
    if not isinstance(section, dict):
        raise UserError(f"{file}: this is not the data section of a recipe")
    data = _checked_data(section, str(file))
    labels = data.labels
    if labels is not None and not Path(labels).exists() and (folder / labels).exists():
        labels = str(folder / labels)
    train = data.train and _found_from(folder, data.train)
    validation = data.validation and _found_from(folder, data.validation)
    return replace(data, labels=labels, train=train, validation=validation)


def _checked_data(section: dict[str, Any], source: str) -> Data:
    """Read through the recipe's own checks, as the data of a run that is never started."""
    train = section.get("train")
    is_panoptic = isinstance(train, dict) and "panoptic" in train
    run: dict[str, Any] = {
        "task": "detection",
        "output_dir": "unused",
        "optim": {"epochs": 1},
        "data": section,
    }
    if is_panoptic:
        run |= {"task": "panoptic", "model": {"detector": "unused"}}
    return recipe_from_text(write_yaml(run), source=source).data


def _found_from(folder: Path, split: Split) -> Split:
    def found(name: str | None) -> str:
        assert name is not None
        return name if Path(name).exists() or not (folder / name).exists() else str(folder / name)

    panoptic = None if split.panoptic is None else found(split.panoptic)
    return Split(annotations=found(split.annotations), images=found(split.images), panoptic=panoptic)


def _split_of_json(path: Path, images: str | None, panoptic: str | None) -> Split:
    content = read_json(path, any_number=True, max_bytes=MAX_JSON_BYTES)
    annotations = content.get("annotations")
    first = annotations[0] if isinstance(annotations, list) and annotations else None
    is_panoptic = panoptic is not None or (isinstance(first, dict) and "segments_info" in first)
    folder = images or _beside(path, USUAL_IMAGES, content.get("images"), "--images")
    if not is_panoptic:
        return Split(annotations=str(path), images=folder)
    pngs = panoptic or _beside(path, USUAL_PNGS, annotations, "--panoptic")
    return Split(annotations=str(path), images=folder, panoptic=pngs)


def _beside(path: Path, names: tuple[str, ...], entries: Any, flag: str) -> str:
    """The folder beside a JSON that holds one of the first files that it lists."""
    listed = [entry.get("file_name") for entry in entries[:20]] if isinstance(entries, list) else []
    for name in names:
        folder = path.parent / name.format(stem=path.stem)
        if any(isinstance(file, str) and (folder / file).is_file() for file in listed):
            return str(folder)
    raise UserError(f"{path}: the files that it lists are not beside it; give their folder with {flag}")
