"""What a recipe says of classes and of mixed epochs, with the data that it is for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import datasets
import pytest
from accelerate import Accelerator

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.recipe import Recipe, recipe_from_text
from detr_hf.training.loaders import build_train_loader, class_weights_of, mixed_epochs

ROWS = [{"objects": {"category": [0, 0, 0, 1], "iscrowd": [False] * 4}}]
DATA = DataBundle(
    dataset=datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}),
    labels=LabelMap.from_names(["brick", "cone", "plank"]),
    is_panoptic=False,
    notes=[],
)
DETECTION = "{task: detection, output_dir: out, data: {demo: {}}, optim: {epochs: 1}}"
PANOPTIC = "{task: panoptic, output_dir: out, data: {demo: {}}, model: {detector: demo}, optim: {epochs: 1}}"


def recipe(*overrides: str, text: str = DETECTION) -> Recipe:
    return recipe_from_text(text, overrides)


def test_by_name_and_one_for_the_rest() -> None:
    assert class_weights_of(recipe("loss.class_weights={cone: 2.5}"), DATA) == [1.0, 2.5, 1.0]


def test_balanced_from_the_training_split() -> None:
    weights = class_weights_of(recipe("loss.balanced=true"), DATA)
    assert weights == pytest.approx([4 / (2 * 3), 4 / (2 * 1), 1.0])


def test_none_without_the_settings_and_with_a_frozen_detector() -> None:
    assert class_weights_of(recipe(), DATA) is None
    assert class_weights_of(recipe(text=PANOPTIC), DATA) is None


def test_stage_two_that_trains_its_detector_has_them_too() -> None:
    changes = ["model.freeze_detector=false", "detection_loss.class_weights.plank=3"]
    assert class_weights_of(recipe(*changes, text=PANOPTIC), DATA) == [1.0, 1.0, 3.0]


@pytest.mark.parametrize(
    ("name", "hint"), [("cones", "did you mean 'cone'"), ("xyz", "there are: brick, cone, plank")]
)
def test_a_class_that_is_not_there_is_refused(name: str, hint: str) -> None:
    with pytest.raises(UserError, match=f"loss.class_weights: the data has no class '{name}'; {hint}"):
        class_weights_of(recipe(f"loss.class_weights={{{name}: 2}}"), DATA)


@pytest.mark.parametrize(
    ("epochs", "max_steps", "until", "mixed"),
    [(10, None, 0.8, 8), (4, None, 0.8, 3), (100, None, 0.55, 55), (1, None, 0.8, 1), (50, 20, 0.8, 8)],
)
def test_the_last_epochs_of_a_run_are_not_mixed(
    epochs: int, max_steps: int | None, until: float, mixed: int
) -> None:
    changes = [f"optim.epochs={epochs}", "optim.batch_size=4", "optim.micro_batch_size=4"]
    changes += [] if max_steps is None else [f"optim.max_steps={max_steps}"]
    assert mixed_epochs(recipe(*changes), until, images=8) == mixed


def test_images_shown_more_than_once_make_the_mixed_epochs_longer() -> None:
    """Guards: epochs counted as if each image were shown once: mixing goes on for longer."""
    classes = [[0]] * 14 + [[1]] * 2
    rows = [{"objects": {"category": c, "iscrowd": [False]}, "height": 8, "width": 8} for c in classes]
    split = datasets.Dataset.from_list(rows)
    data = replace(DATA, dataset=datasets.DatasetDict({"train": split}))
    changes = ["optim.max_steps=40", "optim.epochs=50", "optim.batch_size=4", "optim.micro_batch_size=4"]
    asked = recipe(
        *changes, "data.workers=0", "data.repeat_threshold=0.99", "transforms.mix={name: ricap, until: 0.5}"
    )
    loader = build_train_loader(
        asked, data, SimpleNamespace(image_mean=[0.5], image_std=[0.5]), Accelerator()
    )
    assert loader.dataset.mixing is not None
    assert loader.sampler.steps_per_epoch == 4 + 1 and loader.dataset.mixing.epochs == 40 // 5 // 2
