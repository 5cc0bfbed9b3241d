"""Steps that are done once: skipped while inputs and settings stay the same, taken up again after a kill."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from detr_hf.files import sha256_of, write_json
from detr_hf.foreign_files import readable_json


@dataclass(frozen=True)
class StepFolder:
    """``OUT/steps/<name>/``: ``key.json`` says what is being made there, ``done.json`` that it is made.

    A key is a hash of all that decides the result. What another key left behind is thrown away first, unless
    ``keeps`` says that the step itself knows what of it still holds.
    """

    folder: Path
    key: str
    keeps: bool = False

    @property
    def is_done(self) -> bool:
        return readable_json(self.folder / "done.json").get("key") == self.key

    def begin(self) -> None:
        """Make the folder ready: empty, or with what a run with the same key left when it was killed."""
        if readable_json(self.folder / "key.json").get("key") == self.key:
            return
        if self.keeps:
            (self.folder / "done.json").unlink(missing_ok=True)
        elif self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "key.json", {"key": self.key}, sync=True)

    def finish(self) -> None:
        write_json(self.folder / "done.json", {"key": self.key}, sync=True)


def words_of(settings: Any) -> str:
    """The settings of a section as text, for a key."""
    return json.dumps(asdict(settings), sort_keys=True)


def words_of_file(setting: str | None) -> list[str]:
    """What decides the result where a setting may name a file."""
    if setting is None:
        return [""]
    path = Path(setting)
    file = path / "label_map.json" if path.is_dir() else path
    return [setting, sha256_of(file) if file.is_file() else ""]
