"""From a recipe to the parts of a run: accelerator, run folder, task and image processor."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed
from transformers import DetrImageProcessor
from transformers.utils.logging import disable_progress_bar

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.backbones import freeze_backbone
from detr_hf.modeling.compute import checkpoint_activations, compile_layers
from detr_hf.modeling.detection import DetectionTask
from detr_hf.modeling.panoptic import PanopticTask
from detr_hf.modeling.pretrained import LoadReport, load_processor, load_stage1, load_stage2
from detr_hf.prepare.bundle import DataBundle
from detr_hf.recipe import DetectionLoss, DetectionRecipe, PanopticRecipe, Recipe, recipe_to_yaml
from detr_hf.run_folder import RunFolder
from detr_hf.training.class_weights import class_weights_of
from detr_hf.training.device import set_up_device
from detr_hf.training.tracking import tracker_names

Task = DetectionTask | PanopticTask

PATIENCE = timedelta(minutes=30)
"""How long processes wait for each other: the main one may read a large data set meanwhile."""

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "timm", "albumentations", "numpy", "detr-hf")


def start(recipe: Recipe) -> Accelerator:
    """The accelerator of a run, seeded.

    Raises:
        UserError: a tracker is not installed, the device cannot compute in the precision asked for, the
            launcher splits the model, or the output folder cannot be made.
    """
    folder = Path(recipe.output_dir)
    trackers = tracker_names(recipe.trackers)
    try:
        accelerator = Accelerator(
            mixed_precision=recipe.mixed_precision,
            log_with=trackers or None,
            project_dir=folder,
            kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)],
        )
    except ValueError as error:
        raise UserError(f"mixed_precision: {recipe.mixed_precision} cannot be had here ({error})") from error
    if recipe.mixed_precision == "fp16" and accelerator.device.type == "cpu":  # it would be float32
        raise UserError("mixed_precision: fp16 needs a GPU; use `bf16` or `no` on a CPU.")
    set_up_device(recipe, accelerator)
    accelerator.gradient_accumulation_steps = 1  # a launcher's setting would shrink the loss
    disable_progress_bar()  # transformers' own, for every file it reads and writes
    set_seed(recipe.seed)
    refuse_unwritable(folder)
    return accelerator


def refuse_unwritable(folder: Path) -> None:
    """Make the run's folder and write into it, before hours of work are to be saved there.

    Raises:
        UserError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be made ({error.strerror}).") from error
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be written to ({error.strerror}).") from error


def save_record(recipe: Recipe, accelerator: Accelerator, data: DataBundle | None = None) -> None:
    """Write what it takes to repeat the run into its folder: recipe with all defaults, commit and versions.

    Called when nothing can be refused any more, so that a run by mistake leaves the record of another alone.
    """
    if accelerator.is_main_process:
        folder = Path(recipe.output_dir)
        facts = environment(accelerator)
        if data is not None:
            facts["images"] = {
                name: len(split) for name, split in data.dataset.items() if hasattr(split, "__len__")
            }
        RunFolder(folder).write_record(recipe_to_yaml(recipe), facts)


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """What a run ran on: commit, library versions, processes and devices."""
    cuda = accelerator.device.type == "cuda"
    return {
        "git_commit": git_commit(Path(__file__)),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "processes": accelerator.num_processes,
        "device": torch.cuda.get_device_name(accelerator.device) if cuda else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def build_task(recipe: Recipe, data: DataBundle) -> tuple[Task, LoadReport]:
    """The task of a recipe with its pretrained weights, frozen where the recipe says so.

    Raises:
        UserError: see ``load_stage1``, ``load_stage2``, ``class_weights_of`` and ``checkpoint_activations``.
    """
    weights = class_weights_of(recipe, data)
    task: Task
    if isinstance(recipe, DetectionRecipe):
        start = recipe.model
        detector, report = load_stage1(start.pretrained, data.labels, start.revision, start.scratch)
        freeze_backbone(detector, start.freeze_backbone)
        task = DetectionTask(detector, data.labels, recipe.loss, weights)
    else:
        task, report = _panoptic_task(recipe, data.labels, weights)
        detector = task.model.detr
    if recipe.compute.gradient_checkpointing:
        checkpoint_activations(detector)
    if recipe.compute.compile:
        compile_layers(detector)
    return task, report


def _panoptic_task(
    recipe: PanopticRecipe, labels: LabelMap, class_weights: list[float] | None
) -> tuple[PanopticTask, LoadReport]:
    start = recipe.model
    segmenter, report = load_stage2(
        start.detector, start.mask_head, labels, start.revision, start.detector_revision
    )
    detection_loss = None
    if not start.freeze_detector:
        freeze_backbone(segmenter.detr, start.freeze_backbone)
        detection_loss = recipe.detection_loss or DetectionLoss()
    settings = (recipe.loss, recipe.evaluation, start.mask_chunk, detection_loss, class_weights)
    return PanopticTask(segmenter, labels, *settings), report


def build_processor(recipe: Recipe) -> DetrImageProcessor:
    """The image processor of the pretrained model, resizing as the recipe's validation transforms do.

    It is saved with the model, so that stock ``pipeline()`` and ``Predictor`` see images as the evaluation
    did.

    Raises:
        UserError: the validation transforms are something else than one resize that a processor can repeat.
    """
    if isinstance(recipe, DetectionRecipe):
        processor = load_processor(recipe.model.pretrained, recipe.model.revision)
    else:
        processor = load_processor(recipe.model.detector, recipe.model.detector_revision)
    entries = recipe.transforms.validation
    if [entry["name"] for entry in entries] != ["ShortEdgeResize"] or not entries[0].get("max_long_edge"):
        raise UserError(
            "transforms.validation: must be one ShortEdgeResize with short_edges and max_long_edge. The "
            "image processor saved with the model does the same resize, and it knows no other."
        )
    shortest, longest = entries[0]["short_edges"][0], entries[0]["max_long_edge"]
    processor.size = {"shortest_edge": shortest, "longest_edge": longest}
    return processor


def git_commit(file: Path) -> str | None:
    """The commit that ``file`` is checked out from, with "-dirty" behind it if tracked files were changed.

    None without git, or when git does not track the file: a package installed inside a checkout of something
    else.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
