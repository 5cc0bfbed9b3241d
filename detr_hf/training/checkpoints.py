"""Checkpoints: a ``from_pretrained`` folder with the training state beside it, in safetensors and JSON.

``last/`` goes on, ``best/`` is the result; ``step-000123/`` are the states that ``last/`` held before. All
are written under another name and renamed when complete and on the disk, so a kill at any moment leaves a
whole checkpoint behind. ``resume: auto`` takes the newest one whose files are those of its manifest.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer
from transformers import DetrImageProcessor

from detr_hf.errors import UserError
from detr_hf.files import MANIFEST_FILE, faults_of, old_of, replacing
from detr_hf.labels import LabelMap
from detr_hf.modeling.pretrained import load_finished
from detr_hf.run_folder import METRICS_FILE
from detr_hf.training.random_state import random_state, set_random_state
from detr_hf.training.setup import Task

TENSORS_FILE = "training_state.safetensors"
STATE_FILE = "training_state.json"

Terms = dict[str, list[float]]


@dataclass
class Progress:
    """How far a run is. Plain values: they are saved as JSON."""

    step: int = 0  # optimizer steps done, skipped ones too
    best: float | None = None  # the best score so far, and the step it was reached at
    best_step: int | None = None
    evaluated_step: int | None = None  # the step of the last evaluation
    skipped: int = 0  # steps without an update, because loss or gradient were not finite

    @property
    def is_evaluated(self) -> bool:
        """Whether the weights of this very step have been scored."""
        return self.evaluated_step == self.step


@dataclass
class Resumed:
    """What a checkpoint gives back besides model, optimizer and random state."""

    progress: Progress
    terms: list[Terms] = field(default_factory=list)  # of the epoch that was cut, of every process
    tracker_run: str | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)
    stream: dict[str, Any] = field(default_factory=dict)  # of a streamed training set, of all processes


def save_model(
    folder: Path, task: Task, processor: DetrImageProcessor, metrics: Mapping[str, Any] | None
) -> None:
    """Write a folder that stock ``from_pretrained`` and ``pipeline()`` read, with label map and metrics.

    Raises:
        UserError: it cannot be written; what the folder held before is still there.
    """
    with replacing(folder) as partial:
        _write_model(partial, task, processor, metrics)


def save_training(
    folder: Path,
    accelerator: Accelerator,
    task: Task,
    processor: DetrImageProcessor,
    optimizer: Optimizer,
    progress: Progress,
    identity: Mapping[str, Any],
    *,
    terms: Terms | None = None,
    tracker_run: str | None = None,
    extra: Mapping[str, Tensor] | None = None,
    stream: Mapping[str, Any] | None = None,
    keep: int = 0,
) -> None:
    """Write ``folder`` with all that a resume needs; every process calls it, the main one writes.

    The state of the optimizer goes by the names of the parameters; rates and decay follow from recipe and
    step, so they need no state.

    Args:
        identity: says which run this is; ``load_training`` refuses another.
        terms: sums of the epoch under way (``EpochTerms.state``), of this process.
        tracker_run: the id that the trackers know the run by.
        extra: further tensors by name, such as averaged weights.
        stream: what the sampler keeps of a streamed training set, of this process.
        keep: so many older states stay as ``step-.../`` beside ``folder``.

    Raises:
        UserError: it cannot be written; the checkpoint before is still there.
    """
    everywhere = gather_object([(random_state(accelerator.device), terms or {}, dict(stream or {}))])
    state = {
        f"optimizer.{kind}.{name}": torch.as_tensor(value)
        for name, parameter in task.named_parameters()
        for kind, value in optimizer.state.get(parameter, {}).items()
    }
    state |= {f"extra.{name}": value.detach() for name, value in (extra or {}).items()}
    if not accelerator.is_main_process:
        return
    tensors = {name: value.to("cpu", copy=True).contiguous() for name, value in state.items()}
    for rank, (states, _, _) in enumerate(everywhere):
        tensors.update({f"random.{rank}.{name}": value for name, value in states.items()})
    facts: dict[str, Any] = {"progress": asdict(progress), "identity": dict(identity)}
    facts |= {"terms": [sums for _, sums, _ in everywhere], "tracker_run": tracker_run}
    facts["stream"] = {lane: place for _, _, lanes in everywhere for lane, place in lanes.items()}
    if accelerator.scaler is not None:
        facts["scaler"] = accelerator.scaler.state_dict()
    with replacing(folder, manifest=True, keep_old=True) as partial:
        _write_model(partial, task, processor, None)
        save_file(tensors, partial / TENSORS_FILE)
        (partial / STATE_FILE).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    _keep_older(folder, progress.step, keep)


def _keep_older(folder: Path, step: int, keep: int) -> None:
    """Name what was replaced by its step, and remove all but the newest ``keep`` of such folders.

    A state of the same or a later step is of a past that this run has left: it went on from an older one.
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
        return int(json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))["progress"]["step"])
    except (OSError, ValueError, LookupError, TypeError):
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
    """The checkpoint to go on from: ``resume`` is "never", "auto" or a folder.

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
                say(f"{sentence}; going on from {candidate} instead")
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
    folder: Path,
    accelerator: Accelerator,
    task: Task,
    optimizer: Optimizer,
    identity: Mapping[str, Any],
) -> Resumed:
    """Put model, optimizer and random state back, and tell how far the run was.

    Args:
        folder: a checkpoint that is whole.
        accelerator: whose scaler and device are set, too.
        task: takes the weights.
        optimizer: of the same parameters as when it was saved.
        identity: of this run.

    Raises:
        UserError: the checkpoint belongs to another run, or is not one that this version reads.
    """
    try:
        facts = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        theirs, progress = dict(facts["identity"]), Progress(**facts["progress"])
        tensors = load_file(folder / TENSORS_FILE)
        _refuse_other_run(folder, theirs, identity)
        task.model.load_state_dict(load_finished(str(folder)).state_dict(), strict=True)
    except OtherRunError:
        raise
    except Exception as error:  # whatever a file of another version makes of JSON, safetensors, transformers
        raise UserError(
            f"resume: {folder} cannot be read ({type(error).__name__}: {error}); "
            "remove it or set `resume: never`."
        ) from error
    _restore_optimizer(optimizer, task, tensors)
    if accelerator.scaler is not None and "scaler" in facts:
        accelerator.scaler.load_state_dict(facts["scaler"])
    set_random_state(under(f"random.{accelerator.process_index}.", tensors), accelerator.device)
    extra = under("extra.", tensors)
    return Resumed(progress, facts.get("terms", []), facts.get("tracker_run"), extra, facts.get("stream", {}))


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def settle_folder(output_dir: Path, resume: str, checkpoint: Path | None) -> None:
    """Make a run's folder fit for going on from ``checkpoint``: the main process, when all have read it.

    A run that starts over, or goes on from another folder, forgets the states of the older run, so that
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
    for key in tensors:
        if key.startswith("optimizer."):
            _, kind, name = key.split(".", 2)
            saved.setdefault(name, {})[kind] = tensors[key]
    names = {parameter: name for name, parameter in task.named_parameters()}
    order = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state = {
        index: saved[names[parameter]] for index, parameter in enumerate(order) if names[parameter] in saved
    }
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


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
