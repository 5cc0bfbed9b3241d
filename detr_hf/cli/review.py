"""`detr-hf review`: suspected label faults, by what a run sees in the images."""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from detr_hf.cli.number_types import count, share
from detr_hf.errors import StoppedEarly, UserError, quantity
from detr_hf.files import require_outside

if TYPE_CHECKING:
    from detr_hf.review.parts import Part
    from detr_hf.review.rows import Row

HELP = "Rank suspected label errors with a trained model, and propose corrections."
PLACE = 6.5
EXAMPLES = (
    "detr-hf review runs/my_photos/detection",
    "detr-hf review runs/my_photos/detection --split train --folds 3",
)
PAGE = "review.md"
KINDS = ("missing", "unsupported", "class", "misplaced", "duplicate")
IN_SAMPLE = (
    "The ranking is in-sample: the model has learned these very annotations, and with them their faults. "
    "--folds K judges each image by a model that has not seen it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("target", metavar="RUN", help="a run folder; with --folds also a recipe")
    parser.add_argument(
        "--split",
        choices=("validation", "train"),
        help="images to review (default: validation; with --folds: train)",
    )
    parser.add_argument(
        "--folds",
        type=count,
        metavar="K",
        help="train K runs, each without one of K parts of the training images",
    )
    parser.add_argument(
        "--runs", nargs="+", metavar="RUN", help="further runs: each judges its own validation split"
    )
    parser.add_argument(
        "--gpus", metavar="0,1,...", help="with --folds: one run at a time on each of these GPUs"
    )
    parser.add_argument("--out", metavar="DIR", help="folder for the results (default: RUN/review)")
    parser.add_argument(
        "--count", type=count, default=100, help="number of suspicions to draw and to correct (default: 100)"
    )
    parser.add_argument(
        "--threshold", type=share, default=0.3, help="minimum score of a suspicion, 0 to 1 (default: 0.3)"
    )
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds to look for (default: all)"
    )
    parser.add_argument(
        "--apply",
        nargs="+",
        metavar="KIND",
        choices=(*KINDS, "none"),
        help="kinds whose proposals go into the corrected copy (default: those of --kinds), or none",
    )
    parser.add_argument(
        "--copy-images", action="store_true", help="copy the images beside the corrected annotations"
    )


def run(arguments: argparse.Namespace) -> None:
    """Do it; see ``HELP``."""
    source = Path(arguments.target)
    _refuse_contradictions(arguments, source)
    from detr_hf.recipe import load_recipe
    from detr_hf.run_folder import RunFolder

    if source.is_file():
        recipe_file, folder = source, Path(load_recipe(source).output_dir)
    else:
        recipe_file, folder = RunFolder.open(source).recipe_file, source
    out = Path(arguments.out) if arguments.out else folder / "review"
    if arguments.out:
        data = load_recipe(recipe_file).data
        for split in filter(None, (data.train, data.validation)):
            for place in filter(None, (split.path, split.images, split.panoptic)):
                require_outside(out, place)
    parts = _parts(arguments, recipe_file, folder, out)
    notes = [IN_SAMPLE] if arguments.split == "train" and not arguments.folds else []
    for part in parts:
        if part.unjudged:
            notes.append(f"{part.name}: no run has judged {quantity(part.unjudged, 'image')}.")
    from detr_hf.review.rows import rank_parts

    rows = rank_parts(parts, arguments.kinds, arguments.threshold)
    _write(arguments, parts, rows, notes, out)


def _refuse_contradictions(arguments: argparse.Namespace, source: Path) -> None:
    if arguments.folds and arguments.runs:
        raise UserError("--folds trains runs, --runs names some; give one of the two.")
    if arguments.folds == 1:
        raise UserError("--folds 1: would leave nothing to train on; give 2 or more.")
    if arguments.folds and arguments.split == "validation":
        raise UserError("--folds divides the training images; leave out --split validation.")
    if arguments.runs and arguments.split == "train":
        raise UserError("--runs judge their own validation splits; leave out --split train.")
    if arguments.gpus and not arguments.folds:
        raise UserError("--gpus does nothing without --folds.")
    if source.is_file() and not arguments.folds:
        raise UserError(f"{source}: is a recipe; give the folder of its run, or --folds.")
    if not source.exists():
        raise UserError(f"{source}: there is no such run.")
    runs = Counter(Path(run).resolve() for run in (source, *(arguments.runs or ())))
    if twice := [str(run) for run, count in runs.items() if count > 1]:
        raise UserError(f"{twice[0]}: is given twice, and would judge its images twice.")


def _parts(arguments: argparse.Namespace, recipe_file: Path, folder: Path, out: Path) -> list[Part]:
    """What is reviewed, judged."""
    from detr_hf.review import parts

    if arguments.folds:
        from detr_hf.cli.ablate import gpu_list
        from detr_hf.review.folds import finished_folders, plan_folds, train_folds

        runs = plan_folds(recipe_file, out, arguments.folds)
        try:
            train_folds(runs, gpu_list(arguments.gpus))
        except StoppedEarly:
            print("stopped; the same command continues from here.", flush=True)
            raise
        return [parts.training_part(finished_folders(runs), out)]
    if arguments.split == "train":
        return [parts.learned_part(folder, out)]
    if arguments.runs:
        every = [folder, *map(Path, arguments.runs)]
        names = _names(every)
        return [parts.validation_part(one, out, name) for one, name in zip(every, names, strict=True)]
    return [parts.validation_part(folder, out)]


def _names(runs: list[Path]) -> list[str]:
    """A name for the images of each run, all different."""
    seen: Counter[str] = Counter()
    names = []
    for run in runs:
        name = run.resolve().name
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name}_{seen[name]}")
    return names


def _write(
    arguments: argparse.Namespace, parts: list[Part], rows: list[Row], notes: list[str], out: Path
) -> None:
    from detr_hf.files import write_json
    from detr_hf.review.corrections import write_corrected
    from detr_hf.review.page import write_page

    judged = {part.name: sorted(part.judges) for part in parts}  # ids of images
    found = {"notes": notes, "images": judged, "rows": [row.as_dict() for row in rows]}
    write_json(out / "review.json", found)
    page = write_page(parts, rows, arguments.count, notes, out / "review.html")
    for note in notes:
        print(f"note: {note}")
    counts = Counter(row.kind for row in rows)
    by_kind = ", ".join(f"{counts[kind]} {kind}" for kind in arguments.kinds)
    print(f"{quantity(len(rows), 'suspicion')}: {by_kind}")
    for row in rows[:5]:
        print(f"  {row.score:.2f} {row.kind}: {row.file_name}: {row.sentence}")
    print(f"page:      {page}\nnumbers:   {out / 'review.json'}")
    applied = [row for row in rows[: arguments.count] if row.kind in (arguments.apply or arguments.kinds)]
    if applied:
        write_corrected(parts, applied, out / "corrected", arguments.copy_images)
        print(f"corrected: {out / 'corrected'} ({quantity(len(applied), 'proposal')} carried out)")
