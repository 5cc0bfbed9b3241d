"""What a run prints before its first step: device, data, weights, where a sheet of augmented samples is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError, quantity
from detr_hf.geometry import boxes_cxcywh_to_xyxy, denormalize_boxes
from detr_hf.images import save_image
from detr_hf.labels import LabelMap
from detr_hf.loading.balance import images_with_more_objects, objects_when_mixed, split_objects
from detr_hf.loading.collate import Target
from detr_hf.loading.dataset import DetectionDataset
from detr_hf.loading.loaders import load_sample
from detr_hf.modeling.backbones import map_stride
from detr_hf.recipe import DetectionRecipe
from detr_hf.run_folder import SAMPLES_FILE
from detr_hf.seen_sizes import largest_input, small_classes
from detr_hf.training.start_lines import device_line, lines_on_resuming, steps_line
from detr_hf.training.state import Run
from detr_hf.visualize.boxes import UnscoredBoxes, draw_detections
from detr_hf.visualize.panoptic import draw_panoptic
from detr_hf.visualize.sheets import contact_sheet

COLUMNS = 4  # of the sheet


def report_start(run: Run, data: DataBundle, weights: str) -> None:
    """Print what the run is made of and save the sheet of samples; the main process does.

    Args:
        run: before its first step.
        data: of the run.
        weights: where they come from, the text of a ``LoadReport``.
    """
    if not run.accelerator.is_main_process:
        return
    print(device_line(run))
    for line in lines_on_resuming(run):
        print(line)
    kind = "training" if data.stream is None else "streamed training"
    sizes = {
        "train": run.train_loader.dataset.rows.num_images,
        "validation": run.validation_loader.dataset.rows.num_images,
    }
    things, stuff = len(data.labels.thing_ids), len(data.labels.stuff_ids)
    learned = sum(p.numel() for p in run.task.parameters() if p.requires_grad)
    every = sum(p.numel() for p in run.task.parameters())
    validation = quantity(sizes["validation"], "validation image")
    classes = quantity(data.labels.num_classes, "class")
    print(f"data: {sizes['train']} {kind} and {validation}; ", end="")
    print(f"{classes} ({quantity(things, 'thing')}, {stuff} stuff)")
    for line in _tile_lines(run):
        print(f"  {line}")
    for note in data.notes:
        print(f"  note: {note}")
    for note in _notes_on_fit(run, data):
        print(f"  note: {note}")
    print(f"model: {learned:,} of {every:,} parameters learn\n  " + weights.replace("\n", "\n  "))
    if isinstance(run.recipe, DetectionRecipe) and (groups := run.recipe.loss.query_groups) > 1:
        print(f"  {groups} query groups learn; only the model's own is saved")
    print(f"{steps_line(run)}; output: {run.folder}")
    skip_bad = run.recipe.data.on_bad_sample == "skip"
    path = save_training_grid(
        run.train_loader.dataset, data.labels, run.folder / SAMPLES_FILE, skip_bad=skip_bad
    )
    print(f"augmented training samples: {path}", flush=True)


def _tile_lines(run: Run) -> Iterator[str]:
    """What data.tiles makes of the training images."""
    rows, settings = run.train_loader.dataset.rows, run.recipe.data.tiles
    if settings is None:
        return
    if rows.tiles is None:
        yield f"tiles: one window of {settings.size} px of each image that streams by, another one each time"
        return
    windows, empty = len(rows.tiles), int(rows.tiles.is_empty.sum())
    shown = run.steps_per_epoch * run.recipe.optim.batch_size
    yield (
        f"tiles: {quantity(windows, 'window')} of {settings.size} px, {empty} of them without a thing; "
        f"an epoch shows {shown}"
    )
    if windows == rows.num_images and settings.keep_empty > 0:
        yield f"note: no training image is larger than {settings.size} px, so data.tiles changes nothing"


def _notes_on_fit(run: Run, data: DataBundle) -> Iterator[str]:
    """What the model cannot see or learn of this data."""
    queries = run.task.family.num_queries(run.task.model.config)
    tiles = run.train_loader.dataset.rows.tiles
    crowded, most = 0, 0
    if data.stream is None:
        crowded, most = images_with_more_objects(data.dataset["train"], queries, tiles)
    if crowded:
        what = "images" if tiles is None else "windows"
        yield (
            f"{crowded} of the training {what} hold more objects (up to {most}) than the model has queries "
            f"({queries}); in each the {queries} that match best are learned, the others are not"
        )
    yield from _notes_on_sizes(run, data)
    yield from _note_on_mixing(run, data, queries)
    yield from _note_on_no_object(run, queries)
    side, size_hw = run.task.patch_side, _first_size(run.validation_loader.dataset)
    if side is not None and size_hw is not None and any(pixels % side for pixels in size_hw):
        yield (
            f"the backbone sees whole patches of {side} pixels only, and the first validation image is "
            f"{size_hw[0]} x {size_hw[1]}: its rim is lost, and boxes come out stretched. Sizes that are "
            f"multiples of {side} both ways lose nothing (transforms)"
        )


def _notes_on_sizes(run: Run, data: DataBundle) -> list[str]:
    """Classes whose objects the network will hardly see."""
    if data.stream is not None:
        return []
    stride = map_stride(run.task.family.backbone(run.task.detector), run.task.detector.config)
    transforms, tiles = run.recipe.transforms, run.recipe.data.tiles
    lists = (transforms.train, transforms.validation)
    seen = largest_input(lists, stride, None if tiles is None else tiles.size)
    if seen is None:
        return []
    found = split_objects(data.dataset["train"])
    sides, names = seen.sides_px(found.boxes_wh_px, found.sizes_hw), data.labels.names
    return small_classes({name: sides[found.classes == label] for label, name in enumerate(names)}, seen)


def _note_on_mixing(run: Run, data: DataBundle, queries: int) -> Iterator[str]:
    """A bound from the counts alone: to measure it, hundreds of images would have to be loaded."""
    mixing = run.train_loader.dataset.mixing
    if mixing is None or data.stream is not None:
        return
    counts = objects_when_mixed(data.dataset["train"], mixing, run.train_loader.dataset.rows.tiles)
    if (share := float((counts > queries).mean())) > 0:
        yield (
            f"of the images that transforms.mix makes, up to {max(share, 0.01):.0%} hold more objects (up to "
            f"{counts.max()}) than the model has queries ({queries}); that is without what is cut off or "
            f"hidden, and {SAMPLES_FILE} shows how many are left"
        )


def _note_on_no_object(run: Run, queries: int) -> Iterator[str]:
    """The usual weight of "no object" balances DETR's 100 queries."""
    recipe, family = run.recipe, run.task.family
    if not isinstance(recipe, DetectionRecipe) or recipe.model.num_queries is None:
        return
    usual = family.defaults.losses.eos_coefficient
    if family.scores.has_no_object and recipe.loss.eos_coefficient == usual and queries != 100:
        yield (
            f'the weight of "no object" ({usual:g}) balances 100 queries; for {queries}, '
            f"loss.eos_coefficient={min(1.0, usual * 100 / queries):.2g} keeps the balance"
        )


def _first_size(dataset: DetectionDataset) -> tuple[int, int] | None:
    try:
        return dataset[0, 0][1]["size_hw"]
    except UserError:  # a broken image is reported when it is loaded, as the recipe says
        return None


def save_training_grid(
    dataset: DetectionDataset, labels: LabelMap, path: str | Path, count: int = 16, skip_bad: bool = False
) -> Path:
    """Draw the first samples of epoch 0 as the model will see them, boxes and (in stage 2) masks over them.

    Args:
        dataset: the training split with its augmentation.
        labels: names and colors.
        path: of the sheet; its folder is made when missing.
        count: samples, spread evenly over the split.
        skip_bad: show another one for a sample that cannot be loaded.

    Returns:
        The path of the sheet.

    Raises:
        UserError: one of the samples cannot be loaded, and is not to be skipped.
    """
    images, titles = [], []
    for key in dataset.rows.preview_keys(count):
        sample = load_sample(dataset, key, skip_bad)
        target = sample.target
        images.append(draw_sample(_colors(sample.image, dataset), target, labels))
        height, width = target["size_hw"]
        held = quantity(len(target["class_labels"]), "object")
        titles.append(f"image {target['image_id']}, {width}x{height}, {held}")
    path = Path(path)
    save_image(contact_sheet(images, columns=COLUMNS, titles=titles), path)
    return path


def draw_sample(image: np.ndarray, target: Target, labels: LabelMap) -> Image.Image:
    """One augmented image ``uint8 [h, w, 3]`` with its target: masks where it has them, then boxes."""
    classes = target["class_labels"].numpy()
    if "id_map" in target:
        ids = target["segment_ids"].tolist()
        segments = [(i, c, None) for i, c in zip(ids, classes.tolist(), strict=True)]
        image = np.asarray(draw_panoptic(image, target["id_map"].numpy(), segments, labels, names=False))
    boxes = denormalize_boxes(boxes_cxcywh_to_xyxy(target["boxes_cxcywh_norm"].numpy()), image.shape[:2])
    return draw_detections(image, UnscoredBoxes(boxes, classes), labels, truth=True)


def _colors(pixels: Tensor, dataset: DetectionDataset) -> np.ndarray:
    """Undo the normalization: ``float32 [3, h, w]`` to ``uint8 [h, w, 3]``."""
    colors = pixels.permute(1, 2, 0).numpy() * np.asarray(dataset.std) + np.asarray(dataset.mean)
    return np.clip(colors * 255 + 0.5, 0, 255).astype(np.uint8)
