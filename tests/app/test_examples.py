"""Images to try belong to the model: the demo's worlds, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.app.examples import COUNT, draw_examples
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.worlds import YARD, World, categories_of
from detr_hf.images import image_size
from detr_hf.labels import LabelMap, construction_labels
from tools.pretrain_tiny.street import STREET


@pytest.mark.parametrize("world", [STREET, YARD], ids=lambda world: world.name)
def test_each_world_gives_its_own(world: World, tmp_path: Path) -> None:
    files = draw_examples(LabelMap.from_coco(categories_of(world)), tmp_path / "examples")
    assert len(files) == COUNT and all(file.name.startswith(world.name) for file in files)
    assert image_size(files[0]) == (480, 640)


def test_the_tiny_checkpoint_knows_the_street(tmp_path: Path) -> None:
    assert draw_examples(LabelMap.load(CHECKPOINT), tmp_path)[0].name == "street-1.png"


def test_other_models_get_none(tmp_path: Path) -> None:
    assert draw_examples(construction_labels(), tmp_path / "examples") == []
    assert not (tmp_path / "examples").exists()
