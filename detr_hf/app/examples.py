"""Pictures to try, where the demo's generator can draw what a model knows."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from PIL import Image

from detr_hf.demo.scene import draw_scene
from detr_hf.demo.worlds import WorldName, world_categories
from detr_hf.labels import LabelMap

SEED = 77  # of no data set: nothing in the examples was learned
COUNT = 4
SIZE_HW = (480, 640)


def draw_examples(labels: LabelMap, folder: Path) -> list[Path]:
    """Draw a few scenes of the synthetic world that has the model's classes; none for any other model."""
    worlds: tuple[WorldName, ...] = get_args(WorldName)
    world = next((name for name in worlds if _has_all(name, labels)), None)
    if world is None:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for index in range(COUNT):
        file = folder / f"{world}-{index + 1}.png"
        Image.fromarray(draw_scene(world, SEED, index, SIZE_HW).image).save(file)
        files.append(file)
    return files


def _has_all(world: WorldName, labels: LabelMap) -> bool:
    """Whether every class of the model can be drawn in that world."""
    return set(labels.names) <= {category["name"] for category in world_categories(world)}
