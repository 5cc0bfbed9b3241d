"""What a run is set up with, what it records, and what it refuses."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from accelerate import Accelerator

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, load_recipe
from detr_hf.training import folder as module
from detr_hf.training.build import build_accelerator
from detr_hf.training.folder import git_commit, locked, refuse_unwritable, save_record
from tests.factories import write_coco_detection
from tests.tiny_runs import detection_recipe


def test_the_record_of_a_run_repeats_it(tmp_path: Path) -> None:
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path / "start")
    save_record(recipe, build_accelerator(recipe))
    written = (tmp_path / "run" / "recipe.yaml").read_text()
    assert "weight_decay: 0.0001" in written, "defaults are written out"
    assert load_recipe(tmp_path / "run" / "recipe.yaml") == recipe
    facts = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert facts["libraries"]["torch"] == importlib.metadata.version("torch")
    assert facts["libraries"]["transformers"] == importlib.metadata.version("transformers")
    assert facts["processes"] == 1 and facts["python"].startswith("3.") and "git_commit" in facts


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_that_of_the_file_and_of_no_repository_around_it(tmp_path: Path) -> None:
    """Guards: inside somebody's checkout, an environment's site-packages would report their commit."""
    assert git_commit(tmp_path / "a.py") is None
    git(tmp_path, "init", "-q")
    tracked, stranger = tmp_path / "a.py", tmp_path / "b.py"
    tracked.write_text("1")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    stranger.write_text("2")
    assert git_commit(tracked) == git(tmp_path, "rev-parse", "HEAD")
    assert git_commit(stranger) is None
    tracked.write_text("3")
    assert git_commit(tracked) == git(tmp_path, "rev-parse", "HEAD") + "-dirty"


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    monkeypatch.setattr(module.tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError, match=r"output_dir: .*run cannot be written to \(Read-only file system\)"):
        build_accelerator(recipe)


@pytest.mark.parametrize("writes", [False, True])
def test_a_start_that_is_refused_leaves_no_folder(writes: bool, tmp_path: Path) -> None:
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    refuse_unwritable(tmp_path / "run")
    with suppress(UserError), locked(Accelerator(cpu=True), recipe):
        if writes:
            (tmp_path / "run" / "recipe.yaml").touch()
        raise UserError("a fault of the data")
    assert (tmp_path / "run").exists() == writes


# ---- the lock


def hold(recipe: Recipe) -> tuple[int, int]:
    """Two processes: one that holds the lock of the run, and a child of it, as a loading process is one."""
    answer, told = os.pipe()
    holder = os.fork()
    if not holder:
        try:
            with locked(Accelerator(cpu=True), recipe):
                if child := os.fork():
                    os.write(told, f"{child}\n".encode())
                time.sleep(300)
        finally:
            os._exit(1)  # whatever happened, it is no process of the tests
    os.close(told)
    with os.fdopen(answer) as stream:
        return holder, int(stream.readline())


def test_a_folder_is_one_trainings_until_its_process_is_gone(tmp_path: Path) -> None:
    """Guards: a loading process inherits open files; it outlives a killed training by seconds, which must not
    keep the next one waiting."""
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    refuse_unwritable(tmp_path / "run")
    holder, child = hold(recipe)
    try:
        accelerator = Accelerator(cpu=True)
        where = rf"process {holder} on {socket.gethostname()}"
        named = rf"output_dir: another training runs in .*run \({where}\)\."
        for _ in range(2):  # to look does not break the lock
            with pytest.raises(UserError, match=named), locked(accelerator, recipe):
                pass
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        os.kill(child, 0)  # still there
        with locked(accelerator, recipe):
            text = (tmp_path / "run" / module.LOCK_FILE).read_text()
    finally:
        os.kill(child, signal.SIGKILL)
    assert text == f"process {os.getpid()} on {socket.gethostname()}"


def test_all_processes_are_refused_where_the_main_one_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    monkeypatch.setattr(Accelerator, "is_main_process", property(lambda _: False))
    monkeypatch.setattr(module, "broadcast_object_list", lambda _: ["output_dir: another training"])
    with pytest.raises(UserError, match="another training"), locked(Accelerator(cpu=True), recipe):
        pass
    assert not (tmp_path / "run").exists(), "the main process holds the lock for all"


def test_a_disk_without_locks_is_said_and_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    refuse_unwritable(tmp_path / "run")
    monkeypatch.setattr("fcntl.lockf", no_locks)
    with locked(Accelerator(cpu=True), recipe):
        assert "run is on a disk without locks (No locks available)" in capsys.readouterr().out
