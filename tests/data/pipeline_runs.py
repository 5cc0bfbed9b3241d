"""Pipelines that the tests run, and what is left by them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from detr_hf.data.pipeline import Pipeline
from detr_hf.data.pseudo_label import FoundStuff
from detr_hf.recipe.prepare import load_prepare_recipe


class HalfAndHalf:
    """A teacher that sees sky in the upper half of an image and pavement in the lower."""

    name, fingerprint = "half and half", "1"
    stuff_names = ("sky-other-merged", "pavement-merged")

    def find(self, image: np.ndarray, score_threshold: float, mask_threshold: float) -> FoundStuff:
        height, width = image.shape[:2]
        id_map = np.ones((height, width), np.int32)
        id_map[height // 2 :] = 2
        return FoundStuff(id_map, [(1, "sky-other-merged", 0.9), (2, "pavement-merged", 0.95)])


def no_teacher() -> NoReturn:
    raise AssertionError("a teacher is asked for without need")


def pipeline(raw: Path, out: Path, *overrides: str, strict: bool = False) -> Pipeline:
    """Without a teacher, in one process, unless said otherwise."""
    recipe = load_prepare_recipe(None, ["num_proc=1", "pseudo_stuff.enabled=false", *overrides])
    return Pipeline(raw, out, recipe, no_teacher, strict)


def with_stuff(raw: Path, out: Path, *overrides: str) -> Pipeline:
    return Pipeline(raw, out, load_prepare_recipe(None, ["num_proc=1", *overrides]), HalfAndHalf)


def messy_run(raw: Path, out: Path) -> Pipeline:
    """Of a source of `tests.data.messes`."""
    return with_stuff(raw, out, "read.painted_masks=objects", "preset=construction")


def report(out: Path) -> dict[str, Any]:
    return json.loads((out / "prepare_report.json").read_text(encoding="utf-8"))


def content(folder: Path, *without: str) -> dict[str, str]:
    """Hashes of all files by name."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    named = {file.relative_to(folder).as_posix(): file for file in files}
    return {
        name: sha256(file.read_bytes()).hexdigest()
        for name, file in named.items()
        if name.split("/")[0] not in without
    }
