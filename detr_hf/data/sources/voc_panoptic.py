"""Pascal VOC's segmentation as panoptic truth: a PNG of classes and one of objects for each image.

Their specification: http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html, section 2.3.
Classes are palette entries in the order of the challenge's 20 classes, 0 is background and 255 the void
border. CVAT ("Segmentation mask 1.1", "PASCAL VOC 1.1") writes colors and names them in ``labelmap.txt``;
labelme's ``labelme2voc.py`` writes palette entries and names them in ``class_names.txt``. All classes are
things. An object is what has one class and one object number; pixels of a class without an object number
are one object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.image_files import first_files
from detr_hf.data.issues import Issue
from detr_hf.data.repair_id_map import png_bytes
from detr_hf.data.sample import Annotation, Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.voc_layout import MASK_FOLDERS, Entry, Key, Layout, below
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, read_bytes
from detr_hf.images import decode_labels

FORMAT = "voc-panoptic"
TITLE = "Pascal VOC's segmentation (PNGs of classes and objects)"
LOOKS_FOR = "SegmentationClass, SegmentationObject and ImageSets/Segmentation, without ImageSets/Main"
ORDER = 54  # before "voc", which reads the boxes of the same folder

VOC_CLASSES = (
    *("background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train"),
    "tvmonitor",
)
VOID_NAMES = ("background", "_background_", "__ignore__", "void", "ignore")
VOID = 255  # the border around objects
MAX_TEXT_BYTES = 1_000_000
MOST_SEGMENTS = 10_000

Color = tuple[int, int, int]


def detect(path: Path) -> bool:
    """Whether the folder, or one a few levels below, has both kinds of PNG and is not made for boxes."""
    masks = (file.parent for file in first_files(path, ".png") if path.is_dir())
    return any(_is_root(folder.parent) for folder in masks if folder.name == MASK_FOLDERS[0])


def _is_root(root: Path) -> bool:
    sets = root / "ImageSets"
    of_masks = (sets / "Segmentation").is_dir() and not (sets / "Main").is_dir()
    of_labelme = (root / "class_names.txt").is_file() and not (root / "Annotations").is_dir()
    return (root / MASK_FOLDERS[1]).is_dir() and (of_masks or of_labelme)


def voc_color(number: int) -> Color:
    """The challenge's color of a class or object: the bits of its number go to red, green, blue in turn."""
    color = [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            color[channel] |= (number >> (3 * bit + channel) & 1) << (7 - bit)
    return color[0], color[1], color[2]


@dataclass(frozen=True)
class ClassTable:
    """What the pixels of a class PNG stand for.

    Attributes:
        names: by number.
        colors: by number.
        by_color: whether colors count where a PNG has a palette, too.
    """

    names: tuple[str, ...] = VOC_CLASSES
    colors: tuple[Color, ...] = tuple(map(voc_color, range(len(VOC_CLASSES))))
    by_color: bool = False

    def number_of(self, value: int, is_color: bool) -> int | None:
        """Of the class of a pixel; None where it is void, -1 where it is not in the table."""
        if is_color:
            color = (value & 255, value >> 8 & 255, value >> 16)
            number = self.colors.index(color) if color in self.colors else -1
            is_border = number < 0 and color == voc_color(VOID)
        else:
            number = value if value < len(self.names) else -1
            is_border = value == VOID
        is_void = is_border or (number >= 0 and self.names[number].lower() in VOID_NAMES)
        return None if is_void else number


def read_table(root: Path) -> ClassTable:
    """The classes of a folder: ``labelmap.txt`` ("name:r,g,b:parts:actions"), ``class_names.txt``, or VOC's.

    Raises:
        UserError: a file cannot be read, or has a line that names no color.
    """
    if (root / "labelmap.txt").exists():
        lines = _lines(root, "labelmap.txt")
        rows = [line.split(":") for line in lines if not line.startswith("#")]
        try:
            colors = [_color(row[1]) for row in rows]
        except (ValueError, IndexError):
            raise UserError(f"{root / 'labelmap.txt'}: its lines must be 'name:red,green,blue::'") from None
        return ClassTable(tuple(row[0].strip() for row in rows), tuple(colors), by_color=True)
    if (root / "class_names.txt").exists():
        names = tuple(_lines(root, "class_names.txt"))
        names = names[1:] if names[:1] == ("__ignore__",) else names  # number -1
        return ClassTable(names, tuple(map(voc_color, range(len(names)))))
    return ClassTable()


def _lines(root: Path, name: str) -> list[str]:
    text = read_bytes(inside(root, name), MAX_TEXT_BYTES).decode("utf-8-sig", "replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _color(text: str) -> Color:
    red, green, blue = (int(word) for word in text.split(","))
    return red, green, blue


class SizesDifferError(UserError):
    """The two PNGs of an image are not of one size."""


@dataclass(frozen=True)
class Segments:
    """The two PNGs of an image as one id map.

    Attributes:
        ids: int32 [H, W], 0 is void.
        segments: numbered from 1; their ``category`` is None where the table does not have their class.
        without_class: objects that lie on background alone.
    """

    ids: NDArray[np.int32]
    segments: list[Annotation]
    without_class: int


def segments_of(classes: Path, objects: Path, table: ClassTable) -> Segments:
    """Read the PNGs of an image.

    Raises:
        UserError: a PNG cannot be read, or holds more objects than a labeled one does.
        SizesDifferError: see there.
    """
    class_values, is_color = _values(decode_labels(classes, classes.name, table.by_color))
    object_values, is_object_color = _values(decode_labels(objects, objects.name))
    if class_values.shape != object_values.shape:
        raise SizesDifferError(f"{classes.name}: the PNGs of classes and of objects differ in size")
    border = _packed(voc_color(VOID)) if is_object_color else VOID
    pairs, places = np.unique(class_values << 24 | object_values, return_inverse=True)
    if len(pairs) > MOST_SEGMENTS:
        raise UserError(f"{classes.name}: {len(pairs)} combinations of class and object; these are no labels")
    ids = np.zeros(len(pairs), np.int32)
    segments: list[Annotation] = []
    kept, lost = {0, border}, set()
    for place, pair in enumerate(pairs.tolist()):
        value, one = pair >> 24, pair & (1 << 24) - 1
        number = table.number_of(value, is_color)
        if number is None or one == border:
            lost.add(one)
            continue
        kept.add(one)
        ids[place] = id_ = len(segments) + 1
        said = f"color {value & 255}, {value >> 8 & 255}, {value >> 16}" if is_color else value
        category = table.names[number] if number >= 0 else None
        segments.append(Annotation(id_, category, where=f"segment {id_}", category_id=said))
    return Segments(ids[places.reshape(class_values.shape)], segments, len(lost - kept))


def id_map_of(classes: Path, objects: Path, table: ClassTable) -> bytes:
    """The id map of ``segments_of`` as the bytes of a PNG."""
    return png_bytes(segments_of(classes, objects, table).ids)


def _values(pixels: np.ndarray) -> tuple[NDArray[np.int64], bool]:
    """One number a pixel, R + 256 G + 65536 B of a color; and whether they are colors."""
    wide = pixels.astype(np.int64)
    return (wide, False) if wide.ndim == 2 else (wide @ np.array([1, 256, 65536]), True)


def _packed(color: Color) -> int:
    return color[0] + 256 * color[1] + 65536 * color[2]


def open_splits(place: Place) -> Opened:
    """The image sets of ``ImageSets/Segmentation``, or all as "train".

    Raises:
        UserError: there are no PNGs of classes and objects, or the classes cannot be read.
    """
    layout = Layout(place.path, place.images, lambda path: None)
    splits = layout.splits("Segmentation")
    pngs = [_pngs_in(layout, folder) for folder in MASK_FOLDERS]
    if not all(pngs):
        raise UserError(f"{place.name}: there are no PNGs in {' and '.join(MASK_FOLDERS)} of {place.path}")
    roots = {root for root, _, _ in below(layout.files.names, MASK_FOLDERS[0])}
    tables = {root: read_table(place.path / root) for root in roots}
    every = {name for table in tables.values() for name in table.names if name.lower() not in VOID_NAMES}
    data = _Data(place, layout, pngs, tables, sorted(every))
    return Opened({split: VocPanopticSource(data, split, splits) for split in splits})


def _pngs_in(layout: Layout, folder: str) -> dict[Key, str]:
    found = below(layout.files.names, folder)
    return {layout.key_of_mask(root, inner): name for root, inner, name in found}


@dataclass(frozen=True)
class _Data:
    """What the splits of one data set share."""

    place: Place
    layout: Layout
    pngs: list[dict[Key, str]]  # of classes, of objects
    tables: dict[str, ClassTable]  # by the folder that holds both
    names: list[str]


class VocPanopticSource(Source):
    """One split of a data set with PNGs of classes and objects."""

    is_panoptic = True

    def __init__(self, data: _Data, split: str, splits: dict[str, list[Entry]]) -> None:
        self._data, self._split, self._is_first = data, split, split == next(iter(splits))
        self._entries = splits[split]
        self.name = data.place.name if len(splits) == 1 else f"{data.place.name}, split '{split}'"

    @property
    def key(self) -> str:
        place = self._data.place
        folders = [hash_of_folder(folder) for folder in (place.path, place.images) if folder is not None]
        return hash_of_words([FORMAT, self._split, *folders])

    def categories(self) -> list[dict[str, Any]]:
        colors = {
            name: list(color)
            for table in self._data.tables.values()
            for name, color in zip(table.names, table.colors, strict=True)
        }
        return [
            {"id": id_, "name": name, "isthing": 1, "color": colors[name]}
            for id_, name in enumerate(self._data.names, start=1)
        ]

    def issues(self) -> Iterable[Issue]:
        """Of the data set as a whole; the first split has them."""
        found = self._data.layout.issues if self._is_first else []
        return (issue for issue in found if issue.file.rpartition("/")[2] not in MASK_FOLDERS)

    def samples(self) -> Iterator[Sample]:
        for number, entry in enumerate(self._entries, start=1):
            yield self._sample(entry, number)

    def __len__(self) -> int:
        return len(self._entries)

    def _sample(self, entry: Entry, number: int) -> Sample:
        if entry.image is None:
            return Sample(None, entry.file_name, number, [], issues=entry.issues)
        layout, file = self._data.layout, entry.image
        key = layout.key_of_image(file)
        names = [pngs.get(key) for pngs in self._data.pngs]
        issues, segments, id_map = list(entry.issues), [], None
        if names == [None, None] and not layout.has_sets:
            issues.append(Issue("unlisted", "no PNGs of classes and objects", file))
        elif None in names:
            missing = [folder for folder, name in zip(MASK_FOLDERS, names, strict=True) if name is None]
            issues.append(Issue("png-missing", f"in {' and '.join(missing)}", file))
        else:
            classes, objects = (layout.folder / str(name) for name in names)
            root = next(root for root, _, _ in below([str(names[0])], MASK_FOLDERS[0]))
            table = self._data.tables[root]
            try:
                found = segments_of(classes, objects, table)
            except UserError as error:
                code = "png-size" if isinstance(error, SizesDifferError) else "png-unreadable"
                issues.append(Issue(code, str(error), file))
            else:
                segments, id_map = found.segments, partial(id_map_of, classes, objects, table)
                if found.without_class:
                    issues.append(
                        Issue("category-unknown", f"{found.without_class} objects on background", file)
                    )
        return Sample(layout.image_root / file, file, number, segments, id_map=id_map, issues=tuple(issues))
