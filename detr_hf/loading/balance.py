"""The objects of a training split, counted: classes of which there are few, images that hold too many."""

from __future__ import annotations

from dataclasses import dataclass

import datasets
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from detr_hf.loading.mixing import PARTNERS, PASTED_SHARE, Mixing
from detr_hf.loading.tiles import TileTable
from detr_hf.loading.truth import ROWS_AT_ONCE


@dataclass(frozen=True)
class SplitObjects:
    """The objects of a split, crowds left out.

    Attributes:
        rows, classes: ``int64 [N]`` of the image and of the object.
        boxes_wh_px, sizes_hw: ``float64 [N, 2]`` of the box and of its image, in original pixels.
        images: of the split.
    """

    rows: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes_wh_px: NDArray[np.float64]
    sizes_hw: NDArray[np.float64]
    images: int

    @property
    def most_in_one_image(self) -> int:
        """The most objects of any image."""
        return int(np.bincount(self.rows, minlength=1).max())

    def images_of(self, label: int) -> int:
        """Images with an object of the class."""
        return len(np.unique(self.rows[self.classes == label]))


def split_objects(split: datasets.Dataset) -> SplitObjects:
    """Read the objects of a split, of its pixels none."""
    rows, classes = _objects(split)
    boxes = [np.zeros((0, 4))]
    for batch in split.select_columns(["objects"]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE):
        objects = batch["objects"].combine_chunks()
        crowds, xywh = (pc.list_flatten(pc.struct_field(objects, name)) for name in ("iscrowd", "bbox"))
        numbers = pc.list_flatten(xywh).to_numpy(zero_copy_only=False).astype(np.float64)
        boxes.append(numbers.reshape(-1, 4)[~crowds.to_numpy(zero_copy_only=False).astype(bool)])
    sizes_hw = np.stack([np.asarray(split[name], np.float64) for name in ("height", "width")], 1)
    return SplitObjects(rows, classes, np.concatenate(boxes)[:, 2:], sizes_hw[rows], len(split))


def repeat_factors(
    split: datasets.Dataset, num_classes: int, threshold: float, tiles: TileTable | None = None
) -> NDArray[np.float64]:
    """How often each image is shown in an epoch, as in LVIS (Gupta et al. 2019, section 4.2).

    A class in the share f of the images has the factor ``max(1, sqrt(threshold / f))``, and an image the
    largest factor of its classes.

    Args:
        split: with the columns of :class:`detr_hf.data.bundle.DataBundle`; crowds do not count.
        num_classes: C.
        threshold: classes in a smaller share of the images are shown more often; 0.001 in LVIS.
        tiles: the windows of the split, each of which then is an image.

    Returns:
        ``[rows]``, at least 1; exactly 1 for an image without objects. Of windows without things the factor
        is that times ``keep_empty``.
    """
    rows, classes = _objects(split, tiles)
    shown = np.ones(len(split)) if tiles is None else tiles.shown
    pairs = np.unique(rows * num_classes + classes)  # a class counts once an image
    images = np.bincount(pairs % num_classes, minlength=num_classes)
    factors = np.maximum(1.0, np.sqrt(threshold / (np.maximum(images, 1) / shown.sum())))
    largest = np.ones(len(shown))
    np.maximum.at(largest, rows, factors[classes])
    return largest * shown


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
    return np.bincount(_objects(split)[1], minlength=num_classes)


def images_with_more_objects(
    split: datasets.Dataset, queries: int, tiles: TileTable | None = None
) -> tuple[int, int]:
    """How many images have more objects (crowds apart) than the model has queries, and the most of any image.

    Each query is matched with one object at most, so what is beyond cannot be learned from. With ``tiles``,
    windows are counted.
    """
    counts = np.bincount(_objects(split, tiles)[0], minlength=1)
    return int((counts > queries).sum()), int(counts.max())


def objects_when_mixed(
    split: datasets.Dataset, mixing: Mixing, tiles: TileTable | None = None
) -> NDArray[np.int64]:
    """Objects of 1,000 images mixed at random, ``[1000]``, as if none were cut off or hidden.

    That is more than they hold, and costs no pixel. Images with masks have one segment of a stuff class. With
    ``tiles``, windows are mixed.
    """
    rows, classes = _objects(split, tiles)
    count = len(split) if tiles is None else len(tiles)
    rng, partners = np.random.default_rng(0), PARTNERS[mixing.mix.name]
    stuff_ids = mixing.stuff_ids if "panoptic" in split.column_names else []
    is_thing = ~np.isin(classes, stuff_ids)
    things = np.bincount(rows[is_thing], minlength=count)
    stuff = np.zeros((count, int(classes.max(initial=0)) + 1), bool)
    stuff[rows[~is_thing], classes[~is_thing]] = True
    drawn = rng.integers(count, size=(1000, 1 + partners))
    if mixing.mix.name == "copy_paste":
        own, partner = drawn.T
        return things[own] + stuff[own].sum(1) + rng.binomial(things[partner], PASTED_SHARE)
    return things[drawn].sum(1) + stuff[drawn].any(1).sum(1)


def aspects_of(split: datasets.Dataset) -> NDArray[np.float64]:
    """Height / width of every image, ``[rows]``; a resize that keeps the aspect keeps it."""
    return np.asarray(split["height"], np.float64) / np.asarray(split["width"], np.float64)


def _objects(
    split: datasets.Dataset, tiles: TileTable | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Row (or window) and class of every object that is no crowd."""
    if tiles is not None:
        return tiles.object_tiles, tiles.object_classes
    rows, classes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    batches = split.select_columns(["objects"]).with_format("arrow").iter(batch_size=ROWS_AT_ONCE)
    for at, batch in enumerate(batches):
        objects = batch["objects"].combine_chunks()
        crowds, categories = (pc.struct_field(objects, name) for name in ("iscrowd", "category"))
        single = ~pc.list_flatten(crowds).to_numpy(zero_copy_only=False).astype(bool)
        rows.append(at * ROWS_AT_ONCE + pc.list_parent_indices(crowds).to_numpy()[single])
        classes.append(pc.list_flatten(categories).to_numpy(zero_copy_only=False)[single].astype(np.int64))
    return np.concatenate(rows), np.concatenate(classes)
