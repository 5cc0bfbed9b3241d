"""What datumaro and Label Studio read of our files (`tools/foreign_sets.py --read`) is what we wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.data import our_set

OURS = Path(__file__).parent / "foreign" / "ours"
if not OURS.exists() and not (Path(__file__).parents[2] / ".git").exists():
    pytest.skip("a source distribution is without these files", allow_module_level=True)
SCORE_PX = 1e-6  # six digits of a percent of 48 pixels


def facts(tool: str) -> dict[str, Any]:
    return json.loads((OURS / f"{tool}.json").read_text())


def points_of(found: dict[str, Any]) -> list[float]:
    x, y, w, h = found.get("box", [0] * 4)
    return found["polygon"] if "polygon" in found else [x, y, x + w, y + h]


def test_we_still_write_what_they_have_read(tmp_path: Path) -> None:
    """Where this fails on purpose, write the files anew and let the tools read them again."""
    our_set.write(tmp_path)
    written = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    read_by = {"datumaro.json", "label_studio.json"}
    assert {file.name for file in OURS.iterdir()} == {*written, *read_by}
    for name, content in written.items():
        assert content == (OURS / name).read_bytes(), name


@pytest.mark.parametrize("format_name", ["cvat", "coco_instances"])
def test_datumaro_reads_the_same_boxes_polygons_classes_and_scores(format_name: str) -> None:
    read = facts("datumaro")[format_name]
    assert set(read) == {name.removesuffix(".png") for name in our_set.FOUND}
    for name, truth in our_set.FOUND.items():
        polygons = {one["class"] for one in truth if "polygon" in one}
        # Of a COCO entry with an outline, datumaro makes a polygon and a box.
        given = [
            one
            for one in read[name.removesuffix(".png")]
            if one["type"] != "bbox" or one["class"] not in polygons
        ]
        assert len(given) == len(truth)
        for there in truth:
            [here] = [one for one in given if one["class"] == there["class"]]
            assert here["type"] == ("polygon" if "polygon" in there else "bbox")
            assert here["points"] == pytest.approx(points_of(there), abs=0.005)
            assert here["score"] == there["score"]


@pytest.mark.parametrize("kind", ["box", "polygon"])
def test_label_studio_takes_our_predictions_and_exports_them_as_they_were(kind: str) -> None:
    read = facts("label_studio")[kind]
    assert read["errors"] == [[]] * len(our_set.FOUND)
    truth = [(at, one) for at, found in enumerate(our_set.FOUND.values()) for one in found if kind in one]
    assert [(one["image"], one["class"]) for one in read["objects"]] == [
        (at, one["class"]) for at, one in truth
    ]
    for here, (_, there) in zip(read["objects"], truth, strict=True):
        if kind == "polygon":
            assert here["points"] == pytest.approx(there["polygon"], abs=SCORE_PX)
        else:
            assert here["box"] == pytest.approx(there["box"], abs=SCORE_PX)
