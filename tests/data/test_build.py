"""`build_bundle`: splits, label maps, the report, and what must not come from a stale cache."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from detr_hf.data import reading
from detr_hf.data.build import build_bundle
from detr_hf.data.bundle import DataBundle, content_key, dataset_features
from detr_hf.data.issues import KINDS
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Data, Split
from tests.factories import write_coco_detection, write_coco_panoptic

pytestmark = pytest.mark.usefixtures("own_cache")

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data"


def build(tmp_path: Path, **data: Any) -> DataBundle:
    return build_bundle(Data(**data), tmp_path / "run")


def ids(bundle: DataBundle, split: str) -> list[int]:
    return bundle.dataset[split]["image_id"][:]


def test_two_splits_share_one_label_map_by_name(tmp_path: Path) -> None:
    def renumber(content: dict[str, Any]) -> None:
        """The validation export counts its categories otherwise, as tools do."""
        new = {3: 2, 7: 1, 12: 5}
        for entry in content["categories"]:
            entry["id"] = new[entry["id"]]
        for entry in content["annotations"]:
            entry["category_id"] = new[entry["category_id"]]

    train = write_coco_detection(tmp_path / "a")
    same = write_coco_detection(tmp_path / "b", mend=renumber)
    for file in (tmp_path / "b" / "images").iterdir():  # other files, or they would be in two splits
        file.write_bytes(file.read_bytes() + b"\0")
    bundle = build(tmp_path, train=train, validation=same)
    assert bundle.labels.names == ("brick", "cone", "plank")
    assert bundle.dataset["train"]["objects"][:] == bundle.dataset["validation"]["objects"][:]
    for split in bundle.dataset.values():
        assert split.features == dataset_features(bundle.labels.names, is_panoptic=False)


def test_a_class_that_only_validation_has_is_named(tmp_path: Path) -> None:
    def rename(content: dict[str, Any]) -> None:
        content["categories"][0]["name"], content["categories"][1]["name"] = "Brick", "tile"

    split = write_coco_detection(tmp_path / "a")
    other = write_coco_detection(tmp_path / "b", mend=rename)
    with pytest.raises(UserError, match=r"(?s)data.validation: .*not in the label map.*'(Brick|tile)'"):
        build(tmp_path, train=split, validation=other)


def test_void_classes_are_dropped_and_counted(tmp_path: Path) -> None:
    def add_void(content: dict[str, Any]) -> None:
        content["categories"] += [{"id": 50, "name": "rubbish"}, {"id": 51, "name": "never used"}]
        content["annotations"] = [
            {"id": 1 + at, "image_id": 11, "category_id": kind, "bbox": [9 * at, 1, 9, 9]}
            for at, kind in enumerate((50, 3))
        ]

    labels = LabelMap(LabelMap.from_names(["plank", "cone", "brick"]).categories, void=("rubbish",))
    labels.save(tmp_path)
    split = write_coco_detection(tmp_path / "a", mend=add_void)
    bundle = build(tmp_path, train=split, validation=split, labels=str(tmp_path / "label_map.json"))
    assert bundle.labels == labels
    assert [found["id"] for found in bundle.dataset["train"]["objects"] if found["id"]] == [[2]]
    notes = "\n".join(bundle.notes)
    assert "data.train: objects of void classes are dropped (1)" in notes and "annotation 1" in notes


def test_a_given_label_map_decides_the_order(tmp_path: Path) -> None:
    LabelMap.from_names(["plank", "cone", "brick", "crane"]).save(tmp_path)
    split = write_coco_detection(tmp_path / "a")
    plain = build(tmp_path, train=split, overfit=6)
    given = build(tmp_path, train=split, overfit=6, labels=str(tmp_path / "label_map.json"))
    names = [
        [
            [bundle.labels.id2label[label] for label in objects["category"]]
            for objects in bundle.dataset["train"]["objects"]
        ]
        for bundle in (plain, given)
    ]
    assert names[0] == names[1] and sum(map(len, names[0])) > 5
    assert given.labels.names == ("plank", "cone", "brick", "crane")


def test_things_come_first_whatever_the_file_says(tmp_path: Path) -> None:
    bundle = build(tmp_path, train=write_coco_panoptic(tmp_path / "a"), overfit=2)
    assert bundle.labels.names == ("brick", "cone", "plank", "sky", "ground") and bundle.is_panoptic


def test_the_held_out_share_is_seeded_and_complete(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a", count=20)
    one, two = (build(tmp_path, train=split, validation_fraction=0.25) for _ in range(2))
    assert ids(one, "validation") == ids(two, "validation") and len(ids(one, "validation")) == 5
    assert sorted(ids(one, "train") + ids(one, "validation")) == list(range(10, 30))
    assert ids(one, "validation") != list(range(25, 30)) and ids(one, "train") == sorted(ids(one, "train"))
    assert "held out for validation, always the same: 5 of 20 images (0.25)" in one.notes


def test_a_single_image_cannot_be_split(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"1 image.* cannot be split"):
        build(tmp_path, train=write_coco_detection(tmp_path / "a", count=1, empty=0))


def test_overfit_trains_and_evaluates_on_the_first_images(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a")
    bundle = build(tmp_path, train=split, overfit=2)
    assert ids(bundle, "train") == ids(bundle, "validation") == [10, 11]
    with pytest.raises(UserError, match=r"data.overfit: 7 images are asked for, the training split has 6"):
        build(tmp_path, train=split, overfit=7)


def test_one_panoptic_split_beside_a_plain_one_is_refused(tmp_path: Path) -> None:
    maps, boxes = write_coco_panoptic(tmp_path / "a"), write_coco_detection(tmp_path / "b")
    with pytest.raises(UserError, match="only train has panoptic id maps"):
        build(tmp_path, train=maps, validation=boxes)


def test_the_report_holds_counts_and_places(tmp_path: Path) -> None:
    def overshoot(content: dict[str, Any]) -> None:
        content["annotations"] = [{"id": 4, "image_id": 12, "category_id": 7, "bbox": [120, 1, 9, 9]}]

    bundle = build(tmp_path, train=write_coco_detection(tmp_path / "a", mend=overshoot), overfit=3)
    report = json.loads((tmp_path / "run" / "data_report.json").read_text())
    assert report["splits"] == {"train": 3, "validation": 3} and report["notes"] == bundle.notes
    source = report["sources"]["data.train"]
    assert source["totals"]["images"] == 6 and source["totals"]["objects"] == 1
    assert source["counts"]["box-clipped"] == 1
    (place,) = source["places"]["box-clipped"]
    assert (place["file"], place["examples"]) == ("002.jpg", ["annotation 4: [120, 1, 9, 9] in 128x96"])


def test_a_set_without_an_object_is_refused_and_crowds_are_none(tmp_path: Path) -> None:
    def crowds(content: dict[str, Any]) -> None:
        for entry in content["annotations"]:
            entry["iscrowd"] = 1

    assert KINDS["nothing-to-learn"].effect == "stops"
    with pytest.raises(UserError, match=r"no object is left to learn from.*no image has an object"):
        build(tmp_path, train=write_coco_detection(tmp_path / "a", empty=6))
    with pytest.raises(UserError, match=r"no object is left to learn from.*and no other than crowds"):
        build(tmp_path, train=write_coco_detection(tmp_path / "b", mend=crowds))


# ---- the cache -----------------------------------------------------------------------------------


def _edit(split: Split, **box: Any) -> None:
    file = Path(split.place)
    content = json.loads(file.read_text())
    content["annotations"][0] |= box
    file.write_text(json.dumps(content))


def test_an_edited_annotation_file_is_read_again(tmp_path: Path) -> None:
    """guards: a generator cache that is keyed by paths returns the old rows after an edit."""
    split = write_coco_detection(tmp_path / "a", empty=0)
    before = build(tmp_path, train=split, overfit=6).dataset["train"][0]["objects"]["bbox"][0]
    _edit(split, bbox=[1, 2, 3, 4])
    after = build(tmp_path, train=split, overfit=6).dataset["train"][0]["objects"]["bbox"][0]
    assert before != after == [1, 2, 3, 4]


def test_an_image_that_vanished_since_is_noticed(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "a")
    build(tmp_path, train=split)
    (Path(split.images or "") / "003.jpg").unlink()
    with pytest.raises(UserError, match=r"(?s)listed images have no file.*003.jpg"):
        build(tmp_path, train=split)


def test_a_png_painted_anew_gives_new_areas(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "a")
    before = build(tmp_path, train=split, overfit=1).dataset["train"][0]["objects"]["area"]
    png = Path(str(split.panoptic)) / "10_map.png"
    with Image.open(png) as image:
        image.paste((0, 0, 0), (0, 90, 128, 96))
        image.save(png)
    after = build(tmp_path, train=split, overfit=1).dataset["train"][0]["objects"]["area"]
    assert sum(before) - sum(after) == 6 * 128


def test_unchanged_data_are_not_checked_again_and_keep_their_notes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = write_coco_detection(tmp_path / "a")
    first = build(tmp_path, train=split, validation=split)

    def refuse(*arguments: Any, **more: Any) -> None:
        raise AssertionError("checked again")

    monkeypatch.setattr(reading, "row_maker", refuse)
    again = build(tmp_path, train=split, validation=split)
    assert again.notes == first.notes and any("data.validation" in note for note in again.notes)
    assert again.dataset["train"]["objects"][:] == first.dataset["train"]["objects"][:]


def test_lost_notes_are_made_again(tmp_path: Path, own_cache: Path) -> None:
    split = write_coco_detection(tmp_path / "a")
    first = build(tmp_path, train=split)
    for file in (own_cache / "detr_hf" / "notes").iterdir():
        file.unlink()
    assert build(tmp_path, train=split).notes == first.notes


def test_rows_keep_paths_not_bytes(tmp_path: Path, own_cache: Path) -> None:
    build(tmp_path, train=write_coco_detection(tmp_path / "a", count=40, sizes_hw=[(400, 400)]))
    images = sum(file.stat().st_size for file in (tmp_path / "a" / "images").iterdir())
    stored = sum(file.stat().st_size for file in own_cache.rglob("*.arrow"))
    assert stored < 40_000 < images


# ---- boxes in another format ---------------------------------------------------------------------


def _change_boxes(change):  # type: ignore[no-untyped-def]
    def mend(content: dict[str, Any]) -> None:
        sizes = {entry["id"]: (entry["width"], entry["height"]) for entry in content["images"]}
        for entry in content["annotations"]:
            entry["bbox"] = change(entry["bbox"], *sizes[entry["image_id"]])

    return mend


def test_boxes_as_shares_of_the_image_are_noticed(tmp_path: Path) -> None:
    """guards: boxes in another unit, which stock code trains on."""
    shares = _change_boxes(lambda box, w, h: [box[0] / w, box[1] / h, box[2] / w, box[3] / h])
    with pytest.raises(UserError, match=r"format of the boxes cannot|as shares"):
        build(tmp_path, train=write_coco_detection(tmp_path / "a", mend=shares))


def test_boxes_as_corners_are_noticed(tmp_path: Path) -> None:
    corners = _change_boxes(lambda box, w, h: [box[0], box[1], box[0] + box[2], box[1] + box[3]])
    with pytest.raises(UserError, match="these are corners"):
        build(tmp_path, train=write_coco_detection(tmp_path / "a", count=30, mend=corners))


# ---- real photographs ----------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared sample photographs are not here")
def test_real_exports_are_read(tmp_path: Path) -> None:
    cells, games = SHARED / "bccd", SHARED / "coco_panoptic_sample"
    train, test = (
        Split(annotations=str(cells / f"{name}.json"), images=str(cells / "images"))
        for name in ("train", "test")
    )
    bundle = build(tmp_path, train=train, validation=test)
    assert {name: len(split) for name, split in bundle.dataset.items()} == {"train": 80, "validation": 20}
    assert bundle.labels.names == ("RBC", "WBC", "Platelets")
    assert bundle.notes == []
    folders = {"images": str(games / "images"), "panoptic": str(games / "panoptic")}
    bundle = build(tmp_path, train=Split(annotations=str(games / "panoptic.json"), **folders), overfit=2)
    assert len(bundle.labels.thing_ids) == 80 and len(bundle.labels.stuff_ids) == 53
    content = json.loads((games / "panoptic.json").read_text())
    for row, annotation in zip(bundle.dataset["train"], content["annotations"], strict=True):
        declared = {segment["id"]: segment for segment in annotation["segments_info"]}
        assert row["objects"]["area"] == [declared[number]["area"] for number in row["objects"]["id"]]
        assert row["objects"]["bbox"] == [declared[number]["bbox"] for number in row["objects"]["id"]]


def test_the_key_of_the_training_images_is_that_of_their_values_alone(tmp_path: Path) -> None:
    train = write_coco_detection(tmp_path / "a", count=6)
    assert build(tmp_path, train=train, overfit=4).training_key != build(tmp_path, train=train).training_key
    whole = build(tmp_path, train=train, overfit=6)
    copy = whole.dataset["train"].select([5, *range(5)]).select([*range(1, 6), 0])  # by indices, in one batch
    assert content_key(copy) == content_key(copy.flatten_indices()) == whole.training_key
    whole.save(tmp_path / "saved")
    assert build(tmp_path, dataset=str(tmp_path / "saved"), overfit=6).training_key == whole.training_key


def test_stuff_is_left_out_of_both_splits_where_it_is_not_wanted(tmp_path: Path) -> None:
    split = write_coco_panoptic(tmp_path / "a", count=3)
    whole = build(tmp_path, train=split, validation=split)
    bundle = build(tmp_path, train=split, validation=split, stuff=False)
    assert bundle.labels == whole.labels and len(whole.labels.stuff_ids) > 0
    stuff = set(whole.labels.stuff_ids)
    for role in ("train", "validation"):
        rows, before = bundle.dataset[role], whole.dataset[role]
        assert rows.features == before.features or set(rows.features) == set(before.features)
        assert rows["image_id"][:] == before["image_id"][:]
        for found, every in zip(rows["objects"], before["objects"], strict=True):
            kept = [at for at, category in enumerate(every["category"]) if category not in stuff]
            assert 0 < len(kept) < len(every["category"])
            assert found == {key: [column[at] for at in kept] for key, column in every.items()}
    assert any(note.startswith("data.stuff: ") for note in bundle.notes)
    assert bundle.training_key != whole.training_key, "a run does not go on with other objects"


def test_data_of_stuff_alone_cannot_leave_it_out(tmp_path: Path) -> None:
    def nothing_but_stuff(content: dict[str, Any]) -> None:
        for category in content["categories"]:
            category["isthing"] = 0

    split = write_coco_panoptic(tmp_path / "a", mend=nothing_but_stuff)
    with pytest.raises(UserError, match=r"data\.stuff: false leaves no object"):
        build(tmp_path, train=split, validation=split, stuff=False)
