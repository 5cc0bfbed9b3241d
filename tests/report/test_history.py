"""The log of a run as curves and sums."""

from __future__ import annotations

import json
from pathlib import Path

from detr_hf.report.history import curves, totals
from detr_hf.run_folder import RunFolder
from tests.report.report_factories import write_run


def test_curves_of_a_log_cut_short_by_a_kill(tmp_path: Path) -> None:
    found = curves(RunFolder(write_run(tmp_path / "run")).log())
    assert found["loss"] == {"loss": [[2, 4.0], [4, 2.0]]}
    assert found["terms"] == {"loss_ce": [[2, 1.0], [4, 1.0]]}
    assert found["scores"]["box AP"] == [[2, 0.25], [4, 0.5]] and "PQ" not in found["scores"]
    assert found["rates"] == {"all": [[2, 1e-4], [4, 1e-4]]}


def test_groups_with_the_same_rates_are_one_curve() -> None:
    rates = {"head": 2.0, "backbone": 1.0, "backbone, no decay": 1.0, "other": 1.0}
    found = curves([{"step": 1, "kind": "train", "lr": rates}])
    assert found["rates"] == {"backbone = other": [[1, 1.0]], "head": [[1, 2.0]]}


def test_sums_and_what_is_not_known(tmp_path: Path) -> None:
    sums = totals(RunFolder(write_run(tmp_path / "run")).log())
    assert (sums["epochs"], sums["steps"], sums["minutes"], sums["images_per_second"]) == (2, 4, 0.2, 2.0)
    assert sums["memory_mb"] is None
    nothing = totals(RunFolder(tmp_path / "no").log())
    assert nothing["minutes"] is None and nothing["epochs"] is None


def test_odd_lines_are_passed_over(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    odd = [
        "[1]",
        "{}",
        '{"step": "x"}',
        '{"step": NaN}',
        '{"step": 1, "kind": "train", "loss": NaN, "lr": 3}',
    ]
    log.write_text("\n".join(odd))
    lines = RunFolder(tmp_path).log()
    assert len(lines) == 1 and curves(lines)["loss"] == {} and json.dumps(curves(lines))
