"""What the two worlds consist of: the construction yard, and the street of the tiny model's pretraining.

Both are painted by the same code. They share no thing class; the five kinds of stuff are the same paintings
under the names that each vocabulary gives them. Ids, names and colors of the yard are those of the
construction data set, those of the street are COCO panoptic's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from detr_hf.demo import things_kerbside as kerb
from detr_hf.demo import things_street as street
from detr_hf.demo import things_yard as yard
from detr_hf.demo.canvas import Sketch
from detr_hf.errors import UserError

WorldName = Literal["yard", "street"]
Rgb = tuple[int, int, int]


@dataclass(frozen=True)
class Thing:
    """One class of things.

    `size` is the range of sqrt(width x height) at the front of the scene, as a share of sqrt(image width x
    height); `grain` the strength of the noise on its surface (grain, patches); `flies` puts some specimens
    into the sky.
    """

    source_id: int
    name: str
    color: Rgb
    paint: Callable[[Sketch, np.random.Generator], None]
    size: tuple[float, float]
    grain: tuple[float, float] = (0.03, 0.05)
    flies: bool = False
    supercategory: str = ""


@dataclass(frozen=True)
class Stuff:
    """One class of stuff and the painter's role (see `stuff.STUFF_ROLES`) that stands for it."""

    source_id: int
    name: str
    color: Rgb
    role: str
    supercategory: str = ""


@dataclass(frozen=True)
class World:
    name: str
    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]


_BIG, _MIDDLE, _SMALL = (0.34, 0.58), (0.26, 0.46), (0.19, 0.34)
# Whoever photographs a machine for a data set of machines stands close to it.
_CLOSE_BIG, _CLOSE_MIDDLE, _CLOSE_SMALL = (0.42, 0.66), (0.34, 0.56), (0.28, 0.44)

YARD = World(
    "yard",
    (
        Thing(1, "aac_blocks", (220, 20, 60), yard.aac_blocks, _CLOSE_MIDDLE, (0.06, 0.05)),
        Thing(
            6, "concrete_mixer_machine", (0, 60, 100), yard.concrete_mixer_machine, _CLOSE_MIDDLE, (0.04, 0.1)
        ),
        Thing(11, "dump_truck___tipper_truck", (100, 170, 30), yard.dump_truck, _CLOSE_BIG, (0.03, 0.08)),
        Thing(16, "fire_extinguishers", (255, 77, 255), yard.fire_extinguishers, _CLOSE_SMALL),
        Thing(22, "hydra_crane", (174, 57, 255), yard.hydra_crane, _CLOSE_BIG, (0.03, 0.06)),
        Thing(29, "rcc_hume_pipes", (0, 220, 176), yard.rcc_hume_pipes, _CLOSE_MIDDLE, (0.07, 0.08)),
        Thing(31, "river_sand", (92, 0, 73), yard.river_sand, _CLOSE_MIDDLE, (0.16, 0.12)),
        Thing(42, "transit_mixer", (109, 63, 54), yard.transit_mixer, _CLOSE_BIG, (0.03, 0.06)),
        Thing(46, "water_tank", (84, 105, 51), yard.water_tank, _CLOSE_MIDDLE, (0.02, 0.04)),
        Thing(47, "wheel_loader", (74, 65, 105), yard.wheel_loader, _CLOSE_BIG, (0.03, 0.08)),
    ),
    (
        Stuff(100, "building", (82, 18, 128), "building"),
        Stuff(105, "ground", (146, 112, 198), "ground"),
        Stuff(106, "plant", (92, 136, 89), "plant"),
        Stuff(108, "sky", (241, 129, 0), "sky"),
        Stuff(110, "structural", (124, 74, 181), "fence"),
    ),
)

STREET = World(
    "street",
    (
        Thing(3, "car", (0, 0, 142), street.car, _MIDDLE, supercategory="vehicle"),
        Thing(4, "motorcycle", (0, 0, 230), street.motorcycle, _MIDDLE, supercategory="vehicle"),
        Thing(5, "airplane", (106, 0, 228), street.airplane, _MIDDLE, flies=True, supercategory="vehicle"),
        Thing(6, "bus", (0, 60, 100), street.bus, _BIG, supercategory="vehicle"),
        Thing(7, "train", (0, 80, 100), street.train, _BIG, supercategory="vehicle"),
        Thing(8, "truck", (0, 0, 70), street.truck, _BIG, (0.03, 0.06), supercategory="vehicle"),
        Thing(9, "boat", (0, 0, 192), street.boat, _MIDDLE, supercategory="vehicle"),
        Thing(10, "traffic light", (250, 170, 30), kerb.traffic_light, _SMALL, supercategory="outdoor"),
        Thing(11, "fire hydrant", (100, 170, 30), kerb.fire_hydrant, _SMALL, supercategory="outdoor"),
        Thing(13, "stop sign", (220, 220, 0), kerb.stop_sign, _SMALL, supercategory="outdoor"),
        Thing(15, "bench", (250, 0, 30), kerb.bench, _MIDDLE, (0.05, 0.06), supercategory="outdoor"),
        Thing(21, "cow", (120, 166, 157), street.cow, _MIDDLE, (0.06, 0.06), supercategory="animal"),
        Thing(28, "umbrella", (0, 125, 92), kerb.umbrella, _MIDDLE, supercategory="accessory"),
        Thing(33, "suitcase", (0, 220, 176), kerb.suitcase, _SMALL, supercategory="accessory"),
        Thing(44, "bottle", (197, 226, 255), kerb.bottle, _SMALL, (0.01, 0.02), supercategory="kitchen"),
        Thing(
            64,
            "potted plant",
            (163, 255, 0),
            kerb.potted_plant,
            _SMALL,
            (0.1, 0.1),
            supercategory="furniture",
        ),
    ),
    (
        Stuff(184, "tree-merged", (107, 142, 35), "plant", "plant"),
        Stuff(185, "fence-merged", (190, 153, 153), "fence", "structural"),
        Stuff(187, "sky-other-merged", (70, 130, 180), "sky", "sky"),
        Stuff(194, "dirt-merged", (208, 229, 228), "ground", "ground"),
        Stuff(197, "building-other-merged", (116, 112, 0), "building", "building"),
    ),
)

WORLDS: dict[str, World] = {world.name: world for world in (YARD, STREET)}


def world_named(name: str) -> World:
    """The world of that name.

    Raises:
        UserError: there is no such world.
    """
    if name not in WORLDS:
        raise UserError(f"There is no demo world called {name!r}; the worlds are {', '.join(WORLDS)}.")
    return WORLDS[name]


def world_categories(world: WorldName) -> list[dict[str, Any]]:
    """The world's categories as COCO panoptic writes them: things first, each part by id."""
    known = world_named(world)
    return [_category(entry, isthing=1) for entry in known.things] + [
        _category(e, isthing=0) for e in known.stuff
    ]


def _category(entry: Thing | Stuff, isthing: int) -> dict[str, Any]:
    return {
        "id": entry.source_id,
        "name": entry.name,
        "isthing": isthing,
        "color": list(entry.color),
        "supercategory": entry.supercategory,
    }
