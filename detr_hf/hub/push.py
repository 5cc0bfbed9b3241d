"""Putting a run or a data set on the Hub.

A run is one commit with the model, its card and what shows how good it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from huggingface_hub import CommitInfo, CommitOperationAdd, CommitOperationDelete, HfApi

from detr_hf.data.publishing import push_to_hub
from detr_hf.hub.access import check_access, hub_errors, progress_bars
from detr_hf.hub.card import card_text
from detr_hf.hub.facts import CONFIG_FILE, RunFacts
from detr_hf.hub.plain_paths import public_recipe, without_paths
from detr_hf.labels import LABEL_MAP_FILE
from detr_hf.metrics.tables import said, score_of
from detr_hf.recipe import Hub
from detr_hf.recipe.data import DATA_FILE
from detr_hf.run_folder import (
    LOG_FILE,
    METRICS_FILE,
    PICTURES_FOLDER,
    RECIPE_FILE,
    REPORT_NUMBERS,
    REPORT_PAGE,
    REPORT_TEXT,
    RESULTS_FILE,
)

CARD_FILE = "README.md"
MODEL_FILES = (CONFIG_FILE, "model*.safetensors", "model.safetensors.index.json", "preprocessor_config.json")
SHOWN_AT_THE_END = (RESULTS_FILE, REPORT_TEXT, REPORT_PAGE, REPORT_NUMBERS)


def push_run(facts: RunFacts, target: Hub, finished: bool = True) -> CommitInfo:
    """Push a model with its card, and delete what an older push left that is no longer true.

    All changes are one commit, so the repository is never half new. What is on the Hub already is not sent
    again, so a push that was interrupted continues where it was when it is repeated.

    Args:
        facts: of the run.
        target: where to; its repository is made when it is not there.
        finished: with tables, drawn images and report, which show the run's last and best model only.

    Raises:
        UserError: the Hub is out of reach, refuses or hangs up; no file of the run has changed.
    """
    api = HfApi()
    contents = dict(contents_of(facts, target, finished))
    with hub_errors(target.repo_id):
        api.create_repo(target.repo_id, private=target.private, exist_ok=True)
        added = [CommitOperationAdd(name, content) for name, content in contents.items()]
        there = api.list_repo_files(target.repo_id)
        outdated = [CommitOperationDelete(name) for name in there if _is_outdated(name, contents)]
        done = api.create_commit(target.repo_id, [*added, *outdated], commit_message=_message(facts))
        if target.revision:
            api.create_tag(target.repo_id, tag=target.revision, revision=done.oid)
    return done


def contents_of(facts: RunFacts, target: Hub, finished: bool = True) -> Iterator[tuple[str, Path | bytes]]:
    """Every file of a push: its name there, and the file here or its bytes."""
    for pattern in (*MODEL_FILES, LABEL_MAP_FILE, METRICS_FILE):
        for file in sorted(facts.model.glob(pattern)):
            yield file.name, file
    shown = list(_shown(facts, target)) if finished else []
    pictures = [name for name, _ in shown if name.startswith(f"{PICTURES_FOLDER}/")]
    yield CARD_FILE, card_text(facts, target, pictures).encode()
    yield RECIPE_FILE, public_recipe(facts.recipe).encode()
    if (facts.folder / LOG_FILE).is_file():
        yield LOG_FILE, (facts.folder / LOG_FILE).read_bytes()  # a run may be writing to it
    yield from shown


def _shown(facts: RunFacts, target: Hub) -> Iterator[tuple[str, Path | bytes]]:
    """Tables, and what holds images where these may be shown; none names a path of this machine."""
    for name in SHOWN_AT_THE_END if target.pictures else SHOWN_AT_THE_END[:1]:
        if (facts.folder / name).is_file():
            yield name, without_paths((facts.folder / name).read_text(encoding="utf-8")).encode()
    if target.pictures:
        for file in sorted((facts.folder / PICTURES_FOLDER).glob("*.jpg")):
            yield f"{PICTURES_FOLDER}/{file.name}", file


def _is_outdated(name: str, contents: dict[str, Path | bytes]) -> bool:
    """Whether an older push left a file that would belie the new model."""
    ours = name in SHOWN_AT_THE_END or (name.startswith(f"{PICTURES_FOLDER}/") and name.endswith(".jpg"))
    return ours and name not in contents


def _message(facts: RunFacts) -> str:
    best = facts.recipe.checkpoint.best
    return f"Epoch {facts.results.get('epoch', '?')}: {best} {said(score_of(facts.results, best))}"


def is_written_dataset(folder: Path) -> bool:
    """Whether `detr-hf prepare` wrote a data set, or the folds of one, there."""
    return (folder / DATA_FILE).is_file() or (folder / "fold_1" / DATA_FILE).is_file()


def push_dataset(folder: Path, target: Hub) -> str:
    """Push a data set with its card, its images inside; its address.

    Raises:
        UserError: it has faults, or as ``check_access``; a push that was cut off can be repeated.
    """
    check_access(target, "dataset")
    api = HfApi()
    with hub_errors(target.repo_id), progress_bars():
        push_to_hub(folder, target.repo_id, target.private)
        if target.revision:
            api.create_tag(target.repo_id, tag=target.revision, repo_type="dataset")
    return f"{api.endpoint}/datasets/{target.repo_id}"
