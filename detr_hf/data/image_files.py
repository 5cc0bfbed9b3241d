"""The image that a name in an annotation file means, among the files that are there."""

from __future__ import annotations

import os
import posixpath
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from detr_hf.data.issues import Issue
from detr_hf.errors import UserError
from detr_hf.foreign_files import LONGEST_PATH, is_within, relative_name
from detr_hf.run_folder import is_output

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".jp2"}
    | {".avif", ".heic", ".heif"}
)
DEEPEST, MOST_FOLDERS, TRIES = 3, 500, 3
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)


class ImageFiles:
    """The images below a folder, by their path relative to it, "/"-separated.

    Hidden files, what macOS adds to a zip (``__MACOSX``), and folders of runs are not there.

    Args:
        folder: is listed once, when it is first needed.
        root: links may lead elsewhere in it, not out of it; the folder itself where left out.
        members: the files that are there, of an archive instead of a folder, which then only names it.
        keep: says of an image's name whether it is meant; all are where left out.
    """

    def __init__(
        self,
        folder: Path,
        root: Path | None = None,
        members: Iterable[str] | None = None,
        keep: Callable[[str], bool] = lambda name: True,
    ) -> None:
        self.folder = folder
        self._root = root or folder
        self._members = members
        self._keep = keep

    @cached_property
    def _files(self) -> dict[str, bool]:
        """Whether each file is a link out of the root."""
        if self._members is not None:
            return {name: False for name in self._members if not any(map(_is_hidden, name.split("/")))}
        found = _walk(self.folder, "", os.path.realpath(self._root))
        return {name: is_out for name, is_out in found if is_out or not is_image(name) or self._keep(name)}

    @cached_property
    def names(self) -> list[str]:
        """The images, sorted."""
        return sorted(name for name, is_out in self._files.items() if not is_out and is_image(name))

    @cached_property
    def links_out(self) -> list[str]:
        """Files and folders that are links leading out of the root; they are never opened."""
        return sorted(name for name, is_out in self._files.items() if is_out)

    @cached_property
    def others(self) -> list[str]:
        """Files that are no images by their name."""
        return sorted(name for name, is_out in self._files.items() if not is_out and not is_image(name))

    def with_suffix(self, suffix: str) -> list[str]:
        """The files, other than images, whose name ends so in any case."""
        return [name for name in self.others if name.lower().endswith(suffix)]

    @cached_property
    def _by_ending(self) -> dict[str, list[str]]:
        """Images by each ending of their path, in the spelling that ``_key`` gives."""
        found: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            parts = _key(name).split("/")
            for start in range(len(parts)):
                found["/".join(parts[start:])].append(name)
        return found

    def find(self, said: Any) -> tuple[str | None, Issue | None]:
        """The image that a ``file_name`` means.

        A name that is right is taken as it is. Else it may have backslashes, be a URL or percent-encoded, be
        absolute or below other folders, differ in case, extension or in how accents are composed: the file
        is found by the last parts of its path where these fit one alone.

        Returns:
            its name, relative to the folder; None where there is none. An issue where it is not the name that
            was said: ``file-renamed``, ``file-name``, ``image-ambiguous``, ``image-link`` or
            ``image-missing``.
        """
        text = said if isinstance(said, str) else ""
        plain = _relative(self.folder, text)
        if plain is not None and "\\" in text and os.sep == "/" and self._is_there(text):
            return text, None  # a backslash of the file's own name
        if plain is not None and self._is_there(plain):
            renamed = plain != text and plain != text.replace("\\", "/").removeprefix("./")
            return plain, Issue("file-renamed", f"the annotations say '{text}'", plain) if renamed else None
        words = _words(text)
        if words is None:
            return None, Issue("file-name", f"file_name {str(said)[:200]!r}", text[:200])
        found = self._like(words)
        if len(found) == 1:
            return found[0], Issue("file-renamed", f"the annotations say '{text}'", found[0])
        if found:
            return None, Issue("image-ambiguous", f"'{text}' may be {', '.join(found[:5])}", text)
        if plain is not None and any(map(partial(_is_behind, plain), self.links_out)):
            return None, Issue("image-link", f"'{text}' is a link that leads out of {self._root}", text)
        if plain is None and ".." in words:
            return None, Issue("file-name", f"'{text}' leaves {self.folder}", text)
        return None, Issue("image-missing", f"there is no file '{text}' in {self.folder}", text)

    def like(self, said: Any) -> list[str]:
        """The images that a name which is not there may mean; ``find`` takes one that is alone."""
        words = _words(said) if isinstance(said, str) else None
        return self._like(words) if words else []

    def _is_there(self, name: str) -> bool:
        if name in self._files or self._members is not None:
            return self._files.get(name) is False
        path = self.folder / name  # through a folder that is a link, maybe
        return path.is_file() and self._keep(name) and is_within(path, os.path.realpath(self._root))

    def _like(self, words: list[str]) -> list[str]:
        """The images that share the longest ending with a path; of several, the one with its extension."""
        suffix = PurePosixPath(words[-1]).suffix.lower()
        key = _key("/".join(words)).split("/")
        for start in range(len(key)):
            found = self._by_ending.get("/".join(key[start:]), [])
            if len(found) > 1:
                same = [name for name in found if PurePosixPath(name).suffix.lower() == suffix]
                return same if len(same) == 1 else found
            if found:
                return found
        return []


def _relative(folder: Path, said: str) -> str | None:
    """The name within the folder; None for what is no name or leads out."""
    absolute = folder.absolute().as_posix().rstrip("/") + "/"
    try:
        return relative_name(folder, said.removeprefix(absolute)).as_posix()
    except UserError:
        return None


def _words(said: str) -> list[str] | None:
    """The parts of a path, URL or percent-encoded name; None where it is no name at all."""
    if len(said) > LONGEST_PATH:
        return None
    text = said.replace("\\", "/")
    if _URL.match(text):
        try:
            text = urlsplit(text).path
        except ValueError:  # "https://[x": no address
            return None
    words = [part for part in unquote(text).split("/") if part not in ("", ".")]
    if not words or any("\0" in word or not _is_text(word) for word in words) or words[-1] == "..":
        return None
    return words


def _is_text(word: str) -> bool:
    try:
        return len(os.fsencode(word)) <= 255
    except UnicodeEncodeError:  # half a character, as JSON can hold it
        return False


def _walk(folder: Path, below: str, real_root: str) -> Iterator[tuple[str, bool]]:
    """(name relative to the folder, whether it is a link out of the root) of all files; links out of the
    root are not followed, and links to folders not at all.
    """
    try:
        entries = list(os.scandir(folder / below))
    except OSError:
        return
    for entry in entries:
        name = f"{below}{entry.name}"
        if _is_hidden(entry.name):
            continue
        if entry.is_symlink():
            if not is_within(Path(entry.path), real_root):
                yield name, True
                continue
            if os.path.isdir(entry.path):  # not entry.is_dir(), which raises for a link to itself
                continue
        if entry.is_dir(follow_symlinks=False):
            if is_output(entry.path):
                continue
            yield from _walk(folder, f"{name}/", real_root)
        else:
            yield name, False


def _is_behind(name: str, link: str) -> bool:
    """Whether a name is that of a link or below it; in its own folder, or wherever the link lies."""
    last = PurePosixPath(link).name
    return name.startswith(f"{link}/") or _key(name) in (_key(link), _key(last))


def _is_hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def is_image(name: str) -> bool:
    """Whether a file is an image by its name."""
    return posixpath.splitext(name)[1].lower() in IMAGE_SUFFIXES  # far quicker than a path


def first_files(path: Path, suffix: str, tries: int = TRIES) -> Iterator[Path]:
    """Some files of each folder, not too deep, whose name ends so in any case; for doors that ask whether a
    folder is theirs. One may be damaged, so that several are tried.
    """
    for count, (parent, folders, names) in enumerate(os.walk(path)):
        is_deepest = len(Path(parent).relative_to(path).parts) == DEEPEST
        below = [] if is_deepest else sorted(name for name in folders if not _is_hidden(name))
        folders[:] = [name for name in below if not is_output(os.path.join(parent, name))]
        found = sorted(name for name in names if name.lower().endswith(suffix) and not _is_hidden(name))
        yield from (Path(parent, name) for name in found[:tries])
        if count >= MOST_FOLDERS:
            return


def plain_key(name: str) -> str:
    """A name without case and way of composing accents."""
    return unicodedata.normalize("NFC", name).casefold()


def without_suffix(name: str) -> str:
    """A name without the extension of an image."""
    return posixpath.splitext(name)[0] if is_image(name) else name


def _key(name: str) -> str:
    """A name without its image extension, case and way of composing accents."""
    return plain_key(without_suffix(name))
