"""Runs side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detr_hf.cli import main
from detr_hf.errors import UserError
from detr_hf.report.compare import compare_runs, comparison_text, write_comparison
from tests.html_reader import read_page
from tests.report.report_factories import foreign_addresses, write_run


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
    assert "cannot be compared" in comparison_text(compare_runs(runs))
    metrics.unlink()
    assert compare_runs(runs).notes == ["two has no best/ yet"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = two_runs(tmp_path)
    page = tmp_path / "page.html"
    main(["compare", str(one), str(two), "--out", str(page)])
    assert "box AP" in capsys.readouterr().out and page.is_file()
    with pytest.raises(SystemExit):
        main(["compare", str(one)])
    assert "two run folders" in capsys.readouterr().err
    with pytest.raises(UserError, match="no folder of a run"):
        compare_runs([one, tmp_path])
