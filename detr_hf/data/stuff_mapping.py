"""`StuffMapping`: what a teacher's stuff classes are called in the data set that is being made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from detr_hf.data.sources.base import hash_of_words
from detr_hf.errors import UserError, quantity
from detr_hf.labels import COCO_STUFF_TO_CONSTRUCTION, CONSTRUCTION, LabelMap

VOID = "void"
"""The key of a mapping file that lists the teacher's classes to be left out."""


@dataclass(frozen=True)
class StuffMapping:
    """Teacher's name -> name in the data set; None leaves a class out, so that its pixels become void."""

    source: str  # where it stands, for messages: a preset's name or a file
    to_class: Mapping[str, str | None]  # every name of a teacher's stuff class that is known

    @property
    def classes(self) -> tuple[str, ...]:
        """The stuff classes that can come out, in order of their first mention."""
        return tuple(dict.fromkeys(name for name in self.to_class.values() if name is not None))

    @property
    def fingerprint(self) -> str:
        """Changes with what the mapping says, whatever file says it."""
        return hash_of_words(f"{name}={self.to_class[name] or ''}" for name in sorted(self.to_class))

    def require(self, names: Iterable[str], teacher: str) -> None:
        """Refuse a teacher whose stuff is not all mapped.

        Raises:
            UserError: lists all of its classes without a place.
        """
        if unmapped := [name for name in names if name not in self.to_class]:
            raise UserError(
                f"stuff mapping {self.source}: no place in it for {quantity(len(unmapped), 'stuff class')} "
                f"of the teacher {teacher}: {', '.join(unmapped)}. List each under a class, or under "
                f"`{VOID}` to leave it out."
            )


def load_mapping(setting: str) -> StuffMapping:
    """The mapping that a recipe names: `construction` (COCO's stuff to its 15 classes), or a file.

    A file is YAML or JSON and gives for each class of the data set a list of the teacher's names; those under
    `void` are left out::

        ground: [dirt-merged, pavement-merged]
        void: [food-other-merged]

    Raises:
        UserError: no such file, not of that form, or a name listed twice.
    """
    if setting == CONSTRUCTION:
        return StuffMapping(CONSTRUCTION, dict(COCO_STUFF_TO_CONSTRUCTION))
    try:
        content = yaml.safe_load(Path(setting).read_text(encoding="utf-8"))  # JSON is YAML, too
    except FileNotFoundError:
        raise UserError(
            f"stuff mapping {setting}: there is no such file; give `{CONSTRUCTION}` or a YAML or JSON file"
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UserError(f"stuff mapping {setting}: cannot be read ({' '.join(str(error).split())})") from None
    return StuffMapping(setting, _checked(content, setting))


def own_names(teacher: str, names: Iterable[str], labels: LabelMap, only_known: bool) -> StuffMapping:
    """Every stuff class under the teacher's own name, without those that the data has as things.

    Where flowers are objects of the data, what the teacher paints as `flower` is one that was missed, and no
    kind of stuff: it is left void.

    Args:
        teacher: its name, for messages.
        names: its stuff classes.
        labels: the label map of the data.
        only_known: leave out what is no stuff of ``labels``, because the recipe names that label map.

    Raises:
        UserError: no class would be left.
    """
    things = {name for name in labels.names if labels.kind(name) == "thing"}
    kept = [name for name in names if name not in things and (not only_known or name in labels.label2id)]
    if not kept:
        raise UserError(
            f"no stuff class of the teacher {teacher} is one of the label map; name the classes that its "
            "stuff becomes with pseudo_stuff.mapping"
        )
    return StuffMapping(
        "of the teacher's own names", {name: name if name in kept else None for name in names}
    )


def _checked(content: Any, source: str) -> dict[str, str | None]:
    if not isinstance(content, dict) or not content:
        raise UserError(f"stuff mapping {source}: expected classes, each with a list of the teacher's names")
    to_class: dict[str, str | None] = {}
    faults = []
    for name, members in content.items():
        if not isinstance(name, str) or not isinstance(members, list):
            faults.append(f"{name!r}: expected a class name with a list of the teacher's names")
            continue
        for member in members:
            if not isinstance(member, str):
                faults.append(f"{name}: {member!r} is not text")
            elif member in to_class:
                faults.append(f"{member} stands under {to_class[member] or VOID} and under {name}")
            else:
                to_class[member] = None if name == VOID else name
    if faults:
        raise UserError("\n  ".join([f"stuff mapping {source}:", *faults]))
    return to_class
