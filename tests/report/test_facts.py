"""What a report says that a run was made on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detr_hf.report.facts import facts_of
from detr_hf.report.history import totals
from detr_hf.run_folder import RunFolder


@pytest.mark.parametrize(
    ("threads", "told"),
    [(1, "2 x cpu, 1 thread a process"), (8, "2 x cpu, 8 threads a process"), (None, "2 x cpu")],
)
def test_the_hardware_is_named(threads: int | None, told: str, tmp_path: Path) -> None:
    facts = {"processes": 2, "device": "cpu", "threads": threads}
    (tmp_path / "environment.json").write_text(json.dumps(facts))
    assert dict(facts_of(RunFolder(tmp_path), {}, totals([]), {}))["hardware"] == told
