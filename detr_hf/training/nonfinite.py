"""Steps whose loss or gradient is not finite: left out, counted, and in the end a reason to stop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate.utils import gather_object
from safetensors.torch import save_file
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.files import UnwritableError, unwritable, write_json
from detr_hf.loading.collate import Batch
from detr_hf.training.state import Run

DUMP_FOLDER = "non_finite"


class NonFiniteLossError(UserError):
    """Loss or gradient became NaN or infinite too often; the message names step, images, terms and dump."""


@dataclass(frozen=True)
class Faults:
    """What was not finite in one step on this process: names of terms, and the batches they came from."""

    terms: list[str]
    batches: list[Batch]


def non_finite_in(
    batches: Sequence[Batch], names: Sequence[str], values: Sequence[Sequence[float]], bad_gradient: bool
) -> Faults:
    """Look at the loss terms of a step, ``values[batch][term]``, and at its gradient.

    The gradient is named only where the loss was finite: else it follows from the loss.
    """
    bad_rows = [[not math.isfinite(value) for value in row] for row in values]
    terms = [name for name, *bad in zip(names, *bad_rows, strict=True) if any(bad)]
    if not terms and bad_gradient:
        return Faults(["gradient"], list(batches))
    return Faults(terms, [batch for batch, bad in zip(batches, bad_rows, strict=True) if any(bad)])


def skip_or_stop(run: Run, faults: Faults) -> None:
    """Count the step under way as skipped; all processes come here together.

    Raises:
        NonFiniteLossError: that was one more than ``optim.skip_non_finite``; the batch is in ``non_finite/``.
    """
    state, allowed = run.state, run.recipe.optim.skip_non_finite
    images = [target["image_id"] for batch in faults.batches for target in batch.targets]
    everywhere = gather_object([(faults.terms, images)])
    terms = list(dict.fromkeys(name for names, _ in everywhere for name in names))
    named = ", ".join(str(image) for _, images in everywhere for image in images)
    what = f"step {state.step + 1}: the loss is not finite (terms: {', '.join(terms)}; image ids: {named})"
    state.skipped += 1
    if state.skipped <= allowed:
        run.accelerator.print(f"{what}; skipped, {state.skipped} of {allowed} such steps allowed")
        return
    folder = run.folder / DUMP_FOLDER / f"step-{state.step + 1:06d}"
    where = _dump(folder, state.step + 1, run.accelerator.process_index, faults)
    run.accelerator.wait_for_everyone()  # the first to end would have the launcher end the others
    raise NonFiniteLossError(
        f"{what}, and {allowed} such steps are allowed (optim.skip_non_finite). The batch is in {where}. "
        "Lower optim.lr, add optim.schedule.warmup_steps, or train with mixed_precision: no."
    )


def _dump(folder: Path, step: int, rank: int, faults: Faults) -> str:
    """Write this process's share of the bad batch: pixels and targets as safetensors, the rest as JSON."""
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
            write_json(folder / f"process{rank}.json", facts)
    except UnwritableError as error:  # named beside the reason for the stop, not instead of it
        return f"no file ({error})"
    return str(folder)
