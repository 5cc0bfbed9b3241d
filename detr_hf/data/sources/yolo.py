"""YOLO: Ultralytics' data.yaml, Darknet's obj.data, or images and label files with a list of classes.

Formats: Ultralytics' https://docs.ultralytics.com/datasets/detect and .../segment; Darknet's
https://github.com/AlexeyAB/darknet#how-to-train-to-detect-your-custom-objects, as CVAT writes it
(https://docs.cvat.ai/docs/dataset_management/formats/format-yolo); folders as Label Studio and others export
them (``images``, ``labels``, ``classes.txt``). An image without a label file counts as a negative, and is
told.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from detr_hf.data.image_files import first_files, is_image
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, head_of
from detr_hf.data.sources.splits import SPLITS, TRAIN, DataSet, open_all
from detr_hf.data.sources.yolo_files import Listed, YoloFiles
from detr_hf.data.sources.yolo_labels import annotations_of, lines_of, looks_like_labels, read_lines
from detr_hf.errors import UserError
from detr_hf.foreign_files import read_bytes
from detr_hf.images import look_at_image

FORMAT = "yolo"
TITLE = "YOLO (Ultralytics or Darknet)"
LOOKS_FOR = "data.yaml with `names` and `train`, obj.data, or classes.txt and images with a .txt each"
ORDER = 50

MAX_CONFIG_BYTES = 4_000_000
CLASS_FILES = ("classes.txt", "obj.names", "labels/classes.txt", "images/classes.txt")
BROKEN = "data.yaml"
LOOKED_AT = 200  # label files in each folder until one has a line
_YAML, _DARKNET = (".yaml", ".yml"), ".data"
_KEY = re.compile(r"^['\"]?(\w+)['\"]?\s*[:=]", re.MULTILINE)


def detect(path: Path) -> bool:
    """Whether the path is or holds a data.yaml or obj.data, or holds label files and a list of classes."""
    try:
        if config_of(path) is not None:
            return True
        # One that cannot be read is refused, not left out.
        is_named = path.is_dir() and (_class_file(path) is not None or (path / BROKEN).is_file())
        return is_named and any(map(looks_like_labels, first_files(path, ".txt", LOOKED_AT)))
    except OSError:
        return False


def config_of(path: Path) -> Path | None:
    """The data.yaml that a path is or holds, or its only YAML file of that kind, or its obj.data."""
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    found = [file for file in files if file.suffix.lower() in (*_YAML, _DARKNET) and _is_config(file)]
    named = [file for file in found if file.stem in ("data", "dataset") and file.suffix != _DARKNET]
    others = [file for file in found if file.suffix != _DARKNET]
    lists = [file for file in found if file.suffix == _DARKNET]
    return next(iter(named or (others if len(others) == 1 else lists)), None)


def _is_config(file: Path) -> bool:
    keys = set(_KEY.findall(head_of(file, 1_000_000).decode("utf-8-sig", "replace")))
    # Two of the three: `nc` alone is in the description of a network, too.
    return sum(("names" in keys, "nc" in keys, not keys.isdisjoint(SPLITS))) >= 2


def _class_file(folder: Path) -> Path | None:
    return next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)


def open_splits(place: Place) -> Opened:
    """Raises:
    UserError: a configuration or list cannot be read, there are no classes, or no training images.
    """
    return open_all(FORMAT, _Yolo(place))


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


def _read_darknet(file: Path, files: YoloFiles) -> dict[str, Any]:
    """An obj.data in the terms of a data.yaml."""
    lines = [line for _, line in lines_of(read_bytes(file, MAX_CONFIG_BYTES)) if not line.startswith("#")]
    said = {key.strip(): value.strip() for key, _, value in (line.partition("=") for line in lines)}
    names = said.get("names", "")
    found, _ = files.find_entry(names)
    if not found or not found[0].is_file():
        raise UserError(f"{file}: `names: {names[:200]}`: there is no such list of classes in {files.root}")
    return {**said, "names": _lines_by_number(found[0]), "nc": said.get("classes", "")}


def _lines_by_number(file: Path) -> dict[str, str]:
    """One class a line, numbered from 0."""
    content = read_bytes(file, MAX_CONFIG_BYTES, "list of classes")
    return {str(number - 1): line for number, line in lines_of(content)}


def _names_in(content: dict[str, Any], file: Path, issues: list[Issue]) -> dict[int, str]:
    """The classes by number, without those that have no number or no name.

    Raises:
        UserError: ``names`` is no list.
    """
    said, count = content.get("names"), str(content.get("nc", ""))
    if not isinstance(said, list | dict) or not said:
        raise UserError(f"{file}: `names` must list the classes, and is {str(said or 'not there')[:60]}")
    by_number: Mapping[Any, Any] = dict(enumerate(said)) if isinstance(said, list) else said
    names: dict[int, str] = {}
    seen: dict[str, int] = {}
    wrong = []
    for key, value in by_number.items():
        if not re.fullmatch(r"\d{1,9}", str(key)) or not isinstance(value, str) or not value.strip():
            wrong.append(f"class {str(key)[:40]}: {str(value)[:60]!r}")
            continue
        names[int(key)] = name = value.strip()
        if (first := seen.setdefault(name, int(key))) != int(key):
            wrong.append(f"classes {first} and {key} are both '{name}'")
    if count and count != str(len(by_number)):
        wrong.append(f"`nc` is {count[:20]}, and `names` has {len(by_number)}")
    issues += [Issue("category-invalid", text, file.name) for text in wrong]
    return dict(sorted(names.items()))


class _Yolo(DataSet):
    def __init__(self, place: Place) -> None:
        self.place = place
        self._files = YoloFiles(place.path if place.path.is_dir() else place.path.parent, place.images)
        self._issues: list[Issue] = []
        file, content = self._configuration()
        self._names = _names_in(content, file, self._issues)
        self._is_pose = bool(content.get("kpt_shape"))
        if self._is_pose:
            text = "`kpt_shape`: boxes are read, key points are not"
            self._issues.append(Issue("not-taken", text, file.name))
        paths = {split: self._found(split, content, file) for split in SPLITS}
        if not any(content.get(split) for split in SPLITS):  # as supervision writes it, too
            paths = self._by_folders()
        self.splits = {split: self._listed(split, found) for split, found in paths.items() if found}

    def _configuration(self) -> tuple[Path, dict[str, Any]]:
        """The file that names the classes, and what it says in the terms of a data.yaml."""
        path = self.place.path
        if (config := config_of(path)) is not None:
            is_darknet = config.suffix == _DARKNET
            return config, _read_darknet(config, self._files) if is_darknet else _read_yaml(config)
        broken = path / BROKEN if path.is_dir() else path
        if broken.is_file():
            _read_yaml(broken)  # says what is wrong with it
        if (listed := _class_file(path)) is None:
            raise UserError(f"{self.place.name}: there is no data.yaml, obj.data or classes.txt in {path}")
        return listed, {"names": _lines_by_number(listed)}

    def _found(self, split: str, content: dict[str, Any], file: Path) -> list[Path]:
        """Folders, lists and images that the entries of one split mean.

        Raises:
            UserError: training images are not there.
        """
        below = str(content.get("path") or "")
        said_here = content.get(split)
        entries = said_here if isinstance(said_here, list) else [said_here]
        found = []
        for entry in filter(None, entries):
            said = f"`{split}: {str(entry)[:200]}`" + (f" with `path: {below[:200]}`" if below else "")
            paths, guessed = self._files.find_entry(str(entry), below)
            if not paths:
                home = self._files.images.folder
                text = f"{said}: there is no such place in {home}, and no other folder is read"
                if split == TRAIN:
                    raise UserError(f"{file}: {text}; put the images there, or name their folder")
                code = "split-missing" if len(entries) == 1 else "image-missing"
                self._issues.append(Issue(code, text, file.name))
            elif guessed:
                shown = paths[0].relative_to(self._files.home_of(paths[0])).as_posix()
                self._issues.append(Issue("file-renamed", f"{said} is taken as '{shown}'", file.name))
            found += paths
        return found

    def _by_folders(self) -> dict[str, list[Path]]:
        """As the folders have them: ``train/images``, ``images/train``, or all images as "train"."""
        home, splits = self._files.images.folder, {}
        for split in SPLITS:
            starts = (f"{split}/images/", f"images/{split}/")
            splits[split] = [
                home / start for start in starts if any(name.startswith(start) for name in self._files.names)
            ]
        if any(splits.values()):
            return splits
        return {TRAIN: [home / "images" if (home / "images").is_dir() else home]}

    def _listed(self, split: str, paths: list[Path]) -> list[Listed]:
        """The images of a split, each once, in the order of their folders and lists."""
        every = [image for path in paths for image in self._files.images_of(path)]
        found = {image.name or image.said: image for image in reversed(every)}
        counts = Counter(image.name or image.said for image in every)
        repeated = (key for key, count in counts.items() if count > 1)
        self._issues += [Issue("image-twice", f"in split '{split}'", key) for key in repeated]
        if not found:
            code = "image-missing" if split == TRAIN else "split-missing"
            self._issues.append(Issue(code, f"split '{split}' holds no image"))
        return [found[key] for key in counts]

    def categories(self) -> list[dict[str, Any]]:
        first = {name: number for number, name in reversed(self._names.items())}
        return [{"id": number, "name": name} for name, number in reversed(first.items())]

    def issues(self) -> Iterator[Issue]:
        yield from self._issues
        for link in self._files.images.links_out:
            if not is_image(link) and (self._files.images.folder / link).is_dir():
                yield Issue("image-link", "it leads out of the data's folder", link)
        images = [image for found in self.splits.values() for image in found]
        yield from self._files.orphans(image.said for image in images if image.name is None)
        rest = self._files.names.union(self._files.links_out).difference(
            image.name or image.said for image in images
        )
        yield from (Issue("file-unlisted", "it is in no split", name) for name in sorted(rest))

    def sample(self, image: Listed, number: int) -> Sample:
        issues = [image.issue] if image.issue is not None else []
        if image.name is None:
            return Sample(None, image.said[:200], number, [], issues=tuple(issues))
        path = self._files.images.folder / image.name
        made = Sample(path, image.name, number, [], issues=tuple(issues))
        try:
            facts = look_at_image(path, image.name, decode=False)
        except UserError:  # `repair` says what is wrong with the image
            return made
        label, name, issue = self._files.label_of(image)
        issues += [issue] if issue is not None else []
        objects: list[Annotation] = []
        try:
            lines = read_lines(label, name) if label is not None else []
            objects, found = annotations_of(lines, facts.size_hw, self._names, self._is_pose)
            issues += [Issue(code, f"{name}, {text}", image.name) for code, text in found]
        except UserError as error:
            issues.append(Issue("annotation-unreadable", str(error), image.name))
        return replace(made, objects=objects, declared_hw=facts.size_hw, issues=tuple(issues), facts=facts)
