"""Every setting of a run: its name, type, default, range and meaning.

Plain frozen dataclasses; change one with `dataclasses.replace`. pydantic checks them strictly when a recipe
is read (see `load.py`); what several settings must agree on stands in `rules.py`.
"""

from __future__ import annotations

from dataclasses import field
from typing import Literal

from detr_hf.recipe.data import Data, Transforms
from detr_hf.recipe.fields import (
    Count,
    Duration,
    FreezeBackbone,
    InnerShare,
    NonNegativeInt,
    NotNegative,
    Positive,
    Probability,
    RepoId,
    Seed,
    Tag,
    Text,
    Trackers,
    WholeRecipe,
    section,
)

# ---- model and losses


@section
class DetectionModel:
    """Stage 1: a pretrained detector of the DETR family with a new class head."""

    # Hub id or folder; "demo", "demo-deformable": the tiny checkpoints in the package.
    pretrained: Text = "facebook/detr-resnet-50"
    revision: Text | None = None  # git revision of `pretrained` on the Hub
    freeze_backbone: FreezeBackbone = "stem_and_first_stage"  # with `scratch: true`: "none", and no other
    scratch: bool = False  # keep the architecture, throw the pretrained weights away
    num_queries: Count | None = (
        None  # fewer: the first ones are kept; more: all, and new ones; None: as it is
    )
    # New class to pretrained class, whose row of the class head it starts from; "auto": equal names.
    class_rows: dict[str, Text] | Literal["auto"] | None = None


@section
class PanopticModel:
    """Stage 2: a mask head on the detector of stage 1."""

    detector: Text  # output folder of stage 1, or a Hub id
    detector_revision: Text | None = None  # git revision of `detector` on the Hub
    # Or "fresh" (random weights), or "demo" (the tiny one).
    mask_head: Text = "facebook/detr-resnet-50-panoptic"
    revision: Text | None = None  # git revision of `mask_head` on the Hub
    freeze_detector: bool = True  # false: train detector and mask head together
    freeze_backbone: FreezeBackbone = "stem_and_first_stage"  # only with `freeze_detector: false`
    mask_chunk: Count = 16  # queries in one pass of the mask head; fewer need less memory


@section
class BoxLoss:
    """Weights of the set loss, and the costs of the matching that precedes it.

    None: as the authors of the model's family trained it; for DETR 1, 5, 2, 0.1 and costs 1, 5, 2.
    """

    class_loss_coefficient: NotNegative | None = None
    bbox_loss_coefficient: NotNegative | None = None
    giou_loss_coefficient: NotNegative | None = None
    eos_coefficient: NotNegative | None = None  # weight of the "no object" class inside the class loss
    class_weights: dict[str, Positive] | None = None  # weights of classes by name; 1 for the others
    balanced: bool = False  # weights from the training data: the fewer objects of a class, the higher
    auxiliary: bool = True  # the same loss after every decoder layer
    class_cost: NotNegative | None = None
    bbox_cost: NotNegative | None = None
    giou_cost: NotNegative | None = None


@section
class DetectionLoss(BoxLoss):
    """Stage 1 learns with several sets of queries, if it is to."""

    query_groups: Count = 1  # sets of queries that learn side by side; only the model's own is kept


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
    micro_batch_size: Count = 4  # images per forward pass on one process, at most; memory, not result
    lr: Positive | None = None  # None: as the family's authors; DETR: 1e-4
    backbone_lr: Positive | None = None  # None: as the family's authors; DETR: 1e-5
    backbone_layer_decay: InnerShare | None = None  # a stage learns at this share of the next one's rate
    class_head_lr: Positive | None = None  # None: as `lr`
    offsets_lr_share: Positive | None = None  # rate of sampling offsets and reference points, times `lr`
    weight_decay: NotNegative = 1e-4
    clip_norm: Positive = 0.1  # largest norm of the gradient
    skip_non_finite: NonNegativeInt = 3  # steps of a run that may be left out; one more ends it
    schedule: Schedule = field(default_factory=Schedule)
    ema: Ema | None = None


@section
class Evaluation:
    """When to evaluate, and what the saved images show. AP itself uses no score threshold."""

    every: Count = 1  # epochs between evaluations; the last epoch is always evaluated
    batch_size: Count = 4  # images per forward pass on one process
    score_threshold: Probability | None = None  # None: the usual one of the model's family; DETR: 0.85
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


@section
class Ema:
    """An exponential moving average of the weights, which is then what is evaluated and kept as `best/`."""

    # Share of it that stays after a step; None: it remembers a tenth of the run, at most 5,000 steps.
    decay: InnerShare | None = None
    # The decay rises from 0 as 1 - exp(-steps / warmup_steps); 0: no rise; None: 0.4 of what it remembers.
    warmup_steps: NonNegativeInt | None = None


@section
class Patience:
    """End the run when the validation split has stopped getting better."""

    patience: Count  # evaluations in a row without a better score
    min_delta: NotNegative = 0.0  # what counts as better: more than the best so far plus this


@section
class EarlyStopping(Patience):
    """Which number on the validation split has to get better."""

    metric: Literal["AP", "AP50", "AR"] | None = None  # None: as `checkpoint.best`


@section
class PanopticEarlyStopping(Patience):
    """As `EarlyStopping`; the box numbers only where the detector learns."""

    metric: Literal["PQ", "AP", "AP50", "AR"] | None = None


@section
class Compute:
    """Memory and speed; none of it changes what is learned beyond rounding."""

    gradient_checkpointing: bool = False  # compute activations twice instead of keeping them
    compile: bool = False  # torch.compile of backbone, encoder and decoder layers
    deterministic: bool = True  # kernels that repeat their sums exactly; on a GPU some are slower
    tf32: bool = False  # float32 products with 10 bits of mantissa; needs an NVIDIA GPU


@section
class Hub:
    """Where `push_to_hub: true` puts the best model, and how it is shown there."""

    repo_id: RepoId  # user/name, or organization/name
    private: bool = True  # false: everybody may see it
    revision: Tag | None = None  # a new tag for what is pushed at the end, such as v1
    license: Text = "other"  # as the Hub spells licenses; "other": none is stated
    pictures: bool = True  # validation images with predictions, and the report that shows some
    each_epoch: bool = False  # push in the background whenever `best/` is new, too


# ---- the two recipes


@section
class TrainingRecipe(WholeRecipe):
    """What both stages have; each narrows the kinds of its task."""

    task: Literal["detection", "panoptic"]
    output_dir: Text
    seed: Seed = 42
    resume: Text = (
        "auto"  # "auto": resume from output_dir/last if it is there; "never"; or a checkpoint folder
    )
    time_limit: Duration | None = None  # such as 11h30m, after which the run saves and stops
    mixed_precision: Literal["no", "bf16", "fp16"] = "no"
    trackers: Trackers = field(default_factory=list)  # besides metrics.jsonl, which is always written
    data: Data
    transforms: Transforms = field(default_factory=Transforms)
    model: DetectionModel | PanopticModel
    loss: DetectionLoss | MaskLoss
    optim: Optim
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoint: Checkpoint | PanopticCheckpoint
    early_stopping: EarlyStopping | PanopticEarlyStopping | None = None
    compute: Compute = field(default_factory=Compute)
    log_every: Count = 50  # optimizer steps between two lines of `metrics.jsonl`, besides one an epoch
    push_to_hub: bool = False  # the best model, when the run is over
    hub: Hub | None = None  # required with `push_to_hub: true`


@section
class DetectionRecipe(TrainingRecipe):
    """Stage 1: boxes of things and, where the data has it, of stuff."""

    task: Literal["detection"] = "detection"
    model: DetectionModel = field(default_factory=DetectionModel)
    loss: DetectionLoss = field(default_factory=DetectionLoss)
    checkpoint: Checkpoint = field(default_factory=Checkpoint)
    early_stopping: EarlyStopping | None = None


@section
class PanopticRecipe(TrainingRecipe):
    """Stage 2: masks for the objects that stage 1 finds."""

    task: Literal["panoptic"] = "panoptic"
    model: PanopticModel
    loss: MaskLoss = field(default_factory=MaskLoss)
    detection_loss: BoxLoss | None = None  # with `freeze_detector: false` only; unset: the defaults
    evaluation: PanopticEvaluation = field(default_factory=PanopticEvaluation)
    checkpoint: PanopticCheckpoint = field(default_factory=PanopticCheckpoint)
    early_stopping: PanopticEarlyStopping | None = None


Recipe = DetectionRecipe | PanopticRecipe
RECIPES: dict[str, type[DetectionRecipe] | type[PanopticRecipe]] = {
    "detection": DetectionRecipe,
    "panoptic": PanopticRecipe,
}
