"""Recipes as text, and what is said of bad ones."""

from __future__ import annotations

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe import recipe_from_text

DETECTION = """
task: detection
output_dir: runs/x
data:
  train: {annotations: train.json, images: images}
optim: {epochs: 3}
"""
PANOPTIC = """
task: panoptic
output_dir: runs/x
data:
  train: {annotations: train.json, images: images, panoptic: masks}
model: {detector: runs/detection/best}
optim: {epochs: 3}
"""


STREAM = "{dataset: d, streaming: true"


def faults_of(text: str, *overrides: str) -> list[str]:
    """The faults of a recipe, without the headline."""
    with pytest.raises(UserError) as caught:
        recipe_from_text(text, overrides)
    return [line.strip() for line in str(caught.value).splitlines()[1:]]


def replace(text: str, section: str, values: str) -> str:
    """`text` with one top-level section written otherwise (or added)."""
    kept = text.split(f"\n{section}:")[0]
    after = text.split(f"\n{section}:")[1].splitlines()[1:] if f"\n{section}:" in text else []
    while after and after[0].startswith(" "):
        after.pop(0)
    return "\n".join([kept, f"{section}: {values}", *after]) + "\n"
