"""What to do with a finished run: the commands that come next, ready to be copied."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from detr_hf.data.bundle import DataBundle
from detr_hf.recipe import Data, DetectionRecipe
from detr_hf.run_folder import REPORT_PAGE
from detr_hf.training.state import Run


def next_steps(run: Run, data: DataBundle) -> str:
    """Where to look, how to predict, and after stage 1 how to get masks where data and network can."""
    return "\n".join(["next:", *(f"  {command:<66}  # {why}" for command, why in _steps(run, data))])


def _steps(run: Run, data: DataBundle) -> Iterator[tuple[str, str]]:
    best = shlex.quote(str(run.folder / "best"))
    yield f"detr-hf report {shlex.quote(str(run.folder))}", f"makes {REPORT_PAGE} again; open it in a browser"
    yield f"detr-hf predict {best} photos/ --out runs/found", "what it finds in your images"
    can_segment = run.task.family.mask_head is not None and data.is_panoptic
    if isinstance(run.recipe, DetectionRecipe) and can_segment:
        name, words = _stage_2(run.recipe.data)
        words += [f"model.detector={run.folder / 'best'}", f"output_dir={_beside(run.folder)}"]
        yield f"detr-hf train {name} {shlex.join(words)}", "stage 2: masks"


def _stage_2(data: Data) -> tuple[str, list[str]]:
    """The shipped recipe, and the words that give it the data of stage 1 where a word is enough."""
    if data.demo is not None:
        return "demo/panoptic", [f"data.demo.folder={data.demo.folder}"]
    if data.dataset is not None:
        return "panoptic", ["data.train=null", f"data.dataset={data.dataset}"]
    if data.train is not None and data.train.path is not None:
        return "panoptic", [f"data.train={data.train.path}"]
    return "panoptic", ["data.train=DATA"]


def _beside(folder: Path) -> Path:
    return folder.with_name("panoptic" if folder.name != "panoptic" else "masks")
