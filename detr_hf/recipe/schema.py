"""Every setting of a run: its name, type, default, range and meaning.

Plain frozen dataclasses; change one with `dataclasses.replace`. pydantic checks them strictly when a recipe
is read (see `load.py`); what several settings must agree on stands in `rules.py`.
"""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from detr_hf.recipe.aids import Compute, EarlyStopping, Ema, Hub, PanopticEarlyStopping
from detr_hf.recipe.kinds import (
    Count,
    FreezeBackbone,
    InnerShare,
    NonNegativeInt,
    NotNegative,
    Positive,
    Probability,
    Seed,
    Text,
    TransformList,
    section,
)

SHORT_EDGES = tuple(range(480, 801, 32))
MAX_LONG_EDGE = 1333


# ---- data


@section
class Split:
    """One split as files. Paths are relative to the current directory."""

    annotations: Text  # COCO detection JSON, or COCO panoptic JSON
    images: Text  # folder of the images named in the JSON
    panoptic: Text | None = None  # folder of the PNG id maps; makes the split panoptic


@section
class DemoData:
    """The synthetic construction yard, drawn when its folder does not hold it yet."""

    train: Count = 800  # images
    validation: Count = 100
    seed: Seed = 0
    folder: Text = "runs/demo/data"


@section
class Data:
    """Where the images come from: exactly one of `train` (files), `dataset` and `demo`."""

    train: Split | None = None
    validation: Split | None = None
    dataset: Text | None = None  # folder of a saved DatasetDict, or the id of a data set on the Hub
    revision: Text | None = None  # git revision of `dataset` on the Hub
    train_split: Text = "train"  # names of the splits in `dataset`
    validation_split: Text = "validation"
    demo: DemoData | None = None
    streaming: bool = False  # read the training split of `dataset` while training; Parquet files or a Hub id
    shuffle_buffer: Count = 1000  # images held in memory to be shuffled, over all processes
    epoch_images: Count | None = None  # that make an epoch of a stream; None: as many as it says it has
    validation_fraction: InnerShare = 0.1  # held out of the training images when there is no validation split
    labels: Text | None = (
        None  # None: from the data; "construction": the preset; else the path of a label_map.json
    )
    overfit: Count | None = None  # train on the first N training images, and evaluate on the same ones
    repeat_threshold: InnerShare | None = None  # classes in a smaller share of images are shown more often
    batching: Literal["random", "aspect"] = "random"  # "aspect": images of like shape together, less padding
    on_bad_sample: Literal["stop", "skip"] = "stop"  # "skip": another training image takes its place
    workers: NonNegativeInt = (
        4  # processes that load images, per training process; 0 loads in the process itself
    )


def detr_training_transforms() -> TransformList:
    """DETR's training policy (Carion et al. 2020): flip, then a resize, or resize, crop, resize."""

    def resize() -> dict[str, Any]:
        return {"name": "ShortEdgeResize", "short_edges": list(SHORT_EDGES), "max_long_edge": MAX_LONG_EDGE}

    crop = [
        {"name": "ShortEdgeResize", "short_edges": [400, 500, 600], "max_long_edge": MAX_LONG_EDGE},
        {"name": "RandomSizeCrop", "min_size": 384, "max_size": 600},
        resize(),
    ]
    return [
        {"name": "HorizontalFlip", "p": 0.5},
        {
            "name": "OneOf",
            "p": 1.0,
            "transforms": [resize(), {"name": "Sequential", "p": 1.0, "transforms": crop}],
        },
    ]


def detr_validation_transforms() -> TransformList:
    """Short edge 800, long edge at most 1333."""
    return [{"name": "ShortEdgeResize", "short_edges": [800], "max_long_edge": MAX_LONG_EDGE}]


@section
class Transforms:
    """Lists of albumentations transforms (or ours: ShortEdgeResize, RandomSizeCrop), applied in order.

    An entry is `{name: ..., argument: value, ...}`; containers such as OneOf take a list of entries as
    `transforms`. Normalization with the mean and standard deviation of the image processor follows by itself.
    """

    train: TransformList = field(default_factory=detr_training_transforms)
    validation: TransformList = field(default_factory=detr_validation_transforms)


# ---- model and losses


@section
class DetectionModel:
    """Stage 1: a pretrained DETR with a new class head."""

    pretrained: Text = (
        "facebook/detr-resnet-50"  # Hub id or folder; "demo": the tiny checkpoint in the package
    )
    revision: Text | None = None  # git revision of `pretrained` on the Hub
    freeze_backbone: FreezeBackbone = "stem_and_first_stage"  # with `scratch: true`: "none", and no other
    scratch: bool = False  # keep the architecture, throw the pretrained weights away


@section
class PanopticModel:
    """Stage 2: a mask head on the detector of stage 1."""

    detector: Text  # output folder of stage 1, or a Hub id
    detector_revision: Text | None = None  # git revision of `detector` on the Hub
    mask_head: Text = (
        "facebook/detr-resnet-50-panoptic"  # or "fresh" (random weights), or "demo" (the tiny one)
    )
    revision: Text | None = None  # git revision of `mask_head` on the Hub
    freeze_detector: bool = True  # false: train detector and mask head together
    freeze_backbone: FreezeBackbone = "stem_and_first_stage"  # only with `freeze_detector: false`
    mask_chunk: Count = 16  # queries in one pass of the mask head; fewer need less memory


@section
class DetectionLoss:
    """Weights of DETR's set loss, and the costs of the matching that precedes it (defaults: the paper's)."""

    class_loss_coefficient: NotNegative = 1.0
    bbox_loss_coefficient: NotNegative = 5.0
    giou_loss_coefficient: NotNegative = 2.0
    eos_coefficient: NotNegative = 0.1  # weight of the "no object" class inside the class loss
    class_weights: dict[str, Positive] | None = None  # weights of classes by name; 1 for the others
    balanced: bool = False  # weights from the training data: the fewer objects of a class, the higher
    auxiliary: bool = True  # the same loss after every decoder layer
    class_cost: NotNegative = 1.0
    bbox_cost: NotNegative = 5.0
    giou_cost: NotNegative = 2.0


@section
class MaskLoss:
    """Weights of the mask loss on the matched queries."""

    mask_loss_coefficient: NotNegative = 1.0  # of the focal term
    dice_loss_coefficient: NotNegative = 1.0
    focal_alpha: Probability = 0.25
    focal_gamma: NotNegative = 2.0


# ---- optimization


@section
class Schedule:
    """How the learning rates change. A run is `epochs` long, or `max_steps` if that comes first."""

    name: Literal["step", "cosine", "constant"] = "step"
    drop_at: InnerShare = 0.8  # share of the run after which the rates drop (step only)
    factor: InnerShare = 0.1  # what they are multiplied by then (step only)
    warmup_steps: NonNegativeInt = 0  # optimizer steps of linear rise from 0


@section
class Optim:
    """AdamW and the batch. Weight decay spares norms and biases."""

    epochs: Count
    max_steps: Count | None = None  # stop after this many optimizer steps, even inside an epoch
    batch_size: Count = 16  # images per optimizer step, over all processes and accumulation
    micro_batch_size: Count = 4  # images per forward pass on one process; sets the memory, not the result
    lr: Positive = 1e-4
    backbone_lr: Positive | None = None  # None: 1e-5
    backbone_layer_decay: InnerShare | None = None  # a stage learns at this share of the next one's rate
    class_head_lr: Positive | None = None  # None: as `lr`
    weight_decay: NotNegative = 1e-4
    clip_norm: Positive = 0.1  # largest norm of the gradient
    skip_non_finite: NonNegativeInt = 3  # steps of a run that may be left out; one more ends it
    schedule: Schedule = field(default_factory=Schedule)
    ema: Ema | None = None


@section
class Evaluation:
    """When to evaluate, and what the saved pictures show. AP itself uses no score threshold."""

    every: Count = 1  # epochs between evaluations; the last epoch is always evaluated
    batch_size: Count = 4  # images per forward pass on one process
    score_threshold: Probability = 0.85
    pictures: NonNegativeInt = 8  # validation images drawn with their predictions


@section
class PanopticEvaluation(Evaluation):
    """The panoptic merge besides: pixels go to the highest mask logit of queries above `score_threshold`."""

    # Pixels whose best mask probability is lower become void; 0 keeps all.
    mask_threshold: Probability = 0.0
    pq_backend: Literal["ours", "panopticapi"] = "ours"


@section
class Saving:
    """When `last/` is written besides the end of an epoch, and how many older states are kept."""

    every_steps: Count | None = None  # optimizer steps; None: by time alone
    every_minutes: Positive = 10.0
    keep: NonNegativeInt = 1  # what `last/` held before stays as `step-.../`, so many times


@section
class Checkpoint(Saving):
    """Which number on the validation split decides what `best/` holds."""

    best: Literal["AP", "AP50", "AR"] = "AP"


@section
class PanopticCheckpoint(Saving):
    """As `Checkpoint`; the box numbers only where the detector learns."""

    best: Literal["PQ", "AP", "AP50", "AR"] = "PQ"


# ---- the two recipes


@section
class DetectionRecipe:
    """Stage 1: boxes of things and, where the data has it, of stuff."""

    task: Literal["detection"] = "detection"
    output_dir: Text
    seed: Seed = 42
    resume: Text = (
        "auto"  # "auto": go on from output_dir/last if it is there; "never"; or a checkpoint folder
    )
    time_limit: Text | None = None  # such as 11h30m, after which the run saves and stops
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = field(
        default_factory=list
    )  # metrics.jsonl: always
    data: Data
    transforms: Transforms = field(default_factory=Transforms)
    model: DetectionModel = field(default_factory=DetectionModel)
    loss: DetectionLoss = field(default_factory=DetectionLoss)
    optim: Optim
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    early_stopping: EarlyStopping | None = None
    compute: Compute = field(default_factory=Compute)
    log_every: Count = 50  # optimizer steps between two lines of `metrics.jsonl`, besides one an epoch
    push_to_hub: bool = False  # the best model, when the run is over
    hub: Hub | None = None  # required with `push_to_hub: true`


@section
class PanopticRecipe:
    """Stage 2: masks for the objects that stage 1 finds."""

    task: Literal["panoptic"] = "panoptic"
    output_dir: Text
    seed: Seed = 42
    resume: Text = "auto"
    time_limit: Text | None = None
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    trackers: list[Literal["tensorboard", "trackio", "wandb"]] = field(default_factory=list)
    data: Data
    transforms: Transforms = field(default_factory=Transforms)
    model: PanopticModel
    loss: MaskLoss = field(default_factory=MaskLoss)
    detection_loss: DetectionLoss | None = (
        None  # only with `freeze_detector: false`, where None reads as the defaults
    )
    optim: Optim
    evaluation: PanopticEvaluation = field(default_factory=PanopticEvaluation)
    checkpoint: PanopticCheckpoint = field(default_factory=PanopticCheckpoint)
    early_stopping: PanopticEarlyStopping | None = None
    compute: Compute = field(default_factory=Compute)
    log_every: Count = 50
    push_to_hub: bool = False
    hub: Hub | None = None


Recipe = DetectionRecipe | PanopticRecipe
RECIPES: dict[str, type[DetectionRecipe] | type[PanopticRecipe]] = {
    "detection": DetectionRecipe,
    "panoptic": PanopticRecipe,
}
