"""Images of any origin as the model takes them: upright RGB, resized, in the processor's colors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detr_hf.errors import UserError
from detr_hf.images import decode_image, rgb_of
from detr_hf.loading.collate import Target
from detr_hf.loading.transforms import Augmentation, build_transforms
from detr_hf.modeling.families.base import ImageProcessor

ImageInput = str | Path | np.ndarray | Image.Image
"""A file, ``uint8 [H, W, 3]`` RGB, or a PIL image."""


def as_rgb(image: ImageInput) -> np.ndarray:
    """A file, array or PIL image as ``uint8 [H, W, 3]`` RGB.

    Raises:
        UserError: the file cannot be read, or the array is no RGB image.
    """
    if not isinstance(image, str | Path | np.ndarray | Image.Image):
        raise UserError(
            "an image must be a file, uint8 [H, W, 3] RGB or a PIL image; "
            f"this one is {type(image).__name__}."
        )
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise UserError(
                f"an image array must be uint8 [H, W, 3] RGB; this one is {image.dtype} {image.shape}."
            )
        return image
    if isinstance(image, Image.Image):
        return rgb_of(image)
    return decode_image(image)


def sample_of(
    index: int, image: np.ndarray, resize: Augmentation, processor: ImageProcessor
) -> tuple[Tensor, Target]:
    """One image ``uint8 [H, W, 3]`` as the model takes it: resized, in the processor's colors."""
    resized = resize(image, np.zeros((0, 4), np.float32), None, 0).image
    pixels = torch.from_numpy(np.ascontiguousarray(resized)).permute(2, 0, 1).float() / 255
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    target: Target = {
        "image_id": index,
        "size_hw": (resized.shape[0], resized.shape[1]),
        "original_size_hw": (image.shape[0], image.shape[1]),
        "class_labels": torch.zeros(0, dtype=torch.int64),
        "boxes_cxcywh_norm": torch.zeros(0, 4),
    }
    return (pixels - mean[:, None, None]) / std[:, None, None], target


def resize_as(
    processor: ImageProcessor, short_edge: int | None = None, multiple_of: int | None = None
) -> Augmentation:
    """The resize that a model expects.

    Args:
        processor: the model's.
        short_edge: pixels, in place of its own; the bound of the long edge moves along.
        multiple_of: round both edges to the nearest multiple of so many pixels.

    Raises:
        UserError: the processor resizes otherwise than by the short edge.
    """
    size = processor.size
    if size is None or size.get("shortest_edge") is None:
        raise UserError(f"the image processor resizes to {size}; a shortest_edge is needed.")
    own, longest = size["shortest_edge"], size.get("longest_edge")
    if short_edge is not None and longest is not None:
        longest = round(longest * short_edge / own)
    entry: dict[str, Any] = {"short_edges": [short_edge or own], "max_long_edge": longest}
    entry |= {"name": "ShortEdgeResize", "multiple_of": multiple_of}
    return build_transforms([entry], "preprocessor_config.json: size")
