"""Files and folders that are whole or not there, and their hashes.

Writing goes to a name beside the target, which is renamed when complete: a kill, a full disk or a fault in
between leaves what was there.
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
from typing import Any

from safetensors import SafetensorError

from detr_hf.errors import UserError
from detr_hf.foreign_files import inside, read_json, shortened

MANIFEST_FILE = "manifest.json"


class UnwritableError(UserError):
    """A file could not be written: the disk is full, read-only or broken, or the name is none."""


@contextmanager
def unwritable(path: str | Path) -> Iterator[None]:
    """Turn a failure to write into a message that names ``path`` and the reason.

    Raises:
        UnwritableError: see there.
    """
    try:
        if "\0" in str(path):
            raise OSError(errno.EINVAL, "a file name cannot hold a NUL")  # `open` raises a bare ValueError
        yield
    except (OSError, SafetensorError) as error:
        raise UnwritableError(
            f"{path} could not be written: {_reason(error, Path(path))}. What it held before is still there; "
            "mend the disk or choose another folder, and start the same command again."
        ) from error


def _reason(error: OSError | SafetensorError, path: Path) -> str:
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left" in said
    with suppress(OSError):
        if full:
            free = shutil.disk_usage(next(place for place in path.parents if place.exists())).free
            return f"{said} ({free / 1e6:.0f} MB are free there)"
    return said


@contextmanager
def whole_file(path: str | Path, sync: bool = False, shared: bool = False) -> Iterator[Path]:
    """Give a path to write a file to; when the block ends without a fault, it takes the place of ``path``.

    The folder is made when missing.

    Args:
        path: to be replaced, or made.
        sync: wait until the content is on the disk, so that it outlives a power failure, too.
        shared: several processes may write ``path`` at once; each does so under a name of its own.

    Raises:
        UnwritableError: no room or no access; what ``path`` held is left as it was.
    """
    path = Path(path)
    partial = path.with_name(shortened(path.name, f".{os.getpid()}.partial" if shared else ".partial"))
    with unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            if sync:
                _sync(partial)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)  # also to make room again
            raise


def write_bytes(path: str | Path, content: bytes, sync: bool = False, shared: bool = False) -> Path:
    """Write a file whole; see ``whole_file``."""
    with whole_file(path, sync, shared) as partial:
        partial.write_bytes(content)
    return Path(path)


def write_text(path: str | Path, content: str, sync: bool = False, shared: bool = False) -> Path:
    """Write UTF-8 whole; bytes of file names that are no text are shown as escapes. See ``whole_file``."""
    return write_bytes(path, content.encode("utf-8", "backslashreplace"), sync, shared)


def write_json(
    path: str | Path, content: Any, indent: int | None = 1, sync: bool = False, shared: bool = False
) -> Path:
    """Write JSON whole; half a character becomes JSON's own escape. See ``whole_file``."""
    return write_text(path, json.dumps(content, ensure_ascii=False, indent=indent) + "\n", sync, shared)


@contextmanager
def exclusive(lock: Path, refusal: str) -> Iterator[None]:
    """Hold a lock file, so that a second process is refused; it is free again however this one ends.

    Raises:
        UserError: with ``refusal``; another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # Windows: two processes at once are not noticed there
        yield
        return
    with unwritable(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(refusal) from None
        yield


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
    with unwritable(folder):
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            yield partial
            if manifest:
                write_manifest(partial)
            _sync_folder(partial)
            if folder.exists():
                shutil.rmtree(old, ignore_errors=True)
                folder.rename(old)
            partial.rename(folder)
            _sync(folder.parent)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)  # also to make room again
            raise
    if not keep_old:
        shutil.rmtree(old, ignore_errors=True)


def require_outside(out: str | Path, source: str | Path) -> None:
    """Raises UserError: ``out`` is the folder ``source`` or lies in it, in which nothing is written."""
    if Path(source).is_dir() and Path(out).resolve().is_relative_to(Path(source).resolve()):
        raise UserError(f"{out}: lies in {source}, which is only read; name a folder elsewhere")


def write_manifest(folder: Path) -> None:
    """List every file of a folder with its size in bytes and its sha256."""
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    write_json(folder / MANIFEST_FILE, {"files": files})


def faults_of(folder: Path) -> list[str]:
    """What differs from the folder's manifest, a few words for each file; empty when all is whole."""
    if not (folder / MANIFEST_FILE).is_file():
        return [f"{MANIFEST_FILE} is missing"]
    try:
        listed = read_json(folder / MANIFEST_FILE)["files"]
        expected = {inside(folder, name): (facts["bytes"], facts["sha256"]) for name, facts in listed.items()}
    except (UserError, LookupError, TypeError, AttributeError):
        return [f"{MANIFEST_FILE} cannot be read"]
    faults = []
    for path, (size, digest) in expected.items():
        name = path.relative_to(folder).as_posix()
        if not path.is_file():
            faults.append(f"{name} is missing")
        elif path.stat().st_size != size:
            faults.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
        elif sha256_of(path) != digest:
            faults.append(f"{name} was altered: its sha256 is another")
    return faults


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file, or a copy where the file system has no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_folder(folder: Path) -> None:
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
