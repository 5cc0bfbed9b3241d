"""What a run was made of and on, from the files in its folder; what they do not say is None."""

from __future__ import annotations

import json
from pathlib import Path, PurePath
from typing import Any

from detr_hf.errors import UserError
from detr_hf.prepare.build import REPORT_FILE as DATA_FILE
from detr_hf.recipe import load_recipe, recipe_to_dict
from detr_hf.recipe.replay import RECORD_FILE
from detr_hf.training.setup import ENVIRONMENT_FILE

UNKNOWN = "not known"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def read_recipe(folder: Path) -> dict[str, Any]:
    """The run's recipe as nested dicts; empty where there is none that can be read."""
    try:
        return recipe_to_dict(load_recipe(folder / RECORD_FILE))
    except (OSError, UserError):
        return {}


def facts_of(
    folder: Path, recipe: dict[str, Any], totals: dict[str, Any], results: dict[str, Any]
) -> list[tuple[str, str]]:
    """Names and values, in the order in which they are shown."""
    environment, data = read_json(folder / ENVIRONMENT_FILE), read_json(folder / DATA_FILE)
    optim = recipe.get("optim") or {}
    splits = data.get("splits") or {}
    devices = (
        f"{environment.get('processes', '?')} x {environment.get('device', '?')}" if environment else None
    )
    threads = environment.get("threads")
    return [
        ("stage", {"detection": "1, boxes", "panoptic": "2, panoptic"}.get(str(recipe.get("task")), UNKNOWN)),
        ("starts from", _start(recipe)),
        ("training images", _said(splits.get("train"))),
        ("validation images", _said(splits.get("validation"))),
        ("best epoch", _said(results.get("epoch"), f", after step {_said(results.get('step'))}")),
        ("trained", f"{_said(totals['epochs'])} epochs, {_said(totals['steps'])} steps"),
        ("batch size", _said(optim.get("batch_size"), " images a step")),
        ("learning rate", _said(optim.get("lr"))),
        ("minutes of training steps", _said(totals["minutes"])),
        ("training images a second", _said(totals["images_per_second"])),
        ("most memory", _said(totals["memory_mb"], " MB on the first process")),
        ("images that could not be loaded", _said(totals["bad_samples"])),
        ("steps left out (not finite)", _said(totals["skipped_steps"])),
        ("hardware", _said(devices, f", {threads} threads a process" if threads else "")),
        ("commit", _said(environment.get("git_commit"))),
        ("Python", _said(environment.get("python"))),
        ("libraries", _versions(environment.get("libraries"))),
        ("command", _command(environment.get("command"))),
    ]


def _said(value: Any, behind: str = "") -> str:
    return UNKNOWN if value is None else f"{value}{behind}"


def _start(recipe: dict[str, Any]) -> str:
    model = recipe.get("model") or {}
    names = [model.get(key) for key in ("pretrained", "detector", "mask_head")]
    named = " and ".join(str(name) for name in names if name) or UNKNOWN
    return f"random weights in the shape of {named}" if model.get("scratch") else named


def _versions(libraries: Any) -> str:
    if not isinstance(libraries, dict):
        return UNKNOWN
    return ", ".join(f"{name} {version}" for name, version in libraries.items() if version)


def _command(words: Any) -> str:
    """Without the folder of the program, which tells of one machine only."""
    if not isinstance(words, list) or not words:
        return UNKNOWN
    return " ".join([PurePath(str(words[0])).name, *map(str, words[1:])])
