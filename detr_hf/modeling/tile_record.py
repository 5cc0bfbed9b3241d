"""The tiles that a model was trained in, written into its config.json and read back.

A model that learned windows of large images finds little in a whole one, scaled down; whoever predicts has
to know. Stock transformers keeps the key and ignores it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, cast

from detr_hf.foreign_files import is_finite_number

RECORD = "detr_hf_tiles"
"""The key of a config.json."""


@dataclass(frozen=True)
class TileGrid:
    """Side of a tile in pixels, and the least share of it that a neighbor sees as well."""

    size: int
    overlap: float


def write_tiles(config: Any, grid: TileGrid | None) -> None:
    """Put the tiles of a run into a model's config, in place; None takes out those of an earlier run."""
    if grid is not None:
        setattr(config, RECORD, asdict(grid))
    elif hasattr(config, RECORD):
        delattr(config, RECORD)


def read_tiles(config: Any) -> TileGrid | None:
    """The tiles that a model was trained in; None: whole images, or what is there makes no sense."""
    record = getattr(config, RECORD, None)
    if not isinstance(record, dict):
        return None
    size, overlap = record.get("size"), cast(float, record.get("overlap"))
    if type(size) is not int or size < 1 or not is_finite_number(overlap) or not 0 <= overlap <= 0.9:
        return None
    return TileGrid(size, float(overlap))
