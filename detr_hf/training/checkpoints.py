"""Checkpoints: a ``from_pretrained`` folder with the training state beside it, in safetensors and JSON.

``last/`` goes on, ``best/`` is the result. Both are written under another name and renamed when complete, so
a kill at any moment leaves a whole checkpoint behind.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.modeling.pretrained import load_finished
from detr_hf.training.setup import Task

TENSORS_FILE = "training_state.safetensors"
STATE_FILE = "training_state.json"
METRICS_FILE = "metrics.json"


@dataclass
class Progress:
    """How far a run is: optimiser steps done, and the best score so far with the step it was reached at."""

    step: int = 0
    best: float | None = None
    best_step: int | None = None


def save_model(
    folder: Path, task: Task, processor: DetrImageProcessor, metrics: Mapping[str, Any] | None
) -> None:
    """Write a folder that stock ``from_pretrained`` and ``pipeline()`` read, with label map and metrics."""
    with _Replacing(folder) as partial:
        _write_model(partial, task, processor, metrics)


def save_training(
    folder: Path,
    accelerator: Accelerator,
    task: Task,
    processor: DetrImageProcessor,
    optimiser: Optimizer,
    progress: Progress,
    identity: Mapping[str, Any],
) -> None:
    """Write ``folder`` with all that a resume needs; every process calls it, the main one writes.

    ``identity`` says which run this is; ``load_training`` refuses another. The state of the optimiser goes by
    the names of the parameters; rates and decay follow from recipe and step, so they need no state.
    """
    random_states = gather_object([_random_state(accelerator.device)])
    if not accelerator.is_main_process:
        return
    tensors = {
        f"optimiser.{kind}.{name}": torch.as_tensor(value).contiguous().cpu()
        for name, parameter in task.named_parameters()
        for kind, value in optimiser.state.get(parameter, {}).items()
    }
    for rank, states in enumerate(random_states):
        tensors.update({f"random.{rank}.{name}": value for name, value in states.items()})
    facts: dict[str, Any] = {"progress": asdict(progress), "identity": dict(identity)}
    if accelerator.scaler is not None:
        facts["scaler"] = accelerator.scaler.state_dict()
    with _Replacing(folder) as partial:
        _write_model(partial, task, processor, None)
        save_file(tensors, partial / TENSORS_FILE)
        (partial / STATE_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def find_checkpoint(output_dir: Path, resume: str) -> Path | None:
    """The checkpoint to go on from: ``resume`` is "never", "auto" (``last/`` if there) or a folder.

    Raises:
        UserError: the folder given is no checkpoint.
    """
    if resume == "never":
        return None
    if resume == "auto":
        for candidate in (output_dir / "last", _old(output_dir / "last")):
            if (candidate / STATE_FILE).is_file():
                return candidate
        return None
    if not (Path(resume) / STATE_FILE).is_file():
        raise UserError(f"resume: {resume} is not a training checkpoint; it has no {STATE_FILE}.")
    return Path(resume)


def load_training(
    folder: Path, accelerator: Accelerator, task: Task, optimiser: Optimizer, identity: Mapping[str, Any]
) -> Progress:
    """Put model, optimiser and random state back, and tell how far the run was.

    Raises:
        UserError: the checkpoint belongs to another run, or a file is missing or broken.
    """
    try:
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        theirs, progress = dict(facts["identity"]), Progress(**facts["progress"])
        tensors = load_file(folder / TENSORS_FILE)
        _refuse_other_run(folder, theirs, identity)
        task.model.load_state_dict(load_finished(str(folder)).state_dict(), strict=True)
    except OtherRunError:
        raise
    except Exception as error:  # whatever a damaged file makes of JSON, safetensors and transformers
        raise UserError(
            f"resume: {folder} cannot be read ({type(error).__name__}: {error}); "
            "remove it or set `resume: never`."
        ) from error
    _restore_optimiser(optimiser, task, tensors)
    if accelerator.scaler is not None and "scaler" in facts:
        accelerator.scaler.load_state_dict(facts["scaler"])
    mine = f"random.{accelerator.process_index}."
    _set_random_state(
        {key.removeprefix(mine): value for key, value in tensors.items() if key.startswith(mine)}
    )
    return progress


def forget_training(output_dir: Path) -> None:
    """Remove ``last/`` where a run starts over, so that `resume: auto` never goes on from an older one."""
    for folder in (output_dir / "last", _old(output_dir / "last")):
        shutil.rmtree(folder, ignore_errors=True)


def _restore_optimiser(optimiser: Optimizer, task: Task, tensors: Mapping[str, Tensor]) -> None:
    saved: dict[str, dict[str, Tensor]] = {}
    for key in tensors:
        if key.startswith("optimiser."):
            _, kind, name = key.split(".", 2)
            saved.setdefault(name, {})[kind] = tensors[key]
    names = {parameter: name for name, parameter in task.named_parameters()}
    order = [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
    state = {index: saved[name] for index, name in enumerate(order) if name in saved}
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})


class OtherRunError(UserError):
    """The checkpoint is whole, but not of this run."""


def _refuse_other_run(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    for key, value in ours.items():
        if theirs.get(key) != value:
            raise OtherRunError(
                f"resume: {folder} is of another run: its {key} is {theirs.get(key)!r}, this run's is "
                f"{value!r}. Choose another output_dir, or set `resume: never` to start over there."
            )


def _write_model(
    folder: Path, task: Task, processor: DetrImageProcessor, metrics: Mapping[str, Any] | None
) -> None:
    task.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    labels: LabelMap = task.labels
    labels.save(folder)
    if metrics is not None:
        (folder / METRICS_FILE).write_text(json.dumps(metrics, indent=1), encoding="utf-8")


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


class _Replacing:
    """A context that gives a fresh folder to write into; on success it takes the place of ``folder``."""

    def __init__(self, folder: Path):
        self.folder, self.partial, self.old = folder, folder.with_name(f"{folder.name}.partial"), _old(folder)

    def __enter__(self) -> Path:
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir(parents=True)
        return self.partial

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            shutil.rmtree(self.partial, ignore_errors=True)
            return
        if self.folder.exists():  # while it is away, `find_checkpoint` finds `old`
            shutil.rmtree(self.old, ignore_errors=True)
            self.folder.rename(self.old)
        self.partial.rename(self.folder)
        shutil.rmtree(self.old, ignore_errors=True)


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """Of this process; augmentation and sample order need none, they follow from seed, epoch and row."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def _set_random_state(states: Mapping[str, Tensor]) -> None:
    if "cpu" in states:
        torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
