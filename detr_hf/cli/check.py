"""`detr-hf check`: the faults of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.cli.number_types import count
from detr_hf.errors import UserError

if TYPE_CHECKING:
    from detr_hf.prepare.check.targets import Target
    from detr_hf.recipe import Recipe

HELP = "List every fault of a data set that a training run would trip over."
PLACE = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "target", help="a recipe, a COCO JSON file, a prepared folder (with data.yaml) or a saved DatasetDict"
    )
    parser.add_argument("--images", help="image folder of a COCO JSON (default: looked for beside it)")
    parser.add_argument("--panoptic", help="PNG folder of a panoptic JSON (default: looked for beside it)")
    parser.add_argument("--html", metavar="FILE", help="write a page with the worst images drawn")
    parser.add_argument("--json", metavar="FILE", help="write everything that was found, all files listed")
    parser.add_argument("--fix", metavar="OUT", help="write a mended copy of the annotations to a new folder")
    parser.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    parser.add_argument(
        "--queries", type=count, default=100, help="objects the model can find in an image (default: 100)"
    )
    parser.add_argument("--threads", type=count, help="images read at a time (default: one for each core)")


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    recipe = _recipe_of(arguments)
    from detr_hf.files import write_json
    from detr_hf.prepare.check.changes import as_lines
    from detr_hf.prepare.check.mend import CHANGES_FILE, mend_target
    from detr_hf.prepare.check.run import check_target
    from detr_hf.prepare.check.targets import open_target
    from detr_hf.prepare.check.text import as_text, verdict
    from detr_hf.report.check_page import write_page

    target = _check_target(arguments, recipe)
    result = check_target(target, arguments.queries, threads=arguments.threads)
    print(as_text(result))
    if arguments.json:
        write_json(arguments.json, result.as_dict())
    if arguments.html:
        write_page(result, arguments.html)
    if arguments.fix:
        changes = mend_target(target, result, arguments.fix, arguments.threads)
        result = check_target(open_target(arguments.fix), arguments.queries, threads=arguments.threads)
        print(f"\nmended copy in {arguments.fix}, {len(changes)} changes ({CHANGES_FILE} lists them):")
        print("\n".join([*as_lines(changes), f"  the copy has {verdict(result)}"]))
    if code := result.exit_code(arguments.strict):
        raise SystemExit(code)


def _recipe_of(arguments: argparse.Namespace) -> Recipe | None:
    """The recipe, where the target is one. Refuses a wrong target before the heavy imports."""
    from detr_hf.recipe import load_recipe
    from detr_hf.recipe.data import DATA_FILE

    path = Path(arguments.target)
    if path.suffix not in (".yaml", ".yml") or (path.name == DATA_FILE and path.is_file()):
        if not path.exists():
            raise UserError(f"{path}: there is no such file or folder")
        return None
    if arguments.images or arguments.panoptic:
        raise UserError("--images and --panoptic belong to a COCO JSON file; a recipe names its folders")
    return load_recipe(path)


def _check_target(arguments: argparse.Namespace, recipe: Recipe | None) -> Target:
    from detr_hf.prepare.check.targets import open_target, target_of_data
    from detr_hf.recipe.data import DATA_FILE

    if recipe is not None:
        from detr_hf.demo.resolve import resolve_demo

        return target_of_data(resolve_demo(recipe).data, arguments.target)
    path = Path(arguments.target)
    if path.name == DATA_FILE:
        path = path.parent
    return open_target(str(path), arguments.images, arguments.panoptic)
