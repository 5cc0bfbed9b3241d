"""The statistics of a study, by hand, and what the table says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detr_hf.ablation.page import write_ablation
from detr_hf.ablation.table import Difference, ablation_numbers, difference
from tests.ablation.fake_runs import STUDY, finish, study_in
from tests.html_reader import Page
from tests.report.report_factories import foreign_addresses

SCORES = {"base": (0.50, 0.52, 0.54), "no auxiliary losses": (0.53, 0.56, 0.56), "RICAP": (0.49, 0.55, 0.53)}


def finished(folder: Path, scores: dict[str, tuple[float, ...]], text: str = STUDY) -> Any:
    study = study_in(folder, text)
    for run in study.runs:
        if len(scores.get(run.variant, ())) >= run.seed:
            finish(run, scores[run.variant][run.seed - 1], last=0.5)
    return study


def variant(numbers: dict[str, Any], name: str) -> dict[str, Any]:
    return next(row for row in numbers["variants"] if row["name"] == name)


def test_the_interval_of_a_paired_difference() -> None:
    """Differences 0.03, 0.04, 0.02: mean 0.03, sd 0.01, t of 2 degrees of freedom 4.302653."""
    found = difference({1: 0.53, 2: 0.56, 3: 0.56}, {1: 0.50, 2: 0.52, 3: 0.54})
    assert found is not None and found.n == 3 and found.mean == pytest.approx(0.03)
    assert found.low == pytest.approx(0.03 - 4.302653 * 0.01 / 3**0.5, abs=1e-8)
    assert found.high == pytest.approx(0.03 + 4.302653 * 0.01 / 3**0.5, abs=1e-8)


def test_only_seeds_of_both_count() -> None:
    found = difference({1: 0.6, 2: 0.7, 5: 0.9}, {2: 0.6, 1: 0.4, 3: 0.1})
    assert found is not None and found.n == 2 and found.mean == pytest.approx(0.15)
    assert difference({1: 0.5}, {2: 0.5}) is None
    assert difference({1: 0.6}, {1: 0.5}) == Difference(pytest.approx(0.1), None, None, 1)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "better"), (-0.3, -0.1, "worse"), (-0.1, 0.3, "noise"), (0, 0, "noise")],
)
def test_a_verdict_follows_from_the_interval(low: float, high: float, verdict: str) -> None:
    assert Difference((low + high) / 2, low, high, 3).verdict == verdict


def test_means_spreads_and_sentences(tmp_path: Path) -> None:
    numbers = ablation_numbers(finished(tmp_path, SCORES))
    assert numbers["metrics"] == ["box AP", "box AP50", "box AR"]
    better, noise = variant(numbers, "no auxiliary losses"), variant(numbers, "RICAP")
    score = better["scores"]["best"]["box AP"]
    assert (
        score["n"] == 3 and score["mean"] == pytest.approx(0.55) and score["sd"] == pytest.approx(0.0173205)
    )
    assert score["by_seed"] == {"1": 0.53, "2": 0.56, "3": 0.56}
    assert score["difference"]["verdict"] == "better" and better["scores"]["last"]["box AP"]["sd"] == 0
    assert better["sentence"] == (
        "box AP +0.030 (+0.005 to +0.055): better; last/: 0.000 (0.000 to 0.000): smaller than the noise"
    )
    assert noise["sentence"] == "box AP +0.003 (−0.054 to +0.061): smaller than the noise"
    assert variant(numbers, "base")["sentence"] == "box AP 0.520 over 3 seeds"
    assert "2 variants are compared" in numbers["notes"][0] and "about 0.1 would" in numbers["notes"][0]
    assert (better["minutes"], better["memory_mb"]) == (2.0, 103)


def test_few_seeds_say_so(tmp_path: Path) -> None:
    scores = {"base": SCORES["base"], "RICAP": (0.49,), "no auxiliary losses": (0.53, 0.56)}
    numbers = ablation_numbers(finished(tmp_path, scores))
    assert "which says nothing of noise" in variant(numbers, "RICAP")["sentence"]
    assert "with 2 seeds the interval is wide" in variant(numbers, "no auxiliary losses")["sentence"]
    assert "3 of 9 runs are not finished" in " ".join(numbers["notes"])


def test_pq_decides_where_there_is_a_stage_2(tmp_path: Path) -> None:
    study = finished(tmp_path, SCORES, STUDY + "then: {{recipe: panoptic.yaml}}\n")
    numbers = write_ablation(study)
    assert numbers["metrics"][:4] == ["PQ", "PQ things", "PQ stuff", "box AP"]
    assert variant(numbers, "base")["sentence"] == "PQ 52.0 over 3 seeds"
    assert variant(numbers, "base")["minutes"] == 4.0, "of both stages"
    assert "PQ +3.0 (+0.5 to +5.5): better" in (study.folder / "ablation.md").read_text()


def test_a_failed_run_is_a_row_with_its_error(tmp_path: Path) -> None:
    study = finished(tmp_path, {"base": SCORES["base"], "RICAP": SCORES["RICAP"]})
    for run in study.runs[3:6]:
        run.folder.mkdir(parents=True)
        (run.folder / "failed.json").write_text(json.dumps({"code": 2, "error": "no class 'crane'"}))
    numbers = write_ablation(study)
    assert variant(numbers, "no auxiliary losses")["sentence"] == "failed: no class 'crane'"
    assert "3 of 9 runs failed" in " ".join(numbers["notes"])
    assert "no class 'crane'" in (study.folder / "ablation.md").read_text()
    assert json.loads((study.folder / "ablation.json").read_text()) == numbers


def test_nothing_finished_is_a_table_too(tmp_path: Path) -> None:
    numbers = write_ablation(study_in(tmp_path))
    assert {row["sentence"] for row in numbers["variants"]} == {"no run is finished yet"}


def test_the_page_shows_every_seed_and_asks_nobody(tmp_path: Path) -> None:
    study = finished(tmp_path, SCORES, STUDY + "  '<b>bold</b>': {{optim.lr: 1e-5}}\n")
    write_ablation(study)
    page = Page((study.folder / "ablation.html").read_text())
    assert len(page.all("svg")) == 4, "box AP of best/ and last/, AP50, AR"
    assert foreign_addresses(page) == [] and "b" not in {tag for tag, _ in page.tags}
    assert [row["class"] for row in page.all("tr") if row.get("class")] == ["better", "noise"]
