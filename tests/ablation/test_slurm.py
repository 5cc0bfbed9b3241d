"""The jobs for SLURM: their options, and that what they call is what the command takes."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from detr_hf.ablation.slurm import write_jobs
from tests.ablation.fake_runs import finish, study_in, write_study
from tests.commands import told


def test_only_what_is_missing_becomes_a_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write_study(tmp_path)
    finish(study_in(tmp_path).runs[0], 0.5)
    said = told(["ablate", str(file), "--slurm", "--only", "base", "--only", "RICAP/seed-2"], capsys)
    assert said.startswith("jobs=$(sbatch --parsable ") and "--dependency=afterany:$jobs" in said
    assert "#SBATCH --array=1,2,7\n" in (tmp_path / "out" / "runs.sh").read_text()
    for run in study_in(tmp_path).runs[1:]:
        finish(run, 0.5)
    assert "every run is finished" in told(["ablate", str(file), "--slurm"], capsys)


def test_a_task_of_the_array_is_a_variant_with_a_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`srun` stands for itself: what it would start is read and given to the command."""
    file = write_study(tmp_path / "a 'folder'")
    study = study_in(tmp_path / "a 'folder'")
    write_jobs(study, study.pairs)
    script = study.folder / "runs.sh"
    shown = f"srun() {{ printf '%s\\n' \"$@\"; }}\nSLURM_ARRAY_TASK_ID=7\n{script.read_text()}"
    words = subprocess.run(
        ["bash", "-c", shown], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert words[1:] == ["-m", "detr_hf.cli", "ablate", str(file), "--task", "7"]
    assert "RICAP/seed-2" in told([*words[3:], "--list"], capsys)
    assert shlex.split((study.folder / "table.sh").read_text().splitlines()[-1])[-1] == "--table"
