"""Pushing a run to the loopback Hub with the real client, and what goes wrong on the way."""

from __future__ import annotations

import hashlib
import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import CommitInfo, ModelCard

from detr_hf.errors import UserError
from detr_hf.hub.access import progress_bars
from detr_hf.hub.facts import run_facts
from detr_hf.hub.push import push_run
from detr_hf.recipe import Hub
from tests.commands import refusal, told
from tests.hub.runs import finished_run
from tests.hub.server import LoopbackHub, loopback_hub
from tests.hub.store import Account

TARGET = Hub(repo_id="user/yard")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished_run(tmp_path_factory.mktemp("runs") / "panoptic")


def push(run: Path, target: Hub = TARGET) -> CommitInfo:
    return push_run(run_facts(run), target)


def state_of(folder: Path) -> dict[str, str]:
    """Every file of a folder with its hash."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_everything_is_pushed_in_one_commit(run: Path, hub: LoopbackHub) -> None:
    before = state_of(run)
    pushed = push(run)
    files = hub.files("user/yard")
    assert set(files) == {
        *(".gitattributes", "README.md", "config.json", "model.safetensors", "preprocessor_config.json"),
        *("label_map.json", "metrics.json", "metrics.jsonl", "recipe.yaml", "results.md", "report.html"),
        *("pictures/000_a b.jpg", "pictures/001_c.jpg"),
    }
    assert files["model.safetensors"] == (run / "best" / "model.safetensors").read_bytes()
    assert hub.repo("user/yard").private
    assert hub.repo("user/yard").history() == ["Epoch 3: PQ 0.612", "initial commit"]
    assert pushed.oid == hub.repo("user/yard").branches["main"] and pushed.oid in pushed.commit_url
    assert state_of(run) == before
    ModelCard(files["README.md"].decode()).validate()


def test_nothing_that_is_pushed_names_this_machine_or_the_token(run: Path, hub: LoopbackHub) -> None:
    push(run)
    for name, data in hub.files("user/yard").items():
        assert str(run.parent).encode() not in data, name
        assert hub.token.encode() not in data, name
    recipe = hub.files("user/yard")["recipe.yaml"].decode()
    assert "annotations: train.json" in recipe and "output_dir: panoptic" in recipe
    assert not hub.asked(hub.token), "never in an address"


def test_pushing_again_adds_a_commit_and_keeps_the_old_one(
    tmp_path: Path, run: Path, hub: LoopbackHub
) -> None:
    same = push(run)
    assert push(run).oid == same.oid, "nothing has changed, so there is nothing to commit"
    first = push(run, replace(TARGET, revision="v1"))
    assert len(hub.asked("PUT /lfs")) == 1, "what is there is not sent again"
    newer = finished_run(tmp_path / "panoptic", seed=1, epoch=5)
    (newer / "pictures" / "001_c.jpg").unlink()
    (newer / "report.html").unlink()
    second = push(newer, replace(TARGET, revision="v2"))
    repo = hub.repo("user/yard")
    assert repo.history() == ["Epoch 5: PQ 0.612", *["Epoch 3: PQ 0.612"] * 2, "initial commit"]
    assert repo.tags == {"v1": first.oid, "v2": second.oid}
    old, new = hub.files("user/yard", "v1"), hub.files("user/yard")
    assert old["model.safetensors"] != new["model.safetensors"]
    assert {"report.html", "pictures/001_c.jpg"} == set(old) - set(new), "they showed the older model"


def test_pictures_can_stay_at_home(run: Path, hub: LoopbackHub) -> None:
    push(run, replace(TARGET, pictures=False))
    names = set(hub.files("user/yard"))
    assert "results.md" in names and "report.html" not in names
    assert not [name for name in names if name.startswith("pictures/")]
    assert "pictures/" not in hub.files("user/yard")["README.md"].decode()


def test_the_state_of_a_training_is_not_pushed(tmp_path: Path, hub: LoopbackHub) -> None:
    run = finished_run(tmp_path / "run")
    for name in ("training_state.safetensors", "training_state.json", "manifest.json", "notes.txt"):
        (run / "best" / name).write_text("{}")
    push(run)
    assert not {"training_state.safetensors", "training_state.json", "manifest.json", "notes.txt"} & set(
        hub.files("user/yard")
    )


def test_large_files_go_in_parts(run: Path, hub: LoopbackHub) -> None:
    hub.part_size = 300_000
    push(run)
    weights = (run / "best" / "model.safetensors").read_bytes()
    assert hub.files("user/yard")["model.safetensors"] == weights
    assert len(hub.asked(r"PUT /lfs/\w+/\d+ 200")) == -(-len(weights) // 300_000)


# ---- a Hub that fails


def test_a_connection_cut_in_the_middle_is_tried_again(run: Path, hub: LoopbackHub) -> None:
    hub.plant(r"PUT /lfs", cut_after=10_000)
    push(run)
    assert len(hub.asked(r"PUT /lfs/\w+ cut")) == 1
    assert len(hub.asked(r"PUT /lfs/\w+ 200")) == 1
    assert hub.files("user/yard")["model.safetensors"] == (run / "best" / "model.safetensors").read_bytes()


def test_a_push_that_stays_cut_off_leaves_both_sides_whole_and_goes_on_later(
    run: Path, hub: LoopbackHub
) -> None:
    before = state_of(run)
    hub.part_size = 300_000
    hub.plant(r"PUT /lfs/\w+/3", times=-1, cut_after=10_000)
    message = refused(lambda: push(run))
    assert message.startswith("user/yard: ") and "cannot be reached, or hung up" in message
    assert set(hub.files("user/yard")) == {".gitattributes"}, "no half of a model"
    assert state_of(run) == before
    hub.planted.clear()
    push(run)
    assert hub.files("user/yard")["model.safetensors"] == (run / "best" / "model.safetensors").read_bytes()


def test_a_large_file_that_arrived_is_not_sent_again(run: Path, hub: LoopbackHub) -> None:
    hub.plant(r"POST /api/models/user/yard/commit", status=500)
    assert "trouble of its own: status 500" in refused(lambda: push(run))
    push(run)
    assert len(hub.asked(r"PUT /lfs")) == 1


@pytest.mark.parametrize("route", [r"PUT /lfs", r"preupload", r"objects/batch"])
def test_a_hub_in_trouble_for_a_moment_is_waited_for(route: str, run: Path, hub: LoopbackHub) -> None:
    hub.plant(route, times=2, status=503)
    push(run)
    assert "model.safetensors" in hub.files("user/yard")


def test_a_hub_in_trouble_for_long_is_told(run: Path, hub: LoopbackHub) -> None:
    hub.plant(r"PUT /lfs", times=-1, status=503)
    assert "status 503" in refused(lambda: push(run))


def test_a_hub_that_is_gone_is_told(run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with loopback_hub() as gone:
        pass
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", gone.url)
    message = refused(lambda: push(run))
    assert f"{gone.url} cannot be reached" in message


def test_a_tag_that_is_taken_is_told(run: Path, hub: LoopbackHub) -> None:
    push(run, replace(TARGET, revision="v1"))
    assert "status 409" in refused(lambda: push(run, replace(TARGET, revision="v1")))


def refused(act: Callable[[], object]) -> str:
    with pytest.raises(UserError) as told:
        act()
    assert "\n" not in str(told.value)
    return str(told.value)


# ---- the command


def test_the_command(run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    out = told(
        ["push", str(run / "best"), "user/yard", "--public", "--revision", "v1", "--license", "mit"], capsys
    )
    repo = hub.repo("user/yard")
    assert not repo.private and list(repo.tags) == ["v1"]
    assert f"is on the Hub: {hub.url}/user/yard/commit/{repo.tags['v1']}" in out
    assert ModelCard(hub.files("user/yard")["README.md"].decode()).data.license == "mit"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_uploads_show_a_bar_on_a_terminal_alone(
    is_terminal: bool, run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bars():
        push_run(run_facts(run), Hub(repo_id="user/yard"))
    assert bool(re.search(r"model\.safetensors: +\d+%|100%", stream.getvalue())) == is_terminal


def test_what_the_command_refuses(
    run: Path, hub: LoopbackHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(run)
    assert "expected the id of a repository such as" in refusal(["push", folder, "yard"], capsys)
    assert "is no id that the Hub takes" in refusal(["push", folder, "user/-yard"], capsys)
    assert "'main' is a branch" in refusal(["push", folder, "user/yard", "--revision", "main"], capsys)
    assert "cannot be a tag" in refusal(["push", folder, "user/yard", "--revision", "a b"], capsys)
    assert "is no folder of a run" in refusal(["push", str(tmp_path), "user/yard"], capsys)
    assert hub.seen == [], "all that before the Hub is asked"
    assert "'no-such' (" in refusal(["push", folder, "user/yard", "--license", "no-such"], capsys)
    assert "may not write there" in refusal(["push", folder, "somebody/yard"], capsys)
    assert "model.safetensors" not in str(hub.seen)


def test_a_run_without_a_model_or_numbers_is_refused(
    tmp_path: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished_run(tmp_path / "run", panoptic=False)
    (run / "best" / "metrics.json").unlink()
    assert "has no metrics.json" in refusal(["push", str(run), "user/yard"], capsys)
    (run / "best" / "config.json").unlink()
    assert "has the run evaluated an epoch yet?" in refusal(["push", str(run), "user/yard"], capsys)


def test_tokens(
    run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("HF_TOKEN")
    assert "there is no token for the Hub; log in" in refusal(["push", str(run), "user/yard"], capsys)
    wrong = "hf_" + "a" * 30
    monkeypatch.setenv("HF_TOKEN", wrong)
    message = refusal(["push", str(run), "user/yard"], capsys)
    assert "does not know this token" in message and wrong not in message
    monkeypatch.setenv("HF_TOKEN", hub.reader)
    message = refusal(["push", str(run), "user/yard"], capsys)
    assert "the token may only read" in message and hub.reader not in message
    assert not hub.store.repos


def test_a_token_with_permissions_of_its_own_is_tried(
    run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its role says nothing; a repository that it may see and not change is found out before the upload."""
    told(["push", str(run), "user/yard"], capsys)
    hub.store.accounts[hub.token] = Account("user", "fineGrained")
    sent = len(hub.seen)
    message = refusal(["push", str(run), "user/yard"], capsys)
    assert "the token may not write there" in message
    assert not [line for line in hub.seen[sent:] if "commit" in line]


def test_a_private_push_never_goes_to_a_public_repository(
    run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]
) -> None:
    told(["push", str(run), "user/yard", "--public"], capsys)
    assert "is public on the Hub, and this push was to be private" in refusal(
        ["push", str(run), "user/yard"], capsys
    )


def test_an_old_tag_is_never_moved(run: Path, hub: LoopbackHub, capsys: pytest.CaptureFixture[str]) -> None:
    told(["push", str(run), "user/yard", "--revision", "v1"], capsys)
    message = refusal(["push", str(run), "user/yard", "--revision", "v1"], capsys)
    assert "the tag v1 exists already" in message


def test_what_a_push_fails_with_never_holds_the_token(
    run: Path, hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaking(*_: object, **__: object) -> None:
        raise RuntimeError(f"cannot send: Authorization: Bearer {hub.token}")

    monkeypatch.setattr("detr_hf.hub.push.HfApi.create_commit", leaking)
    message = refused(lambda: push(run))
    assert hub.token not in message and "hf_***" in message


def test_the_pushed_numbers_are_those_of_the_run(run: Path, hub: LoopbackHub) -> None:
    push(run)
    assert json.loads(hub.files("user/yard")["metrics.json"]) == json.loads(
        (run / "best" / "metrics.json").read_text()
    )
