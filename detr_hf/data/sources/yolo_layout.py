"""What a YOLO data set says about itself: its classes and splits.

Formats: Ultralytics' https://docs.ultralytics.com/datasets/detect (``data.yaml``), and folders without a
configuration as Label Studio and others export them (``images``, ``labels``, ``classes.txt``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from detr_hf.data.image_files import IMAGE_SUFFIXES
from detr_hf.data.issues import Issue
from detr_hf.data.sources.yolo_files import YoloFiles
from detr_hf.data.sources.yolo_labels import lines_of, looks_like_labels
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, read_bytes

MAX_CONFIG_BYTES = 4_000_000
SPLITS = ("train", "val", "valid", "validation", "test")
CLASS_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "images/classes.txt")
LOOKED_AT = 200  # label files in each folder until one has a line
_YAML = (".yaml", ".yml")
_KEY = re.compile(r"^['\"]?(\w+)['\"]?\s*:", re.MULTILINE)


@dataclass(frozen=True)
class Layout:
    """What the data set says.

    Attributes:
        names: of the classes, by number; None where it names none.
        splits: of each split, folders, lists and images.
        pose_values: how many values of a pose follow a box.
        issues: what is wrong with it.
    """

    names: dict[int, str] | None
    splits: dict[str, list[Path]]
    pose_values: int = 0
    issues: list[Issue] = field(default_factory=list)


def config_of(folder: Path) -> Path | None:
    """The data.yaml of a folder, or its only YAML file of that kind; None where there is none."""
    if not folder.is_dir():
        return folder if folder.suffix.lower() in _YAML and _is_config(folder) else None
    known = [folder / f"{stem}{suffix}" for stem in ("data", "dataset") for suffix in _YAML]
    found = next((file for file in known if file.is_file() and _is_config(file)), None)
    if found is not None:
        return found
    others = [file for file in sorted(folder.iterdir()) if file.suffix.lower() in _YAML and _is_config(file)]
    return others[0] if len(others) == 1 else None


def _is_config(file: Path) -> bool:
    try:
        with open_file(file) as opened:
            head = opened.read(1_000_000).decode("utf-8-sig", "replace")
    except UserError:
        return False
    keys = set(_KEY.findall(head))
    # Two of the three: `nc` alone is in the description of a network, too.
    return sum(("names" in keys, "nc" in keys, not keys.isdisjoint(SPLITS))) >= 2


def is_bare(folder: Path) -> bool:
    """Whether a folder without a configuration holds YOLO's label files and images."""
    if not folder.is_dir():
        return False
    if (folder / "labels").is_dir() and (folder / "images").is_dir() and class_file(folder) is not None:
        return True
    places = [folder / "labels", *(folder / "labels" / split for split in SPLITS)]
    places += [folder / split / "labels" for split in SPLITS]
    beside = [folder, *(folder / split for split in SPLITS)]
    return any(map(_has_labels, places)) or any(_has_labels(place, of_images=True) for place in beside)


def _has_labels(folder: Path, of_images: bool = False) -> bool:
    """Whether a folder holds label files, or such that lie beside their images."""
    if not folder.is_dir():
        return False
    files = sorted(folder.iterdir())
    texts = [file for file in files if file.suffix.lower() == ".txt"]
    if of_images:
        stems = {file.stem for file in files if file.suffix.lower() in IMAGE_SUFFIXES}
        texts = [file for file in texts if file.stem in stems]
    return any(map(looks_like_labels, texts[:LOOKED_AT]))


def class_file(folder: Path) -> Path | None:
    """The list of classes in a folder without a configuration."""
    return next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)


def bare_layout(files: YoloFiles, names: dict[int, str] | None = None) -> Layout:
    """Splits as the folders have them: ``train/images``, ``images/train``, or all images as "train"."""
    issues: list[Issue] = []
    listed = class_file(files.root)
    if names is None and listed is not None:
        names = read_class_names(listed, issues)
    home = files.images.folder
    splits = {}
    for split in SPLITS:
        starts = (f"{split}/images/", f"images/{split}/")
        found = [home / start for start in starts if any(name.startswith(start) for name in files.names)]
        if found:
            splits[split] = found
    if not splits:
        splits["train"] = [home / "images" if (home / "images").is_dir() else home]
    return Layout(names, splits, issues=issues)


def read_class_names(file: Path, issues: list[Issue]) -> dict[int, str]:
    """One class a line, numbered from 0.

    Raises:
        UserError: the file cannot be read.
    """
    text = read_bytes(file, MAX_CONFIG_BYTES, "list of classes").decode("utf-8-sig", "replace")
    return checked_names({str(number - 1): line for number, line in lines_of(text)}, file.name, issues)


def checked_names(said: Mapping[Any, Any], file: str, issues: list[Issue]) -> dict[int, str]:
    """Names by number; what is no number or no name is left out and told."""
    names = {}
    for key, value in said.items():
        if not re.fullmatch(r"\d{1,9}", str(key)) or not isinstance(value, str) or not value.strip():
            issues.append(Issue("category-invalid", f"class {str(key)[:40]}: {str(value)[:60]!r}", file))
            continue
        names[int(key)] = value.strip()
    seen: dict[str, int] = {}
    for number, name in sorted(names.items()):
        if (first := seen.setdefault(name, number)) != number:
            issues.append(Issue("category-invalid", f"classes {first} and {number} are both '{name}'", file))
    return dict(sorted(names.items()))


def yaml_layout(file: Path, files: YoloFiles) -> Layout:
    """The layout that a data.yaml describes.

    Raises:
        UserError: it is no YAML, names no classes, or its training images are not in its folder.
    """
    content = _read_yaml(file)
    issues: list[Issue] = []
    names = _names_in(content, file.name, issues)
    pose_values = _pose_values(content.get("kpt_shape"))
    if pose_values:
        issues.append(Issue("not-taken", "`kpt_shape`: boxes are read, key points are not", file.name))
    splits: dict[str, list[Path]] = {}
    for split in SPLITS:
        said = content.get(split)
        entries = [str(entry) for entry in (said if isinstance(said, list) else [said]) if entry]
        found = _found(entries, split, content, files, issues, file)
        if found:
            splits[split] = found
    if not splits and not any(content.get(split) for split in SPLITS):  # as supervision writes it
        bare = bare_layout(files, names)
        return Layout(names, bare.splits, pose_values, [*issues, *bare.issues])
    return Layout(names, splits, pose_values, issues)


def _pose_values(shape: Any) -> int:
    """Values of a pose behind its box: K points of 2 or 3 values, ``kpt_shape: [K, 2 or 3]``."""
    sizes = [str(size) for size in shape] if isinstance(shape, list) else []
    if len(sizes) != 2 or not all(re.fullmatch(r"\d{1,4}", size) for size in sizes):
        return 0
    return int(sizes[0]) * int(sizes[1])


def _found(
    entries: list[str],
    split: str,
    content: dict[str, Any],
    files: YoloFiles,
    issues: list[Issue],
    file: Path,
) -> list[Path]:
    """What the entries of one split mean.

    Raises:
        UserError: training images are not there.
    """
    home = files.images.folder
    below = str(content.get("path") or "")
    found = []
    for entry in entries:
        said = f"`{split}: {entry[:200]}`" + (f" with `path: {below[:200]}`" if below else "")
        paths, guessed = files.find_entry(entry, below)
        if not paths:
            text = f"{said}: there is no such place in {home}, and no other folder is read"
            if split == "train":
                raise UserError(f"{file}: {text}; put the images there, or name their folder")
            issues.append(Issue("image-missing", text, file.name))
        elif guessed:
            shown = paths[0].relative_to(files.home_of(paths[0])).as_posix()
            issues.append(Issue("file-renamed", f"{said} is taken as '{shown}'", file.name))
        found += paths
    return found


def _read_yaml(file: Path) -> dict[str, Any]:
    """The mapping in a file. Every value stays the text that it is: a class may be called "no" or "1.0"."""
    text = read_bytes(file, MAX_CONFIG_BYTES).decode("utf-8-sig", "replace")
    try:
        content = yaml.load(text, Loader=yaml.BaseLoader)  # makes nothing but texts, lists and dicts
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise UserError(f"{file} is not valid YAML ({str(error)[:200]})") from None
    if not isinstance(content, dict):
        raise UserError(f"{file} holds no mapping with `names` and `train`")
    return content


def _names_in(content: dict[str, Any], file: str, issues: list[Issue]) -> dict[int, str] | None:
    """The classes; None where they are only counted."""
    said, count = content.get("names"), str(content.get("nc", ""))
    if isinstance(said, str) and said.strip():
        raise UserError(f"{file}: `names` is '{said[:60]}'; it must list the classes")
    if not said:
        return None
    by_number = dict(enumerate(said)) if isinstance(said, list) else said
    names = checked_names(by_number, file, issues)
    if count and count != str(len(by_number)):
        text = f"`nc` is {count[:20]}, and `names` has {len(by_number)}"
        issues.append(Issue("category-invalid", text, file))
    return names
