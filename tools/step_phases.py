"""Where the time of a training step goes: ``python -m tools.step_phases detection --device cuda``.

A real run of a few steps, from a recipe, on drawn yards at the size that is asked for, with random weights.
The device is waited for between any two phases, so their sum is a little more than an undisturbed step.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import DetrImageProcessor

from benchmarks.inputs import LABELS, detector_of, segmenter_of
from benchmarks.settings import Settings
from detr_hf.data.build import build_bundle
from detr_hf.demo.resolve import resolve_demo
from detr_hf.modeling import matcher
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training.build import build_accelerator, build_run, build_task
from detr_hf.training.engine import step_normalizers
from detr_hf.training.state import Run

PHASES = ("loader", "copy to the device", "forward", "matching", "backward", "clipping and optimizer")
WARM_UP = 3


class Clock:
    """Seconds by phase, of every step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.steps: list[dict[str, float]] = []

    def begin_step(self) -> None:
        """What is measured from now on belongs to a new step."""
        self.steps.append(defaultdict(float))

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time until the device is done with what the block asked of it."""
        started = self._now()
        yield
        self.steps[-1][name] += self._now() - started

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def milliseconds(self) -> dict[str, float]:
        """The median of each phase after the first few steps, matching taken out of the forward pass."""
        steps = self.steps[WARM_UP:]
        for step in steps:
            step["forward"] -= step["matching"]
        return {name: 1e3 * sorted(step[name] for step in steps)[len(steps) // 2] for name in PHASES}


def recipe_of(stage: str, settings: Settings, folder: Path, steps: int) -> Recipe:
    """A run of so many steps on drawn yards that are scaled to the settings' height."""
    start = folder / "start"
    model = detector_of(settings) if stage == "detection" else segmenter_of(settings)
    model.save_pretrained(start)
    DetrImageProcessor().save_pretrained(start)
    LABELS.save(start)
    resize = {"name": "ShortEdgeResize", "short_edges": [settings.size[0]], "max_long_edge": 1333}
    weights = ("pretrained",) if stage == "detection" else ("detector", "mask_head")
    values = {
        "task": stage,
        "output_dir": str(folder / "run"),
        "mixed_precision": "no" if settings.precision in ("fp32", "tf32") else settings.precision,
        "data": {
            "demo": {"train": settings.images * steps, "validation": 1, "folder": str(folder / "yard")},
            "labels": "construction",
            "workers": settings.threads if settings.device != "cpu" else 0,
        },
        "transforms": {"train": [{"name": "HorizontalFlip", "p": 0.5}, resize], "validation": [resize]},
        "model": dict.fromkeys(weights, str(start)),
        "optim": {"epochs": 1, "batch_size": settings.images, "micro_batch_size": settings.images},
    }
    if settings.precision == "tf32":
        values["compute"] = {"tf32": True}
    return recipe_from_text(json.dumps(values))


def measure(stage: str, settings: Settings, steps: int) -> dict[str, float]:
    """Milliseconds of every phase of a step, and of all of it."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = resolve_demo(recipe_of(stage, settings, Path(folder), steps + WARM_UP))
        accelerator = build_accelerator(recipe)
        data = build_bundle(recipe.data, recipe.output_dir)
        run = build_run(recipe, accelerator, data, build_task(recipe, data)[0])
        clock = Clock(accelerator.device)
        with _timed_matching(clock):
            _train(run, clock)
    found = clock.milliseconds()
    return {**found, "step": sum(found.values())}


def _train(run: Run, clock: Clock) -> None:
    """The engine's step, phase by phase; one micro-batch, one process."""
    accelerator, batches = run.accelerator, iter(run.train_loader)
    run.task.train()
    for _ in range(run.total_steps):
        clock.begin_step()
        with clock.phase("loader"):
            batch = next(batches)
        with clock.phase("copy to the device"):
            batch = batch.to(accelerator.device)
            normalizers = step_normalizers(accelerator, run.task, [batch])
        with clock.phase("forward"):
            terms = run.ddp_task(batch.pixel_values, batch.pixel_mask, batch.targets, normalizers)
        with clock.phase("backward"):
            accelerator.backward(terms["loss"])
        with clock.phase("clipping and optimizer"):
            accelerator.clip_grad_norm_(run.ddp_task.parameters(), run.recipe.optim.clip_norm)
            run.optimizer.step()
            run.optimizer.zero_grad()


@contextmanager
def _timed_matching(clock: Clock) -> Iterator[None]:
    """While open, whoever in the package matches is timed."""
    plain = matcher.match

    def timed(*arguments: Any, **named: Any) -> matcher.Matches:
        with clock.phase("matching"):
            return plain(*arguments, **named)

    def replace(old: Callable[..., Any], new: Callable[..., Any]) -> None:
        for name, module in list(sys.modules.items()):
            if name.startswith("detr_hf.") and getattr(module, "match", None) is old:
                setattr(module, "match", new)  # noqa: B010 - mypy knows no such attribute of a module

    replace(plain, timed)
    try:
        yield
    finally:
        replace(timed, plain)


def main() -> None:
    """Print the phases as a line of JSON."""
    parser = argparse.ArgumentParser(description="Where the time of a training step goes.")
    parser.add_argument("stage", choices=("detection", "panoptic"))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--size", type=int, nargs=2, default=(800, 1066), metavar=("H", "W"))
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--steps", type=int, default=10)
    chosen = parser.parse_args()
    settings = Settings(
        images=chosen.images,
        size=tuple(chosen.size),
        queries=chosen.queries,
        backbone=chosen.backbone,
        threads=chosen.workers,
        device=chosen.device,
        precision=chosen.precision,
    )
    print(json.dumps(measure(chosen.stage, settings, chosen.steps)))


if __name__ == "__main__":
    main()
