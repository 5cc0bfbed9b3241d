"""`detr-hf demo --from-raw`: raw class folders, prepared with pseudo-labeled stuff, then both stages."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from detr_hf.demo.raw_layout import RawFolders, RawSpec, ensure_raw
from detr_hf.demo.resolve import model_path, teacher_of
from detr_hf.demo.run import SUMMARY_FILE, Train, recipe_file, run_stage, stage_summary
from detr_hf.demo.stuff_score import score_pseudo_stuff
from detr_hf.metrics.tables import panoptic_table, per_class_table, results_tables
from detr_hf.prepare.raw.pipeline import Pipeline
from detr_hf.recipe import Data, Split
from detr_hf.recipe.prepare import load_prepare_recipe

DATASET, STAGES = "dataset", ("detection", "panoptic")


def run_from_raw(train: Train, out: Path, spec: RawSpec | None = None) -> dict[str, Any]:
    """The whole way, and ``summary.json`` in ``out``.

    Args:
        train: runs one recipe and returns the results of its best checkpoint.
        out: folder of the raw yard (``data/``), the data set made of it (``dataset/``) and both runs.
        spec: how many images, and whether untidy ones.

    Returns:
        The summary: PQ of the pseudo-labeled stuff against the true stuff, results of both stages on the
        prepared validation split (0 to 1), and minutes.
    """
    started = time.monotonic()
    folders = ensure_raw(out / "data", spec or RawSpec())
    prepared = prepare_yard(folders, out / DATASET)
    stuff = score_pseudo_stuff(prepared, folders.truth)
    prepare_minutes = (time.monotonic() - started) / 60
    print(_stuff_text(stuff), flush=True)
    splits = {name: _split(prepared / name, folders.raw) for name in ("train", "validation")}
    results = {}
    for name in STAGES:
        overrides = [f"model.detector={out / 'detection' / 'best'}"] if name == "panoptic" else []
        results[name] = run_stage(train, name, out, overrides, partial(_data, splits=splits))
    summary = {
        "pseudo_stuff_pq": stuff["Stuff"]["pq"],
        "images": stuff["images"],
        "prepare_minutes": round(prepare_minutes, 2),
        **stage_summary(results["detection"], results["panoptic"], (time.monotonic() - started) / 60),
    }
    (out / SUMMARY_FILE).write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    print(f"\nFrom raw folders to both stages, in {summary['minutes']:.1f} minutes.\n{_stuff_text(stuff)}\n")
    print("Both stages, on the validation split as it was prepared:\n")
    print(results_tables({name: results[name][name] for name in STAGES}))
    print(f"\nwhat was mended and dropped: {prepared / 'prepare_report.md'}\nsummary: {out / SUMMARY_FILE}")
    return summary


def prepare_yard(folders: RawFolders, out: Path) -> Path:
    """Prepare the raw yard with the demo's recipe and the tiny checkpoint as the teacher; returns ``out``."""
    recipe = load_prepare_recipe(recipe_file("dataset"))
    stuff = recipe.pseudo_stuff
    print(f"\n== prepare: {recipe_file('dataset')}", flush=True)
    teacher_files = Path(model_path(stuff.teacher))
    Pipeline(folders.raw, out, recipe, partial(teacher_of, stuff), teacher_files=teacher_files).run()
    return out


def _split(folder: Path, raw: Path) -> Split:
    annotations, panoptic = folder / "panoptic.json", folder / "panoptic"
    return Split(annotations=str(annotations), images=str(raw), panoptic=str(panoptic))


def _data(data: Data, splits: dict[str, Split]) -> Data:
    return replace(data, demo=None, train=splits["train"], validation=splits["validation"])


def _stuff_text(stuff: dict[str, Any]) -> str:
    return (
        f"\nPseudo-labeled stuff against the true stuff, {stuff['images']} images:\n\n"
        f"{panoptic_table(stuff)}\n\n{per_class_table(stuff)}"
    )
