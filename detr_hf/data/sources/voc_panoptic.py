"""Pascal VOC's segmentation as panoptic truth: a PNG of classes and one of objects for each image.

Their specification: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 2.3.
Classes are palette entries in the order of the challenge's 20 classes, 0 is background and 255 the void
border. CVAT ("Segmentation mask 1.1", "PASCAL VOC 1.1") writes colors and names them in ``labelmap.txt``;
labelme's ``labelme2voc.py`` writes palette entries and names them in ``class_names.txt``. All classes are
things. An object is what has one class and one object number; pixels of a class without an object number
are one object.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from detr_hf.data.image_files import first_files
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.class_maps import ClassPng, voc_color, with_segments
from detr_hf.data.sources.class_tables import ClassRow, ClassTable, read_table
from detr_hf.data.sources.pairing import Entry, paired
from detr_hf.data.sources.splits import DataSet, open_all
from detr_hf.data.sources.voc_files import MASK_FOLDERS, VocFiles, key_of
from detr_hf.errors import UserError

FORMAT = "voc-panoptic"
TITLE = "Pascal VOC's segmentation (PNGs of classes and objects)"
LOOKS_FOR = "SegmentationClass, SegmentationObject and ImageSets/Segmentation, without XML files"
ORDER = 54  # before "voc", which reads the boxes of the same folder

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
VOID = 255  # the border around objects


def detect(path: Path) -> bool:
    """Whether the folder, or one a few levels below, has both kinds of PNG and is not made for boxes."""
    masks = (file.parent for file in first_files(path, ".png") if path.is_dir())
    return any(_is_root(folder.parent) for folder in masks if folder.name == MASK_FOLDERS[0])


def _is_root(root: Path) -> bool:
    sets = root / "ImageSets"
    has_boxes = (sets / "Main").is_dir() and any((root / "Annotations").glob("*.xml"))
    of_masks = (sets / "Segmentation").is_dir() and not has_boxes
    of_labelme = (root / "class_names.txt").is_file() and not (root / "Annotations").is_dir()
    return (root / MASK_FOLDERS[1]).is_dir() and (of_masks or of_labelme)


def open_splits(place: Place) -> Opened:
    """The image sets of ``ImageSets/Segmentation``, or all as "train".

    Raises:
        UserError: there are no PNGs of classes and objects, or the classes cannot be read.
    """
    return open_all(FORMAT, _VocPanoptic(place))


def _table(files: VocFiles) -> ClassTable:
    """The classes of ``labelmap.txt`` or ``class_names.txt``, or VOC's.

    Raises:
        UserError: a file cannot be read, names no color, or there are several that differ.
    """
    found = [
        name for name in files.files.others if PurePosixPath(name).name in ("labelmap.txt", "class_names.txt")
    ]
    tables = {name: read_table(files.files.folder / name, name) for name in found}
    if len(set(tables.values())) > 1:
        raise UserError(f"{files.files.folder}: {' and '.join(found[:2])} differ; open each folder by itself")
    rows = next(iter(tables.values())).rows if tables else ()
    colors = [row.color is not None for row in rows]
    is_bare = not any(colors) and all(row.is_void for row in rows[:1])  # datumaro's, of palette entries
    if any(name.endswith("labelmap.txt") for name in found) and not all(colors) and not is_bare:
        raise UserError(f"{found[0]}: its lines must be 'name:red,green,blue::'")
    rows = rows or tuple(ClassRow(name, value, is_void=not value) for value, name in enumerate(VOC_CLASSES))
    colored = [row if row.color else replace(row, color=voc_color(row.value or 0)) for row in rows]
    border = ClassRow("void", VOID, voc_color(VOID), is_void=True)
    return ClassTable((*colored, border), frozenset(row.name for row in rows))


class _VocPanoptic(DataSet):
    """A folder with PNGs of classes and objects."""

    is_panoptic = True

    def __init__(self, place: Place) -> None:
        self.place = place
        self._files = VocFiles(place)
        self._pngs = [self._files.masks(folder) for folder in MASK_FOLDERS]
        if not all(self._pngs):
            raise UserError(
                f"{place.name}: there are no PNGs in {' and '.join(MASK_FOLDERS)} of {place.path}"
            )
        self._table = _table(self._files)
        self.splits = self._files.in_splits(paired({}, self._files.images, key_of), "segmentation")
        self._files.tell_skipped(apart_from=MASK_FOLDERS)

    def categories(self) -> list[dict[str, Any]]:
        return self._table.categories()

    def issues(self) -> Iterable[Issue]:
        return self._files.issues

    def sample(self, entry: Entry, number: int) -> Sample:
        made = Sample(None, entry.file_name, number, [], issues=entry.issues)
        if entry.image is None:
            return made
        made = replace(made, image=self._files.images.folder / entry.image)
        names = [pngs.get(key_of(entry.image), "") for pngs in self._pngs]
        missing = [folder for folder, name in zip(MASK_FOLDERS, names, strict=True) if not name]
        if len(missing) == 2 and not self._files.has_sets:
            return replace(made, issues=(Issue("unlisted", "no PNGs of classes and objects", entry.image),))
        if missing:
            issue = Issue("png-missing", f"in {' and '.join(missing)}", entry.image)
            return replace(made, issues=(*entry.issues, issue))
        classes, objects = (self.place.path / name for name in names)
        return with_segments(made, ClassPng(classes, self._table, objects))
