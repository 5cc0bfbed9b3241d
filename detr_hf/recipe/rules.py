"""What the settings of a training recipe must agree on, beyond the type of each.

A rule yields (dotted path, message) for everything wrong. It may read any value without a check: one that
could not be read ends the rule (`load.UnreadableError`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from detr_hf.recipe.data import Data, Split
from detr_hf.recipe.faults import quoted
from detr_hf.recipe.repo_ids import DEMO_MODELS, EXAMPLE
from detr_hf.recipe.schema import BoxLoss, DetectionRecipe, PanopticRecipe, Recipe

MASK_TERMS = ("mask_loss_coefficient", "dice_loss_coefficient")

Faults = Iterator[tuple[str, str]]


@dataclass(frozen=True)
class Unused:
    """Settings that do nothing in some runs: refused when written there, left out when a recipe is saved."""

    when: Callable[[Any], bool]
    because: str
    keys: tuple[str, ...]


def detector_is_frozen(recipe: Recipe) -> bool:
    return isinstance(recipe, PanopticRecipe) and recipe.model.freeze_detector


def is_named_by_files(split: Split | None) -> bool:
    """Whether a split is given as COCO files, which hold one split alone."""
    return split is not None and split.path is None


def has_validation_split(data: Data) -> bool:
    """Whether the recipe names one; a name other than the default must be there, so nothing replaces it."""
    of_its_own = data.dataset is not None or data.source is not None
    named = of_its_own and data.validation_split != Data.validation_split
    return named or data.validation is not None or data.demo is not None


def weights_of(recipe: Recipe) -> str:
    """Where the network's own weights come from: the detector's in stage 1, the mask head's in stage 2."""
    return recipe.model.pretrained if isinstance(recipe, DetectionRecipe) else recipe.model.mask_head


def box_loss(recipe: Recipe) -> tuple[str, BoxLoss | None]:
    """The loss of the boxes: the section's name, and its settings where it is there."""
    if isinstance(recipe, DetectionRecipe):
        return "loss", recipe.loss
    return "detection_loss", recipe.detection_loss


UNUSED = (
    Unused(
        detector_is_frozen,
        "the detector is frozen; remove it, or set model.freeze_detector: false",
        (
            *("model.freeze_backbone", "detection_loss", "optim.backbone_lr", "optim.class_head_lr"),
            *("optim.backbone_layer_decay", "optim.offsets_lr_share", "compute.gradient_checkpointing"),
        ),
    ),
    Unused(
        lambda recipe: recipe.model.freeze_backbone == "all",
        "the backbone is frozen (model.freeze_backbone: all); remove one of the two",
        ("optim.backbone_lr", "optim.backbone_layer_decay"),
    ),
    Unused(
        lambda recipe: isinstance(recipe, DetectionRecipe) and recipe.model.scratch,
        "model.scratch: true throws the pretrained rows away; remove one of the two",
        ("model.class_rows",),
    ),
    Unused(
        lambda recipe: recipe.transforms.mix is not None and recipe.transforms.mix.name != "ricap",
        "it shapes RICAP's boundary only; remove it",
        ("transforms.mix.beta",),
    ),
    Unused(
        lambda recipe: recipe.optim.schedule.name != "step",
        "only `name: step` drops the rates at a share of the run; remove it",
        ("optim.schedule.drop_at", "optim.schedule.factor"),
    ),
    Unused(
        lambda recipe: isinstance(recipe, PanopticRecipe),
        "stage 2 paints stuff as well as things; remove it",
        ("data.stuff",),
    ),
    Unused(
        lambda recipe: recipe.data.dataset is None,
        "it is read with data.dataset only; remove it",
        ("data.revision",),
    ),
    Unused(
        lambda recipe: recipe.data.demo is not None or is_named_by_files(recipe.data.train),
        "it names a split of data.source, data.dataset or a path; remove it",
        ("data.train_split", "data.validation_split"),
    ),
    Unused(
        lambda recipe: not recipe.data.streaming,
        "it is read with data.streaming: true only; remove it",
        ("data.shuffle_buffer", "data.epoch_images"),
    ),
    Unused(
        lambda recipe: recipe.data.streaming,
        "a stream is not divided; name the other split with data.validation_split",
        ("data.validation_fraction",),
    ),
    Unused(
        lambda recipe: recipe.data.train is None,
        "it is read with data.train only; name the other split with data.validation_split",
        ("data.validation",),
    ),
    Unused(
        lambda recipe: recipe.data.fold is not None,
        "data.fold divides the training images into those to train on and those to validate on; remove it",
        ("data.validation", "data.validation_fraction", "data.overfit"),
    ),
    Unused(
        lambda recipe: has_validation_split(recipe.data),
        "there is a validation split already; remove one of the two",
        ("data.validation_fraction",),
    ),
    Unused(
        lambda recipe: weights_of(recipe) in (*DEMO_MODELS, "fresh"),
        "a revision belongs to a model from the Hub; remove it",
        ("model.revision",),
    ),
    Unused(
        lambda recipe: isinstance(recipe, PanopticRecipe) and recipe.model.detector in DEMO_MODELS,
        "a revision belongs to a model from the Hub; remove it",
        ("model.detector_revision",),
    ),
    Unused(
        lambda recipe: not recipe.push_to_hub,
        "nothing is pushed; remove it, or set push_to_hub: true",
        ("hub",),
    ),
)


def with_defaults(written: dict[str, Any]) -> None:
    """Fill in, where nothing is written, the settings whose default depends on another one.

    A path alone stands for a split: `train: PATH` is `train: {path: PATH}`; `tiles.keep_empty: true` is 1.
    """
    data = written["data"] if isinstance(written.get("data"), dict) else {}
    for name in ("train", "validation", "source"):
        if isinstance(data.get(name), str):
            data[name] = {"path": data[name]}
    tiles = data["tiles"] if isinstance(data.get("tiles"), dict) else {}
    if isinstance(tiles.get("keep_empty"), bool):
        tiles["keep_empty"] = float(tiles["keep_empty"])
    model = written["model"] if isinstance(written.get("model"), dict) else {}
    if written["task"] == "panoptic" and model.get("freeze_detector") is False:
        _fill(written, "detection_loss", {})
    if written["task"] == "detection" and model.get("scratch") is True:
        _fill(model, "freeze_backbone", "none")


def _fill(section: dict[str, Any], name: str, value: Any) -> None:
    if section.get(name) is None:
        section[name] = value


def one_source(recipe: Recipe) -> Faults:
    known = ("train", "source", "dataset", "demo")
    sources = [name for name in known if getattr(recipe.data, name) is not None]
    if not sources:
        yield "data", "names no images; give one of `train` (a path), `source`, `dataset` or `demo`"
    elif len(sources) > 1:
        yield "data", f"names {' and '.join(f'`{name}`' for name in sources)}; keep one"


def split_by_path_or_files(recipe: Recipe) -> Faults:
    """A split is a path, or files by name: not both, and not half of either."""
    for name in ("train", "validation", "source"):
        split = getattr(recipe.data, name)
        if not isinstance(split, Split):
            continue
        files = [key for key in ("annotations", "images", "panoptic") if getattr(split, key) is not None]
        if split.path is not None and "annotations" in files:
            yield f"data.{name}.annotations", "there is a path already; keep one of the two"
        elif split.path is None:
            if split.format is not None:
                yield f"data.{name}.format", "belongs to a path; remove it, or give `path`"
            for key in ("annotations", "images"):
                if key not in files:
                    yield f"data.{name}.{key}", "missing; give the COCO files by name, or one `path`"


def panoptic_folders(recipe: Recipe) -> Faults:
    splits = {"train": recipe.data.train, "validation": recipe.data.validation}
    written = {
        name: split for name, split in splits.items() if split is not None and is_named_by_files(split)
    }
    without = [name for name, split in written.items() if split.panoptic is None]
    for name in without:
        if recipe.task == "panoptic":
            yield f"data.{name}.panoptic", "missing; `task: panoptic` needs the folder of PNG id maps"
        elif len(without) < len(written):
            yield f"data.{name}.panoptic", "missing, but the other split has it; give both or neither"


def batch_of_whole_micro_batches(recipe: Recipe) -> Faults:
    batch, micro = recipe.optim.batch_size, recipe.optim.micro_batch_size
    if batch > micro and batch % micro:
        fits = max(size for size in range(1, micro) if batch % size == 0)
        message = f"{batch} is no multiple of optim.micro_batch_size, {micro}; set that to {fits}"
        yield "optim.batch_size", message


def warmup_inside_run(recipe: Recipe) -> Faults:
    warmup, steps = recipe.optim.schedule.warmup_steps, recipe.optim.max_steps
    if steps is not None and warmup >= steps:
        got = f"got {warmup} and {steps}: the run would end inside its warm-up"
        yield "optim.schedule.warmup_steps", f"must be below optim.max_steps, {got}"


def _all_zero(loss: Any, names: tuple[str, ...]) -> bool:
    return all(getattr(loss, name) == 0 for name in names)


def some_matching_cost(recipe: Recipe) -> Faults:
    section, loss = box_loss(recipe)
    if loss is not None and _all_zero(loss, ("class_cost", "bbox_cost", "giou_cost")):
        yield section, "class_cost, bbox_cost and giou_cost are all 0; matching needs at least one"


def one_kind_of_class_weights(recipe: Recipe) -> Faults:
    section, loss = box_loss(recipe)
    if loss is not None and loss.balanced and loss.class_weights is not None:
        message = "balanced: true computes the weights of all classes; keep one of the two"
        yield f"{section}.class_weights", message


def some_mask_loss(recipe: Recipe) -> Faults:
    if isinstance(recipe, PanopticRecipe) and _all_zero(recipe.loss, MASK_TERMS):
        yield "loss", f"{' and '.join(MASK_TERMS)} are both 0; the mask head would learn nothing"


def scratch_learns_everywhere(recipe: Recipe) -> Faults:
    frozen = recipe.model.freeze_backbone
    if isinstance(recipe, DetectionRecipe) and recipe.model.scratch and frozen != "none":
        would = f"{frozen} would freeze random weights (model.scratch: true)"
        yield "model.freeze_backbone", f"{would}; remove it, or write `none`"


def best_can_change(recipe: Recipe) -> Faults:
    if not detector_is_frozen(recipe):
        return
    if (name := recipe.checkpoint.best) != "PQ":
        yield "checkpoint.best", f"a frozen detector's {name} never changes; use PQ"
    if recipe.early_stopping is not None and (metric := recipe.early_stopping.metric) not in ("PQ", None):
        yield "early_stopping.metric", f"a frozen detector's {metric} never changes; use PQ"


def patience_inside_run(recipe: Recipe) -> Faults:
    if recipe.early_stopping is None:
        return
    evaluations = -(-recipe.optim.epochs // recipe.evaluation.every)
    if recipe.early_stopping.patience >= evaluations:
        message = f"can never run out: {evaluations} evaluations in the run, the first is the best yet"
        yield "early_stopping.patience", message


def what_a_stream_can_do(recipe: Recipe) -> Faults:
    """Nothing that needs to know every image before the first step."""
    data = recipe.data
    if not data.streaming:
        return
    if data.dataset is None:
        message = "reads a data set of the Hub or a folder of Parquet files: give data.dataset, or remove it"
        yield "data.streaming", message
    remove = "a stream is not known before it is read; remove one of the two"
    if not data.stuff:
        yield "data.stuff", "objects of a stream are read as they come; leave stuff out of the data set"
    if data.fold is not None:
        yield "data.fold", f"divides all images, and {remove}"
    if data.overfit is not None:
        yield "data.overfit", f"takes images by number, and {remove}"
    if data.repeat_threshold is not None:
        yield "data.repeat_threshold", f"counts the classes of all images, and {remove}"
    if data.batching == "aspect":
        yield "data.batching", f"aspect sorts by the shapes of all images, and {remove}"
    section, loss = box_loss(recipe)
    if loss is not None and loss.balanced:
        message = "counts the objects of all images, which a stream cannot; give class_weights"
        yield f"{section}.balanced", message


def one_part_of_the_images(recipe: Recipe) -> Faults:
    fold = recipe.data.fold
    if fold is not None and fold.held_out >= fold.of:
        yield "data.fold.held_out", f"must be below data.fold.of, got {fold.held_out} and {fold.of}"


def shapes_to_group(recipe: Recipe) -> Faults:
    if recipe.data.batching == "aspect" and recipe.optim.micro_batch_size == 1:
        message = "aspect does nothing with optim.micro_batch_size: 1, which never pads; remove it"
        yield "data.batching", message


def hub_is_named(recipe: Recipe) -> Faults:
    if recipe.push_to_hub and recipe.hub is None:
        yield "hub", f"missing; push_to_hub: true needs hub.repo_id, such as {EXAMPLE}"


def epochs_before_the_last(recipe: Recipe) -> Faults:
    epochs, every = recipe.optim.epochs, recipe.evaluation.every
    if recipe.hub is not None and recipe.hub.each_epoch and epochs <= every:
        message = "true does nothing here: the only evaluation is at the end, when all is pushed; remove it"
        yield "hub.each_epoch", message


def transform_entries(recipe: Recipe) -> Faults:
    yield from _entries(recipe.transforms.train, "transforms.train")
    yield from _entries(recipe.transforms.validation, "transforms.validation")


def _entries(entries: list[Any], path: str) -> Faults:
    """Every entry is `{name: ..., arguments}`; the entries of a container stand under its `transforms`."""
    for index, entry in enumerate(entries):
        here = f"{path}.{index}"
        if not isinstance(entry, dict):
            yield here, f"expected `{{name: ..., argument: value}}`, got {quoted(entry)}"
            continue
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            yield f"{here}.name", "missing; write the name of a transform"
        inner = entry.get("transforms", [])
        if isinstance(inner, list):
            yield from _entries(inner, f"{here}.transforms")
        else:
            yield f"{here}.transforms", f"expected a list of transforms, got {quoted(inner)}"


RULES: tuple[Callable[[Recipe], Faults], ...] = (
    *(one_source, split_by_path_or_files, panoptic_folders, batch_of_whole_micro_batches),
    *(warmup_inside_run, some_matching_cost),
    *(one_kind_of_class_weights, some_mask_loss, scratch_learns_everywhere, best_can_change),
    *(patience_inside_run, what_a_stream_can_do, one_part_of_the_images, shapes_to_group, hub_is_named),
    *(epochs_before_the_last, transform_entries),
)
