"""The command line `detr-hf`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detr_hf import __version__
from detr_hf.errors import UserError, told_plainly

if TYPE_CHECKING:
    from detr_hf.prepare.check.targets import Target
    from detr_hf.recipe import Recipe


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a fault of the user's ends it with exit code 2 and one message."""
    arguments = _parser().parse_args(argv)
    with told_plainly():
        arguments.run(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from detr_hf import train
    from detr_hf.recipe import load_recipe

    if arguments.replay is None:
        if arguments.recipe is None:
            raise UserError("give a recipe, or --replay with the folder of a run.")
        recipe = load_recipe(arguments.recipe, arguments.overrides)
        train.run(_with_found_batch_size(recipe) if arguments.find_batch_size else recipe)
        return
    if arguments.find_batch_size:
        raise UserError("--replay repeats a run as it was; leave --find-batch-size out.")
    _replay(train.run, Path(arguments.replay), [*filter(None, [arguments.recipe]), *arguments.overrides])


def _with_found_batch_size(recipe: Recipe) -> Recipe:
    from detr_hf.demo.resolve import resolve_demo
    from detr_hf.training.find_batch_size import with_found_batch_size

    found = with_found_batch_size(recipe, resolve_demo(recipe))
    print(
        f"optim.micro_batch_size: {found.optim.micro_batch_size} of {found.optim.batch_size} fit", flush=True
    )
    return found


def _replay(run: Callable[[Recipe], Any], folder: Path, overrides: list[str]) -> None:
    from detr_hf.recipe.replay import replay_recipe

    recipe = replay_recipe(folder, overrides)
    run(recipe)
    from accelerate import PartialState

    from detr_hf.training.replay import compare_replay

    PartialState().print(compare_replay(folder, Path(recipe.output_dir)))


def _evaluate(arguments: argparse.Namespace) -> None:
    from detr_hf.recipe import load_recipe

    path, run_folder, checkpoint = _recipe_and_model(Path(arguments.source))
    recipe = load_recipe(path, arguments.overrides)
    from accelerate import PartialState
    from transformers.utils.logging import disable_progress_bar

    from detr_hf.demo.resolve import model_path, resolve_demo
    from detr_hf.prepare.build import build_bundle
    from detr_hf.training.evaluate_run import evaluate_model
    from detr_hf.training.finish import tables

    disable_progress_bar()
    run_folder = run_folder or Path(recipe.output_dir)
    model = model_path(arguments.model) if arguments.model else str(checkpoint or run_folder / "best")
    out = Path(arguments.out) if arguments.out else run_folder
    with PartialState().main_process_first():
        recipe = resolve_demo(recipe)
        data = build_bundle(recipe.data, out)
    results = evaluate_model(recipe, data, model, out)
    PartialState().print(f"\n{model}\n\n{tables(results)}\n\ntables, by class: {out / 'evaluation.md'}")


def _recipe_and_model(source: Path) -> tuple[Path, Path | None, Path | None]:
    """Recipe, run folder and model: of a recipe file, of a run folder, or of a checkpoint in a run folder."""
    if source.is_file():
        return source, None, None
    for folder, model in ((source, source / "best"), (source.parent, source)):
        if (folder / "recipe.yaml").is_file():
            return folder / "recipe.yaml", folder, model
    raise UserError(
        f"{source}: give a recipe, a run folder (with recipe.yaml in it) or a checkpoint in a run folder."
    )


def _predict(arguments: argparse.Namespace) -> None:
    from transformers.utils.logging import disable_progress_bar

    from detr_hf.demo.resolve import model_path
    from detr_hf.inference import Predictor, find_images, predict_to_folder

    disable_progress_bar()
    images = find_images(Path(arguments.images))
    predictor = Predictor.from_pretrained(model_path(arguments.model), arguments.threshold, arguments.device)
    records = predict_to_folder(predictor, images, Path(arguments.out))
    found = sum(len(record.get("segments", record["objects"])) for record in records)
    print(f"{len(records)} images, {found} objects above {arguments.threshold}: {arguments.out}")


def _demo(arguments: argparse.Namespace) -> None:
    from detr_hf import train
    from detr_hf.demo.from_raw import run_from_raw
    from detr_hf.demo.raw_layout import RawSpec
    from detr_hf.demo.run import run_demo

    if arguments.mess and not arguments.from_raw:
        raise UserError("--mess spoils raw folders; give it with --from-raw.")
    if not arguments.from_raw:
        run_demo(train.run, Path(arguments.out), compare_scratch=arguments.compare_scratch)
        return
    if arguments.compare_scratch:
        raise UserError("--compare-scratch belongs to the plain demo; leave it or --from-raw out.")
    run_from_raw(train.run, Path(arguments.out) / "from-raw", RawSpec(mess=arguments.mess))


def _prepare(arguments: argparse.Namespace) -> None:
    from detr_hf.recipe.prepare import load_prepare_recipe

    recipe = load_prepare_recipe(arguments.prepare_recipe, arguments.overrides)
    from detr_hf.prepare.raw.pipeline import Pipeline

    def teacher() -> Any:
        from detr_hf.demo.resolve import model_path
        from detr_hf.teacher import load_teacher

        stuff = recipe.pseudo_stuff
        return load_teacher(model_path(stuff.teacher), stuff.revision, stuff.short_edge)

    out = Path(arguments.out)
    Pipeline(Path(arguments.raw), out, recipe, teacher, arguments.strict).run(arguments.only)
    if arguments.push_to_hub:
        from detr_hf.prepare.raw.writing.publishing import push_to_hub

        push_to_hub(out, arguments.push_to_hub)
    if arguments.only not in (None, "report"):
        print(f"step {arguments.only} done: {out}")
        return
    with (out / "prepare_report.md").open(encoding="utf-8") as report:
        print(f"{out}: {report.readlines()[2].strip()} What was mended and dropped: {report.name}")


def _check(arguments: argparse.Namespace) -> None:
    from detr_hf.check_page import write_page
    from detr_hf.prepare.check.changes import as_lines
    from detr_hf.prepare.check.mend import CHANGES_FILE, mend_target
    from detr_hf.prepare.check.run import check_target
    from detr_hf.prepare.check.targets import open_target
    from detr_hf.prepare.check.text import as_text, verdict
    from detr_hf.prepare.reading import write_json

    target = _check_target(arguments)
    result = check_target(target, arguments.queries, threads=arguments.threads)
    print(as_text(result))
    if arguments.json:
        write_json(Path(arguments.json), result.as_dict())
    if arguments.html:
        write_page(result, arguments.html)
    if arguments.fix:
        changes = mend_target(target, result, arguments.fix, arguments.threads)
        result = check_target(open_target(arguments.fix), arguments.queries, threads=arguments.threads)
        print(f"\nmended copy in {arguments.fix}, {len(changes)} changes ({CHANGES_FILE} lists them):")
        print("\n".join([*as_lines(changes), f"  the copy has {verdict(result)}"]))
    if code := result.exit_code(arguments.strict):
        raise SystemExit(code)


def _check_target(arguments: argparse.Namespace) -> Target:
    from detr_hf.prepare.check.targets import DATA_FILE, open_target, target_of_data
    from detr_hf.recipe import load_recipe

    path = Path(arguments.target)
    if path.name == DATA_FILE and path.is_file():
        return open_target(str(path.parent))
    if path.suffix not in (".yaml", ".yml"):
        return open_target(arguments.target, arguments.images, arguments.panoptic)
    if arguments.images or arguments.panoptic:
        raise UserError("--images and --panoptic belong to a COCO JSON file; a recipe names its folders")
    from detr_hf.demo.resolve import resolve_demo

    return target_of_data(resolve_demo(load_recipe(arguments.target)).data, arguments.target)


class _Parser(argparse.ArgumentParser):
    """Takes `key=value` behind flags too; argparse alone wants all of them in one place."""

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, rest = self.parse_known_args(args, namespace)
        late = [word for word in rest if "=" in word and not word.startswith("-")]
        if len(late) < len(rest) or (late and not hasattr(found, "overrides")):
            self.error(f"unrecognized arguments: {' '.join(rest)}")
        if late:
            found.overrides = [*found.overrides, *late]
        return found


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def _check_arguments(check: argparse.ArgumentParser) -> None:
    check.add_argument(
        "target", help="a recipe, a COCO JSON file, a prepared folder (with data.yaml) or a saved DatasetDict"
    )
    check.add_argument("--images", help="image folder of a COCO JSON (default: looked for beside it)")
    check.add_argument("--panoptic", help="PNG folder of a panoptic JSON (default: looked for beside it)")
    check.add_argument("--html", metavar="FILE", help="write a page with the worst pictures drawn")
    check.add_argument("--json", metavar="FILE", help="write everything that was found, all files listed")
    check.add_argument("--fix", metavar="OUT", help="write a mended copy of the annotations to a new folder")
    check.add_argument("--strict", action="store_true", help="exit with 1 for warnings too")
    check.add_argument(
        "--queries", type=_count, default=100, help="objects the model can find in an image (default: 100)"
    )
    check.add_argument("--threads", type=_count, help="pictures read at a time (default: one for each core)")


def _prepare_arguments(prepare: argparse.ArgumentParser) -> None:
    prepare.add_argument("raw", help="a folder with <class>/images and <class>/coco.json; only read")
    prepare.add_argument("out", help="folder of the data set; the same command goes on where it was killed")
    prepare.add_argument("overrides", nargs="*", metavar="key=value", help="for example split.folds=5")
    prepare.add_argument(
        "--recipe", dest="prepare_recipe", help="settings, as in recipes/dataset.yaml (default: those)"
    )
    prepare.add_argument("--strict", action="store_true", help="stop at the first fault instead of mending")
    prepare.add_argument(
        "--only",
        choices=("read", "mend", "merge", "pseudo", "split", "write", "report"),
        help="one step, whose forerunners are done",
    )
    prepare.add_argument("--push-to-hub", metavar="NAME", help="publish the data set, private, as user/name")


def _train_arguments(train: argparse.ArgumentParser) -> None:
    train.add_argument("recipe", nargs="?", help="a YAML file, for example recipes/detection.yaml")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="for example optim.lr=5e-5")
    train.add_argument("--replay", metavar="RUN", help="repeat a run, into RUN-replay or output_dir=...")
    train.add_argument(
        "--find-batch-size",
        action="store_true",
        help="first find the largest optim.micro_batch_size that fits into the memory, and use it",
    )


def _demo_arguments(demo: argparse.ArgumentParser) -> None:
    demo.add_argument(
        "--out", default="runs/demo", help="folder for data, runs and summary (default: runs/demo)"
    )
    demo.add_argument(
        "--compare-scratch",
        action="store_true",
        help="train stage 1 from random weights too, for as many steps",
    )
    demo.add_argument(
        "--from-raw",
        action="store_true",
        help="start from raw class folders: prepare them, with pseudo-labelled stuff, then both stages",
    )
    demo.add_argument(
        "--mess", action="store_true", help="with --from-raw: folders as untidy as real ones are"
    )


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="detr-hf", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    _train_arguments(
        command("train", _train, "Train one stage on one process; `accelerate launch` does the same on many.")
    )
    evaluate = command("evaluate", _evaluate, "Score a model on a recipe's validation split.")
    evaluate.add_argument(
        "source", help="a recipe (its output_dir/best is scored), a run folder or a checkpoint"
    )
    evaluate.add_argument("overrides", nargs="*", metavar="key=value", help="changes to the recipe")
    evaluate.add_argument("--model", help="another model to score: a folder or a Hub id")
    evaluate.add_argument(
        "--out", help="folder for evaluation.json and evaluation.md (default: the run folder)"
    )

    predict = command("predict", _predict, "Find objects in an image or in all images of a folder.")
    predict.add_argument(
        "model", help="a folder such as runs/panoptic/best, or a Hub id; `demo` is the tiny one"
    )
    predict.add_argument("images", help="an image file or a folder of images")
    predict.add_argument("--out", required=True, help="folder for the JSON files and drawn pictures")
    predict.add_argument("--threshold", type=_share, default=0.85, help="least score, 0 to 1 (default: 0.85)")
    predict.add_argument("--device", help="for example cpu or cuda:1 (default: a GPU when there is one)")

    _prepare_arguments(
        command("prepare", _prepare, "From raw class folders to one data set, mended, split and documented.")
    )
    _check_arguments(
        command("check", _check, "List every fault of a data set that a training run would trip over.")
    )

    _demo_arguments(
        command("demo", _demo, "Both stages on synthetic construction yards: no download, no GPU, minutes.")
    )
    return parser


if __name__ == "__main__":
    main()
