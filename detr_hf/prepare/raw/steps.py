"""Steps that are done once: skipped while inputs and settings stay the same, taken up again after a kill."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError


class StepFolder:
    """``OUT/steps/<name>/``: ``key.json`` says what is being made there, ``done.json`` that it is made.

    A key is a hash of all that decides the result. What another key left behind is thrown away first, unless
    ``keeps`` says that the step itself knows what of it still holds.
    """

    def __init__(self, steps: Path, name: str, key: str, keeps: bool = False) -> None:
        self.name = name
        self.folder = steps / name
        self.key = key
        self._keeps = keeps

    @property
    def is_done(self) -> bool:
        return _content(self.folder / "done.json").get("key") == self.key

    def begin(self) -> None:
        """Make the folder ready: empty, or with what a run with the same key left when it was killed."""
        if _content(self.folder / "key.json").get("key") == self.key:
            return
        if self._keeps:
            (self.folder / "done.json").unlink(missing_ok=True)
        elif self.folder.exists():
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(self.folder / "key.json", json.dumps({"key": self.key}))

    def finish(self) -> None:
        write_whole(self.folder / "done.json", json.dumps({"key": self.key}))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears under its name only when it is whole.

    Bytes of file names that are no text are shown as escapes.
    """
    part = path.with_name(f"{path.name}.part")
    with part.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def cut_to_whole_lines(path: Path) -> int:
    """Cut what a kill left half written off a JSON-lines file; returns the number of lines that stay."""
    path.touch()
    count = end = 0
    with path.open("rb") as lines:
        for line in lines:
            try:
                json.loads(line)
            except ValueError:
                break
            if not line.endswith(b"\n"):
                break
            count, end = count + 1, end + len(line)
    os.truncate(path, end)
    return count


@contextmanager
def alone(steps: Path) -> Iterator[None]:
    """Refuse a second run on the same folder; the lock ends with its process, however that ends.

    Raises:
        UserError: another process prepares into this folder.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two runs at once are not noticed there
        yield
        return
    steps.mkdir(parents=True, exist_ok=True)
    with (steps / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(f"{steps.parent}: another run prepares into this folder; wait for it") from None
        yield
