"""A written data set as `datasets` has it: read back by the package's own reader, or put on the Hub."""

from __future__ import annotations

import logging
from pathlib import Path

from huggingface_hub import HfApi

from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle
from detr_hf.data.card import CARD_FILE
from detr_hf.data.reading import quiet_datasets
from detr_hf.data.sinks.coco_panoptic import PANOPTIC_FILE
from detr_hf.data.split import TRAIN, VALIDATION
from detr_hf.errors import UserError
from detr_hf.labels import LABEL_MAP_FILE
from detr_hf.recipe import Data, Split
from detr_hf.recipe.data import DATA_FILE

# `datasets` says of every small split that one process writes it, although nobody asked for more.
logging.getLogger("datasets.arrow_dataset").addFilter(
    lambda record: not record.getMessage().startswith("Setting num_proc")
)


def open_written(out: str | Path) -> DataBundle:
    """The data set of a folder that `prepare` wrote (or of one of its folds), checked as before training.

    The images are not copied: rows in the cache of `datasets` hold their paths.

    Raises:
        UserError: the folder holds no written data set, or it has faults.
    """
    folder = Path(out)
    file = folder / DATA_FILE
    if not file.is_file():
        folds = " or one of its folds, fold_<n>" if (folder / "fold_1").is_dir() else ""
        raise UserError(f"{folder}: has no {DATA_FILE}; give a folder that `detr-hf prepare` wrote{folds}")
    return build_bundle(Data(train=Split(path=str(folder))), folder / "steps" / "bundle")


def push_to_hub(out: str | Path, repo_id: str, private: bool = True) -> None:
    """Publish a written data set with its images inside, its card, its label map and its annotation files.

    The card goes first: `datasets` adds the columns and splits to the metadata of the card that it finds.

    Raises:
        UserError: as ``open_written``; what the client raises of the Hub goes through.
    """
    bundle, folder = open_written(out), Path(out)
    top = folder if (folder / CARD_FILE).is_file() else folder.parent
    api = HfApi()
    api.create_repo(repo_id, repo_type="dataset", private=private, exist_ok=True)
    _upload(api, repo_id, top / CARD_FILE, CARD_FILE)
    with quiet_datasets():  # the client's bar of each file remains
        bundle.dataset.push_to_hub(repo_id, private=private, embed_external_files=True)
    _upload(api, repo_id, top / LABEL_MAP_FILE, LABEL_MAP_FILE)
    for split in (TRAIN, VALIDATION):  # which segments are machine-made, and how sure the machine was
        _upload(api, repo_id, folder / split / PANOPTIC_FILE, f"annotations/{split}_panoptic.json")


def _upload(api: HfApi, repo_id: str, file: Path, name: str) -> None:
    api.upload_file(path_or_fileobj=file, path_in_repo=name, repo_id=repo_id, repo_type="dataset")
