"""The yard as raw exports: what an annotator's folders look like before anything is prepared.

``raw/<class>/images/*.jpg`` and ``raw/<class>/coco.json`` (CVAT's "COCO 1.0") hold the polygons of one class
a folder. Other things in an image are not annotated, and no stuff is. The full truth of the images is in
``truth/panoptic.json`` and ``truth/panoptic/``, which preparing does not read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detr_hf.demo.dataset import (
    JPEG,
    SPEC_NAME,
    Entries,
    refuse_strange,
    spec_of,
    write_id_map,
    write_image,
    write_panoptic_json,
)
from detr_hf.demo.raw_mess import add_faults, write_untidily
from detr_hf.demo.scene import Scene, draw_scene
from detr_hf.demo.worlds import YARD, Thing
from detr_hf.errors import UserError
from detr_hf.files import replacing

LAYOUT_VERSION = 1  # raise it whenever the same arguments would write other files
ALONE = 0.8
"""Share of the images that show the folder's class alone, as most images of one material do."""

_SIZES_HW = ((240, 320), (240, 320), (240, 320), (240, 240), (320, 240))
_OUTLINE_SCALE = 4  # outlines are traced on the mask at this scale, so that they run along pixel edges
_OUTLINE_SLACK_PX = 0.4
_MIN_PART_PX = 6.0
_MOST_IMAGES = 10_000
_ATTEMPTS = 50


@dataclass(frozen=True)
class RawSpec:
    """A raw yard: images in a class folder, the seed, and whether it is as untidy as real ones."""

    per_class: int = 90
    seed: int = 0
    mess: bool = False


@dataclass(frozen=True)
class RawFolders:
    """The folders of a raw yard: what to prepare, and the truth."""

    raw: Path
    truth: Path


def ensure_raw(folder: str | Path, spec: RawSpec) -> RawFolders:
    """Write the raw yard into ``folder`` unless the very same one is there; complete or not at all.

    Raises:
        UserError: a number out of range, or the folder holds something else than a demo set.
    """
    target = Path(folder)
    content = {"generator": "raw yard", "version": LAYOUT_VERSION, **asdict(spec)}
    folders = RawFolders(target / "raw", target / "truth")
    if not 0 < spec.per_class <= _MOST_IMAGES or spec.seed < 0:
        raise UserError(
            f"The raw yard needs 1 to {_MOST_IMAGES} images a class and a seed of 0 or more; got "
            f"{spec.per_class} and {spec.seed}."
        )
    if spec_of(target) == content:
        return folders
    refuse_strange(target)
    with replacing(target) as partial:
        _write(partial, spec)
        (partial / SPEC_NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return folders


def _write(folder: Path, spec: RawSpec) -> None:
    truth, entries = folder / "truth", list[Entries]()
    (truth / "panoptic").mkdir(parents=True)

    def add_truth(file_name: str, scene: Scene) -> None:
        image_id = len(entries) + 1
        entries.append(write_id_map(truth / "panoptic" / f"{image_id:06d}.png", scene, image_id, file_name))

    for number, thing in enumerate(YARD.things):
        images = folder / "raw" / thing.name / "images"
        images.mkdir(parents=True)
        export = _empty_export(thing)
        for index, scene in enumerate(_scenes(thing, number, spec)):
            listed = f"{thing.name}_{index:04d}.jpg"
            image = images / listed
            if spec.mess:
                listed, image = write_untidily(images, thing.name, index, scene.image)
            else:
                write_image(image, scene.image, JPEG)
            _annotate(export, listed, scene)
            add_truth(f"{thing.name}/images/{image.name}", scene)
            if index == 0:
                first = scene
        if spec.mess:
            add_truth(f"{thing.name}/images/{add_faults(images.parent, export)}", first)
        (images.parent / "coco.json").write_text(json.dumps(export), encoding="utf-8")
    write_panoptic_json(truth, entries)


def _scenes(thing: Thing, number: int, spec: RawSpec) -> Iterator[Scene]:
    """Scenes that show the class, most of them no other; the same ones for the same arguments."""
    names = [other.name for other in YARD.things if other is not thing]
    for index in range(spec.per_class):
        rng = np.random.default_rng([spec.seed, number, index])
        size_hw = _SIZES_HW[int(rng.integers(len(_SIZES_HW)))]
        company = [] if rng.random() < ALONE else rng.choice(names, 2, replace=False).tolist()
        first = (number * _MOST_IMAGES + index) * _ATTEMPTS
        for attempt in range(_ATTEMPTS):
            scene = draw_scene(spec.seed, first + attempt, size_hw, [thing.name, *company])
            if any(segment["category"] == thing.name for segment in scene.segments):
                yield scene
                break
        else:
            raise AssertionError(f"{thing.name} in none of {_ATTEMPTS} scenes")


def _empty_export(thing: Thing) -> dict[str, Any]:
    """CVAT's COCO file of a class folder, without images."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "", "version": ""},
        "categories": [{"id": thing.source_id, "name": thing.name, "supercategory": ""}],
        "images": [],
        "annotations": [],
    }


def _annotate(export: dict[str, Any], file_name: str, scene: Scene) -> None:
    """List an image with polygons of the export's one class, and nothing of any other."""
    [category], images, annotations = (export[name] for name in ("categories", "images", "annotations"))
    height, width = scene.id_map.shape
    image_id = len(images) + 1
    images.append({"id": image_id, "width": width, "height": height, "file_name": file_name, "license": 0})
    masks = [scene.id_map == s["id"] for s in scene.segments if s["category"] == category["name"]]
    for mask in masks:
        if not (outlines := outlines_of(mask)):
            continue
        corners = np.concatenate([np.reshape(outline, (-1, 2)) for outline in outlines])
        (x0, y0), (x1, y1) = corners.min(0), corners.max(0)
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": image_id,
                "category_id": category["id"],
                "segmentation": outlines,
                "area": float(mask.sum()),
                "bbox": [round(float(v), 2) for v in (x0, y0, x1 - x0, y1 - y0)],
                "iscrowd": 0,
                "attributes": {"occluded": len(outlines) > 1},
            }
        )


def outlines_of(mask: np.ndarray) -> list[list[float]]:
    """The outer outlines of a mask ``bool [H, W]`` as polygons x0, y0, x1, y1, ... in pixels.

    Holes are filled and specks left out, as annotators do; a thing that another one cuts in two has two.
    """
    large = np.repeat(np.repeat(mask.astype(np.uint8), _OUTLINE_SCALE, 0), _OUTLINE_SCALE, 1)
    contours, _ = cv2.findContours(large, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    outlines = []
    for contour in contours:
        if cv2.contourArea(contour) < _MIN_PART_PX * _OUTLINE_SCALE**2:
            continue
        corners = cv2.approxPolyDP(contour, _OUTLINE_SLACK_PX * _OUTLINE_SCALE, closed=True)[:, 0]
        if len(corners) >= 3:
            pixels = (corners.astype(np.float64) + 0.5) / _OUTLINE_SCALE
            outlines.append([round(float(value), 2) for value in pixels.ravel()])
    return outlines
