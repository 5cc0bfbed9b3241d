"""What is wrong with a recipe, in words for people."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from detr_hf.recipe.tree import Path, all_paths, dotted, fields_of, section_at

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

# pydantic's errors that are reworded: its own words are those of JSON and of Python.
EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "`name: value` pairs",
    "dataclass_type": "a section of settings",
}
LIMITS = {
    "greater_than": ("greater than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
RENAMED = {
    "class_weight": "class_loss_coefficient",
    "box_l1": "bbox_loss_coefficient",
    "giou": "giou_loss_coefficient",
    "no_object_weight": "eos_coefficient",
    "l1_cost": "bbox_cost",
    "focal": "mask_loss_coefficient",
    "dice": "dice_loss_coefficient",
}
"""Keys of 0.1.0 that have another name now."""

OTHER_NAMES = {
    "batch": "optim.batch_size",
    "train_batch_size": "optim.batch_size",
    "per_device_train_batch_size": "optim.micro_batch_size",
    "gradient_accumulation_steps": "optim.micro_batch_size",
    "grad_accum_steps": "optim.micro_batch_size",
    "num_epochs": "optim.epochs",
    "num_train_epochs": "optim.epochs",
    "max_epochs": "optim.epochs",
    "learning_rate": "optim.lr",
    "lr0": "optim.lr",
    "lr_encoder": "optim.backbone_lr",
    "lr_backbone": "optim.backbone_lr",
    "lr_scheduler": "optim.schedule.name",
    "workers": "data.workers",
    "num_workers": "data.workers",
    "dataset_dir": "data.train",
    "amp": "mixed_precision",
    "precision": "mixed_precision",
    "weights": "model.pretrained",
    "pretrain_weights": "model.pretrained",
    "freeze": "model.freeze_backbone",
    "project": "output_dir",
    "name": "output_dir",
    "save_dir": "output_dir",
    "logger": "trackers",
    "use_ema": "optim.ema",
    "conf": "evaluation.score_threshold",
}
"""What other trainers call a setting."""

SIZE = "the size of images is `short_edges` in `transforms`"
GPU = "a run takes the GPU that is there; the environment variable CUDA_VISIBLE_DEVICES chooses one"
ELSEWHERE = dict.fromkeys(("imgsz", "img_size", "image_size", "resolution"), SIZE) | {"device": GPU}
"""What other trainers have as a setting, and what to do here."""

REMOVED = {"shard": "every process holds the whole model now; remove it"}
"""Keys of `compute` that are no more, with what to do."""


@dataclass(frozen=True)
class Fault:
    """One thing wrong, at one place."""

    path: Path
    message: str

    def __str__(self) -> str:
        return f"{dotted(self.path)}: {self.message}" if self.path else self.message


def format_errors(faults: list[Fault], source: str) -> str:
    """All faults of a recipe as one message, a line for each; ``source`` names the recipe."""
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    return "\n".join([f"{source}: {count}", *(f"  {fault}" for fault in faults)])


def quoted(value: Any) -> str:
    """A value as the user would recognize it, cut short when long."""
    text = f"'{value}'" if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."


def nearest(word: str, candidates: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The candidate that `word` was probably meant to be."""
    close = difflib.get_close_matches(word.lower(), list(candidates), n=1, cutoff=cutoff)
    return close[0] if close else None


def schema_faults(errors: Iterable[ErrorDetails], task: str, types: Mapping[str, type]) -> list[Fault]:
    """Pydantic's errors, reworded; those of one setting that may have several types are one."""
    by_path: dict[Path, list[tuple[ErrorDetails, Fault]]] = {}
    for error in errors:
        fault = schema_fault(error, task, types)
        by_path.setdefault(fault.path, []).append((error, fault))
    found = []
    for path, those in by_path.items():
        if any(other[: len(path)] == path and other != path for other in by_path):
            continue  # of the type that is meant, something inside is wrong
        kinds = [EXPECTED[error["type"]] for error, _ in those if error["type"] in EXPECTED]
        choices = [choice for error, _ in those for choice in _choices(error)]
        if len(those) > 1 and kinds and choices:
            either = " or ".join([*kinds, *(f"`{choice}`" for choice in choices)])
            found.append(Fault(path, f"expected {either}, got {quoted(those[0][0]['input'])}"))
        else:
            found.append(those[0][1])
    return found


def _choices(error: ErrorDetails) -> list[str]:
    return re.findall(r"'([^']*)'", error["ctx"]["expected"]) if error["type"] == "literal_error" else []


def schema_fault(error: ErrorDetails, task: str, types: Mapping[str, type]) -> Fault:
    """One pydantic error of a recipe for ``task``, reworded; ``types`` are the recipes by task."""
    kind, value = error["type"], error["input"]
    # of a setting with several types pydantic names the one it tried last
    path = tuple(part for part in error["loc"] if not (isinstance(part, str) and "[" in part))
    context: dict[str, Any] = error.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        return Fault(path, _unknown_key(path, task, types))
    if kind == "missing":
        inside = section_at(types[task], path)
        names = ", ".join(list(fields_of(inside))[:3]) if inside else ""
        return Fault(path, f"missing; a section with {names}, ..." if inside else "missing; give it a value")
    if kind == "literal_error":
        return Fault(path, wrong_choice(value, _choices(error)))
    if kind == "string_too_short":
        return Fault(path, "is empty; write a value")
    if kind == "value_error":
        return Fault(path, str(context["error"]))
    if kind in LIMITS:
        words, key = LIMITS[kind]
        return Fault(path, f"must be {words} {context[key]:g}, got {quoted(value)}")
    if kind in EXPECTED:
        return Fault(path, _wrong_type(kind, value))
    return Fault(path, f"{error['msg']}, got {quoted(value)}")


def wrong_choice(value: Any, choices: Iterable[str]) -> str:
    """Lists the choices, and the nearest one to a misspelt word."""
    choices = list(choices)
    guess = nearest(value, choices) if isinstance(value, str) else None
    hint = f"; did you mean `{guess}`?" if guess else ""
    listed = ", ".join(f"`{choice}`" for choice in choices)
    return f"expected {'one of ' if len(choices) > 1 else ''}{listed}, got {quoted(value)}{hint}"


def _wrong_type(kind: str, value: Any) -> str:
    """What was expected, what came, and the likely correction."""
    message = f"expected {EXPECTED[kind]}, got {quoted(value)}"
    if value is None:
        return f"expected {EXPECTED[kind]}, got nothing; write a value or remove the line"
    if kind in ("int_type", "float_type") and isinstance(value, str) and re.fullmatch(r"[-+.\deE]+", value):
        return f"{message}; remove the quotes"
    if kind == "string_type" and isinstance(value, int | float):
        return f"{message}; put it in quotes"
    return message


def _unknown_key(path: Path, task: str, types: Mapping[str, type]) -> str:
    """Where the setting belongs: to the other task, under a like name beside it, or elsewhere."""
    here, name = section_at(types[task], path[:-1]), str(path[-1])
    siblings = list(fields_of(here)) if here else []
    for other in types:
        if other != task and path in set(all_paths(types[other])):
            return f"unknown key here; it belongs to `task: {other}`"
    if name in REMOVED and path[:-1] == ("compute",):
        return f"no setting any more: {REMOVED[name]}"
    if RENAMED.get(name) in siblings:
        return f"unknown key; it is now called `{RENAMED[name]}`"
    meant = OTHER_NAMES.get(name, "")
    if meant and (len(path) == 1 or meant.startswith(f"{dotted(path[:-1])}.")):
        return f"unknown key; did you mean `{meant}`?"
    if name in ELSEWHERE and len(path) == 1:
        return f"unknown key; {ELSEWHERE[name]}"
    if guess := nearest(name, siblings):
        return f"unknown key; did you mean `{guess}`?"
    everywhere = [known for known in all_paths(types[task]) if len(known) > 1]
    near = nearest(name, (str(known[-1]) for known in everywhere), 0.8)
    if elsewhere := [f"`{dotted(known)}`" for known in everywhere if known[-1] == near]:
        return f"unknown key; did you mean {' or '.join(elsewhere)}?"
    return f"unknown key; valid here: {', '.join(siblings)}"
