"""From a source to one data set: repair, pseudo-label, split, write, report.

Each step keeps its result in ``OUT/steps/<step>/`` under a key, the hash of all that decides it. A step whose
key has not changed is not done again, and one that was killed goes on; the result is the same byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from detr_hf.data.boxes import box_format_of
from detr_hf.data.issues import Issue
from detr_hf.data.merge import merged_labels
from detr_hf.data.prepare_report import (
    REPORT_JSON,
    REPORT_MD,
    PrepareReport,
    about_rectangles,
    about_split,
)
from detr_hf.data.pseudo_label import Teacher, pseudo_label, summarize_stuff
from detr_hf.data.records import Outcomes, cut_to_whole_lines, issues_from_lists, issues_in
from detr_hf.data.repair import Repair
from detr_hf.data.repair_records import RecordRepair, about_source, split_samples
from detr_hf.data.sinks.prepared import ISSUES_FILE, SPLIT_FILE, WriteSettings, write_dataset
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Door, Opened, Place, hash_of_folder, hash_of_words
from detr_hf.data.sources.splits import VALIDATION
from detr_hf.data.split import load_splits, split_records
from detr_hf.data.statistics import Statistics
from detr_hf.data.steps import StepFolder
from detr_hf.data.stuff_mapping import StuffMapping, load_mapping
from detr_hf.data.workers import in_order, progress
from detr_hf.errors import UserError
from detr_hf.files import exclusive, require_outside, sha256_of, write_json
from detr_hf.labels import LabelMap, load_labels
from detr_hf.recipe.prepare import PrepareRecipe

VERSION = "5"
"""Raise it whenever repairing the same files would give another result."""

STEPS = ("repair", "pseudo", "split", "write", "report")
PROCESSES = int(os.environ.get("WORLD_SIZE", 1))  # as `accelerate launch` says
PROCESS = int(os.environ.get("RANK", 0))
OURS = ("steps", REPORT_JSON)  # what a folder holds that an earlier run has made


@dataclass
class Pipeline:
    """The way from PATH to OUT."""

    path: Path  # the source, in any format that a door knows; only read
    out: Path  # made when missing
    recipe: PrepareRecipe  # all settings
    load_teacher: Callable[[], Teacher]  # makes the teacher of stuff, when it is needed
    strict: bool = False  # stop at the first issue instead of repairing or dropping
    # the teacher's folder where that is not what the recipe says; other files in it, and its stuff is painted
    # anew
    teacher_files: Path | None = None
    # gives the teacher's stuff classes without loading it, for a look before the first step
    teacher_stuff: Callable[[], Iterable[str]] | None = None

    def run(self, only: str | None = None) -> None:
        """All steps, or one of ``STEPS`` whose forerunners are done.

        Raises:
            UserError: the source or its annotations cannot be used, OUT is not ours to write to, a step is
                asked for before its forerunners, there is no such teacher, or, in a strict run, anything has
                to be repaired.
        """
        self._check_folders()
        if PROCESSES > 1 and only != "pseudo":
            raise UserError("several processes share the step `pseudo` alone: launch them with --only pseudo")
        refusal = f"{self._steps.parent}: another run prepares into this folder; wait for it"
        if only in (None, "pseudo"):
            self._require_teacher()
        with exclusive(self._steps / "lock", refusal) if PROCESS == 0 else nullcontext():
            for name in STEPS if only is None else (only,):
                self._require_forerunners(name)
                getattr(self, f"_{name}")()

    @property
    def _steps(self) -> Path:
        return self.out / "steps"

    @property
    def records(self) -> Outcomes:
        """What the step `repair` left."""
        return Outcomes(self._steps / "repair" / "outcomes.jsonl", self._labels)

    @property
    def format(self) -> str:
        """What the source was recognized as, for people."""
        return self._opened[0].TITLE

    def _check_folders(self) -> None:
        if not self.path.exists() and self.recipe.read.format != "hub":
            raise UserError(f"{self.path}: there is no such file or folder")
        require_outside(self.out, self.path)
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out}: is a file; give a folder")
        is_strange = self.out.is_dir() and any(self.out.iterdir())
        if is_strange and not any((self.out / name).exists() for name in OURS):
            raise UserError(f"{self.out}: holds other files; give an empty or a new folder")

    def _require_forerunners(self, name: str) -> None:
        needed = STEPS[: STEPS.index(name)] if name != "report" else ("repair",)
        for earlier in needed:
            if not self._step(earlier).is_done:
                raise UserError(
                    f"--only {name}: the step `{earlier}` is not done for this source and these settings; "
                    f"run it first (--only {earlier}), or all steps at once"
                )

    def _require_teacher(self) -> None:
        """A teacher that is wrong shows now, not after an hour of repairs."""
        if self.mapping is None or self.teacher_stuff is None or self._step("pseudo").is_done:
            return
        try:
            self.mapping.require(self.teacher_stuff(), self.recipe.pseudo_stuff.teacher)
        except UserError as fault:
            way_out = "Without stuff painted by machine: pseudo_stuff.enabled=false"
            raise UserError(f"pseudo_stuff.teacher: {fault}\n  {way_out}") from None

    # -- the source

    @property
    def _root(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    @cached_property
    def _opened(self) -> tuple[Door, Opened]:
        wanted = self.recipe.labels
        labels = load_labels(wanted) if wanted is not None else None
        place = Place(self.path, str(self.path), reading=self.recipe.read, labels=labels)
        return open_place(place, self.recipe.read.format)

    # -- keys: each step's holds that of the step before

    def _step(self, name: str) -> StepFolder:
        return StepFolder(self._steps / name, self._keys[name], keeps=name == "pseudo")

    @cached_property
    def _keys(self) -> dict[str, str]:
        recipe, stuff = self.recipe, self.recipe.pseudo_stuff
        opened = self._opened[1]
        splits = [word for name, source in opened.splits.items() for word in (name, source.key)]
        repair = hash_of_words([VERSION, *splits, _words(recipe.read)])
        given = [repr(opened.labels)] if opened.labels is not None else []
        labels = hash_of_words([repair, *_file_setting(recipe.labels), *self._stuff_classes, *given])
        mapping = self.mapping.fingerprint if self.mapping is not None else ""
        files = self.teacher_files or Path(stuff.teacher)
        teacher = hash_of_folder(files) if files.is_dir() else ""
        pseudo = hash_of_words([labels, _words(stuff), mapping, teacher])
        split = hash_of_words([labels, _words(recipe.split), *_file_setting(recipe.split.fixed)])
        write = hash_of_words([pseudo, split, _words(recipe.write)])
        return dict(zip(STEPS, (repair, pseudo, split, write, write), strict=True))

    @cached_property
    def mapping(self) -> StuffMapping | None:
        """Of the teacher's stuff; None where there are to be no pseudo-labels."""
        stuff = self.recipe.pseudo_stuff
        return load_mapping(stuff.mapping) if stuff.enabled else None

    @property
    def _stuff_classes(self) -> tuple[str, ...]:
        return self.mapping.classes if self.mapping is not None else ()

    # -- the steps

    def _repair(self) -> None:
        step = self._step("repair")
        if not step.is_done:
            step.begin()
            splits = self._opened[1].splits
            formats = {name: box_format_of(source) for name, source in splits.items()}
            if not (step.folder / "source.json").is_file():
                write_json(step.folder / "source.json", about_source(splits, formats), sync=True)
            self._stop_if_strict(self._issues_of({"source"}))
            path = self.records.file  # here it shows, too, if a label map lacks a class
            done = cut_to_whole_lines(path)
            (kept := step.folder / "files").mkdir(exist_ok=True)
            repairs = {name: Repair(found) for name, found in formats.items()}
            work = RecordRepair(self._root, kept, repairs, self.recipe.read.empty_images == "drop")
            samples = islice(split_samples(splits), done, None)
            total = sum(map(len, splits.values()))
            outcomes = in_order(work, samples, self.recipe.num_proc)
            with path.open("a", encoding="utf-8", newline="\n") as lines:
                for line in progress(outcomes, total, "repair", done):
                    if self.strict:
                        self._stop_if_strict(issues_from_lists(json.loads(line)["issues"]))
                    lines.write(f"{line}\n")
                    lines.flush()
            step.finish()
        if not self._step("split").is_done:  # whose key changes with the label map, too
            self._require_something_left()
            if sentence := about_rectangles(self.records):
                print(sentence, flush=True)
        self._stop_if_strict(self._issues_of({"source", "repair"}))

    def _require_something_left(self) -> None:
        left = "image"
        for record in self.records:
            left = "object to learn from"
            to_learn = record.split != VALIDATION and any(not one.iscrowd for one in record.objects)
            if to_learn or self.mapping is not None:
                return
        self._report()
        why = self.out / REPORT_MD
        raise UserError(f"{self.path}: no {left} is left; {why} says why each was dropped")

    def _pseudo(self) -> None:
        step = self._step("pseudo")
        if step.is_done:
            return
        if PROCESS == 0:
            step.begin()
        if self.mapping is not None:
            stuff = self.recipe.pseudo_stuff
            pseudo_label(self.records, self._root, self.load_teacher(), self.mapping, step.folder, stuff)
        if PROCESS == 0:
            step.finish()

    def _split(self) -> None:
        step = self._step("split")
        if not step.is_done:
            step.begin()
            stuff = [name for name in self._labels.names if self._labels.kind(name) == "stuff"]
            made = split_records(self.records, self.recipe.split, stuff)
            made.save(step.folder / SPLIT_FILE)
            step.finish()

    def _write(self) -> None:
        step, settings = self._step("write"), self.recipe.write
        if not step.is_done or not (self.out / SPLIT_FILE).is_file():
            step.begin()
            write_dataset(
                self.records,
                self._root,
                self._steps / "pseudo" if self.mapping is not None else None,
                load_splits(self._steps / "split" / SPLIT_FILE),
                self._labels,
                self.out,
                WriteSettings(
                    **asdict(settings),
                    num_proc=self.recipe.num_proc,
                    teacher=self.recipe.pseudo_stuff.teacher if self.mapping is not None else None,
                ),
            )
            step.finish()
        self._stop_if_strict(self._issues_of({"write"}))

    def _report(self) -> None:
        done = {name for name in STEPS if self._step(name).is_done}
        left_out = load_splits(self._steps / "split" / SPLIT_FILE).left_out if "split" in done else ()
        statistics = Statistics.of(one for one in self.records if one.file_name not in left_out)
        report = PrepareReport(
            self._root,
            self.records,
            lambda: self._issues_of({"source", "repair", *done}),
            statistics,
            self._labels if statistics.records else None,
        )
        report.sections["source"] = [f"{self.path} was read as {self.format}"]
        if "split" in done:
            report.sections["split"] = about_split(load_splits(self._steps / "split" / SPLIT_FILE))
        if self.mapping is not None and "pseudo" in done:
            report.sections["pseudo stuff"] = summarize_stuff(self.records, self._steps / "pseudo")
        report.write(self.out)

    # -- what the steps have left

    @cached_property
    def _labels(self) -> LabelMap:
        given = self._opened[1].labels
        categories = self._source_facts["categories"]
        return merged_labels(categories, self.recipe.labels, self._stuff_classes, given)

    @property
    def _source_facts(self) -> dict[str, Any]:
        return json.loads((self._steps / "repair" / "source.json").read_bytes())

    def _issues_of(self, steps: Container[str]) -> Iterator[Issue]:
        """What was found in these steps, in their order; "source" is what concerns the whole."""
        if "source" in steps:
            yield from issues_from_lists(self._source_facts["issues"])
        if "repair" in steps:
            for _, _, issues in self.records.all():
                yield from issues
        if "split" in steps:
            yield from load_splits(self._steps / "split" / SPLIT_FILE).issues
        if "write" in steps:
            yield from issues_in(self._steps / "write" / ISSUES_FILE)

    def _stop_if_strict(self, issues: Iterable[Issue]) -> None:
        for issue in issues if self.strict else ():
            if issue.kind.effect != "noted":
                raise UserError(f"{issue}: {issue.kind.effect}; stopped at the first issue (--strict)")


def _words(settings: Any) -> str:
    return json.dumps(asdict(settings), sort_keys=True)


def _file_setting(setting: str | None) -> list[str]:
    """What decides the result where a setting may name a file."""
    if setting is None:
        return [""]
    path = Path(setting)
    file = path / "label_map.json" if path.is_dir() else path
    return [setting, sha256_of(file) if file.is_file() else ""]
