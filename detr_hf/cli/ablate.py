"""`detr-hf ablate`: variants of a recipe, with several seeds, and what they are worth."""

from __future__ import annotations

import argparse
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.errors import StoppedEarly, UserError, quantity

if TYPE_CHECKING:
    from detr_hf.ablation.study import PlannedRun, Study

HELP = "Train variants of a recipe with several seeds each, and report which differences exceed the noise."
PLACE = 7.5
EXAMPLES = (
    "detr-hf ablate recipes/variants/ablation_construction.yaml --list",
    "detr-hf ablate recipes/variants/ablation_construction.yaml --only 'no*'",
)
PAGE = "ablation.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("study", metavar="STUDY.yaml", help="a study: base recipe, seeds, variants")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--list", action="store_true", help="print every run and its state, and run nothing")
    how.add_argument("--table", action="store_true", help="write the table of all runs, and run nothing")
    how.add_argument(
        "--slurm", action="store_true", help="write jobs for SLURM, print how to submit them, and run nothing"
    )
    how.add_argument("--gpus", metavar="0,1,...", help="one run at a time on each of these GPUs")
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--only",
        metavar="PATTERN",
        action="append",
        help="only these variants (`no*`) or runs (`base/seed-42`); may be repeated",
    )
    which.add_argument(
        "--task", metavar="N", type=int, help="only the N-th variant and seed, counted from 0 as in --list"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    gpus = gpu_list(arguments.gpus)
    if arguments.table and (arguments.only or arguments.task is not None):
        raise UserError("--table: the table is of all runs; remove --only and --task")
    from detr_hf.ablation.study import load_study

    study = load_study(Path(arguments.study))
    runs = _chosen(study, arguments.only, arguments.task)
    from detr_hf.ablation.page import PAGE, write_ablation

    if arguments.list:
        _list(study, runs)
        return
    if arguments.table:
        write_ablation(study)
        print(f"table: {study.folder / PAGE}")
        return
    from detr_hf.ablation.run import Runner, refuse_other_runs

    refuse_other_runs(runs)
    if arguments.slurm:
        _slurm(study, runs)
        return
    runner = Runner(runs, gpus, lambda: write_ablation(study))
    print(
        f"{quantity(len(runs), 'run')}, {len(runner.results)} of them finished; what each one prints is in "
        f"{study.folder}/*/seed-*/*/run.log",
        flush=True,
    )
    try:
        runner.run_all()
    except StoppedEarly:
        print("stopped; the same command continues from here.", flush=True)
        raise
    _end(study, runner.results)


def _slurm(study: Study, runs: list[PlannedRun]) -> None:
    from detr_hf.ablation.slurm import write_jobs
    from detr_hf.ablation.state import state_of

    pairs = [one.pair for one in runs if state_of(one).kind != "finished"]
    print(write_jobs(study, pairs) if pairs else "every run is finished; --table writes the table")


def gpu_list(text: str | None) -> list[str]:
    """Numbers of GPUs as text, from a list with commas."""
    gpus = [] if text is None else [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in gpus):
        raise UserError(f"--gpus: {text} is not a list of GPUs; write their numbers, such as 0,1,3")
    return gpus


def _chosen(study: Study, patterns: list[str] | None, task: int | None) -> list[PlannedRun]:
    """The runs that are asked for; none is a mistake."""
    if task is not None:
        if not 0 <= task < len(study.pairs):
            raise UserError(
                f"--task: there is no task {task}; the study has tasks 0 to {len(study.pairs) - 1}"
            )
        return [run for run in study.runs if run.pair == study.pairs[task]]
    if patterns is None:
        return study.runs
    found = [
        run
        for run in study.runs
        if any(
            name == pattern or fnmatchcase(name, pattern)
            for pattern in patterns
            for name in (run.variant, run.pair)
        )
    ]
    if not found:
        names = ", ".join(variant.name for variant in study.variants)
        raise UserError(f"--only: nothing is called {', '.join(patterns)}; the variants are {names}")
    return found


def _list(study: Study, runs: list[PlannedRun]) -> None:
    from detr_hf.ablation.state import state_of

    for one in runs:
        print(f"{study.pairs.index(one.pair):>3}  {one.name}: {state_of(one)}")


def _end(study: Study, results: dict[str, str]) -> None:
    """The table in short, and an exit code that says whether every run has a result."""
    from detr_hf.ablation.page import PAGE, write_ablation

    numbers = write_ablation(study)
    print()
    for row in numbers["variants"]:
        print(f"{row['name']}: {row['sentence']}")
    print(f"\ntable: {study.folder / PAGE}")
    if "failed" in results.values():
        failed = [name for name, result in results.items() if result == "failed"]
        print(f"{quantity(len(failed), 'run')} failed: {', '.join(failed)}", flush=True)
        raise SystemExit(1)
    if "stopped" in results.values():
        print("some runs stopped before their end; the same command continues them.", flush=True)
        raise StoppedEarly
