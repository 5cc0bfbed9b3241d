"""`detr-hf check`: the faults of a data set."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf.cli.number_types import count
from detr_hf.errors import UserError
from detr_hf.files import require_outside
from detr_hf.foreign_files import no_such

if TYPE_CHECKING:
    from detr_hf.data.check import Target as CheckTarget
    from detr_hf.recipe.schema import DetectionModel, PanopticModel

HELP = "List all errors and warnings of a data set before training."
PLACE = 2
EXAMPLES = (
    "detr-hf check data/my_photos --html runs/check.html",
    "detr-hf check data/my_photos --fix data/repaired",
)
PAGE = "check.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "target", help="a data set of any format (a folder or file), a recipe, or the folder of a run"
    )
    parser.add_argument(
        "--format", help="format of the data set, if it is not detected: coco, yolo, voc, ..."
    )
    parser.add_argument("--images", help="image folder of annotation files (default: searched beside them)")
    parser.add_argument("--panoptic", help="PNG folder of a panoptic JSON (default: searched beside it)")
    parser.add_argument("--html", metavar="FILE", help="write a page that shows the worst images")
    parser.add_argument("--json", metavar="FILE", help="write all issues with all files")
    parser.add_argument(
        "--fix", metavar="OUT", help="write a repaired copy there, if there is something to repair"
    )
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    parser.add_argument(
        "--queries",
        type=count,
        help="objects the model can find in an image (default: of the recipe's model, else 100)",
    )
    parser.add_argument(
        "--stride",
        type=count,
        help="pixels of a cell of the feature map; narrower objects count as too small (default: of the "
        "recipe's model, else 32)",
    )
    parser.add_argument("--threads", type=count, help="images read at a time (default: one for each core)")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    if arguments.fix:
        require_outside(arguments.fix, arguments.target)
    target, queries = _check_target(arguments)
    from detr_hf.data.check import QUERIES, check, fix, open_target
    from detr_hf.data.check_text import as_text, verdict
    from detr_hf.data.convert import lines_of
    from detr_hf.data.sinks.base import CHANGES_FILE
    from detr_hf.files import write_json

    queries = arguments.queries or queries or QUERIES
    result = check(target, queries, threads=arguments.threads)
    print(as_text(result))
    if arguments.json:
        write_json(arguments.json, result.as_dict())
    if arguments.html:
        from detr_hf.report.check_page import write_page

        write_page(result, arguments.html)
        print(f"\npage: {arguments.html}")
    if arguments.fix and not result.report.is_to_repair:
        print(f"\nnothing to repair, so {arguments.fix} is not written; `detr-hf convert` copies a data set")
    elif arguments.fix:
        made = fix(target, arguments.fix, arguments.threads)
        copy = replace(open_target(arguments.fix), seen=target.seen)
        result = check(copy, queries, threads=arguments.threads)
        print(f"\nrepaired copy in {arguments.fix}; all that was found is in {CHANGES_FILE}")
        print("\n".join([*lines_of(made.report), f"  the copy has {verdict(result)}"]))
    if code := result.exit_code(arguments.strict):
        raise SystemExit(code)


def _check_target(arguments: argparse.Namespace) -> tuple[CheckTarget, int | None]:
    """The data set, or the data of a recipe or run and its model's queries, where they are known. Refuses a
    wrong target before the heavy imports."""
    from detr_hf.targets import target_of

    target = target_of(arguments.target) if arguments.format is None else None
    if target is None or target.kind == "data":
        return _data_target(arguments), None
    if arguments.images or arguments.panoptic:
        raise UserError("--images and --panoptic belong to annotation files; a recipe names its folders")
    from detr_hf.data.check import target_of_data
    from detr_hf.demo.resolve import resolve_demo
    from detr_hf.recipe import load_recipe
    from detr_hf.seen_sizes import largest_input, stride_of_config

    recipe = resolve_demo(load_recipe(target.recipe_file))
    lists = (recipe.transforms.train, recipe.transforms.validation)
    tile = None if recipe.data.tiles is None else recipe.data.tiles.size
    config = _config_of(recipe.model)
    queries = getattr(recipe.model, "num_queries", None) or config.get("num_queries")
    seen = largest_input(lists, arguments.stride or stride_of_config(config), tile)
    return target_of_data(recipe.data, arguments.target, seen), queries


def _data_target(arguments: argparse.Namespace) -> CheckTarget:
    path = Path(arguments.target)
    if not path.exists():
        raise UserError(f"{path}: {no_such(path)}")
    from detr_hf.data.check import DEFAULT_INPUT, open_target

    found = open_target(arguments.target, arguments.images, arguments.panoptic, arguments.format)
    return replace(found, seen=replace(DEFAULT_INPUT, stride=arguments.stride or DEFAULT_INPUT.stride))


def _config_of(model: DetectionModel | PanopticModel) -> dict[str, Any]:
    """Of a model that is a folder; others are not downloaded for a check."""
    from detr_hf.foreign_files import readable_json
    from detr_hf.recipe.schema import PanopticModel

    source = model.detector if isinstance(model, PanopticModel) else model.pretrained
    return readable_json(Path(source) / "config.json")
