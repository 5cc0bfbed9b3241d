"""`detr-hf push`: a run or a data set to the Hub."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.errors import UserError

if TYPE_CHECKING:
    from detr_hf.recipe import Hub

HELP = "Push a run's model, or a data set that `prepare` wrote, to the Hub, with a card."
PLACE = 8
EXAMPLES = (
    "detr-hf push runs/my_photos/panoptic your-name/yard-panoptic",
    "detr-hf push data/prepared your-name/yard-photos --public",
)
PAGE = "hub.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", help="a run folder, a model in one, or a data set folder")
    parser.add_argument("name", help="user/name on the Hub; log in with `hf auth login` or HF_TOKEN")
    parser.add_argument("--public", action="store_true", help="make it public (default: private)")
    parser.add_argument("--revision", metavar="TAG", help="a new tag of this push, such as v1")
    parser.add_argument(
        "--license", default="other", help="the Hub's id of the license (default: other, none stated)"
    )
    parser.add_argument("--no-pictures", action="store_true", help="leave images and report out")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    from detr_hf.recipe.repo_ids import fault_of_repo_id, fault_of_tag

    if fault := fault_of_repo_id(arguments.name):
        raise UserError(f"push: {fault}.")
    if arguments.revision is not None and (fault := fault_of_tag(arguments.revision)):
        raise UserError(f"--revision: {fault}.")
    source = Path(arguments.folder)
    if not source.is_dir():
        raise UserError(f"{source}: there is no such folder.")
    from detr_hf.hub.push import is_written_dataset
    from detr_hf.recipe import Hub

    target = Hub(
        repo_id=arguments.name,
        private=not arguments.public,
        revision=arguments.revision,
        license=arguments.license,
        pictures=not arguments.no_pictures,
    )
    (_push_dataset if is_written_dataset(source) else _push_run)(source, target)


def _push_run(source: Path, target: Hub) -> None:
    from detr_hf.hub.access import check_access, progress_bars
    from detr_hf.hub.facts import run_facts
    from detr_hf.hub.push import push_run

    facts = run_facts(source)
    check_access(target)
    with progress_bars():
        pushed = push_run(facts, target)
    print(f"{facts.model} is on the Hub: {pushed.commit_url}")


def _push_dataset(source: Path, target: Hub) -> None:
    from detr_hf.hub.access import UNSTATED
    from detr_hf.hub.push import push_dataset

    if target.license != UNSTATED or not target.pictures:
        raise UserError(
            f"{source}: is a data set, whose card has its license (`write.license` of `detr-hf prepare`) and "
            "which holds its images; leave out --license and --no-pictures."
        )
    print(f"{source} is on the Hub: {push_dataset(source, target)}")
