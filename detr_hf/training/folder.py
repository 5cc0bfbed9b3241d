"""The folder of a run as a training needs it: writable, locked, and with the record of the run in it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from detr_hf.data.bundle import DataBundle
from detr_hf.errors import UserError
from detr_hf.files import unwritable
from detr_hf.recipe import Recipe, recipe_to_yaml
from detr_hf.run_folder import RunFolder
from detr_hf.training.family_defaults import settled

LOCK_FILE = ".lock"

LIBRARIES = ("torch", "transformers", "accelerate", "datasets", "timm", "albumentations", "numpy", "detr-hf")


def refuse_unwritable(folder: Path) -> None:
    """Make the run's folder and write into it, before hours of work are to be saved there.

    Raises:
        UserError: it cannot be made, or not be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be made ({error.strerror}).") from error
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"0" * 4096)
    except OSError as error:
        raise UserError(f"output_dir: {folder} cannot be written to ({error.strerror}).") from error


@contextmanager
def locked(accelerator: Accelerator, recipe: Recipe) -> Iterator[Accelerator]:
    """Keep every other training out of a run's folder; collective, the main process holds the lock for all.

    Raises:
        UserError: another training runs there; every process raises it.
    """
    file, refusal = _lock(Path(recipe.output_dir)) if accelerator.is_main_process else (None, None)
    try:
        if refusal := broadcast_object_list([refusal])[0]:
            raise UserError(refusal)
        yield accelerator
    finally:
        if accelerator.is_main_process and refusal is None:
            _remove_if_unused(Path(recipe.output_dir))
        if file is not None:
            file.close()


def _remove_if_unused(folder: Path) -> None:
    """A start that was refused before it wrote anything leaves no folder behind."""
    with suppress(OSError):  # such as the present folder, on some systems
        if {path.name for path in folder.iterdir()} <= {LOCK_FILE}:
            (folder / LOCK_FILE).unlink(missing_ok=True)
            folder.rmdir()


def _lock(folder: Path) -> tuple[IO[str] | None, str | None]:
    """The open file whose lock is held, or why it cannot be had; neither where there are no locks.

    The kernel frees the lock when the process ends, however it ends, so none is ever left behind.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        return None, None
    with unwritable(folder / LOCK_FILE):
        file = (folder / LOCK_FILE).open("a+", encoding="utf-8")
    try:
        # `lockf`, not `flock`: loading processes inherit open files, and one that outlives a killed training
        # by seconds would hold a `flock` as long. `lockf` belongs to this process alone, also over NFS. It is
        # freed when this process closes the file, however often opened: nothing else here may open it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.seek(0)
        holder = file.read().strip() or "a process that left no name"
        file.close()
        return None, (
            f"output_dir: another training runs in {folder} ({holder}). Wait for its end or stop it, or give "
            "another output_dir."
        )
    except OSError as error:
        print(f"note: {folder} is on a disk without locks ({error.strerror}); start no second run there")
        return file, None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file, None


def save_record(
    recipe: Recipe, accelerator: Accelerator, data: DataBundle | None = None, config: Any = None
) -> None:
    """Write what it takes to repeat the run into its folder: recipe with all defaults, commit and versions.

    Called when nothing can be refused any more, so that a run by mistake leaves the record of another alone.
    ``config`` of the network: what the recipe leaves to its family is written out.
    """
    if accelerator.is_main_process:
        facts = environment(accelerator)
        if data is not None:
            facts["images"] = {
                name: len(split) for name, split in data.dataset.items() if hasattr(split, "__len__")
            }
        RunFolder(Path(recipe.output_dir)).write_record(
            recipe_to_yaml(recipe if config is None else settled(recipe, config)), facts
        )


def environment(accelerator: Accelerator) -> dict[str, Any]:
    """What a run ran on: commit, library versions, processes and devices."""
    return {
        "git_commit": git_commit(Path(__file__)),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in LIBRARIES},
        "processes": accelerator.num_processes,
        "device": device_name(accelerator),
        "threads": torch.get_num_threads(),
        "command": sys.argv,
    }


def device_name(accelerator: Accelerator) -> str:
    """The model of this process's GPU, else of the processor."""
    if accelerator.device.type == "cuda":
        return torch.cuda.get_device_name(accelerator.device)
    return platform.processor() or accelerator.device.type


def git_commit(file: Path) -> str | None:
    """The commit that ``file`` is checked out from, with "-dirty" behind it if tracked files were changed.

    None without git, or when git does not track the file: a package installed inside a checkout of something
    else.
    """

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(file.parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", file.name)
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
