"""What a run is set up with, what it records, and what it refuses."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import os
import subprocess
from pathlib import Path

import pytest
from accelerate import Accelerator

from detr_hf.errors import UserError
from detr_hf.recipe import load_recipe
from detr_hf.training import folder as module
from detr_hf.training.build import build_accelerator, build_processor
from detr_hf.training.folder import git_commit, save_record
from tests.factories import write_coco_detection
from tests.tiny_runs import detection_recipe, save_detector


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


def test_half_precision_without_a_gpu_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards: Accelerate takes `fp16` on a CPU and computes in float32."""
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    recipe = detection_recipe(
        tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path, "mixed_precision=fp16"
    )
    with pytest.raises(UserError, match="mixed_precision: fp16 needs a GPU"):
        build_accelerator(recipe)


def test_an_output_folder_that_cannot_be_made_is_told_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = detection_recipe(tmp_path / "file", write_coco_detection(tmp_path / "data"), tmp_path)
    with pytest.raises(UserError, match=r"output_dir: .*file cannot be made"):
        build_accelerator(recipe)


def test_a_launchers_accumulation_does_not_shrink_the_loss(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards: `accelerate launch --gradient_accumulation_steps 4` makes `backward` divide by four."""
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    assert Accelerator().gradient_accumulation_steps == 4
    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    assert build_accelerator(recipe).gradient_accumulation_steps == 1


def test_the_processor_resizes_as_the_evaluation_does(tmp_path: Path) -> None:
    recipe = detection_recipe(
        tmp_path, write_coco_detection(tmp_path / "data"), save_detector(tmp_path / "start")
    )
    assert dict(build_processor(recipe).size) == {"shortest_edge": 64, "longest_edge": 128}
    other = ["transforms.validation.0.short_edges=[80]", "transforms.validation.0.max_long_edge=99"]
    recipe = detection_recipe(tmp_path, write_coco_detection(tmp_path / "data"), tmp_path / "start", *other)
    assert dict(build_processor(recipe).size) == {"shortest_edge": 80, "longest_edge": 99}


@pytest.mark.parametrize(
    "transforms",
    [
        "[]",
        "[{name: Resize, height: 64, width: 64}]",
        "[{name: ShortEdgeResize, short_edges: [64]}]",
        "[{name: ToGray}, {name: ShortEdgeResize, short_edges: [64], max_long_edge: 99}]",
    ],
)
def test_what_a_processor_cannot_repeat_is_refused(tmp_path: Path, transforms: str) -> None:
    recipe = detection_recipe(
        tmp_path,
        write_coco_detection(tmp_path / "data"),
        save_detector(tmp_path / "start"),
        f"transforms.validation={transforms}",
    )
    with pytest.raises(UserError, match=r"transforms\.validation: must be one ShortEdgeResize"):
        build_processor(recipe)


def test_a_folder_that_cannot_be_written_is_told_before_the_first_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(**_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    recipe = detection_recipe(tmp_path / "run", write_coco_detection(tmp_path / "data"), tmp_path)
    monkeypatch.setattr(module.tempfile, "TemporaryFile", read_only)
    with pytest.raises(UserError, match=r"output_dir: .*run cannot be written to \(Read-only file system\)"):
        build_accelerator(recipe)
