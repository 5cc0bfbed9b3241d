"""`detr-hf init`: a recipe for a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such

HELP = "Write a recipe for a data set, with the reason for each setting."
PLACE = 2.6
EXAMPLES = (
    "detr-hf init data/my_photos",
    "detr-hf init data/my_photos --family deformable --gpu t4",
)
PAGE = "init.md"
FAMILIES = ("detr", "deformable", "conditional", "dab")
GPUS = ("t4", "l4", "a10", "a100", "a100-80", "h100", "h200", "cpu")
OUT = "recipe.yaml"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("path", metavar="PATH", help="the data set: a folder or file of any format")
    parser.add_argument(
        "--out",
        default=OUT,
        metavar="FILE",
        help=f"the recipe (default: {OUT}); that of stage 2 is written beside it",
    )
    parser.add_argument("--family", choices=FAMILIES, default="detr", help="the network to start from")
    parser.add_argument("--gpu", choices=GPUS, help="GPU to train on (default: the one of this machine)")
    parser.add_argument("--format", help="format of the data, if it is not detected: coco, yolo, voc, ...")
    parser.add_argument("--images", metavar="DIR", help="image folder, if it is not in PATH")
    parser.add_argument("--panoptic", metavar="DIR", help="folder of the PNG id maps, if it is not in PATH")
    parser.add_argument("--force", action="store_true", help="overwrite an existing recipe")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    path, out = Path(arguments.path), Path(arguments.out)
    if not path.exists():
        raise UserError(f"{path}: {no_such(path)}")
    if out.suffix not in (".yaml", ".yml"):
        raise UserError(f"--out {out}: a recipe is a file that ends in .yaml")
    if out.exists() and not arguments.force:
        raise UserError(f"{out}: is there already; give another --out, or --force to overwrite it.")
    from detr_hf.advice.summary import next_steps, summary
    from detr_hf.advice.write import places_for, write_recipes
    from detr_hf.recipe import Split

    named = {"format": arguments.format, "images": arguments.images, "panoptic": arguments.panoptic}
    split = Split(path=str(path), **named)
    written = write_recipes(
        split, places_for(out, path, arguments.family), arguments.family, arguments.gpu, force=arguments.force
    )
    print(summary(written))
    print(next_steps(written))
