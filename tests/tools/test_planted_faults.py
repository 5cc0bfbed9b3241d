"""What is planted is what is counted: the kinds, the shares, and when a row has found a fault."""

from __future__ import annotations

from collections import Counter
from typing import Any

from tools.planted_faults import KINDS, Planted, found_by, plant


def content(images: int = 40) -> dict[str, Any]:
    entries = [
        {"id": 2 * at + side, "image_id": at, "category_id": side, "bbox": [10 + 50 * side, 10, 30, 30]}
        for at in range(images)
        for side in (0, 1)
    ]
    listed = [{"id": at, "file_name": f"{at}.jpg", "width": 200, "height": 150} for at in range(images)]
    return {"images": listed, "annotations": entries, "categories": [{"id": 0}, {"id": 1}, {"id": 2}]}


def test_a_share_of_the_annotations_is_spoiled_in_five_ways() -> None:
    clean = content()
    spoiled, planted = plant(clean, share=0.25, seed=3)
    assert Counter(one.kind for one in planted) == dict.fromkeys(KINDS, 4)
    assert plant(clean, share=0.25, seed=3) == (spoiled, planted)
    before = {one["id"]: one for one in clean["annotations"]}
    after = {one["id"]: one for one in spoiled["annotations"]}
    of_kind = {kind: {one.annotation_id for one in planted if one.kind == kind} for kind in KINDS}
    assert before.keys() - after.keys() == of_kind["missing"]
    assert after.keys() - before.keys() == of_kind["unsupported"] | of_kind["duplicate"]
    changed = {key for key in before.keys() & after.keys() if before[key]["bbox"] != after[key]["bbox"]}
    assert changed == of_kind["misplaced"]
    swapped = {
        key for key in before.keys() & after.keys() if before[key]["category_id"] != after[key]["category_id"]
    }
    assert swapped == of_kind["class"]


def test_only_rows_of_the_kind_and_only_the_first_of_them_count() -> None:
    planted = [Planted("class", at, at, [0, 0, 9, 9]) for at in range(2)]

    def row(kind: str, number: int) -> dict[str, Any]:
        return {
            "kind": kind,
            "image_id": number,
            "annotation_id": number,
            "other_id": None,
            "box": [0, 0, 9, 9],
        }

    rows = [row("misplaced", 0), row("class", 7), row("class", 1), row("class", 8), row("class", 0)]
    assert found_by(planted, rows)[2] == ["class", 2, 3, 1, "50 %"], "3 rows for 2 faults"
