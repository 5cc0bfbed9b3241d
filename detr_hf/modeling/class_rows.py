"""Class heads that start from rows of a pretrained one instead of random numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Literal

import torch
from torch import nn

from detr_hf.errors import UserError

ClassRows = Mapping[str, str] | Literal["auto"]
"""New class to pretrained class by name; "auto": where both are called the same."""


def chosen_rows(rows: ClassRows, new: Sequence[str], known: Sequence[str]) -> dict[int, int]:
    """Class ids of the data to class ids of the pretrained model.

    Args:
        rows: of the recipe.
        new: names of the data's classes, by id.
        known: names of the pretrained model's classes, by id.

    Raises:
        UserError: a name is of no class.
    """
    if rows == "auto":
        by_name = {_plain(name): at for at, name in reversed(list(enumerate(known)))}
        return {at: by_name[_plain(name)] for at, name in enumerate(new) if _plain(name) in by_name}
    assert not isinstance(rows, str)
    for name, like in rows.items():
        for wanted, names, whose in ((name, new, "the data"), (like, known, "the pretrained model")):
            if wanted not in names:
                close = get_close_matches(wanted, names, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise UserError(f"model.class_rows.{name}: {whose} has no class '{wanted}'{hint}")
        if (count := known.count(like)) > 1:  # COCO's ids without a class are all called N/A
            raise UserError(f"model.class_rows.{name}: {count} rows of the pretrained model are '{like}'")
    return {new.index(name): known.index(like) for name, like in rows.items()}


def _plain(name: str) -> str:
    """One spelling for `Dump truck`, `dump_truck` and `dump-truck`."""
    return re.sub(r"[\s_-]+", " ", name.strip().lower())


@torch.no_grad()
def copy_rows(
    heads: Sequence[nn.Linear], pretrained: Sequence[nn.Linear], rows: Mapping[int, int], has_no_object: bool
) -> None:
    """Put rows of pretrained heads into new ones, layer by layer, in place.

    Where the last row is "no object", it comes along: known classes are weighed against it.

    Args:
        heads: the new ones.
        pretrained: as many.
        rows: see ``chosen_rows``.
        has_no_object: see ``ClassScores``.
    """
    into, of = list(rows), list(rows.values())
    if has_no_object and rows:
        into, of = [*into, -1], [*of, -1]
    for head, known in zip(heads, pretrained, strict=True):
        head.weight[into], head.bias[into] = known.weight[of], known.bias[of]
