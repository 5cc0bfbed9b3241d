"""`push_to_hub: true`: what would fail is refused before the first step; the best is pushed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

from huggingface_hub import constants

from detr_hf.errors import UserError
from detr_hf.files import link_or_copy
from detr_hf.hub.access import check_access, progress_bars, push_command, short
from detr_hf.hub.facts import run_facts
from detr_hf.hub.push import push_run
from detr_hf.recipe import Hub, Recipe

SNAPSHOT = ".pushing-"


class HubPushes:
    """Pushes the best model of a run when it is over; does nothing where the recipe does not ask for it.

    Raises:
        UserError: a push could not work. One that fails later only says so.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._folder = Path(recipe.output_dir)
        self._background: BackgroundPushes | None = None
        is_first = not int(os.environ.get("RANK", 0))  # the first process pushes for all
        self._target = recipe.hub if recipe.push_to_hub and is_first else None
        if self._target is None:
            return
        check_access(self._target)
        seen_by = "only you" if self._target.private else "everybody"
        where = f"{constants.ENDPOINT}/{self._target.repo_id}"
        print(f"hub: the best model goes to {where}, for {seen_by} to see", flush=True)
        if self._target.each_epoch:
            self._background = BackgroundPushes(self._folder, self._target)

    def best_is_new(self) -> None:
        """Push ``best/`` soon, where the recipe asks for each epoch; returns at once."""
        if self._background is not None:
            self._background.push()

    def push_finished(self) -> None:
        """Push the finished run."""
        if self._background is not None:
            self._background.wait()
        if self._target is not None:
            push_at_end(self._folder, self._target)


def push_at_end(folder: Path, target: Hub) -> None:
    """Push a finished run, or say why not and which command does it later; never raises."""
    try:
        with progress_bars():
            pushed = push_run(run_facts(folder), target)
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the run is done and whole
        print(f"hub: not pushed. {_why(error)}\nThe run is complete; push it with", flush=True)
        print(f"  {push_command(folder, target)}", flush=True)
        return
    print(f"hub: pushed as {pushed.commit_url}", flush=True)


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else short(error)


class BackgroundPushes:
    """Pushes ``best/`` while the training continues; of several that wait the newest counts.

    Args:
        folder: of the run.
        target: where to; the tag is for the end.
    """

    def __init__(self, folder: Path, target: Hub) -> None:
        self._folder, self._target = folder, replace(target, revision=None)
        self._lock = threading.Lock()
        self._waiting: Path | None = None
        self._thread: threading.Thread | None = None
        for left_over in folder.glob(f"{SNAPSHOT}*"):
            shutil.rmtree(left_over, ignore_errors=True)

    def push(self) -> None:
        """Take ``best/`` as it is now and push it soon."""
        snapshot = Path(tempfile.mkdtemp(prefix=SNAPSHOT, dir=self._folder))
        for file in (self._folder / "best").iterdir():
            # the files of best/ are replaced, never changed
            link_or_copy(file, snapshot / file.name)
        with self._lock:
            outdated, self._waiting = self._waiting, snapshot
            if self._thread is None:
                # a daemon: a run that is stopped does not wait for an upload, which the next one makes good
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
        if outdated is not None:
            shutil.rmtree(outdated, ignore_errors=True)

    def wait(self) -> None:
        """Until nothing is under way any more."""
        if (thread := self._thread) is not None:
            print("hub: waiting for a push in the background", flush=True)
            thread.join()

    def _work(self) -> None:
        while True:
            with self._lock:
                snapshot, self._waiting = self._waiting, None
                if snapshot is None:
                    self._thread = None
                    return
            try:
                pushed = push_run(run_facts(self._folder, snapshot), self._target, finished=False)
                print(f"hub: pushed as {pushed.commit_url}", flush=True)
            except Exception as error:  # the training continues; the push at the end has all again
                print(f"hub: this epoch was not pushed. {_why(error)}", flush=True)
            finally:
                shutil.rmtree(snapshot, ignore_errors=True)
