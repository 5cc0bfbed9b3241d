"""Steps whose loss or gradient is not finite: left out, counted, and in the end a reason to stop."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from safetensors.torch import save_file
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.files import UnwritableError, unwritable
from detr_hf.loading.collate import Batch

if TYPE_CHECKING:
    from detr_hf.training.run import Run

DUMP_FOLDER = "non_finite"


class NonFiniteLossError(UserError):
    """Loss or gradient became NaN or infinite too often; the message names step, images, terms and dump."""


@dataclass
class Faults:
    """What was not finite in one step on this process: names of terms, and the batches they came from."""

    terms: list[str] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def note(self, terms: dict[str, Tensor], batch: Batch) -> None:
        """Look at the loss terms of one forward pass."""
        bad = [name for name, term in terms.items() if not bool(torch.isfinite(term))]
        if bad:
            self.terms += [name for name in bad if name not in self.terms]
            self.batches.append(batch)

    def note_gradient(self, batches: list[Batch]) -> None:
        """The gradient of the step is not finite; where the loss was not either, that is said already."""
        if not self.terms:
            self.terms, self.batches = ["gradient"], list(batches)


def any_rank(accelerator: Accelerator, flag: bool) -> bool:
    """Whether ``flag`` is set on any process; collective."""
    if accelerator.num_processes == 1:
        return flag
    vote = torch.tensor([float(flag)], device=accelerator.device)
    return float(accelerator.reduce(vote, reduction="sum")) > 0


def skip_or_stop(run: Run, faults: Faults) -> None:
    """Count the step under way as skipped; all processes come here together.

    Raises:
        NonFiniteLossError: that was one more than ``optim.skip_non_finite``; the batch is in ``non_finite/``.
    """
    step, allowed = run.progress.step + 1, run.recipe.optim.skip_non_finite
    images = [target["image_id"] for batch in faults.batches for target in batch.targets]
    everywhere = gather_object([(faults.terms, images)])
    terms = list(dict.fromkeys(name for names, _ in everywhere for name in names))
    named = ", ".join(str(image) for _, images in everywhere for image in images)
    what = f"step {step}: the loss is not finite (terms: {', '.join(terms)}; image ids: {named})"
    run.progress.skipped += 1
    if run.progress.skipped <= allowed:
        run.accelerator.print(f"{what}; skipped, {run.progress.skipped} of {allowed} such steps allowed")
        return
    where = _dump(run.folder, step, run.accelerator.process_index, faults)
    run.accelerator.wait_for_everyone()
    raise NonFiniteLossError(
        f"{what}, and {allowed} such steps are allowed (optim.skip_non_finite). The batch is in {where}. "
        "Lower optim.lr, add optim.schedule.warmup_steps, or train with mixed_precision: no."
    )


def _dump(run_folder: Path, step: int, rank: int, faults: Faults) -> str:
    """Write this process's share of the bad batch: pixels and targets as safetensors, the rest as JSON."""
    folder = run_folder / DUMP_FOLDER / f"step-{step:06d}"
    tensors: dict[str, Tensor] = {}
    images: list[dict[str, Any]] = []
    for index, batch in enumerate(faults.batches):
        tensors |= {f"{index}.pixel_values": batch.pixel_values, f"{index}.pixel_mask": batch.pixel_mask}
        for row, target in enumerate(batch.targets):
            values = target.items()
            tensors |= {f"{index}.{row}.{name}": v for name, v in values if isinstance(v, Tensor)}
            images.append({name: v for name, v in values if not isinstance(v, Tensor)})
    if not images:
        return str(folder)  # nothing was wrong on this process
    try:
        with unwritable(folder):
            folder.mkdir(parents=True, exist_ok=True)
            whole = {name: value.cpu().contiguous() for name, value in tensors.items()}
            save_file(whole, folder / f"process{rank}.safetensors")
            facts = {"step": step, "terms": faults.terms, "images": images}
            (folder / f"process{rank}.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")
    except UnwritableError as error:
        return f"no file ({error})"
    return str(folder)
