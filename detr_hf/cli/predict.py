"""`detr-hf predict`: what a model finds in photographs."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.cli.kinds import share

HELP = "Find objects in an image or in all images of a folder."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "model", help="a folder such as runs/panoptic/best, or a Hub id; `demo` is the tiny one"
    )
    parser.add_argument("images", help="an image file or a folder of images")
    parser.add_argument("--out", required=True, help="folder for the JSON files and drawn pictures")
    parser.add_argument("--threshold", type=share, default=0.85, help="least score, 0 to 1 (default: 0.85)")
    parser.add_argument("--device", help="for example cpu or cuda:1 (default: a GPU when there is one)")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from transformers.utils.logging import disable_progress_bar

    from detr_hf.demo.resolve import model_path
    from detr_hf.inference import Predictor, find_images, predict_to_folder

    disable_progress_bar()
    images = find_images(Path(arguments.images))
    predictor = Predictor.from_pretrained(model_path(arguments.model), arguments.threshold, arguments.device)
    records = predict_to_folder(predictor, images, Path(arguments.out))
    found = sum(len(record.get("segments", record["objects"])) for record in records)
    print(f"{len(records)} images, {found} objects above {arguments.threshold}: {arguments.out}")
