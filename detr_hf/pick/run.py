"""`pick`: score the pool, choose, and write the list with its reasons, a contact sheet and the files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detr_hf.errors import UserError, quantity
from detr_hf.files import exclusive, write_json, write_text
from detr_hf.foreign_files import own_file
from detr_hf.images import decode_image, save_image
from detr_hf.pick.choose import SHORTLIST, Choice, Labeled, Pick, choose
from detr_hf.pick.copies import How, put_into
from detr_hf.pick.images import LabeledImages, PoolImage
from detr_hf.pick.reasons import reasons
from detr_hf.pick.score import Model, score_images
from detr_hf.pick.scores import Scored
from detr_hf.templating import render_markdown
from detr_hf.visualize.sheets import contact_sheet

LIST, TEXT, SHEET = "picked.json", "picked.md", "picked.jpg"
SCORES, LABELED_SCORES = "scores/pool.jsonl", "scores/labeled.jsonl"
ON_THE_SHEET = 60
COLUMNS, CELL = 6, 240


@dataclass(frozen=True)
class Wish:
    """What is to be picked.

    Attributes:
        count: images.
        by: see ``choose``.
        shortlist: see ``choose``.
        out: folder for scores and results.
        folder: for the chosen files; None: they stay where they are.
        how: they come there.
    """

    count: int
    out: Path
    by: str = "mean"
    shortlist: int = SHORTLIST
    folder: Path | None = None
    how: How = "copy"


def pick(
    model: Model, images: Sequence[PoolImage], labeled: LabeledImages | None, wish: Wish, notes: Sequence[str]
) -> dict[str, Any]:
    """Pick images and write ``picked.json``, ``picked.md`` and ``picked.jpg``.

    Args:
        model: that looks at them.
        images: to pick from.
        labeled: what is labeled already; None: nobody knows.
        wish: how many, and where results go.
        notes: on the images and the labeled set, for the results.

    Returns:
        what ``picked.json`` holds.

    Raises:
        UserError: no image can be read, the model cannot be loaded, or a file cannot be written.
    """
    with exclusive(wish.out / ".lock", f"{wish.out}: another pick writes there; wait for it."):
        scored, failures = score_images(images, model, wish.out / SCORES, True, "images")
        known, lost = _labeled(labeled, model, wish.out / LABELED_SCORES)
        there = [at for at, score in enumerate(scored) if score is not None]
        if not there:
            some = next(iter(failures.values()))
            raise UserError(f"none of {quantity(len(images), 'image')} can be read; the first: {some}")
        pool = [score for score in scored if score is not None]
        choice = choose(pool, known, wish.count, wish.by, wish.shortlist)
        picked = [images[there[one.image]] for one in choice.picks]
        content: dict[str, Any] = {
            **{"model": model.source, "by": wish.by, "images": len(images), "labeled": _count(labeled)},
            "notes": [*notes, *lost, *_notes(choice, wish, len(images), len(failures))],
            "picked": [_entry(*pair, pool, choice, known) for pair in enumerate(choice.picks, start=1)],
            "skipped": [{"file": images[at].place, "why": why} for at, why in failures.items()],
        }
        for entry, image, one in zip(content["picked"], picked, choice.picks, strict=True):
            twins = [images[there[twin]].place for twin in one.twins]
            entry |= {"file": image.place, "near_duplicates": twins}
        _put(wish, picked, content["picked"])
        _write(wish.out, picked, content)
    return content


def _labeled(labeled: LabeledImages | None, model: Model, file: Path) -> tuple[Labeled, list[str]]:
    """The labeled images as the choice needs them, and a note on those that cannot be read."""
    if labeled is None:
        return Labeled(None, [], np.zeros(0, bool)), []
    every = [*labeled.training, *labeled.others]
    scored, failures = score_images(every, model, file, False, "labeled images")
    learned = np.arange(len(every)) < len(labeled.training)
    there = [score is not None for score in scored]
    notes = []
    if failures:
        first = next(iter(failures.values()))
        notes.append(f"{quantity(len(failures), 'labeled image')} cannot be read; the first: {first}")
    seen = [score for score in scored if score is not None]
    return Labeled(labeled.counts, seen, learned[there]), notes


def _count(labeled: LabeledImages | None) -> int | None:
    return None if labeled is None else len(labeled.training) + len(labeled.others)


def _notes(choice: Choice, wish: Wish, images: int, broken: int) -> Iterator[str]:
    """What was left out, and whether it was too much."""
    if choice.labeled:
        yield f"{quantity(len(choice.labeled), 'image')} left out: labeled, or nearly the same as one that is"
    if choice.twins:
        yield f"{quantity(len(choice.twins), 'near-duplicate')} left out; one of each group can be picked"
    if broken:
        yield f"{quantity(broken, 'image')} left out: cannot be read (see skipped)"
    if len(choice.picks) < wish.count:
        there = quantity(images, "image")
        yield f"only {len(choice.picks)} of {wish.count} could be picked: there are no more in {there}"


def _entry(rank: int, one: Pick, pool: Sequence[Scored], choice: Choice, known: Labeled) -> dict[str, Any]:
    doubt = pool[one.image].doubt
    numbers = {
        "score": one.score,
        "uncertainty": one.uncertainty,
        "rarity": one.rarity,
        "distance": one.distance,
        **doubt.measures,
    }
    rounded = {name: None if value is None else round(value, 4) for name, value in numbers.items()}
    return {"rank": rank, "file": "", "reasons": reasons(one, doubt, choice, known.counts), **rounded}


def _put(wish: Wish, picked: Sequence[PoolImage], entries: Sequence[dict[str, Any]]) -> None:
    if wish.folder is None:
        return
    targets = put_into(
        wish.folder, [Path(image.place) for image in picked], [image.name for image in picked], wish.how
    )
    for entry, target in zip(entries, targets, strict=True):
        entry["put"] = str(target)


def _write(out: Path, picked: Sequence[PoolImage], content: dict[str, Any]) -> None:
    write_json(own_file(out, LIST), content)
    text = render_markdown(
        "picked.md",
        title=f"{quantity(len(picked), 'image')} to annotate next",
        notes=content["notes"],
        rows=[[entry["rank"], entry["file"], "; ".join(entry["reasons"])] for entry in content["picked"]],
        skipped=[[entry["file"], entry["why"]] for entry in content["skipped"]],
    )
    write_text(own_file(out, TEXT), text)
    if picked:
        save_image(_sheet(picked[:ON_THE_SHEET]), own_file(out, SHEET), quality=88)


def _sheet(picked: Sequence[PoolImage]) -> Image.Image:
    images = []
    for image in picked:  # small at once: sixty whole photographs would take gigabytes
        small = Image.fromarray(decode_image(image.source, image.place))
        small.thumbnail((2 * CELL, 2 * CELL))
        images.append(small)
    titles = [f"{rank}  {image.name}" for rank, image in enumerate(picked, start=1)]
    return contact_sheet(images, COLUMNS, titles, CELL)
