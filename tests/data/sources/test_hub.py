"""Data sets of the Hub by their id; the network is never asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import pytest
from huggingface_hub.errors import EntryNotFoundError

from detr_hf.data.sources import hub, open_place
from detr_hf.data.sources.base import Opened, Place
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data.sources.table_factories import BOXES, NUMBERS, cell, table

ID = Path("someone/yard")


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str | None]]:
    """The (id, revision) pairs that were asked for; the Hub gives a table whose classes are numbers."""
    asked: list[tuple[str, str | None]] = []
    row = {"image": cell(), "objects": {"bbox": BOXES, "category": [1, 2]}}
    made = table({"image": datasets.Image(), "objects": NUMBERS}, [row])

    def load(name: str, revision: str | None) -> datasets.DatasetDict:
        asked.append((name, revision))
        return datasets.DatasetDict({"train": made})

    monkeypatch.setattr(datasets, "load_dataset", load)
    monkeypatch.setattr(hub, "offline_unless_reached", lambda: True)
    publish(monkeypatch, None)
    return asked


def publish(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    def download(name: str, file: str, **more: Any) -> str:
        if folder is None:
            raise EntryNotFoundError("no such file")
        return str(folder / file)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)


def open_id(path: Path = ID, format: str | None = None, **more: Any) -> Opened:
    return open_place(Place(path, f"data.train {path}", **more), format)[1]


def test_a_published_label_map_comes_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[tuple[str, str | None]]
) -> None:
    with pytest.raises(UserError, match="numbers without names"):
        open_id()
    LabelMap.from_names(["cone", "brick"]).save(tmp_path)
    publish(monkeypatch, tmp_path)
    opened = open_id(revision="v1")
    assert fetched == [("someone/yard", None), ("someone/yard", "v1")]
    assert opened.labels is not None and opened.labels.names == ("cone", "brick")
    (sample,) = opened.splits["train"].samples()
    assert [one.category for one in sample.objects] == ["cone", "brick"]


def test_what_the_hub_refuses_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str, revision: str | None) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setattr(hub, "offline_unless_reached", lambda: True)
    with pytest.raises(UserError, match=r"'someone/yard' is neither a file or folder nor .*\(no network\)"):
        open_id()


@pytest.mark.parametrize("path", ["yard/train.json", "a/b/c", "../yard", "here/yard", "yard.zip", "/yard"])
def test_a_mistyped_path_is_not_looked_for_on_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[Any], path: str
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no such file or folder"):
        open_id(Path(path))
    assert not fetched


def test_a_named_format_takes_the_id_by_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetched: list[tuple[str, str | None]]
) -> None:
    (tmp_path / "someone").mkdir()
    monkeypatch.chdir(tmp_path)
    labels = LabelMap.from_names(["cone", "brick"])
    assert list(open_id(format="hub", labels=labels).splits) == ["train"]
    assert fetched == [("someone/yard", None)]
    with pytest.raises(UserError, match="is no id of a data set"):
        open_id(Path("a/b/c"), format="hub")
