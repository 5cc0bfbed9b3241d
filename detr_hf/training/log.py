"""What a run writes down as it goes: `metrics.jsonl`, `bad_samples.jsonl`, trackers; and what it measures."""

from __future__ import annotations

import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from torch.optim import Optimizer

from detr_hf.errors import UserError
from detr_hf.files import unwritable, write_text
from detr_hf.foreign_files import damaged_text, parse_json
from detr_hf.loading.collate import Batch
from detr_hf.recipe import Recipe, recipe_to_dict
from detr_hf.run_folder import BAD_SAMPLES_FILE, LOG_FILE

MEGABYTE = 2**20

Sums = dict[str, list[float]]
"""The sum and the count of every number measured; as a checkpoint keeps them."""


def tracker_names(names: Sequence[str]) -> list[str]:
    """The recipe's trackers, all of them installed.

    Raises:
        UserError: one is not; Accelerate itself would only leave it out.
    """
    available = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    if missing := [name for name in names if name not in available]:
        raise UserError(f"trackers: {', '.join(missing)} is not installed (pip install {' '.join(missing)}).")
    return list(names)


class RunLog:
    """Appends one JSON object a line to ``metrics.jsonl`` and passes plain numbers on to the trackers.

    Args:
        accelerator: of the run; only the main process writes metrics.
        recipe: shown by the trackers as the run's configuration.
        step: the step that the run resumes from; later lines are of an attempt that was cut off, and dropped.
        tracker_id: what W&B and trackio know the run by.
        evaluated: whether the evaluation at ``step`` is in the past; if not, a line of it is dropped too.
    """

    def __init__(
        self, accelerator: Accelerator, recipe: Recipe, step: int, tracker_id: str, evaluated: bool = True
    ) -> None:
        self.accelerator = accelerator
        self.path = Path(recipe.output_dir) / LOG_FILE
        self.bad_samples_path = self.path.with_name(BAD_SAMPLES_FILE)
        if accelerator.is_main_process:
            _keep_lines(self.path, lambda line: step > 0 and _is_past(line, step, evaluated))
            _keep_lines(self.bad_samples_path, lambda line: line["step"] <= step)
        if recipe.trackers:
            config, same_run = _flat(recipe_to_dict(recipe)), tracker_settings(tracker_id, step)
            chosen = {name: same_run[name] for name in recipe.trackers}
            accelerator.init_trackers("detr_hf", config=config, init_kwargs=chosen)

    def write(self, step: int, kind: str, values: Mapping[str, object]) -> None:
        """Log ``values`` (nested dicts of numbers are fine) under a kind such as "train" or "validation"."""
        if not self.accelerator.is_main_process:
            return
        _append(self.path, [{"step": step, "kind": kind, **values}])
        numbers = {k: v for k, v in _flat(values).items() if isinstance(v, (int, float))}
        self.accelerator.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def write_bad_samples(self, step: int, batches: Sequence[Batch]) -> None:
        """List the images of optimizer step ``step`` that others took the place of.

        Every process writes its own lines, into one file where they share the folder.
        """
        process = self.accelerator.process_index
        bad_samples = [bad for batch in batches for bad in batch.skipped]
        _append(self.bad_samples_path, [{"step": step, "process": process, **asdict(b)} for b in bad_samples])

    def close(self) -> None:
        """Flush the trackers."""
        for tracker in self.accelerator.trackers:  # `end_training` would part the processes before stage 2
            tracker.finish()


def tracker_settings(tracker_id: str, step: int) -> dict[str, dict[str, object]]:
    """What each tracker is given at its start, so that a resumed run is shown as one run."""
    return {
        "wandb": {"id": tracker_id, "resume": "allow"},
        "trackio": {"name": tracker_id, "resume": "allow"},
        "tensorboard": {"purge_step": step + 1} if step else {},
    }


def _append(path: Path, lines: Sequence[Mapping[str, object]]) -> None:
    if lines:
        with unwritable(path), path.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(line) + "\n" for line in lines))


def _keep_lines(path: Path, is_kept: Callable[[dict[str, Any]], bool]) -> None:
    """Drop the other lines of a file of JSON lines, and one that a kill cut short."""

    def kept(line: str) -> bool:
        try:
            return is_kept(parse_json(line, path.name, any_number=True))
        except (ValueError, LookupError, TypeError):
            return False

    if path.exists():
        # Replaced in one go: a kill must not cut off what was logged long ago.
        lines = damaged_text(path).splitlines()
        write_text(path, "".join(f"{line}\n" for line in lines if kept(line)))


def _is_past(line: Mapping[str, Any], step: int, evaluated: bool) -> bool:
    done = evaluated or line["kind"] != "validation"
    return line["step"] < step or (line["step"] == step and done)


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as ``{"optim.lr": 1e-4}``: TensorBoard takes flat scalars and strings only."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return flat


class Meter:
    """Means over the epoch so far and over the steps since the last line, and the lines made of them.

    Loss terms come in summed over all processes; seconds and memory are those of this one.

    Args:
        optimizer: for its learning rates.
        device: whose memory is measured.
        batch_size: images of one optimizer step, over all processes.
        epoch_sums: of the epoch so far, updated in place: a checkpoint keeps them.
    """

    def __init__(self, optimizer: Optimizer, device: torch.device, batch_size: int, epoch_sums: Sums) -> None:
        self.optimizer, self.device, self.batch_size = optimizer, device, batch_size
        self._epoch, self._window = epoch_sums, Sums()
        self._loading = 0.0
        self.start_clock()

    def start_clock(self) -> None:
        """Before the first step, and after anything between two steps that is no training."""
        self._started = time.perf_counter()

    @contextmanager
    def loading(self) -> Iterator[None]:
        """Around the wait for the loader."""
        started = time.perf_counter()
        yield
        self._loading += time.perf_counter() - started

    def add(self, values: Mapping[str, float]) -> None:
        """Count one step's numbers; one that is not finite is left out."""
        for name, value in values.items():
            if math.isfinite(value):
                for sums in (self._epoch, self._window):
                    total, count = sums.get(name, (0.0, 0))
                    sums[name] = [total + value, count + 1]

    def finish_step(self) -> float:
        """After the step's numbers, take its time, in seconds."""
        now = time.perf_counter()
        took = now - self._started
        self.add({"data_seconds": self._loading, "step_seconds": took})
        self._loading, self._started = 0.0, now
        return took

    def epoch_line(self) -> dict[str, Any]:
        """Means over the epoch, which ends here."""
        line = self._line(self._epoch)
        self._epoch.clear()
        self._window.clear()
        return line

    def window_line(self) -> dict[str, Any]:
        """Means over the steps since the last line."""
        line = self._line(self._window)
        self._window.clear()
        return line

    def _line(self, sums: Sums) -> dict[str, Any]:
        line: dict[str, Any] = {name: total / count for name, (total, count) in sums.items()}
        bad_samples = sums.get("bad_samples", [0.0])[0]
        groups = self.optimizer.param_groups
        line |= {
            "gradient_norm": line.get("gradient_norm"),  # None where every step was left out
            "lr": {group.get("name", str(index)): group["lr"] for index, group in enumerate(groups)},
            "images_per_second": round(self.batch_size / line["step_seconds"], 2),
            "data_seconds": round(line["data_seconds"], 4),
            "step_seconds": round(line["step_seconds"], 4),
            "memory_mb": round(peak_memory_mb(self.device)),
            "bad_samples": round(bad_samples),  # how many, not how many a step
        }
        return line if bad_samples else {name: value for name, value in line.items() if name != "bad_samples"}


def peak_memory_mb(device: torch.device) -> float:
    """The most memory taken so far: of the GPU by tensors, or without one by this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / MEGABYTE
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # kilobytes, on a Mac bytes
    return peak / MEGABYTE if sys.platform == "darwin" else peak / 1024
