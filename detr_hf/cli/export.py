"""`detr-hf export`: a model for ONNX Runtime."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

HELP = "Write a model as ONNX and check it against PyTorch."
PLACE = 9
EXAMPLES = (
    "detr-hf export runs/my_photos/panoptic/best --out runs/onnx",
    "detr-hf export demo --out runs/onnx --check-images photos/",
)
PAGE = "export.md"

SHAPES_HW = ((240, 320), (320, 240), (256, 256), (180, 320))
"""Of the images that are drawn for the check, in pixels; the model sees them at its own size."""

MOST_CHECKED = 20
"""Of a larger folder so many images are taken, evenly."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "model",
        help="a folder such as RUN/best, or a Hub id; `demo`, `demo-deformable`: tiny models",
    )
    parser.add_argument("--format", choices=["onnx"], default="onnx", help="(default: onnx)")
    parser.add_argument("--out", required=True, help="folder to write; an earlier export there is replaced")
    parser.add_argument(
        "--opset", type=int, default=18, help="version of the ONNX operators, 18 to 23 (default: 18)"
    )
    parser.add_argument(
        "--check-images",
        metavar="IMAGES",
        help="an image or a folder of images to compare with PyTorch on (default: four drawn yards)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.errors import quantity
    from detr_hf.inputs import find_images

    given = None if arguments.check_images is None else find_images(Path(arguments.check_images))
    from detr_hf.demo.resolve import model_path
    from detr_hf.export import export_onnx

    images = _images(given)
    exported = export_onnx(model_path(arguments.model), Path(arguments.out), images, arguments.opset)
    found = exported.differences
    asked = f"{quantity(len(images), 'image')} in {quantity(found.passes, 'pass')}"
    print(f"as PyTorch on {asked}; largest differences: {found}")
    print(f"{exported.folder}: {exported.megabytes:.1f} MB, opset {arguments.opset}")


def _images(files: list[Path] | None) -> list[np.ndarray]:
    """Those to compare on, ``uint8 [H, W, 3]``."""
    if files is None:
        from detr_hf.demo.scene import draw_scene

        return [draw_scene(0, at, size_hw).image for at, size_hw in enumerate(SHAPES_HW)]
    from detr_hf.inference import as_rgb

    return [as_rgb(file) for file in files[:: -(-len(files) // MOST_CHECKED)]]
