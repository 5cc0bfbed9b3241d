"""What `detr-hf pick` is worth on the synthetic yard: box AP by images labeled, picked or random.

    python -m tools.pick_curve runs/pick            # an hour or more; started again it goes on where it was
    python -m tools.pick_curve runs/pick --table    # the table of what is there

Each seed starts from the same images for both arms. A round trains the tiny checkpoint anew, for a fixed
number of steps, on what is labeled so far, scores it on the validation images, and adds images: those that
`pick` names with that model, which sees no label of them, or random ones.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detr_hf.demo.dataset import ensure_dataset
from detr_hf.demo.resolve import panoptic_split
from detr_hf.files import write_json, write_text
from detr_hf.recipe import load_recipe, recipe_to_yaml
from detr_hf.run_folder import RunFolder

RECIPE = Path(__file__).parents[1] / "recipes" / "demo" / "detection.yaml"
POOL, VALIDATION, DATA_SEED = 800, 100, 0
ARMS = ("pick", "random")
FOREVER = 1000  # epochs; a run ends by its steps


@dataclass(frozen=True)
class Plan:
    """Where the curve is measured, and how."""

    folder: Path
    seeds: int
    rounds: int
    start: int
    add: int
    steps: int

    @property
    def data(self) -> Path:
        """The yard."""
        return self.folder / "data"

    def run_folder(self, seed: int, arm: str, number: int) -> Path:
        """Of a training; both arms share the first."""
        return self.folder / f"seed-{seed}" / (f"{arm}-{number}" if number else "start") / "detection"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--start", type=int, default=100, help="images labeled before the first round")
    parser.add_argument("--add", type=int, default=50, help="images labeled in each round")
    parser.add_argument("--steps", type=int, default=150, help="optimizer steps of each training")
    parser.add_argument("--table", action="store_true", help="train nothing")
    arguments = parser.parse_args(argv)
    plan = Plan(**{name: value for name, value in vars(arguments).items() if name != "table"})
    if not arguments.table:
        ensure_dataset(plan.data, {"train": POOL, "validation": VALIDATION}, DATA_SEED)
        for seed in range(plan.seeds):
            measure_seed(plan, seed)
    print(table(plan))


def measure_seed(plan: Plan, seed: int) -> None:
    """Every round of both arms."""
    every = sorted(path.name for path in (plan.data / "train" / "images").iterdir())
    first = sorted(random.Random(f"start {seed}").sample(every, plan.start))
    train(plan, seed, plan.run_folder(seed, "", 0), first)
    for arm in ARMS:
        labeled = first
        for number in range(1, plan.rounds + 1):
            before, folder = plan.run_folder(seed, arm, number - 1), plan.run_folder(seed, arm, number)
            if arm == "pick":
                new = picked(plan, before, folder.parent)
            else:
                rest = sorted(set(every) - set(labeled))
                new = random.Random(f"round {number} of {seed}").sample(rest, plan.add)
            assert len(new) == plan.add and not set(new) & set(labeled), "new images, as many as asked for"
            labeled = sorted([*labeled, *new])
            train(plan, seed, folder, labeled)


def picked(plan: Plan, run: Path, out: Path) -> list[str]:
    """What `detr-hf pick` names; it leaves out what is labeled by itself."""
    file = out / "picked" / "picked.json"
    if not file.is_file():
        words = ["pick", str(run), str(plan.data / "train" / "images"), "--count", str(plan.add)]
        call(["detr_hf.cli", *words, "--out", str(file.parent), "--batch-size", "16"], out / "pick.log")
    return [Path(entry["file"]).name for entry in json.loads(file.read_text())["picked"]]


def train(plan: Plan, seed: int, folder: Path, names: Sequence[str]) -> None:
    """Train on these images alone, unless it is done."""
    if score(folder) is not None:
        return
    images = plan.data / "train" / "images"
    labels = json.loads((plan.data / "train" / "panoptic.json").read_text())
    kept = [image for image in labels["images"] if image["file_name"] in set(names)]
    ids = {image["id"] for image in kept}
    entries = [entry for entry in labels["annotations"] if entry["image_id"] in ids]
    file = folder.parent / "labeled.json"
    write_json(file, {**labels, "images": kept, "annotations": entries}, indent=None)
    lengths = [f"optim.epochs={FOREVER}", f"optim.max_steps={plan.steps}", f"evaluation.every={FOREVER}"]
    recipe = load_recipe(RECIPE, [f"seed={seed}", f"output_dir={folder}", "evaluation.pictures=0", *lengths])
    split = replace(panoptic_split(plan.data / "train", images), annotations=str(file))
    validation = panoptic_split(plan.data / "validation", plan.data / "validation" / "images")
    recipe = replace(recipe, data=replace(recipe.data, demo=None, train=split, validation=validation))
    write_text(folder.parent / "recipe.yaml", recipe_to_yaml(recipe))
    call(["detr_hf.train", str(folder.parent / "recipe.yaml")], folder.parent / "train.log")


def call(words: Sequence[str], log: Path) -> None:
    """A module in a process of its own, what it prints in a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        subprocess.run([sys.executable, "-m", *words], stdout=file, stderr=file, check=True)


def score(folder: Path) -> float | None:
    """Box AP of a training, 0 to 1; None where it is not finished."""
    metrics = RunFolder(folder).best_metrics()
    found = metrics.get("detection", metrics).get("AP")
    return None if found is None else float(found)


def table(plan: Plan) -> str:
    """AP by images labeled: mean and standard deviation of both arms, and of the difference seed by seed."""
    lines = ["| images | pick | random | pick - random | by seed |", "| ---: | ---: | ---: | ---: | --- |"]
    for number in range(plan.rounds + 1):
        by_arm: dict[str, list[Any]] = {
            arm: [score(plan.run_folder(seed, arm, number)) for seed in range(plan.seeds)] for arm in ARMS
        }
        pairs = [pair for pair in zip(*by_arm.values(), strict=True) if None not in pair]
        gaps = [100 * (one - other) for one, other in pairs]
        cells = [spread([100 * value for value in arm if value is not None]) for arm in by_arm.values()]
        each = ", ".join(f"{gap:+.1f}" for gap in gaps)
        lines.append(f"| {plan.start + number * plan.add} | {' | '.join(cells)} | {spread(gaps)} | {each} |")
    return "\n".join(lines)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


if __name__ == "__main__":
    main()
