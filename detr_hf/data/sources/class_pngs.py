"""Class PNGs: beside each image a PNG of the same stem with one class id or one color a pixel.

Formats: Cityscapes (https://github.com/mcordts/cityscapesScripts; its createPanopticImgs.py makes COCO
panoptic files of instances), CVAT's "Segmentation mask 1.1", Roboflow's "Semantic Segmentation Masks", and
folders of that kind, as CamVid and ADE20K have them. A class is one segment of an image; what `read.things`
names is split into connected parts. An image and its PNG are known by what their paths have in common.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.class_maps import ClassPng, with_segments
from detr_hf.data.sources.class_tables import FILE_NAMES, ClassTable, cityscapes_table, find_table, read_table
from detr_hf.data.sources.splits import DataSet, open_all, split_folder
from detr_hf.errors import UserError, quantity

FORMAT = "class-pngs"
TITLE = "class PNGs (Cityscapes, CamVid, ADE20K and the like)"
LOOKS_FOR = "images and PNGs of the same names in `masks` or `labels`, with classes.txt or class_dict.csv"
ORDER = 80

_LABEL_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "ann_dir", "gt", "gtfine"}
    | {"gtcoarse", "groundtruth", "segmentation", "segmentations", "segmentationclass", "semantic"}
)
_IMAGE_FOLDERS = frozenset({"images", "image", "img", "imgs", "img_dir", "leftimg8bit", "jpegimages", "rgb"})
_LABEL_ENDING = re.compile(r"(.+?)[_-]?(?:labels?|masks?|annot|annotations?|gt)")  # of a folder: train_labels
_IMAGE_ENDING = re.compile(r"[_-](?:images?|imgs?)$")
_LABEL_STEM = re.compile(r"_(?:gt(?:Fine|Coarse)_labelIds|labelIds|masks?|labels?|seg|semantic|gt|L)$")
_IMAGE_STEM = re.compile(r"_leftImg8bit$")
_SURE_STEM = re.compile(r"_(?:labelIds|masks?|labels?)$")  # says so outside of a folder of labels, too
_OTHERS = re.compile(r"_(?:color|instanceIds|labelTrainIds|labelLevel\d+Ids)$")


def detect(path: Path) -> bool:
    """Whether there are images with PNGs of their names, and a file of classes."""
    if not path.is_dir():
        return False
    try:
        _ClassPngs(Place(path, str(path)))
    except UserError:
        return False
    return True


def open_splits(place: Place) -> Opened:
    """The splits by the names of their folders, or all as "train".

    Raises:
        UserError: no image has a class PNG, there is no file of classes, or `read.things` names none of them.
    """
    return open_all(FORMAT, _ClassPngs(place))


@dataclass
class Pair:
    """An image and its class PNG, by their names within the folder; either may be missing."""

    image: str = ""
    png: str = ""

    @property
    def file_name(self) -> str:
        return self.image or self.png


class _ClassPngs(DataSet):
    is_panoptic = True

    def __init__(self, place: Place) -> None:
        self.place = place
        self._files = ImageFiles(place.path)
        self._not_read: list[str] = []
        pairs = sorted(self._pairs(), key=lambda pair: pair.file_name)
        if not any(pair.image and pair.png for pair in pairs):
            raise UserError(f"{place.name}: no image has a PNG of its name in a folder such as `masks`")
        splits: dict[str, list[Pair]] = {}
        for pair in pairs:
            splits.setdefault(_split_of(pair.file_name), []).append(pair)
        self.splits = {split: splits[split] for split in sorted(splits)}
        self._table_name = find_table(self._files.others)
        self.table = self._table(pairs)

    def _pairs(self) -> Iterable[Pair]:
        """A folder or a stem with "mask", "label" or the like holds class PNGs.

        Layouts: Cityscapes (leftImg8bit, gtFine), CamVid (train, train_labels), ADE20K (images/training,
        annotations/training), `images` beside `masks`, and x.jpg beside x_mask.png.
        """
        pairs: dict[str, Pair] = {}
        labels: list[tuple[list[str], str]] = []
        for name in self._files.names:
            folders, in_labels, in_images = _kind_of(name)
            stem, suffix = name.rpartition("/")[2].rsplit(".", 1)
            is_png = suffix.lower() == "png"
            if in_labels and (not is_png or _OTHERS.search(stem)):
                self._not_read.append(name)
            elif is_png and (in_labels or (not in_images and _SURE_STEM.search(stem))):
                labels.append(([folders + stem, folders + _LABEL_STEM.sub("", stem)], name))
            else:
                # Of two images of one stem, each is a pair of its own, so that none is lost.
                key = folders + _IMAGE_STEM.sub("", stem)
                pairs[key if key not in pairs else name] = Pair(image=name)
        for keys, name in labels:
            own = next((one for one in keys if one in pairs and not pairs[one].png), name)
            pairs.setdefault(own, Pair()).png = name
        return pairs.values()

    def _table(self, pairs: list[Pair]) -> ClassTable:
        if self._table_name is not None:
            table = read_table(self.place.path / self._table_name, self._table_name)
        elif any(pair.png.endswith("_labelIds.png") for pair in pairs):
            table = cityscapes_table()
        else:
            raise UserError(
                f"{self.place.name}: no file says which class a value or color is; put one there, such as "
                f"{FILE_NAMES[0]} (name,r,g,b) or classes.txt (a name a line, the first for value 0)"
            )
        things = set(self.place.reading.things)
        if missing := sorted(things - set(table.names)):
            known = ", ".join(table.names[:20])
            raise UserError(f"{self.place.name}: read.things: '{missing[0]}' is no class of {known}")
        return replace(table, things=frozenset(things))

    def categories(self) -> list[dict[str, Any]]:
        return self.table.categories()

    def issues(self) -> Iterable[Issue]:
        """Classes that are void, and files that are not read."""
        for row in self.table.rows:
            if row.is_void:
                yield Issue("class-void", f"'{row.name}'", self._table_name or "")
        if self._not_read:
            yield Issue("not-read", f"{quantity(len(self._not_read), 'file')}, such as {self._not_read[0]}")
        for name in self._files.links_out:
            yield Issue("image-link", f"'{name}' is a link out of {self._files.folder}", name)

    def sample(self, pair: Pair, number: int) -> Sample:
        folder = self.place.path
        made = Sample(folder / pair.image if pair.image else None, pair.file_name, number, [])
        if not pair.image:
            issue = Issue("image-missing", f"there is no image for {pair.png}", pair.png)
            return replace(made, issues=(issue,))
        if not pair.png:
            issue = Issue("no-annotations", "there is no class PNG for it", pair.image)
            return replace(made, issues=(issue,))
        return with_segments(made, ClassPng(folder / pair.png, self.table))


def _kind_of(name: str) -> tuple[str, bool, bool]:
    """The folders without what says image or label, and whether one says label, and one image."""
    parts = name.lower().split("/")[:-1]
    folders, in_labels = "", False
    for part in parts:
        if part in _LABEL_FOLDERS:
            in_labels = True
        elif found := _LABEL_ENDING.fullmatch(part):
            in_labels = True
            folders += f"{found[1]}/"
        elif part not in _IMAGE_FOLDERS:
            folders += _IMAGE_ENDING.sub("", part) + "/"
    return folders, in_labels, not _IMAGE_FOLDERS.isdisjoint(parts)


def _split_of(name: str) -> str:
    return split_folder(f"{_kind_of(name)[0]}x")
