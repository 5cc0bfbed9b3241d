"""What the folder of a run holds: its names, and readers of what is looked at when the run is over.

Files may be missing, cut off, or of an older version. ``RunFolder`` reads what can be read: a run is compared
or shown also where one of its files is lost.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError, quantity
from detr_hf.files import MANIFEST_FILE, write_json, write_text
from detr_hf.foreign_files import damaged_text, is_finite_number, no_such, parse_json, readable_json

RECIPE_FILE = "recipe.yaml"  # with all defaults
ENVIRONMENT_FILE = "environment.json"  # commit, versions, processes, devices, images of each split
SOURCE_FILE = "source.json"  # of the folder of both runs on a data set: which one
DATA_REPORT_FILE = "data_report.json"
LOG_FILE = "metrics.jsonl"  # a line of numbers every so many steps, every epoch and every evaluation
METRICS_FILE = "metrics.json"  # of a model folder: what the evaluation of that model gave
PER_IMAGE_FILE = "best_predictions.safetensors"  # what the evaluation behind best/ counted in every image
SEGMENTS_FILE = "report_segments.safetensors"  # of stage 2: those that the report shows
RESULTS_FILE = "results.md"
REPORT_PAGE, REPORT_TEXT, REPORT_NUMBERS = "report.html", "report.md", "report.json"
SAMPLES_FILE = "train_samples.jpg"
BAD_SAMPLES_FILE = "bad_samples.jsonl"
PICTURES_FOLDER = "pictures"
WEIGHTS_FILE = "model.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """The folder ``path`` of a run, finished or not."""

    path: Path

    @staticmethod
    def open(path: Path) -> RunFolder:
        """Raises:
        UserError: it is not the folder of a run.
        """
        path = single_run(path)
        if not path.exists():
            raise UserError(f"{path}: {no_such(path, 'folder')}.")
        if not (path / RECIPE_FILE).is_file():
            run = f" Give {path.parent}." if (path.parent / RECIPE_FILE).is_file() else ""
            raise UserError(f"{path}: is no folder of a run; it has no {RECIPE_FILE}.{run}")
        return RunFolder(path)

    @staticmethod
    def of_model(path: Path) -> tuple[RunFolder, Path] | None:
        """The run and its model: of a run folder (its best one), or of a model folder in a run folder."""
        for folder, model in ((path, path / "best"), (path.parent, path)):
            if (folder / RECIPE_FILE).is_file():
                return RunFolder(folder), model
        return None

    @property
    def recipe_file(self) -> Path:
        return self.path / RECIPE_FILE

    @property
    def best(self) -> Path:
        """The model with the best score so far."""
        return self.path / "best"

    def require_best(self) -> Path:
        """``best``, which is there.

        Raises:
            UserError: the run has not been evaluated yet.
        """
        if not self.best.is_dir():
            raise UserError(f"{self.path}: has no best/ yet; the first evaluation of a run writes it.")
        return self.best

    @property
    def last(self) -> Path:
        """The training state to resume from."""
        return self.path / "last"

    def recipe_text(self) -> str | None:
        """The recipe as it was recorded."""
        try:
            return damaged_text(self.recipe_file)
        except UserError:
            return None

    def write_record(self, recipe_text: str, environment: dict[str, Any]) -> None:
        """Write what it takes to repeat the run.

        Raises:
            UserError: it cannot be written.
        """
        write_text(self.recipe_file, recipe_text)
        write_json(self.path / ENVIRONMENT_FILE, environment)

    def environment(self) -> dict[str, Any]:
        """What the run ran on; empty where that is not known."""
        return readable_json(self.path / ENVIRONMENT_FILE)

    def data_report(self) -> dict[str, Any]:
        """What was found in the data; empty where that is not known."""
        return readable_json(self.path / DATA_REPORT_FILE)

    def report_numbers(self) -> dict[str, Any]:
        """Every number of the report; empty where there is none."""
        return readable_json(self.path / REPORT_NUMBERS)

    def best_metrics(self) -> dict[str, Any]:
        """What the evaluation of ``best/`` gave, its epoch and step; empty before the first evaluation."""
        return readable_json(self.best / METRICS_FILE)

    def best_config(self) -> dict[str, Any]:
        """The config of the network in ``best/``; empty where there is none."""
        return readable_json(self.best / "config.json")

    def log(self) -> list[dict[str, Any]]:
        """The lines of ``metrics.jsonl`` that are whole and have a step."""
        try:
            lines = [_line(text) for text in damaged_text(self.path / LOG_FILE).splitlines()]
        except UserError:
            return []
        return [line for line in lines if line is not None]

    def hash_of_last(self) -> str | None:
        """The sha256 of the weights in ``last/``, as its manifest has it; None where that is not known."""
        try:
            return str(readable_json(self.last / MANIFEST_FILE)["files"][WEIGHTS_FILE]["sha256"])
        except (LookupError, TypeError):
            return None


def single_run(path: Path) -> Path:
    """The folder of the only run in ``path``; ``path`` itself where it holds none.

    Raises:
        UserError: it holds several, such as both stages on one data set.
    """
    files = [] if (path / RECIPE_FILE).exists() else path.glob(f"*/{LOG_FILE}")
    runs = sorted(file.parent for file in files if (file.parent / RECIPE_FILE).is_file())
    if len(runs) > 1:
        shown = " or ".join(map(str, runs[:3]))
        raise UserError(f"{path}: holds {quantity(len(runs), 'run')}; give {shown}.")
    return runs[0] if runs else path


def is_output(folder: str, depth: int = 2) -> bool:
    """Whether this package wrote a folder: a run, the runs on a data set, or `runs/` with such in it.

    A training that is started in the folder of its data writes there, and what it writes is no data.
    """
    marks = ((RECIPE_FILE, ENVIRONMENT_FILE), ("detection.yaml", SOURCE_FILE))
    if any(all(os.path.isfile(os.path.join(folder, name)) for name in names) for names in marks):
        return True
    if depth == 0 or (depth == 2 and os.path.basename(folder) != "runs"):
        return False
    with suppress(OSError), os.scandir(folder) as entries:
        return any(
            is_output(entry.path, depth - 1) for entry in entries if entry.is_dir(follow_symlinks=False)
        )
    return False


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = parse_json(text, LOG_FILE, any_number=True)
    except UserError:
        return None  # cut short by a kill
    step = line.get("step") if isinstance(line, dict) else None
    return line if is_finite_number(step) else None
