"""Scored images made by hand."""

from __future__ import annotations

from hashlib import sha256

import numpy as np

from detr_hf.data.duplicates import Fingerprint
from detr_hf.pick.doubt import Doubt, Unsure
from detr_hf.pick.scores import Scored


def scored(
    doubt: float,
    place: tuple[float, ...] = (0.0, 0.0),
    dhash: int | None = None,
    best: dict[str, float] | None = None,
    name: str = "",
) -> Scored:
    """An image of equal measures; the hash of another name differs in many bits."""
    content = sha256(f"{name} {doubt} {place} {dhash}".encode()).hexdigest()
    hashed = content[:16] if dhash is None else f"{dhash:016x}"
    classes = {"brick": 0.5} if best is None else best
    measures = {"entropy": doubt, "margin": doubt, "flips": doubt}
    unsure = Unsure("brick", 0.5, None, 0.4)
    return Scored(
        Fingerprint(content, hashed), Doubt(measures, classes, classes, unsure), np.array(place, np.float16)
    )
