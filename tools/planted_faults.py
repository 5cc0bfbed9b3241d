"""Plant label faults in the synthetic yard, and count how many of them `detr-hf review` finds.

    python tools/planted_faults.py plant runs/planted
    detr-hf review runs/planted/recipe.yaml --folds 3 --threshold 0
    python tools/planted_faults.py measure runs/planted

The yard's things are written as COCO boxes. A share of them is spoiled in five ways, each as often: removed,
invented where nothing is, of another class, moved, doubled. Of each kind that `review` tells apart, as many
of its first rows are looked at as faults were planted in the images that it judged, times 1.5. A row has
found a fault if it is of that kind and names its annotation, one of the two of a doubled object, or a box
that shares an IoU of 0.5 with a removed one.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.run import recipe_file
from detr_hf.files import write_json, write_text
from detr_hf.recipe import load_recipe, recipe_to_yaml
from detr_hf.sanitize import markdown_table

KINDS = ("missing", "unsupported", "class", "misplaced", "duplicate")
"""As `review` calls what was removed, invented, swapped, moved and doubled."""

TRIES = 1000
ROWS = 1.5  # rows looked at for each planted fault

Entry = dict[str, Any]


@dataclass(frozen=True)
class Planted:
    """One fault: its annotation, or of a removed one the id that it had, with its true box (x, y, w, h)."""

    kind: str
    image_id: int
    annotation_id: int
    bbox: list[float]


def plant(content: Entry, share: float, seed: int) -> tuple[Entry, list[Planted]]:
    """A COCO detection file with a share of its annotations spoiled, in equal parts of ``KINDS``."""
    rng = np.random.default_rng(seed)
    annotations: list[Entry] = [dict(one) for one in content["annotations"]]
    sizes = {one["id"]: (one["width"], one["height"]) for one in content["images"]}
    classes = [one["id"] for one in content["categories"]]
    each = round(share * len(annotations) / len(KINDS))
    chosen = iter(rng.permutation(len(annotations))[: each * len(KINDS)].tolist())
    planted, removed, added = [], set(), []
    next_id = max(one["id"] for one in annotations) + 1
    for kind in KINDS:
        for _ in range(each):
            entry = annotations[next(chosen)]
            if kind == "missing":
                removed.add(entry["id"])
            elif kind == "class":
                others = [one for one in classes if one != entry["category_id"]]
                entry["category_id"] = int(rng.choice(others))
            elif kind == "misplaced":
                true = entry["bbox"]
                entry["bbox"] = _moved(rng, true, sizes[entry["image_id"]])
                planted.append(Planted(kind, entry["image_id"], entry["id"], true))
                continue
            else:  # a new annotation, of the size or the place of the chosen one
                new = {**entry, "id": next_id}
                if kind == "duplicate":
                    new["bbox"] = _jittered(rng, entry["bbox"], sizes[entry["image_id"]])
                else:
                    new = _invented(rng, new, annotations + added, sizes)
                added.append(new)
                entry, next_id = new, next_id + 1
            planted.append(Planted(kind, entry["image_id"], entry["id"], entry["bbox"]))
    kept = [one for one in annotations if one["id"] not in removed] + added
    for one in kept:
        one["area"] = one["bbox"][2] * one["bbox"][3]
    return {**content, "annotations": kept}, planted


def _moved(rng: np.random.Generator, box: list[float], size_wh: tuple[int, int]) -> list[float]:
    """The box shifted, inside the image, so that its IoU with itself is 0.3 to 0.6."""
    for _ in range(TRIES):
        x, y, w, h = box
        new = [x + w * rng.uniform(-0.6, 0.6), y + h * rng.uniform(-0.6, 0.6), w, h]
        new = _inside(new, size_wh)
        if 0.3 <= _iou(new, [box])[0] <= 0.6:
            return new
    return _inside([x + w / 4, y + h / 4, w / 2, h / 2], size_wh)  # as large as the image: it shrinks


def _jittered(rng: np.random.Generator, box: list[float], size_wh: tuple[int, int]) -> list[float]:
    """The box with every side off by at most 5 %."""
    x, y, w, h = box
    dx, dy, dw, dh = rng.uniform(-0.05, 0.05, 4)
    return _inside([x + w * dx, y + h * dy, w * (1 + dw), h * (1 + dh)], size_wh)


def _invented(
    rng: np.random.Generator, like: Entry, annotations: Sequence[Entry], sizes: dict[int, tuple[int, int]]
) -> Entry:
    """An annotation of this class and size where no other overlaps it by more than an IoU of 0.1."""
    ids = sorted(sizes)
    for _ in range(TRIES):
        image_id = int(rng.choice(ids))
        width, height = sizes[image_id]
        w, h = min(like["bbox"][2], width), min(like["bbox"][3], height)
        box = [rng.uniform(0, width - w), rng.uniform(0, height - h), w, h]
        others = [one["bbox"] for one in annotations if one["image_id"] == image_id]
        if not others or _iou(box, others).max() <= 0.1:
            return {**like, "image_id": image_id, "bbox": [round(float(value), 2) for value in box]}
    raise AssertionError("there is no room for an invented object")


def _inside(box: list[float], size_wh: tuple[int, int]) -> list[float]:
    left, top = max(0.0, box[0]), max(0.0, box[1])
    right, bottom = min(box[0] + box[2], size_wh[0]), min(box[1] + box[3], size_wh[1])
    return [round(float(value), 2) for value in (left, top, right - left, bottom - top)]


def _iou(box: Sequence[float], others: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    boxes = np.array(others, np.float64)
    return np.asarray(coco_mask.iou(np.array([box], np.float64), boxes, [0] * len(boxes)))[0]


def yard_boxes(folder: Path) -> Entry:
    """The things of a split of the yard as COCO boxes."""
    content = json.loads((folder / "panoptic.json").read_text(encoding="utf-8"))
    things = [one for one in content["categories"] if one["isthing"]]
    known = {one["id"] for one in things}
    annotations = [
        {**segment, "id": 0, "image_id": entry["image_id"]}
        for entry in content["annotations"]
        for segment in entry["segments_info"]
        if segment["category_id"] in known
    ]
    for number, one in enumerate(annotations, start=1):
        one["id"] = number
    return {"images": content["images"], "annotations": annotations, "categories": things}


def write_planted(out: Path, share: float, seed: int) -> None:
    """The spoiled training images, the faults, and a recipe like the demo's that learns them."""
    data = out / "yard"
    ensure_dataset(data, {"train": 800, "validation": 100}, seed=0)
    spoiled, planted = plant(yard_boxes(data / "train"), share, seed)
    write_json(out / "train.json", spoiled)
    write_json(out / "validation.json", yard_boxes(data / "validation"))
    write_json(out / "faults.json", [asdict(one) for one in planted])
    files = {
        f"data.{name}": f"{{annotations: {out / name}.json, images: {data / name / 'images'}}}"
        for name in ("train", "validation")
    }
    # a fold has 533 images: 18 epochs are 594 steps, enough to rank by
    overrides = ["data.demo=null", "optim.epochs=18", *(f"{key}={value}" for key, value in files.items())]
    recipe = load_recipe(recipe_file("detection"), [*overrides, f"output_dir={out / 'run'}"])
    write_text(out / "recipe.yaml", recipe_to_yaml(recipe))
    kinds = ", ".join(f"{sum(one.kind == kind for one in planted)} {kind}" for kind in KINDS)
    print(f"{out}: {len(spoiled['annotations'])} annotations, faults: {kinds}")


def found_by(planted: Sequence[Planted], rows: Sequence[Entry]) -> list[list[Any]]:
    """For each kind: its name, planted, rows looked at, faults found among them, their share."""
    table = []
    for kind in KINDS:
        wanted = [one for one in planted if one.kind == kind]
        looked_at = [row for row in rows if row["kind"] == kind][: round(ROWS * len(wanted))]
        found = sum(any(_names(row, fault) for row in looked_at) for fault in wanted)
        share = f"{100 * found / len(wanted):.0f} %" if wanted else "-"
        table.append([kind, len(wanted), len(looked_at), found, share])
    return table


def _names(row: Entry, fault: Planted) -> bool:
    """Whether a row of the same kind points at the fault: its annotation, or the box of a removed one."""
    if row["image_id"] != fault.image_id:
        return False
    if fault.kind == "missing":
        return bool(_iou(row["box"], [fault.bbox])[0] >= 0.5)
    if fault.kind == "duplicate":  # either of the two may go
        return fault.annotation_id in (row["annotation_id"], row["other_id"])
    return bool(row["annotation_id"] == fault.annotation_id)


def main() -> None:
    """See the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("step", choices=("plant", "measure"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--share", type=float, default=0.05, help="of the annotations (default: 0.05)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--review", type=Path, help="what was found (default: FOLDER/run/review/review.json)")
    arguments = parser.parse_args()
    if arguments.step == "plant":
        write_planted(arguments.folder, arguments.share, arguments.seed)
        return
    planted = [Planted(**one) for one in json.loads((arguments.folder / "faults.json").read_text("utf-8"))]
    file = arguments.review or arguments.folder / "run" / "review" / "review.json"
    review = json.loads(file.read_text("utf-8"))
    judged = {image_id for ids in review["images"].values() for image_id in ids}
    planted = [one for one in planted if one.image_id in judged]
    print(markdown_table(["kind", "planted", "rows", "found", "share"], found_by(planted, review["rows"])))


if __name__ == "__main__":
    main()
