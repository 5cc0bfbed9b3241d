"""The list of training images that could not be loaded, in the run's folder."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from accelerate import Accelerator

from detr_hf.files import unwritable, write_text
from detr_hf.loading.collate import Batch
from detr_hf.run_folder import BAD_SAMPLES_FILE


class BadSampleLog:
    """Appends a line to ``bad_samples.jsonl`` for every image that another one stood in for.

    Every process writes its own lines, into one file where they share the folder.

    Args:
        folder: of the run.
        accelerator: of the run.
        step: that the run resumes from; lines of later steps are of an attempt that was cut off.
    """

    def __init__(self, folder: Path, accelerator: Accelerator, step: int) -> None:
        self.path, self.process = folder / BAD_SAMPLES_FILE, accelerator.process_index
        if accelerator.is_main_process and self.path.exists():
            lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
            write_text(self.path, "".join(line for line in lines if _step_of(line) <= step))

    def record(self, step: int, batches: Sequence[Batch]) -> int:
        """Write down what failed in the batches of optimizer step ``step``; how many."""
        skipped = [bad for batch in batches for bad in batch.skipped]
        if skipped:
            facts = [{"step": step, "process": self.process, **asdict(bad)} for bad in skipped]
            with unwritable(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(fact) + "\n" for fact in facts))
        return len(skipped)


def _step_of(line: str) -> float:
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return float("inf")  # a line cut short by a kill
