"""COCO detection JSON: `<split>/annotations.json`, and `data.yaml` for a recipe.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.data.id_maps import with_masks
from detr_hf.data.issues import Issue
from detr_hf.data.open_data import split_name
from detr_hf.data.sample import Sample
from detr_hf.data.sinks.base import IMAGES_FOLDER, ImageFolder, Sink, folder_of
from detr_hf.data.sinks.coco_files import CocoSplit
from detr_hf.data.sources.prepared import OTHER_SPLITS
from detr_hf.data.sources.splits import SPELLINGS, TRAIN
from detr_hf.files import write_text
from detr_hf.labels import LABEL_MAP_FILE
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import write_yaml

FORMAT = "coco"
TITLE = "COCO detection"

ANNOTATIONS_FILE = "annotations.json"


@dataclass
class Split:
    """A split under way."""

    files: ImageFolder
    coco: CocoSplit


class Writer(Sink):
    """Images stay where they are, unless they are copied to `<split>/images`.

    Annotations are numbered over all images of a split; ids of images and categories stay. Objects of an id
    map have their mask as run lengths. What entries hold besides is written back where it came from COCO.
    """

    annotations_file = ANNOTATIONS_FILE
    panoptic_folder: str | None = None

    def begin(self) -> None:
        """Nothing is there yet."""
        self._splits: dict[str, Split] = {}

    def split_of(self, name: str) -> Split:
        """Made when the split's first sample comes."""
        if name not in self._splits:
            folder = self.partial / folder_of(name)
            coco = CocoSplit(folder, {category["name"]: category["id"] for category in self.categories})
            self.open_files.callback(coco.close)
            self._splits[name] = Split(ImageFolder(folder / IMAGES_FOLDER, self.copy_images), coco)
        return self._splits[name]

    def write(self, split: str, sample: Sample) -> int:
        """One entry for the image, one for each object."""
        self.put_image(split, sample)
        self.split_of(split).coco.add_boxes(sample.image_id, with_masks(sample).objects)
        return len(sample.objects)

    def put_image(self, split: str, sample: Sample) -> None:
        """The image's entry, and its file where it is copied."""
        made = self.split_of(split)
        name = made.files.place(sample)
        if name != sample.file_name and made.files.root is None:
            self.note(split, [Issue("file-written-as", f"written as '{name}'", sample.file_name)])
        made.coco.add_image(sample, name)

    def finish(self) -> None:
        """The annotation file of each split, the label map if there is one, and ``data.yaml``."""
        kind = "detection" if self.panoptic_folder is None else "panoptic"
        for split in self._splits.values():
            split.coco.write(self.categories, **{kind: self.annotations_file})
        if self.labels is not None:
            self.labels.save(self.partial)
        write_text(self.partial / DATA_FILE, self._data_yaml())

    def _data_yaml(self) -> str:
        """The data section of a recipe; splits that a recipe has no name for stand beside it."""
        section: dict[str, Any] = {}
        rest = {split: self._splits[split] for split in self.written_splits}
        for role in SPELLINGS:
            split = split_name(rest, role)
            if split is None and role == TRAIN and len(rest) == 1:
                split = next(iter(rest))
            if split is not None:
                section[role] = self._split_entry(split, rest.pop(split))
        if self.labels is not None:
            section["labels"] = (self.folder / LABEL_MAP_FILE).as_posix()
        values = {"data": section}
        if rest:
            values[OTHER_SPLITS] = {name: self._split_entry(name, split) for name, split in rest.items()}
        return data_yaml(values)

    def _split_entry(self, name: str, split: Split) -> dict[str, str]:
        folder = self.folder / folder_of(name)
        images = folder / IMAGES_FOLDER if split.files.root is None else split.files.root
        return split_entry(folder, self.annotations_file, images, self.panoptic_folder)


def split_entry(folder: Path, annotations: str, images: Path, panoptic: str | None) -> dict[str, str]:
    """A split in the data section of a recipe."""
    entry = {"annotations": folder / annotations, "images": images}
    if panoptic is not None:
        entry["panoptic"] = folder / panoptic
    return {key: path.as_posix() for key, path in entry.items()}


def data_yaml(values: dict[str, Any]) -> str:
    """The text of ``data.yaml``."""
    head = "# Paste `data` into a recipe of either stage; paths are relative to where training starts.\n"
    return head + write_yaml(values)
