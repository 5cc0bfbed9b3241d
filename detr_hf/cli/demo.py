"""`detr-hf demo`: both stages offline."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.errors import UserError

HELP = "Run both stages on synthetic construction yards: minutes, without download or GPU."
PLACE = 11
EXAMPLES = (
    "detr-hf demo",
    "detr-hf demo --from-raw --out runs/raw-demo",
)
PAGE = "demo.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "--out", default="runs/demo", help="folder for data, runs and summary (default: runs/demo)"
    )
    parser.add_argument(
        "--compare-scratch",
        action="store_true",
        help="also train stage 1 from random weights, for the same number of steps",
    )
    parser.add_argument(
        "--from-raw",
        action="store_true",
        help="start from raw class folders: prepare them, with pseudo-labeled stuff, then both stages",
    )
    parser.add_argument(
        "--mess", action="store_true", help="with --from-raw: folders with the errors that real data has"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    if arguments.mess and not arguments.from_raw:
        raise UserError("--mess spoils raw folders; give it with --from-raw.")
    if arguments.compare_scratch and arguments.from_raw:
        raise UserError("--compare-scratch belongs to the plain demo; leave it or --from-raw out.")
    from detr_hf.train import run as run_recipe

    if arguments.from_raw:
        from detr_hf.demo.from_raw import run_from_raw
        from detr_hf.demo.raw_layout import RawSpec

        run_from_raw(run_recipe, Path(arguments.out) / "from-raw", RawSpec(mess=arguments.mess))
        return
    from detr_hf.demo.run import run_demo

    run_demo(run_recipe, Path(arguments.out), compare_scratch=arguments.compare_scratch)
