"""What to do about classes of which a training split has few: show them more often, or weigh them more."""

from __future__ import annotations

from collections.abc import Iterator

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from detr_hf.loading.truth import ROWS_AT_ONCE


def repeat_factors(split: datasets.Dataset, num_classes: int, threshold: float) -> NDArray[np.float64]:
    """How often each picture is shown in an epoch, as in LVIS (Gupta et al. 2019, section 4.2).

    A class in the share f of the pictures has the factor ``max(1, sqrt(threshold / f))``, and a picture the
    largest factor of its classes.

    Args:
        split: with the columns of :class:`detr_hf.prepare.bundle.DataBundle`; crowds do not count.
        num_classes: C.
        threshold: classes in a smaller share of the pictures are shown more often; 0.001 in LVIS.

    Returns:
        ``[rows]``, at least 1; exactly 1 for a picture without objects.
    """
    classes_of_rows = [np.unique(classes) for classes in _classes_of_rows(split)]
    pictures = np.bincount(np.concatenate([*classes_of_rows, np.zeros(0, np.int64)]), minlength=num_classes)
    share = np.maximum(pictures, 1) / len(split)
    factors = np.maximum(1.0, np.sqrt(threshold / share))
    return np.array([factors[classes].max(initial=1.0) for classes in classes_of_rows])


def balanced_weights(split: datasets.Dataset, num_classes: int) -> list[float]:
    """A weight for each class, inverse to its number of objects; the mean over all objects is 1.

    That is objects / (classes that occur x objects of the class). A class without objects gets 1, which
    nothing uses.
    """
    objects = objects_of_classes(split, num_classes)
    occurring = objects > 0
    weights = np.ones(num_classes)
    weights[occurring] = objects.sum() / (occurring.sum() * objects[occurring])
    return weights.tolist()


def objects_of_classes(split: datasets.Dataset, num_classes: int) -> NDArray[np.int64]:
    """How many objects each class has in a split, ``[C]``; crowds do not count."""
    objects = np.zeros(num_classes, np.int64)
    for batch in split.select_columns(["objects"]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        rows = batch["objects"].combine_chunks()
        classes = pc.list_flatten(pc.struct_field(rows, "category")).to_numpy(zero_copy_only=False)
        crowd = pc.list_flatten(pc.struct_field(rows, "iscrowd")).to_numpy(zero_copy_only=False)
        objects += np.bincount(classes[~crowd.astype(bool)].astype(np.int64), minlength=num_classes)
    return objects


def aspects_of(split: datasets.Dataset) -> NDArray[np.float64]:
    """Height / width of every picture, ``[rows]``; a resize that keeps the aspect keeps it."""
    return np.asarray(split["height"], np.float64) / np.asarray(split["width"], np.float64)


def _classes_of_rows(split: datasets.Dataset) -> Iterator[NDArray[np.int64]]:
    """The class of every object of each row but for crowds."""
    for batch in split.select_columns(["objects"]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        for objects in batch["objects"].to_pylist():
            classes = np.array(objects["category"], np.int64)
            yield classes[~np.array(objects["iscrowd"], bool)]
