"""The street: the world that the tiny checkpoint is pretrained on.

It shares no thing class with the demo's yard; the five kinds of stuff are the same paintings under the names
that COCO panoptic gives them. Ids, names and colors are COCO panoptic's.
"""

from __future__ import annotations

from detr_hf.demo.worlds import Stuff, Thing, World
from tools.pretrain_tiny import things_moving as moving
from tools.pretrain_tiny import things_standing as standing

_BIG, _MIDDLE, _SMALL = (0.34, 0.58), (0.26, 0.46), (0.19, 0.34)

STREET = World(
    "street",
    (
        Thing(3, "car", (0, 0, 142), moving.car, _MIDDLE, supercategory="vehicle"),
        Thing(4, "motorcycle", (0, 0, 230), moving.motorcycle, _MIDDLE, supercategory="vehicle"),
        Thing(5, "airplane", (106, 0, 228), moving.airplane, _MIDDLE, flies=True, supercategory="vehicle"),
        Thing(6, "bus", (0, 60, 100), moving.bus, _BIG, supercategory="vehicle"),
        Thing(7, "train", (0, 80, 100), moving.train, _BIG, supercategory="vehicle"),
        Thing(8, "truck", (0, 0, 70), moving.truck, _BIG, (0.03, 0.06), supercategory="vehicle"),
        Thing(9, "boat", (0, 0, 192), moving.boat, _MIDDLE, supercategory="vehicle"),
        Thing(10, "traffic light", (250, 170, 30), standing.traffic_light, _SMALL, supercategory="outdoor"),
        Thing(11, "fire hydrant", (100, 170, 30), standing.fire_hydrant, _SMALL, supercategory="outdoor"),
        Thing(13, "stop sign", (220, 220, 0), standing.stop_sign, _SMALL, supercategory="outdoor"),
        Thing(15, "bench", (250, 0, 30), standing.bench, _MIDDLE, (0.05, 0.06), supercategory="outdoor"),
        Thing(21, "cow", (120, 166, 157), moving.cow, _MIDDLE, (0.06, 0.06), supercategory="animal"),
        Thing(28, "umbrella", (0, 125, 92), standing.umbrella, _MIDDLE, supercategory="accessory"),
        Thing(33, "suitcase", (0, 220, 176), standing.suitcase, _SMALL, supercategory="accessory"),
        Thing(44, "bottle", (197, 226, 255), standing.bottle, _SMALL, (0.01, 0.02), supercategory="kitchen"),
        Thing(
            64,
            "potted plant",
            (163, 255, 0),
            standing.potted_plant,
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
