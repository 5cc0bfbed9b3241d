"""Names and files that others made."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from detr_hf.errors import UserError
from detr_hf.foreign_files import (
    harmless_name,
    inside,
    open_file,
    own_file,
    parse_json,
    read_bytes,
    read_json,
)

needs_unix = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")


@pytest.mark.parametrize("name", ["a.png", "sub/a.png", "sub\\a.png", "..a/b..", "ü.png", "x" * 255])
def test_a_name_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    assert inside(tmp_path, name) == tmp_path / name.replace("\\", "/")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("/etc/passwd", "leaves the folder"),
        ("C:\\a.png", "leaves the folder"),
        ("a/" * 2000, "longer than the 3000 bytes"),
        ("sub/../../a", "leaves the folder"),
        ("", "not the name of a file"),
        ("a\0b", "not the name of a file"),
        ("\ud800.png", "not the name of a file"),
        (7, "not the name of a file"),
        ("sub/" + "ü" * 128, "longer than the 255 bytes"),
        ("link/a", "a link that leads out"),
    ],
)
def test_a_name_that_leaves_its_folder_or_is_none_is_refused(tmp_path: Path, name: object, said: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path.parent)
    with pytest.raises(UserError, match=said):
        inside(tmp_path, name)


def test_links_within_a_folder_are_read_but_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert inside(tmp_path, "link/a") == tmp_path / "link" / "a"
    assert own_file(tmp_path, "real/a") == tmp_path / "real" / "a"
    for name in ("link", "link/a"):
        with pytest.raises(UserError, match="link is a link to another place"):
            own_file(tmp_path, name)
    assert own_file(tmp_path / "link", "a"), "the folder itself may be a link"


def test_a_harmless_name_stays_apart_and_leaves_room() -> None:
    assert harmless_name("../a\x1b/b:c.png") == "__a__b_c.png" and harmless_name("ü.png") == "ü.png"
    long = [harmless_name("ü" * 126 + end) for end in "ab"]
    assert long[0] != long[1] and all(len(name.encode()) <= 215 for name in long)
    assert len(harmless_name("x" * 300, room=0)) == 255
    assert harmless_name("\udcfc.png") == "_.png"


@needs_unix
def test_what_is_no_regular_file_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "pipe.jpg")
    for name, said in (("pipe.jpg", "a named pipe"), ("link.jpg", "a named pipe"), ("folder", "a folder")):
        with pytest.raises(UserError, match=rf"{name}: the image file cannot be read \(it is {said}"):
            open_file(tmp_path / name, "image file")
    with pytest.raises(UserError, match="it is a named pipe or a device"):
        open_file("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(UserError, match="socket: the file cannot be read"):
            open_file(tmp_path / "socket")


def test_what_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for name, said in (
        ("gone", "gone: there is no such file"),
        ("a\0b", "not the name"),
        ("x" * 300, "too long"),
    ):
        with pytest.raises(UserError, match=said):
            open_file(tmp_path / name)
    with pytest.raises(UserError, match=r"^the image 7: there is no such image$"):
        open_file(tmp_path / "gone", "image", "the image 7")


def test_a_file_is_read_up_to_its_bound(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_bytes(tmp_path / "a", 5) == b"12345"
    with pytest.raises(UserError, match=r"a: refused, the file has .* MB and the limit"):
        read_bytes(tmp_path / "a", 4)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"a": ' * 100_000, "nested too deeply"),
        ('{"a": }', r"not valid JSON \(.*line 1 column 7"),
        (b'{"a": "\xff"}', r"is not UTF-8 \(.*byte 7"),
        ("", "not valid JSON"),
        ("null", "holds a NoneType at the top"),
        ("[]", "holds a list at the top"),
        ('{"NaN": 1,\n"a": [NaN]}', "line 2: NaN is no finite number"),
        ('{"a": -Infinity}', "line 1: -Infinity is no"),
        ('{"a": 1e999}', "1e999 is no"),
        ('{"a": 9223372036854775808}', "9223372036854775808 is no"),
        ('{"a": ' + "9" * 5000 + "}", "99999 is no"),
    ],
)
def test_json_that_cannot_be_used_is_refused_in_a_sentence(
    tmp_path: Path, content: str | bytes, said: str
) -> None:
    (tmp_path / "config.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=rf"config\.json.*{said}"):
        read_json(tmp_path / "config.json")


def test_numbers_are_those_of_64_bits_or_any_on_request() -> None:
    assert parse_json("[-9223372036854775808, 1.5e300]", "x") == [-(2**63), 1.5e300]
    assert parse_json(f"[Infinity, {2**80}]", "x", any_number=True) == [float("inf"), 2**80]
    assert parse_json("[1, " + "9" * 5000 + "]", "x", any_number=True) == [1, float("inf")]
