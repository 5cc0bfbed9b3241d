"""How far every run of a study is, by what its folder says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.ablation.study import PlannedRun
from detr_hf.errors import UserError
from detr_hf.files import write_text
from detr_hf.foreign_files import damaged_text, readable_json
from detr_hf.recipe import load_recipe, recipe_to_dict, recipe_to_yaml
from detr_hf.run_folder import RECIPE_FILE, RESULTS_FILE, RunFolder

OUTPUT_FILE = "run.log"
FAILURE_FILE = "failed.json"
NO_MATTER = {
    *("output_dir", "resume", "time_limit", "trackers", "log_every", "push_to_hub", "hub"),
    *("data.workers", "evaluation.pictures", "compute.gradient_checkpointing"),
}
"""Settings that change no score: a run that had others is still a run of the study."""


@dataclass(frozen=True)
class State:
    """Of a run.

    Attributes:
        kind: "open": nothing was trained; "started": cut off, or under way; "failed": it ended with an error;
            "finished"; "other": its folder holds a run of another recipe.
        detail: how far it is, the error, or what differs.
    """

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.kind}{': ' if self.detail else ''}{self.detail}"


def asked_file(run: PlannedRun) -> Path:
    """The recipe of a run, beside its folder: what the study asked for, without a family's defaults."""
    return run.folder.with_name(f"{run.folder.name}.yaml")


def state_of(run: PlannedRun) -> State:
    """How far a run is."""
    folder = RunFolder(run.folder)
    failure = readable_json(run.folder / FAILURE_FILE)
    failed = State("failed", str(failure.get("error", "no reason is known"))) if failure else None
    if not folder.recipe_file.is_file():
        return failed or State("open")  # what fails before the first step leaves no record
    if differing := list(_differing(run, folder)):
        return State("other", "; ".join(differing))
    if failed is not None:
        return failed
    if _is_complete(run.folder):
        return State("finished")
    steps = [line["step"] for line in folder.log()]
    return State("started", f"step {max(steps)} is logged" if steps else "")


def _is_complete(folder: Path) -> bool:
    """Whether its last start came to its end: every start writes the recipe, every end the results."""
    results = folder / RESULTS_FILE
    return results.is_file() and results.stat().st_mtime_ns >= (folder / RECIPE_FILE).stat().st_mtime_ns


def _differing(run: PlannedRun, folder: RunFolder) -> Iterator[str]:
    """Settings of the recorded run that are not those of the study, `key: then -> now`.

    What the study asked for must be the same as now, and the run must have done it: its record has the
    numbers of the family besides, which the study left open.
    """
    now = flat(recipe_to_dict(run.recipe))
    asked, done = _recipe_in(asked_file(run)), _recipe_in(folder.recipe_file)
    if asked is None or done is None:
        yield "it has no recipe that can be read" if done is None else "it was not started by this study"
        return
    for key in sorted((now.keys() | asked.keys()) - NO_MATTER):
        if now.get(key) != asked.get(key):
            yield f"{key}: {_shown(asked, key)} -> {_shown(now, key)}"
        elif key in now and done.get(key) != now[key]:
            yield f"{key}: {_shown(done, key)} -> {_shown(now, key)}"


def _recipe_in(file: Path) -> dict[str, str] | None:
    try:
        return flat(recipe_to_dict(load_recipe(file)))
    except (OSError, UserError):
        return None


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """A recipe as ``{"optim.lr": "0.0001"}``."""
    found: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = json.dumps(value, ensure_ascii=False)
    return found


def _shown(values: Mapping[str, str], key: str) -> str:
    text = values.get(key, "not set")
    return text if len(text) <= 40 else f"{text[:37]}..."


def write_asked(run: PlannedRun) -> Path:
    """Write the recipe of a run beside its folder."""
    return write_text(asked_file(run), recipe_to_yaml(run.recipe))


def error_in(log: Path, code: int, start: int = 0) -> str:
    """Why a run ended: what it printed last as its error, else its last line and its exit code.

    Args:
        log: of all tries of the run.
        code: its exit code.
        start: the byte where the output of this try begins.
    """
    try:
        lines = [line.strip() for line in damaged_text(log, start).splitlines()[-200:] if line.strip()]
    except UserError:
        lines = []
    started = [at for at, line in enumerate(lines) if line.startswith("error: ")]
    if started:
        return " ".join(lines[started[-1] :])[7:][:500]
    end = f"ended by signal {-code}" if code < 0 else f"exit code {code}"
    return f"{end}; {lines[-1][:300]}" if lines else end
