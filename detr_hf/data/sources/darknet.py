"""Darknet's obj.data with its lists, as Darknet and CVAT's "YOLO 1.1" write them.

Formats: https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects and
https://docs.cvat.ai/docs/dataset_management/formats/format-yolo
"""

from __future__ import annotations

from pathlib import Path

from detr_hf.data.issues import Issue
from detr_hf.data.sources.yolo_files import YoloFiles
from detr_hf.data.sources.yolo_labels import lines_of
from detr_hf.data.sources.yolo_layout import MAX_CONFIG_BYTES, Layout, read_class_names
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, read_bytes

SPLITS = ("train", "valid", "test")


def darknet_config(path: Path) -> Path | None:
    """The obj.data that a path is or holds; None where there is none."""
    files = sorted(path.glob("*.data")) if path.is_dir() else [path]
    return next((file for file in files if file.suffix == ".data" and _is_config(file)), None)


def _is_config(file: Path) -> bool:
    try:
        said = _settings(file)
    except UserError:
        return False
    return "names" in said and any(split in said for split in SPLITS)


def _settings(file: Path) -> dict[str, str]:
    text = read_bytes(file, MAX_CONFIG_BYTES, "file").decode("utf-8-sig", "replace")
    pairs = [line.split("=", 1) for _, line in lines_of(text) if "=" in line and not line.startswith("#")]
    return {key.strip(): value.strip() for key, value in pairs}


def darknet_layout(file: Path, files: YoloFiles) -> Layout:
    """The layout that an obj.data describes.

    Raises:
        UserError: its list of classes or of training images is not beside it.
    """
    said = _settings(file)
    issues: list[Issue] = []
    names_file = _beside(file, said["names"])
    if names_file is None:
        raise UserError(f"{file}: the list of classes '{said['names'][:200]}' is not beside it")
    names = read_class_names(names_file, issues)
    if said.get("classes", str(len(names))) != str(len(names)):
        text = f"`classes` is {said['classes'][:20]}, and {names_file.name} has {len(names)}"
        issues.append(Issue("category-invalid", text, file.name))
    splits = {}
    for split in SPLITS:
        if not said.get(split):
            continue
        found = _beside(file, said[split])
        if found is not None:
            splits[split] = [found]
        elif split == "train":
            raise UserError(f"{file}: the list of images '{said[split][:200]}' is not beside it")
        else:
            issues.append(Issue("image-missing", f"the list '{said[split][:200]}' is not there", file.name))
    return Layout(names, splits, issues=issues)


def _beside(file: Path, said: str) -> Path | None:
    """A file that obj.data names, relative to its folder or to Darknet's own: by its last parts."""
    parts = [part for part in said.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    for start in range(len(parts)):
        try:
            found = inside(file.parent, "/".join(parts[start:]))
        except UserError:
            continue
        if found.is_file():
            return found
    return None
