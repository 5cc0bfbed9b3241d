"""Saved data sets in: our own, and the column layouts that others use."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
from datasets import ClassLabel, Features, List, Value
from PIL import Image

from detr_hf.data.build import build_bundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.prepare.findings import Report
from detr_hf.prepare.hf import SavedSplit
from detr_hf.recipe import Data
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")

BOXES = [[1.0, 2.0, 10.0, 12.0], [20.0, 5.0, 8.0, 8.0]]
NAMES = ["cone", "brick"]


def _png(size_wh: tuple[int, int] = (40, 30), value: int = 90) -> bytes:
    stream = BytesIO()
    Image.new("RGB", size_wh, (value, 10, 10)).save(stream, "PNG")
    return stream.getvalue()


def _cell() -> dict[str, Any]:
    return {"bytes": _png(), "path": None}


LAYOUTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "dict of lists, class labels": (
        {
            "image": datasets.Image(),
            "objects": {"bbox": List(List(Value("float32"))), "category": List(ClassLabel(names=NAMES))},
        },
        {"objects": {"bbox": BOXES, "category": [1, 0]}},
    ),
    "list of dicts, other spellings": (
        {
            "img": datasets.Image(),
            "image_id": Value("int64"),
            "width": Value("int64"),
            "height": Value("int64"),
            "annotations": List(
                {"box": List(Value("float64")), "label": ClassLabel(names=NAMES), "is_crowd": Value("bool")}
            ),
        },
        {
            "image_id": 5,
            "width": 40,
            "height": 30,
            "annotations": [{"box": box, "label": 1 - at, "is_crowd": False} for at, box in enumerate(BOXES)],
        },
    ),
    "names as text": (
        {
            "picture": datasets.Image(),
            "objects": {"boxes": List(List(Value("float32"))), "labels": List(Value("string"))},
        },
        {"objects": {"boxes": BOXES, "labels": ["brick", "cone"]}},
    ),
    "lists at the top of the row": (
        {
            "image": datasets.Image(),
            "id": Value("string"),
            "bboxes": List(List(Value("float32"))),
            "category_id": List(ClassLabel(names=NAMES)),
        },
        {"id": "abc", "bboxes": BOXES, "category_id": [1, 0]},
    ),
}


def _saved(folder: Path, features: dict[str, Any], rows: list[dict[str, Any]], split: str = "train") -> Path:
    columns = {name: [row[name] for row in rows] for name in features}
    made = datasets.Dataset.from_dict(columns, features=Features(features))
    datasets.DatasetDict({split: made}).save_to_disk(folder / "saved")
    return folder / "saved"


def _bundle(tmp_path: Path, folder: Path, **more: Any):  # type: ignore[no-untyped-def]
    return build_bundle(Data(dataset=str(folder), overfit=1, **more), tmp_path / "run")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_usual_layouts_give_the_same_rows(tmp_path: Path, layout: str) -> None:
    features, row = LAYOUTS[layout]
    picture = next(name for name, kind in features.items() if isinstance(kind, datasets.Image))
    bundle = _bundle(tmp_path, _saved(tmp_path, features, [row | {picture: _cell()}]))
    found = bundle.dataset["train"][0]
    assert found["objects"]["bbox"] == BOXES and found["objects"]["area"] == [120, 64]
    assert [bundle.labels.id2label[label] for label in found["objects"]["category"]] == ["brick", "cone"]
    assert (found["width"], found["height"]) == (40, 30)
    assert np.asarray(found["image"])[0, 0].tolist() == [90, 10, 10]
    assert list(bundle.dataset["train"].features) == [
        "image",
        "image_id",
        "file_name",
        "width",
        "height",
        "objects",
    ]


def test_our_own_panoptic_set_comes_back_the_same(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "coco", crowd=True)
    first = build_bundle(Data(train=split, validation=split), tmp_path / "run")
    first.save(tmp_path / "saved")
    again = build_bundle(Data(dataset=str(tmp_path / "saved")), tmp_path / "run")
    assert again.is_panoptic and again.labels == first.labels and again.labels.stuff_ids == (3, 4)
    assert again.dataset["train"].features == first.dataset["train"].features
    for old, new in zip(first.dataset["validation"], again.dataset["validation"], strict=True):
        assert np.array_equal(np.asarray(old.pop("image")), np.asarray(new.pop("image")))
        assert np.array_equal(np.asarray(old.pop("panoptic")), np.asarray(new.pop("panoptic")))
        assert old == new


def test_a_saved_set_is_self_contained(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "coco")
    build_bundle(Data(train=split), tmp_path / "run").save(tmp_path / "saved")
    for file in Path(split.images).iterdir():
        file.unlink()
    row = build_bundle(Data(dataset=str(tmp_path / "saved")), tmp_path / "run").dataset["train"][0]
    assert row["image"].size == (row["width"], row["height"])


def test_numbers_without_names_need_a_label_map(tmp_path: Path) -> None:
    features = {
        "image": datasets.Image(),
        "objects": {"bbox": List(List(Value("float32"))), "category": List(Value("int64"))},
    }
    folder = _saved(tmp_path, features, [{"image": _cell(), "objects": {"bbox": BOXES, "category": [2, 1]}}])
    with pytest.raises(UserError, match="numbers without names"):
        _bundle(tmp_path, folder)
    LabelMap.from_names(NAMES).save(tmp_path / "labels")  # source ids 1 and 2
    bundle = _bundle(tmp_path, folder, labels=str(tmp_path / "labels" / "label_map.json"))
    assert bundle.dataset["train"][0]["objects"]["category"] == [1, 0]


@pytest.mark.parametrize("path", ["/etc/hostname", "pictures/a.png", "https://example.org/a.png", "../a.png"])
def test_a_row_may_not_point_outside_the_data_set(tmp_path: Path, path: str) -> None:
    features, row = LAYOUTS["dict of lists, class labels"]
    columns = {"image": [{"bytes": None, "path": path}], "objects": [row["objects"]]}
    made = datasets.Dataset.from_dict(columns, features=Features(features))
    report = Report("data.dataset")
    assert list(SavedSplit(made, "data.dataset", (tmp_path,), None).images(report)) == []
    assert f"row 0: its picture is kept as the path '{path}', outside the data set" in report.faults[0]


def test_a_picture_kept_as_a_path_inside_the_data_set_is_read(tmp_path: Path) -> None:
    features, row = LAYOUTS["dict of lists, class labels"]
    (tmp_path / "a.png").write_bytes(_png())
    columns = {"image": [str(tmp_path / "a.png")], "objects": [row["objects"]]}
    made = datasets.Dataset.from_dict(columns, features=Features(features))
    (found,) = SavedSplit(made, "data.dataset", (tmp_path,), None).images(Report("data.dataset"))
    assert found.image == tmp_path / "a.png" and found.file_name == "a.png"


def test_lists_of_different_length_are_refused(tmp_path: Path) -> None:
    features, row = LAYOUTS["dict of lists, class labels"]
    broken = {"image": _cell(), "objects": {"bbox": BOXES, "category": [1]}}
    with pytest.raises(UserError, match="differ in length"):
        _bundle(tmp_path, _saved(tmp_path, features, [row | {"image": _cell()}, broken]))


def test_missing_columns_and_splits_are_named(tmp_path: Path) -> None:
    no_boxes = {"image": datasets.Image(), "objects": {"category": List(ClassLabel(names=NAMES))}}
    folder = _saved(tmp_path, no_boxes, [{"image": _cell(), "objects": {"category": [1]}}])
    with pytest.raises(UserError, match="no column holds 'bbox'"):
        _bundle(tmp_path, folder)
    with pytest.raises(UserError, match="has no split 'training'; it has 'train'"):
        _bundle(tmp_path, folder, train_split="training")


def test_a_set_without_validation_split_says_so_and_holds_out(tmp_path: Path) -> None:
    features, row = LAYOUTS["dict of lists, class labels"]
    folder = _saved(tmp_path, features, [row | {"image": _cell()} for _ in range(10)])
    bundle = build_bundle(Data(dataset=str(folder), validation_fraction=0.3), tmp_path / "run")
    assert len(bundle.dataset["train"]) == 7 and len(bundle.dataset["validation"]) == 3
    assert "has no split 'validation'" in bundle.notes[0] and "3 of 10 images" in bundle.notes[1]


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(UserError, match="not a folder written by"):
        _bundle(tmp_path, tmp_path / "plain")
    with pytest.raises(UserError, match="there is no folder"):
        _bundle(tmp_path, tmp_path / "nowhere")
    with pytest.raises(UserError, match="which has no revisions"):
        _bundle(tmp_path, tmp_path / "plain", revision="main")


def _fake_hub(monkeypatch: pytest.MonkeyPatch, folder: Path, label_folder: Path | None) -> None:
    from huggingface_hub.errors import EntryNotFoundError

    from detr_hf.prepare import hf

    def download(name: str, file: str, **more: Any) -> str:
        if label_folder is None:
            raise EntryNotFoundError("no such file")
        return str(label_folder / file)

    monkeypatch.setattr(
        hf.datasets, "load_dataset", lambda name, revision: datasets.load_from_disk(str(folder))
    )
    monkeypatch.setattr(hf, "hf_hub_download", download)


def test_a_hub_data_set_brings_its_label_map_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = write_coco_panoptic(tmp_path / "coco")
    made = build_bundle(Data(train=split, validation=split), tmp_path / "run")
    made.save(tmp_path / "saved")
    _fake_hub(monkeypatch, tmp_path / "saved", tmp_path / "saved")
    assert build_bundle(Data(dataset="someone/yard"), tmp_path / "run").labels == made.labels
    _fake_hub(monkeypatch, tmp_path / "saved", None)
    assert build_bundle(Data(dataset="someone/yard"), tmp_path / "run").labels.stuff_ids == ()


def test_what_the_hub_refuses_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from detr_hf.prepare import hf

    def refuse(name: str, revision: str | None) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr(hf.datasets, "load_dataset", refuse)
    with pytest.raises(UserError, match=r"'someone/yard' is neither a folder nor .* \(no network\)"):
        build_bundle(Data(dataset="someone/yard"), tmp_path / "run")
