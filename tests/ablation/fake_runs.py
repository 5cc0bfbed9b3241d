"""Studies on disk, and run folders as trainings leave them, without training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from detr_hf.ablation.state import write_asked
from detr_hf.ablation.study import PlannedRun, Study, load_study
from detr_hf.recipe import recipe_to_yaml

DETECTION = """
task: detection
output_dir: runs/x
data: {train: data/prepared}
optim: {epochs: 3}
"""
PANOPTIC = """
task: panoptic
output_dir: runs/y
data: {train: data/prepared}
model: {detector: elsewhere}
optim: {epochs: 3}
"""
STUDY = """
base: detection.yaml
output_dir: {out}
seeds: [1, 2, 3]
variants:
  no auxiliary losses: {{loss.auxiliary: false}}
  RICAP: {{transforms.mix: {{name: ricap, p: 0.5}}}}
"""


def write_study(folder: Path, text: str = STUDY) -> Path:
    """A study with both recipes beside it; its runs go to ``folder/out``."""
    folder.mkdir(exist_ok=True)
    (folder / "detection.yaml").write_text(DETECTION)
    (folder / "panoptic.yaml").write_text(PANOPTIC)
    file = folder / "study.yaml"
    file.write_text(text.format(out=folder / "out"))
    return file


def study_in(folder: Path, text: str = STUDY) -> Study:
    """That study, loaded."""
    return load_study(write_study(folder, text))


def start(run: PlannedRun) -> Path:
    """A run that was begun: what the study asked for, and the record with a number of the family besides."""
    write_asked(run)
    run.folder.mkdir(parents=True, exist_ok=True)
    (run.folder / "recipe.yaml").write_text(
        recipe_to_yaml(run.recipe).replace("optim: {", "optim: {lr: 1e-4, ")
    )
    return run.folder


def finish(run: PlannedRun, score: float, last: float | None = None, minutes: float = 2.0) -> None:
    """A finished run with the same score for every metric."""
    folder = start(run)
    (folder / "best").mkdir()
    (folder / "best" / "metrics.json").write_text(json.dumps(results(run, score)))
    lines: list[dict[str, Any]] = [
        {"step": 6, "kind": "train", "epoch": 3, "step_seconds": 10 * minutes, "memory_mb": 100 + run.seed},
        {"step": 3, "kind": "validation", **results(run, 0.9)},
        {"step": 6, "kind": "validation", **results(run, score if last is None else last)},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "results.md").write_text("# Results\n")


def results(run: PlannedRun, score: float) -> dict[str, Any]:
    """What an evaluation gives."""
    found: dict[str, Any] = {"detection": dict.fromkeys(("AP", "AP50", "AR"), score)}
    if run.stage == "panoptic":
        found["panoptic"] = {name: {"pq": score} for name in ("All", "Things", "Stuff")}
    return found


def start_again(run: PlannedRun) -> None:
    """As a start that was killed leaves a run that had been finished."""
    later = (run.folder / "results.md").stat().st_mtime_ns + 1_000_000_000
    os.utime(run.folder / "recipe.yaml", ns=(later, later))
