"""XML that others wrote: read element by element, refused where it could do harm."""

from pathlib import Path

import pytest

from detr_hf.data import xml_files
from detr_hf.data.xml_files import MAX_DEPTH, xml_elements
from detr_hf.errors import UserError


def texts(path: Path, content: str | bytes, tag: str = "a") -> list[str | None]:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return [element.text for element in xml_elements(path, {tag})]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file.xml"


def test_the_outermost_elements_are_given_whole_and_in_order(path: Path) -> None:
    path.write_text("<r><a n='1'>x<a>inner</a>y</a><b><a n='2'/></b>tail</r>")
    first, second = xml_elements(path, {"a"})
    assert (first.get("n"), first.text, first[0].text, first[0].tail) == ("1", "x", "inner", "y")
    assert (second.get("n"), len(second)) == ("2", 0)


def test_elements_are_given_before_the_rest_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xml_files, "CHUNK", 16)
    path.write_text("<r><a>1</a>" + " " * 100 + "<a>2</a></wrong>")
    elements = xml_elements(path, {"a"})
    assert next(elements).text == "1"
    with pytest.raises(UserError, match="not well-formed XML"):
        list(elements)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_the_declared_encoding_is_used(path: Path, encoding: str) -> None:
    declared = "utf-8" if encoding == "utf-8-sig" else encoding
    content = f"<?xml version='1.0' encoding='{declared}'?><a>Grün &amp; &#228;</a>".encode(encoding)
    assert texts(path, content) == ["Grün & ä"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("<!DOCTYPE r [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>", "declares the entity 'e'"),
        ("<!DOCTYPE r [<!ENTITY x 'x'><!ENTITY y '&x;&x;'>]><a>&y;</a>", "declares the entity 'x'"),
        ("<!DOCTYPE r [<!ENTITY % p 'x'>]><a/>", "declares the entity 'p'"),
        ("<a>&nothere;</a>", "not well-formed"),
        ("<a>" * (MAX_DEPTH + 1), "nested deeper"),
        ("<a><b></a>", "not well-formed"),
        ("<a>cut of", "not well-formed"),
        ("", "not well-formed"),
        (b"\x00\x01\x02", "not well-formed"),
        (b"<a>\xff\xfe</a>", "not well-formed"),
        ("<?xml version='1.0' encoding='no-such'?><a/>", "file.xml"),
    ],
)
def test_what_is_harmful_or_broken_is_refused_by_name(path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        texts(path, content)


def test_a_doctype_that_declares_nothing_is_read(path: Path) -> None:
    assert texts(path, "<!DOCTYPE annotation SYSTEM 'voc.dtd'><a>1</a>") == ["1"]


def test_a_file_over_the_limit_is_refused(path: Path) -> None:
    path.write_text("<a>" + "x" * 2000 + "</a>")
    with pytest.raises(UserError, match="more than"):
        list(xml_elements(path, {"a"}, "the file", max_bytes=1000))
    assert len(list(xml_elements(path, {"a"}, max_bytes=3000))) == 1


def test_a_folder_or_a_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.xml"):
        with pytest.raises(UserError, match=path.name):
            list(xml_elements(path, {"a"}))
