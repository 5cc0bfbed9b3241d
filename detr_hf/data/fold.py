"""`data.fold`: one of K parts of a training split, so that K runs see every image as a stranger once."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256

import datasets
import numpy as np

from detr_hf.data.stratify import Item, stratify
from detr_hf.errors import UserError, quantity
from detr_hf.recipe.data import Fold


def hold_out_fold(train: datasets.Dataset, fold: Fold) -> tuple[datasets.Dataset, datasets.Dataset]:
    """The images to train on and those held out, both in their old order.

    The parts follow from the file names and classes of the images alone. Each class is in every part, as far
    as there are images of it. Near duplicates may be torn apart; `detr-hf prepare` keeps them together.

    Raises:
        UserError: there are fewer images than parts.
    """
    if len(train) < fold.of:
        raise UserError(f"data.fold.of: {quantity(len(train), 'image')} cannot be divided into {fold.of}")
    columns = train.select_columns(["file_name", "objects"])
    items = [
        Item(1, Counter({"", *map(str, row["objects"]["category"])}), _lot(row["file_name"]))
        for row in columns
    ]
    parts = np.array(stratify(items, [1 / fold.of] * fold.of, {}))
    is_held_out = parts == fold.held_out
    if is_held_out.all() or not is_held_out.any():
        raise UserError(f"data.fold: part {fold.held_out} would hold no image, or all; choose fewer parts")
    return train.select(np.flatnonzero(~is_held_out)), train.select(np.flatnonzero(is_held_out))


def _lot(file_name: str) -> str:
    return sha256(file_name.encode("utf-8", "surrogateescape")).hexdigest()
