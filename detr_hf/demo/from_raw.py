"""`detr-hf demo --from-raw`: raw class folders, prepared with pseudo-labeled stuff, then both stages."""

from __future__ import annotations

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from detr_hf.data.pipeline import Pipeline
from detr_hf.demo.raw_layout import RawFolders, RawSpec, ensure_raw
from detr_hf.demo.resolve import model_path, panoptic_split, teacher_of
from detr_hf.demo.run import SUMMARY_FILE, Train, recipe_file, run_stage, stage_summary
from detr_hf.errors import UserError, quantity
from detr_hf.images import decode_id_map
from detr_hf.labels import LabelMap
from detr_hf.metrics.panoptic_quality import PanopticQuality
from detr_hf.metrics.tables import panoptic_table, per_class_table, results_tables
from detr_hf.recipe.prepare import load_prepare_recipe

DATASET, STAGES, SPLITS = "dataset", ("detection", "panoptic"), ("train", "validation")


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
    splits = {name: panoptic_split(prepared / name, folders.raw) for name in SPLITS}
    results = {}
    for name in STAGES:
        overrides = [f"model.detector={out / 'detection' / 'best'}"] if name == "panoptic" else []
        results[name] = run_stage(train, name, out, overrides, splits)
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
    print(f"\nwhat was repaired and dropped: {prepared / 'prepare_report.md'}\nsummary: {out / SUMMARY_FILE}")
    return summary


def prepare_yard(folders: RawFolders, out: Path) -> Path:
    """Prepare the raw yard with the demo's recipe and the tiny checkpoint as the teacher; returns ``out``."""
    recipe = load_prepare_recipe(recipe_file("dataset"))
    stuff = recipe.pseudo_stuff
    print(f"\n== prepare: {recipe_file('dataset')}", flush=True)
    teacher_files = Path(model_path(stuff.teacher))
    Pipeline(folders.raw, out, recipe, partial(teacher_of, stuff), teacher_files=teacher_files).run()
    return out


def _stuff_text(stuff: dict[str, Any]) -> str:
    return (
        f"\nPseudo-labeled stuff against the true stuff, {quantity(stuff['images'], 'image')}:\n\n"
        f"{panoptic_table(stuff)}\n\n{per_class_table(stuff)}"
    )


def score_pseudo_stuff(prepared: str | Path, truth: str | Path) -> dict[str, Any]:
    """PQ of a prepared data set's stuff against the true stuff; things are void in the truth.

    Only pixels that truly are stuff count, as the metric leaves void out: what a teacher calls a thing that
    nobody annotated does not matter, stuff that it leaves void does.

    Args:
        prepared: what `detr-hf prepare` wrote, with ``train/`` and ``validation/``.
        truth: ``panoptic.json`` and ``panoptic/`` of the same images under the same names.

    Returns:
        As ``PanopticQuality.compute``, with "images" in addition.

    Raises:
        UserError: an image of the data set has no truth.
    """
    true, found = _stuff_of(Path(truth)), [_stuff_of(Path(prepared) / split) for split in SPLITS]
    segments = [segments for one in (true, *found) for _, segments in one.values()]
    labels = LabelMap.from_names([], stuff=list(dict.fromkeys(name for s in segments for name in s.values())))
    metric = PanopticQuality(labels)
    images = [(name, stuff) for one in found for name, stuff in one.items()]
    for number, (name, stuff) in enumerate(images):
        if name not in true:
            raise UserError(f"{prepared}: {name} has no truth in {truth}")
        metric.add_batch(
            predictions=[_row(number, stuff, labels)], references=[_row(number, true[name], labels)]
        )
    return {**metric.compute(), "images": len(images)}


_Stuff = tuple[Path, dict[int, str]]
"""The file of an image's id map, and the class of every segment of stuff in it."""


def _stuff_of(folder: Path) -> dict[str, _Stuff]:
    """The stuff of a COCO panoptic set, by the file name of the image."""
    content = json.loads((folder / "panoptic.json").read_bytes())
    stuff = {entry["id"]: entry["name"] for entry in content["categories"] if not entry["isthing"]}
    annotations = {entry["image_id"]: entry for entry in content["annotations"]}
    maps = {}
    for image in content["images"]:
        entry = annotations[image["id"]]
        classes = {s["id"]: stuff.get(s["category_id"]) for s in entry["segments_info"]}
        names = {number: name for number, name in classes.items() if name is not None}
        maps[image["file_name"]] = folder / "panoptic" / entry["file_name"], names
    return maps


def _row(image_id: int, stuff: _Stuff, labels: LabelMap) -> dict[str, Any]:
    """What the metric takes: the id map with all but stuff void, and the class of every id in it."""
    file, names = stuff
    id_map = decode_id_map(file)
    return {
        "image_id": image_id,
        "id_map": np.where(np.isin(id_map, list(names)), id_map, 0).astype(np.int32),
        "segments": [
            {"id": number, "category_id": labels.label2id[name], "iscrowd": False}
            for number, name in names.items()
        ],
    }
