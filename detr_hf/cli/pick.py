"""`detr-hf pick`: which unlabeled images to annotate next."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.cli.number_types import count
from detr_hf.errors import UserError
from detr_hf.files import require_outside
from detr_hf.foreign_files import no_such
from detr_hf.hub_access import looks_like_a_folder
from detr_hf.run_folder import RECIPE_FILE, RunFolder

if TYPE_CHECKING:
    from detr_hf.pick.images import LabeledImages
    from detr_hf.recipe import Data

HELP = "Choose the unlabeled images that a model would learn most from, with reasons."
PLACE = 5.5
EXAMPLES = (
    "detr-hf pick runs/my_photos/detection photos/ --count 50",
    "detr-hf pick runs/my_photos/detection photos/ --count 50 --copy-to data/next",
)
PAGE = "pick.md"
SHOWN = 10
NOTHING = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("model", help="a run folder, a model folder such as RUN/best, or a Hub id")
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="images",
        help="folders of images, with their subfolders; images; patterns in quotes",
    )
    parser.add_argument("--count", type=count, required=True, help="images to pick")
    parser.add_argument(
        "--by",
        choices=("mean", "entropy", "margin", "flips"),
        default="mean",
        help="measure of uncertainty: one of the three, or the mean of their ranks (default)",
    )
    parser.add_argument(
        "--labeled",
        metavar="DATA",
        help="data that is labeled already: a data set of any format, a run, or `none` (default: the "
        "data of the model's run)",
    )
    parser.add_argument(
        "--out", default="runs/picked", help="folder for scores and results (default: runs/picked)"
    )
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--copy-to", metavar="FOLDER", help="copy the picked images into this folder")
    files.add_argument("--link-to", metavar="FOLDER", help="hard-link the picked images into this folder")
    parser.add_argument(
        "--shortlist",
        type=count,
        default=4,
        help="size of the shortlist, as a multiple of --count (default: 4)",
    )
    parser.add_argument("--batch-size", type=count, default=1, help="images in one pass (default: 1)")
    parser.add_argument("--device", help="for example cpu or cuda:1 (default: a GPU, if available)")
    parser.add_argument("--precision", choices=("fp32", "bf16", "fp16"), default="fp32", help="default: fp32")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    if looks_like_a_folder(arguments.model) and not Path(arguments.model).is_dir():
        given = "Give a run, the folder of a model, or a Hub id"
        raise UserError(f"{arguments.model}: {no_such(arguments.model, 'folder')}. {given}.")
    folder = arguments.copy_to or arguments.link_to
    for source in arguments.sources:
        for out in filter(None, (arguments.out, folder)):
            require_outside(out, source)
    from detr_hf.pick.images import find_pool

    images, notes = find_pool(arguments.sources)
    model, run_folder = _model(arguments.model)
    labeled, note = _labeled(arguments.labeled, run_folder)
    from detr_hf.pick.run import SHEET, TEXT, Wish, pick
    from detr_hf.pick.score import Model

    wish = Wish(
        count=arguments.count,
        out=Path(arguments.out),
        by=arguments.by,
        shortlist=arguments.shortlist,
        folder=Path(folder) if folder else None,
        how="copy" if arguments.copy_to else "link",
    )
    seeing = Model(model, arguments.batch_size, arguments.device, arguments.precision)
    found = pick(seeing, images, labeled, wish, [*notes, *note])
    for entry in found["picked"][:SHOWN]:
        print(f"{entry['rank']:3d}  {entry['file']}: {'; '.join(entry['reasons'])}")
    for text in found["notes"]:
        print(f"note: {text}")
    for entry in found["skipped"][:SHOWN]:
        print(f"skipped: {entry['why']}")
    print(f"{len(found['picked'])} of {found['images']} images picked: {wish.out / TEXT}, {wish.out / SHEET}")


def _model(word: str) -> tuple[str, RunFolder | None]:
    """The model, of a run its best one, and the run that it is from, if any."""
    from detr_hf.demo.resolve import model_path

    path = model_path(word)
    found = RunFolder.of_model(Path(path))
    return path, None if found is None else found[0]


def _labeled(wanted: str | None, of_model: RunFolder | None) -> tuple[LabeledImages | None, list[str]]:
    """What is labeled, and a note where that is not known."""
    from detr_hf.pick.images import labeled_images
    from detr_hf.recipe import Data, Split

    if wanted == NOTHING:
        return None, []
    if wanted is not None:
        if not Path(wanted).exists():
            raise UserError(f"--labeled {wanted}: {no_such(wanted)}")
        is_run = (Path(wanted) / RECIPE_FILE).is_file()
        data = _data_of_run(RunFolder(Path(wanted))) if is_run else Data(train=Split(path=wanted))
        return labeled_images(data), []
    if of_model is None:
        return None, [
            "what is labeled is not known (--labeled), so nothing is left out or kept away from for it"
        ]
    try:
        return labeled_images(_data_of_run(of_model)), []
    except UserError as error:
        return None, [f"the data of the run cannot be read; name what is labeled with --labeled: {error}"]


def _data_of_run(run: RunFolder) -> Data:
    from detr_hf.demo.resolve import resolve_demo
    from detr_hf.recipe import load_recipe

    return resolve_demo(load_recipe(run.recipe_file)).data
