"""Class PNGs: beside each image a PNG of the same stem with one class id or one color a pixel.

Formats: Cityscapes (https://github.com/mcordts/cityscapesScripts), CamVid
(http://mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid/), ADE20K's scene parsing
(http://sceneparsing.csail.mit.edu/), CVAT's "Segmentation mask 1.1", Roboflow's "Semantic Segmentation
Masks", and folders of that kind. A class is one segment of an image; what `read.things` names is split into
connected parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_folder, hash_of_words
from detr_hf.data.sources.class_maps import id_map_png, known_share, segments_of
from detr_hf.data.sources.class_pairs import Pair, Pairs, find_pairs
from detr_hf.data.sources.class_tables import (
    FILE_NAMES,
    FIRST_CITYSCAPES_THING,
    ClassTable,
    cityscapes_table,
    find_table,
    read_table,
)
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file

FORMAT = "class-pngs"
TITLE = "class PNGs (Cityscapes, CamVid, ADE20K and the like)"
LOOKS_FOR = "images and PNGs of the same names in `masks` or `labels`, with classes.txt or class_dict.csv"
ORDER = 80

PNG_START = b"\x89PNG\r\n\x1a\n"
TRIES = 3  # PNGs that are looked at, as one may be damaged
KNOWN_SHARE = 0.5  # of the pixels that must be in the table, else these are no class PNGs


def detect(path: Path) -> bool:
    """Whether there are images with PNGs of their names, and a file of classes that fits one of these."""
    if not path.is_dir():
        return False
    try:
        data = _Data(Place(path, str(path)))
    except UserError:
        return False
    pngs = (pair.png for pairs in data.pairs.by_split.values() for pair in pairs if pair.image and pair.png)
    return any(_fits(path / png, data.table) for png, _ in zip(pngs, range(TRIES), strict=False))


def _fits(png: Path, table: ClassTable) -> bool:
    try:
        with open_file(png) as file:
            if file.read(len(PNG_START)) != PNG_START:
                return False
        return known_share(png, table) >= KNOWN_SHARE
    except UserError:
        return False


def open_splits(place: Place) -> Opened:
    """The splits by the names of their folders, or all as "train".

    Raises:
        UserError: no image has a class PNG, there is no file of classes, or `read.things` names none of them.
    """
    data = _Data(place)
    return Opened({split: ClassPngSource(data, split) for split in data.pairs.by_split})


class _Data:
    """What the splits share: the pairs and the classes."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.files = ImageFiles(place.path)
        self.pairs: Pairs = find_pairs(self.files)
        every = [pair for pairs in self.pairs.by_split.values() for pair in pairs]
        if not any(pair.image and pair.png for pair in every):
            raise UserError(f"{place.name}: no image has a PNG of its name in a folder such as `masks`")
        self.table_name = find_table(self.files.others)
        self.table = self._table(every)

    def _table(self, pairs: list[Pair]) -> ClassTable:
        has_instances = any(pair.instances for pair in pairs)
        if self.table_name is not None:
            table = read_table(self.place.path / self.table_name, self.table_name)
        elif any(pair.png and pair.png.endswith("_labelIds.png") for pair in pairs):
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
        if has_instances and self.table_name is None:
            things |= {row.name for row in table.rows if (row.value or 0) >= FIRST_CITYSCAPES_THING}
        return replace(table, things=frozenset(things))


class ClassPngSource(Source):
    """One split of images with class PNGs."""

    is_panoptic = True

    def __init__(self, data: _Data, split: str) -> None:
        self._data, self._split = data, split
        self._pairs = data.pairs.by_split[split]
        several = len(data.pairs.by_split) > 1
        self.name = f"{data.place.name}, split '{split}'" if several else data.place.name

    @property
    def key(self) -> str:
        place = self._data.place
        return hash_of_words([FORMAT, self._split, repr(place.reading), hash_of_folder(place.path)])

    def categories(self) -> list[dict[str, Any]]:
        return self._data.table.categories()

    def issues(self) -> Iterable[Issue]:
        """Classes that are void, and files that are not read; the first split has them."""
        data = self._data
        if self._split != next(iter(data.pairs.by_split)):
            return
        for row in data.table.rows:
            if row.is_void:
                yield Issue("class-void", f"'{row.name}'", data.table_name or "")
        if unread := data.pairs.not_read:
            yield Issue("not-read", f"{len(unread)} files, such as {unread[0]}")
        for name in data.files.links_out:
            yield Issue("image-link", f"'{name}' is a link out of {data.files.folder}", name)

    def samples(self) -> Iterator[Sample]:
        """Each class PNG is decoded for its list of segments, and again where its id map is made."""
        for number, pair in enumerate(self._pairs, start=1):
            yield self._sample(pair, number)

    def __len__(self) -> int:
        return len(self._pairs)

    def _sample(self, pair: Pair, number: int) -> Sample:
        folder, table = self._data.place.path, self._data.table
        if pair.image is None:
            issue = Issue("image-missing", f"there is no image for {pair.png}", str(pair.png))
            return Sample(None, str(pair.png), number, [], issues=(issue,))
        if pair.png is None:
            issue = Issue("no-annotations", "there is no class PNG for it", pair.image)
            return Sample(folder / pair.image, pair.image, number, [], issues=(issue,))
        png, instances = folder / pair.png, folder / pair.instances if pair.instances else None
        try:
            found = segments_of(png, table, instances, pair.image)
        except UserError as error:
            issue = Issue("png-unreadable", str(error), pair.image)
            return Sample(folder / pair.image, pair.image, number, [], issues=(issue,))
        return Sample(
            image=folder / pair.image,
            file_name=pair.image,
            image_id=number,
            objects=found.objects,
            id_map=partial(id_map_png, png, table, instances),
            issues=tuple(found.issues),
        )
