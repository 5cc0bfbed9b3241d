"""Putting a data set on the Hub that `detr-hf prepare` wrote."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi

from detr_hf.hub.access import check_access, told_of_the_hub
from detr_hf.hub.target import Target
from detr_hf.prepare.raw.writing.dataset import DATA_FILE
from detr_hf.prepare.raw.writing.publishing import push_to_hub

DATASET = "dataset"


def is_written_dataset(folder: Path) -> bool:
    """Whether `detr-hf prepare` wrote a data set, or the folds of one, there."""
    return (folder / DATA_FILE).is_file() or (folder / "fold_1" / DATA_FILE).is_file()


def push_dataset(folder: Path, target: Target) -> str:
    """Push a data set with its card, its pictures inside; its address.

    Raises:
        UserError: it has faults, or as ``check_access``; a push that was cut off can be repeated.
    """
    check_access(target, DATASET)
    api = HfApi()
    with told_of_the_hub(target.repo_id):
        push_to_hub(folder, target.repo_id, target.private)
        if target.revision:
            api.create_tag(target.repo_id, tag=target.revision, repo_type=DATASET)
    return f"{api.endpoint}/datasets/{target.repo_id}"
