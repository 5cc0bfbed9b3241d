"""The score threshold that was best on the validation split, written into a model's config.json.

Whoever predicts takes it unless told otherwise. Stock transformers keeps the key and ignores it.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.files import write_json
from detr_hf.foreign_files import is_finite_number, read_json

RECORD = "detr_hf_score_threshold"
"""The key of a config.json."""


def record_threshold(model: Path, score_threshold: float) -> None:
    """Put it into the config.json of a model's folder; the file is replaced in one go.

    Raises:
        UserError: the file cannot be read or written.
    """
    file = model / "config.json"
    write_json(file, {**read_json(file), RECORD: score_threshold}, indent=2)


def drop_threshold(config: Any) -> None:
    """Take out that of an earlier run, in place: a training moves the scores."""
    if hasattr(config, RECORD):
        delattr(config, RECORD)


def checked_threshold(value: Any) -> float:
    """A threshold that a program gave.

    Raises:
        UserError: it is no number from 0 to 1.
    """
    if not isinstance(value, Real) or isinstance(value, bool) or not 0 <= float(value) <= 1:
        raise UserError(f"score_threshold: must be a number from 0 to 1, got {value!r}.")
    return float(value)


def read_threshold(config: Any) -> float | None:
    """The threshold in a config, or in its JSON, 0 to 1; None: none is there, or what makes no sense."""
    value: Any = config.get(RECORD) if isinstance(config, Mapping) else getattr(config, RECORD, None)
    return float(value) if is_finite_number(value) and 0 <= value <= 1 else None
