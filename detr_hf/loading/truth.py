"""Rows of the data set as the metrics want the truth: original pixels, nothing augmented."""

from __future__ import annotations

from typing import Any

import datasets
import numpy as np
import pyarrow.compute as pc

from detr_hf.errors import UserError
from detr_hf.geometry import boxes_xywh_to_xyxy
from detr_hf.images import decode_id_map
from detr_hf.loading.rows import undecoded

ROWS_AT_ONCE = 1000


class GroundTruth:
    """The truth of a split by image id; ``row_of`` holds the row of each.

    Args:
        split: with the columns of :class:`detr_hf.data.bundle.DataBundle`.
    """

    def __init__(self, split: datasets.Dataset) -> None:
        self._rows = undecoded(split)
        self._boxes_only = self._rows.select_columns(["objects"])
        self.row_of = {image_id: row for row, image_id in enumerate(split["image_id"])}

    def sizes_hw(self) -> dict[int, tuple[int, int]]:
        """Height and width of the images, by their ids."""
        sizes = zip(self._rows["height"], self._rows["width"], strict=True)
        return dict(zip(self.row_of, sizes, strict=True))

    def row(self, image_id: int) -> dict[str, Any]:
        """All columns of an image, its pixels not decoded."""
        return self._rows[self.row_of[image_id]]

    def detection(self, image_id: int) -> dict[str, Any]:
        """An image as the reference of `CocoAP`.

        Returns:
            ``image_id``, ``boxes_xyxy_px float64 [N, 4]``, ``labels int64 [N]``, ``areas float64 [N]`` and
            ``iscrowd bool [N]``.
        """
        objects = self._boxes_only[self.row_of[image_id]]["objects"]
        return {
            "image_id": image_id,
            "boxes_xyxy_px": boxes_xywh_to_xyxy(np.asarray(objects["bbox"], np.float64).reshape(-1, 4)),
            "labels": np.asarray(objects["category"], np.int64),
            "areas": np.asarray(objects["area"], np.float64),
            "iscrowd": np.asarray(objects["iscrowd"], bool),
        }

    def panoptic(self, image_id: int) -> dict[str, Any]:
        """An image as the reference of `PanopticQuality`.

        Segments that are no object of the row (classes left out as void) become void.

        Returns:
            ``image_id``, ``id_map int32 [H, W]``, ``segments``: dicts of ``id``, ``category_id``,
            ``iscrowd``.

        Raises:
            UserError: the PNG cannot be decoded.
        """
        row = self.row(image_id)
        objects, id_map = row["objects"], decode_id_map(row["panoptic"])
        known = np.isin(id_map, np.asarray(objects["id"], np.int64))
        columns = zip(objects["id"], objects["category"], objects["iscrowd"], strict=True)
        return {
            "image_id": image_id,
            "id_map": np.where(known, id_map, 0),
            "segments": [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in columns],
        }


def check_labels(split: datasets.Dataset, num_classes: int) -> None:
    """Make sure that every label is a class of the model: one too many would be learned as "no object".

    Raises:
        UserError: a label is outside 0..num_classes - 1; the image and the class are named.
    """
    columns = split.select_columns(["image_id", "file_name", "objects"])
    for batch in columns.with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        of_rows = pc.struct_field(batch["objects"].combine_chunks(), "category")
        labels = pc.list_flatten(of_rows)
        known = pc.and_(pc.greater_equal(labels, 0), pc.less(labels, num_classes))
        if (at := pc.index(known.fill_null(False), False).as_py()) >= 0:
            row = pc.list_parent_indices(of_rows)[at].as_py()
            raise UserError(
                f"image {batch['image_id'][row]} '{batch['file_name'][row]}' has an object of class "
                f"{labels[at]}, but the label map has classes 0 to {num_classes - 1}; prepare the data with "
                "the label map of this run (data.labels)"
            )
