"""`detr-hf compare`: runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.errors import UserError

HELP = "Compare runs on one page: metrics, settings that differ, and curves."
PLACE = 7
EXAMPLES = (
    "detr-hf compare runs/my_photos/detection runs/other",
    "detr-hf compare runs/first runs/second runs/third --out runs/compare.html",
)
PAGE = "report.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folders", metavar="RUN", nargs="+", help="run folders, two or more")
    parser.add_argument(
        "--out", metavar="FILE", default="compare.html", help="the page (default: compare.html)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    if len(arguments.folders) < 2:
        raise UserError("compare: give two run folders or more.")
    from detr_hf.run_folder import RunFolder

    folders = [RunFolder.open(Path(folder)).path for folder in arguments.folders]
    from detr_hf.report.compare import compare_runs, comparison_text, write_comparison

    found = compare_runs(folders)
    print(comparison_text(found))
    print(f"\npage: {write_comparison(found, Path(arguments.out))}")
