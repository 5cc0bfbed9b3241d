"""What a run was made of and on, from the files in its folder; what they do not say is None."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from detr_hf.errors import UserError, quantity
from detr_hf.modeling.threshold_record import read_threshold
from detr_hf.recipe import load_recipe, recipe_to_dict
from detr_hf.run_folder import RunFolder

UNKNOWN = "not known"


def read_recipe(run: RunFolder) -> dict[str, Any]:
    """The run's recipe as nested dicts; empty where there is none that can be read."""
    try:
        return recipe_to_dict(load_recipe(run.recipe_file))
    except (OSError, UserError):
        return {}


def facts_of(
    run: RunFolder, recipe: dict[str, Any], totals: dict[str, Any], results: dict[str, Any]
) -> list[tuple[str, str]]:
    """Names and values, in the order in which they are shown."""
    environment, data = run.environment(), run.data_report()
    optim = recipe.get("optim") or {}
    splits = data.get("splits") or {}
    devices = (
        f"{environment.get('processes', '?')} x {environment.get('device', '?')}" if environment else None
    )
    threads = environment.get("threads")
    behind = f", {quantity(threads, 'thread')} a process" if isinstance(threads, int) else ""
    return [
        ("stage", {"detection": "1, boxes", "panoptic": "2, panoptic"}.get(str(recipe.get("task")), UNKNOWN)),
        ("network", _text(run.best_config().get("model_type"))),
        ("starts from", _start(recipe)),
        ("score threshold", _text(read_threshold(run.best_config()), ", the best on the validation split")),
        ("training images", _text(splits.get("train"))),
        ("validation images", _text(splits.get("validation"))),
        ("best epoch", _text(results.get("epoch"), f", after step {_text(results.get('step'))}")),
        ("trained", f"{_text(totals['epochs'])} epochs, {_text(totals['steps'])} steps"),
        ("batch size", _text(optim.get("batch_size"), " images a step")),
        ("learning rate", _text(optim.get("lr"))),
        ("minutes of training steps", _text(totals["minutes"])),
        ("training images a second", _text(totals["images_per_second"])),
        ("most memory", _text(totals["memory_mb"], " MB on the first process")),
        ("images that could not be loaded", _text(totals["bad_samples"])),
        ("steps left out (not finite)", _text(totals["skipped_steps"])),
        ("hardware", _text(devices, behind)),
        ("commit", _text(environment.get("git_commit"))),
        ("Python", _text(environment.get("python"))),
        ("libraries", _versions(environment.get("libraries"))),
        ("command", _command(environment.get("command"))),
    ]


def _text(value: Any, behind: str = "") -> str:
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
