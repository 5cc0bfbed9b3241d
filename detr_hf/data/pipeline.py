"""From a folder of raw exports to one data set: read, mend, merge, pseudo-label, split, write, report.

Each step keeps its result in ``OUT/steps/<step>/`` under a key, the hash of all that decides it. A step whose
key has not changed is not done again, and one that was killed goes on; the result is the same byte for byte.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from detr_hf.data.merge import merge_records, merged_labels
from detr_hf.data.prepare_report import (
    REPORT_JSON,
    REPORT_MD,
    PrepareReport,
    about_split,
    about_stuff,
)
from detr_hf.data.processes import in_order
from detr_hf.data.pseudo_label import StuffSettings, Teacher, pseudo_label, summarize_stuff
from detr_hf.data.raw.findings import Finding, findings_in, stop_at_fault
from detr_hf.data.raw.mending.pictures import mend_picture
from detr_hf.data.raw.reading.folders import class_folders, read_folder, write_folder
from detr_hf.data.records import read_records
from detr_hf.data.results import (
    MERGE_FINDINGS,
    OUTCOMES,
    SPLITS,
    WRITE_FINDINGS,
    StepResults,
    outcome_line,
    write_findings,
)
from detr_hf.data.sinks.prepared import SPLIT_FILE, WriteSettings, write_dataset
from detr_hf.data.sources.base import hash_of_folder, hash_of_words
from detr_hf.data.split import split_records
from detr_hf.data.statistics import Statistics
from detr_hf.data.steps import StepFolder, cut_to_whole_lines
from detr_hf.data.stuff_mapping import StuffMapping, load_mapping
from detr_hf.errors import UserError
from detr_hf.files import exclusive, sha256_of
from detr_hf.recipe.prepare import PrepareRecipe

VERSION = "1"
"""Raise it whenever reading, mending or merging the same files would give another result."""

STEPS = ("read", "mend", "merge", "pseudo", "split", "write", "report")
PROCESSES = int(os.environ.get("WORLD_SIZE", 1))  # as `accelerate launch` says
PROCESS = int(os.environ.get("RANK", 0))
OURS = ("steps", REPORT_JSON)  # what a folder holds that an earlier run has made


@dataclass
class Pipeline:
    """The way from RAW to OUT.

    Args:
        raw: class folders; only read.
        out: made when missing.
        recipe: all settings.
        load_teacher: makes the teacher of stuff, when it is needed.
        strict: stop at the first fault instead of mending or dropping.
        teacher_files: the teacher's folder where that is not what the recipe says; other files in it, and
            its stuff is painted anew.
    """

    raw: Path
    out: Path
    recipe: PrepareRecipe
    load_teacher: Callable[[], Teacher]
    strict: bool = False
    teacher_files: Path | None = None

    def run(self, only: str | None = None) -> None:
        """All steps, or one of ``STEPS`` whose forerunners are done.

        Raises:
            UserError: RAW or its annotation files cannot be used, OUT is not ours to write to, a step is
                asked for before its forerunners, or, in a strict run, anything has to be mended.
        """
        self._check_folders()
        if PROCESSES > 1 and only != "pseudo":
            raise UserError("several processes share the step `pseudo` alone: launch them with --only pseudo")
        refusal = f"{self._steps.parent}: another run prepares into this folder; wait for it"
        with exclusive(self._steps / "lock", refusal) if PROCESS == 0 else nullcontext():
            for name in STEPS if only is None else (only,):
                self._require_forerunners(name)
                getattr(self, f"_{name}")()

    @property
    def _steps(self) -> Path:
        return self.out / "steps"

    @property
    def results(self) -> StepResults:
        """What the steps have left so far."""
        return StepResults(self._steps)

    def _check_folders(self) -> None:
        if not self.raw.is_dir():
            raise UserError(f"{self.raw}: there is no such folder of raw exports")
        raw, out = self.raw.resolve(), self.out.resolve()
        if out == raw or raw in out.parents:
            raise UserError(
                f"{self.out}: lies in the raw folder, in which nothing is written; choose another"
            )
        if self.out.exists() and not self.out.is_dir():
            raise UserError(f"{self.out}: is a file; give a folder")
        is_strange = self.out.is_dir() and any(self.out.iterdir())
        if is_strange and not any((self.out / name).exists() for name in OURS):
            raise UserError(f"{self.out}: holds other files; give an empty or a new folder")

    def _require_forerunners(self, name: str) -> None:
        needed = STEPS[: STEPS.index(name)] if name != "report" else STEPS[: STEPS.index("merge")]
        for earlier in needed:
            if not self._step(earlier).is_done:
                raise UserError(
                    f"--only {name}: the step `{earlier}` is not done for this folder and these settings; "
                    f"run it first (--only {earlier}), or all steps at once"
                )

    # -- keys: each step's holds that of the step before

    def _step(self, name: str) -> StepFolder:
        return StepFolder(self._steps, name, self._keys[name], keeps=name in ("pseudo", "write"))

    @cached_property
    def _keys(self) -> dict[str, str]:
        recipe, stuff = self.recipe, self.recipe.pseudo_stuff
        read = hash_of_words([VERSION, hash_of_folder(self.raw), _words(recipe.read)])
        mend = hash_of_words([read, "mend"])
        merge = hash_of_words([mend, *_file_setting(recipe.labels), *self._stuff_classes])
        mapping = self.mapping.fingerprint if self.mapping is not None else ""
        files = self.teacher_files or Path(stuff.teacher)
        teacher = hash_of_folder(files) if files.is_dir() else ""
        pseudo = hash_of_words([merge, _words(stuff), mapping, teacher])
        split = hash_of_words([merge, _words(recipe.split), *_file_setting(recipe.split.fixed)])
        write = hash_of_words([pseudo, split, _words(recipe.write)])
        return dict(zip(STEPS, (read, mend, merge, pseudo, split, write, write), strict=True))

    @cached_property
    def mapping(self) -> StuffMapping | None:
        """Of the teacher's stuff; None where there are to be no pseudo-labels."""
        stuff = self.recipe.pseudo_stuff
        return load_mapping(stuff.mapping) if stuff.enabled else None

    @property
    def _stuff_classes(self) -> tuple[str, ...]:
        return self.mapping.classes if self.mapping is not None else ()

    # -- the steps

    def _read(self) -> None:
        step = self._step("read")
        if not step.is_done:
            step.begin()
            folders, findings = class_folders(self.raw)
            for number, name in enumerate(tqdm(folders, desc="read", unit="folder", leave=False)):
                file = step.folder / f"{number:05d}.jsonl"
                if not file.is_file():
                    write_folder(file, *read_folder(self.raw, name, self.recipe.read))
                if self.strict:
                    stop_at_fault(findings_in(file))
            write_findings(step.folder / "findings.jsonl", findings)
            step.finish()
        self._stop_if_strict(self.results.read_findings())

    def _mend(self) -> None:
        step = self._step("mend")
        if not step.is_done:
            step.begin()
            path = self._steps / OUTCOMES
            done = cut_to_whole_lines(path)
            pictures = islice(self.results.pictures(), done, None)
            work = partial(mend_picture, self.raw, settings=self.recipe.read)
            total = sum(facts.pictures for facts in self.results.folders())
            bar = tqdm(total=total, initial=done, desc="mend", unit="picture", leave=False)
            with bar, path.open("a", encoding="utf-8", newline="\n") as lines:
                for record, findings in in_order(work, pictures, self.recipe.num_proc):
                    self._stop_if_strict(findings)
                    lines.write(f"{outcome_line(record, findings)}\n")
                    lines.flush()
                    bar.update()
            step.finish()
        self._stop_if_strict(findings_in(self._steps / OUTCOMES))

    def _merge(self) -> None:
        step = self._step("merge")
        if not step.is_done:
            labels = merged_labels(self.results.folders(), self.recipe.labels, self._stuff_classes)
            step.begin()
            count = merge_records(self.results.mended_records(), labels, step.folder)
            if count == 0:
                self._report()
                why = self.out / REPORT_MD
                raise UserError(f"{self.raw}: no picture is left; {why} says why each was dropped")
            step.finish()
        self._stop_if_strict(findings_in(self._steps / MERGE_FINDINGS))

    def _pseudo(self) -> None:
        step = self._step("pseudo")
        if step.is_done:
            return
        if PROCESS == 0:
            step.begin()
        if self.mapping is not None:
            stuff = self.recipe.pseudo_stuff
            settings = StuffSettings(stuff.score_threshold, stuff.mask_threshold)
            teacher = self.load_teacher()
            pseudo_label(self.results.records, self.raw, teacher, self.mapping, step.folder, settings)
        if PROCESS == 0:
            step.finish()

    def _split(self) -> None:
        step, settings = self._step("split"), self.recipe.split
        if not step.is_done:
            step.begin()
            made = split_records(
                read_records(self.results.records),
                validation_fraction=settings.validation_fraction,
                seed=settings.seed,
                folds=settings.folds,
                fixed=settings.fixed,
                distance=settings.duplicate_distance,
            )
            made.save(self._steps / SPLITS)
            step.finish()

    def _write(self) -> None:
        step, settings = self._step("write"), self.recipe.write
        if not step.is_done or not (self.out / SPLIT_FILE).is_file():
            step.begin()
            write_dataset(
                self.results.records,
                self.raw,
                self.results.stuff if self.mapping is not None else None,
                self.results.splits,
                self.results.labels,
                self.out,
                WriteSettings(
                    copy_images=settings.copy_images,
                    most_hidden=settings.most_hidden,
                    num_proc=self.recipe.num_proc,
                    title=settings.title,
                    license=settings.license,
                    teacher=self.recipe.pseudo_stuff.teacher if self.mapping is not None else None,
                ),
            )
            step.finish()
        self._stop_if_strict(findings_in(self._steps / WRITE_FINDINGS))

    def _report(self) -> None:
        records, done = self.results.records, {name for name in STEPS if self._step(name).is_done}
        statistics = Statistics.of(read_records(records)) if "merge" in done else Statistics()
        labels = self.results.labels if statistics.pictures else None
        report = PrepareReport(
            self.raw, list(self.results.folders()), partial(self.results.findings, done), statistics, labels
        )
        if "split" in done:
            report.sections["split"] = about_split(self.results.splits)
        if self.mapping is not None and "pseudo" in done:
            report.sections["pseudo stuff"] = about_stuff(summarize_stuff(records, self.results.stuff))
        report.write(self.out)

    def _stop_if_strict(self, findings: Iterable[Finding]) -> None:
        if self.strict:
            stop_at_fault(findings)


def _words(settings: Any) -> str:
    return json.dumps(asdict(settings), sort_keys=True)


def _file_setting(setting: str | None) -> list[str]:
    """What decides the result where a setting may name a file."""
    if setting is None:
        return [""]
    path = Path(setting)
    file = path / "label_map.json" if path.is_dir() else path
    return [setting, sha256_of(file) if file.is_file() else ""]
