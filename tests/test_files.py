"""Files and folders that are whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from detr_hf.errors import UserError
from detr_hf.files import (
    UnwritableError,
    exclusive,
    faults_of,
    old_of,
    replacing,
    sha256_of,
    whole_file,
    write_json,
    write_text,
)


def _cut_off(path: Path) -> NoReturn:
    path.write_text("half")
    raise KeyboardInterrupt


def test_a_file_is_whole_or_as_it_was(tmp_path: Path) -> None:
    path = write_text(tmp_path / "new" / "a.txt", "old\n")
    with pytest.raises(KeyboardInterrupt), whole_file(path) as partial:
        _cut_off(partial)
    assert path.read_text() == "old\n" and os.listdir(path.parent) == ["a.txt"]
    with whole_file(path, sync=True, shared=True) as partial:
        partial.write_text("new")
        assert path.read_text() == "old\n" and str(os.getpid()) in partial.name
    assert path.read_text() == "new" and os.listdir(path.parent) == ["a.txt"]


def test_a_name_without_room_for_a_suffix_can_be_written(tmp_path: Path) -> None:
    names = ["x" * 251 + ".txt", "x" * 251 + ".csv"]
    with whole_file(tmp_path / names[0]) as one, whole_file(tmp_path / names[1]) as other:
        assert one != other and len(one.name) == len(other.name) == 255
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / names[0]).read_text() == "one" and (tmp_path / names[1]).read_text() == "other"


def test_text_that_is_no_unicode_is_escaped(tmp_path: Path) -> None:
    assert write_text(tmp_path / "a", "f\udcfcr\n").read_bytes() == b"f\\udcfcr\n"
    assert json.loads(write_json(tmp_path / "b", {"ü": "\ud800"}).read_bytes()) == {"ü": "\ud800"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [("file/a.txt", "Not a directory|File exists"), ("a\0b", "cannot hold a NUL"), ("x" * 300, "too long")],
)
def test_what_cannot_be_written_is_said_with_path_and_reason(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match=rf"(?s){name} could not be written: .*({reason})"):
        write_text(tmp_path / name, "")


def test_a_folder_is_whole_or_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "best"
    with replacing(folder, manifest=True) as partial:
        (partial / "a").write_text("1")
    with pytest.raises(KeyboardInterrupt), replacing(folder) as partial:
        _cut_off(partial / "a")
    assert os.listdir(tmp_path) == ["best"] and faults_of(folder) == []
    with replacing(folder, keep_old=True) as partial:
        (partial / "a").write_text("3")
    assert (folder / "a").read_text() == "3" and (old_of(folder) / "a").read_text() == "1"


def test_what_differs_from_a_manifest_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "last"
    with replacing(folder, manifest=True) as partial:
        for name in ("gone", "cut", "changed", "sound"):
            (partial / name).write_text("content")
    (folder / "gone").unlink()
    (folder / "cut").write_text("cont")
    (folder / "changed").write_text("CONTENT")
    altered = [
        "changed was altered: its sha256 is another",
        "cut has 4 bytes instead of 7",
        "gone is missing",
    ]
    assert sorted(faults_of(folder)) == altered


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "{", "[]", '{"files": {"../a": {"bytes": 1, "sha256": ""}}}', '{"files": {"a": 1}}'],
)
def test_a_manifest_that_is_none_is_a_fault(tmp_path: Path, content: str) -> None:
    assert faults_of(tmp_path) == ["manifest.json is missing"]
    (tmp_path / "manifest.json").write_text(content)
    assert faults_of(tmp_path) == ["manifest.json cannot be read"]


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    path = write_text(tmp_path / "a", "abc")
    assert sha256_of(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")
def test_a_second_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    lock = tmp_path / "made" / "lock"
    hold = "import sys, os; from pathlib import Path; from detr_hf.files import exclusive\n"
    hold += "with exclusive(Path(sys.argv[1]), ''): print('held', flush=True); input()\n"
    with subprocess.Popen([sys.executable, "-c", hold, lock], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        with pytest.raises(UserError, match="in use"), exclusive(lock, "in use"):
            pytest.fail("two at once")
        process.kill()
    with exclusive(lock, "in use"):
        pass
