"""What the tools of other formats wrote (`tools/foreign_sets.py`) is read as what they were given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detr_hf.data.id_maps import id_map_bytes
from detr_hf.data.repair import Repair
from detr_hf.data.repair_objects import decoded_mask
from detr_hf.data.sample import Sample
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Place
from detr_hf.images import decode_id_map, decode_image, decode_labels

FOREIGN = Path(__file__).parent / "foreign"
if not FOREIGN.exists() and not (Path(__file__).parents[2] / ".git").exists():
    pytest.skip("a source distribution is without these sets", allow_module_level=True)
TRUTH: dict[str, Any] = json.loads((FOREIGN / "truth.json").read_text())
SIZE_HW = (40, 48)
ROUNDED, SHARES, EXACT = 0.005, 1e-4, 1e-6  # pixels: two digits, six digits of a share of 48 pixels, and all
CUT_OFF = 1.0  # pixels: what is behind the point is cut off from x, y, width and height

SETS = {  # the format that is recognized, what was written, and how far a coordinate may be off
    "datumaro/coco": ("coco", "drawn", ROUNDED),
    "datumaro/coco_rle": ("coco", "masks", 0.0),
    "datumaro/coco_panoptic": ("coco-panoptic", "masks", 0.0),
    "datumaro/cvat": ("cvat-xml", "drawn", ROUNDED),
    "datumaro/yolo": ("yolo", "boxes", SHARES),
    "datumaro/yolo_ultralytics": ("yolo", "boxes", SHARES),
    "datumaro/voc": ("voc", "boxes", EXACT),
    "datumaro/voc_detection": ("voc", "boxes", EXACT),
    "datumaro/voc_segmentation": ("voc-panoptic", "masks", 0.0),
    "datumaro/voc_instance_segmentation": ("voc-panoptic", "masks", 0.0),
    "datumaro/label_me": ("voc", "outlines", EXACT),  # LabelMe's XML has outlines alone
    "datumaro/camvid": ("class-pngs", "classes", 0.0),
    "datumaro/cityscapes": ("class-pngs", "classes", 0.0),
    "label_studio/json": ("label-studio", "drawn", EXACT),
    "label_studio/brush": ("label-studio", "masks", 0.0),
    "label_studio/coco": ("coco", "drawn", EXACT),
    "label_studio/yolo": ("yolo", "drawn", EXACT),
    "label_studio/voc": ("voc", "boxes of boxes", CUT_OFF),  # outlines are not written
}


def outline_of(found: dict[str, Any]) -> np.ndarray:
    """Its points in pixels, float [P, 2]."""
    if "polygon" in found:
        return np.array(found["polygon"], float).reshape(-1, 2)
    x, y, w, h = found["box"]
    return np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])


def box_of(found: dict[str, Any]) -> list[float]:
    (x0, y0), (x1, y1) = outline_of(found).min(0), outline_of(found).max(0)
    return [x0, y0, x1 - x0, y1 - y0]


def require_drawn(sample: Sample, truth: list[dict[str, Any]], atol: float, kind: str) -> None:
    """The same boxes, and where these were written the same outlines, point by point."""
    assert [one.category for one in sample.objects] == [one["class"] for one in truth]
    for here, there in zip(sample.objects, truth, strict=True):
        assert not here.iscrowd
        np.testing.assert_allclose(here.bbox, box_of(there), atol=atol, rtol=0)
        if kind == "outlines" or (kind == "drawn" and "polygon" in there):
            (polygon,) = here.segmentation
            np.testing.assert_allclose(np.reshape(polygon, (-1, 2)), outline_of(there), atol=atol, rtol=0)
        else:
            assert not here.segmentation


def masks_in(sample: Sample) -> Iterator[tuple[str | None, np.ndarray]]:
    """The class and the mask bool [H, W] of each object."""
    id_map = decode_id_map(id_map_bytes(sample)) if sample.id_map is not None else None
    for one in sample.objects:
        assert not one.iscrowd
        mask = decoded_mask(one.segmentation, SIZE_HW) if id_map is None else id_map == one.id
        assert mask is not None
        yield one.category, mask


def require_painted(sample: Sample, name: str, by_class: bool) -> None:
    """The same pixels, of each object or of each class."""
    numbers = decode_labels(FOREIGN / "truth/objects" / name)
    masks = [(one["class"], numbers == at) for at, one in enumerate(TRUTH[name]["objects"], start=1)]
    if by_class:
        classes = dict.fromkeys(name for name, _ in masks)
        masks = [(name, np.any([mask for one, mask in masks if one == name], axis=0)) for name in classes]
    given = list(masks_in(sample))
    assert [name for name, _ in given] == [name for name, _ in masks]
    for (_, here), (_, there) in zip(given, masks, strict=True):
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("path", SETS)
def test_a_foreign_set_is_read_as_it_was_drawn(path: str) -> None:
    format_name, kind, atol = SETS[path]
    door, opened = open_place(Place(FOREIGN / path, path))
    assert format_name == door.FORMAT
    tool = path.partition("/")[0]
    assert list(opened.splits) == (["train", "val"] if tool == "datumaro" else ["train"])
    read = {}
    for split, source in opened.splits.items():
        for sample in source.samples():
            # Label Studio puts a hash before the name, Cityscapes has a word behind it.
            name = Path(sample.file_name).name.rpartition("__")[2].replace("_leftImg8bit", "")
            assert name not in read and (len(opened.splits) == 1 or TRUTH[name]["split"] == split)
            read[name] = Repair()(sample)
    assert set(read) == set(TRUTH)
    for name, repaired in read.items():
        truth, sample = TRUTH[name]["objects"], repaired.sample
        if not truth and sample is None:  # a format without a word for "nothing in it"
            assert repaired.issues
            continue
        assert sample is not None and sample.size_hw == SIZE_HW
        assert [issue for issue in repaired.issues if issue.is_error] == []
        np.testing.assert_array_equal(
            decode_image(sample.image), decode_image(FOREIGN / "truth/images" / name)
        )
        if kind in ("masks", "classes"):
            require_painted(sample, name, by_class=kind == "classes")
        else:
            truth = [one for one in truth if kind != "boxes of boxes" or "box" in one]
            require_drawn(sample, truth, atol, kind)


def test_no_foreign_set_is_left_out() -> None:
    kept = {path.relative_to(FOREIGN).as_posix() for path in FOREIGN.glob("*/*") if path.is_dir()}
    assert kept - {"truth/images", "truth/objects"} == set(SETS)
