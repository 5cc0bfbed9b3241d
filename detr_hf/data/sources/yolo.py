"""YOLO: Ultralytics' data.yaml, Darknet's obj.data, or folders of images and label files alone.

Formats: https://docs.ultralytics.com/datasets/detect, https://docs.ultralytics.com/datasets/segment; see
`yolo_layout`, `darknet` and `yolo_labels` for what is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from detr_hf.data.issues import Issue
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.darknet import darknet_config, darknet_layout
from detr_hf.data.sources.yolo_files import Listed, YoloFiles
from detr_hf.data.sources.yolo_labels import LabelFormat, annotations_of, class_numbers, read_label_text
from detr_hf.data.sources.yolo_layout import Layout, bare_layout, config_of, is_bare, yaml_layout
from detr_hf.errors import UserError
from detr_hf.images import image_size

FORMAT = "yolo"
TITLE = "YOLO (Ultralytics or Darknet)"
LOOKS_FOR = (
    "data.yaml with `names` and `train`, obj.data, or images with a .txt each: in the folders images and "
    "labels, or side by side"
)
ORDER = 50


def detect(path: Path) -> bool:
    """Whether the path is or holds a data.yaml or obj.data, or holds label files."""
    try:
        return config_of(path) is not None or darknet_config(path) is not None or is_bare(path)
    except OSError:
        return False


def open_splits(place: Place) -> Opened:
    """Open the data set.

    Raises:
        UserError: its configuration or a list of images cannot be read, or its training images are not there.
    """
    path = place.path
    files = YoloFiles(path if path.is_dir() else path.parent, place.images)
    config, darknet = config_of(path), darknet_config(path)
    if config is not None:
        layout = yaml_layout(config, files)
    elif darknet is not None:
        layout = darknet_layout(darknet, files)
    elif path.is_dir():
        layout = bare_layout(files)
    else:
        raise UserError(f"{place.name}: there are no `names` and no `train` in it")
    data = YoloData(files, layout)
    several = len(layout.splits) > 1
    return Opened(
        {
            split: YoloSource(data, split, f"{place.name}, split '{split}'" if several else place.name)
            for split in layout.splits
        }
    )


class YoloData:
    """What the splits of a data set share."""

    def __init__(self, files: YoloFiles, layout: Layout) -> None:
        self.files = files
        self.layout = layout
        self.repeats: Counter[str] = Counter()

    @cached_property
    def key(self) -> str:
        return hash_of_words(hash_of_folder(folder.folder) for folder in self.files.folders)

    @cached_property
    def label_format(self) -> LabelFormat:
        """With names for the classes; where there are none, "class_0" and so on for those in label files."""
        names = self.layout.names
        if names is None:
            texts = self.files.label_files()
            found = {number for path, name in texts for number in class_numbers(path, name)}
            names = {number: f"class_{number}" for number in sorted(found)}
        return LabelFormat(names, self.layout.pose_values)

    @cached_property
    def listed(self) -> dict[str, list[Listed]]:
        """The images of each split, each once, in the order of their folders and lists."""
        return {split: list(self._by_name(split).values()) for split in self.layout.splits}

    def _by_name(self, split: str) -> dict[str, Listed]:
        found: dict[str, Listed] = {}
        for path in self.layout.splits[split]:
            for image in self.files.images_of(path):
                if found.setdefault(image.name or image.said, image) is not image:
                    self.repeats[split] += 1
        return found

    def issues(self) -> Iterator[Issue]:
        """Of the data set as a whole."""
        yield from self.layout.issues
        if self.layout.names is None:
            yield Issue("class-names", f"{len(self.label_format.names)} classes are called class_0 and so on")
        for split, found in self.listed.items():
            if not found:
                yield Issue("image-missing", f"split '{split}' holds no image")
            if self.repeats[split]:
                yield Issue("image-twice", f"{self.repeats[split]} images of split '{split}'")
        folders = (path for paths in self.layout.splits.values() for path in paths)
        yield from self.files.links_out_of(folders)
        images = [image for images in self.listed.values() for image in images]
        yield from self.files.orphans(image.said for image in images if image.name is None)
        yield from self.files.unlisted(image.name for image in images if image.name is not None)


class YoloSource(Source):
    """One split. An image without a label file counts as a negative, and is told."""

    def __init__(self, data: YoloData, split: str, name: str) -> None:
        self.name = name
        self._data = data
        self._split = split

    @property
    def key(self) -> str:
        return hash_of_words([FORMAT, self._split, self._data.key])

    def categories(self) -> list[dict[str, Any]]:
        by_name: dict[str, int] = {}
        for number, name in self._data.label_format.names.items():
            by_name.setdefault(name, number)
        return [{"id": number, "name": name} for name, number in by_name.items()]

    def issues(self) -> Iterable[Issue]:
        """What concerns the whole data set is told with its first split alone."""
        return self._data.issues() if self._split == next(iter(self._data.layout.splits)) else ()

    def samples(self) -> Iterator[Sample]:
        for number, image in enumerate(self._data.listed[self._split], start=1):
            yield self._sample(number, image)

    def __len__(self) -> int:
        return len(self._data.listed[self._split])

    def _sample(self, number: int, image: Listed) -> Sample:
        issues = [image.issue] if image.issue is not None else []
        if image.name is None:
            return Sample(None, image.said, number, [], issues=tuple(issues))
        path = self._data.files.images.folder / image.name
        try:
            size_hw = image_size(path, image.name)
        except UserError:  # `repair` says what is wrong with the image
            return Sample(path, image.name, number, [], issues=tuple(issues))
        objects, found = self._objects(image, size_hw)
        return Sample(path, image.name, number, objects, size_hw, issues=(*issues, *found))

    def _objects(self, image: Listed, size_hw: tuple[int, int]) -> tuple[list[Annotation], list[Issue]]:
        assert image.name is not None
        label = self._data.files.label_of(image)
        issues = [label.issue] if label.issue is not None else []
        if label.path is None:
            return [], issues
        try:
            text = read_label_text(label.path, label.name)
        except UserError as error:
            return [], [*issues, Issue("annotation-unreadable", str(error), image.name)]
        objects, found = annotations_of(text, size_hw, self._data.label_format, label.name, image.name)
        return objects, [*issues, *found]
