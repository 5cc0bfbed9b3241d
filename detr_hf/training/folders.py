"""Folders that are whole or not there: written aside, synced to the disk, then renamed into place.

A training checkpoint carries a manifest besides, with the size and the sha256 of each of its files.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from detr_hf.errors import UserError

MANIFEST_FILE = "manifest.json"


class UnwritableError(UserError):
    """A file of the run could not be written: the disk is full, read-only or broken."""


def old_of(folder: Path) -> Path:
    """Where ``replacing`` puts what ``folder`` held before."""
    return folder.with_name(f"{folder.name}.old")


@contextmanager
def replacing(folder: Path, manifest: bool = False, keep_old: bool = False) -> Iterator[Path]:
    """Give a fresh folder to write into; once complete and on the disk, it takes the place of ``folder``.

    At every moment either ``folder`` or ``old_of(folder)`` is whole.

    Args:
        folder: to be replaced, or made.
        manifest: add ``manifest.json``, which ``faults_of`` reads.
        keep_old: leave what was replaced at ``old_of(folder)``.

    Raises:
        UnwritableError: no room or no access; what ``folder`` held is left as it was.
    """
    partial, old = folder.with_name(f"{folder.name}.partial"), old_of(folder)
    with told_when_unwritable(folder):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            if manifest:
                write_manifest(partial)
            sync_folder(partial)
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
            partial.rename(folder)
            _sync(folder.parent)
        except Exception:
            shutil.rmtree(partial, ignore_errors=True)  # also to make room again
            raise
    if not keep_old:
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def told_when_unwritable(path: Path) -> Iterator[None]:
    """Turn a failure to write into a message that names ``path`` and the reason.

    Raises:
        UnwritableError: see there.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise UnwritableError(
            f"{path} could not be written: {_reason(error, path)}. What it held before is still there; "
            "mend the disk or give another output_dir, and start the same command again."
        ) from error


def _reason(error: OSError | SafetensorError, path: Path) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in said
    with suppress(OSError):
        if full:
            free = shutil.disk_usage(next(place for place in path.parents if place.exists())).free
            return f"{said} ({free / 1e6:.0f} MB are free there)"
    return said


def write_manifest(folder: Path) -> None:
    """List every file of a folder with its size in bytes and its sha256."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    (folder / MANIFEST_FILE).write_text(json.dumps({"files": files}, indent=1), encoding="utf-8")


def faults_of(folder: Path) -> list[str]:
    """What differs from the folder's manifest, a few words for each file; empty when all is whole."""
    try:
        listed = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8"))["files"]
        wanted = {str(name): (facts["bytes"], facts["sha256"]) for name, facts in listed.items()}
    except FileNotFoundError:
        return [f"{MANIFEST_FILE} is missing"]
    except (ValueError, LookupError, TypeError, AttributeError, OSError):
        return [f"{MANIFEST_FILE} cannot be read"]
    faults = []
    for name, (size, digest) in wanted.items():
        path = folder / name
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != size:
            faults.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif sha256_of(path) != digest:
            faults.append(f"{name} was altered: its sha256 is another")
    return faults


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Wait until every file of a folder, and the folder itself, is on the disk."""
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    if path.is_dir() and os.name == "nt":
        return  # Windows cannot open a folder, and needs no sync of it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(handle)
