"""The command line `detr-hf`. Heavy imports wait until a command needs them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

from detr_hf import __version__
from detr_hf.errors import UserError, told_plainly


def main(argv: Sequence[str] | None = None) -> None:
    """Run one command; a fault of the user's ends it with exit code 2 and one message."""
    arguments = _parser().parse_args(argv)
    with told_plainly():
        arguments.run(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from detr_hf import train
    from detr_hf.recipe import load_recipe

    train.run(load_recipe(arguments.recipe, arguments.overrides))


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
    from detr_hf.demo.run import run_demo

    run_demo(train.run, Path(arguments.out), compare_scratch=arguments.compare_scratch)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="detr-hf", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(run=run)
        return sub

    train = command(
        "train", _train, "Train one stage on one process; `accelerate launch` does the same on many."
    )
    train.add_argument("recipe", help="a YAML file, for example recipes/detection.yaml")
    train.add_argument("overrides", nargs="*", metavar="key=value", help="for example optim.lr=5e-5")

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

    demo = command(
        "demo", _demo, "Both stages on synthetic construction yards: no download, no GPU, minutes."
    )
    demo.add_argument(
        "--out", default="runs/demo", help="folder for data, runs and summary (default: runs/demo)"
    )
    demo.add_argument(
        "--compare-scratch",
        action="store_true",
        help="train stage 1 from random weights too, for as many steps",
    )
    return parser


if __name__ == "__main__":
    main()
