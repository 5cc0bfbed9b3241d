"""What a recipe is refused for: one fault each, by its path."""

from __future__ import annotations

import pytest

from detr_hf.recipe import recipe_from_text
from detr_hf.recipe.faults import ELSEWHERE, OTHER_NAMES
from detr_hf.recipe.schema import RECIPES
from detr_hf.recipe.tree import all_paths, dotted, fields_of
from tests.recipe.texts import DETECTION, PANOPTIC, STREAM, faults_of, replace

BAD_VALUES = [
    ("optim: {epochs: 3, lrr: 1}", "optim.lrr: unknown key; did you mean `lr`?"),
    (
        "optim: {epochs: 3, score_threshold: 1}",
        "optim.score_threshold: unknown key; did you mean `evaluation.score_threshold`",
    ),
    ("optim: {epochs: 3, zebra: 1}", "optim.zebra: unknown key; valid here: epochs, max_steps"),
    ("lr: 1e-4", "lr: unknown key; did you mean `optim.lr`?"),
    ("epoch: 3", "epoch: unknown key; did you mean `optim.epochs`?"),
    ("batch: 4", "batch: unknown key; did you mean `optim.batch_size`?"),
    ("optim: {epochs: 3, learning_rate: 1}", "optim.learning_rate: unknown key; did you mean `optim.lr`?"),
    ("data: {demo: {name: x}}", "data.demo.name: unknown key; did you mean `transforms.mix.name`"),
    ("imgsz: 640", "imgsz: unknown key; the size of images is `short_edges` in `transforms`"),
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
    ("model: {class_rows: 3}", "model.class_rows: expected `name: value` pairs or `auto`, got 3"),
    ("model: {class_rows: all}", "model.class_rows: expected `name: value` pairs or `auto`, got 'all'"),
    ("model: {class_rows: {a: 3}}", "model.class_rows.a: expected text, got 3; put it in quotes"),
    ("model: {class_rows: auto, scratch: true}", "model.class_rows: does nothing here"),
    ("transforms: {mix: {name: mixup}}", "transforms.mix.name: expected one of `ricap`"),
    ("transforms: {mix: {name: mosaic, beta: 0.5}}", "transforms.mix.beta: does nothing here"),
    ("optim:", "optim: expected a section of settings, got nothing"),
    ("optim: 3", "optim: expected a section of settings, got 3"),
    ("optim: {epochs: 3, lr: true}", "optim.lr: expected a number, got true"),
    ("optim: {epochs: 3, lr: '1e-4'}", "optim.lr: expected a number, got '1e-4'; remove the quotes"),
    ("optim: {epochs: 3, lr: 0}", "optim.lr: must be greater than 0, got 0"),
    ("optim: {epochs: 3, lr: .inf}", "optim.lr: expected a number, got '.inf'"),
    ("optim: {epochs: 3, lr: 1e999}", "optim.lr: expected a finite number"),
    ("optim: {epochs: 3, clip_norm: }", "optim.clip_norm: expected a number, got nothing"),
    ("optim: {epochs: 3, clip_norm: -1}", "optim.clip_norm: must be greater than 0, got -1"),
    (
        "optim: {epochs: 3, batch_size: 6}",
        "optim.batch_size: 6 is no multiple of optim.micro_batch_size, 4; set that to 3",
    ),
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
    ("model: {pretrained: demo-deformable, revision: main}", "model.revision: does nothing here"),
    ("loss: {box_l1: 2}", "loss.box_l1: unknown key; it is now called `bbox_loss_coefficient`"),
    (
        "compute: {shard: true}",
        "compute.shard: no setting any more: every process holds the whole model now; remove it",
    ),
    ("loss: {no_object_weight: 1}", "loss.no_object_weight: unknown key; it is now called `eos_coefficient`"),
    ("loss: {category_weights: {}}", "loss.category_weights: unknown key; did you mean `class_weights`?"),
    (
        "loss: {class_cost: 0, bbox_cost: 0, giou_cost: 0}",
        "loss: class_cost, bbox_cost and giou_cost are all 0",
    ),
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
    ("data: {train: [3]}", "data.train: expected a section of settings, got [3]"),
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
    ("data: {demo: {}, fold: {held_out: 1, of: 1}}", "data.fold.of: must be at least 2, got 1"),
    ("data: {demo: {}, fold: {held_out: 3, of: 3}}", "data.fold.held_out: must be below data.fold.of, got 3"),
    (
        "data: {demo: {}, fold: {held_out: 0, of: 3}, overfit: 2}",
        "data.overfit: does nothing here: data.fold",
    ),
    (
        "data: {train: a, validation: b, fold: {held_out: 0, of: 3}}",
        "data.validation: does nothing here: data.fold divides the training images",
    ),
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
    ("loss: {class_weights: [1, 2]}", "loss.class_weights: expected `name: value` pairs, got [1, 2]"),
    ("loss: {class_weights: {brick: 0}}", "loss.class_weights.brick: must be greater than 0, got 0"),
    ("loss: {class_weights: {brick: 2}, balanced: true}", "loss.class_weights: balanced: true"),
    ("data: {demo: {}, batching: shape}", "data.batching: expected one of `random`, `aspect`, got 'shape'"),
    ("data: {demo: {}, on_bad_sample: ignore}", "data.on_bad_sample: expected one of `stop`, `skip`"),
    ("data: {demo: {}, repeat_threshold: 1}", "data.repeat_threshold: must be less than 1, got 1"),
    ("data: {demo: {}, tiles: {overlap: 0.2}}", "data.tiles.size: missing"),
    ("data: {demo: {}, tiles: {size: 0}}", "data.tiles.size: must be at least 1, got 0"),
    (
        "data: {demo: {}, tiles: {size: 800, overlap: 200}}",
        "data.tiles.overlap: must be at most 0.9, got 200",
    ),
    ("data: {demo: {}, tiles: {size: 8, keep_empty: 2}}", "data.tiles.keep_empty: must be at most 1, got 2"),
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
    ("detection_loss", "{giou_loss_coefficient: 1.0}", "detection_loss: does nothing here"),
    ("optim", "{epochs: 3, backbone_lr: 1e-5}", "optim.backbone_lr: does nothing here"),
    ("optim", "{epochs: 3, class_head_lr: 1e-5}", "optim.class_head_lr: does nothing here"),
    ("optim", "{epochs: 3, backbone_layer_decay: 0.5}", "optim.backbone_layer_decay: does nothing here"),
    ("compute", "{gradient_checkpointing: true}", "compute.gradient_checkpointing: does nothing here"),
    ("early_stopping", "{patience: 1, metric: AP}", "early_stopping.metric: a frozen detector's AP never"),
    ("checkpoint", "{best: AP}", "checkpoint.best: a frozen detector's AP never changes; use PQ"),
    (
        "loss",
        "{mask_loss_coefficient: 0, dice_loss_coefficient: 0}",
        "loss: mask_loss_coefficient and dice_loss_coefficient are both 0",
    ),
    ("loss", "{focal: 2}", "loss.focal: unknown key; it is now called `mask_loss_coefficient`"),
    ("loss", "{dice: 2}", "loss.dice: unknown key; it is now called `dice_loss_coefficient`"),
    ("data", "{demo: {}, stuff: false}", "data.stuff: does nothing here: stage 2 paints stuff"),
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


def test_names_of_other_trainers_lead_to_settings() -> None:
    known = {dotted(path) for recipe in RECIPES.values() for path in all_paths(recipe)}
    assert set(OTHER_NAMES.values()) <= known
    assert not {*OTHER_NAMES, *ELSEWHERE} & {
        field for recipe in RECIPES.values() for field in fields_of(recipe)
    }


def test_one_picture_at_a_time_has_no_shapes_to_group() -> None:
    (fault,) = faults_of(DETECTION, "data.batching=aspect", "optim.micro_batch_size=1")
    assert fault.startswith("data.batching: aspect does nothing with optim.micro_batch_size: 1")


BAD_STREAMS = [
    (
        "data",
        "{demo: {}, streaming: true}",
        "data.streaming: reads a data set of the Hub or a folder",
    ),
    ("data", STREAM + ", fold: {held_out: 0, of: 2}}", "data.fold: divides all images, and a stream is not"),
    ("data", STREAM + ", overfit: 3}", "data.overfit: takes images by number, and a stream is not known"),
    (
        "data",
        STREAM + ", repeat_threshold: 0.1}",
        "data.repeat_threshold: counts the classes of all images",
    ),
    ("data", STREAM + ", stuff: false}", "data.stuff: objects of a stream are read as they come"),
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


@pytest.mark.parametrize("frozen", ["all", "stem_and_first_stage"])
def test_random_weights_cannot_be_frozen(frozen: str) -> None:
    """Guards: a model from scratch has a random backbone; its frozen part would stay random."""
    faults = faults_of(DETECTION, "model.scratch=true", f"model.freeze_backbone={frozen}")
    assert len(faults) == 1
    assert faults[0].startswith(f"model.freeze_backbone: {frozen} would freeze random weights")


def test_a_frozen_backbone_has_no_learning_rate() -> None:
    expected = "optim.backbone_lr: does nothing here: the backbone is frozen"
    together = ["model.freeze_backbone=all", "optim.backbone_lr=1e-5"]
    assert faults_of(DETECTION, *together)[0].startswith(expected)
    assert faults_of(PANOPTIC, "model.freeze_detector=false", *together)[0].startswith(expected)


@pytest.mark.parametrize(("written", "meant"), [("true", 1.0), ("false", 0.0), ("0.2", 0.2), ("1", 1.0)])
def test_windows_without_a_thing_are_kept_by_a_share_or_a_word(written: str, meant: float) -> None:
    recipe = recipe_from_text(DETECTION, [f"data.tiles={{size: 800, keep_empty: {written}}}"])
    assert recipe.data.tiles is not None and recipe.data.tiles.keep_empty == meant
