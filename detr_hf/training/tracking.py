"""Numbers of a run: ``metrics.jsonl`` always, trackers of Accelerate when the recipe names them."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from accelerate import Accelerator
from accelerate.tracking import get_available_trackers

from detr_hf.errors import UserError
from detr_hf.files import unwritable, write_text
from detr_hf.recipe import Recipe, recipe_to_dict
from detr_hf.run_folder import LOG_FILE


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
        run_id: what W&B and trackio know the run by; None: a new one.
        evaluated: whether the evaluation at ``step`` is in the past; if not, a line of it is dropped too.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        recipe: Recipe,
        step: int = 0,
        run_id: str | None = None,
        evaluated: bool = True,
    ) -> None:
        self.accelerator = accelerator
        self.path = Path(recipe.output_dir) / LOG_FILE
        self.run_id = run_id or uuid.uuid4().hex[:12]
        if accelerator.is_main_process and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines()
            kept = [line for line in lines if _is_past(line, step, evaluated)] if step else []
            # whole: a kill must not cut off what was logged long ago
            write_text(self.path, "".join(f"{line}\n" for line in kept))
        if recipe.trackers:
            config, same_run = _flat(recipe_to_dict(recipe)), going_on(self.run_id, step)
            chosen = {name: same_run[name] for name in recipe.trackers}
            accelerator.init_trackers("detr_hf", config=config, init_kwargs=chosen)

    def write(self, step: int, kind: str, values: Mapping[str, object]) -> None:
        """Log ``values`` (nested dicts of numbers are fine) under a kind such as "train" or "validation"."""
        if not self.accelerator.is_main_process:
            return
        with unwritable(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "kind": kind, **values}) + "\n")
        numbers = {k: v for k, v in _flat(values).items() if isinstance(v, (int, float))}
        self.accelerator.log({f"{kind}/{name}": value for name, value in numbers.items()}, step=step)

    def close(self) -> None:
        """Flush the trackers."""
        self.accelerator.end_training()


def going_on(run_id: str, step: int) -> dict[str, dict[str, object]]:
    """What each tracker is told at its start, so that a resumed run is shown as one run."""
    return {
        "wandb": {"id": run_id, "resume": "allow"},
        "trackio": {"name": run_id, "resume": "allow"},
        "tensorboard": {"purge_step": step + 1} if step else {},
    }


def _is_past(line: str, step: int, evaluated: bool) -> bool:
    try:
        entry = json.loads(line)
        done = evaluated or entry["kind"] != "validation"
        return entry["step"] < step or (entry["step"] == step and done)
    except (json.JSONDecodeError, KeyError, TypeError):
        return False  # a line cut short by a kill


def _flat(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    """Nested settings as ``{"optim.lr": 1e-4}``: TensorBoard takes flat scalars and strings only."""
    flat: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, (int, float, str, bool)) else str(value)
    return flat
