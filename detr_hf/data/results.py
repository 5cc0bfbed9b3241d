"""What the steps leave in ``OUT/steps``, read one line at a time."""

from __future__ import annotations

import json
from collections.abc import Container, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from detr_hf.data.raw.findings import Finding, finding_to_list, findings_in
from detr_hf.data.raw.reading.folders import FolderFacts, RawPicture, folder_facts, read_pictures
from detr_hf.data.records import Record, record_from_values
from detr_hf.data.split import Splits, load_splits
from detr_hf.files import write_text
from detr_hf.labels import LabelMap

OUTCOMES = "mend/outcomes.jsonl"
MERGE_FINDINGS = "merge/findings.jsonl"
WRITE_FINDINGS = "write/findings.jsonl"
SPLITS = "split/splits.json"


@dataclass(frozen=True)
class StepResults:
    """The results below a folder of steps; those of a step that was not run are missing."""

    steps: Path

    @property
    def records(self) -> Path:
        """The JSON lines of the step `merge`."""
        return self.steps / "merge" / "records.jsonl"

    @property
    def labels(self) -> LabelMap:
        return LabelMap.load(self.steps / "merge")

    @property
    def stuff(self) -> Path:
        """The folder of the step `pseudo`."""
        return self.steps / "pseudo"

    @property
    def splits(self) -> Splits:
        return load_splits(self.steps / SPLITS)

    def folders(self) -> Iterator[FolderFacts]:
        return (folder_facts(file) for file in self._folder_files())

    def pictures(self) -> Iterator[RawPicture]:
        """As read, in the order of class folders and names."""
        return (picture for file in self._folder_files() for picture in read_pictures(file))

    def mended_records(self) -> Iterator[Record]:
        """As mended, in the same order, still without ids."""
        with (self.steps / OUTCOMES).open(encoding="utf-8") as lines:
            for line in lines:
                values = json.loads(line)["record"]
                if values is not None:
                    yield record_from_values(values)

    def read_findings(self) -> Iterator[Finding]:
        for file in [self.steps / "read" / "findings.jsonl", *self._folder_files()]:
            yield from findings_in(file)

    def findings(self, steps: Container[str]) -> Iterator[Finding]:
        """Of these steps, in their order."""
        if "read" in steps:
            yield from self.read_findings()
        for step, name in (("mend", OUTCOMES), ("merge", MERGE_FINDINGS)):
            if step in steps:
                yield from findings_in(self.steps / name)
        if "split" in steps:
            yield from self.splits.findings
        if "write" in steps:
            yield from findings_in(self.steps / WRITE_FINDINGS)

    def _folder_files(self) -> list[Path]:
        return sorted((self.steps / "read").glob("[0-9]*.jsonl"))


def write_findings(path: Path, findings: Iterable[Finding]) -> None:
    """One a line."""
    lines = [json.dumps({"findings": [finding_to_list(finding)]}) for finding in findings]
    write_text(path, "".join(f"{line}\n" for line in lines))


def outcome_line(record: Record | None, findings: list[Finding]) -> str:
    """A line of the step `mend`."""
    values = None if record is None else asdict(record)
    line = {"record": values, "findings": [finding_to_list(finding) for finding in findings]}
    return json.dumps(line, sort_keys=True, separators=(",", ":"))
