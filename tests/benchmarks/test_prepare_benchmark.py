"""The benchmark of preparing, at toy sizes: what it counts and writes. No time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.prepare import STEPS, main, markdown, measure
from benchmarks.raw_records import made_up_records


def test_every_image_is_split_and_written() -> None:
    result = measure(60, num_proc=1)
    assert result["images"] == 60
    assert set(result["steps"]) == set(STEPS)
    assert result["seconds"] == pytest.approx(sum(step["seconds"] for step in result["steps"].values()))
    assert result["peak_mb"] > 10


def test_the_table_compares_the_time_of_one_image() -> None:
    step = {"seconds": 1.0, "cpu_seconds": 1.0}
    row = {"steps": dict.fromkeys(STEPS, step), "seconds": 3.0, "peak_mb": 400.4}
    table = markdown([row | {"images": 100, "cpu_seconds": 2.0}, row | {"images": 400, "cpu_seconds": 12.0}])
    assert table.splitlines()[2] == "| 100 | 1.0 s | 1.0 s | 3.0 s | 2.0 s | 400 MB | 1.00 |"
    assert table.splitlines()[3].endswith("| 12.0 s | 400 MB | 1.50 |")


@pytest.mark.slow
def test_the_command_writes_its_numbers(tmp_path: Path) -> None:
    file = tmp_path / "prepare.json"
    assert main(["--sizes", "20,40", "--json", str(file)]) == 0
    assert [result["images"] for result in json.loads(file.read_text())["results"]] == [20, 40]


def test_made_up_records_are_the_same_every_time_and_hold_duplicates() -> None:
    records = list(made_up_records(60))
    assert records == list(made_up_records(60))
    assert len({record.file_name for record in records}) == 60
    assert len({record.sha256 for record in records}) == 58, "numbers 20 and 40 repeat the one before"
    assert len({record.folder for record in records}) == 48
