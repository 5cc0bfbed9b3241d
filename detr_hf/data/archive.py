"""A data set as a folder or as the zip that a tool exports: the same names, the same way to read them.

Members of a zip are read into memory, each of bounded size; nothing is extracted.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from detr_hf.data.image_files import ImageFiles
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, relative_name

MAX_MEMBER_BYTES = 1_000_000_000
"""Largest image in a zip that is read."""

MAX_MEMBERS = 5_000_000
BOMB_BYTES, BOMB_RATIO = 50_000_000, 200
"""A member that is larger, and packed better than images, JSON or XML ever are, is a zip bomb."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


class Files(Protocol):
    """A folder or a zip; names are relative to it and "/"-separated."""

    path: Path

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        ...

    def images_below(self, folder: str) -> ImageFiles:
        """The images below a folder of it ("" for all), by their names relative to that folder."""
        ...

    def image(self, name: str) -> Path | bytes:
        """What a sample has as its image.

        Raises:
            UserError: it is a member of a zip that cannot be read.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """A file, for reading.

        Raises:
            UserError: it cannot be read, or is no regular file.
        """
        ...


class FolderFiles:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def images_below(self, folder: str) -> ImageFiles:
        return ImageFiles(self.path / folder, self.path)

    def image(self, name: str) -> Path | bytes:
        return self.path / name

    def open(self, name: str) -> BinaryIO:
        return open_file(self.path / name)


class ZipFiles:
    """The members of a zip. One whose name leads out of it does not exist here."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def _zip(self) -> zipfile.ZipFile:
        try:
            archive = zipfile.ZipFile(open_file(self.path, "zip"))
        except _DAMAGE as error:
            raise UserError(f"{self.path}: the zip is damaged or cut off ({error})") from None
        if (count := len(archive.infolist())) > MAX_MEMBERS:
            raise UserError(
                f"{self.path}: refused, the zip has {count:,} files and the limit is {MAX_MEMBERS:,}"
            )
        return archive

    def _member(self, name: str) -> zipfile.ZipInfo:
        """What the zip says of a member, which bounds what is read of it."""
        member = self._zip.getinfo(name)
        if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
            size = f"{member.file_size / 1e6:,.0f} MB packed into {member.compress_size / 1e6:,.3f} MB"
            raise UserError(f"{self.path}, {name}: refused as a zip bomb, {size}")
        return member

    @cached_property
    def names(self) -> list[str]:
        """The members that are files, sorted.

        Raises:
            UserError: it is no zip, or a damaged one.
        """
        return sorted(
            {one.filename for one in self._zip.infolist() if not one.is_dir() and self._is_inside(one)}
        )

    def has(self, name: str) -> bool:
        return name in self._known

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.names)

    def _is_inside(self, member: zipfile.ZipInfo) -> bool:
        try:
            return relative_name(self.path, member.filename).as_posix() == member.filename
        except UserError:
            return False

    def images_below(self, folder: str) -> ImageFiles:
        start = f"{folder}/" if folder else ""
        members = [name.removeprefix(start) for name in self.names if name.startswith(start)]
        return ImageFiles(self.path / folder, members=members)

    def image(self, name: str) -> Path | bytes:
        size = self._member(name).file_size
        if size > MAX_MEMBER_BYTES:
            raise UserError(f"{self.path}, {name}: refused, it has {size / 1e6:,.0f} MB in the zip")
        with self._unharmed(name), self._zip.open(name) as file:
            return file.read(size)

    def open(self, name: str) -> BinaryIO:
        with self._unharmed(name):
            return cast(BinaryIO, _Member(self._zip.open(self._member(name)), f"{self.path}, {name}"))

    @contextmanager
    def _unharmed(self, name: str) -> Iterator[None]:
        with _readable(f"{self.path}, {name}"):
            yield


class _Member:
    """An open member; damage in it is a `UserError`."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        self._file, self._name = file, name

    def read(self, size: int = -1) -> bytes:
        with _readable(self._name):
            return self._file.read(size)

    def __enter__(self) -> _Member:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


@contextmanager
def _readable(name: str) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise UserError(f"{name}: cannot be read from the zip ({error})") from None


def files_of(path: Path) -> Files:
    """The folder or zip at a path."""
    return FolderFiles(path) if path.is_dir() else ZipFiles(path)


def is_zip(path: Path) -> bool:
    """Whether a path is a zip by its name; it is not opened."""
    return PurePosixPath(path.name).suffix.lower() == ".zip" and path.is_file()
