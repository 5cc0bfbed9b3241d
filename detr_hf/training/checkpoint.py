"""Checkpoints: a ``from_pretrained`` folder with the training state beside it, in safetensors and JSON.

``last/`` is what a run resumes from, ``best/`` is the result; ``step-000123/`` are the states that ``last/``
held before. All are written under another name and renamed when complete and on the disk, so a kill at any
moment leaves a whole checkpoint behind. ``resume: auto`` takes the newest one whose files are those of its
manifest.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from detr_hf.errors import UserError
from detr_hf.files import MANIFEST_FILE, faults_of, old_of, replacing, write_json
from detr_hf.foreign_files import read_json
from detr_hf.modeling.families.base import ImageProcessor
from detr_hf.modeling.pretrained import load_finished
from detr_hf.modeling.task import Task
from detr_hf.run_folder import METRICS_FILE
from detr_hf.training.distributed import random_state, set_random_state
from detr_hf.training.state import Run, TrainState

TENSORS_FILE = "training_state.safetensors"
STATE_FILE = "training_state.json"

NAMES = {
    "starts_from": "start (model.pretrained; in stage 2 model.detector, model.mask_head)",
    "batch_size": "optim.batch_size",
    "num_queries": "model.num_queries",
    "query_groups": "loss.query_groups",
    "learning_tensors": "number of trained tensors (model.freeze_backbone; in stage 2 model.freeze_detector)",
    "tiles": "data.tiles",
    "repeat_threshold": "data.repeat_threshold",
    "shuffle_buffer": "data.shuffle_buffer",
}
"""What a refusal calls what is compared: the settings that decide it."""


def save_model(
    folder: Path, task: Task, processor: ImageProcessor, metrics: Mapping[str, Any] | None
) -> None:
    """Write a folder that stock ``from_pretrained`` and ``pipeline()`` read, with label map and metrics.

    Raises:
        UserError: it cannot be written; what the folder held before is still there.
    """
    with replacing(folder) as partial:
        _write_model(partial, task, processor)
        if metrics is not None:
            write_json(partial / METRICS_FILE, metrics)


def save_training(run: Run) -> None:
    """Write ``last/`` with all that resuming at this step needs; collective, the main process writes.

    The state of the optimizer goes by the names of the parameters, not by their numbers; rates and decay
    follow from recipe and step, so they need no state.

    Raises:
        UserError: it cannot be written; the checkpoint before is still there.
    """
    accelerator, state = run.accelerator, run.state
    # What each process has of its own: random generators, and its place in a streamed data set.
    own = (random_state(accelerator.device), run.train_loader.sampler.state(state.step))
    everywhere = gather_object([own])
    if accelerator.is_main_process:
        tensors = {
            f"optimizer.{kind}.{name}": torch.as_tensor(value)
            for name, parameter in run.task.named_parameters()
            for kind, value in run.optimizer.state.get(parameter, {}).items()
        }
        tensors |= {f"aid.{name}": value for name, value in _aids(run.task).items()}
        tensors |= {f"state.{name}": value for name, value in state.tensors.items()}
        for rank, (generators, _) in enumerate(everywhere):
            tensors |= {f"random.{rank}.{name}": value for name, value in generators.items()}
        facts: dict[str, Any] = {"state": state.plain()}
        facts["stream"] = {rank: place for _, stream in everywhere for rank, place in stream.items()}
        if accelerator.scaler is not None:
            facts["scaler"] = accelerator.scaler.state_dict()
        folder = run.folder / "last"
        with replacing(folder, manifest=True, keep_old=True) as partial:
            _write_model(partial, run.task, run.processor)
            # copies: safetensors takes no two tensors that share memory
            save_file(
                {name: value.to("cpu", copy=True).contiguous() for name, value in tensors.items()},
                partial / TENSORS_FILE,
            )
            write_json(partial / STATE_FILE, facts)
        _keep_older(folder, state.step, run.recipe.checkpoint.keep)
    accelerator.wait_for_everyone()  # so that none ends, or begins to load, while the main one writes


def _keep_older(folder: Path, step: int, keep: int) -> None:
    """Name what was replaced by its step, and remove all but the newest ``keep`` of such folders.

    A state of the same or a later step is from before this run was resumed from an older one.
    """
    old = old_of(folder)
    if (taken := step_of(old)) is not None and 0 < taken < step and keep:
        target = step_folder(folder.parent, taken)
        shutil.rmtree(target, ignore_errors=True)
        old.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    older = [path for path in step_folders(folder.parent) if (step_of(path) or step) < step]
    for path in set(step_folders(folder.parent)) - set(older[:keep]):
        shutil.rmtree(path, ignore_errors=True)


def step_folder(output_dir: Path, step: int) -> Path:
    """Where the state after ``step`` steps is kept once ``last/`` is newer."""
    return output_dir / f"step-{step:06d}"


def step_folders(output_dir: Path) -> list[Path]:
    """The older states that are kept, the newest first."""
    found = [path for path in output_dir.glob("step-*") if path.name[5:].isdigit()]
    return sorted(found, key=lambda path: int(path.name[5:]), reverse=True)


def step_of(folder: Path) -> int | None:
    """The step that a checkpoint is of; None where it cannot be read."""
    try:
        return int(read_json(folder / STATE_FILE, any_number=True)["state"]["step"])
    except (ValueError, LookupError, TypeError):  # a `UserError` is a `ValueError`
        return None


def agreed_checkpoint(accelerator: Accelerator, output_dir: Path, resume: str) -> Path | None:
    """``find_checkpoint`` on the main process, the same answer on all; mends a cut-off change of ``best/``.

    Raises:
        UserError: as ``find_checkpoint``, or a machine does not see the folder.
    """
    answer: list[Any] = [None, None]
    if accelerator.is_main_process:
        best = output_dir / "best"
        if old_of(best).is_dir() and not best.exists():
            old_of(best).rename(best)
        try:
            answer[0] = find_checkpoint(output_dir, resume)
        except UserError as error:
            answer[1] = str(error)
    found, fault = broadcast_object_list(answer)
    if fault is not None:
        raise UserError(fault)
    if found is not None and not found.is_dir():
        raise UserError(
            f"resume: {found} is on the first machine only; output_dir must be on a disk that all share."
        )
    return found


def find_checkpoint(output_dir: Path, resume: str, say: Callable[[str], None] = print) -> Path | None:
    """The checkpoint to resume from: ``resume`` is "never", "auto" or a folder.

    "auto" takes ``last/``, or where that is damaged the newest older one that is whole, and says so; None
    where there is none at all.

    Raises:
        UserError: the folder given is no checkpoint or damaged, or no checkpoint of the run is whole.
    """
    if resume == "never":
        return None
    if resume != "auto":
        if not any((Path(resume) / name).is_file() for name in (STATE_FILE, MANIFEST_FILE)):
            raise UserError(f"resume: {resume} is not a training checkpoint; it has no {STATE_FILE}.")
        if faults := faults_of(Path(resume)):
            raise UserError(f"resume: {_damage(Path(resume), faults)}; give another checkpoint folder.")
        return Path(resume)
    last = output_dir / "last"
    damaged: list[str] = []
    for candidate in (last, old_of(last), *step_folders(output_dir)):
        if not candidate.is_dir():
            continue
        faults = faults_of(candidate)
        if not faults:
            for sentence in damaged:
                say(f"{sentence}; resuming from {candidate} instead")
            return candidate
        damaged.append(_damage(candidate, faults))
    if damaged:
        raise UserError(
            f"resume: {'; '.join(damaged)}. No other checkpoint is whole: set `resume: never` to start over."
        )
    return None


def _damage(folder: Path, faults: list[str]) -> str:
    return f"{folder} is damaged ({', '.join(faults)})"


def load_training(
    folder: Path, accelerator: Accelerator, task: Task, optimizer: Optimizer, identity: Mapping[str, Any]
) -> tuple[TrainState, dict[str, Any]]:
    """Put model, optimizer and random state back.

    Args:
        folder: a checkpoint that is whole.
        accelerator: whose scaler and device are set, too.
        task: takes the weights.
        optimizer: of the same parameters as when it was saved.
        identity: of this run.

    Returns:
        How far the run was, and where in a streamed data set all its processes were.

    Raises:
        UserError: the checkpoint belongs to another run, or is not one that this version reads.
    """
    try:
        facts = read_json(folder / STATE_FILE, any_number=True)
        state, stream = TrainState(**facts["state"]), dict(facts["stream"])
        tensors = load_file(folder / TENSORS_FILE)
        _refuse_other_run(folder, state.identity, identity)
        if "training_data" not in state.identity:
            accelerator.print(
                f"warning: {folder} does not say which data it was trained on, as those of older versions; "
                f"make sure that it was {identity['training_data']['name']}"
            )
        task.model.load_state_dict(load_finished(str(folder)).state_dict(), strict=True)
        for name, value in _aids(task).items():
            value.copy_(tensors[f"aid.{name}"])
    except OtherRunError:
        raise
    except Exception as error:  # whatever a file of another version makes of JSON, safetensors, transformers
        raise UserError(
            f"resume: {folder} cannot be read ({type(error).__name__}: {error}); "
            "remove it or set `resume: never`."
        ) from error
    state.identity, state.tensors = dict(identity), strip_prefix("state.", tensors)
    _restore_optimizer(optimizer, task, strip_prefix("optimizer.", tensors))
    if accelerator.scaler is not None and "scaler" in facts:
        accelerator.scaler.load_state_dict(facts["scaler"])
    set_random_state(strip_prefix(f"random.{accelerator.process_index}.", tensors), accelerator.device)
    return state, stream


def _aids(task: Task) -> dict[str, Tensor]:
    """What learns beside the model and is no part of it, such as further query groups."""
    return {name: value for name, value in task.state_dict().items() if not name.startswith("model.")}


def strip_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def prepare_folder(output_dir: Path, resume: str, checkpoint: Path | None) -> None:
    """Make a run's folder fit for resuming from ``checkpoint``: the main process, when all have read it.

    A run that starts over, or resumes from another folder, forgets the states of the older run, so that
    ``resume: auto`` never takes them. A damaged ``last/`` is set aside as ``last.damaged/``.
    """
    last = output_dir / "last"
    if checkpoint is None or checkpoint.parent.resolve() != output_dir.resolve():
        for folder in (last, old_of(last), *step_folders(output_dir)):
            shutil.rmtree(folder, ignore_errors=True)
    elif resume == "auto" and checkpoint.name != last.name and last.exists():
        aside = output_dir / "last.damaged"
        shutil.rmtree(aside, ignore_errors=True)
        last.rename(aside)


def _restore_optimizer(optimizer: Optimizer, task: Task, tensors: Mapping[str, Tensor]) -> None:
    saved: dict[str, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        kind, name = key.split(".", 1)
        saved.setdefault(name, {})[kind] = value
    names = {parameter: name for name, parameter in task.named_parameters()}
    # AdamW numbers its parameters through all groups; what was saved goes by name.
    order = [names[parameter] for group in optimizer.param_groups for parameter in group["params"]]
    state = {index: saved[name] for index, name in enumerate(order) if name in saved}
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


class OtherRunError(UserError):
    """The checkpoint is whole, but not of this run."""


def _refuse_other_run(folder: Path, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    remedy = "Choose another output_dir, or set `resume: never` to start over there."
    for key, value in ours.items():
        if key != "training_data" and theirs.get(key) != value:
            raise OtherRunError(
                f"resume: {folder} is of another run: its {NAMES.get(key, key)} is {theirs.get(key)!r}, "
                f"this run's is {value!r}. {remedy}"
            )
    # Data may move, so its path alone is no difference; states of older versions have no key.
    data = ours["training_data"]
    old = theirs.get("training_data", data)
    if old["key"] != data["key"]:
        raise OtherRunError(
            f"resume: {folder} is of another run: it was trained on {old['name']} (content {old['key']}), "
            f"this run's data is {data['name']} (content {data['key']}). There are as many images, but their "
            f"names, sizes or objects differ. {remedy}"
        )


def _write_model(folder: Path, task: Task, processor: ImageProcessor) -> None:
    task.model.save_pretrained(folder)
    processor.save_pretrained(folder)
    task.labels.save(folder)
