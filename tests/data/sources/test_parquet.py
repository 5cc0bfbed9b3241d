"""Folders of Parquet files, in the ways in which splits are named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Opened, Place
from detr_hf.data.sources.splits import split_of
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from tests.data.sources.table_factories import BOXES, CLASS_LABELS, cell, png, table
from tests.stream_factories import UNEVEN, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def open_at(path: Path) -> Opened:
    door, opened = open_place(Place(path, str(path)))
    assert door.FORMAT == "parquet"
    return opened


def content() -> bytes:
    stream = BytesIO()
    table(CLASS_LABELS[0], [CLASS_LABELS[1] | {"image": cell()}]).to_parquet(stream)
    return stream.getvalue()


def plant(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content())
    return folder


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    splits = open_at(write_parquet(tmp_path / "set")).splits
    assert {name: len(source) for name, source in splits.items()} == {"train": sum(UNEVEN), "validation": 4}
    samples = list(splits["train"].samples())
    assert [sample.image_id for sample in samples] == list(range(100, 100 + sum(UNEVEN)))
    assert samples[0].file_name == "100.jpg" and samples[0].objects[0].category is not None


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00001.parquet", "train"),
        ("Valid/0000.parquet", "validation"),
        ("yard_dev.parquet", "validation"),
        ("my-test-files/a.parquet", "test"),
        ("data/unlabeled-00000-of-00002.parquet", "unlabeled"),
        ("latest.parquet", None),
        ("trainer/a.parquet", None),
    ],
)
def test_splits_are_told_by_words(name: str, split: str | None) -> None:
    assert split_of(name) == split


def test_splits_by_folders_and_a_file_of_none(tmp_path: Path) -> None:
    folder = plant(
        tmp_path / "set [1]", "val/0.parquet", "train/0.parquet", "train/1.parquet", "rest.parquet"
    )
    splits = open_at(folder).splits
    assert {name: len(source) for name, source in splits.items()} == {"train": 2, "validation": 1}
    (issue,) = splits["train"].issues()
    assert issue.code == "not-read" and issue.file == "rest.parquet"


def test_names_without_splits_and_a_file_alone_are_train(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", "a.parquet", "b.parquet")
    assert {name: len(source) for name, source in open_at(folder).splits.items()} == {"train": 2}
    assert len(open_at(folder / "b.parquet").splits["train"]) == 1


def test_images_that_are_not_declared_as_such_are_found(tmp_path: Path) -> None:
    """As other libraries write them: a struct of bytes and path, classes as numbers."""
    (tmp_path / "set").mkdir()
    rows = {"image": [{"bytes": png(), "path": "a.png"}], "bbox": [BOXES], "label": [[1, 2]]}
    pq.write_table(pa.table(rows), tmp_path / "set" / "0.parquet")
    LabelMap.from_names(["cone", "brick"]).save(tmp_path / "set")
    (sample,) = open_at(tmp_path / "set").splits["train"].samples()
    assert sample.image == png() and sample.file_name == "a.png"
    assert [one.category for one in sample.objects] == ["cone", "brick"]


def test_files_that_are_none_or_lie_elsewhere(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", "train.parquet")
    (folder / "test.parquet").symlink_to(plant(tmp_path / "other", "x.parquet") / "x.parquet")
    splits = open_at(folder).splits
    assert list(splits) == ["train"]
    assert [issue.file for issue in splits["train"].issues()] == ["test.parquet"]
    (folder / "val.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(UserError, match="the files of 'validation' cannot be read"):
        open_at(folder)


def test_its_table_is_cached_by_content(tmp_path: Path) -> None:
    folder = plant(tmp_path / "set", "train.parquet")
    first = open_at(folder).splits["train"]
    assert open_at(folder).splits["train"].key == first.key
    rows = [CLASS_LABELS[1] | {"image": cell()}] * 3
    table(CLASS_LABELS[0], rows).to_parquet(folder / "train.parquet")
    again = open_at(folder).splits["train"]
    assert len(again) == 3 and again.key != first.key
    assert datasets.is_caching_enabled()
