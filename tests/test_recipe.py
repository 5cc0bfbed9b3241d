"""Recipes: what is read, what is refused and how, overrides, and the way back to YAML."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from detr_hf.errors import UserError
from detr_hf.recipe import (
    DetectionLoss,
    DetectionRecipe,
    PanopticRecipe,
    Recipe,
    detr_training_transforms,
    load_recipe,
    recipe_from_text,
    recipe_to_dict,
    recipe_to_yaml,
)

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


# ---- what is read


def test_the_defaults_are_detrs() -> None:
    recipe = recipe_from_text(DETECTION)
    assert isinstance(recipe, DetectionRecipe)
    assert recipe.model.pretrained == "facebook/detr-resnet-50"
    assert (recipe.optim.lr, recipe.optim.weight_decay, recipe.optim.clip_norm) == (1e-4, 1e-4, 0.1)
    assert (recipe.loss.class_weight, recipe.loss.box_l1, recipe.loss.giou, recipe.loss.no_object_weight) == (
        1,
        5,
        2,
        0.1,
    )
    assert (recipe.optim.batch_size, recipe.optim.schedule.name, recipe.checkpoint.best) == (16, "step", "AP")
    assert recipe.transforms.train == detr_training_transforms()
    assert recipe.seed == 42 and recipe.resume == "auto" and recipe.mixed_precision == "no"


def test_panoptic_defaults() -> None:
    recipe = recipe_from_text(PANOPTIC)
    assert isinstance(recipe, PanopticRecipe)
    assert recipe.model.freeze_detector and recipe.detection_loss is None
    assert recipe.checkpoint.best == "PQ"
    assert recipe.evaluation.mask_threshold == 0.0


def test_training_detector_and_masks_together_fills_in_the_detection_loss() -> None:
    recipe = recipe_from_text(PANOPTIC, ["model.freeze_detector=false"])
    assert isinstance(recipe, PanopticRecipe)
    assert recipe.detection_loss == DetectionLoss()


def test_default_transforms_are_not_shared_between_recipes() -> None:
    first, second = recipe_from_text(DETECTION), recipe_from_text(DETECTION)
    first.transforms.train[0]["p"] = 0.0
    assert second.transforms.train[0]["p"] == 0.5


@pytest.mark.parametrize("written", ["1e-4", "1.0e-4", "0.0001", "+1E-4", ".0001"])
def test_a_number_is_a_number(written: str) -> None:
    """Guards: stock PyYAML reads `1e-4` as text."""
    assert recipe_from_text(DETECTION, [f"optim.lr={written}"]).optim.lr == 1e-4
    assert recipe_from_text(replace(DETECTION, "optim", f"{{epochs: 3, lr: {written}}}")).optim.lr == 1e-4


def test_no_is_a_word() -> None:
    """Guards: stock PyYAML reads `no` as False."""
    assert recipe_from_text(DETECTION + "mixed_precision: no\n").mixed_precision == "no"


def test_a_whole_number_serves_as_a_number() -> None:
    recipe = recipe_from_text(DETECTION, ["optim.clip_norm=1"])
    assert recipe.optim.clip_norm == 1.0 and isinstance(recipe.optim.clip_norm, float)


def test_costs_and_weights_may_be_fractions() -> None:
    """Guards: a stock config takes whole numbers only for them."""
    detection = ("class_weight", "box_l1", "giou", "no_object_weight", "class_cost", "l1_cost", "giou_cost")
    for text, names in ((DETECTION, detection), (PANOPTIC, ("focal", "dice"))):
        recipe = recipe_from_text(text, [f"loss.{name}=2.5" for name in names])
        assert {getattr(recipe.loss, name) for name in names} == {2.5}


def test_anchors_repeat_a_value() -> None:
    text = DETECTION + "transforms:\n  train: &same [{name: HorizontalFlip, p: 0.5}]\n  validation: *same\n"
    recipe = recipe_from_text(text)
    assert recipe.transforms.train == recipe.transforms.validation


# ---- what is refused: one fault each, by its path

BAD_VALUES = [
    ("optim: {epochs: 3, lrr: 1}", "optim.lrr: unknown key; did you mean `lr`?"),
    (
        "optim: {epochs: 3, score_threshold: 1}",
        "optim.score_threshold: unknown key; did you mean `evaluation.score_threshold`",
    ),
    ("optim: {epochs: 3, zebra: 1}", "optim.zebra: unknown key; valid here: epochs, max_steps"),
    ("lr: 1e-4", "lr: unknown key; did you mean `optim.lr`?"),
    ("model: {detector: x}", "model.detector: unknown key here; it belongs to `task: panoptic`"),
    (
        "evaluation: {mask_threshold: 0.5}",
        "evaluation.mask_threshold: unknown key here; it belongs to `task: panoptic`",
    ),
    ("optim: {epochs: ten}", "optim.epochs: expected a whole number, got 'ten'"),
    ("optim: {epochs: '10'}", "optim.epochs: expected a whole number, got '10'; remove the quotes"),
    ("optim: {epochs: true}", "optim.epochs: expected a whole number, got true"),
    ("optim: {epochs: 1.5}", "optim.epochs: expected a whole number, got 1.5"),
    ("optim: {epochs: 0}", "optim.epochs: must be at least 1, got 0"),
    ("optim: {epochs: [3]}", "optim.epochs: expected a whole number, got [3]"),
    ("optim: {epochs: 1_0}", "optim.epochs: expected a whole number, got '1_0'"),
    ("optim: {lr: 1e-4}", "optim.epochs: missing"),
    ("optim:", "optim: expected a section of settings, got nothing"),
    ("optim: 3", "optim: expected a section of settings, got 3"),
    ("optim: {epochs: 3, lr: true}", "optim.lr: expected a number, got true"),
    ("optim: {epochs: 3, lr: '1e-4'}", "optim.lr: expected a number, got '1e-4'; remove the quotes"),
    ("optim: {epochs: 3, lr: 0}", "optim.lr: must be greater than 0, got 0"),
    ("optim: {epochs: 3, lr: .inf}", "optim.lr: expected a number, got '.inf'"),
    ("optim: {epochs: 3, lr: 1e999}", "optim.lr: expected a finite number"),
    ("optim: {epochs: 3, lr: }", "optim.lr: expected a number, got nothing"),
    ("optim: {epochs: 3, clip_norm: -1}", "optim.clip_norm: must be greater than 0, got -1"),
    (
        "optim: {epochs: 3, batch_size: 6}",
        "optim.batch_size: must be a multiple of optim.micro_batch_size, got 6 and 4",
    ),
    ("optim: {epochs: 3, batch_size: 2}", "optim.batch_size: must be a multiple"),
    (
        "optim: {epochs: 3, schedule: {name: stp}}",
        "optim.schedule.name: expected one of `step`, `cosine`, `constant`, got 'stp'; did you mean `step`?",
    ),
    ("optim: {epochs: 3, schedule: {drop_at: 1}}", "optim.schedule.drop_at: must be less than 1, got 1"),
    (
        "optim: {epochs: 3, schedule: {name: cosine, drop_at: 0.5}}",
        "optim.schedule.drop_at: does nothing here",
    ),
    (
        "optim: {epochs: 3, schedule: {name: constant, factor: 0.5}}",
        "optim.schedule.factor: does nothing here",
    ),
    (
        "optim: {epochs: 3, max_steps: 10, schedule: {warmup_steps: 10}}",
        "optim.schedule.warmup_steps: must be below",
    ),
    ("optim: {epochs: 3, 4: 5}", "optim: line 6: a key must be a word, got 4"),
    ("optim: {epochs: 3, ? [a] : 5}", "optim: line 6: a key must be a word, got a list or mapping"),
    ("optim: {epochs: !!python/name:os.system x}", "optim.epochs: the tag"),
    ("optim: {epochs: !!int ten}", "optim.epochs: 'ten' does not fit its tag"),
    ("seed: -1", "seed: must be at least 0, got -1"),
    ("output_dir: 2024", "output_dir: expected text, got 2024; put it in quotes"),
    ("output_dir: ''", "output_dir: is empty"),
    ("mixed_precision: false", "mixed_precision: expected one of `no`, `bf16`, `fp16`, got false"),
    (
        "mixed_precision: bf6",
        "mixed_precision: expected one of `no`, `bf16`, `fp16`, got 'bf6'; did you mean `bf16`?",
    ),
    ("trackers: tensorboard", "trackers: expected a list, got 'tensorboard'"),
    ("trackers: [tensorbord]", "trackers.0: expected one of `tensorboard`"),
    ("trackers: [trackio, trackio]", "trackers: names a tracker twice"),
    ("task: segmentation", "task: expected one of `detection`, `panoptic`, got 'segmentation'"),
    (
        "task: detektion",
        "task: expected one of `detection`, `panoptic`, got 'detektion'; did you mean `detection`?",
    ),
    ("task: [detection]", "task: expected one of"),
    ("checkpoint: {best: PQ}", "checkpoint.best: expected one of `AP`, `AP50`, `AR`, got 'PQ'"),
    ("evaluation: {score_threshold: 85}", "evaluation.score_threshold: must be at most 1, got 85"),
    ("model: {scratch: no}", "model.scratch: expected true or false, got 'no'"),
    ("model: {pretrained: demo, revision: main}", "model.revision: does nothing here"),
    ("loss: {class_cost: 0, l1_cost: 0, giou_cost: 0}", "loss: class_cost, l1_cost and giou_cost are all 0"),
    ("data: {}", "data: names no images"),
    ("data: {dataset: x, demo: {}}", "data: names `dataset` and `demo`; keep one"),
    (
        "data: {dataset: x, demo: null, train: null, valdation: 3}",
        "data.valdation: unknown key; did you mean `validation`?",
    ),
    ("data: {demo: {trian: 3}}", "data.demo.trian: unknown key; did you mean `train`?"),
    ("data: {demo: {}, validation_fraction: 0.1}", "data.validation_fraction: does nothing here"),
    ("data: {demo: {}, revision: main}", "data.revision: does nothing here"),
    ("data: {train: {images: i}}", "data.train.annotations: missing"),
    ("data: {train: folder}", "data.train: expected a section of settings, got 'folder'"),
    ("data: {train: {annotations: a, images: i}, train_split: t}", "data.train_split: does nothing here"),
    (
        "data: {train: {annotations: a, images: i}, validation: {annotations: a, images: i}, "
        "validation_fraction: 0.2}",
        "data.validation_fraction: does nothing here",
    ),
    (
        "data: {train: {annotations: a, images: i, panoptic: p}, validation: {annotations: a, images: i}}",
        "data.validation.panoptic: missing, but the other split has it",
    ),
    ("data: {dataset: x, validation: {annotations: a, images: i}}", "data.validation: does nothing here"),
    (
        "data: {dataset: x, validation_split: val, validation_fraction: 0.2}",
        "data.validation_fraction: does nothing here",
    ),
    ("data: {demo: {}, overfit: 0}", "data.overfit: must be at least 1, got 0"),
    ("data: {demo: {}, workers: -1}", "data.workers: must be at least 0, got -1"),
    ("transforms: {train: HorizontalFlip}", "transforms.train: expected a list, got 'HorizontalFlip'"),
    (
        "transforms: {train: [HorizontalFlip]}",
        "transforms.train.0: expected `name: value` pairs, got 'HorizontalFlip'",
    ),
    ("transforms: {train: [{p: 0.5}]}", "transforms.train.0.name: missing"),
    ("transforms: {train: [{name: 3}]}", "transforms.train.0.name: missing"),
    (
        "transforms: {validation: [{name: OneOf, transforms: 3}]}",
        "transforms.validation.0.transforms: expected a list",
    ),
    (
        "transforms: {train: [{name: OneOf, transforms: [{name: A}, B]}]}",
        "transforms.train.0.transforms.1: expected",
    ),
    ("transforms: {test: []}", "transforms.test: unknown key"),
    ("early_stopping: {}", "early_stopping.patience: missing"),
    ("early_stopping: {patience: 2, metric: PQ}", "early_stopping.metric: expected one of `AP`, `AP50`"),
    ("loss: {category_weights: [1, 2]}", "loss.category_weights: expected `name: value` pairs, got [1, 2]"),
    ("loss: {category_weights: {brick: 0}}", "loss.category_weights.brick: must be greater than 0, got 0"),
    ("loss: {category_weights: {brick: 2}, balanced: true}", "loss.category_weights: balanced: true"),
    ("data: {demo: {}, batching: shape}", "data.batching: expected one of `random`, `aspect`, got 'shape'"),
    ("data: {demo: {}, on_bad_sample: ignore}", "data.on_bad_sample: expected one of `stop`, `skip`"),
    ("data: {demo: {}, repeat_threshold: 1}", "data.repeat_threshold: must be less than 1, got 1"),
    ("compute: {tf32: 1}", "compute.tf32: expected true or false, got 1"),
    ("log_every: 0", "log_every: must be at least 1, got 0"),
    ("early_stopping: {patience: 3}", "early_stopping.patience: can never run out: 3 evaluations in the run"),
    ("optim: {epochs: 3, ema: {decay: 1}}", "optim.ema.decay: must be less than 1, got 1"),
]


@pytest.mark.parametrize(("section", "expected"), BAD_VALUES, ids=[section for section, _ in BAD_VALUES])
def test_one_fault_is_reported_once(section: str, expected: str) -> None:
    name, _, values = section.partition(":")
    text = "\n" + replace(DETECTION, name, values.strip()).strip() + "\n"
    faults = faults_of(text)
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)


BAD_PANOPTIC = [
    (
        "model",
        "{detector: d, freeze_backbone: all}",
        "model.freeze_backbone: does nothing here: the detector is frozen",
    ),
    ("model", "{detector: d, mask_head: fresh, revision: main}", "model.revision: does nothing here"),
    ("model", "{detector: demo, detector_revision: main}", "model.detector_revision: does nothing here"),
    ("model", "{mask_head: fresh}", "model.detector: missing"),
    (
        "model",
        "{detector: d, pretrained: x}",
        "model.pretrained: unknown key here; it belongs to `task: detection`",
    ),
    ("detection_loss", "{giou: 1.0}", "detection_loss: does nothing here"),
    ("optim", "{epochs: 3, backbone_lr: 1e-5}", "optim.backbone_lr: does nothing here"),
    ("optim", "{epochs: 3, class_head_lr: 1e-5}", "optim.class_head_lr: does nothing here"),
    ("optim", "{epochs: 3, backbone_layer_decay: 0.5}", "optim.backbone_layer_decay: does nothing here"),
    ("compute", "{gradient_checkpointing: true}", "compute.gradient_checkpointing: does nothing here"),
    ("early_stopping", "{patience: 1, metric: AP}", "early_stopping.metric: a frozen detector's AP never"),
    ("checkpoint", "{best: AP}", "checkpoint.best: a frozen detector's AP never changes; use PQ"),
    ("loss", "{focal: 0, dice: 0}", "loss: focal and dice are both 0"),
    ("data", "{train: {annotations: a, images: i}}", "data.train.panoptic: missing; `task: panoptic` needs"),
    (
        "data",
        "{train: {annotations: a, images: i, panoptic: p}, validation: {annotations: a, images: i}}",
        "data.validation.panoptic: missing; `task: panoptic` needs",
    ),
]


@pytest.mark.parametrize(("section", "values", "expected"), BAD_PANOPTIC)
def test_faults_of_a_panoptic_recipe(section: str, values: str, expected: str) -> None:
    faults = faults_of(replace(PANOPTIC, section, values))
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)


def test_one_picture_at_a_time_has_no_shapes_to_group() -> None:
    (fault,) = faults_of(DETECTION, "data.batching=aspect", "optim.micro_batch_size=1")
    assert fault.startswith("data.batching: aspect does nothing with optim.micro_batch_size: 1")


STREAM = "{dataset: d, streaming: true"
BAD_STREAMS = [
    (
        "data",
        "{demo: {}, streaming: true}",
        "data.streaming: reads a data set of the Hub or a folder",
    ),
    ("data", STREAM + ", overfit: 3}", "data.overfit: takes images by number, and a stream is not known"),
    (
        "data",
        STREAM + ", repeat_threshold: 0.1}",
        "data.repeat_threshold: counts the classes of all images",
    ),
    ("data", STREAM + ", batching: aspect}", "data.batching: aspect sorts by the shapes of all images, and"),
    (
        "data",
        STREAM + ", validation_fraction: 0.2}",
        "data.validation_fraction: does nothing here: a stream",
    ),
    ("data", STREAM + ", shuffle_buffer: 0}", "data.shuffle_buffer: must be at least 1, got 0"),
    ("data", STREAM + ", epoch_images: 0}", "data.epoch_images: must be at least 1, got 0"),
    ("data", "{dataset: d, shuffle_buffer: 9}", "data.shuffle_buffer: does nothing here: it is read with"),
    ("data", "{dataset: d, epoch_images: 9}", "data.epoch_images: does nothing here: it is read with"),
]


@pytest.mark.parametrize(("section", "values", "expected"), BAD_STREAMS)
def test_faults_of_a_streamed_recipe(section: str, values: str, expected: str) -> None:
    faults = faults_of(replace(DETECTION, section, values))
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)


def test_a_stream_cannot_count_its_classes() -> None:
    (fault,) = faults_of(replace(DETECTION, "data", STREAM + "}"), "loss.balanced=true")
    assert fault.startswith("loss.balanced: counts the objects of all images, which a stream cannot")


def test_a_streamed_recipe_is_read_back() -> None:
    recipe = recipe_from_text(replace(DETECTION, "data", STREAM + ", shuffle_buffer: 9, epoch_images: 5}"))
    assert (recipe.data.streaming, recipe.data.shuffle_buffer, recipe.data.epoch_images) == (True, 9, 5)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe
    assert "shuffle_buffer" not in recipe_to_yaml(recipe_from_text(DETECTION))


@pytest.mark.parametrize("frozen", ["all", "stem_and_first_stage"])
def test_random_weights_cannot_be_frozen(frozen: str) -> None:
    """Guards: a model from scratch has a random backbone; its frozen part would stay random."""
    faults = faults_of(DETECTION, "model.scratch=true", f"model.freeze_backbone={frozen}")
    assert len(faults) == 1
    assert faults[0].startswith(f"model.freeze_backbone: {frozen} would freeze random weights")


def test_from_scratch_the_whole_backbone_learns() -> None:
    assert recipe_from_text(DETECTION).model.freeze_backbone == "stem_and_first_stage"
    for overrides in (["model.scratch=true"], ["model.scratch=true", "model.freeze_backbone=none"]):
        recipe = recipe_from_text(DETECTION, overrides)
        assert recipe.model.freeze_backbone == "none"
        assert recipe_from_text(recipe_to_yaml(recipe)) == recipe


def test_a_frozen_backbone_has_no_learning_rate() -> None:
    expected = "optim.backbone_lr: does nothing here: the backbone is frozen"
    together = ["model.freeze_backbone=all", "optim.backbone_lr=1e-5"]
    assert faults_of(DETECTION, *together)[0].startswith(expected)
    assert faults_of(PANOPTIC, "model.freeze_detector=false", *together)[0].startswith(expected)


def test_all_faults_come_at_once_whatever_their_kind() -> None:
    text = textwrap.dedent("""
        output_dir: runs/x
        mixed_precision: bf61
        data:
          train: {annotations: a.json, images: img}
          train: {annotations: b.json, images: img}
          demo: {}
        model: {pretrained: 3}
        optim: {epoch: 3, batch_size: 5, schedule: {name: cosine, drop_at: 0.3}}
        transforms: {train: [{p: 1}]}
    """)
    faults = faults_of(text, "optim.lr", "seed=1.5", "transforms.train.7.p=1")
    places = {fault.split(":")[0] for fault in faults}
    assert places == {
        "task",
        "mixed_precision",
        "data.train",
        "data",
        "model.pretrained",
        "optim.epoch",
        "optim.epochs",
        "optim.batch_size",
        "optim.schedule.drop_at",
        "transforms.train.0.name",
        "`optim.lr` is no override; write `section.setting=value`",
        "seed",
        "transforms.train.7.p",
    }
    assert "data.train: given twice, on lines 5 and 6; keep one" in faults


def test_a_misspelt_task_still_has_the_rest_checked_as_it_was_meant() -> None:
    faults = faults_of(PANOPTIC.replace("task: panoptic", "task: panoptik") + "loss: {focal: x}\n")
    assert [fault.split(":")[0] for fault in faults] == ["task", "loss.focal"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "a recipe is a list of"),
        ("- a\n- b\n", "a recipe is a list of"),
        ("task: [", "not valid YAML: line"),
        ("task: detection\n\tseed: 3\n", "not valid YAML: line 2"),
        ("a: 1\n---\nb: 2\n", "not valid YAML: line"),
        ("a: *nowhere\n", "not valid YAML: line 1"),
        ("a: &a [*a]\n", "nested too deeply"),
        ("[" * 500, "nested too deeply"),
    ],
)
def test_text_that_is_no_recipe(text: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        recipe_from_text(text)


def test_aliases_cannot_multiply_without_end() -> None:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    with pytest.raises(UserError, match="more than"):
        recipe_from_text("\n".join(rows))


def test_the_file_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(DETECTION + "sed: 3\n")
    with pytest.raises(UserError) as caught:
        load_recipe(bad)
    assert str(caught.value) == f"{bad}: 1 fault\n  sed: unknown key; did you mean `seed`?"
    with pytest.raises(UserError, match="no such recipe file"):
        load_recipe(tmp_path / "absent.yaml")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(tmp_path)
    bad.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        load_recipe(bad)


# ---- overrides


@pytest.mark.parametrize(
    ("overrides", "path", "value"),
    [
        (["optim.lr=1e-5"], "optim.lr", 1e-5),
        (["optim.lr=1e-5", "optim.lr=2e-5"], "optim.lr", 2e-5),
        (["optim.schedule={name: cosine}"], "optim.schedule.name", "cosine"),
        (["evaluation.pictures=0"], "evaluation.pictures", 0),
        (["data.train.images=other folder"], "data.train.images", "other folder"),
        (["data.train=null", "data.demo.train=7"], "data.demo.train", 7),
        (["trackers=[tensorboard]"], "trackers", ["tensorboard"]),
        (["transforms.train.0.p=0"], "transforms.train.0.p", 0),
        (
            ["transforms.train.1.transforms.0.short_edges=[64]"],
            "transforms.train.1.transforms.0.short_edges",
            [64],
        ),
        (
            ["transforms.validation.0={name: A, border: null}"],
            "transforms.validation.0",
            {"name": "A", "border": None},
        ),
        (["transforms.validation.0.note=null"], "transforms.validation.0.note", None),
        (["resume=runs/a=b"], "resume", "runs/a=b"),
    ],
)
def test_an_override_is_applied(overrides: list[str], path: str, value: Any) -> None:
    found: Any = dataclasses.asdict(recipe_from_text(DETECTION, overrides))
    for part in path.split("."):
        found = found[int(part)] if part.isdecimal() else found[part]
    assert found == value


def test_null_takes_a_setting_back_to_its_default() -> None:
    text = replace(DETECTION, "optim", "{epochs: 3, lr: 5e-4, schedule: {name: step, drop_at: 0.5}}")
    recipe = recipe_from_text(
        text, ["optim.schedule.name=cosine", "optim.schedule.drop_at=null", "optim.lr=null"]
    )
    assert recipe.optim.lr == 1e-4 and recipe.optim.schedule.name == "cosine"
    assert faults_of(text, "optim.epochs=null") == ["optim.epochs: missing; give it a value"]


def test_an_override_can_change_the_task() -> None:
    text = PANOPTIC.replace("model: {detector: runs/detection/best}\n", "")
    assert isinstance(recipe_from_text(text, ["task=detection"]), DetectionRecipe)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optim.lrr=1", "optim.lrr: unknown key; did you mean `lr`?"),
        ("optm.lr=1", "optm: unknown key; did you mean `optim`?"),
        ("optim.lr", "`optim.lr` is no override"),
        ("optim..lr=3", "`optim..lr=3` is no override"),
        ("=3", "`=3` is no override"),
        ("optim.lr=", "optim.lr: the override has no value"),
        ("optim.lr=abc", "optim.lr: expected a number, got 'abc'"),
        ("optim.epochs.x=3", "optim.epochs.x: `epochs` is 3, a single value without parts"),
        ("optim.schedule={name: step, name: cosine}", "optim.schedule.name: given twice"),
        ("optim.lr=[1", "override `optim.lr`: not valid YAML"),
        (
            "transforms.train.9.p=0",
            "transforms.train.9.p: `train` holds 2 entries, counted from 0; there is no number 9",
        ),
        ("transforms.train.-1.p=0", "transforms.train.-1.p: `train` holds 2 entries; give the number"),
        (
            "transforms.train.OneOf.p=0",
            "transforms.train.OneOf.p: `train` holds 2 entries; give the number of one",
        ),
        ("transforms.train.0.p.x.y=0", "transforms.train.0.p.x.y: `p` is 0.5, a single value"),
    ],
)
def test_a_bad_override_is_refused(override: str, expected: str) -> None:
    faults = faults_of(DETECTION, override)
    assert len(faults) == 1, faults
    assert faults[0].startswith(expected)


# ---- the way back

ROUND_TRIPS = [
    (DETECTION, []),
    (PANOPTIC, []),
    (PANOPTIC, ["model.freeze_detector=false", "optim.backbone_lr=2e-5", "checkpoint.best=AP50"]),
    (PANOPTIC, ["model.mask_head=fresh", "optim.schedule={name: constant, warmup_steps: 10}"]),
    (DETECTION, ["data.train=null", "data.dataset=user/set", "data.revision='1e5'"]),
    (
        DETECTION,
        ["data.train=null", "data.demo.train=3", "model.pretrained=demo", "model.freeze_backbone=all"],
    ),
    (DETECTION, ["data.train.images='no'", "data.labels='12'", "output_dir='1_0'", "resume='null'"]),
    (
        DETECTION,
        ["data.validation={annotations: v.json, images: 'a # b'}", "optim.lr=3.0000000000000004e-05"],
    ),
    (DETECTION, ["transforms.validation=[{name: A, b: null, c: '1e-4', d: [[1, 2], {e: 'yes'}]}]"]),
]


@pytest.mark.parametrize(("text", "overrides"), ROUND_TRIPS)
def test_a_recipe_survives_yaml(text: str, overrides: list[str]) -> None:
    recipe = recipe_from_text(text, overrides)
    assert recipe_from_text(recipe_to_yaml(recipe)) == recipe


def test_saved_recipes_leave_out_what_does_nothing() -> None:
    saved = recipe_to_dict(recipe_from_text(PANOPTIC, ["optim.schedule={name: cosine}"]))
    assert "freeze_backbone" not in saved["model"] and "drop_at" not in saved["optim"]["schedule"]
    assert "train_split" not in saved["data"] and "demo" not in saved["data"]
    assert saved["data"]["validation_fraction"] == 0.1


def test_a_recipe_is_frozen_and_changed_by_replacement() -> None:
    recipe: Recipe = recipe_from_text(DETECTION)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.seed = 3  # type: ignore[misc]
    assert dataclasses.replace(recipe, seed=3).seed == 3


def test_reading_a_recipe_imports_nothing_heavy() -> None:
    code = "import sys, detr_hf.recipe, detr_hf.labels; print(sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "numpy", "transformers", "datasets", "albumentations", "PIL"):
        assert f"'{heavy}'" not in loaded
