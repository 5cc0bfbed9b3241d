"""What a model card says of the data: where they came from, and which of their segments a machine drew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard

from detr_hf.hub_access import looks_like_a_folder
from detr_hf.prepare.raw.writing.card import CARD_FILE, TRUTH_HEADING
from detr_hf.recipe import Data, Split

PSEUDO_MARK = re.compile(rb'"pseudo"\s*:\s*true')
CHUNK = 1 << 24
OVERLAP = 64
UNNAMED = "a data set of its maker's own"


@dataclass(frozen=True)
class DataFacts:
    """The data of a run, without a path of anybody's machine.

    Attributes:
        name: for people.
        hub_id: of a data set on the Hub; None for others.
        kind: as `model-index` calls the data set: its Hub id, or what stands for one.
        split: the one that was scored.
        truth: who drew boxes and masks, a paragraph of Markdown; "" where nothing is known.
    """

    name: str
    hub_id: str | None
    kind: str
    split: str
    truth: str


def data_facts(data: Data) -> DataFacts:
    """What a recipe's section `data` and the cards and files that it names tell."""
    if data.demo is not None:
        truth = "Drawn by a program, which knows every pixel: boxes and masks are exact."
        return DataFacts("detr-hf's synthetic yard", None, "synthetic-yard", "validation", truth)
    if data.dataset is not None:
        return _saved(data, data.dataset)
    files = [split for split in (data.train, data.validation) if split is not None]
    found = [card for split in files if (card := _card_beside(Path(split.annotations)))]
    name = _title(found[0]) if found else UNNAMED
    truth = (_truth_of(found[0]) if found else "") or _marks(files)
    scored = "validation" if data.validation else "held-out tenth"
    return DataFacts(name, None, "custom", scored, truth)


def _saved(data: Data, dataset: str) -> DataFacts:
    is_folder = Path(dataset).is_dir() or looks_like_a_folder(dataset)
    card = _card_of(Path(dataset) / CARD_FILE if is_folder else dataset)
    truth = _truth_of(card) if card else ""
    if is_folder:
        return DataFacts(_title(card) if card else UNNAMED, None, "custom", data.validation_split, truth)
    return DataFacts(dataset, dataset, dataset, data.validation_split, truth)


def _card_beside(annotations: Path) -> DatasetCard | None:
    """The card that `detr-hf prepare` wrote one or, with folds, two folders above the annotations."""
    cards = (_card_of(folder / CARD_FILE) for folder in list(annotations.parents)[1:3])
    return next((card for card in cards if card is not None), None)


def _card_of(source: Path | str) -> DatasetCard | None:
    """A data set's card, of a file or of the Hub; None where there is none."""
    if isinstance(source, Path) and not source.is_file():
        return None
    with suppress(Exception):  # a page that is no card, a Hub that does not answer: then nothing is known
        card = DatasetCard.load(source)
        return card if card.data.get("pretty_name") or card.data.get("task_categories") else None
    return None


def _title(card: DatasetCard) -> str:
    return str(card.data.get("pretty_name") or UNNAMED)


def _truth_of(card: DatasetCard) -> str:
    """The card's own words on who drew the masks; else what its metadata say."""
    if found := re.search(rf"^{re.escape(TRUTH_HEADING)}\n+(.*?)(?=^## |\Z)", card.text, re.M | re.S):
        return found[1].strip()
    creators: Any = card.data.get("annotations_creators") or []
    if "machine-generated" in creators:
        return "Its card says that annotations are **machine-made**, at least in part."
    return ""


def _marks(splits: list[Split]) -> str:
    """How many segments the annotation files mark as pseudo-labeled; "" where none is."""
    counts = [sum(_occurrences(Path(split.annotations))) for split in splits]
    if not sum(counts):
        return ""
    return (
        f"**{sum(counts)} segments are marked as pseudo-labeled: a model drew them, and nobody checked each "
        "one.** Numbers for these classes measure agreement with that model as much as with the world."
    )


def _occurrences(file: Path) -> Iterator[int]:
    """Marks in each piece of a file; a mark that two pieces share counts in the second."""
    if not file.is_file():
        return
    with file.open("rb") as stream:
        tail = b""
        while piece := stream.read(CHUNK):
            text = tail + piece
            found = [mark.end() for mark in PSEUDO_MARK.finditer(text)]
            yield sum(end > len(tail) for end in found)
            tail = text[-OVERLAP:]
