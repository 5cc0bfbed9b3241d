"""Parquet files with images inside, as the Hub keeps data sets: https://huggingface.co/docs/hub/datasets-parquet."""

from __future__ import annotations

from glob import escape
from pathlib import Path

from detr_hf.data.image_files import ImageFiles
from detr_hf.data.issues import Issue
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.splits import TRAIN, split_of
from detr_hf.data.sources.table import labels_in_folder, open_tables
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file

FORMAT = "parquet"
TITLE = "Parquet files"
LOOKS_FOR = "*.parquet with images and objects, splits by the names of files or folders"
ORDER = 80

ENDING = ".parquet"


def detect(path: Path) -> bool:
    """Whether it is a Parquet file, or there are some in the folder or in those in it."""
    if path.is_file():
        return path.suffix == ENDING
    return any(any(path.glob(pattern)) for pattern in (f"*{ENDING}", f"*/*{ENDING}"))


def open_splits(place: Place) -> Opened:
    """Its splits; files whose names tell none are "train".

    Raises:
        UserError: there is no such file, or one cannot be read.
    """
    import datasets

    splits, remarks = files_of_splits(place)
    tables = {}
    for split, files in splits.items():
        try:
            tables[split] = datasets.load_dataset(FORMAT, data_files=as_patterns(files), split="train")
        except Exception as error:  # whatever pyarrow or datasets say of a file that is none
            raise UserError(f"{place.name}: the files of '{split}' cannot be read ({error})") from error
    folder = folder_of(place.path)
    return open_tables(tables, place, (folder.resolve(),), labels_in_folder(folder), remarks)


def folder_of(path: Path) -> Path:
    """The folder that a data set's files may lie in."""
    return path.parent if path.is_file() else path


def as_patterns(files: list[Path]) -> list[str]:
    """The files as `datasets` takes them: a bracket in a name is no pattern."""
    return [escape(str(file.absolute())) for file in files]


def files_of_splits(place: Place) -> tuple[dict[str, list[Path]], list[Issue]]:
    """The files of each split, sorted, and what is to be said of the others.

    Raises:
        UserError: there is none, or one is no regular file.
    """
    if place.path.is_file():
        return {TRAIN: [place.path]}, []
    listing = ImageFiles(place.path)
    names = [name for name in listing.others if name.endswith(ENDING)]
    if not names:
        raise UserError(f"{place.name}: there is no Parquet file in {place.path}")
    remarks = [Issue("not-read", f"'{name}' is a link out of the folder", name) for name in listing.links_out]
    found = {name: split_of(name) for name in names}
    has_splits = any(found.values())
    splits: dict[str, list[Path]] = {}
    for name, split in found.items():
        open_file(place.path / name).close()
        if split is None and has_splits:
            remarks.append(Issue("not-read", f"the name of '{name}' contains no split", name))
            continue
        splits.setdefault(split or TRAIN, []).append(place.path / name)
    order = {TRAIN: 0, "validation": 1, "test": 2}
    return dict(sorted(splits.items(), key=lambda entry: order.get(entry[0], len(order)))), remarks
