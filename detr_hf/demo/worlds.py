"""What a drawn world consists of, and the construction yard that the demo learns.

Ids, names and colors of the yard are those of the construction data set.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from detr_hf.demo import things_yard as yard
from detr_hf.demo.canvas import Sketch

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
    """Its classes; images of `scale` times the sides show so many times more things."""

    name: str
    things: tuple[Thing, ...]
    stuff: tuple[Stuff, ...]
    scale: int = 1

    @property
    def classes(self) -> tuple[Thing | Stuff, ...]:
        """Things first."""
        return (*self.things, *self.stuff)


# An image of a machine, in a data set of machines, is usually taken from close by.
_BIG, _MIDDLE, _SMALL = (0.42, 0.66), (0.34, 0.56), (0.28, 0.44)

YARD = World(
    "yard",
    (
        Thing(1, "aac_blocks", (220, 20, 60), yard.aac_blocks, _MIDDLE, (0.06, 0.05)),
        Thing(6, "concrete_mixer_machine", (0, 60, 100), yard.concrete_mixer_machine, _MIDDLE, (0.04, 0.1)),
        Thing(11, "dump_truck___tipper_truck", (100, 170, 30), yard.dump_truck, _BIG, (0.03, 0.08)),
        Thing(16, "fire_extinguishers", (255, 77, 255), yard.fire_extinguishers, _SMALL),
        Thing(22, "hydra_crane", (174, 57, 255), yard.hydra_crane, _BIG, (0.03, 0.06)),
        Thing(29, "rcc_hume_pipes", (0, 220, 176), yard.rcc_hume_pipes, _MIDDLE, (0.07, 0.08)),
        Thing(31, "river_sand", (92, 0, 73), yard.river_sand, _MIDDLE, (0.16, 0.12)),
        Thing(42, "transit_mixer", (109, 63, 54), yard.transit_mixer, _BIG, (0.03, 0.06)),
        Thing(46, "water_tank", (84, 105, 51), yard.water_tank, _MIDDLE, (0.02, 0.04)),
        Thing(47, "wheel_loader", (74, 65, 105), yard.wheel_loader, _BIG, (0.03, 0.08)),
    ),
    (
        Stuff(100, "building", (82, 18, 128), "building"),
        Stuff(105, "ground", (146, 112, 198), "ground"),
        Stuff(106, "plant", (92, 136, 89), "plant"),
        Stuff(108, "sky", (241, 129, 0), "sky"),
        Stuff(110, "structural", (124, 74, 181), "fence"),
    ),
)


def seen_wide(world: World, scale: int) -> World:
    """The same world in images of `scale` times the sides, with things of half as many pixels a side."""
    if scale == 1:
        return world
    shares = ((one.size[0] / (2 * scale), one.size[1] / (2 * scale)) for one in world.things)
    things = tuple(replace(one, size=size) for one, size in zip(world.things, shares, strict=True))
    return replace(world, things=things, scale=scale)


def categories_of(world: World) -> list[dict[str, Any]]:
    """The world's categories as COCO panoptic writes them: things first, each part by id."""
    return [
        {
            "id": entry.source_id,
            "name": entry.name,
            "isthing": int(isinstance(entry, Thing)),
            "color": list(entry.color),
            "supercategory": entry.supercategory,
        }
        for entry in world.classes
    ]
