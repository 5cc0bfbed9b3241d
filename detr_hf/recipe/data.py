"""Where a run's images come from, and how they are augmented."""

from __future__ import annotations

from dataclasses import field
from typing import Any, Literal

from detr_hf.recipe.fields import (
    AtLeastTwo,
    Count,
    InnerShare,
    NonNegativeInt,
    Overlap,
    Positive,
    Probability,
    Seed,
    Share,
    Text,
    TransformList,
    section,
)

DATA_FILE = "data.yaml"  # beside what `detr-hf prepare` writes: the data section of a recipe for it
SHORT_EDGES = tuple(range(480, 801, 32))
MAX_LONG_EDGE = 1333


@section
class Split:
    """Where a split is: a path of any format that can be read, or COCO files by name.

    A recipe may write the path alone: `train: PATH`. Paths are relative to the current directory.
    """

    path: Text | None = None  # a folder or file
    format: Text | None = None  # of `path`, where it is not to be recognized: coco, yolo, voc, ...
    annotations: Text | None = None  # COCO detection JSON, or COCO panoptic JSON
    images: Text | None = None  # folder of the images named in the JSON
    panoptic: Text | None = None  # folder of the PNG id maps; makes the split panoptic

    @property
    def place(self) -> str:
        """The path, or the annotation file."""
        return self.path or self.annotations or ""


@section
class DemoData:
    """The synthetic construction yard, drawn when its folder does not hold it yet."""

    train: Count = 800  # images
    validation: Count = 100
    seed: Seed = 0
    # 4: images of four times the sides, with four times as many things, half as large in pixels.
    scale: Count = 1
    folder: Text = "runs/demo/data"


@section
class Fold:
    """One of K parts of the training images is left out and validated on: K runs judge every image unseen."""

    held_out: NonNegativeInt  # 0 to K - 1
    of: AtLeastTwo  # K


@section
class Tiles:
    """Large images in overlapping windows, for training and evaluation alike (`loading/tiles.py`).

    `keep_empty: true` and `false` stand for 1 and 0.
    """

    size: Count  # side of a window, pixels of the image; a smaller image is one window
    overlap: Overlap = 0.2  # the least share of its side that a neighboring window sees as well
    keep_empty: Probability = 1.0  # share of the training windows without a thing that an epoch shows
    # An object is part of a window's truth that shows more than this share of it, or is filled so far by it.
    min_share: InnerShare = 0.3


@section
class Data:
    """Where the images come from: exactly one of `train`, `source`, `dataset` and `demo`."""

    train: Split | None = None
    validation: Split | None = None
    source: Split | None = None  # one path with splits of its own
    dataset: Text | None = None  # folder of a saved DatasetDict, or the id of a data set on the Hub
    revision: Text | None = None  # git revision of `dataset` on the Hub
    train_split: Text = "train"  # names of the splits in `source` and `dataset`
    validation_split: Text = "validation"
    demo: DemoData | None = None
    streaming: bool = False  # read the training split of `dataset` while training; Parquet files or a Hub id
    shuffle_buffer: Count = 1000  # images held in memory to be shuffled, over all processes
    epoch_images: Count | None = None  # that make an epoch of a stream; None: as many as it says it has
    validation_fraction: InnerShare = 0.1  # held out of the training images when there is no validation split
    # None: from the data; "construction": the preset; else the path of a label_map.json.
    labels: Text | None = None
    stuff: bool = True  # false: stage 1 learns the boxes of things alone
    fold: Fold | None = None  # validate on a part of the training images, and train on the others
    overfit: Count | None = None  # train on the first N training images, and evaluate on the same ones
    tiles: Tiles | None = None  # None: images are seen whole
    repeat_threshold: InnerShare | None = None  # classes in a smaller share of images are shown more often
    batching: Literal["random", "aspect"] = "random"  # "aspect": images of like shape together, less padding
    on_bad_sample: Literal["stop", "skip"] = "stop"  # "skip": another training image takes its place
    workers: NonNegativeInt = 4  # loading processes per training process; 0 loads in the process itself

    @property
    def place(self) -> str:
        """The path or id of the training data."""
        split = self.train or self.source
        return split.place if split is not None else self.dataset or "demo"


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
class Mix:
    """Several training images in one (`loading/mixing.py`)."""

    name: Literal["ricap", "mosaic", "copy_paste"]  # copy_paste needs masks
    p: Probability = 0.5  # of an image to be mixed
    until: Share = 0.8  # share of the run's epochs after which images are as they are
    # What is left of a thing must be more than this share of its own area, or it is no part of the truth.
    min_share: InnerShare = 0.3
    beta: Positive = 0.3  # of RICAP's boundary: small is mostly one image, large is equal parts


@section
class Transforms:
    """Lists of albumentations transforms (or ours: ShortEdgeResize, RandomSizeCrop), applied in order.

    An entry is `{name: ..., argument: value, ...}`; containers such as OneOf take a list of entries as
    `transforms`. Normalization with the mean and standard deviation of the image processor follows by itself.
    """

    train: TransformList = field(default_factory=detr_training_transforms)
    validation: TransformList = field(default_factory=detr_validation_transforms)
    mix: Mix | None = None  # of training images, after `train`
