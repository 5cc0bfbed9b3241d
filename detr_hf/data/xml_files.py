"""XML that others wrote: one element at a time, with entities refused."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file

MAX_XML_BYTES = 4_000_000_000
"""Largest XML file that is read; one element of it at a time is in memory."""

CHUNK = 1 << 16
MAX_DEPTH = 100


def xml_elements(
    path: Path, tags: Collection[str], name: str | None = None, max_bytes: int = MAX_XML_BYTES
) -> Iterator[Element]:
    """The outermost elements with one of these tags, each whole, in the order of the file.

    Args:
        path: a regular file.
        tags: of the elements that are given; what is around them is skipped.
        name: what messages call the file.
        max_bytes: largest file that is read.

    Raises:
        UserError: it cannot be read, is too large, is not well-formed XML, or declares entities, which could
            fill the memory or name other files.
    """
    name = name or str(path)
    with open_file(path, "XML file", name) as file:
        yield from elements_of_stream(file, tags, name, max_bytes)


def elements_of_stream(
    file: BinaryIO, tags: Collection[str], name: str, max_bytes: int = MAX_XML_BYTES
) -> Iterator[Element]:
    """The same for a file that is open, such as a member of an archive.

    Raises:
        UserError: as ``xml_elements``.
    """
    reader = _Reader(tags)
    read = 0
    while chunk := file.read(CHUNK):
        read += len(chunk)
        if read > max_bytes:
            raise UserError(f"{name}: refused, the XML file has more than {max_bytes / 1e6:,.0f} MB")
        yield from reader.feed(chunk, name)
    yield from reader.feed(b"", name, is_last=True)


def number_in(text: str | None) -> Any:
    """The number that a text spells, else the text; None where there is none."""
    text = (text or "").strip()
    try:
        return float(text) if text else None
    except ValueError:
        return text


class _RefusedError(Exception):
    """What a handler finds wrong; expat hands it on."""


class _Reader:
    """Builds the elements that are asked for, and nothing else."""

    def __init__(self, tags: Collection[str]) -> None:
        self._tags, self._depth, self._inside = tags, 0, 0
        self._builder = TreeBuilder()
        self._done: list[Element] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._data
        self._parser.EntityDeclHandler = self._entity

    def feed(self, chunk: bytes, name: str, is_last: bool = False) -> list[Element]:
        try:
            self._parser.Parse(chunk, is_last)
        except expat.ExpatError as error:
            raise UserError(f"{name}: is not well-formed XML ({error})") from None
        except (
            _RefusedError,
            ValueError,
            LookupError,
        ) as error:  # of expat: an encoding that it does not know
            raise UserError(f"{name}: refused, {error}") from None
        done, self._done = self._done, []
        return done

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise _RefusedError(f"its elements are nested deeper than {MAX_DEPTH}")
        if self._inside or tag in self._tags:
            self._inside += 1
            self._builder.start(tag, attributes)

    def _end(self, tag: str) -> None:
        self._depth -= 1
        if self._inside:
            self._inside -= 1
            element = self._builder.end(tag)
            if not self._inside:
                self._done.append(element)
                self._builder = TreeBuilder()

    def _data(self, text: str) -> None:
        if self._inside:
            self._builder.data(text)

    def _entity(self, name: str, *_: object) -> None:
        raise _RefusedError(f"it declares the entity '{name}'; remove its <!DOCTYPE ...>")
