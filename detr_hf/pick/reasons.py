"""Why an image was picked, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from detr_hf.errors import quantity
from detr_hf.pick.choose import Choice, Pick
from detr_hf.pick.doubt import Doubt, Unsure

WORTH_TELLING = 0.1
"""Rarity from which on a class is a reason."""


def reasons(pick: Pick, doubt: Doubt, choice: Choice, counts: Mapping[str, int] | None) -> list[str]:
    """Doubt, rarity, distance and near-duplicates, where there is something to say of them."""
    return list(_reasons(pick, doubt, choice, counts))


def _reasons(pick: Pick, doubt: Doubt, choice: Choice, counts: Mapping[str, int] | None) -> Iterator[str]:
    if doubt.unsure is None:
        yield "the model sees nothing in it"
    else:
        share = f"{pick.uncertainty:.0%}"
        less = (
            "not less sure than of the others"
            if share == "0%"
            else f"less sure than of {share} of the images"
        )
        yield f"{less}: {_in_words(doubt.unsure)}"
    if pick.rare_class is not None and pick.rarity >= WORTH_TELLING:
        known = "" if counts is None else f", {counts.get(pick.rare_class, 0)} labeled"
        yield f"a rare class: {pick.rare_class} ({doubt.best[pick.rare_class]:.2f}{known})"
    if pick.distance is not None:
        usual = "" if choice.usual_distance is None else f" (usual: {choice.usual_distance:.2f})"
        yield f"{pick.distance:.2f} from the nearest image that is labeled or picked before{usual}"
    if pick.twins:
        yield f"stands for {quantity(len(pick.twins), 'near-duplicate')}"


def _in_words(unsure: Unsure) -> str:
    other = "nothing" if unsure.other is None else unsure.other
    return f"{unsure.name} ({unsure.share:.2f}) or {other} ({unsure.other_share:.2f})"
