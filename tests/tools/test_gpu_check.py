"""The check of a GPU, tried on a CPU at toy sizes: what it measures, leaves out and writes."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest

from benchmarks.child import ChildError
from benchmarks.settings import Settings
from tools import gpu_check
from tools.gpu_check import REAL, SMALL, Page, Row, check, main, rows, table_lines


def names(device: str) -> dict[str, list[str]]:
    return {
        heading.split(":")[0]: [row.name for row in listed]
        for heading, listed in rows(replace(REAL, device=device))
    }


def test_a_gpu_is_measured_in_every_way() -> None:
    training = ["fp32", "tf32", "bf16", "bf16, channels_last", "bf16, compiled"]
    assert names("cuda") == {"Stage 1": training, "Stage 2": training, "Panoptic inference": ["fp32", "bf16"]}
    assert names("cpu")["Stage 1"] == ["fp32", "bf16", "bf16, channels_last"], (
        "no TF32, and no compiler is asked for"
    )
    assert (REAL.size, REAL.queries, REAL.backbone, REAL.kept) == ((800, 1066), 100, "resnet50", 10)


def test_what_does_not_fit_into_the_time_is_left_out_and_the_page_says_so(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert check(SMALL, Page(page), seconds=0.0, with_tests=False) == 0
    text = page.read_text()
    listed = sum(len(one) for _, one in rows(SMALL))
    assert text.count("left out: no time left") == listed + 2
    assert "- processor:" in text and "All of it took" in text


class Side:
    """Stands for a ``Child``: ours does four images a second, or eight with fewer queries; stock does one."""

    def __init__(self, case: str, side: str, settings: Settings, deadline: float):
        self.name, self.is_ours, self.settings = f"{case}, {side}", side == "ours", settings

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def ready(self) -> list[str]:
        if self.settings.backbone not in ("resnet18", "resnet50"):
            raise ChildError(f"{self.name}:\nTraceback ...\nValueError: {self.settings.backbone}")
        return ["the detector alone", "3 queries kept"] if self.is_ours else []

    def peak_mb(self) -> float:
        return 500.0 if self.is_ours else 2000.0

    def seconds(self, variant: str | None = None) -> float:
        return (0.125 if variant else 0.25) if self.is_ours else 1.0


def test_a_row_has_both_sides_and_fewer_queries_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "Child", Side)
    row = Row("panoptic-inference", "fp32", replace(SMALL, size=(64, 96)), variant=True)
    assert list(table_lines(row, time.monotonic() + 300)) == [
        "| fp32 | 4.00 | 0.50 | 1.00 | 2.00 | 4.0 |",
        "| fp32, 3 queries kept | 8.00 |  | 1.00 | 2.00 | 8.0 |",
    ]


def test_a_side_that_fails_costs_its_row_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_check, "Child", Side)
    row = Row("stage1-step", "fp32", replace(SMALL, backbone="no_such_backbone"), with_stock=False)
    [line] = table_lines(row, time.monotonic() + 300)
    assert line == "| fp32 | ours failed: ValueError: no_such_backbone | | | | |"


@pytest.mark.slow
def test_the_whole_command_on_a_cpu(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert main(["--device", "cpu", "--small", "--minutes", "20", "--out", str(page)]) == 0
    text = page.read_text()
    assert "failed" not in text and "left out" not in text
    assert all(f"| {phase} |" in text for phase in ("loader", "forward", "matching", "backward", "step"))
    assert "Tests marked `gpu`" in text


def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--device cpu --small tries the command out" in capsys.readouterr().err
