"""The label map: order, colors, round trips, refusals, and the construction preset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_hf.errors import UserError
from detr_hf.labels import (
    COCO_STUFF_TO_CONSTRUCTION,
    Category,
    LabelMap,
    construction_labels,
    load_labels,
)

MIXED = [
    {"id": 7, "name": "sky", "isthing": 0, "color": [1, 2, 3]},
    {"id": 40, "name": "hoist", "isthing": 1, "color": [4, 5, 6]},
    {"id": 3, "name": "wall", "isthing": 0},
    {"id": 9, "name": "grader"},
]


def test_things_come_first_and_each_kind_keeps_the_order_of_source_ids() -> None:
    labels = LabelMap.from_coco(MIXED)
    assert labels.names == ("grader", "hoist", "wall", "sky")
    assert labels.thing_ids == (0, 1)
    assert labels.stuff_ids == (2, 3)
    assert labels.source_to_class == {9: 0, 40: 1, 3: 2, 7: 3}
    assert labels.id2label == {0: "grader", 1: "hoist", 2: "wall", 3: "sky"}
    assert labels.label2id == {"grader": 0, "hoist": 1, "wall": 2, "sky": 3}
    assert labels.num_classes == 4
    assert labels.is_thing(1) and not labels.is_thing(2)
    assert labels.color(1) == (4, 5, 6)


def test_a_category_without_isthing_is_a_thing() -> None:
    assert LabelMap.from_coco([{"id": 1, "name": "RBC"}]).thing_ids == (0,)


def test_generated_colors_depend_on_the_id_alone_and_differ() -> None:
    alone = LabelMap.from_coco([{"id": 9, "name": "grader"}])
    assert alone.color(0) == LabelMap.from_coco(MIXED).color(0)
    many = LabelMap.from_names([f"class {index}" for index in range(150)])
    assert len({category.color for category in many.categories}) == 150


def test_void_categories_are_no_class_but_are_remembered() -> None:
    labels = LabelMap.from_coco(MIXED, void=["sky"])
    assert labels.names == ("grader", "hoist", "wall")
    assert labels.void == ("sky",)
    assert 7 not in labels.source_to_class


@pytest.mark.parametrize(
    ("categories", "void", "words"),
    [
        ([], (), "at least one class"),
        (["sky"], (), "expected an object"),
        ([{"name": "a"}], (), "`id` must be a whole number"),
        ([{"id": True, "name": "a"}], (), "`id` must be a whole number"),
        ([{"id": 4, "name": " "}], (), "category 4: `name`"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], (), "share the id 1"),
        ([{"id": 1, "name": "a"}, {"id": 2, "name": "a"}], (), "share the name a"),
        ([{"id": 1, "name": "a", "isthing": 2}], (), "`isthing` must be 0 or 1, got 2"),
        ([{"id": 1, "name": "a", "color": [1, 2]}], (), "three numbers from 0 to 255"),
        ([{"id": 1, "name": "a", "color": [1, 2, 256]}], (), "three numbers from 0 to 255"),
        ([{"id": 1, "name": "a"}], ("b",), "no such category"),
    ],
)
def test_bad_categories_are_refused(categories: list[Any], void: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        LabelMap.from_coco(categories, void)


def test_stuff_before_things_is_refused() -> None:
    stuff, thing = Category(0, "sky", False, (0, 0, 0), 1), Category(1, "hoist", True, (0, 0, 0), 2)
    with pytest.raises(UserError, match="things first"):
        LabelMap((stuff, thing))


@pytest.mark.parametrize("labels", [LabelMap.from_coco(MIXED, void=["sky"]), construction_labels()])
def test_a_saved_map_loads_back_whole(tmp_path: Path, labels: LabelMap) -> None:
    file = labels.save(tmp_path / "run")
    for place in (file, tmp_path / "run"):
        loaded = LabelMap.load(place)
        assert loaded.categories == labels.categories
        assert loaded.void == labels.void


def test_coco_categories_go_round_and_can_be_contiguous() -> None:
    labels = LabelMap.from_coco(MIXED)
    assert LabelMap.from_coco(labels.to_coco_categories()).categories == labels.categories
    assert [entry["id"] for entry in labels.to_coco_categories(contiguous=True)] == [0, 1, 2, 3]


def test_loading_keeps_the_order_of_the_file(tmp_path: Path) -> None:
    entries = [{"id": 9, "name": "b"}, {"id": 2, "name": "a"}]
    (tmp_path / "label_map.json").write_text(json.dumps({"categories": entries}))
    assert LabelMap.load(tmp_path).names == ("b", "a")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "no such label map"),
        ("{", "label_map.json is not valid JSON"),
        ("[]", "label_map.json holds a list"),
        ('{"classes": []}', "is no label map"),
        ('{"categories": [{"id": 1}]}', "category 1: `name`"),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    file = tmp_path / "label_map.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        LabelMap.load(file)
    assert str(file) in str(caught.value)


def test_equality_is_names_and_kinds_in_order() -> None:
    first = LabelMap.from_names(["a", "b"], stuff=["c"])
    recolored = LabelMap.from_coco(
        [{"id": 10 * i, "name": n, "isthing": i < 3} for i, n in enumerate("abc", 1)]
    )
    assert first == recolored and hash(first) == hash(recolored)
    assert first != LabelMap.from_names(["b", "a"], stuff=["c"])
    assert first != LabelMap.from_names(["a", "b", "c"])
    assert first != "a, b, c"


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (LabelMap.from_names(["a", "b"], stuff=["c"]), ""),
        (LabelMap.from_names(["b", "a"], stuff=["c"]), "has another order (a is 1, not 0)"),
        (LabelMap.from_names(["a", "b", "c"]), "calls c thing, not stuff"),
        (LabelMap.from_names(["a", "d"]), "lacks b, c; has d besides"),
    ],
)
def test_difference_says_what_is_otherwise(other: LabelMap, words: str) -> None:
    assert LabelMap.from_names(["a", "b"], stuff=["c"]).difference(other) == words


def test_the_construction_preset() -> None:
    labels = construction_labels()
    assert labels.num_classes == 63
    assert labels.thing_ids == tuple(range(48))
    assert labels.stuff_ids == tuple(range(48, 63))
    assert (labels.names[0], labels.names[47], labels.names[48], labels.names[62]) == (
        "aac_blocks",
        "wood_primer",
        "building",
        "window",
    )
    assert labels.source_to_class[1] == 0 and labels.source_to_class[48] == 47
    assert labels.source_to_class[100] == 48 and labels.source_to_class[114] == 62
    assert labels.void == ("thing",) and 115 not in labels.source_to_class
    assert len({category.color for category in labels.categories}) == 63
    assert load_labels("construction") == labels


def test_the_stuff_mapping_leads_to_every_stuff_class_and_to_nothing_else() -> None:
    labels = construction_labels()
    assert set(COCO_STUFF_TO_CONSTRUCTION.values()) == {labels.names[index] for index in labels.stuff_ids}
    assert COCO_STUFF_TO_CONSTRUCTION["sky-other-merged"] == "sky"
    assert COCO_STUFF_TO_CONSTRUCTION["dirt-merged"] == "ground"
    assert COCO_STUFF_TO_CONSTRUCTION["wall-concrete"] == "wall"


def test_the_preset_is_the_published_label_map() -> None:
    file = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "construction.json"
    if not file.exists():
        pytest.skip("the published construction.json is not beside this checkout")
    published = json.loads(file.read_text())
    expected = LabelMap.from_coco(published["categories"], void=["thing"])
    assert construction_labels().categories == expected.categories
    mapping = published["coco_stuff_to_construction"] | published["coco_panoptic_stuff_to_construction"]
    assert mapping == COCO_STUFF_TO_CONSTRUCTION
