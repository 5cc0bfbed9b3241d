"""`detr-hf convert`: a data set in another format."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.cli.number_types import count
from detr_hf.errors import UserError, quantity
from detr_hf.files import require_outside
from detr_hf.foreign_files import no_such

HELP = "Write a data set in another format, with its faults repaired or left out and listed."
PLACE = 2  # behind check, by its name
EXAMPLES = (
    "detr-hf convert data/my_photos data/my_panoptic --to coco-panoptic",
    "detr-hf convert data/yolo data/coco --to coco --copy-images",
)
PAGE = "convert.md"
FORMATS = ("coco", "coco-panoptic", "yolo", "hf")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("path", metavar="PATH", help="the data set, in any format that can be read")
    parser.add_argument("out", metavar="OUT", help="a new folder")
    parser.add_argument("--to", required=True, choices=FORMATS, help="format to write")
    parser.add_argument("--format", help="format to read (default: detected)")
    parser.add_argument("--images", metavar="DIR", help="image folder, if it is not in PATH")
    parser.add_argument("--panoptic", metavar="DIR", help="folder of the PNG id maps, if it is not in PATH")
    parser.add_argument("--copy-images", action="store_true", help="COCO: copy the images into OUT")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if anything was changed")
    parser.add_argument("--threads", type=count, help="images read at a time (default: one for each core)")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    path, out = Path(arguments.path), Path(arguments.out)
    for folder in (path, arguments.images, arguments.panoptic):
        if folder is not None and not Path(folder).exists():
            raise UserError(f"{folder}: {no_such(folder)}")
    require_outside(out, path)
    from detr_hf.data.convert import convert, lines_of
    from detr_hf.data.open_data import open_split
    from detr_hf.data.sinks import sinks
    from detr_hf.data.sinks.base import CHANGES_FILE
    from detr_hf.recipe import Split

    folders = {"images": arguments.images, "panoptic": arguments.panoptic}
    opened, recognized = open_split(Split(path=str(path), format=arguments.format, **folders), str(path))
    print(recognized)
    made = convert(opened, out, arguments.to, arguments.copy_images, arguments.threads)
    print(f"{out}: {sinks()[arguments.to].TITLE}")
    for split, images_read in made.read.items():
        written = made.written[split]
        kept = f"{written.get('images', 0)} of {quantity(images_read, 'image')}"
        print(f"  {split}: {kept}, {quantity(written.get('objects', 0), 'object')}")
    if made.report.found:
        print("\n".join(["what was found; all of it is in " + CHANGES_FILE, *lines_of(made.report)]))
    if arguments.strict and not made.is_unchanged:
        raise SystemExit(1)
