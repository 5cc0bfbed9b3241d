"""A study as jobs of a SLURM cluster: an array, a job for each variant and seed; then one for the table."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from detr_hf.ablation.study import Study
from detr_hf.files import write_text

ARRAY, TABLE = "runs.sh", "table.sh"
OF_THE_ARRAY = (
    "--gpus=1",
    "--cpus-per-task=8",
    "--time=12:00:00",
    "--signal=TERM@300",  # five minutes before the end: the run saves, and the same array resumes it
)


def write_jobs(study: Study, pairs: Iterable[str]) -> str:
    """Write both job scripts into the folder of the study.

    Args:
        study: its file is read again by every job, in the same current folder.
        pairs: of variant and seed, as `--task` counts them, that are to be run.

    Returns:
        The command that submits them.

    Raises:
        UserError: a script cannot be written.
    """
    tasks = ",".join(str(study.pairs.index(pair)) for pair in dict.fromkeys(pairs))
    array, table = study.folder / ARRAY, study.folder / TABLE
    write_text(array, _script(study, [f"--array={tasks}", *OF_THE_ARRAY], '--task "$SLURM_ARRAY_TASK_ID"'))
    write_text(table, _script(study, ["--time=00:10:00"], "--table"))
    submit = f"jobs=$(sbatch --parsable {shlex.quote(str(array))})"
    return f"{submit} && sbatch --dependency=afterany:$jobs {shlex.quote(str(table))}"


def _script(study: Study, options: Sequence[str], words: str) -> str:
    here = Path.cwd()
    command = shlex.join([sys.executable, "-m", "detr_hf.cli", "ablate", str(study.path)])
    log = study.folder.absolute() / "slurm-%j.log"
    lines = [
        "#!/bin/bash",
        *(f"#SBATCH {option}" for option in (*options, f'--job-name="{study.folder.name}"')),
        f'#SBATCH --output="{log}"',
        "set -euo pipefail",
        f"cd {shlex.quote(str(here))}",
        f"srun {command} {words}",
    ]
    return "\n".join(lines) + "\n"
