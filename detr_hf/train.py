"""Train: `accelerate launch -m detr_hf.train RECIPE [key=value ...]`. Contents: see `run`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

try:
    from detr_hf.advice.stages import in_turn, recipes_of
    from detr_hf.errors import exit_with_message
    from detr_hf.recipe import Recipe
except ModuleNotFoundError as error:
    sys.exit(f"{error}. Install the package first: `pip install -e .` in the folder of pyproject.toml.")


def run(recipe: Recipe) -> dict[str, Any]:
    """One whole run, from its recipe to its tables and images; returns what its best checkpoint reached."""
    from detr_hf.data.build import build_bundle
    from detr_hf.demo.resolve import as_written, resolve_demo
    from detr_hf.hub.during_training import HubPushes
    from detr_hf.training.build import build_accelerator, build_run, build_task
    from detr_hf.training.distributed import explain_lost_processes
    from detr_hf.training.finish import finish
    from detr_hf.training.folder import locked, save_record
    from detr_hf.training.loop import is_finished, train
    from detr_hf.training.report_run import report_finished
    from detr_hf.training.start_report import report_start

    started = time.monotonic()
    hub = HubPushes(recipe)  # what could not be pushed in the end is refused now
    with explain_lost_processes(), locked(build_accelerator(recipe), recipe) as accelerator:
        with accelerator.main_process_first():
            resolved = resolve_demo(recipe)
            data = build_bundle(resolved.data, resolved.output_dir)
        task, loaded = build_task(resolved, data)
        parts = build_run(resolved, accelerator, data, task)
        if not is_finished(parts):  # else the record says how it was trained
            save_record(recipe, accelerator, data, task.model.config)
        report_start(parts, data, as_written(str(loaded)))
        train(parts, started, hub.best_is_new)
        results = finish(parts)
        report_finished(parts, data)
    hub.push_finished()
    return results


def main(argv: list[str] | None = None) -> None:
    """Read the recipes (before anything heavy is imported) and run them."""
    parser = argparse.ArgumentParser(description="Train a detector from a recipe or on a data set.")
    parser.add_argument("word", metavar="recipe", help="a recipe or its name, a data set, or a run to resume")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="for example optim.lr=5e-5")
    with exit_with_message():
        in_turn(run, recipes_of(**vars(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
