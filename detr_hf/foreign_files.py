"""Names and files that others made: a name stays in its folder, a file is a regular one of bounded size, and
JSON that cannot be used is refused in a sentence.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import sys
from collections.abc import Iterable
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NoReturn

from detr_hf.errors import UserError

LONGEST_NAME = 255
"""Bytes that a file's name may have on the usual file systems."""

LONGEST_PATH = 3000
"""Bytes that a name with its folders may have, where the usual systems take 4095 for a whole path."""

SUFFIX_ROOM = 40
"""Bytes that ``harmless_name`` leaves for what is added to a name: numbers, suffixes."""

MOST_NAMES = 1000
"""Of a folder, that are looked at for one that may be meant."""

MAX_JSON_BYTES = 64_000_000
"""Largest JSON file of a model or a run that is read."""


def as_path(value: Any, what: str) -> Path:
    """What a Python program gives as a path; ``what`` names it in the message.

    Raises:
        UserError: it is neither text nor a path, or it is empty.
    """
    if isinstance(value, str) and not value.strip():
        raise UserError(f"{what}: the name is empty; give a path.")
    if isinstance(value, str | os.PathLike):
        return Path(value)
    saved = "; save it first, with its save_to_disk(FOLDER)" if hasattr(value, "save_to_disk") else ""
    raise UserError(f"{what}: expected a path (text or Path), got {type(value).__name__}{saved}.")


def is_finite_number(value: Any) -> bool:
    """Whether a value of foreign JSON is a number that can be reckoned with; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def inside(folder: Path, name: Any) -> Path:
    """The file ``name`` of an annotation within ``folder``; the name is not ours, so it may not leave it.

    The folder itself may be a link. A link within it may lead elsewhere in the folder, not out of it.

    Raises:
        UserError: as ``relative_name``, or the name follows a link that leads out.
    """
    relative = relative_name(folder, name)
    if _leads_out(folder, relative):
        raise UserError(
            f"file_name '{name}' is a link that leads out of the folder {folder}; put the file itself there, "
            "or give the folder that holds the files"
        )
    return folder / relative


def relative_name(folder: Path, name: Any) -> PurePosixPath:
    """``name`` with "/" between its parts, if it stays in ``folder`` by its words alone; see ``inside``.

    Raises:
        UserError: the name is not text, is absolute, climbs out with "..", or is too long for a file system.
    """
    if not isinstance(name, str) or not name or "\0" in name or not _can_be_encoded(name):
        raise UserError(f"file_name {name!r} is not the name of a file; correct it in the annotation file")
    if len(os.fsencode(name)) > LONGEST_PATH:
        raise UserError(
            f"file_name '{name[:60]}...' is longer than the {LONGEST_PATH} bytes that a path may have; "
            "correct it in the annotation file"
        )
    relative = PurePosixPath(name.replace("\\", "/"))
    has_drive = relative.parts[:1] != () and relative.parts[0].endswith(":")
    if relative.is_absolute() or has_drive or ".." in relative.parts:
        raise UserError(
            f"file_name '{name}' leaves the folder {folder}; give names relative to that folder, without '..'"
        )
    if any(len(os.fsencode(part)) > LONGEST_NAME for part in relative.parts):
        raise UserError(
            f"file_name '{name[:60]}...' is longer than the {LONGEST_NAME} bytes that a name may have; "
            "correct it in the annotation file"
        )
    return relative


def own_file(folder: Path, name: str) -> Path:
    """The file ``name`` below ``folder``, about to be written; folders on the way are not made.

    Raises:
        UserError: it, or a folder between, is a link to another place.
    """
    file = folder
    for part in relative_name(folder, name).parts:
        file = file / part
        if file.is_symlink():
            raise UserError(f"{file} is a link to another place; remove it, or choose another folder.")
    return file


def harmless_name(name: str, room: int = SUFFIX_ROOM) -> str:
    """The name without signs that could lead elsewhere or that some systems refuse.

    One that would leave less than ``room`` bytes for suffixes is cut, and ends in a hash of the whole name.
    """
    text = name.encode("utf-8", "replace").decode()
    plain = re.sub(r'[\x00-\x1f\x7f-\x9f/\\:*?"<>|]|^\.+', "_", text)
    return shortened(plain, " " * room).removesuffix(" " * room)


def shortened(name: str, ending: str) -> str:
    """``name`` + ``ending``, the name cut where both are too long together; equal only for equal names."""
    content, space = os.fsencode(name), LONGEST_NAME - len(os.fsencode(ending))
    if len(content) > space:
        mark = f"~{hashlib.sha256(content).hexdigest()[:12]}"
        name = content[: space - len(mark)].decode("utf-8", "ignore") + mark
    return name + ending


def _can_be_encoded(name: str) -> bool:
    with suppress(UnicodeEncodeError):  # half a character, as JSON can hold it
        return bool(os.fsencode(name))
    return False


def _leads_out(folder: Path, relative: PurePosixPath) -> bool:
    """Whether a symbolic link on the way from ``folder`` to ``relative`` ends outside of the folder.

    Costs one look at each part of the name; only where there is a link at all are both ends resolved.
    """
    place = str(folder)
    for part in relative.parts:
        place = os.path.join(place, part)
        if os.path.islink(place):
            return not is_within(folder / relative, os.path.realpath(folder))
    return False


def is_within(path: Path, real_root: str) -> bool:
    """Whether a path, with all links followed, is at or below ``real_root``."""
    real = os.path.realpath(path)
    return real == real_root or real.startswith(real_root.rstrip(os.sep) + os.sep)


def no_such(path: str | Path, what: str = "file or folder", known: Iterable[str] = ()) -> str:
    """That nothing is at a path, where a relative one starts, and what may be meant: beside it, or known."""
    path, beside = Path(path), []
    with suppress(OSError):
        beside = [entry.name for entry in islice(path.parent.iterdir(), MOST_NAMES)]
    start = "" if path.is_absolute() else f", seen from the current folder {Path.cwd()}"
    near = [str(path.with_name(name)) for name in get_close_matches(path.name, beside, 1)]
    near += get_close_matches(path.stem.lower(), known, 1, 0.7)
    meant = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    return f"there is no such {what}{start}{meant}"


def open_file(path: str | Path, what: str = "file", name: str | None = None) -> BinaryIO:
    """Open a regular file for reading; nothing else is waited for.

    Args:
        path: of the file; it may be a link to one.
        what: is expected there, for messages: "image file".
        name: what messages call the file; its path when left out.

    Raises:
        UserError: it is missing, not to be read, or a folder, named pipe, device or socket.
    """
    name = name or str(path)
    try:
        # Without O_NONBLOCK, opening a named pipe waits until somebody writes into it.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"{name}: there is no such {what}") from error
    except ValueError as error:  # a NUL, or half a character
        raise UserError(f"{name!r} is not the name of a file") from error
    except OSError as error:
        raise UserError(f"{name}: the {what} cannot be read ({error.strerror})") from error
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        kind = "a folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "a named pipe or a device"
        os.close(handle)
        raise UserError(f"{name}: the {what} cannot be read (it is {kind})")
    return os.fdopen(handle, "rb")


def read_bytes(path: str | Path, max_bytes: int, what: str = "file", name: str | None = None) -> bytes:
    """The content of a regular file.

    Raises:
        UserError: as ``open_file``, or it has more than ``max_bytes``.
    """
    with open_file(path, what, name) as file:
        if (size := os.fstat(file.fileno()).st_size) > max_bytes:
            sizes = f"has {size / 1e6:,.1f} MB and the limit is {max_bytes / 1e6:,.1f} MB"
            raise UserError(f"{name or path}: refused, the {what} {sizes}")
        return file.read()


def damaged_text(path: str | Path, start: int = 0) -> str:
    """A text file that may be damaged, from a byte on; bytes that are no UTF-8 are replaced.

    Raises:
        UserError: as ``open_file``.
    """
    with open_file(path) as file:
        file.seek(start)
        return file.read().decode("utf-8", "replace")


def read_json(
    path: str | Path,
    what: str = "file",
    name: str | None = None,
    any_number: bool = False,
    max_bytes: int = MAX_JSON_BYTES,
) -> dict[str, Any]:
    """A foreign JSON file with an object at its top; see ``read_bytes`` and ``parse_json``.

    Raises:
        UserError: as these, or it holds no object.
    """
    name = name or str(path)
    content = parse_json(read_bytes(path, max_bytes, what, name), name, any_number)
    if not isinstance(content, dict):
        raise UserError(f"{name} holds a {type(content).__name__} at the top instead of an object")
    return content


def readable_json(path: str | Path) -> dict[str, Any]:
    """The object in a JSON file of ours; empty where there is none that can be read."""
    try:
        return read_json(path, any_number=True)
    except UserError:
        return {}


def parse_json(content: bytes | str, name: str, any_number: bool = False) -> Any:
    """Foreign JSON.

    Args:
        content: UTF-8, or another encoding that JSON allows.
        name: of the file, for messages.
        any_number: take also NaN, infinities, and whole numbers beyond 64 bits; those of more digits than
            Python reads are infinite.

    Raises:
        UserError: it is no JSON, is nested too deeply, or has such a number.
    """
    numbers: dict[str, Any] = {}
    if not any_number:
        numbers = {"parse_constant": _refuse, "parse_int": _int, "parse_float": _float}
    try:
        return _loads(content, numbers)
    except _NumberError as error:
        text = content if isinstance(content, str) else content.decode("utf-8", "replace")
        line = _line_of(error.text, text)
        raise UserError(f"{name}, line {line}: {error.text[:40]} is no finite number of 64 bits") from None
    except RecursionError:
        raise UserError(f"{name} is nested too deeply; export it again") from None
    except UnicodeDecodeError as error:
        raise UserError(
            f"{name} is not UTF-8 ({error.reason} at byte {error.start}); save it with that encoding"
        ) from None
    except ValueError as error:
        raise UserError(f"{name} is not valid JSON ({error}); export it again") from None


def _loads(content: bytes | str, numbers: dict[str, Any]) -> Any:
    """JSON; a whole number of more digits than Python reads is infinite, as a float of that size is."""
    try:
        return json.loads(content, **numbers)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # the number; a function for each costs time that other files need not spend
        return json.loads(content, **{"parse_int": _any_int, **numbers})


def _any_int(text: str) -> int | float:
    return int(text) if len(text) < sys.int_info.default_max_str_digits else float(text)


class _NumberError(Exception):
    """A number that other libraries would trip over."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _line_of(number: str, content: str) -> int:
    """The line of the first such number outside of strings."""
    tokens = re.finditer(r'"(?:[^"\\]|\\.)*"|-?\w[\w.+-]*', content)
    start = next((token.start() for token in tokens if token[0] == number), 0)
    return content.count("\n", 0, start) + 1


def _refuse(text: str) -> NoReturn:
    raise _NumberError(text)


def _int(text: str) -> int:
    return int(text) if len(text) <= 20 and -(2**63) <= int(text) < 2**63 else _refuse(text)


def _float(text: str) -> float:
    return float(text) if math.isfinite(float(text)) else _refuse(text)
