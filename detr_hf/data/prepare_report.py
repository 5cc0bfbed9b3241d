"""`prepare_report.json` and `.md`: what came in and out; every repair and every drop with its file."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from detr_hf.data.pseudo_label import StuffSummary
from detr_hf.data.raw.findings import KINDS, Action, Finding, finding_to_list
from detr_hf.data.raw.reading.folders import FolderFacts
from detr_hf.data.sample_sheets import sample_sheet
from detr_hf.data.split import Splits
from detr_hf.data.statistics import OBJECT_SIZES, Statistics
from detr_hf.files import whole_file, write_text
from detr_hf.labels import LabelMap
from detr_hf.sanitize import escape_markdown as plain

REPORT_JSON = "prepare_report.json"
REPORT_MD = "prepare_report.md"
SAMPLES = "report"
PLACES_SHOWN = 50  # of each kind of finding, in the readable report
ACTIONS: tuple[Action, ...] = ("picture dropped", "object dropped", "mended", "noted")
WITHOUT_FILE = ("no_file", "ambiguous_file", "refused_name", "refused_link")


@dataclass
class PrepareReport:
    """All that the report tells.

    Args:
        raw: the raw folder, for the sample pictures.
        folders: facts of every class folder.
        findings: gives all findings, anew on each call.
        statistics: of the records.
        labels: None where no class is known, because nothing is left.
        sections: what later steps tell, by heading: sentences each.
    """

    raw: Path
    folders: Sequence[FolderFacts]
    findings: Callable[[], Iterable[Finding]]
    statistics: Statistics
    labels: LabelMap | None
    sections: dict[str, list[str]] = field(default_factory=dict)

    def write(self, out: Path) -> None:
        """Write both reports and the sample pictures into ``out``; the same content gives the same bytes."""
        counts, places, dropped = self._counted()
        samples = self._samples(out)
        with whole_file(out / REPORT_JSON) as part, part.open("w", encoding="utf-8", newline="\n") as file:
            self._write_json(file, counts)
        write_text(out / REPORT_MD, "\n".join(self._markdown(counts, places, dropped, samples)) + "\n")

    # -- counting

    def _counted(self) -> tuple[Counter[str], dict[str, list[Finding]], Counter[str]]:
        """Findings by kind, the first places of each, and dropped pictures by class folder."""
        counts: Counter[str] = Counter()
        places: dict[str, list[Finding]] = {kind: [] for kind in KINDS}
        dropped: Counter[str] = Counter()
        for finding in self.findings():
            counts[finding.kind] += 1
            if len(places[finding.kind]) < PLACES_SHOWN:
                places[finding.kind].append(finding)
            if finding.action == "picture dropped":
                dropped[finding.file.split("/")[0]] += 1
        return counts, places, dropped

    def _images(self, counts: Counter[str]) -> dict[str, int]:
        files = sum(facts.pictures for facts in self.folders)
        dropped = sum(count for kind, count in counts.items() if KINDS[kind].action == "picture dropped")
        listed = sum(counts[kind] for kind in WITHOUT_FILE)
        return {"in": files + listed, "out": self.statistics.pictures, "dropped": dropped}

    def _samples(self, out: Path) -> dict[str, str]:
        """Sample pictures by class: paths relative to ``out``."""
        shutil.rmtree(out / SAMPLES, ignore_errors=True)
        made: dict[str, str] = {}
        for category in self.labels.categories if self.labels is not None else ():
            records = self.statistics.samples(category.name)
            if records:
                assert self.labels is not None
                slug = re.sub(r"[^a-z0-9]+", "_", category.name.lower()).strip("_")[:60]
                file = out / SAMPLES / f"{category.id:03d}_{slug}.jpg"
                file.parent.mkdir(exist_ok=True)
                sample_sheet(self.raw, records, category.name, self.labels).save(file, quality=85)
                made[category.name] = f"{SAMPLES}/{file.name}"
        return made

    # -- the two files

    def _write_json(self, file: TextIO, counts: Counter[str]) -> None:
        """The findings are streamed: there may be more of them than fit into memory."""
        kinds = {
            kind: {"count": counts[kind], "action": known.action, "meaning": known.meaning}
            for kind, known in KINDS.items()
            if counts[kind]
        }
        content: dict[str, Any] = {"images": self._images(counts), "findings": kinds}
        content["class_folders"] = {
            facts.class_folder: {"layout": facts.layout, "pictures": facts.pictures, "details": facts.details}
            for facts in self.folders
        }
        if self.labels is not None:
            content |= self.statistics.to_dict(self.labels)
        content |= self.sections
        head = json.dumps(content, indent=1)
        file.write(f'{head.removesuffix("}").rstrip()},\n "files": [')
        for at, finding in enumerate(self.findings()):
            file.write(f"{',' if at else ''}\n  {json.dumps(finding_to_list(finding))}")
        file.write("\n ]\n}\n")

    def _markdown(
        self,
        counts: Counter[str],
        places: dict[str, list[Finding]],
        dropped: Counter[str],
        samples: dict[str, str],
    ) -> Iterator[str]:
        images = self._images(counts)
        yield "# Report of the preparation\n"
        came_out = f"{images['out']} came out, {images['dropped']} were dropped"
        yield f"{images['in']} pictures came in, {came_out}.\n"
        yield from self._folder_table(dropped)
        if self.labels is not None:
            yield from self._class_table(self.labels)
            yield from self._histograms()
        for heading, sentences in self.sections.items():
            yield f"\n## {heading.capitalize()}\n"
            yield from (f"- {plain(sentence)}" for sentence in sentences)
        for action in ACTIONS:
            yield from _places(action, counts, places)
        if samples:
            yield "\n## Samples\n"
            yield from (f"{plain(name)}\n\n![{plain(name)}]({path})\n" for name, path in samples.items())

    def _folder_table(self, dropped: Counter[str]) -> Iterator[str]:
        yield "| class folder | layout | pictures | kept | dropped |\n| --- | --- | ---: | ---: | ---: |"
        for facts in self.folders:
            name = facts.class_folder
            kept, lost = self.statistics.folders[name], dropped[name]
            yield f"| {plain(name)} | {facts.layout} | {facts.pictures} | {kept} | {lost} |"

    def _class_table(self, labels: LabelMap) -> Iterator[str]:
        yield "\n## Classes\n"
        yield f"| class | kind | images | objects | {' | '.join(OBJECT_SIZES)} |"
        yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
        of, idle = self.statistics, []
        for name in labels.names:
            if not of.objects[name]:
                idle.append(plain(name))
                continue
            sizes = " | ".join(str(of.sizes[name][size]) for size in OBJECT_SIZES)
            row = f"{plain(name)} | {labels.kind(name)} | {of.images[name]} | {of.objects[name]} | {sizes}"
            yield f"| {row} |"
        if idle:
            yield f"\nWithout an object of their own: {', '.join(idle)}."
        if found := of.imbalance():
            yield (
                f"\nImbalance: {plain(found['most'])} has {found['objects_of_most']} objects, "
                f"{found['ratio']} times as many as {plain(found['least'])} ({found['objects_of_least']})."
            )

    def _histograms(self) -> Iterator[str]:
        assert self.labels is not None
        counted = self.statistics.to_dict(self.labels)
        for title, key in (
            ("Short edge, pixels", "short_edges_px"),
            ("Objects per image", "objects_per_image"),
        ):
            yield f"\n| {title} | images |\n| --- | ---: |"
            yield from (f"| {name} | {count} |" for name, count in counted[key].items() if count)


def _places(action: Action, counts: Counter[str], places: dict[str, list[Finding]]) -> Iterator[str]:
    kinds = [kind for kind in KINDS if KINDS[kind].action == action and counts[kind]]
    if not kinds:
        return
    yield f"\n## {action.capitalize()}"
    for kind in kinds:
        yield f"\n### {counts[kind]} {KINDS[kind].meaning}\n"
        for found in places[kind]:
            yield f"- {plain(found.file)}" + (f": {plain(found.detail)}" if found.detail else "")
        if counts[kind] > PLACES_SHOWN:
            yield f"- and {counts[kind] - PLACES_SHOWN} more, all in {REPORT_JSON}"


def about_split(splits: Splits) -> list[str]:
    """What the split step did, in sentences."""
    sizes = {name: sum(place == name for place in splits.of.values()) for name in splits.names}
    counted = ", ".join(f"{size} pictures in {name}" for name, size in sizes.items())
    return [f"{counted}, drawn with seed {splits.seed}"]


def about_stuff(summary: StuffSummary) -> list[str]:
    """What the teacher painted, in sentences; every picture without stuff is named."""
    sentences = [
        f"{summary.pictures} pictures were labeled by machine; {summary.void_share:.1%} of their pixels are "
        "covered by no stuff"
    ]
    sentences += [
        f"{name}: {count} segments, mean score {summary.mean_score[name]:.2f}"
        for name, count in summary.segments.items()
    ]
    if summary.empty:
        sentences.append(f"no stuff was found in {len(summary.empty)}: {', '.join(summary.empty)}")
    return sentences
