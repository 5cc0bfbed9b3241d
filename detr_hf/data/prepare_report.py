"""`prepare_report.json` and `.md`: what came in and out; every repair and every drop with its file."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from detr_hf.data.issues import KINDS, Effect, Issue
from detr_hf.data.pseudo_label import StuffSummary
from detr_hf.data.records import folder_of, issues_to_lists
from detr_hf.data.repair_records import counts_in
from detr_hf.data.sample_sheets import sample_sheet
from detr_hf.data.split import Splits
from detr_hf.data.statistics import OBJECT_SIZES, Statistics
from detr_hf.files import whole_file, write_text
from detr_hf.labels import LabelMap
from detr_hf.sanitize import escape_markdown as plain

REPORT_JSON = "prepare_report.json"
REPORT_MD = "prepare_report.md"
SAMPLES = "report"
PLACES_SHOWN = 50  # of each kind of issue, in the readable report
EFFECTS: tuple[Effect, ...] = ("image dropped", "object dropped", "repaired", "noted")


@dataclass
class _Counts:
    """Issues by code, the first of each, and images by folder: each sample of the source counts once."""

    issues: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[Issue]] = field(default_factory=dict)
    came_in: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def images(self) -> dict[str, int]:
        came_in, dropped = self.came_in.total(), self.dropped.total()
        return {"in": came_in, "out": came_in - dropped, "dropped": dropped}


@dataclass
class PrepareReport:
    """All that the report tells.

    Args:
        root: the source's folder, for the sample images.
        outcomes: the lines of the step `repair`.
        issues: gives all issues, anew on each call.
        statistics: of the records.
        labels: None where no class is known, because nothing is left.
        sections: what steps tell, by heading: sentences each.
    """

    root: Path
    outcomes: Path
    issues: Callable[[], Iterable[Issue]]
    statistics: Statistics
    labels: LabelMap | None
    sections: dict[str, list[str]] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Write both reports and the sample images into ``out``; the same content gives the same bytes."""
        counts = self._counted()
        samples = self._samples(out)
        with whole_file(out / REPORT_JSON) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            self._write_json(file, counts)
        write_text(out / REPORT_MD, "\n".join(self._markdown(counts, samples)) + "\n")

    def _counted(self) -> _Counts:
        counts = _Counts()
        for name, has_record, _ in counts_in(self.outcomes):
            counts.came_in[folder_of(name)] += 1
            counts.dropped[folder_of(name)] += not has_record
        for issue in self.issues():
            counts.issues[issue.code] += 1
            first = counts.first.setdefault(issue.code, [])
            if len(first) < PLACES_SHOWN:
                first.append(issue)
        return counts

    def _samples(self, out: Path) -> dict[str, str]:
        """Sample images by class: paths relative to ``out``."""
        shutil.rmtree(out / SAMPLES, ignore_errors=True)
        made: dict[str, str] = {}
        for category in self.labels.categories if self.labels is not None else ():
            records = self.statistics.samples(category.name)
            if records:
                assert self.labels is not None
                slug = re.sub(r"[^a-z0-9]+", "_", category.name.lower()).strip("_")[:60]
                file = out / SAMPLES / f"{category.id:03d}_{slug}.jpg"
                file.parent.mkdir(exist_ok=True)
                sample_sheet(self.root, records, category.name, self.labels).save(file, quality=85)
                made[category.name] = f"{SAMPLES}/{file.name}"
        return made

    # -- the two files

    def _write_json(self, file: TextIO, counts: _Counts) -> None:
        """The issues are streamed: there may be more of them than fit into memory."""
        kinds = {
            code: {"count": counts.issues[code], "effect": kind.effect, "title": kind.title}
            for code, kind in KINDS.items()
            if counts.issues[code]
        }
        folders = {
            name: {"in": number, "out": number - counts.dropped[name], "dropped": counts.dropped[name]}
            for name, number in sorted(counts.came_in.items())
        }
        content: dict[str, Any] = {"images": counts.images, "issues": kinds, "folders": folders}
        if self.labels is not None:
            content |= self.statistics.to_dict(self.labels)
        content |= self.sections
        head = json.dumps(content, indent=1)
        file.write(f'{head.removesuffix("}").rstrip()},\n "files": [')
        for at, entry in enumerate(issues_to_lists([issue])[0] for issue in self.issues()):
            file.write(f"{',' if at else ''}\n  {json.dumps(entry)}")
        file.write("\n ]\n}\n")

    def _markdown(self, counts: _Counts, samples: dict[str, str]) -> Iterator[str]:
        images = counts.images
        yield "# Report of the preparation\n"
        came_out = f"{images['out']} came out, {images['dropped']} were dropped"
        yield f"{images['in']} pictures came in, {came_out}.\n"
        yield from _folder_table(counts)
        if self.labels is not None:
            yield from self._class_table(self.labels)
            yield from self._histograms(self.labels)
        for heading, sentences in self.sections.items():
            yield f"\n## {heading.capitalize()}\n"
            yield from (f"- {plain(sentence)}" for sentence in sentences)
        for effect in EFFECTS:
            yield from _places(effect, counts)
        if samples:
            yield "\n## Samples\n"
            yield from (f"{plain(name)}\n\n![{plain(name)}]({path})\n" for name, path in samples.items())

    def _class_table(self, labels: LabelMap) -> Iterator[str]:
        yield "\n## Classes\n"
        yield f"| class | kind | images | objects | {' | '.join(OBJECT_SIZES)} |"
        yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
        of, unused = self.statistics, []
        for name in labels.names:
            if not of.objects[name]:
                unused.append(plain(name))
                continue
            sizes = " | ".join(str(of.sizes[name][size]) for size in OBJECT_SIZES)
            row = f"{plain(name)} | {labels.kind(name)} | {of.images[name]} | {of.objects[name]} | {sizes}"
            yield f"| {row} |"
        if unused:
            yield f"\nWithout an object of their own: {', '.join(unused)}."
        if found := of.imbalance():
            yield (
                f"\nImbalance: {plain(found['most'])} has {found['objects_of_most']} objects, "
                f"{found['ratio']} times as many as {plain(found['least'])} ({found['objects_of_least']})."
            )

    def _histograms(self, labels: LabelMap) -> Iterator[str]:
        counted = self.statistics.to_dict(labels)
        titles = {"Short edge, pixels": "short_edges_px", "Objects per image": "objects_per_image"}
        for title, key in titles.items():
            yield f"\n| {title} | images |\n| --- | ---: |"
            yield from (f"| {name} | {count} |" for name, count in counted[key].items() if count)


def _folder_table(counts: _Counts) -> Iterator[str]:
    yield "| folder | images | kept | dropped |\n| --- | ---: | ---: | ---: |"
    for name, number in sorted(counts.came_in.items()):
        lost = counts.dropped[name]
        yield f"| {plain(name) or '-'} | {number} | {number - lost} | {lost} |"
    images = counts.images
    yield f"| in all | {images['in']} | {images['out']} | {images['dropped']} |"


def _places(effect: Effect, counts: _Counts) -> Iterator[str]:
    codes = [code for code, kind in KINDS.items() if kind.effect == effect and counts.issues[code]]
    if not codes:
        return
    yield f"\n## {effect.capitalize()}"
    for code in codes:
        yield f"\n### {counts.issues[code]} x {KINDS[code].title}\n"
        for found in counts.first[code]:
            yield "- " + plain(": ".join(part for part in (found.file, found.text) if part))
        if counts.issues[code] > PLACES_SHOWN:
            yield f"- and {counts.issues[code] - PLACES_SHOWN} more, all in {REPORT_JSON}"


def about_split(splits: Splits) -> list[str]:
    """What the split step did, in sentences."""
    sizes = Counter(splits.of.values())
    counted = ", ".join(f"{sizes[name]} images in {name}" for name in splits.names)
    how = "as the source has them" if splits.is_own else f"drawn with seed {splits.seed}"
    return [f"{counted}, {how}"]


def about_stuff(summary: StuffSummary) -> list[str]:
    """What the teacher painted, in sentences; every image without stuff is named."""
    sentences = [
        f"{summary.images} images were labeled by machine; {summary.void_share:.1%} of their pixels are "
        "covered by no stuff"
    ]
    sentences += [
        f"{name}: {count} segments, mean score {summary.mean_score[name]:.2f}"
        for name, count in summary.segments.items()
    ]
    if summary.empty:
        sentences.append(f"no stuff was found in {len(summary.empty)}: {', '.join(summary.empty)}")
    return sentences
