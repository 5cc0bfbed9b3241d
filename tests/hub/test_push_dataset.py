"""A data set that `prepare` wrote: to the loopback Hub, and from there into a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import DatasetCard

from detr_hf.data.build import build_bundle
from detr_hf.data.publishing import open_written
from detr_hf.data.sinks.prepared import WriteSettings, write_dataset
from detr_hf.hub.facts import data_facts
from detr_hf.hub.push import push_dataset
from detr_hf.recipe import Data, Hub
from tests.commands import refusal, told
from tests.data.record_factories import LABELS, prepared
from tests.hub.server import LoopbackHub
from tests.raw_factories import write_tidy_raw


@pytest.fixture
def written(tmp_path: Path) -> Path:
    given = prepared(tmp_path)
    settings = WriteSettings(title="Yard: a test", license="cc-by-4.0", teacher="someone/teacher")
    write_dataset(given.records, given.raw, given.stuff, given.splits, LABELS, tmp_path / "out", settings)
    return tmp_path / "out"


def test_a_data_set_is_pushed_and_trained_on_by_its_name(
    written: Path, tmp_path: Path, hub: LoopbackHub
) -> None:
    where = push_dataset(written, Hub(repo_id="user/yard", revision="v1"))
    assert where == f"{hub.url}/datasets/user/yard"
    repo, files = hub.repo("user/yard", "dataset"), hub.files("user/yard", kind="dataset")
    assert repo.private and repo.tags["v1"] == repo.branches["main"]
    names = {name for name in files if not name.startswith((".git", "data/"))}
    assert names == {
        *("README.md", "label_map.json", "annotations/train_panoptic.json"),
        "annotations/validation_panoptic.json",
    }
    card = DatasetCard(files["README.md"].decode())
    assert card.data.license == "cc-by-4.0" and card.data.pretty_name == "Yard: a test"
    assert card.data.to_dict()["configs"] and "The masks of stuff are machine-made" in card.text
    segments = json.loads(files["annotations/validation_panoptic.json"])["annotations"][0]["segments_info"]
    assert [found.get("pseudo", False) for found in segments] == [False, True, True]
    for name, data in files.items():
        assert hub.token.encode() not in data and str(tmp_path).encode() not in data, name

    here = open_written(written)
    there = build_bundle(Data(dataset="user/yard"), tmp_path / "run")
    assert there.labels == here.labels and there.is_panoptic
    for split in ("train", "validation"):
        ours, theirs = here.dataset[split], there.dataset[split]
        assert theirs["file_name"] == ours["file_name"] and theirs["objects"] == ours["objects"]
        for mine, yours in zip(ours, theirs, strict=True):
            assert np.array_equal(np.asarray(mine["image"]), np.asarray(yours["image"]))
            assert np.array_equal(np.asarray(mine["panoptic"]), np.asarray(yours["panoptic"]))

    facts = data_facts(Data(dataset="user/yard"))
    assert (facts.hub_id, facts.kind) == ("user/yard", "user/yard")
    assert "15 segments were pseudo-labeled by `someone/teacher`" in facts.truth


def test_the_command_knows_a_data_set(
    written: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refusal(["push", str(written), "user/yard", "--license", "mit"], capsys)
    assert "is a data set, whose card has its license" in message
    out = told(["push", str(written), "user/yard", "--public"], capsys)
    assert f"is on the Hub: {hub.url}/datasets/user/yard" in out
    assert not hub.repo("user/yard", "dataset").private


@pytest.mark.slow
def test_a_push_of_a_data_set_that_is_cut_off_can_be_repeated(
    written: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.plant(r"PUT /lfs", times=-1, cut_after=1000)
    message = refusal(["push", str(written), "user/yard"], capsys)
    assert "user/yard: " in message and "cannot be reached, or hung up" in message
    hub.planted.clear()
    told(["push", str(written), "user/yard"], capsys)
    assert "label_map.json" in hub.files("user/yard", kind="dataset")


def test_prepare_refuses_before_the_work_what_would_fail_after_it(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = write_tidy_raw(tmp_path / "raw"), tmp_path / "out"
    words = ["prepare", str(raw), str(out), "num_proc=1", "pseudo_stuff.enabled=false", "--push-to-hub"]
    assert "split.folds makes several" in refusal([*words, "user/yard", "split.folds=3"], capsys)
    assert "expected the id of a repository" in refusal([*words, "yard"], capsys)
    assert not hub.seen
    monkeypatch.setenv("HF_TOKEN", "hf_" + "a" * 30)
    assert "does not know this token" in refusal([*words, "user/yard"], capsys)
    assert not out.exists()


@pytest.mark.slow
def test_prepare_publishes_what_it_has_made(
    tmp_path: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, out = write_tidy_raw(tmp_path / "raw"), tmp_path / "out"
    words = ["num_proc=1", "pseudo_stuff.enabled=false", "--push-to-hub", "user/yard"]
    done = told(["prepare", str(raw), str(out), *words], capsys)
    assert f"{out} is on the Hub: {hub.url}/datasets/user/yard" in done
    assert "label_map.json" in hub.files("user/yard", kind="dataset")
