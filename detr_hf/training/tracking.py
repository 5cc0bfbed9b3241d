"""Numbers of a run: ``metrics.jsonl`` always, trackers of Accelerate when the recipe names them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from detr_hf.errors import UserError
from detr_hf.recipe import Recipe, recipe_to_dict

METRICS_FILE = "metrics.jsonl"


def tracker_names(wanted: Sequence[str]) -> list[str]:
    """The recipe's trackers, all of them installed.

    Raises:
        UserError: one is not; Accelerate itself would only leave it out.
    """
    available = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    if missing := [name for name in wanted if name not in available]:
        raise UserError(f"trackers: {', '.join(missing)} is not installed (pip install {' '.join(missing)}).")
    return list(wanted)


class RunLog:
    """Appends one JSON object a line to ``metrics.jsonl`` and passes plain numbers on to the trackers.

    Args:
        accelerator: of the run; only the main process writes.
        recipe: shown by the trackers as the run's configuration.
        step: the step that the run resumes from; later lines of an earlier attempt are dropped.
    """

    def __init__(self, accelerator: Accelerator, recipe: Recipe, step: int = 0):
        self.accelerator = accelerator
        self.path = Path(recipe.output_dir) / METRICS_FILE
        if accelerator.is_main_process and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _step_of(line) <= step] if step else []
            self.path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
        if recipe.trackers:
            accelerator.init_trackers("detr_hf", config=_flat(recipe_to_dict(recipe)))

    def write(self, step: int, kind: str, values: Mapping[str, object]) -> None:
        """Log ``values`` (nested dicts of numbers are fine) under a kind such as "train" or "validation"."""
        if not self.accelerator.is_main_process:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        numbers = {k: v for k, v in _flat(values).items() if isinstance(v, (int, float))}
        self.accelerator.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Flush the trackers."""
        self.accelerator.end_training()


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (json.JSONDecodeError, KeyError, TypeError):
        return float("inf")  # a line cut short by a kill


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as ``{"optim.lr": 1e-4}``: TensorBoard takes flat scalars and strings only."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return flat
