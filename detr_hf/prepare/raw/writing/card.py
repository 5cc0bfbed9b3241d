"""README.md of a written data set: its card, which says what people drew and what a machine drew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import yaml

from detr_hf.labels import LabelMap
from detr_hf.prepare.raw.splitting.split import TRAIN, VALIDATION, Splits
from detr_hf.prepare.raw.writing.coco_files import SplitSummary

CARD_FILE = "README.md"
TRUTH_HEADING = "## Who drew the masks"
SIZES = (1_000, 10_000, 100_000, 1_000_000)
SIZE_NAMES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M")


@dataclass(frozen=True)
class CardFacts:
    """What the card tells, beside the classes.

    Attributes:
        title: name of the data set.
        license: as the Hub spells licenses.
        teacher: the model that drew the stuff; None where none was used or its name is not known.
        splits: how the pictures were divided.
        summaries: by folder, as ``writing.Written`` has them.
    """

    title: str
    license: str
    teacher: str | None
    splits: Splits
    summaries: Mapping[str, SplitSummary]


def card_text(labels: LabelMap, facts: CardFacts) -> str:
    """The card: metadata as the Hub reads it, then text."""
    parts = _parts(facts)
    images = sum(summary.images for _, summary in parts)
    metadata = {
        "pretty_name": facts.title,
        "license": facts.license,
        "task_categories": ["object-detection", "image-segmentation"],
        "task_ids": ["panoptic-segmentation"],
        "annotations_creators": _creators(parts),
        "size_categories": [SIZE_NAMES[sum(images >= size for size in SIZES)]],
        "tags": ["detr", "coco", "panoptic"],
    }
    head = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True)
    sections = [f"# {facts.title}", _opening(labels, parts), _truth(parts, facts.teacher), _files(facts)]
    sections += [_splitting(facts), "## Classes", _class_table(labels, parts)]
    return f"---\n{head}---\n\n" + "\n\n".join(sections) + "\n"


def _parts(facts: CardFacts) -> list[tuple[str, SplitSummary]]:
    """Parts that together hold each picture once: train and validation, or the folds."""
    if not facts.splits.is_folds:
        return [(name, facts.summaries[name]) for name in facts.splits.names]
    return [(name, facts.summaries[f"{name}/{VALIDATION}"]) for name in facts.splits.names]


def _creators(parts: Iterable[tuple[str, SplitSummary]]) -> list[str]:
    drawn, all_segments = _machine_made(parts), _total(parts)
    by_people = sum(all_segments.values()) > sum(drawn.values())
    return (["expert-generated"] if by_people else []) + (["machine-generated"] if drawn else []) or [
        "no-annotation"
    ]


def _machine_made(parts: Iterable[tuple[str, SplitSummary]]) -> Counter[str]:
    return +sum((summary.pseudo for _, summary in parts), Counter[str]())


def _total(parts: Iterable[tuple[str, SplitSummary]]) -> Counter[str]:
    return sum((summary.segments_of for _, summary in parts), Counter[str]())


def _opening(labels: LabelMap, parts: list[tuple[str, SplitSummary]]) -> str:
    counts = [f"{summary.images} in {name}" for name, summary in parts]
    things, stuff = len(labels.thing_ids), len(labels.stuff_ids)
    return (
        f"Photographs with boxes and panoptic masks: {', '.join(counts)}. "
        f"The label map has {things} kinds of things and {stuff} of stuff."
    )


def _truth(parts: list[tuple[str, SplitSummary]], teacher: str | None) -> str:
    drawn, total = _machine_made(parts), _total(parts)
    by_people = sum(total.values()) - sum(drawn.values())
    text = f"{TRUTH_HEADING}\n\nPeople outlined {by_people} segments."
    if not drawn:
        return text + " No segment is machine-made; what nobody outlined is void."
    who = f"`{teacher}`" if teacher else "a panoptic model"
    return text + (
        f" **The masks of stuff are machine-made: {sum(drawn.values())} segments were pseudo-labeled by "
        f"{who}, and nobody checked each one.** Numbers for stuff measure agreement with that model as much "
        'as with the world. Such segments carry `"pseudo": true` and, if known, the model\'s `score` '
        "in the annotation files. Outlines by people lie over them; what neither covers is void."
    )


def _files(facts: CardFacts) -> str:
    where = (
        "`fold_<n>/train` and `fold_<n>/validation`" if facts.splits.is_folds else "`train` and `validation`"
    )
    return (
        f"## Files\n\n{where} each hold `panoptic.json` with the PNG files of `panoptic/` (COCO's panoptic "
        "format; a pixel's segment is R + 256 G + 65536 B, 0 is void) and `detection.json` (COCO's detection "
        "format; boxes around the visible masks, of stuff too). `file_name` is relative to the folder that "
        "`data.yaml` calls images. `label_map.json` has the classes in the order of their ids, things first; "
        "`splits.json` says where each photograph is and can be given again."
    )


def _splitting(facts: CardFacts) -> str:
    kinds = Counter(found.kind for found in facts.splits.findings)
    parts = f"{len(facts.splits.names)} folds" if facts.splits.is_folds else f"{TRAIN} and {VALIDATION}"
    text = (
        f"## Splits\n\nThe photographs were divided into {parts} with seed {facts.splits.seed}, stratified "
        "by class. Photographs that show the same stay together, recognized by equal files and by perceptual "
        "hashes."
    )
    if kinds["not_everywhere"]:
        text += f" Classes with too few photographs to be in every part: {kinds['not_everywhere']}."
    if kinds["torn"]:
        text += f" Groups of duplicates in several parts, as a split file demanded: {kinds['torn']}."
    return text


def _class_table(labels: LabelMap, parts: list[tuple[str, SplitSummary]]) -> str:
    """Every class of the label map, with what is machine-made of it."""
    names = [name for name, _ in parts]
    images_in = " | ".join(f"{name} images" for name in names)
    lines = [
        f"| class | kind | {images_in} | segments | machine-made | mean score |",
        f"| --- | --- | {' | '.join('---:' for _ in names)} | ---: | ---: | ---: |",
    ]
    total, drawn = _total(parts), _machine_made(parts)
    scored: Counter[str] = sum((summary.scored for _, summary in parts), Counter[str]())
    for category in labels.categories:
        name = category.name
        images = " | ".join(str(summary.images_of[name]) for _, summary in parts)
        scores = sum(summary.score_sum[name] for _, summary in parts)
        mean = f"{scores / scored[name]:.3f}" if scored[name] else ""
        shown = name.replace("|", "\\|")
        lines.append(f"| {shown} | {labels.kind(name)} | {images} | {total[name]} | {drawn[name]} | {mean} |")
    return "\n".join(lines)
