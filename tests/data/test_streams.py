"""A data set opened as a stream: what is known before it is read, and what is told while it is."""

from __future__ import annotations

import pickle
from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from detr_hf.data.bundle import DataBundle
from detr_hf.data.streams import streamed_bundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data
from tests.factories import STUFF, THINGS
from tests.stream_factories import FIRST_ID, UNEVEN, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


def build(folder: Path, **data: Any) -> DataBundle:
    return streamed_bundle(Data(dataset=str(folder), streaming=True, **data))[0]


def rows_of(bundle: DataBundle) -> list[dict[str, Any]]:
    assert bundle.stream is not None
    return [bundle.stream.check(raw, place) for place, raw in enumerate(bundle.stream.rows)]


def test_rows_are_those_that_a_table_would_hold(tmp_path: Path) -> None:
    """But for the images, which stay undecoded bytes."""
    folder = write_parquet(tmp_path / "set")
    bundle = build(folder)
    assert bundle.stream is not None and bundle.stream.images == sum(UNEVEN)
    assert list(bundle.dataset) == ["validation"] and len(bundle.dataset["validation"]) == 4
    assert bundle.labels.names == THINGS and not bundle.is_panoptic
    table = datasets.load_dataset("parquet", data_files=str(folder / "train-*.parquet"), split="train")
    for row, known in zip(
        rows_of(bundle), table.cast_column("image", datasets.Image(decode=False)), strict=True
    ):
        assert row["image"]["bytes"] == known["image"]["bytes"]
        for column in ("image_id", "file_name", "width", "height"):
            assert row[column] == known[column]
        for name in ("id", "bbox", "category", "iscrowd"):
            assert row["objects"][name] == known["objects"][name]


def test_panoptic_rows_keep_their_png(tmp_path: Path) -> None:
    bundle = build(write_parquet(tmp_path / "set", shards=(2, 1), stuff=True))
    assert bundle.is_panoptic and bundle.labels.names == (*THINGS, *STUFF)
    for row in rows_of(bundle):
        assert Image.open(BytesIO(row["panoptic"]["bytes"])).format == "PNG" and row["objects"]["area"]


def test_other_columns_are_left_where_they_are(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "set", shards=(2,))
    for file in folder.glob("*.parquet"):
        table = datasets.Dataset.from_parquet(str(file), cache_dir=str(tmp_path / "cache"))
        table = table.add_column("caption", ["a"] * len(table)).rename_column("image", "picture")
        table.to_parquet(file)
    stream = build(folder).stream
    assert stream is not None and "caption" not in next(iter(stream.rows))
    assert set(next(iter(stream.rows))) == {"picture", "image_id", "file_name", "width", "height", "objects"}


def test_the_recipe_may_say_how_many_images_make_an_epoch(tmp_path: Path) -> None:
    stream = build(write_parquet(tmp_path / "set"), epoch_images=5).stream
    assert stream is not None and stream.images == 5


def test_a_set_of_unknown_length_needs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detr_hf.data.streams._declared_images", lambda *_: None)
    with pytest.raises(UserError, match=r"data\.epoch_images: .* does not state how many training images"):
        build(write_parquet(tmp_path / "set"))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            {"validation_split": "test"},
            r"data\.validation_split: .* has no split 'test', it has train, valid",
        ),
        ({"train_split": "all"}, r"data\.train_split: .* has no split 'all'"),
        ({"revision": "main"}, r"data\.revision: .* is a folder"),
    ],
)
def test_what_is_not_there_is_told(tmp_path: Path, data: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build(write_parquet(tmp_path / "set"), **data)


def test_a_folder_without_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with pytest.raises(UserError, match=r"data\.dataset: .* cannot be streamed"):
        build(tmp_path / "set")


# ---- classes


def one_object(category: Any, bbox: tuple[float, ...] = (1, 2, 30, 40)) -> dict[str, Any]:
    values = {"id": [1], "bbox": [list(bbox)], "category": [category], "area": [9.0], "iscrowd": [False]}
    return {"objects": values}


def test_a_class_that_the_label_map_lacks_is_told_with_image_and_name(tmp_path: Path) -> None:
    LabelMap.from_names(THINGS[:2]).save(tmp_path / "labels")
    changes = {FIRST_ID + at: one_object(0) for at in range(70)}
    changes[FIRST_ID + 64] = one_object(2)
    folder = write_parquet(tmp_path / "set", shards=(66,), changes=changes)
    bundle = build(folder, labels=str(tmp_path / "labels" / "label_map.json"))
    assert bundle.stream is not None and bundle.labels.names == THINGS[:2]
    raw = list(bundle.stream.rows)[64]
    with pytest.raises(
        UserError, match=r"image 164 '164\.jpg': classes are not in the label map \(object 1: 'plank'\)"
    ):
        bundle.stream.check(raw, 64)


def test_a_number_beyond_the_classes_is_told(tmp_path: Path) -> None:
    stream = build(write_parquet(tmp_path / "set")).stream
    assert stream is not None
    raw = {**next(iter(stream.rows)), **one_object(7)}
    with pytest.raises(UserError, match=r"image 100 '100\.jpg': .* not listed \(object 1: category 7\)"):
        stream.check(raw, 0)


def of_plain_categories(folder: Path, kind: str, categories: list[Any]) -> Path:
    """The same set with categories as text or plain numbers."""
    write_parquet(folder, shards=(2,), validation=2, changes={n: one_object(0) for n in range(100, 104)})
    for file in folder.glob("*.parquet"):
        table = datasets.Dataset.from_parquet(str(file), cache_dir=str(folder.parent / "cache"))
        features = table.features.copy()
        features["objects"]["category"] = datasets.List(datasets.Value(kind))
        rows = [{**row, **one_object(category)} for row, category in zip(table, categories, strict=True)]
        datasets.Dataset.from_list(rows, features=features).to_parquet(file)
    return folder


def test_names_as_text_need_a_label_map_and_its_void_ones_are_dropped(tmp_path: Path) -> None:
    folder = of_plain_categories(tmp_path / "set", "string", ["cone", "dust"])
    with pytest.raises(UserError, match="the classes of a stream must be known before it is read"):
        build(folder)
    void = LabelMap(LabelMap.from_names(("brick", "cone")).categories, ("dust",))
    void.save(tmp_path / "labels")
    bundle = build(folder, labels=str(tmp_path / "labels" / "label_map.json"))
    assert [row["objects"]["category"] for row in rows_of(bundle)] == [[1], []]


def test_a_label_map_beside_the_files_names_plain_numbers(tmp_path: Path) -> None:
    folder = of_plain_categories(tmp_path / "set", "int64", [2, 1])
    LabelMap.from_names(("brick", "cone")).save(folder)
    bundle = build(folder)
    assert bundle.labels.names == ("brick", "cone")
    assert [row["objects"]["category"] for row in rows_of(bundle)] == [[1], [0]]


# ---- the first images


def test_the_first_images_are_checked_before_the_start(tmp_path: Path) -> None:
    changes = {101: one_object(0, (100, 2, 60, 40)), 102: one_object(0, (1, 2, 0, 4))}
    bundle = build(write_parquet(tmp_path / "set", changes=changes))
    assert [note.partition(" of the first 64 images: ")[2].partition(";")[0] for note in bundle.notes] == [
        "boxes reach over the edge of their image (1)",
        "boxes have no width or no height (1)",
        "images have no objects (1)",
    ]
    assert rows_of(bundle)[1]["objects"]["bbox"] == [[100, 2, 28, 40]], "later ones are repaired alike"


def test_boxes_of_another_format_are_refused_before_the_start(tmp_path: Path) -> None:
    shares = {number: one_object(0, (0.1, 0.2, 0.3, 0.4)) for number in range(100, 111)}
    with pytest.raises(UserError, match="no number of 11 boxes is larger than 1"):
        build(write_parquet(tmp_path / "set", changes=shares))


def test_a_bad_image_among_the_first_follows_the_recipe(tmp_path: Path) -> None:
    empty = {"image": {"bytes": b"no picture", "path": None}}
    folder = write_parquet(tmp_path / "set", changes={101: empty})
    with pytest.raises(UserError, match=r"images cannot be opened \(1\).*\n.* 101\.jpg"):
        build(folder)
    bundle = build(folder, on_bad_sample="skip")
    assert any("of the first 64 images: images cannot be opened (1)" in note for note in bundle.notes)
    assert bundle.stream is not None
    with pytest.raises(UserError, match=r"image 101 '101\.jpg': images cannot be opened"):
        rows_of(bundle)


def test_a_check_goes_to_worker_processes_and_brackets_are_no_pattern(tmp_path: Path) -> None:
    stream = build(write_parquet(tmp_path / "set [1]", shards=(2,))).stream
    assert stream is not None
    assert pickle.loads(pickle.dumps(stream.check)) == stream.check


def test_a_stream_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be saved whole"):
        build(write_parquet(tmp_path / "set")).save(tmp_path / "copy")
