"""How far a run is, from its folder alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detr_hf.ablation.state import error_in, state_of
from tests.ablation.fake_runs import STUDY, finish, start, start_again, study_in


def test_a_run_goes_from_open_to_finished(tmp_path: Path) -> None:
    run = study_in(tmp_path).runs[3]
    assert str(state_of(run)) == "open"
    (start(run) / "metrics.jsonl").write_text('{"step": 4, "kind": "step"}\n{"step": 5, "ki')
    assert str(state_of(run)) == "started: step 4 is logged"
    finish(run, 0.5)
    assert str(state_of(run)) == "finished"
    start_again(run)
    assert state_of(run).kind == "started", "its last start did not come to its end"


def test_an_error_is_kept_until_the_next_start(tmp_path: Path) -> None:
    run = study_in(tmp_path).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "failed.json").write_text('{"code": 2, "error": "no data"}')
    assert str(state_of(run)) == "failed: no data"


def test_a_run_of_another_recipe_is_not_the_study_s(tmp_path: Path) -> None:
    finish(study_in(tmp_path).runs[0], 0.5)
    changed = study_in(
        tmp_path, STUDY + "set: {{optim.epochs: 9, optim.ema: {{}}, loss.eos_coefficient: 0.5}}\n"
    )
    said = str(state_of(changed.runs[0]))
    assert said.startswith("other: ") and "optim.epochs: 3 -> 9" in said
    assert "loss.eos_coefficient: not set -> 0.5" in said


def test_a_setting_that_was_taken_out_differs(tmp_path: Path) -> None:
    """The record alone would not tell: it has the family's number where none was given."""
    finish(study_in(tmp_path, STUDY + "set: {{optim.lr: 1e-4}}\n").runs[0], 0.5)
    assert "optim.lr: 0.0001 -> not set" in str(state_of(study_in(tmp_path).runs[0]))


def test_a_run_with_other_overrides_in_the_folder_differs(tmp_path: Path) -> None:
    run = study_in(tmp_path).runs[0]
    finish(run, 0.5)
    record = run.folder / "recipe.yaml"
    record.write_text(record.read_text().replace("epochs: 3", "epochs: 4"))
    assert "optim.epochs: 4 -> 3" in str(state_of(run))


def test_what_changes_no_score_does_not_matter(tmp_path: Path) -> None:
    finish(study_in(tmp_path).runs[0], 0.5)
    changed = study_in(tmp_path, STUDY + "set: {{data.workers: 1, evaluation.pictures: 0, log_every: 7}}\n")
    assert state_of(changed.runs[0]).kind == "finished"


@pytest.mark.parametrize(
    ("log", "code", "said"),
    [
        ("step 1\nerror: no such class\n  it has: a, b\n", 2, "no such class it has: a, b"),
        ("Traceback\nKeyError: 'x'\n", 1, "exit code 1; KeyError: 'x'"),
        ("step 1\n", -9, "ended by signal 9; step 1"),
        ("", 1, "exit code 1"),
    ],
)
def test_an_error_is_found_in_what_a_run_printed(tmp_path: Path, log: str, code: int, said: str) -> None:
    (tmp_path / "run.log").write_text(log)
    assert error_in(tmp_path / "run.log", code) == said


def test_a_failure_that_is_cut_off_is_no_failure(tmp_path: Path) -> None:
    run = study_in(tmp_path).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "failed.json").write_text(json.dumps({"code": 2, "error": "x"})[:8])
    assert state_of(run).kind == "open"
