"""What the settings of a recipe must agree on, beyond the type of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from detr_hf.recipe.durations import seconds_of
from detr_hf.recipe.faults import Fault, quoted
from detr_hf.recipe.repo_ids import EXAMPLE, fault_of_repo_id, fault_of_tag
from detr_hf.recipe.schema import Data
from detr_hf.recipe.tree import Path, default_of, look_up


def as_path(key: str) -> Path:
    return tuple(key.split("."))


@dataclass(frozen=True)
class Look:
    """A recipe as read: `look("optim.lr")` is the value in effect, `says("optim.lr")` whether it is written.

    Values may still be of a wrong type, so a rule compares and tests but never computes on trust.
    """

    written: dict[str, Any]
    effective: dict[str, Any]

    def __call__(self, key: str) -> Any:
        return look_up(self.effective, as_path(key))

    def says(self, key: str) -> bool:
        return look_up(self.written, as_path(key)) is not None


@dataclass(frozen=True)
class Idle:
    """Settings that do nothing in some runs: refused when written there, left out when a recipe is saved."""

    keys: tuple[str, ...]
    when: Callable[[Look], bool]
    because: str


def detector_is_frozen(look: Look) -> bool:
    return look("task") == "panoptic" and look("model.freeze_detector") is True


def split_is_named(look: Look) -> bool:
    """A validation split named otherwise than by default must be there, so nothing stands in for it."""
    return look.says("data.dataset") and look("data.validation_split") != default_of(Data, "validation_split")


IDLE = (
    Idle(
        (
            *("model.freeze_backbone", "detection_loss", "optim.backbone_lr", "optim.class_head_lr"),
            *("optim.backbone_layer_decay", "compute.gradient_checkpointing"),
        ),
        detector_is_frozen,
        "the detector is frozen; remove it, or set model.freeze_detector: false",
    ),
    Idle(
        ("optim.backbone_lr", "optim.backbone_layer_decay"),
        lambda look: look("model.freeze_backbone") == "all",
        "the backbone is frozen (model.freeze_backbone: all); remove one of the two",
    ),
    Idle(
        ("optim.schedule.drop_at", "optim.schedule.factor"),
        lambda look: look("optim.schedule.name") in ("cosine", "constant"),
        "only `name: step` drops the rates at a share of the run; remove it",
    ),
    Idle(
        ("data.train_split", "data.validation_split", "data.revision"),
        lambda look: not look.says("data.dataset"),
        "it is read with data.dataset only; remove it",
    ),
    Idle(
        ("data.shuffle_buffer", "data.epoch_images"),
        lambda look: look("data.streaming") is not True,
        "it is read with data.streaming: true only; remove it",
    ),
    Idle(
        ("data.validation_fraction",),
        lambda look: look("data.streaming") is True,
        "a stream is not divided; name the other split with data.validation_split",
    ),
    Idle(
        ("data.validation",),
        lambda look: not look.says("data.train"),
        "it is read with data.train only; name the splits of data.dataset with data.validation_split",
    ),
    Idle(
        ("data.validation_fraction",),
        lambda look: look.says("data.validation") or look.says("data.demo") or split_is_named(look),
        "there is a validation split already; remove one of the two",
    ),
    Idle(
        ("model.revision",),
        lambda look: (look("model.pretrained") or look("model.mask_head")) in ("demo", "fresh"),
        "a revision belongs to a model from the Hub; remove it",
    ),
    Idle(
        ("model.detector_revision",),
        lambda look: look("model.detector") == "demo",
        "a revision belongs to a model from the Hub; remove it",
    ),
    Idle(
        ("hub",),
        lambda look: look("push_to_hub") is not True,
        "nothing is pushed; remove it, or set push_to_hub: true",
    ),
)


def idle_keys(look: Look) -> dict[str, str]:
    """The settings that do nothing in this run, each with the reason."""
    reasons: dict[str, str] = {}
    for idle in IDLE:
        if idle.when(look):
            for key in idle.keys:
                reasons.setdefault(key, idle.because)
    return reasons


def idle_settings(look: Look) -> Iterator[Fault]:
    for key, because in idle_keys(look).items():
        if look.says(key):
            yield Fault(as_path(key), f"does nothing here: {because}")


def one_source(look: Look) -> Iterator[Fault]:
    sources = [name for name in ("train", "dataset", "demo") if look.says(f"data.{name}")]
    if not sources and isinstance(look("data"), dict):
        yield Fault(("data",), "names no images; give one of `train` (files), `dataset` or `demo`")
    elif len(sources) > 1:
        yield Fault(("data",), f"names {' and '.join(f'`{name}`' for name in sources)}; keep one")


def panoptic_folders(look: Look) -> Iterator[Fault]:
    written = [name for name in ("train", "validation") if isinstance(look(f"data.{name}"), dict)]
    without = [name for name in written if not look.says(f"data.{name}.panoptic")]
    for name in without:
        if look("task") == "panoptic":
            message = "missing; `task: panoptic` needs the folder of PNG id maps"
            yield Fault(("data", name, "panoptic"), message)
        elif len(without) < len(written):
            yield Fault(
                ("data", name, "panoptic"), "missing, but the other split has it; give both or neither"
            )


def batch_of_whole_micro_batches(look: Look) -> Iterator[Fault]:
    batch, micro = look("optim.batch_size"), look("optim.micro_batch_size")
    if _is_count(batch) and _is_count(micro) and batch % micro:
        message = f"must be a multiple of optim.micro_batch_size, got {batch} and {micro}"
        yield Fault(("optim", "batch_size"), message)


def warmup_inside_run(look: Look) -> Iterator[Fault]:
    warmup, steps = look("optim.schedule.warmup_steps"), look("optim.max_steps")
    if _is_count(warmup) and _is_count(steps) and warmup >= steps:
        message = (
            f"must be below optim.max_steps, got {warmup} and {steps}: the run would end inside its warm-up"
        )
        yield Fault(("optim", "schedule", "warmup_steps"), message)


def some_matching_cost(look: Look) -> Iterator[Fault]:
    section = "loss" if look("task") == "detection" else "detection_loss"
    costs = [look(f"{section}.{name}") for name in ("class_cost", "bbox_cost", "giou_cost")]
    if all(cost == 0 for cost in costs):
        yield Fault((section,), "class_cost, bbox_cost and giou_cost are all 0; matching needs at least one")


def some_mask_loss(look: Look) -> Iterator[Fault]:
    if (
        look("task") == "panoptic"
        and look("loss.mask_loss_coefficient") == 0
        and look("loss.dice_loss_coefficient") == 0
    ):
        message = (
            "mask_loss_coefficient and dice_loss_coefficient are both 0; the mask head would learn nothing"
        )
        yield Fault(("loss",), message)


def scratch_learns_everywhere(look: Look) -> Iterator[Fault]:
    frozen = look("model.freeze_backbone")
    if look("model.scratch") is True and look.says("model.freeze_backbone") and frozen != "none":
        message = f"{frozen} would freeze random weights (model.scratch: true); remove it, or write `none`"
        yield Fault(("model", "freeze_backbone"), message)


def best_can_change(look: Look) -> Iterator[Fault]:
    for section, setting in (("checkpoint", "best"), ("early_stopping", "metric")):
        name = look(f"{section}.{setting}")
        if detector_is_frozen(look) and name in ("AP", "AP50", "AR"):
            yield Fault((section, setting), f"a frozen detector's {name} never changes; use PQ")


def patience_inside_run(look: Look) -> Iterator[Fault]:
    patience, epochs, every = look("early_stopping.patience"), look("optim.epochs"), look("evaluation.every")
    if _is_count(patience) and _is_count(epochs) and _is_count(every):
        evaluations = -(-epochs // every)
        if patience >= evaluations:
            message = f"can never run out: {evaluations} evaluations in the run, the first is the best yet"
            yield Fault(("early_stopping", "patience"), message)


def one_kind_of_class_weights(look: Look) -> Iterator[Fault]:
    for section in ("loss", "detection_loss"):
        if look(f"{section}.balanced") is True and look.says(f"{section}.class_weights"):
            message = "balanced: true computes the weights of all classes; keep one of the two"
            yield Fault((section, "class_weights"), message)


def what_a_stream_can_do(look: Look) -> Iterator[Fault]:
    """Nothing that needs to know every image before the first step."""
    if look("data.streaming") is not True:
        return
    if not look.says("data.dataset"):
        message = "reads a data set of the Hub or a folder of Parquet files: give data.dataset, or remove it"
        yield Fault(("data", "streaming"), message)
    remove = "a stream is not known before it is read; remove one of the two"
    if look.says("data.overfit"):
        yield Fault(("data", "overfit"), f"takes images by number, and {remove}")
    if look.says("data.repeat_threshold"):
        yield Fault(("data", "repeat_threshold"), f"counts the classes of all images, and {remove}")
    if look("data.batching") == "aspect":
        yield Fault(("data", "batching"), f"aspect sorts by the shapes of all images, and {remove}")
    for section in ("loss", "detection_loss"):
        if look(f"{section}.balanced") is True:
            message = "counts the objects of all images, which a stream cannot; give class_weights"
            yield Fault((section, "balanced"), message)


def shapes_to_group(look: Look) -> Iterator[Fault]:
    if look("data.batching") == "aspect" and look("optim.micro_batch_size") == 1:
        message = "aspect does nothing with optim.micro_batch_size: 1, which never pads; remove it"
        yield Fault(("data", "batching"), message)


def hub_is_named(look: Look) -> Iterator[Fault]:
    if look("push_to_hub") is not True:
        return
    if not look.says("hub"):
        yield Fault(("hub",), f"missing; push_to_hub: true needs hub.repo_id, such as {EXAMPLE}")
    for name, fault_of in (("repo_id", fault_of_repo_id), ("revision", fault_of_tag)):
        value = look(f"hub.{name}")
        if isinstance(value, str) and (fault := fault_of(value)):
            yield Fault(("hub", name), fault)


def epochs_before_the_last(look: Look) -> Iterator[Fault]:
    epochs, every = look("optim.epochs"), look("evaluation.every")
    if look("hub.each_epoch") is True and _is_count(epochs) and _is_count(every) and epochs <= every:
        message = "true does nothing here: the only evaluation is at the end, when all is pushed; remove it"
        yield Fault(("hub", "each_epoch"), message)


def time_limit_is_a_duration(look: Look) -> Iterator[Fault]:
    limit = look("time_limit")
    if isinstance(limit, str) and seconds_of(limit) is None:
        yield Fault(("time_limit",), f"expected a duration such as 11h30m or 45m, got {quoted(limit)}")


def trackers_once(look: Look) -> Iterator[Fault]:
    names = look("trackers")
    if (
        isinstance(names, list)
        and all(isinstance(name, str) for name in names)
        and len(set(names)) < len(names)
    ):
        yield Fault(("trackers",), f"names a tracker twice: {', '.join(names)}")


def transform_entries(look: Look) -> Iterator[Fault]:
    for split in ("train", "validation"):
        entries = look(f"transforms.{split}")
        if isinstance(entries, list):
            yield from _entries(entries, ("transforms", split))


def _entries(entries: list[Any], path: Path) -> Iterator[Fault]:
    """Every entry is `{name: ..., arguments}`; the entries of a container stand under its `transforms`."""
    for index, entry in enumerate(entries):
        here = (*path, index)
        if not isinstance(entry, dict):
            yield Fault(here, f"expected `{{name: ..., argument: value}}`, got {quoted(entry)}")
            continue
        name = entry.get("name")
        if not isinstance(name, str) or not name:
            yield Fault((*here, "name"), "missing; write the name of a transform")
        inner = entry.get("transforms", [])
        if isinstance(inner, list):
            yield from _entries(inner, (*here, "transforms"))
        else:
            yield Fault((*here, "transforms"), f"expected a list of transforms, got {quoted(inner)}")


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


RULES: tuple[Callable[[Look], Iterator[Fault]], ...] = (
    one_source,
    panoptic_folders,
    batch_of_whole_micro_batches,
    warmup_inside_run,
    some_matching_cost,
    some_mask_loss,
    scratch_learns_everywhere,
    best_can_change,
    patience_inside_run,
    one_kind_of_class_weights,
    shapes_to_group,
    what_a_stream_can_do,
    hub_is_named,
    epochs_before_the_last,
    time_limit_is_a_duration,
    trackers_once,
    transform_entries,
    idle_settings,
)
