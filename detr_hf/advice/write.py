"""Recipes for a data set, written: `detr-hf init`, and `detr-hf train` of a data folder."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.advice.facts import GPUS, MOSTLY, Start
from detr_hf.advice.look import Looked, in_tiles, look_at
from detr_hf.advice.machine import available_gpu, start_for
from detr_hf.advice.recipe_text import recipe_text
from detr_hf.advice.resize import resize_for
from detr_hf.advice.settings import Setting, detection_settings, panoptic_settings, tiles_for
from detr_hf.errors import UserError, quantity
from detr_hf.files import unwritable, write_text
from detr_hf.recipe import Split, recipe_from_text
from detr_hf.run_folder import SOURCE_FILE
from detr_hf.seen_sizes import NetworkInput

SHOWN_CLASSES = 12
ANY_NAME = ("data", "dataset", "_annotations.coco", "annotations", "instances_default")
"""Files that exports of every data set have; a run is called after their folder."""


@dataclass(frozen=True)
class Places:
    """Where everything goes.

    Attributes:
        detection, panoptic: files of the recipes.
        runs: folder of both runs, and of the data set where outlines become id maps.
    """

    detection: Path
    panoptic: Path
    runs: Path

    @property
    def converted(self) -> Path:
        return self.runs / "data"

    @property
    def source(self) -> Path:
        """Where `detr-hf train` notes the data set that the recipes were written for."""
        return self.runs / SOURCE_FILE


@dataclass(frozen=True)
class Written:
    """The recipes, and what to say of them."""

    places: Places
    looked: Looked
    settings: list[Setting]  # of stage 1
    has_masks: bool  # whether there is a recipe of stage 2
    is_converted: bool  # whether both recipes read `places.converted`, which is still to be made
    data: Split
    words: list[str]  # what was found in the data, a line each
    texts: dict[Path, str]  # of the recipes, by file

    def save(self) -> None:
        """Write the recipes.

        Raises:
            UserError: one cannot be written.
        """
        for file, text in self.texts.items():
            with unwritable(file):
                file.parent.mkdir(parents=True, exist_ok=True)
            write_text(file, text)

    def commands(self) -> list[str]:
        """The next ones, from a look at the data to predictions."""
        places, data = self.places, shlex.quote(str(self.data.path))
        recipes = [places.detection, *([places.panoptic] if self.has_masks else [])]
        stages = [f"detr-hf train {shlex.quote(str(recipe))}" for recipe in recipes]
        if self.is_converted:
            converted = shlex.quote(str(places.converted))
            return [f"detr-hf convert {data} {converted} --to coco-panoptic", *stages]
        run = places.runs / ("panoptic" if self.has_masks else "detection")
        test = self.looked.facts.test
        last = f"detr-hf evaluate {run} --split {test[0]}" if test else f"detr-hf report {run}"
        first = [] if self.has_masks else [f"detr-hf check {data}"]
        predict = f"detr-hf predict {run / 'best'} photos/ --out {places.runs / 'found'}"
        return [*first, *stages, last, predict]


def places_for(out: Path, data: Path, family: str = "detr") -> Places:
    """`recipe.yaml` and `recipe-panoptic.yaml`, and a folder in `runs/` that is called after the data.

    Families share none: `runs/photos`, `runs/photos-deformable`. It is never the data's own folder, as
    `runs/photos` would be of `runs/photos`.
    """
    whole = data.resolve()
    own = whole.parent.name if whole.stem in ANY_NAME and whole.is_file() else whole.stem
    name = re.sub(r"[^\w.-]+", "-", whole.name if whole.is_dir() else own).strip("-.") or "data"
    name += "" if family == "detr" else f"-{family}"
    if (Path("runs") / name).resolve() == whole:
        name += "-runs"
    return Places(out, out.with_name(f"{out.stem}-panoptic{out.suffix}"), Path("runs") / name)


def write_recipes(
    data: str | Split,
    places: Places,
    family: str = "detr",
    gpu: str | None = None,
    force: bool = False,
) -> Written:
    """Make the recipes for a data set, and write them.

    Args:
        data, places, family, gpu: see `make_recipes`.
        force: overwrite recipes that are there.

    Raises:
        UserError: a recipe is there already or cannot be written, or `look_at` refuses the data.
    """
    for file in (places.detection, places.panoptic):
        if file.exists() and not force:
            raise UserError(f"{file}: is there already; give another --out, or --force to overwrite it.")
    made = make_recipes(data, places, family, gpu)
    made.save()
    return made


def make_recipes(data: str | Split, places: Places, family: str = "detr", gpu: str | None = None) -> Written:
    """Look at a data set and make the recipe of stage 1, and that of stage 2 where it has masks.

    Args:
        data: a path of any format.
        places: see `places_for`.
        family: of `STARTS`.
        gpu: of `GPUS`; None: the one that is there.

    Raises:
        UserError: `look_at` refuses the data.
    """
    split = Split(path=data) if isinstance(data, str) else data
    looked = look_at(split)
    start, machine = start_for(family), GPUS[gpu] if gpu else available_gpu()
    tiles = tiles_for(looked.facts, start)
    facts = in_tiles(looked, tiles.value) if tiles else looked.facts
    has_masks = facts.masks != "none" and start.mask_head is not None
    is_converted = has_masks and facts.masks == "outlines"
    source = str(places.converted) if is_converted else _place(split)
    where = [Setting("data.train", source, _why_converted(split) if is_converted else _format(looked, split))]
    where += [tiles] if tiles else []
    settings = detection_settings(facts, start, machine)
    texts = {places.detection: _detection(places, looked, start, [*where, *settings])}
    if has_masks:
        masks = [*where, *panoptic_settings(facts, start, machine)]
        texts[places.panoptic] = _panoptic(places, looked, start, masks)
    for file, text in texts.items():
        recipe_from_text(text, source=str(file))  # what is written can be read
    shown = [tiles, *settings] if tiles else settings
    words = list(facts_in_words(looked, start))
    return Written(places, looked, shown, has_masks, is_converted, split, words, texts)


def _place(split: Split) -> Any:
    given = {name: getattr(split, name) for name in ("path", "format", "images", "panoptic")}
    given = {name: value for name, value in given.items() if value is not None}
    return given["path"] if len(given) == 1 else given


def _format(looked: Looked, split: Split) -> str:
    return looked.remark.removeprefix(f"{split.path}: ")


def _why_converted(split: Split) -> str:
    return (
        f"the outlines of {split.path} as id maps; detr-hf convert makes it. Both stages read it, so that no "
        "image that one validates on is trained on by the other"
    )


def _detection(places: Places, looked: Looked, start: Start, settings: list[Setting]) -> str:
    head = ["Stage 1: find objects (boxes). The reasons for the numbers stand beside them.", ""]
    recipe = shlex.quote(str(places.detection))
    head += [f"  detr-hf train {recipe}", f"  accelerate launch -m detr_hf.train {recipe}"]
    head += [
        "",
        "The second uses every GPU that Accelerate is configured for.",
        "",
        *facts_in_words(looked, start),
    ]
    top = [Setting("output_dir", str(places.runs / "detection"), "last/ and best/, numbers, report.html")]
    best = [Setting("checkpoint.best", "AP", "what best/ is chosen by")]
    return recipe_text(head, "detection", _in_order(top + settings + best))


def _panoptic(places: Places, looked: Looked, start: Start, settings: list[Setting]) -> str:
    head = [
        "Stage 2: masks for what stage 1 finds. First: detr-hf train " + shlex.quote(str(places.detection)),
        "",
    ]
    head += [f"  detr-hf train {shlex.quote(str(places.panoptic))}"]
    top = [Setting("output_dir", str(places.runs / "panoptic"))]
    model = [
        Setting("model.detector", str(places.runs / "detection" / "best"), "what stage 1 leaves"),
        Setting("model.mask_head", start.mask_head, "knows masks, no classes, and fits any"),
    ]
    best = [Setting("checkpoint.best", "PQ", "what best/ is chosen by")]
    return recipe_text(head, "panoptic", _in_order(top + settings + model + best))


ORDER = ("", "data", "transforms", "model", "loss", "optim", "evaluation", "checkpoint")


def _in_order(settings: list[Setting]) -> list[Setting]:
    return sorted(settings, key=lambda one: ORDER.index(one.key.rpartition(".")[0]))


def facts_in_words(looked: Looked, start: Start) -> Iterator[str]:
    """What was found in the data, a line each."""
    facts = looked.facts
    test = f", {facts.test[1]} {facts.test[0]} images" if facts.test else ""
    validation = f"{facts.validation} validation images" if facts.validation else "no validation split"
    yield f"{quantity(facts.images, 'training image')}, {validation}{test}"
    if facts.test:
        yield f"the {facts.test[0]} split is kept for `detr-hf evaluate RUN --split {facts.test[0]}`"
    yield f"{quantity(len(facts.things), 'class')} of things: {_first(facts.things)}"
    if facts.stuff:
        yield f"{len(facts.stuff)} of stuff: {_first(facts.stuff)}"
    if empty := [name for name, count in facts.class_images.items() if not count]:
        yield f"without an object in training: {_first(empty)}"
    short, long = facts.edges_px
    yield f"images: median {short} px short edge, {long} px long edge"
    resize = resize_for(short, start.is_tiny)
    seen = facts.sides_px(NetworkInput(resize.largest, resize.max_long_edge, start.stride))
    low, middle, high = np.quantile(seen, (0.1, 0.5, 0.9))
    own = np.median(facts.sides_px())
    yield (
        f"objects: median {own:.0f} px wide (shorter side); of whole images resized, {middle:.0f} px in the "
        f"network, eight of ten {low:.0f} to {high:.0f}"
    )
    yield f"the fullest image has {quantity(facts.most_objects, 'object')}"
    yield {
        "none": _why_no_masks(facts.outline_share),
        "outlines": f"outlines ({facts.outline_share:.0%} of the objects): stage 2 can learn masks",
        "id maps": "id maps: stage 2 can learn masks",
    }[facts.masks]


def _why_no_masks(share: float) -> str:
    found = f"{share:.0%} of the objects have an outline"
    if not share:
        return f"boxes alone ({found}): no stage 2"
    return (
        f"{found} that is more than the rectangle of its box, {MOSTLY:.0%} would be enough for masks: "
        "no stage 2. To learn masks all the same: `detr-hf convert DATA OUT --to coco-panoptic`, then"
        " `detr-hf train OUT`"
    )


def _first(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_CLASSES} more" if len(names) > SHOWN_CLASSES else ""
    return ", ".join(names[:SHOWN_CLASSES]) + more
