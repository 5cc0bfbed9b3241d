"""What is known of each image once a model has seen it, one line of JSON an image.

Lines are appended as images are scored, so that a run that was cut goes on where it was, and another count
needs no model at all. A line that was cut is scored anew.
"""

from __future__ import annotations

import base64
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import numpy as np
from numpy.typing import NDArray

from detr_hf.data.duplicates import Fingerprint
from detr_hf.files import unwritable
from detr_hf.pick.doubt import Doubt, Unsure

VERSION = 2
"""Raise it whenever the same model and image would give other numbers."""


@dataclass(frozen=True)
class Scored:
    """One image: what tells it, what the model is unsure of, and ``embedding float16 [d]``."""

    print: Fingerprint
    doubt: Doubt
    embedding: NDArray[np.float16]

    def to_values(self) -> dict[str, Any]:
        """As plain JSON."""
        content = base64.b64encode(self.embedding.astype("<f2").tobytes()).decode("ascii")
        return {"print": asdict(self.print), "doubt": asdict(self.doubt), "embedding": content}

    @classmethod
    def from_values(cls, values: dict[str, Any]) -> Scored:
        """What ``to_values`` gave."""
        doubt = dict(values["doubt"])
        unsure = doubt.pop("unsure")
        embedding = np.frombuffer(base64.b64decode(values["embedding"]), "<f2")
        return cls(
            Fingerprint(**values["print"]),
            Doubt(**doubt, unsure=None if unsure is None else Unsure(**unsure)),
            embedding.astype(np.float16),
        )


class ScoreFile:
    """The scores of one model in a file; a context manager that keeps it open for appending.

    Args:
        path: of the file; one of another model or version is replaced.
        model: what tells the model.
    """

    def __init__(self, path: Path, model: str) -> None:
        self._path, self._head = path, {"version": VERSION, "model": model}
        self._file: IO[str] | None = None
        self.known = self._read()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, key: str, scored: Scored) -> None:
        """Keep an image.

        Raises:
            UserError: the file cannot be written.
        """
        with unwritable(self._path):
            if self._file is None:
                self._file = self._opened()
            self._file.write(json.dumps({"key": key, **scored.to_values()}) + "\n")
            self._file.flush()
        self.known[key] = scored

    def _opened(self) -> IO[str]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        if self.known:
            file = self._path.open("a", encoding="utf-8")
            file.write("\n")  # behind a line that a kill cut short
            return file
        file = self._path.open("w", encoding="utf-8")
        file.write(json.dumps(self._head) + "\n")
        return file

    def _read(self) -> dict[str, Scored]:
        known: dict[str, Scored] = {}
        if not self._path.is_file():
            return known
        with self._path.open(encoding="utf-8", errors="replace") as lines:
            if _values(next(lines, "")) != self._head:
                return known
            for line in lines:
                values = _values(line)
                try:
                    known[values["key"]] = Scored.from_values(values)
                except (LookupError, TypeError, ValueError):
                    continue  # cut short
        return known


def _values(line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
