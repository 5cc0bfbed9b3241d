"""COCO detection JSON: `<split>/annotations.json`, and `data.yaml` for a recipe.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.data.id_maps import with_masks
from detr_hf.data.issues import Issue
from detr_hf.data.open_data import SPELLINGS, TRAIN
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sinks.base import IMAGES_FOLDER, ImageFolder, Sink, folder_of
from detr_hf.data.sinks.json_lists import JsonList, write_coco
from detr_hf.data.sources.prepared import OTHER_SPLITS
from detr_hf.files import write_text
from detr_hf.labels import LABEL_MAP_FILE
from detr_hf.recipe.data import DATA_FILE
from detr_hf.recipe.yaml_text import write_yaml

FORMAT = "coco"
TITLE = "COCO detection"

ANNOTATIONS_FILE = "annotations.json"
DIGITS = 6  # of a pixel; what is behind them is noise of the conversion


@dataclass
class SplitFiles:
    """The lists and images of a split under way."""

    files: ImageFolder
    images: JsonList
    annotations: JsonList


class Writer(Sink):
    """Images stay where they are, unless they are copied to `<split>/images`.

    Annotations are numbered over all images of a split; ids of images and categories stay. Objects of an id
    map have their mask as run lengths. What entries hold besides is written back where it came from COCO.
    """

    annotations_file = ANNOTATIONS_FILE
    panoptic_folder: str | None = None

    def begin(self) -> None:
        """Nothing is there yet."""
        self._splits: dict[str, SplitFiles] = {}
        self.category_ids = {category["name"]: category["id"] for category in self.categories}

    def split_folder(self, split: str) -> Path:
        """Of the partial data set."""
        return self.partial / folder_of(split)

    def files_of(self, split: str) -> SplitFiles:
        """Made when the split's first sample comes."""
        if split not in self._splits:
            folder = self.split_folder(split)
            lists = [self.list_file(f"{folder.name}/{name}.part") for name in ("images", "annotations")]
            self._splits[split] = SplitFiles(ImageFolder(folder / IMAGES_FOLDER, self.copy_images), *lists)
        return self._splits[split]

    def write(self, split: str, sample: Sample) -> int:
        """One entry for the image, one for each object."""
        files = self.files_of(split)
        self.put_image(split, sample)
        for found in with_masks(sample).objects:
            entry = {"id": files.annotations.length + 1, "image_id": sample.image_id, **self.entry(found)}
            shape = found.segmentation
            entry["segmentation"] = shape if isinstance(shape, dict) else _rounded(shape or [])
            files.annotations.add(with_extra(entry, found.extra))
        return len(sample.objects)

    def put_image(self, split: str, sample: Sample) -> None:
        """The image's entry, and its file where it is copied."""
        assert sample.size_hw is not None
        files = self.files_of(split)
        name = files.files.place(sample)
        if name != sample.file_name and files.files.root is None:
            self.note(split, [Issue("file-written-as", f"written as '{name}'", sample.file_name)])
        height, width = sample.size_hw
        entry = {"id": sample.image_id, "file_name": name, "width": width, "height": height}
        files.images.add(with_extra(entry, sample.extra))

    def entry(self, found: Annotation) -> dict[str, Any]:
        """What detection and panoptic entries have in common."""
        assert found.category is not None
        entry = {
            "category_id": self.category_ids[found.category],
            "bbox": _rounded(found.bbox),
            "area": _rounded(found.area),
            "iscrowd": int(found.iscrowd),
        }
        return entry | ({"score": found.score} if found.score is not None else {})

    def finish(self) -> None:
        """The annotation file of each split, the label map if there is one, and ``data.yaml``."""
        for split, files in self._splits.items():
            file = self.split_folder(split) / self.annotations_file
            write_coco(file, self.categories, files.images, files.annotations)
        if self.labels is not None:
            self.labels.save(self.partial)
        write_text(self.partial / DATA_FILE, self._data_yaml())

    def _data_yaml(self) -> str:
        """The data section of a recipe; splits that a recipe has no name for stand beside it."""
        section: dict[str, Any] = {}
        rest = {split: self._splits[split] for split in self.written_splits}
        for role, spellings in SPELLINGS.items():
            split = next((name for name in spellings if name in rest), None)
            if split is None and role == TRAIN and len(rest) == 1:
                split = next(iter(rest))
            if split is not None:
                section[role] = self._split_entry(split, rest.pop(split))
        if self.labels is not None:
            section["labels"] = (self.folder / LABEL_MAP_FILE).as_posix()
        text = "# Paste `data` into a recipe; paths are relative to where training starts.\n"
        values = {"data": section}
        if rest:
            values[OTHER_SPLITS] = {split: self._split_entry(split, files) for split, files in rest.items()}
        return text + write_yaml(values)

    def _split_entry(self, split: str, files: SplitFiles) -> dict[str, str]:
        folder = self.folder / folder_of(split)
        images = folder / IMAGES_FOLDER if files.files.root is None else files.files.root
        entry = {"annotations": folder / self.annotations_file, "images": images}
        if self.panoptic_folder is not None:
            entry["panoptic"] = folder / self.panoptic_folder
        return {key: path.as_posix() for key, path in entry.items()}


def with_extra(entry: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """The entry, then what the source had besides."""
    return entry | {key: value for key, value in extra.items() if key not in entry}


def _rounded(value: Any) -> Any:
    """Numbers, alone or in lists, without the noise of a conversion."""
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return round(value, DIGITS) if isinstance(value, float) else value
