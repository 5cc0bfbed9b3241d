"""Rows of the data set to normalized images and targets."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from detr_hf.errors import UserError
from detr_hf.geometry import (
    boxes_and_areas_of_segments,
    boxes_xywh_to_xyxy,
    boxes_xyxy_to_cxcywh,
    normalize_boxes,
)
from detr_hf.images import decode_id_map, decode_image
from detr_hf.loading.collate import Target
from detr_hf.loading.mixing import PARTNERS, Mixing, mixed
from detr_hf.loading.pieces import Piece
from detr_hf.loading.rows import Row, Rows
from detr_hf.loading.transforms import Augmentation, Augmented

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

OF_MIXING = 1  # sets what is random in mixing apart from what is random in the image itself
SPARE_PARTNERS = 3  # in place of those that cannot be loaded

MIN_SEGMENT_PX = 4
"""A segment with fewer pixels left after augmentation or mixing is not part of the truth."""


class DetectionDataset(Dataset[tuple[Tensor, Target]]):
    """Augmented samples, wherever their rows come from: decoding, augmentation, target, normalization.

    A sample depends on the seed and its key alone: not on the worker that makes it, nor on what was made
    before.

    Args:
        rows: of a table or a stream. Boxes of panoptic rows come from their PNG: they frame what a crop
            leaves visible. In tiles a sample is a window.
        augmentation: from :func:`detr_hf.loading.transforms.build_transforms`.
        seed: of the run.
        with_masks: add ``id_map`` and ``segment_ids`` to the targets; the rows must be panoptic.
        mean, std: of the color channels, for values from 0 to 1.
        mixing: several images in one; None: each as it is.
    """

    def __init__(
        self,
        rows: Rows,
        augmentation: Augmentation,
        seed: int,
        with_masks: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        mixing: Mixing | None = None,
    ) -> None:
        assert rows.is_panoptic or not with_masks, "masks need a panoptic split"
        self.rows, self.augmentation, self.seed = rows, augmentation, seed
        self.with_masks, self.mixing = with_masks, mixing
        self.mean, self.std = tuple(mean), tuple(std)
        self._last: tuple[tuple[int, str], Piece] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> tuple[Tensor, Target]:
        """The sample of a key of ``rows``; see `sample`.

        Raises:
            UserError: the row has a fault, or as `sample`; the image is named.
        """
        return self.sample(self.rows.row(key), key)

    def replacement_keys(self, key: Any, count: int) -> Sequence[Any]:
        """The keys of at most ``count`` other samples; they follow from seed and key alone."""
        rng = np.random.default_rng([self.seed, *self.rows.entropy(key)])
        return self.rows.replacement_keys(key, count, rng)

    def sample(self, row: Row, key: Any) -> tuple[Tensor, Target]:
        """The image ``float32 [3, h, w]`` and its target; what is random in them follows from seed and key.

        Raises:
            UserError: the image or its PNG cannot be decoded, or a transform fails on it; the image is named.
        """
        entropy = np.random.SeedSequence([self.seed, *self.rows.entropy(key)])
        piece = self._piece(row, int(entropy.generate_state(1)[0]))
        if self.mixing is not None and key[0] < self.mixing.epochs:
            piece = self._mixed(piece, key, self.mixing)
        target = _target(row, piece)
        if self.with_masks:
            assert piece.id_map is not None
            target["segment_ids"] = torch.from_numpy(piece.ids.astype(np.int32))
            target["id_map"] = torch.from_numpy(np.ascontiguousarray(piece.id_map, dtype=np.int32))
        return self._normalized(piece.image), target

    def _mixed(self, piece: Piece, key: Any, mixing: Mixing) -> Piece:
        """The piece with others in it, or as it is; which of them follows from seed and key alone.

        One that cannot be loaded is passed over: it is reported where it is a sample of its own.
        """
        rng = np.random.default_rng([self.seed, *self.rows.entropy(key), OF_MIXING])
        if rng.random() >= mixing.mix.p:
            return piece
        pieces, needed = [piece], 1 + PARTNERS[mixing.mix.name]
        partners: Sequence[Any] = self.rows.replacement_keys(key, needed + SPARE_PARTNERS, rng)
        for partner in partners:
            seed = int(rng.integers(2**32))
            if len(pieces) < needed:
                with suppress(UserError):
                    pieces.append(self._piece(self.rows.row(partner), seed))
        if len(pieces) < needed:
            return piece
        whole = mixed(pieces, mixing, rng)
        return whole if whole.id_map is None else whole.only(whole.areas >= MIN_SEGMENT_PX)

    def _piece(self, row: Row, seed: int) -> Piece:
        try:
            return self._augmented(row, seed)
        except UserError as fault:
            raise UserError(f"image {row['image_id']} '{row['file_name']}': {fault}") from fault

    def _augmented(self, row: Row, seed: int) -> Piece:
        piece = self._decoded(row)
        if self.rows.tiling is not None:
            piece = self.rows.tiling.cut(piece, row["window"])
        out = self.augmentation(piece.image, piece.boxes_xyxy_px, piece.id_map, seed)
        if self.rows.is_panoptic:
            boxes_xyxy_px, kept = _visible_segments(out, piece.ids)
        else:
            boxes_xyxy_px, kept = out.boxes_xyxy_px, out.kept
        return Piece(out.image, boxes_xyxy_px, piece.ids[kept], piece.categories[kept], out.id_map)

    def _decoded(self, row: Row) -> Piece:
        """The whole image; windows of one image that follow each other share it."""
        of_image = (row["image_id"], row["file_name"])
        if self._last is not None and self._last[0] == of_image:
            return self._last[1]
        image = decode_image(row["image"])
        _require_size(image.shape[:2], row, "image")
        objects = {name: np.asarray(values) for name, values in row["objects"].items()}
        single = ~objects["iscrowd"].astype(bool)
        boxes = boxes_xywh_to_xyxy(objects["bbox"].astype(np.float32).reshape(-1, 4))[single]
        id_map = None
        if self.rows.is_panoptic:
            id_map = decode_id_map(row["panoptic"])
            _require_size(id_map.shape, row, "PNG")
        ids, categories = objects["id"].astype(np.int64)[single], objects["category"].astype(np.int64)[single]
        piece = Piece(image, boxes, ids, categories, id_map)
        self._last = (of_image, piece) if self.rows.tiling is not None else None
        return piece

    def _normalized(self, image: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return ((pixels - mean[:, None, None]) / std[:, None, None]).contiguous()


def _require_size(size_hw: tuple[int, ...], row: dict[str, Any], what: str) -> None:
    if size_hw != (row["height"], row["width"]):
        raise UserError(
            f"its {what} is now {size_hw[1]}x{size_hw[0]}, it was {row['width']}x{row['height']} when the "
            "data were checked; "
            "start the run again to check them again"
        )


def _visible_segments(out: Augmented, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes ``[K, 4]`` of the segments still seen in the id map, and which of ``ids`` they are."""
    assert out.id_map is not None
    boxes_xyxy_px, areas = boxes_and_areas_of_segments(out.id_map, ids)
    kept = np.flatnonzero(areas >= MIN_SEGMENT_PX)
    return boxes_xyxy_px[kept], kept


def _target(row: dict[str, Any], piece: Piece) -> Target:
    size_hw = (piece.image.shape[0], piece.image.shape[1])
    boxes = normalize_boxes(boxes_xyxy_to_cxcywh(piece.boxes_xyxy_px.astype(np.float32)), size_hw)
    whole_hw = (row["height"], row["width"])
    target: Target = {
        "image_id": row["image_id"],
        "size_hw": size_hw,
        "original_size_hw": whole_hw,
        "class_labels": torch.from_numpy(piece.categories),
        "boxes_cxcywh_norm": torch.from_numpy(np.ascontiguousarray(boxes, dtype=np.float32)),
    }
    if "window" in row:
        left, top, right, bottom = row["window"]
        target["original_size_hw"] = (bottom - top, right - left)
        target["window"], target["whole_size_hw"] = row["window"], whole_hw
    return target
