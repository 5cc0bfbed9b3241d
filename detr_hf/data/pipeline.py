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
from detr_hf.data.card import title_of
from detr_hf.data.issues import Issue
from detr_hf.data.merge import MergedLabels, merged_labels
from detr_hf.data.prepare_report import (
    REPORT_JSON,
    REPORT_MD,
    PrepareReport,
    about_classes,
    about_rectangles,
    about_split,
)
from detr_hf.data.pseudo_label import Teacher, pseudo_label, stuff_found, summarize_stuff
from detr_hf.data.records import Outcomes, cut_to_whole_lines, issues_from_lists, issues_in
from detr_hf.data.repair import Repair
from detr_hf.data.repair_records import RecordRepair, about_source, split_samples
from detr_hf.data.sinks.prepared import ISSUES_FILE, SPLIT_FILE, WriteSettings, write_dataset
from detr_hf.data.sources import open_place
from detr_hf.data.sources.base import Door, Opened, Place, hash_of_folder, hash_of_words
from detr_hf.data.sources.splits import VALIDATION
from detr_hf.data.split import load_splits, split_records
from detr_hf.data.statistics import Statistics
from detr_hf.data.steps import StepFolder, words_of, words_of_file
from detr_hf.data.stuff_mapping import StuffMapping, load_mapping, own_names
from detr_hf.data.workers import in_order
from detr_hf.errors import UserError
from detr_hf.files import exclusive, require_outside, write_json
from detr_hf.labels import CONSTRUCTION, LabelMap, load_labels
from detr_hf.progress import progress
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
    # the teacher's folder where the recipe says another; of other files its stuff is painted anew
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
        return Outcomes(self._steps / "repair" / "outcomes.jsonl", self._labels.labels)

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
        if not self._paints or self.teacher_stuff is None or self._step("pseudo").is_done:
            return
        first = next(split_samples(self._opened[1].splits), None)
        if first is not None and first[1].id_map is not None:
            return  # probably all bring their stuff along; the step `pseudo` knows
        try:
            names = tuple(self.teacher_stuff())
            if self.mapping is not None:
                self.mapping.require(names, self.recipe.pseudo_stuff.teacher)
            elif self.recipe.labels is not None:
                own_names(self.recipe.pseudo_stuff.teacher, names, load_labels(self.recipe.labels), True)
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
        repair = hash_of_words([VERSION, *splits, words_of(recipe.read)])
        given = [repr(opened.labels)] if opened.labels is not None else []
        named = [*words_of_file(recipe.labels), recipe.preset or ""]
        labels = hash_of_words([repair, *named, *self._stuff_classes, *given])
        mapping = self.mapping.fingerprint if self.mapping is not None else ""
        files = self.teacher_files or Path(stuff.teacher)
        teacher = hash_of_folder(files) if files.is_dir() else ""
        pseudo = hash_of_words([labels, words_of(stuff), mapping, teacher])
        split = hash_of_words([labels, words_of(recipe.split), *words_of_file(recipe.split.fixed)])
        write = hash_of_words([pseudo, split, words_of(recipe.write), self._title])
        return dict(zip(STEPS, (repair, pseudo, split, write, write), strict=True))

    @cached_property
    def mapping(self) -> StuffMapping | None:
        """Of the teacher's stuff, as the recipe names it; None where it names none, or nothing is painted."""
        recipe = self.recipe
        is_preset = CONSTRUCTION in (recipe.preset, recipe.labels)
        name = recipe.pseudo_stuff.mapping or (CONSTRUCTION if is_preset else None)
        return load_mapping(name) if name is not None and self._paints else None

    @property
    def _paints(self) -> bool:
        return self.recipe.pseudo_stuff.enabled

    @property
    def _title(self) -> str:
        return self.recipe.write.title or title_of(self.path)

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
            if to_learn or self._paints:
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
        if self._paints and any(record.id_map is None for record in self.records):
            teacher, stuff = self.load_teacher(), self.recipe.pseudo_stuff
            mapping = self.mapping
            if mapping is None:
                mapping = own_names(
                    teacher.name, teacher.stuff_names, self._labels.labels, self.recipe.labels is not None
                )
            pseudo_label(self.records, self._root, teacher, mapping, step.folder, stuff)
        if PROCESS == 0:
            step.finish()

    def _split(self) -> None:
        step = self._step("split")
        if not step.is_done:
            step.begin()
            labels = self._labels.labels
            stuff = [name for name in labels.names if labels.kind(name) == "stuff"]
            made = split_records(self.records, self.recipe.split, stuff)
            made.save(step.folder / SPLIT_FILE)
            step.finish()

    def _write(self) -> None:
        step, settings = self._step("write"), self.recipe.write
        if not step.is_done or not (self.out / SPLIT_FILE).is_file():
            step.begin()
            classes = self._written_labels
            write_dataset(
                self.records,
                self._root,
                self._steps / "pseudo" if self._paints else None,
                load_splits(self._steps / "split" / SPLIT_FILE),
                classes.labels,
                self.out,
                WriteSettings(
                    **asdict(settings) | {"title": self._title},
                    num_proc=self.recipe.num_proc,
                    teacher=self.recipe.pseudo_stuff.teacher if self._paints else None,
                    all_classes=classes.is_given,
                ),
            )
            step.finish()
            for sentence in about_classes(classes.labels, LabelMap.load(self.out)):
                print(sentence, flush=True)
        self._stop_if_strict(self._issues_of({"write"}))

    def _report(self) -> None:
        done = {name for name in STEPS if self._step(name).is_done}
        left_out = load_splits(self._steps / "split" / SPLIT_FILE).left_out if "split" in done else ()
        labels = LabelMap.load(self.out) if "write" in done else self._labels.labels
        statistics = Statistics.of(one for one in self.records if one.file_name not in left_out)
        report = PrepareReport(
            self._root,
            self.records,
            lambda: self._issues_of({"source", "repair", *done}),
            statistics,
            labels if statistics.records else None,
        )
        report.sections["source"] = [f"{self.path} was read as {self.format}"]
        if "split" in done:
            report.sections["split"] = about_split(load_splits(self._steps / "split" / SPLIT_FILE))
        whole = self._written_labels.labels if "write" in done else labels
        if left_out_classes := about_classes(whole, labels, limit=whole.num_classes):
            report.sections["label map"] = left_out_classes
        if self._paints and "pseudo" in done:
            report.sections["pseudo stuff"] = summarize_stuff(self.records, self._steps / "pseudo")
        report.write(self.out)

    # -- what the steps have left

    @cached_property
    def _labels(self) -> MergedLabels:
        """The classes of the data and of the mapping."""
        return self._labels_with(self._stuff_classes)

    @cached_property
    def _written_labels(self) -> MergedLabels:
        """With what a teacher has painted under its own names; `pseudo` must be done."""
        if not self._paints or self.mapping is not None:
            return self._labels
        return self._labels_with(stuff_found(self.records, self._steps / "pseudo"))

    def _labels_with(self, stuff: Iterable[str]) -> MergedLabels:
        recipe, categories = self.recipe, self._source_facts["categories"]
        return merged_labels(categories, recipe.labels, stuff, self._opened[1].labels, recipe.preset)

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
