"""The doors: each file of this folder with a `FORMAT` opens one annotation format.

A door has the names of `base.Door`. A new format is one new file.
"""

from __future__ import annotations

import pkgutil
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import cast

from detr_hf.data.image_files import IMAGE_SUFFIXES
from detr_hf.data.sources.base import Door, Opened, Place
from detr_hf.data.sources.unsupported import known_format
from detr_hf.errors import UserError
from detr_hf.foreign_files import no_such
from detr_hf.recipe.faults import nearest

HUB = "hub"  # the format whose "path" is an id
SHOWN = 8  # names of a folder that a message lists
FIRST = ("train", "training", "validation", "valid", "val", "dev")
"""The splits that come before all others, in this order."""
PARTS = frozenset(("images", "labels", "annotations", "jpegimages", "masks", *FIRST, "test"))
"""Folders inside a data set that somebody may name in its place, in lower case."""


@cache
def doors() -> dict[str, Door]:
    """The doors by format, in the order in which they are asked."""
    found = (import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__))
    known = [cast(Door, module) for module in found if hasattr(module, "FORMAT")]
    return {door.FORMAT: door for door in sorted(known, key=lambda door: door.ORDER)}


def detect(path: Path) -> Door | None:
    """The first door that knows the path."""
    return next((door for door in doors().values() if door.detect(path)), None)


def open_place(place: Place, format: str | None = None) -> tuple[Door, Opened]:
    """Open a data set by the door that knows it, or by the one that is named.

    Raises:
        UserError: there is no such file or folder, no door knows it, it holds nothing of the named format, or
            it cannot be read.
    """
    door = require_door(place.path, place.name, format)
    if place.revision is not None and door.FORMAT != HUB:
        raise UserError(f"{place.name}: only a data set of the Hub has revisions; leave the revision out")
    opened = door.open_splits(place)
    is_doubtful = format is not None and place.path.is_dir() and not door.detect(place.path)
    if is_doubtful and not any(source.categories() for source in opened.splits.values()):
        seen = f"{place.name}: nothing of format '{format}' is found; {_seen(place.path)}"
        raise UserError(f"{seen}. What is looked for:\n  {door.LOOKS_FOR}")
    # Not the alphabet's order: classes are judged in the first, and a doubled image stays in the later one.
    splits = sorted(opened.splits, key=lambda split: FIRST.index(split) if split in FIRST else len(FIRST))
    opened = replace(opened, splits={split: opened.splits[split] for split in splits})
    for at, source in enumerate(opened.splits.values()):
        source.has_set_issues = at == 0
    return door, opened


def require_door(path: Path, name: str, format: str | None = None) -> Door:
    """The door that knows a path, or the one that is named.

    Raises:
        UserError: there is no such file or folder, or no door knows it.
    """
    if format is not None and format not in doors():
        close = nearest(format, doors())
        meant = f" (did you mean '{close}'?)" if close else ""
        raise UserError(f"{name}: format '{format}'{meant} is none of {', '.join(doors())}")
    door = doors()[format] if format is not None else detect(path)
    if not path.exists() and (door is None or door.FORMAT != HUB):
        is_of_recipe = name != str(path) and not path.is_absolute()
        start = ". Start the command in the folder that the recipe was written for" if is_of_recipe else ""
        raise UserError(f"{name}: {no_such(path)}{start}")
    if door is None:
        raise UserError(_unknown(path, name))
    return door


def _unknown(path: Path, name: str) -> str:
    """What was seen, and what each door looks for; or which known format it is that no door opens."""
    if (known := known_format(path)) is not None:
        return f"{name}: this is {known.title}, which is not read directly; {known.remedy}"
    if path.name.lower() in PARTS and (door := detect(path.absolute().parent)) is not None:
        return f"{name}: is a part of {path.parent}, which is {door.TITLE}; name that folder"
    lines = [f"{name}: no format is recognized; {_seen(path)}. What is looked for:"]
    lines += [f"  {door.FORMAT}: {door.LOOKS_FOR}" for door in doors().values()]
    return "\n".join(lines)


def _seen(path: Path) -> str:
    if path.is_file():
        return f"it is a file '{path.name}'"
    if not path.is_dir():
        return "it is a named pipe or a device, which is not opened"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in path.iterdir())
    if names and all(Path(name).suffix.lower() in IMAGE_SUFFIXES for name in names):
        return "the folder holds images and no annotations"
    rest = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"the folder holds {', '.join(names[:SHOWN])}{rest}" if names else "the folder is empty"
