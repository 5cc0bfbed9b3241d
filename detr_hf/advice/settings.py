"""The advice: from facts to settings, each with its reason. The numbers stand in the tables at the top.

They are rules of thumb: `docs/init.md` says which are measured and which are estimates.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from detr_hf.advice.facts import Facts, Gpu, Start
from detr_hf.advice.resize import Resize, resize_for
from detr_hf.errors import quantity
from detr_hf.seen_sizes import NetworkInput


@dataclass(frozen=True)
class Setting:
    """One line of a recipe: its dotted key, its value, and why (one sentence, may be empty)."""

    key: str
    value: Any
    reason: str = ""


@dataclass(frozen=True)
class BySize:
    """What suits so many images, up to ``images``. Estimates, but for the row of the shipped recipe."""

    images: float
    batch: int
    epochs: int
    freeze: str
    panoptic_epochs: int


BY_SIZE = (  # docs/choosing.md has the same table
    BySize(50, batch=4, epochs=300, freeze="all", panoptic_epochs=60),
    BySize(200, batch=8, epochs=200, freeze="all", panoptic_epochs=50),
    BySize(500, batch=8, epochs=100, freeze="all", panoptic_epochs=40),
    BySize(2_000, batch=16, epochs=100, freeze="stem_and_first_stage", panoptic_epochs=25),
    BySize(15_000, batch=16, epochs=80, freeze="stem_and_first_stage", panoptic_epochs=25),
    BySize(50_000, batch=16, epochs=50, freeze="stem_and_first_stage", panoptic_epochs=15),
    BySize(math.inf, batch=16, epochs=30, freeze="stem_and_first_stage", panoptic_epochs=10),
)
TINY_STEPS, TINY_BATCH = 1000, 16  # of the demo: what the tiny checkpoint needs, in minutes on a CPU
GB_AN_IMAGE, GB_FIXED, USABLE = 2.1, 2.0, 0.9  # of DETR at a short edge of 800: docs/choosing.md
MOST_AT_ONCE = 16
NARROW = 16  # pixels in the network: where the median object is narrower, windows are worth their price
WIDE = 24  # pixels that it is to have in windows, or one cell of the network's map
TILE_STEP, LEAST_TILE = 160, 320  # pixels; smaller windows would be enlarged more than twice
SHORT_RUN = 5000  # steps, in which the new class head learns faster than the rest
SMALL_IMAGE = 1_000_000  # pixels that are read in less time than another process costs
RARE = ((20_000, 0.01), (math.inf, 0.001))  # up to so many images: classes in a smaller share are rare
LEAST_FOR_RARE = 300  # images; a hundredth of fewer is nothing to go by
COCO_BOXES = 100  # of an image that COCO's AP counts


def tiles_for(facts: Facts, start: Start) -> Setting | None:
    """`data.tiles` where photographs are large and their objects would be too small in the network."""
    short, long = facts.edges_px
    seen = _seen(resize_for(short, start.is_tiny), start)
    sides, cell = facts.sides_px(seen), seen.stride
    if not len(sides) or (median := float(np.median(sides))) >= NARROW:
        return None
    side = float(np.median(facts.sides_px()))
    size = max(LEAST_TILE, int(side * seen.short_edge / max(cell, WIDE)) // TILE_STEP * TILE_STEP)
    if short <= seen.short_edge or long < 1.5 * size:  # nothing is made smaller, or windows gain little
        return None
    largest = float(np.quantile(facts.sides_px(), 0.9))
    overlap = min(0.5, max(0.2, math.ceil(20 * largest / size) / 20))
    value = {"size": size, "overlap": overlap, "keep_empty": 0.2}
    reason = (
        f"of whole images, the median object ({side:.0f} px) is {median:.0f} px wide in the network, whose "
        f"cells have {cell}; in windows of {size} px it is {side * seen.short_edge / size:.0f} px"
    )
    return Setting("data.tiles", value, reason)


def detection_settings(facts: Facts, start: Start, gpu: Gpu) -> list[Setting]:
    """Stage 1, in the order of a recipe, without where things are; ``facts`` as seen in the tiles, if any."""
    row, resize = _row(facts), _resize(facts, start, gpu)
    found = [precision(start, gpu), *data_settings(facts, start, gpu)]
    found += _transforms(resize)
    found += [Setting("model.pretrained", start.checkpoint, _why_start(facts, start))]
    if not start.is_tiny:
        found.append(_freeze(facts))
    found += queries(facts, start)
    found += _optimization(facts, start, gpu, row)
    return found


def panoptic_settings(facts: Facts, start: Start, gpu: Gpu) -> list[Setting]:
    """Stage 2, likewise; the detector and the mask head are places, and not among them."""
    row, resize = _row(facts), _resize(facts, start, gpu)
    batch = _batch(facts, start, row)
    micro, why = micro_batch(batch, start, gpu, resize, masks=True)
    found = [precision(start, gpu), *data_settings(facts, start, gpu, micro), *_transforms(resize)]
    steps = max(1, facts.to_train_on // batch)
    epochs = _tiny_epochs(facts, steps, 0.3) if start.is_tiny else row.panoptic_epochs
    found += [
        Setting("optim.epochs", epochs, _why_epochs(epochs, steps) + "; the mask head alone learns"),
        Setting("optim.batch_size", batch),
        Setting("optim.micro_batch_size", micro, why),
        Setting("optim.lr", 5e-4 if start.is_tiny else 1e-4, "" if start.is_tiny else "as DETR's authors"),
        Setting("optim.schedule", _schedule(start, 0.6)),
        *_evaluation(epochs, micro),
    ]
    return found


def precision(start: Start, gpu: Gpu) -> Setting:
    """`mixed_precision`."""
    if start.is_tiny or not gpu.memory:
        return Setting(
            "mixed_precision",
            "no",
            "a CPU gains nothing by bf16" if not gpu.memory else "so small a network gains nothing by bf16",
        )
    if gpu.has_bf16:
        return Setting(
            "mixed_precision",
            "bf16",
            f"{gpu.name}: half the memory; box head, matching and losses stay in float32",
        )
    return Setting(
        "mixed_precision",
        "fp16",
        f"{gpu.name} has no bf16; the loss is scaled, box head and losses stay in float32",
    )


def data_settings(facts: Facts, start: Start, gpu: Gpu, micro: int | None = None) -> Iterator[Setting]:
    """Of the section `data`, but for its place and its tiles."""
    if facts.overfits:
        why = f"too few for a validation split: both use the same {quantity(facts.images, 'image')}"
        yield Setting("data.overfit", facts.images, why)
    elif not facts.validation:
        count = max(1, round(facts.images * facts.held_out))
        yield Setting(
            "data.validation_fraction",
            facts.held_out,
            f"there is no validation split: {count} of {facts.images} images are held out, always the same",
        )
    share = next(share for most, share in RARE if facts.images <= most)
    rare = {name: facts.class_images[name] for name in facts.things}
    rare = {name: count for name, count in rare.items() if 0 < count < share * facts.images}
    if rare and facts.images >= LEAST_FOR_RARE:
        few = sorted(rare.items(), key=lambda item: item[1])[:4]
        names = ", ".join(f"{name} {count}" for name, count in few)
        why = f"rare classes, in images: {names}; their images are shown more often"
        yield Setting("data.repeat_threshold", share, why)
    micro = micro or micro_batch(_batch(facts, start, _row(facts)), start, gpu, _resize(facts, start, gpu))[0]
    if 0.1 <= facts.portrait_share <= 0.9 and micro > 1 and not facts.windows:
        yield Setting(
            "data.batching",
            "aspect",
            f"{facts.portrait_share:.0%} of the images are upright; images of one shape need less padding",
        )
    short, long = facts.edges_px
    if start.is_tiny and short * long <= SMALL_IMAGE:
        yield Setting("data.workers", 0, "images this small load faster in the training process itself")
    else:
        count, why = (8, "loading processes for each GPU") if gpu.memory else (2, "loading processes")
        yield Setting("data.workers", count, why)


def queries(facts: Facts, start: Start) -> Iterator[Setting]:
    """`model.num_queries`, and the weight of "no object" that goes with it."""
    most, where = facts.most_objects, "window" if facts.windows else "image"
    count = start.queries
    if most > count:
        count = math.ceil(1.1 * most / 25) * 25
        why = (
            f"the fullest {where} has {most} objects, each takes a query, the checkpoint has {start.queries}"
        )
        if most > COCO_BOXES:
            why += f"; COCO's AP counts the {COCO_BOXES} best boxes of an image"
        yield Setting("model.num_queries", count, why)
    if start.no_object is not None and (start.is_tiny or count != start.queries):
        weight = float(f"{min(1.0, start.no_object * start.queries / count):.2g}")
        yield Setting(
            "loss.eos_coefficient",
            weight,
            f'the weight of "no object" goes with 1 / queries: DETR\'s 0.1 is for 100, here are {count}',
        )


def micro_batch(batch: int, start: Start, gpu: Gpu, resize: Resize, masks: bool = False) -> tuple[int, str]:
    """`optim.micro_batch_size`: the most of the batch that fits, by an estimate; and why."""
    if start.is_tiny:
        return min(8, batch), ""
    if not gpu.memory:
        return min(2, batch), "no GPU: memory is the machine's, and a step takes long"
    image = GB_AN_IMAGE * start.memory * (resize.largest / 800) ** 2 * (2 if masks else 1)
    fits = int((USABLE * gpu.memory - GB_FIXED) / image)
    micro = max(size for size in (1, 2, 4, 8, MOST_AT_ONCE) if size <= min(fits, batch) or size == 1)
    return micro, (
        f"an estimate for {gpu.name} ({gpu.memory:.0f} GB); --find-batch-size finds the most that fits. "
        "It sets memory, not the result"
    )


def _optimization(facts: Facts, start: Start, gpu: Gpu, row: BySize) -> Iterator[Setting]:
    batch = _batch(facts, start, row)
    steps = max(1, facts.to_train_on // batch)
    micro, why = micro_batch(batch, start, gpu, _resize(facts, start, gpu))
    epochs = _tiny_epochs(facts, steps) if start.is_tiny else max(5, round(row.epochs * start.epochs / 5) * 5)
    yield Setting("optim.epochs", epochs, _why_epochs(epochs, steps))
    yield Setting("optim.batch_size", batch, "images of a step, over all GPUs together")
    yield Setting("optim.micro_batch_size", micro, why)
    if start.is_tiny:
        yield Setting("optim.lr", 5e-4, "the tiny checkpoint's rates")
        yield Setting("optim.backbone_lr", 5e-4)
        yield Setting("optim.class_head_lr", 2e-3, "the one new layer")
    elif epochs * steps <= SHORT_RUN:
        yield Setting("optim.class_head_lr", 1e-3, "the one new layer, in a short run at ten times the rate")
    if start.family == "deformable" and not start.is_tiny:
        yield Setting("optim.lr", 1e-4, "its authors' 2e-4 is for batches of 32")
        if _freeze(facts).value != "all":
            yield Setting("optim.backbone_lr", 1e-5)
    yield Setting(
        "optim.schedule",
        _schedule(start, 0.75),
        "" if start.is_tiny else "expect a step up where the rates drop",
    )
    yield from _evaluation(epochs, micro)


def _transforms(resize: Resize) -> list[Setting]:
    return [
        Setting("transforms.train", resize.train, resize.reason),
        Setting("transforms.validation", resize.validation),
    ]


def _evaluation(epochs: int, micro: int) -> list[Setting]:
    every = max(1, round(epochs / 40))  # some forty points of a curve
    return [
        Setting("evaluation.every", every, "epochs"),
        Setting("evaluation.batch_size", micro),
    ]


def _schedule(start: Start, drop_at: float) -> dict[str, Any]:
    return {"name": "cosine"} if start.is_tiny else {"name": "step", "drop_at": drop_at, "factor": 0.1}


def _tiny_epochs(facts: Facts, steps: int, share: float = 1.0) -> int:
    longest = 400 if facts.overfits else 60
    return min(longest, max(3, math.ceil(share * TINY_STEPS / steps)))


def _row(facts: Facts) -> BySize:
    return next(row for row in BY_SIZE if facts.to_train_on <= row.images)


def _batch(facts: Facts, start: Start, row: BySize) -> int:
    """A power of two, no more than there are images."""
    largest = TINY_BATCH if start.is_tiny else row.batch
    return min(largest, 1 << (max(1, facts.to_train_on).bit_length() - 1))


def _resize(facts: Facts, start: Start, gpu: Gpu) -> Resize:
    return resize_for(facts.edges_px[0] if not facts.windows else LEAST_TILE, start.is_tiny, bool(gpu.memory))


def _seen(resize: Resize, start: Start) -> NetworkInput:
    return NetworkInput(resize.largest, resize.max_long_edge, start.stride)


def _why_epochs(epochs: int, steps: int) -> str:
    return f"{quantity(steps, 'step')} an epoch, {epochs * steps} in all"


def _freeze(facts: Facts) -> Setting:
    """By the number of photographs, into however many windows they are cut."""
    freeze = next(row.freeze for row in BY_SIZE if facts.images <= row.images)
    few = "few images teach a backbone little that is true of others"
    return Setting("model.freeze_backbone", freeze, few if freeze == "all" else "as DETR was trained")


def _why_start(facts: Facts, start: Start) -> str:
    if start.is_tiny:
        return (
            f"offline: the tiny checkpoint of the package, for a try; the real one is {start.real}: with "
            "a network, run `detr-hf init` again, which then writes its sizes and rates"
        )
    if start.family != "detr":
        return "for boxes only: it has no mask head"
    return "only the class head is new" + ("" if facts.masks == "none" else ", and a mask head fits it")
