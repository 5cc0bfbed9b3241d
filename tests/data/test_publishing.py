"""The written data set as training reads it, its card, and what goes to the Hub."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from huggingface_hub import DatasetCard

from detr_hf.data import publishing
from detr_hf.data.issues import Issue
from detr_hf.data.publishing import open_written, push_to_hub
from detr_hf.data.sinks.prepared import WriteSettings, write_dataset
from detr_hf.data.split import Splits
from detr_hf.errors import UserError
from tests.data.record_factories import LABELS, prepared


@pytest.fixture
def out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    given = prepared(tmp_path)
    settings = WriteSettings(title="Yard: a test", license="cc-by-4.0", teacher="someone/teacher")
    write_dataset(given.records, given.raw, given.stuff, given.splits, LABELS, tmp_path / "out", settings)
    return tmp_path / "out"


def test_training_reads_what_was_written(out: Path) -> None:
    bundle = open_written(out)
    assert bundle.is_panoptic
    assert bundle.labels == LABELS
    assert {name: len(split) for name, split in bundle.dataset.items()} == {"train": 6, "validation": 2}
    row = bundle.dataset["validation"][0]
    assert row["file_name"] == "brick/images/0 (1).png"
    assert row["image"].size == (row["width"], row["height"]) == (40, 30)
    assert row["objects"]["bbox"] == [[5, 5, 10, 10], [0, 12, 40, 18], [0, 0, 40, 12]]
    assert row["objects"]["area"] == [100, 690, 410]
    assert [LABELS.names[label] for label in row["objects"]["category"]] == ["brick", "ground", "sky"]
    assert np.array(row["panoptic"])[5, 5].tolist() == [1, 0, 0]
    assert bundle.notes[1:] == [], "nothing is left to repair"


def test_a_folder_without_a_data_set_is_refused(out: Path) -> None:
    with pytest.raises(UserError, match=r"has no data\.yaml; give a folder that `detr-hf prepare` wrote"):
        open_written(out / "train")


def test_the_card_says_who_drew_what(out: Path) -> None:
    card = DatasetCard.load(out / "README.md")
    assert card.data.pretty_name == "Yard: a test"
    assert card.data.license == "cc-by-4.0"
    assert card.data.annotations_creators == ["expert-generated", "machine-generated"]
    assert card.data.size_categories == ["n<1K"]
    assert card.data.task_categories == ["object-detection", "image-segmentation"]
    assert (
        "The masks of stuff are machine-made: 15 segments were pseudo-labeled by `someone/teacher`"
        in card.text
    )
    assert "10 segments are from the source's annotations" in card.text
    assert "6 in train, 2 in validation" in card.text
    rows = re.sub(" +", " ", card.text)
    assert "| brick | thing | 2 | 2 | 5 | 0 | |" in rows
    assert "| sky | stuff | 6 | 2 | 8 | 8 | 0.950 |" in rows


def test_a_card_without_machine_made_segments_says_so(tmp_path: Path) -> None:
    given = prepared(tmp_path)
    records = [record for record in given.records if record.id_map is None]
    splits = Splits(
        given.splits.of, given.splits.names, 3, [Issue("torn", "", "a"), Issue("not-everywhere", "", "b")]
    )
    write_dataset(records, given.raw, None, splits, LABELS, tmp_path / "out")
    card = DatasetCard.load(tmp_path / "out" / "README.md")
    assert card.data.annotations_creators == ["expert-generated"]
    assert "No segment is machine-made" in card.text
    assert "machine-made:" not in card.text
    assert "Groups of duplicates in several parts, as a split file demanded: 1." in card.text
    assert "Classes with too few images to be in every part: 1." in card.text


class FakeHub:
    """Takes down what would be sent, in order."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, Any]] = []

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.sent.append(("repo", options["private"]))

    def upload_file(self, path_or_fileobj: Path, path_in_repo: str, repo_id: str, repo_type: str) -> None:
        assert (repo_id, repo_type) == ("me/yard", "dataset")
        self.sent.append((path_in_repo, Path(path_or_fileobj).read_bytes()))

    def push(self) -> Callable[..., None]:
        def push(dataset: datasets.DatasetDict, repo_id: str, **options: Any) -> None:
            self.sent.append(("rows", options["embed_external_files"]))

        return push


def test_the_card_goes_first_then_rows_with_pictures_then_the_rest(
    out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: `datasets` merges its metadata into the card it finds; a card sent later would wipe it out."""
    hub = FakeHub()
    monkeypatch.setattr(publishing, "HfApi", lambda: hub)
    monkeypatch.setattr(datasets.DatasetDict, "push_to_hub", hub.push())
    push_to_hub(out, "me/yard")
    names = [name for name, _ in hub.sent]
    assert names == [
        "repo",
        "README.md",
        "rows",
        "label_map.json",
        "annotations/train_panoptic.json",
        "annotations/validation_panoptic.json",
    ]
    sent = dict(hub.sent)
    assert sent["repo"] is True, "private unless asked otherwise"
    assert sent["rows"] is True, "bytes, not paths of this machine"
    segments = json.loads(sent["annotations/validation_panoptic.json"])["annotations"][0]["segments_info"]
    assert [found.get("pseudo", False) for found in segments] == [False, True, True]
