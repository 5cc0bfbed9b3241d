"""`push_to_hub: true`: what is refused before a run, and what the Hub has after it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from detr_hf.errors import UserError
from detr_hf.hub import during_training
from detr_hf.hub.during_training import BackgroundPushes, HubPushes, push_at_end
from detr_hf.recipe import Hub, Recipe, Split, recipe_from_text, recipe_to_yaml
from detr_hf.recipe.replay import replay_recipe
from detr_hf.train import run as run_recipe
from tests.factories import write_coco_panoptic
from tests.hub.runs import finished_run
from tests.hub.server import LoopbackHub
from tests.tiny_runs import detection_recipe, save_detector

PUSH = ("push_to_hub=true", "hub.repo_id=user/yard")


@pytest.fixture(autouse=True)
def fresh_accelerate() -> Iterator[None]:
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def recipe_for(folder: Path, *overrides: str) -> Recipe:
    """A recipe whose data and model are not there."""
    split = Split(annotations="train.json", images="train")
    return detection_recipe(folder / "run", split, folder / "pretrained", *PUSH, *overrides)


def test_a_run_pushes_its_best_epochs_and_itself_at_the_end(
    tmp_path: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    split, pretrained = write_coco_panoptic(tmp_path / "data", count=4), save_detector(tmp_path / "detr")
    overrides = (*PUSH, "hub.each_epoch=true", "hub.revision=v1", "hub.license=mit")
    results = run_recipe(detection_recipe(tmp_path / "run", split, pretrained, *overrides))
    repo, out = hub.repo("user/yard"), capsys.readouterr()
    assert "hub: the best model goes to" in out.out and "only you" in out.out
    assert f"hub: pushed as {hub.url}/user/yard/commit/{repo.tags['v1']}" in out.out
    titles = repo.history()
    assert len(titles) >= 3, "one push in the background at least, and one at the end"
    files, run = hub.files("user/yard", "v1"), tmp_path / "run"
    assert files["model.safetensors"] == (run / "best" / "model.safetensors").read_bytes()
    assert json.loads(files["metrics.json"])["detection"] == results["detection"]
    assert "results.md" in files and [name for name in files if name.startswith("pictures/")]
    assert "4 images, and 4 to validate" in files["README.md"].decode()
    assert "push_to_hub" not in files["recipe.yaml"].decode()
    early = next(
        sha for sha, c in repo.commits.items() if c.title.startswith("Epoch") and "results.md" not in c.files
    )
    assert "model.safetensors" in repo.commits[early].files
    assert not list(run.glob(f"{during_training.SNAPSHOT}*"))
    for text in (out.out, out.err, *(str(file.read_bytes()) for file in run.rglob("*") if file.is_file())):
        assert hub.token not in text
    for name, data in files.items():
        assert hub.token.encode() not in data and str(tmp_path).encode() not in data, name


@pytest.mark.parametrize(
    ("token", "message"),
    [(None, "there is no token for the Hub"), ("hf_" + "a" * 30, "does not know this token")],
)
def test_without_a_token_nothing_is_trained(
    token: str | None, message: str, tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    recipe = recipe_for(tmp_path)
    with pytest.raises(UserError, match=message):
        run_recipe(recipe)
    assert not (tmp_path / "run").exists()


def test_a_switched_off_hub_is_refused(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"switched off \(HF_HUB_OFFLINE\)"):
        HubPushes(recipe_for(tmp_path))


def test_a_run_that_fails_pushes_nothing(tmp_path: Path, hub: LoopbackHub) -> None:
    with pytest.raises(UserError, match=r"data.train.images train: there is no such folder"):
        run_recipe(recipe_for(tmp_path))
    assert hub.repo("user/yard").history() == ["initial commit"]


def test_other_processes_leave_it_to_the_first(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    pushes = HubPushes(recipe_for(tmp_path))
    pushes.best_is_new()
    pushes.push_finished()
    assert hub.seen == []


def test_a_push_that_fails_at_the_end_says_how_to_repeat_it(
    tmp_path: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "a run")
    hub.plant("commit", times=-1, status=500)
    target = Hub(repo_id="user/yard", private=False, revision="v1", license="mit", pictures=False)
    push_at_end(run, target)
    out = capsys.readouterr().out
    assert "hub: not pushed. user/yard: the Hub has trouble of its own: status 500" in out
    command = f"detr-hf push '{run}' user/yard --public --revision v1 --license mit --no-pictures"
    assert f"The run is complete; push it with\n  {command}\n" in out


def test_a_push_that_fails_in_an_unknown_way_does_not_fail_the_run(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(during_training, "run_facts", lambda *_: 1 / 0)
    push_at_end(tmp_path, Hub(repo_id="user/yard"))
    assert "hub: not pushed. division by zero" in capsys.readouterr().out


def test_of_the_epochs_that_wait_the_newest_is_pushed(
    tmp_path: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run", epoch=1)
    (run / f"{during_training.SNAPSHOT}left-over").mkdir()
    go_on, began, real = threading.Event(), threading.Event(), during_training.push_run

    def slow(*arguments: object, **options: object) -> object:
        began.set()
        go_on.wait(60)
        return real(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(during_training, "push_run", slow)
    pushes = BackgroundPushes(run, Hub(repo_id="user/yard", revision="v1"))
    assert not list(run.glob(f"{during_training.SNAPSHOT}*"))
    pushes.push()
    assert began.wait(60)
    for epoch in (2, 3):
        finished_run(run, epoch=epoch, seed=epoch)
        pushes.push()
    go_on.set()
    pushes.wait()
    assert hub.repo("user/yard").history() == ["Epoch 3: PQ 0.612", "Epoch 1: PQ 0.612", "initial commit"]
    assert hub.repo("user/yard").tags == {}, "the tag is for the end"
    assert not list(run.glob(f"{during_training.SNAPSHOT}*"))


def test_a_background_push_that_fails_leaves_the_training_alone(
    tmp_path: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run")
    hub.plant("create", times=-1, status=500)
    pushes = BackgroundPushes(run, Hub(repo_id="user/yard"))
    pushes.push()
    pushes.wait()
    assert "hub: this epoch was not pushed. user/yard: the Hub has trouble" in capsys.readouterr().out


# ---- the recipe


def fault(*overrides: str, tmp_path: Path) -> str:
    with pytest.raises(UserError) as told:
        recipe_for(tmp_path, *overrides)
    return str(told.value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["push_to_hub=null"], "hub: does nothing here: nothing is pushed"),
        (["hub=null"], "hub: missing; push_to_hub: true needs hub.repo_id"),
        (["hub.repo_id=yard"], "hub.repo_id: expected the id of a repository such as your-name/a-name"),
        (["hub.repo_id=a/b--c"], "hub.repo_id: 'a/b--c' is no id that the Hub takes"),
        (["hub.revision=main"], "hub.revision: 'main' is a branch"),
        (["hub.revision=../x"], "hub.revision: '../x' cannot be a tag"),
        (["hub.each_epoch=true", "optim.epochs=1"], "hub.each_epoch: true does nothing here"),
        (["hub.each_epoch=true", "evaluation.every=2"], "hub.each_epoch: true does nothing here"),
        (["hub.token=x"], "hub.token: unknown key"),
    ],
)
def test_what_a_recipe_is_refused_for(overrides: list[str], message: str, tmp_path: Path) -> None:
    assert message in fault(*overrides, tmp_path=tmp_path)


def test_a_repeated_run_is_not_pushed_again(tmp_path: Path) -> None:
    recipe = recipe_for(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(recipe_to_yaml(recipe))
    again = replay_recipe(tmp_path / "run")
    assert (again.push_to_hub, again.hub) == (False, None)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe
