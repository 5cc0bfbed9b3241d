"""Which families there are, and which one a model is of: its config's ``model_type`` decides."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

from detr_hf.errors import UserError
from detr_hf.modeling import families
from detr_hf.modeling.families.base import Family, MaskHead


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
    if not hasattr(config, "model_type"):
        kind = type(config).__name__
        raise UserError(f"{source}: expected a model of transformers, got {kind}; load it: from_pretrained.")
    family = FAMILIES.get(config.model_type)
    if family is None:
        known = ", ".join(f"`{name}`" for name in FAMILIES)
        raise UserError(f"{source}: is a {config.model_type!r} model; this package fine-tunes {known}.")
    return family


def is_segmenter(model: Any) -> bool:
    """Whether a model is of stage 2: a detector with a mask head on it."""
    head = family_of(model).mask_head
    return head is not None and isinstance(model, head.segmenter_class)


def mask_head_of(segmenter: Any) -> MaskHead:
    """The mask head of the family of a model of stage 2."""
    head = family_of(segmenter).mask_head
    assert head is not None, "a model with masks of a family without"
    return head


def detector_of(model: Any) -> Any:
    """The detector inside a segmenter; a detector is its own."""
    return mask_head_of(model).detector_of(model) if is_segmenter(model) else model
