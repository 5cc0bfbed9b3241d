"""What decides the settings of a recipe: the data, the GPU, and the checkpoint to start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detr_hf.seen_sizes import NetworkInput

Masks = Literal["none", "outlines", "id maps"]
MOSTLY = 0.9  # share of the objects with an outline from which on there are masks to learn


@dataclass(frozen=True)
class Facts:
    """Of a data set; those of images and objects are of its training split, crowds left out.

    Attributes:
        images: of the training split; with those that are held out where there is no validation split.
        validation: images of the validation split; 0: there is none.
        test: name and images of the test split.
        boxes_wh_px, sizes_hw: ``[N, 2]`` of every object and of its image, in pixels.
        image_sizes_hw: ``[images, 2]``.
        most_objects: in one image of training or validation, or in one window where ``windows`` is set.
        class_images: images with the class, by name; classes without any are among them.
        outline_share: of the objects, 0 to 1; 1 where there are id maps.
        windows: that an epoch shows in the place of whole images; 0: no tiles.
    """

    images: int
    boxes_wh_px: NDArray[np.float64]
    sizes_hw: NDArray[np.float64]
    image_sizes_hw: NDArray[np.float64]
    most_objects: int
    class_images: Mapping[str, int]
    validation: int = 0
    test: tuple[str, int] | None = None
    stuff: tuple[str, ...] = ()
    outline_share: float = 0.0
    is_panoptic: bool = False
    windows: int = 0

    @property
    def things(self) -> list[str]:
        """Names of the classes that are no stuff."""
        return [name for name in self.class_images if name not in self.stuff]

    @property
    def masks(self) -> Masks:
        """What stage 2 could learn from."""
        if self.is_panoptic:
            return "id maps"
        return "outlines" if self.outline_share >= MOSTLY else "none"

    @property
    def edges_px(self) -> tuple[int, int]:
        """Median short and long edge of the images."""
        return int(np.median(self.image_sizes_hw.min(1))), int(np.median(self.image_sizes_hw.max(1)))

    @property
    def portrait_share(self) -> float:
        """Of the images that are higher than wide."""
        return float((self.image_sizes_hw[:, 0] > self.image_sizes_hw[:, 1]).mean())

    @property
    def held_out(self) -> float:
        """Share of the images to validate on where there is no split for it: at most 2,000, of few more."""
        return 0.2 if self.images < 100 else round(min(0.1, 2000 / self.images), 3)

    @property
    def to_train_on(self) -> int:
        """Images, or windows, that an epoch shows."""
        if self.validation or self.overfits:
            return self.windows or self.images
        kept = self.images - max(1, round(self.images * self.held_out))
        return round(self.windows * kept / self.images) if self.windows else kept

    @property
    def overfits(self) -> bool:
        """Whether there are too few images to hold one out."""
        return not self.validation and self.images < 4

    def sides_px(self, seen: NetworkInput | None = None) -> NDArray[np.float64]:
        """Shorter side of every object, in pixels of its image or as a network sees it."""
        if seen is None:
            return self.boxes_wh_px.min(1)
        return seen.sides_px(self.boxes_wh_px, self.sizes_hw)


@dataclass(frozen=True)
class Gpu:
    """Where the training runs; memory in GB, 0 for a CPU."""

    name: str
    memory: float
    has_bf16: bool = True


GPUS = {
    "t4": Gpu("T4", 16, has_bf16=False),
    "l4": Gpu("L4", 24),
    "a10": Gpu("A10", 24),
    "a100": Gpu("A100", 40),
    "a100-80": Gpu("A100", 80),
    "h100": Gpu("H100", 80),
    "h200": Gpu("H200", 141),
    "cpu": Gpu("CPU", 0),
}


@dataclass(frozen=True)
class Start:
    """A pretrained detector.

    Attributes:
        checkpoint, mask_head: Hub id or "demo"; no mask head where none fits the family.
        queries: of the checkpoint.
        stride: pixels to a cell of the finest map that its encoder sees.
        memory: of an image of a step, as a multiple of DETR's (docs/families.md).
        epochs: as a share of what DETR needs.
        no_object: weight of "no object"; None where the family has no such class.
        real: what to write in its place where it is a tiny checkpoint.
    """

    family: str
    checkpoint: str
    queries: int
    stride: int
    mask_head: str | None = None
    memory: float = 1.0
    epochs: float = 1.0
    no_object: float | None = None
    real: str | None = field(default=None)

    @property
    def is_tiny(self) -> bool:
        return self.real is not None


STARTS = {
    "detr": Start(
        "detr", "facebook/detr-resnet-50", 100, 32, "facebook/detr-resnet-50-panoptic", no_object=0.1
    ),
    "deformable": Start(
        "deformable", "SenseTime/deformable-detr-with-box-refine", 300, 8, memory=5.6, epochs=0.6
    ),
    "conditional": Start(
        "conditional", "microsoft/conditional-detr-resnet-50", 300, 32, memory=1.2, epochs=0.6
    ),
    "dab": Start("dab", "IDEA-Research/dab-detr-resnet-50", 300, 32, memory=1.5, epochs=0.6),
}
TINY = {
    "detr": Start("detr", "demo", 25, 16, "demo", no_object=0.5, real=STARTS["detr"].checkpoint),
    "deformable": Start("deformable", "demo-deformable", 50, 8, real=STARTS["deformable"].checkpoint),
}
"""By the names of `--family`; the tiny ones come with the package."""
