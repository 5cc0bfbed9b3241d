"""One way through the data room: source -> repair -> sink. `detr-hf convert`, and `detr-hf check --fix`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detr_hf.data.boxes import box_format_of
from detr_hf.data.issues import Issue
from detr_hf.data.repair import Repair
from detr_hf.data.report import Report
from detr_hf.data.rows import with_classes
from detr_hf.data.sample import Sample
from detr_hf.data.sinks import open_sink
from detr_hf.data.sinks.base import Sink
from detr_hf.data.sources.base import Opened, Source, hash_of_words
from detr_hf.data.workers import in_threads
from detr_hf.errors import UserError
from detr_hf.labels import LabelMap
from detr_hf.progress import progress


@dataclass(frozen=True)
class Converted:
    """What was written."""

    read: Mapping[str, int]  # images of the source by split
    written: Mapping[str, Mapping[str, int]]  # images and objects by split
    report: Report  # all issues, by kind and file

    @property
    def is_unchanged(self) -> bool:
        """Whether nothing was dropped or repaired."""
        return not self.report.is_to_repair


def convert(
    opened: Opened, out: str | Path, to: str, copy_images: bool = False, threads: int | None = None
) -> Converted:
    """Write a data set in another format, or in its own with everything put right that can be.

    Each image is opened once. What cannot be put right is left out, and everything is listed in
    ``OUT/changes.json``. An image that is in two splits stays in the later one: training is what loses it.

    Args:
        opened: what a door gave.
        out: a folder that is empty or not there; it is whole at the end, or as it was.
        to: format of a sink: "coco", "coco-panoptic", "yolo", "hf".
        copy_images: COCO: put copies of the images into ``out``.
        threads: that open images; None for one each core. The result does not depend on it.

    Raises:
        UserError: ``out`` is in use, boxes make no sense, no image of a split can be used, or the first split
            has no object to learn from.
    """
    folder = Path(out)
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UserError(f"{out}: is not an empty folder; name a new one")
    categories, issues = merged_categories(opened.splits)
    if opened.labels is not None:
        known = {*opened.labels.names, *opened.labels.void}
        categories = [category for category in categories if category["name"] in known]
    if not categories:
        raise UserError(f"{_names(opened)}: there is no class, so there is nothing to learn")
    with open_sink(to)(folder, opened.splits, categories, opened.labels, copy_images) as sink:
        for split, found in issues:
            sink.note(split, [found])
        hashes: dict[str, str] = {}
        for split in reversed(list(opened.splits)):
            to_learn = _write_split(split, opened.splits[split], sink, hashes, threads)
        if not to_learn:  # of the first split, which is trained on
            issue = Issue("nothing-to-learn", f"of '{split}'")
            raise UserError("\n".join([f"{_names(opened)}: {issue}", *_said(sink.report)]))
    read = {split: len(source) for split, source in opened.splits.items()}
    return Converted(read, sink.counts, sink.report)


def _write_split(split: str, source: Source, sink: Sink, hashes: dict[str, str], threads: int | None) -> int:
    """Every sample of a source, repaired; those whose file another split holds are left out.

    Returns the number of objects to learn from, which crowds are not.
    """
    issues = list(source.issues())
    box_format = box_format_of(source)
    issues += [box_format.issue] if box_format.issue is not None else []
    for issue in issues:
        if issue.kind.effect == "stops":
            raise UserError(f"{source.name}: {issue}; {issue.kind.remedy}")
    sink.note(split, issues)
    own: dict[str, str] = {}
    to_learn = 0
    work = RepairWork(Repair(box_format), sink.labels)
    repaired = in_threads(work, source.samples(), threads)
    for sample, issues, digest in progress(repaired, len(source), f"converting {split}"):
        if sample is not None and digest in hashes:
            issues = [*issues, Issue("leak", f"it is in {hashes[digest]}, too", sample.file_name)]
            sample = None
        sink.note(split, issues)
        if sample is not None:
            own[digest] = split
            to_learn += sum(not found.iscrowd for found in sample.objects)
            sink.add(split, sample)
    hashes.update(own)
    if len(source) and split not in sink.written_splits:
        raise UserError("\n".join([f"{source.name}: no image of '{split}' can be used", *_said(sink.report)]))
    return to_learn


def fingerprint(opened: Opened) -> str:
    """A hash that changes with classes, annotations, and names and sizes of the images.

    Unlike `Source.key` it is the same for a copy, and whatever else lies in the folder.
    """

    def words() -> Iterator[str]:
        yield from map(repr, opened.labels.categories if opened.labels is not None else ())
        for split, source in opened.splits.items():
            yield f"{split} {source.categories()}"
            for sample in source.samples():
                yield f"{sample.file_name} {_bytes_of(sample.image)} {sample.declared_hw} {sample.objects}"

    return hash_of_words(words())


def _bytes_of(image: Path | bytes | None) -> int:
    if isinstance(image, Path):
        return image.stat().st_size if image.is_file() else 0
    return len(image or b"")


@dataclass(frozen=True)
class RepairWork:
    """One sample repaired, with its objects of the label map and of void classes, and its file's SHA-256.

    The pixels stay behind: many results wait for their turn.
    """

    repair: Repair
    labels: LabelMap | None

    def __call__(self, sample: Sample) -> tuple[Sample | None, list[Issue], str]:
        made = self.repair(sample)
        digest = made.facts.sha256 if made.facts is not None else ""
        if made.sample is None or self.labels is None:
            return made.sample, made.issues, digest
        kept, left_out = with_classes(made.sample, self.labels, keep_void=True)
        return kept, made.issues + left_out, digest


def merged_categories(
    splits: Mapping[str, Source],
) -> tuple[list[dict[str, Any]], list[tuple[str, Issue]]]:
    """The classes of all splits, each name once, each with an id of its own; and what was renumbered."""
    merged: dict[str, dict[str, Any]] = {}
    issues = []
    for split, source in splits.items():
        for category in source.categories():
            used = {one["id"] for one in merged.values()}
            known = merged.get(category["name"])
            number = category["id"]
            if known is None:
                if number in used:
                    number = max(used) + 1
                known = merged[category["name"]] = {**category, "id": number}
            if known["id"] != category["id"]:
                text = f"'{category['name']}' is {category['id']} here and becomes {known['id']}"
                issues.append((split, Issue("category-renumbered", text)))
    return list(merged.values()), issues


def lines_of(report: Report) -> Iterator[str]:
    """One line a kind, with its count and what was done; errors first."""
    for kind in report.kinds():
        yield f"  {kind.counted(report.count(kind.code))}: {kind.effect}"


def _said(report: Report) -> list[str]:
    return [f"  - {sentence}" for sentence in report.sentences()]


def _names(opened: Opened) -> str:
    return ", ".join(source.name for source in opened.splits.values())
