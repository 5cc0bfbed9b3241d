"""The commands that a finished training prints."""

from __future__ import annotations

import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from detr_hf.recipe import load_recipe
from detr_hf.training.next_steps import next_steps

RECIPE = (
    "task: detection\noutput_dir: {out}\ndata: {data}\nmodel: {{pretrained: demo}}\noptim: {{epochs: 1}}\n"
)
SAME_DATA = [
    ("{train: my photos}", ["panoptic", "data.train=my photos"]),
    ("{dataset: me/photos}", ["panoptic", "data.train=null", "data.dataset=me/photos"]),
    ("{demo: {folder: runs/d}}", ["demo/panoptic", "data.demo.folder=runs/d"]),
    (
        "{train: {annotations: a.json, images: i, panoptic: p}}",
        ["panoptic", 'data.train={"annotations": "a.json", "images": "i", "panoptic": "p"}'],
    ),
]


def told(folder: Path, data: str, has_masks: bool = True, head: object = "a mask head") -> list[str]:
    (folder / "recipe.yaml").write_text(RECIPE.format(out=folder, data=data))
    recipe = load_recipe(folder / "recipe.yaml")
    task = SimpleNamespace(family=SimpleNamespace(mask_head=head))
    run: Any = SimpleNamespace(folder=folder, recipe=recipe, task=task)
    bundle: Any = SimpleNamespace(is_panoptic=has_masks)
    return next_steps(run, bundle).splitlines()[1:]


@pytest.mark.parametrize(("data", "words"), SAME_DATA)
def test_stage_2_is_offered_on_the_same_data(data: str, words: list[str], tmp_path: Path) -> None:
    predict, masks = told(tmp_path, data)
    assert shlex.split(predict, comments=True)[:3] == ["detr-hf", "predict", str(tmp_path / "best")]
    start = [f"model.detector={tmp_path / 'best'}", f"output_dir={tmp_path.with_name('panoptic')}"]
    assert shlex.split(masks, comments=True) == ["detr-hf", "train", *words, *start]
    (written := tmp_path.with_name("panoptic.yaml")).touch()
    assert shlex.split(told(tmp_path, data)[1], comments=True) == ["detr-hf", "train", str(written)]
    written.unlink()


def test_stage_2_is_not_offered_where_data_or_network_have_no_masks(tmp_path: Path) -> None:
    assert len(told(tmp_path, "{train: photos}", has_masks=False)) == 1
    assert len(told(tmp_path, "{train: photos}", head=None)) == 1
