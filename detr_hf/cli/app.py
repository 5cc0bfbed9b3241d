"""`detr-hf app`: a web page around a model."""

from __future__ import annotations

import argparse
from pathlib import Path

from detr_hf.cli.number_types import port, share
from detr_hf.errors import UserError

HELP = "Open a local web page to try a model on images and videos."
PLACE = 10
EXAMPLES = (
    "detr-hf app runs/my_photos/panoptic/best",
    "detr-hf app demo --port 7870",
)
PAGE = "app.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "model",
        help="a folder such as RUN/best, or a Hub id; `demo`, `demo-deformable`: tiny models",
    )
    parser.add_argument("--port", type=port, help="port (default: the first free one from 7860)")
    parser.add_argument(
        "--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1, this machine only)"
    )
    parser.add_argument(
        "--threshold",
        type=share,
        help="initial score threshold (default: the best one on the model's validation split; if unknown, "
        "0.85 for DETR, 0.4 for other families)",
    )
    parser.add_argument("--device", help="for example cpu or cuda:1 (default: a GPU, if available)")
    parser.add_argument(
        "--space",
        metavar="DIR",
        help="write the page as a Hugging Face Space into this folder instead of serving it",
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    try:
        from detr_hf.app.serve import serve
        from detr_hf.app.space import write_space
    except ModuleNotFoundError as error:
        if error.name != "gradio":
            raise
        raise UserError("the page needs Gradio: pip install 'detr-hf[app]'") from None
    if arguments.space:
        write_space(arguments.model, Path(arguments.space), arguments.threshold)
        print(f"{arguments.space}: a Space, ready to be uploaded; README.md in it says how to try it here")
        return
    serve(arguments.model, arguments.host, arguments.port, arguments.threshold, arguments.device)
