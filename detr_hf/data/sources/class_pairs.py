"""Which class PNG belongs to which image: by what their paths have in common."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from detr_hf.data.image_files import ImageFiles

_LABEL_FOLDERS = frozenset(
    {"masks", "mask", "labels", "label", "annotations", "annotation", "annot", "ann_dir", "gt", "gtfine"}
    | {"gtcoarse", "groundtruth", "segmentation", "segmentations", "segmentationclass", "semantic"}
    | {"labeledapproved_full", "label_images_semantic"}
)
_IMAGE_FOLDERS = frozenset(
    {"images", "image", "img", "imgs", "img_dir", "leftimg8bit", "jpegimages", "rgb", "original_images"}
    | {"701_stillsraw_full"}
)
_LABEL_ENDING = re.compile(r"(.+?)[_-]?(?:labels?|masks?|annot|annotations?|gt)")  # of a folder: train_labels
_LABEL_STEM = re.compile(
    r"(.+?)(?:_gt(?:Fine|Coarse)_labelIds|_labelIds|_masks?|_labels?|_seg|_semantic|_gt|_L)"
)
_IMAGE_STEM = re.compile(r"(.+?)(?:_leftImg8bit)")
_SURE_STEM = re.compile(r".+(?:_labelIds|_masks?|_labels?)")  # says so outside of a folder of labels, too
_INSTANCES = re.compile(r"(.+?)_gt(?:Fine|Coarse)_instanceIds")
_OTHERS = re.compile(r".+_(?:color|labelTrainIds|labelLevel\d+Ids)")
_SPLITS = {"training": "train", **{name: name for name in ("train", "val", "valid", "validation", "test")}}


@dataclass
class Pair:
    """An image and its class PNG, by their names within the folder; either may be missing."""

    image: str | None = None
    png: str | None = None
    instances: str | None = None
    split: str = "train"


@dataclass
class Pairs:
    """All pairs by split, each sorted by image, and the PNGs that belong to none."""

    by_split: dict[str, list[Pair]] = field(default_factory=dict)
    not_read: list[str] = field(default_factory=list)


def find_pairs(files: ImageFiles) -> Pairs:
    """Pair the images of a folder; a folder or a stem with "mask", "label" or the like holds class PNGs.

    Layouts: Cityscapes (leftImg8bit, gtFine), CamVid (train, train_labels), ADE20K (images/training,
    annotations/training), `images` beside `masks`, `labels` or `annotations`, and x.jpg beside x_mask.png.
    """
    images: dict[str, Pair] = {}
    labels: list[tuple[list[str], str]] = []
    instances: dict[str, str] = {}
    pairs = Pairs()
    for name in files.names:
        folders, in_labels = _without_kind(PurePosixPath(name).parts[:-1])
        stem, is_png = PurePosixPath(name).stem, name.lower().endswith(".png")
        in_images = any(part.lower() in _IMAGE_FOLDERS for part in PurePosixPath(name).parts[:-1])
        if found := _INSTANCES.fullmatch(stem):
            instances[_key(folders, found[1])] = name
        elif in_labels and (not is_png or _OTHERS.fullmatch(stem)):
            pairs.not_read.append(name)
        elif is_png and (in_labels or (not in_images and _SURE_STEM.fullmatch(stem))):
            short = _LABEL_STEM.fullmatch(stem)
            labels.append(([_key(folders, one) for one in (stem, short[1] if short else stem)], name))
        else:
            short = _IMAGE_STEM.fullmatch(stem)
            key = _key(folders, short[1] if short else stem)
            # Of two images of one stem, each is a pair of its own, so that none is lost.
            images[key if key not in images else name] = Pair(image=name, split=_split_of(folders))
    for keys, name in labels:
        own = next((one for one in keys if one in images and images[one].png is None), name)
        pair = images.setdefault(own, Pair(split=_split_of(keys[0].split("/"))))
        pair.png, pair.instances = name, instances.get(keys[-1])
    for pair in sorted(images.values(), key=lambda one: one.image or one.png or ""):
        pairs.by_split.setdefault(pair.split, []).append(pair)
    pairs.by_split = {split: pairs.by_split[split] for split in _in_order(pairs.by_split)}
    return pairs


def _without_kind(parts: Iterable[str]) -> tuple[list[str], bool]:
    """The folders without what says image or label, and whether one says label."""
    folders, in_labels = [], False
    for part in (part.lower() for part in parts):
        if part in _LABEL_FOLDERS:
            in_labels = True
        elif found := _LABEL_ENDING.fullmatch(part):
            in_labels = True
            folders.append(found[1])
        elif part not in _IMAGE_FOLDERS:
            folders.append(re.sub(r"[_-](?:images?|imgs?)$", "", part))
    return folders, in_labels


def _key(folders: list[str], stem: str) -> str:
    return "/".join([*folders, stem])


def _split_of(folders: list[str]) -> str:
    return next((_SPLITS[folder] for folder in folders if folder in _SPLITS), "train")


def _in_order(splits: Iterable[str]) -> list[str]:
    order = list(_SPLITS.values())
    return sorted(splits, key=order.index)
