"""Kill a small training at random moments, resume it each time, and compare it with an undisturbed one.

    python tools/chaos.py --kills 20 --processes 1 2
    python tools/chaos.py --kills 10 --processes 2 --set optim.ema.decay=0.9

Runs on the CPU with the data and the checkpoint that come with the package. Kills are SIGKILL, aimed in turn
at optimizer steps, at checkpoint writing and at evaluation; on several processes at all of them or at one.
The same is done with SIGTERM, which must save first. The table says whether the weights in `last/` and
`best/` are, bit for bit, those of the undisturbed run; the exit code is 1 where they are not.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from detr_hf.recipe import recipe_from_text, recipe_to_yaml

STEPS_AN_EPOCH = 6
BATCH = 8
RECIPE = """
task: detection
output_dir: {out}
data:
  demo: {{train: {images}, validation: 12, seed: 0, folder: {data}}}
  workers: 0
transforms:
  train:
    - {{name: HorizontalFlip, p: 0.5}}
    - {{name: ShortEdgeResize, short_edges: [56, 64, 72], max_long_edge: 112}}
  validation:
    - {{name: ShortEdgeResize, short_edges: [64], max_long_edge: 112}}
model: {{pretrained: demo}}
optim: {{epochs: {epochs}, batch_size: {batch}, micro_batch_size: {micro}, lr: 1e-3}}
evaluation: {{batch_size: 2, pictures: 0}}
checkpoint: {{every_steps: 2, keep: 2}}
"""
PHASES = ("step", "write", "evaluate")
STEP_BAR = re.compile(r"epoch (\d+)/\d+:[^\r\n]*?\| (\d+)/(\d+) ")
RESUMED = re.compile(r"resuming from .* at step (\d+)")
LONGEST_END = 90.0
LONGEST_RUN = 1800.0
RUNNING: list[subprocess.Popen[bytes]] = []


@dataclass
class Counts:
    """What happened to one run until it was complete."""

    hits: dict[str, int] = field(default_factory=lambda: dict.fromkeys(PHASES, 0))
    resumes: int = 0
    lost: int = 0
    slowest_end: float = 0.0
    faults: list[str] = field(default_factory=list)


class Attempt:
    """One start of the training command: its processes, and how far it says it is."""

    threads = 1  # of every process

    def __init__(self, recipe: Path, out: Path, processes: int) -> None:
        script = Path(__file__).resolve().parents[1] / "detr_hf" / "train.py"
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        command = [sys.executable, *(launcher if processes > 1 else []), str(script), str(recipe)]
        alone = {"ACCELERATE_USE_CPU": "true", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(self.threads)}
        self.out, self.text, self.step, self.start = out, "", 0, 0
        self.phase, self.seen = "", 0
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={**os.environ, **alone}
        )
        RUNNING.append(self.process)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        while piece := os.read(self.process.stdout.fileno(), 65536):
            new = piece.decode(errors="replace")
            self.text += new
            if found := RESUMED.search(new):
                self.start = self.step = int(found[1])
            for epoch, inside, length in STEP_BAR.findall(new):
                self.step = max(self.step, (int(epoch) - 1) * int(length) + int(inside))
                self.phase, self.seen = "step", self.seen + 1
            if "evaluate:" in new:
                self.phase = "evaluate"

    def wait_for(self, phase: str, updates: int) -> bool:
        """Until the run is in a phase (after so many updates of the step bar); False: it ended before."""
        partial = self.out / "last.partial"
        while self.process.poll() is None:
            if phase == "write" and self.seen >= updates and partial.exists():
                return True
            if phase == self.phase and (phase == "evaluate" or self.seen >= updates):
                return True
            time.sleep(0.001)
        return False

    def end(self, number: int, one_only: random.Random | None) -> float:
        """Send a signal and wait; returns the seconds until every process was gone."""
        main = psutil.Process(self.process.pid)
        family = [main, *main.children(recursive=True)]
        ranks = [one for one in family if one is not main and "train.py" in " ".join(one.cmdline())]
        hit = [one_only.choice(ranks)] if one_only and ranks else family
        if number == signal.SIGTERM:
            hit = [main]  # a launcher passes it on
        started = time.monotonic()
        for one in hit:
            send(one, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=LONGEST_END)
        _, alive = psutil.wait_procs(family[1:], timeout=LONGEST_END)
        for one in [main, *alive]:
            send(one, signal.SIGKILL)
        return time.monotonic() - started

    def finish(self) -> int:
        """Let the run end by itself; returns its exit code."""
        code = self.process.wait(timeout=LONGEST_RUN)
        self._reader.join(timeout=10)
        return code


def send(process: psutil.Process, number: int) -> None:
    """A signal to a process that may be gone by now."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.send_signal(number)


def write_recipe(
    folder: Path, name: str, epochs: int, processes: int, changes: list[str]
) -> tuple[Path, Path]:
    """A recipe file and the folder that its run writes into, which is emptied."""
    out, file = folder / name, folder / f"{name}.yaml"
    shutil.rmtree(out, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    values = {"images": STEPS_AN_EPOCH * BATCH, "batch": BATCH, "micro": min(4, BATCH // processes)}
    text = RECIPE.format(out=out, data=folder / "data", epochs=epochs, **values)
    file.write_text(recipe_to_yaml(recipe_from_text(text, changes)), encoding="utf-8")
    return file, out


def disturb(recipe: Path, out: Path, processes: int, number: int, times: int, dice: random.Random) -> Counts:
    """Hit a run so many times, start it again each time, and let it end."""
    counts, killing = Counts(), number == signal.SIGKILL
    for index in range(times):
        attempt = Attempt(recipe, out, processes)
        phase = PHASES[index % len(PHASES)] if killing else "step"
        if not attempt.wait_for(phase, dice.randint(1, STEPS_AN_EPOCH)):
            attempt.finish()
            if attempt.process.returncode:
                counts.faults.append(f"attempt {index + 1} ended by itself:\n{attempt.text[-2000:]}")
            break  # complete before its time
        time.sleep(dice.random() * (0.02 if phase == "write" else 0.3))
        one_only = dice if killing and processes > 1 and dice.random() < 0.5 else None
        seconds = attempt.end(number, one_only)
        attempt.finish()
        counts.slowest_end = max(counts.slowest_end, seconds)
        counts.hits[phase] += 1
        note_resume(counts, attempt, out, killing, processes)
    last = Attempt(recipe, out, processes)
    if last.finish() != 0:
        counts.faults.append(f"the last attempt failed:\n{last.text[-2000:]}")
    counts.resumes += RESUMED.search(last.text) is not None
    return counts


def note_resume(counts: Counts, attempt: Attempt, out: Path, killing: bool, processes: int) -> None:
    """Count what the attempt that was just ended had done and what of it is saved."""
    counts.resumes += RESUMED.search(attempt.text) is not None
    if counts.slowest_end > 60:
        counts.faults.append(f"ending took {counts.slowest_end:.0f} seconds")
    if not killing and attempt.process.returncode != 75 and processes == 1:
        counts.faults.append(f"SIGTERM gave exit code {attempt.process.returncode}:\n{attempt.text[-2000:]}")
    if not killing and "stopped by SIGTERM" not in attempt.text:
        counts.faults.append(f"SIGTERM did not save:\n{attempt.text[-2000:]}")
    counts.lost += max(0, attempt.step - saved_step(out))


def saved_step(out: Path) -> int:
    """The step that the next attempt will resume from; 0 where there is nothing yet."""
    from detr_hf.training.checkpoint import find_checkpoint, step_of

    found = find_checkpoint(out, "auto", say=lambda _: None)
    return 0 if found is None else step_of(found) or 0


def hashes(out: Path) -> dict[str, str]:
    """sha256 of the weights that a run left."""
    files = [out / name / "model.safetensors" for name in ("last", "best")]
    return {str(f.relative_to(out)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


def row(processes: int, what: str, counts: Counts, equal: bool) -> str:
    hits = [sum(counts.hits.values()), *(counts.hits[phase] for phase in PHASES)]
    cells = [processes, what, *hits, counts.resumes, counts.lost, f"{counts.slowest_end:.1f}"]
    return "| " + " | ".join(str(cell) for cell in [*cells, "yes" if equal else "NO"]) + " |"


def main() -> None:
    """Parse, run, print the table."""
    parser = argparse.ArgumentParser(description="Kill a training at random moments and compare its weights.")
    parser.add_argument("--kills", type=int, default=20, help="SIGKILLs for each number of processes")
    parser.add_argument("--terms", type=int, default=3, help="SIGTERMs for each number of processes")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--threads", type=int, default=1, help="of every process")
    parser.add_argument("--set", nargs="+", default=[], metavar="key=value", help="settings of the recipe")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", default="runs/chaos", help="folder for data and runs")
    arguments = parser.parse_args()
    folder, dice = Path(arguments.out).resolve(), random.Random(arguments.seed)
    Attempt.threads, changes = arguments.threads, arguments.set
    rows, failed = [], False
    for processes in arguments.processes:
        epochs = 4 + 2 * max(arguments.kills, arguments.terms) // 3
        recipe, quiet = write_recipe(folder, f"quiet{processes}", epochs, processes, changes)
        undisturbed = Attempt(recipe, quiet, processes)
        if undisturbed.finish() != 0:
            sys.exit(f"the undisturbed run failed:\n{undisturbed.text[-3000:]}")
        for number, times in ((signal.SIGKILL, arguments.kills), (signal.SIGTERM, arguments.terms)):
            if not times:
                continue
            name = f"{number.name.lower()}{processes}"
            recipe, out = write_recipe(folder, name, epochs, processes, changes)
            counts = disturb(recipe, out, processes, number, times, dice)
            equal = len(hashes(quiet)) == 2 and hashes(quiet) == hashes(out)
            failed |= not equal or bool(counts.faults)
            rows.append(row(processes, number.name, counts, equal))
            print(rows[-1], *counts.faults, sep="\n", flush=True)
    print("\n| processes | signal | sent | in steps | writing | evaluating | resumes | lost steps |", end="")
    print(" slowest end, s | equal |\n|" + " ---: |" * 10)
    print("\n".join(rows))
    sys.exit(int(failed))


def leave_nothing_behind() -> None:
    """End what is still running, where this program is ended itself."""
    for process in RUNNING:
        if process.poll() is None:
            main_process = psutil.Process(process.pid)
            for one in [*main_process.children(recursive=True), main_process]:
                send(one, signal.SIGKILL)


if __name__ == "__main__":
    try:
        main()
    finally:
        leave_nothing_behind()
