"""A data set as a folder or as the zip that a tool exports: the same names, the same way to read them.

Names are relative to it and "/"-separated. Members of a zip are read into memory, each of bounded size;
nothing is extracted, and one whose name leads out of the zip does not exist here.
"""

from __future__ import annotations

import posixpath
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, BinaryIO, cast

from detr_hf.data.image_files import ImageFiles
from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, relative_name

MAX_MEMBER_BYTES = 1_000_000_000
"""Largest image in a zip that is read."""

MAX_MEMBERS = 5_000_000
BOMB_BYTES, BOMB_RATIO = 50_000_000, 200
"""A member that is larger, and packed better than images, JSON or XML ever are, is a zip bomb."""

_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


class FolderFiles:
    """The files of a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.path / name).is_file()

    def images_below(self, folder: str, without: Collection[str] = ()) -> ImageFiles:
        """The images below a folder of it ("" for all), by their names relative to that folder.

        Args:
            folder: the folder.
            without: files, by their names in all, that are none of these images.
        """
        return ImageFiles(
            self.path / folder, self.path, keep=lambda name: posixpath.join(folder, name) not in without
        )

    def image(self, name: str) -> Path | bytes:
        """What a sample has as its image."""
        return self.path / name

    def open(self, name: str) -> BinaryIO:
        """A file, for reading; UserError where it cannot be read, or is no regular file."""
        return open_file(self.path / name)


class ZipFiles:
    """The members of a zip, by the same methods.

    Raises:
        UserError: by each of them, it is no zip, a damaged one, or a member is a bomb.
    """

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
                f"{self.path}: refused, the zip has {count:,} files; the limit is {MAX_MEMBERS:,}"
            )
        return archive

    @cached_property
    def names(self) -> list[str]:
        """The members that are files, sorted."""
        return sorted(self._known)

    @cached_property
    def _known(self) -> frozenset[str]:
        members = (one.filename for one in self._zip.infolist() if not one.is_dir())
        return frozenset(name for name in members if self._is_inside(name))

    def _is_inside(self, name: str) -> bool:
        try:
            return relative_name(self.path, name).as_posix() == name
        except UserError:
            return False

    def has(self, name: str) -> bool:
        return name in self._known

    def images_below(self, folder: str, without: Collection[str] = ()) -> ImageFiles:
        start = f"{folder}/" if folder else ""
        names = (name for name in self.names if name.startswith(start) and name not in without)
        return ImageFiles(self.path / folder, members=[name.removeprefix(start) for name in names])

    def image(self, name: str) -> Path | bytes:
        size = self._zip.getinfo(name).file_size
        if size > MAX_MEMBER_BYTES:
            raise UserError(f"{self.path}, {name}: refused, it has {size / 1e6:,.0f} MB in the zip")
        with self.open(name) as file:
            return file.read(size)

    def open(self, name: str) -> BinaryIO:
        member = self._zip.getinfo(name)
        if member.file_size > max(BOMB_BYTES, BOMB_RATIO * member.compress_size):
            size = f"{member.file_size / 1e6:,.0f} MB packed into {member.compress_size / 1e6:,.3f} MB"
            raise UserError(f"{self.path}, {name}: refused as a zip bomb, {size}")
        with _readable(f"{self.path}, {name}"):
            return cast(BinaryIO, _Member(self._zip.open(member), f"{self.path}, {name}"))


Files = FolderFiles | ZipFiles


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


def is_zip(path: Path) -> bool:
    """Whether a path is a zip by its name; it is not opened."""
    return path.suffix.lower() == ".zip" and path.is_file()
