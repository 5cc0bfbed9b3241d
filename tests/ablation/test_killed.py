"""A study that is killed again and again and started again says the same as one left alone. Takes minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.doc_page import ROOT

pytestmark = pytest.mark.slow

RECIPE = """
task: {task}
output_dir: unused
data:
  demo: {{train: 16, validation: 6, seed: 0, folder: {data}}}
  workers: 0
transforms:
  train: [{{name: ShortEdgeResize, short_edges: [64], max_long_edge: 112}}]
  validation: [{{name: ShortEdgeResize, short_edges: [64], max_long_edge: 112}}]
model: {model}
optim: {{epochs: 2, batch_size: 8, micro_batch_size: 8, lr: 1e-3}}
evaluation: {{batch_size: 6, pictures: 0, score_threshold: 0.05}}
checkpoint: {{every_steps: 1}}
"""
STUDY = """
base: detection.yaml
output_dir: out
seeds: [3]
variants: {RICAP: {transforms.mix: {name: ricap, p: 1.0}}}
then: {recipe: panoptic.yaml}
"""
RUN_1, RUN_2, RUN_3 = "out/base/seed-3/detection", "out/base/seed-3/panoptic", "out/RICAP/seed-3/detection"
MOMENTS: list[tuple[str, bool]] = [  # what is waited for, and whether the run itself is killed, too
    (f"{RUN_1}/recipe.yaml", True),
    (f"{RUN_1}/last", True),
    (f"{RUN_1}/results.md", True),
    (f"{RUN_2}/recipe.yaml", False),
    (f"{RUN_3}/last.partial", True),
    (f"{RUN_3}/best", False),
]


def write(folder: Path, data: Path) -> Path:
    folder.mkdir()
    models = {"detection": "{pretrained: demo}", "panoptic": "{detector: x, mask_head: demo}"}
    for task, model in models.items():
        (folder / f"{task}.yaml").write_text(RECIPE.format(task=task, model=model, data=data))
    (folder / "study.yaml").write_text(STUDY)
    return folder


def begin(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    variables = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "detr_hf.cli", "ablate", "study.yaml", *words]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def complete(folder: Path, *words: str) -> str:
    process = begin(folder, *words)
    said = process.communicate(timeout=600)[0].decode()
    assert process.returncode == 0, said
    return said


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not is_so() and process.poll() is None:
        time.sleep(0.002)


def numbers_in(folder: Path) -> Any:
    numbers = json.loads((folder / "out" / "ablation.json").read_text())
    for row in (*numbers["variants"], *numbers["runs"]):
        del row["minutes"], row["memory_mb"]
    return numbers


def test_kills_change_nothing_in_the_table(tmp_path: Path) -> None:
    quiet, killed = (write(tmp_path / name, tmp_path / "data") for name in ("quiet", "killed"))
    complete(quiet)
    for place, both in MOMENTS:
        process = begin(killed)
        wait_until((killed / place).exists, process)
        assert process.poll() is None, f"complete before {place}"
        if both:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
    complete(killed)
    assert numbers_in(killed) == numbers_in(quiet)
    assert numbers_in(quiet)["variants"][0]["scores"]["best"]["PQ"]["n"] == 1


def test_sigterm_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    folder = write(tmp_path / "study", tmp_path / "data")
    process = begin(folder, "--only", "base")
    wait_until((folder / RUN_1 / "last").exists, process)
    process.terminate()
    said = process.communicate(timeout=120)[0].decode()
    assert process.returncode == 75 and "the same command continues from here" in said, said
    complete(folder, "--only", "base")
    assert "resuming from" in (folder / RUN_1 / "run.log").read_text()
