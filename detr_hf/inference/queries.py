"""What every query of an image says before anything is ranked, and how the encoder sees the image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from detr_hf.errors import UserError
from detr_hf.geometry import Window, boxes_cxcywh_to_xyxy, tile_windows
from detr_hf.inference.device import autocast
from detr_hf.inference.predictor import Predictor, batches_of, in_order
from detr_hf.inference.preprocess import sample_of
from detr_hf.loading.collate import collate
from detr_hf.modeling.tile_record import TileGrid


@dataclass(frozen=True)
class Queries:
    """The Q queries of one look at an image; in tiles, those of all its tiles.

    Attributes:
        probabilities: ``float32 [Q, C]``; see ``ClassScores.probabilities``.
        distribution: ``float32 [Q, C + 1]``, "no object" last; see ``ClassScores.distribution``.
        boxes_xyxy_norm: ``float32 [Q, 4]`` corners as shares of the image.
    """

    probabilities: NDArray[np.float32]
    distribution: NDArray[np.float32]
    boxes_xyxy_norm: NDArray[np.float32]


@dataclass(frozen=True)
class ImageQueries:
    """One image.

    Attributes:
        image_id: counts the images from 0.
        plain: the image as it is.
        mirrored: the image flipped left to right, its boxes flipped back; None where nobody asked for it.
        embedding: ``float32 [d]``, the mean of the encoder's output over all places (of tiles, their mean).
    """

    image_id: int
    plain: Queries
    mirrored: Queries | None
    embedding: NDArray[np.float32]


def image_queries(
    predictor: Predictor, images: Iterable[NDArray[np.uint8]], batch_size: int, mirrored: bool
) -> Iterator[ImageQueries]:
    """What is known of each image, in order, as they are asked for; stage 2 needs no mask for it.

    A model that was trained in tiles looks at an image in these. What two tiles see is said twice.

    Args:
        predictor: with a model in PyTorch.
        images: ``uint8 [H, W, 3]``, read up to ``2 * batch_size`` ahead.
        batch_size: images, or tiles of one image, in one pass at most; see ``Predictor.stream``.
        mirrored: look at each image a second time, flipped.

    Raises:
        UserError: the model is an exported one, which has no inside to look at.
    """
    if not isinstance(predictor.task, nn.Module):
        raise UserError("an exported model shows no queries; give the folder that it was exported from.")
    if predictor.tiles is None:
        return _looks(predictor, images, batch_size, mirrored)
    return _in_tiles(predictor, predictor.tiles, images, batch_size, mirrored)


def _looks(
    predictor: Predictor, images: Iterable[NDArray[np.uint8]], batch_size: int, mirrored: bool
) -> Iterator[ImageQueries]:
    samples = (
        sample_of(index, image, predictor.resize, predictor.processor) for index, image in enumerate(images)
    )
    batches = batches_of(samples, batch_size)
    return in_order(found for batch in batches for found in _of_batch(predictor, batch, mirrored))


def _in_tiles(
    predictor: Predictor,
    grid: TileGrid,
    images: Iterable[NDArray[np.uint8]],
    batch_size: int,
    mirrored: bool,
) -> Iterator[ImageQueries]:
    for image_id, image in enumerate(images):
        size_hw = (image.shape[0], image.shape[1])
        windows = tile_windows(size_hw, grid.size, grid.overlap)
        tiles = (image[top:bottom, left:right] for left, top, right, bottom in windows)
        looks = list(_looks(predictor, tiles, batch_size, mirrored))
        flipped = [look.mirrored for look in looks if look.mirrored is not None]
        yield ImageQueries(
            image_id,
            _together([look.plain for look in looks], windows, size_hw),
            _together(flipped, windows, size_hw) if mirrored else None,
            np.mean([look.embedding for look in looks], axis=0),
        )


def _together(views: Sequence[Queries], windows: Sequence[Window], size_hw: tuple[int, int]) -> Queries:
    """The queries of all tiles, their boxes as shares of the whole image."""
    size = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    boxes = []
    for view, (left, top, right, bottom) in zip(views, windows, strict=True):
        sides = np.array([right - left, bottom - top] * 2, np.float32)
        corner = np.array([left, top] * 2, np.float32)
        boxes.append((view.boxes_xyxy_norm * sides + corner) / size)
    return Queries(
        np.concatenate([view.probabilities for view in views]),
        np.concatenate([view.distribution for view in views]),
        np.concatenate(boxes),
    )


@torch.no_grad()
def _of_batch(predictor: Predictor, samples: Sequence[Any], mirrored: bool) -> Iterator[ImageQueries]:
    batch = collate(samples).to(predictor.device)
    with autocast(predictor.device, predictor.precision):
        plain, embeddings = _views(predictor, batch.pixel_values, batch.pixel_mask)
        flipped: Sequence[Queries | None] = [None] * len(plain)
        if mirrored:  # images of a batch have one size, so that there is no padding to be flipped
            seen, _ = _views(predictor, batch.pixel_values.flip(-1), batch.pixel_mask)
            flipped = [_flipped_back(view) for view in seen]
    ids = [target["image_id"] for target in batch.targets]
    for image_id, view, other, embedding in zip(ids, plain, flipped, embeddings, strict=True):
        yield ImageQueries(image_id, view, other, embedding)


def _views(predictor: Predictor, pixels: Tensor, mask: Tensor) -> tuple[list[Queries], NDArray[np.float32]]:
    """The queries of each image of a batch, and the embeddings ``[B, d]``."""
    family, detector = predictor.task.family, predictor.task.detector
    with _record_first(family.encoder(detector)) as encoded:
        detected = family.run(detector, pixels, mask, all_layers=False)
    logits = detected.logits[-1]
    columns = (
        family.scores.probabilities(logits),
        family.scores.distribution(logits),
        boxes_cxcywh_to_xyxy(detected.boxes_cxcywh_norm[-1]).float().clamp(0, 1),
    )
    rows = zip(*(column.cpu().numpy() for column in columns), strict=True)
    return [Queries(*row) for row in rows], encoded[-1].float().mean(1).cpu().numpy()


@contextmanager
def _record_first(module: nn.Module) -> Iterator[list[Tensor]]:
    """Collects the first output of a module for each of its forward passes."""
    recorded: list[Tensor] = []

    def record(module: nn.Module, inputs: object, outputs: Any) -> None:
        recorded.append(outputs[0])

    with module.register_forward_hook(record):
        yield recorded


def _flipped_back(view: Queries) -> Queries:
    left, top, right, bottom = view.boxes_xyxy_norm.T
    boxes = np.stack([1 - right, top, 1 - left, bottom], -1)
    return Queries(view.probabilities, view.distribution, boxes)
