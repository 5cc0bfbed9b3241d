"""Images to try, where the demo has some of what a model knows."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from detr_hf.demo.resolve import CHECKPOINT
from detr_hf.demo.scene import draw_scene
from detr_hf.demo.worlds import YARD, categories_of
from detr_hf.labels import LabelMap

SEED = 77  # of no data set: nothing in the examples was learned
COUNT = 4
SIZE_HW = (480, 640)
STREETS = sorted((CHECKPOINT.parent / "street").glob("*.jpg"))
"""Scenes of the world that the tiny checkpoint was pretrained on; what draws it is not in the package."""


def draw_examples(labels: LabelMap, folder: Path) -> list[Path]:
    """Write a few scenes of the yard or the street, whichever has the model's classes; none for others."""
    if set(labels.names) <= {category["name"] for category in categories_of(YARD)}:
        scenes = {
            f"yard-{index + 1}": Image.fromarray(draw_scene(SEED, index, SIZE_HW).image)
            for index in range(COUNT)
        }
    elif set(labels.names) <= set(LabelMap.load(CHECKPOINT).names):
        scenes = {file.stem: Image.open(file) for file in STREETS}
    else:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in scenes.items():
        scene.save(folder / f"{name}.png")
    return [folder / f"{name}.png" for name in scenes]
