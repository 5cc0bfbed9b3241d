"""Data sets that `DatasetDict.save_to_disk` or `Dataset.save_to_disk` wrote, in any of the usual layouts.

How they are kept: https://huggingface.co/docs/datasets/about_arrow, and `datasets.load_from_disk`. Nothing of
them is executed: they are Arrow tables with JSON beside.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.table import labels_in_folder, open_tables
from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, open_file, read_json

FORMAT = "hf"
TITLE = "a saved data set of `datasets`"
LOOKS_FOR = "dataset_dict.json, or dataset_info.json with state.json, as save_to_disk writes them"
ORDER = 10

SPLITS_FILE, STATE_FILE, INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"


def detect(path: Path) -> bool:
    """Whether one of the files is there that only `save_to_disk` writes."""
    return (path / SPLITS_FILE).is_file() or all((path / name).is_file() for name in (STATE_FILE, INFO_FILE))


def open_splits(place: Place) -> Opened:
    """Its splits; a `Dataset` alone is "train".

    Raises:
        UserError: it is no such folder, names files outside of it, or cannot be read.
    """
    import datasets

    folder = place.path
    try:
        _require_files_inside(folder)
        loaded = datasets.load_from_disk(str(folder))
    except Exception as error:  # whatever pyarrow or datasets say of a folder that is none of theirs
        raise UserError(
            f"{place.name}: {folder} is not a folder written by DatasetDict.save_to_disk ({error})"
        ) from error
    splits: Any = loaded if isinstance(loaded, datasets.DatasetDict) else {"train": loaded}
    return open_tables(splits, place, (folder.resolve(),), labels_in_folder(folder))


def _require_files_inside(folder: Path) -> None:
    """The names of splits and tables are the data set's own: none may lead out of it.

    Raises:
        UserError: one does, or is no regular file.
    """
    parts = [folder]
    if (folder / SPLITS_FILE).is_file():
        parts = [inside(folder, name) for name in read_json(folder / SPLITS_FILE)["splits"]]
    for part in parts:
        tables = [table["filename"] for table in read_json(part / STATE_FILE)["_data_files"]]
        for name in (INFO_FILE, *tables):
            file = part / name
            open_file(inside(folder, file.relative_to(folder).as_posix())).close()
