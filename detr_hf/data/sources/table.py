"""`TableSource`: a split that is a `datasets` table already, whatever door it came in by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from detr_hf.data.issues import Issue
from detr_hf.data.numbers import is_int64
from detr_hf.data.sample import Sample
from detr_hf.data.sources.base import Opened, Place, Source, hash_of_words
from detr_hf.data.sources.columns import FILE_NAMES, Columns, columns_of
from detr_hf.data.sources.row_reader import RowReader, renamed
from detr_hf.data.sources.splits import TRAIN, role_of
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside
from detr_hf.labels import LABEL_MAP_FILE, LabelMap

if TYPE_CHECKING:
    import datasets

Table = TypeVar("Table", "datasets.Dataset", "datasets.IterableDataset")


class TableSource(Source):
    """One split of a data set that `datasets` has opened. Its images stay where they are.

    Args:
        dataset: the split.
        name: for messages.
        roots: folders that an image kept by path may lie in.
        labels: names for classes that are plain numbers.
        remarks: what is to be said of the data set as a whole.

    Raises:
        UserError: its columns are not those of detection or panoptic data, or its classes are numbers that
            nothing names.
    """

    xywh_px = False
    images_apart = True

    def __init__(
        self,
        dataset: datasets.Dataset,
        name: str,
        roots: tuple[Path, ...],
        labels: LabelMap | None,
        remarks: Sequence[Issue] = (),
    ) -> None:
        self.name, self._dataset, self._labels, self._remarks = name, dataset, labels, remarks
        self.columns = columns_of(dataset.features, name)
        self.is_panoptic = self.columns.panoptic is not None
        self.reader = RowReader(self.columns, names_by_number(self.columns, labels), roots)
        if not self.columns.has_text and not self.reader.names:
            raise UserError(numbers_without_names(name))

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def key(self) -> str:
        """The fingerprint that `datasets` keeps of the data, sizes and times of change of its files, and the
        label map that names its numbers.
        """
        words = [self._dataset._fingerprint]
        for entry in self._dataset.cache_files:
            status = Path(entry["filename"]).stat()
            words.append(f"{status.st_size} {status.st_mtime_ns}")
        words += [repr(category) for category in self._labels.categories] if self._labels else []
        return hash_of_words(words)

    def images_table(self) -> datasets.Dataset:
        """The columns ``image`` and, in panoptic sets, ``panoptic``, without copying a byte."""
        import datasets

        found = {"image": self.columns.image}
        if self.columns.panoptic is not None:
            found["panoptic"] = self.columns.panoptic
        kept = self._dataset.select_columns(list(found.values()))
        kept = kept.rename_columns({old: new for new, old in found.items() if old != new})
        for column in found:
            kept = kept.cast_column(column, datasets.Image())
        return kept

    def categories(self) -> list[dict[str, Any]]:
        if self.columns.has_text:
            return [{"id": at, "name": name} for at, name in enumerate(self._text_classes, start=1)]
        known = {entry["name"]: entry for entry in self._labels.to_coco_categories()} if self._labels else {}
        return [known.get(name, {}) | {"id": at, "name": name} for at, name in self.reader.names.items()]

    @cached_property
    def _text_classes(self) -> list[str]:
        """The classes that occur, sorted; the columns of objects are read for it, images are not."""
        found: set[str] = set()
        for row in self._rows(self._dataset.select_columns(self.columns.of_objects)):
            try:
                found.update(str(entry.get("category", "")) for entry in self.reader.entries(row))
            except UserError:  # its sample says so
                continue
        return sorted(found - {""})

    def issues(self) -> Iterable[Issue]:
        return self._remarks if self.has_set_issues else ()

    def samples(self) -> Iterator[Sample]:
        column = self.columns.image_id
        numbers, wrong = image_ids(list(range(len(self))) if column is None else list(self._dataset[column]))
        seen: set[str] = set()
        for position, row in enumerate(self._rows(undecoded(self._dataset, self.columns))):
            sample = self.reader.sample(row, numbers[position], position)
            name = renamed(sample.file_name, seen)
            issues = [replace(issue, file=name) for issue in sample.issues]
            if position in wrong:
                code, text = wrong[position]
                issues.append(Issue(code, text, name))
            yield replace(sample, file_name=name, issues=tuple(issues))

    def _rows(self, table: datasets.Dataset) -> Iterator[dict[str, Any]]:
        try:
            yield from table
        except (OSError, ValueError) as error:  # pyarrow's errors are of these
            raise UserError(f"{self.name}: it cannot be read to its end ({error})") from error


def open_tables(
    splits: Mapping[str, datasets.Dataset],
    place: Place,
    roots: tuple[Path, ...],
    labels: LabelMap | None,
    remarks: Iterable[Issue] = (),
) -> Opened:
    """The splits that hold images and objects; the others are said to be left out.

    Raises:
        UserError: none does, or the training split does not: another must not take its place.
    """
    sources: dict[str, Source] = {}
    errors: dict[str, UserError] = {}
    said = list(remarks)
    for split, dataset in splits.items():
        name = place.name if len(splits) == 1 else f"{place.name}, split '{split}'"
        try:
            sources[split] = TableSource(dataset, name, roots, labels or place.labels, said)
        except UserError as error:
            if role_of(split) == TRAIN:
                raise
            errors[split] = error
    if errors and not sources:
        raise next(iter(errors.values()))
    said += [Issue("not-read", f"split '{split}': {error}") for split, error in errors.items()]
    return Opened(sources, labels)


def image_ids(ids: Sequence[Any]) -> tuple[list[int], dict[int, tuple[str, str]]]:
    """The id of each row, its position where ids are no whole numbers; issues (code, text) by row."""
    if not all(is_int64(number) for number in ids):
        return list(range(len(ids))), {at: ("text-ids", f"'{raw}' is now {at}") for at, raw in enumerate(ids)}
    first: dict[int, int] = {}
    wrong = {}
    for at, number in enumerate(ids):
        if first.setdefault(number, at) != at:
            wrong[at] = ("image-id", f"image id {number} is in row {first[number]} and in row {at}")
    return list(ids), wrong


def names_by_number(columns: Columns, labels: LabelMap | None) -> dict[int, str]:
    """Names of the classes that are written as numbers; empty where nothing names them."""
    if columns.class_names is not None:
        return dict(enumerate(columns.class_names))
    return {category.source_id: category.name for category in labels.categories} if labels else {}


def numbers_without_names(name: str) -> str:
    """A sentence."""
    return (
        f"{name}: the categories are numbers without names; declare them as ClassLabel, put a "
        f"{LABEL_MAP_FILE} beside the data, or give data.labels: the path of one that names them"
    )


def undecoded(table: Table, columns: Columns) -> Table:
    """The columns that are used, images as bytes or paths."""
    import datasets

    known = {*columns.images, *columns.of_objects, *FILE_NAMES, columns.image_id, "width", "height"}
    table = table.select_columns([column for column in table.features or () if column in known])
    for column in columns.images:
        table = table.cast_column(column, datasets.Image(decode=False))
    return table


def labels_in_folder(folder: Path) -> LabelMap | None:
    """The label map that was saved with a data set.

    Raises:
        UserError: it is none, or a link out of the folder.
    """
    file = inside(folder, LABEL_MAP_FILE)
    return LabelMap.load(file) if file.exists() else None
