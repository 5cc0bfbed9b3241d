"""What to do with a finished run: the commands that come next, ready to be copied."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from detr_hf.data.bundle import DataBundle
from detr_hf.recipe import Data, DetectionRecipe, Split, load_recipe
from detr_hf.run_folder import RunFolder
from detr_hf.training.state import Run


def next_steps(run: Run, data: DataBundle) -> str:
    """How to predict, and after stage 1 how to get masks where data and network can."""
    return "\n".join(["next:", *(f"  {command:<66}  # {why}" for command, why in _steps(run, data))])


def _steps(run: Run, data: DataBundle) -> Iterator[tuple[str, str]]:
    best = shlex.quote(str(run.folder / "best"))
    yield f"detr-hf predict {best} photos/ --out runs/found", "what it finds in your images"
    can_segment = run.task.family.mask_head is not None and data.is_panoptic
    if isinstance(run.recipe, DetectionRecipe) and can_segment:
        yield f"detr-hf train {shlex.join(_stage_2(run))}", "stage 2: masks"


def _stage_2(run: Run) -> list[str]:
    """The recipe that lies beside the run, as `detr-hf train DATA` writes it; else the shipped one."""
    folder = _beside(run.folder)
    if (written := folder.with_suffix(".yaml")).is_file():
        return [str(written)]
    words = _shipped(_data_of(run))
    return [*words, f"model.detector={run.folder / 'best'}", f"output_dir={folder}"]


def _data_of(run: Run) -> Data:
    """As the recipe had it: with `demo`, which a run has put files in the place of."""
    file = RunFolder(run.folder).recipe_file
    return load_recipe(file).data if file.is_file() else run.recipe.data


def _shipped(data: Data) -> list[str]:
    """The shipped recipe, and the words that give it the data of stage 1 where a word is enough."""
    if data.demo is not None:
        return ["demo/panoptic", f"data.demo.folder={data.demo.folder}"]
    if data.dataset is not None:
        return ["panoptic", "data.train=null", f"data.dataset={data.dataset}"]
    splits = {"train": data.train, "source": data.source, "validation": data.validation}
    words = [f"data.{name}={_word(split)}" for name, split in splits.items() if split is not None]
    return ["panoptic", *words] if data.train is not None else ["panoptic", "data.train=null", *words]


def _word(split: Split) -> str:
    given = {key: value for key, value in asdict(split).items() if value is not None}
    return str(split.path) if set(given) == {"path"} else json.dumps(given)


def _beside(folder: Path) -> Path:
    return folder.with_name("panoptic" if folder.name != "panoptic" else "masks")
