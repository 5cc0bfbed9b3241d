"""A folder that `detr-hf prepare`, `check --fix` or `convert` wrote: its data.yaml names COCO files.

The file is the data section of a recipe. Its paths are taken as they are, or, where there is nothing, as
relative to the folder, which may have been moved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place, Source
from detr_hf.errors import UserError
from detr_hf.foreign_files import read_bytes
from detr_hf.labels import LabelMap, load_labels
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import read_yaml

FORMAT = "prepared"
TITLE = "a folder that detr-hf wrote"
LOOKS_FOR = f"{DATA_FILE} with a section `data`"
ORDER = 0
MAX_YAML_BYTES = 1_000_000
OTHER_SPLITS = "other_splits"
"""Key beside `data` for splits that a recipe has no name for."""


def detect(path: Path) -> bool:
    """Whether it is such a folder, or its data.yaml."""
    try:
        return bool(_section(_file(path)))
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """Each split that the file names, and the label map that it names or that lies in the folder."""
    file = _file(place.path)
    folder, section = file.parent, _section(file)
    splits: dict[str, Source] = {}
    for role, entry in section.items():
        if role == "labels" or not isinstance(entry, dict):
            continue
        paths = {key: _found_from(folder, entry, key, file) for key in ("annotations", "images")}
        panoptic = _found_from(folder, entry, "panoptic", file) if entry.get("panoptic") else None
        name = f"{place.name}, {role}"
        inner = Place(paths["annotations"], name, paths["images"], panoptic, place.reading)
        _, opened = open_place(inner, "coco" if panoptic is None else "coco-panoptic")
        splits[role] = next(iter(opened.splits.values()))
    if not splits:
        raise UserError(f"{file}: names no split; `data` needs `train` with annotations and images")
    return Opened(splits, _labels(folder, section.get("labels")))


def _file(path: Path) -> Path:
    return path / DATA_FILE if path.is_dir() else path


def _section(file: Path) -> dict[str, Any]:
    """The section `data` of the file with its other splits; empty where it names none or cannot be read."""
    if file.name != DATA_FILE:
        return {}
    text = read_bytes(file, MAX_YAML_BYTES).decode("utf-8", "replace")
    values, faults = read_yaml(text, str(file))
    section = values.get("data") if isinstance(values, dict) and not faults else None
    if not isinstance(section, dict):
        return {}
    others = values.get(OTHER_SPLITS)
    section = section | (others if isinstance(others, dict) else {})
    return section if any(isinstance(entry, dict) and "images" in entry for entry in section.values()) else {}


def _found_from(folder: Path, entry: dict[str, Any], key: str, file: Path) -> Path:
    """A path as it stands, or relative to the folder; by its last parts where the folder was moved."""
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise UserError(f"{file}: `{key}` is missing; write the folder again")
    path = Path(value)
    if path.exists():
        return path
    parts = path.relative_to(path.anchor).parts
    for start in range(len(parts)):
        if (moved := folder.joinpath(*parts[start:])).exists():
            return moved
    raise UserError(f"{file}: `{key}` names {value}, and there is no such file or folder")


def _labels(folder: Path, value: Any) -> LabelMap | None:
    if not isinstance(value, str) or not value:
        return None
    path = Path(value)
    if not path.exists() and (folder / path.name).exists():
        return load_labels(str(folder / path.name))
    return load_labels(value)
