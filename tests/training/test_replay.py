"""`detr-hf train --replay RUN`: the recorded recipe again, into a folder of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detr_hf import cli
from detr_hf.errors import UserError
from detr_hf.recipe import load_recipe, recipe_to_yaml
from detr_hf.recipe.replay import replay_recipe
from detr_hf.training import report_run
from tests.factories import write_coco_detection
from tests.tiny_runs import detection_recipe, save_detector


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A run folder with nothing but its record."""
    recipe = detection_recipe(
        tmp_path / "run",
        write_coco_detection(tmp_path / "data"),
        save_detector(tmp_path / "start"),
        "optim.epochs=1",
    )
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    return tmp_path / "run"


def test_the_recipe_of_a_replay_differs_in_its_folder_alone(recorded: Path) -> None:
    again = replay_recipe(recorded)
    assert Path(again.output_dir) == recorded.with_name("run-replay")
    assert load_recipe(recorded / "recipe.yaml", [f"output_dir={again.output_dir}"]) == again
    named = replay_recipe(recorded, [f"output_dir={recorded.parent / 'x'}", "seed=7"])
    assert (named.output_dir, named.seed) == (str(recorded.parent / "x"), 7)


def test_what_a_replay_refuses(recorded: Path) -> None:
    with pytest.raises(UserError, match=r"is no folder of a run; it has no recipe\.yaml"):
        replay_recipe(recorded.parent)
    with pytest.raises(UserError, match="is the run that is to be repeated"):
        replay_recipe(recorded, [f"output_dir={recorded}"])
    (recorded.parent / "run-replay").mkdir()
    (recorded.parent / "run-replay" / "recipe.yaml").write_text("")
    with pytest.raises(UserError, match="run-replay holds a run already"):
        replay_recipe(recorded)


def test_a_replay_ends_with_the_same_weights_and_says_so(
    recorded: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(report_run, "report_finished", lambda *_: None)  # takes as long as the training
    cli.main(["train", str(recorded / "recipe.yaml"), "evaluation.pictures=0"])
    facts = json.loads((recorded / "environment.json").read_text())
    facts["libraries"]["torch"] = "1.0"
    (recorded / "environment.json").write_text(json.dumps(facts))
    capsys.readouterr()
    cli.main(["train", "--replay", str(recorded)])
    told = capsys.readouterr().out
    second = recorded.with_name("run-replay")
    assert f"weights of {recorded / 'last'} and {second / 'last'}: the same bytes" in told
    assert "differs: torch: 1.0 then, " in told and told.count("differs: ") == 1
    cli.main(["train", "--replay", str(recorded), f"output_dir={recorded.parent / 'other'}", "seed=1"])
    assert "NOT the same bytes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["train"])
    assert "give a data set or a recipe, or --replay" in capsys.readouterr().err
