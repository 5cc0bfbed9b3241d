"""`detr-hf demo`: data, stage 1, stage 2, tables and images, from the recipes in recipes/demo."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.metrics.tables import results_tables
from detr_hf.recipe import Data, Recipe, Split, load_recipe
from detr_hf.recipe.shipped import shipped_recipe

SUMMARY_FILE = "summary.json"

Train = Callable[[Recipe], dict[str, Any]]
"""`detr_hf.train.run`, handed in because that module itself resolves `demo` with this room."""


def run_demo(train: Train, out: Path, compare_scratch: bool = False) -> dict[str, Any]:
    """Run both stages from the start and write ``summary.json`` into ``out``.

    Args:
        train: runs one recipe and returns the results of its best checkpoint.
        out: folder for the data, both runs and the summary.
        compare_scratch: train stage 1 once more with random weights, everything else equal, and print both.

    Returns:
        The summary: box AP and AR of stage 1, PQ, SQ and RQ of stage 2 (0 to 1), and the minutes of both
        stages.
    """
    started = time.monotonic()
    detection = run_stage(train, "detection", out)
    panoptic = run_stage(train, "panoptic", out, [f"model.detector={out / 'detection' / 'best'}"])
    summary = stage_summary(detection, panoptic, minutes=(time.monotonic() - started) / 60)
    (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"\nBoth stages, on {out / 'data'}, in {summary['minutes']:.1f} minutes:\n")
    print(results_tables({"detection": detection["detection"], "panoptic": panoptic["panoptic"]}))
    for name in ("detection", "panoptic"):
        print(f"\n{name} images:")
        for path in sorted((out / name / "pictures").glob("*.jpg")):
            print(f"  {path}")
    print(f"\nsummary: {out / SUMMARY_FILE}")
    if compare_scratch:
        _compare_scratch(train, out, detection)
    return summary


def run_stage(
    train: Train,
    name: str,
    out: Path,
    overrides: Sequence[str] = (),
    splits: Mapping[str, Split] | None = None,
) -> dict[str, Any]:
    """One stage from its recipe, from the start: a demo shows the whole run.

    Args:
        train: runs one recipe.
        name: of the recipe; it runs in the folder of that name in ``out``, if no override says otherwise.
        out: folder of the demo, with its data.
        overrides: changes to the recipe.
        splits: "train" and "validation", in place of the drawn yard.

    Raises:
        UserError: the folder of the stage holds a run that is not the demo's (think of ``--out runs``).
    """
    places = [f"output_dir={out / name}", f"data.demo.folder={out / 'data'}", "resume=never"]
    recipe = load_recipe(recipe_file(name), [*places, *overrides])
    if splits is not None:
        train_split, validation = splits["train"], splits["validation"]
        data = replace(recipe.data, demo=None, train=train_split, validation=validation)
        recipe = replace(recipe, data=data)
    record = Path(recipe.output_dir) / "recipe.yaml"
    if record.is_file() and not _is_demo(load_recipe(record).data, out):
        raise UserError(f"{record.parent} holds a run that is not the demo's; choose another --out.")
    print(f"\n== {name}: {recipe_file(name)}", flush=True)
    return train(recipe)


def _is_demo(data: Data, out: Path) -> bool:
    """Whether a run learned the drawn yard, or images that are in the demo's own folder."""
    return data.demo is not None or (
        data.train is not None and out in Path(data.train.images or data.train.place).parents
    )


def _compare_scratch(train: Train, out: Path, pretrained: dict[str, Any]) -> None:
    overrides = [f"output_dir={out / 'scratch'}", "model.scratch=true"]
    scratch = run_stage(train, "detection", out, overrides)
    print("\nStage 1, the same steps on the same images:\n")
    print("| start | box AP | box AP50 | box AR |\n| --- | ---: | ---: | ---: |")
    for start, results in (("pretrained", pretrained), ("random weights", scratch)):
        boxes = results["detection"]
        print(f"| {start} | {boxes['AP']:.3f} | {boxes['AP50']:.3f} | {boxes['AR']:.3f} |")


def recipe_file(name: str) -> Path:
    """One of the demo's recipes."""
    return shipped_recipe(f"demo/{name}")


def stage_summary(detection: dict[str, Any], panoptic: dict[str, Any], minutes: float) -> dict[str, Any]:
    """The main numbers of both stages (0 to 1), and the minutes they took."""
    boxes, segments = detection["detection"], panoptic["panoptic"]
    return {
        "box_ap": boxes["AP"],
        "box_ar": boxes["AR"],
        **{key: segments["All"][key] for key in ("pq", "sq", "rq")},
        "pq_things": segments["Things"]["pq"],
        "pq_stuff": segments["Stuff"]["pq"],
        "minutes": round(minutes, 2),
    }
