"""The rows of a folder of images: metadata.jsonl, metadata.csv and metadata.parquet as plain values."""

from __future__ import annotations

import ast
import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from detr_hf.errors import UserError
from detr_hf.foreign_files import open_file, parse_json, read_bytes

METADATA_FILES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
MAX_LINE_BYTES = 64_000_000
_NUMBER = re.compile(r"-?\d{1,18}(\.\d+)?([eE][+-]?\d{1,2})?")

Row = tuple[int, dict[str, Any] | None, str]
"""The line (of Parquet the row), its values or None, and then what is wrong."""


def rows_of(path: Path, name: str, max_bytes: int) -> Iterator[Row]:
    """The rows of a metadata file; one that cannot be read is among them.

    Args:
        path: of the file.
        name: of it, for messages.
        max_bytes: the largest file that is read.

    Raises:
        UserError: the file as a whole cannot be read.
    """
    if path.suffix == ".jsonl":
        return _json_rows(path, name)
    if path.suffix == ".csv":
        return _csv_rows(read_bytes(path, max_bytes, "metadata file", name), name)
    return _parquet_rows(path, name, max_bytes)


def _json_rows(path: Path, name: str) -> Iterator[Row]:
    with open_file(path, "metadata file", name) as file:
        number = 0
        while line := file.readline(MAX_LINE_BYTES):
            number += 1
            if not line.strip(b" \t\r\n\xef\xbb\xbf\0"):
                continue
            try:
                values = parse_json(line.removeprefix(b"\xef\xbb\xbf").strip(), "it", any_number=True)
            except UserError as error:
                yield number, None, str(error)
                continue
            if isinstance(values, dict):
                yield number, values, ""
            else:
                yield number, None, "it holds no object"


def _csv_rows(content: bytes, name: str) -> Iterator[Row]:
    text = content.decode("utf-8-sig", "replace")
    try:
        delimiter = ";" if ";" in text.partition("\n")[0] else ","
        reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
        if not reader.fieldnames or "file_name" not in reader.fieldnames:
            raise UserError(f"{name}: its first line names no column 'file_name'")
    except csv.Error as error:
        raise UserError(f"{name} is no CSV file ({error})") from error
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield reader.line_num, None, str(error)
            continue
        named = {key: value for key, value in row.items() if isinstance(key, str)}
        yield reader.line_num, {key: _value(key, cell) for key, cell in named.items()}, ""


def _value(column: str, cell: str | None) -> Any:
    """A cell: lists and dicts as JSON or as Python prints them, numbers; anything else stays text."""
    text = (cell or "").strip()
    if not text:
        return None
    if column == "file_name" or not (text[0] in "[{" or _NUMBER.fullmatch(text)):
        return text
    try:
        return parse_json(text, column, any_number=True)
    except UserError:
        try:
            return ast.literal_eval(text)  # of constants alone; nothing is executed
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return text


def _parquet_rows(path: Path, name: str, max_bytes: int) -> Iterator[Row]:
    import pyarrow.parquet

    with open_file(path, "metadata file", name) as file:
        if path.stat().st_size > max_bytes:
            raise UserError(f"{name}: refused, the file is larger than {max_bytes / 1e6:,.0f} MB")
        try:
            number = 0
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches():
                for values in batch.to_pylist():
                    number += 1
                    yield number, values, ""
        except (OSError, ValueError) as error:  # pyarrow's errors are of these
            raise UserError(f"{name} cannot be read as Parquet ({error})") from error


def inner_keys(value: Any) -> set[str]:
    """The keys of an object, or of the first of a list of objects."""
    if isinstance(value, list):
        value = next((entry for entry in value if isinstance(entry, Mapping)), None)
    return {key for key in value if isinstance(key, str)} if isinstance(value, Mapping) else set()
