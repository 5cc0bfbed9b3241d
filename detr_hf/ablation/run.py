"""Running a study: a process a run, one after the other or one a GPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from detr_hf.ablation.state import FAILURE_FILE, OUTPUT_FILE, error_in, state_of, write_asked
from detr_hf.ablation.study import PlannedRun
from detr_hf.errors import INTERRUPTED, STOPPED, StoppedEarly, UserError, quantity
from detr_hf.files import unwritable, write_json
from detr_hf.run_folder import RECIPE_FILE
from detr_hf.stop_signals import StopSignals

POLL = 0.05
"""Seconds between two looks at the runs under way."""

CUT = (STOPPED, INTERRUPTED, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a run that can go on where it was cut."""


@dataclass
class Process:
    """A run under way."""

    run: PlannedRun
    process: subprocess.Popen[bytes]
    lock: IO[Any] | None
    gpu: str | None
    started: float
    log_start: int  # the log goes on from that of earlier tries
    asked_to_stop: bool = False


class Runner:
    """Runs what is not finished yet.

    Args:
        runs: of the study, in order; a run of stage 2 follows its stage 1.
        gpus: one run each at a time; empty: one run at a time, on what there is.
        ended: called after every run that ended.
        command: of a run; its recipe follows.

    Attributes:
        results: "finished", "failed" or "stopped", by the name of the run.
    """

    def __init__(
        self,
        runs: Sequence[PlannedRun],
        gpus: Sequence[str],
        ended: Callable[[], object],
        command: Sequence[str] = (sys.executable, "-m", "detr_hf.train"),
    ) -> None:
        self.runs, self.ended, self.command = list(runs), ended, command
        self.free: list[str | None] = list(gpus) or [None]
        self.slots = len(self.free)
        self.active: list[Process] = []
        self.results = {run.name: "finished" for run in runs if state_of(run).kind == "finished"}
        self._seconds: list[float] = []  # of the runs that were finished
        self._signals = StopSignals()
        self._waited_for: set[str] = set()

    def run_all(self) -> None:
        """Run until nothing is left.

        Raises:
            StoppedEarly: a signal ended it; the runs under way have saved.
        """
        waiting = [run for run in self.runs if run.name not in self.results]
        with self._signals.watch():
            while self.active or (waiting and self._signals.name is None):
                self._collect()
                if self._signals.name is None:
                    waiting = [run for run in waiting if not self._takes(run)]
                else:
                    self._stop()
                time.sleep(POLL)
        if self._signals.name is not None:
            raise StoppedEarly

    def _takes(self, run: PlannedRun) -> bool:
        """Whether a run needs no more waiting: it is started, or cannot be."""
        if run.after is not None and (before := self.results.get(run.after.name)) != "finished":
            if before is not None:
                self._count(run, before, "left out, because its stage 1 is not finished")
            return before is not None
        return bool(self.free) and self._data_is_ready() and self._start(run)

    def _data_is_ready(self) -> bool:
        """The first run is alone until it has recorded itself: by then it has drawn or cached the data."""
        return not self.active or any((run.folder / RECIPE_FILE).is_file() for run in self.runs)

    def _start(self, run: PlannedRun) -> bool:
        lock, is_ours = _lock(run.folder.with_name(f".{run.stage}.lock"))
        if not is_ours:
            if run.name not in self._waited_for:
                print(f"waiting for {run.name}: another process trains it", flush=True)
            self._waited_for.add(run.name)
            return False
        if state_of(run).kind == "finished":
            self._count(run, "finished", "finished by another process")
            return True
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / FAILURE_FILE).unlink(missing_ok=True)
        recipe, gpu = write_asked(run), self.free.pop(0)
        environment = os.environ | ({} if gpu is None else {"CUDA_VISIBLE_DEVICES": gpu})
        # The lock goes to the run as well: it is held as long as either of them lives, so that a study that
        # was killed and started again waits for a run that outlived it.
        held = () if lock is None else (lock.fileno(),)
        log = run.folder / OUTPUT_FILE
        with unwritable(log), log.open("ab") as output:
            log_start = output.tell()
            process = subprocess.Popen(
                [*self.command, str(recipe)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=held,
            )
        self.active.append(Process(run, process, lock, gpu, time.monotonic(), log_start))
        return True

    def _collect(self) -> None:
        """Take account of the runs that have ended."""
        for one in [one for one in self.active if one.process.poll() is not None]:
            self.active.remove(one)
            self.free.append(one.gpu)
            code, run, seconds = one.process.returncode, one.run, time.monotonic() - one.started
            if code == 0:
                self._seconds.append(seconds)
                self._count(run, "finished", f"finished in {seconds / 60:.1f} minutes")
            elif code in CUT:
                self._count(run, "stopped", "stopped before its end")
            else:
                error = error_in(run.folder / OUTPUT_FILE, code, one.log_start)
                write_json(run.folder / FAILURE_FILE, {"code": code, "error": error})
                self._count(run, "failed", f"failed: {error}")
            if one.lock is not None:
                one.lock.close()
            self.ended()

    def _count(self, run: PlannedRun, result: str, said: str) -> None:
        self.results[run.name] = result
        left = len(self.runs) - len(self.results)
        time_left = ""
        if left and self._seconds:
            minutes = sum(self._seconds) / len(self._seconds) * left / self.slots / 60
            time_left = (
                f"; about {minutes:.0f} min left" if minutes < 100 else f"; about {minutes / 60:.0f} h left"
            )
        print(f"[{len(self.results)}/{len(self.runs)}] {run.name}: {said}{time_left}", flush=True)

    def _stop(self) -> None:
        """Ask the runs under way, once, to save and end."""
        for one in self.active:
            if not one.asked_to_stop:
                print(f"stopping {one.run.name}; it saves first", flush=True)
                one.asked_to_stop = True
                with suppress(ProcessLookupError):
                    one.process.terminate()


def _lock(file: Path) -> tuple[IO[Any] | None, bool]:
    """The open file whose lock is held (None where there are no locks); whether the run may start."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None, True
    with unwritable(file):
        file.parent.mkdir(parents=True, exist_ok=True)
        opened = file.open("w")
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        opened.close()
        return None, False
    return opened, True


def refuse_other_runs(
    runs: Sequence[PlannedRun], asked_by: str = "the study", setting: str = "output_dir"
) -> None:
    """Raises UserError: a folder holds a run of another recipe than that of who asks for it."""
    others = [(run, state) for run in runs if (state := state_of(run)).kind == "other"]
    if not others:
        return
    lines = [f"  {run.folder}: {state.detail}" for run, state in others[:20]]
    raise UserError(
        "\n".join(
            [
                f"{quantity(len(others), 'run')} of another recipe than that of {asked_by} (then -> now):",
                *lines,
                f"Nothing was started. Remove these folders, or give {asked_by} another {setting}.",
            ]
        )
    )
