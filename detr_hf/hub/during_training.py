"""`push_to_hub: true`: what would fail is refused before the first step; the best is pushed at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from huggingface_hub import constants

from detr_hf.errors import UserError
from detr_hf.hub.access import Target, check_access, progress_bars, short
from detr_hf.hub.facts import run_facts
from detr_hf.hub.push import push_run
from detr_hf.recipe import Recipe

SNAPSHOT = ".pushing-"


@contextmanager
def pushing_to_hub(recipe: Recipe) -> Iterator[Callable[[], None]]:
    """Around a whole run: push its best model when it is over. Does nothing where the recipe does not ask.

    Yields:
        What to call when ``best/`` is new; returns at once.

    Raises:
        UserError: at the start, when a push could not work. A push that fails later only says so.
    """
    target = Target.of_recipe(recipe)
    if target is None or int(os.environ.get("RANK", 0)):  # the first process pushes for all
        yield lambda: None
        return
    check_access(target)
    seen_by = "only you" if target.private else "everybody"
    where = f"{constants.ENDPOINT}/{target.repo_id}"
    print(f"hub: the best model goes to {where}, for {seen_by} to see", flush=True)
    folder = Path(recipe.output_dir)
    assert recipe.hub is not None
    background = BackgroundPushes(folder, target) if recipe.hub.each_epoch else None
    yield background.push if background else lambda: None
    if background:
        background.wait()
    push_at_end(folder, target)


def push_at_end(folder: Path, target: Target) -> None:
    """Push a finished run, or say why not and which command does it later; never raises."""
    try:
        with progress_bars():
            pushed = push_run(run_facts(folder), target)
    except (Exception, KeyboardInterrupt) as error:  # whatever it is, the run is done and whole
        print(f"hub: not pushed. {_why(error)}\nThe run is complete; push it with", flush=True)
        print(f"  {target.command(folder)}", flush=True)
        return
    print(f"hub: pushed as {pushed.url}", flush=True)


def _why(error: BaseException) -> str:
    return str(error) if isinstance(error, UserError) else short(error)


class BackgroundPushes:
    """Pushes ``best/`` while the training goes on; of several that wait the newest counts.

    Args:
        folder: of the run.
        target: where to; the tag is for the end.
    """

    def __init__(self, folder: Path, target: Target) -> None:
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
                print(f"hub: pushed as {pushed.url}", flush=True)
            except Exception as error:  # the training goes on; the push at the end has all again
                print(f"hub: this epoch was not pushed. {_why(error)}", flush=True)
            finally:
                shutil.rmtree(snapshot, ignore_errors=True)


def link_or_copy(file: Path, target: Path) -> None:
    """The same file under a second name; files of ``best/`` are replaced, never changed."""
    try:
        os.link(file, target)
    except OSError:  # a disk without hard links
        shutil.copy2(file, target)
