"""Data sets that are one already: a saved `DatasetDict` or a Hub id, in any of the usual layouts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
from huggingface_hub import hf_hub_download
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import EntryNotFoundError

from detr_hf.errors import UserError
from detr_hf.hub_access import offline_unless_reached
from detr_hf.labels import LabelMap
from detr_hf.prepare.coco import NUMBERED_IDS
from detr_hf.prepare.columns import Columns, first_of
from detr_hf.prepare.findings import Report
from detr_hf.prepare.saved_rows import SavedRows
from detr_hf.prepare.source import SourceImage, hash_of_words

LABEL_FILE = "label_map.json"


@dataclass(frozen=True)
class SavedData:
    """The splits of a saved or Hub data set, and the label map that we saved beside it, if any."""

    splits: datasets.DatasetDict
    labels: LabelMap | None
    roots: tuple[Path, ...]


def open_saved(dataset: str, revision: str | None) -> SavedData:
    """Open a folder that `DatasetDict.save_to_disk` wrote, or a data set of the Hub.

    Nothing of the data set is executed: `datasets` reads Arrow and Parquet, and loading scripts are not
    supported.

    Raises:
        UserError: no such folder or Hub data set, or it cannot be read.
    """
    folder = Path(dataset)
    if folder.is_dir():
        return _open_folder(folder, revision)
    if folder.is_absolute() or dataset.count("/") > 1 or dataset.startswith("."):
        raise UserError(f"data.dataset: there is no folder {dataset}")
    return _open_hub(dataset, revision)


def _open_folder(folder: Path, revision: str | None) -> SavedData:
    if revision is not None:
        raise UserError(f"data.revision: {folder} is a folder, which has no revisions; leave it out")
    try:
        loaded = datasets.load_from_disk(str(folder))
    except Exception as failure:  # whatever pyarrow or datasets say of a folder that is none of theirs
        raise UserError(
            f"data.dataset: {folder} is not a folder written by DatasetDict.save_to_disk ({failure}); "
            "for COCO files give data.train with annotations and images"
        ) from failure
    splits = loaded if isinstance(loaded, datasets.DatasetDict) else datasets.DatasetDict({"train": loaded})
    return SavedData(splits, labels_in_folder(folder), (folder.resolve(),))


def _open_hub(name: str, revision: str | None) -> SavedData:
    offline_unless_reached()
    try:
        splits = datasets.load_dataset(name, revision=revision)
    except Exception as failure:  # network, access, format: the message of the library says which
        raise UserError(
            f"data.dataset: '{name}' is neither a folder nor a data set that the Hub gives us ({failure}); "
            "a private one needs `hf auth login`, or a valid HF_TOKEN"
        ) from failure
    return SavedData(splits, labels_on_hub(name, revision), cache_roots())


def labels_in_folder(folder: Path) -> LabelMap | None:
    """The label map that was saved with a data set."""
    return LabelMap.load(folder) if (folder / LABEL_FILE).is_file() else None


def labels_on_hub(name: str, revision: str | None) -> LabelMap | None:
    """The label map that was published with a data set."""
    try:
        file = hf_hub_download(name, LABEL_FILE, repo_type="dataset", revision=revision)
    except EntryNotFoundError:
        return None
    return LabelMap.load(Path(file).parent)


def cache_roots() -> tuple[Path, ...]:
    """Where files of the Hub lie on this machine."""
    caches = (datasets.config.HF_DATASETS_CACHE, datasets.config.DOWNLOADED_DATASETS_PATH, HF_HUB_CACHE)
    return tuple(Path(cache).resolve() for cache in caches)


class SavedSplit:
    """One split of a saved data set; see :class:`detr_hf.prepare.source.Source`.

    Args:
        dataset: the split.
        name: for messages ("data.dataset, split 'train'").
        roots: folders that an image kept by path may lie in.
        labels: names for categories that are plain numbers.
    """

    pictures_apart = True

    def __init__(
        self, dataset: datasets.Dataset, name: str, roots: tuple[Path, ...], labels: LabelMap | None
    ) -> None:
        self.name = name
        self.columns = Columns.of(dataset.features, name)
        self.is_panoptic = self.columns.panoptic is not None
        self.dataset = dataset
        self._labels = labels
        self._unnumbered = SavedRows(self.columns, name, roots, numbers={})

    def __len__(self) -> int:
        return len(self.dataset)

    @property
    def key(self) -> str:
        """The fingerprint that `datasets` keeps of the data, with the label map that names its numbers."""
        words = [repr(category) for category in self._labels.categories] if self._labels else []
        return hash_of_words([self.dataset._fingerprint, *words])

    def pictures(self) -> datasets.Dataset:
        """The columns ``image`` and, in panoptic sets, ``panoptic``, without copying a byte."""
        found = {"image": self.columns.image}
        if self.columns.panoptic is not None:
            found["panoptic"] = self.columns.panoptic
        kept = self.dataset.select_columns(list(found.values()))
        kept = kept.rename_columns({old: new for new, old in found.items() if old != new})
        for column in found:
            kept = kept.cast_column(column, datasets.Image())
        return kept

    @cached_property
    def _names(self) -> list[str] | None:
        """Class names by number; None where the categories are plain numbers."""
        kind = self.columns.category
        if isinstance(kind, datasets.ClassLabel):
            return list(kind.names)
        if self.columns.tells_names:
            found = (entry["category"] for objects in self._all_objects() for entry in objects)
            return sorted({name for name in found if name is not None})
        return None

    def categories(self) -> list[dict[str, Any]]:
        """The classes as names and numbers.

        Raises:
            UserError: the categories are plain numbers and no label map names them.
        """
        if self._names is not None:
            return [{"id": at, "name": name} for at, name in enumerate(self._names)]
        if self._labels is None:
            raise UserError(
                f"{self.name}: the categories are numbers without names; declare them as ClassLabel, or give "
                f"data.labels: the path of a {LABEL_FILE} that names them"
            )
        return self._labels.to_coco_categories()

    def used_categories(self) -> set[int]:
        """The category ids that occur on objects."""
        found = (
            self.rows.number_of(entry["category"]) for objects in self._all_objects() for entry in objects
        )
        return {number for number in found if number is not None}

    @cached_property
    def rows(self) -> SavedRows:
        """The reader of this split's rows."""
        return replace(self._unnumbered, numbers={name: at for at, name in enumerate(self._names or ())})

    def _all_objects(self) -> Iterator[list[dict[str, Any]]]:
        columns = [self.columns.objects] if self.columns.objects else list(self.columns.fields.values())
        for row in self.dataset.select_columns(columns):
            yield self._unnumbered.objects(row)

    def images(self, report: Report) -> Iterator[SourceImage]:
        """All pictures in order, undecoded."""
        raw = self.dataset
        for column in filter(None, (self.columns.image, self.columns.panoptic)):
            raw = raw.cast_column(column, datasets.Image(decode=False))
        numbers = self.image_numbers(report)
        for position, row in enumerate(raw):
            try:
                yield self.rows.image(row, numbers[position], position)
            except UserError as fault:
                report.fault(f"row {position}: {fault}", "row", f"row {position}")

    def image_numbers(self, report: Report) -> list[int]:
        """The number of each row: its image id, or its position where that is text."""
        plain = [name for name, kind in self.dataset.features.items() if isinstance(kind, datasets.Value)]
        column = first_of(("image_id", "id"), plain)
        if column is None:
            return list(range(len(self)))
        ids = self.dataset[column][:]
        whole = all(isinstance(number, int) for number in ids)
        if not whole:
            for position, raw in enumerate(ids):
                report.note(NUMBERED_IDS, f"'{raw}' is now {position}")
        if len(set(ids)) < len(ids):
            first: dict[Any, int] = {}
            for position, raw in enumerate(ids):
                if raw in first:
                    said = (
                        f"image id {raw} stands twice, in rows {first[raw]} and {position}; ids must differ"
                    )
                    report.fault(said, "image-id", f"row {position}")
                first.setdefault(raw, position)
        return ids if whole else list(range(len(ids)))
