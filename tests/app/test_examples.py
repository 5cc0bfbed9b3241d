"""Pictures to try belong to the model: the demo's worlds, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from detr_hf.app.examples import COUNT, draw_examples
from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.worlds import WorldName, world_categories
from detr_hf.images import image_size
from detr_hf.labels import LabelMap, construction_labels


@pytest.mark.parametrize("world", ["street", "yard"])
def test_each_world_gives_its_own(world: WorldName, tmp_path: Path) -> None:
    files = draw_examples(LabelMap.from_coco(world_categories(world)), tmp_path / "examples")
    assert len(files) == COUNT and all(file.name.startswith(world) for file in files)
    assert image_size(files[0]) == (480, 640)


def test_the_tiny_checkpoint_knows_the_street(tmp_path: Path) -> None:
    assert draw_examples(LabelMap.load(CHECKPOINT), tmp_path)[0].name == "street-1.png"


def test_other_models_get_none(tmp_path: Path) -> None:
    assert draw_examples(construction_labels(), tmp_path / "examples") == []
    assert not (tmp_path / "examples").exists()
