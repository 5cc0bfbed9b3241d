"""Ids of images and classes from a COCO JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_hf.data.given_ids import GivenIds, read_given_ids
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap


def given(tmp_path: Path, *names: str, **more: Any) -> GivenIds:
    images = [{"id": 10 + at, "file_name": name} for at, name in enumerate(names)]
    content = {"images": images, "categories": [{"id": 7, "name": "cat"}], **more}
    (tmp_path / "given.json").write_text(json.dumps(content))
    return read_given_ids(tmp_path / "given.json")


def test_images_are_matched_by_the_ends_of_their_paths(tmp_path: Path) -> None:
    found, absent = given(tmp_path, "val/a.jpg", "b.jpg", "c.jpg").match(["a.jpg", "x/b.jpg", "d.jpg"])
    assert {name: entry["id"] for name, entry in found.items()} == {"a.jpg": 10, "x/b.jpg": 11}
    assert absent == 1


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    names = ["left/a.jpg", "right/a.jpg"]
    found, _ = given(tmp_path, "right/a.jpg", "left/a.jpg").match(names)
    assert {name: entry["id"] for name, entry in found.items()} == {"right/a.jpg": 10, "left/a.jpg": 11}
    with pytest.raises(UserError, match=r"image 10: .*left/a.jpg, right/a.jpg"):
        given(tmp_path, "a.jpg").match(names)
    with pytest.raises(UserError, match="images 10 and 11 are both"):
        given(tmp_path, "left/a.jpg", "right/a.jpg").match(["a.jpg"])


def test_classes_are_matched_by_name(tmp_path: Path) -> None:
    ids = given(tmp_path, "a.jpg")
    assert ids.category_ids(LabelMap.from_names(["dog", "cat"])) == {1: 7}
    with pytest.raises(UserError, match="it has cat; the model dog"):
        ids.category_ids(LabelMap.from_names(["dog"]))
    with pytest.raises(UserError, match="lists none of the 1 image"):
        ids.match(["z.jpg"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": []}, "no list `images`"),
        ({"categories": None}, "no list `categories`"),
        ({"images": [{"id": 1}]}, r"images\[0\] has no `id` or no `file_name`"),
        ({"images": [3]}, r"images\[0\] has no"),
        ({"images": [{"id": 1, "file_name": "a"}, {"id": 1, "file_name": "b"}]}, r"images\[1\].*used twice"),
        ({"categories": [{"id": 1, "name": 5}]}, r"categories\[0\] has no"),
        ({"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}, "used twice"),
    ],
)
def test_what_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        given(tmp_path, "a.jpg", **change)
