"""Which families there are, and which one a model is of: its config's ``model_type`` decides."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from detr_hf.errors import UserError
from detr_hf.modeling import families
from detr_hf.modeling.families.base import Family


def find_families() -> dict[str, Family]:
    """The ``FAMILY`` of every module beside this one that has one, by the ``model_type`` of its configs."""
    names = (f"{families.__name__}.{found.name}" for found in pkgutil.iter_modules(families.__path__))
    found = (getattr(import_module(name), "FAMILY", None) for name in names)
    return {family.model_type: family for family in found if family is not None}


FAMILIES = find_families()


def family_of(model: Any, source: str = "the model") -> Family:
    """The family of a model or of a config.

    Raises:
        UserError: no family has this ``model_type``; ``source`` says whose it is.
    """
    config = getattr(model, "config", model)
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(f"`{name}`" for name in FAMILIES)
        raise UserError(f"{source}: is a {config.model_type!r} model; this package fine-tunes {known}.")
    return family


def is_segmenter(model: Any) -> bool:
    """Whether a model is of stage 2: a detector with a mask head on it."""
    segmenter = family_of(model).segmenter_class
    return segmenter is not None and isinstance(model, segmenter)
