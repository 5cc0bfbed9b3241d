"""Two real processes on one CPU, and a real kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from detr_hf.recipe import Recipe, Split, recipe_to_yaml
from tests.factories import write_coco_detection, write_coco_panoptic
from tests.family_models import save_family
from tests.tiny_runs import (
    ALL_LABELS,
    NO_DROPOUT,
    detection_recipe,
    lines_of,
    panoptic_recipe,
    save_detector,
    save_segmenter,
)

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "detr_hf" / "train.py"
SIZES = [(96, 128)]
TWO_STAGE = "deformable_detr_two_stage"
SMALL_STEPS = ["optim.lr=1e-5", "optim.micro_batch_size=1", "optim.schedule.warmup_steps=0"]

pytestmark = pytest.mark.slow


def environment(folder: Path) -> dict[str, str]:
    alone = {"HF_DATASETS_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **alone, "ACCELERATE_USE_CPU": "true"}


def run_on(processes: int, recipe: Recipe, folder: Path) -> subprocess.CompletedProcess[str]:
    """The entry script on so many processes, as the README has it."""
    file = folder / f"recipe{processes}.yaml"
    file.write_text(recipe_to_yaml(recipe))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(processes)]
    launcher += ["--master_port", str(20000 + os.getpid() % 20000)]
    command = [*(launcher if processes > 1 else [sys.executable]), str(SCRIPT), str(file)]
    return subprocess.run(
        command, cwd=folder, env=environment(folder), capture_output=True, text=True, timeout=400
    )


def recipe_of(stage: str, folder: Path, output: str, split: Split, *overrides: str) -> Recipe:
    changes = [*SMALL_STEPS, *overrides]
    if stage == "panoptic":
        return panoptic_recipe(folder / output, split, folder / "stage1", folder / "head", *changes)
    return detection_recipe(folder / output, split, folder / "start", *changes)


@pytest.mark.parametrize("stage", ["detection", "panoptic"])
def test_two_processes_learn_what_one_does(stage: str, tmp_path: Path) -> None:
    """Guards: stock box and mask losses grow with the number of processes, and `accelerate launch` starts one
    process on a CPU whatever it is told. Five images to validate cannot be shared evenly: none may be lost or
    counted twice.
    """
    write = write_coco_detection if stage == "detection" else write_coco_panoptic
    split = write(tmp_path / "data", count=5, sizes_hw=SIZES)
    save_detector(tmp_path / "start", **NO_DROPOUT)
    start = save_detector(tmp_path / "stage1", ALL_LABELS, **NO_DROPOUT)
    save_segmenter(tmp_path / "head", **NO_DROPOUT)
    found = {}
    for processes in (1, 2):
        recipe = recipe_of(stage, tmp_path, f"run{processes}", split, "optim.epochs=3")
        done = run_on(processes, recipe, tmp_path)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("Best on the validation split") == 1, "only the main process talks"
        found[processes] = load_file(tmp_path / f"run{processes}" / "last" / "model.safetensors")
    record = json.loads((tmp_path / "run2" / "environment.json").read_text())
    assert record["processes"] == 2
    furthest = max(float((found[1][name] - found[2][name]).abs().max()) for name in found[1])
    assert furthest < 1e-5
    if stage == "detection":
        before = load_file(tmp_path / "start" / "model.safetensors")
        same = [name for name in before if before[name].shape == found[1][name].shape]
        moved = max(float((found[1][name] - before[name]).abs().max()) for name in same)
        assert moved > 2e-5
    else:
        assert start.is_dir()
    first, second = (lines_of(tmp_path / f"run{processes}") for processes in (1, 2))
    for one, other in zip(first, second, strict=True):
        assert one["step"] == other["step"] and one["kind"] == other["kind"]
        if one["kind"] == "train":
            assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    counted = [
        sum(entry["objects"] for entry in line["detection"]["per_class"].values())
        for line in (first[-1], second[-1])
    ]
    truth = json.loads(Path(split.annotations).read_text())["annotations"]
    objects = len(truth) if stage == "detection" else sum(len(one["segments_info"]) for one in truth)
    assert counted == [objects, objects]


def panoptic_with_an_empty_image(folder: Path, count: int) -> Split:
    def empty_first(content: dict) -> None:
        content["annotations"][0]["segments_info"] = []

    split = write_coco_panoptic(folder, count=count, sizes_hw=SIZES, mend=empty_first)
    Image.new("RGB", (128, 96)).save(folder / "panoptic" / "10_map.png")
    return split


def gradient_of_first_step(run: Path) -> dict[str, Tensor]:
    """What AdamW saw in its only step: its first moment is a tenth of it, as nothing was clipped."""
    state = load_file(run / "last" / "training_state.safetensors")
    mark = "optimizer.exp_avg."
    return {key.removeprefix(mark): 10 * state[key] for key in state if key.startswith(mark)}


@pytest.mark.parametrize("stage", ["detection", "panoptic", TWO_STAGE, "groups"])
def test_eight_images_give_one_gradient_however_they_are_shared_out(stage: str, tmp_path: Path) -> None:
    """Guards: losses averaged over micro-batches or processes weigh images by who they share a pass with."""
    if stage == "panoptic":
        split = panoptic_with_an_empty_image(tmp_path / "data", count=8)
        annotations = json.loads(Path(split.annotations).read_text())["annotations"]
        sizes = [len(one["segments_info"]) for one in annotations]
        assert 0 in sizes
    else:
        split = write_coco_detection(tmp_path / "data", count=8, sizes_hw=SIZES, empty=1)
        annotations = json.loads(Path(split.annotations).read_text())["annotations"]
        sizes = [*Counter(one["image_id"] for one in annotations).values()]
        assert len(sizes) == 7
    assert len(set(sizes)) > 2, "the images differ in their number of objects"
    if stage == TWO_STAGE:
        save_family(TWO_STAGE, tmp_path / "start", **NO_DROPOUT)
    else:
        save_detector(tmp_path / "start", **NO_DROPOUT)
    save_detector(tmp_path / "stage1", ALL_LABELS, **NO_DROPOUT)
    save_segmenter(tmp_path / "head", **NO_DROPOUT)
    gradients = {}
    for processes, micro_batch in ((1, 8), (1, 4), (1, 1), (2, 4)):
        name = f"run{processes}x{micro_batch}"
        changes = ["optim.batch_size=8", f"optim.micro_batch_size={micro_batch}", "optim.max_steps=1"]
        changes += ["loss.query_groups=3"] if stage == "groups" else []
        recipe = recipe_of(stage, tmp_path, name, split, *changes, "optim.epochs=1", "optim.clip_norm=1e9")
        done = run_on(processes, recipe, tmp_path)
        assert done.returncode == 0, done.stderr
        gradients[name] = gradient_of_first_step(tmp_path / name)
    whole = gradients.pop("run1x8")
    size = norm_of(whole.values())
    for name, parts in gradients.items():
        assert parts.keys() == whole.keys()
        apart = {key: parts[key] - tensor for key, tensor in whole.items()}
        assert norm_of(apart.values()) <= 1e-5 * size, name
        for key, tensor in whole.items():  # rounding shows most where a gradient is small
            assert norm_of([apart[key]]) <= 1e-3 * max(norm_of([tensor]), 1e-3 * size), f"{name}: {key}"


def norm_of(tensors: Iterable[Tensor]) -> float:
    return float(torch.cat([tensor.double().flatten() for tensor in tensors]).norm())


def test_a_process_with_nothing_but_negatives_does_not_hang(tmp_path: Path) -> None:
    """Guards: parameters without a gradient on one process leave the others waiting for ever."""
    split = panoptic_with_an_empty_image(tmp_path / "data", count=2)
    save_detector(tmp_path / "stage1", ALL_LABELS)
    save_segmenter(tmp_path / "head")
    recipe = recipe_of(
        "panoptic", tmp_path, "run2", split, "optim.batch_size=2", "optim.epochs=3", "evaluation.every=3"
    )
    done = run_on(2, recipe, tmp_path)
    assert done.returncode == 0, done.stderr
    assert [line["step"] for line in lines_of(tmp_path / "run2")] == [1, 2, 3, 3]


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    split = write_coco_detection(tmp_path / "data", count=4, sizes_hw=SIZES)
    save_detector(tmp_path / "start")
    changes = ["optim.epochs=200", "evaluation.every=200", "optim.micro_batch_size=4"]
    recipe = recipe_of("detection", tmp_path, "run", split, *changes)
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_to_yaml(recipe))
    command = [sys.executable, str(SCRIPT), str(file)]
    started = subprocess.Popen(command, cwd=tmp_path, env=environment(tmp_path), stdout=subprocess.DEVNULL)
    state = tmp_path / "run" / "last" / "training_state.json"
    try:
        for _ in range(1200):
            if state.is_file() or started.poll() is not None:
                break
            time.sleep(0.1)
        assert started.poll() is None, "it ended before it could be killed"
    finally:
        started.send_signal(signal.SIGKILL)
        started.wait()
    left = next(
        folder for folder in ("last", "last.old") if (tmp_path / "run" / folder / state.name).is_file()
    )
    step = json.loads((tmp_path / "run" / left / state.name).read_text())["state"]["step"]
    assert step >= 1
    command.append(f"optim.max_steps={step + 2}")
    done = subprocess.run(
        command, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True, timeout=400
    )
    assert done.returncode == 0, done.stderr
    assert f"resuming from {tmp_path / 'run' / left} at step {step}" in done.stdout
    steps = [line["step"] for line in lines_of(tmp_path / "run") if line["kind"] == "train"]
    assert steps == list(range(1, step + 3)), "no step is lost or logged twice"


def test_two_processes_go_on_exactly(tmp_path: Path) -> None:
    """Weights, averages and optimizer of a run that was cut are those of one that was not, bit for bit."""
    split = write_coco_detection(tmp_path / "data", count=4, sizes_hw=SIZES)
    save_detector(tmp_path / "start")
    constant = ["optim.schedule.name=constant", "optim.epochs=9", "optim.ema.decay=0.9"]

    def after(steps: int, output: str) -> Path:
        recipe = recipe_of("detection", tmp_path, output, split, *constant, f"optim.max_steps={steps}")
        done = run_on(2, recipe, tmp_path)
        assert done.returncode == 0, done.stderr
        return tmp_path / output

    undisturbed = after(4, "undisturbed")
    after(2, "cut")
    cut = after(4, "cut")
    for file in ("last/model.safetensors", "last/training_state.safetensors", "best/model.safetensors"):
        expected, found = load_file(undisturbed / file), load_file(cut / file)
        assert expected.keys() == found.keys() and any("ema." in key or "weight" in key for key in found)
        for name, value in expected.items():
            assert torch.equal(value, found[name]), f"{file}: {name}"
