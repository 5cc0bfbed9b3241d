"""What a run's folder holds, read also where some of it is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.files import replacing
from detr_hf.run_folder import RunFolder


def test_a_run_is_found_from_its_folder_and_from_a_model_in_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is no folder of a run; it has no recipe\.yaml"):
        RunFolder.open(tmp_path)
    with pytest.raises(UserError, match="there is no such folder"):
        RunFolder.open(tmp_path / "absent")
    assert RunFolder.of_model(tmp_path) is None
    RunFolder(tmp_path).write_record("task: detection\n", {"python": "3"})
    run = RunFolder.open(tmp_path)
    assert RunFolder.of_model(tmp_path) == (run, run.best)
    assert RunFolder.of_model(run.last) == (run, run.last)
    run.last.mkdir()
    with pytest.raises(UserError, match=f"last: is no folder of a run; .* Give {tmp_path}"):
        RunFolder.open(run.last)
    assert run.recipe_text() == "task: detection\n" and run.environment() == {"python": "3"}


@pytest.mark.parametrize("content", [None, "{", "[1]", "[" * 100_000, '{"a": NaN}'])
def test_what_cannot_be_read_is_not_known(tmp_path: Path, content: str | None) -> None:
    run = RunFolder(tmp_path)
    run.best.mkdir()
    run.last.mkdir()
    names = ("environment.json", "data_report.json", "report.json", "best/metrics.json", "last/manifest.json")
    for name in names if content else ():
        (tmp_path / name).write_text(content or "")
    found = [run.environment(), run.data_report(), run.report_numbers(), run.best_metrics()]
    assert [list(one) for one in found] == [["a"] if content and "NaN" in content else []] * 4
    assert run.hash_of_last() is None and run.recipe_text() is None and run.log() == []


def test_whole_lines_of_the_log_are_read(tmp_path: Path) -> None:
    lines = [
        '{"step": 1, "loss": NaN}',
        '{"step": true}',
        '{"step": "x"}',
        "[1]",
        "[" * 100_000,
        '{"step": 2',
    ]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert [line["step"] for line in RunFolder(tmp_path).log()] == [1]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for name in ("recipe.yaml", "metrics.jsonl", "environment.json"):
        os.mkfifo(tmp_path / name)
    assert run.recipe_text() is None and run.log() == [] and run.environment() == {}


def test_the_hash_of_the_weights_is_that_of_the_manifest(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with replacing(run.last, manifest=True) as partial:
        (partial / "model.safetensors").write_text("abc")
    files = json.loads((run.last / "manifest.json").read_text())["files"]
    assert run.hash_of_last() == files["model.safetensors"]["sha256"]
