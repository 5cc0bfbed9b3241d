"""What a start says of its device, and of how far the run was before."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from detr_hf.errors import quantity
from detr_hf.run_folder import RunFolder
from detr_hf.training.early_stopping import EarlyStopping
from detr_hf.training.folder import device_name
from detr_hf.training.loop import is_finished
from detr_hf.training.state import Run


def device_line(run: Run) -> str:
    """What the run computes on, and in which precision."""
    accelerator, precision = run.accelerator, run.recipe.mixed_precision
    if accelerator.device.type == "cpu":
        name = "cpu" if torch.accelerator.is_available() else "cpu (no GPU found)"
    else:
        name = device_name(accelerator)
    count = f"{accelerator.num_processes} x " if accelerator.num_processes > 1 else ""
    return f"device: {count}{name}, {'float32' if precision == 'no' else precision}"


def lines_on_resuming(run: Run) -> Iterator[str]:
    """That the run was finished before, or that it goes on at higher rates than it ended with."""
    state, optim = run.state, run.recipe.optim
    if is_finished(run):
        done = f"finished before, at epoch {-(-state.step // run.steps_per_epoch)} of {run.epochs}"
        if state.step < run.total_steps:
            stopping = EarlyStopping(run.recipe, state)
            yield f"{done} ({stopping}); to train longer: a higher early_stopping.patience"
            return
        is_cut = run.total_steps < optim.epochs * run.steps_per_epoch
        key, value = ("max_steps", run.total_steps) if is_cut else ("epochs", optim.epochs)
        yield f"{done}; to train longer: optim.{key}={2 * value}"
    elif optim.schedule.name != "constant" and state.step > optim.schedule.warmup_steps:
        logged = [line["lr"] for line in RunFolder(run.folder).log() if isinstance(line.get("lr"), dict)]
        before = logged[-1] if logged else {}
        for group in run.optimizer.param_groups:
            old = before.get(group["name"])
            if isinstance(old, float) and group["lr"] > old * 1.001:
                part = group["name"].removesuffix(", no decay")
                yield (
                    f"note: the learning rate rises again, from {old:.2g} to {group['lr']:.2g} ({part}): "
                    f"optim.schedule is stretched over all {run.epochs} epochs"
                )
                return


def steps_line(run: Run) -> str:
    """How long the run is, and how much of it is done."""
    batch, epochs = quantity(run.recipe.optim.batch_size, "image"), quantity(run.epochs, "epoch")
    done = f", {run.state.step} done before" if run.state.step else ""
    return f"steps: {run.total_steps} of {batch} each ({epochs}){done}"
