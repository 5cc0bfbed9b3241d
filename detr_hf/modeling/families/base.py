"""The seam between the package and its networks: what the rest may ask of a model, whichever it is.

A family answers for stock classes of transformers and owns their attribute names, their heads, what their
logits mean and the workarounds they need. Tasks, criterion, post-processing, loading, export and inference
know families through ``Family`` and ``DetectorOutput`` alone. A new family is one more file beside
``detr.py`` with a ``FAMILY`` in it; ``registry.py`` finds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from detr_hf.labels import LabelMap
from detr_hf.modeling.attention import Look
from detr_hf.modeling.class_scores import ClassScores
from detr_hf.modeling.criterion import QuerySet
from detr_hf.modeling.loss_terms import LossSettings, LossTerm


@dataclass
class DetectorOutput:
    """One forward pass of a detector. K is the number of logits of a query: C + 1 where "no object" has one.

    Attributes:
        logits: ``float32 [L, B, Q, K]`` of the L supervised decoder layers, the last one last.
        boxes_cxcywh_norm: ``float32 [L, B, Q, 4]``.
        panoptic: what a mask head reads; None where the family has none.
        further: queries that learn beside those of the decoder, such as the encoder's proposals.
    """

    logits: Tensor
    boxes_cxcywh_norm: Tensor
    panoptic: PanopticFeatures | None = None
    further: list[QuerySet] = field(default_factory=list)


@dataclass
class PanopticFeatures:
    """What a mask head reads of the same forward pass.

    Attributes:
        queries: ``[B, Q, d]`` the normed output of the last decoder layer.
        feature_maps: the backbone's maps ``[B, c, h, w]``, finest first.
        projected: ``[B, d, h, w]`` the coarsest map in the transformer's width.
        memory: ``[B, d, h, w]`` the encoder's output.
        memory_mask: ``bool [B, h, w]``, True where the image is real.
    """

    queries: Tensor
    feature_maps: list[Tensor]
    projected: Tensor
    memory: Tensor
    memory_mask: Tensor


class ImageProcessor(Protocol):
    """What the package uses of the stock image processor that is saved with a model."""

    size: Any  # such as {"shortest_edge": 800, "longest_edge": 1333}
    image_mean: Any  # three numbers, as image_std; of values from 0 to 1
    image_std: Any

    def save_pretrained(self, save_directory: Any) -> Any:
        """Write ``preprocessor_config.json``."""


@dataclass(frozen=True)
class Defaults:
    """What a family was trained with by its authors: what a recipe leaves open.

    Attributes:
        losses: coefficients and matching costs.
        lr: of AdamW.
        backbone_lr: of the backbone.
        offsets_lr_share: rate of the parameters of group "offsets" as a share of ``lr``; None: it has none.
    """

    losses: LossSettings
    lr: float
    backbone_lr: float
    offsets_lr_share: float | None = None


class MaskHead(Protocol):
    """What the package asks of the mask head of a family: stage 2."""

    @property
    def segmenter_class(self) -> Any:
        """The stock class of stage 2."""

    def segmenter_of(self, detector: Any, source: str) -> Any:
        """A segmenter around (a copy of) the detector's weights, its mask head random.

        Raises:
            UserError: the detector of ``source`` cannot carry a mask head.
        """

    def detector_of(self, segmenter: Any) -> Any:
        """The detector inside."""

    def parts(self, segmenter: Any) -> dict[str, nn.Module]:
        """The modules of a segmenter that are not its detector, by name."""

    def logits(
        self, segmenter: Any, detected: DetectorOutput, image: Tensor, query: Tensor, chunk: int | None
    ) -> Tensor:
        """Mask logits ``[M, h, w]`` of M queries, given as images of the batch and queries, ``int64 [M]``.

        At most ``chunk`` pass through the head at once; None: all.
        """


class Family(Protocol):
    """What the package asks of a kind of network; ``detector`` is the model of stage 1."""

    @property
    def model_type(self) -> str:
        """Of its configs; what a family is found by."""

    @property
    def name(self) -> str:
        """As its authors call it, behind "a"."""

    @property
    def paper(self) -> str:
        """Address of the paper."""

    @property
    def detector_class(self) -> Any:
        """The stock class of stage 1: what is loaded and saved."""

    @property
    def processor_class(self) -> Any:
        """The stock image processor, which ``pipeline()`` reads the outputs with."""

    @property
    def mask_head(self) -> MaskHead | None:
        """Stage 2; None where stock transformers has no sound class for it."""

    @property
    def scores(self) -> ClassScores:
        """What the class logits mean."""

    @property
    def box_terms(self) -> Sequence[LossTerm]:
        """The rows of the criterion's table that this family's outputs are supervised by, masks aside."""

    @property
    def defaults(self) -> Defaults:
        """What a recipe leaves open."""

    @property
    def has_heads_of_layers(self) -> bool:
        """Whether decoder layers have heads of their own, which learn from auxiliary losses alone."""

    def run(
        self, detector: Any, pixel_values: Tensor, pixel_mask: Tensor, all_layers: bool
    ) -> DetectorOutput:
        """One forward pass; class and box heads and reference points in float32, also under autocast.

        Args:
            detector: of ``detector_class``.
            pixel_values: ``[B, 3, H, W]`` normalized images.
            pixel_mask: ``[B, H, W]``, 1 where the image is real.
            all_layers: every decoder layer (L = their number) or the last one alone (L = 1).
        """

    def num_queries(self, config: Any) -> int:
        """Queries of an image that are matched with its objects."""

    def backbone(self, detector: Any) -> Any:
        """Gives (map ``[B, c, h, w]``, mask) pairs, finest first, for pixels and mask; its ``model`` is the
        network that learns."""

    def encoder(self, detector: Any) -> nn.Module:
        """The transformer's encoder; the first of its outputs is ``[B, places, d]``."""

    def compilable(self, detector: Any) -> list[nn.Module]:
        """The parts that ``torch.compile`` takes; none whose inner outputs are recorded by hooks."""

    def group_of(self, parameter_name: str) -> str:
        """Where a parameter of either stage belongs: "backbone", "class_head", "offsets" or "other"."""

    def check_config(self, config: Any, source: str) -> None:
        """Switch off what makes another network of the same weights.

        Raises:
            UserError: stock transformers cannot run the model of ``source`` as it was trained.
        """

    def replace_classes(self, detector: Any, labels: LabelMap) -> list[str]:
        """Give the detector new class heads for ``labels``, in place; the names of the new tensors."""

    def class_heads(self, detector: Any) -> list[nn.Linear]:
        """Every class head once; a row is a class, in the order of the label map."""

    def query_embedding(self, config: Any) -> str | None:
        """Name in ``detector.model`` of the embedding that is all there is of a query; None: there is more to
        one, or something else."""

    def resize_queries(self, detector: Any, count: int) -> list[str]:
        """Keep the first queries, or all and add new ones, in place; the names of tensors with new rows."""

    def initialize(self, detector: Any) -> None:
        """What stock leaves out where the authors initialize a network that starts from nothing, in place."""

    def record_looks(self, detector: Any) -> AbstractContextManager[list[Look]]:
        """Collects where the queries of the last decoder layer look, for each forward pass."""
