"""Runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.cli import main
from detr_hf.errors import UserError
from detr_hf.metrics.entries import ImageEntry
from detr_hf.metrics.per_image_results import PerImageResults, save_per_image
from detr_hf.report.class_changes import change_sentences, class_rows
from detr_hf.report.comparable import Scored, why_not_comparable
from detr_hf.report.compare import compare_runs, comparison_text, write_comparison
from detr_hf.run_folder import RunFolder
from tests.html_reader import read_page
from tests.report.report_factories import foreign_addresses, image_boxes, write_run


def two_runs(folder: Path) -> list[Path]:
    runs = [write_run(folder / name) for name in ("one", "two")]
    metrics = runs[1] / "best" / "metrics.json"
    facts = json.loads(metrics.read_text())
    facts["detection"]["AP"] = 0.25
    metrics.write_text(json.dumps(facts))
    recipe = runs[1] / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace('"epochs": 2', '"epochs": 2, "lr": 0.01'))
    return runs


def test_numbers_settings_and_curves(tmp_path: Path) -> None:
    found = compare_runs(two_runs(tmp_path))
    rows = {row.name: row for row in found.metrics}
    assert rows["box AP"].cells == ["0.500", "0.250"] and rows["box AP"].best == {0}
    assert rows["box AR"].best == frozenset(), "equals have no best"
    assert "PQ" not in rows
    assert {row.name: row.cells for row in found.settings} == {"optim.lr": ["-", "0.01"]}
    said = comparison_text(found)
    assert "★ 0.500" in said and "optim.lr" in said
    page = read_page(write_comparison(found, tmp_path / "new" / "compare.html"))
    assert foreign_addresses(page) == [] and page.all("script") == []
    assert page.words.count("Loss") == 1 and "Bold" in page.words and "PQ on" not in page.words


def test_runs_that_cannot_be_compared_are_told(tmp_path: Path) -> None:
    runs = two_runs(tmp_path)
    metrics = runs[1] / "best" / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"objects": 3', '"objects": 4'))
    found = compare_runs(runs)
    assert (
        "cannot be compared" in comparison_text(found)
        and "two differs from one in its validation" in found.notes[0]
    )
    assert not any(row.best for row in found.metrics) and found.classes == []
    metrics.unlink()
    assert compare_runs(runs).notes == ["two has no best/ yet"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"task": "panoptic"}, "its task (panoptic, not detection)"),
        ({"classes": ["brick", "crane", "sky"]}, "its classes (only two has crane; only one has cone)"),
        ({"per_image": range(1, 4)}, "its validation images (3 and 3, of which 2 have the same id)"),
        ({"annotated": 1}, "its validation images or their annotations (3 of 3 images with the same id)"),
        ({"objects": {"brick": 4}, "per_image": None}, "its validation data"),
        ({}, ""),
    ],
)
def test_why_scores_cannot_be_compared(change: dict[str, Any], why: str) -> None:
    def scored(name: str, change: dict[str, Any]) -> Scored:
        values: dict[str, Any] = {"task": "detection", "classes": ["brick", "cone", "sky"]}
        values |= {"objects": {"brick": 3}, "per_image": range(3), "annotated": 0} | change
        ids, label = values["per_image"], values.pop("annotated")
        boxes = [ImageEntry(one, 0, image_boxes([], [(0, label)])) for one in ids or ()]
        return Scored(name, **(values | {"per_image": PerImageResults(boxes) if ids else None}))

    runs = [scored("one", {}), scored("two", change), Scored("new", "panoptic", [], {}, None)]
    found = why_not_comparable(runs)
    assert found == ([] if not why else found) and why in "".join(found) and "new" not in "".join(found)


def test_classes_that_gain_and_lose_are_told_from_noise() -> None:
    """Ten rare bricks, three found more: noise. Forty cones, nine found more, one less: more than chance."""
    first, other = np.zeros((40, 2), int), np.zeros((40, 2), int)
    other[:3, 0], other[:9, 1], first[39, 1] = 1, 1, 1
    rows = class_rows(["brick", "cone"], [10, 40], [[0.5, 0.4], [0.8, 0.6]], [first, other])
    brick, cone = (row.cells[1] for row in rows)
    assert (brick.gained, brick.lost, brick.verdict) == (3, 0, "") and brick.difference == pytest.approx(0.3)
    assert (cone.gained, cone.lost, cone.verdict) == (9, 1, "better")
    (sentence,) = change_sentences(["base", "new"], rows)
    assert "new finds 12 of 50 objects that base does not find; base finds 1 " in sentence
    assert "gain by more than chance: cone (+9 -1 of 40)" in sentence and "brick" not in sentence
    unknown = class_rows(["brick", "cone"], [10, 0], [[0.5, None], [None, None]], [None, other])
    assert [row.name for row in unknown] == ["brick"] and change_sentences(["base", "new"], unknown) == []


def test_found_objects_are_those_of_the_predictions(tmp_path: Path) -> None:
    runs = two_runs(tmp_path)
    for run, found in zip(runs, ([(0, 0, 0.9)], [(0, 0, 0.9), (1, 1, 0.9), (2, 1, 0.2)]), strict=True):
        entry = ImageEntry(1, 0, image_boxes(found, [(0, 0), (1, 1), (2, 1)]))
        save_per_image(RunFolder(run), PerImageResults([entry]))
    found = compare_runs(runs)
    cells = {row.name: (row.cells[1].gained, row.cells[1].lost) for row in found.classes}
    assert cells == {"brick": (0, 0), "cone": (1, 0), "sky": (0, 0)}
    assert "two finds 1 of 9 objects that one does not find" in comparison_text(found)


def test_names_of_runs_are_as_short_as_they_can_be(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name / "seed-1" / "detection") for name in ("base", "long")]
    assert compare_runs([*runs, runs[0]]).names == ["base", "long", "base (2)"]


def test_transforms_are_compared_one_by_one(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("one", "two")]
    for run, size in zip(runs, (144, 192), strict=True):
        recipe = json.loads((run / "recipe.yaml").read_text())
        resize = {"name": "ShortEdgeResize", "short_edges": [size], "max_long_edge": 256}
        recipe["transforms"] = {"train": [{"name": "HorizontalFlip", "p": 0.5}, resize]}
        (run / "recipe.yaml").write_text(json.dumps(recipe))
    (row,) = compare_runs(runs).settings
    assert (row.name, row.cells) == ("transforms.train.ShortEdgeResize.short_edges", ["[144]", "[192]"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = two_runs(tmp_path)
    page = tmp_path / "page.html"
    main(["compare", str(one), str(two), "--out", str(page)])
    assert "box AP" in capsys.readouterr().out and page.is_file()
    with pytest.raises(SystemExit):
        main(["compare", str(one)])
    assert "two run folders" in capsys.readouterr().err
    with pytest.raises(UserError, match="holds 2 runs; give"):
        compare_runs([one, tmp_path])
